//! What becomes of the server when others compute for it?
//!
//! A thread for each client, as before, but now it only waits: for the client, and for one of four worker processes.
//!
//! Comes from: nc, perf1, perf2; itself, as a worker. Goes to: pool.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

#[path = "../fib.rs"]
mod fib;
mod pool;
mod worker;

use pool::Pool;

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        Some(worker::WORKER) => worker::work(),
        address => fib_server(address.unwrap_or("127.0.0.1:25000")),
    }
}

fn fib_server(address: &str) -> io::Result<()> {
    let pool = Arc::new(Pool::new(4)?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    loop {
        let (client, peer) = listener.accept()?;
        println!("Connection {peer}");
        let pool = pool.clone();
        let thread = thread::Builder::new().spawn(move || {
            if let Err(error) = fib_handler(client, &pool) {
                println!("Lost: {error}");
            }
        });
        if let Err(error) = thread {
            println!("No thread for {peer}: {error}");
        }
    }
}

fn fib_handler(mut client: TcpStream, pool: &Pool) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        let count = client.read(&mut request)?;
        if count == 0 {
            break;
        }
        let answer = pool.call(number(&request[..count])?)?;
        client.write_all(format!("{answer}\n").as_bytes())?;
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
