//! What does a thread cost that does nothing but wait?
//!
//! Starts a thousand, or as many as you say, lets all of them wait, and asks the kernel what they have added. Linux only: the
//! numbers come from /proc.
//!
//! ```text
//! 02-threads-cost [ADDRESS [THREADS]]     # ADDRESS is not used; it comes first in all programs of the early chapters
//! ```
//!
//! Comes from: you, and the program `figures`. Goes to: the standard library, /proc.

use std::fs;
use std::io;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

fn main() -> io::Result<()> {
    let count = std::env::args().nth(2);
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(1000).max(1);
    let before = Memory::now()?;
    let start = Instant::now();
    let mut threads = Vec::new();
    let mut gates = Vec::new();
    let (here, arrived) = channel();
    for _ in 0..count {
        let (gate, wait) = channel::<()>();
        let here = here.clone();
        threads.push(thread::Builder::new().spawn(move || {
            let _ = here.send(());
            let _ = wait.recv(); // fails when the gates are dropped: that is the signal
        })?);
        gates.push(gate);
    }
    let _ = arrived.iter().take(count as usize).count();
    let started = start.elapsed();
    let after = Memory::now()?;
    drop(gates);
    for thread in threads {
        let _ = thread.join();
    }

    println!("{count} threads, each of them:");
    println!("started in: {:.1} us", started.as_secs_f64() * 1e6 / count as f64);
    for (what, before, after) in [
        ("address space", before.address_space, after.address_space),
        ("memory of the program", before.resident, after.resident),
        ("memory of its page tables", before.page_tables, after.page_tables),
        ("memory of the kernel's stack", before.kernel_stacks, after.kernel_stacks),
    ] {
        println!("{what}: {:.1} KiB", after.saturating_sub(before) as f64 / count as f64);
    }
    Ok(())
}

/// In KiB.
struct Memory {
    address_space: u64,
    resident: u64,
    page_tables: u64,
    /// Of the whole machine.
    kernel_stacks: u64,
}

impl Memory {
    fn now() -> io::Result<Self> {
        let ours = fs::read_to_string("/proc/self/status")?;
        let machine = fs::read_to_string("/proc/meminfo")?;
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Memory {
            address_space: number(&ours, "VmSize"),
            resident: number(&ours, "VmRSS"),
            page_tables: number(&ours, "VmPTE"),
            kernel_stacks: number(&machine, "KernelStack"),
        })
    }
}
