//! Where does code go that would stop the loop: a call that blocks, a sum that takes long?
//!
//! To the pool: some OS threads that serve the whole process. [`unblock`] hands a job to it and is a
//! future of the job's result. All that the pool needs to know of async is a `Waker`, so it works
//! under any executor and uses nothing of the rest of this runtime.
//!
//! Rules kept here:
//! - Every queued job has somebody who will look at the queue: a thread woken for it, a thread being
//!   started for it, or (at the cap, or when the OS gives no more threads) a thread that is busy
//!   and looks when it is done. The handshakes that keep this true are drawn above `Pool`.
//! - No foreign code runs under a lock: jobs, wakers and the drops of both may call back in here.
//! - The queue is bounded. When it is full, or when no thread can be had, the awaiter hears of it.
//! - The idle thread that went idle last is woken first. The others can grow old and leave, so the
//!   pool shrinks to what the traffic needs; in first-in order, a trickle keeps all alive for ever.
//! - Threads are detached: the end of the process never waits for a job.
//!
//! Not done here: fairness. A job keeps its thread until it ends, so as many long jobs as there are
//! threads stop all others, which then wait in the queue. This version answers with its cap and its
//! bound only; the next step of the design demotes long jobs.
//!
//! After a fork the child has the pool's memory but not its threads. There, every job ends with
//! [`UnblockError::NoThread`] instead of waiting for threads that do not exist.
//!
//! Comes from: any thread. Goes to: the waker of whoever awaits.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Runs a blocking or computing closure on the pool and gives its result to the awaiting task.
///
/// The job is submitted by this call, not by the first poll: jobs whose futures are made one after
/// the other run side by side. Dropping the future gives the job up: if it has not started, it never
/// will; if it runs, it runs on and its result is dropped. See [`unblock_with`] for a job that wants
/// to know, and [`Unblock`] for what awaiting can yield.
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
    POOL.unblock(job)
}

/// What a running job can ask about itself; see [`unblock_with`].
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
/// A panic of the job goes on in whoever awaits it. (The panic hook has reported it by then, so it
/// is seen even when nobody awaits.) Polling again after the result was given panics too.
///
/// # Cancel safety
/// Polling through a reference (`&mut unblock`, in a select or a timeout) loses nothing. Dropping
/// gives the job up, as [`unblock`] says. To let a job run that nobody waits for, spawn a task that
/// awaits it.
#[must_use = "dropping it gives the job up"]
pub struct Unblock<T> {
    slot: Arc<Slot<T>>,
    /// Where to find the job as long as it waits in the queue; `None` if the pool refused it.
    queued: Option<(&'static Pool, u64)>,
}

impl<T> Future for Unblock<T> {
    type Output = Result<T, UnblockError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut outcome = lock(&self.slot.outcome);
        if let Outcome::Awaited(seat) = &mut *outcome {
            let previous = seat.replace(waker);
            drop(outcome);
            drop(previous);
            crate::parked(&crate::Wait { reason: crate::Reason::Job, source: None, label: None });
            return Poll::Pending;
        }
        let taken = mem::replace(&mut *outcome, Outcome::Gone);
        drop(outcome);
        match taken {
            Outcome::Ready(Ok(Ok(value))) => Poll::Ready(Ok(value)),
            Outcome::Ready(Ok(Err(panic))) => resume_unwind(panic),
            Outcome::Ready(Err(refused)) => Poll::Ready(Err(refused)),
            _ => panic!("an `Unblock` was polled after it had given its result"),
        }
    }
}

