//! What do the benchmarks ask of the kernel that std does not offer?
//!
//! Clocks of processor time, a core to stay on, a session of one's own, more descriptors, a bare
//! epoll, and an allocator that counts. Each is a safe function around one call.
//!
//! Rule: every unsafe block of the benchmarks stands in this file with its argument. Errors that
//! would spoil a figure end the program; errors that only make it noisier (no second core to pin
//! to) are ignored and the README says so.
//!
//! What this does not do: it hides nothing of the bare loop. [`Epoll`], [`recv`] and [`send`] are
//! the system calls themselves, because the bare loop is the floor that the runtimes are measured
//! against.
//!
//! Comes from: the rows, the servers, the load generator. Goes to: libc.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// Processor time of the whole process, user and system, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours that the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The same of another process, its threads that have ended included; 0 if there is no such process.
pub(crate) fn process_cpu_ns(process: u32) -> u64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock` is a place of ours that the call fills.
    let error = unsafe { libc::clock_getcpuclockid(process as libc::pid_t, &raw mut clock) };
    // SAFETY: `time` is a timespec of ours that the call fills; a clock of a process that is gone is an error.
    if error != 0 || unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return 0;
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Makes the close of this connection a reset (SO_LINGER of no time).
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (fd, size) = (stream.as_raw_fd(), size_of::<libc::linger>() as u32);
    let option = libc::SO_LINGER;
    // SAFETY: the option is a linger, and pointer and size describe ours.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const linger).cast(), size) };
    assert_eq!(result, 0, "every TCP socket has this option");
}

/// Whether the other side of a connection has ended it, without waiting and without taking what it has sent.
pub(crate) fn has_ended(stream: &TcpStream) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one writable byte of ours.
    let count = unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    count == 0 || count < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

/// Keeps the calling process (its first thread, and what that starts later) on one core, if the
/// machine has it.
pub(crate) fn pin(core: usize) {
    // SAFETY: a cpu_set_t is plain bits; all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a whole cpu_set_t, and CPU_SET ignores a core beyond its size.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer and the size describe `set`; 0 means the caller.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

/// Makes the caller a batch process: when it wakes up, it lets the one who woke it finish its time
/// slice first.
pub(crate) fn never_preempt() {
    // SAFETY: a sched_param is plain numbers; zero is the one priority a batch process may have.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: `param` outlives the call; 0 means the caller.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) };
    assert_eq!(result, 0, "anyone may become a batch process: {}", io::Error::last_os_error());
}

/// Starts a session of the caller's own; a caller that leads a group already stays where it is.
pub(crate) fn own_session() {
    // SAFETY: no arguments; it changes nothing in this process's memory.
    unsafe { libc::setsid() };
}

/// Has the kernel kill the caller when the thread that started it ends.
pub(crate) fn die_with_parent() {
    // SAFETY: this option takes one number and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Has a program that is not this one do both before it starts.
pub(crate) fn settle_before_start(command: &mut Command) {
    let settle = || {
        own_session();
        die_with_parent();
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(settle) };
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
pub(crate) fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is an rlimit of ours that the call fills.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0, "every Unix has this limit");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` was filled above and is only read.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    limit.rlim_cur
}

/// An epoll instance.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Epoll {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll_create1: {}", io::Error::last_os_error());
        // SAFETY: the kernel just returned this descriptor, and nobody else knows it.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Adds `fd` for the given EPOLL bits; its events carry `word`.
    pub(crate) fn add(&self, fd: RawFd, bits: i32, word: u64) {
        let mut event = libc::epoll_event { events: bits as u32, u64: word };
        let op = libc::EPOLL_CTL_ADD;
        // SAFETY: `event` outlives the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &raw mut event) };
        assert_eq!(result, 0, "epoll_ctl: {}", io::Error::last_os_error());
    }

    /// Waits without a limit and returns what is ready.
    #[inline]
    pub(crate) fn wait<'a>(&self, room: &'a mut [libc::epoll_event]) -> &'a [libc::epoll_event] {
        let (start, length) = (room.as_mut_ptr(), room.len() as i32);
        // SAFETY: `start` and `length` describe `room`, which is ours alone during the call.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), start, length, -1) };
        // An interrupted wait is an empty one.
        &room[..count.max(0) as usize]
    }
}

/// One `recv`: the number of bytes, 0 at the end of the stream, negative on any error.
#[inline]
pub(crate) fn recv(fd: RawFd, buf: &mut [u8]) -> isize {
    // SAFETY: pointer and length describe `buf`, which is ours alone during the call.
    unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) }
}

/// One `send`, without a signal if the other side is gone: the number of bytes, negative on any
/// error.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> isize {
    // SAFETY: pointer and length describe `bytes`, which the call only reads.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) }
}

/// One `accept4` of a non-blocking descriptor; negative when the queue is empty.
pub(crate) fn accept(listener: RawFd) -> RawFd {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null pointers say that the peer's address is not wanted.
    unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) }
}

/// Closes a descriptor that [`accept`] returned.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the bare loop owns what it accepted and closes each exactly once, at its end of
    // stream.
    unsafe { libc::close(fd) };
}

/// A blocking connection from a chosen address of this machine: each source address has its own
/// 28,000 ports, so that many short connections do not wait for ports that still linger.
pub(crate) fn connect_from(source: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor, and nobody else knows it.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let (yes, size) = (1, size_of::<libc::sockaddr_in>() as u32);
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    // SAFETY: the option is an int, and pointer and length describe `yes`.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, option, (&raw const yes).cast(), 4) };
    let (from, to) = (sockaddr(SocketAddrV4::new(source, 0)), sockaddr(to));
    // SAFETY: pointer and length describe `from`, which the call copies.
    if unsafe { libc::bind(fd, (&raw const from).cast(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pointer and length describe `to`, which the call copies.
    if unsafe { libc::connect(fd, (&raw const to).cast(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stream)
}

fn sockaddr(addr: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: addr.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(addr.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// An allocator that counts while [`count_allocations`] runs, and otherwise costs one relaxed load.
pub(crate) struct Counting;

static COUNT: AtomicBool = AtomicBool::new(false);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Runs `work` and returns its result, the bytes it left allocated and the number of allocations it
/// made. Meant for a process in which one thread works: what others allocate meanwhile is counted
/// too.
pub(crate) fn count_allocations<T>(work: impl FnOnce() -> T) -> (T, i64, u64) {
    let before = (LIVE_BYTES.load(Relaxed), ALLOCATIONS.load(Relaxed));
    COUNT.store(true, Relaxed);
    let result = work();
    COUNT.store(false, Relaxed);
    (result, LIVE_BYTES.load(Relaxed) - before.0, ALLOCATIONS.load(Relaxed) - before.1)
}

fn note(grown: i64) {
    if COUNT.load(Relaxed) {
        LIVE_BYTES.fetch_add(grown, Relaxed);
        if grown > 0 {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
    }
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches atomics only
// and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}
