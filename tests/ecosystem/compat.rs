//! reqwest, whose sockets are tokio's, polled by our tasks.
//!
//! Comes from: main.rs. Goes to: examples/compat.rs.

use crate::Server;
use crate::http::hyper_server::serve_http;
use crate::support::within;

#[path = "../examples/compat.rs"]
mod compat_client;

#[test]
fn reqwest_gets_its_answers_through_async_compat() {
    within(60, || {
        let server = Server::start(serve_http);
        let url = server.url("/");
        let answers = runtime::block_on(compat_client::ask_three_times(&url)).unwrap();
        assert_eq!(answers, ["Hello, World!\n"; 3]);
        let error = runtime::block_on(compat_client::ask_three_times(&server.url("/nowhere")));
        assert!(error.unwrap_err().to_string().contains("404"));
        server.end();
    });
}
