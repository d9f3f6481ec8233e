//! How does hyper run here?
//!
//! It asks a runtime for three things, and each is a trait in `hyper::rt`:
//!
//! | hyper asks for            | it gets                                                                       |
//! |---------------------------|-------------------------------------------------------------------------------|
//! | bytes: `Read` and `Write` | [`Connection`] and [`MemoryStream`] themselves; [`HyperIo`] around any other stream of futures-io's traits, TLS say |
//! | tasks: `Executor`         | [`HyperExecutor`]: `runtime::spawn`, so futures and services need not be `Send` |
//! | time: `Timer`             | [`HyperTimer`]: the runtime's clock. A test's clock drives hyper's timeouts, too |
//!
//! **Reading.** hyper lends a buffer that may be uninitialized, of 8 KiB at first and up to some hundred for a body that flows.
//! One who has no unsafe code can zero all of it and have the kernel write into it, or have the kernel write into the thread's
//! lent buffer and copy what has come. Zeroing costs by what might come, each time again, because hyper does not remember what
//! is initialized; copying costs by what came: 100 bytes of a request, not 8 KiB. And what came is in the cache.
//!
//! **Writing.** Head and body of a response go out in one `writev`; hyper asks first whether that is worth it, and is told yes.
//! Nothing is held back, so flushing does nothing. Shutting down ends the write direction; once more is no error.
//!
//! What it does not do: accept ([`serve`](crate::serve) does), limit, pool a client's connections. HTTP is hyper's.
//!
//! Comes from: hyper's connections. Goes to: connection.rs, `runtime::with_lent_buffer`, `runtime::spawn`, `runtime::sleep`.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};

use crate::stock::overstated;
use crate::{Connection, MemoryStream};

impl<S: AsFd> Read for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if cursor.remaining() == 0 {
            return Poll::Ready(Ok(())); // else it would wait for bytes that it cannot take
        }
        let max = cursor.remaining();
        self.as_socket().poll_recv_lent(cx, max, |bytes| cursor.put_slice(bytes))
    }
}

impl Read for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        read_through(self, cx, cursor)
    }
}

/// A stream with futures-io's traits, as hyper's `Read` and `Write`.
///
/// Not needed for this crate's own streams, which have those traits themselves.
///
/// ```
/// use hyper::rt::{Read, ReadBuf, Write};
/// use net::{HyperIo, MemoryStream};
/// use std::{future::poll_fn, pin::Pin};
///
/// runtime::block_on(async {
///     let (here, there) = runtime::testing::duplex(1024);
///     let mut here = HyperIo::new(MemoryStream::from(here)); // as it would be with a TLS stream
///     let mut there = HyperIo::new(MemoryStream::from(there));
///     poll_fn(|cx| Pin::new(&mut here).poll_write(cx, b"GET /")).await?;
///     let mut buffer = [0; 64];
///     let mut buffer = ReadBuf::new(&mut buffer);
///     poll_fn(|cx| Pin::new(&mut there).poll_read(cx, buffer.unfilled())).await?;
///     assert_eq!(buffer.filled(), b"GET /");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HyperIo<T> {
    stream: T,
}

impl<T> HyperIo<T> {
    /// Wraps `stream`.
    pub fn new(stream: T) -> Self {
        HyperIo { stream }
    }

    /// The stream inside.
    ///
    /// ```
    /// let io = net::HyperIo::new(&b"not yet read"[..]);
    /// assert_eq!(io.get_ref().len(), 12);
    /// assert_eq!(io.into_inner(), b"not yet read"); // say after hyper has upgraded the connection
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The stream again.
    pub fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: AsyncRead + Unpin> Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        read_through(Pin::new(&mut self.stream), cx, cursor)
    }
}

/// Reads by futures-io's trait, with the thread's buffer in between.
fn read_through<R: AsyncRead>(
    reader: Pin<&mut R>,
    cx: &mut Context<'_>,
    mut cursor: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    if cursor.remaining() == 0 {
        return Poll::Ready(Ok(()));
    }
    runtime::with_lent_buffer(cursor.remaining(), |buffer| {
        reader.poll_read(cx, buffer).map(|count| {
            let bytes = buffer.get(..count?).ok_or_else(overstated)?;
            cursor.put_slice(bytes);
            Ok(())
        })
    })
}

/// `Write` is futures-io's `AsyncWrite` under other names: that of `$writer`, which is made from `$this`. `$vectored`: whether
/// that writes several slices in one call.
macro_rules! writes {
    ($(impl[$($bounds:tt)*] $stream:ty, |$this:ident| $writer:expr, $vectored:expr;)*) => {$(
        #[allow(unused_mut, reason = "not every writer is made from it by &mut")]
        impl<$($bounds)*> Write for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                if bytes.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                let mut $this = self;
                Pin::new($writer).poll_write(cx, bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let mut $this = self;
                Pin::new($writer).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let mut $this = self;
                Pin::new($writer).poll_close(cx)
            }

            fn is_write_vectored(&self) -> bool {
                $vectored
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                if buffers.iter().all(|buffer| buffer.is_empty()) {
                    return Poll::Ready(Ok(0));
                }
                let mut $this = self;
                Pin::new($writer).poll_write_vectored(cx, buffers)
            }
        }
    )*};
}

writes! {
    impl[S: AsFd] Connection<S>, |this| &mut &*this, true;
    impl[] MemoryStream, |this| &mut &*this, false;
    // futures-io cannot say whether a stream has more than its default, which writes the first slice alone: two packets, or
    // two records of TLS, for one response. So hyper is to join small pieces itself.
    impl[T: AsyncWrite + Unpin] HyperIo<T>, |this| &mut this.stream, false;
}

/// Spawns hyper's tasks (those of HTTP/2) on this thread's runtime. They are detached: hyper tells them when to end.
///
/// It is hyper's `Executor` for futures that are not `Send`, too, so services may hold an `Rc`. Given to
/// `hyper::server::conn::http2::Builder::new(HyperExecutor)`, to the client's, or to hyper-util's `auto::Builder`.
///
/// ```
/// use hyper::rt::Executor;
/// use std::{cell::Cell, rc::Rc};
///
/// runtime::block_on(async {
///     let done = Rc::new(Cell::new(false));
///     let mark = Rc::clone(&done);
///     net::HyperExecutor.execute(async move { mark.set(true) });
///     runtime::yield_now().await;
///     assert!(done.get());
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperExecutor;

impl<F> Executor<F> for HyperExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    /// # Panics
    /// Outside of a runtime.
    fn execute(&self, future: F) {
        drop(runtime::spawn(future));
    }
}

/// hyper's time is the runtime's: header timeouts, keep-alive pings, dates.
///
/// Give it to each builder: `.timer(HyperTimer)`. A builder without a timer has no timeouts, and one that has a timeout set, too,
/// panics when it serves.
///
/// ```
/// use hyper::rt::Timer;
/// use std::time::Duration;
///
/// runtime::testing::run(async {
///     let start = net::HyperTimer.now();
///     net::HyperTimer.sleep(Duration::from_secs(3600)).await; // a test's hour takes no time
///     assert_eq!(net::HyperTimer.now() - start, Duration::from_secs(3600));
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperTimer;

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(runtime::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(runtime::sleep_until(deadline)))
    }

    fn now(&self) -> Instant {
        runtime::now()
    }

    /// In place. hyper polls it again after this, as it must for any timer: who waited is not woken by the old time.
    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().0.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// The runtime's, under hyper's trait.
struct Sleep(runtime::Sleep);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}
