//! Is every subscriber told of its signals, and does the process get its old manners back?
//!
//! A signal's disposition belongs to the whole process, and so do these tests: each runs in a child process of its own,
//! and sends signals to that process only. `raise` runs the handler on the calling thread before it returns, so most
//! tests need no waiting; those that ask for other threads send to the process or to a thread.
//!
//! "Nothing comes" is asked after [`settle`], which lets the loop look at the kernel a few times.
//!
//! Comes from: main.rs. Goes to: `runtime::signals`.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::os::unix::thread::JoinHandleExt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use runtime::{Signal, Signals, block_on, ctrl_c, signals, spawn, yield_now};

use crate::support::counters::{Counter, CountingWaker, until_async};
use crate::support::process::descriptors;
use crate::support::{child_process, in_child_process};

/// How many subscriptions may be alive, as the documentation of `signals` has it.
const MOST: usize = 256;

#[test]
fn a_signal_is_delivered_once() {
    in_child_process(|| {
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            let waiting = spawn(async move {
                let signal = user1.next().await;
                settle().await;
                (signal, poll(&mut user1))
            });
            settle().await;
            raise(Signal::USER1);
            assert_eq!(waiting.await.unwrap(), (Signal::USER1, Poll::Pending));
        });
    });
}

#[test]
fn a_signal_between_the_subscription_and_the_first_poll_is_seen() {
    in_child_process(|| {
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            raise(Signal::USER1);
            assert_eq!(poll(&mut user1), Poll::Ready(Signal::USER1));
        });
    });
}

#[test]
fn every_subscriber_of_a_signal_is_told() {
    in_child_process(|| {
        block_on(async {
            let mut one = signals([Signal::USER1]).unwrap();
            let mut both = signals([Signal::USER1, Signal::USER2]).unwrap();
            let mut other = signals([Signal::USER2]).unwrap();
            raise(Signal::USER1);
            assert_eq!(one.next().await, Signal::USER1);
            assert_eq!(both.next().await, Signal::USER1);
            settle().await;
            assert_eq!(poll(&mut other), Poll::Pending);
        });
    });
}

#[test]
fn runtimes_on_all_threads_are_told_while_they_sleep() {
    in_child_process(|| {
        const THREADS: usize = 4;
        const ROUNDS: usize = 50;
        let ready = Arc::new(Barrier::new(THREADS + 1));
        let told = Counter::new();
        let workers = {
            let (ready, told) = (Arc::clone(&ready), told.clone());
            runtime::workers(THREADS, move |_| {
                let (ready, told) = (Arc::clone(&ready), told.clone());
                async move {
                    let mut user1 = signals([Signal::USER1]).unwrap();
                    ready.wait();
                    for _ in 0..ROUNDS {
                        assert_eq!(user1.next().await, Signal::USER1);
                        told.up();
                    }
                }
            })
            .unwrap()
        };
        ready.wait();
        for round in 1..=ROUNDS {
            send(Signal::USER1);
            told.wait_for(round * THREADS);
        }
        assert!(workers.join().iter().all(Result::is_ok));
        assert_eq!(told.get(), ROUNDS * THREADS);
    });
}

#[test]
fn signals_coalesce_and_none_of_a_kind_is_lost() {
    in_child_process(|| {
        block_on(async {
            let list = [Signal::WINDOW_CHANGE, Signal::USER1, Signal::USER2];
            let mut all = signals(list).unwrap();
            for _ in 0..3 {
                list.into_iter().for_each(raise);
            }
            let mut came = vec![all.next().await, all.next().await, all.next().await];
            came.sort_by_key(|signal| list.iter().position(|listed| listed == signal));
            assert_eq!(came, list);
            settle().await;
            assert_eq!(poll(&mut all), Poll::Pending);
        });
    });
}

#[test]
fn no_signal_starves_the_others_of_its_subscription() {
    in_child_process(|| {
        block_on(async {
            let mut all = signals([Signal::USER1, Signal::USER2]).unwrap();
            raise(Signal::USER1);
            raise(Signal::USER2);
            let first = all.next().await;
            raise(first);
            assert_ne!(all.next().await, first);
            assert_eq!(all.next().await, first);
        });
    });
}

#[test]
fn the_end_of_one_subscription_leaves_the_others() {
    in_child_process(|| {
        block_on(async {
            let leaving = signals([Signal::USER1, Signal::USER1]).unwrap();
            let mut staying = signals([Signal::USER1]).unwrap();
            drop(leaving);
            raise(Signal::USER1);
            assert_eq!(staying.next().await, Signal::USER1);
            drop(staying);
            assert_eq!(disposition(Signal::USER1), libc::SIG_DFL);
        });
    });
}

