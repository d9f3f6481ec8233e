//! Which runtime is this code running in?
//!
//! A future that sleeps or opens a socket must find the loop that will wake it. It is the one that is polling it right
//! now, so a thread-local knows: [`enter`] sets it for as long as a runtime runs, [`with`] reads it. This is the only
//! thread-local that holds a runtime; there is no global one, and no runtime is ever made behind the user's back.
//!
//! A [`Context`] is a runtime's parts, each with cells of its own, so that code that runs inside one of them may use the
//! others. No borrow of any of them is held while foreign code runs (a poll, a waker, a drop).
//!
//! Comes from: executor.rs (which makes and enters it). Goes to: task/, timer.rs, async_socket.rs.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::{Clock, Time};
use crate::instrument::Wait;
use crate::reactor::Reactor;
use crate::run_queue::Home;

/// One runtime's parts.
pub(crate) struct Context {
    pub(crate) home: Arc<Home>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) clock: Clock,
    pub(crate) spawned: Cell<u64>,
}

thread_local! {
    /// Without a destructor, so that it is there for those of other thread-locals, too; who enters also leaves.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<Context>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static OWN_TIME: Cell<bool> = const { Cell::new(false) };
    static OPERATIONS: Cell<u32> = const { Cell::new(OPERATIONS_PER_POLL) };
    /// What the poll that runs has done: bits of `EXHAUSTED` and `ASKED`.
    static POLL: Cell<u8> = const { Cell::new(0) };
}

/// It has had its share.
const EXHAUSTED: u8 = 1;

/// It has polled a `Sleep`.
const ASKED: u8 = 2;

/// How many operations on sockets one poll may do before it has to let others run. It bounds what a client that always
/// has more to say can keep to itself: about a quarter of a millisecond of 64-byte reads and writes.
const OPERATIONS_PER_POLL: u32 = 128;

/// How many bytes cost as much as one operation.
const BYTES_PER_OPERATION: usize = 1024;

/// The current runtime's parts, given to `f`; `None` outside of any runtime.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    get().map(|context| f(&context))
}

#[inline]
fn get() -> Option<Rc<Context>> {
    CURRENT.with(|current| Option::clone(&current.borrow()))
}

/// The current runtime's parts, for callers who cannot go on without.
///
/// # Panics
/// Outside of a runtime, with the way in.
#[track_caller]
#[inline]
pub(crate) fn current(who: &str) -> Rc<Context> {
    match get() {
        Some(context) => context,
        None => outside(who),
    }
}

#[cold]
#[track_caller]
fn outside(who: &str) -> ! {
    panic!(
        "{who} was used outside of a runtime: no block_on is running on this thread. \
         Put the call inside runtime::block_on(async {{ .. }}); from another thread, use a Handle"
    )
}

/// Makes `context` the current one until the guard is dropped.
pub(crate) fn enter(context: &Rc<Context>) -> Entered {
    let watched_before = WATCHED.replace(context.home.queue().is_watched());
    let own_time_before = OWN_TIME.replace(context.clock.time.is_some());
    let before = exchange(Some(context.clone()));
    Entered { before, watched_before, own_time_before }
}

/// Whether some runtime is running on this thread.
pub(crate) fn is_entered() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

fn exchange(context: Option<Rc<Context>>) -> Option<Rc<Context>> {
    CURRENT.with(|current| std::mem::replace(&mut **current.borrow_mut(), context))
}

pub(crate) struct Entered {
    before: Option<Rc<Context>>,
    watched_before: bool,
    own_time_before: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let ours = exchange(self.before.take());
        WATCHED.set(self.watched_before);
        OWN_TIME.set(self.own_time_before);
        drop(ours); // outside the borrow
    }
}

/// Whether an instrument watches the current runtime.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    WATCHED.get()
}

/// What time it is: the clock's of the runtime that this code runs in, which may have one of its own
/// ([`Builder::time`](crate::Builder::time)); outside of any, the system's.
///
/// ```
/// use std::time::Duration;
/// runtime::testing::run(async {
///     let start = runtime::now();
///     runtime::sleep(Duration::from_secs(3600)).await;
///     assert_eq!(runtime::now() - start, Duration::from_secs(3600)); // the test's time
/// });
/// ```
pub fn now() -> Instant {
    with_own_time(|time| time.now()).unwrap_or_else(Instant::now)
}

