//! Does the process pool keep its word: killed when nobody waits, one crash for one job, nothing left behind?
//!
//! A worker is this test's binary, started again with the same arguments: so each test runs in a child process, where these
//! are its own name, and the workers come by the same way to the call of `functions` that makes them workers. What they
//! leave behind is counted by the kernel: descriptors, and children with their states, zombies among them.
//!
//! A worker that outlived its pool would hold the child process's standard error open, and the test would hang by that.
//!
//! Comes from: main.rs. Goes to: outer/process_pool of the runtime.

use std::env;
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::zip;
use runtime::process_pool::{self, Call, CallError, Functions, ProcessPool};
use runtime::testing::TestClock;
use runtime::{PoolSettings, Runtime, block_on, now, sleep, spawn, timeout, unblock, yield_now};

use crate::counting;
use crate::support::counters::{panicking_waker, poll_with, until, until_async};
use crate::support::process::{ChildProcess, children_of, descriptors};
use crate::support::{child_process, in_child_process};

fn functions() -> Functions {
    process_pool::functions(&[
        ("echo", <[u8]>::to_vec),
        ("pid", |_| process::id().to_string().into_bytes()),
        ("zeroes", |count| vec![0; text(count).parse().unwrap()]),
        ("panic", |words| panic!("{}", text(words))),
        ("abort", |_| process::abort()),
        ("exit", |code| process::exit(text(code).parse().unwrap())),
        ("for ever", |_| {
            loop {
                std::hint::spin_loop();
            }
        }),
        ("note", |file| {
            note(&PathBuf::from(text(file)), "called");
            Vec::new()
        }),
        ("tell", |words| {
            // Not `eprintln!`, which the test harness may catch.
            match writeln!(io::stderr(), "{}", text(words)) {
                Ok(()) => b"told".to_vec(),
                Err(error) => error.to_string().into_bytes(),
            }
        }),
        ("ask", |_| {
            let asked = fs::File::open("/dev/tty").and_then(|mut tty| tty.read(&mut [0; 8]));
            asked.map_or_else(|error| error.to_string(), |_| "answered".to_owned()).into_bytes()
        }),
        ("fork and return", |file| fork_that_stays(text(file))),
        ("fork and exit", |file| {
            fork_that_stays(text(file));
            process::exit(9)
        }),
        ("cat", |_| {
            let mut cat = Command::new("cat");
            cat.stdin(Stdio::inherit()).output().unwrap().stdout
        }),
        ("heir", |_| {
            let mut again = Command::new(env::current_exe().unwrap());
            again.args(env::args().skip(1)).env("GROUND_TEST_HEIR", "1").stdin(Stdio::inherit());
            again.output().unwrap().stdout
        }),
    ])
}

/// Forks a process that lives until the file is gone, and gives its number.
fn fork_that_stays(file: &str) -> Vec<u8> {
    let file = CString::new(file).unwrap();
    // SAFETY: the child makes system calls only.
    match unsafe { libc::fork() } {
        0 => {
            // Half a minute at most, should the test fail to remove it.
            for _ in 0..3000 {
                // SAFETY: the name lives through the call.
                if unsafe { libc::access(file.as_ptr(), libc::F_OK) } != 0 {
                    break;
                }
                // SAFETY: it takes a number.
                unsafe { libc::usleep(10_000) };
            }
            // SAFETY: it does not come back.
            unsafe { libc::_exit(0) }
        }
        pid => pid.to_string().into_bytes(),
    }
}

/// The body of a test, in its child process and, as far as the first line, in its workers.
fn with_pool(workers: usize, body: impl AsyncFnOnce(&ProcessPool)) {
    let functions = functions();
    block_on(async {
        let pool = ProcessPool::builder(functions).workers(workers).build().unwrap();
        body(&pool).await;
    });
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

async fn pid(pool: &ProcessPool) -> u32 {
    text(&pool.call("pid", "").await.unwrap()).parse().unwrap()
}

/// All workers there are, the dead that nobody has waited for among them.
fn workers() -> Vec<ChildProcess> {
    children_of(process::id()).expect("these tests need /proc")
}

/// Waits until a call of "for ever" is being computed, and says by whom: nobody else computes so long.
async fn computing() -> u32 {
    let found = || workers().into_iter().find(|worker| worker.state != 'Z' && worker.ticks >= 5);
    until_async(|| found().is_some()).await;
    found().unwrap().pid
}

async fn no_workers() {
    until_async(|| workers().is_empty()).await;
}

/// A file of this test's own.
fn file(name: &str) -> PathBuf {
    env::temp_dir().join(format!("ground-up-test-{}-{name}", process::id()))
}

fn note(file: &PathBuf, line: &str) {
    let mut file = fs::File::options().create(true).append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: a call that touches no memory. The number is a child's that nobody has waited for.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

// ---- calls

#[test]
fn a_call_gives_what_the_function_returns() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            for size in [0, 1, 15, 4080, 4096, 65_520, 65_536, 65_537, 1 << 20, (3 << 20) + 7] {
                let bytes: Vec<u8> = (0..size).map(|i: usize| (i * 7 + (i >> 9)) as u8).collect();
                assert!(pool.call("echo", &bytes[..]).await.unwrap() == bytes, "{size} bytes");
            }
            let worker = pid(pool).await;
            assert_ne!(worker, process::id());
            for n in 0..500u32 {
                assert_eq!(pool.call("echo", n.to_le_bytes()).await.unwrap(), n.to_le_bytes());
            }
            assert_eq!((pid(pool).await, workers().len()), (worker, 1));
        });
    });
}

