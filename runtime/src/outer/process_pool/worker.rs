//! How do a pool and one of its worker processes find each other, talk, and part?
//!
//! ```text
//! pool                                          worker: this same program, started again
//!   a socket pair; one end is its stdin,          main: functions(..)
//!   the environment says which socket that is       is stdin the socket that the environment names, and from
//!   and which list of functions is meant            this process's parent? yes: take stdin away, watch for the
//!   start the process                               pool's end
//!                                                 functions(..) of another list: go on; of that list:
//!                                 ◄── hello ──      the list's identity
//!   is it the list's? ready
//!   request: (function's number, bytes) ──────►     call it
//!                        ◄── (kind, bytes) ──       what it returned, or the words of its panic
//!   kill it, or end: the socket closes ───────►     end at once, whatever is being computed
//! ```
//!
//! Both ways a frame is two numbers of eight bytes, a word and a length, and then so many bytes. Only the pool's side has
//! to be on guard: it bounds the length and the time until the hello.
//!
//! Rules kept here:
//! - Only what was meant becomes a worker. A process that the worker starts inherits the environment, but not the socket, so
//!   the two do not agree there. The environment and standard input can be chosen by whoever starts a program, though, and a
//!   worker computes what it is asked for, past all limits of its main. So the pair must have been made by the process's
//!   parent under the same user (Linux notes both, macOS and the BSDs the user, others neither), and a program that has more
//!   rights than the user who started it is never a worker. A socket that is named, and not from the parent, ends the
//!   process: it is a worker whose pool has died first, or a forgery, and in neither case a program to run.
//! - Of several lists each call reaches its own. A list's identity is a hash of its names and of where their functions lie
//!   in the program, so lists that are equal by it call the same code; the worker serves none other.
//! - A worker never outlives its pool: a thread of its own waits for the socket's other end to close and ends the process.
//!   (A program that forks without exec hands the other end on; then the worker ends with the fork.)
//! - A worker's end is that of its process (process.rs has a descriptor for it), not that of the socket: a process that the
//!   function has forked has the socket, too, and may live on. (It is not killed; no descendant of a worker is.)
//! - A process is killed and waited for wherever a [`Worker`] is dropped; that is process.rs's rule for each child.
//!
//! A worker is in a process group of its own: Ctrl-C at the terminal is for the program, which decides what to end. So to
//! the terminal it is a background process. Those are stopped if they read from it, or write to it under `stty tostop`,
//! and a stopped worker's call never ends; so it is started with `SIGTTIN` and `SIGTTOU` blocked: its writes go through, its
//! reads fail (`EIO`), and the same goes for the programs that it starts. Ctrl-Z stops the program alone: a worker
//! finishes the call it is at, and waits until the program goes on. One that is stopped by a signal of its own keeps its call
//! waiting until it is continued; a timeout around the call ends both.
//!
//! What it does not do: find a list whose functions lie in another shared object than this crate; their distance differs
//! from process to process, and such a pool's calls end with `NotStarted`.
//!
//! Comes from: mod.rs, and the user's main. Goes to: process.rs, `AsyncSocket`, sys/os.rs (stdin, hang-up).

use std::any::Any;
use std::env;
use std::fs::{self, File};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::process::{Child, Command};
use crate::sys::os;
use crate::{AsyncSocket, Kind, hold_time, timeout, yield_now};

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

/// A list of functions that workers can be asked to call, made by [`functions`]. A pool cannot be made without one, so the
/// call that turns a worker process into one cannot be forgotten.
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
    /// The same for the same list in all processes of one program, and in no other case.
    identity: u64,
}

