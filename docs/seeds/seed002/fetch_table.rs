//! What does each way to fetch cost?
//!
//! The original lists what speaks for each way and against it, without figures. Here they are measured: each form is
//! started as a program of its own, against an origin that is a third one, and watched from outside.
//!
//! | column | what it is                                                                                       |
//! |--------|--------------------------------------------------------------------------------------------------|
//! | lines  | code lines of the program's file, for callbacks with deferred.rs and reactor.rs; the rest is shared |
//! | threads, memory | the most that were seen, asking every 5 ms (`/proc`, so on Linux alone; elsewhere 0)     |
//! | time   | from the program's start to its end                                                              |
//!
//! ```text
//! --pages N,N,..         how many pages (4,1000,10000)
//! --tick MILLISECONDS    how long each page takes (10)
//! --patience SECONDS     for how long one after the other may take; beyond it is left out (20)
//! ```
//!
//! Comes from: ../main.rs. Goes to: the other fetching programs, as processes.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::words::Words;

/// Each form's program, and its own sources.
const FORMS: [(&str, &[&str]); 5] = [
    ("fetch-sequential", &[include_str!("fetch_sequential.rs")]),
    ("fetch-threads", &[include_str!("fetch_threads.rs")]),
    (
        "fetch-callbacks",
        &[
            include_str!("fetch_callbacks.rs"),
            include_str!("deferred.rs"),
            include_str!("reactor.rs"),
        ],
    ),
    ("fetch-stackful", &[include_str!("fetch_stackful.rs")]),
    ("fetch-async", &[include_str!("fetch_async.rs")]),
];

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--pages", "--tick", "--patience"])?;
    let pages = words.value("--pages")?.unwrap_or_else(|| "4,1000,10000".to_owned());
    let pages = pages.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let tick = words.tick(10)?;
    let patience = Duration::from_secs(words.value("--patience")?.unwrap_or(20));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "machine: {} {}, {cores} cores, {build} build; each page takes {} ms",
        env::consts::OS,
        env::consts::ARCH,
        tick.as_millis()
    );
    for count in pages {
        println!("{count} pages");
        for (program, sources) in FORMS {
            let name = program.trim_start_matches("fetch-");
            let lines: usize = sources.iter().map(|source| code_lines(source)).sum();
            let sum = tick * count;
            if name == "sequential" && sum > patience {
                println!("  {name:10} {lines:4} lines  (would take {} s)", sum.as_secs());
                continue;
            }
            let Seen { fetched, threads, memory, time } = measure(program, count, tick)?;
            if fetched < count {
                // Each page is a descriptor here and one in the origin.
                println!("  {name:10} {lines:4} lines  (only {fetched} pages came; `ulimit -n`?)");
                continue;
            }
            let (memory, time) = (memory as f64 / 1024.0, time.as_secs_f64());
            println!(
                "  {name:10} {lines:4} lines  {threads:6} threads  {memory:7.1} MB  {time:7.2} s"
            );
        }
    }
    Ok(())
}

/// What can be seen of a program from outside.
struct Seen {
    /// How many pages went well.
    fetched: u32,
    threads: u64,
    /// In kB.
    memory: u64,
    time: Duration,
}

fn measure(program: &str, pages: u32, tick: Duration) -> Result<Seen, Box<dyn std::error::Error>> {
    // One for each, on a port of its own: connections that are over block their ports for a minute.
    let (_origin, address) = start_origin(tick)?;
    let start = Instant::now();
    let mut child = Running(
        Command::new(env::current_exe()?)
            .args([program, "--origin", &address, "--urls", &pages.to_string()])
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let printed = child.0.stdout.take().map(BufReader::new);
    let counting = thread::spawn(move || {
        let lines = printed.into_iter().flat_map(|printed| printed.lines().map_while(Result::ok));
        lines.filter(|line| line.ends_with(" OK")).count()
    });
    let (mut threads, mut memory) = (0, 0);
    let status = loop {
        let seen = fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap_or_default();
        let number = |name: &str| {
            let line = seen.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        threads = threads.max(number("Threads:"));
        memory = memory.max(number("VmHWM:"));
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let time = start.elapsed();
    if !status.success() {
        return Err(format!("{program} with {pages} pages: {status}").into());
    }
    let fetched = counting.join().map_err(|_| "the counting thread panicked")?.try_into()?;
    Ok(Seen { fetched, threads, memory, time })
}

fn start_origin(tick: Duration) -> io::Result<(Running, String)> {
    let mut command = Command::new(env::current_exe()?);
    let tick = tick.as_millis().to_string();
    command.args(["origin", "--addr", "127.0.0.1:0", "--tick", &tick]);
    let mut origin = Running(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    if let Some(printed) = origin.0.stdout.take() {
        BufReader::new(printed).read_line(&mut line)?;
    }
    let address = line.trim_end().rsplit(' ').next().unwrap_or_default().to_owned();
    Ok((origin, address))
}

/// A process that ends when this does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn code_lines(source: &str) -> usize {
    let lines = source.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}
