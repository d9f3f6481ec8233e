//! Do datagrams keep their borders, their errors and their senders, and is it seen when one was cut off?
//!
//! The other end is std's blocking socket, or Python's. What concerns names in the file system is in unix.rs.
//!
//! Comes from: main.rs. Goes to: net/src/datagram.rs, net/src/udp.rs, net/src/unix_datagram.rs.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, zip};
use net::{Received, UdpOptions, UdpSocket, UnixDatagram};
use runtime::{Runtime, spawn, timeout, yield_now};

use crate::support::counters::{Watcher, polled, until_async};
use crate::support::folder::Folder;
use crate::support::{run, within};

fn whole(count: usize) -> Received {
    Received { count, truncated: false }
}

fn cut(count: usize) -> Received {
    Received { count, truncated: true }
}

/// A socket of ours, and a blocking one, that know each other's address.
async fn udp() -> (UdpSocket, std::net::UdpSocket, SocketAddr, SocketAddr) {
    let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (our_address, their_address) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
    (ours, theirs, our_address, their_address)
}

/// As [`udp`], connected with each other.
async fn udp_pair() -> (UdpSocket, std::net::UdpSocket) {
    let (ours, theirs, our_address, their_address) = udp().await;
    ours.connect(their_address).await.unwrap();
    theirs.connect(our_address).unwrap();
    (ours, theirs)
}

fn unix_pair() -> (UnixDatagram, std::os::unix::net::UnixDatagram) {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    (UnixDatagram::from_std(ours).unwrap(), theirs)
}

/// A UDP port where nobody takes our datagrams: its socket is there for another peer alone, and keeps others off the port.
struct Nobody(std::net::UdpSocket);

impl Nobody {
    fn new() -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:1").unwrap();
        Nobody(socket)
    }
    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

#[test]
fn datagrams_go_both_ways_and_say_from_whom() {
    run(async || {
        let (ours, theirs, our_address, their_address) = udp().await;
        let mut buffer = [0; 100];
        assert_eq!(ours.send_to(b"to them", their_address).await.unwrap(), 7);
        assert_eq!(theirs.recv_from(&mut buffer).unwrap(), (7, our_address));
        assert_eq!(&buffer[..7], b"to them");
        {
            let mut waiting = pin!(ours.recv_from(&mut buffer));
            assert!(poll_once(waiting.as_mut()).await.is_none());
            theirs.send_to(b"to us", our_address).unwrap();
            assert_eq!(waiting.await.unwrap(), (whole(5), their_address));
        }
        assert_eq!(&buffer[..5], b"to us");

        assert_eq!(ours.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        ours.connect(their_address).await.unwrap();
        assert_eq!(ours.peer_addr().unwrap(), their_address);
        assert_eq!(ours.send(b"again").await.unwrap(), 5);
        assert_eq!(ours.try_send(b"once more").unwrap(), 9);
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 5);
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 9);
        // Strangers are not heard on a connected socket.
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"who is it", our_address).unwrap();
        theirs.send_to(b"me", our_address).unwrap();
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(2));
        assert_eq!(ours.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn over_ipv6_too() {
    run(async || {
        let Ok(theirs) = std::net::UdpSocket::bind("[::1]:0") else {
            return println!("skipped: no IPv6 here");
        };
        let ours = UdpOptions::new().only_v6(true).bind("[::1]:0").await.unwrap();
        let (ours_at, theirs_at) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
        let mut buffer = [0; 10];
        ours.send_to(b"abc", theirs_at).await.unwrap();
        assert_eq!(theirs.recv_from(&mut buffer).unwrap(), (3, ours_at));
        theirs.send_to(b"defg", ours_at).unwrap();
        assert_eq!(ours.recv_from(&mut buffer).await.unwrap(), (whole(4), theirs_at));
        ours.set_unicast_hops_v6(7).unwrap();
        assert_eq!(ours.unicast_hops_v6().unwrap(), 7);
    });
}

#[test]
fn a_datagram_that_was_cut_off_says_so_by_every_way() {
    /// Each size of a datagram against each of a buffer, received by each way.
    macro_rules! all_ways {
        ($ours:ident, $theirs:ident) => {
            for (size, room) in [(4, 4), (3, 4), (4, 3), (1, 0), (0, 0), (0, 4), (1500, 1499)] {
                let expected = if size > room { cut(room) } else { whole(size) };
                let bytes: Vec<u8> = (0..size).map(|n| n as u8 | 1).collect();
                let mut buffer = vec![0; room];
                for way in 0..10 {
                    if way < 6 {
                        $theirs.send(&bytes).unwrap();
                    }
                    buffer.fill(0);
                    let got = match way {
                        0 => $ours.recv(&mut buffer).await.unwrap(),
                        1 => $ours.recv_from(&mut buffer).await.unwrap().0,
                        2 => $ours.try_recv(&mut buffer).unwrap(),
                        3 => $ours.try_recv_from(&mut buffer).unwrap().0,
                        4 => poll_fn(|cx| $ours.poll_recv(cx, &mut buffer)).await.unwrap(),
                        // It stays for those below, of whom only the last takes it.
                        5 => $ours.peek(&mut buffer).await.unwrap(),
                        6 => $ours.peek_from(&mut buffer).await.unwrap().0,
                        7 => $ours.try_peek(&mut buffer).unwrap(),
                        8 => $ours.try_peek_from(&mut buffer).unwrap().0,
                        _ => poll_fn(|cx| $ours.poll_recv_from(cx, &mut buffer)).await.unwrap().0,
                    };
                    assert_eq!(got, expected, "{size} bytes into {room}, way {way}");
                    assert_eq!(buffer[..got.count], bytes[..got.count], "way {way}");
                    assert_eq!(got.whole().ok(), (size <= room).then_some(size));
                }
                let error = $ours.try_recv(&mut buffer).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "the rest of one came as another");
            }
        };
    }
    run(async || {
        let (ours, theirs) = udp_pair().await;
        all_ways!(ours, theirs);
        let (ours, theirs) = unix_pair();
        all_ways!(ours, theirs);
        let error = cut(3).whole().unwrap_err();
        assert!(error.to_string().contains("3 bytes"), "{error}");
    });
}

