//! Can a wake fall between the look and the sleep?
//!
//! A loop that is about to sleep looks into its queue, and then waits. Here another thread pushes a task exactly between the
//! two, held there by barriers, so that the rare case is the only one. Three rules for who rings when are tried; `FOR_EVER` is
//! as long as one has the patience to wait for.
//!
//! Comes from: whoever wants to save a system call. Goes to: `polling::Poller`.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Events, Poller};

const FOR_EVER: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    try_rule("ring if the loop sleeps; it looks, then says so", Rule::LookThenSay)?;
    try_rule("ring if the loop sleeps; it says so, then looks", Rule::SayThenLook)?;
    try_rule("ring always", Rule::RingAlways)
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    LookThenSay,
    SayThenLook,
    RingAlways,
}

fn try_rule(name: &str, rule: Rule) -> io::Result<()> {
    let poller = Poller::new()?;
    let tasks = Mutex::new(VecDeque::new());
    let asleep = AtomicBool::new(false);
    let gap = Barrier::new(2);
    let slept = thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            gap.wait(); // the loop has looked
            tasks.lock().unwrap_or_else(PoisonError::into_inner).push_back("a task");
            let rung = if rule == Rule::RingAlways || asleep.load(Ordering::SeqCst) {
                poller.notify()
            } else {
                Ok(())
            };
            gap.wait(); // and may go on
            rung
        });
        if rule == Rule::SayThenLook {
            asleep.store(true, Ordering::SeqCst);
        }
        let idle = tasks.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        gap.wait();
        gap.wait();
        if rule == Rule::LookThenSay {
            asleep.store(true, Ordering::SeqCst);
        }
        let start = Instant::now();
        if idle {
            poller.wait(&mut Events::new(), Some(FOR_EVER))?;
        }
        let slept = start.elapsed();
        stranger.join().unwrap_or_else(|_| Err(io::Error::other("the other thread panicked")))?;
        io::Result::Ok(slept)
    })?;
    let end = if slept < FOR_EVER { "woken" } else { "SLEEPS, with a task in its queue" };
    println!("{name:50} {end}");
    Ok(())
}
