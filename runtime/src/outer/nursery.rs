//! How does one start several things and never lose sight of one of them?
//!
//! By a block that does not end before they do. The children of a [`nursery`] are tasks; what makes them children is that
//! the nursery holds their handles, that each tells it when it ends, and that the block's end, by whichever way it comes,
//! stops those that are left. The task cell does the hard part: it drops an aborted future on the spot, catches panics of
//! polls and of drops, and keeps the result until the nursery asks.
//!
//! What fails, and what becomes of it: a table stands at [`nursery`], and each row is a test of tests/it/nursery.rs.
//!
//! "Dropped" means: on the spot, in the order in which they were spawned; a child that is being polled at that moment (it
//! called `cancel` itself), at the end of that poll. A child that ends well takes itself off the list and does not even
//! wake the parent, so a nursery may live for days and see millions.
//!
//! Why does `cancel` spare the body? Because the block's value has to come from somewhere. Who wants the body to stop as
//! well returns an error; who wants to stop the block from outside drops it (`timeout`, `CancelToken::run`).
//!
//! The idea, and `start`, are trio's; `asyncio.TaskGroup` and Kotlin's `coroutineScope` do the same.
//!
//! Comes from: user code. Goes to: `spawn`, `JoinHandle`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::sys::os::beside;
use crate::{JoinHandle, spawn, spawn_named};

