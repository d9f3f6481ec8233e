//! What can be done with a connection, whatever kind of socket it is?
//!
//! Read and write in all their forms, end a direction, be taken into halves for two tasks, and be used through futures-io's
//! traits. [`TcpStream`](crate::TcpStream) and [`UnixStream`](crate::UnixStream) are this one type over two sockets of the
//! standard library; what only one of them has (a name to connect to, Nagle's algorithm) stands in tcp.rs and unix.rs.
//!
//! A thin layer: a [`Connection`] is an [`AsyncSocket`], and each waiting method is one of its operations. What is added is what
//! every user would write again: loops until all is written or read, halves, traits.
//!
//! Methods take `&self`: two tasks may use both directions at the same time, with the connection in an `Rc`.
//!
//! Comes from: tcp.rs, unix.rs, user code. Goes to: `runtime::AsyncSocket`.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use runtime::testing::TwoWayStream;
use runtime::{AsyncSocket, Kind, spend_bytes};
use rustix::net::RecvFlags;
use socket2::SockRef;

/// A connection: bytes, in order, both ways. `S` is the standard library's socket (or any owner of a connected stream socket).
///
/// A duplicate of its descriptor (`as_fd().try_clone_to_owned()`, a child process that inherits it) must not outlive it: the
/// kernel would go on reporting events for it. Take it out first, with [`into_std`](Self::into_std).
///
/// An empty buffer is never waited for, as POSIX has it: a read into one and a write of one give zero at once, whatever the
/// state of the connection; in all forms, vectored and by traits, too, and for all streams of this crate.
///
/// A read that comes back with less than it had room for is taken for the last of what there is, which saves a system call.
/// That is not so once the kernel does TLS for the socket (`TCP_ULP`): a read stops at each record. [`from_std`](Self::from_std)
/// sees that; who sets it on a connection that is here already takes that out and in again
/// (`Connection::from_std(connection.into_std())`), or reads may wait for bytes that have come.
///
/// Options that have no method here are socket2's: `socket2::SockRef::from(&stream).set_keepalive(true)`. (Not `SO_LINGER` with
/// a time: it makes the close block the whole loop.)
///
/// ```
/// use net::UnixStream;
/// use std::net::Shutdown;
///
/// runtime::block_on(async {
///     let (client, server) = UnixStream::pair()?; // a TcpStream has the same methods
///     client.write_all(b"GET /").await?;
///     client.shutdown(Shutdown::Write)?;
///
///     let mut word = [0; 3];
///     server.read_exact(&mut word).await?;
///     assert_eq!(&word, b"GET");
///     assert_eq!(server.read_lent(64, |bytes| bytes.len()).await?, 2); // it held no buffer while it waited
///     assert_eq!(server.read(&mut word).await?, 0); // the end
///     assert_eq!(server.write(b"200").await?, 3); // of that direction alone
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Connection<S: AsFd> {
    socket: AsyncSocket<S>,
}

