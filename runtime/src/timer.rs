//! How does a task wait for a time?
//!
//! A [`Sleep`] is a deadline and, once polled, a key into its runtime's clock, where its waker lies until the time has
//! come (clock.rs). Timeouts and intervals are built on it, in outer/.
//!
//! A `Sleep` holds a number and a key, no pointer, so it is `Send` and `Sync` (hyper asks for that). It belongs to the
//! runtime in which it was last polled. Dropped somewhere else it cannot reach its entry in the wheel, which then stays
//! until its time, wakes nobody that matters, and is gone.
//!
//! No duration is too long: what exceeds the clock's range is never due.
//!
//! Comes from: user code. Goes to: clock.rs.

use std::fmt;
use std::pin::Pin;
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
/// Dropping it inside its runtime ends the wait and leaves nothing behind. Dropped elsewhere (on another thread, or while
/// the runtime is not running), its entry stays until its time.
///
/// ```
/// use std::time::{Duration, Instant};
/// let start = Instant::now();
/// runtime::block_on(runtime::sleep(Duration::from_millis(5)));
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::until(context::now().checked_add(duration), duration.is_zero())
}

/// Ends at `deadline`; at the loop's next turn if that has passed. Otherwise as [`sleep`].
///
/// ```
/// use runtime::{now, sleep, sleep_until};
/// use std::time::Duration;
/// runtime::testing::run(async {
///     let deadline = now() + Duration::from_secs(60);
///     sleep(Duration::from_secs(42)).await; // some work, however long it takes
///     sleep_until(deadline).await;
///     assert_eq!(now(), deadline);
/// });
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(Some(deadline), deadline <= context::now())
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// ```
/// use runtime::{now, sleep};
/// use std::time::Duration;
///
/// // A limit on silence, put off by every sign of life.
/// runtime::testing::run(async {
///     let limit = Duration::from_secs(5);
///     let mut silence = sleep(limit);
///     for _ in 0..3 {
///         sleep(Duration::from_secs(3)).await; // a sign of life
///         silence.reset(now() + limit);
///     }
///     (&mut silence).await;
///     assert_eq!(silence.deadline(), Some(now()));
/// });
/// ```
#[must_use = "a Sleep does nothing until it is awaited"]
pub struct Sleep {
    /// `None`: never.
    deadline: Option<Instant>,
    /// Where it lies, once polled.
    entry: Option<Entry>,
    /// Its time had come before it was made. The wheel would round it up to its next tick.
    is_late: bool,
    yielded: bool,
}

impl Sleep {
    fn until(deadline: Option<Instant>, is_late: bool) -> Self {
        Sleep { deadline, entry: None, is_late, yielded: false }
    }

    /// When it ends; `None`: never, because the time asked for is beyond the clock's range.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for another time from now on, whether it has ended or not.
    pub fn reset(&mut self, deadline: Instant) {
        self.leave();
        *self = Sleep::until(Some(deadline), false);
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
        let context = context::current("sleep");
        let entry = match self.is_late {
            true => None,
            false => {
                let again = context::asks_again();
                context.clock.poll(deadline, self.entry, cx.waker(), again)
            }
        };
        let was_waiting = std::mem::replace(&mut self.entry, entry).is_some();
        if entry.is_none() {
            // One that never had to wait lets others run first: a row of late ones must not keep the loop.
            if was_waiting || std::mem::replace(&mut self.yielded, true) {
                return Poll::Ready(());
            }
            context::look_outside();
            cx.waker().wake_by_ref();
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
