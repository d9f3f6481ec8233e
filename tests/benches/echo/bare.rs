//! What is the least an echo can cost?
//!
//! One edge-triggered epoll, one buffer for all connections, and per connection nothing but its
//! descriptor, which the event carries. A read that comes back shorter than the buffer has emptied
//! the socket, so that an echo is three system calls: wait, receive, send. This is the floor of
//! every row, and the 1 of every ratio.
//!
//! What this does not do: be a server. A client that does not take its answers is disconnected,
//! since there is no memory of what could not be sent; nothing can wait for a timer; nothing else
//! can happen in this thread.
//!
//! Comes from: echo.rs, `serve bare`. Goes to: the system calls in common/sys.rs.

use super::Open;
use crate::common::sys::{Epoll, accept, close, recv, send};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

/// Serves until the process ends.
pub(crate) fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    super::listening(listener.local_addr());
    let listener = listener.as_raw_fd();

    let epoll = Epoll::new();
    epoll.add(listener, libc::EPOLLIN, listener as u64);
    let mut buf = [0; 16 * 1024];
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    loop {
        for event in epoll.wait(&mut events) {
            let fd = event.u64 as RawFd;
            if fd == listener {
                accept_all(listener, &epoll);
            } else if !echo(fd, event.events, &mut buf) {
                close(fd);
                drop(Open);
            }
        }
    }
}

/// Echoes what is there; `false` when the connection has ended.
fn echo(fd: RawFd, bits: u32, buf: &mut [u8]) -> bool {
    // The end of the stream may share an edge with the last bytes: then a short read is not the
    // last one.
    let ending = bits & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0;
    loop {
        let count = recv(fd, buf);
        if count <= 0 {
            return count < 0
                && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
        }
        if send(fd, &buf[..count as usize]) != count {
            return false;
        }
        if (count as usize) < buf.len() && !ending {
            return true;
        }
    }
}

fn accept_all(listener: RawFd, epoll: &Epoll) {
    loop {
        let fd = accept(listener);
        if fd < 0 {
            return;
        }
        std::mem::forget(Open::new());
        epoll.add(fd, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET, fd as u64);
    }
}
