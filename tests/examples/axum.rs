//! How does an axum application run here? Its `Router` is a service; hyper serves it, and `net::serve` accepts.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example axum               # or: -- 127.0.0.1:8081
//! curl -v http://127.0.0.1:8080/                                       # plain text, and who you are
//! curl -v -H 'content-type: application/json' -d '{"text":"buy milk"}' http://127.0.0.1:8080/notes
//! curl -v http://127.0.0.1:8080/notes/1
//! ```
//!
//! axum without its feature `tokio`: what falls away by that is `axum::serve`, WebSockets and `ConnectInfo`. The first is
//! [`serve_router`] below, which also says to each request who its peer is (`Extension<SocketAddr>`).
//!
//! axum wants its handlers' futures and its state to be `Send`, as it is made for runtimes that move tasks. So a handler cannot
//! hold a socket of `net` over an await, but `runtime::sleep`, `timeout`, `unblock` and channels cross.
//!
//! | limit                                           | value  | by                     |
//! |-------------------------------------------------|--------|------------------------|
//! | connections; those beyond wait                  | 10,000 | `net::Limits`          |
//! | time until a client says something              | 30 s   | `timeout`, below       |
//! | time for a request's head, and between requests | 30 s   | hyper, by `HyperTimer` |
//! | a JSON body                                     | 2 MB   | axum's default         |
//! | notes kept                                      | 1,000  | [`write_note`]         |
//!
//! Comes from: Ctrl-C or a test. Goes to: axum's handlers, through hyper.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use net::{HyperExecutor, HyperTimer, Limits, Served, TcpListener, TcpStream, serve};
use runtime::{CancelToken, timeout};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

mod common;

#[allow(dead_code, reason = "a test that has this file as a module starts it by itself")]
fn main() -> ExitCode {
    common::run_server("http", "127.0.0.1:8080", async |listener, stop| {
        serve_router(listener, application(), stop).await
    })
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What `axum::serve` is elsewhere: serves `router` until `stop` is set, and then what is under way.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    stop: CancelToken,
) -> io::Result<Served> {
    let limits = Limits::new().shutdown(stop.clone());
    serve(listener, limits, async move |stream: TcpStream, peer: SocketAddr| {
        let _ = stream.set_nodelay(true); // an optimization
        // hyper's own clock begins with the first byte.
        if !matches!(stop.run(timeout(PATIENCE, stream.readable())).await, Some(Ok(Ok(())))) {
            return;
        }
        let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let mut http = auto::Builder::new(HyperExecutor);
        http.http1().timer(HyperTimer).header_read_timeout(PATIENCE);
        http.http2().timer(HyperTimer);
        let mut connection = pin!(http.serve_connection(stream, service));
        let result = match stop.run(connection.as_mut()).await {
            Some(result) => result,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            eprintln!("{peer}: {error}");
        }
    })
    .await
}

#[derive(Clone, Deserialize, Serialize)]
struct Note {
    text: String,
}

/// Shared by all requests. One thread serves them all, but axum wants what is shared to be `Send + Sync`.
type Notes = Arc<Mutex<Vec<Note>>>;

/// Notes that can be written and read.
pub(crate) fn application() -> Router {
    Router::new()
        .route("/", get(async |Extension(peer): Extension<SocketAddr>| format!("Hello, {peer}!\n")))
        .route("/notes", post(write_note))
        .route("/notes/{number}", get(read_note))
        .with_state(Notes::default())
}

async fn write_note(
    State(notes): State<Notes>,
    Json(note): Json<Note>,
) -> Result<(StatusCode, Json<usize>), (StatusCode, &'static str)> {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    if notes.len() == 1_000 {
        return Err((StatusCode::INSUFFICIENT_STORAGE, "error: 1,000 notes are all I keep\n"));
    }
    notes.push(note);
    Ok((StatusCode::CREATED, Json(notes.len())))
}

async fn read_note(
    State(notes): State<Notes>,
    Path(number): Path<usize>,
) -> Result<Json<Note>, (StatusCode, String)> {
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let note = number.checked_sub(1).and_then(|index| notes.get(index)).cloned();
    note.map(Json).ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("error: notes are numbered 1 to {}\n", notes.len()))
    })
}
