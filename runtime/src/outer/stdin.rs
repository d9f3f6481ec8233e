//! How does a task read what is typed, or piped, into the program?
//!
//! By a thread. Descriptor 0 cannot be watched as sockets are, for two reasons. It may be a regular file, which the kernel
//! does not watch. And it must not be made non-blocking: the flag would belong to the open file, which is the shell's, too,
//! and that of every other program on the same terminal; they would fail long after this one has ended. To poll it and
//! then read it as it is, blocking, is a race against those others: who reads second stops, and the loop with it.
//!
//! So a thread, made at the first use, reads on demand: when somebody waits and nothing is left, it reads once, as much as
//! there is and at most `CHUNK` bytes. Before the first use, and between the reads, descriptor 0 is left alone.
//!
//! Rules kept here:
//! - The thread is detached: the end of the process does not wait for a read.
//! - What was read and not yet taken stays, in one place for the whole process, whoever takes it. So a dropped read
//!   loses nothing, and a new handle goes on where the last one stopped.
//! - An error takes nothing, either. An end is one for good, be it that of a terminal (Ctrl-D).
//! - At most a line's limit and a chunk are held here.
//! - Wakers are called, cloned and dropped outside of the lock, and a panic of one costs the others nothing.
//!
//! The thread reads through std's own [`Stdin`](std::io::Stdin): what that had buffered comes first, a closed descriptor is
//! an end, and both may be used in one program, though not at the same time: the thread holds std's lock while it reads.
//!
//! After a fork the child has this memory but not the thread; there, reading is an error.
//!
//! What it does not do: turn echo or line editing off, or tell a terminal from a file.
//!
//! Comes from: user code, under any executor. Goes to: the waker of whoever waits.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::sys::os;

/// What is read at a time, at most.
const CHUNK: usize = 1 << 14;

/// The length of the longest line, if nobody says otherwise; see [`Stdin::line_limit`].
const LINE_LIMIT: usize = 1 << 16;

/// The program's standard input. Every call gives a handle of the same input: what one has read, the others have not to.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # async fn example() -> std::io::Result<()> {
/// let input = runtime::stdin();
/// while let Some(line) = input.read_line().await? {
///     println!("you said {line}");
/// }
/// # Ok(()) }
/// # Ok(()) }
/// ```
pub fn stdin() -> Stdin {
    Stdin { line_limit: LINE_LIMIT }
}

/// A handle of the program's standard input, made by [`stdin`]. Several tasks may read: each piece goes to one of them.
///
/// ```no_run
/// runtime::block_on(async {
///     let input = runtime::stdin().line_limit(1024);
///     let name = input.read_line().await?.unwrap_or_default();
///     let mut rest = [0; 4096];
///     let count = input.read(&mut rest).await?;
///     println!("{name}, and at least {count} bytes more");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stdin {
    line_limit: usize,
}

impl Stdin {
    /// Sets the length of the longest line that [`read_line`](Self::read_line) gives, in bytes; 65,536 if nobody does.
    pub fn line_limit(mut self, bytes: usize) -> Self {
        self.line_limit = bytes;
        self
    }

    /// Reads some bytes into `buffer`: as many as there are, at least one. Zero is the end. An empty buffer gives zero
    /// at once.
    ///
    /// # Errors
    /// The system's; [`QuotaExceeded`](ErrorKind::QuotaExceeded) if it gives no thread; or in a child of `fork`, if its
    /// parent has read.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken nothing; what comes in meanwhile is kept for the next.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        take(|input| {
            let is_there = !input.bytes.is_empty() || input.ended || buffer.is_empty();
            is_there.then(|| input.bytes.read(buffer))
        })
        .await
    }

    /// Reads a line, and gives it without its end (`\n` or `\r\n`). The last line need not have one. `None` is the end.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`FileTooLarge`](ErrorKind::FileTooLarge) for a line over the limit, and
    /// [`InvalidData`](ErrorKind::InvalidData) for one that is not UTF-8. Such a line stays where it is: `read` takes it, and
    /// so does a handle with a greater limit.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken nothing: half a line is kept for the next, too.
    pub async fn read_line(&self) -> io::Result<Option<String>> {
        take(|input| input.take_line(self.line_limit)).await
    }
}

static INPUT: Mutex<Input> = Mutex::new(Input::new());

/// Tells the thread that something is wanted.
static WANTED: Condvar = Condvar::new();

/// The process that reads; 0 before the first use.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Both sides' state. Reader and thread meet under one lock: who waits has put its waker down and said `wanted` before the
/// thread looks, or the thread has put its bytes down before the waiting one looks.
struct Input {
    /// Read, and not taken.
    bytes: VecDeque<u8>,
    ended: bool,
    error: Option<io::Error>,
    /// Somebody waits: read once more. The thread clears it when it has.
    wanted: bool,
    has_thread: bool,
    /// Who waits, by ticket.
    waiting: BTreeMap<u64, Waker>,
    last_ticket: u64,
}

