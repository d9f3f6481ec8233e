//! tokio's traits on our streams: by tokio's own helpers, under a codec, and where they are easily got wrong.
//!
//! Nothing of tokio's runtime runs here.
//!
//! Comes from: main.rs. Goes to: net's feature `tokio-io`.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{SinkExt, StreamExt};
use net::{MemoryStream, TcpStream};
use runtime::testing::{Hostile, check, duplex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::codec::{Framed, LinesCodec};

use crate::noise;
use crate::support::counters::{CountingWaker, until_async};
use crate::support::sockets::net_tcp;
use crate::support::{run, within};

/// Writes `bytes` in one half and reads them back in the other, over what the peer echoes.
async fn there_and_back<R, W>(mut reader: R, mut writer: W, bytes: &[u8]) -> Vec<u8>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let write = async {
        writer.write_all(bytes).await.unwrap();
        writer.flush().await.unwrap();
        writer.shutdown().await.unwrap();
        writer.shutdown().await.unwrap(); // once more is no error
    };
    let mut echo = Vec::new(); // grows by space that is not initialized
    let read = async { reader.read_to_end(&mut echo).await.unwrap() };
    futures_lite::future::zip(write, read).await;
    echo
}

#[test]
fn a_megabyte_comes_back_through_each_kind_of_half() {
    run(async || {
        let bytes = noise(1_000_000);
        for kind in 0..3 {
            let (stream, mut peer) = net_tcp();
            let echo = std::thread::spawn(move || {
                let mut all = Vec::new();
                peer.read_to_end(&mut all).unwrap();
                peer.write_all(&all).unwrap();
            });
            let came = match kind {
                0 => there_and_back(&stream, &stream, &bytes).await,
                1 => {
                    let (reader, writer) = stream.split();
                    there_and_back(reader, writer, &bytes).await
                }
                _ => {
                    let (reader, writer) = stream.into_split();
                    there_and_back(reader, writer, &bytes).await
                }
            };
            assert!(came == bytes, "{kind}: {} bytes, or others", came.len());
            echo.join().unwrap();
        }
    });
}

#[test]
fn a_codec_of_tokio_util_sees_lines() {
    within(60, || {
        check(0..50, async |seed| {
            let (here, there) = duplex(64);
            let there = MemoryStream::from(there.hostile(Hostile::new(seed).chunks(5)));
            let echo = runtime::spawn(async move {
                let mut lines = Framed::new(there, LinesCodec::new());
                while let Some(line) = lines.next().await {
                    lines.send(line.unwrap().to_uppercase()).await.unwrap();
                }
            });
            let mut lines = Framed::new(MemoryStream::from(here), LinesCodec::new());
            for line in ["one", "", "and a longer one"] {
                lines.send(line).await.unwrap();
                assert_eq!(lines.next().await.unwrap().unwrap(), line.to_uppercase());
            }
            lines.get_mut().shutdown().await.unwrap();
            assert!(lines.next().await.is_none());
            echo.await.unwrap();
        });
    });
}

#[test]
fn a_read_fills_what_is_free_whether_it_is_initialized_or_not() {
    run(async || {
        let (mut stream, mut peer) = net_tcp();
        let (wakes, waker) = CountingWaker::new();
        let mut cx = Context::from_waker(&waker);
        let mut read = |stream: &mut TcpStream, buffer: &mut ReadBuf<'_>| {
            AsyncRead::poll_read(Pin::new(stream), &mut cx, buffer).map(Result::unwrap)
        };

        let mut none = ReadBuf::new(&mut []);
        assert!(read(&mut stream, &mut none).is_ready(), "no space, no wait");
        let mut space = [MaybeUninit::uninit(); 16];
        let mut buffer = ReadBuf::uninit(&mut space);
        buffer.put_slice(b"before ");
        assert!(read(&mut stream, &mut buffer).is_pending(), "and that was not the end");

        peer.write_all(b"hello, world, and more").unwrap();
        until_async(|| wakes.wakes() > 0).await;
        assert_eq!(read(&mut stream, &mut buffer), Poll::Ready(()));
        assert_eq!(buffer.filled(), b"before hello, wo", "behind what was there, up to its end");
        assert_eq!(buffer.initialized().len(), 16);
        buffer.set_filled(4); // all is initialized now
        assert_eq!(read(&mut stream, &mut buffer), Poll::Ready(()));
        assert_eq!(buffer.filled(), b"beforld, and mor");
        buffer.clear();
        assert_eq!(read(&mut stream, &mut buffer), Poll::Ready(()));
        assert_eq!(buffer.filled(), b"e");

        drop(peer);
        stream.readable().await.unwrap();
        buffer.clear();
        assert_eq!(read(&mut stream, &mut buffer), Poll::Ready(()));
        assert_eq!(buffer.filled(), b"", "the end");
    });
}

#[test]
fn several_slices_are_one_write() {
    run(async || {
        let (mut stream, mut peer) = net_tcp();
        assert!(AsyncWrite::is_write_vectored(&stream));
        let slices = [&b"one "[..], b"", b"two"].map(IoSlice::new);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let written = AsyncWrite::poll_write_vectored(Pin::new(&mut stream), &mut cx, &slices);
        assert!(matches!(written, Poll::Ready(Ok(7))), "{written:?}");
        let nothing = AsyncWrite::poll_write(Pin::new(&mut stream), &mut cx, b"");
        assert!(matches!(nothing, Poll::Ready(Ok(0))), "and it ends nothing: {nothing:?}");
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "one two");
    });
}
