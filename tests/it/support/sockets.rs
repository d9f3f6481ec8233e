//! Pairs of connected sockets: one end in the runtime's care, the other a blocking one of the standard library.
//!
//! The blocking end is the oracle: it shares no code with what is tested.
//!
//! Comes from: edges.rs, sockets.rs, tcp.rs and others. Goes to: `AsyncSocket`, net.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use runtime::AsyncSocket;

/// A Unix stream pair.
pub(crate) fn pair() -> (AsyncSocket<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (AsyncSocket::new(ours).unwrap(), theirs)
}

/// A Unix stream pair, both ends in the runtime's care.
pub(crate) fn async_pair() -> (AsyncSocket<UnixStream>, AsyncSocket<UnixStream>) {
    let (ours, theirs) = pair();
    (ours, AsyncSocket::new(theirs).unwrap())
}

/// A TCP connection over the loopback, as std sees it: the accepted end and the connecting end.
pub(crate) fn std_tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_nodelay(true).unwrap();
    (listener.accept().unwrap().0, theirs)
}

/// A TCP connection, one end in the runtime's care.
pub(crate) fn tcp() -> (AsyncSocket<TcpStream>, TcpStream) {
    let (ours, theirs) = std_tcp();
    (AsyncSocket::new(ours).unwrap(), theirs)
}

/// A TCP connection, one end a `net::TcpStream`.
pub(crate) fn net_tcp() -> (net::TcpStream, TcpStream) {
    let (ours, theirs) = std_tcp();
    (net::TcpStream::from_std(ours).unwrap(), theirs)
}

/// Makes dropping this end a reset instead of an end of stream.
pub(crate) fn reset(socket: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is ours and lives through the call, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    drop(socket);
}

/// Writes until the kernel takes no more, and says how many bytes that were.
pub(crate) fn fill(mut socket: &UnixStream) -> usize {
    socket.set_nonblocking(true).unwrap();
    let chunk = [7; 4096];
    let mut total = 0;
    loop {
        match socket.write(&chunk) {
            Ok(count) => total += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// As [`fill`], for a socket in the runtime's care.
pub(crate) fn fill_socket<T: AsFd>(socket: &AsyncSocket<T>) -> usize {
    let chunk = vec![7; 1 << 16];
    let mut sent = 0;
    loop {
        match socket.try_send(&chunk) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("{error}"),
        }
    }
}
