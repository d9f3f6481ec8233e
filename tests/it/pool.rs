//! Do jobs and the loop get along?
//!
//! The pool has tests of its own beside its code; here it meets the runtime: a job's end wakes a sleeping loop, a job
//! given up is given up, and the exit waits for nobody.
//!
//! Comes from: main.rs. Goes to: outer/pool.rs of the runtime.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::zip;
use runtime::{pool_stats, sleep, spawn, timeout, unblock, unblock_with, yield_now};

use crate::support::counters::{Counter, until_async};
use crate::support::process::threads;
use crate::support::{child_process, in_child_process, run};

#[test]
fn a_job_s_end_wakes_a_sleeping_loop() {
    run(async || {
        for n in 0..1000 {
            assert_eq!(unblock(move || n * 2).await.unwrap(), n * 2);
        }
    });
}

#[test]
fn the_loop_goes_on_while_a_job_runs() {
    run(async || {
        let (release, released) = mpsc::channel::<()>();
        let job = spawn(unblock(move || released.recv()));
        let ticks = Counter::new();
        for _ in 0..10 {
            sleep(Duration::from_micros(100)).await;
            yield_now().await;
            ticks.up();
        }
        assert!(!job.is_finished());
        release.send(()).unwrap();
        job.await.unwrap().unwrap().unwrap();
        assert_eq!(ticks.get(), 10);
    });
}

#[test]
fn jobs_run_side_by_side() {
    run(async || {
        // Each waits for the other, so both must run at the same time.
        let ((to_second, from_first), (to_first, from_second)) = (mpsc::channel(), mpsc::channel());
        let first = unblock(move || {
            to_second.send(1).unwrap();
            from_second.recv().unwrap()
        });
        let second = unblock(move || {
            to_first.send(2).unwrap();
            from_first.recv().unwrap()
        });
        let (first, second) = zip(first, second).await;
        assert_eq!((first.unwrap(), second.unwrap()), (2, 1));
    });
}

#[test]
fn a_job_s_panic_goes_on_in_the_task_that_awaits_it() {
    run(async || {
        let task = spawn(async {
            unblock(|| resume_unwind(Box::new("of the job"))).await.unwrap();
        });
        let payload = task.await.unwrap_err().try_into_panic().unwrap();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"of the job"));
        assert_eq!(unblock(|| 5).await.unwrap(), 5);
    });
}

#[test]
fn a_job_whose_task_is_aborted_learns_of_it() {
    run(async || {
        let (tell, told) = mpsc::channel();
        let started = Counter::new();
        let inside = started.clone();
        let task = spawn(unblock_with(move |job| {
            inside.up();
            while !job.is_abandoned() {
                thread::yield_now();
            }
            tell.send(()).unwrap();
        }));
        until_async(|| started.get() == 1).await;
        task.abort();
        unblock(move || told.recv().unwrap()).await.unwrap();
    });
}

#[test]
fn a_timeout_gives_a_job_up() {
    run(async || {
        let (tell, told) = mpsc::channel();
        let job = unblock_with(move |job| {
            while !job.is_abandoned() {
                thread::yield_now();
            }
            tell.send(()).unwrap();
        });
        assert!(timeout(Duration::from_millis(5), job).await.is_err());
        // It has learnt of it; or, on a busy machine, it had not even started, and never will.
        let told = unblock(move || told.recv()).await.unwrap();
        assert!(matches!(told, Ok(()) | Err(mpsc::RecvError)));
    });
}

#[test]
fn a_job_may_use_a_runtime_of_its_own() {
    run(async || {
        let job = unblock(|| {
            runtime::block_on(async {
                sleep(Duration::from_millis(1)).await;
                unblock(|| 5).await.unwrap()
            })
        });
        assert_eq!(job.await.unwrap(), 5);
    });
}

#[test]
fn the_result_of_a_job_is_dropped_where_it_is_awaited_or_nowhere_else() {
    run(async || {
        let drops = Counter::new();
        let guard = drops.guard();
        let output = unblock(move || guard).await.unwrap();
        assert_eq!(drops.get(), 0);
        drop(output);
        assert_eq!(drops.get(), 1);
        // Nobody waits any more when it ends.
        let (release, released) = mpsc::channel::<()>();
        let guard = drops.guard();
        let job = unblock(move || {
            let _ = released.recv();
            guard
        });
        drop(job);
        drop(release);
        until_async(|| drops.get() == 2).await;
    });
}

