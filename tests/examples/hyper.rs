//! How does one serve HTTP/1 and HTTP/2 here? With hyper, over `net::serve`.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example hyper              # or: -- 127.0.0.1:8081
//! curl -v http://127.0.0.1:8080/ --next --data-binary @Cargo.toml http://127.0.0.1:8080/echo
//! curl -v --http2-prior-knowledge http://127.0.0.1:8080/
//! wrk -t1 -c50 -d5 http://127.0.0.1:8080/            # for figures, run it with --release
//! h2load -c50 -m10 -n100000 http://127.0.0.1:8080/
//! ```
//!
//! `/` says hello, `/echo` sends a body back while it comes. hyper-util looks at the first bytes for which HTTP it is.
//!
//! | limit                                            | value  | by                        |
//! |--------------------------------------------------|--------|---------------------------|
//! | connections; those beyond wait                   | 10,000 | `net::Limits`             |
//! | time until a client says something               | 10 s   | `timeout`, below          |
//! | time for a request's head, and between requests  | 10 s   | hyper, by `HyperTimer`    |
//! | a head's size                                    | about 400 KiB, 100 fields | hyper's defaults |
//! | an HTTP/2 client that has gone silent: asked after, given | 20 s, 10 s | hyper's pings |
//! | time to finish after Ctrl-C                      | 10 s   | `net::Limits`             |
//!
//! What it leaves open: a client that takes its time over the first 24 bytes, if they look like HTTP/2's; one that sends its
//! body or reads its answer slowly, or no further. Each keeps one of the 10,000 places.
//!
//! Comes from: Ctrl-C or a test. Goes to: hyper, which reads and writes `net::TcpStream` itself.

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::server::conn::auto;
use net::{HyperExecutor, HyperTimer, Limits, Served, TcpListener, TcpStream, serve};
use runtime::{CancelToken, timeout};

mod common;

#[allow(dead_code, reason = "a test that has this file as a module starts it by itself")]
fn main() -> ExitCode {
    common::run_server("http", "127.0.0.1:8080", serve_http)
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `stop` is set; then each connection ends with the request it is at, and an idle one at once.
pub(crate) async fn serve_http(listener: TcpListener, stop: CancelToken) -> io::Result<Served> {
    let limits = Limits::new().shutdown(stop.clone());
    serve(listener, limits, async move |stream, _| {
        match converse(stream, &stop).await {
            // Clients leave when they like.
            Err(error) if !has_left(&*error) => eprintln!("a connection failed: {error}"),
            _ => {}
        }
    })
    .await
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn converse(stream: TcpStream, stop: &CancelToken) -> Result<(), Failure> {
    // A response's last piece must not wait for the client's acknowledgement of the one before.
    stream.set_nodelay(true)?;
    if !matches!(stop.run(timeout(PATIENCE, stream.readable())).await, Some(Ok(Ok(())))) {
        return Ok(());
    }
    let mut http = auto::Builder::new(HyperExecutor);
    http.http1().timer(HyperTimer).header_read_timeout(PATIENCE);
    http.http2()
        .timer(HyperTimer)
        .keep_alive_interval(Some(2 * PATIENCE))
        .keep_alive_timeout(PATIENCE);
    let mut connection = pin!(http.serve_connection(stream, service_fn(answer)));
    match stop.run(connection.as_mut()).await {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

fn has_left(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, Incoming>>, hyper::Error> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "Hello, World!\n"),
        (&Method::POST | &Method::PUT, "/echo") => {
            return Ok(Response::new(Either::Right(request.into_body())));
        }
        (_, "/") => (StatusCode::METHOD_NOT_ALLOWED, "error: / wants GET\n"),
        (_, "/echo") => (StatusCode::METHOD_NOT_ALLOWED, "error: /echo wants POST or PUT\n"),
        _ => (StatusCode::NOT_FOUND, "error: there are / and /echo\n"),
    };
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    Ok(response)
}
