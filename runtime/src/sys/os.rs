//! What do the outer rooms need of the operating system, with safe faces?
//!
//! Signals. The kernel may interrupt any thread between any two instructions and run a handler there; all that such a
//! handler may do is touch atomics and make a few named calls (no lock, no allocation). So it does the least: it notes
//! the signal in the slot of every subscriber that wants it, and writes a byte to that subscriber's socket. The rest is
//! a socket that becomes readable, which a runtime knows how to wait for.
//!
//! | a slot's word | who writes it                        | what it means                                     |
//! |---------------|--------------------------------------|---------------------------------------------------|
//! | `writer`      | the first subscriber of the slot     | the handler's end of the socket pair; -1: not open |
//! | `wanted`      | `Subscription::new`, `drop`          | the signals to note; bit n - 1 is signal n        |
//! | `pending`     | the handler sets, `take` empties     | the signals that came and were not taken yet      |
//!
//! The danger is a handler that is overtaken: it has found a subscriber on one thread, and before it writes, that
//! subscriber leaves on another. If the descriptor were closed, its number could by then be a client's connection, and
//! the byte would go there. So a slot's descriptors are never closed; the next subscriber takes them over. The late
//! byte then wakes it once for nothing, and a late bit that it does not want is masked out by `take`.
//!
//! Dispositions (what a signal does to the process) are counted, under a lock that the handler never takes: the first
//! subscriber of a signal puts our handler in, the last one puts back what was there. A signal that was sent while our
//! handler was in may be pending still, for a thread that has not run since; it must not do what was put back (end the
//! process, most often). So the signal is ignored for a moment before, which makes the kernel discard what is pending.
//!
//! Processes, pipes and standard input need less; that stands in os/process.rs.
//! Beside the signals, what a worker process of the process pool needs and std does not have: to take its standard input
//! away, to wait for a socket's end without reading, to end at once.
//!
//! What it does not do: decide which signals make sense to wait for (outer/signals.rs), or touch any thread's mask.
//!
//! Comes from: outer/. Goes to: the kernel.

mod pinned;
pub(crate) mod pipe;
pub(crate) mod port;
pub(crate) mod slots;
mod threads;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod process;
pub(crate) use process::{
    TerminalStops, entry_address, is_parents_socket, is_privileged, process_descriptor,
    send_signal, set_blocking, wait_readable,
};

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
use libc::___errno as errno_place;
#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
use libc::__errno as errno_place;
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "android",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos",
    target_os = "solaris",
)))]
use libc::__errno_location as errno_place;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
use libc::__error as errno_place;

