//! Is every wait safe to drop, after any of its polls?
//!
//! Each of the runtime's futures is polled n times and dropped then, while what it waits for happens at its k-th poll, for
//! all small n and k: before the first poll, between any two, right before the drop, right after it, in a future that
//! behaves well and in one that is polled without a reason. Then the same is asked for again, undisturbed: what came must
//! be had, once, either from the one or from the other.
//!
//! Comes from: main.rs. Goes to: all futures of the runtime and of net.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use runtime::process::Command;
use runtime::{
    AsyncSocket, CancelToken, Handle, PipeReader, interval, sleep, spawn, timeout, unblock,
    yield_now,
};

use crate::support::counters::{Counter, until_async};
use crate::support::process::descriptors;
use crate::support::sockets::{fill_socket, net_tcp, pair};
use crate::support::{in_child_process, run};

/// One way for it to go: the event happens before the poll of this number, the future is dropped after as many.
#[derive(Clone, Copy, Debug)]
struct Case {
    event_at: usize,
    polls: usize,
}

const MOST: usize = 5;

fn cases() -> impl Iterator<Item = Case> {
    (0..=MOST).flat_map(|event_at| (0..=MOST).map(move |polls| Case { event_at, polls }))
}

impl Case {
    /// Polls `future` as the case says, once a turn. Gives its output if it was quicker than its drop.
    async fn drive<F: Future>(self, future: F, event: impl FnOnce()) -> Option<F::Output> {
        let mut event = Some(event);
        let mut output = None;
        {
            let mut future = pin!(future);
            for poll in 0..self.polls {
                if poll == self.event_at
                    && let Some(event) = event.take()
                {
                    event();
                }
                let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
                if let Poll::Ready(ready) = polled {
                    output = Some(ready);
                    break;
                }
                yield_now().await;
                // A look at the kernel, so that reports arrive between polls.
                sleep(Duration::ZERO).await;
            }
        }
        if let Some(event) = event.take() {
            event();
        }
        output
    }
}

#[test]
fn every_wait_can_be_dropped_after_any_poll() {
    run(async || {
        for case in cases() {
            recv(case).await;
            recv_lent(case).await;
            read_with(case).await;
            pipes(case).await;
            readable(case).await;
            send(case).await;
            datagram(case).await;
            accept(case).await;
            net_stream(case).await;
            net_accept(case).await;
            join(case).await;
            remote_join(case).await;
            cancelled(case).await;
            unblocked(case).await;
            child(case).await;
            timers(case).await;
            timed_out(case).await;
            ticks(case).await;
        }
    });
}

async fn recv(case: Case) {
    let (socket, mut peer) = pair();
    let mut first = [0; 8];
    let got = case.drive(socket.recv(&mut first), || peer.write_all(b"abc").unwrap()).await;
    let mut all = first[..got.map_or(0, Result::unwrap)].to_vec();
    drop(peer);
    let mut rest = [0; 8];
    loop {
        match socket.recv(&mut rest).await.unwrap() {
            0 => break,
            count => all.extend_from_slice(&rest[..count]),
        }
    }
    assert_eq!(all, b"abc", "{case:?}");
}

async fn recv_lent(case: Case) {
    let (socket, mut peer) = pair();
    let lent = socket.recv_lent(8, <[u8]>::to_vec);
    let got = case.drive(lent, || peer.write_all(b"abc").unwrap()).await;
    let all = match got {
        Some(bytes) => bytes.unwrap(),
        None => socket.recv_lent(8, <[u8]>::to_vec).await.unwrap(),
    };
    assert_eq!(all, b"abc", "{case:?}");
}

async fn read_with(case: Case) {
    let (socket, mut peer) = pair();
    let read = socket.read_with(|mut io| io.read(&mut [0; 1]));
    let got = case.drive(read, || peer.write_all(b"a").unwrap()).await;
    if got.is_none() {
        assert_eq!(socket.read_with(|mut io| io.read(&mut [0; 1])).await.unwrap(), 1, "{case:?}");
    }
    assert!(socket.try_recv(&mut [0; 1]).is_err(), "{case:?}");
}

