//! What does a loop do while no task can go on?
//!
//! This one asks again. Its only task waits for a client, on a socket that does not block; the loop polls it until there is one, and
//! counts the polls.
//!
//! Comes from: nc. Goes to: the standard library.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("Listening on {address}");

    let mut client = pin!(poll_fn(|_| match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        accepted => Poll::Ready(accepted),
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let start = Instant::now();
    let mut polls = 1;
    let accepted = loop {
        match client.as_mut().poll(&mut cx) {
            Poll::Pending => polls += 1,
            Poll::Ready(accepted) => break accepted,
        }
    };
    let (_, peer) = accepted?;
    println!("Connection {peer}");
    println!("{polls} polls in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
