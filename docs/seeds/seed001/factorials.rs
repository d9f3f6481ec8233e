//! How do several coroutines run at the same time?
//!
//! asyncio: `gather` makes each a task and waits for all. Here `spawn` does the first and awaiting the handles the
//! second. Factorials of 2, 3 and 4 with a second a step are 1, 2 and 3 seconds; together 3, not 6, on one thread.
//!
//! The order of the lines is always this one: tasks run in the order they became ready, and of timers that are due at
//! the same turn the one that was to be first is first. What `gather` returns, and what it does about errors:
//! gather.rs.
//!
//! Comes from: ../main.rs. Goes to: `runtime::spawn`.

use std::time::Duration;

use crate::Outcome;
use crate::words::Words;

async fn factorial(name: &str, number: u64, tick: Duration) {
    let mut f = 1;
    for i in 2..=number {
        println!("Task {name}: Compute factorial({i})...");
        runtime::sleep(tick).await;
        f *= i;
    }
    println!("Task {name}: factorial({number}) = {f}");
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        let tasks = [("A", 2), ("B", 3), ("C", 4)]
            .map(|(name, n)| runtime::spawn(factorial(name, n, tick)));
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}
