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
mod memory;
mod resolve;
mod serve;
mod stock;
mod tcp;
mod udp;
mod unix;
mod unix_datagram;
mod unix_name;

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
