//! What is lost when a wait is given up halfway?
//!
//! A peer sends messages of eight bytes, the first of them in two pieces with a pause between. Whoever reads gives each wait a
//! time that is shorter than the pause, in three ways.
//!
//! Comes from: you. Goes to: `net`'s streams, the runtime's timeouts.

use std::io;
use std::pin::pin;
use std::time::Duration;

use net::UnixStream;
use runtime::{block_on, sleep, spawn, timeout};

const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(300);

/// Sends two messages.
async fn peer(stream: UnixStream) -> io::Result<()> {
    stream.write_all(b"AAAA").await?;
    sleep(PAUSE).await;
    stream.write_all(b"aaaaBBBBbbbb").await
}

/// A peer at the other end.
fn meet() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    drop(spawn(peer(theirs)));
    Ok(ours)
}

/// Each attempt is a new `read_exact`.
async fn anew(stream: &UnixStream) -> io::Result<[u8; 8]> {
    let mut message = [0; 8];
    loop {
        match timeout(PATIENCE, stream.read_exact(&mut message)).await {
            Ok(result) => return result.map(|()| message),
            Err(_) => println!("    nothing yet"),
        }
    }
}

/// One `read_exact`, which is looked at again and again.
async fn the_same(stream: &UnixStream) -> io::Result<[u8; 8]> {
    let mut message = [0; 8];
    {
        let mut whole = pin!(stream.read_exact(&mut message));
        while timeout(PATIENCE, whole.as_mut()).await.is_err() {
            println!("    nothing yet");
        }
    }
    Ok(message)
}

/// Each attempt is a `read`, and what has come is kept outside of it.
async fn kept_outside(stream: &UnixStream) -> io::Result<[u8; 8]> {
    let (mut message, mut have) = ([0; 8], 0);
    while have < message.len() {
        match timeout(PATIENCE, stream.read(&mut message[have..])).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => have += count?,
            Err(_) => println!("    nothing yet, {have} of {} bytes", message.len()),
        }
    }
    Ok(message)
}

fn main() -> io::Result<()> {
    block_on(async {
        println!("read_exact, begun anew");
        print(anew(&meet()?).await?);
        println!("read_exact, looked at again");
        print(the_same(&meet()?).await?);
        println!("read, and what has come kept outside");
        print(kept_outside(&meet()?).await?);
        Ok(())
    })
}

fn print(message: [u8; 8]) {
    println!("    {}", String::from_utf8_lossy(&message));
}
