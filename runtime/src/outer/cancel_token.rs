//! How does one part of a program tell others, perhaps on other threads, to come to an end?
//!
//! A [`CancelToken`] is a flag that is set once and that can be awaited. Clones share it. It says nothing about what is to
//! be stopped or how: a server that sees it stops accepting, a task that sees it returns, and [`CancelToken::run`] drops
//! what it runs.
//!
//! Tokens form trees. Setting a token sets its children, and theirs; setting a child does nothing to its parent. A child
//! holds its parent; the parent knows the child by a weak reference, which the child takes away with it when its last
//! clone is dropped. So a parent that lives as long as the program keeps nothing of a million requests' tokens.
//!
//! A token may have a deadline. No thread and no task watches it: whoever awaits the token sleeps until then in its own
//! runtime, and whoever only asks looks at the clock; the first to see that the time has come sets the token, for all
//! others and for good. A child's deadline is never later than its parent's.
//!
//! Foreign code (wakers) is never called under a lock, and no lock is held while another is taken. Trees are walked in
//! loops, not by recursion: no depth overflows the stack.
//!
//! The tree is that of tokio-util's CancellationToken; the deadline, of trio's cancel scopes.
//!
//! Comes from: a signal, a shutdown command, a deadline. Goes to: whoever awaits `cancelled`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::{Sleep, now, sleep_until};

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
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    deadline: Option<Instant>,
    /// With the number under which it knows this one.
    parent: Option<(Arc<Inner>, u64)>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// Who waits, by the number of its wait.
    waiting: BTreeMap<u64, Waker>,
    children: BTreeMap<u64, Weak<Inner>>,
    last: u64,
}

impl CancelToken {
    /// A token that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that sets itself at `deadline`, if nobody has set it before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runtime::CancelToken;
    /// let token = CancelToken::with_deadline(runtime::now() + Duration::from_millis(1));
    /// runtime::block_on(token.cancelled());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn with_deadline(deadline: Instant) -> Self {
        Self::with(Some(deadline), None)
    }

    /// As [`with_deadline`](Self::with_deadline), `duration` from now. One beyond the clock's range never comes.
    pub fn with_timeout(duration: Duration) -> Self {
        Self::with(now().checked_add(duration), None)
    }

    /// A token that is set when this one is, and that can be set alone. Leaves nothing in this one when it is dropped.
    ///
    /// ```
    /// let server = runtime::CancelToken::new();
    /// let (one, other) = (server.child(), server.child());
    /// one.cancel();
    /// assert!(!other.is_cancelled());
    /// server.cancel();
    /// assert!(other.is_cancelled());
    /// ```
    pub fn child(&self) -> Self {
        self.child_until(self.inner.deadline)
    }

    /// As [`child`](Self::child), with a deadline of its own: the earlier of that and its parent's.
    ///
    /// ```
    /// use runtime::{CancelToken, now};
    /// use std::time::Duration;
    /// let request = CancelToken::with_timeout(Duration::from_secs(5));
    /// let query = request.child_with_deadline(now() + Duration::from_secs(60));
    /// assert_eq!(query.deadline(), request.deadline()); // the earlier one
    /// ```
    pub fn child_with_deadline(&self, deadline: Instant) -> Self {
        self.child_until(Some(self.inner.deadline.map_or(deadline, |ours| ours.min(deadline))))
    }

    /// When it sets itself, if it does.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// Sets the flag and its children's, and wakes all who wait. Setting it again does nothing.
    pub fn cancel(&self) {
        // First all flags, then the wakers: who is woken, or calls this meanwhile, finds no child that is not set.
        let mut to_wake = Vec::new();
        let mut to_set = vec![Arc::clone(&self.inner)];
        while let Some(token) = to_set.pop() {
            let mut state = token.lock();
            state.cancelled = true;
            to_wake.extend(std::mem::take(&mut state.waiting).into_values());
            let children = std::mem::take(&mut state.children);
            drop(state);
            to_set.extend(children.values().filter_map(Weak::upgrade));
        }
        for waker in to_wake {
            // A waker is foreign code: if one panics, the others are woken all the same.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                std::mem::forget(payload); // its drop is foreign, too
            }
        }
    }

    /// Whether the flag is set, or its time has come.
    pub fn is_cancelled(&self) -> bool {
        let is_set = self.inner.lock().cancelled;
        let is_due = !is_set && self.inner.deadline.is_some_and(|deadline| deadline <= now());
        if is_due {
            self.cancel();
        }
        is_set || is_due
    }

    /// Waits until the flag is set.
    ///
    /// # Panics
    /// When polled outside of a runtime, if the token has a deadline that is still to come.
    ///
    /// # Cancel safety
    /// Dropping the wait takes it off the list and changes nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { token: self.clone(), number: None, sleep: None }
    }

    /// Runs `future` until the token is set; then drops it and gives `None`. Once the token is set, `future` is not polled
    /// any more, and not at all if it was set before: a value that was ready at the same time is dropped with it.
    ///
    /// # Panics
    /// As [`cancelled`](Self::cancelled).
    ///
    /// # Cancel safety
    /// As that of `future`: it is dropped wherever it stands.
    ///
    /// ```
    /// let token = runtime::CancelToken::new();
    /// runtime::block_on(async {
    ///     assert_eq!(token.run(async { 5 }).await, Some(5));
    ///     token.cancel();
    ///     assert_eq!(token.run(async { 5 }).await, None);
    /// });
    /// ```
    pub fn run<F: IntoFuture>(
        &self,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        let (mut cancelled, future) = (self.cancelled(), future.into_future());
        async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| match Pin::new(&mut cancelled).poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => future.as_mut().poll(cx).map(Some),
            })
            .await
        }
    }

    fn with(deadline: Option<Instant>, parent: Option<(Arc<Inner>, u64)>) -> Self {
        CancelToken { inner: Arc::new(Inner { state: Mutex::default(), deadline, parent }) }
    }

    fn child_until(&self, deadline: Option<Instant>) -> Self {
        let number = self.inner.lock().next();
        let child = Self::with(deadline, Some((Arc::clone(&self.inner), number)));
        let mut state = self.inner.lock();
        let is_set = state.cancelled;
        if !is_set {
            state.children.insert(number, Arc::downgrade(&child.inner));
        }
        drop(state);
        if is_set {
            child.cancel();
        }
        child
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_due = self.inner.deadline.is_some_and(|deadline| deadline <= now());
        let cancelled = self.inner.lock().cancelled || is_due;
        f.debug_struct("CancelToken")
            .field("cancelled", &cancelled)
            .field("deadline", &self.inner.deadline)
            .finish()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Takes itself off its parent's list; and so on upwards, where this was the last to hold the parent.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some((token, number)) = parent {
            let forgotten = token.lock().children.remove(&number);
            drop(forgotten);
            parent = Arc::into_inner(token).and_then(|mut token| token.parent.take());
        }
    }
}

