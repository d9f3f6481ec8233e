//! What does an echo over TCP cost, beside the peers and beside a bare epoll loop?
//!
//! A server process on core 0, a load generator on core 1, loopback between them. The servers are a
//! bare epoll loop, this project's net, tokio (current_thread), smol (LocalExecutor) and monoio
//! (epoll driver); the load generator is one for all. Both are this executable again, `serve
//! <server>` and `load <kind> <address>`.
//!
//! ```text
//! cargo bench -p tests --features peers --bench echo
//! cargo bench -p tests --features peers --bench echo -- --rows rate,idle --only ours,monoio
//! cargo bench -p tests --bench echo -- instructions --only ours --profile
//! ```
//!
//! Two kinds of figures. Times (echoes and connections per second, latency, the server's processor
//! time per echo): in each round the servers take turns, the first one moving on by one per round;
//! the median of the rounds is shown. Counts (user instructions, system calls, resident bytes):
//! taken once, as a difference of two states of one and the same work, so that starting and ending
//! cancel out. For counting, server and generator share a core, the generator waits until the
//! server sleeps, and the server is a batch process, which does not preempt it: all connections are
//! ready at once, and each run does what the last one did.
//!
//! Rule: the load generator is as cheap as the bare loop, so that up to about the bare loop's speed
//! the server is what is measured; beyond that the processor time per echo tells more than the
//! rate.
//!
//! What this does not measure: real networks, many cores, TLS.
//!
//! Comes from: cargo bench. Goes to: echo/servers.rs, echo/load.rs, standard output.

// Elsewhere than on Linux this is an empty program that can be checked, but not run.
#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

#[path = "common/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part of it")]
mod common;
#[path = "echo/load.rs"]
mod load;
#[path = "echo/servers.rs"]
mod servers;

use common::args::Args;
use common::child::{self, Child, Said};
use common::stats::median;
use common::{runtimes, table};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HELP: &str = "\
Echo over TCP on the loopback: rates, latencies, processor time, memory, system calls, instructions.

  --rows A,B      only these: rate churn idle syscalls instructions
  --only A,B      only these servers: bare ours, and with `--features peers` tokio smol monoio
  --rounds N      rounds of the rows that are times (default 7)
  --seconds S     length of one such measurement (default 1.5)
  --conns A,B     connections of the row rate (default 1,50,1000)

  instructions    user instructions per 64-byte echo, by valgrind's callgrind, and nothing else
    --n N           echoes per connection of the short run, the long one has 3 N (default 500)
    --repeats N     runs of either length, whose median counts (default 3)
    --profile       keep the long run's profile and say how to read it

  serve S         be the server S: prints its address [--until-closed] [--core C] [--batch]
  load KIND ADDR  be the load generator: steady churn idle lockstep [--conns C] [--seconds S] [--n N]
";

const OPTIONS: [&str; 9] =
    ["rows", "only", "rounds", "seconds", "conns", "n", "repeats", "core", "server"];
const SWITCHES: [&str; 3] = ["until-closed", "batch", "profile"];

fn main() {
    let args = Args::read(HELP, &OPTIONS, &SWITCHES);
    let servers: Vec<&str> = ["bare"].into_iter().chain(runtimes()).collect();
    match (args.word(0), args.word(1), args.word(2)) {
        (None, ..) => compare(&args, &args.choose("only", &servers)),
        (Some("instructions"), ..) => instructions(&args, &args.choose("only", &servers)),
        (Some("serve"), Some(name), _) => {
            settle(&args, 0);
            servers::serve(name, args.has("until-closed"));
        }
        (Some("load"), Some(kind), Some(addr)) => {
            settle(&args, 1);
            let addr = addr.parse().unwrap_or_else(|_| args.wrong("load needs an IPv4 address"));
            load::run(&args, kind, addr);
        }
        _ => args.wrong("that is no command"),
    }
}

/// What both kinds of children do first.
fn settle(args: &Args, core: usize) {
    child::settle(Some(args.get("core", core)));
    common::sys::raise_descriptors();
    if args.has("batch") {
        common::sys::never_preempt();
    }
}