impl<S: AsFd> Connection<S> {
    /// Reads some bytes: as many as there are, at least one, at most the buffer's length. Zero: the end of the stream. An
    /// empty buffer gives zero at once.
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
    ) -> impl Future<Output = io::Result<usize>> + use<'a, S> {
        let is_empty = buffer.is_empty();
        let mut read = self.socket.recv(buffer);
        poll_fn(move |cx| match Pin::new(&mut read).poll(cx) {
            Poll::Pending if is_empty => NOTHING,
            polled => polled,
        })
    }

    /// Reads up to `max` bytes into a buffer of the thread, lent to `use_bytes`. So a connection that waits holds none. An
    /// empty slice: the end of the stream. So a `max` of zero counts as one.
    ///
    /// # Errors, cancel safety
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_lent<'a, R: 'a>(
        &'a self,
        max: usize,
        use_bytes: impl FnOnce(&[u8]) -> R + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        self.socket.recv_lent(max.max(1), use_bytes)
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
            let count = self.socket.recv(buffer).await?;
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
    ///
    /// ```
    /// use std::io::{IoSlice, IoSliceMut};
    ///
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// client.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"and body")]).await?;
    ///
    /// let (mut head, mut body) = ([0; 4], [0; 64]);
    /// let mut buffers = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    /// assert_eq!(server.read_vectored(&mut buffers).await?, 12);
    /// assert_eq!((&head, &body[..8]), (b"head", &b"and body"[..]));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.socket.read_with(|socket| read_vectored(socket, buffers)).await
    }

    /// Reads without taking: the next read gives the same bytes.
    ///
    /// # Errors, cancel safety
    /// As [`read`](Self::read).
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// client.write_all(b"GET /").await?;
    /// let mut first = [0; 1];
    /// server.peek(&mut first).await?;
    /// let is_tls = first == [22]; // and whoever takes over the stream reads from its beginning
    /// assert!(!is_tls);
    /// assert_eq!(server.read(&mut [0; 64]).await?, 5);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.socket.read_with(|socket| peek(socket, buffer)).await
    }

    /// Writes some bytes: as many as the kernel takes now, at least one. To write nothing gives zero at once.
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
    ) -> impl Future<Output = io::Result<usize>> + use<'a, S> {
        let mut write = self.socket.send(bytes);
        poll_fn(move |cx| match Pin::new(&mut write).poll(cx) {
            Poll::Pending if bytes.is_empty() => NOTHING,
            polled => polled,
        })
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it is ready, a beginning of unknown length has been written.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// drop(server);
    /// let error = client.write_all(b"anybody?").await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.socket.send(bytes).await?;
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
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.socket.write_with(|socket| send_vectored(socket, buffers)).await
    }

    /// As [`read`](Self::read), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing now.
    ///
    /// ```
    /// use std::io::ErrorKind::WouldBlock;
    ///
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// let mut buffer = [0; 64];
    /// assert_eq!(server.try_read(&mut buffer).unwrap_err().kind(), WouldBlock);
    ///
    /// assert_eq!(client.try_write(b"hello")?, 5);
    /// server.readable().await?;
    /// assert_eq!(server.try_read(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() { Ok(0) } else { self.socket.try_recv(buffer) }
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the kernel takes nothing now.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_send(bytes) // the kernel takes nothing at any time
    }

    /// Ends a direction, or both: the peer reads to the end of what was written and then sees the end of the stream.
    /// Ending what has ended already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match SockRef::from(&self.socket).shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Both directions at the same time, borrowed.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// runtime::spawn(async move { net::copy(&server, &server).await }); // an echo
    ///
    /// // More than the kernel holds: who wrote all of it before reading would wait for ever.
    /// let (sent, mut answer) = (vec![7; 1 << 20], vec![0; 1 << 20]);
    /// let (reader, writer) = client.split();
    /// let (reading, writing) = (reader.read_exact(&mut answer), writer.write_all(&sent));
    /// futures_lite::future::try_zip(reading, writing).await?;
    /// assert!(answer == sent);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn split(&self) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
        (ReadHalf { connection: self }, WriteHalf { connection: self })
    }

    /// Both directions, to be owned by two tasks. Dropping the write half ends its direction; not where the connection is to
    /// be reset when it is dropped ([`set_reset_on_drop`](crate::TcpStream::set_reset_on_drop)): then the drop of the
    /// second half does that, and the peer sees no end before.
    ///
    /// ```
    /// use futures_lite::AsyncReadExt;
    ///
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// let (reader, writer) = client.into_split();
    /// runtime::spawn(async move { writer.write_all(b"hello").await }); // whose end drops the writer
    ///
    /// let mut all = String::new();
    /// (&server).read_to_string(&mut all).await?;
    /// assert_eq!(all, "hello");
    /// server.write_all(b"and back").await?; // that direction goes on
    /// assert_eq!(reader.read(&mut [0; 64]).await?, 8);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
        let connection = Rc::new(self);
        let reader = OwnedReadHalf { connection: Rc::clone(&connection) };
        (reader, OwnedWriteHalf { connection: Some(connection) })
    }

    /// Waits until a read is worth a try: bytes, the end of the stream, or an error.
    ///
    /// # Cancel safety
    /// It takes nothing.
    ///
    /// # Errors
    /// If the stream's runtime is not the one that runs.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + use<'_, S> {
        self.socket.readable()
    }

    /// The socket as the runtime sees it, for what is not offered here.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # runtime::block_on(async {
    /// let (stream, other) = net::UnixStream::pair()?;
    /// stream.as_socket().write_with(|mut socket| socket.write_fmt(format_args!("{}\n", 89))).await?;
    /// assert_eq!(other.read(&mut [0; 64]).await?, 3);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn as_socket(&self) -> &AsyncSocket<S> {
        &self.socket
    }

    /// Waits until a write is worth a try: the kernel has room, or an error.
    ///
    /// # Cancel safety, errors
    /// As [`readable`](Self::readable).
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// while client.try_write(&[0; 4096]).is_ok() {} // until the kernel takes no more
    /// runtime::spawn(async move { while let Ok(1..) = server.read(&mut [0; 4096]).await {} });
    /// client.writable().await?; // not before something was read
    /// assert!(client.try_write(b"more")? > 0);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + use<'_, S> {
        self.socket.writable()
    }

    /// The error that the kernel has kept for this connection, if any; it forgets it by that.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (stream, _other) = net::UnixStream::pair()?;
    /// assert!(stream.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.socket).take_error()
    }

    /// Takes it out of the runtime. It stays non-blocking.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # runtime::block_on(async {
    /// let (ours, theirs) = net::UnixStream::pair()?;
    /// let ours = ours.into_std();
    /// ours.set_nonblocking(false)?;
    /// let thread = std::thread::spawn(move || (&ours).write_all(b"from a thread"));
    /// assert_eq!(theirs.read_lent(64, |bytes| bytes.to_vec()).await?, b"from a thread");
    /// thread.join().expect("no panic")?;
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_std(self) -> S {
        self.socket.into_inner()
    }

    /// Takes a connected socket into the runtime, and makes it non-blocking.
    ///
    /// # Errors
    /// As [`AsyncSocket::new`].
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # runtime::block_on(async {
    /// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?; // or what a parent has left us
    /// let ours = net::UnixStream::from_std(ours)?;
    /// theirs.write_all(b"hello")?;
    /// assert_eq!(ours.read(&mut [0; 64]).await?, 5);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_std(stream: S) -> io::Result<Self> {
        Ok(Connection { socket: AsyncSocket::new(stream)?.with_label(label) })
    }

    /// As [`from_std`](Self::from_std), for a socket that we have made ourselves, non-blocking, with no duplicate.
    pub(crate) fn trusted(stream: S, kind: Kind) -> io::Result<Self> {
        Ok(Connection { socket: AsyncSocket::trusted(stream, kind)?.with_label(label) })
    }
}

