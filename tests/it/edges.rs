//! Is any readiness lost, any event given to the wrong one, when the kernel reports each change only once?
//!
//! Edge-triggered readiness is remembered by the runtime, so every way in which memory and truth can part is tried here:
//! data and end in one report, data between would-block and park, short counts that do not mean "empty", several who wait
//! for one direction, descriptors that are closed and come back under the same number.
//!
//! Comes from: main.rs. Goes to: reactor.rs, async_socket.rs, sys of the runtime.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::zip;
use runtime::{AsyncSocket, Kind, spawn, timeout, yield_now};

use crate::support::counters::{
    Counter, CountingWaker, acting_waker, poll_with, polled, until_async,
};
use crate::support::sockets::{async_pair, fill, fill_socket, net_tcp, pair, reset, tcp};
use crate::support::{in_child_process, run, within};

/// Some turns of the loop, so that reports that are there are taken.
async fn turns() {
    for _ in 0..200 {
        yield_now().await;
    }
}

#[test]
fn a_short_read_does_not_hide_the_end_that_came_with_it() {
    run(async || {
        // Data and FIN are there before the first read, in one report.
        for wait_first in [false, true] {
            let (socket, mut peer) = tcp();
            let reader = async {
                let mut buffer = [0; 64];
                let data = socket.recv(&mut buffer).await.unwrap();
                let end = socket.recv(&mut buffer).await.unwrap();
                let still = socket.recv(&mut buffer).await.unwrap();
                (data, end, still)
            };
            if wait_first {
                let writer = async {
                    yield_now().await;
                    peer.write_all(b"abc").unwrap();
                    drop(peer);
                };
                assert_eq!(zip(reader, writer).await.0, (3, 0, 0));
            } else {
                peer.write_all(b"abc").unwrap();
                drop(peer);
                turns().await;
                assert_eq!(reader.await, (3, 0, 0));
            }
        }
    });
}

#[test]
fn an_end_that_comes_after_a_short_read_is_seen() {
    run(async || {
        for half in [false, true] {
            let (socket, mut peer) = tcp();
            peer.write_all(b"abc").unwrap();
            let mut buffer = [0; 64];
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 3);
            let closer = async {
                turns().await;
                peer.shutdown(Shutdown::Write).unwrap();
                half.then_some(peer) // else it is closed
            };
            let (end, _peer) = zip(socket.recv(&mut buffer), closer).await;
            assert_eq!(end.unwrap(), 0);
        }
    });
}

#[test]
fn an_end_between_the_report_and_the_short_read_is_seen() {
    run(async || {
        for _ in 0..100 {
            let (socket, mut peer) = tcp();
            peer.write_all(b"abc").unwrap();
            turns().await; // the report says data alone
            drop(peer);
            let mut buffer = [0; 64];
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 3);
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 0);
        }
    });
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    run(async || {
        let (socket, mut peer) = tcp();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 0);
        for _ in 0..10 {
            assert_eq!(socket.send(b"abc").await.unwrap(), 3);
            let mut buffer = [0; 3];
            peer.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"abc");
        }
        // Until its buffers are full and drained again, too.
        let sent = fill_socket(&socket);
        let reader = thread::spawn(move || {
            let mut total = 0;
            let mut buffer = vec![0; 1 << 16];
            while total < sent + 1 {
                total += peer.read(&mut buffer).unwrap();
            }
            peer
        });
        assert_eq!(socket.send(b"x").await.unwrap(), 1);
        reader.join().unwrap();
    });
}

#[test]
fn errors_and_hang_ups_alone_wake_both_directions() {
    run(async || {
        // Parked on both, nothing to read, no room to write; then the peer resets.
        let (socket, peer) = tcp();
        fill_socket(&socket);
        let mut buffer = [0; 8];
        let both = zip(socket.recv(&mut buffer), socket.send(b"x"));
        let resetter = async {
            turns().await;
            reset(peer);
        };
        let ((read, written), ()) = zip(both, resetter).await;
        // The kernel tells the error to whoever asks first; the other sees the end it left.
        assert!(read.is_err() || written.is_err());
        for result in [read, written] {
            match result {
                Ok(count) => assert_eq!(count, 0),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                    "{error}"
                ),
            }
        }
        // And none of it is waited for again.
        assert!(matches!(socket.recv(&mut [0; 8]).await, Ok(0) | Err(_)));
        assert!(socket.send(b"x").await.is_err());
    });
}

