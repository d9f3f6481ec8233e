//! The pool's threads: which job runs where, and how long jobs are kept from starving short ones.
//!
//! All jobs begin in the fast lane. A job that has run for a slice (a millisecond) leaves it, and its place is free for the
//! next. A thread whose job has *computed* for a slice is put behind all other threads of the machine (SCHED_IDLE,
//! sys/os/threads.rs): it gets the processor time that no other thread wants, and gives it back when a short job or the loop wakes.
//!
//! | a job that ran for a slice         | its thread        | afterwards                                                  |
//! |------------------------------------|-------------------|-------------------------------------------------------------|
//! | sleeps (I/O, a lock)               | is *blocked*      | comes back into the lane, if there is room                  |
//! | has used the processor for a slice | is *demoted*      | retires: a thread cannot leave that class without privilege |
//! | the same, where demotion is off or impossible | counts as blocked | as blocked                                       |
//! | neither: it waits for a core       | stays in the lane |                                                             |
//!
//! The monitor is a thread that exists while jobs run and for a while after. Once per slice it looks at every thread in the
//! lane, by its processor clock and, if that says little, by the kernel's word for its state: a thread that is ready to
//! run but gets no core is not taken for a blocked one, whose place another thread would take. It also starts the
//! threads; the submitter starts one itself only if there is neither an idle thread nor a monitor.
//!
//! New jobs run at most one per core at a time, as long as they compute; further ones wait in the queue. While jobs wait there,
//! the monitor looks every 50 us, and the slice is divided by the length of the queue, down to 50 us. So a burst of long jobs
//! costs the short job behind it about that much each, divided by the cores, instead of a slice each. A job that
//! sleeps gives its place to the next one at the monitor's next look.
//!
//! `long` and `cap` together bound the threads that are started. They do not bound demotion: a thread that computes for
//! longer than a slice is demoted even if that many are demoted already. At the bound, jobs wait in the queue.
//!
//! What a demoted job starts (a thread, a program) inherits the class. `unblock` says so.
//!
//! A demoted thread may be stopped at any instruction, for long. From its demotion on it takes no lock of this file for the
//! pool's own affairs: it leaves its result in a slot without a lock (mod.rs), wakes through an inbox without one
//! (run_queue.rs), and retires by two atomic writes. Two things still take a lock there. A demoted job that itself uses the
//! pool (`unblock`, `pool_stats`, dropping an `Unblock`) takes the queue's lock, and a loop that submits meanwhile waits until
//! that thread gets a core. And the allocator, the kernel's address space and standard output have locks of their own:
//! with four jobs that allocate and print without pause the slowest of 2,000 short jobs took 2 to 13 ms
//! (tests/it/pool.rs), and up to 4 seconds with three more threads that kept both cores busy. The cure for such a
//! program is [`PoolSettings::demote`](super::PoolSettings::demote).
//!
//! Every queued job has a thread that will look at the queue: one woken or started for it, the monitor, or, where the system
//! gives no thread for a monitor, a thread of the lane at the end of its job.
//!
//! The idle thread that went idle last is woken first. The others can grow old and leave, so the pool shrinks to what the
//! traffic needs; in first-in order, a trickle of jobs would keep all threads alive.
//!
//! Comes from: mod.rs. Goes to: mod.rs (the slots, by the jobs), sys/os (demotion).

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use slab::Slab;

