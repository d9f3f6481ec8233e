//! What does a spawned task give, to whom, and what becomes of it when nobody asks?
//!
//! The output of a task exists once. It is given to whoever awaits the handle, or dropped, exactly once, in each of the
//! orders in which a task can end and a handle can go.
//!
//! Comes from: main.rs. Goes to: task/cell.rs, task/join.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::future::{or, zip};
use futures_task::LocalSpawn;
use runtime::{Handle, JoinHandle, Runtime, spawn, spawn_named, yield_now};

use crate::support::counters::{
    Counter, CountingWaker, Watcher, dying_waker, poll_with, polled, until_async,
};
use crate::support::{run, within};

#[test]
fn a_task_gives_its_output() {
    run(async || {
        assert_eq!(spawn(async { 6 * 7 }).await.unwrap(), 42);
        let slow = spawn(async {
            yield_now().await;
            String::from("slow")
        });
        assert_eq!(slow.await.unwrap(), "slow");
        assert!(matches!(spawn_named("named", async { 'x' }).await, Ok('x')));
    });
}

#[test]
fn a_task_does_not_start_before_the_loop_turns() {
    run(async || {
        let (task, polls) = polled(async {});
        let task = spawn(task);
        assert_eq!(polls.get(), 0);
        yield_now().await;
        assert_eq!(polls.get(), 1);
        assert!(task.is_finished());
    });
}

#[test]
fn tasks_start_in_the_order_of_their_spawning() {
    run(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn(async move { order.borrow_mut().push(n) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.borrow().iter().copied().eq(0..200));
    });
}

#[test]
fn tasks_share_what_is_not_send() {
    run(async || {
        let shared = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let shared = Rc::clone(&shared);
                spawn(async move {
                    for _ in 0..10 {
                        shared.set(shared.get() + 1);
                        yield_now().await;
                    }
                    Rc::clone(&shared)
                })
            })
            .collect();
        for task in tasks {
            assert!(Rc::ptr_eq(&task.await.unwrap(), &shared));
        }
        assert_eq!((shared.get(), Rc::strong_count(&shared)), (100, 1));
    });
}

#[test]
fn what_the_end_of_a_handle_means() {
    run(async || {
        // Dropped before the start, while it waits, after the end: the task runs on, in all three.
        let ended = Counter::new();
        let task = || {
            let ended = ended.clone();
            spawn(async move {
                yield_now().await;
                yield_now().await;
                ended.up();
            })
        };
        drop(task());
        let waiting = task();
        yield_now().await;
        drop(waiting);
        let finished = task();
        until_async(|| finished.is_finished()).await;
        drop(finished);
        until_async(|| ended.get() == 3).await;
    });
}

#[test]
fn awaiting_one_s_own_handle_is_an_error_and_no_deadlock() {
    run(async || {
        let place = Rc::new(RefCell::new(None::<JoinHandle<bool>>));
        let own = Rc::clone(&place);
        let task = spawn(async move {
            let handle = own.take().expect("put there before the first poll");
            let error = handle.await.expect_err("it cannot have ended");
            assert!(!error.is_cancelled() && !error.is_panic());
            error.is_itself()
        });
        let watch = Counter::new();
        *place.borrow_mut() = Some(task);
        let seen = watch.clone();
        // Its handle is used up inside, so its end is seen by what comes after it in the queue.
        spawn(async move { seen.up() }).await.unwrap();
        assert_eq!(watch.get(), 1);
        assert!(place.borrow().is_none());
    });
}

