//! How does one loop over something that comes bit by bit?
//!
//! Python: an object with `__aiter__` and `__anext__`, and `async for` over it; here a `Reader` whose `readline` gives
//! an empty value at the end, which `__anext__` turns into `StopAsyncIteration`. Rust has no `async for` yet; `while
//! let Some(..) = next().await` is it, and `None` is the end. The trait for it is `Stream` (futures-core); for lines
//! there are several crates that implement it, one is used below for comparison.
//!
//! Where the bytes are cut has nothing to do with lines: the writer below sends pieces that end in the middle.
//!
//! Comes from: ../main.rs. Goes to: `net::TcpStream`, `futures_lite::io`.

use std::io;

use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt, StreamExt};
use net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::words::Words;

struct Reader {
    stream: TcpStream,
    /// Read, and not given yet.
    bytes: Vec<u8>,
}

impl Reader {
    /// A line with its end, as in Python; the last one may have none; empty is the end.
    ///
    /// Cancel safe: what was read stays in `bytes`.
    async fn readline(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                return Ok(self.bytes.drain(..=end).collect());
            }
            let mut buffer = [0; 64];
            match self.stream.read(&mut buffer).await? {
                0 => return Ok(std::mem::take(&mut self.bytes)),
                count => self.bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// `__anext__`
    async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.readline().await.map(|line| (!line.is_empty()).then_some(line)).transpose()
    }
}

/// A connection whose other end is written to by another task, in pieces.
async fn pieces() -> io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let writer = TcpStream::connect(listener.local_addr()?).await?;
    let (reader, _) = listener.accept().await?;
    runtime::spawn(async move {
        for piece in ["fir", "st\nsec", "ond\n\nfo", "urth"] {
            writer.write_all(piece.as_bytes()).await?;
            runtime::yield_now().await;
        }
        io::Result::Ok(()) // and the writer's drop is the end
    });
    Ok(reader)
}

pub(crate) fn main(words: &[String]) -> Outcome {
    Words::new(words, &[])?;
    runtime::block_on(async {
        let mut reader = Reader { stream: pieces().await?, bytes: Vec::new() };
        while let Some(line) = reader.next().await {
            println!("{:?}", String::from_utf8(line?)?);
        }
        println!("and with a crate that has it:");
        let mut lines = BufReader::new(pieces().await?).lines();
        while let Some(line) = lines.next().await {
            println!("{:?}", line?);
        }
        Ok(())
    })
}
