//! hyper over streams in memory: its timeouts on a clock that jumps, and a network that is against it.
//!
//! What takes seconds of hyper's time takes none here, and is exact. What a kernel does once a year (a read of one byte, a write
//! of two, Pending in between) happens in each run, in an order that follows from a seed.
//!
//! Comes from: main.rs. Goes to: hyper, over `net::MemoryStream`.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBuf, Timer, Write};
use hyper::service::service_fn;
use hyper::{Request, Response, server};
use net::{HyperExecutor, HyperIo, HyperTimer, MemoryStream};
use runtime::testing::{self, Hostile, duplex};

use crate::noise;
use crate::support::{counters::CountingWaker, run, within};

async fn echo(request: Request<Incoming>) -> Result<Response<Incoming>, hyper::Error> {
    Ok(Response::new(request.into_body()))
}

fn streams() -> (MemoryStream, MemoryStream) {
    let (here, there) = duplex(64 * 1024);
    (here.into(), there.into())
}

/// Reads a response's head.
async fn head(client: &MemoryStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_test_s_clock_drives_the_timeout_for_a_request_s_head() {
    within(60, || {
        let real = Instant::now();
        testing::run(async {
            let (client, stream) = streams();
            let connection = server::conn::http1::Builder::new()
                .timer(HyperTimer)
                .header_read_timeout(PATIENCE)
                .serve_connection(stream, service_fn(echo));
            let start = runtime::now();
            let connection = runtime::spawn(async { (connection.await, runtime::now()) });
            client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
            let (result, end) = connection.await.unwrap();
            assert!(result.unwrap_err().is_timeout());
            assert_eq!(end - start, PATIENCE, "to the nanosecond");
        });
        assert!(real.elapsed() < PATIENCE, "it took real time");
    });
}

#[test]
fn each_request_has_the_whole_time_for_its_head() {
    testing::run(async {
        let (client, stream) = streams();
        let connection = server::conn::http1::Builder::new()
            .timer(HyperTimer)
            .header_read_timeout(PATIENCE)
            .serve_connection(stream, service_fn(echo));
        let connection = runtime::spawn(async { (connection.await, runtime::now()) });
        for _ in 0..5 {
            runtime::sleep(PATIENCE * 2 / 3).await;
            client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
            assert!(head(&client).await.starts_with("HTTP/1.1 200 OK"));
        }
        let answered = runtime::now();
        let (_, end) = connection.await.unwrap();
        assert_eq!(end - answered, PATIENCE, "the timer is set anew with each request");
    });
}

#[test]
fn an_http_2_client_that_falls_silent_is_asked_and_given_up() {
    testing::run(async {
        let (client, stream) = streams();
        let (ask_after, give_up) = (Duration::from_secs(20), Duration::from_secs(10));
        let connection = server::conn::http2::Builder::new(HyperExecutor)
            .timer(HyperTimer)
            .keep_alive_interval(Some(ask_after))
            .keep_alive_timeout(give_up)
            .serve_connection(stream, service_fn(echo));
        let start = runtime::now();
        let connection = runtime::spawn(async { (connection.await, runtime::now()) });
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(); // settings, none
        let (result, end) = connection.await.unwrap();
        let error = result.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(end - start, ask_after + give_up);
    });
}

#[test]
fn a_sleep_is_reset_in_place() {
    testing::run(async {
        let start = runtime::now();
        let mut sleep = HyperTimer.sleep_until(start + Duration::from_secs(1));
        let place = &raw const *sleep.as_ref() as *const ();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        HyperTimer.reset(&mut sleep, start + Duration::from_secs(7));
        assert_eq!(&raw const *sleep.as_ref() as *const (), place, "nothing was allocated");
        sleep.await;
        assert_eq!(HyperTimer.now() - start, Duration::from_secs(7));
        HyperTimer.sleep(Duration::from_secs(2)).await;
        assert_eq!(HyperTimer.now() - start, Duration::from_secs(9));
    });
}

#[test]
fn hyper_s_types_cross_threads_as_hyper_wants() {
    fn crosses<T: Send + Sync + Unpin>(_: T) {}
    crosses(HyperTimer);
    crosses(HyperExecutor);
    crosses(HyperIo::new(7)); // as what is inside
    crosses(HyperTimer.sleep(PATIENCE));
}

#[test]
fn bytes_pass_a_hostile_network_unharmed() {
    within(120, || {
        let body = Bytes::from(noise(20_000));
        testing::check(0..60, async |seed| {
            let (here, there) = duplex(4096);
            let here = MemoryStream::from(here.hostile(Hostile::new(seed).chunks(700)));
            let there = MemoryStream::from(there.hostile(Hostile::new(!seed).chunks(700)));
            let request = Request::post("http://here/").body(Full::new(body.clone())).unwrap();
            // Both versions, and the stream itself as well as in the wrapper.
            let response = if seed % 2 == 0 {
                runtime::spawn(
                    server::conn::http1::Builder::new().serve_connection(there, service_fn(echo)),
                );
                let (mut client, connection) =
                    hyper::client::conn::http1::handshake(HyperIo::new(here)).await.unwrap();
                runtime::spawn(connection);
                client.send_request(request).await
            } else {
                let connection = server::conn::http2::Builder::new(HyperExecutor)
                    .serve_connection(HyperIo::new(there), service_fn(echo));
                runtime::spawn(connection);
                let (mut client, connection) =
                    hyper::client::conn::http2::handshake(HyperExecutor, here).await.unwrap();
                runtime::spawn(connection);
                client.send_request(request).await
            };
            let echoed = response.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert!(echoed == body, "{} bytes, or others", echoed.len());
        });
    });
}

/// One poll of hyper's `Read`, into `space` bytes that are not initialized.
fn read_once(stream: &mut (impl Read + Unpin), space: usize, waker: &Waker) -> Poll<Vec<u8>> {
    let mut bytes = vec![std::mem::MaybeUninit::uninit(); space];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    let result = Pin::new(stream).poll_read(&mut Context::from_waker(waker), buffer.unfilled());
    result.map(|result| {
        result.unwrap();
        buffer.filled().to_vec()
    })
}

#[test]
fn hyper_s_traits_mean_on_sockets_what_they_say() {
    run(async || {
        let (mut stream, peer) = crate::support::sockets::net_tcp();
        let (wakes, waker) = CountingWaker::new();
        let mut cx = Context::from_waker(&waker);
        assert!(read_once(&mut stream, 8, &waker).is_pending());
        assert_eq!(read_once(&mut stream, 0, &waker), Poll::Ready(vec![]), "no space, no wait");
        assert!(read_once(&mut stream, 8, &waker).is_pending(), "and that was not the end");

        std::io::Write::write_all(&mut &peer, b"hello").unwrap();
        crate::support::counters::until_async(|| wakes.wakes() > 0).await;
        assert_eq!(read_once(&mut stream, 3, &waker), Poll::Ready(b"hel".to_vec()));
        assert_eq!(read_once(&mut stream, 8, &waker), Poll::Ready(b"lo".to_vec()));

        assert!(stream.is_write_vectored());
        let slices = [&b"one "[..], b"", b"two"].map(std::io::IoSlice::new);
        let written = Write::poll_write_vectored(Pin::new(&mut stream), &mut cx, &slices);
        assert!(matches!(written, Poll::Ready(Ok(7))), "in one call: {written:?}");
        for _ in 0..2 {
            let ended = Write::poll_shutdown(Pin::new(&mut stream), &mut cx);
            assert!(matches!(ended, Poll::Ready(Ok(()))), "twice is no error: {ended:?}");
        }
        let mut all = String::new();
        std::io::Read::read_to_string(&mut &peer, &mut all).unwrap();
        assert_eq!(all, "one two");
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        stream.readable().await.unwrap();
        assert_eq!(read_once(&mut stream, 8, &waker), Poll::Ready(vec![]), "the end");
    });
}

/// A stream of futures-io's traits that is read by borrowing the thread's buffer once more, holds back what is written until
/// it is flushed, and may claim to have read more than there is room for.
#[derive(Default)]
struct Difficult {
    gives: Vec<u8>,
    claims: Option<usize>,
    held: usize,
    flushed: usize,
}

impl futures_lite::AsyncRead for Difficult {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        if let Some(claims) = self.claims {
            return Poll::Ready(Ok(claims));
        }
        let count = buffer.len().min(self.gives.len());
        for (byte, given) in buffer.iter_mut().zip(self.gives.drain(..count)) {
            *byte = given;
            runtime::with_lent_buffer(64, |other| other.fill(b'?')); // another one
        }
        Poll::Ready(Ok(count))
    }
}