#[test]
fn a_hang_up_wakes_a_parked_reader_and_a_parked_writer() {
    run(async || {
        let (socket, peer) = pair();
        fill_socket(&socket);
        let mut buffer = [0; 8];
        let both = zip(socket.recv(&mut buffer), socket.send(b"x"));
        let closer = async {
            turns().await;
            drop(peer);
        };
        let ((read, written), ()) = zip(both, closer).await;
        assert!(matches!(read, Ok(0) | Err(_)));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn writing_to_a_closed_peer_is_an_error_and_no_signal() {
    run(async || {
        let (socket, peer) = async_pair();
        drop(peer);
        let error = socket.send(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_refused_datagram_wakes_a_parked_reader_and_leaves_the_socket_usable() {
    run(async || {
        // An error report without anything to read: the answer of a closed port.
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = dead.local_addr().unwrap();
        drop(dead);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        let socket = AsyncSocket::new(socket).unwrap();
        let mut buffer = [0; 8];
        let sender = async {
            turns().await;
            socket.send(b"x").await.unwrap();
        };
        let (error, ()) = zip(socket.recv(&mut buffer), sender).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let late = timeout(Duration::from_millis(5), socket.recv(&mut [0; 8])).await;
        assert!(late.is_err(), "the error is given once, not for ever");
        let alive = UdpSocket::bind(address).unwrap();
        alive.send_to(b"back", socket.get_ref().local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 4);
    });
}

#[test]
fn no_readiness_is_lost_with_edge_triggering() {
    // One byte at a time from a thread that writes in its own rhythm: reads meet every state there is.
    const BYTES: usize = 100_000;
    within(120, || {
        runtime::block_on(async {
            let (socket, mut peer) = tcp();
            let writer = thread::spawn(move || {
                for n in 0..BYTES {
                    peer.write_all(&[n as u8]).unwrap();
                }
            });
            let mut byte = [0; 1];
            for n in 0..BYTES {
                assert_eq!(socket.recv(&mut byte).await.unwrap(), 1);
                assert_eq!(byte[0], n as u8);
            }
            assert_eq!(socket.recv(&mut byte).await.unwrap(), 0);
            writer.join().unwrap();
        });
    });
}

#[test]
fn reads_of_all_sizes_against_writes_of_all_sizes_lose_nothing() {
    within(120, || {
        runtime::block_on(async {
            let (socket, mut peer) = tcp();
            let total: usize = (0..5_000).map(|n| n * 31 % 257 + 1).sum();
            let writer = thread::spawn(move || {
                let mut sent = 0;
                for n in 0..5_000 {
                    let bytes: Vec<u8> = (0..n * 31 % 257 + 1).map(|i| (sent + i) as u8).collect();
                    peer.write_all(&bytes).unwrap();
                    sent += bytes.len();
                    if n % 7 == 0 {
                        thread::yield_now();
                    }
                }
            });
            let mut received = 0;
            let mut size = 1;
            while received < total {
                size = size * 7 % 509 + 1;
                let mut buffer = vec![0; size];
                let count = socket.recv(&mut buffer).await.unwrap();
                assert!(count > 0);
                for byte in &buffer[..count] {
                    assert_eq!(*byte, received as u8);
                    received += 1;
                }
            }
            assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 0);
            writer.join().unwrap();
        });
    });
}

#[test]
fn data_that_comes_between_would_block_and_the_park_is_seen() {
    run(async || {
        for _ in 0..1000 {
            let (socket, peer) = pair();
            // The operation itself is where it comes: after its own try has failed, before it is parked.
            let mut late = Some(peer);
            let read = socket.read_with(|mut io| match io.read(&mut [0; 8]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if let Some(mut peer) = late.take() {
                        peer.write_all(b"abc").unwrap();
                    }
                    Err(error)
                }
                result => result,
            });
            assert_eq!(read.await.unwrap(), 3);
        }
    });
}

#[test]
fn reads_of_exactly_what_is_there_do_not_wait_for_more() {
    run(async || {
        let (socket, mut peer) = tcp();
        for round in 1..200 {
            let bytes = vec![7; round];
            peer.write_all(&bytes).unwrap();
            let mut buffer = vec![0; round];
            let mut read = 0;
            while read < round {
                read += socket.recv(&mut buffer[read..]).await.unwrap();
            }
        }
        // Nothing is left: the next one waits, and is woken.
        let mut buffer = [0; 8];
        let writer = async {
            turns().await;
            peer.write_all(b"x").unwrap();
        };
        let (count, ()) = zip(socket.recv(&mut buffer), writer).await;
        assert_eq!(count.unwrap(), 1);
    });
}

#[test]
fn an_empty_buffer_reads_nothing_and_spoils_nothing() {
    run(async || {
        let (socket, mut peer) = tcp();
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.recv(&mut []).await.unwrap(), 0);
        assert_eq!(socket.send(&[]).await.unwrap(), 0);
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3);
        let late = timeout(Duration::from_millis(5), socket.recv(&mut [0; 8])).await;
        assert!(late.is_err(), "an empty read is no end");
    });
}

#[test]
fn a_full_socket_is_written_again_as_soon_as_its_reader_drains_it() {
    run(async || {
        let (socket, mut peer) = tcp();
        for _ in 0..20 {
            let sent = fill_socket(&socket);
            let drain = thread::spawn(move || {
                let mut left = sent + 1;
                let mut buffer = vec![0; 1 << 16];
                while left > 0 {
                    left -= peer.read(&mut buffer).unwrap();
                }
                peer
            });
            assert_eq!(socket.send(b"x").await.unwrap(), 1);
            peer = drain.join().unwrap();
        }
    });
}

#[test]
fn ten_megabytes_pass_through_a_socket_both_ways_at_once() {
    within(120, || {
        runtime::block_on(async {
            const TOTAL: usize = 10 << 20;
            let (socket, peer) = tcp();
            let (mut reading, mut writing) = (peer.try_clone().unwrap(), peer);
            let writer = thread::spawn(move || {
                let bytes: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
                writing.write_all(&bytes).unwrap();
            });
            let reader = thread::spawn(move || {
                let mut bytes = vec![0; TOTAL];
                reading.read_exact(&mut bytes).unwrap();
                assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == (n % 253) as u8));
            });
            let send = async {
                let bytes: Vec<u8> = (0..TOTAL).map(|n| (n % 253) as u8).collect();
                let mut sent = 0;
                while sent < TOTAL {
                    sent += socket.send(&bytes[sent..]).await.unwrap();
                }
            };
            let receive = async {
                let (mut received, mut buffer) = (0, vec![0; 40_000]);
                while received < TOTAL {
                    let count = socket.recv(&mut buffer).await.unwrap();
                    for byte in &buffer[..count] {
                        assert_eq!(*byte, (received % 251) as u8);
                        received += 1;
                    }
                }
            };
            zip(send, receive).await;
            writer.join().unwrap();
            reader.join().unwrap();
        });
    });
}

#[test]
fn all_who_wait_for_one_direction_are_served() {
    run(async || {
        let (socket, mut peer) = pair();
        let socket = Rc::new(socket);
        let served = Counter::new();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (socket, served) = (Rc::clone(&socket), served.clone());
                spawn(async move {
                    assert_eq!(socket.recv(&mut [0; 1]).await.unwrap(), 1);
                    served.up();
                })
            })
            .collect();
        turns().await;
        // All at once, then one by one.
        peer.write_all(&[7; 4]).unwrap();
        until_async(|| served.get() == 4).await;
        for n in 5..=10 {
            peer.write_all(b"x").unwrap();
            until_async(|| served.get() == n).await;
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn all_who_wait_for_one_direction_see_its_end() {
    run(async || {
        let (socket, peer) = pair();
        let socket = Rc::new(socket);
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let socket = Rc::clone(&socket);
                spawn(async move { socket.recv(&mut [0; 8]).await.unwrap() })
            })
            .collect();
        turns().await;
        drop(peer);
        for task in tasks {
            assert_eq!(task.await.unwrap(), 0);
        }
    });
}

#[test]
fn a_wait_that_is_cancelled_does_not_take_the_others_wake_with_it() {
    run(async || {
        for cancelled in 0..3 {
            let (socket, mut peer) = pair();
            let socket = Rc::new(socket);
            let mut tasks: Vec<_> = (0..3)
                .map(|_| {
                    let socket = Rc::clone(&socket);
                    spawn(async move { socket.recv(&mut [0; 1]).await.unwrap() })
                })
                .collect();
            turns().await;
            // Woken, and dropped before it has run.
            peer.write_all(b"ab").unwrap();
            tasks.swap_remove(cancelled).abort();
            for task in tasks {
                assert_eq!(task.await.unwrap(), 1);
            }
        }
        for cancelled in 0..3 {
            let (socket, mut peer) = pair();
            let (counts, waker) = CountingWaker::new();
            let mut waits: Vec<_> =
                (0..3).map(|_| Box::pin(socket.read_with(|mut io| io.read(&mut [0; 1])))).collect();
            for wait in &mut waits {
                assert!(poll_with(wait, &waker).is_pending());
            }
            drop(waits.swap_remove(cancelled));
            peer.write_all(b"ab").unwrap();
            until_async(|| counts.wakes() == 2).await;
            for wait in &mut waits {
                assert!(poll_with(wait, &waker).is_ready());
            }
        }
    });
}

#[test]
fn a_cancelled_wait_leaves_no_waker_behind_once_another_waits() {
    run(async || {
        let (socket, _peer) = pair();
        let (counts, waker) = CountingWaker::new();
        for _ in 0..100 {
            let mut wait = Box::pin(socket.read_with(|mut io| io.read(&mut [0; 1])));
            assert!(poll_with(&mut wait, &waker).is_pending());
            let mut behind = Box::pin(socket.read_with(|mut io| io.read(&mut [0; 1])));
            assert!(poll_with(&mut behind, &waker).is_pending());
        }
        assert!(std::sync::Arc::strong_count(&counts) <= 3, "the socket keeps one at most");
        drop(socket);
        assert_eq!(std::sync::Arc::strong_count(&counts), 2);
    });
}

#[test]
fn polls_by_trait_and_by_future_may_be_mixed() {
    run(async || {
        let (socket, mut peer) = pair();
        let socket = Rc::new(socket);
        let served = Counter::new();
        let by_future = {
            let (socket, served) = (Rc::clone(&socket), served.clone());
            spawn(async move {
                socket.recv(&mut [0; 1]).await.unwrap();
                served.up();
            })
        };
        let by_poll = {
            let (socket, served) = (Rc::clone(&socket), served.clone());
            spawn(async move {
                std::future::poll_fn(|cx| socket.poll_read_with(cx, |mut io| io.read(&mut [0; 1])))
                    .await
                    .unwrap();
                served.up();
            })
        };
        let behind = {
            let (socket, served) = (Rc::clone(&socket), served.clone());
            spawn(async move {
                socket.recv(&mut [0; 1]).await.unwrap();
                served.up();
            })
        };
        turns().await;
        for n in 1..=3 {
            peer.write_all(b"x").unwrap();
            until_async(|| served.get() == n).await;
        }
        for task in [by_future, by_poll, behind] {
            task.await.unwrap();
        }
    });
}

#[test]
fn two_tasks_that_poll_one_direction_by_turns_both_come_to_their_end() {
    run(async || {
        let (socket, mut peer) = pair();
        let socket = Rc::new(socket);
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let socket = Rc::clone(&socket);
                spawn(async move {
                    let poll = |cx: &mut Context<'_>| {
                        socket.poll_read_with(cx, |mut io| io.read(&mut [0; 1]))
                    };
                    std::future::poll_fn(poll).await.unwrap()
                })
            })
            .collect();
        turns().await;
        peer.write_all(b"ab").unwrap();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 1);
        }
    });
}

