//! What is a function that can be paused, once it is written down?
//!
//! Its variables, and the place where it stopped: an enum with a variant for each place. `poll` looks which one it is, runs from
//! there to the next pause or to the end, and writes down where it stands then. In Python it is
//!
//! ```text
//! def countdown(start):
//!     n = start
//!     while n > 0:
//!         yield n
//!         n -= 1
//!     return start
//! ```
//!
//! Comes from: by_hand.rs, main.rs, anatomy.rs. Goes to: standard output.

use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) enum Countdown {
    /// Nothing has run yet.
    Start { from: u64 },
    /// It stands at the pause, inside the loop.
    Paused { from: u64, n: u64 },
    /// It has returned.
    Done,
}

impl Future for Countdown {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
        let (from, n) = match *self {
            Countdown::Start { from } => (from, from),
            Countdown::Paused { from, n } => (from, n - 1),
            Countdown::Done => panic!("it has returned, and cannot go on"),
        };
        if n == 0 {
            *self = Countdown::Done;
            return Poll::Ready(from);
        }
        print!(" {n}");
        *self = Countdown::Paused { from, n };
        Poll::Pending
    }
}
