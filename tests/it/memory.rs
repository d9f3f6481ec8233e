//! Does it give back what it took?
//!
//! A hundred thousand tasks, timers, jobs, sockets come and go, and the bytes that the heap holds are counted before and
//! after, in a child process that does nothing else. A first round fills what is kept on purpose (the places in a list, the
//! buffers of a thread). What is kept grows to its peak, and a later round may have a higher one by chance; but a leak
//! grows in every round, so the least growth of several is what counts.
//!
//! Comes from: main.rs. Goes to: all of the runtime.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use runtime::{CancelToken, Runtime, pool_stats, sleep, spawn, timeout, unblock, yield_now};

use crate::counting::{self, growth};
use crate::support::counters::{Counter, Watcher, give_waker, until_async};
use crate::support::in_child_process;
use crate::support::process::descriptors;
use crate::support::sockets::{async_pair, pair};

#[test]
fn a_hundred_thousand_tasks_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(growth(async || {
            let tasks: Vec<_> = (0..100_000).map(|n| spawn(async move { n })).collect();
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), n);
            }
            // Detached, aborted, dropped unpolled.
            for n in 0..1000 {
                let task = spawn(async { std::future::pending::<()>().await });
                if n % 2 == 0 {
                    yield_now().await;
                }
                task.abort();
            }
            (0..1000).for_each(|_| drop(spawn(yield_now())));
            for _ in 0..10 {
                yield_now().await;
            }
        }));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn a_hundred_thousand_timers_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(growth(async || {
            let tasks: Vec<_> =
                (0..100_000u64).map(|n| spawn(sleep(Duration::from_micros(n % 20_000)))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            for _ in 0..1000 {
                let _ = timeout(Duration::from_secs(3600), yield_now()).await;
            }
        }));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn a_hundred_thousand_jobs_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(growth(async || {
            let mut tasks = Vec::with_capacity(1000);
            for _ in 0..20 {
                tasks.extend((0..1000).map(|n| spawn(async move { unblock(move || n).await })));
                for (n, task) in tasks.drain(..).enumerate() {
                    assert_eq!(task.await.unwrap().unwrap(), n);
                }
            }
            drop(tasks);
            until_async(|| pool_stats().idle == pool_stats().threads).await;
        }));
        // Threads of the pool may still be started in the second round; a leak would be a hundred bytes a job.
        assert!(grown < 100_000, "{grown} bytes");
    });
}

#[test]
fn ten_thousand_sockets_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(growth(async || {
            for n in 0..10_000 {
                let (socket, peer) = async_pair();
                if n % 10 == 0 {
                    let reader = spawn(async move { socket.recv(&mut [0; 8]).await });
                    yield_now().await;
                    peer.send(b"x").await.unwrap();
                    reader.await.unwrap().unwrap();
                }
            }
        }));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn waits_that_are_given_up_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(growth(async || {
            let (socket, _peer) = pair();
            let token = CancelToken::new();
            let mut endless = spawn(std::future::pending::<()>());
            for _ in 0..10_000 {
                let mut buffer = [0; 8];
                let read = socket.recv(&mut buffer);
                assert!(futures_lite::future::poll_once(read).await.is_none());
                assert!(futures_lite::future::poll_once(token.cancelled()).await.is_none());
                assert!(futures_lite::future::poll_once(&mut endless).await.is_none());
            }
            endless.abort();
            yield_now().await; // the loop meets the empty task
        }));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn tasks_that_have_polled_a_socket_and_are_gone_are_not_kept_by_it() {
    // By poll_*, which leaves a waker behind and no future whose drop could take it away.
    in_child_process(|| {
        let grown = runtime::block_on(async {
            let (socket, _peer) = pair();
            let socket = Rc::new(socket);
            growth(async || {
                for _ in 0..1000 {
                    let socket = Rc::clone(&socket);
                    let task = spawn(std::future::poll_fn(move |cx| {
                        let read = |mut io: &UnixStream| std::io::Read::read(&mut io, &mut [0; 8]);
                        assert!(socket.poll_read_with(cx, read).is_pending());
                        std::task::Poll::Ready(())
                    }));
                    task.await.unwrap();
                }
            })
            .await
        });
        // At most 64 are kept; they weigh about 300 bytes each.
        assert!(grown < 25_000, "{grown} bytes for 1,000 tasks");
    });
}

