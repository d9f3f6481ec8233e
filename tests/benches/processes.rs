//! What does a call of the process pool cost beside a job on a thread?
//!
//! One caller on one runtime, nothing pinned: an empty job there and back, one at a time and many at once; a worker's start;
//! and what dropping a call costs until the next one is answered (kill, start, call). The rounds of all cases alternate.
//!
//! `cargo bench -p tests --bench processes [-- --rounds N --calls N]`
//!
//! What it is not: the server under the talk's load; that is `--bench talk` (threads) and perf2 by hand (processes).
//!
//! Comes from: you. Goes to: `ProcessPool`, `unblock`.

#![allow(dead_code, reason = "each benchmark uses a part of what they share")]

mod common;

use std::time::Instant;

use common::args::Args;
use common::stats::{median, smallest};
use common::table;
use runtime::process_pool::{self, Functions, ProcessPool};
use runtime::{block_on, unblock};

const HELP: &str = "\
Calls of the process pool beside jobs on threads: microseconds each.

  --rounds N      rounds of all cases by turns; medians are printed (default 7)
  --calls N       calls in each round of the cases that make many (default 5000)
";

/// How often the cases that start a process do so in a round.
const STARTS: usize = 20;

fn main() {
    let functions =
        process_pool::functions(&[("echo", <[u8]>::to_vec), ("exit", |_| std::process::exit(0))]);
    let args = Args::read(HELP, &["rounds", "calls"], &[]);
    let calls = args.get("calls", 5000);
    let mut cases: [(&str, Vec<f64>, Case); 6] = [
        ("unblock, one at a time", vec![], |_, calls| {
            block_on(each(calls, async || unblock(|| ()).await.expect("a thread")))
        }),
        ("call, one at a time", vec![], |functions, calls| {
            block_on(async {
                let pool = pool(functions).await;
                each(calls, async || drop(pool.call("echo", "1").await.expect("an answer"))).await
            })
        }),
        ("call of 64 KiB, one at a time", vec![], |functions, calls| {
            block_on(async {
                let (pool, bytes) = (pool(functions).await, vec![1; 64 << 10]);
                each(calls, async || drop(pool.call("echo", &bytes[..]).await.expect("an answer")))
                    .await
            })
        }),
        ("call, all at once", vec![], |functions, calls| {
            block_on(async {
                let pool = pool(functions).await;
                let start = Instant::now();
                for call in (0..calls).map(|_| pool.call("echo", "1")).collect::<Vec<_>>() {
                    call.await.expect("an answer");
                }
                start.elapsed().as_secs_f64() * 1e6 / calls as f64
            })
        }),
        ("a new pool's first call", vec![], |functions, _| {
            block_on(each(STARTS, async || drop(pool(functions).await)))
        }),
        ("a crash, and the next call", vec![], |functions, _| {
            block_on(async {
                let pool = pool(functions).await;
                each(STARTS, async || {
                    pool.call("exit", "").await.expect_err("it crashes");
                    pool.call("echo", "1").await.expect("an answer");
                })
                .await
            })
        }),
    ];
    for _ in 0..args.get("rounds", 7) {
        for (_, said, case) in &mut cases {
            said.push(case(functions, calls));
        }
    }
    let mut rows = vec![["microseconds", "median", "least"].map(String::from).to_vec()];
    for (name, said, _) in &cases {
        let figures = [median(said), smallest(said)].map(table::number);
        rows.push([&[name.to_string()][..], &figures].concat());
    }
    table::print(&rows);
}

type Case = fn(Functions, usize) -> f64;

/// A pool of one worker that has started.
async fn pool(functions: Functions) -> ProcessPool {
    let pool = ProcessPool::builder(functions).workers(1).build().expect("inside of a runtime");
    pool.call("echo", "").await.expect("the worker starts");
    pool
}

/// Microseconds that `what` takes.
async fn each(count: usize, what: impl AsyncFn()) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        what().await;
    }
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}
