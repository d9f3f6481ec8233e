//! Which task kept the loop for itself?
//!
//! A loop with one thread stands still as long as one poll runs: a long sum, a blocking call that nobody took for one. The
//! others suffer for it, and nothing that they can measure points at the culprit. [`LongPoll`] takes the time of each poll,
//! and when one was too long, says who it was: task, name, where it was spawned, what it had waited for before.
//!
//! Rules kept here:
//! - It reports after the poll; nothing runs beside the loop. For a poll that never ends, see
//!   [`Statistics`](crate::instruments::Statistics).
//! - It never floods: one report a second (or as told), and beyond that only one that is more than twice as long as any
//!   before; between a nanosecond and a year there are 54 of those. What is not told is counted, and the next report says
//!   how much that was.
//! - Time is the system's, also in a runtime that has a time of its own: a poll that computes takes real time.
//!
//! The idea is curio's `longblock`, and so are its 50 ms.
//!
//! Comes from: user code, by `Builder::instrument`. Goes to: standard error, or the user's closure.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::instruments::{WaitingFor, write_task};
use crate::{Instrument, TaskId, Wait};

/// Tells of each poll that keeps the loop for too long; see the [module](crate::instruments) for how it is set.
///
/// ```
/// use runtime::instruments::LongPoll;
/// use std::{cell::RefCell, rc::Rc, time::{Duration, Instant}};
///
/// let told = Rc::new(RefCell::new(Vec::new()));
/// let list = Rc::clone(&told);
/// let long_poll = LongPoll::new(Duration::from_millis(5))
///     .tell(move |poll| list.borrow_mut().push(poll.name.clone()));
/// let rt = runtime::Runtime::builder().instrument(Rc::new(long_poll)).build()?;
/// rt.block_on(async {
///     let greedy = runtime::spawn_named("greedy", async {
///         let start = Instant::now();
///         while start.elapsed() < Duration::from_millis(6) {}
///     });
///     greedy.await.unwrap();
/// });
/// assert!(told.borrow().contains(&Some("greedy".to_owned())));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LongPoll {
    limit: Duration,
    every: Duration,
    tell: Box<dyn Fn(&TooLong)>,
    tasks: RefCell<BTreeMap<TaskId, Known>>,
    polled: Cell<Option<Polled>>,
    count: Cell<u64>,
    left_out: Cell<u64>,
    /// When the last report was made, and the longest time that one has told of.
    told: Cell<Option<(Instant, Duration)>>,
}

/// What is known of a task.
#[derive(Default)]
struct Known {
    name: Option<String>,
    site: Option<&'static Location<'static>>,
    /// Before the poll that runs now, if one does.
    waited_for: Option<WaitingFor>,
    /// Since that poll has begun.
    waits_for: Option<WaitingFor>,
}

/// The poll that runs.
#[derive(Clone, Copy)]
struct Polled {
    task: TaskId,
    since: Instant,
    /// The task has come to its end, and is to be forgotten after the report.
    ended: bool,
}

/// A poll that was too long. Prints as one line with all that is known, and what can be done about it.
///
/// ```
/// use runtime::instruments::{LongPoll, TooLong};
/// use std::{cell::RefCell, rc::Rc, thread, time::Duration};
///
/// let told = Rc::new(RefCell::new(Vec::new()));
/// let list = Rc::clone(&told);
/// let limit = Duration::from_millis(3);
/// let long_poll = LongPoll::new(limit)
///     .every(Duration::from_secs(60))
///     .tell(move |poll: &TooLong| list.borrow_mut().push(poll.clone()));
/// let long_poll = Rc::new(long_poll);
/// let rt = runtime::Runtime::builder().instrument(long_poll.clone()).build()?;
/// rt.block_on(async { thread::sleep(limit) });
/// assert_eq!(long_poll.count(), 1);
/// let poll = &told.borrow()[0];
/// assert!(poll.took >= limit && poll.left_out == 0);
/// assert!(poll.to_string().starts_with("the future given to block_on kept the loop for"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TooLong {
    /// Whose poll it was.
    pub task: TaskId,
    /// Its name, if it was spawned with one.
    pub name: Option<String>,
    /// Where it was spawned; `None` for the future given to `block_on`.
    pub site: Option<&'static Location<'static>>,
    /// How long the loop stood still.
    pub took: Duration,
    /// What it waited for last before this poll, if it said so: most often, this has come just before.
    pub waited_for: Option<WaitingFor>,
    /// How many polls before this one were too long, too, and not told.
    pub left_out: u64,
}

