//! How does one give up waiting?
//!
//! By polling two things, the future and a `Sleep`, and dropping the future if the `Sleep` comes first. The future is
//! polled first, so one that is ready wins against any time, and only one that has to wait touches the wheel.
//!
//! Nesting needs no bookkeeping: an outer timeout that fires drops the inner one with all it holds. Whose time was over is
//! seen at once, since each [`Elapsed`] knows its own deadline.
//!
//! Comes from: user code. Goes to: `Sleep`.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Sleep, sleep, sleep_until};

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
        Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed { deadline: sleep.deadline() }))
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
