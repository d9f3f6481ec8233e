//! The client of the leavers' rows: connections that ask for what takes for ever and leave, and two that stay.
//!
//! A leaver asks for fib(90), some centuries of work, and leaves after 0 to 30 ms, by FIN (close) or by RST
//! (SO_LINGER 0); another takes its place at once. They come steadily, each at its own time, or in bursts: all at once,
//! every 100 ms. Meanwhile one connection asks for `1` in a loop, which is a job, and another one for `x`, which is answered
//! by an error without one. Their latencies are the figures.
//!
//! After the measurement the two end, then the leavers, and from the last close on the server's processor time is read
//! every millisecond: it is idle at the beginning of the first 20 ms in which it used less than one.
//!
//! Limits: an answer that takes longer than ten seconds is counted as these ten seconds and ends its connection; a server
//! that is not idle after [`IDLE_LIMIT`] is given as that. Each leaver takes a thread that sleeps nearly all the time; 64
//! of them in steady replacement make some 4,000 connections per second, of which the client's part of the machine is a
//! tenth or two.

use crate::common::args::Args;
use crate::common::stats::percentile;
use crate::common::sys::{connect_from, process_cpu_ns, reset_on_close};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The leavers run so long before the first latency is counted.
const SETTLE: Duration = Duration::from_millis(500);
const LONGEST_STAY: Duration = Duration::from_millis(30);
const BETWEEN_BURSTS: Duration = Duration::from_millis(100);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// Runs the row that the options name, and prints its figures.
pub(crate) fn run(args: &Args, addr: SocketAddrV4, span: Duration) {
    let crowd = Crowd {
        addr,
        resets: args.get("way", "fin".to_owned()) == "rst",
        bursts: args.get("rhythm", "steadily".to_owned()) == "bursts",
        start: Instant::now(),
        stop: AtomicBool::new(false),
        left: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    let server = args.get("pid", 0);
    let last_close = thread::scope(|scope| {
        let leavers: Vec<_> = (0..args.get("leavers", 0))
            .map(|number| {
                scope.spawn({
                    let crowd = &crowd;
                    move || crowd.come_and_leave(number)
                })
            })
            .collect();
        let (start, end) = (crowd.start, crowd.start + SETTLE + span);
        let job = scope.spawn(move || latencies(addr, "1\n", "1\n", start, end));
        let none = scope.spawn(move || latencies(addr, "x\n", "error", start, end));
        for (name, thread) in [("job", job), ("none", none)] {
            print_latencies(name, thread.join().expect("it counts what it cannot have"));
        }
        crowd.stop.store(true, Ordering::Relaxed);
        leavers.iter().for_each(|leaver| leaver.thread().unpark());
        let seconds = crowd.start.elapsed().as_secs_f64();
        println!("left {}", crowd.left.load(Ordering::Relaxed) as f64 / seconds);
        println!("refused {}", crowd.refused.load(Ordering::Relaxed) as f64 / seconds);
        leavers.into_iter().filter_map(|thread| thread.join().expect("it ignores errors")).max()
    });
    println!("idle_after {}", millis(idle_after(server, last_close.unwrap_or_else(Instant::now))));
}

struct Crowd {
    addr: SocketAddrV4,
    resets: bool,
    bursts: bool,
    start: Instant,
    stop: AtomicBool,
    left: AtomicU64,
    /// Connections that could not be had.
    refused: AtomicU64,
}

impl Crowd {
    /// One place in the crowd, taken by one leaver after the other. Gives the time of the last close.
    fn come_and_leave(&self, number: u32) -> Option<Instant> {
        // A generator of its own, so that every run has the same stays.
        let mut random = u64::from(number) + 1;
        let mut last_close = None;
        for round in 0.. {
            let next = self.start + BETWEEN_BURSTS * round;
            // The one who stops the crowd ends this wait, so that the last leaver is not long gone by then.
            while self.bursts && Instant::now() < next && !self.stop.load(Ordering::Relaxed) {
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let stay = LONGEST_STAY.mul_f64((random >> 40) as f64 / f64::from(1 << 24));
            // Each source address has its own ports: those of one would linger in TIME_WAIT until there are no more.
            let source = Ipv4Addr::new(127, 0, 1 + (round % 100) as u8, 1 + number as u8);
            let Ok(mut stream) = connect_from(source, self.addr) else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(stay);
                continue;
            };
            if self.resets {
                reset_on_close(&stream);
            }
            let _ = stream.write_all(b"90\n"); // a server that has closed already has one client less
            thread::sleep(stay);
            drop(stream);
            last_close = Some(Instant::now());
            self.left.fetch_add(1, Ordering::Relaxed);
        }
        last_close
    }
}

/// Asks until `end`, one request at a time, and gives the latencies of what was answered after the settling.
fn latencies(
    addr: SocketAddrV4,
    question: &str,
    answer: &str,
    start: Instant,
    end: Instant,
) -> Vec<u64> {
    let mut latencies = Vec::with_capacity(1 << 20);
    let Ok(mut stream) = TcpStream::connect(addr) else {
        return vec![ANSWER_LIMIT.as_nanos() as u64];
    };
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a time that is not zero");
    let mut answers = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut line = String::new();
    let mut now = Instant::now();
    while now < end {
        line.clear();
        let asked = now;
        let received =
            stream.write_all(question.as_bytes()).and_then(|()| answers.read_line(&mut line));
        now = Instant::now();
        match received {
            Ok(1..) => assert!(line.starts_with(answer), "{question:?} was answered {line:?}"),
            // It took too long, or the server has closed a connection that it should have answered.
            Ok(0) | Err(_) => {
                latencies.push(ANSWER_LIMIT.as_nanos() as u64);
                break;
            }
        }
        if now > start + SETTLE {
            latencies.push((now - asked).as_nanos() as u64);
        }
    }
    latencies
}

fn print_latencies(name: &str, mut latencies: Vec<u64>) {
    latencies.sort_unstable();
    for (figure, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        println!("{name}_{figure} {}", percentile(&latencies, share) as f64 / 1e6);
    }
}

/// How long after `from` the server went idle; see the head of this file.
fn idle_after(server: u32, from: Instant) -> Duration {
    const WINDOW: usize = 20;
    const LITTLE: u64 = 1_000_000;
    let mut samples: Vec<(Instant, u64)> = Vec::new();
    while from.elapsed() < IDLE_LIMIT {
        let used = process_cpu_ns(server);
        samples.push((Instant::now(), used));
        // Samples are a millisecond apart, or more where the machine is busy.
        if let Some(&(time, before)) = samples.iter().rev().nth(WINDOW)
            && used - before < LITTLE
        {
            return time.saturating_duration_since(from);
        }
        thread::sleep(Duration::from_millis(1));
    }
    IDLE_LIMIT
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