impl futures_lite::AsyncWrite for Difficult {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.held += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.flushed += std::mem::take(&mut self.held);
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[test]
fn the_wrapper_passes_on_all_that_its_stream_can_do() {
    let mut cx = Context::from_waker(Waker::noop());
    let gives = b"hello".to_vec();
    let mut stream = HyperIo::new(Difficult { gives, ..Default::default() });
    assert_eq!(read_once(&mut stream, 0, Waker::noop()), Poll::Ready(vec![]));
    assert_eq!(read_once(&mut stream, 4, Waker::noop()), Poll::Ready(b"hell".to_vec()));
    assert!(Write::poll_write(Pin::new(&mut stream), &mut cx, b"abc").is_ready());
    assert_eq!(stream.get_ref().flushed, 0);
    assert!(Write::poll_flush(Pin::new(&mut stream), &mut cx).is_ready());
    assert_eq!(stream.get_ref().flushed, 3);
    // Its write of several slices writes the first alone, so hyper is to join them itself.
    assert!(!stream.is_write_vectored() && !streams().0.is_write_vectored());
}

#[test]
fn a_reader_that_claims_too_much_is_an_error_and_no_panic() {
    let mut stream = HyperIo::new(Difficult { claims: Some(9), ..Default::default() });
    let mut bytes = [0; 8];
    let mut buffer = ReadBuf::new(&mut bytes);
    let mut cx = Context::from_waker(Waker::noop());
    let result = Pin::new(&mut stream).poll_read(&mut cx, buffer.unfilled());
    assert!(matches!(result, Poll::Ready(Err(_))), "{result:?}");
    assert_eq!(buffer.filled(), b"");
}

#[test]
fn a_stream_in_memory_waits_for_no_space_and_ends_when_shut_down() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut here, mut there) = streams();
    assert_eq!(read_once(&mut here, 0, Waker::noop()), Poll::Ready(vec![]), "no space, no wait");
    let mut none = tokio::io::ReadBuf::new(&mut []);
    assert!(tokio::io::AsyncRead::poll_read(Pin::new(&mut here), &mut cx, &mut none).is_ready());
    assert!(read_once(&mut here, 8, Waker::noop()).is_pending());
    assert!(tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut there), &mut cx).is_ready());
    assert_eq!(read_once(&mut here, 8, Waker::noop()), Poll::Ready(vec![]), "the end");
    assert!(Write::poll_shutdown(Pin::new(&mut here), &mut cx).is_ready());
    assert_eq!(read_once(&mut there, 8, Waker::noop()), Poll::Ready(vec![]), "the other, too");
}
