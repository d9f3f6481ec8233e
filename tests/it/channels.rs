//! Do channels, locks and combinators written by others simply work?
//!
//! They know nothing of this runtime but wakers. Between tasks, between threads, between executors.
//!
//! Comes from: main.rs. Goes to: async-channel, async-lock, futures-lite, over the runtime's wakers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_lock::{Barrier, Mutex, RwLock, Semaphore};
use futures_lite::future::{block_on as foreign_block_on, or, race, zip};
use futures_lite::stream::{self, StreamExt};
use runtime::{sleep, spawn, timeout, yield_now};

use crate::support::counters::{Counter, until_async};
use crate::support::{run, within};

#[test]
fn a_channel_between_tasks_keeps_its_order() {
    run(async || {
        let (send, receive) = async_channel::bounded(3);
        let sender = spawn(async move {
            for n in 0..1000 {
                send.send(n).await.unwrap();
            }
        });
        let mut expected = 0;
        while let Ok(n) = receive.recv().await {
            assert_eq!(n, expected);
            expected += 1;
        }
        assert_eq!(expected, 1000);
        sender.await.unwrap();
    });
}

#[test]
fn a_channel_from_many_threads_to_many_tasks_loses_nothing() {
    run(async || {
        let (send, receive) = async_channel::bounded(10);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let send = send.clone();
                thread::spawn(move || {
                    (0..2_500).for_each(|n: u64| send.send_blocking(n).unwrap());
                })
            })
            .collect();
        drop(send);
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let receive = receive.clone();
                spawn(async move {
                    let mut sum = 0;
                    while let Ok(n) = receive.recv().await {
                        sum += n;
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, 4 * (0..2_500).sum::<u64>());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_foreign_executor_on_another_thread_answers_ours() {
    within(60, || {
        let (ask, asked) = async_channel::unbounded::<u64>();
        let (answer, answers) = async_channel::unbounded::<u64>();
        let foreign = thread::spawn(move || {
            foreign_block_on(async {
                while let Ok(n) = asked.recv().await {
                    answer.send(n * 2).await.unwrap();
                }
            });
        });
        runtime::block_on(async {
            for n in 0..5_000 {
                ask.send(n).await.unwrap();
                assert_eq!(answers.recv().await.unwrap(), n * 2);
            }
        });
        drop(ask);
        foreign.join().unwrap();
    });
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    run(async || {
        let lock = Rc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let lock = Rc::clone(&lock);
                spawn(async move {
                    for _ in 0..20 {
                        let mut value = lock.lock().await;
                        let seen = *value;
                        yield_now().await;
                        *value = seen + 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*lock.lock().await, 400);
    });
}

#[test]
fn a_lock_is_shared_with_a_thread_of_another_executor() {
    run(async || {
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        let foreign = thread::spawn(move || {
            foreign_block_on(async {
                for _ in 0..2_000 {
                    *theirs.lock().await += 1;
                }
            });
        });
        for _ in 0..2_000 {
            *lock.lock().await += 1;
        }
        until_async(|| foreign.is_finished()).await;
        foreign.join().unwrap();
        assert_eq!(*lock.lock().await, 4_000);
    });
}

#[test]
fn an_abort_gives_a_lock_back() {
    run(async || {
        let lock = Rc::new(Mutex::new(()));
        let held = Rc::clone(&lock);
        let holder = spawn(async move {
            let _guard = held.lock().await;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        let waiting = {
            let lock = Rc::clone(&lock);
            spawn(async move { drop(lock.lock().await) })
        };
        yield_now().await;
        assert!(!waiting.is_finished());
        holder.abort();
        waiting.await.unwrap();
    });
}

#[test]
fn other_locks_work_too() {
    run(async || {
        let shared = Rc::new((RwLock::new(0), Semaphore::new(2), Barrier::new(5), Cell::new(0)));
        let tasks: Vec<_> = (0..5)
            .map(|n| {
                let shared = Rc::clone(&shared);
                spawn(async move {
                    let (lock, semaphore, barrier, inside) = &*shared;
                    barrier.wait().await;
                    let permit = semaphore.acquire().await;
                    inside.set(inside.get() + 1);
                    assert!(inside.get() <= 2);
                    yield_now().await;
                    inside.set(inside.get() - 1);
                    drop(permit);
                    *lock.write().await += n;
                    assert!(*lock.read().await >= n);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*shared.0.read().await, 10);
    });
}

#[test]
fn combinators_race_and_join_our_futures() {
    run(async || {
        let quick = async {
            sleep(Duration::from_millis(1)).await;
            "quick"
        };
        let never = std::future::pending::<&str>();
        assert_eq!(or(quick, never).await, "quick");
        let slow = async {
            sleep(Duration::from_secs(60)).await;
            1
        };
        assert_eq!(race(slow, spawn_two()).await, 2);
        let (left, right) = zip(spawn(async { 1 }), async { 2 }).await;
        assert_eq!((left.unwrap(), right), (1, 2));
        let sum = stream::iter(0..100).then(async |n| spawn(async move { n }).await.unwrap());
        assert_eq!(sum.fold(0, |sum, n| sum + n).await, 4950);
    });

    async fn spawn_two() -> i32 {
        spawn(async { 2 }).await.unwrap()
    }
}

#[test]
fn a_timeout_around_a_foreign_future_drops_it_cleanly() {
    run(async || {
        let (send, receive) = async_channel::bounded::<i32>(1);
        for _ in 0..10 {
            let late = timeout(Duration::from_micros(100), receive.recv()).await;
            assert!(late.is_err());
        }
        send.send(5).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(60), receive.recv()).await.unwrap().unwrap(), 5);
        assert_eq!(send.receiver_count(), 1);
    });
}

#[test]
fn our_futures_run_under_a_foreign_executor_if_they_need_no_loop() {
    within(20, || {
        // A job and a token know nothing of any loop.
        let token = runtime::CancelToken::new();
        let other = token.clone();
        let seen = Counter::new();
        let inside = seen.clone();
        let waiting = thread::spawn(move || {
            foreign_block_on(async {
                other.cancelled().await;
                inside.up();
            });
        });
        assert_eq!(foreign_block_on(runtime::unblock(|| 5)).unwrap(), 5);
        token.cancel();
        waiting.join().unwrap();
        assert_eq!(seen.get(), 1);
    });
}
