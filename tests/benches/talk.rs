//! What happens to the fast requests when long ones come?
//!
//! The talk ends with this measurement and no answer to it. Here it is repeated: a Fibonacci
//! server, a client that asks for fib(1) in a loop (the talk's perf2), alone and then beside 1, 4 and
//! 16 clients that ask for fib(38) without pause. The servers are ours (the program `server fib`,
//! as users start it), an OS thread per connection, a goroutine per connection where Go is
//! installed, and tokio, its loop on one thread and on all, with four blocking threads and with its
//! usual number.
//!
//! ```text
//! cargo build --release -p server
//! cargo bench -p tests --features peers --bench talk
//! cargo bench -p tests --features peers --bench talk -- --k 0,4 --only ours,threads
//! cargo bench -p tests --features peers --bench talk -- --rows leavers
//! ```
//!
//! The second question: what do clients cost that ask for what takes for ever, and leave? Those are the rows `leavers`
//! (talk/leavers.rs), in which every server is one that notices who leaves: 10 and 64 at a time, by FIN and by RST, in
//! bursts and steadily, beside one connection whose requests are jobs and one whose requests are none.
//!
//! Rule: server and client lead a session each. The kernel shares processor time out by session
//! first, so that a client that shares one with a busy server is measured slow for want of a core;
//! as users of two terminals they are in two anyway. Nothing is pinned: where threads run is part
//! of what is measured.
//!
//! In each round every server takes its turn at every K, freshly started; the medians of the rounds
//! are shown.
//!
//! What this does not measure: many fast clients. The question is what one of them notices.
//!
//! Comes from: cargo bench. Goes to: talk/servers.rs, talk/client.rs, standard output.

// Elsewhere than on Linux this is an empty program that can be checked, but not run.
#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

#[path = "talk/client.rs"]
mod client;
#[path = "common/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part of it")]
mod common;
#[path = "talk/leavers.rs"]
mod leavers;
#[path = "talk/servers.rs"]
mod servers;

use common::args::Args;
use common::child::{self, Child};
use common::stats::median;
use common::sys::settle_before_start;
use common::table;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const HELP: &str = "\
The talk's benchmark: fast requests beside long ones.

  --rows A,B      only these rows: fast (fast requests beside K long ones), leavers (beside clients
                  that ask for fib(90) and leave)
  --only A,B      only these servers: ours threads, go where it is installed, and with
                  `--features peers` tokio tokio-4 tokio-multi tokio-multi-4; in the rows of the
                  leavers ours threads-peek go tokio-flag tokio-multi-flag
  --k A,B         numbers of clients with long requests (default 0,1,4,16)
  --rounds N      how often each figure is taken; the median is shown (default 5)
  --seconds S     length of each measurement (default 3)
  --server PATH   the program that is `ours` (default: `server` beside the benchmark's folder)

  serve S         be the server S and print the address
  ask ADDR        be the client [--seconds S] [--long K]
  leave ADDR      be the clients that leave [--seconds S] [--leavers N] [--way fin|rst]
                  [--rhythm steadily|bursts] [--pid of the server]
";

fn main() {
    let options = [
        "rows", "only", "k", "rounds", "seconds", "server", "long", "leavers", "way", "rhythm",
        "pid",
    ];
    let args = Args::read(HELP, &options, &[]);
    let span = Duration::from_secs_f64(args.get("seconds", 3.0));
    let addr = |addr: &str| addr.parse().unwrap_or_else(|_| args.wrong("that is no address"));
    match (args.word(0), args.word(1)) {
        (None, _) => {
            let all = all_servers();
            let chosen = args.choose("only", &all.iter().flatten().copied().collect::<Vec<_>>());
            let [fast, leaving] = all.map(|servers| {
                servers.into_iter().filter(|server| chosen.contains(server)).collect::<Vec<_>>()
            });
            for rows in args.choose("rows", &["fast", "leavers"]) {
                if rows == "fast" {
                    beside_long(&args, &fast)
                } else {
                    beside_leavers(&args, &leaving)
                }
            }
        }
        (Some("serve"), Some(name)) => {
            child::settle(None);
            servers::serve(name);
        }
        (Some("ask"), Some(server)) => {
            child::settle(None);
            client::ask(addr(server), span, args.get("long", 0));
        }
        (Some("leave"), Some(server)) => {
            child::settle(None);
            let SocketAddr::V4(server) = addr(server) else {
                args.wrong("it takes an IPv4 address")
            };
            leavers::run(&args, server, span);
        }
        _ => args.wrong("that is no command"),
    }
}

/// The servers of the rows with long requests and of those with leavers, as far as they can be had.
fn all_servers() -> [Vec<&'static str>; 2] {
    let (mut fast, mut leaving) = (vec!["ours", "threads"], vec!["ours", "threads-peek"]);
    match build_in_go() {
        true => {
            fast.push("go");
            leaving.push("go");
        }
        false => println!("go is left out: there is no Go here, or it does not build its servers"),
    }
    if cfg!(feature = "peers") {
        fast.extend(["tokio", "tokio-4", "tokio-multi", "tokio-multi-4"]);
        leaving.extend(["tokio-flag", "tokio-multi-flag"]);
    }
    [fast, leaving]
}

/// The program that is `ours`, and the servers without it where it has not been built.
fn with_ours<'a>(args: &Args, servers: &[&'a str]) -> (PathBuf, Vec<&'a str>) {
    let program = args.get("server", beside_the_benchmark("server"));
    let mut servers = servers.to_vec();
    if !program.exists() && servers.contains(&"ours") {
        println!("ours is left out: `cargo build --release -p server` has not made its program");
        servers.retain(|&server| server != "ours");
    }
    (program, servers)
}

