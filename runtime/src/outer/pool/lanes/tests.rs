//! Does the pool lose no job, no thread and no wake, and do long jobs leave the lane?
//!
//! Each test makes a pool of its own, with the limits that it is about, and looks at it from ordinary threads: no runtime is
//! needed, but for the one test of the awaiter's timer.
//!
//! Comes from: lanes.rs. Goes to: it, and to mod.rs.

use super::*;
use crate::unblock;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Wake;

const LONG: Duration = Duration::from_secs(60);

/// A pool of its own for one test, with the bounds that the test is about.
fn pool(cap: usize, bound: usize, linger: Duration) -> &'static Pool {
    // Nobody leaves the lane here; the tests of that make their own.
    made(Config { cap, bound, linger, slice: LONG, ..Config::PROCESS })
}

fn made(config: Config) -> &'static Pool {
    let pool: &'static Pool = Box::leak(Box::new(Pool::new()));
    pool.configure(config).expect("it is new");
    pool
}

impl Pool {
    fn go<T, F>(&'static self, job: F) -> Unblock<T>
    where
        F: FnOnce(&Job) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.unblock(job, None)
    }
}

/// Runs a test on a thread of its own and fails it when it takes longer than a minute.
fn with_deadline(test: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _ended = ended;
        test();
    });
    assert_ne!(end.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Waits for what another thread is about to do; the deadline around the test ends the wait.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

fn await_here<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = Box::pin(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn value<T>(job: Unblock<T>) -> T {
    await_here(job).expect("the pool takes the job")
}

/// A job that runs until told otherwise, and the means to tell it; returns once it runs.
fn occupy(pool: &'static Pool) -> (Unblock<()>, Sender<()>) {
    let (running, has_started) = mpsc::channel();
    let (release, released): (Sender<()>, Receiver<()>) = mpsc::channel();
    let job = pool.go(move |_| {
        running.send(()).expect("the test waits");
        let _ = released.recv();
    });
    has_started.recv().expect("the job starts");
    (job, release)
}

struct OnDrop<F: FnMut()>(F);
impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn the_result_comes_back_from_another_thread_of_the_given_name() {
    with_deadline(|| {
        let name = || thread::current().name().map(String::from);
        assert_eq!(value(pool(1, 1, LONG).go(move |_| name())), Some("pool-1".into()));
        assert_eq!(value(unblock(|| 6 * 7)), 42);
    });
}

#[test]
fn it_is_submitted_by_the_call_and_not_by_the_first_poll() {
    with_deadline(|| {
        let (done, seen) = mpsc::channel();
        let _unpolled = pool(1, 1, LONG).go(move |_| done.send(()));
        seen.recv().expect("the job runs");
    });
}

#[test]
fn a_panic_goes_on_in_the_awaiter_and_the_thread_lives() {
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        let job = pool.go(|_| resume_unwind(Box::new("of the job")));
        let panic = catch_unwind(AssertUnwindSafe(|| await_here(job)));
        let payload = panic.expect_err("it panics here");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"of the job"));
        value(pool.go(|_| ()));
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.finished, stats.panicked), (1, 2, 1));
    });
}

#[test]
fn no_more_threads_than_the_cap_and_the_rest_waits() {
    with_deadline(|| {
        let pool = pool(3, 1000, LONG);
        let busy: Vec<_> = (0..3).map(|_| occupy(pool)).collect();
        let rest: Vec<_> = (0..100).map(|n| pool.go(move |_| n)).collect();
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.idle, stats.queued), (3, 0, 100));
        drop(busy); // hangs up, which ends the jobs
        let sum: i32 = rest.into_iter().map(value).sum();
        assert_eq!(sum, 4950);
        assert_eq!(pool.stats().threads, 3);
    });
}

#[test]
fn a_claimed_thread_counts_for_one_job_only() {
    // Two submits in a row with one thread idle: the second must start a thread, or jobs that
    // wait for each other stand for ever.
    with_deadline(|| {
        let pool = pool(2, 8, LONG);
        for _ in 0..1000 {
            until(|| pool.stats().idle == pool.stats().threads);
            let (send, receive) = mpsc::channel();
            let waits = pool.go(move |_| receive.recv());
            let tells = pool.go(move |_| send.send(7));
            assert_eq!(value(waits), Ok(7));
            value(tells).expect("the other job listens");
        }
        assert_eq!(pool.stats().threads, 2);
    });
}

