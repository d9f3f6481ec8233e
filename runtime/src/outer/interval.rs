//! How does one do something again and again, in time?
//!
//! With a row of `Sleep`s whose deadlines are counted from the start, not from when the last one was taken: a late tick
//! does not make the next one late. What to do about ticks that were missed altogether is the user's choice.
//!
//! The three choices are those of tokio's interval, and so is what counts as missed for `Delay`: a tick is not missed
//! because the loop has taken it a moment late. A timer always fires a little late, and if that moved the rhythm, it would
//! drift.
//!
//! Comes from: user code. Goes to: `Sleep`.

use std::time::{Duration, Instant};

use crate::{Sleep, now, sleep, sleep_until};

/// Ticks every `period`, the first time one period from now. Deadlines are counted from the start, so the rhythm does
/// not drift, however late a tick is taken. Ticks that were missed come at once, one after the other, until it has caught
/// up; [`Interval::missed_ticks`] has it otherwise.
///
/// # Panics
/// If `period` is zero.
///
/// ```
/// use std::time::Duration;
/// runtime::block_on(async {
///     let mut ticks = runtime::interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     assert_eq!(ticks.tick().await - first, Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "interval: the period must be longer than zero");
    Interval { sleep: sleep(period), period, missed: MissedTicks::default() }
}

/// The ticks of [`interval`].
///
/// ```
/// use runtime::{interval, now, sleep, testing};
/// use std::time::Duration;
///
/// testing::run(async {
///     let start = now();
///     let mut minutes = interval(Duration::from_secs(60));
///     for _ in 0..3 {
///         minutes.tick().await;
///         sleep(Duration::from_secs(20)).await; // work makes no tick later
///     }
///     assert_eq!(now() - start, Duration::from_secs(3 * 60 + 20));
/// });
/// ```
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

/// How late a tick may be taken without being missed, as in tokio.
const LATE: Duration = Duration::from_millis(5);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What an [`Interval`] does when ticks were not taken in time.
///
/// ```
/// use runtime::{MissedTicks, interval, now, sleep, testing};
/// use std::time::Duration;
///
/// // Ticks are due at 10, 20, 30 .. seconds, and nobody asks before second 35. When do the second and third come?
/// async fn when_due(missed: MissedTicks) -> [u64; 2] {
///     let start = now();
///     let mut ticks = interval(Duration::from_secs(10)).missed_ticks(missed);
///     sleep(Duration::from_secs(35)).await;
///     ticks.tick().await;
///     [ticks.tick().await, ticks.tick().await].map(|due| (due - start).as_secs())
/// }
///
/// testing::run(async {
///     assert_eq!(when_due(MissedTicks::Burst).await, [20, 30]);
///     assert_eq!(when_due(MissedTicks::Delay).await, [45, 55]);
///     assert_eq!(when_due(MissedTicks::Skip).await, [40, 50]);
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Gives all that are due one after the other, until it has caught up.
    #[default]
    Burst,
    /// The next one comes a full period after the late one was taken: the rhythm is shifted. A tick that is less than 5 ms
    /// late (and less than a period) shifts nothing.
    Delay,
    /// Leaves out those that have passed: the rhythm stays.
    Skip,
}

impl Interval {
    /// Chooses what to do about ticks that were missed.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick and gives the time it was due.
    ///
    /// # Panics
    /// When polled outside of a runtime.
    ///
    /// # Cancel safety
    /// A tick is taken only when this is ready; dropping it earlier loses none.
    pub async fn tick(&mut self) -> Instant {
        (&mut self.sleep).await;
        // Beyond the clock's range it is never ready, so there is a deadline here.
        let due = self.sleep.deadline().unwrap_or_else(now);
        let next = match self.missed {
            MissedTicks::Burst => due.checked_add(self.period),
            MissedTicks::Delay => {
                let late = now().saturating_duration_since(due);
                let from = if late > LATE.min(self.period) { due + late } else { due };
                from.checked_add(self.period)
            }
            MissedTicks::Skip => {
                let late = now().saturating_duration_since(due);
                let into_period = late.as_nanos() % self.period.as_nanos();
                let next = Duration::new(
                    (into_period / NANOS_PER_SECOND) as u64,
                    (into_period % NANOS_PER_SECOND) as u32,
                );
                due.checked_add(late).and_then(|now| now.checked_add(self.period - next))
            }
        };
        // Beyond the clock's range: never.
        self.sleep = next.map_or_else(|| sleep(Duration::MAX), sleep_until);
        due
    }
}
