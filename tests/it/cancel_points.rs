//! Is every wait safe to drop, after any of its polls, whoever polls it and however it ends?
//!
//! Each future that runtime and net give out has a scene below: one function, and its name in [`SCENES`]. In its scene
//! what it waits for happens once, and [`Case::drive`] polls it n times and drops it then, while that happens before its
//! k-th poll, for all small n and k: before the first poll, between any two, right before the drop, right after it.
//! Then the scene asks for the same again, undisturbed: what came must be had, once, from the one or from the other.
//!
//! | each scene is played                          | and then                                                           |
//! |-----------------------------------------------|--------------------------------------------------------------------|
//! | polled once a turn by one task, with a reason or without | what came is had once; a task beside it is undisturbed  |
//! | polled each time with another task's waker    | the last of these wakers is called when it has come                |
//! | polled with a waker that panics               | nothing of that is lost, and the loop goes on                      |
//! | on a runtime that is dropped while it waits   | its task is over, and no descriptor is left                        |
//! | many times                                    | no task, timer, watched source, descriptor or byte is left behind  |
//!
//! | what                          | scenes                                                                                  |
//! |-------------------------------|-----------------------------------------------------------------------------------------|
//! | `AsyncSocket`                 | recv, recv_lent, read_with, write_with, readable, writable, send, datagram, accept, accept_unix |
//! | tasks                         | join, cancel, remote_join, yielded                                                      |
//! | time                          | timers (sleep_until), slept, ticks (interval), timed_out, timed_out_at                  |
//! | jobs                          | unblocked, unblocked_with, unblocked_when_room, resolved (net::resolve)                 |
//! | told from outside             | cancelled (CancelToken), signal, interrupt (ctrl_c)                                     |
//! | net's listener                | net_accept, incoming, served (serve), listened (bind)                                   |
//! | net's stream                  | net_stream (read, peek), connect, net_readable, net_lent, net_vectored, write_vectored, write_all, read_exact |
//! | futures-io on it              | halves (owned), borrowed_halves, io_read                                                |
//! | net's datagrams               | udp (recv), udp_by_name (bind, connect), net_datagram (recv_from, peek), datagram_send, datagram_send_to |
//! | net's Unix listener           | unix_accept, unix_incoming                                                              |
//! | processes                     | pipes (read, read_to_end), child (wait)                                                 |
//!
//! Comes from: main.rs. Goes to: all futures of the runtime and of net.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use std::process::Stdio;

use futures_lite::{AsyncReadExt, StreamExt};
use net::Limits;
use runtime::instruments::Statistics;
use runtime::process::Command;
use runtime::{
    AsyncSocket, CancelToken, Handle, PipeReader, Runtime, Signal, ctrl_c, interval, signals,
    sleep, spawn, timeout, timeout_at, unblock, unblock_when_room, unblock_with, yield_now,
};

use crate::counting;
use crate::support::counters::{Counter, CountingWaker, panicking_waker, until, until_async};
use crate::support::folder::Folder;
use crate::support::process::{descriptors, watched_descriptors};
use crate::support::sockets::{fill_socket, net_tcp, pair};
use crate::support::{in_child_process, run};

/// A scene's name beside it.
macro_rules! scenes {
    ($($scene:ident),* $(,)?) => { &[$((stringify!($scene), |case| Box::pin($scene(case)))),*] };
}

/// A word here, and a function below, is all that another future needs.
const SCENES: &[(&str, Play)] = scenes![
    recv,
    recv_lent,
    read_with,
    write_with,
    readable,
    writable,
    send,
    datagram,
    accept,
    accept_unix,
    join,
    cancel,
    remote_join,
    yielded,
    timers,
    slept,
    ticks,
    timed_out,
    timed_out_at,
    unblocked,
    unblocked_with,
    unblocked_when_room,
    resolved,
    cancelled,
    signal,
    interrupt,
    net_accept,
    incoming,
    served,
    listened,
    net_stream,
    connect,
    net_readable,
    net_lent,
    net_vectored,
    write_vectored,
    write_all,
    read_exact,
    halves,
    borrowed_halves,
    io_read,
    pipes,
    child,
    udp,
    udp_by_name,
    net_datagram,
    datagram_send,
    datagram_send_to,
    unix_accept,
    unix_incoming,
];

type Play = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;

/// One way for it to go: the event happens before the poll of this number, the future is dropped after as many.
#[derive(Clone, Copy, Debug)]
struct Case {
    event_at: usize,
    polls: usize,
    way: Way,
}