use super::{Job, PoolInUse, PoolStats, Slot, Unblock, UnblockError};
use crate::sys::os::{self, OsThread, fork_generation};

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
/// So a thread on `idle` has not decided to leave, and one that left is not on `idle`. An unpark that comes before the
/// park is kept by the thread's token; one that comes late, when the claimed thread has timed out, seen its claim and
/// worked, makes one stray return from a later park. A claim is for one look at the queue, not for one job: if a busy
/// thread took the job first, the claimed one finds nothing and goes idle again.
pub(super) struct Pool {
    config: OnceLock<Config>,
    shared: Mutex<Shared>,
    /// Threads behind all others. Not under the lock, since they count themselves off.
    demoted: AtomicUsize,
    cores: OnceLock<usize>,
    /// The process that uses the pool, by how many forks lie before it, and one; 0 before its first use.
    owner: AtomicU32,
    finished: AtomicU64,
    panicked: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    /// Most threads in the lane.
    pub(super) cap: usize,
    /// Most threads out of it, blocked and demoted together.
    pub(super) long: usize,
    /// How long a job may stay in it.
    pub(super) slice: Duration,
    /// Whether those who compute are put behind all others.
    pub(super) demote: bool,
    /// Most jobs that wait for a thread.
    pub(super) bound: usize,
    /// How long a thread stays without work.
    pub(super) linger: Duration,
    pub(super) start: fn(&'static Pool, String) -> io::Result<()>,
}

impl Config {
    pub(super) const PROCESS: Config = Config {
        cap: 64,
        long: 256,
        slice: Duration::from_millis(1),
        demote: true,
        bound: 65_536,
        linger: Duration::from_secs(10),
        start: |pool, name| os::start_thread(&name, move || pool.work()).map(drop),
    };
}

struct Shared {
    /// By order of arrival. A map, not a deque, so that an abandoned job can leave from the middle.
    queue: BTreeMap<u64, Run>,
    /// Unclaimed threads that are parked or about to park; the last one came last.
    idle: Vec<Thread>,
    /// Threads in the lane, counted from before they start until they have left it.
    lane: usize,
    /// Threads of these that were claimed, or are being started, and have not looked at the queue yet.
    coming: usize,
    blocked: usize,
    /// All threads that have begun; the monitor removes those that have retired.
    seats: Slab<Arc<Seat>>,
    monitor: Monitor,
    /// Futures that wait for room in the queue, in order of arrival; no waker: it has been called.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Room that is promised to those that waited.
    promised: usize,
    submitted: u64,
    started: u64,
    demotions: u64,
}

/// The monitor thread as submitters see it.
enum Monitor {
    /// There is none. The next thread that takes a job starts it.
    Absent,
    /// It is being started, or awake: it will see the queue.
    Awake,
    /// It sleeps until this time, or until it is unparked.
    Asleep(Thread, Instant),
}

/// A job with its way back, to be run (`Ok`) or refused (`Err`).
type Run = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the monitor knows about the job that a thread runs. It belongs to the monitor alone.
#[derive(Clone, Copy)]
struct Watched {
    /// The seat's word when this job was first seen, or when its state last changed.
    word: u64,
    /// The thread's processor time, and the time, when the word was first seen or the job last judged.
    cpu: Option<Duration>,
    since: Instant,
    /// When to judge a blocked job again; `None`: never.
    judge_at: Option<Instant>,
    pause: Duration,
}

/// The most between two looks at a thread that is blocked: it may begin to compute.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The shortest time between two looks of the monitor: while jobs wait for a thread.
const SHORTEST_TICK: Duration = Duration::from_micros(50);

/// For how many ticks after the last job the monitor goes on: while short jobs follow each other it need not be woken.
/// Each of these ticks is twice as long as the one before.
const IDLE_TICKS: u32 = 4;

/// The word over which a thread at the end of its job and the monitor agree. Its low bits are the state; the rest counts the
/// thread's jobs, so that a verdict over one job never hits the next.
///
/// | state      | set by                                 | then the thread, at its job's end,                |
/// |------------|----------------------------------------|---------------------------------------------------|
/// | `IDLE`     | the thread, at its job's end           |                                                   |
/// | `FAST`     | the thread, when it takes a job        | takes the lock and the next job                   |
/// | `BLOCKED`  | the monitor, from `FAST`               | takes the lock and goes back into the lane        |
/// | `CHANGING` | the monitor, from `FAST` or `BLOCKED`  | waits: it must be alive for the monitor's calls   |
/// | `DEMOTED`  | the monitor, from `CHANGING`           | takes no lock, and retires                        |
/// | `GONE`     | the thread, as the last it does        |                                                   |
struct Seat {
    word: AtomicU64,
    thread: OsThread,
}

const IDLE: u64 = 0;
const FAST: u64 = 1;
const BLOCKED: u64 = 2;
const CHANGING: u64 = 3;
const DEMOTED: u64 = 4;
const GONE: u64 = 5;
const STATE: u64 = 7;
const NEXT_JOB: u64 = 8;

impl Pool {
    pub(super) const fn new() -> Pool {
        let shared = Shared {
            queue: BTreeMap::new(),
            idle: Vec::new(),
            lane: 0,
            coming: 0,
            blocked: 0,
            seats: Slab::new(),
            monitor: Monitor::Absent,
            waiting: BTreeMap::new(),
            promised: 0,
            submitted: 0,
            started: 0,
            demotions: 0,
        };
        Pool {
            config: OnceLock::new(),
            shared: Mutex::new(shared),
            demoted: AtomicUsize::new(0),
            cores: OnceLock::new(),
            owner: AtomicU32::new(0),
            finished: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        }
    }

