//! What does the loop do all day, and what does each of its tasks wait for?
//!
//! [`Statistics`] counts what an instrument is told. [`Statistics::snapshot`] gives it as plain values, which print as a table:
//!
//! ```text
//! up 12.3s: polling 412.0ms, asleep 11.7s, the rest 188.0ms
//! tasks: 2 alive, 120 spawned, 4 cancelled
//! polls: 2408, the longest 41.0ms (task 7), in 1204 turns, at most 64 in one
//! wakes: 2300 at home, 12 from abroad; sleeps: 402; events: 901
//! parks: readable 900, timer 3
//!
//! task  name  polls  busy    longest  age    spawned at          state
//! root            4  1.2ms   0.9ms    12.3s                      waits for join (119)
//! 119   echo     17  0.2ms   31.0us   4.1s   src/main.rs:31:13   waits for readable fd 9 (127.0.0.1:4711)
//! ```
//!
//! Rules kept here:
//! - A clone can be read by any thread, also while the loop stands still in a poll: the table shows which task runs and for
//!   how long it has. That is why the numbers lie under a lock, and not in cells. The loop holds it for a few numbers at a
//!   time, a reader while it copies the table; no foreign code runs under it.
//! - What is known of a task goes with the task.
//! - Time is the system's, also in a runtime that has a time of its own.
//!
//! Its price, when it is set: two readings of the clock a poll and two a turn, a short lock a hook, and what it costs to
//! print a label each time a task parks.
//!
//! Comes from: user code, by `Builder::instrument`. Goes to: whoever takes a snapshot: a log, a test, a monitor.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::instruments::WaitingFor;
use crate::{Instrument, Reason, TaskId, Wait};

/// Counts what one runtime does. Clones share the numbers; one goes to the builder, others to whoever looks, on any thread.
///
/// ```
/// use runtime::instruments::Statistics;
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(async {
///     drop(runtime::spawn_named("sleeper", runtime::sleep(Duration::from_secs(60))));
///     runtime::yield_now().await;
/// });
/// let snapshot = statistics.snapshot();
/// assert_eq!(snapshot.counts.spawned, 1);
/// assert!(snapshot.to_string().contains("sleeper"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Statistics {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    since: Instant,
    counts: Counts,
    tasks: BTreeMap<TaskId, Known>,
    /// The poll that runs, if one does.
    polled: Option<(TaskId, Instant)>,
    /// The sleep that lasts, if one does.
    asleep: Option<Instant>,
    polls_in_turn: u64,
}

struct Known {
    name: Option<String>,
    site: Option<&'static Location<'static>>,
    since: Instant,
    polls: u64,
    busy: Duration,
    longest: Duration,
    /// In the run queue; or, while it is polled, woken already for the next poll.
    ready: bool,
    waits: Vec<WaitingFor>,
    more_waits: usize,
}

/// How many of the things that a task waits for at the same time are kept. One that waits for thousands is to cost the
/// others neither memory nor time.
const WAITS_KEPT: usize = 4;

/// What a runtime has done so far.
///
/// ```
/// use runtime::instruments::Statistics;
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(runtime::sleep(Duration::from_millis(1)));
/// let counts = statistics.snapshot().counts;
/// assert_eq!((counts.polls, counts.events), (2, 0));
/// assert_eq!(counts.parks_on(runtime::Reason::Timer), 1);
/// assert!(counts.turns >= 1 && counts.longest_poll <= counts.polling);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Tasks spawned.
    pub spawned: u64,
    /// Tasks that are over, by whichever way.
    pub ended: u64,
    /// Tasks of these that were cancelled before they came to their own end.
    pub cancelled: u64,
    /// Polls of tasks and of the futures given to `block_on`.
    pub polls: u64,
    /// The longest of these polls.
    pub longest_poll: Duration,
    /// Whose that was.
    pub longest_poll_of: Option<TaskId>,
    /// The most polls in one turn.
    pub most_polls_in_turn: u64,
    /// Turns of the loop: how often it has asked the kernel for events.
    pub turns: u64,
    /// Turns of these in which it had nothing to do and slept.
    pub sleeps: u64,
    /// Events the kernel has reported.
    pub events: u64,
    /// Calls of wakers on the loop's own thread.
    pub wakes_at_home: u64,
    /// Wakes that came from other threads.
    pub wakes_from_abroad: u64,
    /// Time spent in polls.
    pub polling: Duration,
    /// Time spent asleep in the kernel, up to when what woke the loop was handed out.
    pub asleep: Duration,
    /// How often a poll has arranged to be woken by each kind of event; kinds that have not occurred are left out.
    pub parks: Vec<(Reason, u64)>,
}

