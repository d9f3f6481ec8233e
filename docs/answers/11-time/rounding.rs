//! What becomes of a deadline when the kernel is asked in whole milliseconds?
//!
//! A loop waits for 1.9 ms, 20 times, and counts its waits. The rest of the time is given to the kernel rounded down to a
//! millisecond, rounded up, and as it is.
//!
//! Comes from: exercise 1. Goes to: epoll itself, by rustix.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

const ROUNDS: u32 = 20;

fn main() -> io::Result<()> {
    let kernel = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let whole = |rest: Duration| Duration::from_millis(rest.as_millis() as u64);
    measure("rounded down", &kernel, whole)?;
    measure("rounded up", &kernel, |rest| whole(rest + Duration::from_nanos(999_999)))?;
    measure("as it is", &kernel, |rest| rest)
}

fn measure(name: &str, kernel: &OwnedFd, rounded: impl Fn(Duration) -> Duration) -> io::Result<()> {
    let (mut waits, mut late) = (0, Duration::ZERO);
    for _ in 0..ROUNDS {
        let deadline = Instant::now() + Duration::from_micros(1900);
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            wait(kernel, rounded(rest))?;
            waits += 1;
        }
        late += deadline.elapsed();
    }
    println!("{name:12}: waits {}, late by {} us", waits / ROUNDS, (late / ROUNDS).as_micros());
    Ok(())
}

fn wait(kernel: &OwnedFd, limit: Duration) -> io::Result<()> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    epoll::wait(kernel, spare_capacity(&mut Vec::with_capacity(1)), Some(&limit))?;
    Ok(())
}
