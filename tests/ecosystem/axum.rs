//! An axum application: routes, JSON, state, and its errors, by curl.
//!
//! Comes from: main.rs. Goes to: examples/axum.rs.

use crate::support::within;
use crate::{Server, client, closes_a_silent_client};

#[allow(dead_code, reason = "its main")]
#[path = "../examples/axum.rs"]
mod axum_server;

use axum_server::{application, serve_router};

#[test]
fn a_client_that_sends_nothing_is_closed_by_axum_s_server() {
    within(60, || {
        closes_a_silent_client(axum_server::PATIENCE, async |listener, stop| {
            serve_router(listener, application(), stop).await
        });
    });
}

#[test]
fn an_axum_application_keeps_notes() {
    within(60, || {
        let server =
            Server::start(async |listener, stop| serve_router(listener, application(), stop).await);
        let curl = |path: &str, more: &[&str]| {
            let url = server.url(path);
            client("curl", &[&["-sS", "-w", " %{http_code}"], more, &[&url]].concat())
        };
        let json = ["-H", "content-type: application/json", "-d"];
        let write = |note: &'static str| curl("/notes", &[&json[..], &[note]].concat());
        let Some(hello) = curl("/", &[]) else { return };
        assert!(hello.starts_with("Hello, 127.0.0.1:") && hello.ends_with("!\n 200"), "{hello}");
        assert_eq!(write(r#"{"text":"buy milk"}"#).unwrap(), "1 201");
        assert_eq!(write(r#"{"text":"drink it"}"#).unwrap(), "2 201");
        assert_eq!(curl("/notes/2", &[]).unwrap(), r#"{"text":"drink it"} 200"#);
        assert_eq!(
            curl("/notes/3", &["--http2-prior-knowledge"]).unwrap(),
            "error: notes are numbered 1 to 2\n 404"
        );
        assert!(curl("/notes/x", &[]).unwrap().ends_with(" 400"));
        assert!(write(r#"{"text":7}"#).unwrap().ends_with(" 422"));
        assert!(write("{").unwrap().ends_with(" 400"));
        server.end();
    });
}