#[test]
fn calls_run_side_by_side_and_no_process_is_started_before_its_first_job() {
    in_child_process(|| {
        with_pool(2, async |pool| {
            yield_now().await;
            assert_eq!(workers().len(), 0);
            let _long = pool.call("for ever", "");
            assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
            assert_eq!(workers().len(), 2);
            // Many more than there are workers, all at once.
            let calls: Vec<_> = (0..200u8).map(|n| pool.call("echo", [n])).collect();
            for (n, call) in calls.into_iter().enumerate().rev() {
                assert_eq!(call.await.unwrap(), [n as u8]);
            }
            assert_eq!(workers().len(), 2);
        });
    });
}

#[test]
fn the_first_call_is_the_first_served() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            let calls: Vec<_> = (0..50u8).map(|n| pool.call("echo", [n])).collect();
            let order = Rc::new(std::cell::RefCell::new(Vec::new()));
            let note = |call: Call| {
                let order = Rc::clone(&order);
                spawn(async move {
                    let answer = call.await.unwrap();
                    order.borrow_mut().push(answer[0]);
                })
            };
            for task in calls.into_iter().rev().map(note).collect::<Vec<_>>() {
                task.await.unwrap();
            }
            assert_eq!(*order.borrow(), (0..50).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_pool_is_used_where_it_was_made_and_the_error_says_so() {
    in_child_process(|| {
        let functions = functions();
        let error = ProcessPool::new(functions).unwrap_err();
        assert!(error.to_string().contains("outside of a runtime"), "{error}");
        let rt = Runtime::new().unwrap();
        let pool = rt.block_on(async { ProcessPool::new(functions).unwrap() });
        let error = block_on(pool.call("echo", "")).unwrap_err();
        assert!(matches!(error, CallError::NotStarted(_)), "{error}");
        let error = block_on(async { pool.call("echo", "").await }).unwrap_err();
        assert!(matches!(error, CallError::NotStarted(_)), "{error}");
        assert_eq!(rt.block_on(async { pool.call("echo", "abc").await }).unwrap(), b"abc");
    });
}

#[test]
fn a_test_s_clock_does_not_jump_over_a_call() {
    in_child_process(|| {
        let functions = functions();
        let rt = Runtime::builder().time(TestClock::new()).build().unwrap();
        rt.block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            let start = now();
            for _ in 0..5 {
                let call = timeout(Duration::from_secs(3600), pool.call("echo", "abc"));
                assert_eq!(call.await.unwrap().unwrap(), b"abc");
            }
            assert_eq!(now(), start);
            // What waits for nothing outside is no reason to wait.
            sleep(Duration::from_secs(3600)).await;
            let start = now();
            for _ in 0..5 {
                let crash = timeout(Duration::from_secs(3600), pool.call("abort", ""));
                assert!(matches!(crash.await.unwrap(), Err(CallError::Crashed(_))));
            }
            assert_eq!(now(), start, "a crash takes no time");
        });
    });
}

// ---- what is refused

#[test]
fn an_unknown_function_and_too_many_bytes_are_errors_and_cost_no_worker() {
    in_child_process(|| {
        let functions = functions();
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).longest(1000).build().unwrap();
            let error = pool.call("nobody", "").await.unwrap_err();
            assert!(matches!(&error, CallError::UnknownFunction(name) if name == "nobody"));
            let error = pool.call("echo", [0; 1001]).await.unwrap_err();
            assert!(matches!(error, CallError::TooLong { length: 1001, longest: 1000 }));
            assert_eq!(workers().len(), 0);
            assert_eq!(pool.call("echo", [0; 1000]).await.unwrap(), [0; 1000]);
        });
    });
}

#[test]
fn an_answer_that_is_too_long_is_an_error_and_the_next_call_is_answered() {
    in_child_process(|| {
        let functions = functions();
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).longest(1000).build().unwrap();
            for _ in 0..3 {
                let error = pool.call("zeroes", "50000000").await.unwrap_err();
                assert!(matches!(error, CallError::TooLong { length: 50_000_000, longest: 1000 }));
                assert_eq!(pool.call("zeroes", "1000").await.unwrap(), [0; 1000]);
            }
        });
    });
}

