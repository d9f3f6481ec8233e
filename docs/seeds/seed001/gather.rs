//! How does one wait for several things and get all results?
//!
//! asyncio: `gather` gives a list in the order of the arguments, whoever was first. Here that is a function of three
//! lines, below. What differs is the error:
//!
//! | asyncio                          | here                      | when one fails                                      |
//! |----------------------------------|---------------------------|-----------------------------------------------------|
//! | `gather(return_exceptions=True)` | `gather` of `Result`s     | the others go on, each result is in the list        |
//! | `TaskGroup`, trio's nursery      | `nursery`, `scope`        | the others are dropped, the error is given          |
//! | `gather()`                       | awaiting handles with `?` | the error is given; **the others go on, unwatched** |
//!
//! The last is what is easiest to write and seldom meant, in both. (With handles, `?` also comes to the error only in
//! its turn.) futures-lite's `zip` and `try_zip`, and futures-util's `join_all`, gather without making tasks.
//!
//! Comes from: ../main.rs. Goes to: `runtime::spawn`, `runtime::nursery`.

use std::time::Duration;

use runtime::{JoinError, sleep, spawn};

use crate::Outcome;
use crate::words::Words;

async fn gather<F>(coroutines: impl IntoIterator<Item = F>) -> Result<Vec<F::Output>, JoinError>
where
    F: Future + 'static,
{
    let tasks: Vec<_> = coroutines.into_iter().map(spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await?);
    }
    Ok(results)
}

async fn cook(dish: &'static str, ticks: u32, tick: Duration) -> Result<&'static str, String> {
    sleep(ticks * tick).await;
    if dish == "soufflé" {
        println!("  {dish} has collapsed");
        return Err(format!("no {dish} today"));
    }
    println!("  {dish} is done");
    Ok(dish)
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        println!("in the order of the arguments:");
        let dishes = [("roast", 3), ("soup", 2), ("salad", 1)];
        let results = gather(dishes.map(|(dish, ticks)| cook(dish, ticks, tick))).await?;
        println!("  {results:?}");

        println!("errors as results:");
        let dishes = [("roast", 3), ("soufflé", 2), ("salad", 1)];
        let results = gather(dishes.map(|(dish, ticks)| cook(dish, ticks, tick))).await?;
        println!("  {results:?}");

        println!("the first error ends the others:");
        let dishes = [("roast", 30), ("soufflé", 2), ("salad", 1)]; // who would wait for that roast?
        let result = runtime::nursery(async |nursery| {
            let children = dishes.map(|(dish, ticks)| nursery.spawn(cook(dish, ticks, tick)));
            let mut results = Vec::new();
            for child in children {
                results.extend(child.await);
            }
            Ok(results)
        });
        println!("  {:?}", result.await.map_err(|errors| errors.into_first()));
        Ok(())
    })
}
