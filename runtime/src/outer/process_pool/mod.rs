//! Where does computing go that must be stoppable, and may crash, without the program?
//!
//! Into other processes: a thread cannot be killed, a process can. A [`ProcessPool`] keeps some worker processes, each of
//! them this same program started again, and has them call functions that the program has named at the beginning of its
//! main. What goes in and comes out are bytes.
//!
//! A call is a job in a queue. A keeper, a task of the runtime, has at most one worker; it takes the first job, starts
//! a worker if it has none, sends the request, waits for the answer. Keepers, and their workers, are made when there is a
//! job and none is idle, up to the pool's number, and stay until the pool is closed. (The end of a worker is sudden: no
//! destructors, no exit handlers.)
//!
//! | what happens                         | the call hears             | the worker                | the next job            |
//! |--------------------------------------|----------------------------|---------------------------|-------------------------|
//! | the function returns                 | its bytes                  | stays                     | same worker             |
//! | the function panics                  | `Panicked`, its words      | stays                     | same worker             |
//! | the worker crashes, exits, is killed | `Crashed`, its status; `Vanished` if that is not to be had | is waited for | a new worker |
//! | ... before it has taken the job in   | (another worker's answer)  | is waited for             |                         |
//! | ... while it has nothing to do       |                            | is waited for             | a new worker            |
//! | the answer is too long               | `TooLong`                  | is killed                 | a new worker            |
//! | the call is dropped                  |                            | is killed, if it was begun | a new worker           |
//! | no worker can be started             | `NotStarted`, after 3 tries |                          | the same, for a second  |
//! | the pool is dropped, the runtime ends | `Closed`                  | is killed                 |                         |
//!
//! So a crash costs its own job and no other, and since a worker is started only for a job, workers that die at once are
//! no spin. If a start has failed three times, calls that need a worker within the next second are told the same without
//! a try: a long queue is no long wait then.
//!
//! What it does not do: fairness. The queue is first come, first served, and as many long jobs as there are workers make all
//! others wait. Nor does it look inside of the bytes.
//!
//! Comes from: user code. Goes to: worker.rs, which has both ends of the socket in between.

mod worker;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Handle, JoinHandle, now, sleep, spawn_named};

pub use worker::{Function, Functions, functions};
use worker::{Lost, RETURNED, Worker, note_pool};

/// Worker processes that call functions for this one.
///
/// It lives on the runtime it was made in. Dropping it kills its workers and tells calls that are not done yet
/// [`CallError::Closed`]; nothing waits for that, neither here nor at the end of the process.
///
/// A call costs two messages over a socket and the scheduler's time, some 40 microseconds together (`cargo bench -p tests
/// --bench processes` asks your machine); the first one of each worker costs its start, some milliseconds. What is shorter than that is better computed where it is, and what need
/// not be killed goes to threads ([`unblock`](crate::unblock)) at less cost.
///
/// The terminal's keys are for the program: Ctrl-C does not reach the workers, and Ctrl-Z stops the program while they
/// finish the calls they are at. What a worker prints to the terminal appears (under `stty tostop`, too); to read from it
/// is an error there.
///
/// (Python has this as `concurrent.futures.ProcessPoolExecutor`; that a call dropped is a worker killed comes from curio's
/// `run_in_process`.)
///
/// ```
/// use runtime::process_pool::{self, ProcessPool};
///
/// fn sum(numbers: &[u8]) -> Vec<u8> {
///     let sum: u64 = numbers.iter().map(|number| u64::from(*number)).sum();
///     sum.to_string().into_bytes()
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     // First of all: in a worker process this never returns.
///     let functions = process_pool::functions(&[("sum", sum)]);
///
///     runtime::block_on(async {
///         let pool = ProcessPool::new(functions)?;
///         assert_eq!(pool.call("sum", [1, 2, 3]).await?, b"6");
///         Ok(())
///     })
/// }
/// ```
pub struct ProcessPool {
    inner: Rc<Inner>,
}

impl ProcessPool {
    /// A pool with the usual settings; see [`Builder`].
    ///
    /// # Errors
    /// Outside of a runtime.
    pub fn new(functions: Functions) -> io::Result<ProcessPool> {
        Self::builder(functions).build()
    }

