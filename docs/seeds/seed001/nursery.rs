//! Where do child tasks belong, so that none is forgotten?
//!
//! trio: into a nursery, a block that does not end before its children do; `start_soon` starts one. Here the block is
//! an async closure that is given the nursery, and `spawn` starts one. Two children that sleep a second each make a
//! block of one second.
//!
//! A child of trio's may borrow what lives around the block. Here a task may not, since it could be leaked;
//! `runtime::scope` has children that may, and are polled inside of the parent.
//!
//! Comes from: ../main.rs. Goes to: `runtime::nursery`.

use std::convert::Infallible;
use std::time::Duration;

use crate::Outcome;
use crate::words::Words;

async fn child1(tick: Duration) -> Result<(), Infallible> {
    println!("  child1: started! sleeping now...");
    runtime::sleep(tick).await;
    println!("  child1: exiting!");
    Ok(())
}

async fn child2(tick: Duration) -> Result<(), Infallible> {
    println!("  child2: started! sleeping now...");
    runtime::sleep(tick).await;
    println!("  child2: exiting!");
    Ok(())
}

async fn parent(tick: Duration) -> Outcome {
    println!("parent: started!");
    runtime::nursery(async |nursery| {
        println!("parent: spawning child1...");
        nursery.spawn(child1(tick));

        println!("parent: spawning child2...");
        nursery.spawn(child2(tick));

        println!("parent: waiting for children to finish...");
        // -- the body ends here, the block does not --
        Ok(())
    })
    .await?;
    println!("parent: all done!");
    Ok(())
}

pub(crate) fn main(words: &[String]) -> Outcome {
    runtime::block_on(parent(Words::new(words, &["--tick"])?.tick(1000)?))
}
