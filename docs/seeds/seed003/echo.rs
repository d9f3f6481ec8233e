//! What do the five echo servers have in common?
//!
//! What they answer (what came, behind the words `Received: `), how much they read at a time, where they listen, what they
//! print. And, for the three that block, the handler: it is the same function whether a loop, a thread or a process calls
//! it. The other two need it in another shape, and that difference is what the slides are about.
//!
//! Comes from: the five servers. Goes to: std's sockets, which block.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::words::Words;

/// The most bytes of one read.
pub(super) const RECV: usize = 10_000;

/// Where to listen: the slides' port, but on the loopback alone. (They write `('', 25000)`, which is every interface.)
pub(super) fn address(words: &[String]) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    Words::new(words, &["--addr"])?.address(25000)
}

/// A socket, its address reusable at once, bound, listening: std does all of these in `bind`.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    println!("Listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// The answer to what came in one read.
pub(super) fn answer(data: &[u8]) -> Vec<u8> {
    [b"Received: ", data].concat()
}

/// One client's life. The stream is dropped, and so closed, at the end of the scope, as by the slides' `with client`.
pub(super) fn handler(mut client: TcpStream, peer: SocketAddr) {
    println!("Connection from {peer}");
    if let Err(error) = echo(&mut client) {
        println!("Connection from {peer}: {error}");
    }
    drop(client);
    println!("Connection from {peer} closed");
}

fn echo(client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; RECV];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&answer(&buffer[..count]))?;
    }
}
