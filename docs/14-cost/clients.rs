//! Does anybody notice?
//!
//! So many clients who ask for `fib(1)` without pause, each on a connection of its own, which it ends after ten answers to make
//! another one. Nothing is tried twice: whatever is not the right answer is a failure, and is counted.
//!
//! `14-cost-clients ADDRESS CLIENTS SECONDS`. It waits until somebody listens, and then says how it went.
//!
//! Comes from: you. Goes to: whoever listens there, one `server fib` or several behind haproxy.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const REQUESTS_EACH: u32 = 10;
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Count {
    answers: AtomicU64,
    failures: AtomicU64,
}

/// Ten questions and answers.
fn converse(address: &str, count: &Count) -> io::Result<()> {
    let mut server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    server.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(server.try_clone()?);
    for _ in 0..REQUESTS_EACH {
        server.write_all(b"1\n")?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        if answer != "1\n" {
            return Err(io::Error::other(format!("the answer was {answer:?}")));
        }
        count.answers.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Somebody may be about to listen.
fn wait_for(address: &str) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if begin.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:25000".into());
    let clients: usize = arguments.next().map_or(Ok(4), |number| number.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(5.0), |number| number.parse())?;
    wait_for(&address)?;
    println!("asking");

    let count = Count::default();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while begin.elapsed().as_secs_f64() < seconds {
                    if let Err(error) = converse(&address, &count) {
                        // The first few are worth a line.
                        if count.failures.fetch_add(1, Relaxed) < 3 {
                            println!("failed: {error}");
                        }
                    }
                }
            });
        }
    });
    let (answers, failures) = (count.answers.into_inner(), count.failures.into_inner());
    let rate = answers as f64 / begin.elapsed().as_secs_f64();
    println!("answers: {answers}, {rate:.0} a second");
    match failures {
        0 => println!("failures: none"),
        _ => println!("failures: {failures}"),
    }
    Ok(())
}