#[test]
fn no_event_of_an_old_descriptor_reaches_a_new_one() {
    run(async || {
        // Numbers come back at once: what is closed with unread events is followed by one with none.
        let mut reused = 0;
        for _ in 0..500 {
            let (old, mut old_peer) = pair();
            let number = old.as_fd().as_raw_fd();
            old_peer.write_all(b"for the old one").unwrap();
            drop(old);
            let (new, mut new_peer) = pair();
            reused += usize::from(new.as_fd().as_raw_fd() == number);
            let (waiting, polls) = polled(async { new.recv(&mut [0; 8]).await.unwrap() });
            let mut waiting = pin!(waiting);
            assert!(futures_lite::future::poll_once(waiting.as_mut()).await.is_none());
            turns().await;
            new_peer.write_all(b"abc").unwrap();
            assert_eq!(waiting.await, 3);
            assert!(polls.get() <= 3);
            drop(old_peer);
        }
        assert!(reused > 400, "the test is about numbers that come back: {reused}");
    });
}

#[test]
fn a_storm_of_opening_and_closing_under_load_confuses_nobody() {
    run(async || {
        let steady: Vec<_> = (0..10)
            .map(|me| {
                let (socket, peer) = async_pair();
                let echo = spawn(async move {
                    let mut byte = [0; 1];
                    while socket.recv(&mut byte).await.unwrap() > 0 {
                        socket.send(&byte).await.unwrap();
                    }
                });
                let client = spawn(async move {
                    let mut byte = [me; 1];
                    for _ in 0..500 {
                        peer.send(&[me]).await.unwrap();
                        assert_eq!(peer.recv(&mut byte).await.unwrap(), 1);
                        assert_eq!(byte[0], me);
                    }
                });
                (echo, client)
            })
            .collect();
        let storm = spawn(async {
            for n in 0..2000u32 {
                let (socket, mut peer) = pair();
                peer.write_all(&n.to_ne_bytes()).unwrap();
                if n % 3 == 0 {
                    continue; // closed with its event on the way
                }
                let mut bytes = [0; 4];
                assert_eq!(socket.recv(&mut bytes).await.unwrap(), 4);
                assert_eq!(u32::from_ne_bytes(bytes), n);
            }
        });
        for (echo, client) in steady {
            client.await.unwrap();
            echo.await.unwrap();
        }
        storm.await.unwrap();
    });
}

