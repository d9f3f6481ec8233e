//! How do children borrow from around their block?
//!
//! By not being tasks. A task may outlive whoever spawned it, so it can borrow nothing; the children of a [`scope`] are part
//! of the scope's own future, are polled by it, and go with it. The compiler sees that, and no unsafe code is needed.
//!
//! A future that holds many others has to know whom to poll, or each wake costs a poll of all. So each child has a waker of
//! its own, which puts the child into a list and wakes the parent once; the parent's poll takes the list and polls who stands in
//! it. That is one round: what becomes ready meanwhile has woken the parent again and waits for the next, so the scope
//! keeps nobody else waiting. The list crosses threads (wakers do), the children do not.
//!
//! futures-util's FuturesUnordered puts list, waker and future into one allocation, for which it needs unsafe code. Here it
//! is a box and an `Arc` each, in a slab: two allocations a child, not one (and a third for the place of its value).
//!
//! The rules of ending are those of the table in nursery.rs. There is one difference: if the scope is dropped and a child's
//! drop panics, that panic goes on from there (after all others are dropped), as there is no task to report for.
//!
//! Comes from: user code. Goes to: the children's futures.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_task::{ArcWake, waker_ref};
use slab::Slab;

use crate::sys::os::beside;
use crate::{Child, Errors};

/// Runs `body`, which may spawn children that borrow from around the block, and ends when the body and all children have
/// ended and been dropped. The children run within this future, so on the same thread and only while it is polled.
/// They borrow what lives around the `scope(..)` call; what the body itself makes, they own (`async move`).
/// Scopes in scopes are polled and dropped as calls within calls: 300 deep they take less than 2 MiB of stack in a debug
/// build. Where that is not enough, tasks may be nested to any depth.
///
/// | | [`nursery`](crate::nursery) | [`scope`] |
/// |---|---|---|
/// | children are              | tasks of the runtime          | parts of the parent's task                       |
/// | they may use              | what they own                 | what they own, and what lives around the block   |
/// | they are polled           | by the loop, one by one       | within the parent's poll, those that were woken  |
/// | operations on sockets a poll | 128 each                   | 128 for all together                             |
/// | seen by an instrument     | each                          | as the parent                                    |
/// | runs under                | this runtime                  | any executor                                     |
/// | take it for               | servers, what lives long      | a handful of steps at once, over borrowed data   |
///
/// # Errors
/// The first child that returns an error, or the body if it does, ends all others. See [`Errors`].
///
/// # Panics
/// With the first panic of a child or of the body, once all others are dropped.
///
/// # Cancel safety
/// Dropping the future drops the body and then the children. What they had to give is lost.
///
/// ```
/// let words = ["each", "child", "borrows"].map(String::from);
/// let lengths = runtime::block_on(runtime::scope(async |s| {
///     let children: Vec<_> =
///         words.iter().map(|word| s.spawn(async { Ok::<_, std::io::Error>(word.len()) })).collect();
///     let mut sum = 0;
///     for child in children {
///         sum += child.await.unwrap_or(0);
///     }
///     Ok(sum)
/// }));
/// assert_eq!(lengths.unwrap(), 16);
/// ```
pub async fn scope<'env, T, E, B>(body: B) -> Result<T, Errors<E>>
where
    E: 'env,
    B: AsyncFnOnce(&Scope<'env, E>) -> Result<T, E>,
{
    let block = Block(Scope { inner: Rc::default() });
    let scope = &block.0;
    let mut value = None;
    {
        let mut body = pin!(Some(body(scope)));
        let body_signal = Signal::new(BODY, &scope.inner.ready);
        let body_waker = waker_ref(&body_signal);
        body_waker.wake_by_ref();
        let mut round = Vec::new();
        std::future::poll_fn(|cx| {
            scope.inner.ready.next_round(cx, &mut round);
            for signal in round.drain(..) {
                signal.is_queued.store(false, SeqCst);
                if signal.key != BODY {
                    scope.poll_child(&signal);
                } else if let Some(future) = body.as_mut().as_pin_mut()
                    && let Poll::Ready(result) = future.poll(&mut Context::from_waker(&body_waker))
                {
                    body.set(None);
                    match result {
                        Ok(ready) => value = Some(ready),
                        Err(error) => scope.inner.state.borrow_mut().errors.push(error),
                    }
                }
                if scope.has_failed() {
                    return Poll::Ready(()); // nobody is polled any more
                }
            }
            let is_over = scope.has_failed() || (value.is_some() && scope.is_empty());
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    scope.drop_all();
    let mut state = scope.inner.state.borrow_mut();
    let (panic, errors) = (state.panic.take(), std::mem::take(&mut state.errors));
    drop(state);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
    Errors::or(value, errors)
}

/// Where children are spawned that may borrow what lives for `'env`. Clones are the same scope; a child may hold one and
/// spawn more.
///
/// ```
/// use std::{cell::Cell, future::pending, io};
///
/// let done = Cell::new(0);
/// runtime::block_on(runtime::scope(async |s| {
///     for _ in 0..3 {
///         s.spawn(async { Ok::<_, io::Error>(done.set(done.get() + 1)) });
///     }
///     s.spawn(pending::<io::Result<()>>());
///     runtime::yield_now().await;
///     assert_eq!((done.get(), s.len()), (3, 1));
///     s.cancel(); // or the last one would keep the block open for ever
///     assert!(s.is_empty());
///     Ok(())
/// }))
/// .unwrap();
/// ```
pub struct Scope<'env, E> {
    inner: Rc<Inner<'env, E>>,
}

struct Inner<'env, E> {
    ready: Arc<Ready>,
    /// No foreign code runs while this is borrowed.
    state: RefCell<State<'env, E>>,
}

struct State<'env, E> {
    children: Slab<Entry<'env, E>>,
    closed: bool,
    errors: Vec<E>,
    panic: Option<Box<dyn Any + Send>>,
}

struct Entry<'env, E> {
    /// Out of its place while it is polled.
    future: Option<Running<'env, E>>,
    /// Its key may once have been another's, whose wakers are still about; this tells them apart.
    signal: Arc<Signal>,
}

