//! How does a thread sleep until one of many descriptors has something for it? On Linux: epoll.
//!
//! Facts about epoll that the runtime leans on:
//! - The kernel keeps the list of watched descriptors; a wait costs by what happened, not by how many are watched.
//! - Edge-triggered (`EPOLLET`), a descriptor is reported when its state changes, not as long as it lasts. So one
//!   `epoll_ctl` a connection suffices for its whole life, and the reactor must remember what was reported.
//! - Every report carries the full state at that time. `EPOLLRDHUP` says that the peer has finished: with it, a read
//!   that returns less than was asked for proves the socket drained, and costs no second read to be sure.
//! - An entry belongs to the open file, not to the number: `close` removes it, unless the file lives on under another
//!   number (dup, fork). Then reports may still come, with the old token: the reactor's tokens are never given twice.
//! - An eventfd rung again while it is non-zero is a change and is reported again; it needs never be read.
//!
//! The bill: one `epoll_wait` a turn. A wait with a limit uses `epoll_pwait2` (nanoseconds, Linux 5.11), else whole
//! milliseconds rounded up, so that a timer is never early.
//!
//! Comes from: reactor.rs. Goes to: the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{BELL, Event, fork, state};

/// Reports say when the peer has finished, so less than asked for means: nothing left.
pub(crate) const SHORT_COUNT_MEANS_EMPTY: bool = true;

/// The most events one wait takes; the rest waits in the kernel for the next turn.
const CAPACITY: usize = 256;

const INTEREST: u32 =
    (libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

// The seam's bits are the kernel's.
const _: () = {
    assert!(state::IN == libc::EPOLLIN as u32 && state::OUT == libc::EPOLLOUT as u32);
    assert!(state::WRITE_UNSURE == (libc::EPOLLHUP | libc::EPOLLERR) as u32);
    assert!(state::READ_ENDED == (libc::EPOLLRDHUP | libc::EPOLLHUP) as u32);
    assert!(state::READ_UNSURE == (libc::EPOLLRDHUP | libc::EPOLLPRI) as u32 | state::WRITE_UNSURE);
};

/// The kernel's queue of readiness.
pub(crate) struct Poller {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    /// The process generation this was made in; see fork.rs.
    born: u32,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let born = fork::generation();
        // SAFETY: no pointers; the result is checked.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        let bell = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let poller = Poller { epoll, bell: Arc::new(bell), born };
        poller.control(libc::EPOLL_CTL_ADD, poller.bell.as_raw_fd(), BELL)?;
        Ok(poller)
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell { eventfd: Arc::clone(&self.bell) }
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), token)
    }

    /// Edges need no re-arming.
    #[inline(always)]
    pub(crate) fn rearm(
        &self,
        _: RawFd,
        _: u64,
        _: impl FnOnce() -> (bool, bool),
    ) -> io::Result<()> {
        Ok(())
    }

    /// `closing`: the descriptor is closed right after this and has no duplicate, so the kernel forgets it by itself.
    pub(crate) fn remove(&self, fd: RawFd, closing: bool) -> io::Result<()> {
        if closing { Ok(()) } else { self.control(libc::EPOLL_CTL_DEL, fd, 0) }
    }

    /// Sleeps until something happens, at most for `limit`. A signal ends the sleep with no events.
    pub(crate) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        fork::check(self.born)?;
        events.filled = 0;
        let count = match limit {
            None => self.wait_for_millis(events, -1),
            Some(Duration::ZERO) => self.wait_for_millis(events, 0),
            Some(limit) => self.wait_precisely(events, limit),
        };
        match usize::try_from(count) {
            Ok(count) => events.filled = count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
        Ok(())
    }

    fn wait_for_millis(&self, events: &mut Events, millis: i32) -> i32 {
        // SAFETY: the list is CAPACITY entries long and lives through the call; the kernel writes at most that many.
        unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.list.as_mut_ptr(),
                CAPACITY as i32,
                millis,
            )
        }
    }

    fn wait_precisely(&self, events: &mut Events, limit: Duration) -> i32 {
        /// Set once the kernel has said that it does not know the call.
        static TOO_OLD: AtomicBool = AtomicBool::new(false);
        if !TOO_OLD.load(Ordering::Relaxed) {
            let seconds = limit.as_secs().try_into().unwrap_or(i64::MAX);
            let time = KernelTime { seconds, nanos: limit.subsec_nanos().into() };
            // SAFETY: list as above; `time` lives through the call; a null signal mask leaves the mask alone.
            let count = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.as_raw_fd(),
                    events.list.as_mut_ptr(),
                    CAPACITY,
                    &raw const time,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            let error = io::Error::last_os_error().raw_os_error();
            if count >= 0 || error == Some(libc::EINTR) {
                return count as i32;
            }
            // Some sandboxes say EPERM to what they do not know. After any other error the older call is tried, this
            // once: an error that is epoll's own it will give, too.
            if matches!(error, Some(libc::ENOSYS | libc::EPERM)) {
                TOO_OLD.store(true, Ordering::Relaxed);
            }
        }
        let millis = limit.as_nanos().div_ceil(1_000_000);
        self.wait_for_millis(events, millis.try_into().unwrap_or(i32::MAX))
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64) -> io::Result<()> {
        fork::check(self.born)?; // a child's changes would be made to its parent's list
        let mut event = libc::epoll_event { events: INTEREST, u64: token };
        // SAFETY: `event` lives through the call. A number that is no open descriptor is an error, no more.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// The kernel's timespec for this call: 64 bits wide on every architecture, unlike libc's.
#[repr(C)]
struct KernelTime {
    seconds: i64,
    nanos: i64,
}

/// What one wait reported.
pub(crate) struct Events {
    list: Box<[libc::epoll_event; CAPACITY]>,
    filled: usize,
}

impl Events {
    pub(crate) fn new() -> Self {
        Events { list: Box::new([libc::epoll_event { events: 0, u64: 0 }; CAPACITY]), filled: 0 }
    }

    /// The reports in the kernel's order, the bell's left out.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        let list = self.list[..self.filled].iter();
        list.filter(|event| event.u64 != BELL)
            .map(|event| Event { token: event.u64, state: event.events })
    }
}

/// Ends a sleep from any thread.
pub(crate) struct Bell {
    eventfd: Arc<OwnedFd>,
}

impl Bell {
    /// A ring that fails would be a wake-up that is lost, so it is tried again. The counter, which nothing reads otherwise,
    /// may be full: reading empties it.
    pub(crate) fn ring(&self) {
        const TRIES: u32 = 4;
        let (fd, one, mut count) = (self.eventfd.as_raw_fd(), 1u64.to_ne_bytes(), [0; 8]);
        for _ in 0..TRIES {
            // SAFETY: eight readable bytes and an open descriptor.
            if unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) } >= 0 {
                return;
            }
            // SAFETY: eight writable bytes and an open descriptor, which does not block.
            unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
        }
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(all(test, not(ground_loom)))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

    use super::{Events, Poller};
    use std::fs::File;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn a_ring_into_a_full_counter_still_ends_the_next_wait() {
        let (poller, mut events) = (Poller::new().unwrap(), Events::new());
        let mut counter = File::from(poller.bell.try_clone().unwrap());
        counter.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.filled, 1, "the write is an edge");
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.filled, 0, "and one only");
        poller.bell().ring();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.filled, 1);
    }
}
