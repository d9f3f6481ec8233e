//! Who waits for a thread that nobody joins?
//!
//! The original: four threads compute fib(36), a clock stops when they have been started, and shows next to nothing; then
//! the same with `join`, and the clock shows what it took. (Its Python waits for the threads all the same, at the end.)
//!
//! In Rust the clock does the same, and then the difference: at the end of `main` the process ends, and with it every
//! thread, wherever it is. What was not joined may never have been done. Futures have one case more, since calling an async
//! function runs nothing of it:
//!
//! | the task is                  | what it does                                               |
//! |------------------------------|------------------------------------------------------------|
//! | made, never awaited, dropped | nothing                                                    |
//! | spawned, its handle dropped  | goes on (it is detached), until the runtime ends           |
//! | spawned, its handle awaited  | all of it: this is `join`                                  |
//!
//! ```text
//! --n N    which Fibonacci number (36)
//! ```
//!
//! Comes from: ../main.rs. Goes to: std's threads, `spawn`, `unblock`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use runtime::{block_on, spawn, unblock};

use crate::Outcome;
use crate::fib::fib;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    let n = Words::new(words, &["--n"])?.value("--n")?.unwrap_or(36);
    let list = [n; 4];
    // The broken one last: its threads are still computing, and would be in the others' way.
    measure("threads, joined", |done| {
        for thread in dispatch(&list, done) {
            let _ = thread.join(); // an error is a panic, and that has been printed
        }
    });
    measure("futures, dropped", |done| {
        block_on(async { list.map(|n| drop(work(n, Arc::clone(done)))) });
    });
    measure("tasks, awaited", |done| {
        block_on(async {
            for task in list.map(|n| spawn(work(n, Arc::clone(done)))) {
                let _ = task.await;
            }
        });
    });
    measure("tasks, detached", |done| {
        block_on(async { list.map(|n| drop(spawn(work(n, Arc::clone(done))))) });
    });
    measure("threads, not joined", |done| drop(dispatch(&list, done)));
    Ok(())
}

/// Starts a thread for each number, and is done with that.
fn dispatch(list: &[u64], done: &Arc<AtomicUsize>) -> Vec<thread::JoinHandle<()>> {
    let start = |n: &u64| {
        let (n, done) = (*n, Arc::clone(done));
        thread::spawn(move || {
            fib(n);
            done.fetch_add(1, Ordering::Relaxed);
        })
    };
    list.iter().map(start).collect()
}

/// The same as a coroutine. The pool computes, so that four can run side by side.
async fn work(n: u64, done: Arc<AtomicUsize>) {
    if unblock(move || fib(n)).await.is_ok() {
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Prints how long it took, and how much of the work had been done by then.
fn measure(name: &str, run: impl FnOnce(&Arc<AtomicUsize>)) {
    let done = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    run(&done);
    let (elapsed, done) = (start.elapsed().as_secs_f64(), done.load(Ordering::Relaxed));
    println!("{name:20} {done} of 4 done, elapsed time: {elapsed:.3} s");
}
