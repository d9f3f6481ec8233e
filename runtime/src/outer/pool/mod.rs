//! Where does code go that would stop the loop: a call that blocks, a sum that takes long?
//!
//! To the pool: some OS threads that serve the whole process. [`unblock`] hands a job to it and is a future of the job's
//! result. This file is what a caller sees; which thread runs what, and how long requests are kept from starving short
//! ones, is lanes.rs.
//!
//! Rules kept here:
//! - A result crosses without a lock (see [`Slot`]): the thread that made it may be stopped at any instruction.
//! - No foreign code (a waker, the drop of a result) runs while something is held.
//! - The exit never waits for a job: threads are detached.
//!
//! After a fork the child has the pool's memory but not its threads. There, every job ends with
//! [`UnblockError::NoThread`] instead of waiting for threads that do not exist.
//!
//! It needs no runtime: under another executor it works as well.
//!
//! Comes from: any thread. Goes to: lanes.rs, and to the waker of whoever awaits.

mod lanes;

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::sys::os::Stack;

use lanes::{Config, Pool};

/// Runs a blocking or computing closure on the pool and gives its result to the awaiting task.
///
/// The job is submitted by this call, not by the first poll: jobs whose futures are made one after
/// the other run side by side. Dropping the future gives the job up: if it has not started, it never
/// will; if it runs, it runs on and its result is dropped. See [`unblock_with`] for a job that wants
/// to know, and [`Unblock`] for what awaiting can yield.
///
/// A job that computes for longer than a millisecond is put behind all other threads of the machine (on Linux; see
/// [`PoolSettings::demote`]), and the system hands that on: threads and programs that it starts from then on stand there too,
/// for as long as they live. Start what is to live longer than the job elsewhere.
///
/// A job that waits for another job keeps its thread meanwhile. Once as many wait as both limits of the pool together have room
/// for (320), the jobs they wait for find no thread, and all stand still. Wait for jobs in tasks, where waiting takes no thread,
/// or raise [`PoolSettings::long`] above the number of jobs that may wait at the same time.
///
/// ```
/// # runtime::block_on(async {
/// let text = runtime::unblock(|| std::fs::read_to_string("Cargo.toml")).await;
/// assert!(text.expect("the pool takes the job").expect("the file is there").contains("[package]"));
/// # });
/// ```
pub fn unblock<T, F>(job: F) -> Unblock<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    unblock_with(move |_| job())
}

/// As [`unblock`], for a job that asks now and then whether anybody still waits for it.
///
/// ```
/// # runtime::block_on(async {
/// let sum = runtime::unblock_with(|job| {
///     let mut sum = 0u64;
///     for n in 0..1_000_000 {
///         if job.is_abandoned() {
///             break;
///         }
///         sum += n;
///     }
///     sum
/// });
/// assert_eq!(sum.await.expect("the pool takes the job"), 499_999_500_000);
/// # });
/// ```
pub fn unblock_with<T, F>(job: F) -> Unblock<T>
where
    F: FnOnce(&Job) -> T + Send + 'static,
    T: Send + 'static,
{
    POOL.unblock(job, None)
}

/// As [`unblock_with`], but waits, where that gives [`UnblockError::Full`], until the queue has room. Those who wait are let in
/// in the order they came. Submitted when it is polled, not before.
///
/// # Errors
/// [`UnblockError::NoThread`].
///
/// # Cancel safety
/// Dropped while it waits for room, the job has not begun and never will; later, as [`Unblock`].
///
/// ```
/// # runtime::block_on(async {
/// assert_eq!(runtime::unblock_when_room(|_| 6 * 7).await.expect("a thread"), 42);
/// # });
/// ```
pub async fn unblock_when_room<T, F>(job: F) -> Result<T, UnblockError>
where
    F: FnOnce(&Job) -> T + Send + 'static,
    T: Send + 'static,
{
    let place = POOL.room().await;
    POOL.unblock(job, Some(place)).await
}

/// What a running job can ask about itself; see [`unblock_with`].
///
/// ```
/// use std::{sync::mpsc, thread};
///
/// let (tell, told) = mpsc::channel();
/// let job = runtime::unblock_with(move |job| {
///     tell.send("begun").expect("somebody listens");
///     while !job.is_abandoned() {
///         thread::yield_now(); // a piece of the work
///     }
///     tell.send("given up").expect("somebody listens");
/// });
/// assert_eq!(told.recv(), Ok("begun"));
/// drop(job);
/// assert_eq!(told.recv(), Ok("given up"));
/// ```
#[derive(Debug)]
pub struct Job {
    abandoned: AtomicBool,
}

