//! Does what one operation finds hide what there is for another, and is "readable" what the kernel has said?
//!
//! A source's flags are shared by all who use it in one direction. A would-block that has a reason of its own (a peer's full
//! queue, a peek that wants more, a receive that does not look at the error queue) says nothing to the others. And a guess
//! on a new socket is for those who try, not for those who wait for a word.
//!
//! Comes from: main.rs. Goes to: async_socket.rs and reactor.rs of the runtime; sockets of net.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixStream as StdStream};
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::poll_once;
use net::{TcpStream, UnixDatagram};
use runtime::{AsyncSocket, sleep, timeout, yield_now};
use socket2::SockRef;

use crate::support::folder::Folder;
use crate::support::run;

const LONG: Duration = Duration::from_secs(40);

/// A few turns, in which the kernel says what it has to say. (One polls 64 times.)
async fn turns() {
    for _ in 0..200 {
        yield_now().await;
    }
}

fn would_block<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn wants<const COUNT: usize>(socket: &StdStream) -> io::Result<usize> {
    let mut bytes = [std::mem::MaybeUninit::uninit(); COUNT];
    match SockRef::from(socket).peek(&mut bytes)? {
        count if count < COUNT => Err(ErrorKind::WouldBlock.into()),
        count => Ok(count),
    }
}

/// Whether `future` is ready at its first poll.
async fn is_ready<R>(future: impl Future<Output = io::Result<R>>) -> bool {
    poll_once(pin!(future)).await.inspect(|result| assert!(result.is_ok())).is_some()
}