/// One runtime at one moment; plain values, which can go to any thread. Prints as a table for people.
///
/// ```
/// use runtime::instruments::Statistics;
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// let before = rt.block_on(async { statistics.snapshot() });
/// rt.block_on(runtime::sleep(Duration::from_millis(1)));
/// let after = statistics.snapshot();
/// assert_eq!(before.running().map(|task| task.id), Some(runtime::TaskId::ROOT));
/// assert!(after.running().is_none() && after.up > before.up);
/// assert_eq!(after.counts.polls - before.counts.polls, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Time since the [`Statistics`] were made.
    pub up: Duration,
    /// What has been done so far; a poll or a sleep that lasts is in its times already.
    pub counts: Counts,
    /// All tasks that are alive, in the order in which they were spawned; before them, if it has ever been polled, the
    /// future given to `block_on`, even when it is over: nobody tells of its end.
    pub tasks: Vec<TaskStatistics>,
}

/// One task at one moment.
///
/// ```
/// use runtime::instruments::Statistics;
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(async {
///     let handle = runtime::spawn_named("idle", runtime::sleep(Duration::from_secs(60)));
///     runtime::yield_now().await;
///     let snapshot = statistics.snapshot();
///     let idle = snapshot.tasks.iter().find(|task| task.name.as_deref() == Some("idle")).unwrap();
///     assert_eq!((idle.polls, idle.id), (1, handle.id()));
///     assert!(idle.busy <= idle.age && idle.site.is_some());
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskStatistics {
    /// Its number.
    pub id: TaskId,
    /// Its name, if it was spawned with one.
    pub name: Option<String>,
    /// Where it was spawned; `None` for the future given to `block_on`.
    pub site: Option<&'static Location<'static>>,
    /// How often it has been polled.
    pub polls: u64,
    /// How long that has taken altogether.
    pub busy: Duration,
    /// The longest of its polls.
    pub longest_poll: Duration,
    /// Time since it was spawned.
    pub age: Duration,
    /// What it does.
    pub state: State,
}

/// What a task does.
///
/// ```
/// use runtime::{TaskId, instruments::{State, Statistics}};
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(async {
///     let _idle = runtime::spawn(runtime::sleep(Duration::from_secs(60)));
///     runtime::yield_now().await;
///     for task in statistics.snapshot().tasks {
///         match task.state {
///             State::Running(_) => assert_eq!(task.id, TaskId::ROOT), // who asks
///             State::Waiting { on, .. } => assert_eq!(on[0].to_string(), "timer"),
///             State::Ready => panic!("nothing else is to be done"),
///         }
///     }
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being polled, for so long already.
    Running(Duration),
    /// It stands in the run queue.
    Ready,
    /// It waits to be woken.
    Waiting {
        /// For what, as it said in its last poll; nothing, if what it waits for is not of this crate: a channel, a lock.
        on: Vec<WaitingFor>,
        /// For how many things beside those four.
        more: usize,
    },
}

impl Statistics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let shared = Shared {
            since: Instant::now(),
            counts: Counts::default(),
            tasks: BTreeMap::new(),
            polled: None,
            asleep: None,
            polls_in_turn: 0,
        };
        Statistics { shared: Arc::new(Mutex::new(shared)) }
    }

    /// What there is to know now. From any thread; the loop has to wait at its next hook until the tasks are copied.
    ///
    /// A poll that never ends can be seen from a thread of one's own:
    ///
    /// ```
    /// use runtime::instruments::{State, Statistics};
    /// use std::time::Duration;
    ///
    /// fn stuck(statistics: &Statistics, limit: Duration) -> Option<String> {
    ///     let tasks = statistics.snapshot().tasks;
    ///     let stuck = tasks.iter().find(|task| matches!(task.state, State::Running(time) if time > limit));
    ///     stuck.map(|task| format!("{:?}", task.site))
    /// }
    /// # assert_eq!(stuck(&Statistics::new(), Duration::ZERO), None);
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        let shared = self.lock();
        let now = Instant::now();
        let mut counts = shared.counts.clone();
        if let Some((_, since)) = shared.polled {
            counts.polling += now - since;
        }
        if let Some(since) = shared.asleep {
            counts.asleep += now - since;
        }
        let running =
            |id| shared.polled.filter(|(polled, _)| *polled == id).map(|(_, at)| now - at);
        let tasks = shared.tasks.iter().map(|(id, known)| known.at(*id, now, running(*id)));
        Snapshot { up: now - shared.since, counts, tasks: tasks.collect() }
    }

    /// No code but this file's runs under it, so what a panic leaves behind is whole.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    fn new(name: Option<&str>, site: Option<&'static Location<'static>>) -> Self {
        Known {
            name: name.map(str::to_owned),
            site,
            since: Instant::now(),
            polls: 0,
            busy: Duration::ZERO,
            longest: Duration::ZERO,
            ready: true,
            waits: Vec::new(),
            more_waits: 0,
        }
    }

    fn at(&self, id: TaskId, now: Instant, running: Option<Duration>) -> TaskStatistics {
        let state = match running {
            Some(time) => State::Running(time),
            None if self.ready => State::Ready,
            None => State::Waiting { on: self.waits.clone(), more: self.more_waits },
        };
        TaskStatistics {
            id,
            name: self.name.clone(),
            site: self.site,
            polls: self.polls,
            busy: self.busy + running.unwrap_or_default(),
            longest_poll: self.longest.max(running.unwrap_or_default()),
            age: now - self.since,
            state,
        }
    }
}

