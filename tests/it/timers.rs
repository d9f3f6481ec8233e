//! Is a timer ever early, lost, or forgotten?
//!
//! Time itself is tested here, so this module sleeps; it asserts lower bounds (never early), order, and counts. How late a
//! timer may be is a benchmark's question, not a test's: a busy machine may take its time.
//!
//! Comes from: main.rs. Goes to: timer.rs, clock.rs, wheel.rs of the runtime.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{or, poll_once};
use runtime::{
    Instrument, MissedTicks, Runtime, TaskId, interval, now, sleep, sleep_until, spawn, testing,
    timeout, timeout_at, yield_now,
};

use crate::counting;
use crate::support::counters::{CountingWaker, Watcher, poll_with, polled};
use crate::support::process::voluntary_switches;
use crate::support::{in_child_process, run, within};

const MILLI: Duration = Duration::from_millis(1);

/// Numbers that look random and are the same in every run.
fn scrambled(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

#[test]
fn no_timer_is_ever_early() {
    run(async || {
        let durations = (0..300)
            .map(|n| Duration::from_nanos(n * 37_731)) // below and above a tick, up to 11 ms
            .chain(
                [1, 2, 65_535, 65_536, 65_537, 131_072, 999_999, 1_000_000]
                    .map(Duration::from_nanos),
            )
            .chain([15, 16, 17, 63, 64, 65, 100].map(Duration::from_millis));
        let tasks: Vec<_> = durations
            .map(|duration| {
                spawn(async move {
                    let start = Instant::now();
                    sleep(duration).await;
                    let taken = start.elapsed();
                    assert!(taken >= duration, "{duration:?} took {taken:?}");
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_lone_timer_is_never_early_either() {
    run(async || {
        for nanos in (0..100).map(|n| n * 31_337) {
            let duration = Duration::from_nanos(nanos);
            let start = Instant::now();
            sleep(duration).await;
            assert!(start.elapsed() >= duration);
        }
    });
}

#[test]
fn a_timer_made_while_the_loop_was_busy_is_not_early() {
    run(async || {
        // The loop's own idea of now is old by then.
        for _ in 0..5 {
            let busy = Instant::now();
            while busy.elapsed() < 3 * MILLI {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            sleep(2 * MILLI).await;
            assert!(start.elapsed() >= 2 * MILLI);
        }
    });
}

#[test]
fn no_duration_is_too_long() {
    run(async || {
        let far = Instant::now() + Duration::from_secs(60 * 60 * 24 * 365 * 100);
        let (_, waker) = CountingWaker::new();
        let mut never = [
            sleep(Duration::MAX),
            sleep(Duration::from_secs(u64::MAX)),
            sleep(Duration::from_secs(u64::MAX / 2)),
            sleep(Duration::from_secs(1 << 40)),
            sleep(Duration::from_secs(584 * 366 * 86_400)),
            sleep_until(far),
        ];
        for timer in &mut never {
            assert!(poll_with(timer, &waker).is_pending());
        }
        assert!(never[0].deadline().is_none());
        assert_eq!(timeout(Duration::MAX, async { 5 }).await, Ok(5));
        assert_eq!(timeout_at(far, async { 5 }).await, Ok(5));
        let mut waiting = pin!(timeout(Duration::MAX, std::future::pending::<()>()));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        let mut ticks = interval(Duration::MAX);
        assert!(poll_once(pin!(ticks.tick())).await.is_none());
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            let mut ticks = interval(Duration::from_secs(u64::MAX / 2)).missed_ticks(missed);
            assert!(poll_once(pin!(ticks.tick())).await.is_none());
        }
        // And the loop still knows the short ones.
        sleep(MILLI).await;
        for timer in &mut never {
            assert!(poll_with(timer, &waker).is_pending());
        }
    });
}

#[test]
fn a_loop_with_far_timers_alone_sleeps() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let _far: Vec<_> = [1 << 20, 1 << 30, 1 << 33, u64::MAX]
                .map(|seconds| spawn(sleep(Duration::from_secs(seconds))))
                .into();
            // Whoever ends the sleep comes from abroad.
            crate::support::counters::give_waker(|waker| {
                drop(thread::spawn(move || {
                    thread::sleep(Duration::from_millis(30));
                    waker.wake();
                }));
            })
            .await;
        });
        assert!(watcher.waits.get() < 20, "{} waits", watcher.waits.get());
    });
}

#[test]
fn zero_and_the_past_end_without_a_sleep() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let past = Instant::now();
        thread::sleep(2 * MILLI);
        rt.block_on(async {
            sleep_until(past).await;
            sleep_until(past).await;
        });
        rt.block_on(sleep(Duration::ZERO));
        rt.block_on(async {
            sleep_until(Instant::now()).await;
            assert!(timeout(Duration::ZERO, std::future::pending::<()>()).await.is_err());
            assert!(timeout_at(Instant::now(), std::future::pending::<()>()).await.is_err());
        });
        assert_eq!(watcher.sleeps.get(), 0);
    });
}

