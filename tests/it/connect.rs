//! What becomes of a connection that is hard to make, to take, or to end?
//!
//! Who is tried when, among several addresses, is shown without a network in net/src/connect/tests.rs, and look-ups that give
//! no answer in net/src/resolve/tests.rs. Here the kernel is asked. What it has to be made to do, and where that is shown:
//!
//! | connecting                                   | test                                                              |
//! |----------------------------------------------|-------------------------------------------------------------------|
//! | refused                                      | `tcp::a_refused_connect_names_the_address_and_its_error`          |
//! | refused by the first, the second alive       | `an_address_that_refuses_makes_way_at_once`                       |
//! | unreachable, known at once                   | `an_address_without_a_way_to_it_fails_at_once`                    |
//! | unreachable, found out later                 | `a_host_that_is_not_there_is_told_once_the_network_has_found_out` |
//! | a black hole first, the second alive         | `a_black_hole_costs_the_delay_and_no_more`                        |
//! | backlog full; never reported early           | `tcp::a_connect_is_never_reported_early`                          |
//! | backlog full, later there is room            | `tcp::a_connect_that_was_put_off_succeeds_once_there_is_room`     |
//! | reset while connecting                       | `a_reset_while_connecting_is_told`                                |
//! | all fail                                     | `all_that_fail_are_told`                                          |
//! | dropped while connecting                     | `a_connect_that_is_dropped_closes_all_its_attempts`               |
//! | the loser of two                             | `the_loser_of_a_race_is_closed`                                   |
//! | the local address: set, in use, not ours, ..  | `a_connection_comes_from_the_address_that_was_set`, `a_local_address_that_cannot_be_used_is_told` |
//! | connected with itself                        | `a_socket_that_was_connected_with_itself_is_no_connection`        |
//! | options                                      | `options_are_set_on_the_socket_that_connects`                     |
//! | a signal in the midst of it                  | `a_connect_that_is_interrupted_goes_on`                           |
//! | a name server that says nothing              | `a_silent_name_server_holds_up_neither_its_caller_nor_the_exit`   |
//!
//! | accepting                                    | test                                                              |
//! |----------------------------------------------|-------------------------------------------------------------------|
//! | no descriptors: the error, and on again      | `an_accept_without_descriptors_says_so_and_then_takes_the_same_client` |
//! | no descriptors: `serve`                      | `serve::the_accept_loop_survives_being_out_of_descriptors`        |
//! | ECONNABORTED                                 | `a_connection_that_the_kernel_has_aborted_is_told_and_spoils_nothing` |
//! | a signal in the midst of it                  | `an_accept_that_is_interrupted_is_tried_again`                    |
//! | reset before it is accepted                  | `tcp::a_connection_that_was_reset_before_the_accept_does_not_spoil_the_listener` |
//!
//! | the end of the stream                        | test                                                              |
//! |----------------------------------------------|-------------------------------------------------------------------|
//! | before the read, with or without bytes       | `edges::a_short_read_does_not_hide_the_end_that_came_with_it`     |
//! | while reading                                | `edges::an_end_that_comes_after_a_short_read_is_seen`             |
//! | between report and read                      | `edges::an_end_between_the_report_and_the_short_read_is_seen`     |
//! | after the peer's half-close, writing goes on | `edges::the_end_of_one_direction_leaves_the_other_open`           |
//! | after our own half-close, reading goes on    | `tcp::a_shutdown_is_seen_by_the_peer_and_may_be_repeated`         |
//! | closed with unread bytes: a reset            | `a_close_with_unread_bytes_is_a_reset_for_the_peer`               |
//! | while only writing is waited for, half-close | `an_end_leaves_a_writer_waiting_that_has_no_room`                 |
//! | the same, close                              | `edges::a_hang_up_wakes_a_parked_reader_and_a_parked_writer`      |
//!
//! | a reset                                      | test                                                              |
//! |----------------------------------------------|-------------------------------------------------------------------|
//! | idle; with unread bytes; reading; writing    | `a_reset_is_told_in_every_state`                                  |
//! | both waited for                              | `edges::errors_and_hang_ups_alone_wake_both_directions`           |
//! | after the close                              | `tcp::writing_to_a_peer_that_is_gone_ends_in_an_error_by_every_way` |
//!
//! | closed and reused                            | test                                                              |
//! |----------------------------------------------|-------------------------------------------------------------------|
//! | a number that comes back                     | `edges::no_event_of_an_old_descriptor_reaches_a_new_one`          |
//! | under load, socket pairs                     | `edges::a_storm_of_opening_and_closing_under_load_confuses_nobody` |
//! | under load, connections                      | `connections_that_come_and_go_under_the_same_numbers_confuse_nobody` |
//!
//! Some of it takes rights or tools (a network of one's own, strace): where they are missing the test prints `skipped`.
//!
//! Comes from: main.rs. Goes to: net/src/connect.rs, tcp.rs, resolve.rs, serve.rs.

