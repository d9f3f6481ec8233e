//! Does everybody get a turn?
//!
//! Tasks run in the order they became ready; a task that yields goes behind the others; whatever tasks do, the loop looks
//! at descriptors, time and strangers after a bounded number of polls; and a poll makes at most 128 operations on sockets, fewer
//! if they move many bytes.
//! All of it is counted, none of it measured in time.
//!
//! Comes from: main.rs. Goes to: executor.rs, context.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use runtime::{AsyncSocket, Handle, Runtime, sleep, spawn, yield_now};

use crate::support::counters::{Counter, Watcher, polled, until_async};
use crate::support::sockets::{async_pair, pair};
use crate::support::{run, within};

/// Runs for ever, always ready.
fn busy() -> runtime::JoinHandle<()> {
    spawn(async {
        loop {
            yield_now().await;
        }
    })
}

#[test]
fn a_task_that_wakes_itself_starves_nobody() {
    run(async || {
        let _busy: Vec<_> = (0..3).map(|_| busy()).collect();
        // A socket, a timer, a letter, a wake from abroad, each while others are always ready.
        let (socket, peer) = async_pair();
        let echo = spawn(async move {
            let mut buffer = [0; 8];
            let count = peer.recv(&mut buffer).await.unwrap();
            peer.send(&buffer[..count]).await.unwrap();
        });
        socket.send(b"abc").await.unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3);
        echo.await.unwrap();
        sleep(Duration::from_millis(1)).await;
        let called = Counter::new();
        let (inside, handle) = (called.clone(), Handle::current());
        let thread = thread::spawn(move || handle.post(move || inside.up()).unwrap());
        until_async(|| called.get() == 1).await;
        thread.join().unwrap();
        crate::support::counters::give_waker(|waker| {
            drop(thread::spawn(move || waker.wake()));
        })
        .await;
    });
}

#[test]
fn tasks_that_wake_each_other_starve_nobody() {
    run(async || {
        let (send, receive) = async_channel::bounded::<()>(1);
        let (back, forth) = async_channel::bounded::<()>(1);
        let left = spawn(async move {
            loop {
                send.send(()).await.unwrap();
                forth.recv().await.unwrap();
            }
        });
        let right = spawn(async move {
            loop {
                receive.recv().await.unwrap();
                back.send(()).await.unwrap();
            }
        });
        sleep(Duration::from_millis(2)).await;
        let (socket, peer) = async_pair();
        let reader = spawn(async move { socket.recv(&mut [0; 8]).await });
        peer.send(b"x").await.unwrap();
        reader.await.unwrap().unwrap();
        for task in [left, right] {
            let task: runtime::JoinHandle<()> = task;
            task.abort();
        }
    });
}

#[test]
fn the_batch_between_two_waits_is_bounded() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let busy = busy();
            for _ in 0..1000 {
                yield_now().await;
            }
            busy.abort();
        });
        // Few are ready: until 64 polls are made, and the last round to its end.
        let longest = watcher.longest_batch.get();
        assert!((64..=66).contains(&longest), "{longest}");
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let many: Vec<_> = (0..500).map(|_| busy()).collect();
            for _ in 0..10 {
                yield_now().await;
            }
            many.iter().for_each(runtime::JoinHandle::abort);
        });
        // Many are ready: as many as a batch has room for.
        assert_eq!(watcher.longest_batch.get(), 256);
    });
}

#[test]
fn a_poll_that_used_up_its_operations_counts_as_sixteen() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let floods: Vec<_> = (0..100)
                .map(|_| {
                    let (socket, mut peer) = pair();
                    peer.write_all(&[7; 20_000]).unwrap(); // more than it comes to read
                    let reader =
                        spawn(async move { while socket.recv(&mut [0; 1]).await.unwrap() == 1 {} });
                    (reader, peer)
                })
                .collect();
            let before = watcher.waits.get();
            for _ in 0..20 {
                yield_now().await;
            }
            let all: usize = floods.iter().map(|(reader, _)| watcher.polls_of(reader.id())).sum();
            let waits = watcher.waits.get() - before;
            assert!(all >= 100 && all <= 16 * (waits + 1), "{all} polls in {waits} turns");
        });
    });
}

