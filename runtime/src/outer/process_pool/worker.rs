//! How do a pool and one of its worker processes find each other, talk, and part?
//!
//! ```text
//! pool                                          worker: this same program, started again
//!   a socket pair; one end is its stdin,          main: functions(..)
//!   the environment says which socket that is       is stdin the socket that the environment names? yes:
//!   start the process                               take stdin away, watch for the pool's end, serve for ever
//!                                 ◄── hello ──      the names of the functions
//!   are they those we know? ready
//!   request: (function's number, bytes) ──────►     call it
//!                        ◄── (kind, bytes) ──       what it returned, or the words of its panic
//!   kill it, or end: the socket closes ───────►     end at once, whatever is being computed
//! ```
//!
//! Both ways a frame is two numbers of eight bytes, a word and a length, and then so many bytes. Only the pool's side has
//! to be on guard: it bounds the length and the time until the hello.
//!
//! Rules kept here:
//! - Only who was meant becomes a worker. A process that the worker starts inherits the environment, but not the socket, so
//!   the two do not agree there; a worker whose pool has gone finds a socket that is closed, and ends.
//! - A worker never outlives its pool: a thread of its own waits for the socket's other end to close and ends the process.
//!   (A program that forks without exec hands the other end on; then the worker ends with the fork.)
//! - A process is killed and waited for wherever a [`Process`] is dropped, and no loop waits with it: a thread does, which
//!   ends with it. (Not a task: the runtime may be ending. Not the pool behind `unblock`: its threads may all be taken.)
//!
//! A worker is in a process group of its own: Ctrl-C at the terminal is for the program, which decides what to end.
//!
//! Comes from: mod.rs, and the user's main. Goes to: std's `Command`, `AsyncSocket`, sys/os.rs (stdin, hang-up).

use std::any::Any;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::sys::os;
use crate::{AsyncSocket, Kind, hold_time, sleep, timeout};

/// What a worker can be asked to call.
///
/// ```
/// use runtime::process_pool::Function;
///
/// fn sum(numbers: &[u8]) -> Vec<u8> {
///     let (numbers, _) = numbers.as_chunks();
///     let sum: u64 = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).sum();
///     sum.to_le_bytes().to_vec()
/// }
///
/// let function: Function = sum;
/// let numbers = [20_u64, 22].map(u64::to_le_bytes).concat();
/// assert_eq!(function(&numbers), 42_u64.to_le_bytes());
/// ```
pub type Function = fn(&[u8]) -> Vec<u8>;

/// The functions that a program's workers know, made by [`functions`]. A pool cannot be had without it, so nobody can
/// forget the call that turns a worker process into one.
///
/// ```
/// use runtime::process_pool::{self, ProcessPool};
///
/// fn main() -> std::io::Result<()> {
///     let functions = process_pool::functions(&[("nothing", |_| Vec::new())]);
///     runtime::block_on(async {
///         // Long calls must not keep short ones waiting: a pool for each, of the same functions.
///         let long = ProcessPool::builder(functions).workers(1).build()?;
///         let short = ProcessPool::builder(functions).workers(1).build()?;
///         assert_eq!(short.call("nothing", "").await?, b"");
///         drop(long);
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    list: &'static [(&'static str, Function)],
}

/// Names the functions that workers can be asked to call. Call it at the very beginning of `main`.
///
/// A worker is this same program, started again with the same arguments. There, this call never returns: it serves the pool
/// that has started it, and ends when that ends. So whatever stands before it is done by every worker, too; what stands
/// behind it, by none. In the program itself it returns at once (it reads one variable of the environment), and what it
/// returns is what [`ProcessPool::new`](super::ProcessPool::new) wants.
///
/// A worker has its stdin and stdout at `/dev/null`, and the program's stderr. In a test, mind that what is started
/// again is the test's binary with its arguments: start that for one test alone, in a process of its own.
///
/// ```
/// use runtime::process_pool::{self, ProcessPool};
///
/// fn shout(words: &[u8]) -> Vec<u8> {
///     words.to_ascii_uppercase()
/// }
///
/// fn main() -> std::io::Result<()> {
///     let functions = process_pool::functions(&[("shout", shout)]);
///     runtime::block_on(async {
///         let pool = ProcessPool::new(functions)?;
///         assert_eq!(pool.call("shout", "hello").await?, b"HELLO");
///         Ok(())
///     })
/// }
/// ```
pub fn functions(list: &'static [(&'static str, Function)]) -> Functions {
    /// Held for ever in a worker: threads that come here later, before whatever they were about to do, stay here.
    static SERVING: Mutex<()> = Mutex::new(());
    if let Some(mark) = env::var_os(MARK) {
        let _serving = lock(&SERVING);
        let stdin = io::stdin();
        if mark_of(stdin.as_fd()).is_ok_and(|own| mark == *own) {
            let Err(error) = serve(list);
            // Standard error may be gone as well; the exit status tells the pool.
            let _ = writeln!(io::stderr(), "the worker process cannot serve: {error}");
            os::exit_now(1);
        }
    }
    Functions { list }
}

