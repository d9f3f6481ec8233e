//! A TCP proxy: each connection to it becomes one to the upstream, and bytes are passed on both ways.
//!
//! ```text
//! cargo run -p server                                                          # an upstream, on 127.0.0.1:25000
//! cargo run -p net --example proxy -- 127.0.0.1:25200 127.0.0.1:25000
//! nc 127.0.0.1 25200
//! ```
//!
//! What it shows: `copy_bidirectional`, and what a proxy needs around it.
//!
//! | limit                                                 | default  | what happens beyond it                               |
//! |-------------------------------------------------------|----------|------------------------------------------------------|
//! | connections at the same time (third word)             | 1,000    | they wait in the kernel's queue                      |
//! | silence after one side has ended (fourth word)        | 30 s     | the pair is closed                                   |
//! | time to reach the upstream                            | 10 s     | the client is closed                                 |
//! | time for the connections that are open after Ctrl-C   | 10 s     | they are cut; a second Ctrl-C ends at once           |
//!
//! A connection that is idle holds no buffer, and may be so as long as both sides like. For each that ends a line says whose
//! it was, how many bytes went there and back, how long it lived, and why it ended.
//!
//! Not done here: names of many upstreams, TLS, the PROXY protocol's header. The client's address is not passed on.
//!
//! Comes from: `cargo run`. Goes to: net.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use net::{Copied, Ending, Limits, TcpListener, TcpStream, copy_bidirectional, serve};
use runtime::{CancelToken, ctrl_c, spawn, timeout};

const CONNECT_TIME: Duration = Duration::from_secs(10);

const USAGE: &str = "\
usage: proxy LISTEN UPSTREAM [CONNECTIONS [SECONDS]]

  LISTEN, UPSTREAM   address and port, as in 127.0.0.1:25200
  CONNECTIONS        how many at the same time (default 1000)
  SECONDS            how long a pair may be silent after one side has ended (default 30)";

struct Options {
    listen: String,
    upstream: String,
    connections: usize,
    half_close: Duration,
}

impl Options {
    fn of(words: &[String]) -> Option<Options> {
        let (listen, upstream, rest) = match words {
            [listen, upstream, rest @ ..] if rest.len() <= 2 => (listen, upstream, rest),
            _ => return None,
        };
        let connections = match rest.first() {
            Some(word) => word.parse().ok().filter(|&connections| connections > 0)?,
            None => 1000,
        };
        let seconds = rest.get(1).map_or(Some(30.0), |word| word.parse().ok())?;
        Some(Options {
            listen: listen.clone(),
            upstream: upstream.clone(),
            connections,
            half_close: Duration::try_from_secs_f64(seconds).ok()?,
        })
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = Options::of(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match runtime::block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.listen).await?;
    log(&format!("listening on {}, for {}", listener.local_addr()?, options.upstream));
    let stop = CancelToken::new();
    let (interrupted, stops) = (ctrl_c(), stop.clone());
    let _waits = spawn(async move {
        if interrupted.await.is_ok() {
            stops.cancel();
        }
    });
    let limits = Limits::new().connections(options.connections).shutdown(stop);
    let Options { upstream, half_close, .. } = options;
    let handler = async move |client: TcpStream, peer: SocketAddr| {
        let start = Instant::now();
        let end = match pass(client, &upstream, half_close).await {
            Ok(Copied { a_to_b, b_to_a, ending }) => {
                let how = match ending {
                    Ending::BothEnded => "both have ended",
                    Ending::TimedOut => "one had ended, and the other was silent for too long",
                };
                format!("{a_to_b} bytes there, {b_to_a} back: {how}")
            }
            Err(error) => error.to_string(),
        };
        log(&format!("{peer}: {end} ({:.3} s)", start.elapsed().as_secs_f64()));
    };
    let served = serve(listener, limits, handler).await?;
    log(&format!("stopped: {} connections, {} of them cut", served.accepted, served.cut));
    Ok(())
}

async fn pass(client: TcpStream, upstream: &str, half_close: Duration) -> io::Result<Copied> {
    let server = timeout(CONNECT_TIME, TcpStream::connect(upstream)).await.map_err(|_| {
        let seconds = CONNECT_TIME.as_secs();
        io::Error::new(io::ErrorKind::TimedOut, format!("{upstream} did not answer in {seconds} s"))
    })??;
    // The ends know when to collect small writes; the one in the middle would only add its delay.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok(copy_bidirectional(client, server, half_close).await?)
}

/// Not `println!`, which panics when nobody reads it any more.
fn log(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
