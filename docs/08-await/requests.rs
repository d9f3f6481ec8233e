//! Where does one request end and the next one begin?
//!
//! At a newline. TCP carries bytes; what one `recv` gives is what happened to be there. The talk's clients send no newline, so as
//! long as none has come, a chunk is taken for a request, as the talk takes it; the first newline ends that for good.
//!
//! Comes from: the handler. Goes to: the client's socket.

use std::io::{self, ErrorKind};
use std::net::TcpStream;

use crate::the_loop::AsyncSocket;

/// The longest line that is read, in bytes. Without a limit a client that never ends its line owns the memory.
const LONGEST: usize = 100;

/// A client's requests, one after the other.
pub(crate) struct Requests<'a> {
    client: &'a AsyncSocket<TcpStream>,
    /// What has come and was not asked for yet.
    bytes: Vec<u8>,
    /// Whether a newline has come. The talk's clients send none; as long as that is so, what one recv gives is a request.
    lines: bool,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(client: &'a AsyncSocket<TcpStream>) -> Self {
        Requests { client, bytes: Vec::new(), lines: false }
    }

    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                self.lines = true;
                return Ok(Some(self.bytes.drain(..=end).collect()));
            }
            if !self.bytes.is_empty() && !self.lines {
                return Ok(Some(std::mem::take(&mut self.bytes)));
            }
            if self.bytes.len() >= LONGEST {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line without an end"));
            }
            let mut chunk = [0; LONGEST];
            let count = self.client.recv(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            self.bytes.extend_from_slice(&chunk[..count]);
        }
    }
}
