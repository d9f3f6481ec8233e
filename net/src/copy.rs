//! How do bytes get from one stream to another, and when is a connection between two over?
//!
//! [`copy`] goes one way, until the reader ends. [`copy_bidirectional`] is two of it and one question: what if one side
//! ends and the other never does? Each direction of a TCP connection ends by itself, so an end has to be passed on as just
//! that, a half-close, and the other direction must go on: the answer may still be coming. But a peer that is gone, or that
//! does not care, would then hold the pair open for ever (proxies collect such connections, in CLOSE_WAIT, until they are
//! out of descriptors). So a clock runs from the first end on:
//!
//! | state                                          | the clock                                                |
//! |------------------------------------------------|----------------------------------------------------------|
//! | both directions are open                       | does not run: an idle connection is the caller's affair  |
//! | one has ended                                  | runs from that end, and begins anew with every byte written in the other |
//! | the clock has run out                          | that is the outcome: [`Ending::TimedOut`]                |
//!
//! It measures silence and not the whole time, since an answer may be long; and what was written and not what was read,
//! since bytes that nobody takes are no progress.
//!
//! Errors end what they concern. A read that fails ends all: that stream is dead; what it gave before is still flushed, as far
//! as that goes without waiting. A write that fails ends its direction
//! alone: a server that refuses the rest of a request has often sent its answer before it closed, and that is still read.
//!
//! While nothing flows no buffer is held (stock.rs). What it does not do: splice, which moves bytes inside of the kernel and
//! would need unsafe code here.
//!
//! Comes from: proxies, or anybody with two streams. Goes to: stock.rs, futures-io's traits.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use runtime::{Sleep, now, sleep_until};

use crate::stock::{Held, Share, step_back};

/// Copies until `reader` ends, flushes `writer`, and says how many bytes were written. The writer is not closed.
///
/// Whenever the reader has nothing, the writer is flushed, so nothing is kept from the other side for the sake of a buffer.
/// It holds at most 16 KiB, and none while it waits for the reader. A reader that always has something does not keep the
/// loop for itself: after some 50 KiB others run.
///
/// # Errors
/// The reader's and the writer's; [`WriteZero`](io::ErrorKind::WriteZero) if the writer takes nothing.
///
/// # Cancel safety
/// Dropped while it waits for the reader, it has lost nothing: all that was read is written. Dropped while it waits for the
/// writer, or for its turn in the middle of a flood, up to 16 KiB are lost that were read and not written. How many bytes were copied is not known then.
///
/// ```
/// # runtime::block_on(async {
/// let mut written = Vec::new();
/// assert_eq!(net::copy(&b"hello"[..], &mut written).await?, 5);
/// assert_eq!(written, b"hello");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn copy<R, W>(mut reader: R, mut writer: W) -> io::Result<u64>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut way = Way::default();
    let mut has_ended = false; // and is not asked again, however long the flush takes
    poll_fn(|cx| {
        let mut share = Share::new();
        while !has_ended {
            match ready!(way.poll_step(cx, &mut reader, &mut writer)) {
                Ok(Step::Moved(count)) => share.spend(count),
                Ok(Step::End) => has_ended = true,
                Err(Fault::Read(error) | Fault::Write(error)) => return Poll::Ready(Err(error)),
            }
            if share.is_spent() {
                step_back(cx);
                return Poll::Pending;
            }
        }
        Pin::new(&mut writer).poll_flush(cx)
    })
    .await?;
    Ok(way.copied)
}

