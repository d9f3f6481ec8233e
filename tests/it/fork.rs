//! What happens to a runtime whose process is split by fork()?
//!
//! The parent's goes on as if nothing had happened, whatever the child does with its copy. The child is told, in words,
//! that it needs a runtime of its own. (Who forks and then calls exec, as `std::process::Command` does, never notices.)
//!
//! Each test forks inside a child process of its own with one other thread, so that no test's lock is held for ever in the
//! copy.
//!
//! Comes from: main.rs. Goes to: sys/fork.rs of the runtime.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use runtime::{AsyncSocket, Runtime, UnblockError, sleep, spawn, unblock, yield_now};

use crate::support::counters::poll_with;
use crate::support::in_child_process;
use crate::support::sockets::pair;

/// Runs `child` in a fork of this process, and fails if it fails.
fn forked(child: impl FnOnce()) {
    // SAFETY: the copy has this thread alone. It runs the closure, which takes no lock that another thread of the test may
    // hold (the C library's own are made safe by it), and leaves by `_exit`, so that nothing of the parent's is run twice.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    if pid == 0 {
        let result = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(if result.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the place is ours; the process is our own child.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the forked child has failed");
}

#[test]
fn a_child_that_turns_its_parent_s_runtime_is_told_so() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        rt.block_on(yield_now());
        forked(|| {
            let error = rt.turn(Some(Duration::ZERO)).unwrap_err();
            assert!(error.to_string().contains("fork"), "{error}");
            let root = AssertUnwindSafe(|| rt.block_on(sleep(Duration::from_millis(1))));
            let payload = catch_unwind(root).unwrap_err();
            let text = payload.downcast_ref::<String>().unwrap();
            assert!(text.contains("fork"), "{text}");
        });
        rt.block_on(sleep(Duration::from_millis(1)));
    });
}

#[test]
fn a_fork_inside_of_a_task_is_noticed_at_the_next_wait() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        rt.block_on(async {
            forked(|| {
                let mut timer = sleep(Duration::from_millis(1));
                let _ = poll_with(&mut timer, std::task::Waker::noop());
            });
            sleep(Duration::from_millis(1)).await;
        });
    });
}

#[test]
fn a_child_may_make_a_runtime_of_its_own() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        rt.block_on(yield_now());
        forked(|| {
            runtime::block_on(async {
                let (socket, mut peer) = pair();
                peer.write_all(b"abc").unwrap();
                assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3);
                sleep(Duration::from_millis(1)).await;
                spawn(async {}).await.unwrap();
            });
        });
        rt.block_on(sleep(Duration::from_millis(1)));
    });
}

#[test]
fn what_the_child_drops_is_not_taken_from_the_parent() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        let (socket, mut peer) = rt.block_on(async { pair() });
        let reader = rt.spawn(async move { socket.recv(&mut [0; 8]).await.unwrap() });
        rt.block_on(yield_now());
        let mut rt = Some(rt);
        forked(|| drop(rt.take())); // the runtime, its tasks, their sockets: the child's copies
        peer.write_all(b"abc").unwrap();
        assert_eq!(rt.unwrap().block_on(reader).unwrap(), 3);
    });
}

#[test]
fn what_the_child_adds_is_not_seen_by_the_parent() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        rt.block_on(async {
            let (socket, mut peer) = pair();
            forked(|| {
                let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                if let Ok(socket) = AsyncSocket::new(ours) {
                    theirs.write_all(b"abc").unwrap();
                    std::mem::forget(socket);
                }
            });
            let mut byte = [0; 1];
            let (count, ()) = futures_lite::future::zip(socket.recv(&mut byte), async {
                sleep(Duration::from_millis(1)).await;
                peer.write_all(b"x").unwrap();
            })
            .await;
            assert_eq!(count.unwrap(), 1);
        });
    });
}

#[test]
fn the_pool_of_a_child_refuses_instead_of_waiting_for_threads_it_has_not() {
    in_child_process(|| {
        runtime::block_on(async { unblock(|| ()).await.unwrap() });
        forked(|| {
            let answer = runtime::block_on(async { unblock(|| ()).await });
            assert!(matches!(answer, Err(UnblockError::NoThread(_))));
        });
        runtime::block_on(async { unblock(|| ()).await.unwrap() });
    });
}

#[test]
fn a_program_that_is_started_inherits_no_descriptor() {
    in_child_process(|| {
        /// What a new program finds open, as text.
        fn inherited() -> String {
            let output = Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        }
        runtime::block_on(async {
            let before = inherited();
            let (_socket, _peer) = pair();
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let (_stream, _) = listener.accept().await.unwrap();
            let _connected = net::TcpStream::connect(address).await.unwrap();
            assert_eq!(inherited(), before);
            drop(client);
        });
    });
}