#[test]
fn a_full_queue_is_an_error_and_counts_only_those_that_wait() {
    in_child_process(|| {
        let functions = functions();
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).queue(2).build().unwrap();
            let running = pool.call("for ever", "");
            let (first, second) = (pool.call("echo", "1"), pool.call("echo", "2"));
            assert!(matches!(pool.call("echo", "3").await, Err(CallError::Full)));
            drop(first);
            let third = pool.call("echo", "3");
            assert!(matches!(pool.call("echo", "4").await, Err(CallError::Full)));
            drop(running);
            assert_eq!((second.await.unwrap(), third.await.unwrap()), (b"2".into(), b"3".into()));
            // With nothing to do, it takes three again.
            let calls = [(); 3].map(|()| pool.call("echo", ""));
            assert!(matches!(pool.call("echo", "").await, Err(CallError::Full)));
            for call in calls {
                call.await.unwrap();
            }
        });
    });
}

// ---- what goes wrong

#[test]
fn a_panic_is_told_in_its_words_and_the_worker_stays() {
    let printed = in_child_process(|| {
        with_pool(1, async |pool| {
            let worker = pid(pool).await;
            let error = pool.call("panic", "out of luck").await.unwrap_err();
            assert!(matches!(&error, CallError::Panicked(words) if words == "out of luck"));
            assert_eq!(pid(pool).await, worker);
        });
    });
    assert!(printed.contains("out of luck"), "the panic hook has its say on standard error");
}

#[test]
fn a_crash_costs_its_own_job_and_no_other() {
    in_child_process(|| {
        with_pool(2, async |pool| {
            let mut calls = Vec::new();
            for n in 0..10u8 {
                calls.push(pool.call("echo", [n]));
                calls.push(pool.call(["abort", "exit"][usize::from(n) % 2], "7"));
            }
            for (n, call) in calls.into_iter().enumerate() {
                match (n % 4, call.await) {
                    (0 | 2, Ok(answer)) => assert_eq!(answer, [n as u8 / 2]),
                    (1, Err(CallError::Crashed(status))) => {
                        assert_eq!(status.signal(), Some(libc::SIGABRT));
                    }
                    (3, Err(CallError::Crashed(status))) => assert_eq!(status.code(), Some(7)),
                    (_, other) => panic!("call {n}: {other:?}"),
                }
            }
            // Those that have crashed were waited for.
            until_async(|| workers().iter().all(|worker| worker.state != 'Z')).await;
        });
    });
}

#[test]
fn a_worker_that_dies_while_it_has_nothing_to_do_is_waited_for_and_costs_no_job() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            for _ in 0..3 {
                kill(pid(pool).await, libc::SIGKILL);
                no_workers().await;
                assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
            }
        });
    });
}

#[test]
fn a_job_that_its_worker_has_not_taken_in_goes_to_another() {
    if !cfg!(target_os = "linux") {
        return eprintln!("only Linux says that it was not taken in: left out");
    }
    in_child_process(|| {
        with_pool(1, async |pool| {
            let worker = pid(pool).await;
            kill(worker, libc::SIGSTOP);
            until_async(|| workers().iter().any(|worker| worker.state == 'T')).await;
            let call = spawn(pool.call("echo", "abc"));
            for _ in 0..10 {
                yield_now().await; // now it is sent
            }
            kill(worker, libc::SIGKILL);
            assert_eq!(call.await.unwrap().unwrap(), b"abc");
        });
    });
}

// ---- nobody waits any more

#[test]
fn dropping_a_call_kills_the_worker_that_computes_it() {
    in_child_process(|| {
        with_pool(2, async |pool| {
            let stays = pid(pool).await;
            for _ in 0..5 {
                let call = pool.call("for ever", "");
                let other = pool.call("for ever", "");
                let worker = computing().await;
                drop((call, other));
                until_async(|| workers().iter().all(|other| other.pid != worker)).await;
                assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
            }
            assert_ne!(pid(pool).await, stays);
            let late = timeout(Duration::from_millis(5), pool.call("for ever", "")).await;
            assert!(late.is_err());
            assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
        });
    });
}

#[test]
fn a_call_that_is_dropped_in_the_queue_is_never_begun() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            let file = file("note");
            let name = file.to_str().unwrap();
            let running = pool.call("for ever", "");
            let waiting = pool.call("note", name);
            drop(waiting);
            drop(running);
            pool.call("echo", "").await.unwrap();
            assert!(!file.exists());
            pool.call("note", name).await.unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "called\n");
            fs::remove_file(&file).unwrap();
        });
    });
}

// ---- how a worker comes to be one