    /// A pool with settings of its own.
    pub fn builder(functions: Functions) -> Builder {
        let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Builder { functions, workers, queue: 65_536, longest: 64 << 20 }
    }

    /// Has a worker call the function of this name in the pool's list, and gives what it returns.
    ///
    /// `bytes` that are a `Vec` are moved, others are copied by this call, on the loop: 64 MiB of them take tens of
    /// milliseconds. From there they go to the worker in pieces, as the socket has room. (To give so much memory back to the
    /// system, the request's in the end and the answer's, takes some milliseconds as well.)
    ///
    /// The job is queued by this call, not by the first poll, so calls made one after the other run side by side. Dropping
    /// what it returns gives the job up: if it has begun, the worker that computes it is killed.
    ///
    /// # Errors
    /// When it is awaited; see [`CallError`].
    ///
    /// # Cancel safety
    /// Polling through a reference (`&mut call`, in a select or a timeout) loses nothing. Dropping gives the job up.
    pub fn call(&self, function: &str, bytes: impl Into<Vec<u8>>) -> Call {
        let slot = Rc::new(Slot::default());
        let number = match self.inner.submit(function, bytes.into(), &slot) {
            Ok(number) => Some(number),
            Err(error) => {
                slot.finish(Err(error));
                None
            }
        };
        Call { slot, pool: Rc::clone(&self.inner), number }
    }

    /// Kills all workers. Calls that are not done yet, and later ones, end with [`CallError::Closed`]. Dropping the pool does
    /// the same.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Drop for ProcessPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.inner.jobs();
        f.debug_struct("ProcessPool").field("jobs", &jobs).finish_non_exhaustive()
    }
}

/// The settings of a [`ProcessPool`].
///
/// ```
/// use runtime::process_pool::{self, CallError, ProcessPool};
///
/// fn echo(bytes: &[u8]) -> Vec<u8> {
///     bytes.to_vec()
/// }
///
/// fn main() -> std::io::Result<()> {
///     let functions = process_pool::functions(&[("echo", echo)]);
///     runtime::block_on(async {
///         let pool = ProcessPool::builder(functions).workers(2).queue(100).longest(1024).build()?;
///         assert!(matches!(pool.call("echo", [0; 2000]).await, Err(CallError::TooLong { .. })));
///         pool.close();
///         assert!(matches!(pool.call("echo", [0; 20]).await, Err(CallError::Closed)));
///         Ok(())
///     })
/// }
/// ```
#[must_use = "a Builder makes a pool when `build` is called"]
#[derive(Clone, Debug)]
pub struct Builder {
    functions: Functions,
    workers: usize,
    queue: usize,
    longest: usize,
}

impl Builder {
    /// How many worker processes there may be; at least one. As many as the machine has cores if it is not set.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count.max(1);
        self
    }

    /// How many calls may wait while all workers are busy; then [`CallError::Full`]. 65,536 if it is not set.
    pub fn queue(mut self, count: usize) -> Self {
        self.queue = count;
        self
    }

    /// How many bytes a request, or an answer, may have; then [`CallError::TooLong`]. 64 MiB if it is not set.
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// Makes the pool. No process is started before the first call.
    ///
    /// # Errors
    /// Outside of a runtime.
    pub fn build(self) -> io::Result<ProcessPool> {
        let home = Handle::try_current().ok_or_else(|| {
            io::Error::other(
                "a ProcessPool outside of a runtime: make it inside runtime::block_on(async { .. })",
            )
        })?;
        note_pool();
        let inner = Inner { settings: self, home, count: Rc::default(), state: RefCell::default() };
        Ok(ProcessPool { inner: Rc::new(inner) })
    }
}

/// The future of a job's answer, made by [`ProcessPool::call`], which says all about it.
///
/// ```
/// use runtime::{process_pool::{self, ProcessPool}, timeout};
/// use std::time::Duration;
///
/// fn stuck(_: &[u8]) -> Vec<u8> {
///     loop {}
/// }
///
/// fn main() -> std::io::Result<()> {
///     let functions = process_pool::functions(&[("stuck", stuck)]);
///     runtime::block_on(async {
///         let pool = ProcessPool::new(functions)?;
///         let mut call = pool.call("stuck", "");
///         assert!(timeout(Duration::from_millis(20), &mut call).await.is_err());
///         assert!(call.has_started()); // so it is slow, and has not waited for another
///         drop(call); // the worker is killed, wherever it is
///         Ok(())
///     })
/// }
/// ```
#[must_use = "dropping it gives the job up"]
pub struct Call {
    slot: Rc<Slot>,
    pool: Rc<Inner>,
    /// Where the job is as long as it waits in the queue; `None` if it was refused.
    number: Option<u64>,
}