impl<S: AsFd> TwoWayStream for Connection<S> {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Connection::read(self, buffer).await
    }
    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Connection::write(self, bytes).await
    }
    async fn close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl<S: AsFd> AsFd for Connection<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: AsFd> AsRef<Connection<S>> for Connection<S> {
    fn as_ref(&self) -> &Connection<S> {
        self
    }
}

impl<S: AsFd> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(")?;
        label(self.socket.get_ref(), f)?;
        f.write_str(")")
    }
}

impl<S: AsFd> AsyncRead for &Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return NOTHING;
        }
        self.socket.poll_recv_with(cx, |_| self.socket.try_recv(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return NOTHING;
        }
        self.socket.poll_read_with(cx, |socket| read_vectored(socket, buffers))
    }
}

impl<S: AsFd> AsyncWrite for &Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return NOTHING;
        }
        self.socket.poll_send_with(cx, |_| self.socket.try_send(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return NOTHING;
        }
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

/// The reading half of a borrowed connection. What it has not, its [`Connection`] has: `half.as_ref()`.
///
/// ```
/// # runtime::block_on(async {
/// let (client, server) = net::UnixStream::pair()?;
/// client.write_all(b"one\ntwo\n").await?;
/// let (reader, writer) = server.split();
/// let mut lines = net::lines(net::Buffered::new(reader), 80); // a half has futures-io's traits, too
/// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
/// writer.write_all(b"thanks\n").await?; // while the lines have the reader
/// assert_eq!(client.read(&mut [0; 64]).await?, 7);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReadHalf<'a, S: AsFd = std::net::TcpStream> {
    connection: &'a Connection<S>,
}

