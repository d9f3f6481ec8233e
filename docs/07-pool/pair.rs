//! How does the talk end the loop's sleep?
//!
//! With a byte. The pool's thread writes it into one end of a pair of sockets; at the other end a task waits for it, so the loop
//! waits for it, too.
//!
//! Comes from: nc. Goes to: server.rs.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
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
use the_loop::{Loop, Socket, Way};

fn main() -> io::Result<()> {
    let (notify, event) = UnixStream::pair()?;
    notify.set_nonblocking(true)?;
    event.set_nonblocking(true)?;
    let bell = move || {
        // If there is no room, there are bytes enough.
        let _ = (&notify).write(b"!");
    };
    let the_loop = Loop::new(Arc::new(Poller::new()?), Box::new(bell));
    let event = the_loop.watch(event)?;
    the_loop.spawn(monitor(event));
    serve(&the_loop)
}

/// Reads the bytes, and so makes room for the next ones. That it was woken is all that it is for.
async fn monitor(event: Socket<UnixStream>) {
    let mut bytes = [0; 100];
    while event.wait(Way::Recv, |mut event| event.read(&mut bytes)).await.is_ok() {}
}
