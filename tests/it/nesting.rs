//! What happens where it does not belong: a loop inside a loop, and the runtime's futures outside of any?
//!
//! A clear panic or a typed error that names the call and the way out; never a hang, and never a spin.
//!
//! Comes from: main.rs. Goes to: executor.rs, context.rs of the runtime.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::{AsyncSocket, Handle, Runtime, interval, sleep, spawn, timeout, unblock, yield_now};

use crate::support::counters::{Counter, CountingWaker, Watcher, poll_with, polled};
use crate::support::sockets::pair;
use crate::support::{run, within};

/// The words of the panic that `body` ends in.
fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let hook = AssertUnwindSafe(body);
    let payload = match catch_unwind(hook) {
        Err(payload) => payload,
        Ok(_) => panic!("it did not panic"),
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
    }
}

#[test]
fn a_block_on_inside_a_block_on_is_refused_by_name() {
    run(async || {
        let text = panic_of(|| runtime::block_on(async {}));
        assert!(text.contains("runtime::block_on") && text.contains("inside"), "{text}");
        assert!(text.contains(".await") && text.contains("unblock"), "the way out: {text}");
        let inner = Runtime::new().unwrap();
        let text = panic_of(|| inner.block_on(async {}));
        assert!(text.contains("Runtime::block_on"), "{text}");
        let text = panic_of(|| inner.turn(None));
        assert!(text.contains("Runtime::turn"), "{text}");
        // And the outer one goes on.
        spawn(async { sleep(Duration::from_millis(1)).await }).await.unwrap();
    });
}

#[test]
fn a_block_on_inside_a_task_is_refused_and_is_that_task_s_panic() {
    run(async || {
        let task = spawn(async { runtime::block_on(async {}) });
        assert!(task.await.unwrap_err().is_panic());
        yield_now().await;
    });
}

#[test]
fn a_block_on_after_a_refused_one_works() {
    within(10, || {
        runtime::block_on(async { panic_of(|| runtime::block_on(async {})) });
        assert_eq!(runtime::block_on(async { 5 }), 5);
    });
}

#[test]
fn a_destructor_of_a_thread_local_may_use_a_runtime_and_is_refused_as_elsewhere() {
    type Told = (String, i32, String);
    struct AtEnd(mpsc::Sender<Told>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let outside = panic_of(|| drop(spawn(async {})));
            let (output, inside) = runtime::block_on(async {
                let output = spawn(async { 7 }).await.unwrap();
                (output, panic_of(|| runtime::block_on(async {})))
            });
            let _ = self.0.send((outside, output, inside));
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    let (tell, told) = mpsc::channel();
    // One is made before the runtime's own thread-locals are, and one after.
    let thread = thread::spawn(move || {
        BEFORE.set(Some(AtEnd(tell.clone())));
        runtime::block_on(async {});
        AFTER.set(Some(AtEnd(tell)));
    });
    thread.join().unwrap();
    let told: Vec<_> = told.iter().collect();
    assert_eq!(told.len(), 2);
    for (outside, output, inside) in told {
        assert!(outside.contains("outside of a runtime"), "{outside}");
        assert_eq!(output, 7);
        assert!(inside.contains("inside of a block_on"), "{inside}");
    }
}

#[test]
fn a_wake_of_a_root_that_has_ended_does_not_poll_the_next_root() {
    within(10, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let kept = Rc::new(RefCell::new(None));
        let polls = |polls: &Counter| {
            let (polls, kept) = (polls.clone(), Rc::clone(&kept));
            rt.block_on(std::future::poll_fn(move |cx| {
                polls.up();
                // Woken in its last poll, so that it stands in the run queue when it ends.
                cx.waker().wake_by_ref();
                *kept.borrow_mut() = Some(cx.waker().clone());
                std::task::Poll::Ready(())
            }));
        };
        polls(&Counter::new());
        let old = kept.take().unwrap();
        old.wake_by_ref();
        let abroad = old.clone();
        thread::spawn(move || abroad.wake()).join().unwrap();
        let count = Counter::new();
        let (next, wakes) = polled(async {
            for _ in 0..3 {
                old.wake_by_ref();
                yield_now().await;
            }
        });
        rt.block_on(next);
        assert_eq!(wakes.get(), 4, "polls of the next root");
        let woken = watcher.woken.get();
        polls(&count);
        assert_eq!(count.get(), 1);
        assert_eq!(watcher.woken.get() - woken, 2, "at its start, and by itself");
    });
}

#[test]
fn a_block_on_on_another_thread_is_no_nesting() {
    run(async || {
        let answer = unblock(|| runtime::block_on(async { spawn(async { 5 }).await.unwrap() }));
        assert_eq!(answer.await.unwrap(), 5);
    });
}

#[test]
fn a_foreign_executor_may_run_inside_for_what_needs_no_loop() {
    run(async || {
        assert_eq!(futures_lite::future::block_on(async { 5 }), 5);
    });
}

#[test]
fn outside_of_a_runtime_calls_say_so_and_name_themselves() {
    within(10, || {
        let text = panic_of(|| spawn(async {}));
        assert!(text.contains("runtime::spawn") && text.contains("outside"), "{text}");
        assert!(text.contains("block_on"), "the way in: {text}");
        assert!(panic_of(Handle::current).contains("Handle::current"));
        assert!(Handle::try_current().is_none());
        let (_, waker) = CountingWaker::new();
        let mut timer = sleep(Duration::from_millis(1));
        assert!(panic_of(|| poll_with(&mut timer, &waker)).contains("outside"));
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = AsyncSocket::new(socket).unwrap_err();
        assert!(error.to_string().contains("outside of a runtime"), "{error}");
    });
}

#[test]
fn timers_may_be_made_outside_and_awaited_inside() {
    within(10, || {
        let timer = sleep(Duration::from_millis(1));
        let mut ticks = interval(Duration::from_millis(1));
        let late = timeout(Duration::from_millis(1), std::future::pending::<()>());
        runtime::block_on(async {
            timer.await;
            ticks.tick().await;
            assert!(late.await.is_err());
        });
    });
}

#[test]
fn a_socket_under_a_foreign_executor_ends_in_an_error_and_never_spins() {
    within(20, || {
        let rt = Runtime::new().unwrap();
        let (socket, peer) = rt.block_on(async { pair() });
        std::io::Write::write_all(&mut &peer, &[7; 1000]).unwrap();
        // There is something to read, so no wait is needed; more operations than one poll of the loop may make.
        let received = Counter::new();
        let error = futures_lite::future::block_on(async {
            loop {
                if let Err(error) = socket.recv(&mut [0; 1]).await {
                    return error;
                }
                received.up();
            }
        });
        assert_eq!(received.get(), 1000);
        assert!(error.to_string().contains("not running"), "{error}");
    });
}

#[test]
fn a_socket_under_a_foreign_executor_inside_a_task_does_not_spin_either() {
    // What is there can be had by somebody who never lets the loop turn.
    run(async || {
        let (socket, peer) = pair();
        std::io::Write::write_all(&mut &peer, &[7; 1000]).unwrap();
        let received = futures_lite::future::block_on(async {
            let mut received = 0;
            while received < 1000 {
                received += socket.recv(&mut [0; 1]).await.unwrap();
            }
            received
        });
        assert_eq!(received, 1000);
    });
}
