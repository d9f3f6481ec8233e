//! How does a task wait for a time?
//!
//! A [`Sleep`] is a deadline and, once polled, a key into its runtime's clock, where its waker lies until the time has
//! come (clock.rs). Everything else here is built on it: [`timeout`] polls a future and a `Sleep`, [`interval`] is a row of
//! `Sleep`s.
//!
//! A `Sleep` holds a number and a key, no pointer, so it is `Send` and `Sync` (hyper asks for that). It belongs to the
//! runtime in which it was last polled. Dropped somewhere else it cannot reach its entry in the wheel, which then stays
//! until its time, wakes nobody that matters, and is gone.
//!
//! No duration is too long: what exceeds the clock's range is never due.
//!
//! Comes from: user code. Goes to: clock.rs.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock::Entry;
use crate::context;
use crate::instrument::{Reason, Wait};

/// Ends at `duration` from now; never earlier.
///
/// # Panics
/// When polled outside of a runtime.
///
/// # Cancel safety
/// Dropping it ends the wait and leaves nothing behind.
///
/// ```
/// use std::time::{Duration, Instant};
/// let start = Instant::now();
/// runtime::block_on(runtime::sleep(Duration::from_millis(5)));
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::until(Instant::now().checked_add(duration))
}

/// Ends at `deadline`; at once if that has passed. Otherwise as [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(Some(deadline))
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "a Sleep does nothing until it is awaited"]
pub struct Sleep {
    /// `None`: never.
    deadline: Option<Instant>,
    /// Where it lies, once polled.
    entry: Option<Entry>,
}

impl Sleep {
    fn until(deadline: Option<Instant>) -> Self {
        Sleep { deadline, entry: None }
    }

    /// When it ends; `None`: never, because the time asked for is beyond the clock's range.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for another time from now on, whether it has ended or not.
    pub fn reset(&mut self, deadline: Instant) {
        self.leave();
        self.deadline = Some(deadline);
    }

    fn leave(&mut self) {
        if let Some(entry) = self.entry.take() {
            context::with(|context| context.clock.remove(entry));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let entry = self.entry;
        let entry =
            context::expect("sleep", |context| context.clock.poll(deadline, entry, cx.waker()));
        self.entry = entry;
        if entry.is_none() {
            return Poll::Ready(());
        }
        if context::is_watched() {
            context::parked(&Wait { reason: Reason::Timer, source: None, label: None });
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

/// Runs `future` for at most `duration` from now, then drops it.
///
/// # Errors
/// [`Elapsed`], if the time was over first. A future that is ready at its first poll wins against any time.
///
/// # Cancel safety
/// As that of `future`: it is dropped wherever it stands.
///
/// ```
/// use std::time::Duration;
/// let late = runtime::block_on(runtime::timeout(Duration::from_millis(1), std::future::pending::<()>()));
/// assert!(late.is_err());
/// ```
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    within(sleep(duration), future.into_future())
}

/// Runs `future` until `deadline` at most. Otherwise as [`timeout`].
pub fn timeout_at<F: IntoFuture>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    within(sleep_until(deadline), future.into_future())
}

async fn within<F: Future>(sleep: Sleep, future: F) -> Result<F::Output, Elapsed> {
    let (mut sleep, mut future) = (sleep, pin!(future));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed { deadline: sleep.deadline }))
    })
    .await
}

/// The time given to [`timeout`] or [`timeout_at`] was over. It knows which: its own deadline, not an outer one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    deadline: Option<Instant>,
}

impl Elapsed {
    /// The deadline that passed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Ticks every `period`, the first time one period from now. Deadlines are counted from the start, so the rhythm does
/// not drift, however late a tick is taken.
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
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

/// What an [`Interval`] does when ticks were not taken in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Gives all that are due one after the other, until it has caught up.
    #[default]
    Burst,
    /// The next one comes a full period after the late one was taken: the rhythm is shifted.
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
    /// # Cancel safety
    /// A tick is taken only when this is ready; dropping it earlier loses none.
    pub async fn tick(&mut self) -> Instant {
        (&mut self.sleep).await;
        // Beyond the clock's range it is never ready, so there is a deadline here.
        let due = self.sleep.deadline.unwrap_or_else(Instant::now);
        let next = match self.missed {
            MissedTicks::Burst => due.checked_add(self.period),
            MissedTicks::Delay => Instant::now().max(due).checked_add(self.period),
            MissedTicks::Skip => {
                let late = Instant::now().saturating_duration_since(due);
                let missed = late.as_nanos() / self.period.as_nanos();
                let skip = self.period.checked_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
                skip.and_then(|skip| due.checked_add(skip))
            }
        };
        self.sleep = Sleep::until(next);
        due
    }
}
