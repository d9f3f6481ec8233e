//! How is a coroutine resumed with a value?
//!
//! The original: a generator with `val = (yield)` in a loop; `cr.next()` runs it to its first yield, `cr.send('hi')` makes
//! that yield return `'hi'`.
//!
//! Rust's futures take no value: `poll` hands over a `Context` and that is all. Two ways round it, both below. By hand: a
//! trait whose `resume` takes the value, and a state machine that says where it stands, which is what a compiler would have
//! made of the loop. Or a future with a cell beside it: the value is left in the cell, then the future is polled, and finds
//! it there. The second is how real runtimes get a result to a task: the cell is a oneshot channel's, a socket's, a timer's.
//!
//! (Generators of this kind exist in Rust's compiler, without a stable name.)
//!
//! Comes from: ../main.rs. Goes to: nothing of the runtime.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::Outcome;

pub(crate) fn main(_: &[String]) -> Outcome {
    println!("by hand:");
    let mut coroutine = Echo::NotStarted;
    coroutine.resume(None);
    coroutine.resume(Some("hi"));
    coroutine.resume(Some("bye"));

    println!("by a future and a cell:");
    let sent = Cell::new(None);
    let mut coroutine = pin!(echo(&sent));
    let mut send = |value| {
        sent.set(value);
        coroutine.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    let _ = send(None);
    let _ = send(Some("hi"));
    let _ = send(Some("bye"));
    Ok(())
}

/// Something that stops in the middle, gives a value, and goes on with another. (This one gives nothing, and never ends.)
trait Coroutine<Sent> {
    type Yielded;

    /// Runs it until it stops again.
    fn resume(&mut self, sent: Sent) -> Self::Yielded;
}

/// Where the coroutine stands between two calls. Python has no word for the first state, but knows it: sending a value to
/// a generator that has not started is a `TypeError`, since no yield is there to return it.
enum Echo {
    NotStarted,
    AtTheYield,
}

impl Coroutine<Option<&str>> for Echo {
    type Yielded = ();

    fn resume(&mut self, sent: Option<&str>) {
        match self {
            Echo::NotStarted => {
                assert!(sent.is_none(), "it has not started: nobody would get this")
            }
            Echo::AtTheYield => say(sent),
        }
        *self = Echo::AtTheYield;
    }
}

async fn echo(sent: &Cell<Option<&str>>) {
    loop {
        let value = yielded(sent).await;
        say(value);
    }
}

/// `(yield)`: stops once, and is then what was sent.
async fn yielded<T>(sent: &Cell<Option<T>>) -> Option<T> {
    let mut has_stopped = false;
    poll_fn(|_| match has_stopped {
        true => Poll::Ready(sent.take()),
        false => {
            has_stopped = true;
            Poll::Pending
        }
    })
    .await
}

fn say(value: Option<&str>) {
    println!("  I resurrected to say {}", value.unwrap_or("nothing"));
}