#[test]
fn a_send_to_a_full_peer_does_not_hide_that_another_peer_has_room() {
    run(async || {
        let folder = Folder::new();
        let (full_at, free_at) = (folder.at("full"), folder.at("free"));
        let _full = StdDatagram::bind(&full_at).unwrap();
        let free = StdDatagram::bind(&free_at).unwrap();
        for goes_on in [true, false] {
            let ours = UnixDatagram::unbound().unwrap();
            ours.connect(&full_at).await.unwrap();
            while ours.try_send(b"x").is_ok() {}
            let mut given_up = Box::pin(ours.send(b"x"));
            assert!(poll_once(&mut given_up).await.is_none(), "it is full");
            if !goes_on {
                drop(given_up);
            }
            turns().await;
            let sent = timeout(LONG, ours.send_to(b"hello", &free_at)).await;
            assert_eq!(sent.expect("the other one has room").unwrap(), 5);
            assert_eq!(free.recv(&mut [0; 8]).unwrap(), 5);
            // The same for a closure of one's own.
            let sent = ours.as_socket().write_with(|socket| socket.send_to(b"again", &free_at));
            assert_eq!(timeout(LONG, sent).await.expect("it has room").unwrap(), 5);
            assert_eq!(free.recv(&mut [0; 8]).unwrap(), 5);
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_receive_that_was_given_up_does_not_hide_the_error_queue() {
    /// Whether there was one: a datagram of ours that has left.
    fn take_stamp(socket: &std::net::UdpSocket) -> io::Result<()> {
        // SAFETY: a C record for which zeroes are valid: no name, no place for bytes, none for what comes with them.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // SAFETY: the record is ours and lives through the call.
        let result =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    run(async || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(other.local_addr().unwrap()).unwrap();
        let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        // SAFETY: the option is a number, ours, and lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPING,
                (&raw const flags).cast(),
                size_of_val(&flags) as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
        let socket = AsyncSocket::new(socket).unwrap();
        for _ in 0..3 {
            socket.send(b"x").await.unwrap();
            turns().await; // the report of the stamp is taken by the receive, which does not look at it
            assert!(would_block(socket.try_recv(&mut [0; 8])));
            assert!(poll_once(pin!(socket.recv(&mut [0; 8]))).await.is_none());
            assert!(is_ready(socket.readable()).await, "the stamp is there");
            let stamp = timeout(LONG, socket.read_with(take_stamp)).await;
            stamp.expect("the stamp is there").unwrap();
        }
        // An empty error queue does not hide a datagram either.
        let to = socket.get_ref().local_addr().unwrap();
        for _ in 0..2 {
            other.send_to(b"x", to).unwrap();
        }
        socket.readable().await.unwrap();
        turns().await;
        for _ in 0..2 {
            assert!(would_block(socket.try_read_with(take_stamp)));
            assert!(is_ready(socket.readable()).await && is_ready(socket.recv(&mut [0; 8])).await);
        }
        // And one that waits for it first.
        let mut waiting = pin!(socket.read_with(take_stamp));
        assert!(poll_once(&mut waiting).await.is_none());
        socket.send(b"x").await.unwrap();
        timeout(LONG, waiting).await.expect("the stamp is there").unwrap();
    });
}

#[test]
fn a_closure_that_wants_more_hides_nothing_and_is_called_once_for_each_report() {
    run(async || {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let ours = AsyncSocket::new(ours).unwrap();
        theirs.write_all(b"five!").unwrap();
        let calls = Cell::new(0);
        let count = |socket: &StdStream| {
            calls.set(calls.get() + 1);
            wants::<10>(socket)
        };
        let mut ten = Box::pin(ours.read_with(count));
        assert!(poll_once(&mut ten).await.is_none());
        turns().await; // the report of the five
        for _ in 0..5 {
            assert!(poll_once(&mut ten).await.is_none());
        }
        assert!(calls.get() <= 2, "{} calls for one report", calls.get());
        assert_eq!(timeout(LONG, ours.read_with(wants::<5>)).await.expect("five").unwrap(), 5);
        assert!(would_block(ours.try_read_with(wants::<10>)));
        assert!(is_ready(ours.readable()).await, "there are five");
        let byte = timeout(LONG, ours.recv(&mut [0; 1])).await;
        assert_eq!(byte.expect("there are five").unwrap(), 1);
        // Those who poll without a future, in one task.
        let polled = std::future::poll_fn(|cx| {
            assert!(ours.poll_read_with(cx, wants::<10>).is_pending());
            ours.poll_read_with(cx, wants::<4>)
        });
        assert_eq!(timeout(LONG, polled).await.expect("there are four").unwrap(), 4);
        theirs.write_all(b"and six").unwrap();
        assert_eq!(timeout(LONG, ten).await.expect("there are ten").unwrap(), 10);
        // What a receive has found empty holds up no closure that needs no bytes.
        assert_eq!(ours.recv(&mut [0; 64]).await.unwrap(), 11);
        assert!(poll_once(pin!(ours.recv(&mut [0; 1]))).await.is_none());
        assert_eq!(timeout(LONG, ours.read_with(|_| Ok(7))).await.expect("at once").unwrap(), 7);
    });
}

#[test]
fn a_silent_peer_is_not_readable_and_a_full_one_not_writable() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        assert!(timeout(Duration::from_millis(20), server.readable()).await.is_err());
        timeout(LONG, server.writable()).await.expect("it has room").unwrap();
        client.write_all(b"x").unwrap();
        timeout(LONG, server.readable()).await.expect("it has said something").unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 1);
        // What was there before it was watched, the kernel says, too.
        let (ours, mut theirs) = StdStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        let ours = AsyncSocket::new(ours).unwrap();
        timeout(LONG, ours.readable()).await.expect("a byte is there").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), 1);
        assert!(would_block(ours.try_read_with(|mut socket| socket.read(&mut [0; 8]))));
        assert!(poll_once(pin!(ours.readable())).await.is_none(), "nothing is left");
        drop(theirs);
        timeout(LONG, ours.readable()).await.expect("the end").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), 0);
        assert!(poll_once(pin!(ours.readable())).await.is_some(), "the end stays");
        // A full one that is taken over.
        let (full, mut theirs) = StdStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = (&full).write(&[0; 4096]) {
            written += count;
        }
        let full = AsyncSocket::new(full).unwrap();
        assert!(timeout(Duration::from_millis(20), full.writable()).await.is_err());
        theirs.read_exact(&mut vec![0; written]).unwrap();
        timeout(LONG, full.writable()).await.expect("it has room again").unwrap();
    });
}

