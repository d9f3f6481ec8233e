//! What happens when foreign code panics?
//!
//! Futures, wakers, values and what users give to `post` are foreign code: each may panic when it is polled, called or
//! dropped. The rule is that such a panic costs what panicked and nothing else. The loop goes on, those next in line are
//! served, and the panic is not lost: it is a task's result, or, if nobody can ask for that, the [`PanicPolicy`] gets it.
//!
//! So every call of foreign code in the engine that is not already inside of another guard goes through one of the three
//! functions here. On the good path a guard costs nothing: unwinding is done with tables.
//!
//! What has unwound is used again (`AssertUnwindSafe`): a future that has panicked is dropped and never polled, a waker
//! that has panicked is not ours to judge.
//!
//! Comes from: task/, reactor.rs, clock.rs, executor.rs. Goes to: the policy.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::instrument::TaskId;

/// A panic's payload.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `f`, and makes its panic a value.
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Wakes. A panic has been reported by the panic hook, and there is nobody else to tell.
#[inline(always)]
pub(crate) fn wake(waker: &Waker) {
    if let Err(payload) = catch(|| waker.wake_by_ref()) {
        forget(payload);
    }
}

/// Drops what somebody else has written, for whose panic there is nobody to tell.
pub(crate) fn forget<T>(value: T) {
    if let Err(payload) = catch(|| drop(value)) {
        // A payload's own drop may panic, with a payload whose drop ... ; that has to end somewhere: here.
        std::mem::forget(payload);
    }
}

/// What to do with a panic of a task whose handle is gone, so that nobody will ever ask for its result.
///
/// A panic never takes the loop down by itself, and is never silent: the handle has it, or this policy gets it.
///
/// ```
/// use runtime::{PanicPolicy, Runtime};
/// let policy = PanicPolicy::Hook(|task, panic| {
///     eprintln!("task {task}: {:?}", panic.downcast_ref::<&str>());
/// });
/// let rt = Runtime::builder().panic_policy(policy).build()?;
/// drop(rt.spawn(async { panic!("and nobody will ask") }));
/// rt.block_on(runtime::yield_now());
/// assert_eq!(rt.unobserved_panics(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub enum PanicPolicy {
    /// One line on standard error, and [`Runtime::unobserved_panics`](crate::Runtime::unobserved_panics) counts it.
    #[default]
    Report,
    /// The process ends at once, as if by [`std::process::abort`].
    Abort,
    /// The function is called on the home thread with the task's number and the panic's payload.
    Hook(fn(TaskId, Box<dyn Any + Send>)),
}

/// A runtime's policy, and how often it was asked.
#[derive(Default)]
pub(crate) struct Panics {
    policy: PanicPolicy,
    unobserved: Cell<u64>,
}

impl Panics {
    pub(crate) fn new(policy: PanicPolicy) -> Self {
        Panics { policy, unobserved: Cell::new(0) }
    }

    pub(crate) fn count(&self) -> u64 {
        self.unobserved.get()
    }

    /// Nobody will ask for this panic: to the policy with it.
    #[cold]
    pub(crate) fn unobserved(&self, task: TaskId, payload: Payload) {
        self.unobserved.set(self.unobserved.get() + 1);
        match self.policy {
            PanicPolicy::Report => {
                report(format_args!("task {task} panicked and nobody holds its handle"), payload);
            }
            PanicPolicy::Abort => std::process::abort(),
            PanicPolicy::Hook(hook) => {
                if let Err(payload) = catch(|| hook(task, payload)) {
                    forget(payload);
                }
            }
        }
    }
}

/// One line on standard error. If that is gone too, there is nobody left to tell. (`eprintln!` would panic.)
pub(crate) fn report(what: fmt::Arguments<'_>, payload: Payload) {
    let _ = writeln!(io::stderr().lock(), "runtime: {what}: {}", message(&*payload));
    forget(payload);
}

/// What a panic said, if it said it in words.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(message) = payload.downcast_ref::<&str>() {
        message
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message
    } else {
        "(a payload that is not text)"
    }
}
