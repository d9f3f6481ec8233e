//! Do bytes that are passed on arrive, all of them and in order, and does a pair of connections come to its end?
//!
//! Over sockets, with blocking ones of the standard library at both ends; and over streams in memory, where the time is the
//! test's, so that the half-close clock can be asked to the nanosecond, and where every seed cuts the bytes differently.
//!
//! Comes from: main.rs. Goes to: net/src/copy.rs, net/src/stock.rs.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::{poll_once, zip};
use futures_lite::io::{BufWriter, repeat, sink};
use futures_lite::{AsyncRead, AsyncWrite};
use net::{Copied, CopyError, Ending, MemoryStream, Side, copy, copy_bidirectional};
use runtime::testing::{self, Duplex, Hostile, check, duplex, seeded, until_idle};
use runtime::{JoinHandle, Runtime, now, sleep, spawn, timeout, unblock, yield_now};

use crate::counting;
use crate::support::counters::{Counter, Watcher, until_async};
use crate::support::sockets::{net_tcp, reset};
use crate::support::{cancel_at_every_poll, in_child_process, run, within};

const SECOND: Duration = Duration::from_secs(1);

/// A peer's end, and the end to be copied from or to.
fn memory(capacity: usize) -> (Duplex, MemoryStream) {
    let (peer, ours) = duplex(capacity);
    (peer, ours.into())
}

/// A client, a server, and a proxy between them.
fn proxied(
    capacity: usize,
    timeout: Duration,
) -> (Duplex, Duplex, JoinHandle<Result<Copied, CopyError>>) {
    let (client, a) = memory(capacity);
    let (server, b) = memory(capacity);
    (client, server, spawn(copy_bidirectional(a, b, timeout)))
}

/// Bytes in which every piece is told from every other.
fn pattern(count: usize, seed: u64) -> Vec<u8> {
    let numbers = seeded(seed);
    (0..count).map(|_| numbers(256) as u8).collect()
}

/// Everything up to the end.
async fn rest(stream: &Duplex) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64]);
    while let count @ 1.. = stream.read(&mut buffer).await.unwrap() {
        bytes.extend_from_slice(&buffer[..count]);
    }
    bytes
}

// ------------------------------------------------------------------------------------------------ one way

#[test]
fn all_bytes_arrive_over_sockets_and_are_counted() {
    run(async || {
        let ((from, mut source), (to, mut target)) = (net_tcp(), net_tcp());
        let bytes = pattern(3_000_000, 1);
        let sent = bytes.clone();
        let writer = unblock(move || source.write_all(&sent).unwrap());
        let reader = unblock(move || {
            let mut received = Vec::new();
            target.read_to_end(&mut received).unwrap();
            received
        });
        let copied = copy(&from, &to).await.unwrap();
        assert_eq!(copied, 3_000_000);
        to.shutdown(Shutdown::Write).unwrap(); // a copy does not
        writer.await.unwrap();
        assert!(reader.await.unwrap() == bytes);
    });
}

#[test]
fn whatever_the_pieces_the_bytes_are_the_same() {
    within(60, || {
        check(0..200, async |seed| {
            let (left, from) = duplex(1 + seed as usize % 50);
            let (to, right) = duplex(1 + seed as usize % 17);
            let hostile = Hostile::new(seed).chunks(20).delays(SECOND);
            let (from, to): (MemoryStream, MemoryStream) =
                (from.hostile(hostile.clone()).into(), to.hostile(hostile).into());
            let bytes = pattern(500, seed);
            let sent = bytes.clone();
            let copying = spawn(async move { copy(from, to).await });
            let writing = spawn(async move { left.write_all(&sent).await });
            assert_eq!(rest(&right).await, bytes);
            assert_eq!(copying.await.unwrap().unwrap(), 500);
            writing.await.unwrap().unwrap();
        });
    });
}

