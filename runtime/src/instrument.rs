//! How can somebody watch the loop work, without the loop paying for it when nobody does?
//!
//! An [`Instrument`] is told what happens: a task is spawned, polled, parks, is woken, ends; the loop sleeps and wakes; a
//! job goes to the pool. Each hook has an empty default. The loop tests one `Option` where a hook stands and otherwise
//! keeps no names, no sites and no counters: a side table of that kind belongs to the instrument.
//!
//! The rule: a hook only looks. It runs inside the loop, at places where the runtime's own state is consistent; it may
//! read the clock, count, and write to memory of its own. It must not block. An
//! instrument that panics is removed, with a line on standard error, and the loop goes on. Two that are of use to most
//! programs, and how to set several, stand in outer/instruments/.
//!
//! The idea of hooks around every step is trio's (its Instrument interface).
//!
//! Comes from: run_queue.rs, executor.rs, async_socket.rs, timer.rs, task/. Goes to: whoever watches.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// Watches one runtime; set by [`Builder::instrument`](crate::Builder::instrument). All hooks do nothing by default.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// #[derive(Default)]
/// struct Polls(Cell<u32>);
/// impl runtime::Instrument for Polls {
///     fn poll_started(&self, _: runtime::TaskId) {
///         self.0.set(self.0.get() + 1);
///     }
/// }
///
/// let polls = Rc::new(Polls::default());
/// let rt = runtime::Runtime::builder().instrument(polls.clone()).build()?;
/// rt.block_on(async { runtime::yield_now().await });
/// assert_eq!(polls.0.get(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The life of a task, as its hooks tell it:
///
/// ```
/// use runtime::{Instrument, TaskId, Wait, testing::TestClock};
/// use std::{cell::RefCell, panic::Location, rc::Rc, time::Duration};
///
/// #[derive(Default)]
/// struct Log(RefCell<Vec<&'static str>>);
/// impl Log {
///     fn note(&self, task: TaskId, what: &'static str) {
///         if task != TaskId::ROOT {
///             self.0.borrow_mut().push(what);
///         }
///     }
/// }
/// impl Instrument for Log {
///     fn spawned(&self, task: TaskId, _: Option<&str>, _: &'static Location<'static>) {
///         self.note(task, "spawned");
///     }
///     fn poll_started(&self, task: TaskId) {
///         self.note(task, "poll");
///     }
///     fn parked(&self, task: TaskId, _: &Wait<'_>) {
///         self.note(task, "parks");
///     }
///     fn poll_ended(&self, task: TaskId) {
///         self.note(task, "poll ends");
///     }
///     fn woken(&self, task: TaskId, _: bool) {
///         self.note(task, "woken");
///     }
///     fn ended(&self, task: TaskId, _: bool) {
///         self.note(task, "ends");
///     }
/// }
///
/// let log = Rc::new(Log::default());
/// let rt = runtime::Runtime::builder().instrument(log.clone()).time(TestClock::new()).build()?;
/// rt.block_on(async { runtime::spawn(runtime::sleep(Duration::from_secs(1))).await })?;
/// assert_eq!(
///     log.0.borrow()[..],
///     ["spawned", "poll", "parks", "poll ends", "woken", "poll", "ends", "poll ends"]
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Instrument {
    /// A task was spawned at `site`, perhaps with a name.
    fn spawned(&self, task: TaskId, name: Option<&str>, site: &'static Location<'static>) {
        let _ = (task, name, site);
    }
    /// The loop is about to poll the task; or to find that it was aborted while it stood in the run queue, and has ended.
    fn poll_started(&self, task: TaskId) {
        let _ = task;
    }
    /// The poll has returned.
    fn poll_ended(&self, task: TaskId) {
        let _ = task;
    }
    /// The task is over, by whichever way; `cancelled` before it came to its own end.
    fn ended(&self, task: TaskId, cancelled: bool) {
        let _ = (task, cancelled);
    }
    /// The task, inside its poll, has arranged to be woken by this. One poll may park on several things.
    fn parked(&self, task: TaskId, on: &Wait<'_>) {
        let _ = (task, on);
    }
    /// The task's waker was called; `from_abroad` by another thread.
    fn woken(&self, task: TaskId, from_abroad: bool) {
        let _ = (task, from_abroad);
    }
    /// The loop asks the kernel for events and sleeps at most `limit` (`None`: until something happens).
    fn wait_started(&self, limit: Option<Duration>) {
        let _ = limit;
    }
    /// The kernel has answered with this many events.
    fn wait_ended(&self, events: usize) {
        let _ = events;
    }
}

/// What a task waits for.
///
/// ```
/// use runtime::{Instrument, TaskId, Wait, testing::TestClock};
/// use std::{cell::RefCell, rc::Rc, time::Duration};
///
/// #[derive(Default)]
/// struct Waits(RefCell<Vec<String>>);
/// impl Instrument for Waits {
///     fn parked(&self, task: TaskId, on: &Wait<'_>) {
///         self.0.borrow_mut().push(format!("{task} waits for {}", on.reason));
///     }
///     fn wait_started(&self, _: Option<Duration>) {
///         self.0.borrow_mut().push("the loop asks the kernel".to_owned());
///     }
///     fn wait_ended(&self, events: usize) {
///         self.0.borrow_mut().push(format!("{events} events"));
///     }
/// }
///
/// let waits = Rc::new(Waits::default());
/// let rt = runtime::Runtime::builder().instrument(waits.clone()).time(TestClock::new()).build()?;
/// rt.block_on(runtime::sleep(Duration::from_secs(1)));
/// assert_eq!(waits.0.borrow()[..], ["root waits for timer", "the loop asks the kernel", "0 events"]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Wait<'a> {
    /// Which kind of event will wake it.
    pub reason: Reason,
    /// The raw number of the descriptor, if it waits for one.
    pub source: Option<i32>,
    /// What the owner of the descriptor calls it, say a peer's address; made only if it is printed.
    pub label: Option<&'a dyn fmt::Display>,
}

/// The kinds of event a task can wait for in this crate.
///
/// ```
/// use runtime::Reason;
/// let is_network = |reason| matches!(reason, Reason::Readable | Reason::Writable);
/// assert!(is_network(Reason::Readable) && !is_network(Reason::Timer));
/// assert_eq!(Reason::Token.to_string(), "token");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A descriptor to have something to read or accept.
    Readable,
    /// A descriptor to take bytes.
    Writable,
    /// A time.
    Timer,
    /// The end of another task.
    Join,
    /// A job in the pool. When it has ended, the task is told to be woken from abroad; the pool counts by itself
    /// ([`pool_stats`](crate::pool_stats)), since it serves all runtimes of the process and code that runs under none.
    Job,
    /// A [`CancelToken`](crate::CancelToken) to be set.
    Token,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Readable => "readable",
            Reason::Writable => "writable",
            Reason::Timer => "timer",
            Reason::Join => "join",
            Reason::Job => "job",
            Reason::Token => "token",
        })
    }
}

/// The number of a task, unique within its runtime and never given twice.
///
/// ```
/// use runtime::TaskId;
/// runtime::block_on(async {
///     let (first, second) = (runtime::spawn(async {}), runtime::spawn(async {}));
///     assert!(first.id() != second.id() && first.id() != TaskId::ROOT);
/// });
/// assert_eq!(TaskId::ROOT.to_string(), "root");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub(crate) u64);

impl TaskId {
    /// The future given to `block_on`.
    pub const ROOT: TaskId = TaskId(0);
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TaskId::ROOT => f.write_str("root"),
            TaskId(number) => number.fmt(f),
        }
    }
}
