//! When is a task's future gone after it was told to stop, and who learns of it?
//!
//! An abort from outside drops the future before it returns; one from inside, at the end of the poll. Whoever awaits the
//! handle afterwards may rely on it: what the task held is free. A [`CancelToken`] stops nobody; it only tells.
//!
//! Comes from: main.rs. Goes to: task/cell.rs, outer/cancel_token.rs of the runtime.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::task::Waker;
use std::thread;

use runtime::{CancelToken, JoinHandle, Runtime, spawn, yield_now};

use crate::support::counters::{Counter, CountingWaker, on_drop, poll_with, polled, until_async};
use crate::support::{run, within};

/// A task that holds `guard` and never ends.
fn holding<G: 'static>(guard: G) -> JoinHandle<()> {
    spawn(async move {
        let _guard = guard;
        std::future::pending().await
    })
}

#[test]
fn an_abort_drops_a_waiting_task_at_once() {
    run(async || {
        let drops = Counter::new();
        let task = holding(drops.guard());
        yield_now().await;
        task.abort();
        assert_eq!(drops.get(), 1);
        assert!(task.is_finished());
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn an_abort_drops_a_queued_task_unpolled() {
    run(async || {
        let drops = Counter::new();
        let guard = drops.guard();
        let (task, polls) = polled(async move { drop(guard) });
        let task = spawn(task);
        task.abort();
        assert_eq!((drops.get(), polls.get()), (1, 0));
        assert!(task.await.unwrap_err().is_cancelled());
        yield_now().await;
        assert_eq!(polls.get(), 0);
    });
}

#[test]
fn an_abort_drops_a_woken_task_unpolled() {
    run(async || {
        let drops = Counter::new();
        let guard = drops.guard();
        let (task, polls) = polled(async move {
            let _guard = guard;
            loop {
                yield_now().await;
            }
        });
        let task = spawn(task);
        yield_now().await;
        assert_eq!(polls.get(), 1);
        task.abort();
        assert_eq!(drops.get(), 1);
        yield_now().await;
        yield_now().await;
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn an_abort_of_a_finished_task_changes_nothing() {
    run(async || {
        let task = spawn(async { 5 });
        until_async(|| task.is_finished()).await;
        task.abort();
        task.abort();
        assert_eq!(task.cancel().await.unwrap(), 5);
    });
}

#[test]
fn a_task_that_aborts_itself_is_dropped_at_the_end_of_that_poll() {
    run(async || {
        let place = Rc::new(RefCell::new(None::<JoinHandle<()>>));
        let own = Rc::clone(&place);
        let (drops, after) = (Counter::new(), Counter::new());
        let (guard, inside) = (drops.guard(), (drops.clone(), after.clone()));
        *place.borrow_mut() = Some(spawn(async move {
            let _guard = guard;
            own.borrow().as_ref().unwrap().abort();
            assert_eq!(inside.0.get(), 0, "not under our feet");
            inside.1.up();
            yield_now().await;
            inside.1.up();
        }));
        yield_now().await;
        assert_eq!((drops.get(), after.get()), (1, 1));
        let task = place.take().unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_task_that_aborts_itself_and_is_ready_in_that_poll_was_quicker() {
    run(async || {
        let place = Rc::new(RefCell::new(None::<JoinHandle<i32>>));
        let own = Rc::clone(&place);
        *place.borrow_mut() = Some(spawn(async move {
            own.borrow().as_ref().unwrap().abort();
            5
        }));
        yield_now().await;
        let task = place.take().unwrap();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn a_task_that_cancels_itself_and_awaits_that_gets_an_error_and_no_deadlock() {
    run(async || {
        let place = Rc::new(RefCell::new(None::<JoinHandle<()>>));
        let own = Rc::clone(&place);
        let (drops, seen) = (Counter::new(), Counter::new());
        let (guard, inside) = (drops.guard(), seen.clone());
        *place.borrow_mut() = Some(spawn(async move {
            let _guard = guard;
            let handle = own.take().unwrap();
            assert!(handle.cancel().await.unwrap_err().is_itself());
            inside.up();
            std::future::pending::<()>().await;
        }));
        yield_now().await;
        assert_eq!((seen.get(), drops.get()), (1, 1));
    });
}

#[test]
fn cancel_returns_only_after_the_future_is_dropped() {
    run(async || {
        // A port is the proof: it can be bound again.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let task = holding(listener);
        yield_now().await;
        assert!(TcpListener::bind(address).is_err());
        assert!(task.cancel().await.unwrap_err().is_cancelled());
        TcpListener::bind(address).unwrap();
    });
}

#[test]
fn the_drop_of_an_aborted_future_may_spawn() {
    run(async || {
        let ended = Counter::new();
        let inside = ended.clone();
        let task = holding(on_drop(move || {
            drop(spawn(async move { inside.up() }));
        }));
        yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        until_async(|| ended.get() == 1).await;
    });
}

#[test]
fn the_drop_of_an_aborted_future_may_abort_others_in_a_circle() {
    run(async || {
        const TASKS: usize = 10;
        let tasks: Rc<RefCell<Vec<JoinHandle<()>>>> = Rc::default();
        let drops = Counter::new();
        for _ in 0..TASKS {
            let (all, drops) = (Rc::clone(&tasks), drops.clone());
            let guard = on_drop(move || {
                drops.up();
                for task in all.borrow().iter() {
                    task.abort(); // itself, too
                }
            });
            tasks.borrow_mut().push(holding(guard));
        }
        yield_now().await;
        tasks.borrow()[3].abort();
        assert_eq!(drops.get(), TASKS);
        for task in tasks.take() {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn the_drop_of_a_future_may_drop_its_own_handle() {
    run(async || {
        let place = Rc::new(RefCell::new(None));
        let own = Rc::clone(&place);
        let task = holding(on_drop(move || drop(own.take())));
        yield_now().await;
        // The handle lies where the future's drop takes it away, so it is called by another name.
        let stop = CancelToken::new();
        let stopped = stop.clone();
        *place.borrow_mut() = Some(task);
        let inner = Rc::clone(&place);
        let watcher = spawn(async move {
            stopped.cancelled().await;
            let task = inner.take();
            if let Some(task) = &task {
                task.abort();
            }
        });
        stop.cancel();
        watcher.await.unwrap();
        assert!(place.borrow().is_none());
    });
}

#[test]
fn an_abort_wakes_whoever_awaits() {
    run(async || {
        let mut task = spawn(std::future::pending::<()>());
        let (counts, waker) = CountingWaker::new();
        assert!(poll_with(&mut task, &waker).is_pending());
        task.abort();
        assert_eq!(counts.wakes(), 1);
        assert!(poll_with(&mut task, Waker::noop()).is_ready());
    });
}

#[test]
fn an_abort_between_two_block_ons_is_an_abort() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let drops = Counter::new();
        let guard = drops.guard();
        let task = rt.block_on(async {
            let task = holding(guard);
            yield_now().await;
            task
        });
        task.abort();
        assert_eq!(drops.get(), 1);
        assert!(rt.block_on(task).unwrap_err().is_cancelled());
        // Its place is free again.
        rt.block_on(async { spawn(async {}).await.unwrap() });
    });
}

#[test]
fn a_thousand_aborted_tasks_leave_their_places_to_others() {
    run(async || {
        let drops = Counter::new();
        for round in 0..10 {
            let tasks: Vec<_> = (0..100).map(|_| holding(drops.guard())).collect();
            if round % 2 == 0 {
                yield_now().await;
            }
            tasks.iter().for_each(JoinHandle::abort);
            assert_eq!(drops.get(), (round + 1) * 100);
            let (next, polls) = polled(yield_now());
            spawn(next).await.unwrap();
            assert_eq!(polls.get(), 2);
        }
    });
}

#[test]
fn a_token_wakes_all_who_wait_and_those_who_come_later() {
    run(async || {
        let token = CancelToken::new();
        let ended = Counter::new();
        let wait = || {
            let (token, ended) = (token.clone(), ended.clone());
            spawn(async move {
                token.cancelled().await;
                assert!(token.is_cancelled());
                ended.up();
            })
        };
        let tasks: Vec<_> = (0..10).map(|_| wait()).collect();
        yield_now().await;
        assert_eq!(ended.get(), 0);
        token.cancel();
        token.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        wait().await.unwrap();
        assert_eq!(ended.get(), 11);
    });
}

#[test]
fn a_token_set_on_another_thread_is_seen_here() {
    run(async || {
        for _ in 0..100 {
            let token = CancelToken::new();
            let other = token.clone();
            let thread = thread::spawn(move || other.cancel());
            token.cancelled().await;
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_wait_for_a_token_that_is_dropped_leaves_nothing_behind() {
    run(async || {
        let token = CancelToken::new();
        let (counts, waker) = CountingWaker::new();
        for _ in 0..1000 {
            let mut wait = token.cancelled();
            assert!(poll_with(&mut wait, &waker).is_pending());
        }
        assert_eq!(std::sync::Arc::strong_count(&counts), 2, "ours and the waker's own");
        token.cancel();
        assert_eq!(counts.wakes(), 0);
    });
}