#[test]
fn a_program_that_ends_before_it_names_its_functions_is_told_so_and_started_three_times() {
    in_child_process(|| {
        const NOTES: &str = "GROUND_TEST_NOTES";
        if let Ok(notes) = env::var(NOTES) {
            note(&PathBuf::from(notes), "started");
            process::exit(7);
        }
        let notes = file("starts");
        // SAFETY: the other threads of the process only wait.
        unsafe { env::set_var(NOTES, &notes) };
        with_pool(1, async |pool| {
            let calls = [(); 100].map(|()| pool.call("echo", ""));
            for call in calls {
                let error = call.await.unwrap_err();
                let CallError::NotStarted(error) = error else { panic!("{error}") };
                let error = error.to_string();
                assert!(error.contains("exit status: 7"), "{error}");
                assert!(error.contains("process_pool::functions"), "{error}");
            }
            assert_eq!(fs::read_to_string(&notes).unwrap().lines().count(), 3);
            fs::remove_file(&notes).unwrap();
        });
    });
}

#[test]
fn a_program_that_waits_before_it_names_its_functions_is_given_up() {
    in_child_process(|| {
        const HANGS: &str = "GROUND_TEST_HANGS";
        if env::var_os(HANGS).is_some() {
            loop {
                thread::park();
            }
        }
        // SAFETY: the other threads of the process only wait.
        unsafe { env::set_var(HANGS, "1") };
        with_pool(1, async |pool| {
            let calls = [(); 10].map(|()| pool.call("echo", ""));
            for call in calls {
                let error = call.await.unwrap_err();
                let CallError::NotStarted(error) = error else { panic!("{error}") };
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(error.to_string().contains("process_pool::functions"), "{error}");
            }
            no_workers().await;
        });
    });
}

#[test]
fn a_process_that_a_worker_starts_is_no_worker_and_reads_nothing_of_its() {
    in_child_process(|| {
        let functions = functions();
        if env::var_os("GROUND_TEST_HEIR").is_some() {
            println!("a program as any other");
            return;
        }
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            let said = pool.call("heir", "").await.unwrap();
            assert!(text(&said).contains("a program as any other"), "{}", text(&said));
            assert_eq!(pool.call("cat", "").await.unwrap(), b"");
            assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
        });
    });
}

/// To the kernel such a program is the loader, which would take the first argument for the program to load.
#[test]
fn a_program_run_by_a_loader_starts_workers_without_it() {
    const LOADED: &str = "GROUND_TEST_LOADED";
    in_child_process(|| {
        let functions = functions();
        if env::var_os(LOADED).is_none() {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            let loader = maps.lines().find_map(|line| {
                let path = &line[line.find('/')?..];
                path.rsplit_once('/')?.1.starts_with("ld-").then(|| path.to_owned())
            });
            let Some(loader) = loader else { return eprintln!("no loader: left out") };
            let mut again = Command::new(loader);
            again.arg(env::current_exe().unwrap()).args(env::args().skip(1)).env(LOADED, "1");
            let output = again.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("answered by a worker"), "{output:?}");
            return;
        }
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            assert_ne!(pid(&pool).await, process::id());
            println!("answered by a worker");
        });
    });
}

#[test]
fn a_worker_is_called_as_its_program_and_out_of_reach_of_the_terminal_s_keys() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            let worker = pid(pool).await;
            let stat = |pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let name =
                |stat: &str| stat[stat.find('(').unwrap()..stat.rfind(')').unwrap()].to_owned();
            let group = |stat: &str| {
                stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().to_owned()
            };
            let (own, worker) = (stat(process::id()), stat(worker));
            assert_eq!(name(&worker), name(&own));
            assert_ne!(group(&worker), group(&own));
        });
    });
}

#[test]
fn a_caller_s_waker_that_panics_costs_the_pool_nothing() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            let mut call = pool.call("echo", "abc");
            assert!(poll_with(&mut call, &panicking_waker()).is_pending());
            assert_eq!(pool.call("echo", "def").await.unwrap(), b"def");
            assert_eq!(call.await.unwrap(), b"abc");
        });
    });
}

// ---- the end

#[test]
fn dropping_the_pool_kills_all_workers_and_tells_the_calls() {
    in_child_process(|| {
        let functions = functions();
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(2).build().unwrap();
            pool.call("echo", "").await.unwrap();
            let calls = [(); 4].map(|()| pool.call("for ever", ""));
            computing().await;
            drop(pool);
            for call in calls {
                let error = call.await.unwrap_err();
                assert!(matches!(error, CallError::Closed), "{error}");
            }
            no_workers().await;
        });
    });
}

#[test]
fn a_closed_pool_says_so() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            pool.call("echo", "").await.unwrap();
            pool.close();
            assert!(matches!(pool.call("echo", "").await, Err(CallError::Closed)));
            no_workers().await;
            pool.close();
        });
    });
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_its_pools() {
    in_child_process(|| {
        let functions = functions();
        let rt = Runtime::new().unwrap();
        let (pool, calls) = rt.block_on(async {
            let pool = ProcessPool::builder(functions).workers(2).build().unwrap();
            let calls = [(); 5].map(|()| pool.call("for ever", ""));
            computing().await;
            (pool, calls)
        });
        drop(rt);
        for call in calls {
            let error = block_on(call).unwrap_err();
            assert!(matches!(error, CallError::Closed), "{error}");
        }
        until(|| workers().is_empty());
        let error = block_on(async { pool.call("echo", "").await }).unwrap_err();
        assert!(matches!(error, CallError::Closed), "{error}");
    });
}