impl<T> Drop for Unblock<T> {
    fn drop(&mut self) {
        self.slot.job.abandoned.store(true, Ordering::Relaxed);
        let left = mem::replace(&mut *lock(&self.slot.outcome), Outcome::Gone);
        // Marked before it is looked for: a thread that takes the job in between finds it gone. What
        // is left to do is to free its captures and its place in the queue now, not in its turn.
        if matches!(left, Outcome::Awaited(_))
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
#[derive(Debug)]
pub enum UnblockError {
    /// As many jobs as the queue holds (65,536) were waiting already.
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

/// What the pool is doing and has done; see [`pool_stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Threads that exist or are being started.
    pub threads: usize,
    /// Threads of these that wait for a job.
    pub idle: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs taken since the process began; refused ones do not count.
    pub submitted: u64,
    /// Jobs that ran to their end, by returning or by panicking.
    pub finished: u64,
    /// Jobs of these that panicked.
    pub panicked: u64,
}

/// Counts of the process's pool, all zero before its first use.
///
/// They are read one after the other, so while jobs come and go they may differ by those under way. A
/// job is in `finished` before its awaiter is woken.
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

static POOL: Pool = Pool::new(Config::PROCESS);

/// The pool. What it decides, it decides under `shared`; waking and starting come after unlocking.
///
/// Submit against a thread that goes idle or leaves, both steps of each under the lock:
///
/// ```text
/// submit                                   thread
///   insert the job                           queue empty? push myself on `idle`
///   pop a thread from `idle`: it is          (unlock) park until unparked or too long idle (lock)
///     claimed and cannot leave any more      still on `idle`, too long: take myself off and leave
///   (unlock) unpark it                       still on `idle`, not too long: stray unpark, park again
///   none idle: count one, (unlock) start     not on `idle`: claimed, look at the queue
/// ```
///
/// So a thread on `idle` has not decided to leave, and one that left is not on `idle`. An unpark that
/// comes before the park is kept by the thread's token; one that comes late, when the claimed
/// thread has timed out, seen its claim and worked, makes one stray return from a later park.
/// A claim is for one look at the queue, not for one job: if a busy thread took the job first, the
/// claimed one finds nothing and goes idle again.
struct Pool {
    config: Config,
    shared: Mutex<Shared>,
    /// The process that uses the pool, 0 before its first use.
    owner: AtomicU32,
    finished: AtomicU64,
    panicked: AtomicU64,
}

struct Config {
    /// Most threads at a time.
    cap: usize,
    /// Most jobs that wait for a thread.
    bound: usize,
    /// How long a thread stays without work.
    linger: Duration,
    start: fn(&'static Pool, String) -> io::Result<()>,
}

impl Config {
    const PROCESS: Config = Config {
        cap: 64,
        bound: 65_536,
        linger: Duration::from_secs(10),
        start: |pool, name| {
            let builder = thread::Builder::new().name(name);
            builder.spawn(move || pool.work()).map(drop)
        },
    };
}

struct Shared {
    /// By order of arrival. A map, not a deque, so that an abandoned job can leave from the middle.
    queue: BTreeMap<u64, Run>,
    /// Unclaimed threads that are parked or about to park; the last one came last.
    idle: Vec<Thread>,
    /// All threads, counted from before they start until they have decided to leave.
    threads: usize,
    submitted: u64,
    started: u64,
}

/// A job with its way back, to be run (`Ok`) or refused (`Err`).
type Run = Box<dyn FnOnce(io::Result<()>) + Send>;

impl Pool {
    const fn new(config: Config) -> Pool {
        let shared = Shared {
            queue: BTreeMap::new(),
            idle: Vec::new(),
            threads: 0,
            submitted: 0,
            started: 0,
        };
        Pool {
            config,
            shared: Mutex::new(shared),
            owner: AtomicU32::new(0),
            finished: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        }
    }

    fn unblock<T, F>(&'static self, job: F) -> Unblock<T>
    where
        F: FnOnce(&Job) -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = Arc::new(Slot::new());
        let back = Arc::clone(&slot);
        let hold = crate::hold_time();
        let run = move |go: io::Result<()>| {
            let _until_the_end = hold;
            match go {
                Ok(()) if back.is_gone() => {}
                Ok(()) => {
                    let result = catch_unwind(AssertUnwindSafe(|| job(&back.job)));
                    self.panicked.fetch_add(result.is_err().into(), Ordering::Relaxed);
                    self.finished.fetch_add(1, Ordering::Relaxed);
                    back.finish(Ok(result));
                }
                Err(error) => back.finish(Err(UnblockError::NoThread(error))),
            }
        };
        match self.submit(Box::new(run)) {
            Ok(id) => Unblock { slot, queued: Some((self, id)) },
            Err(refused) => {
                slot.finish(Err(refused));
                Unblock { slot, queued: None }
            }
        }
    }

    /// Queues a job, sees to it that a thread will look, and says where it stands in the queue.
    fn submit(&'static self, run: Run) -> Result<u64, UnblockError> {
        if !self.is_of_this_process() {
            return Err(UnblockError::NoThread(forked()));
        }
        let mut shared = lock(&self.shared);
        if shared.queue.len() >= self.config.bound {
            drop(shared); // before `run`, whose drop is foreign code
            return Err(UnblockError::Full);
        }
        let id = shared.submitted;
        shared.submitted += 1;
        shared.queue.insert(id, run);
        if let Some(thread) = shared.idle.pop() {
            drop(shared);
            thread.unpark();
        } else if shared.threads < self.config.cap {
            shared.threads += 1;
            shared.started += 1;
            let name = format!("pool-{}", shared.started);
            drop(shared);
            if let Err(error) = (self.config.start)(self, name) {
                self.not_started(&error);
            }
        }
        Ok(id)
    }

    /// Takes back the count of a thread that did not start. With it the last one may be gone that
    /// others relied on, so it is not the own job alone that has nobody left to run it.
    fn not_started(&self, error: &io::Error) {
        let mut shared = lock(&self.shared);
        shared.threads -= 1;
        if shared.threads > 0 {
            return;
        }
        let stranded = mem::take(&mut shared.queue);
        drop(shared);
        for run in stranded.into_values() {
            run(Err(copy_of(error)));
        }
    }

    /// Drops the job if it still waits for a thread.
    fn forget(&self, id: u64) {
        // In a forked child the lock may be held for ever, by a thread that is not there.
        if self.is_of_this_process() {
            let run = lock(&self.shared).queue.remove(&id);
            drop(run);
        }
    }

    /// The life of a thread.
    fn work(&self) {
        let me = thread::current();
        let mut shared = lock(&self.shared);
        loop {
            while let Some((_, run)) = shared.queue.pop_first() {
                drop(shared);
                // The job's own panic is caught inside. This is for wakers, and for the drops of what
                // nobody wanted; a payload is not dropped, since that too might panic.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(Ok(())))) {
                    mem::forget(payload);
                }
                shared = lock(&self.shared);
            }
            // No spinning before the sleep: it gains only when jobs follow each other without a pause,
            // costs up to its whole length of CPU otherwise, and on one core holds up the awaiter.
            shared.idle.push(me.clone());
            let leave_at = Instant::now() + self.config.linger;
            loop {
                drop(shared);
                thread::park_timeout(leave_at.saturating_duration_since(Instant::now()));
                shared = lock(&self.shared);
                let Some(seat) = shared.idle.iter().rposition(|t| t.id() == me.id()) else {
                    break; // claimed
                };
                if Instant::now() >= leave_at {
                    shared.idle.remove(seat);
                    shared.threads -= 1;
                    return;
                }
            }
        }
    }

    fn stats(&self) -> PoolStats {
        let (finished, panicked) = (&self.finished, &self.panicked);
        let shared = lock(&self.shared);
        PoolStats {
            threads: shared.threads,
            idle: shared.idle.len(),
            queued: shared.queue.len(),
            submitted: shared.submitted,
            finished: finished.load(Ordering::Relaxed),
            panicked: panicked.load(Ordering::Relaxed),
        }
    }

    /// Whether the pool's threads, if any, live in this process and not in the one it was forked from.
    fn is_of_this_process(&self) -> bool {
        let pid = process::id();
        match self.owner.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(owner) => owner == pid,
        }
    }
}

/// Where a job's result waits for the future, and the future's waker for the result.
///
/// Finish against poll: whoever takes the lock first leaves what it brings, and the second one finds
/// it: a result is taken at once, a waker is woken at once. Start against drop: a job starts if it
/// takes the lock before the future's drop has said `Gone`, and never after.
struct Slot<T> {
    job: Job,
    outcome: Mutex<Outcome<T>>,
}

enum Outcome<T> {
    /// No result yet; the waker of the last poll.
    Awaited(Option<Waker>),
    /// Ended, with what the job returned or the panic it ended by, or refused.
    Ready(Result<thread::Result<T>, UnblockError>),
    /// The result was given, or the future was dropped.
    Gone,
}

impl<T> Slot<T> {
    fn new() -> Slot<T> {
        let job = Job { abandoned: AtomicBool::new(false) };
        Slot { job, outcome: Mutex::new(Outcome::Awaited(None)) }
    }