#[test]
fn a_full_queue_is_an_error_and_an_abandoned_job_makes_room() {
    with_deadline(|| {
        let pool = pool(1, 2, LONG);
        let busy = occupy(pool);
        let first = pool.go(|_| 1);
        let second = pool.go(|_| 2);
        let third = await_here(pool.go(|_| 3));
        assert!(matches!(third, Err(UnblockError::Full)));
        drop(first);
        let fourth = pool.go(|_| 4);
        assert_eq!(pool.stats().queued, 2);
        drop(busy);
        assert_eq!((value(second), value(fourth)), (2, 4));
        assert_eq!(pool.stats().submitted, 4);
    });
}

#[test]
fn a_job_dropped_before_its_start_never_runs_and_frees_its_captures_at_once() {
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        let ran = Arc::new(AtomicUsize::new(0));
        let busy = occupy(pool);
        let captured = Arc::clone(&ran);
        let queued = pool.go(move |_| captured.fetch_add(1, Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&ran), 2);
        drop(queued);
        assert_eq!(Arc::strong_count(&ran), 1);
        drop(busy);
        value(pool.go(|_| ())); // comes after it in the queue
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_drop_that_races_with_the_start_leaves_nothing_behind() {
    with_deadline(|| {
        let pool = pool(2, 8, LONG);
        for n in 0..20_000_u32 {
            let started = Arc::new(AtomicBool::new(false));
            let mark = Arc::clone(&started);
            let job = pool.go(move |_| mark.store(true, Ordering::SeqCst));
            for _ in 0..n % 64 {
                std::hint::spin_loop();
            }
            drop(job);
            // Gone by now: either the closure is dropped, or it runs (or ran) to its end.
            until(|| Arc::strong_count(&started) == 1);
        }
        until(|| pool.stats().idle == pool.stats().threads);
        assert_eq!(pool.stats().queued, 0);
    });
}

#[test]
fn a_running_job_sees_that_it_is_abandoned_and_its_result_is_dropped() {
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        let (tell, told) = mpsc::channel();
        let (running, has_started) = mpsc::channel();
        let job = pool.go(move |job| {
            assert!(!job.is_abandoned());
            running.send(()).expect("the test waits");
            until(|| job.is_abandoned());
            OnDrop(move || tell.send(()).expect("the test waits"))
        });
        has_started.recv().expect("the job starts");
        drop(job);
        told.recv().expect("the result is dropped");
        until(|| pool.stats().idle == 1);
        assert_eq!(pool.stats().finished, 1);
    });
}

#[test]
fn idle_threads_leave_and_new_ones_come() {
    with_deadline(|| {
        let pool = pool(4, 8, Duration::from_millis(5));
        for _ in 0..3 {
            drop((0..4).map(|_| occupy(pool)).collect::<Vec<_>>());
            until(|| pool.stats().threads == 0);
            assert_eq!((pool.stats().idle, pool.stats().queued), (0, 0));
        }
        assert_eq!(pool.stats().finished, 12);
    });
}

#[test]
fn jobs_one_after_the_other_let_the_threads_leave_that_they_do_not_need() {
    // Two may stay: the awaiter can submit anew before the thread that woke it is idle again.
    with_deadline(|| {
        let pool = pool(8, 8, Duration::from_millis(200));
        drop((0..8).map(|_| occupy(pool)).collect::<Vec<_>>());
        until(|| {
            value(pool.go(|_| ()));
            pool.stats().threads <= 2
        });
    });
}

#[test]
fn jobs_that_arrive_while_threads_leave_are_not_lost() {
    with_deadline(|| {
        for linger in [0, 1, 20, 60, 100] {
            let pool = pool(2, 1 << 10, Duration::from_micros(linger));
            let each = if cfg!(miri) { 20 } else { 2_000 };
            let submitters = (0..3)
                .map(|_| thread::spawn(move || (0..each).for_each(|_| value(pool.go(|_| ())))));
            for thread in submitters.collect::<Vec<_>>() {
                thread.join().expect("no job is refused");
            }
            assert_eq!(pool.stats().finished, 3 * each);
        }
    });
}

