//! How are long jobs kept from starving short ones, when nobody can tell before which is which?
//!
//! By watching what they take. All jobs begin in the fast lane. One that has run for a slice (a millisecond) leaves it,
//! and a fresh thread takes its place; so however many long ones there are, a short one finds a thread. And one that
//! has *computed* all that time is put behind all other threads of the machine (SCHED_IDLE, sys/os/threads.rs): it
//! gets every moment that nobody else wants, on every core, and gives it back the instant a short job or the loop wakes.
//!
//! | a job that ran for a slice | its thread            | and afterwards                                             |
//! |----------------------------|-----------------------|------------------------------------------------------------|
//! | has waited (I/O, a lock)   | is *blocked*          | comes back into the lane, if there is room                 |
//! | has computed: half a slice, and a sixteenth of the time since it was last looked at | is *demoted* | retires: nobody comes back from that class without rights  |
//! | may not be demoted, or cannot here | counts as blocked | as blocked                                             |
//!
//! Nobody watches all the time. Who submits looks, if it is time to (`next_look`), and who awaits a result looks by its
//! loop's timer, so a queue that nobody adds to is looked at too. There is no monitor thread.
//!
//! What a demoted job starts (a thread, a program, a job that needs a new thread here) is born behind all others, too; so
//! the system has it, and `unblock` says so.
//!
//! A demoted thread may be stopped at any instruction, for long. So it must hold nothing then that others wait for, and
//! from its demotion on it takes no lock of ours for its own affairs (a job that submits jobs takes the queue's): it
//! leaves its result in a slot without one (mod.rs), wakes through an inbox without one (run_queue.rs), and retires by
//! two atomic writes. What is not ours: the allocator's locks, the kernel's on the address space, those of standard
//! output, a lock in the job itself. Who waits for one of those has gone to sleep, so its core is free, and on a free
//! core the demoted thread runs and lets go: with four jobs that allocate and print without pause the slowest of 2,000
//! short ones took 2 to 13 ms (tests/it/pool.rs). That ends where other threads of the same session keep every core busy
//! all the time: with three such threads put into that test, on two cores, one of the 2,000 waited for up to 4 seconds.
//! Who runs so should have no thread demoted ([`PoolSettings::demote`](super::PoolSettings::demote)).
//!
//! Every queued job has somebody who will look at the queue: a thread woken for it, a thread being started for it, or
//! (at the cap, or when the OS gives no more threads) a thread in the lane, or blocked, that looks when it is done. The
//! look that takes a thread out of the lane starts another one for what is queued.
//!
//! The idle thread that went idle last is woken first. The others can grow old and leave, so the pool shrinks to what the
//! traffic needs; in first-in order, a trickle keeps all alive for ever.
//!
//! Comes from: mod.rs. Goes to: mod.rs (the slots, by the jobs), sys/os (demotion).

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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
    /// All threads that have begun; those of retired ones are taken off by the next look.
    seats: Slab<Watched>,
    /// No seat has to be looked at before this.
    next_look: Option<Instant>,
    /// Who waits for room in the queue, in the order they came; no waker: it has been called.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Room that is promised to those who waited.
    promised: usize,
    submitted: u64,
    started: u64,
    demotions: u64,
}

/// A job with its way back, to be run (`Ok`) or refused (`Err`).
type Run = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A thread as the lookers see it. All but the seat's state is under the lock.
struct Watched {
    seat: Arc<Seat>,
    /// Its own processor time, and the time, when its job began or when it was last looked at.
    cpu_before: Option<Duration>,
    since: Instant,
    /// When to look at it; `None`: it runs no job, or nothing can be done about it.
    look_at: Option<Instant>,
    pause: Duration,
}

/// The most between two looks at a thread that is blocked: it may begin to compute.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The word over which a thread at the end of its job and a looker that wants to put it elsewhere agree.
///
/// | state      | set by                              | then the thread, at its job's end, ..                |
/// |------------|-------------------------------------|------------------------------------------------------|
/// | `IDLE`     | the thread, at its job's end        |                                                      |
/// | `FAST`     | the thread, when it takes a job     | .. takes the lock and the next job                   |
/// | `BLOCKED`  | a looker, from `FAST`               | .. takes the lock and goes back into the lane        |
/// | `CHANGING` | a looker, from `FAST` or `BLOCKED`  | .. waits: it must be alive for the looker's calls    |
/// | `DEMOTED`  | a looker, from `CHANGING`           | .. takes no lock, and retires                        |
/// | `GONE`     | the thread, as the last it does     |                                                      |
struct Seat {
    state: AtomicU8,
    thread: OsThread,
}

