//! What does it take to run a task?
//!
//! Somebody who calls `poll` until the answer is not `Pending`. Here `main` does, four times.
//!
//! Comes from: you. Goes to: countdown.rs.

use std::pin::pin;
use std::task::{Context, Waker};

mod countdown;
use countdown::Countdown;

fn main() {
    let mut task = pin!(Countdown::Start { from: 3 });
    let mut cx = Context::from_waker(Waker::noop());
    println!("made, and nothing has run");
    for _ in 0..4 {
        print!("poll");
        let answer = task.as_mut().poll(&mut cx);
        println!(" -> {answer:?}");
    }
}