static REFUSALS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn without_any_thread_the_awaiter_hears_why() {
    with_deadline(|| {
        let start = |_: &'static Pool, _| Err(io::Error::from_raw_os_error(11));
        let config = Config { start, ..Config::PROCESS };
        let pool = made(config);
        match await_here(pool.go(|_| unreachable!("no thread can run it"))) {
            Err(UnblockError::NoThread(error)) => assert_eq!(error.raw_os_error(), Some(11)),
            other => panic!("{other:?}"),
        }
        assert_eq!((pool.stats().threads, pool.stats().queued), (0, 0));
    });
}

#[test]
fn with_a_thread_a_failed_start_leaves_the_job_queued() {
    with_deadline(|| {
        let start = |pool, name: String| {
            if name == "pool-1" {
                return (Config::PROCESS.start)(pool, name);
            }
            REFUSALS.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::other("no more"))
        };
        let config = Config { start, ..Config::PROCESS };
        let pool = made(config);
        let busy = occupy(pool);
        let waits = pool.go(|_| 5);
        until(|| REFUSALS.load(Ordering::Relaxed) > 0 && pool.stats().threads == 1);
        assert_eq!(pool.stats().queued, 1);
        drop(busy);
        assert_eq!(value(waits), 5);
    });
}

#[test]
fn in_another_process_than_its_threads_it_refuses() {
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        value(pool.go(|_| ()));
        pool.owner.fetch_add(1, Ordering::Relaxed); // as a forked child sees it
        let answer = await_here(pool.go(|_| ()));
        assert!(matches!(answer, Err(UnblockError::NoThread(_))));
    });
}

#[test]
fn a_burst_of_jobs_is_finished() {
    with_deadline(|| {
        let many: usize = if cfg!(miri) { 200 } else { 100_000 };
        let pool = pool(64, many, LONG);
        let jobs: Vec<_> = (0..many).map(|n| pool.go(move |_| n)).collect();
        assert!(jobs.into_iter().map(value).eq(0..many));
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.finished), (many as u64, many as u64));
        assert!(stats.threads <= 64);
    });
}

#[test]
fn a_job_may_submit_a_job() {
    with_deadline(|| {
        let pool = pool(2, 8, LONG);
        let nested = move |_: &Job| value(pool.go(|_| 1)) + 1;
        assert_eq!(value(pool.go(nested)), 2);
    });
}

#[test]
fn the_drops_of_results_and_captures_may_submit_jobs() {
    with_deadline(|| {
        let pool = pool(1, 1, LONG);
        let (tell, told) = mpsc::channel();
        let again = |tell: &Sender<()>| {
            let tell = tell.clone();
            OnDrop(move || {
                let tell = tell.clone();
                mem::forget(pool.go(move |_| tell.send(())));
            })
        };
        // A result that nobody takes, ready before the drop.
        let result = again(&tell);
        let job = pool.go(move |_| result);
        until(|| pool.stats().idle == 1);
        drop(job);
        told.recv().expect("the job of the drop runs");
        // Captures of a queued job that is given up, and of a refused one.
        let busy = occupy(pool);
        let captured = again(&tell);
        drop(pool.go(move |_| drop(captured)));
        let captured = again(&tell);
        assert!(await_here(pool.go(move |_| drop(captured))).is_err());
        drop(busy);
        told.recv().expect("the job of the drop runs");
    });
}

#[test]
fn a_waker_that_panics_does_not_cost_a_thread() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("of the waker"));
        }
    }
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        let busy = occupy(pool);
        let mut job = pool.go(|_| 3);
        let waker = Waker::from(Arc::new(Bad));
        assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(busy);
        until(|| pool.stats().idle == 1);
        assert_eq!(value(job), 3);
        assert_eq!(pool.stats().threads, 1);
    });
}