const IDLE: u8 = 0;
const FAST: u8 = 1;
const BLOCKED: u8 = 2;
const CHANGING: u8 = 3;
const DEMOTED: u8 = 4;
const GONE: u8 = 5;

impl Pool {
    pub(super) const fn new() -> Pool {
        let shared = Shared {
            queue: BTreeMap::new(),
            idle: Vec::new(),
            lane: 0,
            coming: 0,
            blocked: 0,
            seats: Slab::new(),
            next_look: None,
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
        Unblock { slot, queued, awaited_by: None, look: None }
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
        } else if !shared.has_room(self.config()) {
            drop(shared); // before `run`, whose drop is foreign code
            return Err(UnblockError::Full);
        }
        let id = shared.submitted;
        shared.submitted += 1;
        shared.queue.insert(id, run);
        let mut hands = Hands { woken: shared.idle.pop(), ..Hands::default() };
        shared.coming += usize::from(hands.woken.is_some());
        self.look_if_it_is_time(&mut shared, &mut hands);
        if hands.woken.is_none() && hands.hired.is_empty() {
            shared.hire(1, self.config(), &mut hands);
        }
        drop(shared);
        self.put_to_work(hands);
        Ok(id)
    }

    /// Looks at the lanes, on behalf of somebody who has waited for a while.
    pub(super) fn look(&'static self) {
        if !self.is_of_this_process() {
            return;
        }
        let mut hands = Hands::default();
        let mut shared = lock(&self.shared);
        self.look_if_it_is_time(&mut shared, &mut hands);
        drop(shared);
        self.put_to_work(hands);
    }

    /// Takes those out of the lane who have been in it for too long, and has others come for what is queued.
    fn look_if_it_is_time(&self, shared: &mut Shared, hands: &mut Hands) {
        let Some(next_look) = shared.next_look else { return };
        let now = Instant::now();
        if now < next_look {
            return;
        }
        let (config, lane_before) = (self.config(), shared.lane);
        let Shared { seats, lane, blocked, demotions, .. } = shared;
        seats.retain(|_, watched| watched.seat.state.load(Ordering::Acquire) != GONE);
        for (_, watched) in seats.iter_mut() {
            if watched.look_at.is_none_or(|at| now < at) {
                continue;
            }
            watched.pause = (watched.pause * 2).min(LONGEST_PAUSE);
            watched.look_at = Some(now + watched.pause);
            let state = watched.seat.state.load(Ordering::Acquire);
            let is_computing = watched.is_computing(now, config);
            let is_full = *blocked + self.demoted.load(Ordering::Relaxed) >= config.long;
            match state {
                FAST if is_full => {}
                FAST | BLOCKED if is_computing && watched.seat.change(state, CHANGING) => {
                    *(if state == FAST { &mut *lane } else { &mut *blocked }) -= 1;
                    if config.demote && watched.seat.thread.demote() {
                        *demotions += 1;
                        self.demoted.fetch_add(1, Ordering::Relaxed);
                        watched.seat.state.store(DEMOTED, Ordering::Release);
                    } else {
                        *blocked += 1;
                        watched.look_at = None;
                        watched.seat.state.store(BLOCKED, Ordering::Release);
                    }
                }
                FAST if watched.seat.change(FAST, BLOCKED) => {
                    *lane -= 1;
                    *blocked += 1;
                }
                _ => {}
            }
        }
        shared.next_look = shared.seats.iter().filter_map(|(_, watched)| watched.look_at).min();
        // Where a blocked one was all that the queue had (no thread could be started), it is now to be tried again.
        let left = (lane_before - shared.lane).max((shared.lane == 0).into());
        shared.hire(shared.queue.len().min(left), config, hands);
    }

