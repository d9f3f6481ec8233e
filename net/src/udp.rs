//! UDP: how does one bind, connect, and set what the network is to do with datagrams?
//!
//! What sends and receives is in datagram.rs. Here is what belongs to the Internet alone: addresses, broadcast, multicast,
//! how far a datagram goes.
//!
//! `send_to` takes an address, not a name: a name would be looked up for each datagram. [`resolve`] it once.
//!
//! What was sent to a port that nobody has is reported by the other machine, if at all, and the kernel passes that on to
//! *connected* sockets: their next operation gets [`ConnectionRefused`](io::ErrorKind::ConnectionRefused). Linux tells an
//! unconnected socket nothing.
//!
//! What it does not do: options beyond these; `socket2::SockRef::from(&socket)` sets all there are.
//!
//! Comes from: user code. Goes to: datagram.rs, socket2.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use runtime::{AsyncSocket, spend_bytes};
use rustix::net::SocketAddrAny;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::datagram::{DatagramSocket, Family};
use crate::tcp::{first_that_works, share_port};
use crate::{ToAddresses, resolve};

/// A UDP socket.
///
/// ```
/// use net::UdpSocket;
///
/// runtime::block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let address = server.local_addr()?;
///     let echo = runtime::spawn(async move {
///         let mut buffer = [0; 1500];
///         let (received, from) = server.recv_from(&mut buffer).await?;
///         server.send_to(&buffer[..received.whole()?], from).await
///     });
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.connect(address).await?;
///     client.send(b"hello").await?;
///     let mut answer = [0; 1500];
///     let received = client.recv(&mut answer).await?;
///     assert_eq!(&answer[..received.whole()?], b"hello");
///     echo.await.expect("the task does not panic")
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type UdpSocket = DatagramSocket<std::net::UdpSocket>;

/// What has to be said before a UDP socket is bound. Its defaults: the port is not shared, and IPv6's answers for IPv4 as
/// the system has it (on Linux, it does).
///
/// ```
/// # runtime::block_on(async {
/// let options = net::UdpOptions::new().reuse_port(true).reuse_address(true).only_v6(true);
/// let one = options.bind("127.0.0.1:0").await?;
/// let other = options.bind(one.local_addr()?).await?; // that of a second thread, say
/// assert_eq!(one.local_addr()?, other.local_addr()?);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct UdpOptions {
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl UdpOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether others that say so too may have the port (`SO_REUSEADDR`). Programs that listen to one multicast group on
    /// one machine do; each of them gets its datagrams. Of others, only one socket does.
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether several sockets may share the port, all of one user (`SO_REUSEPORT`). Linux deals the datagrams out, those
    /// of one sender always to the same socket.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether a socket at an IPv6 address is for IPv6 alone. Of no effect at others.
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Binds to the first address that works. Port 0 is one that the kernel chooses.
    ///
    /// # Errors
    /// The name cannot be resolved; or no address could be bound: then all failures are told.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has bound nothing.
    pub async fn bind(&self, address: impl ToAddresses) -> io::Result<UdpSocket> {
        first_that_works(resolve(address).await?, "bind", |address| async move {
            let socket =
                Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_address(self.reuse_address)?;
            if self.reuse_port {
                share_port(&socket)?;
            }
            if let (SocketAddr::V6(_), Some(on)) = (address, self.only_v6) {
                socket.set_only_v6(on)?;
            }
            socket.bind(&address.into())?;
            Ok(DatagramSocket::new(AsyncSocket::new(socket.into())?, None))
        })
        .await
    }
}

impl UdpSocket {
    /// Binds with the default [`UdpOptions`].
    ///
    /// # Errors, cancel safety
    /// See [`UdpOptions::bind`].
    pub async fn bind(address: impl ToAddresses) -> io::Result<UdpSocket> {
        UdpOptions::new().bind(address).await
    }

    /// Sets the peer, to the first address that the kernel takes: [`send`](Self::send) sends to it, and nobody else's
    /// datagrams are received. Nothing is sent for this, so nobody need be there. It may be done again.
    ///
    /// # Errors
    /// The name cannot be resolved; or no address could be taken, say for its family: then all failures are told.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has changed nothing.
    pub async fn connect(&self, address: impl ToAddresses) -> io::Result<()> {
        let socket = self.socket.get_ref();
        let connect = |address: SocketAddr| async move { socket.connect(address) };
        first_that_works(resolve(address).await?, "connect to", connect).await
    }

