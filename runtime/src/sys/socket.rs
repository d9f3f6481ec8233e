//! The few calls that a socket's data takes: receive, send, and what must be known of a descriptor at its start.
//!
//! `recv` and `send` are called here, not through std, for one reason each: the lent buffer, and `MSG_NOSIGNAL`, which
//! keeps a write to a closed connection an error instead of a signal that ends the process. Everything richer
//! (addresses, options, accept) is std's or socket2's.
//!
//! Comes from: async_socket.rs. Goes to: the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::state;

/// Receives into `buffer`. Zero: the end of the stream (or an empty buffer, or an empty datagram).
#[inline]
pub(crate) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length through the call. A number that is no open descriptor is an error.
    counted(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Sends as much of `bytes` as the kernel takes now.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_vendor = "apple")]
    const FLAGS: i32 = 0; // these have SO_NOSIGPIPE instead, which std and socket2 set at creation
    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length through the call. A number that is no open descriptor is an error.
    counted(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), FLAGS) })
}

/// Whether this is a TCP socket with nothing between its data and TCP's. Asked on Linux only: elsewhere a short count
/// proves nothing.
///
/// With an upper layer (`TCP_ULP`, such as the kernel's TLS) a read stops at the end of a record, and the next one may be
/// there already.
pub(crate) fn is_plain_tcp(fd: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        let (fd, mut upper_layer) = (fd.as_raw_fd(), [0; 16]);
        // The layer's name; nothing where there is none, an error where the kernel knows of none.
        number_option(fd, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
            && option(fd, libc::IPPROTO_TCP, libc::TCP_ULP, &mut upper_layer).unwrap_or(0) == 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        false
    }
}

/// Reads a socket's option, and gives the length of what the kernel has written.
fn option(fd: RawFd, level: i32, name: i32, value: &mut [u8]) -> Option<usize> {
    let mut size = value.len() as libc::socklen_t;
    // SAFETY: both places are the caller's or ours, as long as said, and live through the call.
    let result =
        unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut size) };
    (result == 0).then_some(size as usize)
}

/// A socket's own option that is a number; `None` if this is no socket.
fn number_option(fd: RawFd, name: i32) -> Option<i32> {
    let mut value = [0; size_of::<libc::c_int>()];
    option(fd, libc::SOL_SOCKET, name, &mut value).map(|_| i32::from_ne_bytes(value))
}

/// Whether the reading direction of this socket was shut down and its calls do not say so: on Linux a datagram socket and a
/// Unix listener go on to say "would block" after that. Elsewhere the call itself tells.
///
/// A connected stream gives zero then, and what would block there is something else: its error queue, say.
#[cold]
pub(crate) fn is_read_shut(fd: RawFd) -> bool {
    polled(fd, RDHUP) & RDHUP != 0
        && (number_option(fd, libc::SO_TYPE) != Some(libc::SOCK_STREAM)
            || number_option(fd, libc::SO_ACCEPTCONN) == Some(1))
}

/// What the kernel says now of this descriptor's reads, or writes, in the bits of `sys::state`, which are poll's, too. Zero:
/// they would wait.
pub(crate) fn readiness(fd: RawFd, to_write: bool) -> u32 {
    const _: () = assert!(state::IN == libc::POLLIN as u32 && state::OUT == libc::POLLOUT as u32);
    let reads = libc::POLLIN | libc::POLLPRI | RDHUP;
    u32::from(polled(fd, if to_write { libc::POLLOUT } else { reads }).cast_unsigned())
}

/// What the kernel says of `fd` now: the bits of `events` that are so, errors and the end. All, if it cannot be asked.
fn polled(fd: RawFd, events: libc::c_short) -> libc::c_short {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, ours, and it lives through the call, which does not wait.
    let count = unsafe { libc::poll(&raw mut entry, 1, 0) };
    if count < 0 { events } else { entry.revents }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const RDHUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RDHUP: libc::c_short = 0;

/// Makes calls on this descriptor (and on all that share its open file) return instead of wait.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut on: libc::c_int = 1;
    // SAFETY: the place is ours and lives through the call; the request only reads it.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut on) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Calls it again if a signal has interrupted it, which says nothing about the descriptor. Bounded: a call that does not
/// sleep and is interrupted without end (by a broken tracer or sandbox) would hold the loop, so it becomes an error.
#[inline(always)]
pub(crate) fn uninterrupted<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    let mut left = INTERRUPTIONS;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && left > 0 => left -= 1,
            result => return result,
        }
    }
}

const INTERRUPTIONS: u32 = 4;

#[inline]
fn counted(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(all(test, not(ground_loom)))]
mod tests {
    use super::{INTERRUPTIONS, uninterrupted};
    use std::io::{self, ErrorKind};

    #[test]
    fn interrupted_calls_are_repeated_and_other_errors_are_returned() {
        let mut answers = vec![Err(ErrorKind::WouldBlock), Ok(3), Err(ErrorKind::Interrupted)];
        answers.push(Err(ErrorKind::Interrupted));
        let mut call = || answers.pop().expect("one is left").map_err(io::Error::from);
        assert_eq!(uninterrupted(&mut call).ok(), Some(3));
        assert!(uninterrupted(&mut call).is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
        assert!(answers.is_empty());
    }

    #[test]
    fn a_call_interrupted_without_end_becomes_an_error() {
        let mut calls = 0;
        let result: io::Result<()> = uninterrupted(|| {
            calls += 1;
            Err(ErrorKind::Interrupted.into())
        });
        assert!(result.is_err_and(|e| e.kind() == ErrorKind::Interrupted));
        assert_eq!(calls, 1 + INTERRUPTIONS);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tcp_socket_under_the_kernel_s_tls_is_not_plain() {
        use std::os::fd::{AsFd, AsRawFd};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stream = std::net::TcpStream::connect(address).expect("it listens");
        assert!(super::is_plain_tcp(stream.as_fd()));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
        assert!(!super::is_plain_tcp(unix.as_fd()));
        let (fd, name) = (stream.as_raw_fd(), c"tls");
        // SAFETY: a string of four bytes, which lives through the call.
        let set = unsafe {
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_ULP, name.as_ptr().cast(), 4)
        };
        if set == 0 {
            assert!(!super::is_plain_tcp(stream.as_fd()));
        } else {
            println!("skipped: this kernel has no TLS");
        }
    }
}
