//! In which order does everything end, and what may still be used when it has?
//!
//! First the root future, then the tasks in the order of their places, then what their drops have spawned (unpolled), then
//! the timers; the kernel's queue goes with the last socket. Whoever comes later gets an error, never a hang.
//!
//! Comes from: main.rs. Goes to: executor.rs, async_socket.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use runtime::{Gone, Handle, Runtime, sleep, spawn, timeout, unblock, yield_now};

use crate::support::counters::{Counter, CountingWaker, on_drop, poll_with, polled};
use crate::support::process::descriptors;
use crate::support::sockets::{async_pair, pair};
use crate::support::{in_child_process, run, within};

/// A list of what happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }
    fn noted_at_drop(&self, what: &'static str) -> impl Sized + use<> {
        let log = self.clone();
        on_drop(move || log.note(what))
    }
}

fn hold(guard: impl Sized + 'static) -> runtime::JoinHandle<()> {
    spawn(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    })
}

#[test]
fn the_root_ends_first_then_the_tasks_in_order_then_what_their_drops_spawn() {
    run_here(|| {
        let log = Log::default();
        let inside = log.clone();
        runtime::block_on(async move {
            let log = inside;
            let _root = log.noted_at_drop("root");
            drop(hold(log.noted_at_drop("first")));
            let spawning = log.clone();
            drop(hold(on_drop(move || {
                spawning.note("second");
                let log = spawning.clone();
                let unpolled = log.noted_at_drop("spawned by the second");
                let task = spawn(async move {
                    log.note("polled");
                    drop(unpolled);
                });
                assert!(task.is_finished());
            })));
            drop(hold(log.noted_at_drop("third")));
            yield_now().await;
        });
        assert_eq!(*log.0.borrow(), ["root", "first", "second", "spawned by the second", "third"]);
    });
}

fn run_here(body: impl FnOnce() + Send + 'static) {
    within(10, body);
}

#[test]
fn tasks_stay_unmoved_between_two_block_ons() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let drops = Counter::new();
        let guard = drops.guard();
        let (task, polls) = polled(async move {
            let _guard = guard;
            yield_now().await;
            yield_now().await;
            5
        });
        let task = rt.block_on(async {
            let task = spawn(task);
            yield_now().await;
            task
        });
        assert_eq!((polls.get(), drops.get()), (1, 0));
        std::thread::yield_now();
        assert_eq!(polls.get(), 1);
        assert_eq!(rt.block_on(task).unwrap(), 5);
        assert_eq!((polls.get(), drops.get()), (3, 1));
    });
}

#[test]
fn timers_and_sockets_go_on_in_the_next_block_on() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let (socket, peer) = rt.block_on(async { pair() });
        let (read, slept) = (Counter::new(), Counter::new());
        let (reads, sleeps) = (read.clone(), slept.clone());
        let reader = rt.spawn(async move {
            let count = socket.recv(&mut [0; 8]).await.unwrap();
            reads.up();
            count
        });
        let sleeper = rt.spawn(async move {
            sleep(Duration::from_millis(1)).await;
            sleeps.up();
        });
        rt.block_on(yield_now());
        (&peer).write_all(b"abc").unwrap();
        assert_eq!((read.get(), slept.get()), (0, 0));
        assert_eq!(rt.block_on(reader).unwrap(), 3);
        rt.block_on(sleeper).unwrap();
        assert_eq!((read.get(), slept.get()), (1, 1));
    });
}

#[test]
fn a_socket_that_outlives_its_runtime_gives_an_error_instead_of_a_hang() {
    within(10, || {
        let (socket, peer) = runtime::block_on(async { pair() });
        // What needs no wait still works.
        (&peer).write_all(b"abc").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(socket.try_recv(&mut buffer).unwrap(), 3);
        let wait = async { socket.recv(&mut [0; 8]).await.unwrap_err() };
        let error = futures_lite::future::block_on(wait);
        assert!(error.to_string().contains("not running"), "{error}");
        // In another runtime, too: it would be woken there by nobody.
        let error = runtime::block_on(async { socket.readable().await.err() });
        let error = match error {
            Some(error) => error,
            None => runtime::block_on(async { socket.recv(&mut [0; 8]).await.unwrap_err() }),
        };
        assert!(error.to_string().contains("not running"), "{error}");
        drop(socket);
    });
}

#[test]
fn a_socket_of_an_outer_runtime_gives_an_error_inside_another() {
    within(10, || {
        let first = Runtime::new().unwrap();
        let second = Runtime::new().unwrap();
        let (socket, _peer) = first.block_on(async { pair() });
        let error = second.block_on(async { socket.recv(&mut [0; 8]).await.unwrap_err() });
        assert!(error.to_string().contains("not running"), "{error}");
        // And is as good as before in its own.
        first.block_on(async {
            let late = timeout(Duration::from_millis(1), socket.recv(&mut [0; 8])).await;
            assert!(late.is_err());
        });
    });
}

