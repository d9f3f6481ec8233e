//! What does HTTP cost when hyper runs here, beside hyper on tokio?
//!
//! One response, "Hello, World!", by the same service, the same hyper and the same builders; what differs is who accepts, polls
//! and moves the bytes. Ours is net's `TcpStream` itself with `HyperExecutor` and `HyperTimer`; tokio's is its current_thread
//! runtime with hyper-util's `TokioIo`, `TokioExecutor` and `TokioTimer`, as its documentation shows. Both stand in this binary.
//!
//! ```text
//! cargo bench -p tests --features peers,ecosystem --bench hyper
//! cargo bench -p tests --features peers,ecosystem --bench hyper -- --rows h1 --rounds 3
//! cargo bench -p tests --features peers,ecosystem --bench hyper -- instructions --profile
//! ```
//!
//! The server is pinned to core 0, the client to core 1. HTTP/1 is asked by wrk (1 thread, 50 connections), HTTP/2 by h2load (50
//! connections, 10 streams each). Servers take turns within each round; medians of the rounds are shown, and the median of the
//! ratios within them. Counts are differences of a run three times as long and a short one, by strace and by callgrind.
//!
//! Rule: neither side is tuned; both set TCP_NODELAY.
//!
//! What this does not do: bodies, TLS, many cores, slow clients.
//!
//! Comes from: cargo bench. Goes to: wrk, h2load, standard output.

#![allow(dead_code, reason = "each benchmark uses a part of what they share")]

#[path = "common/mod.rs"]
mod common;