impl Job {
    /// Whether the [`Unblock`] future has been dropped, so that nobody will see the result.
    ///
    /// Once true, it stays true. One plain load, cheap enough for an inner loop.
    pub fn is_abandoned(&self) -> bool {
        // Relaxed: a hint that publishes nothing. Whether a job starts at all is decided by a lock.
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// The future of a job's result, made by [`unblock`] and [`unblock_with`].
///
/// # Errors
/// [`UnblockError`] when the pool could not take the job; the job then never ran.
///
/// # Panics
/// A panic of the job goes on in whoever awaits it. (The panic hook has reported it by then, so it is seen even when
/// nobody awaits.) Polling again after the result was given panics too.
///
/// # Cancel safety
/// Polling through a reference (`&mut unblock`, in a select or a timeout) loses nothing. Dropping gives the job up, as
/// [`unblock`] says. To let a job run that nobody waits for, spawn a task that awaits it.
///
/// ```
/// use runtime::{UnblockError, unblock};
/// runtime::block_on(async {
///     // Submitted by these calls, so they run side by side.
///     let (one, other) = (unblock(|| 20), unblock(|| 22));
///     assert_eq!(one.await? + other.await?, 42);
///     Ok::<(), UnblockError>(())
/// })?;
/// # Ok::<(), UnblockError>(())
/// ```
#[must_use = "dropping it gives the job up"]
pub struct Unblock<T> {
    slot: Arc<Slot<T>>,
    /// Where to find the job as long as it waits in the queue; `None` if the pool refused it.
    queued: Option<(&'static Pool, u64)>,
    /// Whose waker the slot has.
    awaited_by: Option<Identity>,
}

/// A year: what is added to an `Instant`, or doubled, has to fit.
const LONGEST_SETTING: Duration = Duration::from_secs(365 * 24 * 3600);

impl<T> Future for Unblock<T> {
    type Output = Result<T, UnblockError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.slot.poll(&mut this.awaited_by, cx.waker()) {
            Poll::Ready(Ok(Ok(value))) => Poll::Ready(Ok(value)),
            Poll::Ready(Ok(Err(panic))) => resume_unwind(panic),
            Poll::Ready(Err(refused)) => Poll::Ready(Err(refused)),
            Poll::Pending => {
                let reason = crate::Reason::Job;
                crate::parked(&crate::Wait { reason, source: None, label: None });
                Poll::Pending
            }
        }
    }
}

impl<T> Unblock<T> {
    /// Whether a thread has begun the job. `false`: it waits for one, or the pool has refused it.
    ///
    /// ```
    /// use std::time::Duration;
    /// # runtime::block_on(async {
    /// let (go, wait) = std::sync::mpsc::channel::<()>();
    /// let mut job = runtime::unblock(move || wait.recv().is_err());
    /// assert!(runtime::timeout(Duration::from_millis(200), &mut job).await.is_err());
    /// // Too slow, or not its turn yet? A client wants to know.
    /// println!("{}", if job.has_started() { "it took too long" } else { "it was not begun in time" });
    /// drop(go);
    /// assert!(job.await.expect("the pool takes the job"));
    /// # });
    /// ```
    pub fn has_started(&self) -> bool {
        // Relaxed: a hint that publishes nothing.
        self.slot.stage.load(Ordering::Relaxed) == STARTED
    }
}

impl<T> Drop for Unblock<T> {
    fn drop(&mut self) {
        // Given up before it is looked for: a thread that takes the job in between finds that nobody wants it. What is
        // left to do is to free its captures and its place in the queue now, not in its turn.
        if self.slot.give_up()
            && let Some((pool, id)) = self.queued
        {
            pool.forget(id);
        }
    }
}

impl<T> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblock").finish_non_exhaustive()
    }
}