impl Instrument for Statistics {
    fn spawned(&self, task: TaskId, name: Option<&str>, site: &'static Location<'static>) {
        let known = Known::new(name, Some(site));
        let mut shared = self.lock();
        shared.counts.spawned += 1;
        shared.tasks.insert(task, known);
    }

    fn poll_started(&self, task: TaskId) {
        let mut shared = self.lock();
        if task == TaskId::ROOT {
            // Nobody has said that it was spawned.
            shared.tasks.entry(task).or_insert_with(|| Known::new(None, None));
        }
        // One that was aborted in the run queue is told of here once more.
        let Some(known) = shared.tasks.get_mut(&task) else { return };
        known.polls += 1;
        known.ready = false;
        known.waits.clear();
        known.more_waits = 0;
        shared.counts.polls += 1;
        shared.polls_in_turn += 1;
        let most = shared.counts.most_polls_in_turn.max(shared.polls_in_turn);
        shared.counts.most_polls_in_turn = most;
        shared.polled = Some((task, Instant::now()));
    }

    fn poll_ended(&self, task: TaskId) {
        let mut shared = self.lock();
        let Some((_, since)) = shared.polled.take() else { return };
        let took = since.elapsed();
        shared.counts.polling += took;
        if took > shared.counts.longest_poll {
            shared.counts.longest_poll = took;
            shared.counts.longest_poll_of = Some(task);
        }
        if let Some(known) = shared.tasks.get_mut(&task) {
            known.busy += took;
            known.longest = known.longest.max(took);
        }
    }

    fn ended(&self, task: TaskId, cancelled: bool) {
        let mut shared = self.lock();
        shared.counts.ended += 1;
        shared.counts.cancelled += u64::from(cancelled);
        shared.tasks.remove(&task);
    }

    fn parked(&self, task: TaskId, on: &Wait<'_>) {
        let mut shared = self.lock();
        match shared.counts.parks.iter_mut().find(|(reason, _)| *reason == on.reason) {
            Some((_, count)) => *count += 1,
            None => shared.counts.parks.push((on.reason, 1)),
        }
        let Some(known) = shared.tasks.get_mut(&task) else { return };
        if known.waits.len() == WAITS_KEPT {
            known.more_waits += 1;
            return;
        }
        drop(shared); // to print a label is to run foreign code
        let on = WaitingFor::from(on);
        if let Some(known) = self.lock().tasks.get_mut(&task) {
            known.waits.push(on);
        }
    }

