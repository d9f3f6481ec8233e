//! Is nothing read, and nothing written, at once, whatever kind of stream it is?
//!
//! POSIX has a read into an empty buffer and a write of one give zero, and a caller whose buffer happens to be empty is not
//! to wait for bytes that it cannot take. Here each stream has nothing to read and no room to write when it is asked, in
//! each of its forms. Datagrams are different: an empty one is a message (datagram.rs).
//!
//! Comes from: main.rs. Goes to: every stream of runtime and net.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};
use net::{Buffered, Connection, MemoryStream, TcpListener, TcpStream, UnixStream};
use runtime::testing::{Hostile, duplex};
use runtime::{PipeReader, PipeWriter, yield_now};

use crate::support::run;

/// The future is ready at its first poll, with zero.
fn at_once(what: &str, future: impl Future<Output = io::Result<usize>>) {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(0)) => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// By futures-io's traits.
fn traits_at_once<S: AsyncRead + AsyncWrite + Unpin + Debug>(stream: &mut S) {
    reads_at_once(stream);
    writes_at_once(stream);
}

fn reads_at_once<S: AsyncRead + Unpin + Debug>(stream: &mut S) {
    let what = format!("{stream:?}");
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut [])));
    let (mut one, mut other) = ([], []);
    let mut empty = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_read_vectored(cx, &mut empty)));
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_read_vectored(cx, &mut [])));
}

fn writes_at_once<S: AsyncWrite + Unpin + Debug>(stream: &mut S) {
    let what = format!("{stream:?}");
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, &[])));
    let empty = [IoSlice::new(&[]), IoSlice::new(&[])];
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, &empty)));
    at_once(&what, poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, &[])));
}

/// By all methods of a connection and its halves, which has nothing to read and no room.
async fn connection_at_once<S: std::os::fd::AsFd>(stream: Connection<S>) {
    while stream.try_write(&[0; 1 << 16]).is_ok() {}
    assert!(stream.try_read(&mut [0]).is_err());
    yield_now().await;
    while stream.try_write(&[0; 1 << 16]).is_ok() {}
    let (mut one, mut other) = ([], []);
    at_once("read", stream.read(&mut []));
    at_once("peek", stream.peek(&mut []));
    let mut empty = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
    at_once("read_vectored", stream.read_vectored(&mut empty));
    at_once("read_exact", async { stream.read_exact(&mut []).await.map(|()| 0) });
    at_once("write", stream.write(&[]));
    at_once("write_vectored", stream.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[])]));
    at_once("write_all", async { stream.write_all(&[]).await.map(|()| 0) });
    assert_eq!((stream.try_read(&mut []).unwrap(), stream.try_write(&[]).unwrap()), (0, 0));
    traits_at_once(&mut &stream);
    let (mut reader, mut writer) = stream.split();
    at_once("read", reader.read(&mut []));
    at_once("peek", reader.peek(&mut []));
    at_once("write", writer.write(&[]));
    reads_at_once(&mut reader);
    writes_at_once(&mut writer);
    traits_at_once(&mut Buffered::new(&stream));
    let (reader, writer) = stream.into_split();
    at_once("read", reader.read(&mut []));
    at_once("write", writer.write(&[]));
    at_once("write_vectored", writer.write_vectored(&[IoSlice::new(&[])]));
}

#[test]
fn an_empty_read_or_write_of_a_socket_gives_zero_at_once() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _server = listener.accept().await.unwrap();
        connection_at_once(client).await;
        let (ours, _theirs) = UnixStream::pair().unwrap();
        connection_at_once(ours).await;
    });
}

#[test]
fn an_empty_read_or_write_of_a_pipe_gives_zero_at_once() {
    run(async || {
        let (reader, _other_writer) = io::pipe().unwrap();
        let (_other_reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (PipeReader::new(reader).unwrap(), PipeWriter::new(writer).unwrap());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(reader.poll_read(cx, &mut [0]).is_pending());
        while writer.poll_write(cx, &[0; 1 << 12]).is_ready() {
            yield_now().await; // each poll has so many operations
        }
        at_once("read", reader.read(&mut []));
        at_once("poll_read", poll_fn(|cx| reader.poll_read(cx, &mut [])));
        at_once("write", writer.write(&[]));
        at_once("poll_write", poll_fn(|cx| writer.poll_write(cx, &[])));
        at_once("write_all", async { writer.write_all(&[]).await.map(|()| 0) });
    });
}

#[test]
fn an_empty_read_or_write_of_a_stream_in_memory_gives_zero_at_once() {
    run(async || {
        for hostile in [false, true] {
            let (ours, theirs) = duplex(4);
            let ours = if hostile { ours.hostile(Hostile::new(7)) } else { ours };
            at_once("read", ours.read(&mut []));
            at_once("write", ours.write(&[]));
            let mut stream = MemoryStream::from(ours);
            if !hostile {
                stream.write_all(b"full").await.unwrap();
            }
            traits_at_once(&mut stream);
            traits_at_once(&mut &stream);
            traits_at_once(&mut Buffered::new(&stream));
            drop(theirs);
            at_once("after the end", stream.write(&[]));
        }
    });
}
