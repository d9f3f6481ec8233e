//! Does a token reach all below it and nobody above, in time and only then, and leave nothing behind?
//!
//! Times are a test's own where one runtime is enough, so deadlines are exact; across threads they are the system's, and
//! only their order is asked for. (What a token without parents or deadline does: cancel.rs.)
//!
//! Comes from: main.rs. Goes to: outer/cancel_token.rs of the runtime.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use runtime::testing::TestClock;
use runtime::{CancelToken, Errors, Runtime, now, nursery, sleep, spawn, yield_now};

use crate::counting;
use crate::support::counters::{Counter, CountingWaker, panicking_waker, poll_with, polled};
use crate::support::{cancel_at_every_poll, in_child_process, run, within};

const HOUR: Duration = Duration::from_secs(3600);

fn in_test_time(test: impl AsyncFnOnce() + Send + 'static) {
    within(20, move || Runtime::builder().time(TestClock::new()).build().unwrap().block_on(test()));
}

#[test]
fn a_parent_sets_its_children_and_a_child_nobody_else() {
    let parent = CancelToken::new();
    let (one, other) = (parent.child(), parent.child());
    let grandchild = one.child();
    one.cancel();
    let set = |token: &CancelToken| token.is_cancelled();
    assert_eq!([&parent, &one, &other, &grandchild].map(set), [false, true, false, true]);
    parent.cancel();
    assert_eq!([&parent, &one, &other, &grandchild].map(set), [true; 4]);
    assert!(parent.child().is_cancelled() && grandchild.child().is_cancelled(), "born so");
}

#[test]
fn all_who_wait_below_are_woken_once_though_a_waker_panics() {
    let parent = CancelToken::new();
    let (counts, waker) = CountingWaker::new();
    let tokens: Vec<_> = (0..10).map(|_| parent.child().child()).collect();
    let mut waits: Vec<_> = tokens.iter().map(CancelToken::cancelled).collect();
    for wait in &mut waits {
        assert!(poll_with(wait, &panicking_waker()).is_pending());
    }
    let mut good: Vec<_> = tokens.iter().map(CancelToken::cancelled).collect();
    for wait in &mut good {
        assert!(poll_with(wait, &waker).is_pending());
        assert!(poll_with(wait, &waker).is_pending());
    }
    parent.cancel();
    parent.cancel();
    assert_eq!(counts.wakes(), 10);
    assert!(good.iter_mut().all(|wait| poll_with(wait, Waker::noop()).is_ready()));
}

#[test]
fn a_child_holds_its_parents_and_is_reached_when_nobody_else_does() {
    let root = CancelToken::new();
    let leaf = root.child().child().child();
    assert!(!leaf.is_cancelled());
    root.cancel();
    assert!(leaf.is_cancelled());
}

#[test]
fn a_chain_of_a_hundred_thousand_overflows_no_stack() {
    within(30, || {
        for cancels in [true, false] {
            let root = CancelToken::new();
            let mut leaf = root.child();
            for _ in 0..100_000 {
                leaf = leaf.child();
            }
            if cancels {
                root.cancel();
            }
            assert_eq!(leaf.is_cancelled(), cancels);
            drop(leaf);
        }
    });
}

#[test]
fn children_that_are_dropped_leave_no_trace() {
    in_child_process(|| {
        let parent = CancelToken::new();
        let kept = parent.child();
        let round = || {
            for way in 0..10_000 {
                let child = parent.child();
                let grandchild = child.child_with_deadline(Instant::now() + HOUR);
                if way % 3 == 0 {
                    child.cancel();
                }
                if way % 2 == 0 {
                    drop(child);
                    drop(grandchild);
                } else {
                    drop(grandchild);
                    drop(child);
                }
            }
        };
        round();
        counting::start();
        // The harness's own threads may take some bytes beside; a trace would be left in every round.
        let least = (0..4).map(|_| {
            let before = counting::now();
            round();
            before.until_now().bytes
        });
        let least = least.min();
        assert!(least <= Some(0), "{least:?} bytes");
        parent.cancel();
        assert!(kept.is_cancelled());
    });
}

