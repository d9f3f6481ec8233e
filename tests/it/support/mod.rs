//! What do all tests need? A deadline, a child process, and things that count.
//!
//! - [`within`] runs a test's body and fails it by name if it hangs; [`run`] does so with a `block_on` around it.
//! - [`in_child_process`] runs the body in a process of its own: for tests whose subject is the process (descriptor limits,
//!   forks, allocations, exits).
//! - [`program`] builds a program of another package, for tests that run it.
//! - [`counters`] has wakers, futures and guards that count; [`process`] counts this process's descriptors and threads;
//!   what the heap holds is counted by counting.rs, beside this folder.
//! - [`sockets`] makes pairs of connected sockets, one end for the runtime and one that blocks, as an independent oracle.
//!
//! A test's name is taken from the type of its closure, so nobody has to write it twice.
//!
//! Comes from: every module here. Goes to: nowhere.

// Not every module uses every helper.
#![allow(dead_code)]

pub(crate) mod counters;
pub(crate) mod folder;
pub(crate) mod process;
pub(crate) mod sockets;

use std::any::type_name;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// The seconds of a test that has no reason for others: far more than any needs on a busy machine.
const DEADLINE: u64 = 60;

/// Runs `body` on a thread of its own and gives its result. Panics with the test's name if it takes longer than that.
///
/// The variable `GROUND_PATIENCE` multiplies all deadlines (6 if it is not set; say 60, under valgrind; 0.1, to look for hangs).
#[track_caller]
pub(crate) fn within<R, B>(seconds: u64, body: B) -> R
where
    R: Send + 'static,
    B: FnOnce() -> R + Send + 'static,
{
    guarded(test_name::<B>(), seconds, body)
}

/// As [`within`] the usual deadline, inside a `block_on`.
#[track_caller]
pub(crate) fn run<B: AsyncFnOnce() + Send + 'static>(body: B) {
    guarded(test_name::<B>(), DEADLINE, || runtime::block_on(body()));
}

/// A deadline finds hangs, and nothing else: one that a busy machine can miss makes a test a matter of luck.
fn deadline(seconds: u64) -> Duration {
    let patience = std::env::var("GROUND_PATIENCE").ok();
    Duration::from_secs(seconds)
        .mul_f64(patience.and_then(|factor| factor.parse().ok()).unwrap_or(6.0))
}

#[track_caller]
fn guarded<R, B>(name: String, seconds: u64, body: B) -> R
where
    R: Send + 'static,
    B: FnOnce() -> R + Send + 'static,
{
    let deadline = deadline(seconds);
    let (tell, told) = mpsc::channel::<()>();
    let thread = thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let _tell = tell; // dropped at the end, by whichever way it comes
            body()
        })
        .unwrap();
    if told.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("{name} hangs: it is not over after {deadline:?}");
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs `body` in a new process of this same test binary, and fails if that fails. Gives what it printed, all of it; in the
/// child itself it does not return.
///
/// Call it first in a test, directly: the child is started with the name of the closure's surroundings as the only test.
#[track_caller]
pub(crate) fn in_child_process<B: FnOnce() + Send + 'static>(body: B) -> String {
    let (output, text) = child_process(body);
    assert!(output.status.success(), "{}\n{text}", output.status);
    text
}

/// As [`in_child_process`], for children that may end as they like: gives how it ended, too.
#[track_caller]
pub(crate) fn child_process<B: FnOnce() + Send + 'static>(body: B) -> (Output, String) {
    child_process_with_input(Stdio::null(), |_| {}, body)
}

/// As [`child_process`], with a standard input, and `talk` called in the parent as soon as the child runs, with the end to
/// write into if the input is a pipe.
#[track_caller]
pub(crate) fn child_process_with_input<B: FnOnce() + Send + 'static>(
    input: Stdio,
    talk: impl FnOnce(Option<ChildStdin>),
    body: B,
) -> (Output, String) {
    const VARIABLE: &str = "GROUND_CHILD_OF_TEST";
    let name = test_name::<B>();
    if std::env::var_os(VARIABLE).is_some_and(|test| test == *name) {
        within(DEADLINE, body);
        std::process::exit(0);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, &name)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command); // and with it our copy of the input
    let pid = child.id();
    let stdin = child.stdin.take();
    let (tell, told) = mpsc::channel();
    let waiting = thread::spawn(move || tell.send(child.wait_with_output()));
    talk(stdin);
    let output = match told.recv_timeout(deadline(DEADLINE + 10)) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            // SAFETY: the number is our own child's, which nobody has waited for yet.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            panic!("{name} hangs in its child process");
        }
    };
    waiting.join().unwrap().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// Drops the future that `make` gives after its n-th poll, for every n until it is ready before; calls `check` each time.
/// It is polled once a turn, woken or not. Then, once more, it is awaited, polled only when woken: a lost wake-up hangs.
pub(crate) async fn cancel_at_every_poll<T>(make: impl AsyncFn() -> T, check: impl Fn()) {
    for polls in 0.. {
        assert!(polls < 1000, "it is never ready");
        let mut output = None;
        {
            let mut future = std::pin::pin!(make());
            for _ in 0..polls {
                let polled =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx)));
                if let std::task::Poll::Ready(ready) = polled.await {
                    output = Some(ready);
                    break;
                }
                runtime::yield_now().await;
            }
        }
        check();
        if output.is_some() {
            break;
        }
    }
    drop(make().await);
    check();
}

/// `module::test`, from the name of the type of a closure in that test.
fn test_name<B>() -> String {
    let full = type_name::<B>();
    let inside = full.split_once("::").map_or(full, |(_, inside)| inside);
    inside.split("::{{").next().unwrap_or(inside).to_owned()
}

/// A panic that is not printed.
pub(crate) fn panic_quietly(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

/// What a future panics with, in a task of its own: the text given to [`panic_quietly`].
pub(crate) async fn panic_of<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> &'static str {
    let error = runtime::spawn(future).await.err().expect("it panics");
    *error.try_into_panic().unwrap().downcast().unwrap()
}

/// A program of `package`, of this build: beside the folder in which this test lies. Built first, with all of its `kind`
/// (`bins` or `examples`), since the test's own build does not.
pub(crate) fn program(package: &str, kind: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let what = format!("the {kind} of {package}");
    // Under the lock: whoever comes meanwhile needs the same, or would be kept waiting by cargo's own lock.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(&what) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", package, &format!("--{kind}")]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "{what} do not build");
        built.push(what);
    }
    let folder = if kind == "examples" { folder.join(kind) } else { folder.to_owned() };
    folder.join(name)
}
