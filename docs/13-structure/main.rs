//! Who waits for a task, and who ends it?
//!
//! Eight pieces of work that are the same but for their names, each left in another way. A guard inside of each tells how it
//! ended: a future that is dropped before it is done has a destructor like everything else.
//!
//! Comes from: you. Goes to: the runtime's tasks, timeouts, nurseries and shields.

use std::error::Error;
use std::io;
use std::time::Duration;

use runtime::{Nursery, block_on, nursery, shield, sleep, spawn, timeout};

/// Says at the end of a piece of work how it ended.
struct Ending {
    name: &'static str,
    is_done: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        println!("    {}: {}", self.name, if self.is_done { "done" } else { "dropped" });
    }
}

/// Some milliseconds of work that consists of waiting.
async fn work(name: &'static str, milliseconds: u64) -> io::Result<()> {
    let mut ending = Ending { name, is_done: false };
    sleep(Duration::from_millis(milliseconds)).await;
    ending.is_done = true;
    Ok(())
}

/// A piece of work that fails.
async fn fails(name: &'static str, milliseconds: u64) -> io::Result<()> {
    work(name, milliseconds).await?;
    Err(io::Error::other(format!("{name} has failed")))
}

const SOON: Duration = Duration::from_millis(20);

async fn tell() -> Result<(), Box<dyn Error>> {
    println!("1. awaited");
    spawn(work("one", 10)).await??;

    println!("2. its handle dropped");
    drop(spawn(work("two", 10)));
    sleep(SOON).await;

    println!("3. aborted");
    let handle = spawn(work("three", 10_000));
    sleep(SOON).await;
    let ended = handle.cancel().await;
    println!("  {}", ended.err().map_or("no error".into(), |error| error.to_string()));

    println!("4. under a timeout");
    let late = timeout(SOON, work("four", 10_000)).await;
    println!("  {}", late.err().map_or("in time".into(), |error| error.to_string()));

    println!("5. a task, its handle under a timeout");
    let _late = timeout(SOON, spawn(work("five", 40))).await;
    println!("  given up");
    sleep(Duration::from_millis(60)).await;

    println!("6. in a nursery, where one fails");
    let errors = nursery(three_children).await;
    println!("  {}", errors.err().map_or("no error".into(), |errors| errors.to_string()));

    println!("7. shielded, under a timeout");
    let mut commit = shield(work("seven", 40));
    let _late = timeout(SOON, &mut commit).await;
    println!("  given up; and awaited after all");
    commit.await?;

    println!("8. left behind");
    drop(spawn(work("eight", 10_000)));
    sleep(SOON).await;
    println!("the end of block_on");
    Ok(())
}

async fn three_children(n: &Nursery<io::Error>) -> io::Result<()> {
    n.spawn(work("six a", 10));
    n.spawn(fails("six b", 20));
    n.spawn(work("six c", 10_000));
    work("six, the body", 10_000).await
}

fn main() -> Result<(), Box<dyn Error>> {
    block_on(tell())
}
