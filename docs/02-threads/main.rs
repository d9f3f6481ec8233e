//! What does it take to serve a second client while the first one thinks?
//!
//! A thread for each. Everything is as in chapter 1, except for the lines that start the thread.
//!
//! Comes from: nc, perf1, perf2. Goes to: the standard library.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

#[path = "../fib.rs"]
mod fib;
use fib::fib;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    fib_server(address.as_deref().unwrap_or("127.0.0.1:25000"))
}

fn fib_server(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    loop {
        let (client, peer) = listener.accept()?;
        println!("Connection {peer}");
        let thread = thread::Builder::new().spawn(move || {
            if let Err(error) = fib_handler(client) {
                println!("Lost: {error}");
            }
        });
        if let Err(error) = thread {
            println!("No thread for {peer}: {error}");
        }
    }
}

fn fib_handler(mut client: TcpStream) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        let count = client.read(&mut request)?;
        if count == 0 {
            break;
        }
        let answer = fib(number(&request[..count])?);
        client.write_all(format!("{answer}\n").as_bytes())?;
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