pub(crate) use libc::{
    ECHILD, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPIPE,
    SIGQUIT, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

pub(crate) use super::Stack;
use super::fork;
pub(crate) use super::fork::generation as fork_generation;
pub(crate) use pinned::beside;
pub(crate) use threads::{
    OsThread, explain_shortage, start_thread, start_thread_with_stack, wake_precisely,
};

/// The most subscriptions at a time in the process. Each slot that was ever used keeps two descriptors.
pub(crate) const SLOT_COUNT: usize = 256;

/// The greatest signal number a slot's words have a bit for. Linux and the BSDs end there or before.
pub(crate) const MAX_SIGNAL: i32 = 64;

/// What the handler reads: fixed places, since it must neither lock nor follow anything that may be freed.
static SLOTS: [Slot; SLOT_COUNT] = [const { Slot::new() }; SLOT_COUNT];

/// What it does not read.
static TABLE: Mutex<Table> = Mutex::new(Table::new(0));

/// The generation (see fork.rs) that the slots are of.
static OWNER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// The signals that were ignored when our handler was put in. For the handler in a forked child, which may not lock.
static IGNORED_BEFORE: AtomicU64 = AtomicU64::new(0);

struct Slot {
    writer: AtomicI32,
    wanted: AtomicU64,
    pending: AtomicU64,
}

/// Our disposition of every signal that is subscribed to. Runs anywhere, at any time.
extern "C" fn on_signal(number: i32) {
    // SAFETY: always there: the calling thread's own errno.
    let errno = unsafe { errno_place() };
    // SAFETY: valid as long as the thread runs, and no other thread touches it.
    let interrupted = unsafe { *errno };
    if OWNER.load(Ordering::Relaxed) != fork::counted() {
        // In a forked child whose parent had subscribed: nobody here reads the sockets, and they are the parent's, too. As if
        // never caught. (The mask is full here: it comes when the handler has returned.)
        let was_ignored = IGNORED_BEFORE.load(Ordering::Relaxed) & bit(number) != 0;
        let before = if was_ignored { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: it may be called in a handler.
        unsafe { libc::signal(number, before) };
        // SAFETY: as above.
        unsafe { libc::raise(number) };
        return;
    }
    for slot in &SLOTS {
        // Acquire, here and below, with the Release of `Table::open` and `Subscription::new`.
        let writer = slot.writer.load(Ordering::Acquire);
        if writer < 0 {
            break; // slots are opened in order
        }
        if slot.wanted.load(Ordering::Acquire) & bit(number) != 0 {
            slot.pending.fetch_or(bit(number), Ordering::Release);
            // A full socket refuses the byte: then it is readable already, and that is all we want.
            // SAFETY: one readable byte; the descriptor is a slot's, which is never closed, so it is ours.
            unsafe { libc::write(writer, (&raw const BYTE).cast(), 1) };
        }
    }
    // SAFETY: as above. Who was interrupted may be about to look at it.
    unsafe { *errno = interrupted };
}

static BYTE: u8 = 1;

/// One who is told of some signals, from `new` to its drop.
pub(crate) struct Subscription {
    slot: usize,
    reader: &'static UnixStream,
    /// The signals our handler is in place for on our behalf.
    signals: u64,
    /// Out of the slot's `pending`, and not yet given out.
    taken: u64,
    /// The process generation this was made in; see fork.rs.
    born: u32,
}

impl Subscription {
    /// Subscribes to `numbers`, each between 1 and [`MAX_SIGNAL`].
    pub(crate) fn new(numbers: &[i32]) -> io::Result<Self> {
        let mut subscription = lock().open()?;
        let slot = &SLOTS[subscription.slot];
        // What came late for the one before. Ordered before the first `wanted` bit by its Release.
        slot.pending.store(0, Ordering::Relaxed);
        for &number in numbers {
            if subscription.signals & bit(number) == 0 {
                slot.wanted.fetch_or(bit(number), Ordering::Release);
                lock().catch(number)?; // the drop gives back what we have so far
                subscription.signals |= bit(number);
            }
        }
        Ok(subscription)
    }

    /// The socket that becomes readable when there is something to take. Non-blocking. Drain it before you wait for it,
    /// and [`take`](Self::take) between the draining and the waiting: the bit is set before the byte is written.
    pub(crate) fn reader(&self) -> &'static UnixStream {
        self.reader
    }

    /// A signal that has come. All that came are given out once before any is given out again.
    pub(crate) fn take(&mut self) -> Option<i32> {
        if self.taken == 0 {
            // Acquire with the handler's Release.
            let pending = SLOTS[self.slot].pending.swap(0, Ordering::Acquire);
            self.taken = pending & self.signals;
        }
        let number = numbers(self.taken).next()?;
        self.taken &= !bit(number);
        Some(number)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut table = lock();
        if table.born != self.born {
            return; // inherited through a fork: `lock` has given up the parent's slots already
        }
        // In this order, so that no signal falls in between: a handler that nobody wants would swallow it.
        for number in numbers(self.signals) {
            table.release(number);
        }
        SLOTS[self.slot].wanted.store(0, Ordering::Release);
        table.free.push((self.slot, self.reader));
    }
}

struct Table {
    /// How many slots have their descriptors.
    opened: usize,
    /// Those of them that nobody has.
    free: Vec<(usize, &'static UnixStream)>,
    /// By signal number.
    caught: BTreeMap<i32, Caught>,
    born: u32,
}

struct Caught {
    subscribers: usize,
    before: libc::sigaction,
}

/// Locks the table. In a child of fork() it first gives up all that the parent had: the sockets are shared with the
/// parent (a byte written here would wake it there), and whoever read them does not run here.
fn lock() -> MutexGuard<'static, Table> {
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let born = fork::generation();
    if table.born != born {
        for (number, caught) in std::mem::take(&mut table.caught) {
            restore(number, &caught.before);
        }
        for slot in &SLOTS {
            slot.wanted.store(0, Ordering::Release);
        }
        *table = Table::new(born);
        OWNER.store(born, Ordering::Relaxed);
    }
    table
}

impl Table {
    const fn new(born: u32) -> Self {
        Table { opened: 0, free: Vec::new(), caught: BTreeMap::new(), born }
    }

    /// Finds a free slot, or opens the next.
    fn open(&mut self) -> io::Result<Subscription> {
        let (slot, reader) = match self.free.pop() {
            Some(free) => free,
            None => {
                let slot = SLOTS.get(self.opened).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::QuotaExceeded,
                        format!("{SLOT_COUNT} signal subscriptions are alive, and no more fit"),
                    )
                })?;
                let (reader, writer) = UnixStream::pair()?;
                reader.set_nonblocking(true)?;
                writer.set_nonblocking(true)?;
                slot.writer.store(writer.into_raw_fd(), Ordering::Release);
                self.opened += 1;
                (self.opened - 1, &*Box::leak(Box::new(reader)))
            }
        };
        Ok(Subscription { slot, reader, signals: 0, taken: 0, born: self.born })
    }

    /// One more subscriber of a signal.
    fn catch(&mut self, number: i32) -> io::Result<()> {
        let previous = set_disposition(number, Some(&ours()))?;
        let caught =
            self.caught.entry(number).or_insert(Caught { subscribers: 0, before: previous });
        if !is_ours(&previous) {
            caught.before = previous; // somebody has put another in since
            match previous.sa_sigaction {
                libc::SIG_IGN => IGNORED_BEFORE.fetch_or(bit(number), Ordering::Relaxed),
                _ => IGNORED_BEFORE.fetch_and(!bit(number), Ordering::Relaxed),
            };
        }
        caught.subscribers += 1;
        Ok(())
    }

    /// One fewer. The last puts back what was there before the first.
    fn release(&mut self, number: i32) {
        let Some(caught) = self.caught.get_mut(&number) else {
            return;
        };
        caught.subscribers -= 1;
        if caught.subscribers == 0 {
            restore(number, &caught.before);
            self.caught.remove(&number);
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Slot { writer: AtomicI32::new(-1), wanted: AtomicU64::new(0), pending: AtomicU64::new(0) }
    }
}

