//! How does a server tell its connections apart, and keep one's failure from the others?
//!
//! trio: `serve_tcp` calls the handler as a child for each connection; a global counter gives it a number for its
//! lines, and a `try` around all of it turns an error into a line, since otherwise it would end all others and the
//! program. Here `net::serve` calls the handler as a task for each; the counter lives in the closure; and an error is a
//! value, which the closure prints. To forget that would lose the line and no more: a handler's error, or panic, is its
//! own.
//!
//! `--connections 2` ends it when the second connection has ended; otherwise Ctrl-C does. The first line is ours: with
//! `--addr 127.0.0.1:0` it says which port is the one.
//!
//! Comes from: ../main.rs. Goes to: `net::serve`.

use std::cell::Cell;
use std::io;

use net::{Limits, TcpListener, TcpStream, serve};
use runtime::CancelToken;

use super::echo::{BUFSIZE, PORT, Repr};
use crate::Outcome;
use crate::words::Words;

async fn echo_server(ident: u64, stream: &TcpStream) -> io::Result<()> {
    println!("echo_server {ident}: started");
    let mut buffer = vec![0; BUFSIZE];
    loop {
        let count = stream.read(&mut buffer).await?;
        let data = &buffer[..count];
        println!("echo_server {ident}: received data {}", Repr(data));
        if data.is_empty() {
            println!("echo_server {ident}: connection closed");
            return Ok(());
        }
        println!("echo_server {ident}: sending data {}", Repr(data));
        stream.write_all(data).await?;
    }
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", "--connections"])?;
    let address = words.address(PORT)?;
    let connections = words.value("--connections")?.unwrap_or(u64::MAX);
    runtime::block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("Listening on {}", listener.local_addr()?);
        let enough = CancelToken::new();
        let limits = Limits::new().shutdown(enough.clone());
        let (started, ended) = (Cell::new(0), Cell::new(0));
        serve(listener, limits, async move |stream, _| {
            let ident = started.replace(started.get() + 1);
            if let Err(error) = echo_server(ident, &stream).await {
                println!("echo_server {ident}: crashed: {error}");
            }
            ended.set(ended.get() + 1);
            if ended.get() == connections {
                enough.cancel();
            }
        })
        .await?;
        Ok(())
    })
}