#[test]
fn a_task_woken_by_a_timer_does_not_wait_behind_a_crowd() {
    const CROWD: usize = 20_000;
    within(60, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let crowd_polls = Rc::new(Cell::new(0));
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..CROWD {
            let (polls, wakers) = (Rc::clone(&crowd_polls), Rc::clone(&wakers));
            drop(rt.spawn(std::future::poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                wakers.borrow_mut().push(cx.waker().clone());
                std::task::Poll::<()>::Pending
            })));
        }
        rt.block_on(async {
            until_async(|| crowd_polls.get() == CROWD).await;
            let ticker = spawn(sleep(Duration::from_millis(1)));
            yield_now().await;
            thread::sleep(Duration::from_millis(2)); // its time has come, and the crowd is woken before it
            wakers.take().into_iter().for_each(std::task::Waker::wake);
            let turns = watcher.waits.get();
            ticker.await.unwrap();
            let turns = watcher.waits.get() - turns;
            assert!(turns <= 3, "{turns} turns");
            let polls = crowd_polls.get() - CROWD;
            assert!(polls <= 256 * (turns + 1), "{polls} of the crowd were polled before it");
            // And nobody of the crowd is forgotten.
            until_async(|| crowd_polls.get() == 2 * CROWD).await;
        });
        assert!(watcher.longest_batch.get() <= 256);
    });
}

#[test]
fn a_turn_reads_at_most_64_letters_in_order_and_the_rest_in_the_next_ones() {
    const LETTERS: usize = 5_000;
    within(20, || {
        let rt = Runtime::new().unwrap();
        let (handle, read) = (rt.handle(), Arc::new(Mutex::new(Vec::new())));
        let posted = Arc::clone(&read);
        let post = move || {
            for number in 0..LETTERS {
                let read = Arc::clone(&posted);
                handle.post(move || read.lock().unwrap().push(number)).unwrap();
            }
        };
        thread::spawn(post).join().unwrap();
        // More than a turn puts in order: the first turns only do that.
        let mut turns = 0;
        loop {
            let before = read.lock().unwrap().len();
            let next = rt.turn(None).unwrap(); // does not sleep
            turns += 1;
            let after = read.lock().unwrap().len();
            assert!(after - before <= 64, "{}", after - before);
            if after == LETTERS {
                assert_eq!(next, None);
                break;
            }
            assert_eq!(next, Some(Duration::ZERO), "{after} are read");
        }
        assert!(turns <= LETTERS / 64 + 1 + LETTERS / 1024 + 1, "{turns} turns");
        assert!(read.lock().unwrap().iter().copied().eq(0..LETTERS));
    });
}

#[test]
fn letters_left_over_are_read_by_the_next_block_on_or_dropped_with_the_runtime() {
    within(20, || {
        let rt = Runtime::new().unwrap();
        let (handle, read, dropped) = (rt.handle(), Counter::new(), Counter::new());
        let post = || {
            for _ in 0..200 {
                let (inside, guard) = (read.clone(), dropped.guard());
                let call = move || {
                    inside.up();
                    drop(guard);
                };
                handle.post(call).unwrap();
            }
        };
        post();
        rt.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(read.get(), 64);
        rt.block_on(until_async(|| read.get() == 200));
        post();
        rt.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!((read.get(), dropped.get()), (264, 264));
        post();
        drop(rt);
        assert_eq!((read.get(), dropped.get()), (264, 600));
    });
}

#[test]
fn a_turn_fires_at_most_256_timers_and_does_not_sleep_before_the_rest() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let tasks: Vec<_> = (0..1000).map(|_| rt.spawn(sleep(Duration::from_millis(5)))).collect();
        // All are filed, by however many turns that takes.
        while rt.turn(Some(Duration::ZERO)).unwrap() == Some(Duration::ZERO) {}
        let ended = || tasks.iter().filter(|task| task.is_finished()).count();
        thread::sleep(Duration::from_millis(10));
        while ended() < tasks.len() {
            let before = watcher.woken.get();
            let next = rt.turn(None).unwrap();
            let fired = watcher.woken.get() - before;
            assert!(fired <= 256, "{fired} at once");
            assert!(next == Some(Duration::ZERO) || ended() == tasks.len(), "{next:?}");
        }
    });
}

#[test]
fn letters_to_a_parked_owner_end_one_sleep() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let (handle, called) = (rt.handle(), Counter::new());
        for round in 1..=10 {
            // Between two turns the owner counts as asleep.
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (handle, called) = (handle.clone(), called.clone());
                    thread::spawn(move || {
                        for _ in 0..16 {
                            let inside = called.clone();
                            handle.post(move || inside.up()).unwrap();
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            rt.turn(None).unwrap();
            assert_eq!((called.get(), watcher.waits.get()), (64 * round, 2 * round - 1));
            // The rings were one event, and it is used up.
            let start = std::time::Instant::now();
            rt.turn(Some(Duration::from_millis(5))).unwrap();
            assert!(start.elapsed() >= Duration::from_millis(5));
        }
    });
}

#[test]
fn what_becomes_ready_first_runs_first() {
    run(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (sends, tasks): (Vec<_>, Vec<_>) = (0..50)
            .map(|n| {
                let (send, receive) = async_channel::bounded::<()>(1);
                let order = Rc::clone(&order);
                let task = spawn(async move {
                    receive.recv().await.unwrap();
                    order.borrow_mut().push(n);
                });
                (send, task)
            })
            .unzip();
        yield_now().await;
        // Woken in another order than they were spawned in.
        let woken: Vec<_> = (0..50).map(|n| (n * 7) % 50).collect();
        for &n in &woken {
            sends[n].try_send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), woken);
    });
}

