//! How does a crate run here that was written for tokio, and opens its sockets itself? Through async-compat.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example compat                               # asks a server of its own
//! cargo run -p tests --features ecosystem --example compat -- http://127.0.0.1:8080/     # or this one
//! ```
//!
//! async-compat keeps one tokio runtime for the process, on a thread of its own, and says that it is the current one whenever
//! the wrapped future is polled. So reqwest's sockets and timers are tokio's and live there; its futures are polled here, and woken
//! from there. Both worlds stand in one function: the server that is asked is hyper on our own runtime.
//!
//! The price: a thread, and for each wake-up a message between threads. For what is made for futures-io, hyper or tokio's traits
//! alone there is no need (see the head of the crate `net`).
//!
//! Limits: 10 s for each request; three requests at the same time.
//!
//! Comes from: the command line, or a test. Goes to: reqwest, in tokio's world.

use std::process::ExitCode;
use std::time::Duration;

use async_compat::CompatExt;
use net::TcpListener;
use runtime::{CancelToken, spawn};

#[path = "hyper.rs"]
mod origin;

#[allow(dead_code, reason = "a test that has this file as a module starts it by itself")]
fn main() -> ExitCode {
    let result = runtime::block_on(async {
        let stop = CancelToken::new();
        let url = match std::env::args().nth(1) {
            Some(url) => url,
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let url = format!("http://{}/", listener.local_addr()?);
                spawn(origin::serve_http(listener, stop.clone()));
                url
            }
        };
        for answer in ask_three_times(&url).await? {
            print!("{answer}");
        }
        stop.cancel();
        Ok::<(), Box<dyn std::error::Error>>(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Three requests at the same time, each in a task of ours.
pub(crate) async fn ask_three_times(url: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            spawn(
                async move { client.get(url).send().await?.error_for_status()?.text().await }
                    .compat(),
            )
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await??);
    }
    Ok(answers)
}