type Running<'env, E> = Pin<Box<dyn Future<Output = Result<(), E>> + 'env>>;

impl<'env, E: 'env> Scope<'env, E> {
    /// Starts a child; it is polled in the next round. Its error ends the scope; its value can be had by awaiting the
    /// [`Child`], which may as well be dropped. In a scope that is cancelled or has ended the future is dropped at once.
    pub fn spawn<T, F>(&self, future: F) -> Child<T>
    where
        F: Future<Output = Result<T, E>> + 'env,
        T: 'env,
    {
        boxed_if_large!(future => self.adopt(future))
    }

    fn adopt<T, F>(&self, future: F) -> Child<T>
    where
        F: Future<Output = Result<T, E>> + 'env,
        T: 'env,
    {
        let (give, child) = Child::new();
        let mut state = self.inner.state.borrow_mut();
        if state.closed {
            return child; // the rest is dropped, after the borrow
        }
        let entry = state.children.vacant_entry();
        let signal = Signal::new(entry.key(), &self.inner.ready);
        let future = Box::pin(beside(future, Some(give), |polled, give, _| {
            polled.map(|result: Result<T, E>| {
                let value = result?;
                give.take().expect("it ends once").set(value);
                Ok(())
            })
        }));
        entry.insert(Entry { future: Some(future), signal: Arc::clone(&signal) });
        drop(state);
        ArcWake::wake(signal);
        child
    }

    /// Drops all children and lets nobody in any more. The body runs on and gives the block its value. Called by a child, it
    /// drops that one too, at the end of its poll.
    pub fn cancel(&self) {
        self.drop_all();
        self.inner.ready.wake(); // perhaps nothing is left to wait for
    }

    /// How many children there are.
    pub fn len(&self) -> usize {
        self.inner.state.borrow().children.len()
    }

    /// Whether there are no children.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn drop_all(&self) {
        let mut state = self.inner.state.borrow_mut();
        state.closed = true;
        // The place of one that is being polled is empty now, and is given back after the poll.
        let keys: Vec<_> = state
            .children
            .iter()
            .filter_map(|(key, entry)| entry.future.is_some().then_some(key))
            .collect();
        let dropped: Vec<_> = keys.into_iter().map(|key| state.children.remove(key)).collect();
        drop(state);
        for entry in dropped {
            self.note_panic(catch_unwind(AssertUnwindSafe(|| drop(entry.future))));
        }
    }

    fn poll_child(&self, signal: &Arc<Signal>) {
        let mut state = self.inner.state.borrow_mut();
        let entry = state.children.get_mut(signal.key);
        let entry = entry.filter(|entry| Arc::ptr_eq(&entry.signal, signal));
        let Some(mut future) = entry.and_then(|entry| entry.future.take()) else {
            return; // it has ended, and an old waker of it was called
        };
        drop(state);
        let waker = waker_ref(signal);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending if !self.inner.state.borrow().closed => Ok(Some(future)),
                Poll::Ready(Err(error)) => Err(error), // and the future is dropped, under this guard
                _ => Ok(None),
            }
        }));
        let mut state = self.inner.state.borrow_mut();
        match polled {
            Ok(Ok(Some(future))) => {
                state.children[signal.key].future = Some(future);
                return;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => state.errors.push(error),
            Err(payload) => {
                drop(state);
                self.note_panic(Err(payload));
                state = self.inner.state.borrow_mut();
            }
        }
        state.children.remove(signal.key);
    }

    /// The first panic is kept for the end. The panic hook has reported the others.
    fn note_panic(&self, result: thread::Result<()>) {
        if let Err(payload) = result {
            let mut state = self.inner.state.borrow_mut();
            match state.panic {
                None => state.panic = Some(payload),
                Some(_) => std::mem::forget(payload), // its drop is foreign code
            }
        }
    }

    fn has_failed(&self) -> bool {
        let state = self.inner.state.borrow();
        state.panic.is_some() || !state.errors.is_empty()
    }
}

