//! Do net's streams and listeners do what their docs say, against std's sockets as the other side?
//!
//! Comes from: main.rs. Goes to: net/src/tcp.rs, net/src/resolve.rs.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use futures_lite::future::{poll_once, zip};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use futures_lite::stream::StreamExt;
use net::{ListenOptions, TcpListener, TcpStream, resolve};
use runtime::{sleep, spawn, yield_now};

use crate::support::process::descriptors;
use crate::support::sockets::net_tcp;
use crate::support::{in_child_process, run};

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A connection with both ends in the runtime.
async fn both_ends() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, connected) = zip(listener.accept(), TcpStream::connect(address)).await;
    (accepted.unwrap().0, connected.unwrap())
}

#[test]
fn a_listener_and_a_stream_find_each_other() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connected) = zip(listener.accept(), TcpStream::connect(address)).await;
        let ((stream, peer), connected) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(peer, connected.local_addr().unwrap());
        assert_eq!(connected.peer_addr().unwrap(), address);
        assert_eq!(stream.peer_addr().unwrap(), peer);
        connected.write_all(b"hello").await.unwrap();
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        assert!(listener.try_accept().is_err());
    });
}

#[test]
fn a_refused_connect_names_the_address_and_its_error() {
    run(async || {
        let address = nobody();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        // Of several, all are told.
        let (first, second) = (nobody(), nobody());
        let error = TcpStream::connect(vec![first, second]).await.unwrap_err().to_string();
        assert!(
            error.contains(&first.to_string()) && error.contains(&second.to_string()),
            "{error}"
        );
    });
}

#[test]
fn a_connect_takes_the_first_address_that_answers() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(vec![nobody(), address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let none: Vec<SocketAddr> = Vec::new();
        assert!(TcpStream::connect(none).await.is_err());
    });
}

#[test]
fn a_connect_is_never_reported_early() {
    // A listener that accepts nobody, its queue full: who comes then is not connected, and must not be told so.
    in_child_process(|| {
        runtime::block_on(async {
            let listener = ListenOptions::new().backlog(1).listen("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let before = descriptors();
            let tasks: Vec<_> =
                (0..10).map(|_| spawn(async move { TcpStream::connect(address).await })).collect();
            sleep(Duration::from_millis(100)).await;
            let (early, late): (Vec<_>, Vec<_>) =
                tasks.into_iter().partition(runtime::JoinHandle::is_finished);
            assert!(early.len() < 5, "{} in a queue of one", early.len());
            for task in early {
                let stream = task.await.unwrap().unwrap();
                stream.write_all(b"x").await.unwrap();
            }
            // Given up while it is under way, a connect closes what it has begun.
            for task in late {
                assert!(task.cancel().await.unwrap_err().is_cancelled());
            }
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn a_connect_that_was_put_off_succeeds_once_there_is_room() {
    run(async || {
        let listener = ListenOptions::new().backlog(1).listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks: Vec<_> =
            (0..4).map(|_| spawn(async move { TcpStream::connect(address).await })).collect();
        sleep(Duration::from_millis(20)).await;
        // The kernel's own second attempt comes after a second.
        let accepted = spawn(async move {
            let mut accepted = Vec::new();
            while accepted.len() < 4 {
                accepted.push(listener.accept().await.unwrap());
            }
        });
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        accepted.await.unwrap();
    });
}

#[test]
fn names_are_resolved() {
    run(async || {
        let addresses = resolve("localhost:80").await.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(resolve("127.0.0.1:80").await.unwrap(), [address]);
        assert_eq!(resolve((IpAddr::V4(Ipv4Addr::LOCALHOST), 80)).await.unwrap(), [address]);
        assert_eq!(resolve(("127.0.0.1", 80)).await.unwrap(), [address]);
        assert_eq!(resolve(String::from("127.0.0.1:80")).await.unwrap(), [address]);
        let error = resolve("no port here").await.unwrap_err();
        assert!(error.to_string().contains("no port here"), "{error}");
    });
}

#[test]
fn whatever_is_an_address_already_needs_no_resolver() {
    run(async || {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let other: SocketAddr = "[::1]:81".parse().unwrap();
        let (SocketAddr::V4(four), SocketAddr::V6(six)) = (address, other) else { unreachable!() };
        assert_eq!(resolve(four).await.unwrap(), [address]);
        assert_eq!(resolve(six).await.unwrap(), [other]);
        assert_eq!(resolve(("::1", 81)).await.unwrap(), [other]);
        assert_eq!(resolve([address, other]).await.unwrap(), [address, other]);
        assert_eq!(resolve(&vec![address, other]).await.unwrap(), [address, other]);
        assert_eq!(resolve(&[address, other][..]).await.unwrap(), [address, other]);
        let error = resolve([]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("the list is empty"), "{error}");
    });
}

#[test]
fn a_connect_by_name_works() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("localhost", port)).await.unwrap();
        TcpStream::connect(format!("localhost:{port}")).await.unwrap();
    });
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    run(async || {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        drop(first);
        TcpListener::bind(address).await.unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_can_be_shared_if_all_say_so() {
    run(async || {
        let shared = ListenOptions::new().reuse_port(true);
        let first = shared.listen("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let second = shared.listen(address).await.unwrap();
        assert!(TcpListener::bind(address).await.is_err());
        let clients: Vec<_> =
            (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut accepted = 0;
        while accepted < clients.len() {
            accepted += usize::from(first.try_accept().is_ok());
            accepted += usize::from(second.try_accept().is_ok());
            yield_now().await;
        }
    });
}

#[test]
fn a_listener_is_bound_again_while_old_connections_linger() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connected) = zip(listener.accept(), TcpStream::connect(address)).await;
        let (accepted, _) = accepted.unwrap();
        drop(accepted); // closed by the server's side first: this is what lingers
        assert_eq!(connected.unwrap().read(&mut [0; 8]).await.unwrap(), 0);
        drop(listener);
        TcpListener::bind(address).await.unwrap();
    });
}

#[test]
fn read_exact_says_when_the_stream_ends_first() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        peer.write_all(b"abc").unwrap();
        drop(peer);
        let error = stream.read_exact(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        stream.read_exact(&mut []).await.unwrap();
    });
}

#[test]
fn write_all_waits_for_a_slow_reader() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        let bytes: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
        stream.write_all(&bytes).await.unwrap();
        drop(stream);
        assert!(reader.join().unwrap() == bytes);
    });
}

