//! What are the loop's own methods here?
//!
//! | asyncio                                   | here                                                             |
//! |-------------------------------------------|------------------------------------------------------------------|
//! | `get_event_loop()`, `new_event_loop()`    | `Runtime::new()`; none is there unmade                           |
//! | `loop.create_task(c)`, `ensure_future(c)` | `rt.spawn(c)`; inside of the loop `runtime::spawn(c)`            |
//! | `loop.run_until_complete(f)`              | `rt.block_on(f)`                                                 |
//! | `loop.run_forever()`, `loop.stop()`       | `rt.block_on` of something that becomes ready when it is to stop |
//! | `loop.close()`                            | `drop(rt)`, at the end of its scope: nobody forgets it           |
//!
//! A task that is created waits until the loop runs; one that has not ended when `block_on` returns stays where it is,
//! as with asyncio, and goes on with the next. What is left at the close is dropped, one after the other, on this
//! thread (asyncio: "Task was destroyed but it is pending!", if one has not cancelled all by hand).
//!
//! Comes from: ../main.rs. Goes to: `runtime::Runtime`.

use std::time::Duration;

use runtime::{CancelToken, Runtime, sleep};

use crate::Outcome;
use crate::words::Words;

async fn work(name: &'static str, ticks: u32, tick: Duration) -> u32 {
    let _end = End(name);
    for step in 1..=ticks {
        sleep(tick).await;
        println!("  {name}: step {step} of {ticks}");
    }
    ticks
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    let rt = Runtime::new()?;

    println!("create_task: a and b");
    let a = rt.spawn(work("a", 1, tick));
    rt.spawn(work("b", 2, 2 * tick));

    println!("run_until_complete(a)");
    println!("  gives {}", rt.block_on(a)?);

    println!("run_forever, until stop");
    let stop = CancelToken::new();
    rt.spawn({
        let stop = stop.clone();
        async move {
            sleep(5 * tick).await;
            stop.cancel();
        }
    });
    rt.spawn(work("c", 100, 10 * tick));
    rt.spawn(work("d", 100, 10 * tick));
    rt.block_on(stop.cancelled());

    println!("close");
    drop(rt);
    println!("closed");
    Ok(())
}

/// Tells of its task's end, by whichever way it comes.
struct End(&'static str);

impl Drop for End {
    fn drop(&mut self) {
        println!("  {}: over", self.0);
    }
}