#[test]
fn the_last_subscriber_restores_the_default() {
    let (output, text) = child_process(|| {
        block_on(async {
            let one = signals([Signal::USER1]).unwrap();
            let two = signals([Signal::USER1]).unwrap();
            drop(one);
            raise(Signal::USER1);
            println!("lived");
            drop(two);
            raise(Signal::USER1);
            println!("and lived");
        });
    });
    assert_eq!(output.status.signal(), Some(libc::SIGUSR1), "{text}");
    assert!(text.contains("lived") && !text.contains("and lived"));
}

#[test]
fn the_last_subscriber_restores_that_a_signal_is_ignored() {
    in_child_process(|| {
        // SAFETY: to ignore a signal takes no handler.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            raise(Signal::USER1);
            assert_eq!(user1.next().await, Signal::USER1);
            drop(user1);
            assert_eq!(disposition(Signal::USER1), libc::SIG_IGN);
            raise(Signal::USER1);
        });
    });
}

#[test]
fn a_handler_put_over_ours_is_left_in_place() {
    extern "C" fn stranger(_: i32) {}
    let stranger = stranger as extern "C" fn(i32) as usize;
    in_child_process(move || {
        let put = |handler| {
            // SAFETY: either the default or a handler that does nothing.
            unsafe { libc::signal(libc::SIGUSR1, handler) };
        };
        block_on(async {
            let only = signals([Signal::USER1]).unwrap();
            put(stranger);
            drop(only);
            assert_eq!(disposition(Signal::USER1), stranger);

            // A subscriber that comes later covers the stranger, and uncovers it at the end.
            put(libc::SIG_DFL);
            let first = signals([Signal::USER1]).unwrap();
            put(stranger);
            let mut second = signals([Signal::USER1]).unwrap();
            raise(Signal::USER1);
            assert_eq!(second.next().await, Signal::USER1);
            drop((first, second));
            assert_eq!(disposition(Signal::USER1), stranger);
        });
    });
}