async fn pipes(case: Case) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = PipeReader::new(reader).unwrap();
    let mut first = [0; 8];
    let got = case.drive(reader.read(&mut first), || writer.write_all(b"abc").unwrap()).await;
    let mut all = first[..got.map_or(0, Result::unwrap)].to_vec();
    // What a read to the end has when it is dropped is in the buffer.
    let got = case.drive(reader.read_to_end(&mut all), || drop(writer)).await;
    if got.is_none() {
        reader.read_to_end(&mut all).await.unwrap();
    }
    assert_eq!(all, b"abc", "{case:?}");
}

async fn child(case: Case) {
    let mut command = Command::new("cat");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    let got = case.drive(child.wait(), || drop(input)).await;
    let status = match got {
        Some(status) => status,
        None => child.wait().await,
    };
    assert!(status.unwrap().success(), "{case:?}");
}

async fn readable(case: Case) {
    let (socket, mut peer) = pair();
    let _ = case.drive(socket.readable(), || peer.write_all(b"abc").unwrap()).await;
    assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
}

async fn send(case: Case) {
    let (socket, mut peer) = pair();
    let full = fill_socket(&socket);
    let bytes = [8; 4];
    let drain = || peer.read_exact(&mut vec![0; full]).unwrap();
    let sent = case.drive(socket.send(&bytes), drain).await;
    let mut total = sent.map_or(0, Result::unwrap);
    while total < 4 {
        total += socket.send(&bytes[total..]).await.unwrap();
    }
    drop(socket);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, bytes, "{case:?}");
}

async fn datagram(case: Case) {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let socket = AsyncSocket::new(ours).unwrap();
    let mut first = [0; 8];
    let event = || {
        theirs.send(b"abc").unwrap();
        theirs.send(b"de").unwrap();
    };
    let got = case.drive(socket.recv(&mut first), event).await;
    if got.is_none() {
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
    }
    assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 2, "{case:?}");
}

async fn accept(case: Case) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = AsyncSocket::new(listener).unwrap();
    let mut client = None;
    let connect = || client = Some(std::net::TcpStream::connect(address).unwrap());
    let got = case.drive(listener.accept(), connect).await;
    let (_, peer) = match got {
        Some(accepted) => accepted.unwrap(),
        None => listener.accept().await.unwrap(),
    };
    assert_eq!(peer, client.unwrap().local_addr().unwrap(), "{case:?}");
}

async fn net_accept(case: Case) {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = None;
    let connect = || client = Some(std::net::TcpStream::connect(address).unwrap());
    let got = case.drive(listener.accept(), connect).await;
    let (_, peer) = match got {
        Some(accepted) => accepted.unwrap(),
        None => listener.accept().await.unwrap(),
    };
    assert_eq!(peer, client.unwrap().local_addr().unwrap(), "{case:?}");
}

async fn net_stream(case: Case) {
    let (stream, mut peer) = net_tcp();
    let mut first = [0; 8];
    let got = case.drive(stream.read(&mut first), || peer.write_all(b"abc").unwrap()).await;
    if got.is_none() {
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
    }
    // A peek takes nothing however it ends.
    let _ = case.drive(stream.peek(&mut first), || peer.write_all(b"de").unwrap()).await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 2, "{case:?}");
}

async fn join(case: Case) {
    let drops = Counter::new();
    let guard = drops.guard();
    let token = CancelToken::new();
    let stopped = token.clone();
    let mut task = spawn(async move {
        stopped.cancelled().await;
        guard
    });
    let got = case.drive(&mut task, || token.cancel()).await;
    match got {
        Some(output) => drop(output.unwrap()),
        None => drop(task.await.unwrap()),
    }
    assert_eq!(drops.get(), 1, "{case:?}");
}

async fn remote_join(case: Case) {
    let token = CancelToken::new();
    let stopped = token.clone();
    let task = Handle::current().spawn(move || async move {
        stopped.cancelled().await;
        5
    });
    let mut task = task.unwrap();
    let got = case.drive(&mut task, || token.cancel()).await;
    let output = match got {
        Some(output) => output,
        None => task.await,
    };
    assert_eq!(output.unwrap(), 5, "{case:?}");
}