use common::args::Args;
use common::child::{Child, settle};
use common::stats::median;
use common::table;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use net::{HyperExecutor, HyperTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

const HELP: &str = "\
hyper's plain text over TCP on the loopback, on this runtime and on tokio's current_thread.

  --rows A,B      only these: h1 h2 syscalls instructions
  --rounds N      rounds of the rows that are times (default 7)
  --seconds S     length of one such measurement (default 2)

  instructions    user instructions per request, by valgrind's callgrind, and nothing else
    --n N           requests of the short run, the long one has 3 N (default 3000)
    --profile       keep the long run's profile and say how to read it

  serve NAME PROTOCOL   be the server: prints its address and process, ends when its input does
";

const SERVERS: [&str; 2] = ["ours", "tokio"];

fn main() {
    let args = Args::read(HELP, &["rows", "rounds", "seconds", "n"], &["profile", "anywhere"]);
    match (args.word(0), args.word(1), args.word(2)) {
        (None, ..) => compare(&args),
        (Some("instructions"), ..) => instructions(&args),
        (Some("serve"), Some(name), Some(protocol)) => {
            settle((!args.has("anywhere")).then_some(0));
            serve(name, protocol == "h2");
        }
        _ => args.wrong("that is no command"),
    }
}

fn compare(args: &Args) {
    let rows = args.choose("rows", &["h1", "h2", "syscalls", "instructions"]);
    let rounds: usize = args.get("rounds", 7);
    let seconds: f64 = args.get("seconds", 2.0);
    let mut figures = BTreeMap::<(&str, &str, &str), Vec<f64>>::new();
    for round in 0..rounds {
        for protocol in ["h1", "h2"].into_iter().filter(|protocol| rows.contains(protocol)) {
            let mut turns = SERVERS;
            turns.rotate_left(round % 2);
            for name in turns {
                for (figure, value) in under_load(name, protocol, seconds) {
                    figures.entry((protocol, figure, name)).or_default().push(value);
                }
            }
        }
    }
    let head =
        [format!("median of {rounds} rounds"), "ours".into(), "tokio".into(), "ratio".into()];
    let mut lines = vec![head.to_vec()];
    let titles = [
        ("h1", "rate", "HTTP/1, 50 connections: requests/s"),
        ("h1", "p50", "HTTP/1: latency p50 (us)"),
        ("h1", "p99", "HTTP/1: latency p99 (us)"),
        ("h1", "cpu", "HTTP/1: server CPU ns per request"),
        ("h2", "rate", "HTTP/2, 50 connections x 10 streams: requests/s"),
        ("h2", "cpu", "HTTP/2: server CPU ns per request"),
    ];
    for (protocol, figure, title) in titles {
        let of = |name| figures.get(&(protocol, figure, name));
        let (Some(ours), Some(tokio)) = (of("ours"), of("tokio")) else { continue };
        let ratios: Vec<f64> = ours.iter().zip(tokio).map(|(ours, tokio)| ours / tokio).collect();
        let numbers = [median(ours), median(tokio), median(&ratios)].map(table::number);
        lines.push([title.to_owned()].into_iter().chain(numbers).collect());
    }
    for (row, tool) in [("syscalls", Tool::Strace), ("instructions", Tool::Callgrind)] {
        for protocol in ["h1", "h2"].into_iter().filter(|_| rows.contains(&row)) {
            let [ours, tokio] = SERVERS.map(|name| per_request(name, protocol, tool, 3000, None));
            let what = if protocol == "h1" { "HTTP/1" } else { "HTTP/2" };
            let numbers = [ours, tokio, ours / tokio].map(table::number);
            lines.push([format!("{what}: {row} per request")].into_iter().chain(numbers).collect());
        }
    }
    table::print(&lines);
}

/// The command `instructions`.
fn instructions(args: &Args) {
    let n = args.get("n", 3000);
    println!("user instructions per request");
    for protocol in ["h1", "h2"] {
        for name in SERVERS {
            let keep = args.has("profile").then(|| scratch(&format!("hyper.{protocol}.{name}")));
            let count = per_request(name, protocol, Tool::Callgrind, n, keep.clone());
            println!("{protocol} {name:<8} {count:>10.1}");
            if let Some(path) = keep {
                println!(
                    "  callgrind_annotate --inclusive=yes --tree=both {} | less",
                    path.display()
                );
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------- the servers

fn serve(name: &str, is_http2: bool) {
    // Ends with its parent's word, so that callgrind and strace can write their reports.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match name {
        "ours" => serve_ours(is_http2),
        "tokio" => serve_tokio(is_http2),
        _ => panic!("there are {SERVERS:?}"),
    }
}

fn listening(address: std::net::SocketAddr) {
    println!("{address} {}", std::process::id());
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, World!"))))
}

fn serve_ours(is_http2: bool) {
    runtime::block_on(async {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listening(listener.local_addr().expect("it is bound"));
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            stream.set_nodelay(true).expect("it is TCP");
            runtime::spawn(async move {
                let service = service_fn(hello);
                // A client that leaves is no error of a benchmark.
                let _ = if is_http2 {
                    let mut builder = http2::Builder::new(HyperExecutor);
                    builder.timer(HyperTimer).serve_connection(stream, service).await
                } else {
                    let mut builder = http1::Builder::new();
                    builder.timer(HyperTimer).serve_connection(stream, service).await
                };
            });
        }
    });
}

fn serve_tokio(is_http2: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an epoll and an eventfd").block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listening(listener.local_addr().expect("it is bound"));
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            stream.set_nodelay(true).expect("it is TCP");
            let stream = TokioIo::new(stream);
            tokio::spawn(async move {
                let service = service_fn(hello);
                let _ = if is_http2 {
                    let mut builder = http2::Builder::new(TokioExecutor::new());
                    builder.timer(TokioTimer::new()).serve_connection(stream, service).await
                } else {
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new()).serve_connection(stream, service).await
                };
            });
        }
    });
}

// --------------------------------------------------------------------------------------------------- the clients

/// A running server.
struct Server {
    child: Child,
    url: String,
    id: String,
}

impl Server {
    fn start(tool: &[&str], words: &[&str]) -> Server {
        let mut child = Child::start_under(tool, &[&["serve"], words].concat());
        let line = child.line().expect("a server says where it listens");
        let (address, id) = line.split_once(' ').expect("an address and a process");
        Server { child, url: format!("http://{address}/"), id: id.to_owned() }
    }

    /// Nanoseconds on a processor, of the one thread that works.
    fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.id));
        let first = text.ok().and_then(|text| text.split(' ').next()?.parse().ok());
        first.expect("the server lives")
    }
}

