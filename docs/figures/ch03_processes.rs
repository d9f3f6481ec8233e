//! What do worker processes give, and what do they cost?
//!
//! | table | its question |
//! |---|---|
//! | `processes` | how many short requests are answered through a pool of processes, beside a long one? |
//! | `process-cost` | what does a worker process cost, beside a thread? |
//!
//! Comes from: main.rs. Goes to: programs.rs, ch02_threads.rs.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::ch02_threads;
use crate::programs::{Server, grouped, median};

const ROUNDS: usize = 5;
const STARTS: usize = 101;

/// perf2 against the servers of chapters 2 and 3, and against their twins: alone, and beside one long request.
pub(crate) fn processes() -> Result<String, Box<dyn Error>> {
    type Start = fn() -> io::Result<Server>;
    let servers: [(&str, u64, Start); 4] = [
        ("Rust, threads", 52, || Server::rust("02-threads", &[])),
        ("Rust, threads and 4 processes", 52, || Server::rust("03-processes", &[])),
        ("Python, threads", 42, || Server::python("server_threads.py")),
        ("Python, threads and 4 processes", 42, || Server::python("server_pool.py")),
    ];
    let mut table =
        "| | alone, a second | an answer takes | beside a long fib, a second | an answer takes |\n|---|---|---|---|---|\n".to_owned();
    for (name, n, start) in servers {
        let alone = start()?.rate(ROUNDS)?;
        let server = start()?;
        let mut hog = server.client()?;
        hog.send(n)?;
        let beside = server.rate(ROUNDS)?;
        let [each, each_beside] = [alone, beside].map(|rate| grouped(1e6 / rate));
        let [alone, beside] = [alone, beside].map(grouped);
        writeln!(table, "| {name} | {alone} | {each} us | {beside} | {each_beside} us |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} seconds each.")?;
    Ok(table)
}

/// A thread and a process, each started, asked for its first answer, and ended.
pub(crate) fn process_cost() -> Result<String, Box<dyn Error>> {
    let mut started = Vec::new();
    let mut processes = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let answer = thread::Builder::new().spawn(|| 1)?.join();
        answer.map_err(|_| "a thread panicked")?;
        started.push(start.elapsed().as_secs_f64() * 1e6);

        let start = Instant::now();
        let (mut socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?.with_file_name("03-processes"));
        let mut process = command.arg("worker").stdin(OwnedFd::from(theirs)).spawn()?;
        drop(command); // and with it our copy of the worker's end
        socket.write_all(&1_u64.to_le_bytes())?;
        socket.read_exact(&mut [0; 8])?;
        let answered = start.elapsed();
        let own = own_memory(process.id())?;
        let start = Instant::now();
        drop(socket);
        process.wait()?;
        processes.push((answered + start.elapsed()).as_secs_f64() * 1e6);
        memory.push(own);
    }
    let stack = ch02_threads::memory_of_a_thread()?;
    let [thread, process, memory] = [started, processes, memory].map(median);
    Ok(format!(
        "| | a thread | a worker process |\n|---|---|---|\n\
         | to start, have an answer, and end | {thread:.0} us | {process:.0} us |\n\
         | memory of its own, without the kernel's | {stack:.0} KiB | {memory:.0} KiB |\n\n\
         Medians of {STARTS}; a thread's memory is that of one run of `02-threads-cost`.\n"
    ))
}

/// In KiB: what would be free if the process were not there.
fn own_memory(process: u32) -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    let sizes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Ok(sizes.sum())
}
