//! What do processes, pipes and standard input ask of the operating system, beyond what std asks for them?
//!
//! | face                 | the call                | why std's is not enough                                          |
//! |----------------------|-------------------------|------------------------------------------------------------------|
//! | `process_descriptor` | `pidfd_open`            | std has none on stable: a descriptor that is readable at the end |
//! | `send_signal`        | `kill`                  | std sends SIGKILL alone                                          |
//! | `set_blocking`       | `ioctl(FIONBIO)`        | std has it for sockets only, and pipes are handed on, too        |
//! | `wait_readable`      | `poll`                  | std has none; for descriptors that no reactor may watch          |
//!
//! What it does not do: start, reap or know processes. std does, and holds a child's number as long as the child has not
//! been waited for, so that it cannot be another's.
//!
//! Comes from: outer/process.rs, outer/pipe.rs, outer/stdin.rs. Goes to: the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor that becomes readable when the process of this number ends; close-on-exec. The number must be that of a
/// child that has not been waited for. `None` where the system has no such thing: Linux before 5.3, a sandbox that
/// forbids it, other systems, and the portable build, so that the other way is tested on Linux, too.
///
/// # Errors
/// If there are no descriptors or no memory left.
#[cfg(all(target_os = "linux", not(ground_portable)))]
pub(crate) fn process_descriptor(pid: u32) -> io::Result<Option<OwnedFd>> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if number >= 0 {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(number as libc::c_int) }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Err(error),
        _ => Ok(None),
    }
}

#[cfg(not(all(target_os = "linux", not(ground_portable))))]
pub(crate) fn process_descriptor(_pid: u32) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Sends a signal to one process. Safe as far as memory goes; the caller sees to it that the number is still the one it
/// means.
///
/// # Errors
/// If there is no such process, or no such signal, or it is not ours to send.
pub(crate) fn send_signal(pid: u32, number: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|&pid| pid > 0); // zero and below name groups
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: the call takes two numbers.
    done(unsafe { libc::kill(pid, number) })
}

/// Makes calls on this descriptor, and on all that share its open file, wait again.
///
/// # Errors
/// The kernel's.
pub(crate) fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut off: libc::c_int = 0;
    // SAFETY: the place is ours and lives through the call, which only reads it.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut off) })
}

/// Keeps the calling thread until there is something to read, or an end or an error to be told of.
///
/// # Errors
/// The kernel's, if it has no memory.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, ours, and it lives through the call.
    match done(unsafe { libc::poll(&raw mut entry, 1, -1) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()), // interrupted is as good as readable: the caller tries, and comes back
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
