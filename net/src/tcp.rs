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

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use runtime::{AsyncSocket, Kind};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::{ConnectOptions, Connection, ToAddresses, resolve};

/// A socket that accepts connections.
///
/// ```
/// use net::{TcpListener, TcpStream};
///
/// runtime::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?; // port 0: one that the kernel chooses
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///     server.write_all(b"welcome").await?;
///     assert_eq!(client.read(&mut [0; 64]).await?, 7);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    socket: AsyncSocket<Socket>,
}

/// How to listen. Its defaults: a backlog of 1,024, the address reusable at once after a restart, the port not shared.
///
/// ```
/// # runtime::block_on(async {
/// let options = net::ListenOptions::new().backlog(16).reuse_address(true).reuse_port(true);
/// let one = options.listen("127.0.0.1:0").await?;
/// let other = options.listen(one.local_addr()?).await?; // that of a second thread, say
/// assert_eq!(one.local_addr()?, other.local_addr()?);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        ListenOptions { backlog: 1024, reuse_address: true, reuse_port: false, only_v6: None }
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

    /// Whether a listener at an IPv6 address, say `[::]:80`, leaves IPv4 alone (`IPV6_V6ONLY`); else it takes both. The default
    /// is the system's. At IPv4 addresses it is ignored.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let v4 = net::TcpListener::bind("0.0.0.0:0").await?;
    /// let port = v4.local_addr()?.port();
    /// // The same port, without taking IPv4's away. An error is where there is no IPv6.
    /// let v6 = net::ListenOptions::new().only_v6(true).listen(("::", port)).await;
    /// assert!(v6.is_err() || v6?.local_addr()?.port() == port);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Listens at the first address that works.
    ///
    /// # Errors
    /// The name cannot be resolved; or no address could be bound: then all failures are told.
    ///
    /// # Cancel safety
    /// It waits for the name alone: dropped before it is ready, it has bound nothing.
    pub async fn listen(&self, address: impl ToAddresses) -> io::Result<TcpListener> {
        first_that_works(resolve(address).await?, "listen on", |address| async move {
            let socket = new_socket(address)?;
            socket.set_reuse_address(self.reuse_address)?;
            if self.reuse_port {
                share_port(&socket)?;
            }
            if let (Some(only_v6), true) = (self.only_v6, address.is_ipv6()) {
                socket.set_only_v6(only_v6)?;
            }
            socket.bind(&address.into())?;
            socket.listen(self.backlog)?;
            Ok(TcpListener { socket: AsyncSocket::new(socket)? })
        })
        .await
    }
}

impl TcpListener {
    /// Listens with the default [`ListenOptions`].
    ///
    /// # Errors, cancel safety
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
        connection(self.socket.read_with(accept).await?)
    }

    /// [`accept`](Self::accept) for `poll_*` methods of traits. All wakers it was polled with since the kernel's last report are
    /// woken at the next.
    ///
    /// # Errors
    /// As `accept`.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (_, peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.socket.poll_read_with(cx, accept).map(|accepted| connection(accepted?))
    }

    /// As [`accept`](Self::accept), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nobody is there, and as `accept`.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let nobody = listener.try_accept().unwrap_err();
    /// assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        connection(self.socket.try_read_with(accept)?)
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
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let bound = std::net::TcpListener::bind("127.0.0.1:0")?; // say before rights were given up
    /// let address = bound.local_addr()?;
    /// let listener = net::TcpListener::from_std(bound)?;
    /// let client = net::TcpStream::connect(address).await?;
    /// assert_eq!(listener.accept().await?.1, client.local_addr()?);
    /// assert_eq!(listener.into_std().local_addr()?, address); // and out again
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
///
/// ```
/// use futures_lite::StreamExt;
///
/// # runtime::block_on(async {
/// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
/// let client = net::TcpStream::connect(listener.local_addr()?).await?;
/// let mut first = listener.incoming().take(1);
/// while let Some(stream) = first.next().await {
///     stream?.write_all(b"welcome").await?;
/// }
/// assert_eq!(client.read(&mut [0; 64]).await?, 7);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listener.poll_accept(cx).map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}