    pub(super) fn configure(&self, config: Config) -> Result<(), PoolInUse> {
        self.config.set(config).map_err(|_| PoolInUse)
    }

    pub(super) fn config(&self) -> &Config {
        self.config.get_or_init(|| Config::PROCESS)
    }

    /// Submits a job, into room that was waited for, if so.
    pub(super) fn unblock<T, F>(&'static self, job: F, room: Option<Place>) -> Unblock<T>
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
                Ok(()) if !back.start() => {}
                Ok(()) => {
                    let result = catch_unwind(AssertUnwindSafe(|| job(&back.job)));
                    self.panicked.fetch_add(result.is_err().into(), Ordering::Relaxed);
                    self.finished.fetch_add(1, Ordering::Relaxed);
                    back.finish(Ok(result));
                }
                Err(error) => back.finish(Err(UnblockError::NoThread(error))),
            }
        };
        let queued = match self.submit(Box::new(run), room) {
            Ok(id) => Some((self, id)),
            Err(refused) => {
                slot.finish(Err(refused));
                None
            }
        };
        Unblock { slot, queued, awaited_by: None }
    }

    /// Queues a job, sees to it that a thread will look, and says where it stands in the queue.
    fn submit(&'static self, run: Run, room: Option<Place>) -> Result<u64, UnblockError> {
        if !self.is_of_this_process() {
            return Err(UnblockError::NoThread(forked()));
        }
        let mut shared = lock(&self.shared);
        if let Some(mut place) = room {
            place.pool = None; // what follows is its drop, without a moment in which somebody else could come
            shared.promised -= 1;
        } else if !shared.has_room(self) {
            drop(shared); // before `run`, whose drop is foreign code
            return Err(UnblockError::Full);
        }
        let id = shared.submitted;
        shared.submitted += 1;
        shared.queue.insert(id, run);
        let mut hands = Hands::default();
        if shared.has_monitor() {
            // With as many jobs under way as there are cores, the monitor decides whether one more thread helps.
            let busy = shared.lane - shared.idle.len();
            if busy < self.width() {
                hands.claim(&mut shared);
            }
            if hands.woken.is_empty() {
                hands.monitor = shared.call_monitor();
            }
        } else if !hands.claim(&mut shared) {
            shared.reserve(1, self, &mut hands);
        }
        drop(shared);
        self.put_to_work(hands);
        Ok(id)
    }

    /// How many threads may run new jobs at the same time, as long as those jobs compute: one per core.
    fn width(&self) -> usize {
        *self.cores.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many threads more may be started for the lane.
    fn spare(&self, shared: &Shared) -> usize {
        let config = self.config();
        let all = shared.lane + shared.blocked + self.demoted.load(Ordering::Relaxed);
        let limit = config.cap.saturating_add(config.long);
        config.cap.saturating_sub(shared.lane).min(limit.saturating_sub(all))
    }

    /// Wakes and starts what was decided under the lock.
    fn put_to_work(&'static self, hands: Hands) {
        for thread in hands.woken.into_iter().chain(hands.monitor) {
            thread.unpark();
        }
        for number in hands.reserved {
            if let Err(error) = (self.config().start)(self, format!("pool-{number}")) {
                self.not_started(&error);
            }
        }
    }

    /// Starts the monitor, if there is none. Without one (the system gives no thread) jobs run all the same, each in the
    /// lane to its end.
    fn start_monitor(&'static self) {
        let builder = thread::Builder::new().name("pool-monitor".into());
        if builder.spawn(move || self.monitor()).is_err() {
            lock(&self.shared).monitor = Monitor::Absent;
        }
    }

    /// The life of the monitor.
    fn monitor(&'static self) {
        os::wake_precisely();
        let config = self.config();
        let mut watched: Vec<Option<Watched>> = Vec::new();
        let mut running: Vec<(usize, Arc<Seat>)> = Vec::new();
        let (mut seen, mut idle_ticks, mut tick) = (0, 0, config.slice);
        loop {
            let mut shared = lock(&self.shared);
            shared.seats.retain(|_, seat| seat.state() != GONE);
            let jobs =
                shared.seats.iter().filter(|(_, seat)| matches!(seat.state(), FAST | BLOCKED));
            running.extend(jobs.map(|(key, seat)| (key, Arc::clone(seat))));
            let queued = shared.queue.len();
            drop(shared);

            // System calls are made without the lock: a loop may want it.
            let now = Instant::now();
            let limit = (config.slice / (1 + queued as u32)).max(SHORTEST_TICK).min(config.slice);
            let (mut computing, mut next) = (0, None::<Instant>);
            for (key, seat) in running.drain(..) {
                watched.resize(watched.len().max(key + 1), None);
                let verdict = self.judge(&seat, &mut watched[key], now, limit, queued > 0);
                computing += usize::from(verdict == Verdict::Computing);
                let judge_at = watched[key].and_then(|watched| watched.judge_at);
                next = [next, judge_at].into_iter().flatten().min();
            }

            let mut hands = Hands::default();
            let mut shared = lock(&self.shared);
            let uncovered = shared.queue.len().saturating_sub(shared.coming);
            let free = self.width().saturating_sub(computing + shared.coming);
            let mut wanted = uncovered.min(free);
            while wanted > 0 && hands.claim(&mut shared) {
                wanted -= 1;
            }
            shared.reserve(wanted, self, &mut hands);
            let has_acted = !hands.woken.is_empty() || !hands.reserved.is_empty();
            let is_queueing = !shared.queue.is_empty();
            idle_ticks = if shared.submitted != seen { 0 } else { idle_ticks + 1 };
            seen = shared.submitted;
            tick = match is_queueing {
                true if has_acted || queued == 0 => SHORTEST_TICK.min(config.slice),
                true => (tick * 2).clamp(SHORTEST_TICK, limit.max(SHORTEST_TICK * 2)),
                false if computing == 0 => config.slice * (1 << idle_ticks.min(IDLE_TICKS)),
                false => config.slice,
            };
            let is_ticking = is_queueing || computing > 0 || idle_ticks < IDLE_TICKS;
            let until = match (is_ticking, next) {
                (true, next) => next.map_or(now + tick, |next| next.min(now + tick)),
                (false, Some(next)) => next,
                (false, None) => now + config.linger,
            };
            if until <= now + SHORTEST_TICK.min(tick) {
                shared.monitor = Monitor::Awake;
            } else {
                shared.monitor = Monitor::Asleep(thread::current(), until);
            }
            drop(shared);
            self.put_to_work(hands);
            thread::park_timeout(
                until.saturating_duration_since(Instant::now()).max(SHORTEST_TICK),
            );

            let mut shared = lock(&self.shared);
            let is_over = !is_ticking
                && next.is_none()
                && shared.submitted == seen
                && Instant::now() >= until;
            shared.monitor = if is_over { Monitor::Absent } else { Monitor::Awake };
            drop(shared);
            if is_over {
                return;
            }
        }
    }

    /// Decides about one thread and the job it runs.
    fn judge(
        &self,
        seat: &Seat,
        watched: &mut Option<Watched>,
        now: Instant,
        limit: Duration,
        crowded: bool,
    ) -> Verdict {
        let config = self.config();
        let word = seat.word.load(Ordering::Acquire);
        let known = match watched {
            Some(known) if known.word == word => known,
            _ => {
                // A new job: from here on it is measured.
                *watched = Some(Watched {
                    word,
                    cpu: seat.thread.cpu_time(),
                    since: now,
                    judge_at: None,
                    pause: config.slice,
                });
                return Verdict::Computing;
            }
        };
        let time = now.saturating_duration_since(known.since);
        let cpu = seat.thread.cpu_time();
        let computed = cpu
            .zip(known.cpu)
            .and_then(|(cpu, before)| cpu.checked_sub(before))
            .unwrap_or_default();
        let to = if word & STATE == FAST {
            if computed >= limit {
                if config.demote { DEMOTED } else { BLOCKED }
            } else if (crowded || time >= config.slice) && !seat.thread.is_runnable() {
                if time < config.slice {
                    return Verdict::Waiting;
                }
                BLOCKED
            } else {
                return Verdict::Computing;
            }
        } else {
            if known.judge_at.is_none_or(|at| now < at) {
                return Verdict::Waiting;
            }
            known.pause = (known.pause * 2).min(LONGEST_PAUSE);
            (known.cpu, known.since, known.judge_at) = (cpu, now, Some(now + known.pause));
            // Less than half of the time, for it may share the cores with many of its kind.
            if !config.demote || computed < (config.slice / 2).max(time / 16) {
                return Verdict::Waiting;
            }
            DEMOTED
        };
        let was_fast = word & STATE == FAST;
        if !seat.change(word, CHANGING) {
            return Verdict::Waiting; // it has just ended
        }
        let to = if to == DEMOTED && !seat.thread.demote() { BLOCKED } else { to };
        let mut shared = lock(&self.shared);
        *(if was_fast { &mut shared.lane } else { &mut shared.blocked }) -= 1;
        if to == DEMOTED {
            shared.demotions += 1;
            self.demoted.fetch_add(1, Ordering::Relaxed);
        } else {
            shared.blocked += 1;
        }
        drop(shared);
        let word = word & !STATE | to;
        seat.word.store(word, Ordering::Release);
        let judge_at =
            (to == BLOCKED && config.demote && computed < limit).then_some(now + known.pause);
        *known = Watched { word, cpu, since: now, judge_at, pause: known.pause };
        Verdict::Waiting
    }

    /// Takes back the count of a thread that did not start. With it the last one may be gone that others relied on, so it
    /// is not the own job alone that has nobody left to run it.
    fn not_started(&self, error: &io::Error) {
        let mut shared = lock(&self.shared);
        shared.lane -= 1;
        shared.coming -= 1;
        if shared.lane + shared.blocked > 0 {
            return;
        }
        let stranded = mem::take(&mut shared.queue);
        let next = shared.next_in_line(self);
        drop(shared);
        wake(next);
        for run in stranded.into_values() {
            run(Err(copy_of(error)));
        }
    }

    /// Drops the job if it still waits for a thread.
    pub(super) fn forget(&self, id: u64) {
        // In a forked child the lock may be held for ever, by a thread that is not there.
        if self.is_of_this_process() {
            let mut shared = lock(&self.shared);
            let run = shared.queue.remove(&id);
            let next = shared.next_in_line(self);
            drop(shared);
            drop(run);
            wake(next);
        }
    }

    /// The life of a thread.
    fn work(&'static self) {
        let config = self.config();
        let me = thread::current();
        let seat = Arc::new(Seat { word: AtomicU64::new(IDLE), thread: OsThread::current() });
        // Started by a job that computes: it was born behind the others, and can only leave again.
        let is_born_demoted = seat.thread.is_demoted();
        let mut shared = lock(&self.shared);
        shared.coming -= 1;
        let key = shared.seats.insert(Arc::clone(&seat));
        loop {
            while let Some((_, run)) = shared.queue.pop_first() {
                seat.begin();
                let is_alone = matches!(shared.monitor, Monitor::Absent) && !is_born_demoted;
                if is_alone {
                    shared.monitor = Monitor::Awake;
                }
                let monitor = shared.call_monitor_within(config.slice);
                let next = shared.next_in_line(self);
                drop(shared);
                if is_alone {
                    self.start_monitor();
                }
                if let Some(monitor) = monitor {
                    monitor.unpark();
                }
                wake(next);
                // The job's own panic is caught inside. This is for wakers, and for the drops of what nobody wanted; a
                // payload is not dropped, since that too might panic.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(Ok(())))) {
                    mem::forget(payload);
                }
                let was = seat.end();
                if was == DEMOTED {
                    self.demoted.fetch_sub(1, Ordering::Relaxed);
                    seat.word.store(GONE, Ordering::Release);
                    return;
                }
                shared = lock(&self.shared);
                if was == BLOCKED {
                    shared.blocked -= 1;
                    shared.lane += 1;
                    if shared.lane > config.cap {
                        return shared.leave(key);
                    }
                }
            }
            if is_born_demoted {
                return shared.leave(key);
            }
            // No spinning before the sleep: it gains only when jobs follow each other without a pause,
            // costs up to its whole length of CPU otherwise, and on one core holds up the awaiter.
            shared.idle.push(me.clone());
            let leave_at = Instant::now() + config.linger;
            loop {
                drop(shared);
                thread::park_timeout(leave_at.saturating_duration_since(Instant::now()));
                shared = lock(&self.shared);
                let Some(place) = shared.idle.iter().rposition(|t| t.id() == me.id()) else {
                    shared.coming -= 1; // claimed
                    break;
                };
                if Instant::now() >= leave_at {
                    shared.idle.remove(place);
                    return shared.leave(key);
                }
            }
        }
    }

    /// Waits for room in the queue.
    pub(super) fn room(&'static self) -> Room {
        Room { pool: self, number: None }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let (finished, panicked) = (&self.finished, &self.panicked);
        let shared = lock(&self.shared);
        let demoted = self.demoted.load(Ordering::Relaxed);
        PoolStats {
            threads: shared.lane + shared.blocked + demoted,
            idle: shared.idle.len(),
            blocked: shared.blocked,
            demoted,
            queued: shared.queue.len(),
            submitted: shared.submitted,
            finished: finished.load(Ordering::Relaxed),
            panicked: panicked.load(Ordering::Relaxed),
            demotions: shared.demotions,
        }
    }

    /// Whether the pool's threads, if any, live in this process and not in the one it was forked from.
    fn is_of_this_process(&self) -> bool {
        // Not the process id: asking for that is a system call.
        let mine = fork_generation() + 1;
        match self.owner.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(owner) => owner == mine,
        }
    }
}

