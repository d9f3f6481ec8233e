//! How do crates that are written against tokio's traits, but not against its runtime, run here?
//!
//! h2, tokio-util's codecs, tokio-rustls and tokio-tungstenite ask for [`tokio::io::AsyncRead`] and [`tokio::io::AsyncWrite`], and for
//! nothing else of tokio. So connections, their halves and streams in memory have these traits. A crate that opens
//! sockets or spawns tasks itself needs tokio's runtime: async-compat gives it one.
//!
//! **Reading.** tokio's `ReadBuf` knows how much of it is initialized. If all that is free is, the kernel writes into it; else
//! into the thread's lent buffer, and what came is copied. Nothing is ever zeroed (hyper.rs has the argument).
//!
//! **Writing.** As by futures-io's traits: nothing is held back, `writev` is one call, shutting down ends the direction and may be
//! said twice.
//!
//! What it does not do: tokio's time, tasks, and seeking.
//!
//! Comes from: those crates. Goes to: connection.rs, memory.rs.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Connection, MemoryStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};

macro_rules! reads {
    ($($reader:ty),*) => {$(
        impl<S: AsFd> AsyncRead for $reader {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let connection: &Connection<S> = (*self).as_ref();
                poll_read(connection, cx, buffer)
            }
        }
    )*};
}

/// A method of futures-io's trait, which goes by the same names.
macro_rules! through {
    ($writer:ident, $method:ident($cx:ident $(, $argument:ident)?)) => {{
        let mut connection: &Connection<S> = (*$writer).as_ref();
        futures_io::AsyncWrite::$method(Pin::new(&mut connection), $cx $(, $argument)?)
    }};
}

macro_rules! writes {
    ($($writer:ty),*) => {$(
        impl<S: AsFd> AsyncWrite for $writer {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                through!(self, poll_write(cx, bytes))
            }

            /// Nothing is held back, so there is nothing to flush.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the write direction.
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                through!(self, poll_close(cx))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                through!(self, poll_write_vectored(cx, buffers))
            }
        }
    )*};
}

reads!(Connection<S>, &Connection<S>, ReadHalf<'_, S>, OwnedReadHalf<S>);
writes!(Connection<S>, &Connection<S>, WriteHalf<'_, S>, OwnedWriteHalf<S>);

fn poll_read<S: AsFd>(
    connection: &Connection<S>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let free = buffer.remaining();
    if free == 0 {
        return Poll::Ready(Ok(())); // else it would wait for bytes that it cannot take
    }
    let socket = connection.as_socket();
    if buffer.initialized().len() < buffer.capacity() {
        return socket.poll_recv_lent(cx, free, |bytes| buffer.put_slice(bytes));
    }
    let slice = buffer.initialize_unfilled(); // which it is already
    socket.poll_recv_with(cx, |_| socket.try_recv(slice)).map_ok(|count| buffer.advance(count))
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        runtime::with_lent_buffer(buffer.remaining(), |bytes| {
            // The stream's own method, of the same name.
            (**self).poll_read(cx, bytes).map_ok(|count| buffer.put_slice(&bytes[..count]))
        })
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_write(cx, bytes)
    }

    /// Nothing is held back, so there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the write direction.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
