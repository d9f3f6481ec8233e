//! What does it cost one loop to let a pool compute, and what does it bring?
//!
//! Comes from: main.rs. Goes to: programs.rs.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::Measured;
use crate::programs::{Server, grouped, median};

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ROUNDS: usize = 5;
/// Takes longer than the measurement.
const HOG: u64 = 52;

/// perf2 alone, and beside one long request.
pub(crate) fn pool() -> Measured {
    type Start = fn() -> io::Result<Server>;
    let servers: [(&str, Start); 5] = [
        ("a thread for each client (chapter 2)", || Server::rust("02-threads", &[])),
        ("threads and 4 processes (chapter 3)", || Server::rust("03-processes", &[])),
        ("one loop, which computes (chapter 5)", || Server::rust("05-waiting", &[])),
        ("one loop and 4 threads, a pair of sockets", || Server::rust("07-pool-pair", &[])),
        ("one loop and 4 threads, an eventfd", || Server::rust("07-pool", &[])),
    ];
    let mut table =
        "| requests a second | alone | an answer takes | beside a long fib |\n|---|---|---|---|\n"
            .to_owned();
    for (name, start) in servers {
        let server = start()?;
        let alone = rate(&server)?;
        let mut hog = server.client()?;
        hog.send(HOG)?;
        thread::sleep(Duration::from_millis(200)); // so that its work has begun
        let beside = rate(&server)?;
        let [each, alone, beside] = [1e6 / alone, alone, beside].map(grouped);
        writeln!(table, "| {name} | {alone} | {each} us | {beside} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} seconds each.")?;
    Ok(table)
}

/// As perf2 asks, in answers a second; it gives up when a second brings none, and says 0.
pub(crate) fn rate(server: &Server) -> io::Result<f64> {
    let mut client = TcpStream::connect(server.address())?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(SECOND))?;
    let mut rates = Vec::new();
    for _ in 0..=ROUNDS {
        let (start, mut answers) = (Instant::now(), 0);
        while start.elapsed() < SECOND {
            client.write_all(b"1")?;
            match client.read(&mut [0; 100]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => answers += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0.0),
                Err(error) => return Err(error),
            }
        }
        rates.push(f64::from(answers) / start.elapsed().as_secs_f64());
    }
    Ok(median(rates.split_off(1))) // the first one is for getting warm
}
