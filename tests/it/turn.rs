//! Can somebody else's loop turn ours?
//!
//! [`Runtime::turn`] does one turn and says when the next is due; in between the runtime's descriptor is readable when
//! there is something to turn for. So a program that sleeps in `poll(2)` on that descriptor misses nothing.
//!
//! Comes from: main.rs. Goes to: executor.rs of the runtime.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use runtime::{AsyncSocket, Runtime, sleep, spawn, yield_now};

use crate::support::counters::{Counter, Watcher, give_waker, polled};
use crate::support::sockets::pair;
use crate::support::within;

/// Whether the descriptor becomes readable within that time; `None`: however long it takes.
fn becomes_readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> bool {
    let mut watched = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = limit.map_or(-1, |limit| limit.as_nanos().div_ceil(1_000_000) as i32);
    // SAFETY: one entry, which lives through the call.
    let count = unsafe { libc::poll(&raw mut watched, 1, millis) };
    assert!(count >= 0, "{}", std::io::Error::last_os_error());
    count == 1
}

/// A loop of somebody else's: sleeps in `poll`, never in the runtime.
fn drive(rt: &Runtime, done: impl Fn() -> bool) {
    let mut next = Some(Duration::ZERO);
    while !done() {
        becomes_readable(rt.as_fd(), next);
        next = rt.turn(Some(Duration::ZERO)).unwrap();
    }
}

/// Turns until there is nothing left to do.
fn settle(rt: &Runtime) {
    while rt.turn(Some(Duration::ZERO)).unwrap() == Some(Duration::ZERO)
        || becomes_readable(rt.as_fd(), Some(Duration::ZERO))
    {}
}

#[test]
fn tasks_run_by_turns() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let (task, polls) = polled(async {
            yield_now().await;
            5
        });
        let task = rt.spawn(task);
        assert_eq!(polls.get(), 0);
        drive(&rt, || task.is_finished());
        assert_eq!(polls.get(), 2);
        assert_eq!(rt.block_on(task).unwrap(), 5);
    });
}

#[test]
fn a_turn_says_when_the_next_is_due() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        assert_eq!(rt.turn(Some(Duration::ZERO)).unwrap(), None, "nothing to wait for");
        let task = rt.spawn(sleep(Duration::from_millis(20)));
        let next = rt.turn(Some(Duration::ZERO)).unwrap().unwrap();
        assert!(next > Duration::ZERO && next <= Duration::from_millis(21), "{next:?}");
        let start = Instant::now();
        drive(&rt, || task.is_finished());
        assert!(start.elapsed() + Duration::from_millis(1) >= next);
        let endless = rt.spawn(async {
            loop {
                yield_now().await;
            }
        });
        assert_eq!(rt.turn(None).unwrap(), Some(Duration::ZERO));
        drop::<runtime::JoinHandle<()>>(endless);
    });
}

#[test]
fn a_turn_waits_no_longer_than_it_is_told() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let task = rt.spawn(std::future::pending::<()>());
        let start = Instant::now();
        rt.turn(Some(Duration::ZERO)).unwrap();
        rt.turn(Some(Duration::from_millis(10))).unwrap();
        rt.turn(Some(Duration::from_millis(10))).unwrap();
        let taken = start.elapsed();
        assert!(taken >= Duration::from_millis(10) && taken < Duration::from_secs(5), "{taken:?}");
        assert!(!task.is_finished());
    });
}

#[test]
fn the_descriptor_shows_sockets_that_become_ready() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let received = Counter::new();
        let inside = received.clone();
        let (send, receive) = mpsc::channel();
        drop(rt.spawn(async move {
            let (socket, peer) = pair();
            send.send(peer).unwrap();
            while socket.recv(&mut [0; 8]).await.unwrap() > 0 {
                inside.up();
            }
        }));
        settle(&rt);
        let mut peer = receive.recv().unwrap();
        for round in 1..=100 {
            peer.write_all(b"x").unwrap();
            drive(&rt, || received.get() == round);
        }
    });
}

