//! How does a test see what a future does, and know when the others have done what they can?
//!
//! A future that is ready at its first poll lets nobody else run; one that returns Pending does. [`polls`] counts, the two
//! assertions judge. [`until_idle`] waits until everybody waits, which replaces the sleep for luck of other tests.
//!
//! The ideas are trio's: `assert_checkpoints`, `assert_no_checkpoints`, `wait_all_tasks_blocked`.
//!
//! Comes from: tests. Goes to: the futures it is given; `sleep`.

use std::panic::Location;
use std::pin::pin;
use std::time::Duration;

use crate::{hold_time, sleep};

/// Runs a future to its end, and gives its output and how often it was polled for that.
///
/// # Cancel safety
/// That of the future.
///
/// ```
/// runtime::block_on(async {
///     assert_eq!(runtime::testing::polls(async { 7 }).await, (7, 1));
///     assert_eq!(runtime::testing::polls(runtime::yield_now()).await, ((), 2));
/// });
/// ```
pub async fn polls<F: Future>(future: F) -> (F::Output, usize) {
    let mut future = pin!(future);
    let mut polls = 0;
    let output = std::future::poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (output, polls)
}

/// Runs a future to its end, and gives its output.
///
/// # Panics
/// If it has never let others run: if it was ready at its first poll.
///
/// # Cancel safety
/// That of the future.
///
/// ```
/// runtime::block_on(runtime::testing::assert_yields(runtime::yield_now()));
/// ```
#[track_caller]
pub fn assert_yields<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        let (output, polls) = polls(future).await;
        assert!(polls > 1, "the future at {caller} was ready at once: it lets nobody else run");
        output
    }
}

/// Runs a future to its end, and gives its output.
///
/// # Panics
/// If it let others run: if it was not ready at its first poll.
///
/// # Cancel safety
/// That of the future.
///
/// ```
/// runtime::block_on(runtime::testing::assert_never_yields(async { 7 }));
/// ```
#[track_caller]
pub fn assert_never_yields<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        let (output, polls) = polls(future).await;
        assert!(polls == 1, "the future at {caller} was polled {polls} times: it lets others run");
        output
    }
}

/// Waits until all other tasks of this runtime wait for something that cannot come by itself, except by a time. Takes one
/// nanosecond of the test's time, so timers that are due within that have gone off, too.
///
/// # Panics
/// If the runtime's time is not a [`TestClock`](crate::testing::TestClock): only there is it known that nothing else can
/// happen.
///
/// # Cancel safety
/// Dropping it changes nothing.
///
/// ```
/// use runtime::testing;
/// testing::run(async {
///     let (client, server) = testing::duplex(64);
///     let reading = runtime::spawn(async move { server.read(&mut [0; 8]).await });
///     testing::until_idle().await;
///     assert!(!reading.is_finished(), "it waits: nobody has written yet");
///     client.write_all(b"hello").await.unwrap();
///     assert_eq!(reading.await.unwrap().unwrap(), 5);
/// });
/// ```
pub async fn until_idle() {
    assert!(
        hold_time().is_some(),
        "until_idle was called where time is the system's: use testing::run or testing::check, or give the runtime a TestClock"
    );
    sleep(Duration::from_nanos(1)).await;
}
