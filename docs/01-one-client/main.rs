//! How much server fits into one thread that waits wherever it must?
//!
//! One client's worth. Three calls below wait, and each is marked. While one of them waits, nothing else happens.
//!
//! Comes from: nc, perf1, perf2. Goes to: the standard library.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

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
        let (client, peer) = listener.accept()?; // waits for a client
        println!("Connection {peer}");
        if let Err(error) = fib_handler(client) {
            println!("Lost: {error}");
        }
    }
}

fn fib_handler(mut client: TcpStream) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        let count = client.read(&mut request)?; // waits for a request
        if count == 0 {
            break;
        }
        let answer = fib(number(&request[..count])?);
        client.write_all(format!("{answer}\n").as_bytes())?; // waits for room
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