impl Input {
    const fn new() -> Self {
        Input {
            bytes: VecDeque::new(),
            ended: false,
            error: None,
            wanted: false,
            has_thread: false,
            waiting: BTreeMap::new(),
            last_ticket: 0,
        }
    }

    fn take_line(&mut self, limit: usize) -> Option<io::Result<Option<String>>> {
        let bytes = self.bytes.make_contiguous();
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let line = &bytes[..end.unwrap_or(bytes.len())];
        if line.len() > limit {
            let error = format!(
                "a line of standard input is longer than {limit} bytes: allow more by Stdin::line_limit, or take it by read"
            );
            return Some(Err(io::Error::new(ErrorKind::FileTooLarge, error)));
        }
        if end.is_none() && !self.ended {
            return None;
        }
        if bytes.is_empty() {
            return Some(Ok(None));
        }
        let taken = line.len() + usize::from(end.is_some());
        let line = if end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let line = match str::from_utf8(line) {
            Ok(line) => line.to_owned(),
            Err(error) => return Some(Err(io::Error::new(ErrorKind::InvalidData, error))),
        };
        self.bytes.drain(..taken);
        Some(Ok(Some(line)))
    }
}

/// Waits until `what` finds what it wants, and sees to it that the thread reads meanwhile.
async fn take<R>(mut what: impl FnMut(&mut Input) -> Option<io::Result<R>>) -> io::Result<R> {
    let mut ticket = Ticket(0);
    poll_fn(|cx| ticket.poll(cx, &mut what)).await
}

/// A place on the list of those who wait; zero: none. Dropped, it is left.
struct Ticket(u64);

impl Ticket {
    fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        what: &mut impl FnMut(&mut Input) -> Option<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if !is_of_this_process() {
            return Poll::Ready(Err(forked()));
        }
        let waker = cx.waker().clone();
        let mut input = lock();
        // What is there comes before the error that came after it.
        if let Some(result) = what(&mut input).or_else(|| input.error.take().map(Err)) {
            drop(input);
            return Poll::Ready(result);
        }
        if !input.has_thread {
            if let Err(error) = os::start_thread("stdin", read_on_demand) {
                drop(input);
                return Poll::Ready(Err(error));
            }
            input.has_thread = true;
        }
        if self.0 == 0 {
            input.last_ticket += 1;
            self.0 = input.last_ticket;
        }
        let replaced = input.waiting.insert(self.0, waker);
        input.wanted = true;
        drop(input);
        drop(replaced);
        WANTED.notify_one();
        let label: &dyn std::fmt::Display = &"standard input";
        crate::parked(&crate::Wait {
            reason: crate::Reason::Job,
            source: Some(0),
            label: Some(label),
        });
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // In a forked child the lock may be held for ever, by a thread that is not there.
        if self.0 != 0 && is_of_this_process() {
            let waker = lock().waiting.remove(&self.0);
            drop(waker);
        }
    }
}

/// The life of the thread.
fn read_on_demand() {
    let mut chunk = vec![0; CHUNK];
    loop {
        let unwanted = |input: &mut Input| !input.wanted;
        drop(WANTED.wait_while(lock(), unwanted).unwrap_or_else(PoisonError::into_inner));
        let result = read_once(&mut chunk);
        let mut input = lock();
        match result {
            Ok(0) => input.ended = true,
            Ok(count) => input.bytes.extend(&chunk[..count]),
            Err(error) => input.error = Some(error),
        }
        input.wanted = false;
        let waiting = mem::take(&mut input.waiting);
        drop(input);
        for waker in waiting.into_values() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                mem::forget(payload); // its own drop might panic, too
            }
        }
    }
}

/// One blocking read. Somebody else may have made the descriptor non-blocking, or have signals handled without restart.
fn read_once(chunk: &mut [u8]) -> io::Result<usize> {
    let mut stdin = io::stdin();
    loop {
        match stdin.read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                os::wait_readable(stdin.as_fd())?
            }
            result => return result,
        }
    }
}

fn is_of_this_process() -> bool {
    let pid = process::id();
    match OWNER.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => true,
        Err(owner) => owner == pid,
    }
}

fn forked() -> io::Error {
    io::Error::other(
        "standard input was read before the fork, and the thread that reads it is not in this child",
    )
}

/// Locks without regard to poison: no code that can panic runs under this lock.
fn lock() -> MutexGuard<'static, Input> {
    INPUT.lock().unwrap_or_else(PoisonError::into_inner)
}
