//! TCP: how does one listen, accept, connect, and move bytes?
//!
//! A thin layer: each type is an [`AsyncSocket`] around a standard or socket2 socket, and each waiting method is one of
//! its operations. What is added is what every user would write again: loops until all is written or read, names, options,
//! halves, futures-io's traits.
//!
//! The system calls of a connection's life: `accept4` (non-blocking and close-on-exec from birth), one `epoll_ctl`, reads
//! and writes, `close`.
//!
//! Methods take `&self`: two tasks may use both directions of one stream at the same time, with the stream in an `Rc`.
//!
//! Comes from: user code, serve.rs. Goes to: `runtime::AsyncSocket`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use runtime::testing::TwoWayStream;
use runtime::{AsyncSocket, Kind};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{ConnectOptions, ToAddresses, resolve};

/// A socket that accepts connections.
pub struct TcpListener {
    socket: AsyncSocket<Socket>,
}

/// How to listen. Its defaults: a backlog of 1,024, the address reusable at once after a restart, the port not shared.
///
/// ```
/// # runtime::block_on(async {
/// let listener = net::ListenOptions::new().backlog(16).listen("127.0.0.1:0").await?;
/// # let _ = listener;
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        ListenOptions { backlog: 1024, reuse_address: true, reuse_port: false }
    }

    /// How many connections the kernel holds that nobody has accepted yet. The system has a limit of its own
    /// (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// Whether the address can be bound while old connections of it linger (`SO_REUSEADDR`).
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether several listeners may share the port (`SO_REUSEPORT`). Linux deals connections out among them; other
    /// systems give all to one, or refuse.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Listens at the first address that works.
    ///
    /// # Errors
    /// The name cannot be resolved; or no address could be bound: then all failures are told.
    pub async fn listen(&self, address: impl ToAddresses) -> io::Result<TcpListener> {
        first_that_works(resolve(address).await?, "listen on", |address| async move {
            let socket = new_socket(address)?;
            socket.set_reuse_address(self.reuse_address)?;
            if self.reuse_port {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(self.backlog)?;
            Ok(TcpListener { socket: AsyncSocket::trusted(socket, Kind::Other)? })
        })
        .await
    }
}

impl TcpListener {
    /// Listens with the default [`ListenOptions`].
    ///
    /// # Errors
    /// See [`ListenOptions::listen`].
    pub async fn bind(address: impl ToAddresses) -> io::Result<TcpListener> {
        ListenOptions::new().listen(address).await
    }

    /// Waits for a connection, and gives it with its peer's address.
    ///
    /// # Errors
    /// All of the kernel's. Some concern one connection, some the process; [`serve`](crate::serve) knows which.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has accepted nobody.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = self.socket.read_with(accept).await?;
        let address = socket_addr(&address)?;
        Ok((TcpStream::from_nonblocking(socket)?, address))
    }

    /// As [`accept`](Self::accept), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nobody is there, and as `accept`.
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = self.socket.try_read_with(accept)?;
        let address = socket_addr(&address)?;
        Ok((TcpStream::from_nonblocking(socket)?, address))
    }

    /// The connections as a stream that never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address it listens on; with the port the kernel chose, if it was asked for port 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket_addr(&self.socket.get_ref().local_addr()?)
    }

    /// Takes it out of the runtime. It stays non-blocking.
    pub fn into_std(self) -> std::net::TcpListener {
        self.socket.into_inner().into()
    }

    /// Takes a standard listener into the runtime, and makes it non-blocking.
    ///
    /// # Errors
    /// As [`AsyncSocket::new`].
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(TcpListener { socket: AsyncSocket::new(listener.into())? })
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local", &self.local_addr().ok()).finish()
    }
}

/// The stream of [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self.listener.socket.poll_read_with(cx, accept);
        accepted.map(|accepted| {
            Some(accepted.and_then(|(socket, _)| TcpStream::from_nonblocking(socket)))
        })
    }
}

/// A connection.
///
/// A duplicate of its descriptor (`as_fd().try_clone_to_owned()`, a child process that inherits it) must not outlive it: the
/// kernel would go on reporting events for it. Take it out first, with [`into_std`](Self::into_std).
pub struct TcpStream {
    socket: AsyncSocket<std::net::TcpStream>,
}