    fn woken(&self, task: TaskId, from_abroad: bool) {
        let mut shared = self.lock();
        let counts = &mut shared.counts;
        *(if from_abroad { &mut counts.wakes_from_abroad } else { &mut counts.wakes_at_home }) += 1;
        // Not by `entry`: a waker may be called long after the end of its task.
        if let Some(known) = shared.tasks.get_mut(&task) {
            known.ready = true;
        }
    }

    fn wait_started(&self, limit: Option<Duration>) {
        let mut shared = self.lock();
        shared.counts.turns += 1;
        shared.polls_in_turn = 0;
        if limit != Some(Duration::ZERO) {
            shared.counts.sleeps += 1;
            shared.asleep = Some(Instant::now());
        }
    }

    fn wait_ended(&self, events: usize) {
        let mut shared = self.lock();
        shared.counts.events += events as u64;
        if let Some(since) = shared.asleep.take() {
            shared.counts.asleep += since.elapsed();
        }
    }
}

impl Counts {
    /// How often a poll has arranged to be woken by this kind of event.
    pub fn parks_on(&self, reason: Reason) -> u64 {
        let parks = self.parks.iter().find(|(other, _)| *other == reason);
        parks.map_or(0, |(_, count)| *count)
    }
}

impl Snapshot {
    /// The task that is being polled, if one is.
    pub fn running(&self) -> Option<&TaskStatistics> {
        self.tasks.iter().find(|task| matches!(task.state, State::Running(_)))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { polling, asleep, .. } = self.counts;
        let rest = self.up.saturating_sub(polling + asleep);
        writeln!(
            f,
            "up {:.1?}: polling {polling:.1?}, asleep {asleep:.1?}, the rest {rest:.1?}",
            self.up
        )?;
        writeln!(f, "{}", self.counts)?;
        let mut rows = vec![
            ["task", "name", "polls", "busy", "longest", "age", "spawned at", "state"]
                .map(String::from),
        ];
        rows.extend(self.tasks.iter().map(TaskStatistics::row));
        let mut widths = [0; 8];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let line = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", line.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            spawned, ended, cancelled, polls, longest_poll, turns, sleeps, events, ..
        } = self;
        let alive = spawned.saturating_sub(*ended);
        writeln!(f, "tasks: {alive} alive, {spawned} spawned, {cancelled} cancelled")?;
        write!(f, "polls: {polls}, the longest {longest_poll:.1?}")?;
        if let Some(task) = self.longest_poll_of {
            write!(f, " (task {task})")?;
        }
        writeln!(f, ", in {turns} turns, at most {} in one", self.most_polls_in_turn)?;
        let (home, abroad) = (self.wakes_at_home, self.wakes_from_abroad);
        writeln!(
            f,
            "wakes: {home} at home, {abroad} from abroad; sleeps: {sleeps}; events: {events}"
        )?;
        let parks = self.parks.iter().map(|(reason, count)| format!("{reason} {count}"));
        writeln!(f, "parks: {}", parks.collect::<Vec<_>>().join(", "))
    }
}

impl TaskStatistics {
    fn row(&self) -> [String; 8] {
        [
            self.id.to_string(),
            self.name.clone().unwrap_or_default(),
            self.polls.to_string(),
            format!("{:.1?}", self.busy),
            format!("{:.1?}", self.longest_poll),
            format!("{:.1?}", self.age),
            self.site.map(ToString::to_string).unwrap_or_default(),
            self.state.to_string(),
        ]
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Running(time) => write!(f, "runs for {time:.1?}"),
            State::Ready => f.write_str("ready"),
            State::Waiting { on, .. } if on.is_empty() => f.write_str("waits"),
            State::Waiting { on, more } => {
                let on: Vec<_> = on.iter().map(ToString::to_string).collect();
                write!(f, "waits for {}", on.join(", "))?;
                if *more > 0 { write!(f, " and {more} more") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").finish_non_exhaustive()
    }
}
