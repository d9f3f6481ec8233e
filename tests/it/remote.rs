//! What can another thread do with a runtime, and what does it learn?
//!
//! A [`Handle`] posts calls and spawns tasks made at home; the result comes back to whoever awaits the remote handle, under
//! any executor. When the runtime is gone, everybody is told, and nobody waits for ever.
//!
//! Comes from: main.rs. Goes to: outer/remote.rs, executor.rs of the runtime.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_lite::future::block_on as foreign_block_on;
use runtime::{CancelToken, Gone, Handle, Runtime, sleep, spawn, workers, yield_now};

use crate::support::counters::{Counter, CountingWaker, on_drop, poll_with, until};
use crate::support::{in_child_process, run, within};

/// A runtime on a thread of its own that runs until the token is set.
fn elsewhere() -> (Handle, CancelToken, thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let stop = CancelToken::new();
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        runtime::block_on(async move {
            tell.send(Handle::current()).unwrap();
            stopped.cancelled().await;
        });
    });
    (told.recv().unwrap(), stop, thread)
}

#[test]
fn a_thread_spawns_what_is_not_send_and_gets_what_is() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        for n in 0..100 {
            let task = handle.spawn(move || {
                let local = Rc::new(Cell::new(n));
                async move {
                    yield_now().await;
                    local.set(local.get() * 2);
                    local.get()
                }
            });
            assert_eq!(foreign_block_on(task.unwrap()).unwrap(), n * 2);
        }
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn a_runtime_awaits_a_task_of_another() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        runtime::block_on(async {
            let inner = handle.spawn(|| async {
                sleep(Duration::from_millis(1)).await;
                "from there"
            });
            assert_eq!(inner.unwrap().await.unwrap(), "from there");
        });
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn calls_are_made_in_the_order_they_were_posted_on_the_home_thread() {
    run(async || {
        let (send, receive) = async_channel::unbounded();
        let (home, handle) = (thread::current().id(), Handle::current());
        let thread = thread::spawn(move || {
            for n in 0..1000 {
                let send = send.clone();
                let call = move || send.try_send((n, thread::current().id())).unwrap();
                handle.post(call).unwrap();
            }
        });
        for n in 0..1000 {
            assert_eq!(receive.recv().await.unwrap(), (n, home));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_posted_call_may_spawn_and_post_again() {
    run(async || {
        let (send, receive) = async_channel::unbounded();
        let handle = Handle::current();
        let again = handle.clone();
        handle
            .post(move || {
                let inner = send.clone();
                drop(spawn(async move { inner.send(1).await.unwrap() }));
                again.post(move || send.try_send(2).unwrap()).unwrap();
            })
            .unwrap();
        let mut seen = [receive.recv().await.unwrap(), receive.recv().await.unwrap()];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn dropping_a_remote_handle_detaches() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        let ended = Counter::new();
        let inside = ended.clone();
        let task = handle.spawn(move || async move {
            yield_now().await;
            inside.up();
        });
        drop(task.unwrap());
        ended.wait_for(1);
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn an_abort_from_abroad_drops_the_future_at_home() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        let (send, receive) = mpsc::channel();
        let started = Counter::new();
        let inside = started.clone();
        let task = handle
            .spawn(move || async move {
                let _guard = on_drop(move || send.send(thread::current().id()).unwrap());
                inside.up();
                std::future::pending::<()>().await;
            })
            .unwrap();
        started.wait_for(1);
        task.abort();
        task.abort();
        assert!(foreign_block_on(task).unwrap_err().is_cancelled());
        assert_eq!(receive.recv().unwrap(), thread.thread().id());
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn a_remote_task_aborted_before_its_message_is_read_is_never_made() {
    run(async || {
        let (made, polled) = (Counter::new(), Counter::new());
        let (make, poll) = (made.clone(), polled.clone());
        // This thread is the loop's, so the message cannot be read before the next turn.
        let task = Handle::current().spawn(move || {
            make.up();
            async move { poll.up() }
        });
        let task = task.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((made.get(), polled.get()), (0, 0));
    });
}

#[test]
fn a_remote_handle_awaited_again_panics_instead_of_waiting() {
    run(async || {
        let handle = Handle::current();
        let mut task = handle.spawn(|| async { 5 }).unwrap();
        assert_eq!((&mut task).await.unwrap(), 5);
        let said = panic_text(spawn(task).await.unwrap_err());
        assert!(said.contains("RemoteHandle was polled again"), "{said}");
        // The same after an end by abort.
        let mut task = handle.spawn(std::future::pending::<()>).unwrap();
        task.abort();
        assert!((&mut task).await.unwrap_err().is_cancelled());
        let said = panic_text(spawn(task).await.unwrap_err());
        assert!(said.contains("RemoteHandle was polled again"), "{said}");
    });
}

fn panic_text(error: runtime::JoinError) -> String {
    let payload = error.try_into_panic().unwrap();
    payload.downcast_ref::<&str>().expect("a text").to_string()
}

#[test]
fn an_abort_of_a_task_that_was_quicker_keeps_the_output() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        let mut task = handle.spawn(|| async { 5 }).unwrap();
        let (counts, waker) = CountingWaker::new();
        if poll_with(&mut task, &waker).is_pending() {
            until(|| counts.wakes() == 1);
            task.abort();
            assert_eq!(foreign_block_on(task).unwrap(), 5);
        }
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn a_panic_comes_through_to_the_other_thread() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        let task = handle.spawn(|| async { std::panic::resume_unwind(Box::new("of the task")) });
        let error = foreign_block_on::<Result<(), _>>(task.unwrap()).unwrap_err();
        let payload = error.try_into_panic().unwrap();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"of the task"));
        stop.cancel();
        thread.join().unwrap();
    });
}

#[test]
fn the_end_of_the_runtime_is_told_to_all_who_wait_abroad() {
    within(20, || {
        let (handle, stop, thread) = elsewhere();
        let waiting: Vec<_> =
            (0..10).map(|_| handle.spawn(std::future::pending::<()>).unwrap()).collect();
        stop.cancel();
        for task in waiting {
            assert!(foreign_block_on(task).unwrap_err().is_cancelled());
        }
        thread.join().unwrap();
        assert_eq!(handle.post(|| ()), Err(Gone));
        assert!(handle.spawn(|| async {}).is_err());
    });
}

#[test]
fn letters_that_race_with_the_end_are_read_refused_or_dropped_but_never_lost() {
    within(60, || {
        for _ in 0..200 {
            let rt = Runtime::new().unwrap();
            let handle = rt.handle();
            let (called, dropped) = (Counter::new(), Counter::new());
            let thread = {
                let (called, dropped) = (called.clone(), dropped.clone());
                thread::spawn(move || {
                    let mut posted = 0;
                    for _ in 0..50 {
                        let (guard, called) = (dropped.guard(), called.clone());
                        let call = move || {
                            let _guard = guard;
                            called.up();
                        };
                        posted += usize::from(handle.post(call).is_ok());
                    }
                    posted
                })
            };
            rt.block_on(yield_now());
            drop(rt);
            let posted = thread.join().unwrap();
            assert_eq!(dropped.get(), 50, "each closure is dropped, whatever became of it");
            assert!(called.get() <= posted);
        }
    });
}

#[test]
fn letters_whose_drops_panic_do_not_take_the_end_of_the_runtime_with_them() {
    // In a child: two panics in the drop of one list would end the process.
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        let drops = Counter::new();
        for _ in 0..3 {
            let guard = drops.guard();
            let bad = on_drop(|| std::panic::resume_unwind(Box::new("of the letter")));
            rt.handle().post(move || drop((guard, bad))).unwrap();
        }
        let guard = drops.guard();
        drop(rt.spawn(async move { drop(guard) }));
        drop(rt);
        assert_eq!(drops.get(), 4);
    });
}

#[test]
fn workers_run_each_on_a_thread_of_its_own_and_answer_through_their_handles() {
    within(20, || {
        let stop = CancelToken::new();
        let token = stop.clone();
        let all = workers(3, move |index| {
            let token = token.clone();
            async move {
                token.cancelled().await;
                index
            }
        })
        .unwrap();
        let threads: std::collections::HashSet<_> = all
            .handles()
            .iter()
            .map(|handle| {
                let task = handle.spawn(|| async { thread::current().id() });
                foreign_block_on(task.unwrap()).unwrap()
            })
            .collect();
        assert_eq!(threads.len(), 3);
        stop.cancel();
        let outputs: Vec<_> = all.join().into_iter().map(Result::unwrap).collect();
        assert_eq!(outputs, [0, 1, 2]);
    });
}

#[test]
fn a_worker_s_panic_is_given_by_join_and_the_others_go_on() {
    within(20, || {
        let all = workers(3, |index| async move {
            if index == 1 {
                std::panic::resume_unwind(Box::new("of the worker"));
            }
            index
        });
        let outputs: Vec<_> = all.unwrap().join().into_iter().map(Result::ok).collect();
        assert_eq!(outputs, [Some(0), None, Some(2)]);
    });
}
