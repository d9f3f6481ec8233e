//! What is a task?
//!
//! A task is a future that the loop polls on its own account, not as part of another future. It is one allocation,
//! shared by all who have to do with it:
//!
//! ```text
//!                  ┌────────────────────────────── Task<F> ───────────────────────────────┐
//!   table of       │ place: home, key, queued, posted │ body, AtHome: stage, joiner, flags │
//!   live tasks ───►│       (for any thread)           │     (for the home thread alone)    │◄─── JoinHandle<T>
//!                  └──────────────────────────────────────────────────────────────────────┘
//!                        ▲ wakers, on any thread
//! ```
//!
//! Its life. Each arrow names the function that takes it; all but 2' happen on the home thread.
//!
//! ```text
//!              1              2, 2'            3             4
//!   (future) ─────► waiting ─────────► queued ─────► polled ─────► finished ─────► gone
//!                      ▲                  │             │             ▲      6
//!                      └──────────────────┼─────────────┘             │
//!                            3: Pending   └───────────────────────────┘
//!                                              5 (also from waiting)
//! ```
//!
//! 1. `spawn`: the future moves into the cell, the cell into the table, its key into the run queue.
//! 2. a wake at home (`Place::wake`) puts the key into the run queue; 2' a wake abroad posts a letter that does so later.
//! 3. `Runnable::run`, called by the loop: one poll.
//! 4. the poll was ready, or panicked, or an abort came while it ran: the future is dropped, the result kept.
//! 5. `abort` while it is not polled: the future is dropped on the spot; the key is queued, so that the loop meets the
//!    empty cell and takes it off the table.
//! 6. the handle takes the result, or is dropped, or was dropped before: a cell dies empty, so that a waker that
//!    outlives it on some other thread holds nothing but memory.
//!
//! Who may touch what: strangers see `place` and nothing else. At home, `stage` is lent to one at a time; whoever finds it
//! lent is inside the task's own poll (it aborts, or awaits, itself) and is answered without it.
//!
//! Comes from: spawn (executor.rs). Goes to: run_queue.rs through wakers, to the awaiting task through join.rs.

#[allow(unsafe_code)]
mod cell;
mod join;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

use crate::context::{self, Context};
use crate::instrument::TaskId;
use crate::run_queue::{Key, Place};

use cell::Task;
pub use join::{JoinError, JoinHandle};

/// A task as the loop sees it, its future's type forgotten.
pub(crate) trait Runnable {
    /// Polls once. Called by the loop alone, with the key off the queue.
    fn run(self: Arc<Self>) -> Outcome;
    /// Drops the future, as the runtime ends.
    fn close(&self);
    fn id(&self) -> TaskId;
}

/// What became of a task in a poll.
pub(crate) enum Outcome {
    /// It waits for a wake: back into the table.
    Waiting(Arc<dyn Runnable>),
    /// It has ended, but its key still stands in the queue: the table keeps its place until the key comes up.
    EndedButQueued(Arc<dyn Runnable>),
    /// It has ended and nothing refers to its key any more.
    Ended,
}

/// A panic's payload.
pub(crate) type Payload = Box<dyn Any + Send>;

/// What to do with a panic of a task whose handle is gone, so that nobody will ever ask for its result.
///
/// A panic never takes the loop down by itself, and is never silent: the handle has it, or this policy gets it.
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

impl Context {
    /// Puts a future on the table and into the run queue.
    pub(crate) fn spawn<F>(
        &self,
        future: F,
        name: Option<&str>,
        site: &'static Location<'static>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        let id = TaskId(self.spawned.get() + 1);
        self.spawned.set(id.0);
        if let Some(instrument) = self.instrument() {
            instrument.spawned(id, name, site);
        }
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let key = entry.key() as Key;
        let task = Arc::new(Task::new(
            Place::new(Arc::clone(&self.home), id, key, true),
            future,
        ));
        let handle = JoinHandle::new(Arc::clone(&task));
        match self.home.queue() {
            Some(queue) if !self.closing.get() => {
                entry.insert(Some(task));
                queue.push(key);
            }
            // Spawned by the drop of another task while the runtime ends: it is never polled.
            _ => {
                drop(tasks);
                task.close();
            }
        }
        handle
    }
}

/// Drops what may be foreign code, and turns its panic into a value.
fn drop_caught<T>(value: T) -> Result<(), Payload> {
    catch_unwind(AssertUnwindSafe(|| drop(value)))
}

/// Nobody will ask for this panic: to the policy with it.
pub(crate) fn unobserved(task: TaskId, payload: Payload) {
    let policy = context::with(|context| {
        let count: &Cell<u64> = &context.unobserved_panics;
        count.set(count.get() + 1);
        context.panic_policy
    });
    match policy.unwrap_or_default() {
        PanicPolicy::Report => {
            eprintln!(
                "runtime: task {task} panicked and nobody holds its handle: {}",
                join::message(&*payload)
            );
            let _ = drop_caught(payload);
        }
        PanicPolicy::Abort => std::process::abort(),
        PanicPolicy::Hook(hook) => hook(task, payload),
    }
}