#[test]
fn the_last_poll_s_waker_is_woken_and_earlier_ones_are_dropped() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    with_deadline(|| {
        let pool = pool(1, 8, LONG);
        let (mut job, release) = occupy(pool);
        let counts = [0, 1].map(|_| Arc::new(Count(AtomicUsize::new(0))));
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&counts[0]), 1);
        drop(release);
        until(|| pool.stats().idle == 1);
        assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
    });
}

#[test]
fn its_types_cross_threads_as_promised() {
    fn promised<T: Send + Sync + Unpin>() {}
    promised::<Unblock<std::cell::Cell<u8>>>(); // Send, not Sync
    promised::<Job>();
    promised::<UnblockError>();
}

// --------------------------------------------------------------------------------------------------- the lanes

/// A pool with one place in the lane and a short slice.
fn one_lane(long: usize) -> &'static Pool {
    // On a busy machine a job may use half a millisecond before it waits.
    let slice = Duration::from_millis(10);
    made(Config { cap: 1, long, slice, bound: 1000, linger: LONG, ..Config::PROCESS })
}

/// A job that computes until it is given up or told to end; returns once it runs.
fn compute(pool: &'static Pool) -> (Unblock<()>, Arc<AtomicBool>) {
    let (running, has_started) = mpsc::channel();
    let end = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&end);
    let job = pool.go(move |job| {
        running.send(()).expect("the test waits");
        while !job.is_abandoned() && !ends.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    has_started.recv().expect("the job starts");
    (job, end)
}

fn until_seen(pool: &'static Pool, condition: impl Fn(PoolStats) -> bool) {
    until(|| {
        // Not by turns of the processor: those who stand behind all others need some of it to get to their end.
        thread::sleep(Duration::from_millis(1));
        condition(pool.stats())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_job_that_computes_is_demoted_and_its_thread_retires() {
    with_deadline(|| {
        let pool = one_lane(8);
        let (job, end) = compute(pool);
        until_seen(pool, |stats| stats.demoted == 1);
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.blocked, stats.demotions), (1, 0, 1));
        // The lane is free for others.
        assert_eq!(value(pool.go(|_| 5)), 5);
        assert_eq!(pool.stats().threads, 2);
        end.store(true, Ordering::Relaxed);
        value(job);
        until_seen(pool, |stats| stats.demoted == 0 && stats.threads == 1);
    });
}

#[test]
fn where_nobody_may_be_demoted_long_jobs_leave_the_lane_all_the_same() {
    with_deadline(|| {
        let slice = Duration::from_millis(1);
        let pool = made(Config { cap: 1, slice, demote: false, ..Config::PROCESS });
        let (job, _) = compute(pool);
        until_seen(pool, |stats| stats.blocked == 1);
        let short = pool.go(|_| 5);
        until_seen(pool, |stats| stats.queued == 0);
        assert_eq!((value(short), pool.stats().demotions), (5, 0));
        drop(job);
        until_seen(pool, |stats| stats.blocked == 0);
    });
}

#[test]
fn a_job_that_waits_is_not_demoted_and_its_thread_comes_back_into_the_lane() {
    with_deadline(|| {
        let pool = one_lane(8);
        let (job, release) = occupy(pool);
        until_seen(pool, |stats| stats.blocked == 1);
        drop(release);
        value(job);
        until(|| pool.stats().idle == 1);
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.blocked, stats.demotions), (1, 0, 0));
    });
}

#[test]
fn a_thread_that_comes_back_into_a_full_lane_leaves() {
    with_deadline(|| {
        let pool = one_lane(8);
        let (first, release) = occupy(pool);
        until_seen(pool, |stats| stats.blocked == 1);
        let second = occupy(pool);
        drop(release);
        value(first);
        until(|| pool.stats().threads == 1);
        assert_eq!(pool.stats().idle, 0);
        drop(second);
        until(|| pool.stats().idle == 1);
    });
}

