//! Whose deadline was it?
//!
//! The table at the head of runtime/src/outer/timeout.rs, a test for each of its rows, in a test's own time: so "at once"
//! is at once, and each deadline is known to the nanosecond.
//!
//! Comes from: main.rs. Goes to: outer/timeout.rs of the runtime.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use runtime::testing::TestClock;
use runtime::{Elapsed, Runtime, now, sleep, sleep_until, timeout, timeout_at};

use crate::support::counters::Counter;
use crate::support::{cancel_at_every_poll, run, within};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs it on a runtime with a test's clock; gives it the time it starts.
fn in_test_time(test: impl AsyncFnOnce(Instant) + Send + 'static) {
    within(20, move || {
        let rt = Runtime::builder().time(TestClock::new()).build().unwrap();
        rt.block_on(async { test(now()).await });
    });
}

/// Two times around some work.
async fn nested<F: Future>(
    outer: Instant,
    inner: Instant,
    work: F,
) -> Result<Result<F::Output, Elapsed>, Elapsed> {
    timeout_at(outer, async { timeout_at(inner, work).await }).await
}

fn deadline_of(elapsed: Elapsed) -> Instant {
    elapsed.deadline().unwrap()
}

#[test]
fn the_work_is_done_in_time() {
    in_test_time(async |start| {
        let done = nested(start + 3 * HOUR, start + 2 * HOUR, sleep(HOUR)).await;
        assert_eq!(done, Ok(Ok(())));
        assert_eq!(now(), start + HOUR);
    });
}

#[test]
fn the_work_is_done_when_both_times_are_over() {
    in_test_time(async |start| {
        let end = start + HOUR;
        assert_eq!(nested(end, end, sleep_until(end)).await, Ok(Ok(())));
        assert_eq!(nested(start, start, std::future::ready(())).await, Ok(Ok(())));
        assert_eq!(now(), end);
    });
}

#[test]
fn the_inner_time_is_over_first() {
    in_test_time(async |start| {
        let elapsed = nested(start + 2 * HOUR, start + HOUR, pending::<()>()).await;
        assert_eq!(deadline_of(elapsed.unwrap().unwrap_err()), start + HOUR);
        assert_eq!(now(), start + HOUR);
    });
}

#[test]
fn the_outer_time_is_over_first() {
    in_test_time(async |start| {
        let drops = Counter::new();
        let guard = drops.guard();
        let work = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let elapsed = nested(start + HOUR, start + 2 * HOUR, work).await;
        assert_eq!(deadline_of(elapsed.unwrap_err()), start + HOUR);
        assert_eq!((now(), drops.get()), (start + HOUR, 1));
    });
}

#[test]
fn both_are_over_at_once() {
    in_test_time(async |start| {
        let end = start + HOUR;
        let elapsed = nested(end, end, pending::<()>()).await;
        assert_eq!(deadline_of(elapsed.unwrap().unwrap_err()), end);
        // And late by an hour, each by another time, for want of a poll.
        let late = nested(start + HOUR, start + HOUR / 2, async {
            std::future::poll_fn(|_| std::task::Poll::<()>::Pending).await
        });
        sleep_until(start + 2 * HOUR).await;
        let elapsed = late.await;
        assert_eq!(deadline_of(elapsed.unwrap().unwrap_err()), start + HOUR / 2);
    });
}

#[test]
fn an_inner_elapsed_leaks_through_as_an_error_of_the_work() {
    in_test_time(async |start| {
        let inner = start + HOUR;
        let leaked = timeout_at(start + 2 * HOUR, async {
            timeout_at(inner, pending::<()>()).await?;
            Ok::<_, io::Error>(())
        });
        let error = leaked.await.expect("the outer time is not over").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(Elapsed::of(&error).and_then(Elapsed::deadline), Some(inner));
    });
}

#[test]
fn elapsed_is_found_wherever_it_hides() {
    #[derive(Debug)]
    struct Failed(io::Error);
    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("failed")
        }
    }
    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    run(async || {
        let elapsed = timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
        assert_eq!(Elapsed::of(&elapsed), Some(&elapsed));
        let hidden = io::Error::other(Failed(io::Error::other(io::Error::from(elapsed))));
        assert_eq!(Elapsed::of(&hidden), Some(&elapsed));
        let boxed: Box<dyn Error + Send + Sync> = Box::new(elapsed);
        assert_eq!(Elapsed::of(&*boxed), Some(&elapsed));
        // The kernel's own time-outs are nobody's.
        assert_eq!(Elapsed::of(&io::Error::from(io::ErrorKind::TimedOut)), None);
        assert_eq!(Elapsed::of(&Failed(io::Error::other("no"))), None);
    });
}

#[test]
fn giving_up_without_an_error_is_ok_of_it() {
    in_test_time(async |_| {
        assert_eq!(timeout(HOUR, pending::<()>()).await.ok(), None);
        assert_eq!(timeout(HOUR, async { 5 }).await.ok(), Some(5));
    });
}

#[test]
fn nested_timeouts_can_be_dropped_after_any_poll() {
    run(async || {
        let (made, drops) = (Counter::new(), Counter::new());
        for (outer, inner) in [(50, 100), (100, 50), (50, 50)] {
            let under_test = async || {
                made.up();
                let guard = drops.guard();
                let work = async move {
                    let _guard = guard;
                    pending::<()>().await;
                };
                let start = now();
                let at = |micros| start + Duration::from_micros(micros);
                assert_ne!(nested(at(outer), at(inner), work).await, Ok(Ok(())));
            };
            cancel_at_every_poll(under_test, || assert_eq!(drops.get(), made.get())).await;
        }
    });
}