    /// Sends a datagram, whole or not at all; the count is its length.
    ///
    /// # Errors
    /// The kernel's: it is too long (more than 65,507 bytes over IPv4), its address is of another family, a broadcast
    /// without [`set_broadcast`](Self::set_broadcast), ...
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has sent nothing.
    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.write_with(|socket| send_to(socket, datagram, to)).await
    }

    /// As [`send_to`](Self::send_to), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the kernel takes none now, and as `send_to`.
    pub fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.try_write_with(|socket| send_to(socket, datagram, to))
    }

    /// For futures written by hand: [`send_to`](Self::send_to) without a future.
    ///
    /// # Errors
    /// As `send_to`.
    ///
    /// ```
    /// use net::UdpSocket;
    ///
    /// # runtime::block_on(async {
    /// let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    /// let to = theirs.local_addr()?;
    /// std::future::poll_fn(|cx| ours.poll_send_to(cx, b"hello", to)).await?;
    /// ours.try_send_to(b"or at once", to)?;
    /// assert_eq!(theirs.recv(&mut [0; 64]).await?.count, 5);
    /// assert_eq!(theirs.recv(&mut [0; 64]).await?.count, 10);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write_with(cx, |socket| send_to(socket, datagram, to))
    }

    /// Receives what is sent to the multicast group, on the interface that has this address; unspecified: the system's
    /// choice.
    ///
    /// # Errors
    /// The kernel's: not a multicast address, no such interface, ...
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    ///
    /// # runtime::block_on(async {
    /// let socket = net::UdpSocket::bind("0.0.0.0:0").await?;
    /// let group = Ipv4Addr::new(239, 255, 77, 2);
    /// socket.join_multicast_v4(group, Ipv4Addr::LOCALHOST)?; // as far as this machine
    /// socket.leave_multicast_v4(group, Ipv4Addr::LOCALHOST)?;
    /// assert!(socket.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).is_err()); // it has left
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.get_ref().join_multicast_v4(&group, &interface)
    }

    /// Ends [`join_multicast_v4`](Self::join_multicast_v4).
    ///
    /// # Errors
    /// The kernel's: it had not joined, ...
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.get_ref().leave_multicast_v4(&group, &interface)
    }

    /// Receives what is sent to the multicast group, on the interface of this number; zero: the system's choice.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// ```no_run
    /// # runtime::block_on(async {
    /// let socket = net::UdpOptions::new().reuse_address(true).bind("[::]:5353").await?;
    /// let every_mdns_speaker = "ff02::fb".parse().unwrap();
    /// socket.join_multicast_v6(every_mdns_speaker, 0)?;
    /// let (question, from) = socket.recv_from(&mut [0; 9000]).await?;
    /// println!("{from} asks, in {} bytes", question.whole()?);
    /// socket.leave_multicast_v6(every_mdns_speaker, 0)?;
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get_ref().join_multicast_v6(&group, interface)
    }

    /// Ends [`join_multicast_v6`](Self::join_multicast_v6).
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get_ref().leave_multicast_v6(&group, interface)
    }
}

fn send_to(socket: &std::net::UdpSocket, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
    socket.send_to(datagram, to).inspect(|count| spend_bytes(*count))
}

/// Options that the kernel keeps: each is asked and set by one call of socket2, of the same name.
macro_rules! options {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $value:ty;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The kernel's: the socket is of the other IP version, ...
            pub fn $get(&self) -> io::Result<$value> {
                SockRef::from(&self.socket).$get()
            }

            #[doc = concat!("Sets [`", stringify!($get), "`](Self::", stringify!($get), ").")]
            ///
            /// # Errors
            /// The kernel's: the socket is of the other IP version, the value is out of range, ...
            pub fn $set(&self, value: $value) -> io::Result<()> {
                SockRef::from(&self.socket).$set(value)
            }
        )*}
    };
}

options! {
    /// Whether it may send to broadcast addresses. Not at first.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let socket = net::UdpSocket::bind("127.0.0.1:0").await?;
    /// assert!(!socket.broadcast()?);
    /// socket.set_broadcast(true)?;
    /// socket.set_ttl_v4(3)?;
    /// assert_eq!((socket.broadcast()?, socket.ttl_v4()?, socket.multicast_ttl_v4()?), (true, 3, 1));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    broadcast, set_broadcast: bool;
    /// Over how many routers a datagram may go over IPv4 (its time to live). Not for multicast.
    ttl_v4, set_ttl_v4: u32;
    /// Over how many routers a datagram may go over IPv6 (its hops). Not for multicast.
    unicast_hops_v6, set_unicast_hops_v6: u32;
    /// Over how many routers a multicast datagram may go over IPv4. At first 1: it stays in the local network.
    multicast_ttl_v4, set_multicast_ttl_v4: u32;
    /// Over how many routers a multicast datagram may go over IPv6. At first 1: it stays in the local network.
    multicast_hops_v6, set_multicast_hops_v6: u32;
    /// Whether members on this machine get the multicast datagrams sent here, over IPv4. So at first.
    multicast_loop_v4, set_multicast_loop_v4: bool;
    /// Whether members on this machine get the multicast datagrams sent here, over IPv6. So at first.
    multicast_loop_v6, set_multicast_loop_v6: bool;
}

impl Family for std::net::UdpSocket {
    type Address = SocketAddr;
    const NAME: &'static str = "UdpSocket";

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn sender(address: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        address.ok_or_else(|| io::Error::other("a datagram without an internet address"))
    }
}
