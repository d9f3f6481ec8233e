//! How does one give up waiting?
//!
//! By polling two things, the future and a `Sleep`, and dropping the future if the `Sleep` comes first. The future is
//! polled first, so one that is ready wins against any time, and only one that has to wait touches the wheel.
//!
//! Nesting needs no bookkeeping; a table at [`timeout`] says whose time it was.
//!
//! (Where curio raises one of three exceptions, here the place in the type tells. Each row is a test.) What gives up
//! without an error is `timeout(..).await.ok()`; it has no name of its own.
//!
//! Comes from: user code. Goes to: `Sleep`.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::sys::os::beside;
use crate::{Errors, Sleep, sleep, sleep_until};

/// Runs `future` for at most `duration` from now, then drops it.
///
/// # Errors
/// [`Elapsed`], if the time was over first. A future that is ready at its first poll wins against any time.
///
/// # Panics
/// With whatever `future` panics; and outside of a runtime, if `future` has to wait.
///
/// # Cancel safety
/// As that of `future`: it is dropped wherever it stands.
///
/// # Nesting
/// Nesting needs no bookkeeping: an outer timeout that fires drops the inner one with all it holds. Whose time was over
/// is said by the types as long as each layer's `Result` is looked at by itself:
///
/// ```text
/// timeout_at(outer, async { timeout_at(inner, work).await })      gives Result<Result<T, Elapsed>, Elapsed>
/// ```
///
/// | what happens                               | the outer timeout gives                             |
/// |--------------------------------------------|-----------------------------------------------------|
/// | the work is done in time                   | `Ok(Ok(value))`                                     |
/// | the work is done when both times are over  | `Ok(Ok(value))`: what is ready wins                 |
/// | the inner time is over first               | `Ok(Err(elapsed))`, the inner deadline in it        |
/// | the outer time is over first               | `Err(elapsed)`, the outer deadline in it            |
/// | both are over at once                      | `Ok(Err(elapsed))`, the inner one's: it is polled first |
/// | the work fails with somebody's `Elapsed` made an error (`?` into `io::Error`) | `Ok(Err(error))`, never `Err`: only the own time does that; `Elapsed::of(&error)` finds whose it was |
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
    beside(future.into_future(), sleep(duration), or_elapsed)
}

/// Runs `future` until `deadline` at most. Otherwise as [`timeout`].
///
/// ```
/// use runtime::{now, sleep, testing, timeout_at};
/// use std::time::Duration;
///
/// // One deadline for all steps.
/// testing::run(async {
///     let deadline = now() + Duration::from_secs(10);
///     assert!(timeout_at(deadline, sleep(Duration::from_secs(7))).await.is_ok());
///     assert!(timeout_at(deadline, sleep(Duration::from_secs(7))).await.is_err());
///     assert_eq!(now(), deadline);
/// });
/// ```
pub fn timeout_at<F: IntoFuture>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    beside(future.into_future(), sleep_until(deadline), or_elapsed)
}

/// What one poll of the future means for the whole.
fn or_elapsed<T>(
    polled: Poll<T>,
    sleep: &mut Sleep,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Elapsed>> {
    match polled {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => {
            Pin::new(&mut *sleep).poll(cx).map(|()| Err(Elapsed { deadline: sleep.deadline() }))
        }
    }
}

/// The time given to [`timeout`] or [`timeout_at`] was over. It knows which: its own deadline, not an outer one's.
///
/// Was it mine? If it is the `Err` of one's own `timeout(..).await`, yes. If it has come as an error of the work itself, no;
/// whose it was is then told by [`Elapsed::of`] and [`Elapsed::deadline`]:
///
/// ```
/// use std::{future, io, time::Duration};
/// use runtime::{Elapsed, now, timeout, timeout_at};
/// runtime::block_on(async {
///     let read = now() + Duration::from_millis(1);
///     let request = timeout(Duration::from_secs(60), async {
///         timeout_at(read, future::pending::<()>()).await?;
///         Ok::<_, io::Error>(())
///     });
///     let error = request.await.expect("the request's own time is not over").unwrap_err();
///     assert_eq!(Elapsed::of(&error).and_then(|elapsed| elapsed.deadline()), Some(read));
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    deadline: Option<Instant>,
}

impl Elapsed {
    /// The deadline that passed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The one that `error` is, or comes from: looks through its sources, and into an [`io::Error`].
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Elapsed> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(elapsed) = error.downcast_ref() {
                return Some(elapsed);
            }
            // The source of an `io::Error` is that of what it holds, so what it holds would be passed over.
            let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            // So is that of a block's errors, which print as the first of them.
            let first = error.downcast_ref().map(|errors: &Errors<io::Error>| errors.first());
            next = match (held, first) {
                (Some(held), _) => Some(held),
                (_, Some(first)) => Some(first),
                _ => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