#[test]
fn a_parked_task_is_dropped_with_its_socket_and_its_timer() {
    in_child_process(|| {
        let before = descriptors();
        let drops = Counter::new();
        for _ in 0..10 {
            let guard = drops.guard();
            runtime::block_on(async {
                let (socket, peer) = async_pair();
                drop(spawn(async move {
                    let _guards = (guard, peer);
                    let mut buffer = [0; 8];
                    let read = socket.recv(&mut buffer);
                    let _ = timeout(Duration::from_secs(60), read).await;
                }));
                yield_now().await;
            });
        }
        assert_eq!(drops.get(), 10);
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn the_drops_of_tasks_find_the_runtime_closed_to_others_and_open_to_themselves() {
    within(10, || {
        let seen = Counter::new();
        let inside = seen.clone();
        runtime::block_on(async {
            drop(hold(on_drop(move || {
                let handle = Handle::current();
                assert_eq!(handle.post(|| ()), Err(Gone));
                assert!(handle.spawn(|| async {}).is_err());
                let (_, waker) = CountingWaker::new();
                let mut timer = sleep(Duration::from_millis(1));
                let _ = poll_with(&mut timer, &waker);
                let (socket, _peer) = pair();
                drop(socket);
                inside.up();
            })));
            yield_now().await;
        });
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn the_drops_of_tasks_may_wake_and_abort_each_other() {
    within(10, || {
        let drops = Counter::new();
        let inside = drops.clone();
        runtime::block_on(async {
            let wakers = Rc::new(RefCell::new(Vec::<std::task::Waker>::new()));
            let handles = Rc::new(RefCell::new(Vec::new()));
            for _ in 0..5 {
                let (drops, all) = (inside.clone(), Rc::clone(&wakers));
                let others = Rc::clone(&handles);
                let guard = on_drop(move || {
                    drops.up();
                    all.borrow().iter().for_each(std::task::Waker::wake_by_ref);
                    let others: std::cell::Ref<'_, Vec<runtime::JoinHandle<()>>> = others.borrow();
                    others.iter().for_each(runtime::JoinHandle::abort);
                });
                let mine = Rc::clone(&wakers);
                let task = spawn(async move {
                    let _guard = guard;
                    std::future::poll_fn(|cx| {
                        mine.borrow_mut().push(cx.waker().clone());
                        std::task::Poll::<()>::Pending
                    })
                    .await;
                });
                handles.borrow_mut().push(task);
            }
            yield_now().await;
        });
        assert_eq!(drops.get(), 5);
    });
}

#[test]
fn a_runtime_can_be_dropped_after_any_turn() {
    // A bit of everything under way; the runtime ends after n turns, for every n until all is done.
    within(60, || {
        let mut finished = false;
        for turns in 0.. {
            let rt = Runtime::new().unwrap();
            let drops = Counter::new();
            let done = Rc::new(Cell::new(0));
            let mut started = 0;
            let mut start = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
                let (guard, done) = (drops.guard(), Rc::clone(&done));
                started += 1;
                drop(rt.spawn(async move {
                    let _guard = guard;
                    future.await;
                    done.set(done.get() + 1);
                }));
            };
            start(Box::pin(async {
                for _ in 0..3 {
                    yield_now().await;
                }
            }));
            start(Box::pin(async {
                let (left, right) = async_pair();
                let reader = spawn(async move { left.recv(&mut [0; 8]).await });
                yield_now().await;
                right.send(b"abc").await.unwrap();
                assert_eq!(reader.await.unwrap().unwrap(), 3);
            }));
            start(Box::pin(async { sleep(Duration::from_micros(200)).await }));
            start(Box::pin(async { unblock(|| ()).await.unwrap() }));
            start(Box::pin(async {
                let (first, second) = (hold(()), spawn(async { spawn(async {}).await.unwrap() }));
                first.abort();
                second.await.unwrap();
            }));
            for _ in 0..turns {
                rt.turn(Some(Duration::from_millis(1))).unwrap();
            }
            drop(rt);
            assert_eq!(drops.get(), started);
            if done.get() == started {
                finished = true;
                break;
            }
        }
        assert!(finished);
    });
}

#[test]
fn a_runtime_may_be_dropped_inside_another() {
    within(10, || {
        let inner = Runtime::new().unwrap();
        let drops = Counter::new();
        let guard = drops.guard();
        drop(inner.spawn(async move { drop(guard) }));
        runtime::block_on(async {
            let outer = Handle::current();
            drop(inner);
            assert_eq!(drops.get(), 1);
            outer.post(|| ()).unwrap();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(spawn(async { 5 }).await.unwrap(), 5);
        });
    });
}

#[test]
fn a_runtime_in_a_thread_local_ends_with_its_thread() {
    in_child_process(|| {
        thread_local!(static RUNTIME: Runtime = Runtime::new().unwrap());
        let drops = Counter::new();
        let guard = drops.guard();
        let thread = std::thread::spawn(move || {
            RUNTIME.with(|rt| {
                drop(rt.spawn(async move {
                    let _guard = guard;
                    sleep(Duration::from_secs(60)).await;
                }));
                rt.block_on(yield_now());
            });
        });
        thread.join().unwrap();
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_turn_s_leftovers_do_not_run_after_the_end() {
    run(async || {
        let (task, polls) = polled(async {
            loop {
                yield_now().await;
            }
        });
        let inner = Runtime::new().unwrap();
        let task: runtime::JoinHandle<()> = inner.spawn(task);
        drop(inner);
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(polls.get(), 0);
    });
}
