//! How does a task step back and let others run?
//!
//! By waking itself and returning Pending: its place in the run queue is then behind all that were ready before it.
//!
//! Comes from: user code with a long way to go between two waits. Goes to: the run queue, by way of its own waker.

use std::task::Poll;

/// Lets all others that are ready run first, once.
///
/// # Cancel safety
/// Dropping it changes nothing.
///
/// ```
/// runtime::block_on(async {
///     let other = runtime::spawn(async {});
///     runtime::yield_now().await;
///     assert!(other.is_finished());
/// });
/// ```
pub fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
