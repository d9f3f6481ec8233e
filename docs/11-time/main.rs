//! How long does a program take that sleeps for a year?
//!
//! On a clock that jumps to the next deadline whenever nothing else can happen: as long as its polls take. All times that are printed
//! are that clock's, counted from the start.
//!
//! Comes from: you. Goes to: the runtime's timer wheel, driven by a `TestClock`.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use runtime::testing::TestClock;
use runtime::{Runtime, now, sleep, spawn, timeout};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A value that says when it is dropped.
struct Held(&'static str, Instant);

impl Drop for Held {
    fn drop(&mut self) {
        say(self.1, &format!("{} is dropped", self.0));
    }
}

fn main() -> io::Result<()> {
    let begin = Instant::now();
    let runtime = Runtime::builder().time(TestClock::new()).build()?;
    runtime.block_on(async {
        let start = now();
        for (name, seconds) in [("ten", 10), ("five", 5), ("twenty", 20), ("five, too", 5)] {
            spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                say(start, name);
            });
        }
        let waits = async {
            let _held = Held("what it holds", start);
            pending::<()>().await
        };
        let late = timeout(Duration::from_secs(7), waits).await;
        say(start, &format!("7 s are over: {}", late.is_err()));

        let early = timeout(7 * DAY, sleep(DAY)).await;
        say(start, &format!("a day's sleep is over before a week is: {}", early.is_ok()));

        let year = timeout(Duration::MAX, sleep(364 * DAY)).await;
        say(start, &format!("364 days are over before Duration::MAX is: {}", year.is_ok()));
    });
    let took = if begin.elapsed() < Duration::from_secs(1) { "less" } else { "more" };
    println!("On the wall: {took} than a second.");
    Ok(())
}

fn say(start: Instant, what: &str) {
    println!("{:>12.3} s  {what}", (now() - start).as_secs_f64());
}