    fn is_gone(&self) -> bool {
        matches!(*lock(&self.outcome), Outcome::Gone)
    }

    fn finish(&self, result: Result<thread::Result<T>, UnblockError>) {
        let mut outcome = lock(&self.outcome);
        let rest = if matches!(*outcome, Outcome::Gone) {
            Outcome::Ready(result)
        } else {
            mem::replace(&mut *outcome, Outcome::Ready(result))
        };
        drop(outcome);
        // Unlocked: wakers are foreign code, and so is the drop of a result that nobody wants.
        if let Outcome::Awaited(Some(waker)) = rest {
            waker.wake();
        }
    }
}

/// Locks without regard to poison: no code that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn forked() -> io::Error {
    io::Error::other("the pool was used before the fork, and its threads are not in this child")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::task::Wake;

    const LONG: Duration = Duration::from_secs(60);

    /// A pool of its own for one test, with the bounds that the test is about.
    fn pool(cap: usize, bound: usize, linger: Duration) -> &'static Pool {
        let config = Config { cap, bound, linger, ..Config::PROCESS };
        Box::leak(Box::new(Pool::new(config)))
    }

    /// Runs a test on a thread of its own and fails it when it takes longer than a minute.
    fn with_deadline(test: impl FnOnce() + Send + 'static) {
        let (ended, end) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let _ended = ended;
            test();
        });
        assert_ne!(end.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
        if let Err(panic) = thread.join() {
            resume_unwind(panic);
        }
    }

    /// Waits for what another thread is about to do; the deadline around the test ends the wait.
    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            thread::yield_now();
        }
    }

    fn await_here<F: Future>(future: F) -> F::Output {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = Box::pin(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    fn value<T>(job: Unblock<T>) -> T {
        await_here(job).expect("the pool takes the job")
    }

    /// A job that runs until told otherwise, and the means to tell it; returns once it runs.
    fn occupy(pool: &'static Pool) -> (Unblock<()>, Sender<()>) {
        let (running, has_started) = mpsc::channel();
        let (release, released): (Sender<()>, Receiver<()>) = mpsc::channel();
        let job = pool.unblock(move |_| {
            running.send(()).expect("the test waits");
            let _ = released.recv();
        });
        has_started.recv().expect("the job starts");
        (job, release)
    }

    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    #[test]
    fn the_result_comes_back_from_another_thread_of_the_given_name() {
        with_deadline(|| {
            let name = || thread::current().name().map(String::from);
            assert_eq!(value(pool(1, 1, LONG).unblock(move |_| name())), Some("pool-1".into()));
            assert_eq!(value(unblock(|| 6 * 7)), 42);
        });
    }

    #[test]
    fn it_is_submitted_by_the_call_and_not_by_the_first_poll() {
        with_deadline(|| {
            let (done, seen) = mpsc::channel();
            let _unpolled = pool(1, 1, LONG).unblock(move |_| done.send(()));
            seen.recv().expect("the job runs");
        });
    }

    #[test]
    fn a_panic_goes_on_in_the_awaiter_and_the_thread_lives() {
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            let job = pool.unblock(|_| resume_unwind(Box::new("of the job")));
            let panic = catch_unwind(AssertUnwindSafe(|| await_here(job)));
            let payload = panic.expect_err("it panics here");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"of the job"));
            value(pool.unblock(|_| ()));
            let stats = pool.stats();
            assert_eq!((stats.threads, stats.finished, stats.panicked), (1, 2, 1));
        });
    }

    #[test]
    fn no_more_threads_than_the_cap_and_the_rest_waits() {
        with_deadline(|| {
            let pool = pool(3, 1000, LONG);
            let busy: Vec<_> = (0..3).map(|_| occupy(pool)).collect();
            let rest: Vec<_> = (0..100).map(|n| pool.unblock(move |_| n)).collect();
            let stats = pool.stats();
            assert_eq!((stats.threads, stats.idle, stats.queued), (3, 0, 100));
            drop(busy); // hangs up, which ends the jobs
            let sum: i32 = rest.into_iter().map(value).sum();
            assert_eq!(sum, 4950);
            assert_eq!(pool.stats().threads, 3);
        });
    }

    #[test]
    fn a_claimed_thread_counts_for_one_job_only() {
        // Two submits in a row with one thread idle: the second must start a thread, or jobs that
        // wait for each other stand for ever.
        with_deadline(|| {
            let pool = pool(2, 8, LONG);
            for _ in 0..1000 {
                until(|| pool.stats().idle == pool.stats().threads);
                let (send, receive) = mpsc::channel();
                let waits = pool.unblock(move |_| receive.recv());
                let tells = pool.unblock(move |_| send.send(7));
                assert_eq!(value(waits), Ok(7));
                value(tells).expect("the other job listens");
            }
            assert_eq!(pool.stats().threads, 2);
        });
    }

    #[test]
    fn a_full_queue_is_an_error_and_an_abandoned_job_makes_room() {
        with_deadline(|| {
            let pool = pool(1, 2, LONG);
            let busy = occupy(pool);
            let first = pool.unblock(|_| 1);
            let second = pool.unblock(|_| 2);
            let third = await_here(pool.unblock(|_| 3));
            assert!(matches!(third, Err(UnblockError::Full)));
            drop(first);
            let fourth = pool.unblock(|_| 4);
            assert_eq!(pool.stats().queued, 2);
            drop(busy);
            assert_eq!((value(second), value(fourth)), (2, 4));
            assert_eq!(pool.stats().submitted, 4);
        });
    }

    #[test]
    fn a_job_dropped_before_its_start_never_runs_and_frees_its_captures_at_once() {
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            let ran = Arc::new(AtomicUsize::new(0));
            let busy = occupy(pool);
            let captured = Arc::clone(&ran);
            let queued = pool.unblock(move |_| captured.fetch_add(1, Ordering::Relaxed));
            assert_eq!(Arc::strong_count(&ran), 2);
            drop(queued);
            assert_eq!(Arc::strong_count(&ran), 1);
            drop(busy);
            value(pool.unblock(|_| ())); // comes after it in the queue
            assert_eq!(ran.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn a_drop_that_races_with_the_start_leaves_nothing_behind() {
        with_deadline(|| {
            let pool = pool(2, 8, LONG);
            for n in 0..20_000_u32 {
                let started = Arc::new(AtomicBool::new(false));
                let mark = Arc::clone(&started);
                let job = pool.unblock(move |_| mark.store(true, Ordering::SeqCst));
                for _ in 0..n % 64 {
                    std::hint::spin_loop();
                }
                drop(job);
                // Gone by now: either the closure is dropped, or it runs (or ran) to its end.
                until(|| Arc::strong_count(&started) == 1);
            }
            until(|| pool.stats().idle == pool.stats().threads);
            assert_eq!(pool.stats().queued, 0);
        });
    }

    #[test]
    fn a_running_job_sees_that_it_is_abandoned_and_its_result_is_dropped() {
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            let (tell, told) = mpsc::channel();
            let (running, has_started) = mpsc::channel();
            let job = pool.unblock(move |job| {
                assert!(!job.is_abandoned());
                running.send(()).expect("the test waits");
                until(|| job.is_abandoned());
                OnDrop(move || tell.send(()).expect("the test waits"))
            });
            has_started.recv().expect("the job starts");
            drop(job);
            told.recv().expect("the result is dropped");
            until(|| pool.stats().idle == 1);
            assert_eq!(pool.stats().finished, 1);
        });
    }

    #[test]
    fn idle_threads_leave_and_new_ones_come() {
        with_deadline(|| {
            let pool = pool(4, 8, Duration::from_millis(5));
            for _ in 0..3 {
                drop((0..4).map(|_| occupy(pool)).collect::<Vec<_>>());
                until(|| pool.stats().threads == 0);
                assert_eq!((pool.stats().idle, pool.stats().queued), (0, 0));
            }
            assert_eq!(pool.stats().finished, 12);
        });
    }

    #[test]
    fn jobs_one_after_the_other_let_the_threads_leave_that_they_do_not_need() {
        // Two may stay: the awaiter can submit anew before the thread that woke it is idle again.
        with_deadline(|| {
            let pool = pool(8, 8, Duration::from_millis(200));
            drop((0..8).map(|_| occupy(pool)).collect::<Vec<_>>());
            until(|| {
                value(pool.unblock(|_| ()));
                pool.stats().threads <= 2
            });
        });
    }

    #[test]
    fn jobs_that_arrive_while_threads_leave_are_not_lost() {
        with_deadline(|| {
            for linger in [0, 1, 20, 60, 100] {
                let pool = pool(2, 1 << 10, Duration::from_micros(linger));
                let each = if cfg!(miri) { 20 } else { 2_000 };
                let submitters = (0..3).map(|_| {
                    thread::spawn(move || (0..each).for_each(|_| value(pool.unblock(|_| ()))))
                });
                for thread in submitters.collect::<Vec<_>>() {
                    thread.join().expect("no job is refused");
                }
                assert_eq!(pool.stats().finished, 3 * each);
            }
        });
    }

    static REFUSALS: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn without_any_thread_the_awaiter_hears_why() {
        with_deadline(|| {
            let start = |_: &'static Pool, _| Err(io::Error::from_raw_os_error(11));
            let config = Config { start, ..Config::PROCESS };
            let pool: &'static Pool = Box::leak(Box::new(Pool::new(config)));
            match await_here(pool.unblock(|_| unreachable!("no thread can run it"))) {
                Err(UnblockError::NoThread(error)) => assert_eq!(error.raw_os_error(), Some(11)),
                other => panic!("{other:?}"),
            }
            assert_eq!((pool.stats().threads, pool.stats().queued), (0, 0));
        });
    }

    #[test]
    fn with_a_thread_a_failed_start_leaves_the_job_queued() {
        with_deadline(|| {
            let start = |pool, name: String| {
                if name == "pool-1" {
                    return (Config::PROCESS.start)(pool, name);
                }
                REFUSALS.fetch_add(1, Ordering::Relaxed);
                Err(io::Error::other("no more"))
            };
            let config = Config { start, ..Config::PROCESS };
            let pool: &'static Pool = Box::leak(Box::new(Pool::new(config)));
            let busy = occupy(pool);
            let waits = pool.unblock(|_| 5);
            assert_eq!(REFUSALS.load(Ordering::Relaxed), 1);
            assert_eq!((pool.stats().threads, pool.stats().queued), (1, 1));
            drop(busy);
            assert_eq!(value(waits), 5);
        });
    }

    #[test]
    fn in_another_process_than_its_threads_it_refuses() {
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            value(pool.unblock(|_| ()));
            pool.owner.fetch_add(1, Ordering::Relaxed); // as a forked child sees it
            let answer = await_here(pool.unblock(|_| ()));
            assert!(matches!(answer, Err(UnblockError::NoThread(_))));
        });
    }

    #[test]
    fn a_burst_of_jobs_is_finished() {
        with_deadline(|| {
            let many: usize = if cfg!(miri) { 200 } else { 100_000 };
            let pool = pool(64, many, LONG);
            let jobs: Vec<_> = (0..many).map(|n| pool.unblock(move |_| n)).collect();
            assert!(jobs.into_iter().map(value).eq(0..many));
            let stats = pool.stats();
            assert_eq!((stats.submitted, stats.finished), (many as u64, many as u64));
            assert!(stats.threads <= 64);
        });
    }

    #[test]
    fn a_job_may_submit_a_job() {
        with_deadline(|| {
            let pool = pool(2, 8, LONG);
            let nested = move |_: &Job| value(pool.unblock(|_| 1)) + 1;
            assert_eq!(value(pool.unblock(nested)), 2);
        });
    }

    #[test]
    fn the_drops_of_results_and_captures_may_submit_jobs() {
        with_deadline(|| {
            let pool = pool(1, 1, LONG);
            let (tell, told) = mpsc::channel();
            let again = |tell: &Sender<()>| {
                let tell = tell.clone();
                OnDrop(move || {
                    let tell = tell.clone();
                    mem::forget(pool.unblock(move |_| tell.send(())));
                })
            };
            // A result that nobody takes, ready before the drop.
            let result = again(&tell);
            let job = pool.unblock(move |_| result);
            until(|| pool.stats().idle == 1);
            drop(job);
            told.recv().expect("the job of the drop runs");
            // Captures of a queued job that is given up, and of a refused one.
            let busy = occupy(pool);
            let captured = again(&tell);
            drop(pool.unblock(move |_| drop(captured)));
            let captured = again(&tell);
            assert!(await_here(pool.unblock(move |_| drop(captured))).is_err());
            drop(busy);
            told.recv().expect("the job of the drop runs");
        });
    }

    #[test]
    fn a_waker_that_panics_does_not_cost_a_thread() {
        struct Bad;
        impl Wake for Bad {
            fn wake(self: Arc<Self>) {
                resume_unwind(Box::new("of the waker"));
            }
        }
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            let busy = occupy(pool);
            let mut job = pool.unblock(|_| 3);
            let waker = Waker::from(Arc::new(Bad));
            assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
            drop(busy);
            until(|| pool.stats().idle == 1);
            assert_eq!(value(job), 3);
            assert_eq!(pool.stats().threads, 1);
        });
    }

    #[test]
    fn the_last_poll_s_waker_is_woken_and_earlier_ones_are_dropped() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        with_deadline(|| {
            let pool = pool(1, 8, LONG);
            let (mut job, release) = occupy(pool);
            let counts = [0, 1].map(|_| Arc::new(Count(AtomicUsize::new(0))));
            for count in &counts {
                let waker = Waker::from(Arc::clone(count));
                assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(Arc::strong_count(&counts[0]), 1);
            drop(release);
            until(|| pool.stats().idle == 1);
            assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
        });
    }

    #[test]
    fn its_types_cross_threads_as_promised() {
        fn promised<T: Send + Sync + Unpin>() {}
        promised::<Unblock<std::cell::Cell<u8>>>(); // Send, not Sync
        promised::<Job>();
        promised::<UnblockError>();
    }
}
