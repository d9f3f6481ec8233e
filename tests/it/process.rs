//! Are children started, fed, heard, killed and reaped, and does nobody notice them once they are gone?
//!
//! Where the subject is the process (zombies, descriptors, dispositions), a test runs in a child process of its own, in
//! which no other test has children. `waitid` with `WNOWAIT` is the oracle for zombies: it asks for any child, dead or
//! alive, and takes none.
//!
//! The children are the usual small programs. Under `--cfg ground_portable` all of this runs without process descriptors,
//! over `SIGCHLD`.
//!
//! Comes from: main.rs. Goes to: `runtime::process` and the pipes.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use runtime::process::{Child, Command};
use runtime::{
    AsyncSocket, PipeReader, PipeWriter, Runtime, Signal, block_on, signals, sleep, spawn, timeout,
};

use crate::support::counters::{CountingWaker, Watcher, until, until_async};
use crate::support::process::{descriptors, limit_descriptors, threads};
use crate::support::{in_child_process, run};

#[test]
fn exit_codes_are_told() {
    run(async || {
        for code in [0, 1, 7, 255] {
            let status = sh(&format!("exit {code}")).status().await.unwrap();
            assert_eq!((status.code(), status.signal()), (Some(code), None));
        }
    });
}

#[test]
fn a_signal_as_the_end_is_told() {
    run(async || {
        for signal in [Signal::TERMINATE, Signal::USER1] {
            let mut child = cat().spawn().unwrap();
            child.signal(signal).unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(signal.as_raw()));
        }
    });
}