#[test]
fn a_yield_goes_behind_all_who_are_ready() {
    run(async || {
        let order = Rc::new(RefCell::new(String::new()));
        let tasks: Vec<_> = ['a', 'b', 'c']
            .into_iter()
            .map(|name| {
                let order = Rc::clone(&order);
                spawn(async move {
                    for _ in 0..4 {
                        order.borrow_mut().push(name);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), "abcabcabcabc");
    });
}

#[test]
fn a_poll_makes_at_most_128_operations() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let (socket, mut peer) = pair();
            peer.write_all(&[7; 1000]).unwrap();
            let flooded = spawn(async move {
                for _ in 0..1000 {
                    assert_eq!(socket.recv(&mut [0; 1]).await.unwrap(), 1);
                }
            });
            let id = flooded.id();
            let between = Rc::new(Cell::new(0));
            let other = {
                let between = Rc::clone(&between);
                spawn(async move {
                    loop {
                        between.set(between.get() + 1);
                        yield_now().await;
                    }
                })
            };
            flooded.await.unwrap();
            // 7 full allowances and one begun.
            assert_eq!(watcher.polls_of(id), 8);
            assert!(between.get() >= 7);
            drop::<runtime::JoinHandle<()>>(other);
        });
    });
}

#[test]
fn the_allowance_is_for_all_sockets_of_a_poll_together() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let sockets: Vec<_> = (0..4).map(|_| pair()).collect();
            for (_, peer) in &sockets {
                (&*peer).write_all(&[7; 64]).unwrap();
            }
            let task = spawn(async move {
                for _ in 0..64 {
                    for (socket, _) in &sockets {
                        socket.recv(&mut [0; 1]).await.unwrap();
                    }
                }
            });
            let id = task.id();
            task.await.unwrap();
            assert_eq!(watcher.polls_of(id), 2);
        });
    });
}

/// What refuses the one socket gives the other a new allowance, but not the task a second turn.
#[test]
fn a_poll_that_had_its_share_ends_the_batch_whatever_else_it_does() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let (flooded, mut flood) = pair();
            let (trickled, mut trickle) = pair();
            flood.write_all(&[7; 1280]).unwrap();
            trickle.write_all(&[7; 20]).unwrap();
            let task = spawn(async move {
                let flooded = async {
                    for _ in 0..1280 {
                        flooded.recv(&mut [0; 1]).await.unwrap();
                    }
                };
                let trickled = async {
                    for _ in 0..20 {
                        trickled.recv(&mut [0; 1]).await.unwrap();
                        yield_now().await;
                    }
                };
                futures_lite::future::zip(flooded, trickled).await;
            });
            let id = task.id();
            let before = watcher.waits.get();
            task.await.unwrap();
            let (waits, polls) = (watcher.waits.get() - before, watcher.polls_of(id));
            assert!(waits >= 10, "{waits} waits in {polls} polls");
        });
    });
}

#[test]
fn bytes_count_too_a_kibibyte_as_an_operation() {
    within(20, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(async {
            let (socket, mut peer) = pair();
            peer.write_all(&[7; 64 * 1024]).unwrap();
            let task = spawn(async move {
                let mut buffer = [0; 16 * 1024];
                for _ in 0..4 {
                    assert_eq!(socket.recv(&mut buffer).await.unwrap(), buffer.len());
                }
                // 68 of 128 are gone. Seven writes at 9 leave none; the eighth has to wait for a poll of its own.
                for _ in 0..8 {
                    assert_eq!(socket.send(&buffer[..8 * 1024]).await.unwrap(), 8 * 1024);
                }
            });
            let id = task.id();
            task.await.unwrap();
            assert_eq!(watcher.polls_of(id), 2);
        });
    });
}

#[test]
fn a_flooding_client_does_not_keep_the_others_waiting() {
    run(async || {
        let (flooded, flood) = pair();
        let flooded = Rc::new(flooded);
        let stop = Counter::new();
        let thread = {
            let (stop, mut flood) = (stop.clone(), flood);
            thread::spawn(move || {
                flood.set_nonblocking(true).unwrap();
                let mut sink = [0; 4096];
                while stop.get() == 0 {
                    let _ = flood.write(&[7; 512]);
                    let _ = flood.read(&mut sink);
                }
            })
        };
        let echoed = Counter::new();
        let echo = {
            let (socket, echoed) = (Rc::clone(&flooded), echoed.clone());
            spawn(async move {
                let mut byte = [0; 1];
                while let Ok(1) = socket.recv(&mut byte).await {
                    if socket.send(&byte).await.is_err() {
                        return;
                    }
                    echoed.up();
                }
            })
        };
        // Another client gets its hundred answers meanwhile.
        let (socket, peer) = async_pair();
        let other = spawn(async move {
            let mut byte = [0; 1];
            while let Ok(1) = socket.recv(&mut byte).await {
                socket.send(&byte).await.unwrap();
            }
        });
        for _ in 0..100 {
            peer.send(b"x").await.unwrap();
            assert_eq!(peer.recv(&mut [0; 8]).await.unwrap(), 1);
        }
        until_async(|| echoed.get() > 0).await;
        stop.up();
        thread.join().unwrap();
        drop(peer);
        other.await.unwrap();
        echo.abort();
    });
}

