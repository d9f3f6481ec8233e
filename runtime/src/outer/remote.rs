//! How does another thread spawn a task, and get its result?
//!
//! The future may not be `Send`, so it cannot be made abroad and carried home. What travels is a closure: it is posted,
//! called on the home thread, makes the future there, and spawns it. The result comes back through a [`Slot`] that both
//! sides hold: a value, or the waker of whoever waits for it, under a lock that is held for a few instructions.
//!
//! If the runtime ends before the task does, the sender's half is dropped with the task (or with the unread letter), and
//! the waiting side is told that the task was cancelled. So nobody waits for ever.
//!
//! Comes from: any thread. Goes to: executor.rs (`Handle::post`, `spawn`).

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_task::{LocalFutureObj, LocalSpawn, SpawnError};

use crate::{Gone, Handle, JoinError, JoinHandle, spawn};

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
        let slot = Arc::new(Slot(Mutex::new(State {
            result: None,
            waiting: None,
            stopped: false,
            detached: false,
            watcher: None,
        })));
        let sender = Sender { slot: Arc::clone(&slot), sent: false };
        self.post(move || drop(spawn(forward(spawn(make()), sender))))?;
        Ok(RemoteHandle { slot, home: self.clone() })
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

/// Awaits the task, or the wish to stop it, and sends the result abroad.
async fn forward<T: Send>(mut task: JoinHandle<T>, sender: Sender<T>) {
    let result = std::future::poll_fn(|cx| {
        if sender.is_stopped(cx.waker()) {
            task.abort();
        }
        Pin::new(&mut task).poll(cx)
    })
    .await;
    sender.send(result);
}

/// The right to the result of a task that runs on another thread's runtime. `Send`; can be awaited anywhere. Dropping it
/// detaches the task.
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
    slot: Arc<Slot<T>>,
    home: Handle,
}

impl<T> RemoteHandle<T> {
    /// Asks the home thread to stop the task. Await the handle to know that it has: the answer is the output if the task
    /// was quicker, else a [`JoinError`] that says it was cancelled.
    pub fn abort(&self) {
        let mut state = self.slot.lock();
        state.stopped = true;
        let watcher = state.watcher.take();
        drop(state);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone(); // foreign code: not under the lock
        let mut state = self.slot.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        let replaced = state.waiting.replace(waker);
        drop(state);
        drop(replaced);
        crate::parked(&crate::Wait { reason: crate::Reason::Join, source: None, label: None });
        Poll::Pending
    }
}

/// A panic that nobody will ask for goes home, to the runtime's policy.
impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.detached = true;
        let left = (state.result.take(), state.waiting.take());
        drop(state);
        if let (Some(Err(error)), _) = left
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

/// What both threads hold. No waker is called and no value dropped under its lock.
struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    result: Option<Result<T, JoinError>>,
    /// Who awaits the result.
    waiting: Option<Waker>,
    /// The task is to be stopped.
    stopped: bool,
    /// Nobody will ask for the result.
    detached: bool,
    /// Who, at home, wants to know that.
    watcher: Option<Waker>,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the result to whoever waits; back, if nobody ever will.
    fn complete(&self, result: Result<T, JoinError>) -> Result<(), Result<T, JoinError>> {
        let mut state = self.lock();
        if state.detached {
            return Err(result);
        }
        state.result = Some(result);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        Ok(())
    }
}

/// The home thread's half. Dropped without a result (the runtime has ended), it tells the other half so.
struct Sender<T> {
    slot: Arc<Slot<T>>,
    sent: bool,
}

impl<T> Sender<T> {
    fn send(mut self, result: Result<T, JoinError>) {
        self.sent = true;
        if let Err(Err(error)) = self.slot.complete(result)
            && let Ok(payload) = error.try_into_panic()
        {
            // This task's own handle is gone, so what it panics with goes to the runtime's policy.
            resume_unwind(payload);
        }
    }

    fn is_stopped(&self, watcher: &Waker) -> bool {
        let watcher = watcher.clone(); // foreign code: not under the lock
        let mut state = self.slot.lock();
        let replaced = state.watcher.replace(watcher);
        let stopped = state.stopped;
        drop(state);
        drop(replaced);
        stopped
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let watcher = self.slot.lock().watcher.take();
        drop(watcher);
        if !self.sent {
            // If it comes back, nobody waits for it.
            let _ = self.slot.complete(Err(JoinError::from(Gone)));
        }
    }
}