/// The writing half of a borrowed connection. Dropping it does nothing. What it has not, its [`Connection`] has:
/// `half.as_ref()`.
///
/// ```
/// # runtime::block_on(async {
/// let (client, server) = net::UnixStream::pair()?;
/// let (_, writer) = client.split();
/// writer.write_all(b"that is all").await?;
/// writer.shutdown()?;
/// assert_eq!(server.read(&mut [0; 64]).await?, 11);
/// assert_eq!(server.read(&mut [0; 64]).await?, 0); // the end
///
/// server.write_all(b"thanks").await?;
/// assert_eq!(writer.as_ref().read(&mut [0; 64]).await?, 6); // the other direction, of the connection
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WriteHalf<'a, S: AsFd = std::net::TcpStream> {
    connection: &'a Connection<S>,
}

/// The reading half of a connection. What it has not, its [`Connection`] has: `half.as_ref()`.
///
/// ```
/// # runtime::block_on(async {
/// let (client, server) = net::UnixStream::pair()?;
/// let (reader, writer) = client.into_split();
/// let reading = runtime::spawn(async move {
///     let mut word = [0; 5];
///     reader.read_exact(&mut word).await.map(|()| (reader, word))
/// });
/// server.write_all(b"hello").await?;
/// let (reader, word) = reading.await.expect("no panic")?;
/// assert_eq!(&word, b"hello");
/// let client = reader.reunite(writer).expect("they are of one connection");
/// # drop(client);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OwnedReadHalf<S: AsFd = std::net::TcpStream> {
    connection: Rc<Connection<S>>,
}

/// The writing half of a connection. Dropping it ends the direction: the peer sees the end of the stream. What it has not,
/// its [`Connection`] has: `half.as_ref()`.
///
/// ```
/// # runtime::block_on(async {
/// let (client, server) = net::UnixStream::pair()?;
/// let (reader, writer) = client.into_split();
/// writer.write_all(b"question").await?;
/// drop(writer);
/// assert_eq!(server.read(&mut [0; 64]).await?, 8);
/// assert_eq!(server.read(&mut [0; 64]).await?, 0); // the end, while the answer may still be read
/// server.write_all(b"answer").await?;
/// assert_eq!(reader.read(&mut [0; 64]).await?, 6);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OwnedWriteHalf<S: AsFd = std::net::TcpStream> {
    /// Empty only while it is taken apart.
    connection: Option<Rc<Connection<S>>>,
}

impl<S: AsFd> OwnedReadHalf<S> {
    /// Puts the connection together again.
    ///
    /// # Errors
    /// Both halves, if they are not of one connection.
    pub fn reunite(
        self,
        mut other: OwnedWriteHalf<S>,
    ) -> Result<Connection<S>, (OwnedReadHalf<S>, OwnedWriteHalf<S>)> {
        let ours = other.connection.as_ref();
        if !ours.is_some_and(|connection| Rc::ptr_eq(connection, &self.connection)) {
            return Err((self, other));
        }
        drop(other.connection.take());
        Rc::try_unwrap(self.connection).map_err(|connection| {
            let reader = OwnedReadHalf { connection: Rc::clone(&connection) };
            (reader, OwnedWriteHalf { connection: Some(connection) })
        })
    }
}

