//! What do processes, pipes and standard input ask of the operating system, beyond what std asks for them?
//!
//! | face                 | the call                | why std's is not enough                                          |
//! |----------------------|-------------------------|------------------------------------------------------------------|
//! | `process_descriptor` | `pidfd_open`            | std has none on stable: a descriptor that is readable at the end |
//! | `send_signal`        | `kill`                  | std sends SIGKILL alone                                          |
//! | `set_blocking`       | `ioctl(FIONBIO)`        | std has it for sockets only, and pipes are handed on, too        |
//! | `wait_readable`      | `poll`                  | std has none; for descriptors that no reactor may watch          |
//! | `is_privileged`      | `getauxval`, `issetugid` | std has none                                                    |
//! | `entry_address`      | `getauxval`             | std has none                                                     |
//! | `is_parents_socket`  | `SO_PEERCRED`           | std's is unstable                                                |
//! | `TerminalStops`      | `pthread_sigmask`       | std has none                                                     |
//!
//! What it does not do: start, reap or know processes. std does, and holds a child's number as long as the child has not
//! been waited for, so that it cannot be another's.
//!
//! Comes from: outer/process.rs, outer/process_pool, outer/pipe.rs, outer/stdin.rs. Goes to: the kernel.

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

/// Whether this process may do what the user who started it may not: a set-user-ID or set-group-ID program, one with file
/// capabilities, or one whose effective user or group is not the real one (a program that it starts is in the same
/// position). Such a process must not act on what its environment says.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: the call takes nothing and cannot fail. So do the three below.
    let user = unsafe { libc::getuid() };
    // SAFETY: as above.
    let group = unsafe { libc::getgid() };
    // SAFETY: as above.
    let is_other_group = group != unsafe { libc::getegid() };
    user != effective_user() || is_other_group || was_privileged_at_start()
}

fn effective_user() -> libc::uid_t {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// By what the kernel noted at exec: it stays when the process gives its privileges up.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn was_privileged_at_start() -> bool {
    // SAFETY: the call takes a number, and reads what the kernel has left for the process. Unknown numbers give zero.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
))]
fn was_privileged_at_start() -> bool {
    // SAFETY: the call takes nothing.
    unsafe { libc::issetugid() != 0 }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
fn was_privileged_at_start() -> bool {
    false
}

/// Where the program begins in this process's memory: the program itself, also where the kernel was asked for another one
/// that runs it. `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn entry_address() -> Option<u64> {
    // SAFETY: the call takes a number, and reads what the kernel or the loader has left for the process.
    let address = unsafe { libc::getauxval(libc::AT_ENTRY) };
    (address != 0).then_some(address as u64)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn entry_address() -> Option<u64> {
    None
}

/// Whether this is one end of a socket pair made by this process's parent, under this process's effective user.
///
/// # Errors
/// The kernel's, if it is no socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_parents_socket(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both places are ours, of the size given, and live through the call.
    done(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    })?;
    let is_parent =
        u32::try_from(peer.pid).is_ok_and(|pid| pid == std::os::unix::process::parent_id());
    Ok(is_parent && peer.uid == effective_user())
}

/// These do not say which process made a pair; its user is that of the file.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
))]
pub(crate) fn is_parents_socket(socket: BorrowedFd<'_>) -> io::Result<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let file = std::fs::File::from(socket.try_clone_to_owned()?).metadata()?;
    Ok(file.file_type().is_socket() && file.uid() == effective_user())
}

/// The others say nothing of it.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
pub(crate) fn is_parents_socket(_: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(true)
}

/// While it lives, `SIGTTOU` and `SIGTTIN` are blocked on the thread that made it; programs started meanwhile by this
/// thread have them blocked from the start. A background process then writes to its terminal in spite of `stty tostop`, and
/// its reads from the terminal fail with `EIO`, where either would stop the process.
pub(crate) struct TerminalStops {
    before: libc::sigset_t,
    /// The mask is a thread's.
    _bound: std::marker::PhantomData<*const ()>,
}

impl TerminalStops {
    pub(crate) fn block() -> TerminalStops {
        // SAFETY: a C record for which zeroes are valid.
        let mut stops: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is ours to write.
        unsafe { libc::sigemptyset(&raw mut stops) };
        for signal in [libc::SIGTTOU, libc::SIGTTIN] {
            // SAFETY: as above. It fails only for numbers that are no signals.
            unsafe { libc::sigaddset(&raw mut stops, signal) };
        }
        // SAFETY: both sets are ours and live through the call, which fails only for an unknown first argument.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const stops, &raw mut before) };
        TerminalStops { before, _bound: std::marker::PhantomData }
    }
}

impl Drop for TerminalStops {
    fn drop(&mut self) {
        // SAFETY: the set is ours, filled by `block`, and only read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut())
        };
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
