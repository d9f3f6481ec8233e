//! What is left in a heap of timeouts that never fire?
//!
//! A server that answers 10,000 requests a second gives each a timeout of five seconds, and takes it back when the answer is there, a
//! tenth of a millisecond later. Time is counted, not measured: each request is one step of 100 us.
//!
//! Comes from: you. Goes to: timers.rs.

mod timers;
use timers::{COMPARED, Timers};

const STEP: u64 = 100;
const TIMEOUT: u64 = 5_000_000;

fn main() {
    let mut timers = Timers::new();
    let mut now = 0;
    for seconds in [1, 4, 5] {
        for _ in 0..seconds * 10_000 {
            let number = timers.insert(now + TIMEOUT, "give up");
            now += STEP;
            assert!(timers.remove(number).is_some(), "the answer is there");
            assert!(timers.pop_due(now).is_none(), "no timeout fires");
        }
        let compared = COMPARED.take() as f64 / f64::from(seconds * 10_000);
        println!(
            "after {:2} s: alive 0, entries {:5}, comparisons for each timeout {compared:.1}",
            now / 1_000_000,
            timers.entries(),
        );
    }
}