/// Puts `before` back, unless somebody else has put another handler over ours: that one stays. What is pending is
/// discarded. Cannot fail: the number has been accepted once, and the disposition is the kernel's own.
fn restore(number: i32, before: &libc::sigaction) {
    if !set_disposition(number, None).is_ok_and(|current| is_ours(&current)) {
        return;
    }
    // A child that ends while SIGCHLD is ignored is reaped by the kernel, and its status is lost. By default it does
    // nothing, so a pending one may come.
    if number != SIGCHLD {
        let _ = set_disposition(number, Some(&ignored()));
    }
    let _ = set_disposition(number, Some(before));
}

fn ignored() -> libc::sigaction {
    // SAFETY: a C record for which zeroes are valid: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    action
}

fn ours() -> libc::sigaction {
    // SAFETY: a C record for which zeroes are valid: the default disposition, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = our_address();
    // RESTART: blocking calls of other threads go on instead of failing with EINTR. ONSTACK: a thread deep in its stack
    // has another one for this. The full mask keeps the handler from being interrupted by itself, so that one frame of
    // it is all that stack must hold.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the mask is ours to write.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == our_address()
}

fn our_address() -> usize {
    on_signal as extern "C" fn(i32) as usize
}

/// Sets a signal's disposition, if there is a new one, and gives the one before.
fn set_disposition(number: i32, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: a C record for which zeroes are valid.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `new` is null or lives through the call, and what it names is either `on_signal`, which does only what a
    // handler may, or what the kernel gave us for this signal. `previous` is ours to write.
    let result = unsafe { libc::sigaction(number, new, &raw mut previous) };
    if result == 0 { Ok(previous) } else { Err(io::Error::last_os_error()) }
}

fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

fn numbers(signals: u64) -> impl Iterator<Item = i32> {
    (1..=MAX_SIGNAL).filter(move |&number| signals & bit(number) != 0)
}

/// Gives what standard input is, closed on exec, and leaves `/dev/null` in its place: no process that this one starts
/// reads from it, or holds it open.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::open("/dev/null")?;
    // SAFETY: a call that touches no memory. Descriptor 0 belongs to nobody but standard input, and stays open.
    let result = unsafe { libc::dup2(null.as_raw_fd(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(taken) }
}

/// Waits, blocking, until the other end of a socket is closed. What there is to read stays unread. (Also comes back if the
/// kernel cannot watch the socket; it is of no use then.)
pub(crate) fn wait_for_hang_up(socket: BorrowedFd<'_>) {
    loop {
        // No events: a hang-up and errors are reported unasked.
        let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: `entry` is one record of ours, and lives through the call.
        let result = unsafe { libc::poll(&raw mut entry, 1, -1) };
        let interrupted = || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if result > 0 || result < 0 && !interrupted() {
            return;
        }
    }
}

/// Ends the process, whatever its other threads are doing: no exit handlers, no destructors.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: it does not come back, and runs none of the process's code.
    unsafe { libc::_exit(status) }
}

#[cfg(all(test, not(ground_loom)))]
mod tests {
    use super::{BYTE, SIGUSR1, SIGUSR2, SLOTS, Subscription, bit};
    use std::io::Read;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_handler_that_is_overtaken_reaches_nobody_but_the_next_subscriber_and_tells_it_nothing() {
        let first = Subscription::new(&[SIGUSR1, SIGUSR2]).expect("the table is empty");
        let place = first.slot;
        let writer = SLOTS[place].writer.load(Ordering::Acquire); // so far it came
        drop(first);
        let mut second = Subscription::new(&[SIGUSR1]).expect("a place is free");
        assert_eq!(second.slot, place);
        SLOTS[place].pending.fetch_or(bit(SIGUSR2), Ordering::Release); // and on it goes
        // SAFETY: one readable byte; a descriptor that is not open is an error, no more.
        let written = unsafe { libc::write(writer, (&raw const BYTE).cast(), 1) };
        assert_eq!(written, 1);
        assert_eq!(second.reader().read(&mut [0; 8]).ok(), Some(1));
        assert_eq!(second.take(), None);
    }
}
