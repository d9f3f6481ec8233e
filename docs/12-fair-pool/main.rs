//! Is a short job done while four long ones are at work?
//!
//! Two pools of four threads each: one that serves who comes first, and the runtime's. Four jobs that go on until they are told to end,
//! and then a short one. It is asked for, waited for, and if it does not come in time, the long ones are told to end.
//!
//! Comes from: you. Goes to: fifo.rs, and the runtime's pool.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{PoolSettings, block_on, pool_stats, sleep, spawn, timeout, unblock};

#[path = "../fib.rs"]
mod fib;
mod fifo;
use fib::fib;
use fifo::Fifo;

const THREADS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() -> u64 + Send>;
type Answer = Pin<Box<dyn Future<Output = io::Result<u64>>>>;

fn main() -> io::Result<()> {
    PoolSettings::new().fast(THREADS).apply().map_err(io::Error::other)?;
    let pool = Fifo::new(THREADS)?;
    let fifo = move |job: Job| -> Answer { Box::pin(pool.submit(job)) };
    let fair = |job: Job| -> Answer { Box::pin(async { Ok(unblock(job).await?) }) };
    block_on(async {
        println!("First come, first served. Four jobs compute.");
        beside_four(fifo, compute, 0).await?;
        println!("The runtime's pool. Four jobs compute.");
        beside_four(fair, compute, 4).await?;
        println!("The runtime's pool. Four jobs wait.");
        beside_four(fair, wait, 0).await
    })
}

/// Asks for a short job beside four long ones, and waits until so many of them are demoted.
async fn beside_four(
    submit: impl Fn(Job) -> Answer,
    long: fn(&AtomicBool),
    demoted: usize,
) -> io::Result<()> {
    let end = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let four: Vec<_> = (0..4)
        .map(|_| {
            let (end, begun) = (Arc::clone(&end), Arc::clone(&begun));
            spawn(submit(Box::new(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                long(&end);
                0
            })))
        })
        .collect();
    until(|| begun.load(Ordering::Relaxed) == 4).await;

    let mut short = submit(Box::new(|| fib(10)));
    match timeout(PATIENCE, &mut short).await {
        Ok(answer) => {
            println!("    the short one: {}", answer?);
            until(|| {
                let stats = pool_stats();
                stats.demoted == demoted && stats.demoted + stats.blocked == 4
            })
            .await;
            let stats = pool_stats();
            println!("    demoted {}, blocked {}", stats.demoted, stats.blocked);
            end.store(true, Ordering::Relaxed);
        }
        Err(_) => {
            println!("    the short one: not within {} s", PATIENCE.as_secs());
            end.store(true, Ordering::Relaxed);
            println!("    the long ones end. The short one: {}", short.await?);
        }
    }
    for one in four {
        one.await.map_err(io::Error::other)??;
    }
    until(|| pool_stats().demoted + pool_stats().blocked == 0).await;
    println!("    afterwards: demoted {}, blocked {}", pool_stats().demoted, pool_stats().blocked);
    Ok(())
}

fn compute(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        std::hint::black_box(fib(15));
    }
}

fn wait(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Looks every few milliseconds; for a long time, and not for ever.
async fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(5)).await;
    }
}
