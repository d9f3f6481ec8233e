//! How does something of one's own become awaitable?
//!
//! Python: by a method `__await__` that gives an iterator; `await` drives it. Here by `IntoFuture`, which gives a
//! future: `.await` calls it. What the object itself is stays free: below, a builder that collects settings until it is
//! awaited. Who writes a leaf that waits for something new implements `Future` itself instead, as the `Countdown`
//! below: that is the iterator's part, with `Pending` where Python yields.
//!
//! Comes from: ../main.rs. Goes to: `runtime::block_on`.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Outcome;
use crate::words::Words;

/// A launch, to be awaited: `Launch::of("Ariane").from(3).await`.
struct Launch {
    rocket: &'static str,
    from: u32,
}

impl Launch {
    fn of(rocket: &'static str) -> Self {
        Launch { rocket, from: 10 }
    }

    fn from(mut self, number: u32) -> Self {
        self.from = number;
        self
    }
}

impl IntoFuture for Launch {
    type Output = String;
    type IntoFuture = Countdown;

    fn into_future(self) -> Countdown {
        println!("into_future: counting down for {}", self.rocket);
        Countdown { rocket: self.rocket, number: self.from }
    }
}

/// Ready after so many polls.
struct Countdown {
    rocket: &'static str,
    number: u32,
}

impl Future for Countdown {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        if self.number == 0 {
            return Poll::Ready(format!("{} has lifted off", self.rocket));
        }
        println!("poll: T-minus {}", self.number);
        self.number -= 1;
        // Who gives Pending without having arranged a wake is never polled again.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(crate) fn main(words: &[String]) -> Outcome {
    Words::new(words, &[])?;
    runtime::block_on(async {
        let launch = Launch::of("Ariane").from(3);
        println!("made, and nothing has happened");
        println!("{}", launch.await);
    });
    Ok(())
}
