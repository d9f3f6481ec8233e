//! What have datagrams of all families in common, and how does one see that one was cut off?
//!
//! A datagram socket is an [`AsyncSocket`] around a standard one. What is the same over IP and within the machine stands
//! here once, as [`DatagramSocket<S>`]; udp.rs and unix_datagram.rs add what each has of its own: names, `send_to`, options.
//!
//! Three things are different from streams, and each is easily got wrong:
//!
//! | a datagram                        | so                                                                         |
//! |-----------------------------------|----------------------------------------------------------------------------|
//! | may be longer than the buffer     | the kernel drops the rest; [`Received`] says so                            |
//! | may be empty                      | a count of zero is a datagram like any other; there is no end to be seen   |
//! | may fail long after it was sent   | the error comes with the next operation, and takes nothing from it         |
//!
//! The kernel tells of the first in the flags that `recvmsg` gives back, which neither std nor `recv` shows: that is the one
//! call that is made through rustix.
//!
//! Only a call that would block says that nothing is there (`Kind::Other`). A flood is held off as everywhere: after 128
//! datagrams in one poll, fewer if they are long, the others have their turn.
//!
//! What it does not do: several datagrams in one call, descriptors or other control messages with them.
//!
//! Comes from: udp.rs, unix_datagram.rs. Goes to: `runtime::AsyncSocket`, rustix.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use runtime::{AsyncSocket, spend_bytes};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketAddrAny, recvmsg};
use socket2::SockRef;

use crate::unix_name::SocketFile;

/// A socket for datagrams: [`UdpSocket`](crate::UdpSocket) or [`UnixDatagram`](crate::UnixDatagram).
///
/// All methods take `&self`: any number of tasks may send and receive at the same time, with the socket in an `Rc`. Of
/// several that receive, each datagram goes to one.
///
/// ```
/// use net::UdpSocket;
///
/// # runtime::block_on(async {
/// let server = UdpSocket::bind("127.0.0.1:0").await?;
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// client.connect(server.local_addr()?).await?;
/// client.send(b"hello").await?;
///
/// let mut buffer = [0; 1500];
/// let seen = server.peek_from(&mut buffer).await?; // which leaves it there
/// let (received, from) = server.recv_from(&mut buffer).await?;
/// assert_eq!(seen, (received, from));
/// assert_eq!((received.whole()?, from), (5, client.local_addr()?));
/// assert_eq!(client.peer_addr()?, server.local_addr()?);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DatagramSocket<S: Family> {
    // Before the socket, so that nobody finds a name that leads nowhere.
    file: Option<SocketFile>,
    pub(crate) socket: AsyncSocket<S>,
}

/// What was received: how many bytes are in the buffer, and whether there were more.
///
/// ```
/// use net::Received;
///
/// # runtime::block_on(async {
/// let (ours, theirs) = net::UnixDatagram::pair()?;
/// theirs.send(b"hello").await?;
/// theirs.send(b"").await?;
/// assert_eq!(ours.recv(&mut [0; 3]).await?, Received { count: 3, truncated: true }); // "lo" is lost
/// assert_eq!(ours.recv(&mut [0; 3]).await?, Received { count: 0, truncated: false });
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a datagram may be shorter than the buffer, or cut off: see `count` and `whole`"]
pub struct Received {
    /// How many bytes the buffer has got. Zero is an empty datagram, not an end.
    pub count: usize,
    /// The datagram was longer than the buffer, and the rest of it is lost.
    pub truncated: bool,
}