/// What the monitor finds about a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is in the lane and uses a core, or wants one.
    Computing,
    /// It leaves the cores to others.
    Waiting,
}

/// What to wake and to start, once the lock is released.
#[derive(Default)]
struct Hands {
    woken: Vec<Thread>,
    monitor: Option<Thread>,
    /// The numbers of new threads, which are counted already.
    reserved: Vec<u64>,
}

impl Hands {
    /// Claims the thread that went idle last, for one look at the queue.
    fn claim(&mut self, shared: &mut Shared) -> bool {
        let thread = shared.idle.pop();
        shared.coming += usize::from(thread.is_some());
        let is_claimed = thread.is_some();
        self.woken.extend(thread);
        is_claimed
    }
}

impl Shared {
    /// Counts new threads for so many jobs, as far as there is room for them.
    fn reserve(&mut self, jobs: usize, pool: &Pool, hands: &mut Hands) {
        for _ in 0..jobs.min(pool.spare(self)) {
            self.lane += 1;
            self.coming += 1;
            self.started += 1;
            hands.reserved.push(self.started);
        }
    }

    fn has_monitor(&self) -> bool {
        !matches!(self.monitor, Monitor::Absent)
    }

    /// The monitor, to be unparked, if it would look at the queue too late.
    fn call_monitor(&mut self) -> Option<Thread> {
        self.call_monitor_within(SHORTEST_TICK)
    }