/// Names the functions that workers can be asked to call. Call it at the very beginning of `main`.
///
/// A worker is this same program, started again with the same arguments. There, this call never returns: it serves the pool
/// that has started it, and ends when that ends. What stands before it is done by every worker, too; what stands behind it,
/// by none. In the program itself it returns at once (it reads one variable of the environment), and what it returns is
/// what [`ProcessPool::new`](super::ProcessPool::new) wants.
///
/// A program may have several lists, say of its own and of a library: all of them are made before the first pool. A
/// worker then passes the calls whose list is not that of its pool, and serves at the one whose list is: the same names for
/// the same functions. If it does not come to that one (the call depends on a condition that does not hold in the worker),
/// the pool's calls end with [`NotStarted`](super::CallError::NotStarted); another list's function is never called.
///
/// A worker has its stdin and stdout at `/dev/null`, and the program's stderr. In a test, what is started again is the
/// test's binary with its arguments: start that for one test alone, in a process of its own.
///
/// A program that has more rights than the user who starts it (set-user-ID, file capabilities) is never a worker and
/// starts none: what makes a process a worker is its environment, which that user chooses. Anywhere else a worker serves
/// only the process that has started it: on Linux the kernel says which one that is, on macOS and the BSDs which user's.
///
/// # Panics
/// If two functions of the list have the same name; if a pool has been made and this list was not given before, since each
/// of its workers would run through all that the program has done until now.
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
    let functions = Functions { list, identity: identity(list) };
    let mut role = lock(&ROLE);
    let serving = match role.get_or_insert_with(Role::find) {
        Role::Program { lists, .. } if lists.contains(&functions.identity) => None,
        Role::Program { has_pool: true, .. } => {
            drop(role);
            panic!(
                "process_pool::functions with a list that is new, after a ProcessPool was made: make all lists at the \
                 beginning of main, before the first pool"
            );
        }
        Role::Program { lists, .. } => {
            lists.push(functions.identity);
            None
        }
        Role::Worker { identity, .. } if *identity != functions.identity => None,
        Role::Worker { socket, .. } => socket.take(),
        // A thread that main has started before.
        Role::Serving(thread) if *thread != thread::current().id() => {
            drop(role);
            loop {
                thread::park();
            }
        }
        Role::Serving(_) => None, // a function that makes a pool of its own
    };
    if let Some(socket) = serving {
        *role = Some(Role::Serving(thread::current().id()));
        drop(role);
        let Err(error) = serve(socket, functions);
        give_up(&format!("it cannot serve: {error}"));
    }
    functions
}

/// What this process is. Decided by the first call of [`functions`].
enum Role {
    Program {
        /// The identities of those that were made.
        lists: Vec<u64>,
        has_pool: bool,
    },
    /// A worker that has not come to its list.
    Worker {
        /// `None` never leaves the lock.
        socket: Option<UnixStream>,
        identity: u64,
    },
    Serving(ThreadId),
}

static ROLE: Mutex<Option<Role>> = Mutex::new(None);

impl Role {
    fn find() -> Role {
        Role::of_worker().unwrap_or_else(|| Role::Program { lists: Vec::new(), has_pool: false })
    }

    /// `None` if this process is no worker. One that only looks like one does not come back from here.
    fn of_worker() -> Option<Role> {
        if os::is_privileged() {
            return None;
        }
        let mark = env::var(MARK).ok()?;
        let (name, identity) = mark.rsplit_once(':')?;
        let identity = identity.parse().ok()?;
        let stdin = io::stdin();
        // A process that a worker has started has the worker's environment, but not its standard input.
        if name != name_of(stdin.as_fd()).ok()? {
            return None;
        }
        // Not a program to be run as any other, either: if its parent has died, it is a worker that came too late.
        if !os::is_parents_socket(stdin.as_fd()).unwrap_or(false) {
            give_up("its standard input is not from the process that has started it");
        }
        match attach() {
            Ok(socket) => Some(Role::Worker { socket: Some(socket), identity }),
            Err(error) => give_up(&format!("it cannot take its standard input: {error}")),
        }
    }
}

/// Notes that this process has a pool, and so is no worker, and never will be.
pub(super) fn note_pool() {
    match lock(&ROLE).as_mut() {
        Some(Role::Worker { .. }) => {
            give_up(&format!("it makes a pool instead of serving: {ADVICE}"))
        }
        Some(Role::Program { has_pool, .. }) => *has_pool = true,
        _ => {}
    }
}

/// Ends this process, which was to be a worker. The exit status tells the pool; standard error may be gone as well.
fn give_up(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "a worker process ends: {why}");
    os::exit_now(1)
}

/// Equal for two lists only if the same names stand for the same code. Where that lies is counted from a place of this
/// program, since each process has the program elsewhere in its memory.
fn identity(list: &[(&str, Function)]) -> u64 {
    static PLACE: u8 = 0;
    let mut hasher = DefaultHasher::new(); // which has the same keys in every process
    for (index, (name, function)) in list.iter().enumerate() {
        let is_first = list[..index].iter().all(|(other, _)| other != name);
        assert!(is_first, "process_pool::functions: two functions are called {name:?}");
        let distance = (*function as usize).wrapping_sub(&raw const PLACE as usize);
        (name, distance).hash(&mut hasher);
    }
    hasher.finish()
}

impl Functions {
    /// The number of a function.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.list.iter().position(|(known, _)| *known == name).map(|place| place as u64)
    }
}

/// The variable that says which socket is a worker's, and which list it is to serve.
const MARK: &str = "GROUND_UP_WORKER";

