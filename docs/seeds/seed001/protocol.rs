//! What does asynchronous code look like without coroutines?
//!
//! asyncio's low level, and Twisted before it: the loop calls a `Protocol`'s methods when something happens to a
//! connection, and the protocol calls its `Transport` to write or close. The code's state is where it keeps it: in
//! fields. It is all there in 60 lines below, a trait and one driver, which turns the reactor's "ready" into calls.
//!
//! One thing is better than there: the driver reads on only when all that the protocol wrote has gone out, so a peer
//! that does not read cannot fill the memory. asyncio needs two more callbacks for that, `pause_writing` and
//! `resume_writing`.
//!
//! The program is an echo server and its client, the two that asyncio's documentation shows. To see what coroutines are
//! good for, read echo_client.rs beside it.
//!
//! Comes from: ../main.rs. Goes to: `net::TcpStream`.

use std::io;

use net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::words::Words;

/// What happens to a connection. Each is called on the loop's thread and must not block.
trait Protocol {
    fn connected(&mut self, _transport: &mut Transport) {}
    fn data(&mut self, _transport: &mut Transport, _data: &[u8]) {}
    /// The peer will send no more. Nothing is left to be read, but it can be written to.
    fn eof(&mut self, transport: &mut Transport) {
        transport.close();
    }
    /// The last call: `None` if the connection was closed in order.
    fn lost(&mut self, _error: Option<io::Error>) {}
}

/// What a protocol can do to its connection.
#[derive(Default)]
struct Transport {
    unsent: Vec<u8>,
    is_closing: bool,
}

impl Transport {
    /// Never waits. It is sent when the protocol's method has returned.
    fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Closes when all has been sent.
    fn close(&mut self) {
        self.is_closing = true;
    }
}

/// Calls the protocol, from the first to the last of the connection.
async fn drive(stream: TcpStream, mut protocol: impl Protocol) {
    let mut transport = Transport::default();
    protocol.connected(&mut transport);
    let result = turn_events_into_calls(&stream, &mut protocol, &mut transport).await;
    drop(stream);
    protocol.lost(result.err());
}

async fn turn_events_into_calls(
    stream: &TcpStream,
    protocol: &mut impl Protocol,
    transport: &mut Transport,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut has_ended = false;
    loop {
        stream.write_all(&transport.unsent).await?;
        transport.unsent.clear();
        if transport.is_closing || has_ended {
            return Ok(()); // after the end nothing can come that would lead to another call
        }
        match stream.read(&mut buffer).await? {
            0 => {
                has_ended = true;
                protocol.eof(transport);
            }
            count => protocol.data(transport, &buffer[..count]),
        }
    }
}

struct EchoServer;

impl Protocol for EchoServer {
    fn data(&mut self, transport: &mut Transport, data: &[u8]) {
        println!("server: data received: {:?}", String::from_utf8_lossy(data));
        transport.write(data);
        println!("server: closing the socket");
        transport.close();
    }
}

struct EchoClient {
    message: &'static str,
}

impl Protocol for EchoClient {
    fn connected(&mut self, transport: &mut Transport) {
        transport.write(self.message.as_bytes());
        println!("client: data sent: {:?}", self.message);
    }

    fn data(&mut self, _: &mut Transport, data: &[u8]) {
        println!("client: data received: {:?}", String::from_utf8_lossy(data));
    }

    fn lost(&mut self, error: Option<io::Error>) {
        println!("client: the server closed the connection; error: {error:?}");
    }
}

pub(crate) fn main(words: &[String]) -> Outcome {
    Words::new(words, &[])?;
    runtime::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        runtime::spawn(async move {
            let (stream, _) = listener.accept().await?;
            drive(stream, EchoServer).await;
            io::Result::Ok(())
        });
        let stream = TcpStream::connect(address).await?;
        drive(stream, EchoClient { message: "Hello World!" }).await;
        Ok(())
    })
}
