//! How does one hand work to a pool and get a future for each piece?
//!
//! Python: `concurrent.futures`, whose two executors have one face: `submit` gives a `Future`, `map` gives the results
//! in the order of what was put in, `as_completed` the futures in the order of their ends. Here the two pools have two
//! faces, since what may be sent to them differs: to a thread any closure that is `Send` (`unblock`), to a process
//! bytes (`ProcessPool::call`). Both begin when they are submitted, not when they are awaited, and both give a future
//! as any other. Dropped, a process's job is killed; a thread's cannot be, so it goes on and may ask whether it is
//! still wanted.
//!
//! Three sleepers of 3, 2 and 1 ticks take three.
//!
//! Comes from: ../main.rs. Goes to: `runtime::unblock`, `runtime::process_pool`.

use std::thread;
use std::time::Duration;

use runtime::process_pool::ProcessPool;
use runtime::{Unblock, spawn, unblock};

use crate::words::Words;
use crate::{Outcome, by_process};

fn submit(ticks: u32, tick: Duration) -> Unblock<String> {
    unblock(move || {
        thread::sleep(ticks * tick);
        format!("slept {ticks}")
    })
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        println!("threads, map:");
        for future in [3, 2, 1].map(|ticks| submit(ticks, tick)) {
            println!("  {}", future.await?);
        }

        println!("threads, as_completed:");
        let (sender, completed) = async_channel::unbounded();
        for future in [3, 2, 1].map(|ticks| submit(ticks, tick)) {
            let sender = sender.clone();
            spawn(async move { sender.send(future.await).await });
        }
        drop(sender); // the end comes when the last task's is gone, too
        while let Ok(result) = completed.recv().await {
            println!("  {}", result?);
        }

        println!("processes, map:");
        let pool = ProcessPool::new(by_process())?;
        let numbers = [24, 22, 20];
        let futures = numbers.map(|n| pool.call("fib", n.to_string()));
        for (n, future) in numbers.into_iter().zip(futures) {
            println!("  fib({n}) = {}", String::from_utf8(future.await?)?);
        }
        Ok(())
    })
}
