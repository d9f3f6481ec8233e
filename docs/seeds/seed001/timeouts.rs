//! How does one give up waiting, and what becomes of what was waited for?
//!
//! asyncio: `wait_for(f, 1.0)` raises `TimeoutError`; `task.cancel()` throws `CancelledError` into the task at its next
//! await; the task may catch it, do something that waits, and even go on. Here a timeout gives an `Err`, and to cancel
//! is to drop: the future is not polled again, what it holds is dropped, and it has no say. `except CancelledError`
//! becomes a `Drop`; what would have to wait in it: see context_manager.rs.
//!
//! In return the end is certain: `cancel().await` has an answer as soon as the drop is done, and of nested timeouts the
//! types say whose time was over.
//!
//! Comes from: ../main.rs. Goes to: `runtime::timeout`, `runtime::JoinHandle`.

use std::time::Duration;

use runtime::{sleep, spawn, timeout};

use crate::Outcome;
use crate::words::Words;

async fn eternity(tick: Duration) {
    sleep(3600 * tick).await;
    println!("yay!");
}

async fn cancel_me(tick: Duration) {
    println!("cancel_me(): before sleep");
    let _cancelled = AtDrop("cancel_me(): cancelled while it slept");
    sleep(3600 * tick).await;
    println!("cancel_me(): never printed");
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        match timeout(tick, eternity(tick)).await {
            Ok(()) => println!("in time"),
            Err(elapsed) => println!("timeout! ({elapsed})"),
        }

        let task = spawn(cancel_me(tick));
        sleep(tick).await;
        let end = task.cancel().await;
        println!(
            "main(): cancel_me is cancelled now: {}",
            end.is_err_and(|end| end.is_cancelled())
        );

        let nested =
            |outer: u32, inner: u32| timeout(outer * tick, timeout(inner * tick, eternity(tick)));
        for (outer, inner) in [(1, 5), (5, 1)] {
            let whose = match nested(outer, inner).await {
                Err(_) => "the outer's",
                Ok(Err(_)) => "the inner's",
                Ok(Ok(())) => "nobody's",
            };
            println!("outer {outer}, inner {inner}: {whose} time was over");
        }
    });
    Ok(())
}

/// Says so when it is dropped.
struct AtDrop(&'static str);

impl Drop for AtDrop {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}