#[test]
fn children_come_and_go_on_many_threads_while_the_parent_is_set() {
    within(60, || {
        for _ in 0..100 {
            let parent = CancelToken::new();
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let parent = parent.clone();
                    thread::spawn(move || {
                        runtime::block_on(async {
                            while !parent.is_cancelled() {
                                drop(parent.child());
                            }
                            parent.child().cancelled().await;
                        })
                    })
                })
                .collect();
            let waiting = parent.child().child();
            let last = thread::spawn(move || runtime::block_on(waiting.cancelled()));
            parent.cancel();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            last.join().unwrap();
        }
    });
}

#[test]
fn a_deadline_sets_the_token_for_all_who_wait_to_the_nanosecond() {
    in_test_time(async || {
        let start = now();
        let token = CancelToken::with_timeout(HOUR);
        assert_eq!(token.deadline(), Some(start + HOUR));
        let waits: Vec<_> = (0..10)
            .map(|_| {
                let child = token.child();
                spawn(async move {
                    child.cancelled().await;
                    now()
                })
            })
            .collect();
        sleep(HOUR - Duration::from_nanos(1)).await;
        assert!(!token.is_cancelled());
        for wait in waits {
            assert_eq!(wait.await.unwrap(), start + HOUR);
        }
        assert!(token.is_cancelled());
    });
}

#[test]
fn a_deadline_that_nobody_awaits_is_seen_by_who_asks_and_stays() {
    let past = CancelToken::with_deadline(Instant::now());
    assert!(past.is_cancelled());
    let (child, polled_late) = (past.child(), past.cancelled());
    assert!(child.is_cancelled());
    let mut polled_late = polled_late;
    assert!(poll_with(&mut polled_late, Waker::noop()).is_ready(), "in no runtime at all");
    assert!(!CancelToken::with_timeout(Duration::MAX).is_cancelled());
    assert_eq!(CancelToken::with_timeout(Duration::MAX).deadline(), None);
}

#[test]
fn a_child_s_deadline_is_the_earlier_of_its_own_and_its_parents() {
    in_test_time(async || {
        let start = now();
        let parent = CancelToken::with_deadline(start + 2 * HOUR);
        let (earlier, later) = (
            parent.child_with_deadline(start + HOUR),
            parent.child_with_deadline(start + 3 * HOUR),
        );
        assert_eq!(earlier.deadline(), Some(start + HOUR));
        assert_eq!(later.deadline(), Some(start + 2 * HOUR));
        earlier.cancelled().await;
        assert_eq!(now(), start + HOUR);
        assert!(!parent.is_cancelled() && !later.is_cancelled());
        later.cancelled().await;
        assert_eq!(now(), start + 2 * HOUR);
        assert!(parent.is_cancelled());
        let free = CancelToken::new();
        let own = free.child_with_deadline(now() + HOUR);
        own.cancelled().await;
        assert!(!free.is_cancelled());
    });
}

#[test]
fn a_token_set_before_its_deadline_wakes_and_takes_the_timer_away() {
    in_test_time(async || {
        let start = now();
        let token = CancelToken::with_timeout(HOUR);
        let other = token.clone();
        let waiting = spawn(async move { other.cancelled().await });
        yield_now().await;
        token.cancel();
        waiting.await.unwrap();
        assert_eq!(now(), start);
        sleep(2 * HOUR).await; // would stop at the hour, were a timer left whose waker does something
        assert_eq!(now(), start + 2 * HOUR);
    });
}

#[test]
fn each_waits_on_its_own_runtime_s_timer() {
    within(30, || {
        let token = CancelToken::with_timeout(Duration::from_millis(20));
        let deadline = token.deadline().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let token = token.child();
                thread::spawn(move || {
                    runtime::block_on(token.cancelled());
                    Instant::now()
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap() >= deadline);
        }
    });
}