/// Runs `body`, which may spawn children into the [`Nursery`] it is given, and ends when the body and all children have
/// ended and been dropped.
///
/// Children are tasks of the runtime and own what they use. Those that are to borrow from around the block belong into a
/// [`scope`](crate::scope); a table there compares the two.
///
/// The body is an async closure, `async |n| { .. }` (a plain one that gives an async block, `|n| async move { .. }`, does not
/// compile: it cannot borrow `n`). A child that spawns more takes a clone of `n`.
///
/// # What fails, and what becomes of it
///
/// | what happens                           | body                      | other children          | the block gives                    |
/// |----------------------------------------|---------------------------|-------------------------|------------------------------------|
/// | the body errs                          | has ended                 | dropped                 | its error                          |
/// | a child errs                           | dropped, not polled again | dropped                 | the child's error                  |
/// | several err before the parent is polled| dropped                   | dropped                 | all errors, in the order they came |
/// | a child errs after the body has ended  | its value is dropped      | dropped                 | the child's error                  |
/// | the body panics                        | dropped                   | dropped                 | the panic, after that              |
/// | a child panics                         | dropped                   | dropped                 | the panic, after that              |
/// | a child panics and others err          | dropped                   | dropped                 | the panic; the errors are dropped  |
/// | several panic                          | dropped                   | dropped                 | the first; the rest: `PanicPolicy` |
/// | a child's drop panics                  | dropped                   | dropped                 | the panic, as if of a poll         |
/// | `cancel`                               | runs on                   | dropped                 | the body's value                   |
/// | a spawn after that, or after the end   |                           | dropped unpolled        |                                    |
/// | the block is dropped (a timeout, say)  | dropped                   | dropped, after the body | nothing                            |
/// | the same, and a drop panics            | dropped                   | dropped                 | nothing; the panic: `PanicPolicy`  |
///
/// # Errors
/// The first child that returns an error, or the body if it does, stops all others. What they returned comes back as
/// [`Errors`], the cause first.
///
/// # Panics
/// With the first panic of a child or of the body, once all others are gone; it goes before errors. Further panics go to
/// the runtime's [`PanicPolicy`](crate::PanicPolicy). And outside of a runtime, when a child is spawned.
///
/// # Cancel safety
/// Dropping the future drops the body and then the children, on the spot. What they had to give is lost.
///
/// ```
/// use std::io;
/// let sum = runtime::block_on(runtime::nursery(async |n| {
///     let three = n.spawn(async { Ok::<_, io::Error>(3) });
///     let four = n.spawn(async { Ok(4) });
///     Ok(three.await.unwrap_or(0) + four.await.unwrap_or(0))
/// }));
/// assert_eq!(sum.unwrap(), 7);
/// ```
pub async fn nursery<T, E, B>(body: B) -> Result<T, Errors<E>>
where
    E: 'static,
    B: AsyncFnOnce(&Nursery<E>) -> Result<T, E>,
{
    let block = Block(Nursery { state: Rc::default() });
    let nursery = &block.0;
    let value = {
        let mut body = pin!(body(nursery));
        std::future::poll_fn(|cx| {
            if nursery.look_after(cx) {
                return Poll::Ready(None);
            }
            body.as_mut().poll(cx).map(|result| result.map_err(|error| nursery.fail(error)).ok())
        })
        .await
    };
    nursery.state.borrow_mut().body_has_ended = true;
    std::future::poll_fn(|cx| {
        if nursery.look_after(cx) {
            nursery.cancel();
        }
        if nursery.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let mut state = nursery.state.borrow_mut();
    let (panic, errors) = (state.panic.take(), std::mem::take(&mut state.errors));
    drop(state);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
    Errors::or(value, errors)
}

/// Where children are spawned. Clones are the same nursery; a child may hold one and spawn more.
///
/// `E` is the one error type of the block: what its children and its body return when they fail.
/// How many children there may be is not limited here: a body that takes in strangers limits them itself, by
/// [`len`](Self::len) or a semaphore (async-lock has one), as net's `serve` does with connections.
///
/// ```
/// use std::{future::pending, io};
///
/// runtime::block_on(runtime::nursery(async |n| {
///     n.spawn_named("ticker", pending::<io::Result<()>>());
///     let work = n.spawn(async { Ok(6 * 7) });
///     assert_eq!((n.len(), work.await), (2, Some(42)));
///     n.cancel(); // or the ticker would keep the block open for ever
///     assert!(n.is_empty());
///     Ok(())
/// }))
/// .unwrap();
/// ```
pub struct Nursery<E> {
    state: Rc<RefCell<State<E>>>,
}

/// No foreign code (drops and wakers included) runs while this is borrowed.
struct State<E> {
    children: BTreeMap<u64, JoinHandle<Result<(), E>>>,
    /// Children that have ended otherwise than well, for `look_after`.
    ended: Vec<(u64, JoinHandle<Result<(), E>>)>,
    last: u64,
    parent: Option<Waker>,
    body_has_ended: bool,
    /// Nobody is let in any more.
    closed: bool,
    errors: Vec<E>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<E: 'static> Nursery<E> {
    /// Starts a child. Its error ends the block; its value can be had by awaiting the [`Child`], which may as well be
    /// dropped. In a nursery that is cancelled or has ended the future is dropped at once, unpolled.
    ///
    /// # Panics
    /// Outside of a runtime.
    ///
    /// ```
    /// # runtime::block_on(runtime::nursery(async |n| {
    /// let more = n.clone();
    /// n.spawn(async move {
    ///     more.spawn(async { Ok::<_, std::io::Error>(()) });
    ///     Ok(())
    /// });
    /// # Ok(()) })).unwrap();
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> Child<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        boxed_if_large!(future => self.adopt(future, None).1)
    }

    /// As [`spawn`](Self::spawn), with a name for those who watch (see [`Instrument`](crate::Instrument)).
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn_named<T, F>(&self, name: &str, future: F) -> Child<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        boxed_if_large!(future => self.adopt(future, Some(name)).1)
    }

    /// Starts a child at once, and waits until it reports that it is ready by [`Started::send`]; gives what it sends (the
    /// address it listens on, say). The child runs on as any other.
    ///
    /// # Errors
    /// [`NotStarted`], if the child ends, or drops the [`Started`], without having sent. (If it ends by an error, that ends
    /// the block as any child's does, and the body with it.)
    ///
    /// # Panics
    /// Outside of a runtime.
    ///
    /// # Cancel safety
    /// Dropping the wait before the child has reported stops the child.
    ///
    /// ```
    /// # runtime::block_on(runtime::nursery(async |n| {
    /// let port = n.start(async |started: runtime::Started<u16>| {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     started.send(listener.local_addr()?.port());
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// assert_ne!(port.await?, 0);
    /// # Ok(()) })).unwrap();
    /// ```
    #[track_caller]
    pub fn start<V, T, F>(&self, child: F) -> impl Future<Output = Result<V, NotStarted>>
    where
        F: AsyncFnOnce(Started<V>) -> Result<T, E> + 'static,
        V: 'static,
        T: 'static,
    {
        let (give, given) = Child::new();
        let child = async move { child(Started(give)).await };
        let (number, child) = boxed_if_large!(child => self.adopt(child, None));
        let mut starting = Starting { nursery: self.clone(), number, given, child };
        std::future::poll_fn(move |cx| {
            let given = Pin::new(&mut starting.given).poll(cx).map(|given| given.ok_or(NotStarted));
            // What it would be given by may be elsewhere, and outlive the child.
            if given.is_pending() && Pin::new(&mut starting.child).poll(cx).is_ready() {
                return Poll::Ready(Err(NotStarted));
            }
            given
        })
    }

    /// Drops all children on the spot and lets nobody in any more. The body runs on and gives the block its value. Called by
    /// a child, it drops that one too, at the end of its poll.
    pub fn cancel(&self) {
        for (number, handle) in self.abort_all() {
            self.judge(number, handle);
        }
        self.tell_parent();
    }

    /// How many children there are. One that has cancelled its own nursery counts until the end of that poll.
    pub fn len(&self) -> usize {
        self.state.borrow().children.len()
    }

    /// Whether there are no children.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn adopt<T, F>(&self, future: F, name: Option<&str>) -> (u64, Child<T>)
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        let (give, child) = Child::new();
        let mut state = self.state.borrow_mut();
        if state.closed {
            return (0, child); // the rest is dropped, after the borrow
        }
        state.last += 1;
        let number = state.last;
        drop(state);
        let leave = Leave { nursery: self.clone(), number, is_well: false };
        // In the order in which they are to be dropped, should it never be polled: the future, its place for a value, its
        // place in the nursery.
        let task = beside(future, (Some(give), leave), |polled, (give, leave), _| {
            polled.map(|result: Result<T, E>| {
                let value = result?;
                give.take().expect("it ends once").set(value);
                leave.is_well = true;
                Ok(())
            })
        });
        let handle = match name {
            Some(name) => spawn_named(name, task),
            None => spawn(task),
        };
        self.state.borrow_mut().children.insert(number, handle);
        (number, child)
    }

    /// For the parent's poll: sees to the children that have ended, and tells whether something has failed.
    fn look_after(&self, cx: &Context<'_>) -> bool {
        let waker = cx.waker().clone();
        let mut state = self.state.borrow_mut();
        let replaced = state.parent.replace(waker);
        let ended = std::mem::take(&mut state.ended);
        drop(state);
        drop(replaced);
        for (number, handle) in ended {
            self.judge(number, handle);
        }
        self.state.borrow().has_failed()
    }

    fn fail(&self, error: E) {
        self.state.borrow_mut().errors.push(error);
    }

    fn abort_all(&self) -> BTreeMap<u64, JoinHandle<Result<(), E>>> {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        let children = std::mem::take(&mut state.children);
        drop(state);
        children.values().for_each(JoinHandle::abort);
        children
    }

    fn take_and(&self, number: u64, act: impl FnOnce(JoinHandle<Result<(), E>>)) {
        let handle = self.state.borrow_mut().children.remove(&number);
        if let Some(handle) = handle {
            act(handle);
        }
    }

    /// What has become of a child that was stopped or has ended?
    fn judge(&self, number: u64, mut handle: JoinHandle<Result<(), E>>) {
        if !handle.is_finished() {
            // It is being polled: it stopped itself, and will end with that poll.
            self.state.borrow_mut().children.insert(number, handle);
            return;
        }
        if self.state.borrow().panic.is_some() {
            return; // one panic is enough; the core gives another's to the policy when the handle is dropped
        }
        let result = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
        match result {
            Poll::Ready(Ok(Err(error))) => self.fail(error),
            Poll::Ready(Err(error)) => self.state.borrow_mut().panic = error.try_into_panic().ok(),
            _ => {}
        }
    }

    /// Wakes the parent if there is something for it to look after.
    fn tell_parent(&self) {
        let mut state = self.state.borrow_mut();
        let concerns_it = !state.ended.is_empty()
            || state.has_failed()
            || (state.body_has_ended && state.children.is_empty());
        let parent = state.parent.take_if(|_| concerns_it);
        drop(state);
        wake(parent);
    }
}

