//! What can be done with a process that cannot be done with a thread?
//!
//! It can end, killed in the middle of its work or by its own mistake, and the kernel takes back what it had: memory, files,
//! locks that nobody else shares. Here both ends are shown, and the program beside them goes on.
//!
//! Comes from: you; itself, as a worker. Goes to: worker.rs.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

#[path = "../fib.rs"]
mod fib;
mod worker;

use worker::Worker;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(worker::WORKER) {
        return worker::work();
    }

    let mut first = Worker::start()?;
    println!("process {} is asked for fib(80), which takes a year or two", first.process.id());
    first.ask(80)?;
    thread::sleep(Duration::from_millis(100)); // a while, to have it in the middle of it
    let start = Instant::now();
    first.process.kill()?;
    let error = first.answer().err().map(|error| error.to_string());
    println!("killed: {}", error.unwrap_or_default());
    println!("it took {:.3} ms to know", start.elapsed().as_secs_f64() * 1000.0);
    println!("signal {}", first.process.wait()?.signal().unwrap_or_default());

    let mut second = Worker::start()?;
    println!("process {} is asked for fib(1000000)", second.process.id());
    second.ask(1_000_000)?;
    let error = second.answer().err().map(|error| error.to_string());
    println!("crashed: {}", error.unwrap_or_default());
    println!("signal {}", second.process.wait()?.signal().unwrap_or_default());

    let mut third = Worker::start()?;
    println!("process {} is asked for fib(20)", third.process.id());
    third.ask(20)?;
    println!("{}", third.answer()?);
    Ok(())
}
