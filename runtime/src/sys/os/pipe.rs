//! Pipes and FIFOs: which end a descriptor is, and whether a FIFO has had a writer yet.
//!
//! Neither can be told from a read: of the wrong end it gives a bare EBADF at the first use, and of a FIFO without a writer
//! zero, as at the end. What it does not do: read, write, wait.
//!
//! Comes from: outer/pipe.rs. Goes to: the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the open file may be read (`false`) or written (`true`), by its access mode.
///
/// # Errors
/// The kernel's.
pub(crate) fn has_access(fd: BorrowedFd<'_>, to_write: bool) -> io::Result<bool> {
    // SAFETY: no pointers; the descriptor is borrowed, so it is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let one_way = if to_write { libc::O_WRONLY } else { libc::O_RDONLY };
    Ok([one_way, libc::O_RDWR].contains(&(flags & libc::O_ACCMODE)))
}

/// Whether this is a FIFO that no writer has opened yet. A read of one gives zero, as at the end. But a hang-up is reported
/// (POSIX, poll) only once there was a writer and the last one has gone.
pub(crate) fn awaits_first_writer(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: a C record for which zeroes are valid.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is ours and lives through the call.
    let known = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) } == 0;
    if !known || status.st_mode & libc::S_IFMT != libc::S_IFIFO {
        return false; // Ctrl-D at a terminal is an end, and no hang-up either
    }
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, ours, and it lives through the call, which does not wait.
    let count = unsafe { libc::poll(&raw mut entry, 1, 0) };
    count >= 0 && entry.revents & libc::POLLHUP == 0
}
