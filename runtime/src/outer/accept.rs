//! How do the standard library's listeners accept, as in the talk's `AsyncSocket.accept`?
//!
//! By one `read_with` around their own accept, and a new `AsyncSocket` around what it gives. The trait is sealed: it exists
//! so that one method serves both listeners. (net has a listener of its own, which asks for a non-blocking socket in the
//! same call.)
//!
//! Comes from: user code. Goes to: `AsyncSocket`.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::AsyncSocket;

impl<T: Accept> AsyncSocket<T> {
    /// Accepts a connection, ready to use, with its peer's address. For std's listeners.
    ///
    /// # Errors
    /// The kernel's, all of them: some concern one connection only (it was reset before we came), some the process (no
    /// descriptors left). net's `serve` tells them apart.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has accepted nobody.
    pub async fn accept(&self) -> io::Result<(AsyncSocket<T::Stream>, T::Address)> {
        let (stream, address) = self.read_with(|listener| listener.accept()).await?;
        Ok((AsyncSocket::new(stream)?, address))
    }
}

/// Listeners of the standard library.
///
/// ```
/// use runtime::{Accept, AsyncSocket};
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
///
/// async fn greet<L: Accept>(listener: &AsyncSocket<L>) -> std::io::Result<()> {
///     let (guest, _) = listener.accept().await?;
///     guest.send(b"welcome").await.map(drop)
/// }
///
/// runtime::block_on(async {
///     let listener = AsyncSocket::new(TcpListener::bind("127.0.0.1:0")?)?;
///     let mut guest = TcpStream::connect(listener.get_ref().local_addr()?)?;
///     greet(&listener).await?;
///     let mut word = [0; 7];
///     guest.read_exact(&mut word)?;
///     assert_eq!(&word, b"welcome");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Accept: AsFd + sealed::Sealed {
    /// What a connection is.
    type Stream: AsFd;
    /// What its peer is known by.
    type Address;
    /// One call of accept.
    ///
    /// # Errors
    /// The kernel's.
    fn accept(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::TcpListener {}
    impl Sealed for std::os::unix::net::UnixListener {}
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Address = std::net::SocketAddr;
    fn accept(&self) -> io::Result<(TcpStream, Self::Address)> {
        TcpListener::accept(self)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Address = std::os::unix::net::SocketAddr;
    fn accept(&self) -> io::Result<(UnixStream, Self::Address)> {
        UnixListener::accept(self)
    }
}
