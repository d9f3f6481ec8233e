//! What is the smallest useful server? One that sends back what it gets.
//!
//! Each chunk that is received is sent back with a prefix, as on the slides:
//!
//! ```text
//! $ nc 127.0.0.1 25000
//! Hello
//! Received: Hello
//! ```
//!
//! Rules kept here:
//! - A connection that waits holds no buffer. The runtime lends one for the moment in which there is something to read, and
//!   the answer is tried in the same moment; only what the client does not take at once is copied and kept.
//! - One chunk at a time: the next is read when the last one is sent. So a client that sends without reading is slowed down
//!   by TCP, and never costs more than one chunk.
//! - A client that has ended its side gets all of its bytes back before ours ends.
//!
//! Not done here: lines. A long one comes back in pieces, each with the prefix, exactly as in the talk.
//!
//! Comes from: main.rs. Goes to: net, manners.rs.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use net::TcpStream;

use crate::manners::{Doing, Guest};

/// The most that is read, and answered, at a time.
const CHUNK: usize = 16 * 1024;

/// What all connections of one runtime share.
pub(crate) struct Echo {
    prefix: Vec<u8>,
    /// Where prefix and chunk are put together; used by one at a time, and never across an await.
    answer: RefCell<Vec<u8>>,
}

impl Echo {
    pub(crate) fn new(prefix: &str) -> Self {
        Echo { prefix: prefix.into(), answer: RefCell::default() }
    }

    /// Serves one connection until its client ends it.
    pub(crate) async fn serve(self: Rc<Self>, guest: Rc<Guest>) {
        // An error is a connection that has broken off.
        let _ = self.answer(&guest).await;
        guest.finish().await;
    }

    async fn answer(&self, guest: &Guest) -> io::Result<()> {
        loop {
            let stream = &guest.stream;
            let rest = match guest.read(CHUNK, |chunk| self.reply(stream, chunk)).await? {
                Some(Reply::Sent) => {
                    guest.moves();
                    continue;
                }
                Some(Reply::Rest(rest)) => rest,
                Some(Reply::Ended) | None => return Ok(()),
                Some(Reply::Failed(error)) => return Err(error),
            };
            // Boxed, since it is rare: room for it would double what every idle connection weighs.
            Box::pin(guest.owe(rest, Doing::Idle)).await?;
        }
    }

    /// Sends what the client takes now.
    fn reply(&self, stream: &TcpStream, chunk: &[u8]) -> Reply {
        if chunk.is_empty() {
            return Reply::Ended;
        }
        if self.prefix.is_empty() {
            return send(stream, chunk);
        }
        let mut answer = self.answer.borrow_mut();
        answer.clear();
        answer.extend_from_slice(&self.prefix);
        answer.extend_from_slice(chunk);
        send(stream, &answer)
    }
}

/// What became of a chunk.
enum Reply {
    Sent,
    /// The client does not take this now.
    Rest(Box<[u8]>),
    /// There was none: the end of the stream.
    Ended,
    Failed(io::Error),
}

fn send(stream: &TcpStream, bytes: &[u8]) -> Reply {
    match stream.try_write(bytes) {
        Ok(count) if count == bytes.len() => Reply::Sent,
        Ok(count) => Reply::Rest(bytes[count..].into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Reply::Rest(bytes.into()),
        Err(error) => Reply::Failed(error),
    }
}