#[test]
fn a_sleep_polled_until_its_time_within_one_poll_of_its_task_ends() {
    run(async || {
        let mut plain = pin!(sleep(MILLI));
        while poll_once(&mut plain).await.is_none() {}
        let mut limit = pin!(timeout(MILLI, std::future::pending::<()>()));
        while poll_once(&mut limit).await.is_none() {}
        let mut moved = sleep(Duration::from_secs(3600));
        assert!(poll_once(&mut moved).await.is_none());
        moved.reset(Instant::now() + MILLI);
        while poll_once(&mut moved).await.is_none() {}
    });
}

#[test]
fn a_future_that_is_ready_wins_against_any_time() {
    run(async || {
        let past = Instant::now();
        assert_eq!(timeout(Duration::ZERO, async { 5 }).await, Ok(5));
        assert_eq!(timeout_at(past, async { 5 }).await, Ok(5));
    });
}

#[test]
fn a_timeout_drops_its_future_at_the_deadline() {
    run(async || {
        let dropped = crate::support::counters::Counter::new();
        let guard = dropped.guard();
        let late = timeout(MILLI, async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        assert!(late.await.is_err());
        assert_eq!(dropped.get(), 1);
    });
}

#[test]
fn nested_timeouts_are_told_apart_by_their_deadlines() {
    run(async || {
        let start = Instant::now();
        let (short, long) = (start + 2 * MILLI, start + Duration::from_secs(3600));
        let inner = timeout_at(long, timeout_at(short, std::future::pending::<()>())).await;
        assert_eq!(inner.unwrap().unwrap_err().deadline(), Some(short));
        let outer = timeout_at(short, timeout_at(long, std::future::pending::<()>())).await;
        assert_eq!(outer.unwrap_err().deadline(), Some(short));
        let error: std::io::Error = outer.unwrap_err().into();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_reset_counts_from_the_new_deadline() {
    run(async || {
        let start = Instant::now();
        let mut timer = sleep(Duration::from_secs(3600));
        assert!(poll_with(&mut timer, Waker::noop()).is_pending());
        timer.reset(start + 3 * MILLI);
        assert_eq!(timer.deadline(), Some(start + 3 * MILLI));
        (&mut timer).await;
        assert!(start.elapsed() >= 3 * MILLI);
        // Put off while it waits.
        let (counts, waker) = CountingWaker::new();
        timer.reset(Instant::now() + 30 * MILLI);
        assert!(poll_with(&mut timer, &waker).is_pending());
        timer.reset(start + Duration::from_secs(3600));
        sleep(40 * MILLI).await;
        assert_eq!(counts.wakes(), 0, "the old deadline wakes nobody");
        // And used again after its end.
        timer.reset(Instant::now() + MILLI);
        timer.await;
    });
}

#[test]
fn a_dropped_timer_wakes_nobody_and_holds_nothing() {
    run(async || {
        let (counts, waker) = CountingWaker::new();
        for _ in 0..100 {
            let mut timer = sleep(2 * MILLI);
            assert!(poll_with(&mut timer, &waker).is_pending());
        }
        assert_eq!(Arc::strong_count(&counts), 2, "ours and the waker's own");
        sleep(4 * MILLI).await;
        assert_eq!(counts.wakes(), 0);
    });
}

#[test]
fn a_million_timers_dropped_in_a_select_leave_no_growth() {
    in_child_process(|| {
        runtime::block_on(async {
            let once = async || {
                let first = or(
                    async {
                        sleep(Duration::from_secs(3600)).await;
                        1
                    },
                    async {
                        yield_now().await;
                        2
                    },
                );
                assert_eq!(first.await, 2);
            };
            for _ in 0..1000 {
                once().await;
            }
            counting::start();
            let before = counting::now();
            for _ in 0..1_000_000 {
                once().await;
            }
            let grown = before.until_now().bytes;
            assert!(grown < 10_000, "{grown} bytes; a leak would be one a timer");
        });
    });
}

#[test]
fn a_hundred_thousand_timers_fire_in_order() {
    in_child_process(|| {
        /// The order in which tasks are woken: the clock's. (In which they are polled after that depends on how many.)
        #[derive(Default)]
        struct Fired(RefCell<Vec<TaskId>>);
        impl Instrument for Fired {
            fn woken(&self, task: TaskId, _: bool) {
                self.0.borrow_mut().push(task);
            }
        }
        let fired = Rc::new(Fired::default());
        let rt = Runtime::builder().instrument(Rc::clone(&fired) as _).build().unwrap();
        rt.block_on(async {
            let start = Instant::now();
            // Those whose time had not come when they were first polled; the others are woken by themselves.
            let waiting = Rc::new(RefCell::new(HashMap::new()));
            let tasks: Vec<_> = scrambled(7)
                .take(100_000)
                .enumerate()
                .map(|(at, number)| {
                    let deadline = start + Duration::from_nanos(number % 1_000_000_000);
                    let waiting = Rc::clone(&waiting);
                    spawn(async move {
                        let sleep = sleep_until(deadline);
                        if Instant::now() < deadline {
                            waiting.borrow_mut().insert(at, deadline);
                        }
                        sleep.await;
                        assert!(Instant::now() >= deadline);
                    })
                })
                .collect();
            let places: HashMap<_, _> =
                (0..).zip(&tasks).map(|(at, task)| (task.id(), at)).collect();
            for task in tasks {
                task.await.unwrap();
            }
            let (fired, waiting) = (fired.0.borrow(), waiting.borrow());
            let deadlines: Vec<_> =
                fired.iter().filter_map(|task| waiting.get(places.get(task)?)).collect();
            assert_eq!(deadlines.len(), waiting.len());
            assert!(deadlines.len() > 1000, "{} of 100,000 had to wait", deadlines.len());
            // In the order of their deadlines, to within the clock's tick of 2^16 ns.
            let tick = Duration::from_nanos(1 << 16);
            for pair in deadlines.windows(2) {
                assert!(*pair[0] <= *pair[1] + tick, "{:?}", *pair[0] - *pair[1]);
            }
        });
    });
}

#[test]
fn timers_of_one_deadline_fire_in_the_order_they_were_first_polled() {
    run(async || {
        let deadline = Instant::now() + 20 * MILLI;
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn(async move {
                    sleep_until(deadline).await;
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.borrow().iter().copied().eq(0..100));
    });
}

#[test]
fn an_interval_gives_the_times_its_ticks_were_due() {
    run(async || {
        let mut ticks = interval(2 * MILLI);
        let first = ticks.tick().await;
        for n in 1..10 {
            let due = ticks.tick().await;
            assert_eq!(due - first, 2 * MILLI * n);
            assert!(Instant::now() >= due);
        }
    });
}

#[test]
fn an_interval_that_bursts_catches_up() {
    run(async || {
        let mut ticks = interval(5 * MILLI);
        let first = ticks.tick().await;
        thread::sleep(Duration::from_millis(32));
        for n in 1..=6 {
            assert_eq!(ticks.tick().await, first + 5 * MILLI * n);
        }
    });
}

#[test]
fn an_interval_that_delays_counts_from_the_late_tick() {
    run(async || {
        let mut ticks = interval(5 * MILLI).missed_ticks(MissedTicks::Delay);
        let first = ticks.tick().await;
        thread::sleep(Duration::from_millis(32));
        let late = ticks.tick().await;
        assert!(late >= first + 5 * MILLI);
        let taken = Instant::now();
        let next = ticks.tick().await;
        // A full period after the late one was taken, which was just before we looked at the time.
        assert!(next > taken && next <= taken + 5 * MILLI, "{:?}", next - taken);
    });
}

#[test]
fn an_interval_that_delays_keeps_its_rhythm_when_ticks_are_taken_a_little_late() {
    testing::run(async {
        for (period, late, shifted) in [
            (10 * MILLI, MILLI, false),
            (10 * MILLI, 5 * MILLI, false),
            (10 * MILLI, 6 * MILLI, true),
            (3 * MILLI, 3 * MILLI, false),
            (3 * MILLI, 4 * MILLI, true),
        ] {
            let start = now();
            let mut ticks = interval(period).missed_ticks(MissedTicks::Delay);
            // The loop is at something else when the tick is due, each time.
            for n in 1..=100 {
                sleep_until(start + period * n + late).await;
                let due = ticks.tick().await;
                if !shifted {
                    assert_eq!(due, start + period * n, "{period:?}, {late:?} late");
                } else if n > 1 {
                    assert!(due > start + period * n, "{period:?}, {late:?} late");
                    break;
                }
            }
        }
    });
}

#[test]
fn an_interval_that_skips_keeps_its_rhythm() {
    run(async || {
        let mut ticks = interval(5 * MILLI).missed_ticks(MissedTicks::Skip);
        let first = ticks.tick().await;
        thread::sleep(Duration::from_millis(32));
        ticks.tick().await; // the late one
        let next = ticks.tick().await;
        let periods = (next - first).as_nanos() as f64 / (5 * MILLI).as_nanos() as f64;
        assert_eq!(periods.fract(), 0.0, "{periods} periods");
        assert!(next - first > Duration::from_millis(32) - 5 * MILLI);
    });
}

#[test]
fn a_tick_that_is_dropped_is_not_lost() {
    run(async || {
        let mut ticks = interval(2 * MILLI);
        let first = ticks.tick().await;
        for _ in 0..5 {
            let _ = poll_once(pin!(ticks.tick())).await;
        }
        // Dropped waits have taken none, unless one was ready, which then had been due.
        let next = ticks.tick().await;
        assert!((next - first).as_nanos().is_multiple_of((2 * MILLI).as_nanos()));
    });
}

#[test]
#[should_panic(expected = "longer than zero")]
fn an_interval_of_no_time_is_refused() {
    let _ = interval(Duration::ZERO);
}

#[test]
fn a_timer_moves_to_another_runtime() {
    within(20, || {
        let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let start = Instant::now();
        let mut timer = sleep(5 * MILLI);
        first.block_on(async { assert!(poll_once(&mut timer).await.is_none()) });
        second.block_on(async { assert!(poll_once(&mut timer).await.is_none()) });
        first.block_on(async { (&mut timer).await });
        assert!(start.elapsed() >= 5 * MILLI);
        // And on to another thread.
        timer.reset(Instant::now() + MILLI);
        second.block_on(async {
            let _ = poll_once(&mut timer).await;
        });
        thread::spawn(move || runtime::block_on(timer)).join().unwrap();
        // What it has left behind does no harm.
        first.block_on(sleep(6 * MILLI));
        second.block_on(sleep(6 * MILLI));
    });
}

#[test]
fn a_timer_dropped_on_another_thread_leaves_an_entry_that_harms_nobody() {
    run(async || {
        let (counts, waker) = CountingWaker::new();
        for _ in 0..10 {
            let mut timer = sleep(2 * MILLI);
            assert!(poll_with(&mut timer, &waker).is_pending());
            thread::spawn(move || drop(timer)).join().unwrap();
        }
        // Entries of ours in between, which the dead ones must not touch.
        let (task, polls) = polled(sleep(4 * MILLI));
        spawn(task).await.unwrap();
        assert_eq!(polls.get(), 2);
        sleep(4 * MILLI).await;
        assert!(counts.wakes() <= 10);
        assert_eq!(Arc::strong_count(&counts), 2, "the entries are gone with their time");
    });
}

#[test]
fn a_timer_that_outlives_its_runtime_is_harmless() {
    within(20, || {
        let (counts, waker) = CountingWaker::new();
        let mut timer = sleep(Duration::from_secs(3600));
        runtime::block_on(async { assert!(poll_with(&mut timer, &waker).is_pending()) });
        assert_eq!(Arc::strong_count(&counts), 2, "the clock is gone with its wakers");
        timer.reset(Instant::now());
        runtime::block_on(timer);
    });
}

#[test]
fn an_idle_loop_sleeps() {
    in_child_process(|| {
        runtime::block_on(async {
            let (socket, _peer) = crate::support::sockets::pair();
            let _reader = spawn(async move { socket.recv(&mut [0; 8]).await });
            yield_now().await;
            let before = voluntary_switches();
            sleep(Duration::from_millis(300)).await;
            if let (Some(before), Some(after)) = (before, voluntary_switches()) {
                assert!(after - before <= 5, "{} switches", after - before);
            }
        });
    });
}

#[test]
fn time_under_load_is_still_time() {
    run(async || {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        for _ in 0..20 {
            let start = Instant::now();
            sleep(MILLI).await;
            assert!(start.elapsed() >= MILLI);
        }
        drop::<runtime::JoinHandle<()>>(busy);
    });
}
