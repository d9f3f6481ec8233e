//! What do threads give, and what do they cost?
//!
//! | table | its question |
//! |---|---|
//! | `threads` | how long does a long request take, beside others? |
//! | `interpreter-lock` | how many short requests are answered, beside a long one? |
//! | `one-core` | what does it cost to wake another core? |
//! | `thread-cost` | what does the kernel keep for a thread that waits? |
//!
//! Comes from: main.rs. Goes to: programs.rs.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::process::Command;

use crate::programs::{Server, grouped, median};

const ROUNDS: usize = 5;
/// About as long in one language as in the other.
const RUST_N: u64 = 40;
const PYTHON_N: u64 = 31;
/// Longer than the measurement.
const RUST_HOG: u64 = 52;
const PYTHON_HOG: u64 = 42;

/// perf1 against the server of chapter 2, and against its twin.
pub(crate) fn threads() -> Result<String, Box<dyn Error>> {
    let mut table = format!(
        "| clients at once | Rust, fib({RUST_N}) | times alone | Python, fib({PYTHON_N}) | times alone |\n|---|---|---|---|---|\n"
    );
    let mut alone = [0.0; 2];
    for clients in [1, 2, 4] {
        let rust = Server::rust("02-threads", &[])?.latency(RUST_N, clients, ROUNDS)?;
        let python = Server::python("server_threads.py")?.latency(PYTHON_N, clients, ROUNDS)?;
        if clients == 1 {
            alone = [rust, python];
        }
        let [rust_times, python_times] = [rust / alone[0], python / alone[1]];
        writeln!(
            table,
            "| {clients} | {rust:.3} s | {rust_times:.1} | {python:.3} s | {python_times:.1} |"
        )?;
    }
    writeln!(table, "\nMedians of {ROUNDS} answers for each client.")?;
    Ok(table)
}

/// perf2 alone, beside a long request to another process, and beside one to the same server.
pub(crate) fn interpreter_lock() -> Result<String, Box<dyn Error>> {
    type Start = fn() -> io::Result<Server>;
    let servers: [(&str, u64, Start); 4] = [
        ("Rust, threads", RUST_HOG, || Server::rust("02-threads", &[])),
        ("Rust, toy lock, 5 ms", RUST_HOG, || Server::rust("02-threads-gil", &[])),
        ("Rust, toy lock, 0.5 ms", RUST_HOG, || Server::rust("02-threads-gil", &["0.5"])),
        ("Python, threads", PYTHON_HOG, || Server::python("server_threads.py")),
    ];
    let mut table = "| requests a second | alone | beside a fib elsewhere | beside a fib in the same process |\n|---|---|---|---|\n".to_owned();
    for (name, n, start) in servers {
        let alone = start()?.rate(ROUNDS)?;
        let (server, other) = (start()?, start()?);
        let mut hog = other.client()?;
        hog.send(n)?;
        let elsewhere = server.rate(ROUNDS)?;
        drop(other);
        let mut hog = server.client()?;
        hog.send(n)?;
        let beside = server.rate(ROUNDS)?;
        let [alone, elsewhere, beside] = [alone, elsewhere, beside].map(grouped);
        writeln!(table, "| {name} | {alone} | {elsewhere} | {beside} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} seconds each.")?;
    Ok(table)
}

/// perf2 with client and server wherever the kernel puts them, and with both of them on one core.
pub(crate) fn one_core() -> Result<String, Box<dyn Error>> {
    let rate = || Server::rust("02-threads", &[])?.rate(ROUNDS);
    let anywhere = rate()?;
    tie("0")?; // this thread, and what it starts from now on
    let together = rate();
    tie("0-1023")?;
    let [anywhere, together] = [anywhere, together?].map(grouped);
    Ok(format!(
        "| requests a second | |\n|---|---|\n| wherever the kernel puts them | {anywhere} |\n\
         | client and server on one core | {together} |\n\nMedians of {ROUNDS} seconds each.\n"
    ))
}

/// Lets this process run on these cores alone.
fn tie(cores: &str) -> Result<(), Box<dyn Error>> {
    let id = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-p", "-c", cores, &id]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(())
}

/// What 02-threads-cost prints, for a thousand threads.
pub(crate) fn thread_cost() -> Result<String, Box<dyn Error>> {
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        runs.push(cost_of_a_thread()?);
    }
    let mut table = "| a thread that waits | |\n|---|---|\n".to_owned();
    for (index, (what, _, unit)) in runs[0].iter().enumerate() {
        let value = median(runs.iter().map(|run| run[index].1).collect());
        writeln!(table, "| {what} | {value:.1} {unit} |")?;
    }
    writeln!(table, "\nOf 1,000 threads; medians of {ROUNDS} runs.")?;
    Ok(table)
}

/// In KiB, of the program's memory.
pub(crate) fn memory_of_a_thread() -> Result<f64, Box<dyn Error>> {
    let lines = cost_of_a_thread()?;
    let memory = lines.iter().find(|(what, ..)| what == "memory of the program");
    Ok(memory.ok_or("02-threads-cost prints no memory")?.1)
}

/// What is measured, how much it is, and of what.
type Line = (String, f64, String);

fn cost_of_a_thread() -> Result<Vec<Line>, Box<dyn Error>> {
    let output =
        Command::new(std::env::current_exe()?.with_file_name("02-threads-cost")).output()?;
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().skip(1).filter_map(|line| {
        let (what, rest) = line.split_once(": ")?;
        let (value, unit) = rest.split_once(' ')?;
        Some((what.to_owned(), value.parse().ok()?, unit.to_owned()))
    });
    Ok(lines.collect())
}
