//! What does a leaf future do when the kernel says "not now"?
//!
//! Every wait on a descriptor is the same four steps, and they stand in this file once, in [`Operation::poll`]:
//!
//! 1. If nothing can have come since the last try, park: leave the waker with the source, and return Pending. For plain
//!    receives and sends the source's flag says that; a closure remembers it (reactor.rs).
//! 2. Take one operation off this poll's allowance; if none is left, queue again behind the others.
//! 3. Try. The descriptor is non-blocking, so this never waits.
//! 4. It would have blocked: clear the flag if it was a plain one, and park. Anything else is the answer.
//!
//! Since nothing but a finished try changes anything, every operation here is cancel safe: dropping its future before it
//! is ready has read nothing, written nothing and accepted nobody.
//!
//! The talk's `AsyncSocket` wraps a socket and yields the reason of its wait to the loop; here the future hands its waker
//! to the source, and the loop learns nothing.
//!
//! What it does not do: buffer, frame, loop until all is written. That is net's.
//!
//! Comes from: net, or anybody with a descriptor. Goes to: reactor.rs (to wait), sys/socket.rs (to try).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::context;
use crate::instrument::{Reason, Wait};
use crate::reactor::{Direction, POLLER, READ, Source, Ticket, WRITE};
use crate::sys::socket;

/// Any descriptor, as something that can be awaited. `T` owns the descriptor: a std socket, an `OwnedFd`, ...
///
/// All methods take `&self`: any number of tasks may wait at the same time, for the same direction too (all of them are
/// woken, the first to be polled gets what there is; so with thousands on one socket each report costs milliseconds). It stays on the thread, and in the runtime, it was made in: to wait
/// for it in another one is an error.
///
/// ```
/// use runtime::AsyncSocket;
/// use std::os::unix::net::UnixStream;
///
/// runtime::block_on(async {
///     let (left, right) = UnixStream::pair()?;
///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
///     left.send(b"hello").await?;
///     let mut buffer = [0; 16];
///     let count = right.recv(&mut buffer).await?;
///     assert_eq!(&buffer[..count], b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AsyncSocket<T: AsFd> {
    // Before `io`, so that the kernel's list is told before the descriptor closes.
    registration: Registration,
    io: T,
    kind: Kind,
    label: Option<Label<T>>,
}

/// Keeps the source watched; its drop ends that.
struct Registration {
    source: Rc<Source>,
    /// The descriptor closes right after the registration ends.
    closes: bool,
}

/// Prints what the owner of a descriptor calls it.
type Label<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// What a short count on a descriptor means.
///
/// ```
/// use runtime::{AsyncSocket, Kind};
/// use std::net::{TcpListener, TcpStream};
///
/// runtime::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     listener.set_nonblocking(true)?;
///     let listener = AsyncSocket::trusted(listener, Kind::Other)?;
///     let client = TcpStream::connect(listener.get_ref().local_addr()?)?;
///     let (_server, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connected TCP socket, or one that behaves so: fewer bytes than asked for means that there are no more just now.
    /// (A Unix stream does not if descriptors are sent over it: a read stops short before those.)
    Stream,
    /// Anything else: a listener, a datagram socket, a pipe. Only a call that would block says that.
    Other,
}

impl<T: AsFd> AsyncSocket<T> {
    /// Takes a descriptor into the current runtime's care: makes it non-blocking, finds out what kind it is, and has the
    /// kernel watch it.
    ///
    /// A TCP socket that is given to the kernel's TLS (`TCP_ULP`) after this must be taken out and in again, by
    /// [`into_inner`](Self::into_inner) and `new`: its short counts no longer mean that nothing is left.
    ///
    /// # Errors
    /// Outside of a runtime; if the kernel cannot watch it: [`InvalidInput`](io::ErrorKind::InvalidInput) for regular files
    /// and folders, [`AlreadyExists`](io::ErrorKind::AlreadyExists) if this runtime watches the same descriptor already; or
    /// if the kernel is out of memory. An error leaves the descriptor as it was.
    pub fn new(io: T) -> io::Result<Self> {
        let kind = if socket::is_plain_tcp(io.as_fd()) { Kind::Stream } else { Kind::Other };
        let socket = Self::register(io, kind, false)?;
        // Last, since the flag is that of the open file, which others may share: what is refused keeps it as it was.
        socket::set_nonblocking(socket.as_fd())?;
        Ok(socket)
    }

