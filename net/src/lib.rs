//! Non-blocking sockets over the runtime, and the accept loop that servers need.
//!
//! | you want                                    | take                                         |
//! |---------------------------------------------|----------------------------------------------|
//! | to accept connections                       | [`TcpListener::bind`], then [`serve`] or [`TcpListener::accept`] |
//! | to choose backlog, address or port reuse    | [`ListenOptions`]                            |
//! | to connect                                  | [`TcpStream::connect`]                       |
//! | to connect with options; why it failed      | [`ConnectOptions`]; [`ConnectErrors`]        |
//! | datagrams                                   | [`UdpSocket`], [`UnixDatagram`]              |
//! | sockets within the machine                  | [`UnixListener`], [`UnixStream`], [`UnixOptions`] |
//! | names as addresses                          | [`resolve`]                                  |
//! | to read and write in two tasks              | [`Connection::split`], [`Connection::into_split`] |
//! | futures-io's traits                         | implemented by the streams and halves        |
//! | to pass bytes on, as proxies do             | [`copy`](fn@copy), [`copy_bidirectional`]    |
//! | to read lines, or other small pieces        | [`Buffered`], [`lines`], [`split`]           |
//! | to test a handler without a network         | [`MemoryListener`]                           |
//!
//! What runs on it, and with which feature of this crate (each is off by default; the examples stand in the package `tests`):
//!
//! | crate                                        | feature    | how                                                     | example |
//! |----------------------------------------------|------------|---------------------------------------------------------|---------|
//! | hyper 1.12, hyper-util 0.1.21                | `hyper`    | a stream as it is, `HyperExecutor`, `HyperTimer`        | `hyper`, `hyper_client` |
//! | axum 0.8 without its default features        | `hyper`    | its `Router` is a service: through hyper                | `axum`  |
//! | futures-rustls 0.26                          | none       | futures-io's traits; hyper on top of it: `HyperIo`      | `tls_echo` |
//! | async-tungstenite 0.35                       | none       | futures-io's traits: `accept_async`                     | `websocket` |
//! | h2, tokio-util's codecs, tokio-rustls: what wants tokio's traits | `tokio-io` | the streams have them; tokio 1 without any feature | |
//! | reqwest: what wants tokio's runtime          | none       | async-compat 0.2, which keeps one on a thread of its own | `compat` |
//! | async-channel, async-lock, futures           | none       | unchanged                                               |         |
//!
//! Of hyper-util take `server-auto` and `service`; its features `tokio`, `client-legacy` and `server-graceful` bring tokio's runtime (a
//! connection's own `graceful_shutdown` does what the last is for; see the example).
//!
//! Everything here stays on the thread it was made on, like the tasks that use it.
//!
//! ```
//! use net::{TcpListener, TcpStream};
//!
//! runtime::block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     let echo = runtime::spawn(async move {
//!         let (stream, _) = listener.accept().await?;
//!         let mut buffer = [0; 64];
//!         let count = stream.read(&mut buffer).await?;
//!         stream.write_all(&buffer[..count]).await
//!     });
//!     let stream = TcpStream::connect(address).await?;
//!     stream.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"hello");
//!     echo.await.expect("the task does not panic")
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

mod buffered;
mod connect;
mod connection;
mod copy;
mod datagram;
#[cfg(feature = "hyper")]
mod hyper;
mod memory;
mod resolve;
mod serve;
mod stock;
mod tcp;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod udp;
mod unix;
mod unix_datagram;
mod unix_name;

#[cfg(feature = "hyper")]
pub use self::hyper::{HyperExecutor, HyperIo, HyperTimer};
pub use buffered::{Buffered, LineError, Lines, Split, lines, split};
pub use connect::{ConnectErrors, ConnectOptions};
pub use connection::{Connection, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use copy::{Copied, CopyError, Ending, Side, copy, copy_bidirectional};
pub use datagram::{DatagramSocket, Family as DatagramFamily, Received};
pub use memory::{MemoryConnector, MemoryListener, MemoryStream};
pub use resolve::{Addresses, ToAddresses, resolve};
pub use serve::{Excess, Limits, Listener, Served, serve};
pub use tcp::{Incoming, ListenOptions, TcpListener, TcpStream};
pub use udp::{UdpOptions, UdpSocket};
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
pub use unix_name::{ToUnixAddress, UnixOptions};