#[test]
fn a_runtime_that_ends_gives_its_jobs_up() {
    in_child_process(|| {
        let (tell, told) = mpsc::channel();
        let started = Counter::new();
        let inside = started.clone();
        runtime::block_on(async {
            drop(spawn(unblock_with(move |job| {
                inside.up();
                while !job.is_abandoned() {
                    thread::yield_now();
                }
                tell.send(()).unwrap();
            })));
            until_async(|| started.get() == 1).await;
        });
        told.recv().unwrap();
    });
}

#[test]
fn a_stuck_job_does_not_hold_up_the_exit() {
    let start = Instant::now();
    let (output, text) = child_process(|| {
        runtime::block_on(async {
            for _ in 0..4 {
                drop(spawn(unblock(|| thread::sleep(Duration::from_secs(600)))));
            }
            yield_now().await;
        });
    });
    assert!(output.status.success(), "{text}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// The one trouble that a thread behind all others can still make: it is stopped while it holds a lock that is not ours,
/// the allocator's, the kernel's or standard error's, and the loop wants that one. How long that lasts depends on who else
/// wants the cores (see the head of lanes.rs); here it has to end.
#[test]
fn demoted_jobs_that_allocate_and_print_do_not_stop_the_loop() {
    let said = in_child_process(|| {
        runtime::block_on(async {
            let jobs: Vec<_> = (0..4)
                .map(|_| {
                    unblock_with(|job| {
                        let mut kept = std::collections::VecDeque::new();
                        for n in 0.. {
                            if job.is_abandoned() {
                                return;
                            }
                            kept.push_back(vec![n as u8; 1 + n * 37 % 5000]);
                            if kept.len() > 100 {
                                kept.pop_front();
                            }
                            if n % 1000 == 0 {
                                eprint!(".");
                            }
                        }
                    })
                })
                .map(spawn)
                .collect();
            if cfg!(target_os = "linux") {
                until_async(|| pool_stats().demoted == 4).await;
            }
            let (mut longest, start) = (Duration::ZERO, Instant::now());
            for n in 0..2000 {
                let begin = Instant::now();
                let memory = unblock(move || vec![n as u8; 1 + n * 41 % 5000]).await.unwrap();
                eprint!("{}", if n % 100 == 0 { "+" } else { "" });
                drop(memory); // made by one thread, freed by another
                yield_now().await;
                longest = longest.max(begin.elapsed());
            }
            println!("2,000 jobs in {:?}, the longest {longest:?}", start.elapsed());
            jobs.iter().for_each(runtime::JoinHandle::abort);
        });
    });
    said.lines().filter(|line| line.contains("2,000 jobs")).for_each(|line| println!("{line}"));
}

#[test]
fn the_pool_starts_no_thread_before_its_first_job() {
    in_child_process(|| {
        let before = threads();
        runtime::block_on(async {
            yield_now().await;
            assert_eq!((pool_stats().threads, threads()), (0, before));
            unblock(|| ()).await.unwrap();
            assert_eq!(pool_stats().threads, 1);
        });
    });
}

#[test]
fn a_panic_of_a_job_that_nobody_awaits_is_counted() {
    in_child_process(|| {
        runtime::block_on(async {
            let before = pool_stats().panicked;
            drop(unblock::<(), _>(|| resume_unwind(Box::new("of the job"))));
            // Given up before its start, it never runs; else it runs and is counted.
            unblock(|| ()).await.unwrap();
            let started = Counter::new();
            let inside = started.clone();
            let job: runtime::Unblock<()> = unblock(move || {
                inside.up();
                resume_unwind(Box::new("of the job"))
            });
            until_async(|| started.get() == 1).await;
            drop(job);
            until_async(|| pool_stats().panicked > before).await;
        });
    });
}

#[test]
fn polling_again_after_the_result_says_so() {
    run(async || {
        let mut job = unblock(|| 5);
        assert_eq!((&mut job).await.unwrap(), 5);
        let again = AssertUnwindSafe(|| {
            crate::support::counters::poll_with(&mut job, std::task::Waker::noop()).is_ready()
        });
        assert!(catch_unwind(again).is_err());
    });
}