    /// As [`new`](Self::new), without its questions to the kernel, for callers who have just made the descriptor and know:
    /// it is non-blocking, it is of this kind, and dropping `io` closes its open file (there is no duplicate of it).
    ///
    /// If that is not so, nothing unsafe happens, but a blocking descriptor stops the whole loop at its first wait, and a
    /// wrong kind waits for bytes that are there already.
    ///
    /// # Errors
    /// As `new`.
    pub fn trusted(io: T, kind: Kind) -> io::Result<Self> {
        Self::register(io, kind, true)
    }

    fn register(io: T, kind: Kind, closes: bool) -> io::Result<Self> {
        let source = context::with(|context| context.reactor.add(io.as_fd())).ok_or_else(|| {
            io::Error::other(
                "a socket outside of a runtime: make it inside runtime::block_on(async { .. })",
            )
        })?;
        let registration = Registration { source: source.map_err(not_watched)?, closes };
        Ok(AsyncSocket { registration, io, kind, label: None })
    }

    /// Sets what an instrument is shown for this socket, say the peer's address. Called only when somebody looks.
    ///
    /// ```
    /// use runtime::{AsyncSocket, instruments::Statistics};
    /// use std::{net::UdpSocket, rc::Rc};
    ///
    /// let statistics = Statistics::new();
    /// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
    /// rt.block_on(async {
    ///     let socket = AsyncSocket::new(UdpSocket::bind("127.0.0.1:0")?)?;
    ///     let socket = socket.with_label(|_, f| f.write_str("questions"));
    ///     let _waiting = runtime::spawn(async move { socket.recv(&mut [0; 8]).await });
    ///     runtime::yield_now().await;
    ///     assert!(statistics.snapshot().to_string().contains("(questions)"));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_label(mut self, label: fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result) -> Self {
        self.label = Some(label);
        self
    }

    /// The owner of the descriptor. Do not read or write through it except in `read_with` and `write_with`: a call that
    /// blocks unseen is waited for in vain.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Takes the descriptor out of the runtime's care again. It stays non-blocking.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, mut right) = UnixStream::pair()?;
    ///     let mut left = AsyncSocket::new(left)?.into_inner();
    ///     left.set_nonblocking(false)?; // or std's reads would not wait
    ///     right.write_all(b"hello")?;
    ///     let mut word = [0; 5];
    ///     left.read_exact(&mut word)?;
    ///     assert_eq!(&word, b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        let AsyncSocket { mut registration, io, .. } = self;
        registration.closes = false;
        drop(registration);
        io
    }

    /// Receives some bytes into `buffer`: as many as there are, at least one, at most its length. Zero is the end of the
    /// stream. For sockets; for other descriptors use [`read_with`](Self::read_with).
    ///
    /// An empty buffer waits like any other, since for a datagram socket it takes a datagram. (net's streams give zero at
    /// once.)
    ///
    /// # Errors
    /// The kernel's, such as a reset connection; that of [`readable`](Self::readable); and that of
    /// [`read_with`](Self::read_with) after a shutdown.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has received nothing.
    pub fn recv<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + use<'a, T> {
        self.read_operation::<_, PLAIN>(|| self.recv_once(buffer))
    }

    /// Sends some of `bytes`: as many as the kernel takes now, at least one (if there is one).
    ///
    /// # Errors
    /// The kernel's, such as a connection that the peer has closed; and that of [`writable`](Self::writable). No signal is
    /// raised.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has sent nothing.
    pub fn send<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Future<Output = io::Result<usize>> + use<'a, T> {
        self.write_operation::<_, PLAIN>(|| self.send_once(bytes))
    }

    /// Waits until the kernel says that a read would not wait: there are bytes, a connection, an error, the end. It asks
    /// the kernel (one system call), else waits for its report; what other operations have found plays no part.
    ///
    /// # Errors
    /// If it has to wait, and the socket's runtime is not the one that runs.
    ///
    /// # Cancel safety
    /// It takes nothing.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + use<'_, T> {
        let fd = self.source().fd;
        self.read_operation::<_, CLOSURE>(asking(fd, &self.source().read))
    }

    /// Waits until the kernel says that a write would not wait. Otherwise as [`readable`](Self::readable).
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + use<'_, T> {
        let fd = self.source().fd;
        self.write_operation::<_, CLOSURE>(asking(fd, &self.source().write))
    }

    /// Calls `operation`, which reads once from the descriptor without blocking, and as long as it answers
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) waits for the kernel's next report of this direction and calls it again.
    ///
    /// It may say so for a reason of its own: because it wants ten bytes and peeks at five, or because the other end of its
    /// splice is full. That holds up no other operation of the socket, and what others have found does not hold up this one:
    /// it is called at least once, and again after each report. But it is called after nothing else. If its reason goes away
    /// without a report for this direction (the splice's other end has room), it is to be called anew by who knows that.
    ///
    /// ```
    /// use std::io::Read;
    /// # runtime::block_on(async {
    /// # let (mut left, right) = std::os::unix::net::UnixStream::pair()?;
    /// # let right = runtime::AsyncSocket::new(right)?;
    /// # std::io::Write::write_all(&mut left, b"hello")?;
    /// let mut buffer = [0; 64];
    /// let count = right.read_with(|mut io| io.read(&mut buffer)).await?;
    /// assert_eq!(&buffer[..count], b"hello");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// All others that `operation` gives, unchanged; that of [`readable`](Self::readable); and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it would block and the reading direction was shut down: on a
    /// datagram socket or a Unix listener that wait would never end.
    ///
    /// # Cancel safety
    /// As good as the operation: it is called whole or not at all.
    pub fn read_with<'a, R: 'a>(
        &'a self,
        mut operation: impl FnMut(&'a T) -> io::Result<R> + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        self.read_operation::<_, CLOSURE>(move || self.unless_shut(operation(&self.io)))
    }

    /// As [`read_with`](Self::read_with), for an operation that writes.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::net::UdpSocket;
    ///
    /// runtime::block_on(async {
    ///     let (here, there) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    ///     let (here, there) = (AsyncSocket::new(here)?, AsyncSocket::new(there)?);
    ///     let address = there.get_ref().local_addr()?;
    ///     here.write_with(|socket| socket.send_to(b"hello", address)).await?;
    ///     let mut buffer = [0; 16];
    ///     let (count, sender) = there.read_with(|socket| socket.recv_from(&mut buffer)).await?;
    ///     assert_eq!((&buffer[..count], sender), (&b"hello"[..], here.get_ref().local_addr()?));
    ///     assert_eq!(here.try_write_with(|socket| socket.send_to(b"again", address))?, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_with<'a, R: 'a>(
        &'a self,
        mut operation: impl FnMut(&'a T) -> io::Result<R> + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        self.write_operation::<_, CLOSURE>(move || operation(&self.io))
    }

    /// As [`recv`](Self::recv), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing now, and the kernel's.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::io::ErrorKind::WouldBlock;
    /// use std::os::unix::net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
    ///     let mut byte = [0];
    ///     assert!(right.try_recv(&mut byte).is_err_and(|error| error.kind() == WouldBlock));
    ///     left.writable().await?;
    ///     assert_eq!(left.try_send(b"ab")?, 2);
    ///     right.readable().await?;
    ///     // Several receives for one wait.
    ///     assert_eq!((right.try_recv(&mut byte)?, byte), (1, *b"a"));
    ///     assert_eq!((right.try_recv(&mut byte)?, byte), (1, *b"b"));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::uninterrupted(|| self.recv_once(buffer))
    }

    #[inline]
    fn recv_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = &self.source().read;
        let result = socket::recv(self.source().fd, buffer);
        context::spend_bytes(*result.as_ref().unwrap_or(&0));
        match result {
            Ok(count) if count == buffer.len() || self.kind != Kind::Stream => {}
            Ok(0) => read.ended(),
            Ok(_) => read.fell_short(),
            Err(ref error) => self.recv_failed(error)?,
        }
        result
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the kernel takes nothing now, and the kernel's.
    #[inline]
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        socket::uninterrupted(|| self.send_once(bytes))
    }

    #[inline]
    fn send_once(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = &self.source().write;
        let result = socket::send(self.source().fd, bytes);
        context::spend_bytes(*result.as_ref().unwrap_or(&0));
        match result {
            Ok(count) if count == bytes.len() || self.kind != Kind::Stream => {}
            Ok(_) => write.fell_short(),
            Err(ref error) => write.failed(error),
        }
        result
    }

    /// As [`read_with`](Self::read_with), without waiting: calls `operation` once, and again only if a signal has
    /// [interrupted](io::ErrorKind::Interrupted) it.
    ///
    /// # Errors
    /// All that `operation` gives.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// runtime::block_on(async {
    ///     let listener = AsyncSocket::new(TcpListener::bind("127.0.0.1:0")?)?;
    ///     let _client = TcpStream::connect(listener.get_ref().local_addr()?)?;
    ///     listener.readable().await?;
    ///     // All who are there, and then no more.
    ///     let mut count = 0;
    ///     while listener.try_read_with(|listener| listener.accept()).is_ok() {
    ///         count += 1;
    ///     }
    ///     assert_eq!(count, 1);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_read_with<R>(
        &self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.unless_shut(socket::uninterrupted(|| operation(&self.io)))
    }

    /// As [`write_with`](Self::write_with), without waiting: calls `operation` once, and again only if a signal has
    /// [interrupted](io::ErrorKind::Interrupted) it.
    ///
    /// # Errors
    /// All that `operation` gives.
    pub fn try_write_with<R>(
        &self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        socket::uninterrupted(|| operation(&self.io))
    }

    /// For `poll_*` methods of traits: [`read_with`](Self::read_with) without a future. All wakers it was polled with since
    /// the kernel's last report are woken at the next.
    ///
    /// # Errors
    /// As `read_with`.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::future::poll_fn;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
    ///     poll_fn(|cx| left.poll_write_with(cx, |mut io| io.write(b"hello"))).await?;
    ///     let mut buffer = [0; 16];
    ///     let count = poll_fn(|cx| right.poll_read_with(cx, |mut io| io.read(&mut buffer))).await?;
    ///     assert_eq!(&buffer[..count], b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let mut run = || self.unless_shut(operation(&self.io));
        attempt::<_, _, READ, CLOSURE>(self, &self.source().read, &mut { POLLER }, cx, &mut run)
    }

    /// As [`poll_read_with`](Self::poll_read_with), for an operation that writes.
    ///
    /// # Errors
    /// As `write_with`.
    pub fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let mut run = || operation(&self.io);
        attempt::<_, _, WRITE, CLOSURE>(self, &self.source().write, &mut { POLLER }, cx, &mut run)
    }

    /// As [`read_with`](Self::read_with), for an operation that says [`WouldBlock`](io::ErrorKind::WouldBlock) only if a
    /// [`try_recv`](Self::try_recv) in it has said so: where one has found nothing since the last report, it is not called.
    #[doc(hidden)]
    pub fn recv_with<'a, R: 'a>(
        &'a self,
        mut operation: impl FnMut(&'a T) -> io::Result<R> + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        self.read_operation::<_, PLAIN>(move || operation(&self.io))
    }

    /// As [`recv_with`](Self::recv_with), for `poll_*` methods.
    #[doc(hidden)]
    pub fn poll_recv_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let mut run = || operation(&self.io);
        attempt::<_, _, READ, PLAIN>(self, &self.source().read, &mut { POLLER }, cx, &mut run)
    }

    /// As [`poll_recv_with`](Self::poll_recv_with), for one that does a [`try_send`](Self::try_send).
    #[doc(hidden)]
    pub fn poll_send_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let mut run = || operation(&self.io);
        attempt::<_, _, WRITE, PLAIN>(self, &self.source().write, &mut { POLLER }, cx, &mut run)
    }

    #[inline(always)]
    fn source(&self) -> &Source {
        &self.registration.source
    }

    #[inline(always)]
    fn read_operation<F, const RULE: u8>(&self, run: F) -> Operation<'_, T, F, READ, RULE> {
        Operation { socket: self, direction: &self.source().read, ticket: 0, run }
    }

    #[inline(always)]
    fn write_operation<F, const RULE: u8>(&self, run: F) -> Operation<'_, T, F, WRITE, RULE> {
        Operation { socket: self, direction: &self.source().write, ticket: 0, run }
    }

    #[inline(always)]
    fn park<const SIDE: bool>(
        &self,
        direction: &Direction<SIDE>,
        ticket: &mut Ticket,
        waker: &Waker,
    ) -> io::Result<()> {
        self.source().park(direction, ticket, waker)?;
        if context::is_watched() {
            self.tell_instrument(if SIDE == READ { Reason::Readable } else { Reason::Writable });
        }
        Ok(())
    }

    /// A receive gave an error. If it would block and, because of a shutdown, always will, that is the error, and the flag
    /// stays, for the next receive must learn it, too.
    #[cold]
    fn recv_failed(&self, error: &io::Error) -> io::Result<()> {
        self.check_shut(error)?;
        self.source().read.failed(error);
        Ok(())
    }

    /// The same for a closure, whose would-block says nothing about the flag.
    fn unless_shut<R>(&self, result: io::Result<R>) -> io::Result<R> {
        result.or_else(|error| self.check_shut(&error).and(Err(error)))
    }

    /// Asks the kernel only after a report that it may be so: a wait costs no call more.
    fn check_shut(&self, error: &io::Error) -> io::Result<()> {
        let Source { fd, read, .. } = self.source();
        let would_block = error.kind() == io::ErrorKind::WouldBlock;
        match would_block && read.may_have_ended() && socket::is_read_shut(*fd) {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, WAS_SHUT)), // EINVAL, as a blocking accept
            false => Ok(()),
        }
    }

    #[cold]
    fn tell_instrument(&self, reason: Reason) {
        let label = self.label.map(|label| Labelled(&self.io, label));
        let label = label.as_ref().map(|label| label as &dyn fmt::Display);
        context::parked(&Wait { reason, source: Some(self.source().fd), label });
    }
}

