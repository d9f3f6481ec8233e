//! Are the sentences about cost true?
//!
//! What can be counted is counted here, and the test fails when the count moves. What can only be timed is not here: that
//! is what the benchmarks are for.
//!
//! | claim                                                     | how it is counted                      |
//! |-----------------------------------------------------------|----------------------------------------|
//! | a spawn is one allocation, its handle included            | the counting allocator (counting.rs)   |
//! | yields, timers and echoes allocate nothing; a wake from abroad one letter | the same                 |
//! | bytes a waiting task, an idle echo connection holds       | the same                               |
//! | a connection is `accept4`, one `epoll_ctl`, `close`       | strace                                 |
//! | an echo is a read and a write, and a wait for each batch  | strace                                 |
//! | nobody rings while the loop is awake                      | strace                                 |
//! | a turn is one system call                                 | strace                                 |
//! | an idle loop sleeps                                       | the kernel's count of context switches |
//! | the clock is not read where no timer runs                 | callgrind's count of calls             |
//! | user instructions of an echo, its server a release build  | callgrind                              |
//!
//! Every test plays its scene in a process of its own, so that no neighbour is counted. Where a tool is missing, or may
//! not trace, the test says `skipped` and passes; `.ci/run` installs the tools. The figures are printed by
//! `cargo test -p tests --test it costs:: -- --nocapture`, and all of them by the same with `--release`.
//!
//! These are the claims for epoll; other backends pay more system calls and say so in their heads.
//!
//! Comes from: the figures in the README and in ARCHITECTURE.md. Goes to: counting.rs, strace, callgrind.

#![cfg(all(target_os = "linux", not(ground_portable)))]

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::env;
use std::fs::{self, File};
use std::future::{pending, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use net::{TcpListener, TcpStream};
use runtime::{AsyncSocket, Handle, Runtime, block_on, sleep, spawn, timeout, yield_now};

use crate::counting::{self, Heap};
use crate::support::counters::until;
use crate::support::{in_child_process, within};

/// What a client says, here as in the benchmarks.
const MESSAGE: [u8; 64] = [b'x'; 64];

const NOTHING: Heap = Heap { allocations: 0, bytes: 0 };

// ---------------------------------------------------------------------------------------------------- memory

#[test]
fn a_spawn_is_one_allocation_with_its_handle() {
    alone(|| {
        const SPAWNS: u64 = 1000;
        start_counting();
        block_on(async {
            let mut handles = Vec::with_capacity(SPAWNS as usize);
            // Two rounds to warm up: the run queue's two lanes exchange their buffers.
            for measured in [false, false, true] {
                let before = counting::now();
                for _ in 0..SPAWNS {
                    spawn(async {}).await.expect("it does not panic");
                }
                let one_by_one = before.until_now();
                let before = counting::now();
                handles.extend((0..SPAWNS).map(|number| spawn(async move { number })));
                for handle in handles.drain(..) {
                    handle.await.expect("it does not panic");
                }
                let many_at_once = before.until_now();
                if measured {
                    let one_each = Heap { allocations: SPAWNS, bytes: 0 };
                    assert_eq!(one_by_one, one_each, "spawn and await, one by one");
                    assert_eq!(many_at_once, one_each, "spawn many, then await them");
                }
            }
        });
    });
}

#[test]
fn yields_timers_and_echoes_allocate_nothing_and_a_wake_from_abroad_one_letter() {
    alone(|| {
        /// Twice the same: once so that tables and buffers reach their size, once counted.
        async fn allocates_nothing(what: &str, mut act: impl AsyncFnMut()) {
            for counted in [false, true] {
                let before = counting::now();
                for _ in 0..1000 {
                    act().await;
                }
                if counted {
                    assert_eq!(before.until_now(), NOTHING, "1,000 times: {what}");
                }
            }
        }

        start_counting();
        block_on(async {
            allocates_nothing("yield", yield_now).await;
            allocates_nothing("a timer that fires", async || {
                sleep(Duration::from_nanos(1)).await;
            })
            .await;
            allocates_nothing("a timer that is dropped", async || {
                assert_eq!(poll_once(sleep(Duration::from_secs(3600))).await, None);
            })
            .await;
            allocates_nothing("a timeout that is not reached", async || {
                let done = timeout(Duration::from_secs(3600), yield_now()).await;
                done.expect("an hour is enough");
            })
            .await;

            let (near, far) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
            let (near, far) = (
                AsyncSocket::new(near).expect("a socket can be watched"),
                AsyncSocket::new(far).expect("a socket can be watched"),
            );
            spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = far.recv(&mut buffer).await {
                    far.send(&buffer[..count]).await.expect("it fits");
                }
            });
            allocates_nothing("an echo through a socket pair", async || {
                let mut answer = [0; 1024];
                near.send(&MESSAGE).await.expect("the other end is there");
                let count = near.recv(&mut answer).await;
                assert_eq!(count.expect("the other end answers"), MESSAGE.len());
            })
            .await;

            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(address).await.expect("it listens");
            let (server, _) = listener.accept().await.expect("somebody is there");
            spawn(echo(server));
            allocates_nothing("an echo through TCP, the buffer lent", async || {
                let mut answer = [0; 1024];
                let sent = client.write_all(&MESSAGE).await;
                sent.expect("the server is there");
                let count = client.read(&mut answer).await;
                assert_eq!(count.expect("the server answers"), MESSAGE.len());
            })
            .await;

            let stranger = Stranger::new();
            // The letter: written abroad, freed at home.
            let letters = async || {
                for _ in 0..1000 {
                    stranger.wakes_me().await;
                }
            };
            letters().await;
            let before = counting::now();
            letters().await;
            let letters = before.until_now();
            assert_eq!((letters.allocations, letters.bytes), (1000, 0), "1,000 wakes from abroad");
            stranger.leave();
        });
    });
}