/// The whole comparison.
fn compare(args: &Args, servers: &[&str]) {
    let rows = args.choose("rows", &["rate", "churn", "idle", "syscalls", "instructions"]);
    let rounds = args.get("rounds", 7);
    let seconds = args.get("seconds", 1.5).to_string();
    let conns = args.get("conns", "1,50,1000".to_owned());
    let conns: Vec<&str> = if rows.contains(&"rate") { conns.split(',').collect() } else { vec![] };

    let mut times = Figures::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let mut turns = servers.to_vec();
        turns.rotate_left(round % servers.len());
        for &count in &conns {
            for server in &turns {
                let load = ["steady", "--seconds", &seconds, "--conns", count];
                times.keep(count, server, under_load(server, &load));
            }
        }
        for server in turns.iter().filter(|_| rows.contains(&"churn")) {
            times.keep("churn", server, under_load(server, &["churn", "--seconds", &seconds]));
        }
    }

    let mut lines = vec![head(&format!("median of {rounds} rounds"), servers)];
    for conns in conns {
        let of = |what: &str| format!("{conns} connections: {what}");
        lines.push(times.line(&of("echoes/s"), conns, "rate", servers));
        lines.push(times.ratios(&of("ratio to bare"), conns, "rate", servers));
        lines.push(times.line(&of("latency p50 (us)"), conns, "p50", servers));
        lines.push(times.line(&of("latency p99 (us)"), conns, "p99", servers));
        lines.push(times.line(&of("server CPU ns per echo"), conns, "cpu", servers));
    }
    if rows.contains(&"churn") {
        lines.push(times.line(
            "connections/s (connect, one echo, close)",
            "churn",
            "rate",
            servers,
        ));
    }
    let mut counted = |title: &str, count: &dyn Fn(&str) -> f64| {
        let cells = servers.iter().map(|server| table::number(count(server)));
        lines.push([title.to_owned()].into_iter().chain(cells).collect());
    };
    if rows.contains(&"idle") {
        counted("resident bytes per idle connection (10,000)", &|server| resident_bytes(server));
    }
    if rows.contains(&"syscalls") {
        counted("system calls per echo, 1 connection", &|server| system_calls(server, 1));
        counted("system calls per echo, 50 connections", &|server| system_calls(server, 50));
    }
    if rows.contains(&"instructions") {
        counted("user instructions per echo, 20 connections", &|server| {
            instructions_per_echo(server, 500, 3, None)
        });
    }
    table::print(&lines);
}

/// Starts a server and puts one load on it.
fn under_load(server: &str, load: &[&str]) -> Said {
    let server = Server::start(&[], &[server]);
    let (kind, rest) = load.split_first().expect("a load has a name");
    child::run(&[&["load", kind, &server.addr, "--server", &server.id], rest].concat())
}

/// A running server, killed when dropped.
struct Server {
    child: Child,
    addr: String,
    id: String,
}

impl Server {
    /// Starts a server, maybe below a tool, and reads where it listens and which process it is.
    fn start(tool: &[&str], words: &[&str]) -> Server {
        let mut child = Child::start_under(tool, &[&["serve"], words].concat());
        let line = child.line().expect("a server says where it listens");
        let (addr, id) = line.split_once(' ').expect("an address and a process");
        Server { child, addr: addr.to_owned(), id: id.to_owned() }
    }
}

/// Resident bytes that 10,000 more connections add to a server that has a hundred.
fn resident_bytes(server: &str) -> f64 {
    const CONNECTIONS: usize = 10_000;
    let server = Server::start(&[], &[server]);
    let count = CONNECTIONS.to_string();
    let mut load = Child::start(&["load", "idle", &server.addr, "--conns", &count]);
    let mut weigh = || {
        assert_eq!(load.line().as_deref(), Some("ready"), "the load generator failed");
        // The exact one: VmRSS in `status` may be some dozens of pages behind.
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.id));
        let text = text.expect("the server lives");
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("it has pages");
        let kib = line.trim().trim_end_matches("kB").trim().parse::<f64>();
        load.go_on();
        kib.expect("a number of KiB") * 1024.0
    };
    let few = weigh();
    (weigh() - few) / CONNECTIONS as f64
}

/// System calls per echo, by `strace -c`: the difference of a long and a short run.
fn system_calls(server: &str, connections: usize) -> f64 {
    if !installed("strace") {
        return f64::NAN;
    }
    let count = |times| {
        let report = scratch(&format!("strace.{server}"));
        let path = report.to_str().expect("a path of ASCII");
        counted_run(&["strace", "-f", "-c", "-o", path], server, connections, times);
        let text = std::fs::read_to_string(&report).expect("strace wrote its report");
        let total = text.lines().find(|line| line.ends_with(" total")).expect("it has a total");
        let calls = total.split_whitespace().nth(3).and_then(|calls| calls.parse::<f64>().ok());
        std::fs::remove_file(report).expect("it is ours");
        calls.expect("the fourth column is the calls")
    };
    let times = 3_000 / connections;
    (count(3 * times) - count(times)) / (2 * times * connections) as f64
}