/// With whose waker it is polled, and what comes after the polls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    OneTask,
    OtherTasks,
    PanickingWaker,
    RuntimeEnds,
}

fn cases(most: usize, way: Way) -> impl Iterator<Item = Case> {
    (0..=most).flat_map(move |event_at| (0..=most).map(move |polls| Case { event_at, polls, way }))
}

thread_local! {
    /// The scene has come to where its runtime is to end.
    static REACHED: Cell<bool> = const { Cell::new(false) };
}

impl Case {
    /// Polls `future` as the case says. Gives its output if it was quicker than its drop.
    async fn drive<F: Future>(self, future: F, event: impl FnOnce()) -> Option<F::Output> {
        let mut event = Some(event);
        let mut output = None;
        let own_waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        {
            let mut future = pin!(future);
            for poll in 0..self.polls {
                if poll == self.event_at
                    && let Some(event) = event.take()
                {
                    event();
                }
                let (called, other_waker) = CountingWaker::new();
                let waker = match self.way {
                    Way::OneTask | Way::RuntimeEnds => own_waker.clone(),
                    Way::OtherTasks => other_waker,
                    Way::PanickingWaker => panicking_waker(),
                };
                let mut cx = Context::from_waker(&waker);
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
                    Ok(Poll::Ready(ready)) => {
                        output = Some(ready);
                        break;
                    }
                    Ok(Poll::Pending) => {}
                    // It called the waker itself, to be polled again.
                    Err(_) if self.way == Way::PanickingWaker => break,
                    Err(payload) => resume_unwind(payload),
                }
                if self.way == Way::OtherTasks && event.is_none() {
                    until_async(|| called.wakes() > 0).await;
                }
                yield_now().await;
                // A look at the kernel, so that reports arrive between polls.
                sleep(Duration::ZERO).await;
            }
            if self.way == Way::RuntimeEnds {
                REACHED.set(true);
                pending::<()>().await;
            }
        }
        if let Some(event) = event.take() {
            event();
        }
        output
    }
}

// ------------------------------------------------------------------------------------------ how they are played

#[test]
fn every_wait_can_be_dropped_after_any_poll() {
    in_child_process(|| runtime::block_on(play_all(5, Way::OneTask)));
}

#[test]
fn every_wait_calls_the_waker_of_its_last_poll() {
    in_child_process(|| runtime::block_on(play_all(4, Way::OtherTasks)));
}

#[test]
fn every_wait_survives_a_waker_that_panics() {
    in_child_process(|| runtime::block_on(play_all(3, Way::PanickingWaker)));
}

/// All scenes in all cases, with a task beside them that must not notice.
async fn play_all(most: usize, way: Way) {
    let (socket, mut peer) = pair();
    let heard = Counter::new();
    let hears = heard.clone();
    let bystander = spawn(async move {
        while socket.recv(&mut [0; 1]).await.unwrap() > 0 {
            sleep(Duration::from_micros(10)).await;
            hears.up();
        }
    });
    let mut said = 0;
    for (name, scene) in SCENES {
        for case in cases(most, way) {
            println!("{name} {case:?}"); // the last line names the one that hangs or fails
            scene(case).await;
            peer.write_all(b"x").unwrap();
            said += 1;
            until_async(|| heard.get() == said).await;
        }
    }
    drop(peer);
    bystander.await.unwrap();
}

#[test]
fn a_runtime_can_end_while_any_of_them_waits() {
    in_child_process(|| {
        for (name, scene) in SCENES {
            let mut before = None;
            for case in cases(3, Way::RuntimeEnds) {
                println!("{name} {case:?}");
                REACHED.set(false);
                let rt = Runtime::new().unwrap();
                let task = rt.spawn(scene(case));
                rt.block_on(until_async(|| REACHED.get() || task.is_finished()));
                assert!(REACHED.get());
                drop(rt);
                assert!(task.is_finished());
                until(pool_is_idle);
                // The first may open what the process keeps: the table of signals.
                let before = *before.get_or_insert_with(descriptors);
                assert_eq!(descriptors(), before);
            }
        }
    });
}

