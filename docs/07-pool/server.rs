//! What does the server of this chapter do?
//!
//! That of chapter 5, but for who computes: its handler hands the number to a pool, and waits for it with `.await`.
//!
//! Comes from: the programs of this folder. Goes to: the_loop.rs, pool.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use crate::fib::fib;
use crate::pool::Pool;
use crate::the_loop::Loop;
use crate::watched::Watched;

pub(crate) fn serve(the_loop: Rc<Loop>) -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    the_loop.run()
}

async fn fib_server(the_loop: Rc<Loop>, listener: TcpListener) -> io::Result<()> {
    let pool = Rc::new(Pool::new(4)?);
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
        the_loop.spawn(fib_handler(Rc::clone(&the_loop), client, Rc::clone(&pool)));
    }
}

async fn fib_handler(
    the_loop: Rc<Loop>,
    client: Watched<TcpStream>,
    pool: Rc<Pool>,
) -> io::Result<()> {
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
        let answer = format!("{}\n", pool.submit(move || fib(n)).await?);
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