#[test]
fn tasks_from_abroad_give_their_memory_back() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        let handle = rt.handle();
        let round = async || {
            let handle = handle.clone();
            for _ in 0..1000 {
                let done = Counter::new();
                let seen = done.clone();
                let task = handle.spawn(move || async move { seen.up() }).unwrap();
                task.await.unwrap();
                handle.post(|| ()).unwrap();
            }
        };
        let grown = rt.block_on(growth(round));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn ten_thousand_runtimes_give_their_memory_back() {
    in_child_process(|| {
        let round = || {
            for n in 0..10_000 {
                runtime::block_on(async {
                    let task = spawn(sleep(Duration::from_secs(60)));
                    let (socket, _peer) = pair();
                    let reader = spawn(async move { socket.recv(&mut [0; 8]).await });
                    if n % 2 == 0 {
                        yield_now().await;
                    }
                    drop((task, reader));
                });
            }
        };
        round();
        counting::start();
        let before = counting::now();
        round();
        assert_eq!(before.until_now().bytes, 0);
    });
}

#[test]
fn tasks_whose_wakers_die_abroad_give_their_memory_back() {
    in_child_process(|| {
        let (send, receive) = mpsc::channel::<Waker>();
        let dropped = Counter::new();
        let seen = dropped.clone();
        let abroad = thread::spawn(move || {
            receive.iter().for_each(|waker| {
                drop(waker);
                seen.up();
            });
        });
        let grown = runtime::block_on(growth(async || {
            let before = dropped.get();
            for _ in 0..10_000 {
                let send = send.clone();
                let task = spawn(give_waker(move |waker| send.send(waker).unwrap()));
                yield_now().await;
                task.abort();
            }
            until_async(|| dropped.get() == before + 10_000).await;
        }));
        // The channel keeps a block of its own, more or less.
        assert!(grown < 10_000, "{grown} bytes");
        drop(send);
        abroad.join().unwrap();
    });
}

#[test]
fn runtimes_whose_wakers_die_abroad_give_their_memory_back() {
    in_child_process(|| {
        let round = || {
            let (send, receive) = mpsc::channel::<Waker>();
            let abroad = thread::spawn(move || receive.iter().for_each(drop));
            for _ in 0..1000 {
                runtime::block_on(async {
                    for _ in 0..3 {
                        let send = send.clone();
                        drop(spawn(give_waker(move |waker| send.send(waker).unwrap())));
                    }
                    let send = send.clone();
                    std::future::poll_fn(move |cx| {
                        send.send(cx.waker().clone()).unwrap();
                        std::task::Poll::Ready(())
                    })
                    .await;
                    yield_now().await;
                });
            }
            drop(send);
            abroad.join().unwrap();
        };
        round();
        counting::start();
        let before = counting::now();
        round();
        let grown = before.until_now().bytes;
        // The channel keeps a block of its own, more or less.
        assert!(grown < 10_000, "{grown} bytes for 1,000 runtimes");
    });
}

#[test]
fn an_instrument_goes_with_its_runtime_although_a_waker_dies_abroad() {
    in_child_process(|| {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let (send, receive) = mpsc::channel::<Waker>();
        drop(rt.spawn(give_waker(move |waker| send.send(waker).unwrap())));
        rt.block_on(yield_now());
        let waker = receive.recv().unwrap();
        drop(rt);
        thread::spawn(move || drop(waker)).join().unwrap();
        assert_eq!(Rc::strong_count(&watcher), 1);
    });
}

#[test]
fn tasks_timers_and_jobs_by_the_million_leave_nothing_behind() {
    // As many of each kind; with GROUND_DEEP=1, the million.
    const WAVE: usize = 5_000;
    in_child_process(|| {
        let deep = std::env::var_os("GROUND_DEEP").is_some();
        let waves = if deep { 1_000_000 / WAVE } else { 8 };
        // They end in any order: some at once, some by a time, some by a thread, some because they are given up.
        let wave = async || {
            let mut tasks = Vec::with_capacity(3 * WAVE);
            for n in 0..WAVE {
                tasks.push(spawn(async move { n }));
                tasks.push(spawn(async move {
                    sleep(Duration::from_micros(n as u64 % 2000)).await;
                    n
                }));
                tasks.push(spawn(async move { unblock(move || n).await.unwrap() }));
                drop(spawn(timeout(Duration::from_secs(3600), yield_now())));
                spawn(unblock(|| ())).abort();
            }
            for (at, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), at / 3);
            }
            until_async(|| pool_stats().idle == pool_stats().threads).await;
        };
        let rt = Runtime::new().unwrap();
        counting::start();
        rt.block_on(wave());
        let (start, open) = (counting::now(), descriptors());
        let mut least = i64::MAX;
        for _ in 1..waves {
            let before = counting::now();
            rt.block_on(wave());
            least = least.min(before.until_now().bytes);
        }
        // A leak grows in every wave. What is kept grows to its peak, the most tasks that were ever alive at a time.
        assert!(least < WAVE as i64, "{least} bytes a wave");
        let kept = start.until_now().bytes;
        assert!(kept < 5_000_000, "{kept} bytes after {waves} waves");
        assert_eq!(descriptors(), open);
        assert_eq!(rt.turn(Some(Duration::ZERO)).unwrap(), None, "no timer waits");
        drop(rt);
    });
}
