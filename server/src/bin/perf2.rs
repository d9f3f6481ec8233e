//! The talk's second client: how many short requests per second?
//!
//! Ask for `fib(1)` as fast as answers come, while a second thread prints, every second, how many came. Then ask the server
//! for `fib(42)` with nc, and watch what becomes of the number.
//!
//! Written with blocking sockets, as in the talk: a client of one connection needs no runtime. It sends no newline, as in
//! the talk too, and takes what one read gives for the answer.
//!
//! Comes from: you, in a second terminal. Goes to: `server fib`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

/// The talk's second client: asks for a small number without pause and prints how many answers came each second.
#[derive(Parser)]
struct Options {
    /// Where the server is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:25000")]
    addr: String,
    /// What to ask for
    #[arg(long, default_value = "1")]
    n: String,
    /// Stop after so many answers
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = f64::INFINITY, hide_default_value = true)]
    seconds: f64,
}

/// Answers since the last line was printed.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let options = Options::parse();
    thread::spawn(monitor);
    match ask(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf2: {}: {error}", options.addr);
            if error.kind() == io::ErrorKind::ConnectionRefused {
                eprintln!(
                    "no server listens there; start one in another terminal: cargo run -p server"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn monitor() {
    loop {
        thread::sleep(Duration::from_secs(1));
        println!("{} reqs/sec", ANSWERS.swap(0, Ordering::Relaxed));
    }
}

fn ask(options: &Options) -> io::Result<()> {
    let mut server = TcpStream::connect(&options.addr)?;
    let begin = Instant::now();
    let mut answer = [0; 100];
    for _ in 0..options.count {
        server.write_all(options.n.as_bytes())?;
        let count = server.read(&mut answer)?;
        if count == 0 {
            return Err(io::Error::other("the server has closed the connection"));
        }
        if answer.starts_with(b"error") {
            let text = String::from_utf8_lossy(&answer[..count]);
            return Err(io::Error::other(text.trim_end().to_string()));
        }
        ANSWERS.fetch_add(1, Ordering::Relaxed);
        if begin.elapsed().as_secs_f64() > options.seconds {
            break;
        }
    }
    Ok(())
}
