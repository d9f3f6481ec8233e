//! Where does an `async fn` stop?
//!
//! In an `.await` whose future says `Pending`; so here is one that does it once. It has itself woken first, because a future that is
//! pending must have told somebody when to poll it again. In this chapter nobody listens.
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
