//! How do several workers share work by a queue?
//!
//! Python: put the jobs into a `Queue`, start workers that each take one after the other, and collect what they put
//! into a second queue. Workers are threads (`threading`, `queue`) if a job mostly waits, since a waiting thread lets
//! the others run, and processes (`multiprocessing`) if it computes, since of Python's threads only one computes at a
//! time.
//!
//! Here threads do for both; processes are for what must be killable or may crash. The queue is the same for all:
//! async-channel has blocking ends for threads and awaited ones for tasks. It is bounded, so who fills it waits for
//! those who empty it, and it ends when all senders are gone: no `None` as a poison pill, no `task_done` and `join`.
//!
//! The six jobs that wait take a tick each, three threads two ticks.
//!
//! Comes from: ../main.rs. Goes to: `async_channel`, `runtime::process_pool`.

use std::error::Error;
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded};
use runtime::process_pool::ProcessPool;

use crate::words::Words;
use crate::{Outcome, by_process};

const WORKERS: usize = 3;

/// I/O-bound: a queue, and threads.
async fn with_threads(
    tick: Duration,
) -> Result<Vec<(u32, &'static str)>, async_channel::SendError<u32>> {
    let (jobs, todo) = bounded(WORKERS);
    let (give, done) = bounded(WORKERS);
    for _ in 0..WORKERS {
        let (todo, give): (Receiver<u32>, Sender<(u32, &str)>) = (todo.clone(), give.clone());
        thread::spawn(move || {
            while let Ok(page) = todo.recv_blocking() {
                thread::sleep(tick); // the network, say
                if give.send_blocking((page, "fetched")).is_err() {
                    return; // nobody collects any more
                }
            }
        });
    }
    drop((todo, give)); // ours: now the workers' ends are the only ones, and theirs end with them
    let filling = async {
        for page in 1..=6 {
            jobs.send(page).await?;
        }
        jobs.close();
        Ok(())
    };
    let (filled, mut pages) = futures_lite::future::zip(filling, collect(done)).await;
    pages.sort_unstable();
    filled.map(|()| pages)
}

/// CPU-bound: a queue, and processes. The workers are tasks that each have one call out at a time.
async fn with_processes(pool: &ProcessPool) -> Result<Vec<(u64, String)>, Box<dyn Error>> {
    let (jobs, todo) = bounded(6);
    for n in [25, 24, 23, 22, 21, 20] {
        jobs.send(n).await?;
    }
    drop(jobs);
    let (give, done) = bounded(6);
    let worker = async |todo: Receiver<u64>, give: Sender<(u64, String)>| {
        while let Ok(n) = todo.recv().await {
            let value = pool.call("fib", n.to_string()).await?;
            give.send((n, String::from_utf8(value)?)).await?;
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let work = runtime::scope(async |scope| {
        for _ in 0..WORKERS {
            scope.spawn(worker(todo.clone(), give.clone()));
        }
        Ok(())
    });
    work.await.map_err(|errors| errors.into_first())?;
    drop(give);
    let mut values = collect(done).await;
    values.sort_unstable();
    Ok(values)
}

async fn collect<T>(done: Receiver<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Ok(result) = done.recv().await {
        results.push(result);
    }
    results
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        println!("a queue and {WORKERS} threads, for what waits:");
        for (page, result) in with_threads(tick).await? {
            println!("  page {page}: {result}");
        }
        println!("a queue and {WORKERS} processes, for what computes:");
        let pool = ProcessPool::builder(by_process()).workers(WORKERS).build()?;
        for (n, value) in with_processes(&pool).await? {
            println!("  fib({n}) = {value}");
        }
        Ok(())
    })
}