#[test]
fn a_kill_waits_for_the_end_and_the_number_is_given_up() {
    run(async || {
        let mut child = cat().spawn().unwrap();
        assert!(is_alive(child.id().unwrap()));
        assert_eq!(child.kill().await.unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(child.id(), None);
        // What has ended stays as it was, whatever it is sent.
        child.signal(Signal::TERMINATE).unwrap();
        assert_eq!(child.kill().await.unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn a_signal_to_one_that_has_ended_unseen_changes_nothing() {
    run(async || {
        let mut child = sh("exit 5").stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        assert_eq!(stdout.read(&mut [0; 8]).await.unwrap(), 0); // it has ended, or is about to
        let pid = child.id().unwrap();
        until_async(|| state_of(pid).is_none_or(|state| state == 'Z')).await;
        child.start_kill().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(5));
    });
}

#[test]
fn a_look_does_not_wait() {
    run(async || {
        let mut child = cat().spawn().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        drop(child.stdin.take());
        let mut status = None;
        while status.is_none() {
            sleep(Duration::from_micros(100)).await;
            status = child.try_wait().unwrap();
        }
        assert!(status.unwrap().success());
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn what_is_written_comes_back() {
    run(async || {
        let mut child = cat().spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        for word in ["one", "two", "three"] {
            input.write_all(word.as_bytes()).await.unwrap();
            let mut buffer = [0; 16];
            let count = output.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], word.as_bytes());
        }
        drop(input);
        assert_eq!(output.read(&mut [0; 16]).await.unwrap(), 0);
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn much_comes_out_of_both_pipes_in_any_order() {
    run(async || {
        const MUCH: usize = 300_000; // a pipe holds 65,536
        let zeros = format!("head -c {MUCH} /dev/zero");
        for script in [
            format!("{zeros}; {zeros} >&2"),
            format!("{zeros} >&2; {zeros}"),
            format!("{zeros} & {zeros} >&2; wait"),
        ] {
            let output = sh(&script).output().await.unwrap();
            assert!(output.status.success());
            assert_eq!((output.stdout.len(), output.stderr.len()), (MUCH, MUCH), "{script}");
        }
    });
}

#[test]
fn much_goes_in_while_much_comes_out() {
    run(async || {
        let input: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let output = Command::new("tee").arg("/dev/stderr").output_of(&*input).await.unwrap();
        assert!(output.stdout == input && output.stderr == input);
    });
}

#[test]
fn a_program_that_does_not_read_its_input_is_no_error() {
    run(async || {
        let output = sh("exec <&-; echo done; exit 3").output_of(vec![7; 1 << 20]).await.unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"done\n"[..]));
    });
}

#[test]
fn an_output_s_input_is_empty_if_nobody_has_set_it() {
    run(async || {
        let output = Command::new("cat").output().await.unwrap();
        assert!(output.status.success() && output.stdout.is_empty());
    });
}

#[test]
fn collecting_leaves_the_settings_as_they_were() {
    run(async || {
        let mut command = sh("cat >/dev/null; echo out; echo err >&2");
        command.stderr(Stdio::null());
        for _ in 0..2 {
            let output = command.output().await.unwrap();
            assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b""[..]));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn settings_of_std_are_taken_over() {
    run(async || {
        let mut std = std::process::Command::new("sh");
        std.args(["-c", "echo $WORD; pwd"]).env("WORD", "hello").current_dir("/");
        let output = Command::from(std).output().await.unwrap();
        assert_eq!(output.stdout, b"hello\n/\n");
        let mut command = sh("echo ${WORD-none}");
        command.env("WORD", "hello").env_remove("WORD");
        assert_eq!(command.output().await.unwrap().stdout, b"none\n");
    });
}

#[test]
fn a_child_may_close_its_output_and_live_on() {
    run(async || {
        let mut child = sh("exec >&-; read line; exit $line")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        assert_eq!(stdout.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(child.try_wait().unwrap(), None);
        child.stdin.as_ref().unwrap().write_all(b"9\n").await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(9));
    });
}

#[test]
fn a_write_that_nobody_will_read_is_a_broken_pipe() {
    run(async || {
        let mut command = sh("exec <&-; echo; exec sleep 1000");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_ref().unwrap().read(&mut [0; 8]).await.unwrap();
        let error = child.stdin.as_ref().unwrap().write_all(b"hello").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        child.kill().await.unwrap();
    });
}

#[test]
fn a_dropped_wait_is_taken_up_again() {
    run(async || {
        let mut child = cat().spawn().unwrap();
        let input = child.stdin.take();
        let (wakes, waker) = CountingWaker::new();
        for _ in 0..3 {
            assert!(pin!(child.wait()).poll(&mut Context::from_waker(&waker)).is_pending());
            assert!(timeout(Duration::from_millis(1), child.wait()).await.is_err());
        }
        {
            let mut wait = pin!(child.wait());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(input);
            until_async(|| wakes.wakes() > 0).await;
        } // woken, and dropped before it is polled again
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn a_dropped_read_loses_nothing() {
    run(async || {
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = PipeReader::new(reader).unwrap();
        let (wakes, waker) = CountingWaker::new();
        let mut all = Vec::new();
        for round in 0_u8..5 {
            let mut read = pin!(reader.read_to_end(&mut all));
            assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            writer.write_all(&[round; 3]).unwrap();
            until_async(|| wakes.wakes() > usize::from(round)).await;
            assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(writer);
        assert_eq!(reader.read_to_end(&mut all).await.unwrap(), 0);
        let expected: Vec<u8> = (0..5).flat_map(|round| [round; 3]).collect();
        assert_eq!(all, expected);
    });
}

#[test]
fn a_wait_wakes_nobody_before_the_end() {
    in_child_process(|| {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(watcher.clone()).build().unwrap();
        rt.block_on(async {
            let mut child = cat().spawn().unwrap();
            let input = child.stdin.take();
            let waiting = spawn(async move { child.wait().await });
            sleep(Duration::from_millis(100)).await;
            let polls = watcher.polls_of(waiting.id());
            assert_eq!(polls, 1);
            assert!(watcher.sleeps.get() <= 3, "{} sleeps", watcher.sleeps.get());
            drop(input);
            assert!(waiting.await.unwrap().unwrap().success());
        });
    });
}

#[test]
fn a_program_that_is_not_there_is_a_clear_error() {
    in_child_process(|| {
        block_on(async {
            let before = descriptors();
            let error = Command::new("no-such-program").spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().starts_with("cannot start \"no-such-program\": "), "{error}");
            let source = error.get_ref().and_then(|error| error.source()).unwrap();
            let source = source.downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(libc::ENOENT));

            let error = sh("exit").current_dir("/no-such-dir").output().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("in \"/no-such-dir\""), "{error}");
            let error = Command::new("/dev/null").status().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert_eq!(descriptors(), before);
            assert!(!has_children());
        });
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_started() {
    in_child_process(|| {
        let error = cat().spawn().unwrap_err();
        assert!(error.to_string().starts_with("Command::spawn outside of a runtime"), "{error}");
        assert!(PipeReader::new(io::pipe().unwrap().0).is_err());
        assert!(!has_children());
    });
}

#[test]
fn being_out_of_descriptors_is_an_error_and_leaves_no_child() {
    in_child_process(|| {
        block_on(async {
            // The fallback's own sockets, so that they are not what is missing.
            sh("exit").status().await.unwrap();
            limit_descriptors(64);
            let before = descriptors();
            let mut fill: Vec<_> =
                std::iter::from_fn(|| io::stdin().as_fd().try_clone_to_owned().ok()).collect();
            let (mut failed, mut started) = (0, 0);
            while started < 3 {
                match cat().spawn() {
                    Ok(_) => started += 1,
                    Err(error) => {
                        let source = error.get_ref().and_then(|error| error.source());
                        let source = source.and_then(|error| error.downcast_ref::<io::Error>());
                        let code = source.unwrap_or(&error).raw_os_error();
                        assert_eq!(code, Some(libc::EMFILE), "{error}");
                        failed += 1;
                    }
                }
                fill.pop();
            }
            assert!(failed >= 4, "{failed} failed"); // two pipes have four ends
            until_async(|| !has_children()).await;
            drop(fill);
            settled(before).await;
        });
    });
}

#[test]
fn a_dropped_child_is_killed_and_reaped() {
    in_child_process(|| {
        block_on(async {
            let (before, threads_before) = (descriptors(), threads());
            for _ in 0..20 {
                let child = sleeper().spawn().unwrap();
                let pid = child.id().unwrap();
                drop(child);
                assert_eq!(
                    threads(),
                    threads_before,
                    "a task reaps, as long as there is a runtime"
                );
                until_async(|| !is_alive(pid)).await;
            }
            assert!(!has_children());
            settled(before).await;
        });
    });
}

#[test]
fn an_abandoned_output_or_status_kills_its_child() {
    in_child_process(|| {
        block_on(async {
            let status = sleeper().status();
            assert!(has_children(), "the call starts it, not the first poll");
            drop(status);
            until_async(|| !has_children()).await;
            let mut command = Command::new("sleep");
            let waits = [
                timeout(Duration::from_millis(5), command.arg("1000").output()).await.is_err(),
                timeout(Duration::from_millis(5), command.status()).await.is_err(),
            ];
            assert_eq!(waits, [true, true]);
            until_async(|| !has_children()).await;
        });
    });
}

#[test]
fn a_child_that_is_left_to_the_end_of_the_runtime_is_killed_and_reaped() {
    in_child_process(|| {
        let before = threads();
        for _ in 0..20 {
            let kept = block_on(async {
                let _dropped_with_the_future = sleeper().spawn().unwrap();
                let in_a_task = sleeper().spawn().unwrap();
                spawn(async move {
                    let _it = in_a_task;
                    std::future::pending::<()>().await;
                });
                sleeper().spawn().unwrap()
            });
            drop(kept); // outside of any runtime
        }
        until(|| !has_children());
        until(|| threads() == before);
    });
}

#[test]
fn a_detached_child_runs_on_and_is_reaped() {
    in_child_process(|| {
        block_on(async {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let mut command = sh("read line; echo got $line; exit 3");
            let theirs_too = theirs.try_clone().unwrap();
            command.stdin(to_stdio(theirs)).stdout(to_stdio(theirs_too));
            command.spawn().unwrap().detach();
            drop(command);
            assert!(has_children());
            ours.write_all(b"it\n").unwrap();
            let socket = AsyncSocket::new(ours.try_clone().unwrap()).unwrap();
            let mut buffer = [0; 16];
            let count = socket.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], b"got it\n");
            until_async(|| !has_children()).await;
        });
    });
}

#[test]
fn a_detached_child_outlives_the_runtime_and_is_reaped() {
    in_child_process(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pid = block_on(async {
            let mut command = Command::new("cat");
            let child = command.stdin(to_stdio(theirs)).stdout(Stdio::null()).spawn().unwrap();
            let pid = child.id().unwrap();
            child.detach();
            pid
        });
        assert!(is_alive(pid) && has_children());
        drop(ours);
        until(|| !has_children());
    });
}

#[test]
fn two_hundred_children_at_once() {
    in_child_process(|| {
        block_on(async {
            sh("exit").status().await.unwrap();
            limit_descriptors(1000);
            let before = descriptors();
            let waiting: Vec<_> = (0..200)
                .map(|n| {
                    let mut child =
                        sh("read code; exit $code").stdin(Stdio::piped()).spawn().unwrap();
                    let stdin = child.stdin.take().unwrap();
                    let wait = spawn(async move { child.wait().await.unwrap().code() });
                    (n, stdin, wait)
                })
                .collect();
            for (n, stdin, _) in &waiting {
                stdin.write_all(format!("{n}\n").as_bytes()).await.unwrap();
            }
            for (n, _, wait) in waiting {
                assert_eq!(wait.await.unwrap(), Some(n));
            }
            assert!(!has_children());
            settled(before).await;
        });
    });
}

#[test]
fn children_of_several_runtimes_do_not_mix() {
    in_child_process(|| {
        let workers = runtime::workers(4, |worker| async move {
            for round in 0..25 {
                let code = (worker * 25 + round) as i32;
                let status = sh(&format!("exit {code}")).status().await.unwrap();
                assert_eq!(status.code(), Some(code));
            }
        });
        assert!(workers.unwrap().join().iter().all(Result::is_ok));
        assert!(!has_children());
    });
}

#[test]
fn a_child_has_the_usual_signals_and_none_of_our_descriptors() {
    in_child_process(|| {
        if !fs::exists("/proc/self/status").unwrap() {
            return;
        }
        // What whoever runs the tests has left open is in both.
        let mut ls = std::process::Command::new("ls");
        let expected = ls.arg("/proc/self/fd").stdin(Stdio::null()).output().unwrap().stdout;
        let expected = String::from_utf8(expected).unwrap();
        block_on(async {
            let _caught = signals([Signal::USER1, Signal::TERMINATE]).unwrap();
            let _sockets = crate::support::sockets::async_pair();
            let other = cat().spawn().unwrap();
            for by_fork in [false, true] {
                let mut command = sh("cat /proc/self/status; exec ls /proc/self/fd");
                if by_fork {
                    // SAFETY: it does nothing. That it is there makes std fork, where it would spawn.
                    unsafe { command.as_std_mut().pre_exec(|| Ok(())) };
                }
                let output = command.output().await.unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                let field = |name: &str| {
                    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                    u64::from_str_radix(line.trim(), 16).unwrap()
                };
                assert_eq!((field("SigBlk:"), field("SigCgt:")), (0, 0));
                let ignored = [libc::SIGUSR1, libc::SIGTERM, libc::SIGPIPE].map(|n| 1 << (n - 1));
                assert_eq!(field("SigIgn:") & ignored.iter().sum::<u64>(), 0);
                assert!(text.ends_with(&format!("\n{expected}")), "not {expected:?}: {text}");
            }
            drop(other);
        });
    });
}

#[test]
fn only_our_end_of_a_pipe_does_not_block() {
    run(async || {
        if !fs::exists("/proc/self/fdinfo").unwrap() {
            return;
        }
        let mut command = sh("cat /proc/self/fdinfo/0 /proc/self/fdinfo/1 /proc/self/fdinfo/2");
        let output = command.output_of("").await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let flags = text.lines().filter_map(|line| line.strip_prefix("flags:"));
        let flags: Vec<_> = flags.map(|f| i32::from_str_radix(f.trim(), 8).unwrap()).collect();
        assert_eq!(flags.len(), 3, "{text}");
        assert!(flags.iter().all(|flags| flags & libc::O_NONBLOCK == 0), "{text}");
    });
}

#[test]
fn a_pipe_handed_on_blocks_again() {
    run(async || {
        let mut first = sh("echo hello").stdout(Stdio::piped()).spawn().unwrap();
        let between = first.stdout.take().unwrap().into_blocking().unwrap();
        assert_eq!(flags_of(&between) & libc::O_NONBLOCK, 0);
        let second = Command::new("cat").stdin(between).output().await.unwrap();
        assert_eq!(second.stdout, b"hello\n");
        assert!(first.wait().await.unwrap().success());

        let writer = PipeWriter::new(io::pipe().unwrap().1).unwrap();
        assert_ne!(flags_of(&writer) & libc::O_NONBLOCK, 0);
        assert_eq!(flags_of(&writer.into_blocking().unwrap()) & libc::O_NONBLOCK, 0);
    });
}

#[test]
fn a_full_pipe_waits_for_its_reader() {
    run(async || {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = PipeWriter::new(writer).unwrap();
        let writing = spawn(async move {
            let bytes = vec![7; 500_000];
            writer.write_all(&bytes).await
        });
        sleep(Duration::ZERO).await;
        assert!(!writing.is_finished());
        let reading = runtime::unblock(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        });
        assert_eq!(reading.await.unwrap().unwrap(), 500_000);
        writing.await.unwrap().unwrap();
    });
}

#[test]
fn a_runtime_goes_on_after_std_has_forked() {
    in_child_process(|| {
        block_on(async {
            let (left, right) = crate::support::sockets::async_pair();
            for _ in 0..10 {
                let mut command = sh("exit 4");
                // SAFETY: it does nothing. That it is there makes std fork, where it would spawn.
                unsafe { command.as_std_mut().pre_exec(|| Ok(())) };
                assert_eq!(command.status().await.unwrap().code(), Some(4));
                left.send(b"alive").await.unwrap();
                assert_eq!(right.recv(&mut [0; 8]).await.unwrap(), 5);
                sleep(Duration::ZERO).await;
            }
        });
        block_on(async { assert!(sh("exit").status().await.unwrap().success()) });
    });
}

#[test]
fn a_child_that_others_have_reaped_is_a_clear_error() {
    in_child_process(|| {
        block_on(async {
            let mut child = cat().spawn().unwrap();
            let pid = child.id().unwrap() as i32;
            drop(child.stdin.take());
            // SAFETY: a place for the status may be left out.
            assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
            let error = child.wait().await.unwrap_err();
            assert!(error.to_string().contains("reaped behind its owner's back"), "{error}");
            // And what has its number now is not ours to kill.
            assert!(child.start_kill().is_err());
        });
    });
}

#[test]
fn a_child_whose_end_the_system_forgets_is_a_clear_error() {
    in_child_process(|| {
        // SAFETY: to ignore a signal takes no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        block_on(async {
            let mut child = sh("exit 3").spawn().unwrap();
            let pid = child.id().unwrap();
            until_async(|| !is_alive(pid)).await;
            let error = child.wait().await.unwrap_err();
            assert!(error.to_string().contains("ignores SIGCHLD"), "{error}");
        });
    });
}

/// Without process descriptors each wait takes a subscription, of which there are 256: those beyond look now and then.
#[test]
fn without_a_subscription_to_be_had_the_end_is_still_seen() {
    in_child_process(|| {
        block_on(async {
            limit_descriptors(1000);
            let all: Vec<_> = std::iter::from_fn(|| signals([Signal::USER1]).ok()).collect();
            assert_eq!(all.len(), 256);
            assert_eq!(sh("exit 6").status().await.unwrap().code(), Some(6));
            drop(cat().spawn().unwrap());
            until_async(|| !has_children()).await;
        });
    });
}

#[test]
fn a_child_is_waited_for_in_another_runtime_than_its_own() {
    in_child_process(|| {
        let first = Runtime::new().unwrap();
        let (mut asked, mut begun, mut dropped) = first.block_on(async {
            let mut asked = sleeper().spawn().unwrap();
            for _ in 0..3 {
                // A wait that has found nothing: from then on only the descriptor tells.
                assert!(timeout(Duration::ZERO, asked.wait()).await.is_err());
            }
            (asked, sleeper().spawn().unwrap(), cat().spawn().unwrap())
        });
        let pipe = dropped.stdout.take().unwrap();
        let second = Runtime::new().unwrap();
        second.block_on(async {
            assert!(pipe.read(&mut [0; 8]).await.is_err(), "its runtime does not run");
            asked.start_kill().unwrap();
            assert_eq!(asked.wait().await.unwrap().signal(), Some(libc::SIGKILL));
            drop(dropped); // and is reaped all the same
        });
        {
            // Begun in one, and gone on with in the other.
            let pid = begun.id().unwrap();
            let mut wait = pin!(begun.wait());
            first.block_on(async {
                assert!(timeout(Duration::ZERO, wait.as_mut()).await.is_err());
            });
            // SAFETY: a call that touches no memory. The number is a child's that has not been waited for.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            let status = second.block_on(timeout(Duration::from_secs(30), wait));
            assert!(status.expect("it ends").unwrap().signal().is_some());
        }
        second.block_on(until_async(|| !has_children()));
    });
}

#[test]
fn a_wait_outside_of_a_runtime_says_so() {
    in_child_process(|| {
        let mut child = block_on(async { cat().spawn().unwrap() });
        let error = futures_lite::future::block_on(child.wait()).unwrap_err();
        assert!(error.to_string().contains("outside of a runtime"), "{error}");
        child.start_kill().unwrap();
        assert!(!block_on(child.wait()).unwrap().success());
    });
}

/// At a limit, the kernel says `EAGAIN`, which is also what sockets say that are not ready.
#[test]
fn threads_and_processes_that_a_limit_forbids_are_a_clear_error() {
    in_child_process(|| {
        // SAFETY: it takes a number. The superuser has no such limit, so its rights are given up, in all threads; others
        // have none to give, and are told so.
        unsafe { libc::setuid(65534) };
        let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: the record lives through the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) }, 0);
        let check = |what: &str, error: io::Error| {
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{what}: {error}");
            assert!(error.to_string().contains("ulimit -u"), "{what}: {error}");
        };
        block_on(async {
            check("a program", cat().spawn().unwrap_err());
            check("input", runtime::stdin().read(&mut [0]).await.unwrap_err());
            check("workers", runtime::workers(1, |_| async {}).unwrap_err());
            match runtime::unblock(|| ()).await.unwrap_err() {
                runtime::UnblockError::NoThread(error) => check("a job", error),
                other => panic!("{other}"),
            }
        });
    });
}

#[test]
fn what_is_shown_names_the_child() {
    run(async || {
        let mut child: Child = cat().spawn().unwrap();
        assert_eq!(format!("{child:?}"), format!("Child {{ id: {}, .. }}", child.id().unwrap()));
        child.kill().await.unwrap();
        assert!(format!("{child:?}").contains("status"));
        assert_eq!(format!("{:?}", Command::new("a").arg("b")), "\"a\" \"b\"");
    });
}

// ------------------------------------------------------------------------------------------------- helpers

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A program that lives until its standard input ends.
fn cat() -> Command {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A program that lives until it is killed.
fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

/// Whether this process has any child, be it a zombie.
fn has_children() -> bool {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the place is ours, big enough, and lives through the call.
    match unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } {
        0 => true,
        _ => {
            let error = io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
            false
        }
    }
}

/// Whether there is such a process, be it a zombie.
fn is_alive(pid: u32) -> bool {
    // SAFETY: signal 0 is none; it only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}

/// The letter of the process's state, where there is a /proc, and as long as there is such a process.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn flags_of(fd: &impl AsFd) -> i32 {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd());
    // SAFETY: the call takes two numbers and gives one.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

fn to_stdio(socket: UnixStream) -> Stdio {
    std::os::fd::OwnedFd::from(socket).into()
}

/// Waits until there are as many descriptors as there were. (The fallback's sockets are kept for the next subscriber, so
/// without process descriptors there is nothing to compare.)
async fn settled(before: Option<usize>) {
    if !cfg!(ground_portable) {
        until_async(|| descriptors() == before).await;
    }
}