#[test]
fn whatever_becomes_of_workers_nothing_is_left_over() {
    in_child_process(|| {
        let functions = functions();
        block_on(async {
            let round = async || {
                let pool = ProcessPool::builder(functions).workers(2).build().unwrap();
                let (dropped, queued) = (pool.call("for ever", ""), pool.call("echo", ""));
                let (crash, panic) = (pool.call("abort", ""), pool.call("panic", ""));
                queued.await.unwrap();
                drop(dropped);
                zip(crash, panic).await.0.unwrap_err();
                drop(pool.call("for ever", ""));
                pool.call("echo", "").await.unwrap();
                let _left_to_the_end = pool.call("for ever", "");
                yield_now().await;
                drop(pool);
                no_workers().await;
            };
            round().await;
            let before = descriptors();
            for _ in 0..10 {
                round().await;
            }
            until_async(|| descriptors() == before).await;
        });
    });
}

#[test]
fn neither_a_busy_worker_nor_an_idle_one_holds_up_the_exit_or_outlives_it() {
    let started = Instant::now();
    // An abort tells nobody: it is the kernel that closes the sockets.
    for end in [|| process::exit(0), || process::abort()] {
        let (_, printed) = child_process(move || {
            let functions = functions();
            let rt = Runtime::new().unwrap();
            let all = rt.block_on(async {
                let pool = ProcessPool::builder(functions).workers(2).build().unwrap();
                let call = pool.call("for ever", "");
                let (idle, busy) = (pid(&pool).await, computing().await);
                println!("workers: {idle} {busy}");
                (pool, call)
            });
            std::mem::forget((rt, all));
            end()
        });
        let line = printed.lines().find_map(|line| line.split_once("workers: ")).expect("a line");
        for worker in line.1.split(' ') {
            let stat = PathBuf::from(format!("/proc/{worker}/stat"));
            until(|| !stat.exists());
        }
    }
    // They end by themselves after 60 s: a test's deadline, which runs in them, too.
    assert!(started.elapsed() < Duration::from_secs(45));
}

#[test]
fn a_call_that_no_keeper_has_seen_ends_with_the_runtime() {
    in_child_process(|| {
        let functions = functions();
        let rt = Runtime::new().unwrap();
        let (_pool, call) = rt.block_on(async {
            let pool = ProcessPool::new(functions).unwrap();
            let call = pool.call("echo", "x");
            (pool, call)
        });
        drop(rt);
        let result = block_on(timeout(Duration::from_secs(30), call));
        assert!(matches!(result, Ok(Err(CallError::Closed))), "{result:?}");
    });
}

#[test]
fn a_call_is_served_though_all_threads_of_the_pool_are_taken() {
    in_child_process(|| {
        let functions = functions();
        PoolSettings::new().fast(2).long(0).apply().unwrap();
        block_on(async {
            let pool = ProcessPool::new(functions).unwrap();
            // Two jobs that wait for an answer of the process pool, each.
            let (give, taken) = async_channel::unbounded::<()>();
            let jobs = [taken.clone(), taken].map(|taken| unblock(move || taken.recv_blocking()));
            let answer = timeout(Duration::from_secs(30), pool.call("echo", "x")).await;
            assert!(matches!(answer, Ok(Ok(bytes)) if bytes == b"x"));
            drop(give);
            for job in jobs {
                assert!(job.await.unwrap().is_err());
            }
        });
    });
}

#[test]
fn a_panic_whose_payload_panics_in_its_drop_is_told_and_leaves_the_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("the payload's drop")
            }
        }
    }
    in_child_process(|| {
        let functions = process_pool::functions(&[
            ("bomb", |_| std::panic::panic_any(Bomb)),
            ("pid", |_| process::id().to_string().into_bytes()),
        ]);
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            let before = pool.call("pid", "").await.unwrap();
            let result = pool.call("bomb", "").await;
            assert!(matches!(result, Err(CallError::Panicked(_))), "{result:?}");
            assert_eq!(pool.call("pid", "").await.unwrap(), before);
        });
    });
}

// ---- several lists

#[test]
fn calls_of_the_same_name_reach_the_function_of_their_own_list() {
    in_child_process(|| {
        let charge = process_pool::functions(&[("run", |_| b"charge".to_vec())]);
        let refund = process_pool::functions(&[("run", |_| b"refund".to_vec())]);
        // Made by one and the same call, which nothing but the functions tells apart.
        let lists: [[(&str, process_pool::Function); 1]; 3] =
            [[("run", |_| vec![0])], [("run", |_| vec![1])], [("run", |_| vec![2])]];
        let made = lists.map(|list| process_pool::functions(Box::leak(Box::new(list))));
        block_on(async {
            for _ in 0..2 {
                let pool = ProcessPool::builder(refund).workers(1).build().unwrap();
                assert_eq!(pool.call("run", "").await.unwrap(), b"refund");
                let pool = ProcessPool::builder(charge).workers(1).build().unwrap();
                assert_eq!(pool.call("run", "").await.unwrap(), b"charge");
            }
            for (number, functions) in made.into_iter().enumerate() {
                let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
                assert_eq!(pool.call("run", "").await.unwrap(), [number as u8]);
            }
        });
    });
}

