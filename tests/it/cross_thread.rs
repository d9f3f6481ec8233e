//! What do other threads see, and is a wake of theirs ever lost?
//!
//! A wake from another thread may come while the loop sleeps, while it polls, just as it falls asleep, and after its end.
//! The races here are run through many thousand times; the handshake itself is proved by the models in run_queue.rs.
//!
//! Comes from: main.rs. Goes to: run_queue.rs, sys of the runtime.

use std::future::poll_fn;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{Runtime, sleep, spawn, yield_now};

use crate::support::counters::{Counter, Watcher, give_waker, polled, until_async};
use crate::support::process::threads;
use crate::support::{in_child_process, run, within};

/// A slot that a task waits at and a thread fills: the least that needs a waker.
#[derive(Default)]
struct Slot {
    value: AtomicUsize,
    waiting: Mutex<Option<Waker>>,
}

impl Slot {
    fn put(&self, value: usize) {
        self.value.store(value, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().unwrap().take() {
            waker.wake();
        }
    }

    async fn reaches(&self, value: usize) {
        poll_fn(|cx| {
            *self.waiting.lock().unwrap() = Some(cx.waker().clone());
            if self.value.load(Ordering::SeqCst) >= value {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

#[test]
fn a_thread_wakes_a_sleeping_loop() {
    run(async || {
        for _ in 0..100 {
            let mut thread = None;
            give_waker(|waker| thread = Some(thread::spawn(move || waker.wake()))).await;
            thread.unwrap().join().unwrap();
        }
    });
}

#[test]
fn a_thread_wakes_a_task_of_a_sleeping_loop() {
    run(async || {
        for _ in 0..100 {
            spawn(give_waker(|waker| drop(thread::spawn(move || waker.wake_by_ref()))))
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_thread_wakes_a_task_that_is_being_polled() {
    run(async || {
        for _ in 0..100 {
            let mut first = true;
            let (task, polls) = polled(poll_fn(move |cx| {
                if !std::mem::take(&mut first) {
                    return Poll::Ready(());
                }
                // The wake has come before this poll is over.
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake()).join().unwrap();
                Poll::Pending
            }));
            spawn(task).await.unwrap();
            assert_eq!(polls.get(), 2);
        }
    });
}

#[test]
fn no_wake_up_is_lost_against_the_wait() {
    // There and back between a loop that sleeps at once and a thread that answers at once: the wake comes as near to the
    // moment of falling asleep as it can.
    within(120, || {
        let (there, back) = (Arc::new(Slot::default()), Arc::new(Slot::default()));
        let rounds = 20_000;
        let thread = {
            let (there, back) = (Arc::clone(&there), Arc::clone(&back));
            thread::spawn(move || {
                for round in 1..=rounds {
                    while there.value.load(Ordering::SeqCst) < round {
                        std::hint::spin_loop();
                        thread::yield_now();
                    }
                    back.put(round);
                }
            })
        };
        runtime::block_on(async {
            for round in 1..=rounds {
                there.put(round);
                back.reaches(round).await;
            }
        });
        thread.join().unwrap();
    });
}

#[test]
fn two_loops_wake_each_other() {
    within(120, || {
        let (there, back) = (Arc::new(Slot::default()), Arc::new(Slot::default()));
        let thread = {
            let (there, back) = (Arc::clone(&there), Arc::clone(&back));
            thread::spawn(move || {
                runtime::block_on(async {
                    for round in 1..=10_000 {
                        there.reaches(round).await;
                        back.put(round);
                    }
                });
            })
        };
        runtime::block_on(async {
            for round in 1..=10_000 {
                there.put(round);
                back.reaches(round).await;
            }
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_storm_of_wakes_from_many_threads_loses_none() {
    run(async || {
        let slots: Vec<_> = (0..4).map(|_| Arc::new(Slot::default())).collect();
        let threads: Vec<_> = slots
            .iter()
            .map(|slot| {
                let slot = Arc::clone(slot);
                thread::spawn(move || (1..=25_000).for_each(|n| slot.put(n)))
            })
            .collect();
        let tasks: Vec<_> = slots
            .into_iter()
            .map(|slot| {
                spawn(async move {
                    for n in [1, 10, 100, 1_000, 10_000, 25_000] {
                        slot.reaches(n).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn many_wakes_from_abroad_before_a_poll_are_one_poll() {
    run(async || {
        let (send, receive) = mpsc::channel();
        let (task, polls) = polled(give_waker(move |waker| send.send(waker).unwrap()));
        let task = spawn(task);
        yield_now().await;
        let waker: Waker = receive.recv().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let waker = waker.clone();
                thread::spawn(move || (0..1000).for_each(|_| waker.wake_by_ref()))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        task.await.unwrap();
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn wakers_are_cloned_called_and_dropped_by_other_threads_by_the_thousand() {
    run(async || {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let gone = Counter::new();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (shared, stop, guard) = (Arc::clone(&shared), Arc::clone(&stop), gone.guard());
                spawn(async move {
                    let _guard = guard;
                    poll_fn(|cx| {
                        if stop.load(Ordering::SeqCst) {
                            return Poll::Ready(());
                        }
                        shared.lock().unwrap().push(cx.waker().clone());
                        Poll::Pending
                    })
                    .await;
                })
            })
            .collect();
        let threads: Vec<_> = (0..4)
            .map(|me| {
                let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
                thread::spawn(move || {
                    for round in 0..2_000 {
                        let Some(waker) = shared.lock().unwrap().pop() else {
                            thread::yield_now();
                            continue;
                        };
                        let clones = vec![waker.clone(); round % 5];
                        match me % 2 {
                            0 => waker.wake(),
                            _ => waker.wake_by_ref(),
                        }
                        drop(clones);
                    }
                    stop.store(true, Ordering::SeqCst);
                })
            })
            .collect();
        until_async(|| threads.iter().all(thread::JoinHandle::is_finished)).await;
        // Some wait with a waker that was never called.
        let rest = std::mem::take(&mut *shared.lock().unwrap());
        thread::spawn(move || rest.into_iter().for_each(Waker::wake)).join().unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(gone.get(), 20);
    });
}

#[test]
fn wakes_during_the_end_of_the_runtime_harm_nobody() {
    within(60, || {
        for _ in 0..300 {
            let (send, receive) = mpsc::channel::<Waker>();
            let start = Arc::new(Barrier::new(2));
            let thread = {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    let wakers: Vec<_> = receive.iter().take(5).collect();
                    start.wait();
                    for waker in wakers.iter().cycle().take(100) {
                        waker.wake_by_ref();
                    }
                })
            };
            runtime::block_on(async {
                for _ in 0..5 {
                    let send = send.clone();
                    drop(spawn(poll_fn(move |cx| {
                        let _ = send.send(cx.waker().clone());
                        Poll::<()>::Pending
                    })));
                }
                yield_now().await;
                start.wait();
            });
            thread.join().unwrap();
        }
    });
}

#[test]
fn wakes_from_abroad_between_two_block_ons_are_kept() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let (send, receive) = mpsc::channel::<Waker>();
        let (task, polls) = polled(give_waker(move |waker| send.send(waker).unwrap()));
        let task = rt.spawn(task);
        rt.block_on(yield_now());
        let waker = receive.recv().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(polls.get(), 1);
        rt.block_on(task).unwrap();
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn an_instrument_tells_wakes_from_abroad_from_those_at_home() {
    within(10, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        rt.block_on(give_waker(|waker| {
            thread::spawn(move || waker.wake()).join().unwrap();
        }));
        assert_eq!(watcher.woken_from_abroad.get(), 1);
        rt.block_on(yield_now());
        assert_eq!(watcher.woken_from_abroad.get(), 1);
        assert!(watcher.woken.get() >= 1);
    });
}

#[test]
fn a_wait_that_a_signal_interrupts_is_only_a_wait_more() {
    extern "C" fn nothing(_: libc::c_int) {}
    in_child_process(|| {
        // SAFETY: all zero is an action with no flags and an empty mask; without SA_RESTART the wait is interrupted.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: `action` lives through the call, and its handler does nothing.
        let result = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()) };
        assert_eq!(result, 0);
        // SAFETY: asks for a number.
        let home = unsafe { libc::pthread_self() };
        let stop = Counter::new();
        let stopped = stop.clone();
        let pest = thread::spawn(move || {
            let mut sent = 0;
            while stopped.get() == 0 {
                // SAFETY: that thread lives until it has joined this one.
                unsafe { libc::pthread_kill(home, libc::SIGUSR1) };
                sent += 1;
                thread::sleep(Duration::from_micros(50));
            }
            sent
        });
        runtime::block_on(async {
            let (socket, peer) = crate::support::sockets::async_pair();
            let reader = spawn(async move { socket.recv(&mut [0; 8]).await.unwrap() });
            for _ in 0..50 {
                let start = Instant::now();
                sleep(Duration::from_millis(2)).await;
                assert!(start.elapsed() >= Duration::from_millis(2));
                give_waker(|waker| drop(thread::spawn(move || waker.wake()))).await;
            }
            peer.send(b"abc").await.unwrap();
            assert_eq!(reader.await.unwrap(), 3);
        });
        stop.up();
        assert!(pest.join().unwrap() > 100);
    });
}

#[test]
fn no_thread_is_started_behind_the_user_s_back() {
    in_child_process(|| {
        let before = threads();
        runtime::block_on(async {
            let (socket, peer) = crate::support::sockets::async_pair();
            let reader = spawn(async move { socket.recv(&mut [0; 8]).await });
            sleep(Duration::from_millis(1)).await;
            peer.send(b"x").await.unwrap();
            reader.await.unwrap().unwrap();
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accepted = spawn(async move { listener.accept().await });
            net::TcpStream::connect(address).await.unwrap();
            accepted.await.unwrap().unwrap();
            assert_eq!(threads(), before);
        });
        assert_eq!(threads(), before);
    });
}

#[test]
fn a_waker_dropped_or_called_in_a_thread_s_last_breath_is_harmless() {
    // A thread-local of another thread holds the waker; it dies when that thread's own places are gone.
    struct Kept(Option<Waker>);
    impl Drop for Kept {
        fn drop(&mut self) {
            if let Some(waker) = self.0.take() {
                waker.wake_by_ref();
            }
        }
    }
    thread_local!(static KEPT: std::cell::RefCell<Kept> = const { std::cell::RefCell::new(Kept(None)) });
    run(async || {
        let mut thread = None;
        give_waker(|waker| {
            thread = Some(thread::spawn(move || {
                KEPT.with(|kept| kept.borrow_mut().0 = Some(waker));
            }));
        })
        .await;
        thread.unwrap().join().unwrap();
        // And one of a runtime of that very thread, which has ended by then.
        let thread = thread::spawn(|| {
            KEPT.with(|kept| {
                runtime::block_on(poll_fn(|cx| {
                    kept.borrow_mut().0 = Some(cx.waker().clone());
                    Poll::Ready(())
                }));
            });
        });
        thread.join().unwrap();
    });
}
