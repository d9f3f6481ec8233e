//! What is a task?
//!
//! A task is a future that the loop polls on its own account, not as part of another future. It is one allocation,
//! shared by all who have to do with it:
//!
//! ```text
//!                  ┌──────────────────────────── Task<F> ────────────────────────────────┐
//!   list of        │ address: home, posted │ body, AtHome: stage, me, joiner, flags, key  │
//!   live tasks ───►│   (for any thread)    │        (for the home thread alone)           │◄─── JoinHandle<T>
//!                  └─────────────────────────────────────────────────────────────────────┘
//!                        ▲ wakers, on any thread
//! ```
//!
//! Its life. Each arrow names the function that takes it; all but 2' happen on the home thread. A task that waits holds
//! itself, by a reference in `me`. A wake takes that reference out and puts it into the run queue; the loop takes it from
//! there; after the poll it goes back into `me`. So a task is in one of three hands, and never in two.
//!
//! ```text
//!             1            3              4
//!   (future) ───► queued ────► polled ─────────► finished ────► gone
//!                   ▲            │                   ▲      6
//!               2, 2'            │ 3: Pending        │ 5
//!                   │            ▼                   │
//!                   └───────── waiting ──────────────┘
//! ```
//!
//! 1. `spawn`: the future moves into the cell, the cell into the list and the run queue.
//! 2. a wake at home: from `me` to the run queue. During the poll `me` is empty; then the wake leaves a mark, and the poll
//!    is followed by another. 2' a wake abroad posts a letter, which does the same when it is read.
//! 3. `run`, called by the loop: one poll.
//! 4. the poll was ready, or panicked, or an abort came while it ran: the future is dropped, the result kept.
//! 5. `abort` or `close` while it is not polled: the future is dropped on the spot. If it is queued, the loop finds it
//!    empty.
//! 6. the handle takes the result, or is dropped, or was dropped before: a cell dies empty, so that a waker that
//!    outlives it on some other thread holds nothing but memory.
//!
//! Who may touch what: strangers see `address` and nothing else. At home, `stage` is lent to one at a time; whoever finds
//! it lent is inside the task's own poll (it aborts, or awaits, itself) and is answered without it.
//!
//! Comes from: spawn (executor.rs). Goes to: run_queue.rs through wakers, to the awaiting task through join.rs.

#[allow(unsafe_code)]
mod cell;
mod join;

use std::panic::Location;

use crate::context::Context;
use crate::instrument::TaskId;

use cell::Task;
pub use join::{JoinError, JoinHandle};

/// Makes a task of a future, on the list of `context` and in its run queue.
pub(crate) fn spawn<F>(
    context: &Context,
    future: F,
    name: Option<&str>,
    site: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let id = TaskId(context.spawned.get() + 1);
    context.spawned.set(id.0);
    context.home.queue().tell(|instrument| instrument.spawned(id, name, site));
    JoinHandle::new(Task::start(&context.home, id, future))
}
