//! A future that polls another one, which lies in it, with something beside it.
//!
//! An `async` block that awaits a future it has captured holds that future twice, once where it was captured and once where
//! it is awaited, so each layer of them doubles its size. Here it lies once, and is polled where it lies. To reach a pinned
//! field is what takes unsafe code.
//!
//! Comes from: outer/ (timeout, nursery, scope) through sys/os.rs. Goes to: nowhere.

use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What one poll of the inner future makes of the outer one.
type Step<F, T, R> = fn(Poll<<F as Future>::Output>, &mut T, &mut Context<'_>) -> Poll<R>;

/// The future of [`beside`].
#[must_use = "futures do nothing until they are awaited"]
pub(crate) struct Beside<F: Future, T, R> {
    /// Pinned; dropped where it lies. (Not an `Option`: to write `None` over it would take as much stack as it is large, in a
    /// debug build.)
    future: ManuallyDrop<F>,
    /// The future is dropped.
    is_over: bool,
    /// Not pinned, and dropped after the future.
    beside: T,
    step: Step<F, T, R>,
}

/// Polls `future` and gives what it said to `step`, whose answer is the whole one's. The inner future is dropped when it is
/// ready, before `step` is called; or else when `step` says ready.
pub(crate) fn beside<F: Future, T, R>(
    future: F,
    beside: T,
    step: Step<F, T, R>,
) -> Beside<F, T, R> {
    Beside { future: ManuallyDrop::new(future), is_over: false, beside, step }
}

// `beside` is never pinned, and a `fn` always may be moved.
impl<F: Future + Unpin, T, R> Unpin for Beside<F, T, R> {}

impl<F: Future, T, R> Future for Beside<F, T, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // SAFETY: nothing is moved out of `this`; the future is dropped where it lies.
        let this = unsafe { self.get_unchecked_mut() };
        assert!(!this.is_over, "polled again after it was ready");
        // SAFETY: the future is pinned as all of `self` is: it is not moved before its drop, which comes before its memory is
        // used for anything else, and the whole is `Unpin` only if the future is. It is not dropped yet.
        let future = unsafe { Pin::new_unchecked(&mut *this.future) };
        let polled = future.poll(cx);
        if polled.is_ready() {
            this.drop_future();
        }
        let answer = (this.step)(polled, &mut this.beside, cx);
        if answer.is_ready() {
            this.drop_future();
        }
        answer
    }
}

impl<F: Future, T, R> Beside<F, T, R> {
    fn drop_future(&mut self) {
        if !mem::replace(&mut self.is_over, true) {
            // SAFETY: once, as `is_over` says; it is not touched afterwards.
            unsafe { ManuallyDrop::drop(&mut self.future) }
        }
    }
}

impl<F: Future, T, R> Drop for Beside<F, T, R> {
    fn drop(&mut self) {
        self.drop_future();
    }
}