#[test]
fn a_duplicate_that_outlives_its_socket_disturbs_nobody() {
    run(async || {
        // By `new`, which asks nothing of its owner, and by net, whose stream promises that there is no duplicate.
        let (socket, mut peer) = tcp();
        let duplicate = socket.get_ref().try_clone().unwrap();
        drop(socket);
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (accepted, connected) =
            zip(listener.accept(), net::TcpStream::connect(listener.local_addr().unwrap())).await;
        let (stream, connected) = (accepted.unwrap().0, connected.unwrap());
        let other_duplicate = stream.as_fd().try_clone_to_owned().unwrap();
        drop(stream);
        // Takes the place that has just become free.
        let (new, mut new_peer) = tcp();
        let (counts, waker) = CountingWaker::new();
        let mut waiting = Box::pin(new.read_with(|mut io| io.read(&mut [0; 8])));
        assert!(poll_with(&mut waiting, &waker).is_pending());
        for _ in 0..10 {
            peer.write_all(b"x").unwrap();
            connected.write_all(b"x").await.unwrap();
            turns().await;
        }
        assert_eq!(counts.wakes(), 0, "what comes for the old one is not for the new one");
        new_peer.write_all(b"abc").unwrap();
        assert_eq!(waiting.await.unwrap(), 3);
        // The duplicates are sockets like any other.
        let again = AsyncSocket::new(duplicate).unwrap();
        assert!(again.recv(&mut [0; 64]).await.unwrap() > 0);
        let again = AsyncSocket::new(TcpStream::from(other_duplicate)).unwrap();
        assert!(again.recv(&mut [0; 64]).await.unwrap() > 0);
    });
}