#[test]
fn an_empty_datagram_is_a_datagram_and_no_end() {
    run(async || {
        let mut buffer = [0; 8];
        let (ours, theirs) = udp_pair().await;
        for sent in [&b""[..], b"", b"abc", b""] {
            theirs.send(sent).unwrap();
        }
        for count in [0, 0, 3, 0] {
            assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(count));
        }
        assert!(poll_once(pin!(ours.recv(&mut buffer))).await.is_none(), "no end was seen");
        ours.send(b"").await.unwrap();
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 0);

        let (ours, theirs) = unix_pair();
        theirs.send(b"").unwrap();
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(0));
        theirs.send(b"ab").unwrap();
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(2));
        ours.send(b"").await.unwrap();
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn a_refusal_ends_a_wait_that_has_begun() {
    run(async || {
        let nobody = Nobody::new();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(nobody.address()).await.unwrap();
        let mut buffer = [0; 8];
        for _ in 0..3 {
            let mut waiting = pin!(socket.recv(&mut buffer));
            assert!(poll_once(waiting.as_mut()).await.is_none());
            // The kernel's report comes with no bytes at all, as an error event alone.
            assert_eq!(socket.send(b"is anybody there").await.unwrap(), 16);
            let error = waiting.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
        // Whoever waits in another way is told, too.
        socket.send(b"again").await.unwrap();
        socket.readable().await.unwrap();
        let error = poll_fn(|cx| socket.poll_recv_from(cx, &mut buffer)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Or who sends next.
        socket.send(b"again").await.unwrap();
        let error = socket.send(b"and again").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // The error was the datagram's, not the socket's.
        let (other, theirs_at) = {
            let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = other.local_addr().unwrap();
            (other, address)
        };
        socket.connect(theirs_at).await.unwrap();
        other.send_to(b"me", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut buffer).await.unwrap(), whole(2));
    });
}

#[test]
fn a_refusal_is_told_once_and_then_the_wait_sleeps() {
    run(async || {
        let nobody = Nobody::new();
        let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        socket.connect(nobody.address()).await.unwrap();
        socket.send(b"is anybody there").await.unwrap();
        let receiver = Rc::clone(&socket);
        let errors = Rc::new(Cell::new(0));
        let seen = Rc::clone(&errors);
        let (future, polls) = polled(async move {
            loop {
                match receiver.recv(&mut [0; 8]).await {
                    Ok(received) => break received,
                    Err(_) => seen.set(seen.get() + 1),
                }
            }
        });
        let task = spawn(future);
        until_async(|| errors.get() == 1).await;
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(polls.get() <= 3, "{} polls for one error", polls.get());
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer.local_addr().unwrap()).await.unwrap();
        peer.send_to(b"me", socket.local_addr().unwrap()).unwrap();
        assert_eq!(task.await.unwrap(), whole(2));
        assert_eq!(errors.get(), 1);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_is_not_connected_hears_of_no_refusal() {
    run(async || {
        let (ours, theirs, our_address, their_address) = udp().await;
        let nobody = Nobody::new();
        ours.send_to(b"is anybody there", nobody.address()).await.unwrap();
        ours.send_to(b"hello", their_address).await.unwrap();
        theirs.send_to(b"yes", our_address).unwrap();
        assert_eq!(ours.recv_from(&mut [0; 8]).await.unwrap(), (whole(3), their_address));
    });
}

#[test]
fn a_datagram_that_is_too_long_is_refused_and_the_next_one_is_not() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        let error = ours.send(&vec![0; 65_508]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(ours.send(&vec![7; 65_507]).await.unwrap(), 65_507);
        let mut buffer = vec![0; 70_000];
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 65_507);
        theirs.send(&vec![7; 65_507]).unwrap();
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(65_507));
        let v6: SocketAddr = (Ipv6Addr::LOCALHOST, 9).into();
        ours.send_to(b"x", v6).await.unwrap_err();
    });
}

