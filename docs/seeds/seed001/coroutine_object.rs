//! What is it that one has after calling a coroutine function?
//!
//! Python uses one word for two things: the function (`iscoroutinefunction`) and the object that a call of it gives
//! (`iscoroutine`), of which no line has run. The same two are here the `async fn` and the future it gives; that a
//! future is one is no question at run time but a bound, `F: Future`, that the compiler checks.
//!
//! What differs is what happens next. A Python object that is sent nothing stands still, too, but with a warning at its
//! end, "was never awaited". Here the compiler warns before the program runs: futures are `must_use`. And a poll needs
//! a waker, with which the future tells that it may be polled again; Python's `send` needs none, since its loop is told
//! by other ways.
//!
//! The program needs no runtime: it polls by hand.
//!
//! Comes from: ../main.rs. Goes to: std alone, but for `yield_now`.

use std::pin::pin;
use std::task::{Context, Waker};

use crate::Outcome;
use crate::words::Words;

async fn greet(name: &str) -> usize {
    println!("    greet: hello, {name}");
    futures_lite::future::yield_now().await;
    println!("    greet: still there, {name}?");
    name.len()
}

pub(crate) fn main(words: &[String]) -> Outcome {
    Words::new(words, &[])?;
    println!("calling greet(\"Ada\")");
    let object = greet("Ada");
    println!("  it has printed nothing; what I have is a future: {}", is_future(&object));

    let mut object = pin!(object); // from now on it may hold references to itself, so it must not move
    let mut context = Context::from_waker(Waker::noop());
    for poll in ["first", "second"] {
        println!("  {poll} poll");
        println!("  gives {:?}", object.as_mut().poll(&mut context));
    }

    println!("calling greet(\"Bob\"), and dropping what it gives");
    drop(greet("Bob"));
    println!("  it has printed nothing, and never will");
    Ok(())
}

/// `iscoroutine`. For anything else than a future it does not compile.
fn is_future<F: Future>(_: &F) -> bool {
    true
}