#[test]
fn a_writer_with_a_buffer_is_flushed_when_the_reader_pauses() {
    within(60, || {
        testing::run(async {
            let (client, from) = memory(64);
            let (server, to) = memory(64);
            let copying = spawn(copy(from, BufWriter::new(to)));
            for word in [&b"one"[..], b"two"] {
                client.write_all(word).await.unwrap();
                let mut seen = [0; 3];
                server.read_exact(&mut seen).await.unwrap();
                assert_eq!(seen, word);
            }
            client.write_all(b"last").await.unwrap();
            drop(client);
            assert_eq!(copying.await.unwrap().unwrap(), 10);
            let mut seen = [0; 4];
            server.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"last", "it is flushed at the end");
        });
    });
}

/// A reader that says what it is told to say.
struct Says(Option<io::Result<usize>>);

impl AsyncRead for Says {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.take().unwrap_or(Ok(0)))
    }
}

/// A writer that does so.
struct Takes(usize);

impl AsyncWrite for Takes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.0))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn errors_of_both_sides_are_given_and_liars_are_found_out() {
    run(async || {
        let broken = Says(Some(Err(ErrorKind::TimedOut.into())));
        assert_eq!(copy(broken, sink()).await.unwrap_err().kind(), ErrorKind::TimedOut);
        let full = copy(&b"hello"[..], Takes(0)).await;
        assert_eq!(full.unwrap_err().kind(), ErrorKind::WriteZero);
        // More than it was given room for: an error, not a panic, and nothing is made up.
        let text = copy(Says(Some(Ok(1 << 20))), sink()).await.unwrap_err().to_string();
        assert!(text.contains("more than there was room for"), "{text}");
        assert_eq!(copy(&b"hello"[..], Takes(1 << 20)).await.unwrap(), 5);
    });
}

#[test]
fn a_copy_that_is_dropped_while_it_waits_for_the_reader_has_lost_nothing() {
    within(60, || {
        check(0..50, async |seed| {
            let (left, from) = duplex(10);
            let from: MemoryStream = from.hostile(Hostile::new(seed).pending(2).chunks(7)).into();
            let (right, to) = memory(10_000); // never full: so it waits for the reader alone
            let bytes = pattern(300, seed);
            let sent = bytes.clone();
            let writing = spawn(async move { left.write_all(&sent).await });
            let mut dropped = 0;
            while poll_once(copy(&from, &to)).await.is_none() {
                dropped += 1;
                yield_now().await;
            }
            assert!(dropped > 10, "the test tests something");
            writing.await.unwrap().unwrap();
            drop(to);
            assert_eq!(rest(&right).await, bytes);
        });
    });
}

#[test]
fn a_copy_can_be_dropped_after_any_poll() {
    within(60, || {
        testing::run(async {
            let make = async || {
                let (left, from) = memory(3);
                let (right, to) = memory(3);
                let feed = spawn(async move { left.write_all(&[7; 40]).await });
                let drain =
                    spawn(async move { while let Ok(1..) = right.read(&mut [0; 2]).await {} });
                let copied = copy(from, to).await.unwrap();
                feed.await.unwrap().unwrap();
                drain.await.unwrap();
                copied
            };
            cancel_at_every_poll(make, || ()).await;
        });
    });
}

// ------------------------------------------------------------------------------------------------ both ways

#[test]
fn whatever_the_pieces_both_directions_arrive_whole() {
    within(60, || {
        check(0..200, async |seed| {
            let hostile = Hostile::new(seed).chunks(30).delays(SECOND / 10);
            let (client, a) = duplex(1 + seed as usize % 40);
            let (b, server) = duplex(1 + seed as usize % 23);
            let (a, b): (MemoryStream, MemoryStream) =
                (a.hostile(hostile.clone()).into(), b.hostile(hostile).into());
            let proxy = spawn(copy_bidirectional(a, b, Duration::MAX));
            let (request, answer) = (pattern(400, seed), pattern(700, !seed));
            let one = async |stream: Duplex, sends: &[u8]| {
                stream.write_all(sends).await.unwrap();
                stream.close();
                rest(&stream).await
            };
            // The server reads to the end before it answers, so the half-close must have come through.
            let other = async |stream: Duplex, sends: &[u8]| {
                let got = rest(&stream).await;
                stream.write_all(sends).await.unwrap();
                got
            };
            let (got_answer, got_request) =
                zip(one(client, &request), other(server, &answer)).await;
            assert!(got_request == request && got_answer == answer);
            let copied = proxy.await.unwrap().unwrap();
            let ending = Ending::BothEnded;
            assert_eq!(copied, Copied { a_to_b: 400, b_to_a: 700, ending });
        });
    });
}