/// One try-or-wait, as a future.
#[must_use = "futures do nothing until they are awaited"]
struct Operation<'a, T: AsFd, F, const SIDE: bool, const RULE: u8> {
    socket: &'a AsyncSocket<T>,
    direction: &'a Direction<SIDE>,
    /// Our name on the direction's list; zero before the first wait.
    ticket: Ticket,
    run: F,
}

// Nothing in it is ever pinned: `run` is called through `&mut`.
impl<T: AsFd, F, const SIDE: bool, const RULE: u8> Unpin for Operation<'_, T, F, SIDE, RULE> {}

impl<T, R, F, const SIDE: bool, const RULE: u8> Future for Operation<'_, T, F, SIDE, RULE>
where
    T: AsFd,
    F: FnMut() -> io::Result<R>,
{
    type Output = io::Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let Operation { socket, direction, ticket, run } = self.get_mut();
        attempt::<_, _, SIDE, RULE>(socket, direction, ticket, cx, run)
    }
}

impl<T: AsFd, F, const SIDE: bool, const RULE: u8> Drop for Operation<'_, T, F, SIDE, RULE> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket != 0 {
            self.direction.leave(self.ticket);
        }
    }
}

// When an operation tries instead of parking; see the reactor's head.
/// A receive or a send: if the flag says so.
const PLAIN: u8 = 0;
/// A closure: if it has not tried since the last report.
const CLOSURE: u8 = 1;

