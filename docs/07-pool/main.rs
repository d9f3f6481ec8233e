//! How does a thread tell a sleeping loop that it is done?
//!
//! It puts the task into the queue, and then rings a bell that the kernel keeps for a loop which is not asleep yet.
//!
//! Comes from: nc, perf1, perf2. Goes to: server.rs.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use polling::Poller;

#[path = "../fib.rs"]
mod fib;
mod pool;
mod server;
mod the_loop;
#[path = "../watched.rs"]
mod watched;

use server::serve;
use the_loop::Loop;

fn main() -> io::Result<()> {
    let poller = Arc::new(Poller::new()?);
    let bell = Arc::clone(&poller);
    let ring = move || {
        // On Linux it does not fail. Where it does, the task waits until something else ends the sleep.
        let _ = bell.notify();
    };
    serve(Rc::new(Loop::new(poller, Box::new(ring))))
}