#[test]
fn each_datagram_goes_to_one_of_those_who_wait() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        let ours = Rc::new(ours);
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let ours = Rc::clone(&ours);
                spawn(async move {
                    let mut byte = [0];
                    assert_eq!(ours.recv(&mut byte).await.unwrap(), whole(1));
                    byte[0]
                })
            })
            .collect();
        yield_now().await;
        for byte in 0..5 {
            theirs.send(&[byte]).unwrap();
        }
        let mut got = Vec::new();
        for task in tasks {
            got.push(task.await.unwrap());
        }
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_flooded_socket_gives_way_after_128_datagrams() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        // As many as fit into the receive buffer of a default system, small as they are.
        for _ in 0..200 {
            theirs.send(b"x").unwrap();
        }
        let other_ran = Rc::new(Cell::new(0));
        let ran = Rc::clone(&other_ran);
        let other = spawn(async move {
            loop {
                ran.set(ran.get() + 1);
                yield_now().await;
            }
        });
        let (flood, polls) = polled(async move {
            for _ in 0..200 {
                assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), whole(1));
            }
        });
        spawn(flood).await.unwrap();
        assert_eq!(polls.get(), 2, "128 in the first poll, the rest in the second");
        assert!(other_ran.get() >= 2, "it ran {} times", other_ran.get());
        drop(other);

        // And a socket that sends to itself without end.
        let (ours, _theirs, our_address, _) = udp().await;
        let endless = spawn(async move {
            loop {
                ours.send_to(b"x", our_address).await.unwrap();
            }
        });
        for _ in 0..10 {
            yield_now().await;
        }
        endless.cancel().await.unwrap_err();
    });
}

#[test]
fn all_who_poll_by_hand_are_woken() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        let ours = Rc::new(ours);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let ours = Rc::clone(&ours);
                spawn(async move {
                    let mut buffer = [0; 8];
                    poll_fn(|cx| ours.poll_recv_from(cx, &mut buffer)).await.unwrap()
                })
            })
            .collect();
        yield_now().await;
        for _ in 0..3 {
            theirs.send(b"abc").unwrap();
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), (whole(3), theirs.local_addr().unwrap()));
        }
        let to = theirs.local_addr().unwrap();
        assert_eq!(poll_fn(|cx| ours.poll_send_to(cx, b"de", to)).await.unwrap(), 2);
        assert_eq!(poll_fn(|cx| ours.poll_send(cx, b"fgh")).await.unwrap(), 3);
        assert_eq!(ours.try_send_to(b"i", to).unwrap(), 1);
        for count in [2, 3, 1] {
            assert_eq!(theirs.recv(&mut [0; 8]).unwrap(), count);
        }
    });
}

