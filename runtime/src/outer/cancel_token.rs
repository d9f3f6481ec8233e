//! How does one part of a program tell others, perhaps on other threads, to come to an end?
//!
//! A [`CancelToken`] is a flag that is set once and that can be awaited. Clones share it. It says nothing about what is to
//! be stopped or how: a server that sees it stops accepting, a task that sees it returns.
//!
//! Comes from: a signal, a shutdown command, a deadline. Goes to: whoever awaits `cancelled`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A flag, set once, that any number of tasks on any threads can await.
///
/// ```
/// let token = runtime::CancelToken::new();
/// let other = token.clone();
/// runtime::block_on(async move {
///     let waiting = runtime::spawn(async move { other.cancelled().await });
///     token.cancel();
///     waiting.await.unwrap();
/// });
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// Who waits, by the number of its wait.
    waiting: BTreeMap<u64, Waker>,
    last: u64,
}

impl CancelToken {
    /// A token that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes all who wait. Setting it again does nothing.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waker in waiting.into_values() {
            // A waker is foreign code: if one panics, the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Waits until the flag is set.
    ///
    /// # Cancel safety
    /// Dropping the wait takes it off the list and changes nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { token: self.clone(), number: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// The future of [`CancelToken::cancelled`].
#[must_use = "futures do nothing until they are awaited"]
#[derive(Debug)]
pub struct Cancelled {
    token: CancelToken,
    number: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone(); // foreign code: not under the lock
        let mut state = this.token.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        let number = match this.number {
            Some(number) => number,
            None => {
                state.last += 1;
                state.last
            }
        };
        let replaced = state.waiting.insert(number, waker);
        drop(state);
        drop(replaced); // a waker is foreign code: not under the lock
        this.number = Some(number);
        crate::parked(&crate::Wait { reason: crate::Reason::Token, source: None, label: None });
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let left = self.token.lock().waiting.remove(&number);
            drop(left);
        }
    }
}
