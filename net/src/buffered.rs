//! How does one read lines, or anything else with an end of its own, from a stream that comes in pieces?
//!
//! By a buffer in between. [`Buffered`] is one that is there only while there is something in it (stock.rs), so a server may
//! have ten thousand idle clients and read all of them by lines. On it stand [`lines`] and [`split`], which cut a stream at
//! each newline, or at any byte.
//!
//! Whatever comes in, something comes out, and nothing costs more than itself:
//!
//! | comes                                  | gives                                                                 |
//! |----------------------------------------|-----------------------------------------------------------------------|
//! | a line with `\n` or `\r\n` behind it   | the line without that                                                 |
//! | the end of the stream behind a last line without a newline | that line, then `None` for ever                   |
//! | an over-long line                      | one error, as soon as it is known to be one; the next call goes on behind it |
//! | a line that is not UTF-8               | one error, which names the first byte that is wrong; the next call goes on behind it |
//! | an error of the stream                 | that error; the line begun is kept, and the next call reads on        |
//!
//! What is held is bounded: the longest line and one buffer of 16 KiB; of an over-long line nothing is kept.
//!
//! What it does not do: buffer what is written (collect a message and write it at once), read numbers or words: futures-lite's
//! and futures-util's `AsyncBufReadExt` have more to put on a [`Buffered`].
//!
//! Comes from: servers of text. Goes to: stock.rs, futures-io's traits.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead};
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use crate::stock::{BUFFER, Held, Share, step_back};

/// A stream whose reads go through a buffer, which it has only while there are bytes in it. What is written goes straight
/// through.
///
/// Small reads become one large one. `&TcpStream` is a stream, too: so both may be had at the same time, and the methods of
/// the stream itself, which do not see what lies in the buffer, used for writing.
///
/// ```
/// use futures_lite::AsyncReadExt;
/// # runtime::block_on(async {
/// let mut stream = net::Buffered::new(&b"GET / HTTP/1.0\r\n\r\nbody"[..]);
/// let mut lines = net::lines(&mut stream, 8192);
/// while let Some(line) = lines.next_line().await? {
///     if line.is_empty() {
///         break;
///     }
/// }
/// let mut body = String::new();
/// stream.read_to_string(&mut body).await?; // where the lines ended
/// assert_eq!(body, "body");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Buffered<S> {
    held: Held,
    stream: S,
}

impl<S> Buffered<S> {
    /// With nothing in its buffer.
    pub fn new(stream: S) -> Self {
        Buffered { held: Held::default(), stream }
    }

    /// What was read from the stream and not taken yet.
    pub fn buffer(&self) -> &[u8] {
        self.held.bytes()
    }

    /// The stream. What is read from it here, the buffer misses.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// As [`get_ref`](Self::get_ref), to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read from it and not taken.
    ///
    /// ```
    /// # runtime::block_on(async {
    /// let mut stream = net::Buffered::new(&b"STARTTLS\nthe handshake"[..]);
    /// net::lines(&mut stream, 80).next_line().await?;
    /// assert_eq!(stream.buffer(), b"the handshake"); // has come with the line
    /// assert!(stream.get_ref().is_empty() && stream.get_mut().is_empty());
    /// let (_stream, read_ahead) = stream.into_parts();
    /// assert_eq!(read_ahead, b"the handshake");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held.bytes().to_vec())
    }
}

impl<S: fmt::Debug> fmt::Debug for Buffered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("stream", &self.stream)
            .field("buffered", &self.buffer().len())
            .finish()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    /// Takes from the buffer; if it is empty and the caller has as much room, reads into that without it. For an empty
    /// `buffer` it does not ask the source.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.held.is_empty() && buffer.len() >= BUFFER {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for Buffered<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            ready!(this.held.poll_fill(cx, Pin::new(&mut this.stream)))?;
        }
        Poll::Ready(Ok(this.held.bytes()))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.held.consume(count);
    }
}

/// Straight through, unless there is nothing to write.
impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// The lines of `reader`, each of at most `longest` bytes, its end not counted.
///
/// ```
/// use net::{Buffered, LineError, lines};
///
/// # runtime::block_on(async {
/// let mut lines = lines(Buffered::new(&b"one\r\ntwo and a half\nthree"[..]), 5);
/// let mut seen = Vec::new();
/// loop {
///     match lines.next_line().await {
///         Ok(Some(line)) => seen.push(line),
///         Ok(None) => break,
///         Err(error) if LineError::of(&error).is_some() => continue, // of that line alone
///         Err(error) => return Err(error),                           // the stream's
///     }
/// }
/// assert_eq!(seen, ["one", "three"]);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lines<R: AsyncBufRead + Unpin>(reader: R, longest: usize) -> Lines<R> {
    Lines { parts: split(reader, b'\n', longest) }
}