#[test]
fn a_broadcast_wants_to_be_allowed() {
    run(async || {
        let (ours, ..) = udp().await;
        let to: SocketAddr = "255.255.255.255:9".parse().unwrap();
        assert!(!ours.broadcast().unwrap());
        let error = ours.send_to(b"to all", to).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        ours.set_broadcast(true).unwrap();
        assert!(ours.broadcast().unwrap());
        // The loopback's own broadcast address, on Linux.
        #[cfg(target_os = "linux")]
        {
            let receiver = std::net::UdpSocket::bind("127.255.255.255:0").unwrap();
            let to = receiver.local_addr().unwrap();
            ours.send_to(b"to all", to).await.unwrap();
            let got = receiver.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(got, (6, ours.local_addr().unwrap()));
        }
    });
}

#[test]
fn a_multicast_group_is_joined_and_left() {
    run(async || {
        let group = Ipv4Addr::new(239, 255, 77, 1);
        let receiver = UdpOptions::new().reuse_address(true).bind("0.0.0.0:0").await.unwrap();
        let port = receiver.local_addr().unwrap().port();
        // Bound to the loopback, so that the group is looked for there.
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        receiver.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap_err();
        if let Err(error) = sender.send_to(b"to the group", (group, port)) {
            return println!("skipped: no multicast on the loopback here: {error}");
        }
        let mut buffer = [0; 16];
        let (received, from) = receiver.recv_from(&mut buffer).await.unwrap();
        assert_eq!((received, from), (whole(12), sender.local_addr().unwrap()));
        receiver.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        receiver.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap_err();
        sender.send_to(b"to the group", (group, port)).unwrap();
        sender.send_to(b"to you", (Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(receiver.recv(&mut buffer).await.unwrap(), whole(6), "it has left the group");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_multicast_group_of_ipv6_too() {
    run(async || {
        const LOOPBACK: u32 = 1; // the number of Linux's first interface
        let group = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x77, 1);
        let Ok(receiver) = UdpSocket::bind("[::]:0").await else {
            return println!("skipped: no IPv6 here");
        };
        let port = receiver.local_addr().unwrap().port();
        let sender = UdpSocket::bind("[::1]:0").await.unwrap();
        receiver.join_multicast_v6(group, LOOPBACK).unwrap();
        sender.set_multicast_hops_v6(3).unwrap();
        assert_eq!(sender.multicast_hops_v6().unwrap(), 3);
        let to = SocketAddrV6::new(group, port, 0, LOOPBACK).into();
        if let Err(error) = sender.send_to(b"to the group", to).await {
            return println!("skipped: no multicast on the loopback here: {error}");
        }
        assert_eq!(receiver.recv(&mut [0; 16]).await.unwrap(), whole(12));
        receiver.leave_multicast_v6(group, LOOPBACK).unwrap();
        receiver.leave_multicast_v6(group, LOOPBACK).unwrap_err();
        assert!(sender.multicast_loop_v6().unwrap());
        sender.set_multicast_loop_v6(false).unwrap();
        assert!(!sender.multicast_loop_v6().unwrap());
    });
}

#[test]
fn options_are_kept() {
    run(async || {
        let (ours, theirs, ..) = udp().await;
        ours.set_ttl_v4(5).unwrap();
        ours.set_multicast_ttl_v4(6).unwrap();
        assert_eq!((ours.ttl_v4().unwrap(), ours.multicast_ttl_v4().unwrap()), (5, 6));
        assert!(ours.multicast_loop_v4().unwrap());
        ours.set_multicast_loop_v4(false).unwrap();
        assert!(!ours.multicast_loop_v4().unwrap());
        // As std sees it.
        let ours = ours.into_std();
        assert_eq!((ours.ttl().unwrap(), ours.multicast_ttl_v4().unwrap()), (5, 6));
        drop(theirs);
    });
}

#[test]
fn an_address_in_use_is_shared_only_if_all_say_so() {
    run(async || {
        let (ours, _, our_address, _) = udp().await;
        let error = UdpSocket::bind(our_address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&our_address.to_string()), "{error}");
        drop(ours);
        for shared in [UdpOptions::new().reuse_port(true), UdpOptions::new().reuse_address(true)] {
            let first = shared.bind("127.0.0.1:0").await.unwrap();
            let address = first.local_addr().unwrap();
            shared.bind(address).await.unwrap();
            assert!(UdpSocket::bind(address).await.is_err());
        }
    });
}

#[test]
fn names_work_and_the_first_address_that_does_is_taken() {
    run(async || {
        let ours = UdpSocket::bind("localhost:0").await.unwrap();
        assert!(ours.local_addr().unwrap().ip().is_loopback());
        let (ours, theirs, our_address, their_address) = udp().await;
        // This one is of the other family, so the kernel refuses it.
        let v6: SocketAddr = (Ipv6Addr::LOCALHOST, 9).into();
        ours.connect(vec![v6, their_address]).await.unwrap();
        assert_eq!(ours.peer_addr().unwrap(), their_address);
        let error = ours.connect(v6).await.unwrap_err();
        assert!(error.to_string().contains("connect to [::1]:9"), "{error}");
        // Bound where another is, and to the next then.
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = UdpSocket::bind(vec![their_address, any]).await.unwrap();
        assert_ne!(bound.local_addr().unwrap(), their_address);
        drop((theirs, our_address));
    });
}

#[test]
fn sockets_go_into_the_runtime_and_out_of_it() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        theirs.send(b"abc").unwrap();
        let ours = ours.into_std();
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 3);
        assert_eq!(ours.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let ours = UdpSocket::from_std(ours).unwrap();
        let sender = async {
            yield_now().await;
            theirs.send(b"de").unwrap();
        };
        let mut buffer = [0; 8];
        let (got, ()) = zip(ours.recv(&mut buffer), sender).await;
        assert_eq!(got.unwrap(), whole(2));
        let text = format!("{ours:?}");
        let address = ours.local_addr().unwrap().to_string();
        assert!(text.starts_with("UdpSocket") && text.contains(&address), "{text}");
    });
}