#[test]
fn vectored_reads_and_writes_fill_one_buffer_after_the_other() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        let parts = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defgh")];
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), 8);
        let mut all = [0; 8];
        peer.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"abcdefgh");
        peer.write_all(b"ABCDEFGH").unwrap();
        let (mut first, mut second) = ([0; 3], [0; 10]);
        let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(stream.read_vectored(&mut parts).await.unwrap(), 8);
        assert_eq!((&first, &second[..5]), (b"ABC", &b"DEFGH"[..]));
        // And it can be waited for again.
        let mut parts = [IoSliceMut::new(&mut first)];
        let writer = async {
            yield_now().await;
            peer.write_all(b"x").unwrap();
        };
        let (count, ()) = zip(stream.read_vectored(&mut parts), writer).await;
        assert_eq!(count.unwrap(), 1);
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_ends_in_an_error_by_every_way() {
    run(async || {
        let (stream, peer) = net_tcp();
        drop(peer);
        let chunk = [7; 1000];
        let mut errors = 0;
        for way in 0.. {
            let result = match way % 3 {
                0 => stream.write(&chunk).await,
                1 => stream.write_vectored(&[IoSlice::new(&chunk)]).await,
                _ => AsyncWriteExt::write(&mut &stream, &chunk).await,
            };
            if let Err(error) = result {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
                errors += 1;
                if errors == 6 {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_shutdown_is_seen_by_the_peer_and_may_be_repeated() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
        peer.write_all(b"answer").unwrap();
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 6);
        drop(peer);
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        stream.shutdown(Shutdown::Both).unwrap();
        assert!(stream.write(b"x").await.is_err());
    });
}

#[test]
fn a_shutdown_of_the_own_reading_wakes_who_reads() {
    run(async || {
        let (stream, _peer) = net_tcp();
        let mut buffer = [0; 8];
        let closer = async {
            yield_now().await;
            yield_now().await;
            stream.shutdown(Shutdown::Read).unwrap();
        };
        let (count, ()) = zip(stream.read(&mut buffer), closer).await;
        assert_eq!(count.unwrap(), 0);
    });
}

#[test]
fn borrowed_halves_work_at_the_same_time() {
    run(async || {
        let (left, right) = both_ends().await;
        let echo = spawn(async move {
            let (mut read, mut write) = left.split();
            futures_lite::io::copy(&mut read, &mut write).await.unwrap()
        });
        let (mut read, mut write) = right.split();
        let bytes = vec![7; 3_000_000];
        let send = async {
            write.write_all(&bytes).await.unwrap();
            write.close().await.unwrap();
        };
        let receive = async {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            all.len()
        };
        let ((), received) = zip(send, receive).await;
        assert_eq!((received, echo.await.unwrap()), (3_000_000, 3_000_000));
    });
}

#[test]
fn owned_halves_live_in_two_tasks_and_end_apart() {
    run(async || {
        let (left, right) = both_ends().await;
        let (read, write) = left.into_split();
        let writer = spawn(async move {
            write.write_all(b"hello").await.unwrap();
            // Dropped here: the direction ends.
        });
        let mut all = [0; 64];
        let mut count = 0;
        loop {
            match right.read(&mut all[count..]).await.unwrap() {
                0 => break,
                more => count += more,
            }
        }
        assert_eq!(&all[..count], b"hello");
        writer.await.unwrap();
        right.write_all(b"still open").await.unwrap();
        assert_eq!(read.read(&mut all).await.unwrap(), 10);
    });
}

#[test]
fn halves_of_one_stream_can_be_put_together_and_those_of_two_cannot() {
    run(async || {
        let (left, right) = both_ends().await;
        let (left_read, left_write) = left.into_split();
        let (right_read, right_write) = right.into_split();
        let (left_read, right_write) = left_read.reunite(right_write).unwrap_err();
        let left = left_read.reunite(left_write).unwrap();
        let right = right_read.reunite(right_write).unwrap();
        // No direction was ended by that.
        left.write_all(b"abc").await.unwrap();
        right.write_all(b"abc").await.unwrap();
        assert_eq!(right.read(&mut [0; 8]).await.unwrap(), 3);
        assert_eq!(left.read(&mut [0; 8]).await.unwrap(), 3);
    });
}

#[test]
fn lent_bytes_and_tries_and_readable_agree() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(b"abcdef").unwrap();
        stream.readable().await.unwrap();
        let text = stream.read_lent(3, |bytes| bytes.to_vec()).await.unwrap();
        assert_eq!(text, b"abc");
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap(), 3);
        assert_eq!(stream.try_write(b"xyz").unwrap(), 3);
        let mut buffer = [0; 3];
        peer.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"xyz");
    });
}