/// What tells one open socket from all others in the system.
fn name_of(socket: BorrowedFd<'_>) -> io::Result<String> {
    let file = File::from(socket.try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", file.dev(), file.ino()))
}

// ------------------------------------------------------------------------------------------ frames

/// The length of a frame's two numbers.
const HEAD: usize = 16;

/// A worker's word for: what follows is the identity of the list that it serves.
const HELLO: u64 = 0x7075_2064_6e75_6f72;
/// ... is what the function has returned.
pub(super) const RETURNED: u64 = 0;
/// ... are the words of its panic.
const PANICKED: u64 = 1;

fn frame(word: u64, bytes: &[u8]) -> Vec<u8> {
    [&numbers(word, bytes), bytes].concat()
}

/// A frame's beginning.
fn numbers(word: u64, bytes: &[u8]) -> [u8; HEAD] {
    (u128::from(word) | (bytes.len() as u128) << 64).to_le_bytes()
}

fn head(bytes: &[u8; HEAD]) -> (u64, u64) {
    let numbers = u128::from_le_bytes(*bytes);
    (numbers as u64, (numbers >> 64) as u64)
}

// ------------------------------------------------------------------------------------------ in the worker

/// Takes the socket out of standard input's place, and sees to it that this process ends with the pool.
fn attach() -> io::Result<UnixStream> {
    let socket = UnixStream::from(os::take_stdin()?);
    name_this_process();
    let watched = socket.try_clone()?;
    os::start_thread("watch", move || {
        os::wait_for_hang_up(watched.as_fd());
        os::exit_now(0);
    })?;
    Ok(socket)
}

/// Serves until the pool is gone; comes back only if something is wrong.
fn serve(socket: UnixStream, functions: Functions) -> io::Result<std::convert::Infallible> {
    let mut requests = BufReader::new(socket.try_clone()?);
    let mut answers = socket;
    answers.write_all(&frame(HELLO, &functions.identity.to_le_bytes()))?;
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
        let (_, function) = functions.list[number as usize];
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
    process: Child,
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

/// A request up to this length is copied behind its head, and sent by one call.
const SENT_AT_ONCE: usize = 1 << 16;

const ADVICE: &str = "process_pool::functions has to be called with this list at the beginning of main, under no \
                      condition that may not hold in a worker, before anything that waits or ends";

impl Worker {
    /// Starts a process and waits for its hello.
    pub(super) async fn start(functions: Functions) -> io::Result<Worker> {
        // On the loop, as process.rs does it: the threads of `unblock` may all be taken, perhaps by who waits for this pool.
        let (process, socket) = start_process(functions)?;
        // A stream that carries no descriptors: its short counts mean that there is no more.
        let socket = AsyncSocket::trusted(socket, Kind::Stream)?;
        let socket = socket.with_label(|_, f| f.write_str("a worker process"));
        let mut worker = Worker { socket, process };
        let expected = functions.identity.to_le_bytes();
        let hello = unless_ended(&mut worker.process, receive(&worker.socket, expected.len()));
        match timeout(READY_WITHIN, hello).await {
            Ok(Ok((HELLO, identity))) if identity == expected => Ok(worker),
            Ok(Err(Lost::Ended | Lost::Untaken)) => {
                let alone = match run_by_another() {
                    Some(_) => {
                        " (This program is run by another, such as a loader; its workers are started without that.)"
                    }
                    None => "",
                };
                let how = match worker.end().await {
                    Some(status) => status.to_string(),
                    None => "how is not known".to_owned(),
                };
                Err(io::Error::other(format!(
                    "the worker process has ended ({how}) before it was ready: {ADVICE}{alone}"
                )))
            }
            Ok(_) => Err(io::Error::other(format!(
                "the worker process is not this program, or another version of it: {ADVICE}"
            ))),
            Err(_) => {
                let error =
                    format!("the worker process was not ready within {READY_WITHIN:?}: {ADVICE}");
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }
        }
    }

    /// Has a function called, and gives what comes back. If it is dropped halfway the worker is of no more use.
    pub(super) async fn exchange(
        &mut self,
        function: u64,
        bytes: &[u8],
        longest: usize,
    ) -> Result<(u64, Vec<u8>), Lost> {
        // A dead worker's socket takes the request in as long as a process that was forked from it has the other end.
        if !matches!(self.process.try_wait(), Ok(None)) {
            return Err(Lost::Untaken);
        }
        let socket = &self.socket;
        let exchange = async {
            if bytes.len() <= SENT_AT_ONCE {
                send(socket, &frame(function, bytes)).await?;
            } else {
                send(socket, &numbers(function, bytes)).await?;
                send(socket, bytes).await?;
            }
            receive(socket, longest).await
        };
        unless_ended(&mut self.process, exchange).await
    }

    /// Waits until a worker that has nothing to do has ended, or says something unasked, which is as bad.
    pub(super) async fn ended(&mut self) {
        let read = async {
            let _ = self.socket.read_with(|mut socket| socket.read(&mut [0])).await;
            Ok(())
        };
        let _ = unless_ended(&mut self.process, read).await;
    }

    /// Waits for the end of a worker that is of no more use; `None` if nothing tells how it has ended.
    pub(super) async fn end(mut self) -> Option<ExitStatus> {
        let _until_the_end = hold_time();
        // If it has only closed its socket. One that has ended keeps its status.
        let _ = self.process.start_kill();
        self.process.wait().await.ok()
    }
}

/// What comes of a talk with this process; the process's end is the end of the talk. (That of the socket need not come: a
/// process that was forked from it may have it, too.)
async fn unless_ended<R>(
    process: &mut Child,
    talk: impl Future<Output = Result<R, Lost>>,
) -> Result<R, Lost> {
    let (mut talk, mut end) = (pin!(talk), pin!(process.wait()));
    let result = poll_fn(|cx| match talk.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => end.as_mut().poll(cx).map(|_| None),
    });
    if let Some(result) = result.await {
        return result;
    }
    // What it has said before is in the socket, and one more turn of the loop brings it to light.
    yield_now().await;
    let last = poll_fn(|cx| Poll::Ready(talk.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = last { result } else { Err(Lost::Ended) }
}

async fn send(socket: &AsyncSocket<UnixStream>, mut bytes: &[u8]) -> Result<(), Lost> {
    while !bytes.is_empty() {
        let count = socket.send(bytes).await.map_err(|_| Lost::Untaken)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

async fn receive(socket: &AsyncSocket<UnixStream>, longest: usize) -> Result<(u64, Vec<u8>), Lost> {
    let _until_the_end = hold_time();
    let (mut numbers, mut known) = ([0; HEAD], 0);
    let mut bytes = Vec::new();
    loop {
        if known == HEAD {
            let (word, length) = head(&numbers);
            if length > longest as u64 {
                return Err(Lost::TooLong(length));
            }
            let length = length as usize;
            if bytes.len() == length {
                return Ok((word, bytes));
            }
            bytes.reserve_exact(length.saturating_sub(bytes.len()));
        }
        let take = |chunk: &[u8]| {
            let (rest, chunk_of_head) = (&mut numbers[known..], chunk.len().min(HEAD - known));
            rest[..chunk_of_head].copy_from_slice(&chunk[..chunk_of_head]);
            known += chunk_of_head;
            bytes.extend_from_slice(&chunk[chunk_of_head..]);
            chunk.len()
        };
        match socket.recv_lent(usize::MAX, take).await {
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

/// Starts this program again, to serve this list, and gives the socket to talk to it.
fn start_process(functions: Functions) -> io::Result<(Child, UnixStream)> {
    if os::is_privileged() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a program that has more rights than the user who started it (set-user-ID, file capabilities) starts no worker \
             processes: compute on threads (runtime::unblock), or have a service manager give it the rights",
        ));
    }
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(match run_by_another() {
        Some(program) => program,
        None if Path::new(OWN_PROGRAM).exists() => PathBuf::from(OWN_PROGRAM),
        None => env::current_exe()?,
    });
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.as_std_mut().arg0(name);
    }
    command
        .args(arguments)
        .env(MARK, format!("{}:{}", name_of(theirs.as_fd())?, functions.identity))
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null());
    command.as_std_mut().process_group(0);
    let _not_stopped_by_the_terminal = os::TerminalStops::block();
    Ok((command.spawn()?, ours))
}

/// Linux has the running program under this name, even if its file has been replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The file of this program, if the kernel was asked for another one that runs it: valgrind, or a loader called by its name.
/// A worker is started without that one. It would take the program's arguments for its own.
fn run_by_another() -> Option<PathBuf> {
    let entry = os::entry_address()?;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    // "from-to rights offset device inode   path"
    let holds_entry = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        range.is_some_and(|(from, to)| {
            let number = |hex| u64::from_str_radix(hex, 16).unwrap_or(0);
            (number(from)..number(to)).contains(&entry)
        })
    };
    let line = maps.lines().find(holds_entry)?;
    let path = PathBuf::from(&line[line.find('/')?..]);
    let (file, own) = (fs::metadata(&path).ok()?, fs::metadata(OWN_PROGRAM).ok()?);
    // Another file may have this path by now, or in the root folder that the process has changed to.
    let is_mapped = line.split_whitespace().nth(4)?.parse() == Ok(file.ino());
    (is_mapped && (file.dev(), file.ino()) != (own.dev(), own.ino())).then_some(path)
}

/// Locks without regard to poison: nothing that can panic runs under this lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