impl Future for Call {
    type Output = Result<Vec<u8>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone(); // foreign code: not under the borrow
        let mut outcome = self.slot.outcome.borrow_mut();
        if let Outcome::Awaited(seat) = &mut *outcome {
            let previous = seat.replace(waker);
            drop(outcome);
            drop(previous);
            crate::parked(&crate::Wait { reason: crate::Reason::Job, source: None, label: None });
            return Poll::Pending;
        }
        match mem::replace(&mut *outcome, Outcome::Gone) {
            Outcome::Ready(result) => Poll::Ready(result),
            _ => panic!("a `Call` was polled after it had given its answer"),
        }
    }
}

impl Call {
    /// Whether the job has left the queue, so that a worker computes it, or is being started for it.
    pub fn has_started(&self) -> bool {
        self.number.is_some_and(|number| !self.pool.state.borrow().queue.contains_key(&number))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let left = self.slot.outcome.replace(Outcome::Gone);
        if let (Outcome::Awaited(_), Some(number)) = (left, self.number) {
            let job = self.pool.state.borrow_mut().queue.remove(&number);
            drop(job);
            if let Some(keeper) = self.slot.keeper.take() {
                wake(&keeper);
            }
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// Why a call has no answer.
///
/// ```
/// use runtime::process_pool::CallError;
///
/// fn advice(error: &CallError) -> String {
///     match error {
///         CallError::Full | CallError::NotStarted(_) => "try again later".to_owned(),
///         CallError::Crashed(status) => format!("put this input aside, it kills workers: {status}"),
///         CallError::Panicked(words) => format!("a fault of the program: {words}"),
///         CallError::TooLong { length, longest } => format!("{length} bytes: send at most {longest}"),
///         CallError::UnknownFunction(name) => format!("give `{name}` to process_pool::functions"),
///         _ => "the pool is closed".to_owned(),
///     }
/// }
/// assert_eq!(advice(&CallError::Full), "try again later");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The list given to [`functions`] has none of this name.
    UnknownFunction(String),
    /// The function panicked, with these words. (They are on standard error, too.)
    Panicked(String),
    /// The worker's process ended in the middle of it, and how. What the function has done until then is done.
    Crashed(ExitStatus),
    /// As `Crashed`, and the system does not tell how: this process ignores `SIGCHLD`, or other code of it waits for
    /// children that are not its own.
    Vanished,
    /// The pool was closed, or its runtime has ended.
    Closed,
    /// No worker could be started, and so the function was not called.
    NotStarted(io::Error),
    /// The request, or the answer, has more bytes than the pool allows; see [`Builder::longest`].
    TooLong {
        /// How many it has.
        length: u64,
        /// How many it may have.
        longest: usize,
    },
    /// As many calls as the queue holds were waiting already; see [`Builder::queue`].
    Full,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::UnknownFunction(name) => {
                write!(f, "no function `{name}` was given to process_pool::functions")
            }
            CallError::Panicked(words) => write!(f, "the function panicked: {words}"),
            CallError::Crashed(status) => write!(f, "the worker process crashed ({status})"),
            CallError::Vanished => f.write_str(
                "the worker process crashed, how is not known: this process ignores SIGCHLD, or waits for children that \
                 are not its own",
            ),
            CallError::Closed => f.write_str("the process pool is closed"),
            CallError::NotStarted(_) => f.write_str("no worker process could be started"),
            CallError::TooLong { length, longest } => {
                write!(f, "a message of {length} bytes, and the process pool allows {longest}")
            }
            CallError::Full => f.write_str("the process pool's queue is full"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::NotStarted(error) => Some(error),
            _ => None,
        }
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> io::Error {
        match error {
            CallError::NotStarted(error) => error,
            CallError::Full => io::Error::new(io::ErrorKind::ResourceBusy, error),
            CallError::UnknownFunction(_) | CallError::TooLong { .. } => {
                io::Error::new(io::ErrorKind::InvalidInput, error)
            }
            _ => io::Error::other(error),
        }
    }
}

/// What the pool, its calls and its keepers share. No waker is called and no job dropped while `state` is borrowed.
struct Inner {
    settings: Builder,
    home: Handle,
    /// Held by every job that is alive, so that it counts them.
    count: Rc<()>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// By order of arrival. A map, so that a job that is given up can leave from the middle.
    queue: BTreeMap<u64, Job>,
    /// How many calls there were.
    calls: u64,
    /// Keepers without a job, each by the number of the call it was made for. The one that came last is woken first: its worker's memory is warm.
    idle: Vec<(u64, Waker)>,
    keepers: Vec<JoinHandle<()>>,
    /// The last start, if it has failed, with what to tell those who come soon after.
    failed: Option<(Instant, io::ErrorKind, String)>,
    closed: bool,
}

/// How long to wait before each further try to start a worker.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// For how long nobody tries again after the last.
const GIVEN_UP_FOR: Duration = Duration::from_secs(1);

impl Inner {
    fn submit(
        self: &Rc<Self>,
        function: &str,
        bytes: Vec<u8>,
        slot: &Rc<Slot>,
    ) -> Result<u64, CallError> {
        let Builder { functions, workers, queue, longest } = self.settings;
        let function = functions
            .find(function)
            .ok_or_else(|| CallError::UnknownFunction(function.to_owned()))?;
        if bytes.len() > longest {
            return Err(CallError::TooLong { length: bytes.len() as u64, longest });
        }
        let mut state = self.state.borrow_mut();
        if state.closed {
            return Err(CallError::Closed);
        }
        if !self.home.is_current() {
            let error = "a ProcessPool's call outside of the runtime that the pool was made in";
            return Err(CallError::NotStarted(io::Error::other(error)));
        }
        if self.jobs() >= workers.saturating_add(queue) {
            return Err(CallError::Full);
        }
        let number = state.calls;
        state.calls += 1;
        let (slot, count) = (Rc::clone(slot), Rc::clone(&self.count));
        state.queue.insert(number, Job { function, bytes, slot, _count: count });
        let (idle, keepers) = (state.idle.pop(), state.keepers.len());
        drop(state); // to wake and to spawn is told to an instrument, which is foreign code
        if let Some((_, keeper)) = idle {
            keeper.wake();
        } else if keepers < workers {
            let keeper = spawn_named("process pool", Rc::clone(self).keep(number));
            self.state.borrow_mut().keepers.push(keeper);
        }
        Ok(number)
    }

    /// How many jobs wait or are computed.
    fn jobs(&self) -> usize {
        Rc::strong_count(&self.count) - 1
    }

    fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        let (queue, keepers) = (mem::take(&mut state.queue), mem::take(&mut state.keepers));
        drop(state);
        // Each is dropped with its worker, which kills it, and with its job, which tells the call.
        keepers.iter().for_each(JoinHandle::abort);
        drop(queue);
    }

    /// A keeper's life: it ends when it is aborted, or with the runtime.
    fn keep(self: Rc<Self>, seat: u64) -> impl Future<Output = ()> {
        /// With one keeper gone, be it before its first poll, nobody may be left for the jobs in the queue.
        struct Closing(Rc<Inner>);
        impl Drop for Closing {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let pool = Closing(self);
        async move {
            let pool = pool; // whole
            let mut worker = None;
            loop {
                let Some(job) = pool.0.next_job(seat, worker.as_mut()).await else {
                    worker = None;
                    continue;
                };
                let answer = {
                    let mut answer = pin!(pool.0.answer(&job, &mut worker));
                    poll_fn(|cx| match job.slot.is_given_up(cx) {
                        true => Poll::Ready(None), // the answer's future is dropped, and with it the worker it has taken
                        false => answer.as_mut().poll(cx).map(Some),
                    })
                    .await
                };
                if let Some(answer) = answer {
                    job.slot.finish(answer);
                }
            }
        }
    }

    /// The first job of the queue, when there is one; `None` if the worker that waits for it has ended.
    async fn next_job(&self, seat: u64, worker: Option<&mut Worker>) -> Option<Job> {
        let mut ended = pin!(async {
            match worker {
                Some(worker) => worker.ended().await,
                None => pending().await,
            }
        });
        poll_fn(|cx| {
            let has_ended = ended.as_mut().poll(cx).is_ready();
            let mut state = self.state.borrow_mut();
            state.idle.retain(|(idle, _)| *idle != seat);
            if has_ended {
                return Poll::Ready(None);
            }
            match state.queue.pop_first() {
                Some((_, job)) => Poll::Ready(Some(job)),
                None => {
                    state.idle.push((seat, cx.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What a worker answers. The worker is back in its place if it is of further use.
    async fn answer(&self, job: &Job, place: &mut Option<Worker>) -> Result<Vec<u8>, CallError> {
        let longest = self.settings.longest;
        let mut may_try_another = true;
        loop {
            let mut worker = match place.take() {
                Some(worker) => worker,
                None => self.start().await?,
            };
            match worker.exchange(job.function, &job.bytes, longest).await {
                Ok((kind, bytes)) => {
                    *place = Some(worker);
                    return match kind {
                        RETURNED => Ok(bytes),
                        _ => Err(CallError::Panicked(String::from_utf8_lossy(&bytes).into_owned())),
                    };
                }
                Err(Lost::TooLong(length)) => return Err(CallError::TooLong { length, longest }),
                // Once: a second worker that does not survive it may have died of it.
                Err(Lost::Untaken) if may_try_another => may_try_another = false,
                Err(Lost::Untaken | Lost::Ended) => {
                    let status = worker.end().await;
                    return Err(status.map_or(CallError::Vanished, CallError::Crashed));
                }
            }
        }
    }

    /// A new worker, with some patience.
    async fn start(&self) -> Result<Worker, CallError> {
        if let Some((when, kind, words)) = &self.state.borrow().failed
            && now().saturating_duration_since(*when) < GIVEN_UP_FOR
        {
            return Err(CallError::NotStarted(io::Error::new(*kind, words.clone())));
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match Worker::start(self.settings.functions).await {
                Ok(worker) => return Ok(worker),
                Err(error) => error,
            };
            match pauses.next() {
                // What was not ready in all that time will not be the next time.
                Some(pause) if error.kind() != io::ErrorKind::TimedOut => sleep(pause).await,
                _ => {
                    let failed = (now(), error.kind(), error.to_string());
                    self.state.borrow_mut().failed = Some(failed);
                    return Err(CallError::NotStarted(error));
                }
            }
        }
    }
}

/// A call on its way. Dropped unanswered, it tells the caller that the pool is closed: that is why it was.
struct Job {
    /// Its number in the list.
    function: u64,
    bytes: Vec<u8>,
    slot: Rc<Slot>,
    _count: Rc<()>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.slot.finish(Err(CallError::Closed));
    }
}

/// Where a call's answer waits for its future, and the future's waker for the answer.
#[derive(Default)]
struct Slot {
    outcome: RefCell<Outcome>,
    /// Who is to know when the future is dropped.
    keeper: Cell<Option<Waker>>,
}

enum Outcome {
    /// No answer yet; the waker of the last poll.
    Awaited(Option<Waker>),
    Ready(Result<Vec<u8>, CallError>),
    /// The answer was given, or the future was dropped.
    Gone,
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome::Awaited(None)
    }
}

impl Slot {
    /// Leaves the first answer; later ones, and those that nobody waits for, go nowhere.
    fn finish(&self, answer: Result<Vec<u8>, CallError>) {
        let mut outcome = self.outcome.borrow_mut();
        if let Outcome::Awaited(waker) = &mut *outcome {
            let waker = waker.take();
            *outcome = Outcome::Ready(answer);
            drop(outcome);
            if let Some(waker) = waker {
                wake(&waker);
            }
        }
    }

    fn is_given_up(&self, cx: &Context<'_>) -> bool {
        let gone = matches!(*self.outcome.borrow(), Outcome::Gone);
        if !gone {
            self.keeper.set(Some(cx.waker().clone()));
        }
        gone
    }
}

/// A caller's waker is foreign code. If it panics, the pool goes on; the panic hook has told of it.
fn wake(waker: &Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake_by_ref())) {
        mem::forget(payload); // its drop may panic as well
    }
}