impl TcpStream {
    /// Connects to the address, of several to the first that answers, with the default [`ConnectOptions`]: an address that says
    /// nothing holds up the next one for 250 ms (RFC 8305, "happy eyeballs").
    ///
    /// # Errors
    /// See [`ConnectOptions::connect`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it closes all it has begun.
    pub async fn connect(address: impl ToAddresses) -> io::Result<TcpStream> {
        ConnectOptions::new().connect(address).await
    }

    /// Reads some bytes: as many as there are, at least one, at most the buffer's length. Zero: the end of the stream.
    ///
    /// # Errors
    /// The kernel's, such as [`ConnectionReset`](io::ErrorKind::ConnectionReset).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has read nothing.
    #[inline]
    pub fn read<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + use<'a> {
        self.socket.recv(buffer)
    }

    /// Reads up to `max` bytes into a buffer of the thread, lent to `use_bytes`. So a connection that waits holds none. An
    /// empty slice: the end of the stream.
    ///
    /// # Errors, cancel safety
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_lent<'a, R: 'a>(
        &'a self,
        max: usize,
        use_bytes: impl FnOnce(&[u8]) -> R + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        self.socket.recv_lent(max, use_bytes)
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the stream ends first; the kernel's.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it is ready, what it has read is in the buffer, but how much is not known.
    pub async fn read_exact(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read(buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Reads into several buffers, one after the other, in one call.
    ///
    /// # Errors, cancel safety
    /// As [`read`](Self::read).
    pub async fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.read_with(|mut socket| socket.read_vectored(buffers)).await
    }

    /// Reads without taking: the next read gives the same bytes.
    ///
    /// # Errors, cancel safety
    /// As [`read`](Self::read).
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read_with(|socket| socket.peek(buffer)).await
    }

    /// Writes some bytes: as many as the kernel takes now, at least one.
    ///
    /// # Errors
    /// The kernel's, such as [`BrokenPipe`](io::ErrorKind::BrokenPipe). No signal is raised.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has written nothing.
    #[inline]
    pub fn write<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Future<Output = io::Result<usize>> + use<'a> {
        self.socket.send(bytes)
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it is ready, a beginning of unknown length has been written.
    #[inline]
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Writes several buffers, one after the other, in one call.
    ///
    /// # Errors, cancel safety
    /// As [`write`](Self::write).
    pub async fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_with(|socket| send_vectored(socket, buffers)).await
    }

    /// As [`read`](Self::read), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing now.
    #[inline]
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(buffer)
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the kernel takes nothing now.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_send(bytes)
    }

    /// Ends a direction, or both: the peer reads to the end of what was written and then sees the end of the stream.
    /// Ending what has ended already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self.socket.get_ref().shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Both directions at the same time, borrowed.
    pub fn split(&self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf { stream: self }, WriteHalf { stream: self })
    }

    /// Both directions, to be owned by two tasks. Dropping the write half ends its direction.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let stream = Rc::new(self);
        (OwnedReadHalf { stream: Rc::clone(&stream) }, OwnedWriteHalf { stream: Some(stream) })
    }

    /// Whether small writes are sent at once instead of collected (Nagle's algorithm off).
    ///
    /// # Errors
    /// The kernel's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get_ref().nodelay()
    }

    /// Sets [`nodelay`](Self::nodelay).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket.get_ref().set_nodelay(on)
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The kernel's: a connection that was reset has none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Waits until a read is worth a try: bytes, the end of the stream, or an error.
    ///
    /// # Cancel safety
    /// It takes nothing.
    ///
    /// # Errors
    /// If the stream's runtime is not the one that runs.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + use<'_> {
        self.socket.readable()
    }

    /// The socket as the runtime sees it, for what is not offered here.
    pub fn as_socket(&self) -> &AsyncSocket<std::net::TcpStream> {
        &self.socket
    }

    /// Takes it out of the runtime. It stays non-blocking.
    pub fn into_std(self) -> std::net::TcpStream {
        self.socket.into_inner()
    }

    /// Takes a standard stream into the runtime, and makes it non-blocking.
    ///
    /// # Errors
    /// As [`AsyncSocket::new`].
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(TcpStream { socket: AsyncSocket::new(stream)?.with_label(label) })
    }

    pub(crate) fn from_nonblocking(socket: Socket) -> io::Result<Self> {
        Ok(TcpStream {
            socket: AsyncSocket::trusted(socket.into(), Kind::Stream)?.with_label(label),
        })
    }
}