async fn cancelled(case: Case) {
    let token = CancelToken::new();
    let got = case.drive(token.cancelled(), || token.cancel()).await;
    assert!(got.is_none() || token.is_cancelled(), "{case:?}");
    token.cancelled().await;
}

async fn unblocked(case: Case) {
    let drops = Counter::new();
    let guard = drops.guard();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let job = unblock(move || {
        let _ = released.recv();
        guard
    });
    let got = case.drive(job, || drop(release)).await;
    // Its result came through, or was dropped, or the job never ran: nothing is left in any of the three.
    drop(got.map(Result::unwrap));
    until_async(|| drops.get() == 1).await;
}

async fn timers(case: Case) {
    let deadline = Instant::now() + Duration::from_micros(200);
    let mut timer = runtime::sleep_until(deadline);
    let got = case.drive(&mut timer, || ()).await;
    if got.is_none() {
        timer.await;
    }
    assert!(Instant::now() >= deadline, "{case:?}");
    let _ = case.drive(runtime::sleep_until(deadline + Duration::from_micros(100)), || ()).await;
}

async fn timed_out(case: Case) {
    let (socket, mut peer) = pair();
    let mut first = [0; 8];
    let read = timeout(Duration::from_micros(300), socket.recv(&mut first));
    let got = case.drive(read, || peer.write_all(b"abc").unwrap()).await;
    match got {
        Some(Ok(count)) => assert_eq!(count.unwrap(), 3),
        Some(Err(_)) | None => assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 3, "{case:?}"),
    }
}

async fn ticks(case: Case) {
    let period = Duration::from_micros(300);
    let mut ticks = interval(period);
    let before = Instant::now();
    let first = match case.drive(ticks.tick(), || ()).await {
        Some(due) => due,
        None => ticks.tick().await,
    };
    assert!(first <= before + period, "the first tick was not lost, {case:?}");
    assert_eq!(ticks.tick().await, first + period, "{case:?}");
}

#[test]
fn a_connect_that_is_dropped_closes_what_it_began() {
    in_child_process(|| {
        runtime::block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let before = descriptors();
            for case in cases() {
                let got = case.drive(net::TcpStream::connect(address), || ()).await;
                drop(got);
                assert_eq!(descriptors(), before, "{case:?}");
                while listener.try_accept().is_ok() {}
            }
        });
    });
}

#[test]
fn a_cancel_that_is_dropped_still_cancels() {
    run(async || {
        for case in cases() {
            let drops = Counter::new();
            let guard = drops.guard();
            let task = spawn(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
            if case.event_at % 2 == 0 {
                yield_now().await;
            }
            let _ = case.drive(task.cancel(), || ()).await;
            assert_eq!(drops.get(), 1, "{case:?}");
        }
    });
}

#[test]
fn waits_behind_others_can_be_dropped_after_any_poll() {
    // Three who wait for one direction; each in turn is the one that is dropped.
    run(async || {
        for case in cases() {
            for victim in 0..3 {
                let (socket, mut peer) = pair();
                let socket = Rc::new(socket);
                let reader = || {
                    let socket = Rc::clone(&socket);
                    spawn(async move { socket.recv(&mut [0; 1]).await.unwrap() })
                };
                let mut others = Vec::new();
                for _ in 0..victim {
                    others.push(reader());
                }
                yield_now().await;
                let mut byte = [0; 1];
                let got = case
                    .drive(socket.recv(&mut byte), || {
                        for _ in victim..2 {
                            others.push(reader());
                        }
                        peer.write_all(b"abc").unwrap();
                    })
                    .await;
                if got.is_none() {
                    assert_eq!(socket.recv(&mut byte).await.unwrap(), 1, "{case:?}");
                }
                for other in others {
                    assert_eq!(other.await.unwrap(), 1, "{case:?} {victim}");
                }
            }
        }
    });
}