#[test]
fn run_gives_the_output_or_drops_the_future_on_the_spot() {
    run(async || {
        let (token, drops) = (CancelToken::new(), Counter::new());
        assert_eq!(token.run(ready(5)).await, Some(5));
        let guard = drops.guard();
        let child = token.child();
        let held = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let task = spawn(child.run(held));
        yield_now().await;
        token.cancel();
        assert_eq!(task.await.unwrap(), None);
        assert_eq!(drops.get(), 1);
        let (never, polls) = polled(ready(5));
        assert_eq!((token.run(never).await, polls.get()), (None, 0));
    });
}

#[test]
fn run_of_a_token_set_by_its_own_future_lets_that_poll_end() {
    run(async || {
        let token = CancelToken::new();
        let inside = token.clone();
        let quick = token.run(async move {
            inside.cancel();
            5
        });
        assert_eq!(quick.await, Some(5));
        let (token, after) = (CancelToken::new(), Counter::new());
        let slow = token.run(async {
            token.cancel();
            yield_now().await;
            after.up();
        });
        assert_eq!(slow.await, None);
        assert_eq!(after.get(), 0);
    });
}

#[test]
fn run_ends_a_nursery_from_outside() {
    in_test_time(async || {
        let (token, drops) = (CancelToken::with_timeout(HOUR), Counter::new());
        let block = nursery(async |n| {
            for _ in 0..10 {
                let guard = drops.guard();
                n.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), ()>>().await
                });
            }
            pending::<Result<(), ()>>().await
        });
        let ended: Option<Result<(), Errors<()>>> = token.run(block).await;
        assert_eq!((ended, drops.get()), (None, 10));
    });
}

#[test]
fn waits_and_runs_can_be_dropped_after_any_poll() {
    run(async || {
        let (made, drops) = (Counter::new(), Counter::new());
        let root = CancelToken::new();
        let (counts, waker) = CountingWaker::new();
        let mut outer = root.cancelled();
        assert!(poll_with(&mut outer, &waker).is_pending());
        let under_test = async || {
            let token = root.child_with_deadline(now() + Duration::from_micros(100));
            made.up();
            let guard = drops.guard();
            let held = async move {
                let _guard = guard;
                pending::<()>().await;
            };
            assert_eq!(token.run(held).await, None);
            token.cancelled().await;
            let set_by_hand = root.child();
            let setter = set_by_hand.clone();
            drop(spawn(async move { setter.cancel() }));
            set_by_hand.cancelled().await;
        };
        cancel_at_every_poll(under_test, || assert_eq!(drops.get(), made.get())).await;
        assert_eq!(counts.wakes(), 0, "nothing went up");
        root.cancel();
        assert_eq!(counts.wakes(), 1);
    });
}

#[test]
fn a_token_that_is_set_has_set_its_children() {
    struct Look(CancelToken, CancelToken, AtomicBool);
    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            self.0.cancel(); // has returned: so flag and children are set?
            self.2.store(self.1.is_cancelled(), Ordering::SeqCst);
        }
    }
    let parent = CancelToken::new();
    let child = parent.child();
    let look = Arc::new(Look(parent.clone(), child.clone(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&look));
    let mut wait = Box::pin(parent.cancelled());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    parent.cancel();
    assert!(look.2.load(Ordering::SeqCst), "cancel() has returned, and the child is not set");
}

#[test]
fn a_cancel_that_returns_has_set_the_children_though_another_is_at_it() {
    struct Slow(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
            let _ = self.1.lock().unwrap().recv();
        }
    }
    let parent = CancelToken::new();
    let child = parent.child();
    let ((tell, told), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let waker = Waker::from(Arc::new(Slow(tell, Mutex::new(may_go_on))));
    let mut wait = Box::pin(parent.cancelled());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let other = parent.clone();
    let thread = thread::spawn(move || other.cancel());
    told.recv().unwrap();
    parent.cancel();
    let is_set = child.is_cancelled();
    drop(go_on);
    thread.join().unwrap();
    assert!(is_set);
}
