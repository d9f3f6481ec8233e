//! HTTP/1 and HTTP/2 over TCP: what curl, ab, wrk and h2load think of examples/hyper.rs, and how it ends.
//!
//! Each client says itself whether it is content; that, and the server's count of connections, is asserted.
//!
//! Comes from: main.rs. Goes to: examples/hyper.rs.

use std::io::{Read, Write};
use std::net::TcpStream;

use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, StatusCode};
use net::HyperExecutor;

use crate::support::{run, within};
use crate::{Scratch, Server, client, client_output, closes_a_silent_client, noise};

#[path = "../examples/hyper_client.rs"]
mod hyper_client;
#[allow(dead_code, reason = "its main")]
#[path = "../examples/hyper.rs"]
pub(crate) mod hyper_server;

use hyper_server::serve_http;

#[test]
fn curl_uses_one_connection_for_several_requests() {
    within(60, || {
        let server = Server::start(serve_http);
        let url = server.url("/");
        let mut arguments = vec!["-sS", "-w", " %{num_connects} %{http_version} %{http_code}\n"];
        arguments.extend([&*url; 3]);
        let Some(text) = client("curl", &arguments) else { return };
        assert_eq!(
            text.replace("Hello, World!\n", ""),
            " 1 1.1 200\n 0 1.1 200\n 0 1.1 200\n",
            "the first request connects, the others need not"
        );
        assert_eq!(server.end().accepted, 1);
    });
}

#[test]
fn a_client_that_sends_nothing_is_closed_by_hyper_s_server() {
    within(60, || closes_a_silent_client(hyper_server::PATIENCE, serve_http));
}

/// One request alone: curl 7.88, which is still about, begins HTTP/2 anew with the second on the same connection. (Under TLS,
/// where it is told by the handshake, it does not: see tls.rs.)
#[test]
fn curl_speaks_http_2() {
    within(60, || {
        let server = Server::start(serve_http);
        let url = server.url("/");
        let arguments =
            ["-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", &url];
        let Some(text) = client("curl", &arguments) else { return };
        assert_eq!(text, "Hello, World!\n2 200");
        server.end();
    });
}

#[test]
fn ten_megabytes_come_back_as_they_went() {
    within(120, || {
        let body = noise(10_000_000);
        let file = Scratch::new("body", &body);
        let data = format!("@{}", file.path());
        let server = Server::start(serve_http);
        let url = server.url("/echo");
        let ways: [&[&str]; 3] =
            [&["--http1.1"], &["-H", "Transfer-Encoding: chunked"], &["--http2-prior-knowledge"]];
        for way in ways {
            let arguments = [way, &["-sS", "--data-binary", &data, &url]].concat();
            let Some(output) = client_output("curl", &arguments) else { return };
            assert!(output.status.success(), "{way:?}: {output:?}");
            assert!(output.stdout == body, "{way:?}: {} bytes, or others", output.stdout.len());
        }
        server.end();
    });
}

#[test]
fn ab_finds_no_failure() {
    within(60, || {
        let server = Server::start(serve_http);
        let url = server.url("/");
        let Some(text) = client("ab", &["-q", "-k", "-c", "20", "-n", "2000", &url]) else {
            return;
        };
        for (what, count) in [
            ("Complete requests:", "2000"),
            ("Failed requests:", "0"),
            ("Keep-Alive requests:", "2000"),
        ] {
            assert_eq!(value(&text, what), count, "{what}\n{text}");
        }
        assert_eq!(server.end().accepted, 20);
    });
}

/// What stands behind `name` in a client's report.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default().trim()
}

#[test]
fn wrk_finds_no_failure() {
    within(60, || {
        let server = Server::start(serve_http);
        let Some(text) = client("wrk", &["-t1", "-c50", "-d1s", &server.url("/")]) else {
            return;
        };
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
        let rate: f64 = value(&text, "Requests/sec:").parse().unwrap();
        assert!(rate > 1.0, "{text}");
        assert!(server.end().accepted >= 50);
    });
}

#[test]
fn h2load_finds_no_failure() {
    within(60, || {
        let server = Server::start(serve_http);
        for way in [&["-m10"][..], &["--h1"]] {
            let url = server.url("/");
            let arguments = [way, &["-c10", "-n2000", &url]].concat();
            let Some(text) = client("h2load", &arguments) else { return };
            assert!(
                text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
                "{way:?}\n{text}"
            );
        }
        assert_eq!(server.end().accepted, 20);
    });
}

#[test]
fn what_is_not_http_gets_a_400() {
    within(60, || {
        let server = Server::start(serve_http);
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"good morning\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        server.end();
    });
}

#[test]
fn the_client_reads_what_the_server_writes() {
    within(60, || {
        let server = Server::start(serve_http);
        runtime::block_on(async {
            let mut text = Vec::new();
            hyper_client::fetch(&server.url("/"), &mut text).await.unwrap();
            assert_eq!(text, b"Hello, World!\n");
            let error = hyper_client::fetch("ftp://localhost/", &mut text).await.unwrap_err();
            assert!(error.to_string().contains("only http://"), "{error}");
        });
        server.end();
    });
}

/// Reads up to where the answer holds `end`.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn at_the_end_idle_connections_close_and_requests_under_way_finish() {
    within(60, || {
        let server = Server::start(serve_http);
        let mut silent = TcpStream::connect(server.address).unwrap();
        let mut idle = TcpStream::connect(server.address).unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        read_until(&mut idle, "Hello, World!\n");
        let mut busy = TcpStream::connect(server.address).unwrap();
        busy.write_all(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nfirst")
            .unwrap();
        let head = read_until(&mut busy, "first");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");

        server.stop.cancel();
        for stream in [&mut silent, &mut idle] {
            assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "it has nothing under way");
        }
        assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
        busy.write_all(b"other").unwrap();
        let mut rest = String::new();
        busy.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "other", "and then the end");
        assert_eq!(server.end().accepted, 3);
    });
}

#[test]
fn at_the_end_a_stream_of_http_2_finishes_and_no_other_begins() {
    run(async || {
        let server = Server::start(serve_http);
        let stream = net::TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(HyperExecutor, stream).await.unwrap();
        let connection = runtime::spawn(connection);

        let (pieces, body) = async_channel::unbounded::<Result<Frame<Bytes>, hyper::Error>>();
        let url = server.url("/echo");
        let request = Request::post(url.as_str()).body(StreamBody::new(body).boxed()).unwrap();
        pieces.send(Ok(Frame::data(Bytes::from_static(b"first")))).await.unwrap();
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first");

        server.stop.cancel();
        // Those that cross its goodbye are still answered.
        let another = || {
            let nothing = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
            sender.clone().send_request(Request::post(url.as_str()).body(nothing).unwrap())
        };
        while another().await.is_ok() {}

        pieces.send(Ok(Frame::data(Bytes::from_static(b"other")))).await.unwrap();
        drop(pieces);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "other");
        drop(sender);
        connection.await.unwrap().unwrap();
        assert_eq!(server.end().accepted, 1);
    });
}
