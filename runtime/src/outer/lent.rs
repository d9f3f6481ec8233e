//! How does a connection that only waits hold no buffer?
//!
//! By borrowing one when there is something to read. The buffer is the thread's; it is lent for the time of one call of a
//! closure, in which no other task can run, so one serves all connections.
//!
//! Comes from: user code, net. Goes to: `AsyncSocket::read_with`, with the buffer in between.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use crate::AsyncSocket;

/// The most that [`AsyncSocket::recv_lent`] lends at a time.
///
/// ```
/// use runtime::{AsyncSocket, LENT_BUFFER};
/// use std::os::unix::net::UnixStream;
///
/// runtime::block_on(async {
///     let (left, right) = UnixStream::pair()?;
///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
///     left.send(b"hello").await?;
///     let word = right.recv_lent(LENT_BUFFER, |bytes| bytes.to_vec()).await?; // whatever is there
///     assert_eq!(word, b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub const LENT_BUFFER: usize = 64 * 1024;

impl<T: AsFd> AsyncSocket<T> {
    /// Receives up to `max` bytes (at most [`LENT_BUFFER`]) into a buffer that belongs to the thread, and lends them to
    /// `use_bytes`. So a connection that waits holds no buffer at all. An empty slice is the end of the stream.
    ///
    /// # Errors, cancel safety
    /// As [`recv`](Self::recv); `use_bytes` is called once, when there is something, or never.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::os::unix::net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
    ///     left.send(b"GET /").await?;
    ///     let is_get = right.recv_lent(1024, |bytes| bytes.starts_with(b"GET ")).await?;
    ///     assert!(is_get);
    ///     drop(left);
    ///     assert!(right.recv_lent(1024, |bytes| bytes.is_empty()).await?, "the end");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_lent<'a, R: 'a>(
        &'a self,
        max: usize,
        use_bytes: impl FnOnce(&[u8]) -> R + 'a,
    ) -> impl Future<Output = io::Result<R>> + 'a {
        let mut use_bytes = Some(use_bytes);
        self.recv_with(move |_| self.try_recv_lent(max, &mut use_bytes))
    }

    /// [`recv_lent`](Self::recv_lent) for `poll_*` methods of traits, as [`poll_read_with`](Self::poll_read_with) is for
    /// `read_with`.
    ///
    /// # Errors
    /// As `recv`.
    ///
    /// ```
    /// use runtime::AsyncSocket;
    /// use std::future::poll_fn;
    /// use std::os::unix::net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (left, right) = (AsyncSocket::new(left)?, AsyncSocket::new(right)?);
    ///     left.send(b"hello").await?;
    ///     let count = poll_fn(|cx| right.poll_recv_lent(cx, 64, |bytes| bytes.len())).await?;
    ///     assert_eq!(count, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_recv_lent<R>(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        let mut use_bytes = Some(use_bytes);
        self.poll_recv_with(cx, |_| self.try_recv_lent(max, &mut use_bytes))
    }

    #[inline]
    fn try_recv_lent<R>(
        &self,
        max: usize,
        use_bytes: &mut Option<impl FnOnce(&[u8]) -> R>,
    ) -> io::Result<R> {
        let mut buffer = LentBuffer::borrow();
        let bytes = buffer.first(max);
        let count = self.try_recv(bytes)?;
        let use_bytes = use_bytes.take().ok_or_else(|| io::Error::other("polled after the end"))?;
        Ok(use_bytes(&bytes[..count]))
    }
}

/// Lends the first `max` bytes (at most [`LENT_BUFFER`]) of the thread's buffer to `use_buffer`. For streams that read into a
/// slice and stand below a trait whose buffers may be uninitialized: what has come is copied, and nothing is zeroed.
///
/// What is in it is what somebody has left there. In `use_buffer` this function and [`AsyncSocket::recv_lent`] may be used
/// again: they lend another one.
///
/// ```
/// use std::io::Read;
/// let mut reader: &[u8] = b"hello";
/// let text = runtime::with_lent_buffer(4, |buffer| {
///     let count = reader.read(buffer)?;
///     Ok::<_, std::io::Error>(buffer[..count].to_vec())
/// })?;
/// assert_eq!(text, b"hell");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn with_lent_buffer<R>(max: usize, use_buffer: impl FnOnce(&mut [u8]) -> R) -> R {
    use_buffer(LentBuffer::borrow().first(max))
}

/// The thread's buffer, out of its place while it is lent. Whoever borrows inside of a borrow gets a new one.
struct LentBuffer {
    /// Empty only while it is dropped.
    bytes: Option<Box<[u8; LENT_BUFFER]>>,
}

thread_local!(static LENT: Cell<Option<Box<[u8; LENT_BUFFER]>>> = const { Cell::new(None) });

impl LentBuffer {
    #[inline]
    fn borrow() -> Self {
        // In the thread's last breaths there is none any more, and a new one is made, and freed.
        LentBuffer { bytes: LENT.try_with(Cell::take).ok().flatten().or_else(Self::make) }
    }

    #[cold]
    fn make() -> Option<Box<[u8; LENT_BUFFER]>> {
        vec![0; LENT_BUFFER].into_boxed_slice().try_into().ok()
    }

    #[inline]
    fn first(&mut self, count: usize) -> &mut [u8] {
        match &mut self.bytes {
            Some(bytes) => &mut bytes[..count.min(LENT_BUFFER)],
            None => &mut [],
        }
    }
}

impl Drop for LentBuffer {
    #[inline]
    fn drop(&mut self) {
        let bytes = self.bytes.take();
        let _ = LENT.try_with(|lent| lent.set(bytes));
    }
}