#[test]
fn lists_that_a_worker_makes_in_another_order_are_told_apart() {
    in_child_process(|| {
        let one = || process_pool::functions(&[("run", |_| b"one".to_vec())]);
        let two = || process_pool::functions(&[("run", |_| b"two".to_vec())]);
        let (one, two) = if env::var_os(MARK).is_none() {
            (one(), two())
        } else {
            let two = two();
            (one(), two)
        };
        block_on(async {
            for (functions, expected) in [(one, b"one"), (two, b"two")] {
                let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
                assert_eq!(pool.call("run", "").await.unwrap(), expected);
            }
        });
    });
}

#[test]
fn a_list_that_a_worker_does_not_come_to_is_an_error_and_no_other_function() {
    let printed = in_child_process(|| {
        let always = process_pool::functions(&[("run", |_| b"always".to_vec())]);
        let seldom = env::var_os(MARK)
            .is_none()
            .then(|| process_pool::functions(&[("run", |_| b"seldom".to_vec())]));
        block_on(async {
            let pool = ProcessPool::builder(always).workers(1).build().unwrap();
            assert_eq!(pool.call("run", "").await.unwrap(), b"always");
            let pool = ProcessPool::builder(seldom.unwrap()).workers(1).build().unwrap();
            let error = pool.call("run", "").await.unwrap_err();
            let CallError::NotStarted(error) = error else { panic!("{error}") };
            assert!(error.to_string().contains("under no condition"), "{error}");
        });
    });
    // It has gone on as the program would, up to the first pool.
    assert!(printed.contains("it makes a pool instead of serving"), "{printed}");
}

#[test]
fn a_list_that_is_new_after_the_first_pool_is_refused_at_once() {
    in_child_process(|| {
        let known = || process_pool::functions(&[("run", |_| b"known".to_vec())]);
        let functions = known();
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            assert_eq!(pool.call("run", "").await.unwrap(), b"known");
            known();
            let new = std::panic::catch_unwind(|| process_pool::functions(&[("walk", |_| vec![])]));
            let words = *new.unwrap_err().downcast::<&str>().unwrap();
            assert!(words.contains("before the first pool"), "{words}");
            assert_eq!(pool.call("run", "").await.unwrap(), b"known");
        });
    });
}

#[test]
fn a_list_with_one_name_for_two_functions_is_refused() {
    in_child_process(|| {
        let twice = || process_pool::functions(&[("run", |_| vec![1]), ("run", |_| vec![2])]);
        let words = *std::panic::catch_unwind(twice).unwrap_err().downcast::<String>().unwrap();
        assert!(words.contains("two functions are called \"run\""), "{words}");
    });
}

#[test]
fn a_function_may_have_a_pool_of_its_own() {
    in_child_process(|| {
        fn inner() -> Functions {
            process_pool::functions(&[("pid", |_| process::id().to_string().into_bytes())])
        }
        inner();
        let outer = process_pool::functions(&[("outer", |_| {
            let inner = inner();
            block_on(async {
                let pool = ProcessPool::builder(inner).workers(1).build().unwrap();
                let answer = pool.call("pid", "").await.unwrap();
                format!("{} {}", process::id(), text(&answer)).into_bytes()
            })
        })]);
        block_on(async {
            let pool = ProcessPool::builder(outer).workers(1).build().unwrap();
            let answer = pool.call("outer", "").await.unwrap();
            let (one, other) = text(&answer).split_once(' ').unwrap();
            let all = [one.parse().unwrap(), other.parse().unwrap(), process::id()];
            assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
        });
    });
}

// ---- who may make a process a worker

/// The variable that makes a process a worker.
const MARK: &str = "GROUND_UP_WORKER";

/// Says that this process was started by [`forge`].
const FORGED: &str = "GROUND_TEST_FORGED";

/// Starts this test's process again as a pool would, with a socket and a mark made by hand; `change` may change how. Gives
/// what the process says over the socket, and prints.
fn forge(identity: &str, change: impl FnOnce(&mut Command) -> Command) -> (Vec<u8>, Output) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let file = fs::File::from(theirs.try_clone().unwrap()).metadata().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(env::args().skip(1));
    let mut command = change(&mut command);
    command
        .env(MARK, format!("{}:{}:{identity}", file.dev(), file.ino()))
        .env(FORGED, "1")
        .stdin(theirs)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command); // and with it our copy of its end
    // A worker says hello, and then waits for a request, or for our end.
    let mut said = vec![0; 24];
    let count = ours.read(&mut said).unwrap_or(0);
    said.truncate(count);
    drop(ours);
    (said, child.wait_with_output().unwrap())
}

