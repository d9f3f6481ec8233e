//! How does a client send and receive at the same time?
//!
//! trio: two children of a nursery share the stream, one sends a line a second, the other prints what comes; at the end
//! of the stream that one leaves by `sys.exit`, whose exception takes the nursery, the sender and the program with it.
//! Here it cancels the nursery: the sender, which would go on for ever, is dropped on the spot, the block ends, and
//! `main` returns, with nobody skipped on the way out.
//!
//! Both tasks own the stream (`Rc`): reading and writing need only `&`, since a socket has two independent directions.
//! `--messages 3` stops sending after three and says so to the server; its end of the stream comes back.
//!
//! ```text
//! cargo run -p walkthrough --bin seeds -- echo-server        # in a second terminal
//! ```
//!
//! Comes from: ../main.rs. Goes to: `net::TcpStream`, `runtime::nursery`.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use net::TcpStream;
use runtime::Nursery;

use super::echo::{BUFSIZE, PORT, Repr};
use crate::Outcome;
use crate::words::Words;

async fn sender(stream: Rc<TcpStream>, messages: u64, tick: Duration) -> io::Result<()> {
    println!("sender: started!");
    for _ in 0..messages {
        let data = b"async can sometimes be confusing, but I believe in you!";
        println!("sender: sending {}", Repr(data));
        stream.write_all(data).await?;
        runtime::sleep(tick).await;
    }
    stream.shutdown(Shutdown::Write)
}

async fn receiver(stream: Rc<TcpStream>, nursery: Nursery<io::Error>) -> io::Result<()> {
    println!("receiver: started!");
    let mut buffer = [0; BUFSIZE];
    loop {
        let count = stream.read(&mut buffer).await?;
        println!("receiver: got data {}", Repr(&buffer[..count]));
        if count == 0 {
            println!("receiver: connection closed");
            nursery.cancel();
            return Ok(());
        }
    }
}

async fn parent(server: SocketAddr, messages: u64, tick: Duration) -> Outcome {
    println!("parent: connecting to {server}");
    let stream = Rc::new(TcpStream::connect(server).await?);
    runtime::nursery(async |nursery| {
        println!("parent: spawning sender...");
        nursery.spawn(sender(Rc::clone(&stream), messages, tick));

        println!("parent: spawning receiver...");
        nursery.spawn(receiver(Rc::clone(&stream), nursery.clone()));
        Ok(())
    })
    .await?;
    Ok(())
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", "--messages", "--tick"])?;
    let messages = words.value("--messages")?.unwrap_or(u64::MAX);
    runtime::block_on(parent(words.address(PORT)?, messages, words.tick(1000)?))
}
