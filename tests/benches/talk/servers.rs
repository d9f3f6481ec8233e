//! Which servers does the talk's benchmark ask for Fibonacci numbers?
//!
//! Peers that answer lines: a number comes, its Fibonacci number goes back, computed the slow way
//! of the talk. One with an OS thread per connection, which needs no async at all; and tokio, its loop
//! on one thread and on all, with a pool of four blocking threads, as the talk's pool has four
//! processes, and with as many as it takes if nobody says otherwise (512). In Go: goroutines.go.
//! Ours is not here: it is the program `server fib`, as users start it.
//!
//! Rule: each does what its users would write first. None of them tunes anything for this
//! benchmark.
//!
//! What they do not do: limits and manners; a bad line ends its connection.
//!
//! Comes from: talk.rs, word `serve`. Goes to: the client in talk/client.rs.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Runs one server.
pub(crate) fn serve(name: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("a bound socket has an address"));
    match name {
        "threads" => threads(&listener),
        #[cfg(feature = "peers")]
        "tokio-4" => on_tokio(tokio::runtime::Builder::new_current_thread(), Some(4), listener),
        #[cfg(feature = "peers")]
        "tokio" => on_tokio(tokio::runtime::Builder::new_current_thread(), None, listener),
        #[cfg(feature = "peers")]
        "tokio-multi-4" => on_tokio(tokio::runtime::Builder::new_multi_thread(), Some(4), listener),
        #[cfg(feature = "peers")]
        "tokio-multi" => on_tokio(tokio::runtime::Builder::new_multi_thread(), None, listener),
        other => panic!("no server is called {other:?}"),
    }
}

/// The talk's function: its slowness is the point.
fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

fn threads(listener: &TcpListener) {
    for stream in listener.incoming() {
        let stream = stream.expect("descriptors enough");
        // A client that leaves is the usual end of such a thread.
        std::thread::spawn(|| drop(answer(stream)));
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let n = line.trim().parse().map_err(std::io::Error::other)?;
        stream.write_all(format!("{}\n", fib(black_box(n))).as_bytes())?;
        line.clear();
    }
    Ok(())
}

#[cfg(feature = "peers")]
fn on_tokio(mut builder: tokio::runtime::Builder, blocking: Option<usize>, listener: TcpListener) {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    async fn answer(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            let n = line.trim().parse().map_err(std::io::Error::other)?;
            let result = tokio::task::spawn_blocking(move || fib(black_box(n))).await?;
            writer.write_all(format!("{result}\n").as_bytes()).await?;
        }
        Ok(())
    }

    if let Some(threads) = blocking {
        builder.max_blocking_threads(threads);
    }
    builder.enable_all().build().expect("an epoll and an eventfd").block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        // The loop runs in a task, since only tasks reach the threads of the multi-threaded one.
        let accept = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("descriptors enough");
                tokio::spawn(answer(stream));
            }
        });
        accept.await.expect("it never ends");
    });
}