#[test]
fn whoever_watches_sees_whom_a_datagram_socket_waits_for() {
    within(30, || {
        let watcher = Rc::new(Watcher::default());
        let runtime = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        runtime.block_on(async {
            let (ours, _theirs, our_address, their_address) = udp().await;
            let mut buffer = [0; 8];
            assert!(poll_once(pin!(ours.recv(&mut buffer))).await.is_none());
            assert_eq!(watcher.labels.take(), [format!("UdpSocket at {our_address:?}")]);
            ours.connect(their_address).await.unwrap();
            assert!(poll_once(pin!(ours.recv(&mut buffer))).await.is_none());
            assert_eq!(watcher.labels.take(), [format!("UdpSocket to {their_address:?}")]);
        });
    });
}

// ------------------------------------------------------------------------------------- queues within the machine

/// Sends until the queue is full, and says how many that were.
fn fill(send: impl Fn() -> std::io::Result<usize>) -> usize {
    for count in 0.. {
        match send() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn a_connected_sender_waits_for_room() {
    run(async || {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let full = fill(|| ours.try_send(b"x"));
        assert!(full > 0);
        let mut waiting = pin!(ours.send(b"the last one"));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        let receiver = async {
            for _ in 0..full {
                assert_eq!(theirs.recv(&mut [0; 100]).await.unwrap(), whole(1));
            }
        };
        assert_eq!(zip(waiting, receiver).await.0.unwrap(), 12);
        assert_eq!(theirs.recv(&mut [0; 100]).await.unwrap(), whole(12));
    });
}

#[test]
fn a_sender_to_a_name_waits_for_room_that_others_have_taken() {
    // The kernel does not tell who is not connected when there is room, and calls his socket writable all the time: neither
    // may the wait be without end, nor a spin.
    run(async || {
        let folder = Folder::new();
        let path = folder.at("queue");
        let receiver = UnixDatagram::bind(&path).await.unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        let full = fill(|| filler.try_send_to(b"x", &path));
        assert!(full > 0);
        let sender = UnixDatagram::unbound().unwrap();
        assert_eq!(sender.try_send_to(b"waits", &path).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (waiting, polls) = polled(sender.send_to(b"waits", &path));
        let mut waiting = pin!(waiting);
        let start = Instant::now();
        timeout(Duration::from_millis(40), waiting.as_mut()).await.unwrap_err();
        let most = 10 + start.elapsed().as_millis() as usize / 16;
        assert!(polls.get() <= most, "a wait that is no wait: {} polls", polls.get());
        let drain = async {
            for _ in 0..full {
                assert_eq!(receiver.recv(&mut [0; 100]).await.unwrap(), whole(1));
            }
            receiver.recv(&mut [0; 100]).await.unwrap()
        };
        let (sent, last) = zip(waiting, drain).await;
        assert_eq!((sent.unwrap(), last), (5, whole(5)));
        // Given up, it has sent nothing.
        fill(|| filler.try_send_to(b"x", &path));
        timeout(Duration::from_millis(5), sender.send_to(b"never", &path)).await.unwrap_err();
        let mut left = 0;
        while let Ok(received) = receiver.try_recv(&mut [0; 100]) {
            assert_eq!(received, whole(1));
            left += 1;
        }
        assert_eq!(left, full);
        // And it hears when nobody is there any more.
        fill(|| filler.try_send_to(b"x", &path));
        let mut waiting = pin!(sender.send_to(b"nobody", &path));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        drop(receiver);
        assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

// ------------------------------------------------------------------------------------------------- other programs

/// Starts Python with a program, gives the number it prints first, and waits for its good end after `talk`.
fn python(program: &str, talk: impl FnOnce(u16)) {
    let child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return println!("skipped: no python3 here");
    };
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    talk(line.trim().parse().unwrap_or_else(|_| panic!("python said {line:?}")));
    assert!(child.wait().unwrap().success());
}

#[test]
fn python_answers() {
    within(60, || {
        let program = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30)
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
for n in range(50):
    data, peer = s.recvfrom(65536)
    assert data == bytes([n]) * (n * 1000), (n, len(data))
    s.sendto(data[::-1] + b'!', peer)
";
        python(program, |port| {
            runtime::block_on(async {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let to = (Ipv4Addr::LOCALHOST, port).into();
                let mut buffer = vec![0; 65_536];
                for n in 0..50 {
                    socket.send_to(&vec![n; usize::from(n) * 1000], to).await.unwrap();
                    let (received, from) = socket.recv_from(&mut buffer).await.unwrap();
                    assert_eq!((received, from), (whole(usize::from(n) * 1000 + 1), to));
                    assert_eq!(buffer[received.count - 1], b'!');
                }
            });
        });
    });
}

#[test]
fn many_datagrams_to_a_thread_that_blocks_keep_their_borders() {
    run(async || {
        let (ours, theirs) = unix_pair();
        let count: u16 = 5000;
        let receiver = thread::spawn(move || {
            let mut buffer = [0; 300];
            for n in 0..count {
                let size = theirs.recv(&mut buffer).unwrap();
                assert_eq!(size, usize::from(n % 256) + 2);
                assert_eq!(buffer[..2], n.to_ne_bytes());
            }
            // And back.
            for n in 0..count {
                buffer[..2].copy_from_slice(&n.to_ne_bytes());
                theirs.send(&buffer[..usize::from(n % 256) + 2]).unwrap();
            }
        });
        let mut buffer = [0; 300];
        for n in 0..count {
            buffer[..2].copy_from_slice(&n.to_ne_bytes());
            ours.send(&buffer[..usize::from(n % 256) + 2]).await.unwrap();
        }
        for n in 0..count {
            assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(usize::from(n % 256) + 2));
            assert_eq!(buffer[..2], n.to_ne_bytes());
        }
        receiver.join().unwrap();
    });
}

#[test]
fn a_poll_that_has_to_wait_is_pending_and_no_error() {
    run(async || {
        let (ours, theirs) = udp_pair().await;
        let mut buffer = [0; 8];
        poll_fn(|cx| {
            assert!(ours.poll_recv(cx, &mut buffer).is_pending());
            assert!(ours.poll_recv_from(cx, &mut buffer).is_pending());
            Poll::Ready(())
        })
        .await;
        theirs.send(b"abc").unwrap();
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), whole(3));
    });
}