/// The end of the block, by whichever way it comes. Dropped after the body.
struct Block<E: 'static>(Nursery<E>);

impl<E> Drop for Block<E> {
    fn drop(&mut self) {
        // Nobody is left to be told: with the handles, panics go to the policy.
        let stopped = self.0.abort_all();
        let ended = std::mem::take(&mut self.0.state.borrow_mut().ended);
        drop((ended, stopped));
    }
}

/// Tells the nursery that a child has ended and been dropped.
struct Leave<E: 'static> {
    nursery: Nursery<E>,
    number: u64,
    is_well: bool,
}

impl<E> Drop for Leave<E> {
    fn drop(&mut self) {
        let mut state = self.nursery.state.borrow_mut();
        let mut handle = state.children.remove(&self.number);
        if !self.is_well
            && let Some(handle) = handle.take()
        {
            // It has the error, the panic, or the word that it was cancelled.
            state.ended.push((self.number, handle));
        }
        drop(state);
        drop(handle);
        self.nursery.tell_parent();
    }
}

/// Stops a child whose `start` nobody waits for any more.
struct Starting<V, T, E: 'static> {
    nursery: Nursery<E>,
    number: u64,
    given: Child<V>,
    child: Child<T>,
}

impl<V, T, E> Drop for Starting<V, T, E> {
    fn drop(&mut self) {
        if !self.given.is_finished() {
            self.nursery.take_and(self.number, |handle| {
                handle.abort();
                self.nursery.judge(self.number, handle);
            });
            self.nursery.tell_parent();
        }
    }
}