#[test]
fn a_job_that_waits_first_and_computes_then_is_demoted_then() {
    if !cfg!(target_os = "linux") {
        return;
    }
    with_deadline(|| {
        let pool = one_lane(8);
        let (go, gone) = mpsc::channel::<()>();
        let job = pool.go(move |job| {
            let _ = gone.recv();
            while !job.is_abandoned() {
                std::hint::spin_loop();
            }
        });
        until_seen(pool, |stats| stats.blocked == 1);
        drop(go);
        until_seen(pool, |stats| (stats.blocked, stats.demoted) == (0, 1));
        drop(job);
        until_seen(pool, |stats| stats.threads == 0);
    });
}

#[test]
fn twenty_long_jobs_leave_the_lane_to_a_short_one() {
    with_deadline(|| {
        let pool = one_lane(40);
        let long: Vec<_> = (0..20).map(|_| compute(pool)).collect();
        let short = pool.go(|_| 5);
        until_seen(pool, |stats| stats.queued == 0); // nobody's timer looks here
        assert_eq!(value(short), 5);
        let stats = pool.stats();
        assert!(stats.demoted + stats.blocked >= 19, "{stats:?}");
        drop(long); // given up
        until_seen(pool, |stats| stats.demoted + stats.blocked == 0);
    });
}

#[test]
fn at_both_limits_jobs_wait_and_are_done_in_the_end() {
    with_deadline(|| {
        let pool = one_lane(1);
        let (first, end_first) = compute(pool);
        let (second, end_second) = compute(pool);
        let third = pool.go(|_| 3);
        for _ in 0..100 {}
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.queued), (2, 1));
        end_first.store(true, Ordering::Relaxed);
        value(first);
        until_seen(pool, |stats| stats.queued == 0);
        assert_eq!(value(third), 3);
        end_second.store(true, Ordering::Relaxed);
        value(second);
    });
}

#[test]
fn in_the_runtime_the_awaiter_s_own_timer_looks() {
    with_deadline(|| {
        // Long enough for both to be submitted within it: then nobody but the timer looks.
        let slice = Duration::from_millis(100);
        let pool = made(Config { cap: 1, slice, ..Config::PROCESS });
        crate::block_on(async {
            let end = Arc::new(AtomicBool::new(false));
            let ends = Arc::clone(&end);
            let computes = crate::spawn(pool.go(move |_| {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }));
            // In the one lane behind it, and nobody submits anything any more.
            assert_eq!(pool.go(|_| 5).await.expect("the pool takes it"), 5);
            assert!(!computes.is_finished());
            end.store(true, Ordering::Relaxed);
            computes.await.expect("no panic").expect("the pool takes it");
        });
    });
}

#[test]
fn short_jobs_are_demoted_by_nobody() {
    with_deadline(|| {
        let pool = one_lane(8);
        for n in 0..2000 {
            assert_eq!(value(pool.go(move |_| n)), n);
        }
        assert_eq!(pool.stats().demotions, 0);
        assert_eq!(pool.stats().finished, 2000);
    });
}

#[test]
fn a_look_that_races_with_the_job_s_end_loses_no_thread_and_no_job() {
    with_deadline(|| {
        // Jobs of about a slice, and a thread that does nothing but look.
        let slice = Duration::from_micros(100);
        let pool =
            made(Config { cap: 2, long: 4, slice, bound: 1000, linger: LONG, ..Config::PROCESS });
        let over = Arc::new(AtomicBool::new(false));
        let looker = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            })
        };
        let spin = |micros: u64| {
            let end = Instant::now() + Duration::from_micros(micros);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        };
        for round in 0..300 {
            let jobs: Vec<_> =
                (0..8).map(|n| pool.go(move |_| spin(60 + (round * 8 + n) % 90))).collect();
            jobs.into_iter().for_each(value);
        }
        over.store(true, Ordering::Relaxed);
        looker.join().expect("it only looks");
        until_seen(pool, |stats| stats.idle == stats.threads);
        let stats = pool.stats();
        assert_eq!((stats.finished, stats.demoted, stats.blocked), (2400, 0, 0));
        assert!(stats.threads <= 2);
    });
}

// ------------------------------------------------------------------------------------------- room in the queue