#[test]
fn an_output_is_dropped_exactly_once_in_every_order_of_ends() {
    run(async || {
        let drops = Counter::new();
        let task = || {
            let output = drops.guard();
            spawn(async move {
                yield_now().await;
                output
            })
        };
        // Awaited: it is ours.
        let output = task().await.unwrap();
        assert_eq!(drops.get(), 0);
        drop(output);
        assert_eq!(drops.get(), 1);
        // Handle dropped before the start, during, after.
        drop(task());
        until_async(|| drops.get() == 2).await;
        let waiting = task();
        yield_now().await;
        drop(waiting);
        until_async(|| drops.get() == 3).await;
        let finished = task();
        until_async(|| finished.is_finished()).await;
        assert_eq!(drops.get(), 3);
        drop(finished);
        assert_eq!(drops.get(), 4);
        // Taken out of a handle that lives on.
        let mut polled = task();
        let output = (&mut polled).await.unwrap();
        drop(polled);
        assert_eq!(drops.get(), 4);
        drop(output);
        assert_eq!(drops.get(), 5);
        // The handle dropped by the task itself.
        let place = Rc::new(RefCell::new(None));
        let own = Rc::clone(&place);
        let output = drops.guard();
        let itself = spawn(async move {
            yield_now().await;
            drop(own.take());
            output
        });
        *place.borrow_mut() = Some(itself);
        until_async(|| drops.get() == 6).await;
        // A finished task that is aborted keeps its output.
        let finished = task();
        until_async(|| finished.is_finished()).await;
        finished.abort();
        assert_eq!(drops.get(), 6);
        drop(finished.await.unwrap());
        assert_eq!(drops.get(), 7);
    });
}

