//! How does a program hear Ctrl-C, or a polite request to end?
//!
//! asyncio: `loop.add_signal_handler(SIGTERM, callback)`. Here a subscription, whose `next` a task awaits as anything
//! else: no callback, so what is to be done may wait, and the loop's end is the end of `block_on`. When the last
//! subscription of a signal is dropped, the signal does again what it did before.
//!
//! ```text
//! kill -HUP  <the number it prints>         # read the settings again
//! kill -TERM <the number it prints>         # end; Ctrl-C does it, too
//! ```
//!
//! Comes from: ../main.rs. Goes to: `runtime::signals`.

use runtime::{Signal, signals};

use crate::Outcome;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    Words::new(words, &[])?;
    runtime::block_on(async {
        // Subscribed before it is said: a signal that comes between the two is not lost.
        let mut received = signals([Signal::INTERRUPT, Signal::TERMINATE, Signal::HANGUP])?;
        println!("running until SIGINT (Ctrl-C) or SIGTERM; I am process {}", std::process::id());
        loop {
            match received.next().await {
                Signal::HANGUP => println!("got SIGHUP: reading the settings again"),
                signal => {
                    println!("got {signal}: exit");
                    return Ok(());
                }
            }
        }
    })
}