/// What a pool's mark says of the list, read from a worker.
async fn identity_of(pool: &ProcessPool) -> String {
    let environment = fs::read(format!("/proc/{}/environ", pid(pool).await)).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let mark = environment.split('\0').find_map(|line| line.strip_prefix("GROUND_UP_WORKER="));
    mark.expect("a worker has it").rsplit_once(':').unwrap().1.to_owned()
}

fn as_it_is(command: &mut Command) -> Command {
    std::mem::replace(command, Command::new("none"))
}

#[test]
fn a_process_serves_nobody_but_the_process_that_started_it() {
    if !cfg!(target_os = "linux") {
        return eprintln!("only Linux says which process made a socket: left out");
    }
    in_child_process(|| {
        with_pool(1, async |pool| {
            assert!(env::var_os(FORGED).is_none(), "neither a worker nor refused");
            let identity = identity_of(pool).await;
            let (said, _) = forge(&identity, as_it_is);
            assert_eq!(said.len(), 24, "made as a pool makes it, it is a worker");
            // Now somebody else stands in between, as sudo or a login would.
            let (said, output) = forge(&identity, |command| {
                let mut shell = Command::new("sh");
                shell.args(["-c", "\"$0\" \"$@\"; exit $?"]);
                shell.arg(command.get_program()).args(command.get_args());
                shell
            });
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!((said.len(), output.status.code()), (0, Some(1)), "{told}");
            assert!(told.contains("is not from the process that has started it"), "{told}");
        });
    });
}

/// The kernel takes a program for privileged as well if its real user differs from the effective one.
#[test]
fn a_privileged_program_is_no_worker_and_starts_none() {
    // SAFETY: the call takes nothing.
    if !cfg!(target_os = "linux") || unsafe { libc::geteuid() } != 0 {
        return eprintln!("only the superuser can start such a program: left out");
    }
    in_child_process(|| {
        with_pool(1, async |pool| {
            if env::var_os(FORGED).is_some() {
                let error = pool.call("echo", "").await.unwrap_err();
                let CallError::NotStarted(error) = error else { panic!("{error}") };
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                assert_eq!(workers().len(), 0);
                return println!("an ordinary program: {error}");
            }
            let identity = identity_of(pool).await;
            let rights: [fn() -> i32; 2] = [
                // SAFETY: plain numbers. The user is another one, and the rights are the superuser's.
                || unsafe { libc::setresuid(65534, 0, 0) },
                // SAFETY: as above, for groups.
                || unsafe { libc::setresgid(65534, 0, 0) },
            ];
            for change in rights {
                let (said, output) = forge(&identity, |command| {
                    // SAFETY: the function makes one system call.
                    unsafe {
                        command.pre_exec(move || match change() {
                            0 => Ok(()),
                            _ => Err(io::Error::last_os_error()),
                        });
                    }
                    as_it_is(command)
                });
                let printed = String::from_utf8_lossy(&output.stdout);
                assert!(printed.contains("an ordinary program: "), "{output:?}");
                assert!(said.is_empty(), "it says hello to who forged the mark");
            }
        });
    });
}

// ---- the process's end, not the socket's

#[test]
fn a_worker_that_dies_behind_a_fork_of_its_own_is_a_crash_at_once() {
    in_child_process(|| {
        let file = file("fork-and-exit");
        note(&file, "the fork lives as long as this");
        with_pool(1, async |pool| {
            let call = pool.call("fork and exit", file.to_str().unwrap());
            let error = timeout(Duration::from_secs(30), call).await.expect("it does not hang");
            let Err(CallError::Crashed(status)) = error else { panic!("{error:?}") };
            assert_eq!(status.code(), Some(9));
            assert!(file.exists(), "the fork is still there");
            assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
        });
        fs::remove_file(&file).unwrap();
    });
}

#[test]
fn an_idle_worker_that_dies_behind_a_fork_of_its_own_costs_no_call() {
    in_child_process(|| {
        let file = file("fork-and-return");
        note(&file, "the fork lives as long as this");
        with_pool(1, async |pool| {
            for seen in [true, false] {
                let worker = pid(pool).await;
                pool.call("fork and return", file.to_str().unwrap()).await.unwrap();
                kill(worker, libc::SIGKILL);
                if seen {
                    until_async(|| workers().iter().all(|other| other.pid != worker)).await;
                } else {
                    until(|| {
                        workers().iter().all(|other| other.pid != worker || other.state == 'Z')
                    });
                }
                let call = timeout(Duration::from_secs(30), pool.call("echo", "abc"));
                assert_eq!(call.await.expect("it does not hang").unwrap(), b"abc");
            }
        });
        fs::remove_file(&file).unwrap();
    });
}

