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