/// For work on another thread that will wake a task of this runtime: keeps a test's clock from jumping over it, as long as
/// the value given lives. Jobs of [`unblock`](crate::unblock) do it by themselves. `None` where time is the system's.
///
/// ```
/// use runtime::{CancelToken, hold_time, testing, timeout};
/// use std::{thread, time::Duration};
///
/// testing::run(async {
///     let (done, hold) = (CancelToken::new(), hold_time());
///     let told = done.clone();
///     thread::spawn(move || {
///         thread::sleep(Duration::from_millis(2)); // some work
///         told.cancel();
///         drop(hold);
///     });
///     // Without the hold the clock would jump, and the hour be over at once.
///     assert!(timeout(Duration::from_secs(3600), done.cancelled()).await.is_ok());
/// });
/// ```
pub fn hold_time() -> Option<Box<dyn Send>> {
    with_own_time(|time| time.hold())
}

#[inline]
fn with_own_time<R>(f: impl FnOnce(&dyn Time) -> R) -> Option<R> {
    if !OWN_TIME.get() {
        return None;
    }
    with(|context| context.clock.time.clone())?.map(|time| f(&*time))
}

/// Tells the instrument, if there is one, what the task that is being polled waits for. For leaf futures: those of this
/// crate call it when they return Pending, and yours may.
///
/// ```
/// use runtime::{Reason, Wait, instruments::Statistics, parked};
/// use std::{rc::Rc, task::Poll};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(async {
///     let _stuck = runtime::spawn(std::future::poll_fn(|_| {
///         parked(&Wait { reason: Reason::Job, source: None, label: Some(&"the printer") });
///         Poll::<()>::Pending
///     }));
///     runtime::yield_now().await;
///     assert!(statistics.snapshot().to_string().contains("waits for job (the printer)"));
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[cold]
pub fn parked(wait: &Wait<'_>) {
    with(|context| {
        let queue = context.home.queue();
        queue.tell(|instrument| instrument.parked(queue.polled.get(), wait));
    });
}

/// Takes one operation off this poll's allowance; `false`: there is none left.
#[inline(always)]
pub(crate) fn spend_operation() -> bool {
    let Some(left) = OPERATIONS.get().checked_sub(1) else {
        // Whoever is told so returns Pending. A second one in the same poll (of a `zip`, say) finds a new allowance, and so
        // does the next poll, even under an executor that refills none.
        OPERATIONS.set(OPERATIONS_PER_POLL);
        look_outside();
        return false;
    };
    OPERATIONS.set(left);
    true
}

/// Takes off this poll's allowance what an operation that has moved `bytes` costs beside its one: time goes with the bytes.
/// `recv` and `send` of a socket do it by themselves; an operation given to `read_with` or `write_with` that moves many is
/// to call it, or 128 of them run before others have their turn, however long each takes.
///
/// ```
/// use runtime::{AsyncSocket, spend_bytes};
/// use std::io::Read;
/// use std::os::unix::net::UnixStream;
///
/// /// Reads all there is.
/// async fn read_all(socket: AsyncSocket<UnixStream>) -> std::io::Result<usize> {
///     let (mut buffer, mut total) = (vec![0; 1 << 16], 0);
///     loop {
///         let read = socket.read_with(|mut io| io.read(&mut buffer).inspect(|count| spend_bytes(*count)));
///         match read.await? {
///             0 => return Ok(total),
///             count => total += count,
///         }
///     }
/// }
///
/// runtime::block_on(async {
///     let (left, right) = UnixStream::pair()?;
///     let reader = runtime::spawn(read_all(AsyncSocket::new(right)?));
///     AsyncSocket::new(left)?.send(b"hello").await?;
///     assert_eq!(reader.await??, 5);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline(always)]
pub fn spend_bytes(bytes: usize) {
    if let operations @ 1.. = (bytes / BYTES_PER_OPERATION) as u32 {
        OPERATIONS.set(OPERATIONS.get().saturating_sub(operations));
    }
}

/// The poll that runs has had its share: after the tasks that are ready with it, events and time come first.
pub(crate) fn look_outside() {
    POLL.set(POLL.get() | EXHAUSTED);
}

/// Whether the poll that has just ended has had its share.
#[inline(always)]
pub(crate) fn is_exhausted() -> bool {
    POLL.get() & EXHAUSTED != 0
}

/// Whether this poll has polled a `Sleep` before; from here on it has.
pub(crate) fn asks_again() -> bool {
    POLL.replace(POLL.get() | ASKED) & ASKED != 0
}

/// A new poll, a new allowance.
#[inline(always)]
pub(crate) fn refill_operations() {
    OPERATIONS.set(OPERATIONS_PER_POLL);
    POLL.set(0);
}