impl Received {
    /// The count, if nothing was cut off.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// # let (ours, theirs) = net::UnixDatagram::pair()?;
    /// theirs.send(b"four").await?;
    /// let mut buffer = [0; 3];
    /// let error = ours.recv(&mut buffer).await?.whole().unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) if something was: a protocol with a longest message takes a buffer one
    /// byte longer, or this.
    pub fn whole(self) -> io::Result<usize> {
        if !self.truncated {
            return Ok(self.count);
        }
        let text = format!("a datagram did not fit into a buffer of {} bytes", self.count);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// A family of datagram sockets, by std's type for it. Sealed: there are two.
///
/// ```
/// use net::{DatagramFamily, DatagramSocket, UnixDatagram};
///
/// /// Answers with the same, over UDP and within the machine alike.
/// async fn echo<S: DatagramFamily>(socket: &DatagramSocket<S>) -> std::io::Result<usize> {
///     let mut buffer = [0; 1500];
///     let count = socket.recv(&mut buffer).await?.whole()?;
///     socket.send(&buffer[..count]).await
/// }
///
/// # runtime::block_on(async {
/// let (ours, theirs) = UnixDatagram::pair()?;
/// theirs.send(b"hello").await?;
/// assert_eq!(echo(&ours).await?, 5);
/// assert_eq!(theirs.recv(&mut [0; 64]).await?.count, 5);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Family: AsFd + sealed::Sealed {
    /// What a socket is known by.
    type Address: fmt::Debug;
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    fn local(&self) -> io::Result<Self::Address>;
    #[doc(hidden)]
    fn peer(&self) -> io::Result<Self::Address>;
    /// Whom the kernel names as a datagram's sender.
    #[doc(hidden)]
    fn sender(address: Option<SocketAddrAny>) -> io::Result<Self::Address>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::UdpSocket {}
    impl Sealed for std::os::unix::net::UnixDatagram {}
}

impl<S: Family> DatagramSocket<S> {
    pub(crate) fn new(socket: AsyncSocket<S>, file: Option<SocketFile>) -> Self {
        DatagramSocket { file, socket: socket.with_label(label) }
    }

    /// Receives a datagram, from whomever it comes; on a connected socket, from the peer alone. An empty datagram is one,
    /// too, with a count of zero. A receive into an empty buffer waits for a datagram and takes it.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let server = net::UdpSocket::bind("127.0.0.1:0").await?;
    /// let client = net::UdpSocket::bind("127.0.0.1:0").await?;
    /// client.send_to(b"hello", server.local_addr()?).await?;
    /// let mut buffer = [0; 1500];
    /// let received = server.recv(&mut buffer).await?;
    /// assert_eq!(&buffer[..received.count], b"hello");
    /// assert!(!received.truncated);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The kernel's; on a connected socket also what came of a datagram sent earlier, such as
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if no socket has that port. After it the socket goes on. After a
    /// [`shutdown`](Self::shutdown) of reading, once all that had come is received,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has received nothing.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.read_with(|socket| Ok(receive(socket, buffer, TAKE)?.0)).await
    }

    /// Receives a datagram, and says from whom.
    ///
    /// # Errors, cancel safety
    /// As [`recv`](Self::recv).
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(Received, S::Address)> {
        self.socket.read_with(|socket| receive_from(socket, buffer, TAKE)).await
    }