fn under_load(name: &str, protocol: &str, seconds: f64) -> Vec<(&'static str, f64)> {
    let server = Server::start(&[], &[name, protocol]);
    let url = server.url.as_str();
    let length = seconds.to_string();
    let run = |length: &str| {
        if protocol == "h1" {
            let length = format!("-d{length}s");
            client(&["wrk", "-t1", "-c50", "--latency", &length, url])
        } else {
            client(&["h2load", "-t1", "-c50", "-m10", "-D", length, url])
        }
    };
    if protocol == "h1" {
        run("1"); // warm
        let before = server.cpu();
        let report = run(&length);
        let cpu = server.cpu() - before;
        let requests = number_before(&report, " requests in ");
        vec![
            ("rate", number_after(&report, "Requests/sec:")),
            ("p50", microseconds_after(&report, "50%")),
            ("p99", microseconds_after(&report, "99%")),
            ("cpu", cpu / requests),
        ]
    } else {
        let before = server.cpu();
        let report = run(&length);
        let cpu = server.cpu() - before;
        assert!(report.contains(" 0 failed, 0 errored"), "{report}");
        let requests = number_before(&report, " done,");
        vec![("rate", number_before(&report, " req/s")), ("cpu", cpu / requests)]
    }
}

/// Runs a client on core 1 and gives its report.
fn client(words: &[&str]) -> String {
    let mut command = Command::new("taskset");
    let output = command.args(["-c", "1"]).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("taskset (util-linux): {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {} {output:?}", output.status);
    text
}

fn number_after(text: &str, name: &str) -> f64 {
    word_after(text, name).parse().unwrap_or(f64::NAN)
}

/// wrk's latencies have units.
fn microseconds_after(text: &str, name: &str) -> f64 {
    let word = word_after(text, name);
    let (number, scale) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, scale)| Some((word.strip_suffix(unit)?, scale)))
        .unwrap_or((word, f64::NAN));
    number.parse::<f64>().unwrap_or(f64::NAN) * scale
}

fn word_after<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default()
}

fn number_before(text: &str, name: &str) -> f64 {
    let before = text.split(name).next().unwrap_or_default();
    let word = before.rsplit([' ', '\n']).next().unwrap_or_default();
    word.parse().unwrap_or(f64::NAN)
}

// ---------------------------------------------------------------------------------------------------- the counts

#[derive(Clone, Copy)]
enum Tool {
    Strace,
    Callgrind,
}

/// The difference of a run of `3 * n` requests and one of `n`.
fn per_request(name: &str, protocol: &str, tool: Tool, n: usize, keep: Option<PathBuf>) -> f64 {
    let count = |requests: usize| {
        let file = keep.clone().unwrap_or_else(|| scratch(&format!("count.{name}")));
        let path = file.to_str().expect("a path of ASCII");
        let option = format!("--callgrind-out-file={path}");
        let words: &[&str] = match tool {
            Tool::Strace => &["strace", "-f", "-c", "-o", path],
            Tool::Callgrind => &["valgrind", "--tool=callgrind", "--quiet", &option],
        };
        let mut server = Server::start(words, &[name, protocol, "--anywhere"]);
        let (requests, url) = (requests.to_string(), server.url.clone());
        let way: &[&str] = if protocol == "h1" { &["--h1"] } else { &["-m10"] };
        client(&[&["h2load", "-c50", "-n", &requests][..], way, &[&url]].concat());
        server.child.go_on();
        server.child.finish();
        let text = std::fs::read_to_string(&file).expect("the tool wrote its report");
        if keep.is_none() {
            std::fs::remove_file(&file).expect("it is ours");
        }
        let total = match tool {
            Tool::Strace => {
                let total = text.lines().find(|line| line.ends_with(" total"));
                total.and_then(|line| line.split_whitespace().nth(3))
            }
            Tool::Callgrind => text.lines().find_map(|line| line.strip_prefix("totals: ")),
        };
        total.and_then(|total| total.trim().parse::<f64>().ok()).expect("it has a total")
    };
    let short = count(n);
    (count(3 * n) - short) / (2 * n) as f64
}

/// A file beside the benchmark's executable, which is somewhere below the target folder.
fn scratch(name: &str) -> PathBuf {
    std::env::current_exe().expect("the benchmark can name its own executable").with_file_name(name)
}