#[test]
fn the_descriptor_shows_wakes_from_other_threads() {
    within(20, || {
        let rt = Runtime::new().unwrap();
        for _ in 0..100 {
            let task = rt.spawn(give_waker(|waker| {
                drop(thread::spawn(move || waker.wake()));
            }));
            drive(&rt, || task.is_finished());
        }
    });
}

#[test]
fn the_descriptor_shows_letters() {
    within(20, || {
        let rt = Runtime::new().unwrap();
        let handle = rt.handle();
        let called = Counter::new();
        settle(&rt);
        for round in 1..=100 {
            let (handle, called) = (handle.clone(), called.clone());
            let inside = called.clone();
            let thread = thread::spawn(move || handle.post(move || inside.up()).unwrap());
            drive(&rt, || called.get() == round);
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_wake_at_home_between_two_turns_is_shown_by_the_descriptor() {
    // Another part of the same thread wakes one of our tasks: nobody will turn unless the descriptor says so.
    within(10, || {
        let rt = Runtime::new().unwrap();
        let (send, receive) = mpsc::channel::<Waker>();
        let task = rt.spawn(give_waker(move |waker| send.send(waker).unwrap()));
        settle(&rt);
        receive.recv().unwrap().wake();
        assert!(becomes_readable(rt.as_fd(), Some(Duration::from_secs(2))));
        drive(&rt, || task.is_finished());
    });
}

#[test]
fn a_task_spawned_between_two_turns_is_shown_by_the_descriptor() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        settle(&rt);
        let task = rt.spawn(async {});
        assert!(becomes_readable(rt.as_fd(), Some(Duration::from_secs(2))));
        drive(&rt, || task.is_finished());
    });
}

#[test]
fn a_driven_runtime_serves_other_threads() {
    within(20, || {
        let inner = Runtime::new().unwrap();
        let handle = inner.handle();
        let sum = Counter::new();
        let added = sum.clone();
        let outer = thread::spawn(move || {
            runtime::block_on(async {
                for n in 0..10 {
                    let task = handle.spawn(move || async move { n }).unwrap();
                    (0..task.await.unwrap()).for_each(|_| added.up());
                }
            });
            handle.post(|| ()).unwrap(); // so that the last look at the sum comes after it is complete
        });
        drive(&inner, || sum.get() == 45);
        outer.join().unwrap();
    });
}

#[test]
fn the_descriptor_can_be_watched_by_another_runtime() {
    within(10, || {
        let inner = Runtime::new().unwrap();
        let copy = inner.as_fd().try_clone_to_owned().unwrap();
        let outer = Runtime::new().unwrap();
        let handle = inner.handle();
        let watched = outer.block_on(async {
            let watched = AsyncSocket::new(copy).unwrap();
            let mut asked = 0;
            // Nothing yet: the first answer is a guess, then it waits.
            let wait = watched.read_with(|fd| {
                asked += 1;
                match becomes_readable(fd.as_fd(), Some(Duration::ZERO)) {
                    true => Ok(()),
                    false => Err(std::io::ErrorKind::WouldBlock.into()),
                }
            });
            let thread = thread::spawn(move || handle.post(|| ()).unwrap());
            wait.await.unwrap();
            thread.join().unwrap();
            asked
        });
        assert!((1..=3).contains(&watched), "asked {watched} times");
    });
}

#[test]
fn turns_and_block_ons_may_alternate() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let mut sum = 0;
        for round in 0..20 {
            let task = rt.spawn(async move {
                yield_now().await;
                round
            });
            if round % 2 == 0 {
                drive(&rt, || task.is_finished());
            }
            sum += rt.block_on(async { task.await.unwrap() });
        }
        assert_eq!(sum, 190);
    });
}

#[test]
fn a_turn_makes_one_wait() {
    within(10, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        for turns in 1..=10 {
            let task = rt.spawn(async { spawn(async {}).await.unwrap() });
            rt.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(watcher.waits.get(), turns);
            assert!(task.is_finished());
        }
        assert_eq!(watcher.sleeps.get(), 0);
    });
}
