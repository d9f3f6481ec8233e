//! How does one give the loop a function to call, now or later?
//!
//! asyncio: `call_soon`, `call_later`, `call_soon_threadsafe`, which is what its loop itself is made of; coroutines
//! came on top. Here tasks are the bottom, and a callback is a task that waits for nothing but its time. What cancels
//! it is its handle: as there, to drop that changes nothing, and `abort` does it.
//!
//! From other threads only what is `Send` may come; `Handle::post` sees to that at compile time.
//!
//! Comes from: ../main.rs. Goes to: `runtime::spawn`, `runtime::Handle::post`.

use std::thread;
use std::time::Duration;

use runtime::{CancelToken, Handle, JoinHandle};

use crate::Outcome;
use crate::words::Words;

fn call_soon(callback: impl FnOnce() + 'static) -> JoinHandle<()> {
    runtime::spawn(async move { callback() })
}

fn call_later(delay: Duration, callback: impl FnOnce() + 'static) -> JoinHandle<()> {
    let sleep = runtime::sleep(delay); // counted from now, not from when the task starts
    runtime::spawn(async move {
        sleep.await;
        callback();
    })
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        let stop = CancelToken::new();
        call_soon(|| println!("call_soon: hello world"));
        call_soon(|| println!("call_soon: and again"));

        let handle = Handle::current();
        let stranger = thread::spawn(move || {
            handle.post(|| println!("call_soon_threadsafe: this ran on the loop's thread"))
        });
        stranger.join().expect("it does not panic")?;

        let regretted = call_later(tick, || println!("call_later: never printed"));
        call_later(2 * tick, {
            let stop = stop.clone();
            move || {
                println!("call_later: two ticks later; stopping the loop");
                stop.cancel();
            }
        });
        regretted.abort();
        stop.cancelled().await;
        Ok(())
    })
}