/// The command `instructions`: one line per server.
fn instructions(args: &Args, servers: &[&str]) {
    if !installed("valgrind") {
        args.wrong("instructions are counted by valgrind, which is not installed");
    }
    let (times, repeats) = (args.get("n", 500), args.get("repeats", 3));
    println!("user instructions per 64-byte echo, 20 connections in lock step");
    for server in servers {
        let profile = args.has("profile").then(|| scratch(&format!("callgrind.out.{server}")));
        let count = instructions_per_echo(server, times, repeats, profile.as_deref());
        println!("{server:<8} {count:>10.2}");
        if let Some(path) = profile {
            println!("  callgrind_annotate --auto=yes {} | less", path.display());
            println!("  callgrind_annotate --inclusive=yes --tree=both {} | less", path.display());
        }
    }
}

/// User instructions per echo: the difference of a run of `3 * times` and one of `times`, 20
/// connections each.
///
/// Nearly all runs yield the very same count; a few differ by some hundred instructions, when
/// another program takes the core away between two messages. The median of the runs is one of the
/// many.
fn instructions_per_echo(server: &str, times: usize, repeats: usize, keep: Option<&Path>) -> f64 {
    const CONNECTIONS: usize = 20;
    if !installed("valgrind") {
        return f64::NAN;
    }
    let count = |times| {
        let file = keep.map_or_else(|| scratch(&format!("callgrind.{server}")), PathBuf::from);
        let option = format!("--callgrind-out-file={}", file.display());
        let tool = ["valgrind", "--tool=callgrind", "--quiet", &option];
        counted_run(&tool, server, CONNECTIONS, times);
        let text = std::fs::read_to_string(&file).expect("callgrind wrote its profile");
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        if keep.is_none() {
            std::fs::remove_file(file).expect("it is ours");
        }
        total.and_then(|total| total.trim().parse::<f64>().ok()).expect("it has a total")
    };
    let middle = |times| median(&(0..repeats).map(|_| count(times)).collect::<Vec<_>>());
    let short = middle(times);
    (middle(3 * times) - short) / (2 * times * CONNECTIONS) as f64
}

/// One run in lock step that ends by itself. Server and load share core 1, and the server is the
/// one that waits.
fn counted_run(tool: &[&str], server: &str, connections: usize, times: usize) {
    let words = [server, "--until-closed", "--batch", "--core", "1"];
    let server = Server::start(tool, &words);
    let (connections, times) = (connections.to_string(), times.to_string());
    let load = ["load", "lockstep", &server.addr, "--server", &server.id];
    child::run(&[&load, &["--conns", &connections, "--n", &times, "--core", "1"][..]].concat());
    server.child.finish();
}

fn installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A file beside the benchmark's executable, which is somewhere below the target folder.
fn scratch(name: &str) -> PathBuf {
    std::env::current_exe().expect("the benchmark can name its own executable").with_file_name(name)
}

/// What the rounds yielded, by load, server and figure.
struct Figures(BTreeMap<(String, String, String), Vec<f64>>);

impl Figures {
    fn new() -> Figures {
        Figures(BTreeMap::new())
    }

    fn keep(&mut self, load: &str, server: &str, said: Said) {
        for (figure, value) in said {
            let key = (load.to_owned(), server.to_owned(), figure);
            self.0.entry(key).or_default().push(value);
        }
    }

    fn median(&self, load: &str, server: &str, figure: &str) -> f64 {
        let key = (load.to_owned(), server.to_owned(), figure.to_owned());
        self.0.get(&key).map_or(f64::NAN, |values| median(values))
    }

    /// Medians, a cell per server.
    fn line(&self, title: &str, load: &str, figure: &str, servers: &[&str]) -> Vec<String> {
        let cell = |server: &&str| table::number(self.median(load, server, figure));
        [title.to_owned()].into_iter().chain(servers.iter().map(cell)).collect()
    }

    /// The median of the ratios to the bare loop in the same round.
    fn ratios(&self, title: &str, load: &str, figure: &str, servers: &[&str]) -> Vec<String> {
        let of =
            |server: &str| self.0.get(&(load.to_owned(), server.to_owned(), figure.to_owned()));
        let cell = |server: &&str| {
            let (Some(own), Some(bare)) = (of(server), of("bare")) else {
                return f64::NAN;
            };
            median(&own.iter().zip(bare).map(|(own, bare)| own / bare).collect::<Vec<_>>())
        };
        let cells = servers.iter().map(|server| table::number(cell(server)));
        [title.to_owned()].into_iter().chain(cells).collect()
    }
}

fn head(title: &str, servers: &[&str]) -> Vec<String> {
    [title].into_iter().chain(servers.iter().copied()).map(str::to_owned).collect()
}