impl Functions {
    /// The number of a function.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.list.iter().position(|(known, _)| *known == name).map(|place| place as u64)
    }

    /// What a worker says first.
    fn hello(&self) -> Vec<u8> {
        self.list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("\n").into_bytes()
    }
}

/// The variable that says which socket is a worker's.
const MARK: &str = "GROUND_UP_WORKER";

/// What tells one open socket from all others in the system.
fn mark_of(socket: BorrowedFd<'_>) -> io::Result<String> {
    let file = File::from(socket.try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", file.dev(), file.ino()))
}

// ------------------------------------------------------------------------------------------ frames

/// The length of a frame's two numbers.
const HEAD: usize = 16;

/// A worker's word for: what follows are the functions' names.
const HELLO: u64 = 0x7075_2064_6e75_6f72;
/// ... is what the function has returned.
pub(super) const RETURNED: u64 = 0;
/// ... are the words of its panic.
const PANICKED: u64 = 1;

pub(super) fn frame(word: u64, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u64;
    [&word.to_le_bytes(), &length.to_le_bytes(), bytes].concat()
}

fn head(bytes: &[u8; HEAD]) -> (u64, u64) {
    let number =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (number(0), number(8))
}

// ------------------------------------------------------------------------------------------ in the worker

/// Serves until the pool is gone; comes back only if something is wrong.
fn serve(list: &'static [(&'static str, Function)]) -> io::Result<std::convert::Infallible> {
    let socket = UnixStream::from(os::take_stdin()?);
    name_this_process();
    let watched = socket.try_clone()?;
    thread::Builder::new().name("watch".into()).spawn(move || {
        os::wait_for_hang_up(watched.as_fd());
        os::exit_now(0);
    })?;
    let mut requests = BufReader::new(socket.try_clone()?);
    let mut answers = socket;
    answers.write_all(&frame(HELLO, &Functions { list }.hello()))?;
    loop {
        let mut numbers = [0; HEAD];
        if let Err(error) = requests.read_exact(&mut numbers) {
            match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => os::exit_now(0),
                _ => return Err(error),
            }
        }
        let (number, length) = head(&numbers);
        let mut bytes = vec![0; length as usize];
        requests.read_exact(&mut bytes)?;
        // The pool and this are one program, and have compared their lists.
        let (_, function) = list[number as usize];
        let answer = match catch_unwind(AssertUnwindSafe(|| function(&bytes))) {
            Ok(returned) => frame(RETURNED, &returned),
            Err(payload) => {
                let answer = frame(PANICKED, words_of(&*payload).as_bytes());
                std::mem::forget(payload); // its drop is foreign code, and may panic
                answer
            }
        };
        answers.write_all(&answer)?;
    }
}

fn words_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied()).unwrap_or("(a payload that is not text)")
}