#[test]
fn a_report_in_the_same_batch_does_not_reach_who_took_the_place_meanwhile() {
    run(async || {
        // The first report's waker drops the socket of the second, and opens one that takes its place.
        let (first, mut first_peer) = pair();
        let (second, mut second_peer) = pair();
        let slot = Rc::new(Cell::new(Some(second)));
        let newcomer = Rc::new(Cell::new(None));
        let (counts, counting) = CountingWaker::new();
        let acting = {
            let (slot, newcomer) = (Rc::clone(&slot), Rc::clone(&newcomer));
            acting_waker(move || {
                drop(slot.take());
                let (new, peer) = pair();
                let mut cx = Context::from_waker(&counting);
                assert!(new.poll_read_with(&mut cx, |mut io| io.read(&mut [0])).is_pending());
                newcomer.set(Some((new, peer)));
            })
        };
        turns().await;
        let read = |mut io: &UnixStream| io.read(&mut [0]);
        let mut cx = Context::from_waker(&acting);
        assert!(first.poll_read_with(&mut cx, read).is_pending());
        let second = slot.take().unwrap();
        assert!(second.poll_read_with(&mut Context::from_waker(Waker::noop()), read).is_pending());
        slot.set(Some(second));
        first_peer.write_all(b"x").unwrap();
        second_peer.write_all(b"x").unwrap();
        turns().await;
        let (new, mut peer) = newcomer.take().expect("the first report has come");
        assert_eq!(counts.wakes(), 0, "the second one is not for it");
        peer.write_all(b"x").unwrap();
        assert_eq!(new.recv(&mut [0; 8]).await.unwrap(), 1);
    });
}