#[test]
fn a_connection_is_readable_only_as_long_as_there_is_something_to_read() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        // Requests that fill the reader's buffer, so that no read says that nothing is left.
        for _ in 0..3 {
            client.write_all(b"request").unwrap();
            server.readable().await.unwrap();
            assert_eq!(server.read(&mut [0; 7]).await.unwrap(), 7);
            turns().await;
            assert!(!is_ready(server.readable()).await, "it is silent between requests");
        }
    });
}

#[test]
fn a_receive_or_send_is_ready_at_its_first_poll_after_the_wait_for_it() {
    run(async || {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let ours = AsyncSocket::new(ours).unwrap();
        assert!(!is_ready(ours.recv(&mut [0; 8])).await);
        let mut sent = 0;
        while let Ok(count) = ours.try_send(&[0; 4096]) {
            sent += count;
        }
        turns().await; // after so many sends this poll has no operations left
        assert!(!is_ready(ours.send(b"x")).await);
        // No turn of the loop lies between what happens and the question, so there is no report yet.
        theirs.write_all(b"x").unwrap();
        assert!(is_ready(ours.readable()).await && is_ready(ours.recv(&mut [0; 8])).await);
        theirs.read_exact(&mut vec![0; sent]).unwrap();
        assert!(is_ready(ours.writable()).await && is_ready(ours.send(b"x")).await);
    });
}

#[test]
fn a_fifo_without_a_writer_is_not_readable() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("fifo");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends in a zero and lives through the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let fifo = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let fifo = AsyncSocket::new(fifo.unwrap()).unwrap();
        let mut readable = Box::pin(fifo.readable());
        assert!(poll_once(&mut readable).await.is_none());
        turns().await;
        assert!(poll_once(&mut readable).await.is_none());
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        turns().await;
        assert!(poll_once(&mut readable).await.is_none(), "nothing is written");
        writer.write_all(b"x").unwrap();
        timeout(LONG, readable).await.expect("there is a byte").unwrap();
        assert_eq!(fifo.read_with(|mut io| io.read(&mut [0; 8])).await.unwrap(), 1);
        assert!(!is_ready(fifo.readable()).await, "the writer is still there");
        drop(writer);
        timeout(LONG, fifo.readable()).await.expect("the end").unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_runs_is_not_readable_until_it_has_ended() {
    run(async || {
        let mut child = std::process::Command::new("cat");
        let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
        // SAFETY: no pointers.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        assert!(number >= 0);
        // SAFETY: the call has just made it, for us.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number as i32) };
        let descriptor = AsyncSocket::new(descriptor).unwrap();
        assert!(timeout(Duration::from_millis(20), descriptor.readable()).await.is_err());
        drop(child.stdin.take());
        timeout(LONG, descriptor.readable()).await.expect("it ends").unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_socket_that_is_connecting_is_writable_when_it_is_connected() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // With a queue of this length the kernel drops the greetings of those beyond.
        SockRef::from(&listener).listen(0).unwrap();
        let _held = std::net::TcpStream::connect(address).unwrap();
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(socket.connect(&address.into()).is_err(), "it is under way");
        let stream = TcpStream::from_std(socket.into()).unwrap();
        assert!(timeout(Duration::from_millis(20), stream.writable()).await.is_err());
        drop(listener.accept().unwrap());
        timeout(LONG, stream.writable()).await.expect("its greeting is repeated").unwrap();
        assert!(SockRef::from(&stream).take_error().unwrap().is_none());
        sleep(Duration::ZERO).await;
        stream.write(b"x").await.unwrap();
    });
}
