//! Unix sockets: how do two programs on one machine talk without a network?
//!
//! Through a name in the file system, or a pair of ends that one of them has made. A [`UnixListener`] is to that name what
//! a `TcpListener` is to a port, and `serve` takes either; what is to be known about the names and their files stands in
//! unix_name.rs.
//!
//! A connect does not wait: the listener's queue takes it or does not. When it is full, Linux says "try again" and then never
//! says when, so that is an error here, and at once.
//!
//! What it does not do: pass descriptors, tell who the peer is; a socket that keeps borders between messages and order
//! (SOCK_SEQPACKET).
//!
//! Comes from: user code, serve.rs. Goes to: connection.rs, unix_name.rs, `runtime::AsyncSocket`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use runtime::{AsyncSocket, Kind};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::tcp::accept;
use crate::unix_name::{SocketFile, ToUnixAddress, UnixOptions, explain, from_name, to_socket2};
use crate::{Connection, Listener};

/// A Unix stream connection.
///
/// What it can do as any connection can (read, write, halves, ...) stands at [`Connection`].
///
/// ```
/// use net::{UnixListener, UnixStream};
///
/// # let path = std::env::temp_dir().join(format!("net-stream-{}", std::process::id()));
/// runtime::block_on(async {
///     let listener = UnixListener::bind(&path).await?;
///     let client = UnixStream::connect(&path).await?;
///     let (server, peer) = listener.accept().await?;
///     assert!(peer.is_unnamed() && client.local_addr()?.is_unnamed());
///     assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
///     server.write_all(b"welcome").await?;
///     assert_eq!(client.read(&mut [0; 64]).await?, 7);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type UnixStream = Connection<StdUnixStream>;

impl UnixStream {
    /// Connects to a listener.
    ///
    /// # Errors
    /// See [`ToUnixAddress`]; and, each with the name in its text:
    ///
    /// | what is the matter                                  | kind                                                          |
    /// |-----------------------------------------------------|---------------------------------------------------------------|
    /// | no such name                                        | [`NotFound`](io::ErrorKind::NotFound)                         |
    /// | nobody listens there (any more)                     | [`ConnectionRefused`](io::ErrorKind::ConnectionRefused)       |
    /// | as many connections wait there as may (on Linux)    | [`ResourceBusy`](io::ErrorKind::ResourceBusy): try later      |
    /// | its permissions are not for us                      | [`PermissionDenied`](io::ErrorKind::PermissionDenied)         |
    ///
    /// # Cancel safety
    /// It never waits.
    ///
    /// ```
    /// use net::{UnixListener, UnixStream};
    ///
    /// # let path = std::env::temp_dir().join(format!("net-connect-{}", std::process::id()));
    /// runtime::block_on(async {
    ///     let listener = UnixListener::bind(&path).await?;
    ///     let client = UnixStream::connect(&path).await?;
    ///     let (server, _) = listener.accept().await?;
    ///     server.write_all(b"hello").await?;
    ///     let mut word = [0; 5];
    ///     client.read_exact(&mut word).await?;
    ///     assert_eq!(&word, b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn connect(name: impl ToUnixAddress) -> io::Result<UnixStream> {
        let address = name.to_unix_address()?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&to_socket2(&address)?).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let full = "as many connections wait to be accepted as its backlog allows; try again later";
                explain("connect to", &address, &io::Error::new(io::ErrorKind::ResourceBusy, full))
            }
            _ => explain("connect to", &address, &error),
        })?;
        UnixStream::from_nonblocking(socket)
    }

    /// Two ends that are connected with each other.
    ///
    /// # Errors
    /// The kernel's, such as too many descriptors.
    ///
    /// ```
    /// use net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     left.write_all(b"hello").await?;
    ///     let mut answer = [0; 5];
    ///     right.read_exact(&mut answer).await?;
    ///     assert_eq!(&answer, b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (left, right) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        left.set_nonblocking(true)?;
        right.set_nonblocking(true)?;
        Ok((UnixStream::from_nonblocking(left)?, UnixStream::from_nonblocking(right)?))
    }

    /// The other end's name; most clients have none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().get_ref().peer_addr()
    }

    /// This end's name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().get_ref().local_addr()
    }

    fn from_nonblocking(socket: Socket) -> io::Result<Self> {
        // Not `Kind::Stream`: a read stops short where the peer has sent a descriptor.
        Connection::trusted(socket.into(), Kind::Other)
    }
}

/// A Unix socket that accepts connections. Dropping it removes the file that names it, if that is still the one it made.
///
/// ```
/// use net::{Limits, UnixListener, UnixStream, serve};
///
/// # let path = std::env::temp_dir().join(format!("net-listener-{}", std::process::id()));
/// runtime::block_on(async {
///     let listener = UnixListener::bind(&path).await?;
///     let stop = runtime::CancelToken::new();
///     let limits = Limits::new().shutdown(stop.clone());
///     let server = runtime::spawn(serve(listener, limits, async |stream: UnixStream, _| {
///         stream.write_all(b"bye\n").await
///     }));
///     let mut word = [0; 4];
///     UnixStream::connect(&path).await?.read_exact(&mut word).await?;
///     stop.cancel();
///     assert_eq!(server.await.expect("no panic")?.accepted, 1);
///     assert!(!path.exists());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    // Before the socket, so that nobody finds a name that leads nowhere.
    file: Option<SocketFile>,
    socket: AsyncSocket<Socket>,
}