#[test]
fn a_waiting_task_holds_at_most_144_bytes() {
    alone(|| {
        /// Just below a power of two, so that the tables are full. They grow by doubling: just after that, the two
        /// entries that a task has in them (28 bytes) weigh twice as much.
        const TASKS: u64 = 16_000;
        start_counting();
        block_on(async {
            let before = counting::now();
            for number in 0..TASKS {
                let held = [number, number + 1];
                drop(spawn(async move {
                    pending::<()>().await;
                    std::hint::black_box(held);
                }));
            }
            // A batch polls 256 of them; then the run queue's memory has been given back.
            for _ in 0..2 * TASKS / 256 {
                yield_now().await;
            }
            let each = before.until_now().bytes as f64 / TASKS as f64;
            figure("bytes a waiting task, two words of its own among them", each);
            assert!(each <= 144.0, "{each} bytes a task that waits");
        });
    });
}

#[test]
fn an_idle_echo_connection_holds_at_most_600_bytes() {
    alone(|| {
        const CONNECTIONS: usize = 1000;
        allow_descriptors(2 * CONNECTIONS as u64 + 100);
        start_counting();
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let mut clients = Vec::with_capacity(CONNECTIONS);
            let mut first = None;
            for number in 0..=CONNECTIONS {
                let mut client = std::net::TcpStream::connect(address).expect("it listens");
                let (server, _) = listener.accept().await.expect("somebody is there");
                drop(spawn(echo(server)));
                // Once round, so that each waits where it will wait for the rest of its life.
                client.write_all(&MESSAGE).expect("the server is there");
                let readable = AsyncSocket::new(client.try_clone().expect("a descriptor"));
                let readable = readable.expect("a socket can be watched");
                let mut answer = [0; MESSAGE.len()];
                let count = readable.recv(&mut answer).await.expect("the server answers");
                assert_eq!(count, MESSAGE.len());
                if number == 0 {
                    // The lent buffer and the like belong to the thread, not to a connection.
                    first = Some((client, counting::now()));
                } else {
                    clients.push(client);
                }
            }
            let (_client, before) = first.expect("there was a first one");
            let each = before.until_now().bytes as f64 / CONNECTIONS as f64;
            figure("bytes an idle echo connection", each);
            assert!(each <= 600.0, "{each} bytes a connection that waits");
        });
    });
}

// ---------------------------------------------------------------------------------------------- system calls