#[test]
fn nodelay_is_set_and_told() {
    run(async || {
        let (stream, _peer) = net_tcp();
        assert!(!stream.nodelay().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
    });
}

#[test]
fn connections_come_as_a_stream() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients = thread::spawn(move || {
            (0..10).map(|_| std::net::TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
        });
        let streams: Vec<_> = listener.incoming().take(10).collect().await;
        assert!(streams.iter().all(Result::is_ok));
        drop(clients.join().unwrap());
        let mut none = listener.incoming();
        assert!(poll_once(none.next()).await.is_none());
    });
}

#[test]
fn sockets_come_from_std_and_go_back() {
    run(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let mut peer = std::net::TcpStream::connect(address).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TcpStream::from_std(stream.into_std()).unwrap();
        peer.write_all(b"abc").unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3);
        let listener = listener.into_std();
        listener.set_nonblocking(false).unwrap();
        let late = thread::spawn(move || listener.accept().unwrap());
        let _late = std::net::TcpStream::connect(address).unwrap();
        late.join().unwrap();
        assert!(stream.as_fd().try_clone_to_owned().is_ok());
    });
}

#[test]
fn an_accept_that_is_dropped_has_accepted_nobody() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..10 {
            let mut waiting = Box::pin(listener.accept());
            assert!(poll_once(&mut waiting).await.is_none());
            let client = std::net::TcpStream::connect(address).unwrap();
            drop(waiting);
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    });
}

#[test]
fn a_connection_that_was_reset_before_the_accept_does_not_spoil_the_listener() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..10 {
            crate::support::sockets::reset(std::net::TcpStream::connect(address).unwrap());
        }
        let good = std::net::TcpStream::connect(address).unwrap();
        loop {
            if let Ok((_, peer)) = listener.accept().await
                && peer == good.local_addr().unwrap()
            {
                break;
            }
        }
    });
}

#[test]
fn debug_shows_who_talks_to_whom() {
    run(async || {
        let (stream, peer) = net_tcp();
        let text = format!("{stream:?}");
        assert!(text.contains(&peer.local_addr().unwrap().to_string()), "{text}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(format!("{listener:?}").contains("127.0.0.1"));
    });
}

#[test]
fn empty_slices_before_the_first_byte_are_no_write_of_nothing() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        // More of them than the kernel takes in one call.
        let mut slices = vec![IoSlice::new(b""); 1500];
        slices.push(IoSlice::new(b"at last"));
        assert_eq!(stream.write_vectored(&slices).await.unwrap(), 7);
        let mut seen = [0; 7];
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"at last");
        assert_eq!(stream.write_vectored(&slices[..1500]).await.unwrap(), 0);
    });
}