/// It was started as `/proc/self/exe`, and would be called `exe` in lists of processes. Where there is no such file, it
/// was not.
fn name_this_process() {
    let program = env::args_os().next().map(PathBuf::from);
    if let Some(name) = program.as_deref().and_then(Path::file_name) {
        let _ = fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
}

// ------------------------------------------------------------------------------------------ in the pool

/// A worker that is ready, as its pool sees it. Dropping it kills it.
pub(super) struct Worker {
    socket: AsyncSocket<UnixStream>,
    process: Process,
}

/// How an exchange can fail. In each case the worker is of no more use.
pub(super) enum Lost {
    /// It is gone and has not taken the request in, so that the function has not been called.
    Untaken,
    /// It is gone.
    Ended,
    /// Its answer would be so long.
    TooLong(u64),
}

/// How long a worker may take from its start to its hello.
const READY_WITHIN: Duration = Duration::from_secs(10);

const ADVICE: &str = "process_pool::functions has to be called at the beginning of main, \
                      before anything that waits or ends";

impl Worker {
    /// Starts a process and waits for its hello.
    pub(super) async fn start(functions: Functions) -> io::Result<Worker> {
        // On the loop, as process.rs does it: the threads of `unblock` may all be taken, perhaps by who waits for this pool.
        let (process, socket) = Process::start()?;
        // A stream that carries no descriptors: its short counts mean that there is no more.
        let socket = AsyncSocket::trusted(socket, Kind::Stream)?;
        let socket = socket.with_label(|_, f| f.write_str("a worker process"));
        let worker = Worker { socket, process };
        let expected = functions.hello();
        match timeout(READY_WITHIN, worker.receive(expected.len())).await {
            Ok(Ok((HELLO, names))) if names == expected => Ok(worker),
            Ok(Err(Lost::Ended | Lost::Untaken)) => {
                let status = worker.end().await;
                Err(io::Error::other(format!(
                    "the worker process has ended ({status}) before it was ready: {ADVICE}"
                )))
            }
            Ok(_) => Err(io::Error::other(
                "the worker process knows other functions than the program that has started it: \
                 process_pool::functions has to be given the same list in both",
            )),
            Err(_) => {
                let error =
                    format!("the worker process was not ready within {READY_WITHIN:?}: {ADVICE}");
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }
        }
    }

    /// Sends a request, and gives what comes back. If it is dropped halfway the worker is of no more use.
    pub(super) async fn exchange(
        &self,
        request: &[u8],
        longest: usize,
    ) -> Result<(u64, Vec<u8>), Lost> {
        let mut rest = request;
        while !rest.is_empty() {
            let count = self.socket.send(rest).await.map_err(|_| Lost::Untaken)?;
            rest = &rest[count..];
        }
        self.receive(longest).await
    }

    async fn receive(&self, longest: usize) -> Result<(u64, Vec<u8>), Lost> {
        let _until_the_end = hold_time();
        let mut frame = Vec::new();
        loop {
            if let Some(numbers) = frame.first_chunk() {
                let (word, length) = head(numbers);
                if length > longest as u64 {
                    return Err(Lost::TooLong(length));
                }
                let end = HEAD + length as usize;
                if frame.len() == end {
                    frame.drain(..HEAD);
                    return Ok((word, frame));
                }
                frame.reserve_exact(end.saturating_sub(frame.len()));
            }
            let take = |bytes: &[u8]| {
                frame.extend_from_slice(bytes);
                bytes.len()
            };
            match self.socket.recv_lent(usize::MAX, take).await {
                Ok(0) => return Err(Lost::Ended),
                Ok(_) => {}
                // The kernel says so when the other end was closed with something unread in it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Lost::Untaken);
                }
                Err(_) => return Err(Lost::Ended),
            }
        }
    }

    /// Ready if the worker has ended while it had nothing to do.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        // One that says something unasked is taken for as lost.
        self.socket.poll_read_with(cx, |mut socket| socket.read(&mut [0])).map(|_| ())
    }

    /// Waits for the end of a worker that has closed its socket, and so is about to end.
    pub(super) async fn end(mut self) -> ExitStatus {
        self.process.kill(); // if it has only closed the socket; one that is ending keeps its status
        let mut pause = Duration::from_micros(200);
        loop {
            // An error: somebody else has waited for it, and its status is gone.
            if let Some(status) = self.process.child.as_mut().map(Child::try_wait) {
                match status {
                    Ok(Some(status)) => return status,
                    Ok(None) => {}
                    Err(_) => return ExitStatus::default(),
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// A process of ours, which is killed and waited for when this is dropped, wherever that may be.
struct Process {
    /// Empty only while it is dropped.
    child: Option<Child>,
    /// Who has started it: a fork of that process has a copy of this, but no right to it.
    parent: u32,
}

impl Process {
    /// Starts this program again, and gives the socket to talk to it.
    fn start() -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Linux has the program itself under this name, even if its file has been replaced since.
        let myself = Path::new("/proc/self/exe");
        let myself = if myself.exists() { myself.to_owned() } else { env::current_exe()? };
        let mut command = Command::new(myself);
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command
            .args(arguments)
            .env(MARK, mark_of(theirs.as_fd())?)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .process_group(0);
        let process = Process { child: Some(command.spawn()?), parent: id() };
        Ok((process, ours))
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only if it was waited for; std sends nothing to the number then, which may be another's.
            let _ = child.kill();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if id() != self.parent {
            return;
        }
        self.kill();
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            bury(child);
        }
    }
}

/// Waits, on a thread of its own, for a process that was killed.
fn bury(child: Child) {
    /// Who was killed and is waited for by nobody yet.
    static DYING: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    lock(&DYING).push(child);
    let wait = || {
        while let Some(mut child) = { lock(&DYING).pop() } {
            // Fails only if somebody else has waited for it, which is as good.
            let _ = child.wait();
        }
    };
    // If there is no thread to be had, it stays on the list for the next one's.
    let _ = thread::Builder::new().name("bury".into()).spawn(wait);
}

/// Locks without regard to poison: nothing that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
