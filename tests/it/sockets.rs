//! Does `AsyncSocket` take every descriptor that can be waited for, and refuse the others?
//!
//! Pipes, socket pairs, datagrams, listeners, an eventfd: whatever epoll or kqueue can watch. Regular files are refused
//! with an error, since a wait for one would never end.
//!
//! Comes from: main.rs. Goes to: async_socket.rs of the runtime.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::{poll_once, zip};
use runtime::{AsyncSocket, LENT_BUFFER, Runtime, sleep, spawn, yield_now};

use crate::support::counters::{Counter, Watcher, poll_with, polled, until_async};
use crate::support::process::{descriptors, limit_descriptors};
use crate::support::sockets::{async_pair, fill_socket, pair};
use crate::support::{in_child_process, run, within};

#[test]
fn bytes_pass_through_a_pair() {
    run(async || {
        let (left, right) = async_pair();
        let sender = spawn(async move {
            for n in 0..1000u32 {
                assert_eq!(left.send(&n.to_ne_bytes()).await.unwrap(), 4);
            }
        });
        let mut received = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match right.recv(&mut buffer).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&buffer[..count]),
            }
        }
        sender.await.unwrap();
        let expected: Vec<u8> = (0..1000u32).flat_map(u32::to_ne_bytes).collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn a_pipe_is_read_and_written_by_its_own_means() {
    run(async || {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) =
            (AsyncSocket::new(reader).unwrap(), AsyncSocket::new(writer).unwrap());
        let total = 1 << 20;
        let sender = spawn(async move {
            let bytes = vec![7; 10_000];
            let mut sent = 0;
            while sent < total {
                let most = bytes.len().min(total - sent);
                sent += writer.write_with(|mut io| io.write(&bytes[..most])).await.unwrap();
            }
        });
        let (mut received, mut buffer) = (0, vec![0; 7_000]);
        loop {
            match reader.read_with(|mut io| io.read(&mut buffer)).await.unwrap() {
                0 => break,
                count => received += count,
            }
        }
        sender.await.unwrap();
        assert_eq!(received, total);
        // `recv` is for sockets.
        assert!(reader.recv(&mut [0; 8]).await.is_err());
    });
}