impl<S: AsFd> OwnedWriteHalf<S> {
    /// Puts the connection together again: see [`OwnedReadHalf::reunite`].
    ///
    /// # Errors
    /// Both halves, if they are not of one connection.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (one, other) = net::UnixStream::pair()?;
    /// let ((reader, writer), (others_reader, _other)) = (one.into_split(), other.into_split());
    /// let (_, writer) = writer.reunite(others_reader).expect_err("of two connections");
    /// assert!(writer.reunite(reader).is_ok());
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reunite(
        self,
        other: OwnedReadHalf<S>,
    ) -> Result<Connection<S>, (OwnedReadHalf<S>, OwnedWriteHalf<S>)> {
        other.reunite(self)
    }

    /// Drops it without ending the direction: that goes on until the other half is dropped, too.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let (client, server) = net::UnixStream::pair()?;
    /// let (reader, writer) = client.into_split();
    /// writer.forget();
    /// let end = server.try_read(&mut [0; 64]);
    /// assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::WouldBlock); // it has not come
    /// drop(reader);
    /// assert_eq!(server.read(&mut [0; 64]).await?, 0); // now it has
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget(mut self) {
        drop(self.connection.take());
    }
}

impl<S: AsFd> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // An end before the reset would make what was sent look complete.
            let is_reset = matches!(SockRef::from(&*connection).linger(), Ok(Some(Duration::ZERO)));
            if !is_reset {
                // A connection that is gone already needs no end.
                let _ = connection.shutdown(Shutdown::Write);
            }
        }
    }
}

/// What a half can do of what its connection can: its own direction's methods, and futures-io's trait.
macro_rules! reads {
    ($($half:ty, $whole:expr;)*) => {$(
        impl<S: AsFd> $half {
            /// See [`Connection::read`], also for errors and cancel safety.
            #[inline]
            pub fn read<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                $whole(self).read(buffer)
            }

            /// See [`Connection::read_lent`], also for errors and cancel safety.
            #[inline]
            pub fn read_lent<'a, R: 'a>(
                &'a self,
                max: usize,
                use_bytes: impl FnOnce(&[u8]) -> R + 'a,
            ) -> impl Future<Output = io::Result<R>> + 'a {
                $whole(self).read_lent(max, use_bytes)
            }

            /// See [`Connection::read_exact`]: not cancel safe.
            pub async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
                $whole(self).read_exact(buffer).await
            }

            /// See [`Connection::peek`], also for errors and cancel safety.
            pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
                $whole(self).peek(buffer).await
            }

            /// See [`Connection::readable`], also for errors and cancel safety.
            pub fn readable(&self) -> impl Future<Output = io::Result<()>> + '_ {
                $whole(self).readable()
            }
        }

        impl<S: AsFd> AsRef<Connection<S>> for $half {
            fn as_ref(&self) -> &Connection<S> {
                $whole(self)
            }
        }

        read_through!($half, $whole);
    )*};
}

macro_rules! read_through {
    ($reader:ty, $whole:expr) => {
        impl<S: AsFd> AsyncRead for $reader {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut $whole(&*self)).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut $whole(&*self)).poll_read_vectored(cx, buffers)
            }
        }
    };
}

/// As `reads`, for the other direction.
macro_rules! writes {
    ($($half:ty, $whole:expr;)*) => {$(
        impl<S: AsFd> $half {
            /// See [`Connection::write`], also for errors and cancel safety.
            #[inline]
            pub fn write<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                $whole(self).write(bytes)
            }

            /// See [`Connection::write_all`]: not cancel safe.
            #[inline]
            pub fn write_all<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<()>> + 'a {
                $whole(self).write_all(bytes)
            }

            /// See [`Connection::write_vectored`], also for errors and cancel safety.
            pub async fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                $whole(self).write_vectored(buffers).await
            }

            /// See [`Connection::writable`], also for errors and cancel safety.
            pub fn writable(&self) -> impl Future<Output = io::Result<()>> + '_ {
                $whole(self).writable()
            }

            /// Ends the direction: the peer reads to the end of what was written and then sees the end of the stream.
            ///
            /// # Errors
            /// The kernel's.
            pub fn shutdown(&self) -> io::Result<()> {
                $whole(self).shutdown(Shutdown::Write)
            }
        }

        impl<S: AsFd> AsRef<Connection<S>> for $half {
            fn as_ref(&self) -> &Connection<S> {
                $whole(self)
            }
        }

        write_through!($half, $whole);
    )*};
}

