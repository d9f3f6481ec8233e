//! Who asks the echo servers?
//!
//! One load generator for all of them, so that only the server differs: a process of one thread on
//! a core of its own, written on epoll and blocking sockets, with no runtime in it. Every
//! connection has exactly one message of 64 bytes in flight.
//!
//! - `steady`: n connections; each reply is followed by the next message. Yields echoes per second,
//!   latency, and the processor time the server spent on each echo.
//! - `churn`: connect, one echo, close, 16 at a time.
//! - `idle`: opens connections, one echo each, and waits while somebody weighs the server; then
//!   opens more.
//! - `lockstep`: waits until the server sleeps, sends on all connections, reads from all, and so
//!   on; then closes all. For counting, where each run must do exactly what the last one did: the
//!   server finds all connections ready at once, and never finds a message where it would have
//!   found none had it been a little faster.
//!
//! Rule: a connection is opened only after the one before it has had an echo, so that no server's
//! backlog overflows.
//!
//! What this does not do: an open loop with a fixed rate. Each server gets as much work as it
//! finishes, and latency under `steady` is mostly the wait behind the other connections.
//!
//! Comes from: echo.rs, word `load`. Goes to: the server, and lines `name value` for echo.rs.

use crate::common::args::Args;
use crate::common::stats::percentile;
use crate::common::sys::{Epoll, connect_from, raise_descriptors};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const MESSAGE: [u8; 64] = [b'm'; 64];

/// Runs one kind of load against the server at `addr`.
pub(crate) fn run(args: &Args, kind: &str, addr: SocketAddrV4) {
    raise_descriptors();
    let connections = args.get("conns", 1);
    let span = Duration::from_secs_f64(args.get("seconds", 1.0));
    match kind {
        "steady" => steady(addr, connections, span, args.get("server", 0)),
        "churn" => churn(addr, span),
        "idle" => idle(addr, connections),
        "lockstep" => lockstep(addr, connections, args.get("n", 1), args.get("server", 0)),
        other => args.wrong(&format!("there is no load {other:?}")),
    }
}

fn steady(addr: SocketAddrV4, connections: usize, span: Duration, server: u32) {
    let epoll = Epoll::new();
    let mut streams = open(addr, connections);
    for (place, stream) in streams.iter().enumerate() {
        epoll.add(stream.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, place as u64);
    }
    let mut sent = vec![Instant::now(); connections];
    for stream in &mut streams {
        stream.write_all(&MESSAGE).expect("the server is there");
    }

    // A quarter of the span warms up caches, branch predictors and the scheduler, and is not
    // counted.
    let mut latencies: Vec<u64> = Vec::with_capacity(4 << 20);
    let mut begin = Instant::now() + span / 4;
    let mut cpu_before = None;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    loop {
        let mut now = begin;
        for event in epoll.wait(&mut events) {
            let place = event.u64 as usize;
            take_reply(&mut streams[place]);
            now = Instant::now();
            latencies.push((now - sent[place]).as_nanos() as u64);
            sent[place] = now;
            streams[place].write_all(&MESSAGE).expect("the server is there");
        }
        if cpu_before.is_none() && now > begin {
            latencies.clear();
            begin = now;
            cpu_before = Some(server_cpu_ns(server));
        }
        if cpu_before.is_some() && now - begin >= span {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = server_cpu_ns(server) - cpu_before.expect("it was read when the warm-up ended");

    let echoes = latencies.len() as f64;
    latencies.sort_unstable();
    println!("rate {}", echoes / seconds);
    println!("p50 {}", percentile(&latencies, 0.50) as f64 / 1e3);
    println!("p99 {}", percentile(&latencies, 0.99) as f64 / 1e3);
    println!("cpu {}", cpu as f64 / echoes);
}

fn churn(addr: SocketAddrV4, span: Duration) {
    const AT_A_TIME: usize = 16;
    let mut started = 0;
    let mut next = || {
        started += 1;
        let source = Ipv4Addr::new(127, 0, 1, (started % 200) as u8 + 1);
        let mut stream = connect_from(source, addr).expect("the server accepts");
        stream.write_all(&MESSAGE).expect("the server is there");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..AT_A_TIME).map(|_| next()).collect();
    let (mut count, mut begin, mut warm) = (0_u64, Instant::now(), false);
    while !warm || begin.elapsed() < span {
        // In order of age: by the time the last of them was opened, the first has its answer.
        for stream in &mut streams {
            take_reply(stream);
            *stream = next();
        }
        count += AT_A_TIME as u64;
        if !warm && begin.elapsed() > span / 4 {
            (count, begin, warm) = (0, Instant::now(), true);
        }
    }
    println!("rate {}", count as f64 / begin.elapsed().as_secs_f64());
}

/// Opens a hundred, says so, waits for a line; opens `connections` more, says so, waits for a line;
/// ends.
fn idle(addr: SocketAddrV4, connections: usize) {
    let mut held = Vec::new();
    for count in [100, connections] {
        held.extend(open(addr, count));
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).expect("the benchmark is there");
    }
}

fn lockstep(addr: SocketAddrV4, connections: usize, times: usize, server: u32) {
    let mut streams = open(addr, connections);
    for _ in 0..times {
        while !sleeps(server) {
            std::thread::sleep(Duration::from_micros(20));
        }
        for stream in &mut streams {
            stream.write_all(&MESSAGE).expect("the server is there");
        }
        for stream in &mut streams {
            take_reply(stream);
        }
    }
}

/// Opens connections, one echo on each before the next.
fn open(addr: SocketAddrV4, count: usize) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(addr).expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.write_all(&MESSAGE).expect("the server is there");
        take_reply(&mut stream);
        stream
    };
    (0..count).map(one).collect()
}

fn take_reply(stream: &mut TcpStream) {
    let mut reply = [0; MESSAGE.len()];
    stream.read_exact(&mut reply).expect("the server echoes");
    assert_eq!(reply, MESSAGE, "an echo says what it was told");
}

/// Whether the server's first thread sleeps in the kernel; stopped by a tracer or ready to run, it
/// does not.
fn sleeps(server: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{server}/stat")).expect("the server lives");
    // The state is the first letter after the name, which is in parentheses and may contain
    // anything.
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Nanoseconds that all threads of the server have spent on a processor; its threads are few and
/// live long.
fn server_cpu_ns(server: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{server}/task")) else {
        return 0;
    };
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    };
    threads.flatten().map(of_thread).sum()
}
