//! How does one put a thread behind all others, and see what it has cost?
//!
//! Linux has a scheduling class for what may wait, SCHED_IDLE: its threads get what the others leave, and are put aside the
//! moment one of the others wakes. Every thread of a process may be sent there without any rights, and from there none
//! comes back without some. So it is the last station of a thread, and whoever sends one has to be sure of which.
//!
//! What it does not do: decide who goes (outer/pool/lanes.rs). Elsewhere than on Linux nobody can, and nobody does.
//!
//! Beside that: to start a thread with errors that say what is short.
//!
//! Comes from: outer/pool/lanes.rs, and all in outer/ that start threads or processes. Goes to: the kernel.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Starts a thread of this name.
///
/// # Errors
/// [`explain_shortage`]'s.
pub(crate) fn start_thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    start_thread_with_stack(name, None, run)
}

/// As [`start_thread`], with a stack of so many bytes.
///
/// # Errors
/// [`explain_shortage`]'s.
pub(crate) fn start_thread_with_stack<T: Send + 'static>(
    name: &str,
    stack_size: Option<usize>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut builder = Builder::new().name(name.to_owned());
    if let Some(bytes) = stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(run).map_err(|error| explain_shortage(error, "thread"))
}

/// What the kernel means if it starts no thread or process: `EAGAIN` is a limit that was reached, by its number a
/// [`WouldBlock`](io::ErrorKind::WouldBlock), which code around sockets takes for "wait until it is ready". It becomes
/// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded); other errors stay as they are.
pub(crate) fn explain_shortage(error: io::Error, of: &str) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let text = format!(
        "the system starts no further {of}: a limit was reached, of the user (ulimit -u), of the container or service \
         (pids.max), or of memory ({error})"
    );
    io::Error::new(io::ErrorKind::QuotaExceeded, text)
}

/// A thread as others may look at it and send it behind. Only as long as it lives: its owner has to see to that.
#[derive(Debug)]
pub(crate) struct OsThread {
    #[cfg(target_os = "linux")]
    id: libc::pid_t,
    #[cfg(target_os = "linux")]
    clock: Option<libc::clockid_t>,
}

#[cfg(target_os = "linux")]
impl OsThread {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        let mut clock = 0;
        // SAFETY: neither takes memory.
        let id = unsafe { libc::gettid() };
        // SAFETY: as above.
        let me = unsafe { libc::pthread_self() };
        // SAFETY: `clock` lives through the call, and so does the calling thread.
        let error = unsafe { libc::pthread_getcpuclockid(me, &raw mut clock) };
        OsThread { id, clock: (error == 0).then_some(clock) }
    }

    /// The processor time it has used since it began.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` lives through the call. A clock of a thread that is gone is an error.
        let error = unsafe { libc::clock_gettime(self.clock?, &raw mut time) };
        (error == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Whether it runs or waits for a core, and does not sleep. One moment's answer; `false` where the system does not say.
    pub(crate) fn is_runnable(&self) -> bool {
        let stat = std::fs::read(format!("/proc/self/task/{}/stat", self.id));
        // The state follows the name, which is in parentheses and may contain any byte.
        let after_name = |stat: &Vec<u8>| stat.iter().rposition(|&byte| byte == b')');
        stat.is_ok_and(|stat| after_name(&stat).is_some_and(|end| stat.get(end + 2) == Some(&b'R')))
    }

    /// Puts it behind all others, for good. `false`: it cannot be done here.
    pub(crate) fn demote(&self) -> bool {
        // SAFETY: an all-zero sched_param is valid, and the only one that this class takes.
        let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: `parameters` lives through the call; the number names a thread of ours (see the type).
        unsafe { libc::sched_setscheduler(self.id, libc::SCHED_IDLE, &raw const parameters) == 0 }
    }

    /// Whether it was born behind all others, by a thread that is there.
    pub(crate) fn is_demoted(&self) -> bool {
        // SAFETY: it takes no memory.
        unsafe { libc::sched_getscheduler(self.id) == libc::SCHED_IDLE }
    }
}

#[cfg(not(target_os = "linux"))]
impl OsThread {
    pub(crate) fn current() -> Self {
        OsThread {}
    }

    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        None
    }

    pub(crate) fn is_runnable(&self) -> bool {
        false
    }

    pub(crate) fn demote(&self) -> bool {
        false
    }

    pub(crate) fn is_demoted(&self) -> bool {
        false
    }
}

/// Lets the calling thread's sleeps end when they are over, and not up to 50 us later. Without effect elsewhere than on
/// Linux.
pub(crate) fn wake_precisely() {
    // SAFETY: it takes no memory, and concerns the calling thread alone.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}