macro_rules! write_through {
    ($writer:ty, $whole:expr) => {
        impl<S: AsFd> AsyncWrite for $writer {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut $whole(&*self)).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut $whole(&*self)).poll_write_vectored(cx, buffers)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut $whole(&*self)).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut $whole(&*self)).poll_close(cx)
            }
        }
    };
}

fn itself<S: AsFd>(connection: &Connection<S>) -> &Connection<S> {
    connection
}

fn reader<'a, S: AsFd>(half: &'a ReadHalf<'_, S>) -> &'a Connection<S> {
    half.connection
}

fn writer<'a, S: AsFd>(half: &'a WriteHalf<'_, S>) -> &'a Connection<S> {
    half.connection
}

fn owned_reader<S: AsFd>(half: &OwnedReadHalf<S>) -> &Connection<S> {
    &half.connection
}

fn owned_writer<S: AsFd>(half: &OwnedWriteHalf<S>) -> &Connection<S> {
    half.connection.as_ref().expect("empty only while it is taken apart, which consumes it")
}

read_through!(Connection<S>, itself);
write_through!(Connection<S>, itself);
reads! { ReadHalf<'_, S>, reader; OwnedReadHalf<S>, owned_reader; }
writes! { WriteHalf<'_, S>, writer; OwnedWriteHalf<S>, owned_writer; }

// By hand, since a derive would ask for an `S` that can be copied.
impl<S: AsFd> Clone for ReadHalf<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: AsFd> Copy for ReadHalf<'_, S> {}

impl<S: AsFd> Clone for WriteHalf<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: AsFd> Copy for WriteHalf<'_, S> {}

impl<S: AsFd> fmt::Debug for ReadHalf<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(self.connection).finish()
    }
}

impl<S: AsFd> fmt::Debug for WriteHalf<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(self.connection).finish()
    }
}

/// What an empty buffer gives, at once.
const NOTHING: Poll<io::Result<usize>> = Poll::Ready(Ok(0));

fn read_vectored(socket: &impl AsFd, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // Nothing but empty ones would give zero, which is the end of the stream.
    let empty = buffers.iter().take_while(|buffer| buffer.is_empty()).count();
    let buffers = &mut buffers[empty..];
    let count = buffers.len().min(MOST_BUFFERS);
    let read = (&*SockRef::from(socket)).read_vectored(&mut buffers[..count]);
    read.inspect(|count| spend_bytes(*count))
}

/// The kernel refuses more at a time; a beginning is what the contract asks for.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MOST_BUFFERS: usize = libc::UIO_MAXIOV as usize;
/// POSIX's least: not every system's libc tells its own.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MOST_BUFFERS: usize = 16;

/// `writev` that raises no signal.
fn send_vectored(socket: &impl AsFd, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(target_vendor = "apple")]
    const FLAGS: i32 = 0; // SO_NOSIGPIPE is set at creation there
    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL;
    let empty = buffers.iter().take_while(|buffer| buffer.is_empty()).count();
    let buffers = &buffers[empty..];
    let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
    let sent = SockRef::from(socket).send_vectored_with_flags(buffers, FLAGS);
    sent.inspect(|count| spend_bytes(*count))
}

fn peek(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, RecvFlags::PEEK)?;
    spend_bytes(count);
    Ok(count)
}

/// What an instrument is shown for a connection: the peer's address.
fn label<S: AsFd>(socket: &S, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(peer) = SockRef::from(socket).peer_addr() else {
        return f.write_str("(no peer any more)");
    };
    match (peer.as_socket(), peer.as_pathname(), peer.as_abstract_namespace()) {
        (Some(address), ..) => write!(f, "{address}"),
        (_, Some(path), _) => write!(f, "{}", path.display()),
        (.., Some(name)) => write!(f, "@{}", name.escape_ascii()),
        _ => f.write_str("(a peer without a name)"),
    }
}