/// All rounds of the rows with long requests, and their table.
fn beside_long(args: &Args, servers: &[&str]) {
    let (program, servers) = with_ours(args, servers);
    if servers.is_empty() {
        return;
    }
    let companies = args.get("k", "0,1,4,16".to_owned());
    let companies: Vec<&str> = companies.split(',').collect();
    let rounds = args.get("rounds", 5);
    let seconds = args.get("seconds", 3.0).to_string();

    let mut figures: HashMap<(&str, &str, String), Vec<f64>> = HashMap::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for &long in &companies {
            let mut turns = servers.clone();
            turns.rotate_left(round % servers.len());
            for server in turns {
                let (_running, addr) = start(server, &program, "talk-go");
                let ask = ["ask", &addr, "--seconds", &seconds, "--long", long];
                for (figure, value) in child::run(&ask) {
                    figures.entry((server, long, figure)).or_default().push(value);
                }
            }
        }
    }

    let median_of = |server, long, figure: &str| {
        let values = figures.get(&(server, long, figure.to_owned()));
        table::number(values.map_or(f64::NAN, |values| median(values)))
    };
    let title = format!("fast requests: per second, p50, p99; median of {rounds} rounds");
    let mut lines = vec![vec![title]];
    let mut long_lines = Vec::new();
    for long in &companies {
        lines[0].push(format!("K = {long}"));
    }
    for server in &servers {
        let (mut cells, mut long_cells) =
            (vec![server.to_string()], vec![format!("{server}: long/s, idle")]);
        for long in &companies {
            let of = |figure| median_of(*server, *long, figure);
            cells.push(format!("{}, {} ms, {} ms", of("rate"), of("p50"), of("p99")));
            long_cells.push(format!("{}, {} %", of("long"), of("idle")));
        }
        lines.push(cells);
        long_lines.push(long_cells);
    }
    lines.extend(long_lines);
    println!("server and client in a session each; K clients ask for fib(38) without pause");
    table::print(&lines);
}

