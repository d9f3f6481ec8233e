//! Does every wake-up count, once, whoever gives it and whenever it comes?
//!
//! A waker may be called in the poll it belongs to, after the end of its task, after the end of its runtime; it may be
//! cloned and dropped by anybody; and it may be foreign code that panics, or comes back into the runtime it is called by.
//! Wake-ups from other threads have a module of their own (cross_thread.rs).
//!
//! Comes from: main.rs. Goes to: run_queue.rs, reactor.rs, timer.rs, task/cell.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{CancelToken, Runtime, sleep, spawn, unblock, yield_now};

use crate::support::counters::{
    Counter, CountingWaker, acting_waker, dying_waker, give_waker, meddling_waker, panicking_waker,
    poll_with, polled, until_async,
};
use crate::support::sockets::{async_pair, pair, tcp};
use crate::support::{run, within};

/// Ready at its n-th poll; wakes itself before.
async fn wakes_itself(times: usize) {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn a_wake_during_the_own_poll_polls_again() {
    run(async || {
        let (task, polls) = polled(wakes_itself(3));
        spawn(task).await.unwrap();
        assert_eq!(polls.get(), 4);
    });
}

#[test]
fn the_root_future_can_wake_itself_by_reference_and_by_value() {
    within(10, || {
        let (root, polls) = polled(wakes_itself(3));
        runtime::block_on(root);
        assert_eq!(polls.get(), 4);

        let mut woken = false;
        runtime::block_on(poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            cx.waker().clone().wake();
            Poll::Pending
        }));
    });
}

#[test]
fn a_task_can_wake_the_root_by_reference_and_by_value() {
    run(async || {
        give_waker(|waker| drop(spawn(async move { waker.wake() }))).await;
        give_waker(|waker| drop(spawn(async move { waker.wake_by_ref() }))).await;
    });
}

