//! How does one task hand a value to another that waits for it?
//!
//! asyncio: a `Future` is both ends in one object: the loop runs until somebody calls `set_result` on it, then `result`
//! has the value. Here the two ends are two values, so who is to give it and who gets it is in the types: the sender is
//! used up by sending, so there is no second `set_result` to forbid, and a sender that is dropped says so to the other
//! side. In Python that wait has no end.
//!
//! Rust's `Future` is another thing: whatever can be awaited. This one is a oneshot channel, here futures-channel's.
//!
//! Comes from: ../main.rs. Goes to: `futures_channel::oneshot`, `runtime::spawn`.

use std::time::Duration;

use futures_channel::oneshot;

use crate::Outcome;
use crate::words::Words;

async fn slow_operation(future: oneshot::Sender<&'static str>, tick: Duration) {
    runtime::sleep(tick).await;
    // Nobody may be waiting any more; then the value comes back, and is dropped.
    let _ = future.send("Future is done!");
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    let (sender, future) = oneshot::channel();
    let result = runtime::block_on(async {
        runtime::spawn(slow_operation(sender, tick));
        future.await
    });
    println!("{}", result?);
    Ok(())
}
