//! Who stopped the loop, what does each task wait for, and where does the time go?
//!
//! Two instruments that answer, ready to be given to [`Builder::instrument`](crate::Builder::instrument):
//!
//! | question                                             | instrument                                             |
//! |------------------------------------------------------|--------------------------------------------------------|
//! | which task kept the loop for itself, and for how long? | [`LongPoll`]: says so, a line each                   |
//! | what does the loop do, and what does each task wait for? | [`Statistics`]: a table, from any thread, at any time |
//! | both                                                 | [`all`]                                                |
//!
//! A poll that never returns cannot be reported after it has returned. No thread is started to look for it; but a clone of
//! [`Statistics`] can be read by a thread of yours, and shows the task that runs and for how long it has.
//!
//! What is left out: what goes on inside of the pool. It serves the whole process, any number of runtimes, and code that
//! runs under other executors; so it counts by itself ([`pool_stats`](crate::pool_stats)). A task that awaits a job is seen
//! here as waiting for one, and its wake as one from abroad.
//!
//! They cost nothing when they are not set, and one keeps what it knows of a task only as long as the task lives. One
//! instrument watches one runtime: tasks of two would have the same numbers.
//!
//! Comes from: user code, by `Builder::instrument`. Goes to: standard error, a closure, a table.

mod long_poll;
mod statistics;

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::{Instrument, Reason, TaskId, Wait};

pub use long_poll::{LongPoll, TooLong};
pub use statistics::{Counts, Snapshot, State, Statistics, TaskStatistics};

/// Several instruments as one. They are told in this order, and one that panics is left out from then on, with a line on
/// standard error; the others stay.
///
/// ```
/// use runtime::instruments::{LongPoll, Statistics, all};
/// use std::rc::Rc;
///
/// let (long_poll, statistics) = (Rc::new(LongPoll::default()), Statistics::new());
/// let both = all([long_poll.clone(), Rc::new(statistics.clone())]);
/// let rt = runtime::Runtime::builder().instrument(both).build()?;
/// rt.block_on(runtime::yield_now());
/// assert_eq!((long_poll.count(), statistics.snapshot().counts.polls), (0, 2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn all<const N: usize>(instruments: [Rc<dyn Instrument>; N]) -> Rc<dyn Instrument> {
    Rc::new(All(instruments.map(|instrument| (instrument, Cell::new(true)))))
}

/// Instruments, and whether each is still told.
struct All<const N: usize>([(Rc<dyn Instrument>, Cell<bool>); N]);

impl<const N: usize> All<N> {
    fn tell(&self, what: impl Fn(&dyn Instrument)) {
        for (instrument, is_told) in self.0.iter().filter(|(_, is_told)| is_told.get()) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| what(&**instrument))) {
                is_told.set(false);
                std::mem::forget(payload); // its drop is foreign code, too, and the panic hook has told what it says
                let _ = writeln!(
                    io::stderr().lock(),
                    "runtime: an instrument panicked and is removed; those beside it stay"
                );
            }
        }
    }
}

impl<const N: usize> Instrument for All<N> {
    fn spawned(&self, task: TaskId, name: Option<&str>, site: &'static Location<'static>) {
        self.tell(|instrument| instrument.spawned(task, name, site));
    }
    fn poll_started(&self, task: TaskId) {
        self.tell(|instrument| instrument.poll_started(task));
    }
    fn poll_ended(&self, task: TaskId) {
        self.tell(|instrument| instrument.poll_ended(task));
    }
    fn ended(&self, task: TaskId, cancelled: bool) {
        self.tell(|instrument| instrument.ended(task, cancelled));
    }
    fn parked(&self, task: TaskId, on: &Wait<'_>) {
        self.tell(|instrument| instrument.parked(task, on));
    }
    fn woken(&self, task: TaskId, from_abroad: bool) {
        self.tell(|instrument| instrument.woken(task, from_abroad));
    }
    fn wait_started(&self, limit: Option<Duration>) {
        self.tell(|instrument| instrument.wait_started(limit));
    }
    fn wait_ended(&self, events: usize) {
        self.tell(|instrument| instrument.wait_ended(events));
    }
}

/// What a task waits for, as a value that outlives the wait. Prints as `readable fd 7 (127.0.0.1:4000)`.
///
/// ```
/// use runtime::{Reason, Wait, instruments::WaitingFor};
/// let wait = Wait { reason: Reason::Readable, source: Some(7), label: Some(&"127.0.0.1:4000") };
/// let waiting_for = WaitingFor::from(&wait);
/// assert_eq!(waiting_for.to_string(), "readable fd 7 (127.0.0.1:4000)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingFor {
    /// Which kind of event will wake it.
    pub reason: Reason,
    /// The raw number of the descriptor, if it waits for one.
    pub source: Option<i32>,
    /// What that is called: a peer's address, the number of a task.
    pub label: Option<String>,
}

/// Prints the label, which is foreign code and may ask the kernel for a peer's address.
impl From<&Wait<'_>> for WaitingFor {
    fn from(wait: &Wait<'_>) -> Self {
        let label = wait.label.map(|label| label.to_string());
        WaitingFor { reason: wait.reason, source: wait.source, label }
    }
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if let Some(source) = self.source {
            write!(f, " fd {source}")?;
        }
        match &self.label {
            Some(label) => write!(f, " ({label})"),
            None => Ok(()),
        }
    }
}

/// A task as a line shows it: `task 7 (fib, src/main.rs:20:9)`.
fn write_task(
    f: &mut fmt::Formatter<'_>,
    task: TaskId,
    name: Option<&str>,
    site: Option<&Location<'_>>,
) -> fmt::Result {
    match (task, name, site) {
        (TaskId::ROOT, ..) => f.write_str("the future given to block_on"),
        (task, Some(name), Some(site)) => write!(f, "task {task} ({name}, {site})"),
        (task, None, Some(site)) => write!(f, "task {task} ({site})"),
        (task, ..) => write!(f, "task {task}"),
    }
}