/// A TCP connection.
///
/// What it can do as any connection can (read, write, halves, ...) stands at [`Connection`].
///
/// ```
/// use net::{TcpListener, TcpStream};
/// use std::time::Duration;
///
/// runtime::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let stream = TcpStream::connect(address).await?; // or a name: `("example.org", 80)`
///     stream.set_nodelay(true)?;
///     stream.set_keepalive(Some(Duration::from_secs(60)))?;
///     assert!(stream.nodelay()?);
///     assert_eq!(stream.peer_addr()?, address);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type TcpStream = Connection<std::net::TcpStream>;

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

    /// Whether small writes are sent at once instead of collected (Nagle's algorithm off).
    ///
    /// # Errors
    /// The kernel's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.as_socket().get_ref().nodelay()
    }

    /// Sets [`nodelay`](Self::nodelay).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.as_socket().get_ref().set_nodelay(on)
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The kernel's: a connection that was reset has none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().get_ref().peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().get_ref().local_addr()
    }

    /// Whether, and after how long a silence, the kernel asks the peer if it is still there (`SO_KEEPALIVE`). Without an
    /// answer the connection is reset in the end. `None`, the default: never. Whole seconds, rounded up; more than Linux
    /// can count, 32,767 (nine hours), counts as that.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_keepalive(&self, after: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(self.as_socket());
        match after {
            Some(after) => socket.set_tcp_keepalive(&keepalive_after(after)),
            None => socket.set_keepalive(false),
        }
    }

    /// Whether dropping the connection resets it: what was not yet sent is thrown away, and the peer's next call fails. The
    /// default, without: the peer gets all and then the end. Of two owned halves, the drop of the second one resets.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (server, _) = listener.accept().await?;
    /// client.set_reset_on_drop(true)?;
    /// drop(client);
    /// let error = server.read(&mut [0; 64]).await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_reset_on_drop(&self, on: bool) -> io::Result<()> {
        SockRef::from(self.as_socket()).set_linger(on.then_some(Duration::ZERO))
    }

    pub(crate) fn from_nonblocking(socket: Socket) -> io::Result<Self> {
        Connection::trusted(socket.into(), Kind::Stream)
    }
}

/// One accept. The socket is non-blocking and close-on-exec from birth where the system can do that in one call.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
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
        listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).map_err(not_listening)
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
        let (socket, address) = listener.accept().map_err(not_listening)?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }
}

/// Says what the kernel's "invalid argument" means here.
fn not_listening(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EINVAL) => {
            io::Error::new(error.kind(), "this socket does not listen: its listening was shut down")
        }
        _ => error,
    }
}

/// A TCP socket of the address's family, non-blocking and close-on-exec.
pub(crate) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// In the seconds that every system takes: others are an error on Linux, which tells nobody why.
pub(crate) fn keepalive_after(silence: Duration) -> TcpKeepalive {
    const LONGEST: u64 = 32_767;
    let seconds = silence.as_nanos().div_ceil(1_000_000_000).clamp(1, LONGEST.into());
    TcpKeepalive::new().with_time(Duration::from_secs(seconds.try_into().unwrap_or(LONGEST)))
}

/// Lets several sockets have one port, where the system can.
pub(crate) fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
    return socket.set_reuse_port(true);
    #[cfg(any(target_os = "illumos", target_os = "solaris"))]
    {
        let _ = socket;
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system shares no ports"))
    }
}

/// Tries one address after the other; if none works, tells what each said.
pub(crate) async fn first_that_works<T, F>(
    addresses: Vec<SocketAddr>,
    what: &str,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut failures = Vec::new();
    for address in addresses {
        match attempt(address).await {
            Ok(success) => return Ok(success),
            Err(error) => {
                failures.push(format!("{address}: {error}"));
                last = error;
            }
        }
    }
    Err(told(format!("cannot {what} {}", failures.join("; ")), last))
}

/// `error` in these words: it keeps its kind, and is the source of what is returned, so its number can be found.
pub(crate) fn told(words: String, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Told { words, error })
}

#[derive(Debug)]
struct Told {
    words: String,
    error: io::Error,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// What was accepted, as a stream and its peer's address.
fn connection((socket, address): (Socket, SockAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    // Some systems give an empty address for a connection that its peer has reset in the queue.
    let address = address.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((TcpStream::from_nonblocking(socket)?, address))
}

fn socket_addr(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
}
