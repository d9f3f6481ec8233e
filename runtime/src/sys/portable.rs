//! How does a thread sleep until one of many descriptors has something for it? On every other Unix: the polling crate.
//!
//! The same seam as epoll.rs, over kqueue (macOS, the BSDs), event ports (illumos, Solaris) or poll(). On Linux this
//! file is compiled under `--cfg ground_portable`, so that the whole test suite can run over it.
//!
//! What differs from epoll.rs, and why:
//! - polling reports no half-close of its own, so a short read proves nothing and every drained socket is asked once
//!   more (`SHORT_COUNT_MEANS_EMPTY` is false).
//! - Where the kernel has no edges (event ports, poll()) a source is reported once and then has to be re-armed.
//! - polling must be told before a descriptor closes, always.
//! - The bill, measured with polling 3.11 on Linux: five system calls a wait, where epoll.rs needs one.
//!
//! Comes from: reactor.rs. Goes to: the polling crate.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::{Event, fork, state};

/// No end-of-stream in the reports: after a short read the next byte may already be the last one.
pub(crate) const SHORT_COUNT_MEANS_EMPTY: bool = false;

const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The kernel's queue of readiness.
pub(crate) struct Poller {
    poller: Arc<polling::Poller>,
    /// The process generation this was made in; see fork.rs.
    born: u32,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poller { born: fork::generation(), poller: Arc::new(polling::Poller::new()?) })
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell { poller: Arc::clone(&self.poller) }
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let interest = polling::Event::new(key(token)?, true, true).with_interrupt();
        fork::check(self.born)?; // a child's changes would be made to its parent's list
        // SAFETY: polling asks that the descriptor be removed before it is closed: `remove` is called by the drop of
        // the registration (reactor.rs), which comes before the drop of the descriptor's owner (async_socket.rs).
        unsafe { self.poller.add_with_mode(fd.as_raw_fd(), interest, self.mode()) }
    }

    /// Asks again for the directions given, if the kernel forgets after each report.
    pub(crate) fn rearm(
        &self,
        fd: RawFd,
        token: u64,
        wanted: impl FnOnce() -> (bool, bool),
    ) -> io::Result<()> {
        if self.poller.supports_edge() {
            return Ok(());
        }
        let (read, write) = wanted();
        // SAFETY: the reactor re-arms only what it has added and not yet removed, so the descriptor is open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.poller.modify(fd, polling::Event::new(key(token)?, read, write))
    }

    /// polling keeps lists of its own, so `closing` makes no difference.
    pub(crate) fn remove(&self, fd: RawFd, _closing: bool) -> io::Result<()> {
        fork::check(self.born)?;
        // SAFETY: removing comes before closing (async_socket.rs), so the descriptor is open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.poller.delete(fd)
    }

    /// Sleeps until something happens, at most for `limit`.
    pub(crate) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        fork::check(self.born)?;
        events.list.clear();
        match self.poller.wait(&mut events.list, limit) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn mode(&self) -> polling::PollMode {
        if self.poller.supports_edge() {
            polling::PollMode::Edge
        } else {
            polling::PollMode::Oneshot
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// What one wait reported.
pub(crate) struct Events {
    list: polling::Events,
}

impl Events {
    pub(crate) fn new() -> Self {
        Events { list: polling::Events::with_capacity(CAPACITY) }
    }

    /// The reports in the kernel's order; polling leaves its own bell out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.list.iter().map(|event| {
            let bit = |set: bool, bits: u32| if set { bits } else { 0 };
            let ended = event.is_interrupt() || event.is_err().unwrap_or(false);
            let state = bit(event.readable, state::IN)
                | bit(event.writable, state::OUT)
                | bit(ended, state::READ_UNSURE);
            Event { token: event.key as u64, state }
        })
    }
}

/// Ends a sleep from any thread.
pub(crate) struct Bell {
    poller: Arc<polling::Poller>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        // It fails only if the kernel is out of memory for a byte; the next ring tries again.
        let _ = self.poller.notify();
    }
}

/// polling's keys are as wide as a pointer, our tokens are 64 bits: on a 32-bit system this says so instead of cutting off
/// the half that tells an old registration from a new one.
fn key(token: u64) -> io::Result<usize> {
    usize::try_from(token).map_err(io::Error::other)
}
