//! How does a task read from a pipe, and write into one?
//!
//! As from a socket: a pipe's end is a descriptor that the kernel can watch. What differs is the call (read and write,
//! not recv and send), so these two types stand on `AsyncSocket::read_with` and `write_with`.
//!
//! Rules kept here:
//! - A FIFO that no writer has opened yet is waited for. The kernel's read gives zero then, as at the end; that it was the
//!   end it says by a hang-up alone, which comes once the last writer has gone.
//! - Only our end is made non-blocking. The flag belongs to an open file, and the two ends of a pipe are two open files,
//!   so the process at the other end does not notice. Whoever is handed our own end does: [`PipeReader::into_blocking`]
//!   takes the flag off again.
//! - To drop a [`PipeWriter`] is how the other side learns that nothing more will come. To drop a [`PipeReader`] is how
//!   it learns that nobody reads.
//! - What has been read stands in the caller's buffer, even if the future that read it is dropped.
//!
//! What it does not do: buffer, or implement futures-io's traits (their crate is none of this one's four; `poll_read` and
//! `poll_write` are what such an implementation needs).
//!
//! Comes from: process.rs, or anybody with a pipe. Goes to: async_socket.rs.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::AsyncSocket;
use crate::sys::os::{self, pipe};

/// What one operation reads at most: a pipe's usual size. 128 operations make a poll, so 8 MiB do.
const CHUNK: u64 = 1 << 16;

/// The reading end of a pipe: of [`std::io::pipe`], or a child's output. Like an [`AsyncSocket`], it stays in its runtime.
///
/// ```
/// use runtime::{PipeReader, PipeWriter};
///
/// runtime::block_on(async {
///     let (reader, writer) = std::io::pipe()?;
///     let (reader, writer) = (PipeReader::new(reader)?, PipeWriter::new(writer)?);
///     writer.write_all(b"hello").await?;
///     drop(writer);
///     let mut all = Vec::new();
///     reader.read_to_end(&mut all).await?;
///     assert_eq!(all, b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeReader(AsyncSocket<io::PipeReader>);

/// The writing end of a pipe: of [`std::io::pipe`], or a child's input.
///
/// ```
/// use runtime::{PipeReader, PipeWriter};
/// use std::io::ErrorKind::BrokenPipe;
///
/// runtime::block_on(async {
///     let (reader, writer) = std::io::pipe()?;
///     let (reader, writer) = (PipeReader::new(reader)?, PipeWriter::new(writer)?);
///     assert_eq!(writer.write(b"hello").await?, 5);
///     assert_eq!(reader.read(&mut [0; 64]).await?, 5);
///     drop(reader);
///     assert_eq!(writer.write(b"anybody?").await.unwrap_err().kind(), BrokenPipe);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeWriter(AsyncSocket<io::PipeWriter>);

impl PipeReader {
    /// Takes the end into the current runtime's care, and makes it non-blocking.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if this is a pipe's writing end; and as [`AsyncSocket::new`].
    pub fn new(end: impl Into<OwnedFd>) -> io::Result<Self> {
        let end = end.into();
        if !pipe::has_access(end.as_fd(), false)? {
            return Err(wrong_end("a PipeReader", "for writing", "reading end, or a PipeWriter"));
        }
        let socket = AsyncSocket::new(io::PipeReader::from(end))?;
        Ok(PipeReader(socket.with_label(|_, f| f.write_str("pipe"))))
    }

