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
//! ```
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
#[path = "talk/servers.rs"]
mod servers;

use common::args::Args;
use common::child::{self, Child};
use common::stats::median;
use common::table;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const HELP: &str = "\
The talk's benchmark: fast requests beside long ones.

  --only A,B      only these servers: ours threads, go where it is installed, and with
                  `--features peers` tokio tokio-4 tokio-multi tokio-multi-4
  --k A,B         numbers of clients with long requests (default 0,1,4,16)
  --rounds N      how often each figure is taken; the median is shown (default 5)
  --seconds S     length of each measurement (default 3)
  --server PATH   the program that is `ours` (default: `server` beside the benchmark's folder)

  serve S         be the server S and print the address
  ask ADDR        be the client [--seconds S] [--long K]
";

fn main() {
    let args = Args::read(HELP, &["only", "k", "rounds", "seconds", "server", "long"], &[]);
    let span = Duration::from_secs_f64(args.get("seconds", 3.0));
    match (args.word(0), args.word(1)) {
        (None, _) => compare(&args),
        (Some("serve"), Some(name)) => {
            child::settle(None);
            servers::serve(name);
        }
        (Some("ask"), Some(addr)) => {
            child::settle(None);
            let addr = addr.parse().unwrap_or_else(|_| args.wrong("ask needs an address"));
            client::ask(addr, span, args.get("long", 0));
        }
        _ => args.wrong("that is no command"),
    }
}

/// All rounds, and the table.
fn compare(args: &Args) {
    let program = args.get("server", beside_the_benchmark("server"));
    let mut servers = vec!["ours", "threads"];
    if is_go_built() {
        servers.push("go");
    }
    if cfg!(feature = "peers") {
        servers.extend(["tokio", "tokio-4", "tokio-multi", "tokio-multi-4"]);
    }
    let mut servers = args.choose("only", &servers);
    if !program.exists() && servers.contains(&"ours") {
        println!("ours is left out: `cargo build --release -p server` has not made its program");
        servers.retain(|&server| server != "ours");
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
                let (_running, addr) = start(server, &program);
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

/// Starts a server and waits until it accepts.
fn start(server: &str, program: &PathBuf) -> (Child, String) {
    if server != "ours" {
        let mut child = match server {
            "go" => {
                let mut command = Command::new("setsid");
                command.arg(beside_the_benchmark("talk-go"));
                Child::from(command)
            }
            _ => Child::start(&["serve", server]),
        };
        let addr = child.line().expect("a server says where it listens");
        return (child, addr);
    }
    let addr = free_address();
    let mut command = Command::new("setsid");
    command.arg(program).args(["fib", "--quiet", "--addr", &addr.to_string()]);
    let child = Child::from(command);
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "{} does not listen on {addr}", program.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, addr.to_string())
}

/// Whether there is a Go, and it has made its server.
fn is_go_built() -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/talk/goroutines.go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(beside_the_benchmark("talk-go")).arg(source);
    build.status().is_ok_and(|status| status.success())
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