#[test]
fn an_answer_given_before_a_worker_s_end_is_not_lost_with_it() {
    in_child_process(|| {
        with_pool(1, async |pool| {
            for size in [10, 1 << 20] {
                let call = spawn(pool.call("zeroes", size.to_string()));
                yield_now().await;
                assert_eq!(call.await.unwrap().unwrap().len(), size);
                kill(workers()[0].pid, libc::SIGKILL);
                no_workers().await;
            }
        });
    });
}

#[test]
fn a_crash_of_which_the_system_tells_nothing_is_told_as_that() {
    in_child_process(|| {
        // SAFETY: to ignore a signal takes no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        with_pool(1, async |pool| {
            let error = pool.call("abort", "").await.unwrap_err();
            match error {
                CallError::Vanished => {
                    assert!(error.to_string().contains("ignores SIGCHLD"), "{error}");
                }
                // Where a child is waited for by SIGCHLD, that is caught meanwhile, and the status is there.
                CallError::Crashed(status) => assert_eq!(status.signal(), Some(libc::SIGABRT)),
                error => panic!("{error:?}"),
            }
            assert_eq!(pool.call("echo", "abc").await.unwrap(), b"abc");
        });
    });
}

// ---- the terminal

/// A new terminal: its two ends.
fn terminal() -> (fs::File, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the two places are ours; the other pointers may be null.
    let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, name, settings, size) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made it, and nothing else has it.
    let master = unsafe { fs::File::from_raw_fd(master) };
    // SAFETY: as above.
    (master, unsafe { OwnedFd::from_raw_fd(slave) })
}

#[test]
fn a_worker_that_uses_the_terminal_is_not_stopped() {
    const TERMINAL: &str = "GROUND_TEST_TERMINAL";
    if !cfg!(target_os = "linux") {
        return eprintln!("other systems want other arguments for a terminal: left out");
    }
    in_child_process(|| {
        let functions = functions();
        if env::var_os(TERMINAL).is_none() {
            let (mut master, slave) = terminal();
            let mut command = Command::new(env::current_exe().unwrap());
            command
                .args(env::args().skip(1))
                .env(TERMINAL, "1")
                .stdout(Stdio::piped())
                .stderr(slave);
            let lead_a_session_here = || {
                // SAFETY: it takes nothing.
                let session = unsafe { libc::setsid() };
                // SAFETY: it takes numbers.
                match (session, unsafe { libc::ioctl(2, libc::TIOCSCTTY, 0) }) {
                    (1.., 0) => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            };
            // SAFETY: the function makes two system calls.
            unsafe { command.pre_exec(lead_a_session_here) };
            let child = command.spawn().unwrap();
            drop(command);
            let output = child.wait_with_output().unwrap();
            let mut shown = vec![0; 4096];
            let count = master.read(&mut shown).unwrap();
            let shown = String::from_utf8_lossy(&shown[..count]).into_owned();
            assert!(output.status.success(), "{output:?} {shown}");
            assert!(shown.contains("words of a worker"), "{shown}");
            return;
        }
        let stderr = io::stderr();
        let stderr = stderr.as_fd().as_raw_fd();
        // SAFETY: a C record for which zeroes are valid.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the record lives through the call.
        assert_eq!(unsafe { libc::tcgetattr(stderr, &raw mut settings) }, 0);
        settings.c_lflag |= libc::TOSTOP;
        // SAFETY: as above.
        let set = unsafe { libc::tcsetattr(stderr, libc::TCSANOW, &raw const settings) };
        assert_eq!(set, 0);
        block_on(async {
            let pool = ProcessPool::builder(functions).workers(1).build().unwrap();
            let told = timeout(Duration::from_secs(30), pool.call("tell", "words of a worker"));
            assert_eq!(text(&told.await.expect("it was stopped").unwrap()), "told");
            let asked = timeout(Duration::from_secs(30), pool.call("ask", ""));
            let asked = asked.await.expect("it was stopped").unwrap();
            assert!(text(&asked).contains("Input/output error"), "{}", text(&asked));
        });
    });
}

// ---- long messages

#[test]
fn long_requests_and_answers_are_held_once() {
    const LONG: usize = 64 << 20;
    in_child_process(|| {
        with_pool(1, async |pool| {
            pool.call("echo", "").await.unwrap();
            let bytes = vec![7; LONG];
            counting::start();
            let call = pool.call("echo", bytes);
            assert!(counting::peak() < 1 << 16, "{}: it was copied", counting::peak());
            let answer = call.await.unwrap();
            assert!(answer.len() == LONG && answer.iter().all(|byte| *byte == 7));
            // The answer, beside the request, which was there before the count.
            let peak = counting::peak() - LONG as i64;
            assert!(peak < 1 << 20, "{peak} bytes more than the answer's");
            assert!(answer.capacity() < LONG + (1 << 16), "{}", answer.capacity());
        });
    });
}