#[test]
fn a_pipe_whose_reader_is_gone_gives_its_writer_an_error() {
    run(async || {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = AsyncSocket::new(writer).unwrap();
        drop(reader);
        // Rust's programs ignore SIGPIPE; so does this one.
        let error = writer.write_with(|mut io| io.write(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn datagrams_keep_their_borders() {
    run(async || {
        let first = AsyncSocket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let second = AsyncSocket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let to = second.get_ref().local_addr().unwrap();
        let from = first.get_ref().local_addr().unwrap();
        for size in [1, 0, 100, 1400, 3] {
            let sent = first.write_with(|io| io.send_to(&vec![7; size], to)).await.unwrap();
            assert_eq!(sent, size);
        }
        for size in [1, 0, 100, 1400, 3] {
            let mut buffer = [0; 2000];
            let got = second.read_with(|io| io.recv_from(&mut buffer)).await.unwrap();
            assert_eq!(got, (size, from));
        }
        let (left, right) = UnixDatagram::pair().unwrap();
        let (left, right) = (AsyncSocket::new(left).unwrap(), AsyncSocket::new(right).unwrap());
        let mut buffer = [0; 2];
        let (count, _) = zip(right.recv(&mut buffer), left.send(b"abcdef")).await;
        assert_eq!(count.unwrap(), 2, "cut off, as datagrams are");
        assert_eq!(left.send(b"xy").await.unwrap(), 2);
        assert_eq!(right.recv(&mut [0; 8]).await.unwrap(), 2);
    });
}

#[test]
fn listeners_of_the_standard_library_accept() {
    run(async || {
        let listener = AsyncSocket::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"abc").unwrap();
            client.local_addr().unwrap()
        });
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(stream.recv(&mut [0; 8]).await.unwrap(), 3);
        assert_eq!(client.join().unwrap(), peer);

        let path = std::env::temp_dir().join(format!("ground-up-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = AsyncSocket::new(UnixListener::bind(&path).unwrap()).unwrap();
        let mut waiting = pin!(listener.accept());
        assert!(poll_once(waiting.as_mut()).await.is_none());
        let mut client = UnixStream::connect(&path).unwrap();
        let (stream, _) = waiting.await.unwrap();
        client.write_all(b"abc").unwrap();
        assert_eq!(stream.recv(&mut [0; 8]).await.unwrap(), 3);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_regular_file_is_refused() {
    run(async || {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        match AsyncSocket::new(file) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
            Ok(_) => panic!("a wait for it would never end"),
        }
    });
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    run(async || {
        for _ in 0..100 {
            let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
            assert!(AsyncSocket::new(file).is_err());
        }
        let (socket, mut peer) = pair();
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_eventfd_can_be_awaited() {
    use std::os::fd::{FromRawFd, OwnedFd};
    run(async || {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: the kernel has just given it to us.
        let event = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let event = AsyncSocket::new(event).unwrap();
        let mut ringer = event.get_ref().try_clone().unwrap();
        let mut word = [0; 8];
        let ring = async {
            yield_now().await;
            thread::spawn(move || ringer.write_all(&3u64.to_ne_bytes()).unwrap());
        };
        let (count, ()) = zip(event.read_with(|mut io| io.read(&mut word)), ring).await;
        assert_eq!((count.unwrap(), u64::from_ne_bytes(word)), (8, 3));
    });
}

#[test]
fn lent_bytes_come_and_go_with_the_call() {
    run(async || {
        let (socket, mut peer) = pair();
        peer.write_all(b"abcdef").unwrap();
        let text = socket.recv_lent(3, |bytes| bytes.to_vec()).await.unwrap();
        assert_eq!(text, b"abc");
        let text = socket.recv_lent(usize::MAX, |bytes| bytes.to_vec()).await.unwrap();
        assert_eq!(text, b"def");
        let big = vec![7; LENT_BUFFER];
        let writer = thread::spawn(move || peer.write_all(&big).unwrap());
        let mut total = 0;
        while total < LENT_BUFFER {
            total += socket.recv_lent(LENT_BUFFER, <[u8]>::len).await.unwrap();
        }
        writer.join().unwrap();
        assert!(socket.recv_lent(8, <[u8]>::is_empty).await.unwrap());
    });
}

#[test]
fn a_lent_buffer_may_be_borrowed_again_inside() {
    run(async || {
        let (outer, mut outer_peer) = pair();
        let (inner, mut inner_peer) = pair();
        outer_peer.write_all(b"outer").unwrap();
        inner_peer.write_all(b"inner").unwrap();
        let both = outer.recv_lent(8, |outer| {
            let mut read = Box::pin(inner.recv_lent(8, <[u8]>::to_vec));
            match poll_with(&mut read, Waker::noop()) {
                Poll::Ready(inner) => (outer.to_vec(), inner.unwrap()),
                Poll::Pending => panic!("it is there"),
            }
        });
        assert_eq!(both.await.unwrap(), (b"outer".to_vec(), b"inner".to_vec()));
        // And a panic inside gives the buffer back.
        outer_peer.write_all(b"x").unwrap();
        let panics = spawn(async move {
            let _ = outer.recv_lent(8, |_| std::panic::resume_unwind(Box::new("inside"))).await;
        });
        assert!(panics.await.is_err());
        inner_peer.write_all(b"x").unwrap();
        assert_eq!(inner.recv_lent(8, <[u8]>::len).await.unwrap(), 1);
    });
}

#[test]
fn what_is_tried_without_waiting_says_so() {
    run(async || {
        let (socket, mut peer) = pair();
        let error = socket.try_recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.try_recv(&mut [0; 8]).unwrap(), 3);
        // A wait behind it still works.
        let mut waiting = pin!(socket.read_with(|mut io| io.read(&mut [0; 8])));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(socket.try_recv(&mut [0; 8]).is_err());
        peer.write_all(b"x").unwrap();
        assert_eq!(waiting.await.unwrap(), 1);
    });
}

#[test]
fn readable_and_writable_tell_when_a_try_is_worth_it() {
    run(async || {
        let (socket, mut peer) = pair();
        socket.writable().await.unwrap();
        let (received, polls) = polled(async {
            loop {
                socket.readable().await.unwrap();
                match socket.try_recv(&mut [0; 8]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {} // it was a guess
                    result => return result.unwrap(),
                }
            }
        });
        let writer = async {
            sleep(Duration::from_millis(5)).await;
            peer.write_all(b"abc").unwrap();
        };
        assert_eq!(zip(received, writer).await.0, 3);
        assert!(polls.get() <= 5, "a wait that is no wait: {} polls", polls.get());
        // The same for the other direction.
        let full = fill_socket(&socket);
        let (sent, polls) = polled(async {
            loop {
                socket.writable().await.unwrap();
                match socket.try_send(b"x") {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    result => return result.unwrap(),
                }
            }
        });
        let reader = async {
            sleep(Duration::from_millis(5)).await;
            peer.read_exact(&mut vec![0; full]).unwrap();
        };
        assert_eq!(zip(sent, reader).await.0, 1);
        assert!(polls.get() <= 5, "a wait that is no wait: {} polls", polls.get());
    });
}

#[test]
fn an_instrument_sees_what_a_socket_calls_itself() {
    within(10, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let asked = Counter::new();
        rt.block_on(async {
            let (socket, mut peer) = pair();
            let socket = socket.with_label(|_, f| f.write_str("the left one"));
            let writer = async {
                yield_now().await;
                peer.write_all(b"x").unwrap();
            };
            let mut buffer = [0; 8];
            let (count, ()) = zip(socket.recv(&mut buffer), writer).await;
            assert_eq!(count.unwrap(), 1);
            asked.up();
        });
        assert_eq!(asked.get(), 1);
        let labels = watcher.labels.borrow();
        assert!(!labels.is_empty() && labels.iter().all(|label| label == "the left one"));
    });
}

#[test]
fn a_socket_may_be_shared_by_tasks_for_both_directions() {
    run(async || {
        let (left, right) = async_pair();
        let left = Rc::new(left);
        let received = Rc::new(Cell::new(0));
        let reader = {
            let (left, received) = (Rc::clone(&left), Rc::clone(&received));
            spawn(async move {
                let mut buffer = [0; 100];
                while received.get() < 1000 {
                    received.set(received.get() + left.recv(&mut buffer).await.unwrap());
                }
            })
        };
        let writer = spawn(async move {
            let mut sent = 0;
            while sent < 1000 {
                sent += left.send(&vec![7; 1000 - sent]).await.unwrap();
            }
        });
        let mut echoed = 0;
        let mut buffer = [0; 64];
        while echoed < 1000 {
            let count = right.recv(&mut buffer).await.unwrap();
            let mut sent = 0;
            while sent < count {
                sent += right.send(&buffer[sent..count]).await.unwrap();
            }
            echoed += count;
        }
        reader.await.unwrap();
        writer.await.unwrap();
    });
}

#[test]
fn opening_and_closing_leaves_no_descriptor_open() {
    in_child_process(|| {
        runtime::block_on(async {
            let before = descriptors();
            for round in 0..100 {
                let (socket, peer) = pair();
                match round % 4 {
                    0 => drop(socket),
                    1 => drop(socket.into_inner()),
                    2 => {
                        let task = spawn(async move { socket.recv(&mut [0; 8]).await });
                        yield_now().await;
                        task.abort();
                    }
                    _ => {
                        let task = spawn(async move { socket.recv(&mut [0; 8]).await });
                        yield_now().await;
                        drop(peer);
                        task.await.unwrap().unwrap();
                        continue;
                    }
                }
                drop(peer);
            }
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn a_runtime_without_descriptors_left_is_an_error_and_no_panic() {
    in_child_process(|| {
        limit_descriptors(64);
        let mut all: Vec<_> =
            std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        assert!(Runtime::new().is_err(), "none is left");
        all.pop();
        assert!(Runtime::new().is_err(), "one is left");
        all.truncate(all.len() - 4);
        Runtime::new().unwrap();
    });
}

#[test]
fn borrowed_descriptors_can_be_awaited_too() {
    run(async || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let socket = AsyncSocket::new(ours.as_fd()).unwrap();
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3);
        drop(socket);
        // Given back: it is still open, and non-blocking.
        let error = (&ours).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        until_async(|| true).await;
    });
}

#[test]
fn try_operations_that_a_signal_interrupts_are_called_again() {
    run(async || {
        let (left, _right) = async_pair();
        let interrupted_twice = || {
            let mut calls = 0;
            move || {
                calls += 1;
                if calls < 3 { Err(ErrorKind::Interrupted.into()) } else { Ok(calls) }
            }
        };
        let mut call = interrupted_twice();
        assert_eq!(left.try_read_with(|_| call()).unwrap(), 3);
        let mut call = interrupted_twice();
        assert_eq!(left.try_write_with(|_| call()).unwrap(), 3);
    });
}
