//! Where does an `async fn` stop?
//!
//! At an `.await` whose future says `Pending`. Here is a future that says it once. Before that it wakes its task, because a future
//! that is pending must have seen to it that it is polled again. In chapter 4 nobody listens.
//!
//! Comes from: tasks that give way. Goes to: the task's waker.

use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) fn pause() -> Pause {
    Pause { has_paused: false }
}

pub(crate) struct Pause {
    has_paused: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_paused {
            return Poll::Ready(());
        }
        self.has_paused = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
