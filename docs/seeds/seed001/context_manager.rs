//! How does one wrap a block in a beginning and an end that have to wait?
//!
//! Python: `async with`, whose `__aenter__` and `__aexit__` may await; the exit is called however the block ends, be it
//! by an error or a cancellation, and told which. Here it is a function that takes the block as an async closure.
//!
//! | the block ...           | Python's `__aexit__`     | the exit here                                    |
//! |-------------------------|--------------------------|--------------------------------------------------|
//! | ends                    | is called                | is awaited                                       |
//! | fails                   | is called with the error | is awaited; the error is a value and waits       |
//! | is cancelled in between | is called, and may await | **is not run**: there is no async `Drop`         |
//! | the same, in a `shield` |                          | is awaited: the block goes on without its caller |
//!
//! Cancelled is dropped, and a drop cannot wait. So what must not be lost is done by a plain `Drop` (a file is closed,
//! a lock is given back), and what must wait (a farewell over the network, say) needs a task of its own, which is what
//! `shield` is.
//!
//! Comes from: ../main.rs. Goes to: `runtime::timeout`, `runtime::shield`.

use std::future::pending;

use runtime::{shield, sleep, timeout};

use crate::Outcome;
use crate::words::Words;

async fn log(text: &str) {
    runtime::yield_now().await; // a log that has to wait
    println!("  {text}");
}

async fn with_context<T>(block: impl AsyncFnOnce() -> T) -> T {
    log("entering context").await;
    let mut entered = Entered { is_over: false };
    let value = block().await;
    log("exiting context").await;
    entered.is_over = true;
    value
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        println!("a block that ends:");
        with_context(async || println!("  inside")).await;

        println!("a block that fails:");
        let failed = with_context(async || "x".parse::<u8>()).await;
        println!("  then its error: {failed:?}");

        println!("a block that is cancelled:");
        let cancelled = timeout(tick, with_context(pending::<()>)).await;
        println!("  its time was over: {}", cancelled.is_err());

        println!("a block in a shield, whose caller gives up:");
        let mut shielded = shield(with_context(async move || {
            sleep(2 * tick).await;
            println!("  inside, and going on");
        }));
        let given_up = timeout(tick, &mut shielded).await;
        println!("  its time was over: {}", given_up.is_err());
        shielded.await; // only so that the program does not end before it
    });
    Ok(())
}

/// What stands between the two: its drop is all that a cancelled block still does.
struct Entered {
    is_over: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.is_over {
            println!("  dropped in the middle: nothing can be awaited here");
        }
    }
}
