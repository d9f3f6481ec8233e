//! How does one put a thread behind all others, and see what it has cost?
//!
//! Linux has a scheduling class for what may wait, SCHED_IDLE: its threads get what the others leave, and are put aside the
//! moment one of the others wakes. Every thread of a process may be sent there without any rights, and from there none
//! comes back without some. So it is the last station of a thread, and whoever sends one has to be sure of which.
//!
//! What it does not do: decide who goes (outer/pool/lanes.rs). Elsewhere than on Linux nobody can, and nobody does.
//!
//! Comes from: outer/pool/lanes.rs. Goes to: the kernel.

use std::time::Duration;

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

    pub(crate) fn demote(&self) -> bool {
        false
    }

    pub(crate) fn is_demoted(&self) -> bool {
        false
    }
}
