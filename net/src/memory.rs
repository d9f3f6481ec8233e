//! How does a server's handler meet its clients without a network?
//!
//! Through a [`MemoryListener`]: [`serve`](crate::serve) accepts from it as from a port, and a [`MemoryConnector`] connects to
//! it. The streams are `runtime::testing`'s, with futures-io's traits on top: they may be made hostile, and with a test's
//! clock and order the whole server is in the hands of one seed.
//!
//! What it does not do: more than one listener, addresses, datagrams. Two listeners are two servers.
//!
//! Comes from: tests of handlers. Goes to: `runtime::testing::duplex`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use runtime::testing::{Duplex, Hostile, TwoWayStream, duplex};

use crate::Listener;

/// A listener for streams in memory. An address is the number of the connection, from 1.
///
/// A handler over hostile streams, with many seeds:
///
/// ```
/// use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
/// use net::{Limits, MemoryListener, serve};
/// use runtime::testing::{Hostile, check};
///
/// /// Answers a message of four bytes with its reverse. It runs over TCP as well.
/// async fn reverse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
///     let mut word = [0; 4];
///     stream.read_exact(&mut word).await?;
///     word.reverse();
///     stream.write_all(&word).await
/// }
///
/// check(0..50, async |seed| {
///     let listener = MemoryListener::new(64).hostile(Hostile::new(seed));
///     let network = listener.connector();
///     runtime::spawn(serve(listener, Limits::new(), async |stream, _| reverse(stream).await));
///
///     let mut client = network.connect().unwrap();
///     client.write_all(b"abcd").await.unwrap();
///     let mut answer = [0; 4];
///     client.read_exact(&mut answer).await.unwrap();
///     assert_eq!(&answer, b"dcba");
/// });
/// ```
pub struct MemoryListener {
    queue: Rc<Queue>,
    capacity: usize,
    hostile: Option<Hostile>,
}

/// Connects to a [`MemoryListener`].
///
/// ```
/// use net::{Listener, MemoryListener};
///
/// # runtime::block_on(async {
/// let listener = MemoryListener::new(64);
/// let network = listener.connector();
/// let (one, two) = (network.connect()?, network.clone().connect()?);
/// assert_eq!(listener.accept().await?.1, 1); // the first one's number
/// drop(listener);
/// assert_eq!(two.read(&mut [0; 8]).await?, 0); // who waited still finds it closed
/// assert_eq!(network.connect().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
/// # drop(one);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryConnector {
    queue: Weak<Queue>,
    capacity: usize,
}

/// How many connections may wait to be accepted, as at a [`TcpListener`](crate::TcpListener).
const BACKLOG: usize = 1024;

#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<(Duplex, u64)>>,
    last: Cell<u64>,
    /// Who waits to accept, by the number of the place.
    acceptors: RefCell<BTreeMap<u64, Waker>>,
    last_place: Cell<u64>,
}

impl MemoryListener {
    /// A listener whose connections hold up to `capacity` bytes in each direction.
    pub fn new(capacity: usize) -> Self {
        MemoryListener { queue: Rc::default(), capacity, hostile: None }
    }

    /// Makes the accepted ends difficult; all draw from the same row of numbers.
    pub fn hostile(mut self, hostile: Hostile) -> Self {
        self.hostile = Some(hostile);
        self
    }

    /// What connects to it.
    pub fn connector(&self) -> MemoryConnector {
        MemoryConnector { queue: Rc::downgrade(&self.queue), capacity: self.capacity }
    }
}

impl Listener for MemoryListener {
    type Stream = MemoryStream;
    type Address = u64;

    async fn accept(&self) -> io::Result<(MemoryStream, u64)> {
        let mut place = Place { queue: &self.queue, number: None };
        poll_fn(|cx| {
            let accepted = self.try_accept();
            if accepted.is_err() {
                place.wait(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(accepted)
        })
        .await
    }

    fn try_accept(&self) -> io::Result<(MemoryStream, u64)> {
        let next = self.queue.waiting.borrow_mut().pop_front();
        let (stream, number) = next.ok_or(io::ErrorKind::WouldBlock)?;
        let stream = match &self.hostile {
            Some(hostile) => stream.hostile(hostile.clone()),
            None => stream,
        };
        Ok((stream.into(), number))
    }
}

impl MemoryConnector {
    /// A connection. It is there at once, accepted or not, as one is that waits in the kernel's queue.
    ///
    /// # Errors
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), if the listener is gone, or 1,024 connections wait already.
    pub fn connect(&self) -> io::Result<MemoryStream> {
        let queue = self.queue.upgrade().ok_or(io::ErrorKind::ConnectionRefused)?;
        if queue.waiting.borrow().len() >= BACKLOG {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = duplex(self.capacity);
        let number = queue.last.get() + 1;
        queue.last.set(number);
        queue.waiting.borrow_mut().push_back((server, number));
        queue.wake_all();
        Ok(client.into())
    }
}

/// One accept that waits. Dropped, it leaves no waker behind.
struct Place<'a> {
    queue: &'a Queue,
    number: Option<u64>,
}

// Wakers are foreign code, and so are their drops: with no borrow held.
impl Place<'_> {
    fn wait(&mut self, waker: Waker) {
        let number = *self.number.get_or_insert_with(|| {
            self.queue.last_place.set(self.queue.last_place.get() + 1);
            self.queue.last_place.get()
        });
        let former = self.queue.acceptors.borrow_mut().insert(number, waker);
        drop(former);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.queue.acceptors.borrow_mut().remove(&number);
            drop(waker);
        }
    }
}

impl Queue {
    fn wake_all(&self) {
        for waker in self.acceptors.take().into_values() {
            // If one panics, the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl fmt::Debug for MemoryListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue.waiting.borrow().len();
        f.debug_struct("MemoryListener").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConnector").finish_non_exhaustive()
    }
}

/// One end of a stream in memory: a [`Duplex`], whose methods it has, with futures-io's traits.
///
/// ```
/// use futures_lite::AsyncReadExt;
/// use net::MemoryStream;
///
/// # runtime::block_on(async {
/// let (here, there) = runtime::testing::duplex(64);
/// let (here, mut there) = (MemoryStream::from(here), MemoryStream::from(there));
/// here.write_all(b"a line\n").await?; // the stream's own method
/// here.into_inner().close();
/// let mut all = String::new();
/// there.read_to_string(&mut all).await?; // futures-io's
/// assert_eq!(all, "a line\n");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryStream {
    duplex: Duplex,
}

impl MemoryStream {
    /// The stream without the traits.
    pub fn into_inner(self) -> Duplex {
        self.duplex
    }
}

impl From<Duplex> for MemoryStream {
    fn from(duplex: Duplex) -> Self {
        MemoryStream { duplex }
    }
}

impl Deref for MemoryStream {
    type Target = Duplex;
    fn deref(&self) -> &Duplex {
        &self.duplex
    }
}

macro_rules! io_traits {
    ($($stream:ty),*) => {$(
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.duplex.poll_read(cx, buffer)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.duplex.poll_write(cx, bytes)
            }

            /// Nothing is held back, so there is nothing to flush.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the write direction.
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.duplex.close();
                Poll::Ready(Ok(()))
            }
        }
    )*};
}

io_traits!(MemoryStream, &MemoryStream);

impl TwoWayStream for MemoryStream {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.duplex.read(buffer).await
    }
    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.duplex.write(bytes).await
    }
    async fn close(&self) -> io::Result<()> {
        self.duplex.close();
        Ok(())
    }
}