#[test]
fn subscribing_again_and_again_leaks_no_descriptors() {
    in_child_process(|| {
        block_on(async {
            drop(signals([Signal::USER1]).unwrap());
            let before = descriptors();
            for _ in 0..200 {
                let mut user1 = signals([Signal::USER1]).unwrap();
                raise(Signal::USER1);
                assert_eq!(user1.next().await, Signal::USER1);
            }
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn a_full_table_is_a_clear_error_until_somebody_leaves() {
    in_child_process(|| {
        allow_descriptors(2 * MOST as libc::rlim_t + 100);
        block_on(async {
            let mut all: Vec<_> = (0..MOST).map(|_| signals([Signal::USER1]).unwrap()).collect();
            let error = signals([Signal::USER1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
            assert!(error.to_string().contains("signal subscriptions"));
            all.pop();
            all.push(signals([Signal::USER1]).unwrap());
            raise(Signal::USER1);
            for user1 in &mut all {
                assert_eq!(user1.next().await, Signal::USER1);
            }
        });
    });
}

#[test]
fn being_out_of_descriptors_is_an_error_and_takes_no_place() {
    in_child_process(|| {
        block_on(async {
            crate::support::process::limit_descriptors(64);
            let mut fill: Vec<_> =
                std::iter::from_fn(|| io::stdin().as_fd().try_clone_to_owned().ok()).collect();
            fill.pop(); // room for one, and a subscription takes two
            for _ in 0..2 * MOST {
                let error = signals([Signal::USER1]).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            }
            assert_eq!(disposition(Signal::USER1), libc::SIG_DFL);
        });
    });
}

#[test]
fn ctrl_c_is_caught_once_and_then_ends_the_process_again() {
    let (output, text) = child_process(|| {
        // Whoever starts tests in the background of a shell without job control has them ignore it.
        // SAFETY: no handler is set, only the default.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        block_on(async {
            drop(ctrl_c());
            assert_eq!(disposition(Signal::INTERRUPT), libc::SIG_DFL);
            let caught = ctrl_c();
            raise(Signal::INTERRUPT); // before the first poll
            caught.await.unwrap();
            println!("lived");
            raise(Signal::INTERRUPT);
            println!("and lived");
        });
    });
    assert_eq!(output.status.signal(), Some(libc::SIGINT), "{text}");
    assert!(text.contains("lived") && !text.contains("and lived"));
}

#[test]
fn what_cannot_be_awaited_is_refused_and_nothing_is_caught() {
    in_child_process(|| {
        block_on(async {
            let refused = [
                (libc::SIGKILL, "SIGKILL"),
                (libc::SIGSTOP, "SIGSTOP"),
                (libc::SIGSEGV, "SIGSEGV"),
                (libc::SIGBUS, "SIGBUS"),
                (libc::SIGFPE, "SIGFPE"),
                (libc::SIGILL, "SIGILL"),
                (0, "signal 0"),
                (-1, "signal -1"),
                (65, "signal 65"),
                (i32::MIN, "signal -2147483648"),
            ];
            for (number, name) in refused {
                let error = signals([Signal::USER1, Signal::from_raw(number)]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
                assert!(error.to_string().starts_with(name), "{error}");
                assert_eq!(disposition(Signal::USER1), libc::SIG_DFL);
            }
        });
    });
}

/// The C library keeps signal 32 for itself and says so only when it is asked to catch it.
#[test]
#[cfg(target_os = "linux")]
fn a_signal_that_the_system_refuses_takes_the_others_back() {
    in_child_process(|| {
        block_on(async {
            for _ in 0..2 * MOST {
                let error = signals([Signal::USER1, Signal::from_raw(32)]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
            assert_eq!(disposition(Signal::USER1), libc::SIG_DFL);
        });
    });
}

#[test]
fn outside_of_a_runtime_it_is_an_error() {
    in_child_process(|| {
        let error = signals([Signal::USER1]).unwrap_err();
        assert!(error.to_string().starts_with("runtime::signals outside of a runtime"));
        assert_eq!(disposition(Signal::USER1), libc::SIG_DFL);
    });
}

#[test]
fn a_dropped_wait_takes_no_signal_with_it() {
    in_child_process(|| {
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            let (wakes, waker) = CountingWaker::new();
            let mut cx = Context::from_waker(&waker);
            assert_eq!(pin!(user1.next()).poll(&mut cx), Poll::Pending);
            {
                let mut wait = pin!(user1.next());
                assert_eq!(wait.as_mut().poll(&mut cx), Poll::Pending);
                raise(Signal::USER1);
                until_async(|| wakes.wakes() > 0).await;
            } // woken, and dropped before it is polled again
            assert_eq!(user1.next().await, Signal::USER1);
        });
    });
}

#[test]
fn a_place_taken_over_brings_no_signals_of_the_one_before() {
    in_child_process(|| {
        block_on(async {
            let _keeps_the_handler = signals([Signal::USER1, Signal::USER2]).unwrap();
            let leaving = signals([Signal::USER1, Signal::USER2]).unwrap();
            raise(Signal::USER1);
            raise(Signal::USER2);
            drop(leaving);
            let mut next = signals([Signal::USER1]).unwrap();
            settle().await;
            let (wakes, waker) = CountingWaker::new();
            let polled = next.poll_next(&mut Context::from_waker(&waker));
            assert_eq!(polled, Poll::Pending);
            raise(Signal::USER2);
            settle().await;
            assert_eq!(wakes.wakes(), 0, "woken for what the one before wanted");
            raise(Signal::USER1);
            assert_eq!(next.next().await, Signal::USER1);
        });
    });
}

#[test]
fn a_task_that_always_has_a_signal_lets_others_run() {
    in_child_process(|| {
        block_on(async {
            let others = Counter::new();
            let counting = spawn({
                let others = others.clone();
                async move {
                    loop {
                        others.up();
                        yield_now().await;
                    }
                }
            });
            let mut user1 = signals([Signal::USER1]).unwrap();
            for _ in 0..1280 {
                raise(Signal::USER1);
                user1.next().await;
            }
            // 128 operations a poll: nine pauses at the least.
            assert!(others.get() >= 9, "the other ran {} times", others.get());
            counting.abort();
        });
    });
}

#[test]
fn the_loop_lives_through_a_flood_of_signals() {
    in_child_process(|| {
        block_on(async {
            const FLOOD: usize = 100_000;
            let mut user1 = signals([Signal::USER1, Signal::USER2]).unwrap();
            let over = Arc::new(AtomicBool::new(false));
            let flooding = thread::spawn({
                let over = Arc::clone(&over);
                move || {
                    for _ in 0..FLOOD {
                        raise(Signal::USER1);
                    }
                    over.store(true, Ordering::SeqCst);
                    raise(Signal::USER2);
                }
            });
            let taking = spawn(async move {
                let mut count = 0;
                while user1.next().await != Signal::USER2 {
                    count += 1;
                }
                count
            });
            let mut rounds = 0;
            while !over.load(Ordering::SeqCst) {
                let (left, right) = crate::support::sockets::async_pair();
                left.send(b"alive").await.unwrap();
                assert_eq!(right.recv(&mut [0; 8]).await.unwrap(), 5);
                rounds += 1;
            }
            let count = taking.await.unwrap();
            assert!(rounds > 0 && (1..=FLOOD).contains(&count));
            flooding.join().unwrap();
        });
    });
}

#[test]
fn a_full_socket_loses_nothing_and_leaves_errno_alone() {
    in_child_process(|| {
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            for _ in 0..20_000 {
                raise(Signal::USER1); // nobody reads: the last of these writes fail
            }
            // SAFETY: no descriptor has this number; the call fails and sets errno.
            unsafe { libc::close(-1) };
            raise(Signal::USER1);
            assert_eq!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EBADF),
                "the handler changed errno"
            );
            assert_eq!(user1.next().await, Signal::USER1);
            settle().await;
            assert_eq!(poll(&mut user1), Poll::Pending);
            let waiting = spawn(async move { user1.next().await });
            settle().await;
            raise(Signal::USER1);
            assert_eq!(waiting.await.unwrap(), Signal::USER1);
        });
    });
}

#[test]
fn a_thread_blocked_in_a_call_does_not_notice() {
    in_child_process(|| {
        block_on(async {
            let mut user1 = signals([Signal::USER1]).unwrap();
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            let (tell, told) = mpsc::channel();
            let blocked = thread::spawn(move || {
                tell.send(()).unwrap();
                theirs.read(&mut [0; 8]) // std does not try again by itself
            });
            told.recv().unwrap();
            for _ in 0..200 {
                // SAFETY: the thread has not been joined, so its name is still its own.
                let result = unsafe { libc::pthread_kill(blocked.as_pthread_t(), libc::SIGUSR1) };
                assert_eq!(result, 0);
                user1.next().await;
            }
            ours.write_all(b"now").unwrap();
            assert_eq!(blocked.join().unwrap().unwrap(), 3);
        });
    });
}

#[test]
fn nothing_late_does_harm_while_subscribers_come_and_go() {
    in_child_process(|| {
        // Both do nothing by default, so they may come while nobody subscribes.
        const LIST: [Signal; 2] = [Signal::WINDOW_CHANGE, Signal::CONTINUE];
        let over = Arc::new(AtomicBool::new(false));
        let flooding: Vec<_> = (0..4)
            .map(|_| {
                let over = Arc::clone(&over);
                thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        LIST.into_iter().for_each(raise);
                    }
                })
            })
            .collect();
        let workers = runtime::workers(2, |_| async {
            for round in 0..1000 {
                let signal = LIST[round % 2];
                let mut subscription = signals([signal]).unwrap();
                assert_eq!(subscription.next().await, signal);
                drop(subscription);
                // These take the numbers that are free now, and nobody writes to them.
                let pairs = [(); 4].map(|()| UnixStream::pair().unwrap());
                yield_now().await;
                for socket in pairs.iter().flat_map(|(one, two)| [one, two]) {
                    socket.set_nonblocking(true).unwrap();
                    let result = (&*socket).read(&mut [0; 8]);
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
                }
            }
        })
        .unwrap();
        assert!(workers.join().iter().all(Result::is_ok));
        over.store(true, Ordering::SeqCst);
        for thread in flooding {
            thread.join().unwrap();
        }
        for signal in LIST {
            assert_eq!(disposition(signal), libc::SIG_DFL);
        }
    });
}

