//! What does each row of the engine's table do?
//!
//! One function per row, written against ten words: `run`, `spawn`, `join`, `detach`, `yield_now`,
//! `sleep`, `unblock`, `pair`, `receive`, `transmit`. This file is compiled once per runtime, as a
//! child of the module that gives those words their meaning, so that every runtime runs the very
//! same source without a trait standing in between.
//!
//! Rule: what is measured runs inside a spawned task, after a warm-up of a tenth of its length.
//! Work on one thread is stated in processor time of the whole process (helper threads that a
//! runtime starts are its cost, the machine's other programs are not); what crosses threads or
//! waits is stated in elapsed time, which is what a user feels.
//!
//! What this does not do: medians, tables, comparison. A row prints `name value` lines and the
//! process ends.
//!
//! Comes from: engine.rs, word `child`. Goes to: engine.rs, as lines on standard output.

use super::{detach, join, pair, receive, run, sleep, spawn, transmit, unblock, yield_now};
use crate::common::stats::percentile;
use crate::common::sys::{count_allocations, cpu_ns};
use std::pin::pin;
use std::time::{Duration, Instant};

/// Runs one row and prints its figures.
pub(crate) fn measure(row: &str) {
    match row {
        "task-bytes" => task_bytes(),
        "spawn-await" => run(spawn_await()),
        "spawn-many" => run(spawn_many()),
        "yield" => run(yields()),
        "channel" => run(channel()),
        "timer" => run(timer()),
        "sleeps" => run(sleeps()),
        "lateness" => run(lateness()),
        "wake" => run(wake()),
        "pool" => run(pool()),
        "socketpair" => run(socketpair()),
        other => panic!("no row is called {other:?}"),
    }
}

/// Heap bytes and allocations for each of 100,000 detached tasks that hold two words and wait for
/// ever.
fn task_bytes() {
    const TASKS: u64 = 100_000;
    run(async {
        let start = || {
            for number in 0..TASKS {
                let held = [number, number + 1];
                detach(spawn(async move {
                    std::future::pending::<()>().await;
                    std::hint::black_box(held);
                }));
            }
        };
        let ((), bytes, allocations) = count_allocations(start);
        println!("bytes {}", bytes as f64 / TASKS as f64);
        println!("allocations {}", allocations as f64 / TASKS as f64);
    });
}

/// A task spawned and awaited before the next is spawned.
async fn spawn_await() {
    async fn work(times: u64) {
        for number in 0..times {
            assert_eq!(join(spawn(async move { number })).await, number);
        }
    }
    const TIMES: u64 = 200_000;
    work(TIMES / 10).await;
    let start = cpu_ns();
    work(TIMES).await;
    println!("ns {}", (cpu_ns() - start) as f64 / TIMES as f64);
}

/// 10,000 tasks spawned, then all of them awaited in order; twenty times.
async fn spawn_many() {
    async fn work(handles: &mut Vec<super::Handle<u64>>) {
        for number in 0..TASKS {
            handles.push(spawn(async move { number }));
        }
        for (number, handle) in handles.drain(..).enumerate() {
            assert_eq!(join(handle).await, number as u64);
        }
    }
    const TASKS: u64 = 10_000;
    const TIMES: u64 = 20;
    let mut handles = Vec::new();
    work(&mut handles).await;
    work(&mut handles).await;
    let start = cpu_ns();
    for _ in 0..TIMES {
        work(&mut handles).await;
    }
    println!("ns {}", (cpu_ns() - start) as f64 / (TASKS * TIMES) as f64);
}

/// 1,000 tasks that yield 1,000 times each.
async fn yields() {
    async fn work(times: u64) {
        let task = || {
            spawn(async move {
                for _ in 0..times {
                    yield_now().await;
                }
            })
        };
        let tasks: Vec<_> = (0..TASKS).map(|_| task()).collect();
        for task in tasks {
            join(task).await;
        }
    }
    const TASKS: u64 = 1_000;
    const TIMES: u64 = 1_000;
    work(TIMES / 10).await;
    let start = cpu_ns();
    work(TIMES).await;
    println!("ns {}", (cpu_ns() - start) as f64 / (TASKS * TIMES) as f64);
}

/// A round trip of one number between two tasks over two async-channels of length 1.
async fn channel() {
    async fn work(times: u64) {
        let (to_echo, at_echo) = async_channel::bounded::<u64>(1);
        let (to_asker, at_asker) = async_channel::bounded::<u64>(1);
        let echo = spawn(async move {
            while let Ok(number) = at_echo.recv().await {
                to_asker.send(number).await.expect("the asker waits for it");
            }
        });
        let asker = spawn(async move {
            for number in 0..times {
                to_echo.send(number).await.expect("the echo waits for it");
                assert_eq!(at_asker.recv().await, Ok(number));
            }
        });
        join(asker).await;
        join(echo).await;
    }
    const TIMES: u64 = 200_000;
    work(TIMES / 10).await;
    let start = cpu_ns();
    work(TIMES).await;
    println!("ns {}", (cpu_ns() - start) as f64 / TIMES as f64);
}