#[test]
fn a_connection_is_accept4_one_epoll_ctl_and_close() {
    const CONNECTIONS: usize = 50;
    let scene = || {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let clients = thread::spawn(move || {
                for _ in 0..CONNECTIONS {
                    let mut client = std::net::TcpStream::connect(address).expect("it listens");
                    let mut answer = [0; MESSAGE.len()];
                    client.write_all(&MESSAGE).expect("the server is there");
                    client.read_exact(&mut answer).expect("the server answers");
                }
            });
            mark("begin");
            for _ in 0..CONNECTIONS {
                let (server, _) = listener.accept().await.expect("the clients come");
                let ended = spawn(echo(server)).await;
                ended.expect("no panic").expect("no error");
            }
            mark("end");
            clients.join().expect("the clients do not panic");
        });
    };
    traced(scene, |trace| {
        assert_eq!(trace.count("epoll_ctl"), CONNECTIONS);
        assert_eq!(trace.count("close"), CONNECTIONS);
        assert_eq!(trace.count("sendto"), CONNECTIONS, "one write for each connection");
        // At most one try that comes too early, for the connection and for its first message; and one for its end.
        assert!(trace.count("accept4") <= 2 * CONNECTIONS, "{} accepts", trace.count("accept4"));
        assert!(trace.count("recvfrom") <= 3 * CONNECTIONS, "{} reads", trace.count("recvfrom"));
        let expected = ["accept4", "epoll_ctl", "recvfrom", "sendto", "close", "epoll_wait"];
        let others: Vec<_> = trace
            .own()
            .filter(|line| !expected.contains(&line.call()))
            // In debug builds std asks whether a descriptor is open before it closes it.
            .filter(|line| !cfg!(debug_assertions) || !line.text.contains("F_GETFD"))
            .collect();
        assert!(others.is_empty(), "these calls are not on the bill: {others:#?}");
    });
}

#[test]
fn an_echo_is_a_read_and_a_write_and_a_wait_for_each_batch() {
    const ROUNDS: usize = 50;
    const SIZES: [usize; 2] = [1, 50];
    let scene = || {
        for connections in SIZES {
            block_on(async {
                let mut round = Round::new(connections).await;
                round.echo(5).await;
                mark(&format!("begin {connections}"));
                round.echo(ROUNDS).await;
                mark(&format!("end {connections}"));
            });
        }
    };
    traced(scene, |whole| {
        for connections in SIZES {
            let trace =
                whole.between(&format!("begin {connections}"), &format!("end {connections}"));
            let echoes = ROUNDS * connections;
            assert_eq!(trace.count("recvfrom"), echoes, "one read an echo");
            assert_eq!(trace.count("sendto"), echoes, "one write an echo");
            // The client's own reads and writes are told apart by their names, see `Round`.
            let client = trace.count("read") + trace.count("write");
            assert_eq!(client, 2 * echoes);
            let waits = trace.count("epoll_wait");
            assert_eq!(trace.own().count(), 4 * echoes + waits, "no other calls");
            assert!(waits <= ROUNDS, "{waits} waits for {ROUNDS} batches");
            figure(
                &format!("system calls an echo, {connections} connections"),
                (2 * echoes + waits) as f64 / echoes as f64,
            );
        }
    });
}

