//! Do the crates that people bring along run here as they do elsewhere? And do their clients notice nothing?
//!
//! ```text
//! cargo test -p tests --features ecosystem --test ecosystem
//! ```
//!
//! The servers are those of examples/, each on a thread of its own. Who drives them was written by others: curl, ab, wrk, h2load,
//! openssl, Python's standard library, tungstenite's blocking client. A test whose client is not installed says `skipped: no
//! NAME` and passes; `.ci/run` installs them.
//!
//! | module    | what                                                                                    |
//! |-----------|-----------------------------------------------------------------------------------------|
//! | http      | hyper's server over TCP, with real clients; how it ends                                  |
//! | memory    | hyper over streams in memory: its timeouts on a test's clock, and a hostile network      |
//! | axum      | an axum application                                                                      |
//! | tls       | rustls, with openssl and Python; HTTP over it                                            |
//! | websocket | WebSockets, with tungstenite's blocking client and one by hand in Python                 |
//! | tokio_io  | tokio's traits on our streams, by themselves and under a codec                           |
//! | compat    | reqwest, in tokio's world, asks a server in ours                                         |
//!
//! Comes from: `cargo test`. Goes to: examples/, the crate `net` with its features.

#![allow(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]
#![allow(
    clippy::duplicate_mod,
    reason = "each example is whole by itself, so what they share is there once for each"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod axum;
mod compat;
mod http;
mod memory;
mod tls;
mod tokio_io;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use net::{Served, TcpListener, TcpStream};
use runtime::{CancelToken, now, testing, timeout};

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    stop: CancelToken,
    thread: thread::JoinHandle<io::Result<Served>>,
}

impl Server {
    fn start<S>(serve: S) -> Server
    where
        S: AsyncFnOnce(TcpListener, CancelToken) -> io::Result<Served> + Send + 'static,
    {
        let stop = CancelToken::new();
        let (token, (tell, told)) = (stop.clone(), mpsc::channel());
        let thread = thread::spawn(move || {
            runtime::block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                tell.send(listener.local_addr()?).unwrap();
                serve(listener, token).await
            })
        });
        Server { address: told.recv().unwrap(), stop, thread }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends it; all its connections must have come to their own end.
    fn end(self) -> Served {
        self.stop.cancel();
        let served = self.thread.join().unwrap().unwrap();
        assert_eq!(served.cut, 0, "connections were cut off: {served:?}");
        served
    }
}

/// On a test's clock: a client that connects and sends nothing is closed at `limit`, and not before.
fn closes_a_silent_client<S>(limit: Duration, serve: S)
where
    S: AsyncFnOnce(TcpListener, CancelToken) -> io::Result<Served> + 'static,
{
    testing::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancelToken::new());
        let token = stop.clone();
        let server = runtime::spawn(async move { serve(listener, token).await });
        let (begun, client) = (now(), TcpStream::connect(address).await.unwrap());
        let end = timeout(100 * limit, client.read(&mut [0; 64])).await;
        assert_eq!(end.expect("it keeps its place").unwrap(), 0);
        assert_eq!(now() - begun, limit);
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().accepted, 1);
    });
}

/// Runs a client program to its end and gives what it printed; `None`, and a word about it, if it is not installed.
///
/// # Panics
/// If it fails.
fn client(name: &str, arguments: &[&str]) -> Option<String> {
    let output = client_output(name, arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{text}\n{errors}", output.status);
    Some(text)
}

/// As [`client`], whether it fails or not.
fn client_output(name: &str, arguments: &[&str]) -> Option<Output> {
    let result = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: no {name}");
            None
        }
        output => Some(output.unwrap()),
    }
}

/// A file of this name among the tests' sources.
fn source(name: &str) -> String {
    format!("{}/ecosystem/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Bytes that no shifted or doubled piece could be mistaken for.
fn noise(count: usize) -> Vec<u8> {
    let number = testing::seeded(count as u64);
    (0..count).map(|_| number(256) as u8).collect()
}

/// A file that is removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Scratch {
        let file = std::env::temp_dir().join(format!("ground-{}-{name}", std::process::id()));
        std::fs::write(&file, content).unwrap();
        Scratch(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