/// Why the pool did not take a job. The job was dropped and never ran.
///
/// ```
/// use runtime::{UnblockError, unblock};
/// use std::io;
///
/// /// `None`: too busy, come again later.
/// async fn read(path: &'static str) -> io::Result<Option<Vec<u8>>> {
///     match unblock(move || std::fs::read(path)).await {
///         Ok(bytes) => bytes.map(Some),
///         Err(UnblockError::Full) => Ok(None),
///         Err(UnblockError::NoThread(error)) => Err(error),
///     }
/// }
/// assert!(runtime::block_on(read("Cargo.toml"))?.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum UnblockError {
    /// As many jobs as the queue holds ([`PoolSettings::queue`]) were waiting already. See [`unblock_when_room`].
    Full,
    /// The OS would not start a thread, and there was none to take the job later. Also the answer in
    /// a forked child of a process that had used the pool: its threads do not exist there.
    NoThread(io::Error),
}

impl fmt::Display for UnblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnblockError::Full => f.write_str("the pool's queue is full"),
            UnblockError::NoThread(_) => f.write_str("the pool has no thread to run the job"),
        }
    }
}

impl Error for UnblockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            UnblockError::Full => None,
            UnblockError::NoThread(error) => Some(error),
        }
    }
}

impl From<UnblockError> for io::Error {
    fn from(error: UnblockError) -> io::Error {
        match error {
            UnblockError::Full => io::Error::new(io::ErrorKind::ResourceBusy, error),
            UnblockError::NoThread(error) => error,
        }
    }
}

/// How the process's pool is to be; see [`apply`](Self::apply).
///
/// ```
/// use std::time::Duration;
/// runtime::PoolSettings::new()
///     .fast(16)
///     .long(32)
///     .queue(1000)
///     .slice(Duration::from_millis(5))
///     .linger(Duration::from_secs(60))
///     .demote(false)
///     .apply()?;
/// # Ok::<(), runtime::PoolInUse>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "settings do nothing until they are applied"]
pub struct PoolSettings {
    config: Config,
}

impl PoolSettings {
    /// The usual settings.
    pub fn new() -> Self {
        PoolSettings { config: Config::PROCESS }
    }

    /// At most so many threads run jobs that have not taken long yet (64).
    pub fn fast(mut self, threads: usize) -> Self {
        self.config.cap = threads.max(1);
        self
    }

    /// At most so many threads more run jobs that have (256). No thread is started beyond both limits together; then jobs wait in
    /// the queue, however short.
    pub fn long(mut self, threads: usize) -> Self {
        self.config.long = threads;
        self
    }

    /// How long a job may take before another thread takes its place (1 ms).
    pub fn slice(mut self, slice: Duration) -> Self {
        self.config.slice = slice.clamp(Duration::from_micros(100), LONGEST_SETTING);
        self
    }

    /// Whether a thread whose job has computed for a slice is put behind all other threads of the machine (yes; Linux alone can).
    ///
    /// Against it: such a thread may be stopped while it holds a lock of the allocator's, say, and where every core is kept
    /// busy by others all the time, whoever wants that lock may wait for seconds. Without it, long jobs have the same right to
    /// the cores as everybody else.
    pub fn demote(mut self, demote: bool) -> Self {
        self.config.demote = demote;
        self
    }

    /// At most so many jobs wait for a thread (65,536); one more is an error, or waits for room.
    pub fn queue(mut self, jobs: usize) -> Self {
        self.config.bound = jobs.max(1);
        self
    }

    /// How long a thread stays without work (10 s).
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger.min(LONGEST_SETTING);
        self
    }

    /// Makes them the pool's.
    ///
    /// # Errors
    /// [`PoolInUse`]: the pool has had settings or a job before. It is one for the process, so the first who comes decides: call
    /// this at the beginning of `main`.
    pub fn apply(self) -> Result<(), PoolInUse> {
        POOL.configure(self.config)
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// The pool has its settings already.
///
/// ```
/// use runtime::{PoolInUse, PoolSettings};
/// assert_eq!(PoolSettings::new().apply(), Ok(()));
/// assert_eq!(PoolSettings::new().apply(), Err(PoolInUse));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolInUse;

impl fmt::Display for PoolInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool is in use already: apply its settings before the first job, at the beginning of main")
    }
}

impl Error for PoolInUse {}