#[test]
fn nobody_rings_while_the_loop_is_awake_and_one_ring_ends_its_sleep() {
    const LETTERS: u32 = 10_000;
    const SLEEPS: u32 = 20;
    let scene = || {
        let arrived = Arc::new(AtomicU32::new(0));
        let letter = || {
            let arrived = Arc::clone(&arrived);
            move || {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        };
        block_on(async {
            let handle = Handle::current();
            // A loop that has work all the time.
            mark("busy");
            let letters: Vec<_> = (0..LETTERS).map(|_| letter()).collect();
            let stranger = thread::spawn({
                let handle = handle.clone();
                move || {
                    for letter in letters {
                        handle.post(letter).expect("the runtime is there");
                    }
                }
            });
            while arrived.load(Ordering::Relaxed) < LETTERS {
                yield_now().await;
            }
            mark("no longer busy");
            stranger.join().expect("the stranger does not panic");

            // A loop that sleeps whenever the stranger writes: the count must see these.
            let owner = this_thread();
            let (done, is_done) = async_channel::bounded::<()>(1);
            let letters: Vec<_> = (0..SLEEPS).map(|_| letter()).collect();
            mark("sleepy");
            let stranger = thread::spawn({
                let arrived = Arc::clone(&arrived);
                move || {
                    for (number, letter) in (1..).zip(letters) {
                        until(|| thread_state(owner) == 'S');
                        handle.post(letter).expect("the runtime is there");
                        until(|| arrived.load(Ordering::Relaxed) == LETTERS + number);
                    }
                    drop(done);
                }
            });
            let ended = is_done.recv().await;
            assert!(ended.is_err(), "the stranger has ended");
            mark("no longer sleepy");
            stranger.join().expect("the stranger does not panic");
        });
    };
    traced(scene, |whole| {
        let rings = |begin, end| {
            let trace = whole.between(begin, end);
            let eventfd = r#", "\1\0\0\0\0\0\0\0", 8)"#;
            let rings = trace.all().filter(|line| line.text.contains(eventfd));
            rings.count()
        };
        assert_eq!(rings("busy", "no longer busy"), 0, "rings for {LETTERS} letters while awake");
        // One for each sleep, and one for the end of the stranger.
        let sleepy = rings("sleepy", "no longer sleepy");
        assert!(
            (SLEEPS as usize..=SLEEPS as usize + 1).contains(&sleepy),
            "{sleepy} rings for {SLEEPS} sleeps"
        );
    });
}

#[test]
fn a_turn_is_one_system_call() {
    const TURNS: usize = 1000;
    /// More than the loop polls in one turn.
    const YIELDS: usize = 100 * TURNS;
    let scene = || {
        let rt = Runtime::new().expect("two descriptors");
        rt.turn(Some(Duration::ZERO)).expect("the kernel waits");
        mark("idle");
        for _ in 0..TURNS {
            rt.turn(Some(Duration::ZERO)).expect("the kernel waits");
        }
        mark("no longer idle");
        rt.block_on(async {
            mark("at work");
            for _ in 0..YIELDS {
                yield_now().await;
            }
            mark("no longer at work");
        });
    };
    traced(scene, |whole| {
        let idle = whole.between("idle", "no longer idle");
        assert_eq!(idle.count("epoll_wait"), TURNS, "waits of idle turns");
        assert_eq!(idle.own().count(), TURNS, "calls of idle turns");
        let work = whole.between("at work", "no longer at work");
        let waits = work.count("epoll_wait");
        assert!((TURNS..YIELDS).contains(&waits), "{waits} waits in {YIELDS} polls");
        assert_eq!(work.own().count(), waits, "calls of turns at work");
    });
}

#[test]
fn an_idle_loop_does_not_wake_up() {
    /// A loop on a thread of its own with connections to wait for and perhaps a timer: its thread, and what ends it.
    fn idle(with_timer: bool) -> (u32, async_channel::Sender<()>) {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                drop(spawn(async move { listener.accept().await.map(drop) }));
                if with_timer {
                    drop(spawn(sleep(Duration::from_secs(3600))));
                }
                let (end, is_over) = async_channel::bounded::<()>(1);
                tell.send((this_thread(), end)).expect("the other side waits");
                assert!(is_over.recv().await.is_err());
            });
        });
        told.recv().expect("the loop starts")
    }

    alone(|| {
        let loops = [idle(false), idle(true)];
        until(|| loops.iter().all(|(thread, _)| thread_state(*thread) == 'S'));
        let before = loops.each_ref().map(|(thread, _)| context_switches(*thread));
        // Time itself is what is tested here.
        thread::sleep(Duration::from_millis(300));
        let after = loops.each_ref().map(|(thread, _)| context_switches(*thread));
        assert_eq!(after, before, "times that the loops (the second with a timer) have slept");
    });
}

// ---------------------------------------------------------------------------------------------- instructions

