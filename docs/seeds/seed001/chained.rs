//! What happens when a coroutine waits for another one?
//!
//! asyncio: `print_sum` awaits `compute`, which awaits `sleep`; the loop knows one task and is told by the innermost
//! when to go on. Here, too. But in Python these are three objects on the heap that point to one another, and here they
//! are one value: `compute`'s state lies inside of `print_sum`'s, and the `Sleep` inside of that.
//!
//! ```text
//! block_on                 print_sum(1, 2)           compute(1, 2)           sleep(1 s)
//!    │ poll ───────────────────►│ .await ────────────────►│ prints "Compute"     │
//!    │                          │                         │ .await ─────────────►│ puts the waker into the wheel
//!    │ sleeps ◄─────────────────┼─────────────────────────┼───────────── Pending │
//!    :                          :                         :                      :
//!    │ the wheel wakes the root │                         │                      │
//!    │ poll ───────────────────►│ poll ──────────────────►│ poll ───────────────►│
//!    │                          │                         │◄─────────── Ready(())│
//!    │                          │◄─────────────── Ready(3)│
//!    │◄──────────────── Ready(())│ prints "1 + 2 = 3"
//! ```
//!
//! A poll goes down from the outermost to where it stopped; nobody jumps into the middle.
//!
//! Comes from: ../main.rs. Goes to: `runtime::sleep`.

use std::time::Duration;

use crate::Outcome;
use crate::words::Words;

async fn compute(x: u32, y: u32, tick: Duration) -> u32 {
    println!("Compute {x} + {y} ...");
    runtime::sleep(tick).await;
    x + y
}

async fn print_sum(x: u32, y: u32, tick: Duration) {
    let result = compute(x, y, tick).await;
    println!("{x} + {y} = {result}");
}

pub(crate) fn main(words: &[String]) -> Outcome {
    runtime::block_on(print_sum(1, 2, Words::new(words, &["--tick"])?.tick(1000)?));
    Ok(())
}