#[test]
fn a_forked_child_subscribes_for_itself_and_the_parent_hears_only_its_own() {
    in_child_process(|| {
        block_on(async {
            let mut parents = signals([Signal::USER1]).unwrap();
            // SAFETY: the child runs on with this thread alone; it takes no lock that another thread could have held
            // except the allocator's, which the C library keeps usable, and leaves by _exit.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                let fine = thread::spawn(child_of_fork).join().is_ok_and(|fine| fine);
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(if fine { 0 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: `status` lives through the call, and the child is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child's subscription failed");
            settle().await;
            assert_eq!(poll(&mut parents), Poll::Pending);
            raise(Signal::USER1);
            assert_eq!(parents.next().await, Signal::USER1);
        });
    });

    fn child_of_fork() -> bool {
        block_on(async {
            let mut user2 = signals([Signal::USER2]).unwrap();
            let restored = disposition(Signal::USER1) == libc::SIG_DFL;
            let mut user1 = signals([Signal::USER1]).unwrap();
            raise(Signal::USER1);
            raise(Signal::USER2);
            user1.next().await == Signal::USER1 && user2.next().await == Signal::USER2 && restored
        })
    }
}

/// The first thread of the process gets what is sent to the process, and it sleeps: the signal is often pending when the
/// subscription ends.
#[test]
fn a_signal_pending_at_the_drop_of_its_last_subscription_is_discarded() {
    in_child_process(|| {
        block_on(async {
            let list = [Signal::USER1, Signal::USER2, Signal::ALARM, Signal::TERMINATE];
            for round in 0..1000 {
                let some = &list[..=round % list.len()];
                let all = signals(some.iter().copied()).unwrap();
                some.iter().copied().for_each(send);
                drop(all);
                assert!(list.iter().all(|signal| disposition(*signal) == libc::SIG_DFL));
            }
        });
    });
}

#[test]
fn a_signal_pending_at_the_drop_of_one_of_two_subscriptions_is_told_to_the_other() {
    in_child_process(|| {
        block_on(async {
            for _ in 0..300 {
                let leaving = signals([Signal::USER1, Signal::USER2]).unwrap();
                let mut staying = signals([Signal::USER1]).unwrap();
                send(Signal::USER1);
                send(Signal::USER2);
                drop(leaving);
                assert_eq!(staying.next().await, Signal::USER1);
            }
        });
    });
}

#[test]
fn the_end_of_a_subscription_to_child_ends_loses_no_child_s_status() {
    in_child_process(|| {
        block_on(async {
            for _ in 0..200 {
                let mut child = std::process::Command::new("true").spawn().unwrap();
                while child.try_wait().expect("its status is not lost").is_none() {
                    drop(signals([Signal::CHILD]).unwrap());
                }
            }
        });
    });
}

#[test]
fn a_fork_ignores_a_signal_that_was_ignored_before_the_parent_subscribed() {
    in_child_process(|| {
        // SAFETY: to ignore a signal takes no handler.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        block_on(async {
            let _signals = signals([Signal::HANGUP]).unwrap();
            // SAFETY: the child makes two calls, both allowed there.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                raise(Signal::HANGUP);
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(7) };
            }
            let mut status = 0;
            // SAFETY: `status` lives through the call, and the child is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        });
    });
}