#[test]
fn what_is_dropped_leaves_nothing_behind() {
    in_child_process(|| {
        counting::start();
        for (name, scene) in SCENES {
            let statistics = Statistics::new();
            let instrument = Rc::new(statistics.clone());
            let rt = Runtime::builder().instrument(instrument).build().unwrap();
            let round = || {
                for case in cases(2, Way::OneTask) {
                    rt.block_on(scene(case));
                }
                // Tasks that are on their way to their end, and jobs that are given up, get there.
                let alone = || statistics.snapshot().tasks.len() == 1;
                rt.block_on(until_async(|| alone() && pool_is_idle()));
            };
            round();
            let before = (descriptors(), watched_descriptors());
            let mut least = i64::MAX;
            for _ in 0..4 {
                let before = counting::now();
                round();
                least = least.min(before.until_now().bytes);
            }
            println!("{name}: {least} bytes");
            assert!(least <= 0);
            assert_eq!((descriptors(), watched_descriptors()), before);
            // Nobody is ready and no timer waits.
            assert_eq!(rt.turn(Some(Duration::ZERO)).unwrap(), None);
        }
    });
}

/// A job that was given up may run on for a while, and have a file open: the resolver's has.
fn pool_is_idle() -> bool {
    let pool = runtime::pool_stats();
    pool.idle == pool.threads
}

// --------------------------------------------------------------------------------------------------- the scenes

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

async fn unblocked_when_room(case: Case) {
    let drops = Counter::new();
    let guard = drops.guard();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let job = unblock_when_room(move |_| {
        let _ = released.recv();
        guard
    });
    let got = case.drive(job, || drop(release)).await;
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

async fn write_with(case: Case) {
    let (socket, mut peer) = pair();
    let full = fill_socket(&socket);
    let drain = || peer.read_exact(&mut vec![0; full]).unwrap();
    let write = |mut io: &std::os::unix::net::UnixStream| io.write(b"a");
    if case.drive(socket.write_with(write), drain).await.is_none() {
        assert_eq!(socket.write_with(write).await.unwrap(), 1, "{case:?}");
    }
    drop(socket);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"a", "{case:?}");
}

async fn writable(case: Case) {
    let (socket, mut peer) = pair();
    let full = fill_socket(&socket);
    let _ = case.drive(socket.writable(), || peer.read_exact(&mut vec![0; full]).unwrap()).await;
    assert_eq!(socket.send(b"a").await.unwrap(), 1, "{case:?}");
}

async fn accept_unix(case: Case) {
    use std::os::unix::net::{UnixListener, UnixStream};
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let name = format!("ground-up-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let _gone = crate::support::counters::on_drop({
        let path = path.clone();
        move || std::fs::remove_file(path).unwrap()
    });
    let listener = AsyncSocket::new(listener).unwrap();
    let mut client = None;
    let connect = || client = Some(UnixStream::connect(&path).unwrap());
    let got = case.drive(listener.accept(), connect).await;
    let (stream, _) = match got {
        Some(accepted) => accepted.unwrap(),
        None => listener.accept().await.unwrap(),
    };
    client.unwrap().write_all(b"x").unwrap();
    assert_eq!(stream.recv(&mut [0; 8]).await.unwrap(), 1, "{case:?}");
}

async fn cancel(case: Case) {
    // That the task is stopped does not depend on whether anybody waits for it.
    let drops = Counter::new();
    let guard = drops.guard();
    let task = spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    if case.event_at.is_multiple_of(2) {
        yield_now().await;
    }
    let _ = case.drive(task.cancel(), || ()).await;
    assert_eq!(drops.get(), 1, "{case:?}");
}

async fn yielded(case: Case) {
    let _ = case.drive(yield_now(), || ()).await;
}

async fn slept(case: Case) {
    let time = Duration::from_micros(100);
    let before = Instant::now();
    if case.drive(sleep(time), || ()).await.is_some() {
        assert!(before.elapsed() >= time, "{case:?}");
    }
}

async fn timed_out_at(case: Case) {
    let deadline = Instant::now() + Duration::from_micros(100);
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let endless = async move {
        let _inside = inside;
        pending::<()>().await
    };
    let got = case.drive(timeout_at(deadline, endless), || ()).await;
    assert!(got.is_none_or(|result| result.is_err()), "{case:?}");
    assert_eq!(Rc::strong_count(&held), 1, "what is inside goes with it, {case:?}");
}

async fn unblocked_with(case: Case) {
    let over = Counter::new();
    let end = over.guard();
    let asked = unblock_with(move |job| {
        let _end = end;
        while !job.is_abandoned() {
            std::thread::yield_now();
        }
    });
    // It ends only because nobody waits for it any more; or never began.
    let patient = Case { event_at: usize::MAX, ..case };
    assert!(patient.drive(asked, || ()).await.is_none());
    until_async(|| over.get() == 1).await;
}