/// Often called in drops, where a foreign waker's panic would be the process's end.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker
        && let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake()))
    {
        std::mem::forget(payload); // its drop is foreign, too
    }
}

impl<E> State<E> {
    fn has_failed(&self) -> bool {
        self.panic.is_some() || !self.errors.is_empty()
    }
}

impl<E> Default for State<E> {
    fn default() -> Self {
        State {
            children: BTreeMap::new(),
            ended: Vec::new(),
            last: 0,
            parent: None,
            body_has_ended: false,
            closed: false,
            errors: Vec::new(),
            panic: None,
        }
    }
}

impl<E> Clone for Nursery<E> {
    fn clone(&self) -> Self {
        Nursery { state: Rc::clone(&self.state) }
    }
}

impl<E> fmt::Debug for Nursery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nursery").field("children", &self.state.borrow().children.len()).finish()
    }
}

// ------------------------------------------------------------------------------------------------ the value

/// A child's value, to be awaited: `Some`, or `None` if the child was stopped or has failed (its error or panic is the
/// block's). Dropping it changes nothing: the value is dropped when it comes.
///
/// In the body it is never `None` because of a child's failure, since the body is dropped by that.
///
/// # Cancel safety
/// Awaiting by `&mut child` and dropping that future loses nothing. Once the value is given, awaiting again gives `None`.
///
/// ```
/// runtime::block_on(runtime::nursery(async |n| {
///     let stuck = n.spawn(std::future::pending::<Result<(), std::io::Error>>());
///     assert!(!stuck.is_finished());
///     n.cancel();
///     assert_eq!(stuck.await, None);
///     Ok(())
/// }))
/// .unwrap();
/// ```
pub struct Child<T> {
    slot: Rc<Slot<T>>,
}

/// The other side of it.
pub(crate) struct Give<T> {
    slot: Rc<Slot<T>>,
}

struct Slot<T> {
    value: Cell<Option<T>>,
    waiting: Cell<Option<Waker>>,
    is_over: Cell<bool>,
}

impl<T> Child<T> {
    /// The two sides. (For scope.rs, too.)
    pub(crate) fn new() -> (Give<T>, Child<T>) {
        let (value, waiting, is_over) = (Cell::new(None), Cell::new(None), Cell::new(false));
        let slot = Rc::new(Slot { value, waiting, is_over });
        (Give { slot: Rc::clone(&slot) }, Child { slot })
    }

    /// Whether it has ended, by whichever way.
    pub fn is_finished(&self) -> bool {
        self.slot.is_over.get()
    }
}