/// The end of the scope, by whichever way it comes. Dropped after the body.
struct Block<'env, E: 'env>(Scope<'env, E>);

impl<E> Drop for Block<'_, E> {
    fn drop(&mut self) {
        self.0.drop_all();
        let panic = self.0.inner.state.borrow_mut().panic.take();
        match panic {
            Some(payload) if thread::panicking() => std::mem::forget(payload),
            Some(payload) => resume_unwind(payload),
            None => {}
        }
    }
}

/// Who was woken: the half that wakers reach, on any thread.
#[derive(Default)]
struct Ready(Mutex<Woken>);

#[derive(Default)]
struct Woken {
    signals: Vec<Arc<Signal>>,
    /// Taken by the first who is woken, put back by the next poll.
    parent: Option<Waker>,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the empty `round` with those who were woken, and has later ones wake `cx`.
    fn next_round(&self, cx: &Context<'_>, round: &mut Vec<Arc<Signal>>) {
        let parent = cx.waker().clone(); // foreign code: not under the lock
        let mut woken = self.lock();
        std::mem::swap(&mut woken.signals, round);
        let replaced = woken.parent.replace(parent);
        drop(woken);
        drop(replaced);
    }

    fn wake(&self) {
        let parent = self.lock().parent.take();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

/// What a child's wakers hold.
struct Signal {
    key: usize,
    is_queued: AtomicBool,
    /// Weak, because the list holds signals.
    ready: Weak<Ready>,
}

/// The body's key; no slab is as large.
const BODY: usize = usize::MAX;

impl Signal {
    fn new(key: usize, ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Signal { key, is_queued: AtomicBool::new(false), ready: Arc::downgrade(ready) })
    }
}

impl ArcWake for Signal {
    fn wake_by_ref(signal: &Arc<Self>) {
        if !signal.is_queued.swap(true, SeqCst)
            && let Some(ready) = signal.ready.upgrade()
        {
            ready.lock().signals.push(Arc::clone(signal));
            ready.wake();
        }
    }
}

impl<E> Default for Inner<'_, E> {
    fn default() -> Self {
        let (children, errors) = (Slab::new(), Vec::new());
        let state = State { children, closed: false, errors, panic: None };
        Inner { ready: Arc::default(), state: RefCell::new(state) }
    }
}

impl<E> Clone for Scope<'_, E> {
    fn clone(&self) -> Self {
        Scope { inner: Rc::clone(&self.inner) }
    }
}

impl<E> fmt::Debug for Scope<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.inner.state.borrow().children.len();
        f.debug_struct("Scope").field("children", &children).finish()
    }
}