/// Copies from `a` to `b` and from `b` to `a` until both directions have ended. The end of one is passed on as a half-close
/// ([`poll_close`](AsyncWrite::poll_close)), and the other goes on, until it has been silent for `half_close_timeout`.
///
/// Precisely: the clock starts when the first of the two directions ends, by the end of its stream or by a write that
/// failed, and starts again with every byte that is written in the other. It also bounds how long passing an end on may take.
/// Before the first end no clock runs: put a [`timeout`](runtime::timeout) around it for connections that may not be idle.
/// One that never reads holds up its direction, behind which the other's end or reset is not seen; that needs such a
/// timeout, too. `Duration::MAX` waits for ever.
///
/// Streams may be given by value, and are then closed at the end, or as `&mut`; ours also as `&`.
///
/// # Errors
/// [`CopyError`] says whose stream failed and what was copied until then. A failed read ends all at once. A failed write
/// ends its direction, and the error is given when the other has ended, too, or its time is over.
///
/// # Cancel safety
/// Dropped while nothing flows, it has lost nothing: all that was read is written. Dropped while a side does not take what
/// it is sent, up to 16 KiB a direction are lost that were read and not written. The same is true when the clock runs out.
///
/// ```
/// use net::{Ending, MemoryListener, Listener, copy_bidirectional};
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
/// use std::time::Duration;
///
/// runtime::block_on(async {
///     let (left, right) = (MemoryListener::new(64), MemoryListener::new(64));
///     let (mut client, mut server) = (left.connector().connect()?, right.connector().connect()?);
///     let (a, b) = (left.try_accept()?.0, right.try_accept()?.0);
///     let proxy = runtime::spawn(copy_bidirectional(a, b, Duration::from_secs(10)));
///
///     client.write_all(b"a request").await?;
///     client.close().await?;
///     let mut request = String::new();
///     server.read_to_string(&mut request).await?; // to its end, which was passed on
///     server.write_all(b"an answer to it").await?;
///     server.close().await?;
///
///     let copied = proxy.await.expect("no panic")?;
///     assert_eq!((copied.a_to_b, copied.b_to_a, copied.ending), (9, 15, Ending::BothEnded));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn copy_bidirectional<A, B>(
    mut a: A,
    mut b: B,
    half_close_timeout: Duration,
) -> Result<Copied, CopyError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Direction::default(), Direction::default());
    let mut silence = Silence { limit: half_close_timeout, since: None, sleep: None };
    let mut failed: Option<(Side, io::Error)> = None;

    let ending = poll_fn(|cx| {
        let mut share = Share::new();
        loop {
            let steps = [
                (Side::A, Side::B, there.poll_step(cx, &mut a, &mut b)),
                (Side::B, Side::A, back.poll_step(cx, &mut b, &mut a)),
            ];
            let waiting = steps.iter().all(|(.., step)| step.is_pending());
            for (from, to, step) in steps {
                match step {
                    Poll::Ready(Ok(count)) => {
                        share.spend(count);
                        silence.is_broken_by(count);
                    }
                    Poll::Ready(Err(Fault::Read(error))) => {
                        failed.get_or_insert((from, error));
                        return Poll::Ready(Ending::BothEnded);
                    }
                    Poll::Ready(Err(Fault::Write(error))) => {
                        failed.get_or_insert((to, error));
                    }
                    Poll::Pending => {}
                }
            }
            match (there.state, back.state) {
                (State::Over, State::Over) => return Poll::Ready(Ending::BothEnded),
                (State::Open, State::Open) => {}
                _ => silence.begin(),
            }
            if waiting {
                return silence.poll_end(cx).map(|()| Ending::TimedOut);
            }
            if share.is_spent() {
                step_back(cx);
                return Poll::Pending;
            }
        }
    })
    .await;

    let (a_to_b, b_to_a) = (there.way.copied, back.way.copied);
    match failed {
        None => Ok(Copied { a_to_b, b_to_a, ending }),
        Some((stream, error)) => Err(CopyError { a_to_b, b_to_a, stream, error }),
    }
}

/// What [`copy_bidirectional`] has done.
///
/// ```
/// use net::{Copied, Ending, UnixStream};
/// use std::net::Shutdown;
/// use std::time::Duration;
///
/// # runtime::block_on(async {
/// let ((client, a), (b, server)) = (UnixStream::pair()?, UnixStream::pair()?);
/// client.write_all(b"hello").await?;
/// client.shutdown(Shutdown::Write)?;
/// server.shutdown(Shutdown::Write)?;
/// let copied = net::copy_bidirectional(a, b, Duration::from_secs(10)).await?;
/// assert_eq!(copied, Copied { a_to_b: 5, b_to_a: 0, ending: Ending::BothEnded });
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes read from `a` and written to `b`.
    pub a_to_b: u64,
    /// Bytes read from `b` and written to `a`.
    pub b_to_a: u64,
    /// How it came to its end.
    pub ending: Ending,
}

/// How a [`copy_bidirectional`] without error came to its end.
///
/// ```
/// use net::{Ending, MemoryStream, copy_bidirectional};
/// use runtime::testing::duplex;
/// use std::time::Duration;
///
/// runtime::testing::run(async {
///     let ((client, a), (b, _server)) = (duplex(64), duplex(64));
///     let (a, b) = (MemoryStream::from(a), MemoryStream::from(b));
///     client.close(); // and the server never says anything
///     let copied = copy_bidirectional(a, b, Duration::from_secs(60)).await.unwrap();
///     assert_eq!(copied.ending, Ending::TimedOut); // a test's minute takes no time
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both streams have ended, and both ends were passed on.
    BothEnded,
    /// One direction had ended, and the other was silent for too long.
    TimedOut,
}