impl UnixOptions {
    /// Listens. The file is removed when the listener is dropped, if it is still the same.
    ///
    /// # Errors
    /// See [`ToUnixAddress`]; [`AddrInUse`](io::ErrorKind::AddrInUse), with what lies there; the kernel's.
    ///
    /// # Cancel safety
    /// It never waits.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let path = std::env::temp_dir().join(format!("net-listen-{}", std::process::id()));
    /// let listener = net::UnixOptions::new().mode(0o600).listen(&path).await?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// let second = net::UnixOptions::new().replace_stale(true).listen(&path).await;
    /// assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse); // it is not stale
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn listen(&self, name: impl ToUnixAddress) -> io::Result<UnixListener> {
        let address = name.to_unix_address()?;
        let listen = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            let file = self.name(&socket, &address)?;
            socket.listen(self.backlog)?;
            Ok(UnixListener { file, socket: AsyncSocket::new(socket)? })
        };
        listen().map_err(|error: io::Error| explain("listen at", &address, &error))
    }
}

impl UnixListener {
    /// Listens with the default [`UnixOptions`].
    ///
    /// # Errors, cancel safety
    /// See [`UnixOptions::listen`].
    pub async fn bind(name: impl ToUnixAddress) -> io::Result<UnixListener> {
        UnixOptions::new().listen(name).await
    }

    /// Waits for a connection, and gives it with its peer's name; most have none.
    ///
    /// # Errors
    /// All of the kernel's. Some concern one connection, some the process; [`serve`](crate::serve) knows which.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has accepted nobody.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        accepted(self.socket.read_with(accept).await?)
    }

    /// As [`accept`](Self::accept), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nobody is there, and as `accept`.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let path = std::env::temp_dir().join(format!("net-try-accept-{}", std::process::id()));
    /// let listener = net::UnixListener::bind(&path).await?;
    /// let nobody = listener.try_accept().unwrap_err();
    /// assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        accepted(self.socket.try_read_with(accept)?)
    }

    /// The connections as a stream that never ends.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The name it listens at.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        unix_addr(&self.socket.get_ref().local_addr()?)
    }

    /// Takes it out of the runtime. It stays non-blocking, and its file stays: whoever has it now is to remove that.
    pub fn into_std(self) -> std::os::unix::net::UnixListener {
        if let Some(file) = self.file {
            file.keep();
        }
        self.socket.into_inner().into()
    }

    /// Takes a standard listener into the runtime, and makes it non-blocking. Its file stays its maker's.
    ///
    /// # Errors
    /// As [`AsyncSocket::new`].
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let path = std::env::temp_dir().join(format!("net-from-std-{}", std::process::id()));
    /// let bound = std::os::unix::net::UnixListener::bind(&path)?;
    /// let listener = net::UnixListener::from_std(bound)?;
    /// let client = net::UnixStream::connect(&path).await?;
    /// listener.accept().await?;
    /// let bound = listener.into_std();
    /// drop(bound);
    /// std::fs::remove_file(&path)?; // the file is whose the listener was
    /// # drop(client);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Ok(UnixListener { file: None, socket: AsyncSocket::new(listener.into())? })
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener").field("local", &self.local_addr().ok()).finish()
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Address = SocketAddr;
    async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        UnixListener::accept(self).await
    }
    fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        UnixListener::try_accept(self)
    }
}

/// The stream of [`UnixListener::incoming`].
///
/// ```
/// use futures_lite::StreamExt;
///
/// # runtime::block_on(async {
/// # let path = std::env::temp_dir().join(format!("net-incoming-{}", std::process::id()));
/// let listener = net::UnixListener::bind(&path).await?;
/// let client = net::UnixStream::connect(&path).await?;
/// let mut first = listener.incoming().take(1);
/// while let Some(stream) = first.next().await {
///     stream?.write_all(b"welcome").await?;
/// }
/// assert_eq!(client.read(&mut [0; 64]).await?, 7);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Stream for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.listener.socket.poll_read_with(cx, accept);
        next.map(|next| Some(next.and_then(|(socket, _)| UnixStream::from_nonblocking(socket))))
    }
}

fn accepted((socket, peer): (Socket, SockAddr)) -> io::Result<(UnixStream, SocketAddr)> {
    Ok((UnixStream::from_nonblocking(socket)?, unix_addr(&peer)?))
}

/// Not socket2's `as_unix`: a peer whose name fills all 108 bytes makes that panic.
fn unix_addr(address: &SockAddr) -> io::Result<SocketAddr> {
    from_name(address.as_pathname(), address.as_abstract_namespace())
}
