//! What class do threads have that a demoted job starts?
//!
//! The kernel says for each thread by which rules it gets the processor. A job asks when it begins, when it has computed for a while, and
//! has a thread that it starts then ask, too.
//!
//! Comes from: exercise 1. Goes to: the runtime's pool, and /proc.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use runtime::{block_on, unblock};

fn main() -> io::Result<()> {
    block_on(async {
        let said = unblock(|| -> io::Result<_> {
            let at_first = class()?;
            let start = Instant::now();
            while class()? == at_first && start.elapsed() < Duration::from_secs(30) {
                std::hint::black_box((0..10_000).sum::<u64>());
            }
            let later = class()?;
            let child = thread::spawn(class).join();
            Ok([at_first, later, child.unwrap_or_else(|_| Err(io::Error::other("it panicked")))?])
        });
        let [at_first, later, child] = said.await??;
        println!("the job's thread, at first: {at_first}");
        println!("the job's thread, when it has computed: {later}");
        println!("a thread that the job starts then: {child}");
        println!("the loop's thread: {}", class()?);
        Ok(())
    })
}

/// The scheduling policy of the thread that asks: field 41 of its line in /proc.
fn class() -> io::Result<&'static str> {
    let line = fs::read_to_string("/proc/thread-self/stat")?;
    // The second field is a name in parentheses, and may have spaces in it.
    let fields = line.rsplit(')').next().unwrap_or_default();
    match fields.split_whitespace().nth(38) {
        Some("0") => Ok("SCHED_OTHER"),
        Some("5") => Ok("SCHED_IDLE"),
        other => Err(io::Error::other(format!("a policy that has no name here: {other:?}"))),
    }
}