#[test]
fn a_descriptor_may_be_taken_out_and_put_in_again() {
    run(async || {
        let (mut socket, mut peer) = pair();
        for _ in 0..100 {
            peer.write_all(b"abc").unwrap();
            let inner = socket.into_inner();
            socket = AsyncSocket::new(inner).unwrap();
            let mut buffer = [0; 64];
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 3);
            let inner = socket.into_inner();
            socket = AsyncSocket::new(inner).unwrap();
            let writer = async {
                yield_now().await;
                peer.write_all(b"x").unwrap();
            };
            let (count, ()) = zip(socket.recv(&mut buffer), writer).await;
            assert_eq!(count.unwrap(), 1);
        }
    });
}

#[test]
fn one_descriptor_twice_is_an_error_or_works_but_never_hangs() {
    run(async || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let first = AsyncSocket::new(ours.as_fd()).unwrap();
        let second = AsyncSocket::new(ours.as_fd());
        peer.write_all(b"abc").unwrap();
        if let Ok(second) = &second {
            assert_eq!(second.recv(&mut [0; 1]).await.unwrap(), 1);
        }
        assert!(first.recv(&mut [0; 1]).await.unwrap() == 1);
    });
}

#[test]
fn a_hundred_connections_in_one_report_are_all_accepted() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = AsyncSocket::new(listener).unwrap();
        let mut waiting = pin!(listener.accept());
        assert!(futures_lite::future::poll_once(waiting.as_mut()).await.is_none());
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        turns().await;
        let mut accepted = vec![waiting.await.unwrap()];
        while accepted.len() < 100 {
            accepted.push(listener.accept().await.unwrap());
        }
        let mut ports: Vec<_> = accepted.iter().map(|(_, peer)| peer.port()).collect();
        let mut expected: Vec<_> =
            clients.iter().map(|client| client.local_addr().unwrap().port()).collect();
        ports.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ports, expected);
    });
}

#[test]
fn several_who_accept_from_one_listener_share_what_comes() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Rc::new(AsyncSocket::new(listener).unwrap());
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let listener = Rc::clone(&listener);
                spawn(async move { listener.accept().await.unwrap() })
            })
            .collect();
        turns().await;
        let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
        for task in tasks {
            task.await.unwrap();
        }
        drop(clients);
    });
}

#[test]
fn a_short_datagram_does_not_hide_the_next_one() {
    run(async || {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let socket = AsyncSocket::new(ours).unwrap();
        for round in 0..10 {
            for bytes in [&b"abc"[..], b"", b"defgh", b"i"] {
                theirs.send(bytes).unwrap();
            }
            if round % 2 == 0 {
                turns().await;
            }
            for expected in [3, 0, 5, 1] {
                assert_eq!(socket.recv(&mut [0; 64]).await.unwrap(), expected);
            }
        }
        // And a sender that could not: all are sent once there is room.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let socket = AsyncSocket::new(ours).unwrap();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 64];
            (0..2000).map(|_| theirs.recv(&mut buffer).unwrap()).sum::<usize>()
        });
        for _ in 0..2000 {
            assert_eq!(socket.send(b"abc").await.unwrap(), 3);
        }
        assert_eq!(reader.join().unwrap(), 6000);
    });
}

#[test]
fn a_peek_does_not_hide_what_it_has_seen() {
    run(async || {
        let (stream, mut peer) = net_tcp();
        peer.write_all(b"abc").unwrap();
        for _ in 0..10 {
            assert_eq!(stream.peek(&mut [0; 64]).await.unwrap(), 3);
        }
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 3);
        let mut buffer = [0; 8];
        let writer = async {
            turns().await;
            peer.write_all(b"x").unwrap();
        };
        let (count, ()) = zip(stream.peek(&mut buffer), writer).await;
        assert_eq!(count.unwrap(), 1);
    });
}