impl LongPoll {
    /// Tells on standard error of polls that take `limit` or more, at most once a second. (Standard error may block:
    /// a terminal that is stopped stops whoever writes to it. [`tell`](Self::tell) takes another way.)
    pub fn new(limit: Duration) -> Self {
        LongPoll {
            limit,
            every: Duration::from_secs(1),
            // Not `eprintln!`: that panics when standard error is gone.
            tell: Box::new(|poll| drop(writeln!(io::stderr().lock(), "runtime: {poll}"))),
            tasks: RefCell::default(),
            polled: Cell::new(None),
            count: Cell::new(0),
            left_out: Cell::new(0),
            told: Cell::new(None),
        }
    }

    /// Gives reports to `tell` instead, on the loop's thread. It must not block; if it panics, the instrument is removed.
    pub fn tell(mut self, tell: impl Fn(&TooLong) + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// How long it is quiet after a report, instead of a second. One that is more than twice as long as any told before
    /// is told at once all the same.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// How many polls have been too long, whether they were told or not.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    fn too_long(&self, Polled { task, .. }: Polled, took: Duration, now: Instant) {
        self.count.set(self.count.get() + 1);
        let longest = match self.told.get() {
            Some((at, longest)) if now - at < self.every && took / 2 <= longest => {
                self.left_out.set(self.left_out.get() + 1);
                return;
            }
            Some((_, longest)) => longest.max(took),
            None => took,
        };
        self.told.set(Some((now, longest)));
        let tasks = self.tasks.borrow();
        let known = tasks.get(&task);
        let report = TooLong {
            task,
            name: known.and_then(|known| known.name.clone()),
            site: known.and_then(|known| known.site),
            took,
            waited_for: known.and_then(|known| known.waited_for.clone()),
            left_out: self.left_out.take(),
        };
        drop(tasks); // the closure is foreign code
        (self.tell)(&report);
    }
}

/// With curio's limit, 50 ms: a stall that a person notices, and that a healthy server never has.
impl Default for LongPoll {
    fn default() -> Self {
        Self::new(Duration::from_millis(50))
    }
}

impl Instrument for LongPoll {
    fn spawned(&self, task: TaskId, name: Option<&str>, site: &'static Location<'static>) {
        let known = Known { name: name.map(str::to_owned), site: Some(site), ..Known::default() };
        self.tasks.borrow_mut().insert(task, known);
    }

    fn poll_started(&self, task: TaskId) {
        self.polled.set(Some(Polled { task, since: Instant::now(), ended: false }));
    }

    fn poll_ended(&self, _: TaskId) {
        let Some(polled) = self.polled.take() else { return };
        let now = Instant::now();
        let took = now - polled.since;
        if took >= self.limit {
            self.too_long(polled, took, now);
        }
        let mut tasks = self.tasks.borrow_mut();
        if polled.ended {
            tasks.remove(&polled.task);
        } else if let Some(known) = tasks.get_mut(&polled.task) {
            known.waited_for = known.waits_for.take();
        }
    }

    fn ended(&self, task: TaskId, _: bool) {
        match self.polled.get() {
            Some(polled) if polled.task == task => {
                self.polled.set(Some(Polled { ended: true, ..polled }));
            }
            _ => drop(self.tasks.borrow_mut().remove(&task)),
        }
    }

    fn parked(&self, task: TaskId, on: &Wait<'_>) {
        let on = WaitingFor::from(on); // foreign code: with no borrow held
        // By `entry`: of the future given to `block_on`, nobody has said that it was spawned.
        self.tasks.borrow_mut().entry(task).or_default().waits_for = Some(on);
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_task(f, self.task, self.name.as_deref(), self.site)?;
        write!(f, " kept the loop for {:.1?}", self.took)?;
        if let Some(waited_for) = &self.waited_for {
            write!(f, ", having waited for: {waited_for}")?;
        }
        if self.left_out > 0 {
            write!(f, "; {} long polls before it were not told", self.left_out)?;
        }
        f.write_str(". Give such work to unblock, or let others run now and then with yield_now")
    }
}

impl fmt::Debug for LongPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPoll")
            .field("limit", &self.limit)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
