//! How late is a sleep, and is it ever early?
//!
//! Sleeps of all lengths between nothing and four milliseconds, one after the other, each measured by the system's clock.
//!
//! Comes from: you. Goes to: the runtime's timer wheel and `epoll_pwait2`.

use std::time::{Duration, Instant};

use runtime::{block_on, sleep};

const SLEEPS: u32 = 400;

fn main() {
    let mut late = Vec::new();
    let mut early = 0;
    block_on(async {
        for count in 0..SLEEPS {
            let length = Duration::from_micros(10) * count;
            let start = Instant::now();
            sleep(length).await;
            match start.elapsed().checked_sub(length) {
                Some(by) => late.push(by),
                None => early += 1,
            }
        }
    });
    late.sort();
    println!("{SLEEPS} sleeps of 0 to 4 ms");
    println!("early: {}", if early == 0 { "none" } else { "some" });
    let microseconds = |share: usize| late[(late.len() - 1) * share / 100].as_micros();
    println!("late, half of them by at most {} us", microseconds(50));
    println!("late, 99 of a hundred by at most {} us", microseconds(99));
}