/// One of the two streams of a [`copy_bidirectional`].
///
/// ```
/// use net::{Side, UnixStream};
/// use std::time::Duration;
///
/// # runtime::block_on(async {
/// let ((client, a), (b, server)) = (UnixStream::pair()?, UnixStream::pair()?);
/// drop(client);
/// server.write_all(b"an answer that nobody wants").await?;
/// server.shutdown(std::net::Shutdown::Write)?;
/// let error = net::copy_bidirectional(a, b, Duration::from_secs(10)).await.unwrap_err();
/// assert_eq!(error.stream, Side::A); // the client's
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// Why a [`copy_bidirectional`] has failed, and how far it had come. Made an [`io::Error`], it keeps its kind and is found
/// inside ([`io::Error::get_ref`]).
///
/// ```
/// use net::{CopyError, Side, UnixStream};
/// use std::{io, time::Duration};
///
/// # runtime::block_on(async {
/// let ((client, a), (b, server)) = (UnixStream::pair()?, UnixStream::pair()?);
/// drop(server);
/// client.write_all(b"hello").await?;
/// let error = net::copy_bidirectional(a, b, Duration::from_secs(10)).await.unwrap_err();
/// assert_eq!((error.stream, error.a_to_b), (Side::B, 0));
/// let error = io::Error::from(error); // as `?` makes it
/// assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
/// assert!(error.get_ref().is_some_and(|inner| inner.is::<CopyError>()));
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct CopyError {
    /// Bytes read from `a` and written to `b`.
    pub a_to_b: u64,
    /// Bytes read from `b` and written to `a`.
    pub b_to_a: u64,
    /// Whose stream failed first.
    pub stream: Side,
    /// What it said.
    pub error: io::Error,
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = if self.stream == Side::A { "first" } else { "second" };
        let CopyError { a_to_b, b_to_a, error, .. } = self;
        write!(f, "the {stream} stream failed after {a_to_b} bytes there, {b_to_a} back: {error}")
    }
}

impl Error for CopyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        io::Error::new(error.error.kind(), error)
    }
}

/// From one stream to another, as far as bytes go.
#[derive(Default)]
struct Way {
    held: Held,
    copied: u64,
    /// Something was written since the last flush.
    unflushed: bool,
}

enum Step {
    /// So many bytes; at least one.
    Moved(usize),
    /// The reader has ended, and all that it gave is written.
    End,
}

/// Who has failed.
enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Way {
    /// One read, unless there is something to write still, and one write.
    fn poll_step<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<Step, Fault>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut writer = Pin::new(writer);
        if self.held.is_empty() {
            match self.held.poll_fill(cx, Pin::new(reader)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Step::End)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Read(error))),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(writer.as_mut().poll_flush(cx)).map_err(Fault::Write)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        let bytes = self.held.bytes();
        let count = ready!(writer.poll_write(cx, bytes)).map_err(Fault::Write)?;
        if count == 0 {
            return Poll::Ready(Err(Fault::Write(io::ErrorKind::WriteZero.into())));
        }
        let count = count.min(bytes.len());
        self.held.consume(count);
        self.copied += count as u64;
        self.unflushed = true;
        Poll::Ready(Ok(Step::Moved(count)))
    }
}

/// A way, and how far its end has come.
#[derive(Default)]
struct Direction {
    way: Way,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader has ended; the writer has still to be closed.
    Closing,
    Over,
}

impl Direction {
    /// One step, of so many bytes; or none, if it was one towards its end. Pending when it is over.
    fn poll_step<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<usize, Fault>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let step = match self.state {
            State::Open => ready!(self.way.poll_step(cx, reader, writer)),
            State::Closing => {
                let closed = ready!(Pin::new(writer).poll_close(cx));
                self.state = State::Over;
                return Poll::Ready(closed.map(|()| 0).map_err(Fault::Write));
            }
            State::Over => return Poll::Pending,
        };
        Poll::Ready(match step {
            Ok(Step::Moved(count)) => Ok(count),
            Ok(Step::End) => {
                self.state = State::Closing;
                Ok(0)
            }
            Err(fault) => {
                self.state = State::Over;
                self.way.held = Held::default(); // nobody will take it
                if matches!(fault, Fault::Read(_)) {
                    // What came before may lie in a buffer of the writer's, which is flushed now or never.
                    let _ = Pin::new(writer).poll_flush(cx);
                }
                Err(fault)
            }
        })
    }
}

/// How long the direction that is left has been silent.
struct Silence {
    limit: Duration,
    /// The last byte, or the other direction's end; `None` before that.
    since: Option<Instant>,
    /// Set when the wait begins, and again only when it comes: bytes move the time, not the timer.
    sleep: Option<Sleep>,
}

impl Silence {
    fn begin(&mut self) {
        self.since.get_or_insert_with(now);
    }

    fn is_broken_by(&mut self, bytes: usize) {
        if bytes > 0 && self.since.is_some() {
            self.since = Some(now());
        }
    }

    /// Ready when it has been too long.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.since.and_then(|since| since.checked_add(self.limit)) else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| sleep_until(end));
        loop {
            ready!(Pin::new(&mut *sleep).poll(cx));
            if sleep.deadline() == Some(end) {
                return Poll::Ready(());
            }
            sleep.reset(end);
        }
    }
}