/// The future of [`CancelToken::cancelled`].
///
/// ```
/// use runtime::{CancelToken, timeout};
/// use std::time::Duration;
/// runtime::block_on(async {
///     let token = CancelToken::new();
///     let mut cancelled = token.cancelled();
///     assert!(timeout(Duration::from_millis(1), &mut cancelled).await.is_err(), "not yet");
///     token.cancel();
///     cancelled.await;
/// });
/// ```
#[must_use = "futures do nothing until they are awaited"]
#[derive(Debug)]
pub struct Cancelled {
    token: CancelToken,
    number: Option<u64>,
    /// Until the token's deadline, in the runtime of whoever waits.
    sleep: Option<Sleep>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.token.is_cancelled() || !this.park(cx.waker()) {
            return Poll::Ready(());
        }
        if let Some(deadline) = this.token.inner.deadline {
            let sleep = this.sleep.get_or_insert_with(|| sleep_until(deadline));
            if Pin::new(sleep).poll(cx).is_ready() {
                this.token.cancel();
                return Poll::Ready(());
            }
        }
        crate::parked(&crate::Wait { reason: crate::Reason::Token, source: None, label: None });
        Poll::Pending
    }
}

impl Cancelled {
    /// Has `waker` called when the token is set; `false`: it is set.
    fn park(&mut self, waker: &Waker) -> bool {
        let mut state = self.token.inner.lock();
        let known = self.number.and_then(|number| state.waiting.get(&number));
        if known.is_some_and(|known| known.will_wake(waker)) {
            return true;
        }
        drop(state);
        let waker = waker.clone(); // foreign code: not under the lock
        state = self.token.inner.lock();
        if state.cancelled {
            drop(state);
            return false; // and the waker is dropped, after the lock
        }
        let number = *self.number.get_or_insert_with(|| state.next());
        let replaced = state.waiting.insert(number, waker);
        drop(state);
        drop(replaced); // a waker is foreign code: not under the lock
        true
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let left = self.token.inner.lock().waiting.remove(&number);
            drop(left);
        }
    }
}
