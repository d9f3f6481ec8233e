//! How does a thread for each client free the server?
//!
//! The original: the loop of echo-single, with `Thread(target=echo_handler, ..).start()` in the place of the call.
//!
//! In Rust the closure owns the connection: the compiler sees that the loop cannot use it any more. And where Python's
//! threads take turns at the interpreter's lock, these run at the same time if there are cores.
//!
//! Comes from: ../main.rs. Goes to: echo.rs.

use std::thread;

use super::echo;
use crate::Outcome;

pub(crate) fn main(words: &[String]) -> Outcome {
    let listener = echo::listen(echo::address(words)?)?;
    loop {
        let (client, peer) = listener.accept()?;
        // Not `thread::spawn`: that panics when the system has no more threads, and the server would be gone.
        let started = thread::Builder::new().spawn(move || echo::handler(client, peer));
        if let Err(error) = started {
            println!("Connection from {peer} refused: {error}");
        }
    }
}
