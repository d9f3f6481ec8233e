//! How fast is the fast client while others ask for long ones?
//!
//! This is the talk's perf2 with company: one connection asks for fib(1) without pause and notes
//! how long each answer took; K others ask for fib(38) without pause. All in one process, a thread
//! per connection; the threads of the long requests sleep nearly all the time.
//!
//! Rule: the long requests run for half a second before the first fast one is counted, so that the
//! server has settled.
//!
//! What is not exact: the rate of long requests. Each connection's is taken over its own span, from
//! the beginning to its last answer, because in a few seconds only a few dozens end.
//!
//! Comes from: talk.rs, word `ask`. Goes to: a server, and lines `name value` for talk.rs.

use crate::common::stats::percentile;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Asks for `span` and prints the figures of the fast and of the `long` connections.
pub(crate) fn ask(addr: SocketAddr, span: Duration, long: usize) {
    const SETTLE: Duration = Duration::from_millis(500);
    let start = Instant::now();
    let end = start + SETTLE + span;
    let slow: Vec<_> =
        (0..long).map(|_| thread::spawn(move || long_rate(addr, start, end))).collect();

    let mut line = Line::connect(addr);
    let (mut latencies, mut counted_from, mut idle_before) = (Vec::new(), start, None);
    let mut now = start;
    while now < end {
        line.ask("1\n");
        let answered = Instant::now();
        if now < start + SETTLE {
            (counted_from, idle_before) = (answered, cpu_ticks());
        } else {
            latencies.push((answered - now).as_nanos() as u64);
        }
        now = answered;
    }
    let seconds = (now - counted_from).as_secs_f64();
    println!("idle {}", idle_before.map_or(f64::NAN, idle_since));
    println!("rate {}", latencies.len() as f64 / seconds);
    latencies.sort_unstable();
    println!("p50 {}", percentile(&latencies, 0.50) as f64 / 1e6);
    println!("p99 {}", percentile(&latencies, 0.99) as f64 / 1e6);
    let rates = slow.into_iter().map(|thread| thread.join().expect("the server answers"));
    println!("long {}", 0.0 + rates.sum::<f64>()); // the sum of none is minus zero
}

/// What all cores have done since the machine started, in ticks: all, and nothing.
fn cpu_ticks() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    Some((ticks.iter().sum(), *ticks.get(3)?))
}

/// The share of all cores' time since then that nobody wanted, in percent.
fn idle_since((all, idle): (f64, f64)) -> f64 {
    let (all_now, idle_now) = cpu_ticks().unwrap_or((f64::NAN, f64::NAN));
    100.0 * (idle_now - idle) / (all_now - all)
}

/// Answers per second of one long connection.
fn long_rate(addr: SocketAddr, start: Instant, end: Instant) -> f64 {
    let mut line = Line::connect(addr);
    let (mut count, mut last) = (0, start);
    while last < end {
        line.ask("38\n");
        (count, last) = (count + 1, Instant::now());
    }
    f64::from(count) / (last - start).as_secs_f64()
}

/// A connection that asks one line at a time.
struct Line {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    answer: String,
}

impl Line {
    fn connect(addr: SocketAddr) -> Line {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        let answers = BufReader::new(stream.try_clone().expect("a descriptor"));
        Line { stream, answers, answer: String::new() }
    }

    fn ask(&mut self, question: &str) {
        self.stream.write_all(question.as_bytes()).expect("the server is there");
        self.answer.clear();
        let count = self.answers.read_line(&mut self.answer).expect("the server is there");
        let number = self.answer.trim().parse::<u64>();
        assert!(count > 0 && number.is_ok(), "{question:?} was answered {:?}", self.answer);
    }
}