/// All rounds of the rows with leavers, and their tables.
fn beside_leavers(args: &Args, servers: &[&str]) {
    let (program, servers) = with_ours(args, servers);
    if servers.is_empty() {
        return;
    }
    let crowds =
        [("0", "fin", "steadily")].into_iter().chain(["10", "64"].into_iter().flat_map(|n| {
            [
                (n, "fin", "steadily"),
                (n, "rst", "steadily"),
                (n, "fin", "bursts"),
                (n, "rst", "bursts"),
            ]
        }));
    let crowds: Vec<_> = crowds.collect();
    let rounds = args.get("rounds", 5);
    let seconds = args.get("seconds", 3.0).to_string();

    let mut figures: HashMap<(String, usize, String), Vec<f64>> = HashMap::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (place, (leavers, way, rhythm)) in crowds.iter().enumerate() {
            let mut turns = servers.clone();
            turns.rotate_left(round % servers.len());
            for server in turns {
                let (running, addr) = start(server, &program, "talk-go-leavers");
                let pid = running.id().to_string();
                let mut leave = vec!["leave", &addr, "--seconds", &seconds, "--pid", &pid];
                leave.extend(["--leavers", leavers, "--way", way, "--rhythm", rhythm]);
                for (figure, value) in child::run(&leave) {
                    figures.entry((server.to_owned(), place, figure)).or_default().push(value);
                }
            }
        }
    }

    let median_of = |server: &str, place, figure: &str| {
        let values = figures.get(&(server.to_owned(), place, figure.to_owned()));
        table::number(values.map_or(f64::NAN, |values| median(values)))
    };
    let show = |title: &str, cell: &dyn Fn(&str, usize) -> String| {
        let mut lines = vec![vec![format!("{title}; median of {rounds} rounds")]];
        lines[0].extend(servers.iter().map(ToString::to_string));
        for (place, (leavers, way, rhythm)) in crowds.iter().enumerate() {
            let name = match *leavers {
                "0" => "no leavers".to_owned(),
                _ => format!("{leavers} leavers, {way}, {rhythm}"),
            };
            lines.push(vec![name]);
            lines[place + 1].extend(servers.iter().map(|server| cell(server, place)));
        }
        table::print(&lines);
        println!();
    };
    let three = |kind: &str, server: &str, place| {
        let of = |figure| median_of(server, place, &format!("{kind}_{figure}"));
        format!("{}, {}, {}", of("p50"), of("p99"), of("max"))
    };
    println!(
        "server and clients in a session each; leavers ask for fib(90) and leave within 30 ms\n"
    );
    show("`1`, a job: p50, p99, max in ms", &|server, place| three("job", server, place));
    show("`x`, no job: p50, p99, max in ms", &|server, place| three("none", server, place));
    show("leavers per second; ms from the last one to an idle server", &|server, place| {
        let (left, idle) =
            (median_of(server, place, "left"), median_of(server, place, "idle_after"));
        format!("{left}; {idle}")
    });
}

/// Starts a server and waits until it accepts.
fn start(server: &str, program: &PathBuf, in_go: &str) -> (Child, String) {
    if server != "ours" {
        let mut child = match server {
            "go" => {
                let mut command = Command::new(beside_the_benchmark(in_go));
                settle_before_start(&mut command);
                Child::from(command)
            }
            _ => Child::start(&["serve", server]),
        };
        let addr = child.line().expect("a server says where it listens");
        return (child, addr);
    }
    let addr = free_address();
    let mut command = Command::new(program);
    settle_before_start(&mut command); // a server that computes for ever is not to outlive the benchmark
    command.args(["fib", "--quiet", "--addr", &addr.to_string()]);
    let child = Child::from(command);
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "{} does not listen on {addr}", program.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, addr.to_string())
}

/// Builds the servers in Go; `false` if there is none.
fn build_in_go() -> bool {
    let sources = [("talk-go", "goroutines.go"), ("talk-go-leavers", "leavers.go")];
    sources.iter().all(|(program, source)| {
        let source = format!("{}/benches/talk/{source}", env!("CARGO_MANIFEST_DIR"));
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(beside_the_benchmark(program)).arg(source);
        build.status().is_ok_and(|status| status.success())
    })
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// A program of the same build: the benchmark's executable lies in `deps`, one folder below the
/// programs.
fn beside_the_benchmark(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the benchmark can name its own executable");
    own.ancestors().nth(2).expect("it lies in a folder of a folder").join(name)
}