/// Asks the kernel at the first call. A later one comes after a report, which is its word, too.
fn asking<const SIDE: bool>(
    fd: RawFd,
    direction: &Direction<SIDE>,
) -> impl FnMut() -> io::Result<()> + use<'_, SIDE> {
    let mut asked = false;
    move || match asked || direction.learn(socket::readiness(fd, SIDE == WRITE)) {
        true => Ok(()),
        false => {
            asked = true;
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

/// The four steps. A call that a signal has interrupted is repeated once: calls that do not sleep are hardly ever interrupted,
/// and one that is without end must not hold the loop.
#[inline(always)]
fn attempt<T: AsFd, R, const SIDE: bool, const RULE: u8>(
    socket: &AsyncSocket<T>,
    direction: &Direction<SIDE>,
    ticket: &mut Ticket,
    cx: &mut Context<'_>,
    run: &mut impl FnMut() -> io::Result<R>,
) -> Poll<io::Result<R>> {
    let (mut repeated, mut blocked) = (false, false);
    loop {
        let may_try = match RULE {
            PLAIN => direction.is_ready(),
            _ => !blocked && !direction.is_waiting(*ticket),
        };
        if !may_try {
            return match socket.park(direction, ticket, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        if !context::spend_operation() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match run() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted && !repeated => {
                repeated = true
            }
            result => return Poll::Ready(result),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.source.remove(self.closes);
    }
}

const WAS_SHUT: &str = "the socket's reading direction was shut down";

/// Says what to do about a descriptor that the kernel does not watch.
#[cold]
fn not_watched(error: io::Error) -> io::Error {
    let what = "the kernel cannot watch this descriptor: a regular file, a folder or a device that never waits; \
                read and write it in runtime::unblock";
    match error.raw_os_error() {
        Some(libc::EPERM) => io::Error::new(io::ErrorKind::InvalidInput, what),
        _ => error,
    }
}

struct Labelled<'a, T>(&'a T, Label<T>);

impl<T> fmt::Display for Labelled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1(self.0, f)
    }
}

impl<T: AsFd> AsFd for AsyncSocket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncSocket").field(&self.io).finish()
    }
}
