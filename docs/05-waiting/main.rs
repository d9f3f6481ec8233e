//! How does one thread serve many clients?
//!
//! Chapter 1's server as two tasks: before each of the three calls that waited, it now waits for the socket with `.await`, and the
//! loop polls somebody else.
//!
//! ```text
//! 05-waiting [ADDRESS [trace | look]]
//! ```
//!
//! `trace` prints what the loop does. `look` polls once what is ready, prints the loop's tables before and after, and ends.
//!
//! Comes from: nc, perf1, perf2. Goes to: the_loop.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

#[path = "../fib.rs"]
mod fib;
mod the_loop;
use fib::fib;
use the_loop::{Loop, Watched};

fn main() -> io::Result<()> {
    let [address, mode] = [1, 2].map(|at| std::env::args().nth(at));
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let the_loop = Rc::new(Loop::new(mode.as_deref() == Some("trace"))?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    if mode.as_deref() == Some("look") {
        println!("{the_loop:?}");
        the_loop.run_ready();
        println!("{the_loop:?}");
        return Ok(());
    }
    the_loop.run()
}

async fn fib_server(the_loop: Rc<Loop>, listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = the_loop.watch(listener)?;
    loop {
        the_loop.readable(&listener).await?;
        let (client, peer) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            accepted => accepted?,
        };
        println!("Connection {peer}");
        client.set_nonblocking(true)?;
        let client = the_loop.watch(client)?;
        the_loop.spawn(fib_handler(Rc::clone(&the_loop), client));
    }
}

async fn fib_handler(the_loop: Rc<Loop>, client: Watched<TcpStream>) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        the_loop.readable(&client).await?;
        let count = match (&*client).read(&mut request) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            count => count?,
        };
        if count == 0 {
            break;
        }
        let answer = format!("{}\n", fib(number(&request[..count])?));
        let mut rest = answer.as_bytes();
        while !rest.is_empty() {
            the_loop.writable(&client).await?;
            match (&*client).write(rest) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                written => rest = &rest[written?..],
            }
        }
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