#[test]
fn many_wakes_before_a_poll_are_one_poll() {
    run(async || {
        let waker = Rc::new(RefCell::new(None));
        let (task, polls) = polled({
            let waker = Rc::clone(&waker);
            async move { give_waker(|it| *waker.borrow_mut() = Some(it)).await }
        });
        let task = spawn(task);
        yield_now().await;
        let waker: Waker = waker.take().unwrap();
        for _ in 0..5 {
            waker.wake_by_ref();
            waker.clone().wake();
        }
        task.await.unwrap();
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn a_task_that_has_woken_itself_waits_like_any_other_afterwards() {
    run(async || {
        let (task, polls) = polled(async {
            yield_now().await;
            yield_now().await;
            std::future::pending::<()>().await;
        });
        let _task = spawn(task);
        for _ in 0..20 {
            yield_now().await;
        }
        assert_eq!(polls.get(), 3);
    });
}

#[test]
fn a_wake_after_the_end_reaches_nobody_not_even_the_next_one_in_its_place() {
    run(async || {
        let kept = Rc::new(RefCell::new(None));
        let first = spawn({
            let kept = Rc::clone(&kept);
            poll_fn(move |cx| {
                *kept.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            })
        });
        first.await.unwrap();
        let stale: Waker = kept.take().unwrap();
        let (second, polls) = polled(std::future::pending::<()>());
        let second = spawn(second);
        for _ in 0..10 {
            stale.wake_by_ref();
            yield_now().await;
        }
        assert_eq!(polls.get(), 1);
        drop(second);
    });
}

#[test]
fn a_waker_of_an_aborted_task_reaches_nobody() {
    run(async || {
        let kept = Rc::new(RefCell::new(None));
        let aborted = spawn({
            let kept = Rc::clone(&kept);
            async move { give_waker(|it| *kept.borrow_mut() = Some(it)).await }
        });
        yield_now().await;
        aborted.abort();
        let stale: Waker = kept.take().unwrap();
        stale.wake_by_ref();
        yield_now().await;
        let (second, polls) = polled(std::future::pending::<()>());
        let _second = spawn(second);
        for _ in 0..10 {
            stale.wake_by_ref();
            yield_now().await;
        }
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn a_waker_of_an_earlier_block_on_does_not_disturb_the_next() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let kept = RefCell::new(None);
        rt.block_on(poll_fn(|cx| {
            // Woken and ready at the same time: its key stays in the queue.
            cx.waker().wake_by_ref();
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        let stale: Waker = kept.take().unwrap();
        stale.wake_by_ref();
        let (root, polls) = polled(async {
            stale.wake_by_ref();
            sleep(Duration::from_millis(2)).await;
            7
        });
        assert_eq!(rt.block_on(root), 7);
        assert!(polls.get() <= 5, "{} polls", polls.get());
    });
}

#[test]
fn no_wake_up_is_lost_in_the_scheduler() {
    // Hand-made channels in a ring: each task waits by nothing but its waker, so a wake that is lost stops the ring.
    #[derive(Default)]
    struct Post {
        balls: Cell<usize>,
        waiting: RefCell<Option<Waker>>,
    }
    const TASKS: usize = 50;
    run(async || {
        let posts: Rc<Vec<Post>> = Rc::new((0..TASKS).map(|_| Post::default()).collect());
        let passed = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..TASKS)
            .map(|me| {
                let (posts, passed) = (Rc::clone(&posts), Rc::clone(&passed));
                spawn(poll_fn(move |cx| {
                    let (mine, next) = (&posts[me], &posts[(me + 1) % TASKS]);
                    for _ in 0..mine.balls.take() {
                        passed.set(passed.get() + 1);
                        next.balls.set(next.balls.get() + 1);
                        if let Some(waker) = next.waiting.take() {
                            waker.wake();
                        }
                    }
                    *mine.waiting.borrow_mut() = Some(cx.waker().clone());
                    Poll::<()>::Pending
                }))
            })
            .collect();
        yield_now().await;
        for start in [0, 7, 23] {
            posts[start].balls.set(1);
            if let Some(waker) = posts[start].waiting.take() {
                waker.wake();
            }
        }
        until_async(|| passed.get() >= 100_000).await;
        assert_eq!(posts.iter().map(|post| post.balls.get()).sum::<usize>(), 3);
        drop(tasks);
    });
}

#[test]
fn wakers_outlive_the_runtime_in_peace() {
    static KEPT: Mutex<Vec<Waker>> = Mutex::new(Vec::new());
    within(10, || {
        let gone = Counter::new();
        runtime::block_on(async {
            let guard = gone.guard();
            let _task = spawn(async move {
                let _guard = guard;
                give_waker(|waker| KEPT.lock().unwrap().push(waker)).await;
                unreachable!("its runtime ends before it is woken");
            });
            // The root's own, too.
            poll_fn(|cx| {
                KEPT.lock().unwrap().push(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
            yield_now().await;
        });
        assert_eq!(gone.get(), 1, "the future is gone although its waker lives");
        let kept = KEPT.lock().unwrap().clone();
        assert_eq!(kept.len(), 2);
        kept.iter().for_each(Waker::wake_by_ref);
        let abroad = thread::spawn(|| {
            let kept = std::mem::take(&mut *KEPT.lock().unwrap());
            kept.iter().for_each(Waker::wake_by_ref);
            kept.into_iter().for_each(Waker::wake);
        });
        abroad.join().unwrap();
        // On a thread whose own runtime is another one by now.
        runtime::block_on(async {
            kept.iter().for_each(Waker::wake_by_ref);
            yield_now().await;
        });
    });
}

#[test]
fn a_clone_of_a_waker_is_known_as_the_same() {
    run(async || {
        spawn(poll_fn(|cx| {
            assert!(cx.waker().clone().will_wake(cx.waker()));
            Poll::Ready(())
        }))
        .await
        .unwrap();
        poll_fn(|cx| {
            assert!(cx.waker().clone().will_wake(cx.waker()));
            Poll::Ready(())
        })
        .await;
    });
}

#[test]
fn the_last_poll_s_waker_is_the_one_that_is_called() {
    run(async || {
        let ((old, old_waker), (new, new_waker)) = (CountingWaker::new(), CountingWaker::new());
        // A join, a time, a token: polled with one waker, then with another.
        let mut task = spawn(yield_now());
        let mut time = sleep(Duration::from_millis(1));
        let token = CancelToken::new();
        let mut cancelled = token.cancelled();
        let (socket, peer) = pair();
        for waker in [&old_waker, &new_waker] {
            assert!(poll_with(&mut task, waker).is_pending());
            assert!(poll_with(&mut time, waker).is_pending());
            assert!(poll_with(&mut cancelled, waker).is_pending());
        }
        let _ = socket.try_recv(&mut [0; 8]);
        let mut readable = pin!(socket.read_with(|mut io| std::io::Read::read(&mut io, &mut [0])));
        for waker in [&old_waker, &new_waker] {
            assert!(poll_with(&mut readable.as_mut(), waker).is_pending());
        }
        token.cancel();
        (&peer).write_all(b"x").unwrap();
        until_async(|| new.wakes() == 4).await;
        assert_eq!(old.wakes(), 0);
    });
}

#[test]
fn a_waker_that_panics_costs_its_own_wake_and_nobody_else_s_on_a_socket() {
    run(async || {
        let (socket, peer) = pair();
        let (other_socket, other_peer) = pair();
        let read = |mut io: &std::os::unix::net::UnixStream| std::io::Read::read(&mut io, &mut [0]);
        // First in its place, then behind it in the list: one that panics, one that counts.
        let bad = panicking_waker();
        let (counts, good) = CountingWaker::new();
        let mut waits = Vec::new();
        for waker in [&bad, &good, &bad, &good] {
            let mut wait = Box::pin(socket.read_with(read));
            assert!(poll_with(&mut wait, waker).is_pending());
            waits.push(wait);
        }
        let mut other = Box::pin(other_socket.read_with(read));
        assert!(poll_with(&mut other, &good).is_pending());
        (&peer).write_all(b"x").unwrap();
        (&other_peer).write_all(b"x").unwrap();
        until_async(|| counts.wakes() == 3).await;
    });
}

#[test]
fn a_waker_that_panics_does_not_keep_the_other_direction_waiting() {
    run(async || {
        let (socket, peer) = tcp();
        let mut read = Box::pin(socket.read_with(|mut io| std::io::Read::read(&mut io, &mut [0])));
        assert!(poll_with(&mut read, &panicking_waker()).is_pending());
        // Fill it, then wait for room; the peer's reset reports both directions at once.
        let chunk = vec![0; 1 << 20];
        while socket.try_send(&chunk).is_ok() {}
        let (counts, good) = CountingWaker::new();
        let mut write = Box::pin(socket.send(&chunk));
        assert!(poll_with(&mut write, &good).is_pending());
        crate::support::sockets::reset(peer);
        until_async(|| counts.wakes() >= 1).await;
    });
}

#[test]
fn a_waker_that_panics_does_not_stop_the_clock() {
    run(async || {
        let mut bad = sleep(Duration::from_millis(1));
        assert!(poll_with(&mut bad, &panicking_waker()).is_pending());
        let start = Instant::now();
        sleep(Duration::from_millis(3)).await;
        assert!(start.elapsed() >= Duration::from_millis(3));
    });
}

#[test]
fn a_waker_that_panics_does_not_stop_the_loop_when_a_task_ends() {
    run(async || {
        let mut task = spawn(yield_now());
        assert!(poll_with(&mut task, &panicking_waker()).is_pending());
        until_async(|| task.is_finished()).await;
        task.await.unwrap();
    });
}

#[test]
fn a_waker_that_panics_costs_its_own_wake_and_nobody_else_s_at_a_token() {
    run(async || {
        let token = CancelToken::new();
        let (counts, good) = CountingWaker::new();
        let bad = panicking_waker();
        let mut waits = Vec::new();
        for waker in [&good, &bad, &good] {
            let mut wait = token.cancelled();
            assert!(poll_with(&mut wait, waker).is_pending());
            waits.push(wait);
        }
        let cancel = std::panic::AssertUnwindSafe(|| token.cancel());
        // Whether the panic comes through here is left open; that everybody is woken is not.
        let _ = std::panic::catch_unwind(cancel);
        assert_eq!(counts.wakes(), 2);
    });
}

#[test]
fn a_waker_may_drop_sockets_whose_reports_are_still_to_come() {
    run(async || {
        let pairs: Vec<_> = (0..20).map(|_| async_pair()).collect();
        let (sockets, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let sockets = Rc::new(RefCell::new(sockets));
        let acted = Counter::new();
        // Each socket's waker drops all of them.
        let wakers: Vec<Waker> = (0..20)
            .map(|_| {
                let (sockets, acted) = (Rc::clone(&sockets), acted.clone());
                acting_waker(move || {
                    acted.up();
                    let all = sockets.take();
                    drop(all);
                })
            })
            .collect();
        // By poll_*, which needs no future that borrows the socket.
        for (socket, waker) in sockets.borrow().iter().zip(&wakers) {
            let mut cx = std::task::Context::from_waker(waker);
            let poll =
                socket.poll_read_with(&mut cx, |mut io| std::io::Read::read(&mut io, &mut [0]));
            assert!(poll.is_pending());
        }
        for peer in &peers {
            peer.send(b"x").await.unwrap();
        }
        until_async(|| acted.get() >= 1).await;
        for _ in 0..200 {
            yield_now().await;
        }
        assert_eq!(acted.get(), 1, "the sockets of the others are gone, and so are their waits");
        assert!(sockets.borrow().is_empty());
    });
}

#[test]
fn a_waker_may_spawn_sleep_and_park_again() {
    run(async || {
        let (socket, peer) = pair();
        let socket = Rc::new(socket);
        let done = Counter::new();
        let waker = {
            let (socket, done) = (Rc::clone(&socket), done.clone());
            acting_waker(move || {
                // Spawns, and in the midst of its own report waits for the same direction again.
                drop(spawn({
                    let done = done.clone();
                    async move {
                        sleep(Duration::from_millis(1)).await;
                        done.up();
                    }
                }));
                let again = acting_waker(move || done.up());
                let mut cx = std::task::Context::from_waker(&again);
                let _ = socket.poll_read_with(&mut cx, |_| {
                    Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
                });
            })
        };
        let mut cx = std::task::Context::from_waker(&waker);
        let poll = socket.poll_read_with(&mut cx, |mut io| std::io::Read::read(&mut io, &mut [0]));
        assert!(poll.is_pending());
        (&peer).write_all(b"x").unwrap();
        until_async(|| done.get() == 1).await;
        (&peer).write_all(b"y").unwrap();
        until_async(|| done.get() == 2).await;
    });
}

#[test]
fn a_waker_called_by_the_clock_may_make_and_drop_timers() {
    run(async || {
        let others: Vec<_> = (0..10).map(|_| sleep(Duration::from_millis(1))).collect();
        let others = Rc::new(RefCell::new(others));
        let acted = Counter::new();
        let mut first = sleep(Duration::from_millis(1));
        let waker = {
            let (others, acted) = (Rc::clone(&others), acted.clone());
            acting_waker(move || {
                // All due in the same turn as this one: they are dropped before they are fired.
                drop(others.take());
                let mut another = sleep(Duration::ZERO);
                let _ = poll_with(&mut another, Waker::noop());
                acted.up();
            })
        };
        assert!(poll_with(&mut first, &waker).is_pending());
        let (counts, counting) = CountingWaker::new();
        for other in others.borrow_mut().iter_mut() {
            assert!(poll_with(other, &counting).is_pending());
        }
        until_async(|| acted.get() == 1).await;
        sleep(Duration::from_millis(3)).await;
        assert!(counts.wakes() <= 10);
        assert!(others.borrow().is_empty());
    });
}

#[test]
fn the_drop_of_a_waker_may_come_back_into_the_clock() {
    run(async || {
        // The last clone of a waker dies inside the runtime's own calls, and its drop drops a timer, or makes one.
        let acted = Counter::new();
        let dying = || {
            let acted = acted.clone();
            let mut kept = sleep(Duration::from_secs(60));
            assert!(poll_with(&mut kept, Waker::noop()).is_pending());
            dying_waker(move || {
                drop(kept);
                let mut another = sleep(Duration::from_secs(60));
                assert!(poll_with(&mut another, Waker::noop()).is_pending());
                acted.up();
            })
        };
        // Replaced by another waker, removed, fired.
        let mut replaced = sleep(Duration::from_secs(60));
        assert!(poll_with(&mut replaced, &dying()).is_pending());
        assert!(poll_with(&mut replaced, Waker::noop()).is_pending());
        assert_eq!(acted.get(), 1);
        let mut removed = sleep(Duration::from_secs(60));
        assert!(poll_with(&mut removed, &dying()).is_pending());
        drop(removed);
        assert_eq!(acted.get(), 2);
        let mut fired = sleep(Duration::from_millis(1));
        assert!(poll_with(&mut fired, &dying()).is_pending());
        until_async(|| acted.get() == 3).await;
    });
}

#[test]
fn the_drop_of_a_waker_may_come_back_to_its_socket() {
    run(async || {
        let (socket, _peer) = pair();
        let socket = Rc::new(socket);
        let acted = Counter::new();
        let dying = || {
            let (acted, socket) = (acted.clone(), Rc::clone(&socket));
            dying_waker(move || {
                let _ = socket.try_recv(&mut [0]);
                let mut cx = std::task::Context::from_waker(Waker::noop());
                let _ = socket.poll_read_with(&mut cx, |_| {
                    Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
                });
                acted.up();
            })
        };
        let would_block = |_: &std::os::unix::net::UnixStream| {
            Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
        };
        let mut first = Box::pin(socket.read_with(would_block));
        assert!(poll_with(&mut first, &dying()).is_pending());
        assert!(poll_with(&mut first, Waker::noop()).is_pending());
        assert_eq!(acted.get(), 1);
        let mut second = Box::pin(socket.read_with(would_block));
        assert!(poll_with(&mut second, &dying()).is_pending());
        assert!(poll_with(&mut second, Waker::noop()).is_pending());
        assert_eq!(acted.get(), 2);
        let mut third = Box::pin(socket.read_with(would_block));
        assert!(poll_with(&mut third, &dying()).is_pending());
        drop(third);
        assert_eq!(acted.get(), 3);
    });
}

#[test]
fn clones_and_drops_of_wakers_may_come_back_into_the_runtime() {
    thread_local!(static MEDDLED: Cell<usize> = const { Cell::new(0) });
    run(async || {
        // Whenever the runtime clones or drops this waker, it sleeps, spawns, opens a socket.
        let waker = meddling_waker(&|| {
            MEDDLED.set(MEDDLED.get() + 1);
            if MEDDLED.get().is_multiple_of(3) {
                let mut timer = sleep(Duration::from_secs(60));
                assert!(poll_with(&mut timer, Waker::noop()).is_pending());
                drop(spawn(async {}));
                drop(pair());
            }
        });
        for round in 0..30 {
            let mut timer = sleep(Duration::from_micros(round * 20));
            let mut task = spawn(yield_now());
            let token = CancelToken::new();
            let (mut waits, mut job) = ([token.cancelled(), token.cancelled()], unblock(|| ()));
            let (socket, peer) = pair();
            let read = || socket.read_with(|mut io| std::io::Read::read(&mut io, &mut [0]));
            let (mut first, mut second) = (Box::pin(read()), Box::pin(read()));
            for waker in [&waker, Waker::noop(), &waker] {
                let _ = poll_with(&mut timer, waker);
                if !task.is_finished() {
                    let _ = poll_with(&mut task, waker);
                }
                for wait in &mut waits {
                    let _ = poll_with(wait, waker);
                }
                let _ = poll_with(&mut first, waker);
                let _ = poll_with(&mut second, waker);
            }
            let _ = poll_with(&mut job, &waker);
            drop(first);
            (&peer).write_all(b"x").unwrap();
            token.cancel();
            sleep(Duration::from_micros(50)).await;
        }
        assert!(MEDDLED.get() > 300, "{} times", MEDDLED.get());
    });
}

#[test]
fn a_hundred_tasks_that_poll_one_socket_wait_in_peace_and_are_all_woken() {
    run(async || {
        let (socket, mut peer) = pair();
        let (socket, polls, done) = (Rc::new(socket), Counter::new(), Counter::new());
        for _ in 0..100 {
            let (socket, polls, done) = (Rc::clone(&socket), polls.clone(), done.clone());
            drop(spawn(async move {
                poll_fn(|cx| {
                    polls.up();
                    let read = |io: &std::os::unix::net::UnixStream| {
                        std::io::Read::read(&mut &*io, &mut [0; 1])
                    };
                    socket.poll_read_with(cx, read)
                })
                .await
                .unwrap();
                done.up();
            }));
        }
        for _ in 0..10 {
            sleep(Duration::from_millis(1)).await; // a look at the kernel, and all settle
        }
        // Each once, and those again who were woken when they were a crowd.
        let settled = polls.get();
        assert!(settled < 300, "{settled} polls");
        for _ in 0..10 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(polls.get(), settled, "they wake each other");
        peer.write_all(&[7; 100]).unwrap();
        until_async(|| done.get() == 100).await;
    });
}