#[test]
fn a_message_with_a_descriptor_does_not_hide_the_bytes_behind_it() {
    // A Unix stream stops a read at such a message although more is there, so a short count does not mean empty.
    run(async || {
        let (socket, peer) = pair();
        let passed = UdpSocket::bind("127.0.0.1:0").unwrap();
        send_with_descriptor(&peer, b"abc", &passed);
        (&peer).write_all(b"defgh").unwrap();
        turns().await;
        let mut received = 0;
        while received < 8 {
            received += socket.recv(&mut [0; 64]).await.unwrap();
        }
        assert_eq!(received, 8);
    });
}

#[cfg(target_os = "linux")]
fn send_with_descriptor(socket: &UnixStream, bytes: &[u8], passed: &impl AsRawFd) {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // A header and one descriptor, in whole words for the alignment.
    let mut control = [0u64; 4];
    // SAFETY: all zero is a message with nothing in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    // SAFETY: a computation, no access.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    // SAFETY: a computation from what was just set.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: it points to the start of `control`, which is larger than one header, aligned for it, and zeroed.
    let header = unsafe { &mut *header };
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: a computation, no access.
    header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as _;
    // SAFETY: a computation inside `control`, see below.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the data of a header that was given room for one descriptor.
    unsafe { place.cast::<libc::c_int>().write_unaligned(passed.as_raw_fd()) };
    // SAFETY: `message` points to `part`, `bytes` and `control`, which live through the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
}

#[test]
fn urgent_data_does_not_hide_the_bytes_behind_it() {
    // A read stops at the urgent mark although more is there.
    run(async || {
        let (socket, mut peer) = tcp();
        peer.write_all(b"abc").unwrap();
        // SAFETY: one readable byte, an open descriptor.
        let sent = unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        peer.write_all(b"defgh").unwrap();
        turns().await;
        let mut received = 0;
        while received < 8 {
            received += socket.recv(&mut [0; 64]).await.unwrap();
        }
        assert_eq!(received, 8);
    });
}

#[test]
fn a_closure_that_says_would_block_is_called_again_for_each_report() {
    run(async || {
        let (socket, mut peer) = pair();
        let asked = Cell::new(0);
        // Wants ten bytes at once, and takes none before.
        let read = socket.read_with(|mut io| {
            asked.set(asked.get() + 1);
            let mut buffer = [0; 16];
            // SAFETY: `buffer` is writable for its length.
            let count = unsafe {
                libc::recv(io.as_raw_fd(), buffer.as_mut_ptr().cast(), 16, libc::MSG_PEEK)
            };
            if count < 10 {
                return Err(ErrorKind::WouldBlock.into());
            }
            io.read(&mut buffer)
        });
        let writer = async {
            for _ in 0..10 {
                turns().await;
                peer.write_all(b"x").unwrap();
            }
        };
        let (count, ()) = zip(read, writer).await;
        assert_eq!(count.unwrap(), 10);
        assert!(asked.get() >= 2, "asked {} times", asked.get());
    });
}

#[test]
fn sockets_of_a_trusted_kind_behave_like_those_that_were_asked() {
    run(async || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = AsyncSocket::trusted(ours, Kind::Other).unwrap();
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).await.unwrap(), 3);
        drop(peer);
        assert_eq!(socket.recv(&mut [0; 64]).await.unwrap(), 0);
        let (full, _peer) = UnixStream::pair().unwrap();
        fill(&full);
        let socket = AsyncSocket::trusted(full, Kind::Stream).unwrap();
        let late = timeout(Duration::from_millis(5), socket.send(b"x")).await;
        assert!(late.is_err());
    });
}

#[test]
fn the_lent_buffer_is_there_in_a_thread_s_last_breaths() {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            runtime::with_lent_buffer(4, |buffer| assert_eq!(buffer.len(), 4));
        }
    }
    thread_local!(static LAST: Last = const { Last });
    in_child_process(|| {
        thread::spawn(|| {
            LAST.with(|_| ()); // first, and so it goes last
            runtime::with_lent_buffer(1, |_| ());
        })
        .join()
        .unwrap();
    });
}
