//! What happens if nobody rings?
//!
//! The result is there, the task is in the queue, and the loop sleeps: until somebody else's byte ends its sleep.
//!
//! Comes from: nc. Goes to: server.rs.

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
    serve(Rc::new(Loop::new(poller, Box::new(|| {}))))
}
