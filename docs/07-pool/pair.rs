//! How does the talk end the loop's sleep?
//!
//! With a byte. The pool's thread writes it into one end of a pair of sockets; at the other end a task waits for it, so the loop
//! waits for it, too.
//!
//! Comes from: nc. Goes to: server.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
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
use watched::Watched;

fn main() -> io::Result<()> {
    let (notify, event) = UnixStream::pair()?;
    notify.set_nonblocking(true)?;
    event.set_nonblocking(true)?;
    let bell = move || {
        // If there is no room, there are bytes enough.
        let _ = (&notify).write(b"!");
    };
    let the_loop = Rc::new(Loop::new(Arc::new(Poller::new()?), Box::new(bell)));
    let event = the_loop.watch(event)?;
    the_loop.spawn(monitor(Rc::clone(&the_loop), event));
    serve(the_loop)
}

/// Reads the bytes, and so makes room for the next ones. That the loop wakes for them is all that they are for.
async fn monitor(the_loop: Rc<Loop>, event: Watched<UnixStream>) -> io::Result<()> {
    loop {
        the_loop.readable(&event).await?;
        match (&*event).read(&mut [0; 100]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            count => _ = count?,
        }
    }
}
