//! What becomes of chapter 1's server when it must not stop the thread?
//!
//! Two kinds of task, the server and a handler for each client. Before each of the three calls that waited, the task waits for the
//! socket with `.await`. The call itself cannot wait any more: if the report was wrong it says `WouldBlock`, and the task waits again.
//!
//! `compute` belongs to the program that has this file as a module; chapter 6 has another one.
//!
//! Comes from: main.rs, starve.rs, chapter 6. Goes to: the_loop.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use crate::compute;
use crate::the_loop::{Loop, Watched};

pub(crate) async fn fib_server(the_loop: Rc<Loop>, listener: TcpListener) -> io::Result<()> {
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
        let n = number(&request[..count])?;
        let answer = format!("{}\n", compute(n).await?);
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
