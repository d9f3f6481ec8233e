//! How does one thing go on although whoever waits for it is dropped?
//!
//! By being a task: a task belongs to the runtime, and dropping its handle stops nothing. A [`Shield`] is such a handle that
//! gives the output itself, so that a shielded future can stand where the bare one stood: under a timeout, in a select, in
//! a child that may be stopped at any time. It is for what must not end halfway (a commit, a farewell to a peer).
//!
//! It does not outlive its runtime: what is not done when that ends is dropped like any other task. Who needs the end awaits
//! the shield before `block_on` returns, outside of what may be dropped.
//!
//! The name is that of asyncio and trio.
//!
//! Comes from: user code. Goes to: `spawn`.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{JoinHandle, spawn};

/// Moves `future` into a task, which starts at once and runs to its end even if the [`Shield`] is dropped. Awaiting the
/// shield gives the output.
///
/// When the runtime ends (a free [`block_on`](crate::block_on) returns; a [`Runtime`](crate::Runtime) is dropped), the
/// future is dropped wherever it stands.
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// use std::time::Duration;
/// use runtime::{shield, sleep, timeout};
/// runtime::block_on(async {
///     let mut commit = shield(async {
///         sleep(Duration::from_millis(5)).await;
///         "done"
///     });
///     assert!(timeout(Duration::ZERO, &mut commit).await.is_err());
///     assert_eq!(commit.await, "done");
/// });
/// ```
#[track_caller]
pub fn shield<F>(future: F) -> Shield<F::Output>
where
    F: Future + 'static,
{
    Shield { task: spawn(future) }
}

/// The future of [`shield`].
///
/// # Panics
/// Awaited, it panics with whatever the shielded future panics; and, in another runtime, if that future's own has ended
/// first. If the shield is dropped, a panic goes to the runtime's [`PanicPolicy`](crate::PanicPolicy).
///
/// # Cancel safety
/// Dropping it stops nothing. Awaiting by `&mut shield` and dropping that future loses nothing.
///
/// ```
/// use runtime::{CancelToken, shield, sleep, testing};
/// use std::time::Duration;
/// testing::run(async {
///     let said = CancelToken::new();
///     let shield = shield({
///         let said = said.clone();
///         async move {
///             sleep(Duration::from_secs(1)).await;
///             said.cancel();
///         }
///     });
///     drop(shield); // nobody waits for it any more
///     said.cancelled().await;
/// });
/// ```
#[derive(Debug)]
pub struct Shield<T> {
    task: JoinHandle<T>,
}

impl<T> Future for Shield<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.task).poll(cx).map(|result| match result.map_err(|e| e.try_into_panic())
        {
            Ok(output) => output,
            Err(Ok(payload)) => resume_unwind(payload),
            Err(Err(error)) => panic!(
                "a shield gave no output ({error}): its runtime has ended first. Await it before block_on returns"
            ),
        })
    }
}