impl TwoWayStream for TcpStream {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        TcpStream::read(self, buffer).await
    }
    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::write(self, bytes).await
    }
    async fn close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .finish()
    }
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_read_with(cx, |_| self.socket.try_recv(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_read_with(cx, |mut socket| socket.read_vectored(buffers))
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write_with(cx, |_| self.socket.try_send(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write_with(cx, |socket| send_vectored(socket, buffers))
    }

    /// Nothing is held back, so there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the write direction.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

/// The reading half of a borrowed stream.
#[derive(Clone, Copy, Debug)]
pub struct ReadHalf<'a> {
    stream: &'a TcpStream,
}

/// The writing half of a borrowed stream. Dropping it does nothing.
#[derive(Clone, Copy, Debug)]
pub struct WriteHalf<'a> {
    stream: &'a TcpStream,
}

/// The reading half of a stream.
#[derive(Debug)]
pub struct OwnedReadHalf {
    stream: Rc<TcpStream>,
}

/// The writing half of a stream. Dropping it ends the direction: the peer sees the end of the stream.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    /// Empty only while it is taken apart.
    stream: Option<Rc<TcpStream>>,
}

impl OwnedReadHalf {
    /// Puts the stream together again.
    ///
    /// # Errors
    /// Both halves, if they are not of one stream.
    pub fn reunite(
        self,
        mut other: OwnedWriteHalf,
    ) -> Result<TcpStream, (OwnedReadHalf, OwnedWriteHalf)> {
        if !other.stream.as_ref().is_some_and(|stream| Rc::ptr_eq(stream, &self.stream)) {
            return Err((self, other));
        }
        drop(other.stream.take());
        Rc::try_unwrap(self.stream).map_err(|stream| {
            let stream = (OwnedReadHalf { stream: Rc::clone(&stream) }, stream);
            (stream.0, OwnedWriteHalf { stream: Some(stream.1) })
        })
    }
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.stream
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.stream
    }
}

impl AsRef<TcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsRef<TcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &TcpStream {
        self.stream.as_ref().expect("empty only while it is taken apart, which consumes it")
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A connection that is gone already needs no end.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

/// The futures-io traits, for a type that gives a reference to its stream.
macro_rules! read_through {
    ($($half:ty),*) => {$(
        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_read_vectored(cx, buffers)
            }
        }
    )*};
}

macro_rules! write_through {
    ($($half:ty),*) => {$(
        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_write_vectored(cx, buffers)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut AsRef::<TcpStream>::as_ref(&*self)).poll_close(cx)
            }
        }
    )*};
}

read_through!(TcpStream, ReadHalf<'_>, OwnedReadHalf);
write_through!(TcpStream, WriteHalf<'_>, OwnedWriteHalf);

impl AsRef<TcpStream> for TcpStream {
    fn as_ref(&self) -> &TcpStream {
        self
    }
}

/// One accept, its socket non-blocking and close-on-exec from birth where the system can do that in one call.
fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "illumos"
    ))]
    {
        listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "illumos"
    )))]
    {
        let (socket, address) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }
}

/// A TCP socket of the address's family, non-blocking and close-on-exec.
pub(crate) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Tries one address after the other; if none works, tells what each said.
async fn first_that_works<T, F>(
    addresses: Vec<SocketAddr>,
    what: &str,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut kind = io::ErrorKind::NotFound;
    let mut failures = Vec::new();
    for address in addresses {
        match attempt(address).await {
            Ok(success) => return Ok(success),
            Err(error) => {
                kind = error.kind();
                failures.push(format!("{address}: {error}"));
            }
        }
    }
    Err(io::Error::new(kind, format!("cannot {what} {}", failures.join("; "))))
}

/// `writev` that raises no signal.
fn send_vectored(socket: &std::net::TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const FLAGS: i32 = 0; // SO_NOSIGPIPE is set at creation there
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL;
    // The kernel refuses more at a time; a beginning is what the contract asks for.
    let buffers = &buffers[..buffers.len().min(libc::UIO_MAXIOV as usize)];
    socket2::SockRef::from(socket).send_vectored_with_flags(buffers, FLAGS)
}

fn socket_addr(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
}

/// What an instrument is shown for a stream.
fn label(stream: &std::net::TcpStream, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match stream.peer_addr() {
        Ok(peer) => write!(f, "{peer}"),
        Err(_) => f.write_str("(no peer any more)"),
    }
}
