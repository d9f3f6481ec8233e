//! What do long requests leave for short ones?
//!
//! K clients ask for a long fib without pause, and perf2 for fib(1).
//!
//! Comes from: main.rs. Goes to: programs.rs.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use crate::programs::{Server, grouped};

const ROUNDS: usize = 3;
/// About as long in one language as in the other: a twentieth of a second.
const RUST_N: u64 = 38;
const PYTHON_N: u64 = 30;

type Start = fn() -> io::Result<Server>;

pub(crate) fn four_long() -> Result<String, Box<dyn Error>> {
    let servers: [(&str, u64, Start); 4] = [
        ("the twin of the talk's last server, Python", PYTHON_N, || Server::python("aserver.py")),
        ("ours, 4 processes, first come first served", RUST_N, || {
            Server::ours(&["--pool", "processes", "--processes", "4"])
        }),
        ("ours, a thread for each client", RUST_N, || Server::rust("02-threads", &[])),
        ("ours, the fair pool", RUST_N, || Server::ours(&[])),
    ];
    let mut table = "| short requests a second, beside so many long ones | 0 | 1 | 4 | 16 | long ones a second, of 16 |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, n, start) in servers {
        let mut cells = Vec::new();
        let mut long = 0.0;
        for clients in [0, 1, 4, 16] {
            let server = start()?;
            let short;
            (short, long) = beside(&server, clients, n)?;
            cells.push(if short < 100.0 { format!("{short:.1}") } else { grouped(short) });
        }
        writeln!(table, "| {name} | {} | {long:.1} |", cells.join(" | "))?;
    }
    writeln!(
        table,
        "\nMedians of {ROUNDS} seconds; a long request is fib({RUST_N}) in Rust and fib({PYTHON_N}) in Python."
    )?;
    Ok(table)
}

/// Short requests, and long ones, a second.
fn beside(server: &Server, clients: usize, n: u64) -> io::Result<(f64, f64)> {
    let (end, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(server.client()?);
    }
    thread::scope(|scope| {
        for mut client in connections {
            let (end, answered) = (&end, &answered);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) && client.ask(n).is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let start = Instant::now();
        let rate = server.rate(ROUNDS);
        let long = f64::from(answered.load(Ordering::Relaxed)) / start.elapsed().as_secs_f64();
        end.store(true, Ordering::Relaxed);
        Ok((rate?, long))
    })
}