#[test]
fn an_end_is_passed_on_and_the_answer_still_comes() {
    run(async || {
        let ((a, mut client), (b, mut server)) = (net_tcp(), net_tcp());
        let proxy = spawn(copy_bidirectional(a, b, 30 * SECOND));
        let client = unblock(move || {
            client.write_all(b"question").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let server = unblock(move || {
            let mut question = String::new();
            server.read_to_string(&mut question).unwrap();
            server.write_all(b"an answer").unwrap();
            question
        });
        assert_eq!(server.await.unwrap(), "question");
        assert_eq!(client.await.unwrap(), "an answer");
        let copied = proxy.await.unwrap().unwrap();
        assert_eq!(copied, Copied { a_to_b: 8, b_to_a: 9, ending: Ending::BothEnded });
    });
}

#[test]
fn a_peer_that_never_ends_holds_the_pair_for_the_half_close_timeout_and_no_longer() {
    within(60, || {
        testing::run(async {
            let (client, server, proxy) = proxied(64, 10 * SECOND);
            client.write_all(b"bye").await.unwrap();
            let ended = now();
            client.close();
            let copied = proxy.await.unwrap().unwrap();
            assert_eq!(now() - ended, 10 * SECOND);
            assert_eq!(copied, Copied { a_to_b: 3, b_to_a: 0, ending: Ending::TimedOut });
            // Both are closed, and the one that never ended sees that.
            assert_eq!(rest(&server).await, b"bye");
            assert_eq!(server.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn the_clock_measures_silence_from_the_last_byte_written() {
    within(60, || {
        testing::run(async {
            let (client, server, proxy) = proxied(64, 10 * SECOND);
            server.close(); // either side may be first
            for word in 0..20 {
                sleep(9 * SECOND).await;
                client.write_all(&[word; 3]).await.unwrap();
            }
            let last = now();
            let copied = proxy.await.unwrap().unwrap();
            assert_eq!(now() - last, 10 * SECOND);
            assert_eq!(copied, Copied { a_to_b: 60, b_to_a: 0, ending: Ending::TimedOut });
        });
    });
}

#[test]
fn no_clock_runs_while_both_directions_are_open() {
    within(60, || {
        testing::run(async {
            let (client, server, proxy) = proxied(64, SECOND);
            for _ in 0..3 {
                sleep(3600 * SECOND).await;
                client.write_all(b"?").await.unwrap();
                server.read_exact(&mut [0; 1]).await.unwrap();
            }
            assert!(!proxy.is_finished());
            drop((client, server));
            assert_eq!(proxy.await.unwrap().unwrap().ending, Ending::BothEnded);
        });
    });
}

#[test]
fn bytes_that_nobody_takes_are_no_progress() {
    within(60, || {
        testing::run(async {
            // The server sends for ever, and the client, which has ended its side, does not read.
            let (client, server, proxy) = proxied(100, 10 * SECOND);
            let flood = spawn(async move { while server.write_all(&[1; 10]).await.is_ok() {} });
            until_idle().await;
            let ended = now();
            client.close();
            let copied = proxy.await.unwrap().unwrap();
            assert_eq!(now() - ended, 10 * SECOND);
            assert_eq!(copied, Copied { a_to_b: 0, b_to_a: 100, ending: Ending::TimedOut });
            flood.await.unwrap(); // its connection was closed
        });
    });
}

#[test]
fn a_timeout_of_nothing_and_one_without_end_are_taken_by_their_word() {
    within(60, || {
        testing::run(async {
            let (client, _server, proxy) = proxied(64, Duration::ZERO);
            client.close();
            assert_eq!(proxy.await.unwrap().unwrap().ending, Ending::TimedOut);

            let (client, server, proxy) = proxied(64, Duration::MAX);
            client.close();
            sleep(30 * 24 * 3600 * SECOND).await;
            assert!(!proxy.is_finished());
            drop(server);
            assert_eq!(proxy.await.unwrap().unwrap().ending, Ending::BothEnded);
        });
    });
}

#[test]
fn an_end_that_cannot_be_passed_on_is_bounded_too() {
    /// Ends at once, and is never done with closing.
    struct NeverClosed;
    impl AsyncRead for NeverClosed {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
    }
    impl AsyncWrite for NeverClosed {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
    within(60, || {
        testing::run(async {
            let copied = copy_bidirectional(NeverClosed, NeverClosed, SECOND).await.unwrap();
            assert_eq!(copied.ending, Ending::TimedOut);
        });
    });
}

#[test]
fn a_reset_ends_all_and_is_told_with_its_side_and_the_counts() {
    run(async || {
        for side in [Side::A, Side::B] {
            let ((a, mut client), (b, mut server)) = (net_tcp(), net_tcp());
            let proxy = spawn(copy_bidirectional(a, b, 30 * SECOND));
            let peers = unblock(move || {
                client.write_all(b"abc").unwrap();
                server.read_exact(&mut [0; 3]).unwrap();
                server.write_all(b"defgh").unwrap();
                client.read_exact(&mut [0; 5]).unwrap();
                let (reset_one, other) = match side {
                    Side::A => (client, server),
                    Side::B => (server, client),
                };
                reset(reset_one);
                other
            });
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!((error.stream, error.a_to_b, error.b_to_a), (side, 3, 5));
            assert_eq!(error.error.kind(), ErrorKind::ConnectionReset);
            let which = if side == Side::A { "first" } else { "second" };
            assert!(error.to_string().contains(which), "{error}");
            let error = io::Error::from(error);
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(error.get_ref().unwrap().is::<CopyError>());
            let mut other = peers.await.unwrap();
            assert_eq!(other.read(&mut [0; 1]).unwrap(), 0, "the other is closed");
        }
    });
}

#[test]
fn the_last_words_of_a_side_that_takes_no_more_are_still_passed_on() {
    within(60, || {
        testing::run(async {
            let (client, a) = memory(1000);
            let (b, server) = duplex(10);
            // It takes three bytes, and then everything written to it fails.
            let server = server.hostile(Hostile::new(0).ends_after(3));
            let proxy = spawn(copy_bidirectional(a, MemoryStream::from(b), 10 * SECOND));
            client.write_all(&[1; 100]).await.unwrap();
            while let 1.. = server.read(&mut [0; 10]).await.unwrap() {}
            until_idle().await;
            server.write_all(b"error: that is too much for me").await.unwrap();
            drop(server);
            let said = rest(&client).await;
            assert_eq!(said, b"error: that is too much for me");
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!((error.stream, error.b_to_a), (Side::B, 30));
            assert_eq!(error.error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_side_that_takes_no_more_and_says_nothing_is_given_up() {
    within(60, || {
        testing::run(async {
            let (client, a) = memory(1000);
            let (b, server) = duplex(10);
            let server = server.hostile(Hostile::new(0).ends_after(3));
            let proxy = spawn(copy_bidirectional(a, MemoryStream::from(b), 10 * SECOND));
            client.write_all(&[1; 100]).await.unwrap();
            while let 1.. = server.read(&mut [0; 10]).await.unwrap() {}
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!(error.error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

// --------------------------------------------------------------------------------------------- shares and costs

/// Reads without end and without waiting, as much as it is given room for, and takes all that it is sent.
struct Endless(Rc<Cell<u64>>);

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        pin!(repeat(b'x')).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.set(self.0.get() + bytes.len() as u64);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_flood_has_its_share_of_each_turn_and_no_more() {
    within(60, || {
        let watcher = Rc::new(Watcher::default());
        let rt = Runtime::builder().instrument(Rc::clone(&watcher) as _).build().unwrap();
        let (there, back, one) = (Rc::<Cell<u64>>::default(), Rc::default(), Rc::default());
        let both = rt.spawn(copy_bidirectional(
            Endless(Rc::clone(&back)),
            Endless(Rc::clone(&there)),
            SECOND,
        ));
        let single = rt.spawn(copy(Endless(Rc::default()), Endless(Rc::clone(&one))));
        let count = async |times: u64| {
            for _ in 0..times {
                yield_now().await;
            }
        };
        rt.block_on(count(1000));
        let polls = watcher.polls_of(both.id()) as u64;
        assert!(polls >= 999, "it was polled {polls} times beside 1,000 of the other");
        for moved in [there.get(), back.get(), one.get()] {
            assert!(moved >= 8 * 1024 * polls, "{moved} bytes in {polls} polls: it has its share");
            assert!(moved <= 64 * 1024 * (polls + 1), "{moved} bytes in {polls} polls: too many");
        }
        let waits = watcher.waits.get() as u64;
        assert!(waits >= 999, "{waits} looks at the kernel in {polls} polls");
        both.abort();
        single.abort();
    });
}

#[test]
fn two_sockets_that_flood_each_other_let_others_run() {
    run(async || {
        let ((a, mut client), (b, mut server)) = (net_tcp(), net_tcp());
        let proxy = spawn(copy_bidirectional(a, b, SECOND));
        let mut threads = Vec::new();
        for stream in [&mut client, &mut server] {
            let (mut sends, mut reads) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
            threads.push(unblock(move || while sends.write_all(&[1; 1 << 16]).is_ok() {}));
            threads.push(unblock(move || {
                let mut buffer = vec![0; 1 << 16];
                let mut seen = 0;
                while let Ok(count @ 1..) = reads.read(&mut buffer) {
                    seen += count;
                    if seen > 20_000_000 {
                        break;
                    }
                }
                let _ = reads.shutdown(Shutdown::Both);
            }));
        }
        let mut turns = 0;
        while !proxy.is_finished() {
            yield_now().await;
            turns += 1;
        }
        for thread in threads {
            thread.await.unwrap();
        }
        // 20 MB at some 50 KiB a poll; that either side ends in an error is of no matter here.
        assert!(turns > 200, "only {turns} polls of others");
        let _ = proxy.await.unwrap();
    });
}

#[test]
fn an_idle_pair_holds_no_buffer() {
    const PAIRS: usize = 1000;
    in_child_process(|| {
        runtime::block_on(async {
            let mut peers = Vec::with_capacity(PAIRS);
            let mut proxies = Vec::with_capacity(PAIRS);
            let pass = |peers: &mut Vec<(std::net::TcpStream, std::net::TcpStream)>| {
                for (client, server) in peers {
                    client.write_all(b"ping").unwrap();
                    server.write_all(b"pong!").unwrap();
                }
            };
            // The first one fills the stock.
            counting::start();
            let mut before = counting::now();
            for pair in 0..=PAIRS {
                if pair == 1 {
                    pass(&mut peers);
                    until_received(&mut peers).await;
                    before = counting::now();
                }
                let ((a, client), (b, server)) = (net_tcp(), net_tcp());
                proxies.push(spawn(copy_bidirectional(a, b, SECOND)));
                peers.push((client, server));
            }
            for _ in 0..3 {
                pass(&mut peers);
                until_received(&mut peers).await;
            }
            let each = before.until_now().bytes as f64 / PAIRS as f64;
            println!("counted: bytes an idle proxied pair: {each}");
            // Two vectors have grown by the way: 8 and 16 bytes a pair, doubled.
            assert!(each <= 1400.0, "{each} bytes a pair that waits");
            drop(peers);
            for proxy in proxies {
                assert_eq!(proxy.await.unwrap().unwrap().ending, Ending::BothEnded);
            }
        });
    });
}

/// Waits, letting the proxies run, until all words have come.
async fn until_received(peers: &mut [(std::net::TcpStream, std::net::TcpStream)]) {
    for (client, server) in peers {
        for (stream, word) in [(server, &b"ping"[..]), (client, b"pong!")] {
            stream.set_nonblocking(true).unwrap();
            let mut seen = [0; 5];
            until_async(|| stream.peek(&mut seen.clone()).is_ok_and(|count| count == word.len()))
                .await;
            stream.read_exact(&mut seen[..word.len()]).unwrap();
            assert_eq!(&seen[..word.len()], word);
            stream.set_nonblocking(false).unwrap();
        }
    }
}

#[test]
fn a_buffer_is_held_while_somebody_does_not_read_and_goes_back_afterwards() {
    in_child_process(|| {
        testing::run(async {
            const PAIRS: usize = 100;
            let round = async || {
                let held = counting::now();
                let mut pairs = Vec::with_capacity(PAIRS);
                for _ in 0..PAIRS {
                    let (client, server, proxy) = proxied(4, SECOND);
                    client.write_all(b"1234").await.unwrap();
                    until_idle().await;
                    client.write_all(b"5678").await.unwrap();
                    pairs.push((client, server, proxy));
                }
                until_idle().await;
                let stalled = held.until_now().bytes;
                for (_, server, _) in &pairs {
                    server.read_exact(&mut [0; 8]).await.unwrap();
                }
                until_idle().await;
                let idle = held.until_now().bytes;
                (stalled, idle)
            };
            round().await;
            counting::start();
            round().await;
            let (stalled, idle) = round().await;
            let each = (stalled - idle) as usize / PAIRS;
            println!("counted: bytes more while stalled: {each}");
            // All but the sixteen of the stock were made for it, and were freed.
            assert!((10_000..20_000).contains(&each), "{each} bytes");
        });
    });
}

#[test]
fn copies_give_their_memory_back() {
    in_child_process(|| {
        let grown = runtime::block_on(counting::growth(async || {
            for n in 0..500 {
                let (client, server, proxy) = proxied(100, SECOND);
                client.write_all(&[1; 50]).await.unwrap();
                server.write_all(&[1; 50]).await.unwrap();
                if n % 2 == 0 {
                    yield_now().await;
                    drop((client, server));
                    let _ = proxy.await.unwrap(); // the answer's client may be gone
                } else {
                    yield_now().await;
                    proxy.cancel().await.unwrap_err();
                }
            }
        }));
        assert!(grown <= 0, "{grown} bytes");
    });
}

#[test]
fn copies_run_outside_of_a_runtime_too() {
    // A stream in memory needs none; so a copy must not, not even when it steps back.
    within(60, || {
        let polls = Counter::new();
        let seen = polls.clone();
        let many = SoMany(2_000_000);
        let mut copying = pin!(copy(many, sink()));
        let copied = futures_lite::future::block_on(poll_fn(move |cx| {
            seen.up();
            copying.as_mut().poll(cx)
        }));
        assert_eq!(copied.unwrap(), 2_000_000);
        assert!(polls.get() > 10, "{} polls", polls.get());
    });
}

/// So many bytes, without waiting.
struct SoMany(usize);

impl AsyncRead for SoMany {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = buffer.len().min(self.0);
        self.0 -= count;
        Poll::Ready(Ok(count))
    }
}

// ---------------------------------------------------------------------------------------------- ends that are awkward

/// Reads one piece and then an end, or an error; who asks once more waits for ever, as at a stream that was taken apart.
struct OnePiece {
    says: Vec<io::Result<&'static [u8]>>,
}

impl AsyncRead for OnePiece {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.says.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(self.says.remove(0).map(|piece| {
            buffer[..piece.len()].copy_from_slice(piece);
            piece.len()
        }))
    }
}

/// Nobody asks what is written to it to be written: it waits once before each flush is done.
#[derive(Default)]
struct SlowFlush {
    waited: bool,
    flushes: usize,
}

impl AsyncWrite for SlowFlush {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_reader_that_has_ended_is_not_asked_again_while_the_writer_flushes() {
    within(60, || {
        testing::run(async {
            let reader = OnePiece { says: vec![Ok(b"hello"), Ok(b"")] };
            let mut writer = SlowFlush::default();
            let copied = timeout(SECOND, copy(reader, &mut writer)).await;
            assert_eq!(copied.expect("it waits for a reader that has ended").unwrap(), 5);
            assert_eq!(writer.flushes, 1);
        });
    });
}

/// One half reads, the other writes.
struct Joined<R, W>(R, W);

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Joined<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Joined<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.1).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_close(cx)
    }
}

#[test]
fn what_came_before_an_error_is_not_left_in_a_buffer_of_the_other_side() {
    within(60, || {
        testing::run(async {
            let (client, a) = memory(1000);
            let a = BufWriter::new(a);
            // The answer, and in the next read a reset, or TLS that was cut.
            let says = vec![Ok(&b"an answer"[..]), Err(ErrorKind::ConnectionReset.into())];
            let b = Joined(OnePiece { says }, sink());
            let nothing = OnePiece { says: Vec::new() };
            let error = copy_bidirectional(b, Joined(nothing, a), SECOND).await.unwrap_err();
            assert_eq!((error.stream, error.a_to_b), (Side::A, 9));
            assert_eq!(rest(&client).await, b"an answer");
        });
    });
}

/// Takes nothing, by one error, and cannot be closed, by another.
struct Refuses(ErrorKind, ErrorKind);

impl AsyncWrite for Refuses {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.0.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.1.into()))
    }
}

#[test]
fn an_end_that_is_refused_is_an_error_and_of_two_errors_the_first_is_told() {
    within(60, || {
        testing::run(async {
            let refuses = || Refuses(ErrorKind::BrokenPipe, ErrorKind::TimedOut);
            let ends = || OnePiece { says: vec![Ok(b"")] };
            let (a, b) = (Joined(ends(), sink()), Joined(ends(), refuses()));
            let error = copy_bidirectional(a, b, SECOND).await.unwrap_err();
            assert_eq!((error.stream, error.error.kind()), (Side::B, ErrorKind::TimedOut));

            // One write fails, and then the other's end is not taken.
            let b = Joined(OnePiece { says: vec![Ok(b"x"), Ok(b"")] }, refuses());
            let a = Joined(OnePiece { says: vec![Ok(b"x")] }, refuses());
            let error = copy_bidirectional(a, b, SECOND).await.unwrap_err();
            assert_eq!((error.stream, error.error.kind()), (Side::B, ErrorKind::BrokenPipe));
            let b = Joined(OnePiece { says: vec![Ok(b"")] }, refuses());
            let a = Joined(OnePiece { says: vec![Ok(b"x")] }, refuses());
            let error = copy_bidirectional(a, b, SECOND).await.unwrap_err();
            assert_eq!((error.stream, error.error.kind()), (Side::B, ErrorKind::BrokenPipe));
        });
    });
}

#[test]
fn what_a_side_refused_is_held_no_longer() {
    const PAIRS: usize = 100;
    in_child_process(|| {
        testing::run(async {
            counting::start();
            let before = counting::now();
            let mut pairs = Vec::with_capacity(PAIRS);
            for _ in 0..PAIRS {
                let (client, a) = memory(100);
                client.write_all(&[1; 50]).await.unwrap();
                let silent = OnePiece { says: Vec::new() };
                let b = Joined(silent, Refuses(ErrorKind::BrokenPipe, ErrorKind::BrokenPipe));
                pairs.push((client, spawn(copy_bidirectional(a, b, Duration::MAX))));
            }
            until_idle().await;
            let each = before.until_now().bytes as usize / PAIRS;
            assert!(each < 8 * 1024, "{each} bytes a pair, for what nobody will take");
            assert!(pairs.iter().all(|(_, proxy)| !proxy.is_finished()));
        });
    });
}
