//! How does one wait for a task, or stop it?
//!
//! A [`JoinHandle`] is the task's own `Arc` seen from another side, so it costs no allocation. It stays on the task's
//! thread, like the task. What it gives is the task's output, or a [`JoinError`] that says why there is none.
//!
//! Comes from: `spawn`. Goes to: cell.rs, which holds the result.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::context;
use crate::instrument::{Reason, TaskId, Wait};
use crate::panics::{self, Payload};

/// A task as its handle sees it, its future's type forgotten, its output's type kept.
pub(super) trait Join<T> {
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn abort(&self);
    fn is_finished(&self) -> bool;
    fn detach(&self);
    fn id(&self) -> TaskId;
}

/// The right to a task's result. Dropping it does not stop the task: it is detached and runs on.
///
/// `handle.await` gives `Ok(output)`, or an error: the task panicked, or was cancelled.
///
/// # Panics
/// Polled again after it has given the result.
///
/// # Cancel safety
/// Awaiting by `&mut handle` and dropping that future loses nothing. Awaiting by value and dropping detaches the task.
///
/// ```
/// runtime::block_on(async {
///     let handle = runtime::spawn(async { 6 * 7 });
///     assert_eq!(handle.await?, 42);
///     Ok::<(), runtime::JoinError>(())
/// })?;
/// # Ok::<(), runtime::JoinError>(())
/// ```
///
/// A handle stays on its thread, and so does what it awaits:
///
/// ```compile_fail
/// fn is_send<T: Send>() {}
/// is_send::<runtime::JoinHandle<()>>();
/// ```
pub struct JoinHandle<T> {
    task: Arc<dyn Join<T>>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(task: Arc<impl Join<T> + 'static>) -> Self {
        JoinHandle { task }
    }

    /// Stops the task: its future is dropped now, or, if it is being polled (the task aborts itself), at the end of that
    /// poll. Does nothing to a task that has ended; an output that is ready stays ready.
    ///
    /// The future's drop may abort other tasks, and theirs again others. Up to 32 deep these calls nest, so each finds its task
    /// dropped when it returns. Deeper ones return first and are made up for, in the order of the calls, before the call
    /// at that depth returns. So a chain may have any length, and all of it is dropped when the outermost call returns.
    ///
    /// ```
    /// runtime::block_on(async {
    ///     let handle = runtime::spawn(std::future::pending::<()>());
    ///     handle.abort();
    ///     assert!(handle.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Stops the task and waits until its future is dropped, so that whatever it owned (a port, a file, a lock) is free
    /// again. Gives the output all the same if the task was quicker.
    ///
    /// # Errors
    /// [`JoinError`]: cancelled, which is the expected answer; panicked; or, called by the task on itself, an error that
    /// says so ([`JoinError::is_itself`]): a task cannot wait for its own end.
    ///
    /// # Cancel safety
    /// The task is stopped even if the wait is dropped.
    ///
    /// ```
    /// runtime::block_on(async {
    ///     let handle = runtime::spawn(std::future::pending::<()>());
    ///     assert!(handle.cancel().await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(self) -> JoinHandle<T> {
        self.abort();
        self
    }

    /// Whether the task has ended, by whichever way.
    ///
    /// ```
    /// runtime::block_on(async {
    ///     let handle = runtime::spawn(async {});
    ///     assert!(!handle.is_finished());
    ///     runtime::yield_now().await;
    ///     assert!(handle.is_finished(), "task {} is over", handle.id());
    /// });
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The task's number, which no other task of the same runtime ever has.
    pub fn id(&self) -> TaskId {
        self.task.id()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = self.task.poll_join(cx);
        if poll.is_pending() && context::is_watched() {
            let task = self.task.id();
            context::parked(&Wait { reason: Reason::Join, source: None, label: Some(&task) });
        }
        poll
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.detach();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("task", &self.id()).finish_non_exhaustive()
    }
}

/// Why a task gave no output.
///
/// ```
/// runtime::block_on(async {
///     let error = runtime::spawn(async { panic!("oh") }).await.unwrap_err();
///     assert!(error.is_panic() && !error.is_cancelled());
///     assert_eq!(error.to_string(), "the task panicked: oh");
///     let payload = error.try_into_panic().expect("it is one");
///     assert_eq!(payload.downcast_ref(), Some(&"oh"));
/// });
/// ```
pub struct JoinError {
    kind: Kind,
}

enum Kind {
    Cancelled,
    /// In a mutex only so that the error is `Sync`, as error types are expected to be; boxed, since a place for it is kept
    /// in every task.
    Panicked(Box<Mutex<Payload>>),
    Itself,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        JoinError { kind: Kind::Cancelled }
    }

    pub(super) fn panicked(payload: Payload) -> Self {
        JoinError { kind: Kind::Panicked(Box::new(Mutex::new(payload))) }
    }

    pub(super) fn itself() -> Self {
        JoinError { kind: Kind::Itself }
    }

    /// The task was stopped by [`JoinHandle::abort`], [`JoinHandle::cancel`] or the end of its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Cancelled)
    }

    /// The task panicked, in a poll or in the drop of its future.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(_))
    }

    /// The task awaited its own handle, which can never come to an end.
    ///
    /// ```
    /// use runtime::{JoinHandle, spawn, yield_now};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// runtime::block_on(async {
    ///     let (place, told) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(false)));
    ///     let (own, tell) = (Rc::clone(&place), Rc::clone(&told));
    ///     place.set(Some(spawn(async move {
    ///         let own: JoinHandle<()> = own.take().expect("a task starts after it was spawned");
    ///         tell.set(own.await.is_err_and(|error| error.is_itself()));
    ///     })));
    ///     yield_now().await;
    ///     assert!(told.get());
    /// });
    /// ```
    pub fn is_itself(&self) -> bool {
        matches!(self.kind, Kind::Itself)
    }

    /// The panic's payload, to look into or to pass on with [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// The error itself, if it was no panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.kind {
            Kind::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            kind => Err(JoinError { kind }),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cancelled => f.write_str("the task was cancelled"),
            Kind::Itself => f.write_str("a task cannot wait for its own end"),
            Kind::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "the task panicked: {}", panics::message(&**payload))
            }
        }
    }
}

impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> Self {
        std::io::Error::other(error)
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