#[test]
fn an_echo_is_at_most_470_instructions_and_reads_no_clock() {
    const CONNECTIONS: usize = 20;
    if !is_installed("valgrind") {
        return skip("no valgrind");
    }
    // Two runs that differ in nothing but the number of echoes; so start and end fall out.
    let (few, many) = (100, 600);
    let (short, long) = (simulated(CONNECTIONS, few), simulated(CONNECTIONS, many));
    let echoes = ((many - few) * CONNECTIONS) as f64;
    assert!(
        short.clock_readings > 0,
        "a new runtime reads the clock once: if callgrind cannot see it, the next line proves nothing"
    );
    assert_eq!(long.clock_readings, short.clock_readings, "clock readings for {echoes} echoes");
    let each = (long.instructions - short.instructions) as f64 / echoes;
    if cfg!(debug_assertions) && env::var_os(ECHO_CHILD).is_none() {
        return skip("instructions: a debug build");
    }
    figure("user instructions an echo, 20 connections", each);
    // 460 by rustc 1.95, 412 before a turn had bounds (two lanes of ready tasks). The aim is 200; tests/benches/README.md says where
    // the rest goes.
    assert!(each <= 470.0, "{each} user instructions an echo");
}

/// Where there is an echo_child of a release build, for tests that are themselves of a debug build.
const ECHO_CHILD: &str = "GROUND_ECHO_CHILD";

/// What callgrind has counted in one run.
struct Simulated {
    instructions: u64,
    clock_readings: u64,
}

/// Runs echo_child.rs under callgrind, which leaves out what its clients do.
fn simulated(connections: usize, rounds: usize) -> Simulated {
    within(60, move || {
        let counts = Scratch::new(&format!("callgrind-{rounds}"));
        let server = env::var(ECHO_CHILD).unwrap_or(env!("CARGO_BIN_EXE_echo_child").to_owned());
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .args(["--toggle-collect=*clients_write*", "--toggle-collect=*clients_read*"])
            .arg("--collect-atstart=yes")
            .arg(format!("--callgrind-out-file={}", counts.path.display()))
            .args([server, connections.to_string(), rounds.to_string()])
            .status()
            .expect("valgrind is installed");
        assert!(status.success(), "the server under callgrind: {status}");

        let report = fs::read_to_string(&counts.path).expect("callgrind has written its file");
        let instructions = report
            .lines()
            .find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok())
            .expect("callgrind's file has a summary");
        Simulated { instructions, clock_readings: calls_of("clock_gettime", &report) }
    })
}

/// How often functions whose names begin with `function` were called, by a callgrind file. There a name is written
/// out once, behind its number, and a call is two lines: `cfn=(number)` and `calls=count ...`.
fn calls_of(function: &str, report: &str) -> u64 {
    let mut numbers = Vec::new();
    let mut called = "";
    let mut calls = 0;
    for line in report.lines() {
        let named = line.strip_prefix("fn=").or(line.strip_prefix("cfn="));
        if let Some(named) = named {
            let (number, name) = named.split_once(' ').unwrap_or((named, ""));
            if name.starts_with(function) {
                numbers.push(number);
            }
            if line.starts_with("cfn=") {
                called = number;
            }
        } else if let Some(counts) = line.strip_prefix("calls=")
            && numbers.contains(&called)
        {
            let count = counts.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            calls += count.expect("a count follows calls=");
        }
    }
    calls
}

// ------------------------------------------------------------------------------------------------ the scenes

/// The server of these tests, and of echo_child.rs: it holds no buffer while it waits.
async fn echo(stream: TcpStream) -> io::Result<()> {
    while stream.read_lent(16 * 1024, |bytes| answer(&stream, bytes)).await?? > 0 {}
    Ok(())
}

/// Sends back what has come; at the end of the stream, nothing.
fn answer(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match bytes {
        [] => Ok(0),
        _ => stream.try_write(bytes),
    }
}

/// Clients and servers on one thread, so that a round is always one batch: all clients write, then all servers answer,
/// then all clients read. The clients are plain files, so their calls are `read` and `write` in a trace, while the
/// servers' are `recvfrom` and `sendto`.
struct Round {
    clients: Vec<File>,
    answered: Rc<Answered>,
}