/// The parts of `reader` between bytes `end`, each of at most `longest` bytes. As [`lines`], but bytes, and `\r` is one of
/// them. What stands behind the last `end` is a part, too, unless it is empty.
///
/// ```
/// # runtime::block_on(async {
/// let mut names = net::split(net::Buffered::new(&b"a.rs\0b.rs\0"[..]), b'\0', 4096);
/// assert_eq!(names.next_part().await?.as_deref(), Some(&b"a.rs"[..]));
/// assert_eq!(names.next_part().await?.as_deref(), Some(&b"b.rs"[..]));
/// assert_eq!(names.next_part().await?, None);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn split<R: AsyncBufRead + Unpin>(reader: R, end: u8, longest: usize) -> Split<R> {
    Split { reader, end, longest, begun: Vec::new(), skips: false, ended: false, position: 0 }
}

/// What is wrong with one line. It comes inside of an [`io::Error`] of the kind [`InvalidData`](io::ErrorKind::InvalidData), and
/// concerns nothing but that line: the next call goes on behind it.
///
/// ```
/// use net::{Buffered, LineError, lines};
///
/// # runtime::block_on(async {
/// let mut lines = lines(Buffered::new(&b"much too long\nok\xff\nok"[..]), 5);
/// let mut wrong = Vec::new();
/// for _ in 0..2 {
///     wrong.push(*LineError::of(&lines.next_line().await.unwrap_err()).expect("of a line"));
/// }
/// // "ok" of the second line are the bytes 14 and 15.
/// assert_eq!(wrong, [LineError::TooLong { longest: 5 }, LineError::NotUtf8 { offset: 16 }]);
/// assert_eq!(lines.next_line().await?.as_deref(), Some("ok"));
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is longer than asked for. Given as soon as that is known; the rest of the line is passed over as it comes.
    TooLong {
        /// The most bytes it may have.
        longest: usize,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// The first byte that is wrong, counted from the first byte read by these lines, which is 0.
        offset: u64,
    },
}

impl LineError {
    /// The one inside of an [`io::Error`]; `None`: that comes from the stream.
    pub fn of(error: &io::Error) -> Option<&LineError> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong { longest } => write!(f, "a line is longer than {longest} bytes"),
            LineError::NotUtf8 { offset } => write!(f, "a line is not UTF-8 at byte {offset}"),
        }
    }
}

impl Error for LineError {}

impl From<LineError> for io::Error {
    fn from(error: LineError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Lines of text; see [`lines`]. Also a [`Stream`] of them.
///
/// ```
/// use futures_lite::future::poll_once;
/// use std::future::poll_fn;
///
/// # runtime::block_on(async {
/// let (client, server) = net::UnixStream::pair()?;
/// client.write_all(b"one\ntw").await?;
/// let mut lines = net::lines(net::Buffered::new(server), 80);
/// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
/// lines.get_ref().get_ref().write_all(b"thanks\n").await?; // to the stream inside
///
/// let next = poll_fn(|cx| lines.poll_next_line(cx));
/// assert!(poll_once(next).await.is_none()); // given up, as by a timeout: what came of it is kept
/// assert!(lines.get_mut().buffer().is_empty());
/// let (_reader, begun) = lines.into_parts();
/// assert_eq!(begun, b"tw");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Lines<R> {
    parts: Split<R>,
}

impl<R> Lines<R> {
    /// What they are read from.
    pub fn get_ref(&self) -> &R {
        &self.parts.reader
    }

    /// As [`get_ref`](Self::get_ref), say to write an answer.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.parts.reader
    }

    /// What they were read from, and the line that was begun.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        self.parts.into_parts()
    }
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The next line; `None` when the stream has ended.
    ///
    /// # Errors
    /// A [`LineError`] costs the one line it is about. All others are the reader's; the next call asks that again.
    ///
    /// # Cancel safety
    /// Cancel safe: what has come of a line stays inside, and the next call goes on with it.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        poll_fn(|cx| self.poll_next_line(cx)).await
    }

    /// As [`next_line`](Self::next_line), for those who implement futures.
    ///
    /// # Errors
    /// As `next_line`.
    pub fn poll_next_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<String>>> {
        let Some((start, line)) = ready!(self.parts.poll_part(cx, true))? else {
            return Poll::Ready(Ok(None));
        };
        Poll::Ready(match String::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let offset = start + error.utf8_error().valid_up_to() as u64;
                Err(LineError::NotUtf8 { offset }.into())
            }
        })
    }
}

impl<R: AsyncBufRead + Unpin> Stream for Lines<R> {
    type Item = io::Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_line(cx).map(Result::transpose)
    }
}

/// Where it starts, and what is in it.
type Part = (u64, Vec<u8>);

