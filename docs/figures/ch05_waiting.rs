//! What does a crowd of silent clients cost, with a thread for each and with one loop?
//!
//! A thousand clients connect, ask for `1`, are answered, and stay. Their cost is what the kernel says of the server then, less what
//! it said before they came.
//!
//! Comes from: main.rs. Goes to: programs.rs, /proc.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io;

use crate::programs::{Server, grouped, median};

const CLIENTS: usize = 1000;
const ROUNDS: usize = 5;

pub(crate) fn crowd() -> Result<String, Box<dyn Error>> {
    let [threads, waiting] = [rounds("02-threads")?, rounds("05-waiting")?];
    let mut table = format!(
        "| {} clients, answered once and silent | a thread each | one loop |\n|---|---|---|\n",
        grouped(CLIENTS as f64)
    );
    let rows: [Row; 3] = [
        ("threads", "", |crowd| crowd.threads),
        ("memory of the program, for each client", " KiB", |crowd| crowd.memory),
        ("memory of its page tables, for each", " KiB", |crowd| crowd.page_tables),
    ];
    for (what, unit, value) in rows {
        let [threads, waiting] = [&threads, &waiting].map(|rounds| {
            let value = median(rounds.iter().map(value).collect());
            if unit == " KiB" { format!("{value:.1}") } else { grouped(value) }
        });
        writeln!(table, "| {what} | {threads}{unit} | {waiting}{unit} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} runs. A thread has a stack in the kernel besides.")?;
    Ok(table)
}

/// What is measured, its unit, and where it stands.
type Row = (&'static str, &'static str, fn(&Crowd) -> f64);

struct Crowd {
    threads: f64,
    /// In KiB, for each client.
    memory: f64,
    page_tables: f64,
}

fn rounds(name: &str) -> Result<Vec<Crowd>, Box<dyn Error>> {
    (0..ROUNDS).map(|_| measure(name)).collect()
}

fn measure(name: &str) -> Result<Crowd, Box<dyn Error>> {
    let server = Server::rust(name, &[])?;
    server.client()?.ask(1)?; // what is made once is not made for each
    let before = Status::of(&server)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.client()?;
        client.ask(1)?;
        clients.push(client);
    }
    let now = Status::of(&server)?;
    let each = |before, now| (now - before) / CLIENTS as f64;
    Ok(Crowd {
        threads: now.threads,
        memory: each(before.memory, now.memory),
        page_tables: each(before.page_tables, now.page_tables),
    })
}

/// Three lines of /proc/NUMBER/status.
struct Status {
    threads: f64,
    /// In KiB.
    memory: f64,
    page_tables: f64,
}

impl Status {
    fn of(server: &Server) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{}/status", server.id()))?;
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
        };
        Ok(Status {
            threads: number("Threads"),
            memory: number("VmRSS"),
            page_tables: number("VmPTE"),
        })
    }
}