#[derive(Default)]
struct Answered {
    count: Cell<usize>,
    enough: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Round {
    async fn new(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answered = Rc::<Answered>::default();
        let mut clients = Vec::new();
        for _ in 0..connections {
            let client = std::net::TcpStream::connect(address).expect("it listens");
            clients.push(File::from(OwnedFd::from(client)));
            let (server, _) = listener.accept().await.expect("somebody is there");
            let answered = Rc::clone(&answered);
            drop(spawn(async move {
                let echo = || server.read_lent(1024, |bytes| answer(&server, bytes));
                while let Ok(Ok(1..)) = echo().await {
                    answered.one_more();
                }
            }));
        }
        Round { clients, answered }
    }

    async fn echo(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for client in &mut self.clients {
                client.write_all(&MESSAGE).expect("the server is there");
            }
            self.answered.wait_for(self.clients.len()).await;
            for client in &mut self.clients {
                let mut answer = [0; MESSAGE.len()];
                client.read_exact(&mut answer).expect("the server has answered");
            }
        }
    }
}

impl Answered {
    fn one_more(&self) {
        self.count.set(self.count.get() + 1);
        if self.count.get() == self.enough.get()
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }

    async fn wait_for(&self, enough: usize) {
        self.enough.set(enough);
        poll_fn(|cx| {
            if self.count.get() >= enough {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.count.set(0);
    }
}

/// A thread that does nothing but wake whoever asks it to.
struct Stranger {
    shared: Arc<(Mutex<Option<Waker>>, AtomicBool)>,
    thread: thread::JoinHandle<()>,
}

impl Stranger {
    fn new() -> Self {
        let shared = Arc::new((Mutex::new(None::<Waker>), AtomicBool::new(false)));
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (waiting, leaves) = &*shared;
                while !leaves.load(Ordering::Acquire) {
                    let waiting = waiting.lock().expect("nobody panics").take();
                    match waiting {
                        Some(waiting) => waiting.wake(),
                        None => thread::park(),
                    }
                }
            }
        });
        Stranger { shared, thread }
    }

    async fn wakes_me(&self) {
        let mut asked = false;
        poll_fn(|cx| {
            let mut waiting = self.shared.0.lock().expect("nobody panics");
            if asked && waiting.is_none() {
                return Poll::Ready(());
            }
            asked = true;
            *waiting = Some(cx.waker().clone());
            self.thread.thread().unpark();
            Poll::Pending
        })
        .await;
    }

    fn leave(self) {
        self.shared.1.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("the stranger does not panic");
    }
}

// ---------------------------------------------------------------------------------- processes of their own

/// Plays `scene` in a process of its own. What it asserts, it asserts there.
fn alone<S: FnOnce() + Send + 'static>(scene: S) {
    print_figures(&in_child_process(scene));
}