#[test]
fn who_waits_for_room_is_let_in_in_the_order_they_came() {
    with_deadline(|| {
        let pool = pool(1, 1, LONG);
        let (first, release) = occupy(pool);
        let queued = pool.go(|_| ());
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let order = Arc::clone(&order);
                let (in_line, is_in_line) = mpsc::channel();
                let thread = thread::spawn(move || {
                    await_here(async move {
                        let mut room = pool.room();
                        let place = std::future::poll_fn(|cx| {
                            let poll = Pin::new(&mut room).poll(cx);
                            let _ = in_line.send(());
                            poll
                        });
                        let place = place.await;
                        let job = pool.unblock(move |_| lock(&order).push(n), Some(place));
                        job.await.expect("the pool takes it");
                    });
                });
                is_in_line.recv().expect("it polls");
                thread
            })
            .collect();
        assert!(matches!(await_here(pool.go(|_| ())), Err(UnblockError::Full)));
        drop(release);
        value(first);
        value(queued);
        for waiter in waiters {
            waiter.join().expect("no panic");
        }
        assert_eq!(*lock(&order), [0, 1, 2, 3, 4]);
        value(pool.go(|_| ())); // all the room is given back
    });
}

#[test]
fn who_stops_waiting_for_room_lets_the_next_one_in() {
    with_deadline(|| {
        let pool = pool(1, 1, LONG);
        let (first, release) = occupy(pool);
        let queued = pool.go(|_| ());
        let waker = Waker::noop();
        let (mut one, mut two) = (pool.room(), pool.room());
        let cx = &mut Context::from_waker(waker);
        assert!(Pin::new(&mut one).poll(cx).is_pending());
        let waiting = thread::spawn(move || {
            let place = await_here(pool.room());
            value(pool.unblock(|_| 6, Some(place)))
        });
        until(|| lock(&pool.shared).waiting.len() == 2);
        drop(release);
        value(first);
        value(queued);
        // The room is the first one's, although it has not come yet.
        until(|| pool.stats().idle == 1);
        assert!(Pin::new(&mut two).poll(cx).is_pending());
        // And it does not come; the second has to be woken.
        drop(one);
        assert_eq!(waiting.join().expect("no panic"), 6);
        // Room that was promised and not used is free again.
        let Poll::Ready(place) = Pin::new(&mut two).poll(cx) else { panic!("there is room") };
        assert!(matches!(await_here(pool.go(|_| ())), Err(UnblockError::Full)));
        drop(place);
        value(pool.go(|_| ()));
    });
}

#[test]
fn settings_come_before_the_first_job() {
    let pool: &'static Pool = Box::leak(Box::new(Pool::new()));
    assert_eq!(pool.configure(Config { cap: 3, ..Config::PROCESS }), Ok(()));
    assert_eq!(pool.config().cap, 3);
    assert_eq!(pool.configure(Config::PROCESS), Err(PoolInUse));
    let used: &'static Pool = Box::leak(Box::new(Pool::new()));
    with_deadline(move || value(used.go(|_| ())));
    assert_eq!(used.configure(Config::PROCESS), Err(PoolInUse));
}

// ------------------------------------------------------------------------------------------ room, and who is coming

#[test]
fn a_job_that_a_thread_is_coming_for_takes_no_room() {
    with_deadline(|| {
        let pool = pool(4, 1, LONG);
        for _ in 0..1000 {
            until(|| pool.stats().idle == pool.stats().threads);
            let jobs: Vec<_> = (0..4).map(|n| pool.go(move |_| n)).collect();
            assert!(jobs.into_iter().map(value).eq(0..4));
        }
        let _busy: Vec<_> = (0..4).map(|_| occupy(pool)).collect();
        let _waits = pool.go(|_| ());
        assert!(matches!(await_here(pool.go(|_| ())), Err(UnblockError::Full)));
    });
}

