//! Datagrams within the machine: how does one name such a socket, and what if the other's queue is full?
//!
//! What sends and receives is in datagram.rs; names and their files are in unix_name.rs.
//!
//! Unlike UDP, nothing is lost and nothing overtakes: who sends to a full queue waits. A connected sender is told by the
//! kernel when there is room. One that is not connected is not: the kernel does not know for whom it waits, and calls the
//! socket writable all the time (Linux does so anew after each refused attempt: a wait for that would be a spin). So
//! `send_to` looks again by itself, after 1 ms and then ever less often, to 32 ms. That is also why there is no
//! `poll_send_to` here: it would have to keep that time somewhere.
//!
//! What it does not do: descriptors and credentials with a datagram.
//!
//! Comes from: user code. Goes to: datagram.rs, unix_name.rs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::path::Path;
use std::time::Duration;

use runtime::{AsyncSocket, sleep, spend_bytes};
use rustix::net::{SocketAddrAny, SocketAddrUnix};
use socket2::{Domain, Socket, Type};

use crate::datagram::{DatagramSocket, Family};
use crate::unix_name::{ToUnixAddress, UnixOptions, explain, from_name};

/// A Unix datagram socket.
///
/// ```
/// use net::UnixDatagram;
///
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("net-datagram-{}", std::process::id()));
/// runtime::block_on(async {
///     let log = UnixDatagram::bind(&path).await?; // removes its file when it is dropped
///     let program = UnixDatagram::unbound()?;
///     program.send_to(b"it rains", &path).await?;
///     let mut buffer = [0; 1024];
///     let (received, from) = log.recv_from(&mut buffer).await?;
///     assert_eq!(&buffer[..received.whole()?], b"it rains");
///     assert!(from.is_unnamed()); // so there is no way to answer
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type UnixDatagram = DatagramSocket<StdUnixDatagram>;

impl UnixOptions {
    /// Binds a datagram socket. Its file is removed when it is dropped, if it is still the same.
    ///
    /// # Errors
    /// See [`ToUnixAddress`]; [`AddrInUse`](io::ErrorKind::AddrInUse), with what lies there; the kernel's.
    ///
    /// # Cancel safety
    /// It never waits.
    pub async fn bind(&self, name: impl ToUnixAddress) -> io::Result<UnixDatagram> {
        let address = name.to_unix_address()?;
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        let file =
            self.name(&socket, &address).map_err(|error| explain("bind", &address, &error))?;
        Ok(DatagramSocket::new(AsyncSocket::new(socket.into())?, file))
    }
}

impl UnixDatagram {
    /// Binds with the default [`UnixOptions`].
    ///
    /// # Errors, cancel safety
    /// See [`UnixOptions::bind`].
    pub async fn bind(name: impl ToUnixAddress) -> io::Result<UnixDatagram> {
        UnixOptions::new().bind(name).await
    }

    /// A socket without a name: it can send, and receive from the peer that it is connected to if that is a pair's.
    ///
    /// # Errors
    /// The kernel's, such as too many descriptors.
    pub fn unbound() -> io::Result<UnixDatagram> {
        DatagramSocket::from_std(StdUnixDatagram::unbound()?)
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    /// The kernel's, such as too many descriptors.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (left, right) = net::UnixDatagram::pair()?;
    /// left.send(b"").await?;
    /// assert_eq!(right.recv(&mut [0; 8]).await?.count, 0); // a datagram all the same
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (left, right) = StdUnixDatagram::pair()?;
        Ok((DatagramSocket::from_std(left)?, DatagramSocket::from_std(right)?))
    }

    /// Sets the peer: [`send`](Self::send) sends to it, and nobody else's datagrams are received. It may be done again.
    ///
    /// # Errors
    /// See [`ToUnixAddress`]; the kernel's: [`NotFound`](io::ErrorKind::NotFound),
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody has that name any more, ...
    ///
    /// # Cancel safety
    /// It never waits.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let path = std::env::temp_dir().join(format!("net-peer-{}", std::process::id()));
    /// let log = net::UnixDatagram::bind(&path).await?;
    /// let program = net::UnixDatagram::unbound()?;
    /// program.connect(&path).await?;
    /// program.send(b"it rains").await?;
    /// assert_eq!(log.recv(&mut [0; 64]).await?.count, 8);
    /// drop(log);
    /// let error = net::UnixDatagram::unbound()?.connect(&path).await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound); // it took its name with it
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn connect(&self, name: impl ToUnixAddress) -> io::Result<()> {
        let address = name.to_unix_address()?;
        let connected = self.socket.get_ref().connect_addr(&address);
        connected.map_err(|error| explain("connect to", &address, &error))
    }

    /// Sends a datagram, whole or not at all; the count is its length. Waits while the other's queue is full.
    ///
    /// # Errors
    /// See [`ToUnixAddress`]; the kernel's: as in [`connect`](Self::connect), and if the datagram is too long.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has sent nothing.
    pub async fn send_to(&self, datagram: &[u8], to: impl ToUnixAddress) -> io::Result<usize> {
        let to = to.to_unix_address()?;
        let mut pause = Duration::from_millis(1);
        loop {
            let attempt = self.socket.write_with(|socket| match send_to(socket, datagram, &to) {
                // Not a wait for the socket's being writable: see the head.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                result => result.map(Some),
            });
            if let Some(count) = attempt.await? {
                return Ok(count);
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// As [`send_to`](Self::send_to), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the other's queue is full, and as `send_to`. That there is room again is
    /// not told: do not wait for it by the socket's `writable`.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let path = std::env::temp_dir().join(format!("net-try-send-{}", std::process::id()));
    /// let log = net::UnixDatagram::bind(&path).await?;
    /// let program = net::UnixDatagram::unbound()?;
    /// program.try_send_to(b"it rains", &path)?;
    /// assert_eq!(log.recv(&mut [0; 64]).await?.count, 8);
    /// drop(log);
    /// let error = program.try_send_to(b"nobody notes it", &path).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_send_to(&self, datagram: &[u8], to: impl ToUnixAddress) -> io::Result<usize> {
        let to = to.to_unix_address()?;
        self.socket.try_write_with(|socket| send_to(socket, datagram, &to))
    }
}

fn send_to(socket: &StdUnixDatagram, datagram: &[u8], to: &SocketAddr) -> io::Result<usize> {
    socket.send_to_addr(datagram, to).inspect(|count| spend_bytes(*count))
}

/// How long a sender to a full queue waits at most before it looks again.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

impl Family for StdUnixDatagram {
    type Address = SocketAddr;
    const NAME: &'static str = "UnixDatagram";

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn sender(address: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
        // A longer one is a path that rustix would panic at, and std cannot hold: `from_name` says which.
        let fits =
            |address: &SocketAddrAny| address.addr_len() as usize <= size_of::<libc::sockaddr_un>();
        let Some(address) = address.filter(fits) else {
            return from_name(None, None);
        };
        let address = SocketAddrUnix::try_from(address)?;
        let path = address.path_bytes().map(|path| Path::new(OsStr::from_bytes(path)));
        #[cfg(target_os = "linux")]
        return from_name(path, address.abstract_name());
        #[cfg(not(target_os = "linux"))]
        return from_name(path, None);
    }
}