/// Plays `scene` in a process of its own under strace, and gives what was called to `judge`, here.
fn traced<S: FnOnce() + Send + 'static>(scene: S, judge: impl FnOnce(Trace<'_>)) {
    const VARIABLE: &str = "GROUND_TRACED_TEST";
    // As in `support`: a scene is a closure in a test, so its type's name begins with the test's.
    let name = type_name::<S>().split("::{{").next().unwrap_or_default();
    let (_, name) = name.split_once("::").expect("the crate's name comes first");
    if env::var(VARIABLE).is_ok_and(|traced| traced == name) {
        within(60, scene);
        std::process::exit(0);
    }
    if !is_installed("strace") {
        return skip("no strace");
    }
    let may_trace = Command::new("strace").args(["-o/dev/null", "true"]).output();
    if !may_trace.is_ok_and(|output| output.status.success()) {
        return skip("strace may not trace here");
    }
    let calls = Scratch::new(name);
    let output = Command::new("strace")
        .arg("-f")
        .arg("-o")
        .arg(&calls.path)
        .arg(env::current_exe().expect("Linux knows it"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .output()
        .expect("strace is installed");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, under strace: {}\n{complaints}", output.status);
    let log = fs::read_to_string(&calls.path).expect("strace has written its file");
    let lines: Vec<_> = log.lines().filter_map(Line::parse).collect();
    judge(Trace::of(&lines));
}

/// The test's own threads must have come to rest, or the first thing that is counted is what they still do.
fn start_counting() {
    let own = this_thread();
    until(|| threads().filter(|thread| *thread != own).all(|thread| thread_state(thread) == 'S'));
    counting::start();
}

fn print_figures(said: &str) {
    for line in said.lines().filter(|line| line.contains(FIGURE)) {
        println!("{line}");
    }
}

const FIGURE: &str = "counted: ";

fn figure(what: &str, value: f64) {
    println!("{FIGURE}{what}: {value:.2}");
}

fn skip(why: &str) {
    println!("skipped: {why}");
}

fn is_installed(tool: &str) -> bool {
    let version = Command::new(tool).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A file that goes away with this.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let file = format!("ground-{}-{}", std::process::id(), name.replace("::", "-"));
        Scratch { path: env::temp_dir().join(file) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

// --------------------------------------------------------------------------------------------------- traces

/// Leaves a mark in the trace: a call that nobody else makes.
fn mark(name: &str) {
    let found = fs::metadata(format!("mark: {name}"));
    assert!(found.is_err(), "no such file, and that is the point");
}

/// One system call.
#[derive(Debug)]
struct Line<'a> {
    thread: u32,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// A line of strace's: the thread, then the call. `None` for what is no call: a signal, an end, the second half of
    /// a call that another thread's line has interrupted.
    fn parse(line: &'a str) -> Option<Self> {
        let (thread, text) = line.split_once(' ')?;
        let (thread, text) = (thread.parse().ok()?, text.trim_start());
        text.starts_with(|first: char| first.is_ascii_lowercase()).then_some(Line { thread, text })
    }

    fn call(&self) -> &'a str {
        self.text.split('(').next().unwrap_or(self.text)
    }

    fn is_mark(&self, name: &str) -> bool {
        self.text.contains(&format!("\"mark: {name}\""))
    }
}

/// A part of a trace, and the thread it is about.
#[derive(Clone, Copy)]
struct Trace<'a> {
    lines: &'a [Line<'a>],
    thread: u32,
}

impl<'a> Trace<'a> {
    /// What lies between the marks "begin" and "end", or everything if a test sets other marks.
    fn of(lines: &'a [Line<'a>]) -> Self {
        let whole = Trace { lines, thread: 0 };
        match lines.iter().any(|line| line.is_mark("begin")) {
            true => whole.between("begin", "end"),
            false => whole,
        }
    }

    /// What lies between two marks; the thread it is about is the one that has set them.
    fn between(self, begin: &str, end: &str) -> Trace<'a> {
        let at = |name: &str| {
            self.lines
                .iter()
                .position(|line| line.is_mark(name))
                .unwrap_or_else(|| panic!("the scene sets the mark {name:?}"))
        };
        let (begin, end) = (at(begin), at(end));
        Trace { lines: &self.lines[begin + 1..end], thread: self.lines[begin].thread }
    }

    /// The calls of all threads.
    fn all(self) -> impl Iterator<Item = &'a Line<'a>> {
        self.lines.iter()
    }

    /// The calls of the thread it is about.
    fn own(self) -> impl Iterator<Item = &'a Line<'a>> {
        self.all().filter(move |line| line.thread == self.thread)
    }

    fn count(self, call: &str) -> usize {
        self.own().filter(|line| line.call() == call).count()
    }
}

// ------------------------------------------------------------------------------------------ what /proc knows

/// The number by which the kernel knows the calling thread.
fn this_thread() -> u32 {
    let link = fs::read_link("/proc/thread-self").expect("Linux has it");
    let number = link.file_name().and_then(|name| name.to_str()?.parse().ok());
    number.expect("the link ends in the thread's number")
}

/// The numbers of this process's threads.
fn threads() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc/self/task").expect("Linux has it");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// `S`: it sleeps in a system call.
fn thread_state(thread: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).expect("it runs");
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let state = behind_name.trim_start().chars().next();
    state.expect("the state follows the name")
}

/// How often the thread has given up its core, of itself or not.
fn context_switches(thread: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("it runs");
    let counts = status.lines().filter_map(|line| {
        line.split_once("voluntary_ctxt_switches:")?.1.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// Raises this process's limit of open descriptors to `count`, if it is lower.
fn allow_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is ours and lives through the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(got, 0, "every Unix has this limit");
    limit.rlim_cur = limit.rlim_cur.max(count);
    // SAFETY: as above.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0, "{count} descriptors are allowed to us");
}