    /// Wakes and starts those whom the lock's holder has counted.
    fn put_to_work(&'static self, hands: Hands) {
        if let Some(thread) = hands.woken {
            thread.unpark();
        }
        for number in hands.hired {
            if let Err(error) = (self.config().start)(self, format!("pool-{number}")) {
                self.not_started(&error);
            }
        }
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
        let next = shared.next_in_line(self.config());
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
            let next = shared.next_in_line(self.config());
            drop(shared);
            drop(run);
            wake(next);
        }
    }

    /// The life of a thread.
    fn work(&self) {
        let config = self.config();
        let me = thread::current();
        let seat = Arc::new(Seat { state: AtomicU8::new(IDLE), thread: OsThread::current() });
        // Started by a job that computes: it was born behind the others, and can only leave again.
        let is_born_demoted = seat.thread.is_demoted();
        let mut cpu = seat.thread.cpu_time();
        let mut shared = lock(&self.shared);
        shared.coming -= 1;
        let key = shared.seats.insert(Watched::new(Arc::clone(&seat)));
        loop {
            while let Some((_, run)) = shared.queue.pop_first() {
                shared.begin(key, cpu, config);
                let next = shared.next_in_line(config);
                drop(shared);
                wake(next);
                // The job's own panic is caught inside. This is for wakers, and for the drops of what nobody wanted; a
                // payload is not dropped, since that too might panic.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(Ok(())))) {
                    mem::forget(payload);
                }
                let was = seat.end();
                if was == DEMOTED {
                    self.demoted.fetch_sub(1, Ordering::Relaxed);
                    seat.state.store(GONE, Ordering::Release);
                    return;
                }
                cpu = seat.thread.cpu_time();
                shared = lock(&self.shared);
                shared.seats[key].look_at = None;
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

/// Whom to wake and to start, once the lock is released.
#[derive(Default)]
struct Hands {
    woken: Option<Thread>,
    /// The numbers of new threads, which are counted already.
    hired: Vec<u64>,
}

impl Shared {
    /// Counts new threads for so many jobs, as far as the lane has room.
    fn hire(&mut self, jobs: usize, config: &Config, hands: &mut Hands) {
        for _ in 0..jobs.min(config.cap.saturating_sub(self.lane)) {
            self.lane += 1;
            self.coming += 1;
            self.started += 1;
            hands.hired.push(self.started);
        }
    }

    /// The thread of this seat begins a job.
    fn begin(&mut self, key: usize, cpu: Option<Duration>, config: &Config) {
        let now = Instant::now();
        let look_at = now + config.slice;
        let watched = &mut self.seats[key];
        (watched.cpu_before, watched.since) = (cpu, now);
        watched.look_at = Some(look_at);
        watched.pause = config.slice;
        watched.seat.state.store(FAST, Ordering::Release);
        self.next_look = Some(self.next_look.map_or(look_at, |at| at.min(look_at)));
    }

    /// A thread of the lane ends.
    fn leave(&mut self, key: usize) {
        self.lane -= 1;
        self.seats.remove(key);
    }

    fn has_room(&self, config: &Config) -> bool {
        // For as many of those in it as threads are coming for, nobody has to wait.
        self.queue.len() + self.promised < config.bound.saturating_add(self.coming)
    }

    /// The waker of the first who waits for room, if there is some.
    fn next_in_line(&mut self, config: &Config) -> Option<Waker> {
        if self.waiting.is_empty() || !self.has_room(config) {
            return None;
        }
        self.waiting.first_entry()?.get_mut().take()
    }
}

impl Watched {
    fn new(seat: Arc<Seat>) -> Self {
        Watched {
            seat,
            cpu_before: None,
            since: Instant::now(),
            look_at: None,
            pause: Duration::ZERO,
        }
    }

    /// Whether its job has computed since it was last asked: for half a slice at least, and a sixteenth of the time. (Not
    /// more, for it may share the cores with many of its kind.) The thread is alive: see `CHANGING`, and before that it is
    /// in its job.
    fn is_computing(&mut self, now: Instant, config: &Config) -> bool {
        let cpu = self.seat.thread.cpu_time();
        let before = mem::replace(&mut self.cpu_before, cpu);
        let time = now.saturating_duration_since(mem::replace(&mut self.since, now));
        let computed = cpu.zip(before).and_then(|(cpu, before)| cpu.checked_sub(before));
        computed.is_some_and(|computed| computed >= (config.slice / 2).max(time / 16))
    }
}

impl Seat {
    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The thread has done its job: what was it in the end?
    fn end(&self) -> u8 {
        loop {
            match self.state.load(Ordering::Acquire) {
                CHANGING => thread::yield_now(),
                DEMOTED => return DEMOTED,
                state if self.change(state, IDLE) => return state,
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
        if is_first && shared.has_room(self.pool.config()) {
            shared.promised += 1;
            let left = self.number.take().map(|number| shared.waiting.remove(&number));
            let next = shared.next_in_line(self.pool.config());
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
            let next = shared.next_in_line(self.pool.config());
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
        let next = shared.next_in_line(pool.config());
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
