//! How does an event loop free the server, without turning it inside out?
//!
//! The original: the loop of echo-single with `await loop.sock_accept(sock)` for the call that blocks, and
//! `loop.create_task(echo_handler(..))` for the call of the handler.
//!
//! In Rust it reads the same. The sockets know their loop, so none is named; they are non-blocking from birth. A task's
//! handle may be dropped: the task goes on. (The slide starts a `fib_server` that is nowhere defined, and its heading speaks
//! of processes; there is one process here, and one thread.)
//!
//! Comes from: ../main.rs. Goes to: `net`, `runtime::spawn`.

use std::io;
use std::net::SocketAddr;

use net::{TcpListener, TcpStream};
use runtime::{block_on, spawn};

use super::echo::{RECV, address, answer};
use crate::Outcome;

pub(crate) fn main(words: &[String]) -> Outcome {
    let address = address(words)?;
    block_on(echo_server(address))?;
    Ok(())
}

/// The loop of the slides. `net::serve` is the one for daily use: it knows which errors of `accept` concern one client.
async fn echo_server(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("Listening on {}", listener.local_addr()?);
    loop {
        let (client, peer) = listener.accept().await?;
        spawn(echo_handler(client, peer));
    }
}

async fn echo_handler(client: TcpStream, peer: SocketAddr) {
    println!("Connection from {peer}");
    if let Err(error) = echo(&client).await {
        println!("Connection from {peer}: {error}");
    }
    drop(client);
    println!("Connection from {peer} closed");
}

async fn echo(client: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; RECV];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&answer(&buffer[..count])).await?;
    }
}