async fn resolved(case: Case) {
    if let Some(found) = case.drive(net::resolve("localhost:80"), || ()).await {
        assert!(!found.unwrap().is_empty());
    }
}

fn raise(signal: Signal) {
    // SAFETY: no pointers; whoever raises a signal here is subscribed to it.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

async fn signal(case: Case) {
    let mut list = signals([Signal::USER1]).unwrap();
    let got = case.drive(list.next(), || raise(Signal::USER1)).await;
    let got = match got {
        Some(signal) => signal,
        None => list.next().await,
    };
    assert_eq!(got, Signal::USER1, "{case:?}");
}

async fn interrupt(case: Case) {
    // Its drop loses the signal, as it says; another subscriber has it all the same.
    let mut other = signals([Signal::INTERRUPT]).unwrap();
    let got = case.drive(ctrl_c(), || raise(Signal::INTERRUPT)).await;
    assert!(got.is_none_or(|result| result.is_ok()));
    assert_eq!(other.next().await, Signal::INTERRUPT, "{case:?}");
}

async fn incoming(case: Case) {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = None;
    let connect = || client = Some(std::net::TcpStream::connect(address).unwrap());
    let mut connections = listener.incoming();
    let got = case.drive(connections.next(), connect).await;
    let stream = match got {
        Some(accepted) => accepted,
        None => connections.next().await,
    };
    let peer = stream.unwrap().unwrap().peer_addr().unwrap();
    assert_eq!(peer, client.unwrap().local_addr().unwrap(), "{case:?}");
}

async fn served(case: Case) {
    // Dropped, it stops accepting, and the connections that it has accepted go on by themselves.
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    let client = AsyncSocket::new(client).unwrap();
    let (accepted, stop) = (Counter::new(), CancelToken::new());
    let accepts = accepted.clone();
    let limits = Limits::new().shutdown(stop.clone());
    let server = net::serve(listener, limits, async move |stream: net::TcpStream, _| {
        accepts.up();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&byte).await.unwrap();
    });
    let got = case.drive(server, || stop.cancel()).await;
    let answered = client.recv(&mut [0; 8]).await.is_ok_and(|count| count == 1);
    assert_eq!(accepted.get(), usize::from(answered), "{case:?}");
    if let Some(served) = got {
        assert_eq!((served.unwrap().accepted, answered), (1, true), "{case:?}");
    }
}

async fn listened(case: Case) {
    let got = case.drive(net::TcpListener::bind("localhost:0"), || ()).await;
    assert!(got.is_none_or(|listener| listener.is_ok()), "{case:?}");
}

async fn connect(case: Case) {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got = case.drive(net::TcpStream::connect(address), || ()).await;
    let Some(stream) = got else { return };
    let local = stream.unwrap().local_addr().unwrap();
    assert_eq!(listener.accept().await.unwrap().1, local, "{case:?}");
}

async fn net_readable(case: Case) {
    let (stream, mut peer) = net_tcp();
    let _ = case.drive(stream.readable(), || peer.write_all(b"abc").unwrap()).await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
}

async fn net_lent(case: Case) {
    let (stream, mut peer) = net_tcp();
    let lent = stream.read_lent(8, <[u8]>::to_vec);
    let all = match case.drive(lent, || peer.write_all(b"abc").unwrap()).await {
        Some(bytes) => bytes.unwrap(),
        None => stream.read_lent(8, <[u8]>::to_vec).await.unwrap(),
    };
    assert_eq!(all, b"abc", "{case:?}");
}

async fn net_vectored(case: Case) {
    let (stream, mut peer) = net_tcp();
    let (mut first, mut second) = ([0; 2], [0; 2]);
    let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    let read = stream.read_vectored(&mut buffers);
    let got = case.drive(read, || peer.write_all(b"abc").unwrap()).await;
    match got {
        Some(count) => {
            assert_eq!((count.unwrap(), first, second[0]), (3, *b"ab", b'c'), "{case:?}");
        }
        None => assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3, "{case:?}"),
    }
}

/// A stream that takes no more, and what makes it take more again: reading as much as it has taken.
fn full_tcp() -> (net::TcpStream, std::net::TcpStream, usize) {
    let (stream, peer) = net_tcp();
    let full = fill_socket(stream.as_socket());
    (stream, peer, full)
}

