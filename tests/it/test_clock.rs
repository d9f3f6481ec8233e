//! Does a test's own time keep its promises: exact, never ahead of what can still happen, in any order a seed gives?
//!
//! | what could still happen          | so the clock                             |
//! |----------------------------------|------------------------------------------|
//! | nothing but a timer              | jumps to it                              |
//! | a task is ready                  | stands still                             |
//! | a socket of this process is ready| stands still                             |
//! | a job is out, a stranger holds   | stands still until the job or hold ends  |
//!
//! Comes from: main.rs. Goes to: clock.rs and executor.rs of the runtime.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::testing::{TestClock, seeded};
use runtime::{
    Handle, MissedTicks, PoolSettings, Runtime, hold_time, interval, now, sleep, sleep_until,
    spawn, timeout, unblock, yield_now,
};

use crate::support::counters::Counter;
use crate::support::sockets::async_pair;
use crate::support::{in_child_process, within};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs it on a runtime with a test's clock.
fn in_test_time<F: Future>(test: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F::Output: Send + 'static,
{
    within(20, move || Runtime::builder().time(TestClock::new()).build().unwrap().block_on(test()))
}

#[test]
fn an_hour_takes_no_time_and_is_an_hour_to_the_nanosecond() {
    let begin = Instant::now();
    in_test_time(async || {
        let start = now();
        for nanos in [0, 1, 17, 65_535, 65_537, 3_599_999_999_999] {
            let (before, wait) = (now(), Duration::from_nanos(nanos));
            sleep(wait).await;
            assert_eq!(now() - before, wait);
        }
        assert!(timeout(HOUR, std::future::pending::<()>()).await.is_err());
        let mut ticks = interval(HOUR);
        let first = ticks.tick().await;
        assert_eq!(ticks.tick().await - first, HOUR);
        assert!(now() - start > 2 * HOUR);
    });
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn ten_thousand_timers_fire_in_the_order_of_their_deadlines() {
    in_test_time(async || {
        let (start, fired) = (now(), Rc::<RefCell<Vec<_>>>::default());
        let tasks: Vec<_> = (0..10_000u64)
            .map(|number| {
                let (fired, due) =
                    (Rc::clone(&fired), start + HOUR / 7 * (number as u32 * 7919 % 10_007));
                spawn(async move {
                    sleep_until(due).await;
                    assert_eq!(now(), due.max(start));
                    fired.borrow_mut().push(due);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(fired.borrow().len(), 10_000);
        assert!(fired.borrow().is_sorted());
    });
}

#[test]
fn time_stands_still_while_tasks_run_and_sockets_speak() {
    in_test_time(async || {
        let start = now();
        let (left, right) = async_pair();
        let echo = spawn(async move {
            let mut byte = [0; 1];
            while let Ok(1) = right.recv(&mut byte).await {
                right.send(&byte).await.unwrap();
            }
        });
        let talk = async {
            for _ in 0..100 {
                left.send(b"x").await.unwrap();
                left.recv(&mut [0; 1]).await.unwrap();
                yield_now().await;
            }
        };
        timeout(Duration::from_nanos(1), talk).await.expect("no time passes");
        assert_eq!(now(), start);
        drop(left);
        echo.await.unwrap();
    });
}

#[test]
fn a_job_that_is_out_holds_the_clock() {
    in_test_time(async || {
        let start = now();
        let job = unblock(|| thread::sleep(Duration::from_millis(20)));
        timeout(Duration::from_nanos(1), job).await.expect("no time passes").unwrap();
        assert_eq!(now(), start);
    });
}

#[test]
fn a_job_that_was_given_up_holds_the_clock_to_its_end_and_then_lets_it_go() {
    in_test_time(async || {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let job = unblock(move || {
            started.send(()).unwrap();
            released.recv()
        });
        has_started.recv().unwrap();
        drop(job);
        let begin = Instant::now(); // before the other thread's, or its wait might have begun already
        let stranger = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            release.send(()).unwrap();
        });
        sleep(HOUR).await;
        assert!(begin.elapsed() >= Duration::from_millis(20));
        stranger.join().unwrap();
    });
}

#[test]
fn turns_that_must_not_sleep_jump_too_and_not_over_a_job() {
    for first in [Some(Duration::ZERO), None] {
        within(20, move || {
            let rt = Runtime::builder().time(TestClock::new()).build().unwrap();
            let (release, released) = mpsc::channel::<()>();
            let started = Counter::new();
            let has_started = started.clone();
            let task = rt.spawn(async move {
                sleep(HOUR).await;
                yield_now().await;
                let start = now();
                let job = unblock(move || {
                    started.up();
                    released.recv()
                });
                timeout(HOUR, job).await.expect("no time passes").unwrap().unwrap();
                now() - start
            });
            rt.turn(first).unwrap();
            for _ in 0..1000 {
                rt.turn(Some(Duration::ZERO)).unwrap();
            }
            has_started.wait_for(1);
            assert!(!task.is_finished());
            release.send(()).unwrap();
            assert_eq!(rt.block_on(task).unwrap(), Duration::ZERO);
        });
    }
}

#[test]
fn all_instants_are_the_clock_s() {
    in_test_time(async || {
        let start = now();
        assert_eq!(sleep(HOUR).deadline(), Some(start + HOUR));
        let elapsed = timeout(HOUR, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(elapsed.deadline(), Some(start + HOUR));
        let mut ticks = interval(HOUR);
        for count in 2..=100 {
            assert_eq!((ticks.tick().await, now()), (start + HOUR * count, start + HOUR * count));
        }
        // What is late is seen to be late by as much as it is.
        let mut ticks = interval(HOUR).missed_ticks(MissedTicks::Skip);
        sleep(5 * HOUR / 2).await;
        assert_eq!(ticks.tick().await, start + 101 * HOUR);
        assert_eq!(ticks.tick().await, start + 103 * HOUR);
    });
}

#[test]
fn a_stranger_that_holds_the_clock_is_waited_for() {
    in_test_time(async || {
        for _ in 0..200 {
            let (start, handle) = (now(), Handle::current());
            let (hold, (tell, told)) = (hold_time(), async_channel::bounded(1));
            let stranger = thread::spawn(move || {
                handle.post(move || tell.try_send(()).unwrap()).unwrap();
                drop(hold);
            });
            timeout(HOUR, told.recv()).await.expect("the clock is held").unwrap();
            assert_eq!(now(), start);
            stranger.join().unwrap();
        }
    });
}

#[test]
fn without_a_test_clock_there_is_nothing_to_hold() {
    assert!(hold_time().is_none());
    within(20, || {
        Runtime::new().unwrap().block_on(async { assert!(hold_time().is_none()) });
    });
}

/// In what order tasks that yield and sleep write their letters.
fn trace(seed: Option<u64>) -> String {
    within(20, move || {
        let builder = Runtime::builder().time(TestClock::new());
        let builder = match seed {
            Some(seed) => builder.order(seeded(seed)),
            None => builder,
        };
        builder.build().unwrap().block_on(async {
            let written = Rc::<RefCell<String>>::default();
            let tasks: Vec<_> = ('a'..='j')
                .map(|letter| {
                    let written = Rc::clone(&written);
                    spawn(async move {
                        for round in 0..5 {
                            written.borrow_mut().push(letter);
                            if round % 2 == 0 { yield_now().await } else { sleep(HOUR).await }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            written.take()
        })
    })
}

#[test]
fn a_seed_orders_what_is_ready_and_the_same_seed_the_same_way() {
    let in_order = trace(None);
    assert_eq!(in_order, "abcdefghij".repeat(5));
    let traces: Vec<_> = (0..20).map(|seed| trace(Some(seed))).collect();
    for (seed, first) in traces.iter().enumerate() {
        assert_eq!(*first, trace(Some(seed as u64)));
    }
    let mut different = traces;
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 20, "ten tasks have more orders than that");
}

#[test]
fn jobs_behind_others_get_a_thread_although_time_stands_still() {
    in_child_process(|| {
        PoolSettings::new().fast(1).apply().unwrap();
        let rt = Runtime::builder().time(TestClock::new()).build().unwrap();
        rt.block_on(async {
            // The first waits for the second, and there is one place in the lane.
            let (tell, told) = mpsc::channel();
            let first = unblock(move || told.recv().unwrap());
            let second = unblock(move || tell.send(7).unwrap());
            assert_eq!(first.await.unwrap(), 7);
            second.await.unwrap();
        });
    });
}