#[test]
#[cfg(target_os = "linux")]
fn who_waits_for_room_hears_that_a_start_has_failed() {
    with_deadline(|| {
        let start = |pool, name: String| {
            if name == "pool-1" {
                (Config::PROCESS.start)(pool, name)
            } else {
                Err(io::Error::other("no more"))
            }
        };
        let slice = Duration::from_millis(5);
        // Whether it waited for room before the job was demoted; on a busy machine it may come too late.
        let hears_in_time = || {
            let pool = made(Config { cap: 1, long: 2, bound: 1, slice, start, ..Config::PROCESS });
            let (job, stop) = compute(pool);
            let stranded = pool.go(|_| ());
            let waiting = thread::spawn(move || {
                let mut room = pool.room();
                let mut has_waited = false;
                let place = await_here(std::future::poll_fn(|cx| {
                    let poll = Pin::new(&mut room).poll(cx);
                    has_waited |= poll.is_pending();
                    poll
                }));
                drop(place);
                has_waited
            });
            until_seen(pool, |stats| stats.demoted == 1 && stats.queued == 0);
            let has_waited = waiting.join().expect("it only waits");
            stop.store(true, Ordering::Relaxed);
            drop(job);
            assert!(matches!(await_here(stranded), Err(UnblockError::NoThread(_))));
            has_waited
        };
        while !hears_in_time() {}
    });
}

static NO_MORE_THREADS: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_is_demoted_after_it_has_waited_does_not_strand_the_queue() {
    with_deadline(|| {
        let pool = made(Config {
            cap: 1,
            slice: Duration::from_millis(10),
            start: |pool, name| {
                if NO_MORE_THREADS.load(Ordering::SeqCst) {
                    return Err(io::Error::from_raw_os_error(libc::EAGAIN));
                }
                (Config::PROCESS.start)(pool, name)
            },
            ..Config::PROCESS
        });
        let (tell, told) = mpsc::channel::<()>();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let long = pool.go(move |_| {
            told.recv().expect("the test tells"); // waits ...
            while !stopped.load(Ordering::Relaxed) {} // ... and then computes
        });
        until_seen(pool, |stats| stats.blocked == 1);
        NO_MORE_THREADS.store(true, Ordering::SeqCst); // the OS gives no more threads
        let short = pool.go(|_| 7);
        assert_eq!(pool.stats().queued, 1); // not refused: the blocked thread is to look at it
        tell.send(()).expect("the job waits");
        until_seen(pool, |stats| stats.demoted == 1 || stats.queued == 0);
        NO_MORE_THREADS.store(false, Ordering::SeqCst); // the OS has threads again
        stop.store(true, Ordering::Relaxed);
        value(long); // the long one is over
        until_seen(pool, |stats| stats.queued == 0);
        match await_here(short) {
            Ok(7) | Err(UnblockError::NoThread(_)) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_job_that_waits_almost_all_the_time_is_not_demoted() {
    with_deadline(|| {
        let pool = made(Config { slice: Duration::from_millis(1), ..Config::PROCESS });
        let job = pool.go(|_| {
            // 40 rounds of 25 ms: a thousandth of the time is computed
            for _ in 0..40 {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(50) {}
                thread::sleep(Duration::from_millis(25));
            }
        });
        let end = Instant::now() + Duration::from_millis(950);
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let stats = pool.stats();
        value(job);
        assert_eq!(stats.demotions, 0, "{stats:?}");
    });
}

/// There the lock may be held by a thread that does not exist.
#[test]
fn in_a_forked_child_what_waits_for_room_can_be_dropped() {
    let pool = pool(1, 1, LONG);
    let busy = occupy(pool);
    let queued = pool.go(|_| ());
    let mut room = Box::pin(pool.room());
    let waker = Waker::noop();
    assert!(room.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    let held = lock(&pool.shared);
    let owner = pool.owner.swap(99, Ordering::Relaxed); // as a child sees it
    let (ended, end) = mpsc::channel();
    let child = thread::spawn(move || {
        drop(queued); // Unblock: fine
        ended.send("unblock").expect("the test listens");
        drop(room);
        ended.send("room").expect("the test listens");
    });
    assert_eq!(end.recv_timeout(Duration::from_secs(2)), Ok("unblock"));
    let dropped = end.recv_timeout(Duration::from_secs(2));
    drop(held);
    pool.owner.store(owner, Ordering::Relaxed);
    child.join().expect("the test listens");
    drop(busy);
    assert_eq!(dropped, Ok("room"), "the child hangs");
}