/// Ends the stream, and gives what the peer reads from there on.
fn rest(stream: net::TcpStream, mut peer: std::net::TcpStream) -> Vec<u8> {
    drop(stream);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    all
}

async fn write_vectored(case: Case) {
    let (stream, mut peer, full) = full_tcp();
    let buffers = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
    let drain = || peer.read_exact(&mut vec![0; full]).unwrap();
    let got = case.drive(stream.write_vectored(&buffers), drain).await;
    let written = got.map_or(0, Result::unwrap);
    assert_eq!(rest(stream, peer), b"abc"[..written], "{case:?}");
}

async fn write_all(case: Case) {
    let (stream, mut peer, full) = full_tcp();
    let drain = || peer.read_exact(&mut vec![0; full]).unwrap();
    let got = case.drive(stream.write_all(b"abcdef"), drain).await;
    // Not cancel safe: a beginning of any length is what it may leave behind.
    let written = rest(stream, peer);
    assert!(b"abcdef".starts_with(&written), "{case:?} {written:?}");
    assert!(got.is_none() || written.len() == 6, "{case:?} {written:?}");
}

async fn read_exact(case: Case) {
    let (stream, mut peer) = net_tcp();
    peer.write_all(b"ab").unwrap();
    let mut buffer = [0; 4];
    let got = case.drive(stream.read_exact(&mut buffer), || peer.write_all(b"cdef").unwrap()).await;
    // Not cancel safe: what it had read is gone with it, and what it had not is there.
    drop(peer);
    let mut rest = Vec::new();
    (&stream).read_to_end(&mut rest).await.unwrap();
    match got {
        Some(result) => {
            result.unwrap();
            assert_eq!((&buffer, &*rest), (b"abcd", &b"ef"[..]), "{case:?}");
        }
        None => assert!([&b"abcdef"[..], b"cdef"].contains(&&*rest), "{case:?} {rest:?}"),
    }
}

async fn halves(case: Case) {
    let (stream, mut peer) = net_tcp();
    let (reader, writer) = stream.into_split();
    let mut first = [0; 8];
    let got = case.drive(reader.read(&mut first), || peer.write_all(b"abc").unwrap()).await;
    if got.is_none() {
        assert_eq!(reader.read(&mut first).await.unwrap(), 3, "{case:?}");
    }
    // Neither half has noticed.
    assert_eq!(reader.reunite(writer).unwrap().write(b"de").await.unwrap(), 2, "{case:?}");
    assert_eq!(peer.read(&mut first).unwrap(), 2, "{case:?}");
}

async fn borrowed_halves(case: Case) {
    let (stream, mut peer, full) = full_tcp();
    let (reader, writer) = stream.split();
    let drain = || {
        peer.read_exact(&mut vec![0; full]).unwrap();
        peer.write_all(b"de").unwrap();
    };
    let written = case.drive(writer.write(b"abc"), drain).await.map_or(0, Result::unwrap);
    assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 2, "{case:?}");
    assert_eq!(rest(stream, peer), b"abc"[..written], "{case:?}");
}

async fn io_read(case: Case) {
    let (stream, mut peer) = net_tcp();
    let mut io = &stream;
    let mut first = [0; 8];
    let got = case
        .drive(AsyncReadExt::read(&mut io, &mut first), || peer.write_all(b"abc").unwrap())
        .await;
    if got.is_none() {
        assert_eq!(stream.read(&mut first).await.unwrap(), 3, "{case:?}");
    }
}

// ------------------------------------------------------------------------------------------- several at a time

