//! What time is it for the loop, and whom must it wake now?
//!
//! A [`Clock`] is a timer wheel with a clock beside it. The wheel counts ticks of 2^16 ns (about 65 us) since the runtime
//! was made. A deadline is rounded up to a tick and the time down, so a timer is never early, and late by at most one tick
//! plus what the kernel and the tasks before it take.
//!
//! How often is the clock read? Once a turn after the wait, to move the wheel on, and once before a wait that may sleep,
//! to know how long; both only while there are timers. Beside that when a `Sleep` is made, and when one is polled again within
//! one poll of its task. A server without timeouts never asks.
//!
//! A program may bring a time of its own ([`Time`]); a test does (outer/testing/), and an hour's wait takes no time.
//!
//! Comes from: timer.rs (Sleep), executor.rs (`until_next`, `fire`). Goes to: wheel.rs; wakers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::panics;
use crate::wheel::{Key, Wheel};

/// Where a waker lies: the number of a clock, and a key into its wheel.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    clock: u64,
    key: Key,
}

/// One runtime's time.
pub(crate) struct Clock {
    /// Which clock this is; given once in a process.
    number: u64,
    start: Instant,
    wheel: RefCell<Wheel<Waker>>,
    /// Whether the wheel holds anything: asked every turn, so not through the wheel.
    empty: Cell<bool>,
    /// A tick is 2 to the power of this, in nanoseconds.
    shift: u32,
    /// What to ask instead of the system.
    pub(crate) time: Option<Rc<dyn Time>>,
}

/// 2^16 ns. Where time is brought along, a tick is a nanosecond: there it is exact, and nobody sleeps.
const TICK_SHIFT: u32 = 16;

/// How many timers a turn fires.
const TIMERS_PER_TURN: usize = 256;

/// A time that is not the system's, brought along by [`Builder::time`](crate::Builder::time).
///
/// ```
/// use std::rc::Rc;
/// use std::time::{Duration, Instant};
///
/// /// Goes a thousand times as fast.
/// struct Fast(Instant);
/// impl runtime::Time for Fast {
///     fn now(&self) -> Instant {
///         self.0 + self.0.elapsed() * 1000
///     }
///     fn may_sleep(&self, next: Option<Duration>) -> Option<Duration> {
///         next.map(|next| next / 1000)
///     }
///     fn idle(&self, _: Duration) {} // it goes by itself
///     fn hold(&self) -> Box<dyn Send> {
///         Box::new(()) // and waits for nobody
///     }
/// }
///
/// let start = Instant::now();
/// let rt = runtime::Runtime::builder().time(Rc::new(Fast(start))).build()?;
/// rt.block_on(runtime::sleep(Duration::from_secs(10)));
/// assert!(start.elapsed() >= Duration::from_millis(10));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Time {
    /// What time it is. It never goes back, and before the runtime is made it does not matter.
    fn now(&self) -> Instant;
    /// No task is ready. How long may the loop sleep in the kernel, if its next timer is due in `next`? `None`: until
    /// something happens.
    fn may_sleep(&self, next: Option<Duration>) -> Option<Duration>;
    /// The sleep has brought nothing: no task is ready, no letter has come. The next timer is due in `next`.
    fn idle(&self, next: Duration);
    /// Somebody has begun something on another thread that will end in a letter to this runtime; what is given lives until then.
    fn hold(&self) -> Box<dyn Send>;
}

impl Clock {
    pub(crate) fn new(time: Option<Rc<dyn Time>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Clock {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            start: time.as_ref().map_or_else(Instant::now, |time| time.now()),
            wheel: RefCell::new(Wheel::new()),
            empty: Cell::new(true),
            shift: if time.is_some() { 0 } else { TICK_SHIFT },
            time,
        }
    }

    /// What time it is, for everything on this runtime.
    pub(crate) fn now(&self) -> Instant {
        self.time.as_ref().map_or_else(Instant::now, |time| time.now())
    }

    /// One poll of a `Sleep`: `None` if its time has come, else where it now lies. `again`: not the first of one poll of the
    /// task.
    pub(crate) fn poll(
        &self,
        deadline: Instant,
        entry: Option<Entry>,
        waker: &Waker,
        again: bool,
    ) -> Option<Entry> {
        if let Some(Entry { clock, key }) = entry
            && clock == self.number
        {
            // The wheel stands still during a poll, so the second answer within one comes from the clock.
            if again && deadline <= self.now() {
                self.remove(Entry { clock, key });
                return None;
            }
            // Not in the wheel any more: it was taken out to be woken, so its time has come.
            if !self.wheel.borrow_mut().get_mut(key)?.will_wake(waker) {
                let mut waker = waker.clone(); // foreign code, and so is its drop: with no borrow held
                std::mem::swap(self.wheel.borrow_mut().get_mut(key)?, &mut waker);
                panics::forget(waker);
            }
            return entry;
        }
        let waker = waker.clone();
        let inserted = self.wheel.borrow_mut().insert(self.tick_after(deadline), waker);
        let key = inserted.ok()?;
        self.empty.set(false);
        Some(Entry { clock: self.number, key })
    }

    /// A `Sleep` is dropped or changes its mind. Does nothing if it lies in another clock.
    pub(crate) fn remove(&self, entry: Entry) {
        if entry.clock == self.number {
            let waker = self.wheel.borrow_mut().remove(entry.key);
            panics::forget(waker); // with no borrow held: it is foreign code
        }
    }

    /// How long until the wheel has to be looked at again: `None` if it is empty.
    pub(crate) fn until_next(&self) -> Option<Duration> {
        if self.empty.get() {
            return None;
        }
        let Some(tick) = self.wheel.borrow().next() else {
            self.empty.set(true);
            return None;
        };
        let due =
            self.start.checked_add(Duration::from_nanos(tick.saturating_mul(1 << self.shift)));
        due.map(|due| due.saturating_duration_since(self.now()))
    }

    /// Reads the clock and wakes those whose time has come, as many as a turn has room for. Those left are due at once
    /// (`until_next`).
    pub(crate) fn fire(&self) {
        if self.empty.get() {
            return;
        }
        let now = self.nanos(self.now()) >> self.shift;
        self.wheel.borrow_mut().advance(now);
        // One at a time, with no borrow held: a waker is foreign code.
        for _ in 0..TIMERS_PER_TURN {
            let Some(waker) = self.pop_due() else { break };
            panics::wake(&waker);
            panics::forget(waker);
        }
    }

    fn pop_due(&self) -> Option<Waker> {
        self.wheel.borrow_mut().pop_due()
    }

    /// The runtime ends: nobody will be woken any more.
    pub(crate) fn clear(&self) {
        self.empty.set(true);
        let wakers = self.wheel.borrow_mut().drain();
        wakers.for_each(panics::forget);
    }

    /// The first tick that does not begin before `deadline`.
    fn tick_after(&self, deadline: Instant) -> u64 {
        self.nanos(deadline).div_ceil(1 << self.shift)
    }

    /// Nanoseconds since the runtime was made; 584 years fit.
    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_nanos().try_into().unwrap_or(u64::MAX)
    }
}
