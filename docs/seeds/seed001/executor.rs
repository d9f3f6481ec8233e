//! What to do with a call that blocks?
//!
//! asyncio: `await loop.run_in_executor(None, f)` has a pool thread call it. Here `unblock(f).await`. The program shows
//! the difference to calling it in the task itself, where it is not the task that waits but the loop, and everybody
//! with it: a heart that is to beat ten times a tick stands still.
//!
//! There is one pool a process, made at the first use, so there is no executor to be named. Another kind of pool is a
//! `ProcessPool`: see futures.rs.
//!
//! Comes from: ../main.rs. Goes to: `runtime::unblock`.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::words::Words;

fn blocking_call(tick: Duration) -> u32 {
    thread::sleep(tick);
    42
}

pub(crate) fn main(words: &[String]) -> Outcome {
    // Shorter, a busy machine would not let the heart beat once.
    let tick = Words::new(words, &["--tick"])?.tick(1000)?.max(Duration::from_millis(200));
    runtime::block_on(async {
        let beats = Rc::new(Cell::new(0));
        let heart = Rc::clone(&beats);
        runtime::spawn(async move {
            loop {
                runtime::sleep(tick / 10).await;
                heart.set(heart.get() + 1);
            }
        });
        let beats_since = |before: u32| if beats.get() > before { "beat" } else { "stood still" };

        let before = beats.get();
        let result = runtime::unblock(move || blocking_call(tick)).await?;
        println!("in the executor: {result}; meanwhile the heart {}", beats_since(before));

        let before = beats.get();
        let result = blocking_call(tick);
        println!("in the task:     {result}; meanwhile the heart {}", beats_since(before));
        Ok(())
    })
}