/// Parts of a stream of bytes; see [`split`]. Also a [`Stream`] of them.
///
/// ```
/// use futures_lite::AsyncReadExt;
/// use std::future::poll_fn;
///
/// # runtime::block_on(async {
/// let mut parts = net::split(net::Buffered::new(&b"key=value"[..]), b'=', 80);
/// assert_eq!(poll_fn(|cx| parts.poll_next_part(cx)).await?.as_deref(), Some(&b"key"[..]));
/// assert_eq!(parts.get_ref().buffer(), b"value");
/// let mut value = String::new();
/// parts.get_mut().read_to_string(&mut value).await?; // where the part ended
/// assert_eq!(value, "value");
/// let (_reader, begun) = parts.into_parts();
/// assert!(begun.is_empty());
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Split<R> {
    reader: R,
    end: u8,
    longest: usize,
    /// What has come of the next part.
    begun: Vec<u8>,
    /// That part is too long, which was told; it is passed over until its end.
    skips: bool,
    ended: bool,
    /// How many bytes were taken from the reader.
    position: u64,
}

impl<R> Split<R> {
    /// What they are read from.
    pub fn get_ref(&self) -> &R {
        &self.reader
    }

    /// As [`get_ref`](Self::get_ref), say to write an answer.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// What they were read from, and the part that was begun.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        (self.reader, self.begun)
    }
}

impl<R: AsyncBufRead + Unpin> Split<R> {
    /// The next part; `None` when the stream has ended.
    ///
    /// # Errors
    /// [`LineError::TooLong`] costs the one part it is about. All others are the reader's; the next call asks that again.
    ///
    /// # Cancel safety
    /// Cancel safe: what has come of a part stays inside, and the next call goes on with it.
    pub async fn next_part(&mut self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|cx| self.poll_next_part(cx)).await
    }

    /// As [`next_part`](Self::next_part), for those who implement futures.
    ///
    /// # Errors
    /// As `next_part`.
    pub fn poll_next_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        self.poll_part(cx, false).map_ok(|part| part.map(|(_, bytes)| bytes))
    }

    /// The next part. If `is_text`, a `\r` before the end belongs to the end.
    fn poll_part(&mut self, cx: &mut Context<'_>, is_text: bool) -> Poll<io::Result<Option<Part>>> {
        let too_long = || Poll::Ready(Err(LineError::TooLong { longest: self.longest }.into()));
        let mut share = Share::new();
        while !self.ended {
            let bytes = ready!(Pin::new(&mut self.reader).poll_fill_buf(cx))?;
            let start = self.position - self.begun.len() as u64;
            if bytes.is_empty() {
                self.ended = true;
                let last = take(&mut self.begun);
                if last.len() > self.longest {
                    return too_long(); // by a `\r` with no newline behind it, which is part of the line
                }
                return Poll::Ready(Ok((!last.is_empty()).then_some((start, last))));
            }

            let end = find(bytes, self.end);
            let (part, taken) = match end {
                Some(at) => (&bytes[..at], at + 1),
                None => (bytes, bytes.len()),
            };
            if !self.skips {
                // Also where the end has not come yet: a `\r` may still turn out to belong to it.
                let last = part.last().or(self.begun.last());
                let line_end = usize::from(is_text && last == Some(&b'\r'));
                self.skips = self.begun.len() + part.len() - line_end > self.longest;
                if self.skips {
                    self.begun = Vec::new();
                    // Its end, if it is here, is taken by the next call.
                    let taken = part.len();
                    Pin::new(&mut self.reader).consume(taken);
                    self.position += taken as u64;
                    return too_long();
                }
                self.begun.extend_from_slice(part);
            }
            Pin::new(&mut self.reader).consume(taken);
            self.position += taken as u64;

            if end.is_some() && !std::mem::replace(&mut self.skips, false) {
                let mut part = take(&mut self.begun);
                if is_text && part.last() == Some(&b'\r') {
                    part.pop();
                }
                return Poll::Ready(Ok(Some((start, part))));
            }
            share.spend(taken);
            if share.is_spent() {
                step_back(cx);
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl<R: AsyncBufRead + Unpin> Stream for Split<R> {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_part(cx).map(Result::transpose)
    }
}

impl<R: fmt::Debug> fmt::Debug for Split<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split")
            .field("reader", &self.reader)
            .field("end", &char::from(self.end))
            .field("longest", &self.longest)
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}

/// Where the first `byte` is. `skip_until` has the standard library's fast search, which is not to be had by itself.
fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut rest = bytes;
    let count = rest.skip_until(byte).unwrap_or(0); // it has no errors on a slice
    let last = count.checked_sub(1)?;
    (bytes[last] == byte).then_some(last)
}
