//! What if several children fail?
//!
//! trio, as it was then: one error is raised as it is, several as a `MultiError`, and the echo server's remark admits
//! that the tutorial does not yet say what to do with those. (It became the `ExceptionGroup` of today's Python.) Here a
//! nursery gives an `Errors`, always, be it one or many: the first is the cause, for which all others were stopped;
//! those that failed before they could be stopped follow.
//!
//! Below, two children fail at the same time and a third one sleeps for ten seconds: it is dropped when the first
//! fails, so the block takes one.
//!
//! Comes from: ../main.rs. Goes to: `runtime::nursery`, `runtime::Errors`.

use std::time::Duration;

use runtime::{CancelToken, Errors};

use crate::Outcome;
use crate::words::Words;

async fn fail(name: &str, storm: CancelToken) -> Result<(), String> {
    storm.cancelled().await;
    println!("  {name}: failing");
    Err(format!("{name} is out of tea"))
}

async fn sleeper(tick: Duration) -> Result<(), String> {
    let _notice = Notice("  sleeper: dropped");
    runtime::sleep(10 * tick).await;
    println!("  sleeper: never printed");
    Ok(())
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    let result: Result<(), Errors<String>> = runtime::block_on(runtime::nursery(async |nursery| {
        // What wakes both in the same turn, so that the second has failed before the nursery can stop it.
        let storm = CancelToken::new();
        nursery.spawn(fail("child1", storm.clone()));
        nursery.spawn(fail("child2", storm.clone()));
        nursery.spawn(sleeper(tick));
        runtime::sleep(tick).await;
        storm.cancel();
        Ok(())
    }));
    if let Err(errors) = result {
        println!("the cause: {}", errors.first());
        for error in errors.iter().skip(1) {
            println!("also: {error}");
        }
    }
    Ok(())
}

/// Says so when it is dropped.
struct Notice(&'static str);

impl Drop for Notice {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}