use std::any::type_name;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, zip};
use net::{ConnectErrors, ConnectOptions, Limits, ListenOptions, TcpListener, TcpStream, serve};
use runtime::{CancelToken, now, spawn, testing, timeout, yield_now};

use crate::support::counters::{CountingWaker, poll_with, polled};
use crate::support::process::{descriptors, limit_descriptors};
use crate::support::sockets::{fill_socket, net_tcp, reset, std_tcp};
use crate::support::{cancel_at_every_poll, in_child_process, run, within};

// ------------------------------------------------------------------------------------------------- connecting

#[test]
fn an_address_that_refuses_makes_way_at_once() {
    run(async || {
        let Ok((refusing, _held)) = refusing(ANY_6).await else { return skip("no IPv6") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // With this delay nothing but the refusal can bring the second one on.
        let options = ConnectOptions::new().attempt_delay(Duration::MAX);
        let stream = options.connect(vec![refusing, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    });
}

#[test]
fn an_address_without_a_way_to_it_fails_at_once() {
    run(async || {
        // To several, by TCP: there is none.
        let several = SocketAddr::from(([224, 0, 0, 1], 80));
        let (error, polls) = testing::polls(TcpStream::connect(several)).await;
        let error = error.unwrap_err();
        assert_eq!(polls, 1);
        assert!(error.to_string().contains("224.0.0.1:80: "), "{error}");
        if cfg!(target_os = "linux") {
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_host_that_is_not_there_is_told_once_the_network_has_found_out() {
    tell(in_child_process(|| {
        // A network of two hosts, of which the other one does not exist: nobody says whose its address is.
        let made = own_network()
            && ip("link add ground0 type veth peer name ground1")
            && ip("address add 10.99.0.1/24 dev ground0")
            && ip("link set ground0 up")
            && ip("link set ground1 up");
        if !made {
            return skip("no network of one's own to be had");
        }
        // Not the three seconds it takes by default.
        let _ = std::fs::write("/proc/sys/net/ipv4/neigh/ground0/retrans_time_ms", "20");
        runtime::block_on(async {
            let listener = TcpListener::bind("10.99.0.1:0").await.unwrap();
            let alive = listener.local_addr().unwrap();
            let gone = SocketAddr::from(([10, 99, 0, 2], 80));
            let (error, polls) = testing::polls(TcpStream::connect(gone)).await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::HostUnreachable);
            assert!(polls > 1, "it was waited for");
            let options = ConnectOptions::new().attempt_delay(Duration::MAX);
            let stream = options.connect(vec![gone, alive]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), alive);
            // And where no road leads.
            let error = TcpStream::connect("192.0.2.1:80").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        });
    }));
}

#[cfg(target_os = "linux")]
#[test]
fn a_black_hole_costs_the_delay_and_no_more() {
    within(60, || {
        for delay in [250, 10, 777].map(Duration::from_millis) {
            testing::run(async {
                let (hole, _full) = black_hole().await;
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let alive = listener.local_addr().unwrap();
                let start = now();
                let stream = match delay.as_millis() {
                    250 => TcpStream::connect(vec![hole, alive]).await, // what it is by default
                    _ => {
                        let options = ConnectOptions::new().attempt_delay(delay);
                        options.connect(vec![hole, alive]).await
                    }
                };
                assert_eq!(stream.unwrap().peer_addr().unwrap(), alive);
                assert_eq!(now() - start, delay);
            });
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_loser_of_a_race_is_closed() {
    in_child_process(|| {
        testing::run(async {
            let (hole, _full) = black_hole().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let alive = listener.local_addr().unwrap();
            let before = descriptors().unwrap();
            let stream = TcpStream::connect(vec![hole, hole, alive]).await.unwrap();
            assert_eq!(descriptors(), Some(before + 1), "the winner's alone");
            drop(stream);
            assert_eq!(descriptors(), Some(before));
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_is_dropped_closes_all_its_attempts() {
    in_child_process(|| {
        testing::run(async {
            let full = [black_hole().await, black_hole().await, black_hole().await];
            let holes: Vec<_> = full.iter().map(|(address, _)| *address).collect();
            let before = descriptors().unwrap();
            for (after, under_way) in [(0, 1), (249, 1), (251, 2), (999, 3)] {
                let mut connecting = Box::pin(TcpStream::connect(holes.clone()));
                let after = Duration::from_millis(after);
                assert!(timeout(after, connecting.as_mut()).await.is_err());
                assert_eq!(descriptors(), Some(before + under_way), "after {after:?}");
                drop(connecting);
                assert_eq!(descriptors(), Some(before), "after {after:?}");
            }
        });
        // And at whichever poll.
        runtime::block_on(async {
            let (refusing, _held) = refusing(ANY_4).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let alive = listener.local_addr().unwrap();
            let before = descriptors();
            let connect = async || {
                let stream = TcpStream::connect(vec![refusing, alive]).await.unwrap();
                reset(stream.into_std());
            };
            cancel_at_every_poll(connect, || assert_eq!(descriptors(), before)).await;
        });
    });
}

#[test]
fn all_that_fail_are_told() {
    run(async || {
        let (refusing, _held) = refusing(ANY_4).await.unwrap();
        let several = SocketAddr::from(([224, 0, 0, 1], 80));
        let error = TcpStream::connect(vec![several, refusing]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "the one that came furthest");
        let inner = error.get_ref().unwrap().downcast_ref::<ConnectErrors>().unwrap();
        let text = error.to_string();
        assert_eq!(inner.attempts().len(), 2);
        for ((address, error), expected) in inner.attempts().iter().zip([several, refusing]) {
            assert_eq!(*address, expected);
            assert!(error.raw_os_error().is_some(), "as the kernel gave it: {error:?}");
            assert!(text.contains(&format!("{address}: {error}")), "{text}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_reset_while_connecting_is_told() {
    run(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _first = fill_queue(&listener);
        let mut connecting = Box::pin(TcpStream::connect(address));
        assert!(poll_once(connecting.as_mut()).await.is_none());
        // There is room, the kernel's second attempt comes after a second, and is reset before we hear of it.
        drop(listener.accept().unwrap());
        reset(listener.accept().unwrap().0);
        let error = connecting.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_comes_from_the_address_that_was_set() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours = Ipv4Addr::new(127, 0, 0, 2);
        let options = ConnectOptions::new().local_address((ours, 0));
        let (accepted, stream) = zip(listener.accept(), options.connect(address)).await;
        let stream = stream.unwrap();
        let local = stream.local_addr().unwrap();
        assert_eq!((local.ip(), accepted.unwrap().1), (ours.into(), local));
        // Of a host's two families that one is left which it can reach; the port is the one that was set, too.
        let port = free_port();
        let options = ConnectOptions::new().local_address((ours, port));
        let stream = options.connect(vec!["[::1]:80".parse().unwrap(), address]).await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), (ours, port).into());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_local_address_with_port_0_uses_no_port_up_for_other_destinations() {
    tell(in_child_process(|| {
        // Of its own, so that it has a few ports and nobody else takes them.
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        if !own_network() || std::fs::write(range, "40000 40019").is_err() {
            return skip("no right to a network of one's own");
        }
        runtime::block_on(async {
            let (mut connected, mut listeners) = (Vec::new(), Vec::new());
            for last in 1..=10 {
                // Bound to a port that is not of the range, or there would be fewer.
                let at = SocketAddr::from(([127, 0, 1, last], 5000));
                let listener = TcpListener::bind(at).await.unwrap();
                for _ in 0..15 {
                    let options = ConnectOptions::new().local_address((Ipv4Addr::LOCALHOST, 0));
                    connected.push(options.connect(at).await.unwrap());
                }
                connected.push(TcpStream::connect(at).await.unwrap()); // without, it is the same
                listeners.push(listener);
            }
            let ours = |stream: &&TcpStream| {
                stream.local_addr().is_ok_and(|own| own.ip() == Ipv4Addr::LOCALHOST)
            };
            assert_eq!(connected.iter().filter(ours).count(), 160);
        });
    }));
}

#[cfg(target_os = "linux")]
#[test]
fn a_fixed_local_port_serves_several_destinations_and_attempts_and_lingers_for_none() {
    run(async || {
        let (one, other) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let [one_at, other_at] = [&one, &other].map(|it| it.local_addr().unwrap());
        let own = SocketAddr::from(([127, 0, 0, 3], free_port()));
        let options = ConnectOptions::new().local_address(own).timeout(Duration::from_secs(30));
        let first = options.connect(one_at).await.unwrap();
        let second = options.connect(other_at).await.unwrap();
        assert_eq!([&first, &second].map(|it| it.local_addr().unwrap()), [own; 2]);
        // The second attempt while the first one is under way.
        let (black_hole, held) = black_hole().await;
        drop(second);
        let accepted = other.accept().await.unwrap();
        drop(accepted);
        let third = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![black_hole, third.local_addr().unwrap()];
        let stream = options.connect(addresses).await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), own);
        drop(held);
        // A connection that this side has closed first lingers (TIME_WAIT), and the port is free all the same.
        drop((first, stream));
        let fourth = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let again = options.connect(fourth.local_addr().unwrap()).await.unwrap();
        assert_eq!(again.local_addr().unwrap(), own);
    });
}

#[test]
fn a_local_address_that_cannot_be_used_is_told() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let _holder = TcpListener::bind(taken).await.unwrap();
        let not_ours = SocketAddr::from(([192, 0, 2, 1], 0));
        let other_family = SocketAddr::from(([0; 16], 0));
        let cases = [
            (taken, ErrorKind::AddrInUse),
            (not_ours, ErrorKind::AddrNotAvailable),
            (other_family, ErrorKind::InvalidInput),
        ];
        for (local, kind) in cases {
            let options = ConnectOptions::new().local_address(local);
            let error = options.connect(listener.local_addr().unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&local.to_string()), "{error}");
        }
        assert!(listener.try_accept().is_err(), "nobody has come");
    });
}

#[test]
fn a_socket_that_was_connected_with_itself_is_no_connection() {
    run(async || {
        // What the kernel's choice of a port does now and then is asked for here. Whoever else on this machine takes the
        // port meanwhile spoils it, so it is tried again.
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let options = ConnectOptions::new().local_address(address);
            match options.connect(address).await {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                    return;
                }
                Ok(stream) => panic!("{stream:?}"),
            }
        }
    });
}

#[test]
fn options_are_set_on_the_socket_that_connects() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = TcpStream::connect(address).await.unwrap();
        let options = ConnectOptions::new()
            .nodelay(true)
            .keepalive(Duration::from_secs(77))
            .receive_buffer(20_000)
            .send_buffer(30_000);
        let stream = options.connect(address).await.unwrap();
        assert_eq!((plain.nodelay().unwrap(), stream.nodelay().unwrap()), (false, true));
        assert_eq!(option(&plain, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
        assert_ne!(option(&stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
        if cfg!(target_os = "linux") {
            assert_eq!(option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 77);
            // What the kernel would refuse: less than a second, and more than it can count.
            for (asked, kept) in [(Duration::from_millis(500), 1), (Duration::MAX, 32_767)] {
                stream.set_keepalive(Some(asked)).unwrap();
                assert_eq!(option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), kept);
                options.clone().keepalive(asked).connect(address).await.unwrap();
            }
            // Doubled, as it says.
            assert_eq!(option(&stream, libc::SOL_SOCKET, libc::SO_RCVBUF), 40_000);
            assert_eq!(option(&stream, libc::SOL_SOCKET, libc::SO_SNDBUF), 60_000);
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_is_interrupted_goes_on() {
    with_failing("connect:error=EINTR:when=1+2", || {
        runtime::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..5 {
                TcpStream::connect(address).await.unwrap();
            }
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_silent_name_server_holds_up_neither_its_caller_nor_the_exit() {
    let start = Instant::now();
    let text = in_child_process(|| {
        // A machine whose only name server takes every question and answers none; for half a minute it would be waited for.
        let file = std::env::temp_dir().join(format!("ground-up-{}.conf", std::process::id()));
        std::fs::write(&file, "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n").unwrap();
        let made = own_network() && own_files() && bind_mount(&file, "/etc/resolv.conf");
        if !made {
            let _ = std::fs::remove_file(&file);
            return skip("no network, or no files, of one's own to be had");
        }
        let server = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        runtime::block_on(async {
            let mut looking = Box::pin(net::resolve("silent.test:80"));
            assert!(timeout(Duration::from_millis(50), looking.as_mut()).await.is_err());
            let asked = server.recv(&mut [0; 512]).is_ok();
            drop(looking);
            let connecting = TcpStream::connect("silent.test:80");
            assert!(timeout(Duration::from_millis(50), connecting).await.is_err());
            // What is known without it goes on.
            assert!(net::resolve("127.0.0.1:80").await.is_ok());
            if !asked {
                skip("this machine's resolver asks somebody else");
            }
        });
        std::fs::remove_file(&file).unwrap();
    });
    assert!(
        start.elapsed() < Duration::from_secs(25),
        "the exit has waited: {:?}",
        start.elapsed()
    );
    tell(text);
}

// -------------------------------------------------------------------------------------------------- accepting

#[test]
fn an_accept_without_descriptors_says_so_and_then_takes_the_same_client() {
    in_child_process(|| {
        limit_descriptors(64);
        runtime::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let held: Vec<_> =
                std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            for _ in 0..3 {
                let error = listener.accept().await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
            }
            let error = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap_err();
            assert!(error.to_string().contains("os error 24"), "a connect says so, too: {error}");
            drop(held);
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_the_kernel_has_aborted_is_told_and_spoils_nothing() {
    with_failing("accept4:error=ECONNABORTED:when=1+2", || {
        let (accepted, failed) = accept_and_serve();
        // Every second one.
        assert!(accepted.iter().step_by(2).all(|result| *result == Err(libc::ECONNABORTED)));
        assert!(accepted.iter().skip(1).step_by(2).all(Result::is_ok));
        assert!(failed >= 5, "{failed} have failed");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_accept_that_is_interrupted_is_tried_again() {
    with_failing("accept4:error=EINTR:when=1+2", || {
        let (accepted, failed) = accept_and_serve();
        assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
        // The last look at a shutdown is one try, no wait: what interrupts it is counted, and costs nobody anything.
        assert!(failed == 0, "{failed} have failed");
    });
}

/// Accepts five clients, one by one, then has `serve` take five more. Gives what each accept gave (the error's number), and how
/// many connections `serve` says have failed.
fn accept_and_serve() -> (Vec<Result<(), i32>>, u64) {
    runtime::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let five = || (0..5).map(|_| std::net::TcpStream::connect(address).unwrap());
        let clients: Vec<_> = five().collect();
        let mut results = Vec::new();
        while results.iter().filter(|result: &&Result<_, _>| result.is_ok()).count() < clients.len()
        {
            let accepted = listener.accept().await.map(drop);
            results.push(accepted.map_err(|error| error.raw_os_error().unwrap()));
        }
        let stop = CancelToken::new();
        let limits = Limits::new().shutdown(stop.clone());
        let server = spawn(serve(listener, limits, async |stream: TcpStream, _| {
            stream.write_all(b"x").await.unwrap();
        }));
        let mut clients: Vec<_> = five().collect();
        let clients = runtime::unblock(move || {
            for client in &mut clients {
                client.read_exact(&mut [0; 1]).unwrap();
            }
        });
        clients.await.unwrap();
        stop.cancel();
        let served = server.await.unwrap().unwrap();
        assert_eq!(served.accepted, 5);
        (results, served.failed)
    })
}

// ---------------------------------------------------------------------------------------------- ends and resets

#[test]
fn a_close_with_unread_bytes_is_a_reset_for_the_peer() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        peer.write_all(b"nobody reads this").unwrap();
        stream.readable().await.unwrap();
        drop(stream);
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        // Also if some of them were read; and all read, it is an end.
        for (read, is_reset) in [(3, true), (6, false)] {
            let (stream, mut peer) = net_tcp();
            peer.write_all(b"abcdef").unwrap();
            stream.read_exact(&mut vec![0; read]).await.unwrap();
            drop(stream);
            assert_eq!(peer.read(&mut [0; 8]).is_err(), is_reset, "{read} read");
        }
    });
}

#[test]
fn an_end_leaves_a_writer_waiting_that_has_no_room() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        let mut sent = fill_for_good(&stream).await;
        {
            let (writing, polls) = polled(stream.write(b"x"));
            let mut writing = pin!(writing);
            assert!(poll_once(writing.as_mut()).await.is_none());
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            for _ in 0..10 {
                assert!(timeout(Duration::from_millis(1), writing.as_mut()).await.is_err());
            }
            assert!(polls.get() < 30, "the end is no room: polled {} times", polls.get());
            let drain = thread::spawn(move || {
                peer.read_exact(&mut vec![0; sent]).unwrap();
                peer
            });
            sent = writing.await.unwrap();
            peer = drain.join().unwrap();
        }
        assert_eq!(sent, 1);
        peer.read_exact(&mut [0; 1]).unwrap();
        // And it is told to who asks.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_reset_is_told_in_every_state() {
    fn is_reset<T>(result: io::Result<T>) -> bool {
        result.err().is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }
    run(async || {
        // Idle: to who comes first, reader or writer; what comes after that does not wait.
        for read_first in [true, false] {
            let (stream, peer) = net_tcp();
            reset(peer);
            turns().await;
            if read_first {
                assert!(is_reset(stream.read(&mut [0; 8]).await));
            } else {
                assert!(is_reset(stream.write(b"x").await));
            }
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
        // With unread bytes: those may be had or not, the reset is told.
        let (stream, mut peer) = net_tcp();
        peer.write_all(b"abc").unwrap();
        turns().await;
        reset(peer);
        let first = stream.read(&mut [0; 8]).await;
        assert!(matches!(first, Ok(3)) || is_reset(first));
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        // Waiting to read.
        let (stream, peer) = net_tcp();
        let mut buffer = [0; 8];
        let resetter = async {
            turns().await;
            reset(peer);
        };
        assert!(is_reset(zip(stream.read(&mut buffer), resetter).await.0));
        // Waiting to write.
        let (stream, peer) = net_tcp();
        fill_for_good(&stream).await;
        let resetter = async {
            turns().await;
            reset(peer);
        };
        assert!(is_reset(zip(stream.write(b"x"), resetter).await.0));
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn connections_that_come_and_go_under_the_same_numbers_confuse_nobody() {
    const ROUNDS: u32 = 2000;
    run(async || {
        // Some only wait: nothing may wake them until something is theirs.
        let (counts, waker) = CountingWaker::new();
        let idle: Vec<_> = (0..10).map(|_| net_tcp()).collect();
        let mut buffers = vec![[0; 8]; idle.len()];
        let mut waiting: Vec<_> = idle
            .iter()
            .zip(&mut buffers)
            .map(|((stream, _), buffer)| Box::pin(stream.read(buffer)))
            .collect();
        for wait in &mut waiting {
            assert!(poll_with(wait, &waker).is_pending());
        }
        // Some are busy all the while, each with bytes that are its own.
        let done = CancelToken::new();
        let busy: Vec<_> = (0..10u8)
            .map(|me| {
                let (left, right) = std_tcp();
                let (left, right) =
                    (TcpStream::from_std(left).unwrap(), TcpStream::from_std(right).unwrap());
                let echo = spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = left.read(&mut buffer).await {
                        assert!(buffer[..count].iter().all(|byte| *byte == me));
                        left.write_all(&buffer[..count]).await.unwrap();
                    }
                });
                let done = done.clone();
                let client = spawn(async move {
                    while !done.is_cancelled() {
                        right.write_all(&[me; 40]).await.unwrap();
                        let mut answer = [0; 40];
                        right.read_exact(&mut answer).await.unwrap();
                        assert_eq!(answer, [me; 40]);
                    }
                });
                (client, echo)
            })
            .collect();
        // And the storm. All are reset in the end: connections that linger would use the machine's ports up.
        let mut numbers = HashMap::new();
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        for round in 0..ROUNDS {
            let (accepted, connected) = zip(listener.accept(), TcpStream::connect(address)).await;
            let (accepted, connected) = (accepted.unwrap().0, connected.unwrap());
            *numbers.entry(connected.as_fd().as_raw_fd()).or_insert(0) += 1;
            connected.write_all(&round.to_ne_bytes()).await.unwrap();
            match round % 4 {
                0 => {} // closed with bytes, and their event, on the way
                1 => {
                    // Closed while it is being read.
                    let mut buffer = [0; 8];
                    accepted.read_exact(&mut buffer[..4]).await.unwrap();
                    assert!(poll_once(pin!(accepted.read(&mut buffer))).await.is_none());
                }
                2 => {
                    // The peer's reset is on the way.
                    reset(accepted.into_std());
                    continue;
                }
                _ => {
                    let mut number = [0; 4];
                    accepted.read_exact(&mut number).await.unwrap();
                    assert_eq!(u32::from_ne_bytes(number), round);
                }
            }
            reset(connected.into_std());
        }
        done.cancel();
        for (client, echo) in busy {
            client.await.unwrap();
            echo.await.unwrap();
        }
        assert!(
            numbers.len() < 100,
            "it is about numbers that come back: {} of them",
            numbers.len()
        );
        assert_eq!(counts.wakes(), 0, "woken by what was not theirs");
        drop(waiting);
        for (stream, mut peer) in idle {
            peer.write_all(b"at last").unwrap();
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 7);
        }
    });
}

// ------------------------------------------------------------------------------------------------------- props

/// Some turns of the loop, so that reports that are there are taken.
async fn turns() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// An address where nobody listens, and what sees to it that nobody will: the port is that of a connection. Its socket was
/// bound, so the kernel gives the port to no other connect either (which could meet itself there, see above).
async fn refusing(any: SocketAddr) -> io::Result<(SocketAddr, impl Sized)> {
    let listener = TcpListener::bind(any).await?;
    let port = std::net::TcpListener::bind(any)?.local_addr()?.port();
    let options = ConnectOptions::new().local_address((any.ip(), port));
    let held = options.connect(listener.local_addr()?).await?;
    Ok((held.local_addr()?, (held, listener)))
}

const ANY_4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const ANY_6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Leaves a listener's queue no room: who comes now is dropped without a word, and tries again after a second.
#[cfg(target_os = "linux")]
fn fill_queue(listener: &std::net::TcpListener) -> std::net::TcpStream {
    // SAFETY: no pointers; a socket that listens may be told another backlog.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

/// An address that answers nothing, as long as what comes with it is held.
#[cfg(target_os = "linux")]
async fn black_hole() -> (SocketAddr, impl Sized) {
    let listener = ListenOptions::new().backlog(0).listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let first = std::net::TcpStream::connect(address).unwrap();
    (address, (listener, first))
}

/// Writes until there is no room, nor will be: the kernel moves bytes from one end's buffer to the other's in its own time.
/// Gives how many.
async fn fill_for_good(stream: &TcpStream) -> usize {
    let mut sent = 0;
    loop {
        let more = fill_socket(stream.as_socket());
        if more == 0 {
            return sent;
        }
        sent += more;
        turns().await;
    }
}

/// A socket's option that is a number.
fn option(socket: &impl AsFd, level: i32, name: i32) -> i32 {
    let (mut value, mut length) = (0, size_of::<i32>() as libc::socklen_t);
    // SAFETY: both are ours, live through the call, and the length is that of the value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    value
}

fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Prints what a child process says about what it has left out.
fn tell(text: String) {
    text.lines().filter(|line| line.starts_with("skipped")).for_each(|line| println!("{line}"));
}

/// Puts this thread, and those that it starts, into a network where there is nothing but itself.
#[cfg(target_os = "linux")]
fn own_network() -> bool {
    // SAFETY: no pointers. It concerns this thread alone.
    (unsafe { libc::unshare(libc::CLONE_NEWNET) }) == 0 && ip("link set lo up")
}

/// Lets what this thread mounts be seen by nobody else.
#[cfg(target_os = "linux")]
fn own_files() -> bool {
    // SAFETY: no pointers. It concerns this thread alone.
    (unsafe { libc::unshare(libc::CLONE_NEWNS) }) == 0
        && succeeds("mount", &["--make-rprivate", "/"])
}

#[cfg(target_os = "linux")]
fn bind_mount(file: &std::path::Path, over: &str) -> bool {
    file.to_str().is_some_and(|file| succeeds("mount", &["--bind", file, over]))
}

#[cfg(target_os = "linux")]
fn ip(arguments: &str) -> bool {
    succeeds("ip", &arguments.split(' ').collect::<Vec<_>>())
}

#[cfg(target_os = "linux")]
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Plays `scene` in a process of its own in which strace has system calls fail, as its `-e inject=` says.
#[cfg(target_os = "linux")]
fn with_failing<S: FnOnce() + Send + 'static>(calls: &str, scene: S) {
    const VARIABLE: &str = "GROUND_FAILING_TEST";
    // As in `support`: a scene is a closure in a test, so its type's name begins with the test's.
    let path = type_name::<S>();
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    let name = path.split("::{{").next().unwrap_or(path);
    if std::env::var(VARIABLE).is_ok_and(|test| test == name) {
        within(60, scene);
        std::process::exit(0);
    }
    if !succeeds("strace", &["-o/dev/null", "true"]) {
        return skip("no strace, or it may not trace here");
    }
    let (call, _) = calls.split_once(':').unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={calls}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", output.status);
}