/// What the pool is doing and has done; see [`pool_stats`].
///
/// ```
/// let before = runtime::pool_stats();
/// runtime::block_on(runtime::unblock(|| ()))?;
/// let after = runtime::pool_stats();
/// assert_eq!(after.submitted - before.submitted, 1);
/// assert_eq!((after.queued, after.panicked), (0, 0));
/// # Ok::<(), runtime::UnblockError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Threads that exist or are being started.
    pub threads: usize,
    /// Threads of these that wait for a job.
    pub idle: usize,
    /// Threads of these that run a job which has taken longer than a slice, most of it waiting.
    pub blocked: usize,
    /// Threads of these that run a job which has computed for longer than a slice, and that stand behind all others.
    pub demoted: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs taken since the process began; refused ones do not count.
    pub submitted: u64,
    /// Jobs that ran to their end, by returning or by panicking.
    pub finished: u64,
    /// Jobs of these that panicked.
    pub panicked: u64,
    /// Threads that were put behind all others since the process began; each retires after its job.
    pub demotions: u64,
}

/// Counts of the process's pool, all zero before its first use.
///
/// They are read one after the other, so while jobs come and go they may differ by those under way. A job is in `finished`
/// before its awaiter is woken.
///
/// ```
/// # runtime::block_on(async {
/// runtime::unblock(|| ()).await.expect("the pool takes the job");
/// let stats = runtime::pool_stats();
/// assert!(stats.submitted >= 1 && stats.finished >= 1);
/// # });
/// ```
pub fn pool_stats() -> PoolStats {
    POOL.stats()
}

static POOL: Pool = Pool::new();

/// Where a job's result waits for the future, and the future's waker for the result. Nobody locks anything that another
/// thread could hold up:
///
/// ```text
/// the thread, at the job's end                 the future, in a poll
///   1 writes the result (once)                   1 is there a result? take it
///   2 closes the stack of wakers, and wakes      2 pushes its waker; closed? then there is a result: take it
///     whom it found there
/// ```
///
/// Either the push comes before the close, and the waker is found, or after it, and the push says so. The mutex around
/// the result makes it something that can be taken through a shared reference; nobody but the future locks it.
///
/// `stage`: start against drop. A job starts if its thread finds `WAITING`, and never after the drop has found that.
struct Slot<T> {
    job: Job,
    stage: AtomicU8,
    outcome: OnceLock<Mutex<Option<Outcome<T>>>>,
    wakers: Stack<Waker>,
}

/// What the job returned or the panic it ended by, or why it was refused.
type Outcome<T> = Result<thread::Result<T>, UnblockError>;

/// Data and vtable of a waker, by address. A waker in a slot's stack keeps both in use, so they name it.
type Identity = (usize, usize);

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const GIVEN_UP: u8 = 2;

impl<T> Slot<T> {
    fn new() -> Slot<T> {
        Slot {
            job: Job { abandoned: AtomicBool::new(false) },
            stage: AtomicU8::new(WAITING),
            outcome: OnceLock::new(),
            wakers: Stack::new(),
        }
    }

    /// Whether the job is still wanted; then it is this thread's.
    fn start(&self) -> bool {
        self.leave_waiting(STARTED)
    }

    /// The future is dropped. `true`: the job has not started, and never will.
    fn give_up(&self) -> bool {
        self.job.abandoned.store(true, Ordering::Relaxed);
        let wakers = self.wakers.close();
        drop(wakers);
        let result = self.take();
        drop(result);
        self.leave_waiting(GIVEN_UP)
    }

    fn leave_waiting(&self, to: u8) -> bool {
        // Relaxed: the stage alone decides; what the job captured came with the job.
        self.stage.compare_exchange(WAITING, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Called once.
    fn finish(&self, outcome: Outcome<T>) {
        // It cannot be set already, and if it were, dropping the second one here would be right.
        let _ = self.outcome.set(Mutex::new(Some(outcome)));
        for waker in self.wakers.close() {
            waker.wake();
        }
    }

    fn poll(&self, awaited_by: &mut Option<Identity>, waker: &Waker) -> Poll<Outcome<T>> {
        let me = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
        if self.outcome.get().is_none() {
            if *awaited_by == Some(me) {
                return Poll::Pending;
            }
            let mut earlier = Vec::new();
            self.wakers.take(&mut earlier);
            drop(earlier);
            if self.wakers.push(waker.clone()).is_ok() {
                *awaited_by = Some(me);
                return Poll::Pending;
            }
        }
        match self.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => panic!("an `Unblock` was polled after it had given its result"),
        }
    }

    fn take(&self) -> Option<Outcome<T>> {
        let outcome = self.outcome.get()?;
        outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
