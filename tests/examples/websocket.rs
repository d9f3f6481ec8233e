//! How do WebSockets run here? async-tungstenite speaks them over any stream with futures-io's traits.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example websocket          # or: -- 127.0.0.1:9002
//! python3 tests/ecosystem/websocket_client.py 127.0.0.1 9001           # or, in a browser's console:
//!   s = new WebSocket("ws://127.0.0.1:9001"); s.onmessage = m => console.log(m.data); s.onopen = () => s.send("hello")
//! ```
//!
//! Texts and binaries come back as they are; pings are answered, and a close is answered by a close, by tungstenite itself.
//!
//! | limit                          | value  | beyond it                             |
//! |--------------------------------|--------|---------------------------------------|
//! | connections                    | 1,000  | they wait                             |
//! | time for the handshake         | 10 s   | closed                                |
//! | silence, also in reading       | 5 min  | closed; a client that has nothing to say sends pings |
//! | a message                      | 1 MiB  | closed, with an error on standard error |
//! | time to finish after Ctrl-C    | 10 s   | cut off                               |
//!
//! Comes from: Ctrl-C or a test. Goes to: async-tungstenite, over `net::TcpStream`.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use async_tungstenite::accept_async_with_config;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message};
use futures_util::StreamExt;
use net::{Limits, Served, TcpListener, TcpStream, serve};
use runtime::{CancelToken, timeout};

mod common;

#[allow(dead_code, reason = "a test that has this file as a module starts it by itself")]
fn main() -> ExitCode {
    common::run_server("ws", "127.0.0.1:9001", serve_websockets)
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(300);
pub(crate) const LARGEST: usize = 1024 * 1024;

/// Sends each message back, until `stop` is set.
pub(crate) async fn serve_websockets(
    listener: TcpListener,
    stop: CancelToken,
) -> io::Result<Served> {
    let limits = Limits::new().connections(1_000).shutdown(stop);
    serve(listener, limits, async |stream, peer: SocketAddr| match echo(stream).await {
        Ok(()) | Err(Error::ConnectionClosed) => {}
        Err(error) => eprintln!("{peer}: {error}"),
    })
    .await
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config =
        WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let handshake = accept_async_with_config(stream, Some(config));
    let mut socket = timeout(HANDSHAKE_TIME, handshake).await.map_err(io::Error::from)??;
    while let Some(message) = timeout(SILENCE, socket.next()).await.map_err(io::Error::from)? {
        // The rest is answered already.
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            timeout(SILENCE, socket.send(message)).await.map_err(io::Error::from)??;
        }
    }
    Ok(())
}