/// Lets the loop ask the kernel a few times: a turn polls up to 64 times before it does.
async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

fn poll(signals: &mut Signals) -> Poll<Signal> {
    signals.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Signals this thread; its handler has run when this returns.
fn raise(signal: Signal) {
    // SAFETY: no pointers; what the signal does is the test's subject.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

/// Signals this process: the kernel chooses the thread.
fn send(signal: Signal) {
    let this_process = std::process::id() as libc::pid_t;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(this_process, signal.as_raw()) }, 0);
}

/// What the process does with a signal now: `SIG_DFL`, `SIG_IGN` or a handler's address.
fn disposition(signal: Signal) -> usize {
    // SAFETY: a C record for which zeroes are valid.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer sets nothing; `now` is ours to write.
    let result = unsafe { libc::sigaction(signal.as_raw(), std::ptr::null(), &raw mut now) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    now.sa_sigaction
}

/// Lets this process open that many descriptors, where the usual limit is lower.
fn allow_descriptors(at_least: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the record is ours to write.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_cur.max(at_least);
    // SAFETY: the record lives through the call, which only reads it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_fork_of_a_program_that_has_subscribed_is_ended_by_that_signal() {
    in_child_process(|| {
        block_on(async {
            let _signals = signals([Signal::TERMINATE]).unwrap();
            let (mut here, there) = UnixStream::pair().unwrap();
            // SAFETY: the child makes three calls, all allowed there.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: one byte, which lives through the call. It says that the fork is through.
                unsafe {
                    libc::write(std::os::fd::AsRawFd::as_raw_fd(&there), [1u8].as_ptr().cast(), 1)
                };
                // SAFETY: it takes no memory. Until the signal comes; or, if it is swallowed, for long.
                unsafe { libc::sleep(600) };
                // SAFETY: as above.
                unsafe { libc::_exit(0) };
            }
            here.read_exact(&mut [0]).unwrap();
            // SAFETY: it takes no memory; the child is ours and not waited for yet.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
            let mut status = 0;
            // SAFETY: the number lives through the call.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert!(libc::WIFSIGNALED(status), "it ran to its end");
        });
    });
}
