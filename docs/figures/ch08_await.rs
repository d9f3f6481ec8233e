//! How do three stand beside each other: the twin of the talk's last server, the last server of its steps in Rust, and the engine's?
//!
//! The client is the same for all. "0" means that a whole second brought no answer.
//!
//! Comes from: main.rs. Goes to: programs.rs, /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Measured;
use crate::ch07_pool::{ROUNDS, rate};
use crate::programs::{Server, grouped};

/// Requests alone, beside one long request, beside four; processes, threads, memory.
pub(crate) fn twin() -> Measured {
    type Start = fn() -> io::Result<Server>;
    /// Takes longer than the measurement, compiled and in Python.
    const HOGS: [u64; 2] = [52, 42];
    let servers: [(&str, u64, Start); 4] = [
        ("the twin of the talk's last server, Python", HOGS[1], || Server::python("aserver.py")),
        ("08-await", HOGS[0], || Server::rust("08-await", &[])),
        ("server, threads", HOGS[0], || Server::ours(&["--quiet"])),
        ("server, processes", HOGS[0], || {
            Server::ours(&["--quiet", "--pool", "processes", "--processes", "4"])
        }),
    ];
    let mut table = "| requests a second | alone | beside a long one | beside four | processes | threads | memory |\n|---|---|---|---|---|---|---|\n".to_owned();
    for (name, hog, start) in servers {
        let server = match start() {
            Err(error) if error.to_string().contains("python3") => {
                writeln!(table, "| {name} | skipped: no python3 | | | | | |")?;
                continue;
            }
            started => started?,
        };
        let alone = rate(&server)?;
        let (processes, threads, memory) = size(&server)?;
        let mut hogs = vec![ask_for(&server, hog)?];
        let beside = rate(&server)?;
        for _ in 1..4 {
            hogs.push(ask_for(&server, hog)?);
        }
        let beside_four = rate(&server)?;
        let [alone, beside, beside_four] = [alone, beside, beside_four].map(grouped);
        writeln!(
            table,
            "| {name} | {alone} | {beside} | {beside_four} | {processes} | {threads} | {memory:.1} MB |"
        )?;
    }
    writeln!(
        table,
        "\nMedians of {ROUNDS} seconds each; memory is that of all its processes after the first column, what they share counted once (Pss)."
    )?;
    Ok(table)
}

/// A client that waits for a large number, and its socket.
fn ask_for(server: &Server, n: u64) -> io::Result<TcpStream> {
    let mut client = TcpStream::connect(server.address())?;
    client.write_all(n.to_string().as_bytes())?;
    thread::sleep(Duration::from_millis(200)); // so that its work has begun
    Ok(client)
}

/// How many processes and threads the server consists of, and their memory in MB.
fn size(server: &Server) -> io::Result<(usize, usize, f64)> {
    let mut family = BTreeSet::from([server.id().to_string()]);
    let parents = parents()?;
    // Children of children, until there are no more.
    while let Some((child, _)) =
        parents.iter().find(|(child, parent)| family.contains(*parent) && !family.contains(*child))
    {
        family.insert(child.clone());
    }
    let (mut threads, mut memory) = (0, 0.0);
    for process in &family {
        let process = Path::new("/proc").join(process);
        threads += fs::read_dir(process.join("task"))?.count();
        let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        memory += pss.unwrap_or(0.0) / 1024.0;
    }
    Ok((family.len(), threads, memory))
}

/// All processes, and their parents.
fn parents() -> io::Result<BTreeMap<String, String>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?;
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
        // Behind the name, which is in brackets: its state, its parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if let Some(parent) = parent {
            parents.insert(process.file_name().to_string_lossy().into_owned(), parent.to_owned());
        }
    }
    Ok(parents)
}