    /// Receives without taking: the next one to receive gets the same datagram.
    ///
    /// # Errors, cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (ours, theirs) = net::UnixDatagram::pair()?;
    /// theirs.send(b"hello").await?;
    /// let mut first = [0; 1];
    /// assert!(ours.peek(&mut first).await?.truncated); // of what was looked at
    /// assert_eq!((&first, ours.recv(&mut [0; 64]).await?.count), (b"h", 5));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.read_with(|socket| Ok(receive(socket, buffer, LEAVE)?.0)).await
    }

    /// As [`peek`](Self::peek), and says from whom.
    ///
    /// # Errors, cancel safety
    /// As [`recv`](Self::recv).
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(Received, S::Address)> {
        self.socket.read_with(|socket| receive_from(socket, buffer, LEAVE)).await
    }

    /// Sends a datagram to the peer that the socket is connected to. It is sent whole or not at all; the count is its
    /// length. An empty one is sent, too.
    ///
    /// # Errors
    /// The kernel's, among them that it is too long, that the socket is not connected, and, as in [`recv`](Self::recv),
    /// what came of an earlier one: this one has then not been sent.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has sent nothing.
    pub async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram).await
    }

    /// As [`recv`](Self::recv), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none now, and as `recv`.
    ///
    /// ```
    /// use std::io::ErrorKind::WouldBlock;
    ///
    /// # runtime::block_on(async {
    /// let (ours, theirs) = net::UnixDatagram::pair()?;
    /// let mut buffer = [0; 64];
    /// assert_eq!(ours.try_recv(&mut buffer).unwrap_err().kind(), WouldBlock);
    ///
    /// theirs.try_send(b"one")?;
    /// theirs.try_send(b"and two")?;
    /// ours.readable().await?;
    /// assert_eq!(ours.try_peek(&mut buffer)?, ours.try_recv(&mut buffer)?);
    /// assert_eq!(ours.try_peek_from(&mut buffer)?.0, ours.try_recv_from(&mut buffer)?.0);
    /// assert_eq!(&buffer[..7], b"and two");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.try_read_with(|socket| Ok(receive(socket, buffer, TAKE)?.0))
    }

    /// As [`recv_from`](Self::recv_from), without waiting.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(Received, S::Address)> {
        self.socket.try_read_with(|socket| receive_from(socket, buffer, TAKE))
    }

    /// As [`peek`](Self::peek), without waiting.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.try_read_with(|socket| Ok(receive(socket, buffer, LEAVE)?.0))
    }

    /// As [`peek_from`](Self::peek_from), without waiting.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek_from(&self, buffer: &mut [u8]) -> io::Result<(Received, S::Address)> {
        self.socket.try_read_with(|socket| receive_from(socket, buffer, LEAVE))
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the kernel takes none now, and as `send`.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.try_send(datagram)
    }

    /// For futures written by hand: [`recv`](Self::recv) without a future. All wakers that it was polled with are woken
    /// when there is something.
    ///
    /// # Errors
    /// As `recv`.
    ///
    /// ```
    /// use std::future::poll_fn;
    ///
    /// # runtime::block_on(async {
    /// let (ours, theirs) = net::UnixDatagram::pair()?;
    /// poll_fn(|cx| theirs.poll_send(cx, b"one")).await?;
    /// poll_fn(|cx| theirs.poll_send(cx, b"and two")).await?;
    /// let mut buffer = [0; 64];
    /// assert_eq!(poll_fn(|cx| ours.poll_recv(cx, &mut buffer)).await?.count, 3);
    /// assert_eq!(poll_fn(|cx| ours.poll_recv_from(cx, &mut buffer)).await?.0.count, 7);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Received>> {
        self.socket.poll_read_with(cx, |socket| Ok(receive(socket, buffer, TAKE)?.0))
    }

    /// As [`poll_recv`](Self::poll_recv), and says from whom.
    ///
    /// # Errors
    /// As `recv`.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(Received, S::Address)>> {
        self.socket.poll_read_with(cx, |socket| receive_from(socket, buffer, TAKE))
    }

    /// For futures written by hand: [`send`](Self::send) without a future.
    ///
    /// # Errors
    /// As `send`.
    pub fn poll_send(&self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_send_with(cx, |_| self.socket.try_send(datagram))
    }

    /// Waits until a receive is worth a try; there may be no datagram all the same.
    ///
    /// # Errors
    /// If the socket's runtime is not the one that runs.
    ///
    /// # Cancel safety
    /// It takes nothing.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// The address it is bound to; with the port the kernel chose, if it was asked for port 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<S::Address> {
        self.socket.get_ref().local()
    }

    /// The address it is connected to.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected), and the kernel's.
    pub fn peer_addr(&self) -> io::Result<S::Address> {
        self.socket.get_ref().peer()
    }

    /// Ends a direction, or both, of a connected socket: it receives no more (what has come already can still be taken), or
    /// sends no more. Who waits for a datagram is told by an error.
    ///
    /// # Errors
    /// The kernel's; [`NotConnected`](io::ErrorKind::NotConnected) for a UDP socket that has no peer.
    ///
    /// ```
    /// use std::io::ErrorKind::{BrokenPipe, InvalidInput};
    ///
    /// # runtime::block_on(async {
    /// let (ours, theirs) = net::UnixDatagram::pair()?;
    /// theirs.send(b"the last one").await?;
    /// ours.shutdown(std::net::Shutdown::Read)?;
    /// assert_eq!(ours.recv(&mut [0; 64]).await?.count, 12);
    /// assert_eq!(ours.recv(&mut [0; 64]).await.unwrap_err().kind(), InvalidInput);
    /// assert_eq!(theirs.send(b"anybody?").await.unwrap_err().kind(), BrokenPipe);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.socket).shutdown(how)
    }

    /// The socket as the runtime sees it, for what is not offered here.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (ours, _theirs) = net::UnixDatagram::pair()?;
    /// ours.as_socket().writable().await?;
    /// ours.as_socket().get_ref().set_nonblocking(true)?; // std's own method
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn as_socket(&self) -> &AsyncSocket<S> {
        &self.socket
    }

    /// Takes it out of the runtime. It stays non-blocking. The file that names a Unix socket stays, too: whoever has the
    /// socket now is to remove it.
    pub fn into_std(self) -> S {
        if let Some(file) = self.file {
            file.keep();
        }
        self.socket.into_inner()
    }

    /// Takes a standard socket into the runtime, and makes it non-blocking. The file that names a Unix socket stays its
    /// maker's.
    ///
    /// # Errors
    /// As [`AsyncSocket::new`].
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (ours, theirs) = std::os::unix::net::UnixDatagram::pair()?;
    /// let ours = net::UnixDatagram::from_std(ours)?;
    /// theirs.send(b"hello")?;
    /// assert_eq!(ours.recv(&mut [0; 64]).await?.count, 5);
    ///
    /// let ours = ours.into_std();
    /// ours.set_nonblocking(false)?; // for those who may block
    /// theirs.send(b"once more")?;
    /// assert_eq!(ours.recv(&mut [0; 64])?, 9);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_std(socket: S) -> io::Result<Self> {
        Ok(DatagramSocket::new(AsyncSocket::new(socket)?, None))
    }
}