#[test]
fn a_wait_that_was_only_told_to_yield_loses_no_readiness() {
    // An operation that has used up the allowance and is dropped then: the next one finds what is there.
    run(async || {
        let (socket, mut peer) = pair();
        peer.write_all(&[7; 300]).unwrap();
        for _ in 0..128 {
            socket.recv(&mut [0; 1]).await.unwrap();
        }
        let mut refused = Box::pin(async { socket.recv(&mut [0; 1]).await });
        let (_, waker) = crate::support::counters::CountingWaker::new();
        let first = crate::support::counters::poll_with(&mut refused, &waker);
        assert!(first.is_pending());
        drop(refused);
        for _ in 128..300 {
            socket.recv(&mut [0; 1]).await.unwrap();
        }
    });
}

#[test]
fn a_thousand_tasks_take_turns() {
    run(async || {
        let rounds: Rc<RefCell<Vec<u32>>> = Rc::new(RefCell::new(vec![0; 1000]));
        let tasks: Vec<_> = (0..1000)
            .map(|me| {
                let rounds = Rc::clone(&rounds);
                spawn(async move {
                    for _ in 0..20 {
                        let mine = {
                            let mut rounds = rounds.borrow_mut();
                            rounds[me] += 1;
                            rounds[me]
                        };
                        // Nobody is more than one round ahead of anybody.
                        let least = rounds.borrow().iter().copied().min();
                        assert!(least.is_some_and(|least| mine <= least + 1));
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn more_sockets_than_one_wait_reports_are_all_served() {
    run(async || {
        let pairs: Vec<_> = (0..600).map(|_| pair()).collect();
        let mut peers = Vec::new();
        let mut readers = Vec::new();
        for (socket, peer) in pairs {
            peers.push(peer);
            let (reader, polls) = polled(async move { socket.recv(&mut [0; 8]).await.unwrap() });
            readers.push((spawn(reader), polls));
        }
        yield_now().await;
        for peer in &mut peers {
            peer.write_all(b"abc").unwrap();
        }
        for (reader, polls) in readers {
            assert_eq!(reader.await.unwrap(), 3);
            assert_eq!(polls.get(), 2);
        }
    });
}

#[test]
fn an_idle_socket_is_not_polled_while_others_are_busy() {
    run(async || {
        let (idle, _peer) = pair();
        let (waiting, polls) = polled(async move { idle.recv(&mut [0; 8]).await });
        let _waiting = spawn(waiting);
        let busy = busy();
        let (socket, peer): (AsyncSocket<_>, _) = async_pair();
        for _ in 0..500 {
            peer.send(b"x").await.unwrap();
            socket.recv(&mut [0; 8]).await.unwrap();
        }
        assert_eq!(polls.get(), 1);
        busy.abort();
    });
}

#[test]
fn whatever_moves_many_bytes_gives_way_after_128_kib() {
    run(async || {
        let (left, right) = net::UnixStream::pair().unwrap();
        let (streams, polls) = polled(async move {
            let (out, mut back) = ([1; 16 * 1024], [0; 16 * 1024]);
            for _ in 0..64 {
                assert_eq!(left.write_vectored(&[IoSlice::new(&out)]).await.unwrap(), out.len());
                assert_eq!(right.peek(&mut back).await.unwrap(), back.len());
                let read = right.read_vectored(&mut [IoSliceMut::new(&mut back)]).await.unwrap();
                assert_eq!(read, back.len());
            }
        });
        spawn(streams).await.unwrap();
        // Three times 1 MiB.
        assert!((20..32).contains(&polls.get()), "{} polls", polls.get());

        let ours = net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = ours.local_addr().unwrap();
        let (datagrams, polls) = polled(async move {
            let (out, mut back) = ([1; 16 * 1024], [0; 16 * 1024]);
            for _ in 0..64 {
                ours.send_to(&out, to).await.unwrap();
                ours.recv(&mut back).await.unwrap().whole().unwrap();
            }
        });
        spawn(datagrams).await.unwrap();
        assert!((13..22).contains(&polls.get()), "{} polls", polls.get());
    });
}