/// A timeout's usual life: a sleep of 30 s is created, polled once and dropped.
async fn timer() {
    async fn work(times: u64) {
        for _ in 0..times {
            let mut sleep = pin!(sleep(Duration::from_secs(30)));
            let once = std::future::poll_fn(|cx| std::task::Poll::Ready(sleep.as_mut().poll(cx)));
            assert!(once.await.is_pending());
        }
    }
    const TIMES: u64 = 200_000;
    work(TIMES / 10).await;
    let start = cpu_ns();
    work(TIMES).await;
    println!("ns {}", (cpu_ns() - start) as f64 / TIMES as f64);
}

/// 50,000 tasks, each of which sleeps once, between 10 and 110 ms, all different; spawned, fired
/// and awaited.
async fn sleeps() {
    async fn work(tasks: u64) {
        let task = |number: u64| {
            let micros = 10_000 + number * 7_919 % 100_000;
            spawn(async move { sleep(Duration::from_micros(micros)).await })
        };
        let tasks: Vec<_> = (0..tasks).map(task).collect();
        for task in tasks {
            join(task).await;
        }
    }
    const TASKS: u64 = 50_000;
    work(TASKS / 10).await;
    let start = cpu_ns();
    work(TASKS).await;
    println!("ns {}", (cpu_ns() - start) as f64 / TASKS as f64);
}

/// How long after its time a sleep of 1 to 8 ms ends, nothing else going on.
async fn lateness() {
    let mut samples = Vec::new();
    for number in 0..200_u64 {
        let length = Duration::from_micros(1_000 + number * 7_919 % 7_000);
        let due = Instant::now() + length;
        sleep(length).await;
        let end = Instant::now();
        assert!(end >= due, "a sleep of {length:?} ended {:?} early", due - end);
        samples.push((end - due).as_nanos() as u64);
    }
    samples.sort_unstable();
    println!("p50 {}", percentile(&samples, 0.50) as f64 / 1e3);
    println!("p99 {}", percentile(&samples, 0.99) as f64 / 1e3);
}

/// A round trip between a task and an OS thread that blocks on its channel.
async fn wake() {
    const TIMES: u64 = 5_000;
    let (to_thread, at_thread) = async_channel::bounded::<u64>(1);
    let (to_task, at_task) = async_channel::bounded::<u64>(1);
    let thread = std::thread::spawn(move || {
        while let Ok(number) = at_thread.recv_blocking() {
            to_task.send_blocking(number).expect("the task waits for it");
        }
    });
    let work = async |times: u64| {
        for number in 0..times {
            to_thread.send(number).await.expect("the thread waits for it");
            assert_eq!(at_task.recv().await, Ok(number));
        }
    };
    work(TIMES / 10).await;
    let start = Instant::now();
    work(TIMES).await;
    println!("us {}", start.elapsed().as_nanos() as f64 / 1e3 / TIMES as f64);
    to_thread.close();
    thread.join().expect("the thread ends with its channel");
}

/// An empty job on the runtime's pool for blocking work, and back.
async fn pool() {
    const TIMES: u64 = 5_000;
    let work = async |times: u64| {
        for number in 0..times {
            assert_eq!(unblock(move || number).await, number);
        }
    };
    work(TIMES / 10).await;
    let start = Instant::now();
    work(TIMES).await;
    println!("us {}", start.elapsed().as_nanos() as f64 / 1e3 / TIMES as f64);
}

/// 100 pairs of tasks exchange 64 bytes over socket pairs; a message is one way, half an exchange.
async fn socketpair() {
    async fn work(times: u64) {
        let mut tasks = Vec::new();
        for _ in 0..PAIRS {
            let (mut asker, mut echo) = pair();
            tasks.push(spawn(async move {
                let mut buf = vec![0; 64];
                loop {
                    let (count, got) = receive(&mut echo, buf).await;
                    if count == 0 {
                        return;
                    }
                    buf = transmit(&mut echo, got).await;
                }
            }));
            tasks.push(spawn(async move {
                let mut buf = vec![0; 64];
                for _ in 0..times {
                    buf = transmit(&mut asker, buf).await;
                    let (count, got) = receive(&mut asker, buf).await;
                    assert_eq!(count, 64);
                    buf = got;
                }
            }));
        }
        for task in tasks {
            join(task).await;
        }
    }
    const PAIRS: u64 = 100;
    const TIMES: u64 = 500;
    work(TIMES / 10).await;
    let start = cpu_ns();
    work(TIMES).await;
    println!("ns {}", (cpu_ns() - start) as f64 / (2 * PAIRS * TIMES) as f64);
}
