//! How does one part of a program tell others, perhaps on other threads, to come to an end?
//!
//! A [`CancelToken`] is a flag that is set once and that can be awaited. Clones share it. It says nothing about what is to
//! be stopped or how: a server that sees it stops accepting, a task that sees it returns, and [`CancelToken::run`] drops
//! what it runs.
//!
//! Tokens form trees. Setting a token sets its children, and theirs; setting a child does nothing to its parent. A child
//! holds its parent; the parent knows the child by a weak reference in a slot, which the child gives back when its last
//! clone is dropped. So a parent that lives as long as the program keeps nothing of a million requests' tokens but room
//! for as many as there were at the same time.
//!
//! A token is set for all below it from the moment that its own flag is: to ask is to look at the flags from the token
//! upwards. What the walk down the tree brings is the wake-ups.
//!
//! A token may have a deadline. No thread and no task watches it: a task that awaits the token sleeps until then in its
//! own runtime, and a call that only asks looks at the clock; the first to see that the time has come sets the token, for
//! all others and for good. A child's deadline is never later than its parent's.
//!
//! There is no lock here (sys/os/slots.rs): a job of the pool whose thread is behind all others may ask, wait, make
//! children and cancel, and the loop never waits for it. Trees are walked in loops, not by recursion: no depth overflows
//! the stack. Wakers are foreign code, and called one at a time: a waker that cancels, too, goes on with the rest.
//!
//! The tree is that of tokio-util's CancellationToken; the deadline, of trio's cancel scopes.
//!
//! Comes from: a signal, a shutdown command, a deadline. Goes to: whoever awaits `cancelled`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::outer::oneshot::WakerId;
use crate::sys::os::slots::{Slot, Slots};
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
    /// The tasks that wait, and the children. Closed: the token is set.
    waiters: Slots<Waiter>,
    deadline: Option<Instant>,
    /// With the slot in which it knows this one.
    parent: Option<(Arc<Inner>, Arc<Slot<Waiter>>)>,
}

enum Waiter {
    Task(Waker),
    Child(Weak<Inner>),
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
    ///
    /// While two threads are at it, one may return before the other has called the last waker.
    pub fn cancel(&self) {
        // Each waiter is taken right before it is served: a thread that is stopped in here holds up one, and another thread
        // that cancels serves the rest.
        let mut walks = vec![self.inner.waiters.close().into_iter()];
        while let Some(walk) = walks.last_mut() {
            match walk.next().map(|slot| slot.take()) {
                None => drop(walks.pop()),
                Some(Some(Waiter::Child(child))) => {
                    walks.extend(child.upgrade().map(|child| child.waiters.close().into_iter()));
                }
                Some(Some(Waiter::Task(waker))) => {
                    // A waker is foreign code: if one panics, the others are woken all the same.
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                        std::mem::forget(payload); // its drop is foreign, too
                    }
                }
                Some(None) => {}
            }
        }
    }

    /// Whether the flag is set, or its time has come. It takes no lock, and as many loads as there are tokens above this one.
    pub fn is_cancelled(&self) -> bool {
        let is_set = self.inner.waiters.is_closed();
        let is_due = !is_set && (self.inner.is_set() || self.is_due());
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
        Cancelled { token: self.clone(), slot: None, registered: None, sleep: None }
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

    fn with(deadline: Option<Instant>, parent: Option<(Arc<Inner>, Arc<Slot<Waiter>>)>) -> Self {
        CancelToken { inner: Arc::new(Inner { waiters: Slots::default(), deadline, parent }) }
    }

    fn child_until(&self, deadline: Option<Instant>) -> Self {
        let slot = self.inner.waiters.reserve();
        let parent = (Arc::clone(&self.inner), Arc::clone(&slot));
        let child = Self::with(deadline, Some(parent));
        // Refused if this one is set: then the child is, too, as it finds when it is asked.
        self.inner.waiters.put(&slot, Waiter::Child(Arc::downgrade(&child.inner)));
        child
    }

    fn is_due(&self) -> bool {
        self.inner.deadline.is_some_and(|deadline| deadline <= now())
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &(self.inner.is_set() || self.is_due()))
            .field("deadline", &self.inner.deadline)
            .finish()
    }
}

impl Inner {
    /// Whether this one or one above it is set.
    fn is_set(&self) -> bool {
        let mut next = Some(self);
        while let Some(token) = next {
            if token.waiters.is_closed() {
                return true;
            }
            next = token.parent.as_ref().map(|(parent, _)| &**parent);
        }
        false
    }
}

/// Gives its slot back to its parent; and so on upwards, where this was the last to hold the parent.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some((token, slot)) = parent {
            token.waiters.release(slot);
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
pub struct Cancelled {
    token: CancelToken,
    /// Where the waker of the last poll is, and which one it is.
    slot: Option<Arc<Slot<Waiter>>>,
    registered: Option<WakerId>,
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
        let (waiters, id) = (&self.token.inner.waiters, Some(WakerId::of(waker)));
        if self.registered == id {
            return true;
        }
        self.registered = id;
        let slot = self.slot.get_or_insert_with(|| waiters.reserve());
        waiters.put(slot, Waiter::Task(waker.clone()))
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.token.inner.waiters.release(slot);
        }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").field("token", &self.token).finish_non_exhaustive()
    }
}