#[test]
fn an_output_nobody_takes_is_dropped_with_the_runtime() {
    within(10, || {
        let drops = Counter::new();
        let output = drops.guard();
        let handle = runtime::block_on(async {
            let handle = spawn(async move { output });
            yield_now().await;
            handle
        });
        assert_eq!(drops.get(), 0, "the handle still has a right to it");
        drop(handle);
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_future_is_dropped_as_soon_as_it_has_ended() {
    run(async || {
        let drops = Counter::new();
        let guard = drops.guard();
        let task = spawn(async move {
            yield_now().await;
            drop(guard);
        });
        until_async(|| task.is_finished()).await;
        assert_eq!(drops.get(), 1);

        // What a future holds without using it goes before its joiner runs, too.
        let guard = drops.guard();
        let mut held = Some(guard);
        let task = spawn(poll_fn(move |_| {
            let _ = &mut held;
            Poll::Ready(())
        }));
        task.await.unwrap();
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_handle_outlives_its_runtime() {
    within(10, || {
        let (finished, waiting, queued) = runtime::block_on(async {
            let finished = spawn(async { 5 });
            let waiting = spawn(std::future::pending::<i32>());
            yield_now().await;
            (finished, waiting, spawn(async { 6 }))
        });
        assert!(finished.is_finished() && waiting.is_finished() && queued.is_finished());
        waiting.abort();
        // Awaited under whatever executor there is.
        assert_eq!(futures_lite::future::block_on(finished).unwrap(), 5);
        assert!(futures_lite::future::block_on(waiting).unwrap_err().is_cancelled());
        assert!(runtime::block_on(queued).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_handle_awaited_in_another_runtime_is_woken_by_the_end_of_its_own() {
    within(10, || {
        let first = Runtime::new().unwrap();
        let task = first.spawn(std::future::pending::<()>());
        let second = Runtime::new().unwrap();
        let error = second.block_on(async {
            let mut task = task;
            let (counts, waker) = CountingWaker::new();
            assert!(poll_with(&mut task, &waker).is_pending());
            drop(first);
            assert_eq!(counts.wakes(), 1);
            task.await.unwrap_err()
        });
        assert!(error.is_cancelled());
    });
}

#[test]
fn a_handle_may_be_dropped_by_the_drop_of_its_own_waker() {
    run(async || {
        let place = Rc::new(RefCell::new(None::<JoinHandle<()>>));
        let mut task = spawn(std::future::pending());
        let inside = Rc::clone(&place);
        let waker = dying_waker(move || drop(inside.take()));
        assert!(poll_with(&mut task, &waker).is_pending());
        drop(waker);
        task.abort(); // takes the waker out, calls it, drops it
        *place.borrow_mut() = Some(task);
        yield_now().await;
    });
}

#[test]
fn a_handle_that_has_given_its_result_says_so_when_polled_again() {
    run(async || {
        let mut task = spawn(async {});
        (&mut task).await.unwrap();
        let again = std::panic::AssertUnwindSafe(|| poll_with(&mut task, Waker::noop()));
        let panic = std::panic::catch_unwind(again).unwrap_err();
        let text = panic.downcast_ref::<&str>().unwrap();
        assert!(text.contains("polled again"), "{text}");
    });
}

#[test]
fn numbers_of_tasks_are_never_given_twice() {
    run(async || {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let task = spawn(async {});
            assert!(seen.insert(task.id()));
            assert_ne!(task.id(), runtime::TaskId::ROOT);
            task.await.unwrap();
        }
    });
}

#[test]
fn a_chain_of_tasks_that_await_each_other_comes_to_its_end() {
    run(async || {
        let mut last = spawn(async { 0 });
        for _ in 0..1000 {
            last = spawn(async move { last.await.unwrap() + 1 });
        }
        assert_eq!(last.await.unwrap(), 1000);
    });
}

#[test]
fn a_task_may_be_awaited_together_with_others() {
    run(async || {
        let (left, right) = (spawn(async { 1 }), spawn(async { 2 }));
        let (left, right) = zip(left, right).await;
        assert_eq!((left.unwrap(), right.unwrap()), (1, 2));
        let mut never = spawn(std::future::pending::<i32>());
        let first = or(async { (&mut never).await.unwrap() }, spawn_and_await()).await;
        assert_eq!(first, 3);
        never.abort();
    });

    async fn spawn_and_await() -> i32 {
        spawn(async { 3 }).await.unwrap()
    }
}

#[test]
fn the_futures_crates_spawn_through_a_handle() {
    run(async || {
        let ended = Counter::new();
        let inside = ended.clone();
        let handle = Handle::current();
        let task = async move { inside.up() };
        handle.spawn_local_obj(Box::pin(task).into()).unwrap();
        until_async(|| ended.get() == 1).await;
        // At home only: on another thread it refuses, as it does once the runtime is gone.
        let abroad =
            std::thread::spawn(move || handle.spawn_local_obj(Box::pin(async {}).into()).is_err());
        assert!(abroad.join().unwrap());
    });
}

#[test]
fn a_runtime_takes_tasks_before_and_between_its_block_ons() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let first = rt.spawn(async { 1 });
        assert!(!first.is_finished());
        assert_eq!(rt.block_on(first).unwrap(), 1);
        let (task, polls) = polled(async {
            yield_now().await;
            2
        });
        let second = rt.spawn(task);
        assert_eq!(polls.get(), 0);
        assert_eq!(rt.block_on(second).unwrap(), 2);
    });
}

#[test]
fn those_who_were_ready_when_the_root_ended_run_in_the_next_block_on_in_their_order() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let noting = |n| {
            let order = Rc::clone(&order);
            async move { order.borrow_mut().push(n) }
        };
        // The root stands before its tasks in the queue, and ends, or panics, when it is met there.
        let mut polled = false;
        rt.block_on(poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            (0..3).for_each(|n| drop(spawn(noting(n))));
            Poll::Pending
        }));
        assert!(order.borrow().is_empty());
        let mut polled = false;
        let root = std::panic::AssertUnwindSafe(|| {
            rt.block_on(poll_fn(|cx| -> Poll<()> {
                if std::mem::replace(&mut polled, true) {
                    std::panic::resume_unwind(Box::new("of the root"));
                }
                cx.waker().wake_by_ref();
                (3..6).for_each(|n| drop(spawn(noting(n))));
                Poll::Pending
            }));
        });
        assert!(std::panic::catch_unwind(root).is_err());
        rt.block_on(async {
            drop(spawn(noting(6)));
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn an_instrument_is_told_of_each_task() {
    within(10, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let task = spawn(async {
                yield_now().await;
                yield_now().await;
            });
            let id = task.id();
            task.await.unwrap();
            assert_eq!(watcher.polls_of(id), 3);
        });
        assert_eq!(watcher.parks.get(), 1, "the root waited for the task, once");
    });
}
