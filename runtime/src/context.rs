//! Which runtime is this code running in?
//!
//! A future that sleeps or opens a socket must find the loop that will wake it. It is the one that is polling it right
//! now, so a thread-local knows: [`enter`] sets it for as long as a runtime runs, [`with`] reads it. This is the only
//! thread-local that holds a runtime; there is no global one, and no runtime is ever made behind the user's back.
//!
//! A [`Context`] is a runtime's parts, each in a cell of its own, so that code that runs inside one of them may use the
//! others. No borrow of any of them is held while foreign code runs (a poll, a waker, a drop).
//!
//! Comes from: executor.rs (which makes and enters it). Goes to: task/, timer.rs, async_socket.rs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use crate::instrument::{Instrument, TaskId, Wait};
use crate::reactor::Reactor;
use crate::run_queue::Home;
use crate::task::{PanicPolicy, Runnable};
use crate::timer::Timers;

/// One runtime's parts.
pub(crate) struct Context {
    pub(crate) home: Arc<Home>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) timers: Timers,
    /// All tasks that have not ended. A place is empty while its task is polled: the loop holds the task then.
    pub(crate) tasks: RefCell<Slab<Option<Arc<dyn Runnable>>>>,
    pub(crate) spawned: Cell<u64>,
    /// The task being polled; the root when none is.
    pub(crate) polled: Cell<TaskId>,
    pub(crate) closing: Cell<bool>,
    pub(crate) panic_policy: PanicPolicy,
    pub(crate) unobserved_panics: Cell<u64>,
}

impl Context {
    pub(crate) fn instrument(&self) -> Option<&Rc<dyn Instrument>> {
        self.home
            .queue()
            .and_then(|queue| queue.instrument.as_ref())
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static OPERATIONS: Cell<u32> = const { Cell::new(OPERATIONS_PER_POLL) };
}

/// How many operations on sockets one poll may do before it has to let others run. It bounds what a client that always
/// has more to say can keep to itself: about a quarter of a millisecond of 64-byte reads and writes.
const OPERATIONS_PER_POLL: u32 = 128;

/// The current runtime's parts, given to `f`; `None` outside of any runtime, and during the thread's last breaths.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    let context = CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()?;
    Some(f(&context))
}

/// As `with`, for callers who cannot go on without a runtime.
///
/// # Panics
/// Outside of a runtime, with the way in.
#[track_caller]
pub(crate) fn expect<R>(who: &str, f: impl FnOnce(&Context) -> R) -> R {
    match with(f) {
        Some(result) => result,
        None => panic!(
            "{who} was used outside of a runtime: no block_on is running on this thread. \
             Put the call inside runtime::block_on(async {{ .. }}); from another thread, use a Handle"
        ),
    }
}

/// Makes `context` the current one until the guard is dropped.
pub(crate) fn enter(context: &Rc<Context>) -> Entered {
    let watched_before = WATCHED.replace(context.instrument().is_some());
    let before = CURRENT.with(|current| current.replace(Some(Rc::clone(context))));
    Entered {
        before,
        watched_before,
    }
}

/// Whether an instrument watches the current runtime.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    WATCHED.get()
}

/// Whether some runtime is running on this thread.
pub(crate) fn is_entered() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

pub(crate) struct Entered {
    before: Option<Rc<Context>>,
    watched_before: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let ours = CURRENT.with(|current| current.replace(self.before.take()));
        WATCHED.set(self.watched_before);
        drop(ours); // outside the borrow
    }
}

/// Tells the instrument, if there is one, what the task that is being polled waits for.
#[cold]
pub(crate) fn parked(wait: &Wait<'_>) {
    with(|context| {
        if let Some(instrument) = context.instrument() {
            instrument.parked(context.polled.get(), wait);
        }
    });
}

/// Takes one operation off this poll's allowance; `false`: there is none left.
#[inline(always)]
pub(crate) fn spend_operation() -> bool {
    let left = OPERATIONS.get();
    OPERATIONS.set(left.wrapping_sub(1));
    left != 0 || {
        OPERATIONS.set(0);
        false
    }
}

/// A new poll, a new allowance.
#[inline(always)]
pub(crate) fn refill_operations() {
    OPERATIONS.set(OPERATIONS_PER_POLL);
}
