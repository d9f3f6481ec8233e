//! Which servers does the talk's benchmark ask for Fibonacci numbers?
//!
//! Peers that answer lines: a number comes, its Fibonacci number goes back, computed the slow way
//! of the talk. One with an OS thread per connection, which needs no async at all; and tokio, its loop
//! on one thread and on all, with a pool of four blocking threads, as the talk's pool has four
//! processes, and with as many as it takes if nobody says otherwise (512). In Go: goroutines.go.
//! Ours is not here: it is the program `server fib`, as users start it.
//!
//! For the clients that leave each has a second form, which notices that, as its users would write it: the thread of a
//! connection peeks at its socket now and then, in the recursion; a task of tokio reads on while the pool computes, and
//! sets an atomic that the recursion asks; Go's is leavers.go. These answer a line that is no number by an error, without
//! a job.
//!
//! Rule: each does what its users would write first. None of them tunes anything for this
//! benchmark.
//!
//! What they do not do: limits; the first forms end the connection of a bad line.

use crate::common::sys::has_ended;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Runs one server.
pub(crate) fn serve(name: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("a bound socket has an address"));
    match name {
        "threads" => threads(&listener, answer),
        "threads-peek" => threads(&listener, answer_and_peek),
        #[cfg(feature = "peers")]
        name if name.starts_with("tokio") => on_tokio(name, listener),
        other => panic!("no server is called {other:?}"),
    }
}

/// The talk's function: its slowness is the point.
fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// The same, unless it is not wanted any more. Below fib(`leaf`) it does not ask.
fn fib_while(is_wanted: &impl Fn() -> bool, leaf: u64, n: u64) -> Option<u64> {
    if n <= leaf {
        return Some(fib(black_box(n)));
    }
    if !is_wanted() {
        return None;
    }
    Some(fib_while(is_wanted, leaf, n - 1)? + fib_while(is_wanted, leaf, n - 2)?)
}

fn threads(listener: &TcpListener, answer: fn(TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming() {
        let stream = stream.expect("descriptors enough");
        // A client that leaves is the usual end of such a thread.
        std::thread::spawn(move || drop(answer(stream)));
    }
}

/// As `answer`, for clients that may leave. A peek is a system call, so it is made every millisecond or so (fib(29)).
fn answer_and_peek(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let answer = match line.trim().parse() {
            Ok(n) => match fib_while(&|| !has_ended(&stream), 29, n) {
                Some(value) => format!("{value}\n"),
                None => return Ok(()),
            },
            Err(_) => NOT_A_NUMBER.to_owned(),
        };
        stream.write_all(answer.as_bytes())?;
        line.clear();
    }
    Ok(())
}

const NOT_A_NUMBER: &str = "error: that is not a number\n";

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

/// `tokio[-multi][-4][-flag]`: its loop on one thread or on all; four blocking threads or its usual number (512); the first form
/// or the one that notices who leaves.
#[cfg(feature = "peers")]
fn on_tokio(name: &str, listener: TcpListener) {
    use std::io::{Error, Result};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;

    async fn answer(mut stream: tokio::net::TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            let n = line.trim().parse().map_err(Error::other)?;
            let result = spawn_blocking(move || fib(black_box(n))).await?;
            writer.write_all(format!("{result}\n").as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer_while_wanted(mut stream: tokio::net::TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        while reader.read_line(&mut line).await? > 0 {
            let answer = match line.trim().parse() {
                Ok(n) => {
                    let is_wanted = Arc::new(AtomicBool::new(true));
                    let asked = Arc::clone(&is_wanted);
                    let asked = move || asked.load(Ordering::Relaxed);
                    let job = spawn_blocking(move || fib_while(&asked, 24, n));
                    tokio::select! {
                        value = job => value?.map(|value| format!("{value}\n")).unwrap_or_default(),
                        () = left(&mut reader) => {
                            is_wanted.store(false, Ordering::Relaxed);
                            return Ok(());
                        }
                    }
                }
                Err(_) => NOT_A_NUMBER.to_owned(),
            };
            writer.write_all(answer.as_bytes()).await?;
            line.clear();
        }
        Ok(())
    }

    /// Ends when the client has left. One that has sent more ahead is not watched.
    async fn left(reader: &mut (impl AsyncBufRead + Unpin)) {
        if matches!(reader.fill_buf().await, Ok([_, ..])) {
            std::future::pending::<()>().await;
        }
    }

    let mut builder = if name.contains("multi") {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    if name.contains("-4") {
        builder.max_blocking_threads(4);
    }
    let notices = name.ends_with("-flag");
    builder.enable_all().build().expect("an epoll and an eventfd").block_on(async move {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        // The loop runs in a task, since only tasks reach the threads of the multi-threaded one.
        let accept = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("descriptors enough");
                if notices {
                    tokio::spawn(answer_while_wanted(stream));
                } else {
                    tokio::spawn(answer(stream));
                }
            }
        });
        accept.await.expect("it never ends");
    });
}