#[test]
fn waits_behind_others_can_be_dropped_after_any_poll() {
    // Three who wait for one direction; each in turn is the one that is dropped.
    run(async || {
        for case in cases(5, Way::OneTask) {
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

async fn udp(case: Case) {
    let socket = net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = socket.local_addr().unwrap();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 8];
    let got = case
        .drive(socket.recv(&mut buffer), || assert_eq!(peer.send_to(b"abc", to).unwrap(), 3))
        .await;
    let received = match got {
        Some(received) => received,
        None => socket.recv(&mut buffer).await,
    };
    assert_eq!(received.unwrap().whole().unwrap(), 3, "{case:?}");
    assert!(socket.try_recv(&mut buffer).is_err(), "{case:?}");
}

async fn udp_by_name(case: Case) {
    let got = case.drive(net::UdpSocket::bind("localhost:0"), || ()).await;
    assert!(got.is_none_or(|socket| socket.is_ok()), "{case:?}");
    let socket = net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let got = case.drive(socket.connect("localhost:9"), || ()).await;
    assert!(got.is_none_or(|done| done.is_ok() && socket.peer_addr().is_ok()), "{case:?}");
}

async fn net_datagram(case: Case) {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let socket = net::UnixDatagram::from_std(ours).unwrap();
    let mut buffer = [0; 8];
    let event = || {
        theirs.send(b"abc").unwrap();
        theirs.send(b"de").unwrap();
    };
    let got = case.drive(socket.recv_from(&mut buffer), event).await;
    if got.is_none() {
        assert_eq!(socket.recv(&mut buffer).await.unwrap().count, 3, "{case:?}");
    }
    assert_eq!(socket.recv(&mut buffer).await.unwrap().count, 2, "{case:?}");
    // A peek takes nothing however it ends.
    let _ =
        case.drive(socket.peek(&mut buffer), || assert_eq!(theirs.send(b"f").unwrap(), 1)).await;
    assert_eq!(socket.recv(&mut buffer).await.unwrap().count, 1, "{case:?}");
}

/// Sends single bytes until the queue is full, and says how many.
fn fill_queue(send: impl Fn() -> std::io::Result<usize>) -> usize {
    (0..).find(|_| send().is_err()).expect("some time it is full")
}

async fn datagram_send(case: Case) {
    let (socket, peer) = net::UnixDatagram::pair().unwrap();
    let full = fill_queue(|| socket.try_send(b"x"));
    let drain = || {
        for _ in 0..full {
            assert_eq!(peer.try_recv(&mut [0; 8]).unwrap().count, 1);
        }
    };
    let got = case.drive(socket.send(b"abc"), drain).await;
    let sent = got.is_some_and(|count| count.unwrap() == 3);
    assert_eq!(peer.try_recv(&mut [0; 8]).is_ok(), sent, "{case:?}");
    assert_eq!(socket.send(b"de").await.unwrap(), 2, "{case:?}");
    assert_eq!(peer.recv(&mut [0; 8]).await.unwrap().count, 2, "{case:?}");
}

async fn datagram_send_to(case: Case) {
    let folder = Folder::new();
    let peer = net::UnixDatagram::bind(folder.at("d")).await.unwrap();
    let filler = net::UnixDatagram::unbound().unwrap();
    let full = fill_queue(|| filler.try_send_to(b"x", folder.at("d")));
    let drain = || {
        for _ in 0..full {
            assert_eq!(peer.try_recv(&mut [0; 8]).unwrap().count, 1);
        }
    };
    let socket = net::UnixDatagram::unbound().unwrap();
    let got = case.drive(socket.send_to(b"abc", folder.at("d")), drain).await;
    let sent = got.is_some_and(|count| count.unwrap() == 3);
    assert_eq!(peer.try_recv(&mut [0; 8]).is_ok(), sent, "{case:?}");
    assert_eq!(socket.send_to(b"de", folder.at("d")).await.unwrap(), 2, "{case:?}");
    assert_eq!(peer.recv(&mut [0; 8]).await.unwrap().count, 2, "{case:?}");
}

async fn unix_accept(case: Case) {
    let folder = Folder::new();
    let listener = net::UnixListener::bind(folder.at("s")).await.unwrap();
    let mut client = None;
    let connect =
        || client = Some(std::os::unix::net::UnixStream::connect(folder.at("s")).unwrap());
    let got = case.drive(listener.accept(), connect).await;
    let (stream, _) = match got {
        Some(accepted) => accepted.unwrap(),
        None => listener.accept().await.unwrap(),
    };
    client.unwrap().write_all(b"abc").unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
}

async fn unix_incoming(case: Case) {
    let folder = Folder::new();
    let listener = net::UnixListener::bind(folder.at("s")).await.unwrap();
    let mut client = None;
    let connect =
        || client = Some(std::os::unix::net::UnixStream::connect(folder.at("s")).unwrap());
    let mut connections = listener.incoming();
    let got = case.drive(connections.next(), connect).await;
    let stream = match got {
        Some(accepted) => accepted,
        None => connections.next().await,
    };
    client.unwrap().write_all(b"abc").unwrap();
    assert_eq!(stream.unwrap().unwrap().read(&mut [0; 8]).await.unwrap(), 3, "{case:?}");
}
