//! How does one ask for a page here? With hyper's client, one connection at a time.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example hyper              # in another terminal: something to ask
//! cargo run -p tests --features ecosystem --example hyper_client -- http://127.0.0.1:8080/
//! ```
//!
//! Two parts: one sends requests and gets responses, the other moves the bytes and is a task of its own. A pool of connections
//! is what a crate like reqwest adds (see compat.rs); for one server, keeping the sender is a pool of one.
//!
//! | limit          | value |
//! |----------------|-------|
//! | time to connect | 10 s |
//! | time until the head of the response | 30 s |
//! | silence within its body | 30 s |
//!
//! No TLS: for `https` put futures-rustls between (tls_echo.rs has the other side), and the stream into `HyperIo`.
//!
//! Comes from: the command line. Goes to: standard output (the body), standard error (the rest).

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Uri};
use net::TcpStream;
use runtime::timeout;

#[allow(dead_code, reason = "a test that has this file as a module calls `fetch` by itself")]
fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("one argument: a URL, such as http://127.0.0.1:8080/");
        return ExitCode::from(2);
    };
    match runtime::block_on(fetch(&url, &mut io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

const TIME_TO_CONNECT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes what is at `url` to `output`.
pub(crate) async fn fetch(
    url: &str,
    output: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let url: Uri = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
    let authority = match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) => authority.clone(),
        _ => return Err(format!("{url}: only http://host/path is spoken here").into()),
    };
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = timeout(TIME_TO_CONNECT, TcpStream::connect(address)).await??;

    let (mut sender, connection) = http1::handshake(stream).await?;
    let moving_bytes = runtime::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let mut response = timeout(PATIENCE, sender.send_request(request)).await??;
    eprintln!("{:?} {}", response.version(), response.status());
    while let Some(frame) = timeout(PATIENCE, response.frame()).await? {
        if let Ok(bytes) = frame?.into_data() {
            output.write_all(&bytes)?;
        }
    }
    drop(sender); // no further request: the connection may end
    moving_bytes.await??;
    Ok(())
}
