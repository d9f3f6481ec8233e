//! What becomes of a task that is polled after its end?
//!
//! A future made by the compiler panics, as the one written by hand does.
//!
//! Comes from: the answers to chapter 4. Goes to: a panic.

use std::pin::pin;
use std::task::{Context, Waker};

fn main() {
    let mut task = pin!(async { 3 });
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        let answer = task.as_mut().poll(&mut cx);
        println!("-> {answer:?}");
    }
}