impl<S: Family> AsFd for DatagramSocket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: Family> fmt::Debug for DatagramSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.get_ref();
        f.debug_struct(S::NAME)
            .field("local", &socket.local().ok())
            .field("peer", &socket.peer().ok())
            .finish()
    }
}

const TAKE: RecvFlags = RecvFlags::empty();
const LEAVE: RecvFlags = RecvFlags::PEEK;

/// One call, with what the kernel says about the datagram's length.
fn receive<S: AsFd>(
    socket: &S,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(Received, Option<SocketAddrAny>)> {
    let mut no_control = RecvAncillaryBuffer::new(&mut []);
    let got = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut no_control, flags)?;
    spend_bytes(got.bytes);
    let truncated = got.flags.contains(ReturnFlags::TRUNC);
    Ok((Received { count: got.bytes, truncated }, got.address))
}

fn receive_from<S: Family>(
    socket: &S,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(Received, S::Address)> {
    let (received, address) = receive(socket, buffer, flags)?;
    Ok((received, S::sender(address)?))
}

/// What an instrument is shown: whom it talks to, or else where it is.
fn label<S: Family>(socket: &S, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (socket.peer(), socket.local()) {
        (Ok(peer), _) => write!(f, "{} to {peer:?}", S::NAME),
        (_, Ok(local)) => write!(f, "{} at {local:?}", S::NAME),
        _ => f.write_str(S::NAME),
    }
}