    /// Reads some bytes into `buffer`: as many as there are, at least one. Zero is the end: all writers have closed their
    /// ends. An empty buffer gives zero at once. A FIFO (a named pipe) that has not had a writer yet is waited for.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has read nothing.
    pub fn read<'a>(&'a self, buffer: &'a mut [u8]) -> impl Future<Output = io::Result<usize>> {
        let is_empty = buffer.is_empty();
        let mut read = self.0.read_with(move |end| End(end).read(buffer));
        poll_fn(move |cx| if is_empty { Poll::Ready(Ok(0)) } else { Pin::new(&mut read).poll(cx) })
    }

    /// Reads until the end, and appends it all to `buffer`, however much that is. Gives how many bytes were appended. Whoever
    /// cannot trust the other side's modesty reads piece by piece.
    ///
    /// # Errors
    /// The kernel's. What was read before is in the buffer.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, what it has read is in the buffer, and a later call goes on from there.
    pub async fn read_to_end(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let before = buffer.len();
        // What is read before the pipe is empty stays in the buffer, std says, and so it needs no count here.
        while self.0.read_with(|end| End(end).take(CHUNK).read_to_end(buffer)).await? as u64
            == CHUNK
        {}
        Ok(buffer.len() - before)
    }

    /// For `poll_*` methods of traits: [`read`](Self::read) without a future.
    ///
    /// # Errors
    /// As `read`.
    ///
    /// ```
    /// use runtime::{PipeReader, PipeWriter};
    /// use std::future::poll_fn;
    ///
    /// runtime::block_on(async {
    ///     let (reader, writer) = std::io::pipe()?;
    ///     let (reader, writer) = (PipeReader::new(reader)?, PipeWriter::new(writer)?);
    ///     poll_fn(|cx| writer.poll_write(cx, b"hello")).await?;
    ///     let mut buffer = [0; 64];
    ///     let count = poll_fn(|cx| reader.poll_read(cx, &mut buffer)).await?;
    ///     assert_eq!(&buffer[..count], b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_read_with(cx, |end| End(end).read(buffer))
    }

    /// Gives the descriptor back, blocking again, as another process expects to find it:
    /// `command.stdin(reader.into_blocking()?)`.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// ```
    /// use runtime::{PipeReader, PipeWriter, process::Command};
    ///
    /// runtime::block_on(async {
    ///     let (reader, writer) = std::io::pipe()?;
    ///     let (reader, writer) = (PipeReader::new(reader)?, PipeWriter::new(writer)?);
    ///     writer.write_all(b"b\na\n").await?;
    ///     drop(writer);
    ///     let sorted = Command::new("sort").stdin(reader.into_blocking()?).output().await?;
    ///     assert_eq!(sorted.stdout, b"a\nb\n");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_blocking(self) -> io::Result<OwnedFd> {
        blocking(self.0.into_inner().into())
    }
}

impl PipeWriter {
    /// Takes the end into the current runtime's care, and makes it non-blocking.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if this is a pipe's reading end; and as [`AsyncSocket::new`].
    pub fn new(end: impl Into<OwnedFd>) -> io::Result<Self> {
        let end = end.into();
        if !pipe::has_access(end.as_fd(), true)? {
            return Err(wrong_end("a PipeWriter", "for reading", "writing end, or a PipeReader"));
        }
        let socket = AsyncSocket::new(io::PipeWriter::from(end))?;
        Ok(PipeWriter(socket.with_label(|_, f| f.write_str("pipe"))))
    }

    /// Writes some of `bytes`: as many as fit now, at least one. To write nothing gives zero at once.
    ///
    /// # Errors
    /// [`BrokenPipe`](ErrorKind::BrokenPipe) if nobody can read it any more (programs that have taken back Rust's ignoring
    /// of `SIGPIPE` are ended by that signal instead), and the kernel's.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has written nothing.
    pub fn write<'a>(&'a self, bytes: &'a [u8]) -> impl Future<Output = io::Result<usize>> {
        let mut write = self.0.write_with(move |mut end| end.write(bytes));
        poll_fn(move |cx| match bytes.is_empty() {
            true => Poll::Ready(Ok(0)),
            false => Pin::new(&mut write).poll(cx),
        })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// None: dropped before it is ready, it has written some of them, and it cannot be known how many. Use `write` for that.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// For `poll_*` methods of traits: [`write`](Self::write) without a future.
    ///
    /// # Errors
    /// As `write`.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_write_with(cx, |mut end| end.write(bytes))
    }

    /// As [`PipeReader::into_blocking`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn into_blocking(self) -> io::Result<OwnedFd> {
        blocking(self.0.into_inner().into())
    }
}

/// One read, in which a FIFO that awaits its first writer is not at its end.
struct End<'a>(&'a io::PipeReader);

impl Read for End<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) if !buffer.is_empty() && pipe::awaits_first_writer(self.0.as_fd()) => {
                Err(ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }
}

#[cold]
fn wrong_end(what: &str, open: &str, instead: &str) -> io::Error {
    let text =
        format!("{what} of a descriptor that is open {open} alone: take the pipe's {instead}");
    io::Error::new(ErrorKind::InvalidInput, text)
}

fn blocking(end: OwnedFd) -> io::Result<OwnedFd> {
    os::set_blocking(end.as_fd())?;
    Ok(end)
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for PipeWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeReader").field(self.0.get_ref()).finish()
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeWriter").field(self.0.get_ref()).finish()
    }
}