    fn call_monitor_within(&mut self, time: Duration) -> Option<Thread> {
        let Monitor::Asleep(_, until) = &self.monitor else { return None };
        if *until <= Instant::now() + time {
            return None;
        }
        match mem::replace(&mut self.monitor, Monitor::Awake) {
            Monitor::Asleep(thread, _) => Some(thread),
            _ => None,
        }
    }

    /// A thread of the lane ends.
    fn leave(&mut self, key: usize) {
        self.lane -= 1;
        self.seats.remove(key);
    }

    /// Whether one more job may be queued. Queued jobs that a thread is free, or is being started, or may be started for do
    /// not count: they do not have to wait for another job's end.
    fn has_room(&self, pool: &Pool) -> bool {
        let free = self.coming + self.idle.len() + pool.spare(self);
        self.queue.len().saturating_sub(free) + self.promised < pool.config().bound
    }

    /// The waker of the first who waits for room, if there is some.
    fn next_in_line(&mut self, pool: &Pool) -> Option<Waker> {
        if self.waiting.is_empty() || !self.has_room(pool) {
            return None;
        }
        self.waiting.first_entry()?.get_mut().take()
    }
}

impl Seat {
    fn state(&self) -> u64 {
        self.word.load(Ordering::Acquire) & STATE
    }