impl<T> Future for Child<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.slot.is_over.get() {
            return Poll::Ready(self.slot.value.take());
        }
        drop(self.slot.waiting.replace(Some(cx.waker().clone())));
        Poll::Pending
    }
}

impl<T> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("is_finished", &self.is_finished()).finish()
    }
}

impl<T> Give<T> {
    pub(crate) fn set(self, value: T) {
        self.slot.value.set(Some(value));
    }
}

impl<T> Drop for Give<T> {
    fn drop(&mut self) {
        self.slot.is_over.set(true);
        wake(self.slot.waiting.take());
    }
}

/// With what a child tells the one who waits in [`Nursery::start`] that it is ready.
///
/// ```
/// use runtime::{Started, nursery};
/// use std::{future::pending, io};
///
/// runtime::block_on(nursery(async |n| {
///     let cache = n.start(async |started: Started<usize>| {
///         let entries = vec![1, 2, 3]; // loaded from somewhere
///         started.send(entries.len());
///         pending::<io::Result<()>>().await // and serves
///     });
///     assert_eq!(cache.await, Ok(3));
///     assert_eq!(n.len(), 1);
///     n.cancel();
///     Ok(())
/// }))
/// .unwrap();
/// ```
pub struct Started<V>(Give<V>);

impl<V> Started<V> {
    /// Tells it, and gives the value.
    pub fn send(self, value: V) {
        self.0.set(value);
    }
}

impl<V> fmt::Debug for Started<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Started")
    }
}

/// The child of [`Nursery::start`] has ended and never said that it was ready.
///
/// ```
/// use runtime::{NotStarted, Started, nursery};
/// runtime::block_on(nursery(async |n| {
///     let child = n.start(async |_: Started<u16>| Ok::<_, std::io::Error>(()));
///     assert_eq!(child.await, Err(NotStarted));
///     Ok(())
/// }))
/// .unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStarted;

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child ended before it said that it had started")
    }
}

impl std::error::Error for NotStarted {}

impl From<NotStarted> for io::Error {
    fn from(error: NotStarted) -> Self {
        io::Error::other(error)
    }
}

// ----------------------------------------------------------------------------------------------- the errors

/// What has failed in a [`nursery`] or a [`scope`](crate::scope): one error or more, never none, the cause first.
///
/// ```
/// let failed = runtime::block_on(runtime::nursery(async |n| {
///     n.spawn(async { Err::<(), _>("out of tea") });
///     n.spawn(async { Err::<(), _>("out of milk") });
///     std::future::pending::<Result<(), _>>().await
/// }));
/// let errors = failed.unwrap_err();
/// assert_eq!(errors.first(), &"out of tea");
/// assert_eq!(errors.iter().count(), 2);
/// assert_eq!(errors.to_string(), "out of tea; and then: out of milk");
/// assert_eq!(errors.into_first(), "out of tea");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors<E> {
    first: E,
    rest: Vec<E>,
}

impl<E> Errors<E> {
    /// The cause: what failed first, for which the others were stopped.
    pub fn first(&self) -> &E {
        &self.first
    }

    /// The cause alone.
    pub fn into_first(self) -> E {
        self.first
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// What a block gives: the value, unless something has failed. (For scope.rs, too.)
    pub(crate) fn or<T>(value: Option<T>, errors: Vec<E>) -> Result<T, Errors<E>> {
        let mut errors = errors.into_iter();
        match (errors.next(), value) {
            (Some(first), _) => Err(Errors { first, rest: errors.collect() }),
            (None, Some(value)) => Ok(value),
            (None, None) => unreachable!("a body ends with a value or because something failed"),
        }
    }
}

impl<E> IntoIterator for Errors<E> {
    type Item = E;
    type IntoIter = std::iter::Chain<std::iter::Once<E>, std::vec::IntoIter<E>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.rest)
    }
}

impl<E: fmt::Display> fmt::Display for Errors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.rest.iter().try_for_each(|error| write!(f, "; and then: {error}"))
    }
}

/// The cause's kind. One error alone is itself; of several, all are in it.
impl From<Errors<io::Error>> for io::Error {
    fn from(errors: Errors<io::Error>) -> Self {
        match errors.rest.is_empty() {
            true => errors.first,
            false => io::Error::new(errors.first.kind(), errors),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Errors<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.first.source()
    }
}
