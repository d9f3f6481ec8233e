//! What is wrong with an echo server that is just a loop?
//!
//! The original: accept, handle, accept again, on one thread. While the handler waits for its client's next words, nobody
//! accepts: a second client is connected (by the kernel, which queues it) and gets no answer until the first has gone.
//!
//! In Rust it is line by line the same. (The slide passes the address as two arguments where the function takes one.)
//!
//! Comes from: ../main.rs. Goes to: echo.rs.

use super::echo;
use crate::Outcome;

pub(crate) fn main(words: &[String]) -> Outcome {
    let listener = echo::listen(echo::address(words)?)?;
    loop {
        let (client, peer) = listener.accept()?;
        echo::handler(client, peer);
    }
}