    /// The thread begins its next job. Nothing else changes the word of a thread that runs none.
    fn begin(&self) {
        let count = self.word.load(Ordering::Relaxed) & !STATE;
        self.word.store(count.wrapping_add(NEXT_JOB) | FAST, Ordering::Release);
    }

    fn change(&self, from: u64, to: u64) -> bool {
        let to = from & !STATE | to;
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The thread has done its job; what it was in the end.
    fn end(&self) -> u64 {
        loop {
            let word = self.word.load(Ordering::Acquire);
            match word & STATE {
                CHANGING => thread::yield_now(),
                DEMOTED => return DEMOTED,
                state if self.change(word, IDLE) => return state,
                _ => {}
            }
        }
    }
}

/// The future of room in the queue.
pub(super) struct Room {
    pool: &'static Pool,
    /// Our place in the line.
    number: Option<u64>,
}

impl Future for Room {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        if !self.pool.is_of_this_process() {
            return Poll::Ready(Place { pool: None }); // and `submit` will say why not
        }
        let waker = cx.waker().clone(); // foreign code: not under the lock
        let mut shared = lock(&self.pool.shared);
        let first = shared.waiting.keys().next().copied();
        let is_first = first.is_none_or(|first| self.number.is_some_and(|mine| mine <= first));
        if is_first && shared.has_room(self.pool) {
            shared.promised += 1;
            let left = self.number.take().map(|number| shared.waiting.remove(&number));
            let next = shared.next_in_line(self.pool);
            drop(shared);
            drop(left);
            wake(next);
            return Poll::Ready(Place { pool: Some(self.pool) });
        }
        let last = shared.waiting.keys().next_back().copied();
        let number = self.number.unwrap_or_else(|| last.map_or(0, |last| last + 1));
        let replaced = shared.waiting.insert(number, Some(waker));
        drop(shared);
        drop(replaced);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && self.pool.is_of_this_process()
        {
            let mut shared = lock(&self.pool.shared);
            let left = shared.waiting.remove(&number);
            // If it had been woken, the next one has to be in its stead.
            let next = shared.next_in_line(self.pool);
            drop(shared);
            drop(left);
            wake(next);
        }
    }
}

/// Room in the queue that is promised to its holder; none if it is used up.
pub(super) struct Place {
    pool: Option<&'static Pool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(pool) = self.pool.filter(|pool| pool.is_of_this_process()) else { return };
        let mut shared = lock(&pool.shared);
        shared.promised -= 1;
        let next = shared.next_in_line(pool);
        drop(shared);
        wake(next);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker
        && let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake()))
    {
        mem::forget(payload);
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

#[cfg(all(test, not(ground_loom)))]
mod tests;
