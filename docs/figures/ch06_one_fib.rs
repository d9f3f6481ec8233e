//! What does one long request cost the others, with threads and with one loop?
//!
//! | measured | by |
//! |---|---|
//! | a long request, one client and two at once | what perf1 prints |
//! | short requests a second, alone and beside a long one | what perf2 prints |
//!
//! A client of a server that answers nothing would wait for ever. So a thread asks and counts the answers, and each second the count
//! is read.
//!
//! Comes from: main.rs. Goes to: programs.rs.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::programs::{Server, grouped, median};

const ROUNDS: usize = 5;
/// Long beside the way there and back.
const LONG: u64 = 40;
/// Longer than the measurement.
const HOG: u64 = 52;

pub(crate) fn one_fib() -> Result<String, Box<dyn Error>> {
    let mut table = format!(
        "| server | fib({LONG}), one client | two at once | fib(1) a second, alone | beside one long request |\n|---|---|---|---|---|\n"
    );
    for (what, name) in [
        ("a thread each, chapter 2", "02-threads"),
        ("one loop, chapter 5", "05-waiting"),
        ("one loop, and `join`", "06-one-fib"),
    ] {
        let latency = |clients| {
            Server::rust(name, &[]).and_then(|server| server.latency(LONG, clients, ROUNDS))
        };
        let (one, two) = (latency(1)?, latency(2)?);
        let [alone, beside] = [rate(name, false)?, rate(name, true)?].map(grouped);
        writeln!(table, "| {what} | {one:.2} s | {two:.2} s | {alone} | {beside} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} answers for each client, and of {ROUNDS} seconds.")?;
    Ok(table)
}

/// Answers to `1` in a second.
fn rate(name: &str, beside_a_hog: bool) -> io::Result<f64> {
    let server = Server::rust(name, &[])?;
    let (mut client, mut hog) = (server.client()?, server.client()?);
    let answers = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&answers);
    client.ask(1)?;
    if beside_a_hog {
        hog.send(HOG)?;
    }
    thread::spawn(move || {
        // Ends with the server.
        while client.ask(1).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    thread::sleep(Duration::from_millis(200)); // the long request has arrived
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        answers.store(0, Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1));
        rates.push(answers.load(Ordering::Relaxed) as f64);
    }
    Ok(median(rates))
}
