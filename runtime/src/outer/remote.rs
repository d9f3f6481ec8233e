//! Tasks spawned from another thread, and their results.
//!
//! The future may not be `Send`, so it cannot be made on the other thread. What travels is a closure: it is sent to the
//! runtime's inbox, called on the runtime's thread, makes the future there, and spawns it. The result comes back through a
//! [`Oneshot`], the wish to stop the task goes there by a [`CancelToken`]. Both are without a lock: the handle may be held by
//! a job of the pool whose thread is behind all others, and the loop must not wait for that.
//!
//! If the runtime ends before the task does, the sender's half is dropped with the task (or with the unread message), and
//! the waiting side is told that the task was cancelled.
//!
//! Comes from: any thread. Goes to: executor.rs (`Handle::post`, `spawn`).

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_task::{LocalFutureObj, LocalSpawn, SpawnError};

use crate::outer::oneshot::{Oneshot, WakerId};
use crate::{CancelToken, Gone, Handle, JoinError, JoinHandle, spawn};

impl Handle {
    /// Has the runtime call `make` at home and run the future it gives as a task.
    ///
    /// # Errors
    /// [`Gone`], if the runtime has ended.
    ///
    /// ```
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let thread = std::thread::spawn(move || {
    ///     runtime::block_on(async {
    ///         tell.send(runtime::Handle::current()).unwrap();
    ///         runtime::sleep(std::time::Duration::from_millis(50)).await;
    ///     })
    /// });
    /// let handle = told.recv().unwrap();
    /// let answer = handle.spawn(|| async { 6 * 7 })?;
    /// assert_eq!(runtime::block_on(answer).unwrap(), 42);
    /// # thread.join().unwrap();
    /// # Ok::<(), runtime::Gone>(())
    /// ```
    pub fn spawn<M, F>(&self, make: M) -> Result<RemoteHandle<F::Output>, Gone>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (result, stop) = (Arc::new(Oneshot::new()), CancelToken::new());
        let sender = Sender { result: Arc::clone(&result), sent: false };
        let stopped = stop.clone();
        self.post(move || {
            // Stopped before it began: the future is not even made, and the drop of `sender` says so.
            if !stopped.is_cancelled() {
                drop(spawn(forward(spawn(make()), stopped, sender)));
            }
        })?;
        Ok(RemoteHandle { result, stop, registered: None, home: self.clone() })
    }
}

/// For code that is generic over executors. At home only.
impl LocalSpawn for Handle {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        if !self.is_current() {
            return Err(SpawnError::shutdown());
        }
        drop(spawn(future));
        Ok(())
    }
}

/// Awaits the task, or the wish to stop it, and sends the result to the other thread.
async fn forward<T: Send>(mut task: JoinHandle<T>, stop: CancelToken, sender: Sender<T>) {
    let result = match stop.run(&mut task).await {
        Some(result) => result,
        None => {
            task.abort();
            task.await
        }
    };
    sender.send(result);
}

/// The right to the result of a task that runs on another thread's runtime. `Send`; can be awaited anywhere. Dropping it
/// detaches the task.
///
/// # Panics
/// When it is polled again after it has given the result.
///
/// # Cancel safety
/// Awaiting by `&mut handle` and dropping that future loses nothing.
///
/// ```
/// use std::{future::pending, thread};
/// runtime::block_on(async {
///     let home = runtime::Handle::current();
///     let thread = thread::spawn(move || {
///         let task = home.spawn(|| pending::<()>()).expect("its runtime is there");
///         task.abort();
///         runtime::block_on(task)
///     });
///     let result = runtime::unblock(|| thread.join().expect("no panic")).await;
///     assert!(result.expect("a thread").unwrap_err().is_cancelled());
/// });
/// ```
pub struct RemoteHandle<T> {
    result: Arc<Oneshot<Result<T, JoinError>>>,
    stop: CancelToken,
    registered: Option<WakerId>,
    home: Handle,
}

impl<T> RemoteHandle<T> {
    /// Asks the home thread to stop the task; as long as that has not come to the spawn, its future is not even made. Await
    /// the handle to know that the task has stopped: the answer is the output if the task was quicker, else a [`JoinError`]
    /// that says it was cancelled.
    pub fn abort(&self) {
        self.stop.cancel();
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.result.poll(&mut this.registered, cx.waker()) {
            Poll::Ready(Some(result)) => Poll::Ready(result),
            Poll::Ready(None) => {
                panic!("a RemoteHandle was polled again after it had given the task's result")
            }
            Poll::Pending => {
                let reason = crate::Reason::Join;
                crate::parked(&crate::Wait { reason, source: None, label: None });
                Poll::Pending
            }
        }
    }
}

/// A panic that no handle is left to ask for goes to the runtime's policy.
impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.result.close()
            && let Ok(payload) = error.try_into_panic()
        {
            // A runtime that has ended has no policy any more; the panic hook has had its say.
            let _ = self.home.post(move || resume_unwind(payload));
        }
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle").finish_non_exhaustive()
    }
}

/// The half on the runtime's thread. Dropped without a result (the runtime has ended, or the task was stopped before it
/// began), it tells the other half so.
struct Sender<T> {
    result: Arc<Oneshot<Result<T, JoinError>>>,
    sent: bool,
}

impl<T> Sender<T> {
    fn send(mut self, result: Result<T, JoinError>) {
        self.sent = true;
        if let Err(Err(error)) = self.result.send(result)
            && let Ok(payload) = error.try_into_panic()
        {
            // This task's own handle is gone, so what it panics with goes to the runtime's policy.
            resume_unwind(payload);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !self.sent {
            // If it comes back, the handle is gone.
            let _ = self.result.send(Err(JoinError::from(Gone)));
        }
    }
}
