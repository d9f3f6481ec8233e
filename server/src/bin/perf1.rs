//! The talk's first client: how long does one long request take?
//!
//! Ask for `fib(30)`, print the seconds it took, and again. Start one, then a second: with a server that has one core to
//! compute on, the times double; with two cores, they do not.
//!
//! Written with blocking sockets, as in the talk: a client of one connection needs no runtime. It sends no newline, as in
//! the talk too, and takes what one read gives for the answer.
//!
//! Comes from: you, in a second terminal. Goes to: `server fib`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

/// The talk's first client: asks for one number after the other and prints the seconds each takes.
#[derive(Parser)]
struct Options {
    /// Where the server is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:25000")]
    addr: String,
    /// What to ask for
    #[arg(long, default_value = "30")]
    n: String,
    /// Stop after so many answers
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = f64::INFINITY, hide_default_value = true)]
    seconds: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match ask(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf1: {}: {error}", options.addr);
            if error.kind() == io::ErrorKind::ConnectionRefused {
                eprintln!(
                    "no server listens there; start one in another terminal: cargo run -p server"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn ask(options: &Options) -> io::Result<()> {
    let mut server = TcpStream::connect(&options.addr)?;
    let begin = Instant::now();
    let mut answer = [0; 100];
    for _ in 0..options.count {
        let start = Instant::now();
        server.write_all(options.n.as_bytes())?;
        let count = server.read(&mut answer)?;
        if count == 0 {
            return Err(io::Error::other("the server has closed the connection"));
        }
        if answer.starts_with(b"error") {
            let text = String::from_utf8_lossy(&answer[..count]);
            return Err(io::Error::other(text.trim_end().to_string()));
        }
        println!("{:.6}", start.elapsed().as_secs_f64());
        if begin.elapsed().as_secs_f64() > options.seconds {
            break;
        }
    }
    Ok(())
}
