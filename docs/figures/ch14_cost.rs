//! What does it cost, on one core, on many, and what do clients notice when one server of three goes?
//!
//! | table | its question | needs |
//! |---|---|---|
//! | `cost` | instructions, system calls and allocations of one yield, spawn, echo .. | valgrind, strace |
//! | `many-cores` | what do two workers bring, where clients share the machine? | |
//! | `goodbye` | how many requests fail when one of three servers behind haproxy stops? | haproxy, nc |
//!
//! Comes from: main.rs. Goes to: the programs 14-cost and 14-cost-clients, `server`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{grouped, median};
use crate::{Measured, program};

const FEW: u32 = 1000;
const MANY: u32 = 3000;

type Counted = Result<f64, Box<dyn std::error::Error>>;
type Count = fn(&str, u32) -> Counted;

/// Counts, which another machine gives as well.
pub(crate) fn cost() -> Measured {
    let mut table =
        "| one | user instructions | system calls | allocations |\n|---|---:|---:|---:|\n"
            .to_owned();
    let rows = [
        ("yield", "`yield_now().await`"),
        ("spawn", "`spawn(..).await`"),
        ("timeout", "`timeout(..)` that is not reached, with a yield in it"),
        ("job", "`unblock(..).await` of a job that sleeps for 200 us"),
        ("connection", "connect, accept and close; both ends"),
        ("echo", "echo of 64 bytes over TCP; both ends"),
    ];
    for (what, name) in rows {
        let each = |count: Count| {
            Counted::Ok((count(what, MANY)? - count(what, FEW)?) / f64::from(MANY - FEW))
        };
        let (instructions, calls, allocations) =
            (each(instructions)?, each(system_calls)?, each(allocations)?);
        writeln!(table, "| {name} | {} | {calls:.1} | {allocations:.1} |", grouped(instructions))?;
    }
    writeln!(table, "\nA run of {MANY} less a run of {FEW}, divided by {}.", MANY - FEW)?;
    Ok(table)
}

fn instructions(what: &str, count: u32) -> Counted {
    let said =
        under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], what, count)?;
    number_behind(&said, "Collected :")
}

fn allocations(what: &str, count: u32) -> Counted {
    let said = under(&["valgrind", "--tool=memcheck", "--leak-check=no"], what, count)?;
    number_behind(&said, "total heap usage:")
}

fn system_calls(what: &str, count: u32) -> Counted {
    let said = under(&["strace", "-f", "-c"], what, count)?;
    let total = said.lines().rfind(|line| line.trim_end().ends_with(" total"));
    let total =
        total.and_then(|line| line.split_whitespace().nth(3)).ok_or("strace says nothing")?;
    Ok(total.parse()?)
}

/// Runs 14-cost under a tool, and gives what the tool says.
fn under(tool: &[&str], what: &str, count: u32) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new(tool[0])
        .args(&tool[1..])
        .arg(program("14-cost")?)
        .args([what, &count.to_string()])
        .output()
        .map_err(|error| format!("{}: {error}", tool[0]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said.into()) }
}

fn number_behind(said: &str, word: &str) -> Counted {
    let (_, rest) = said.split_once(word).ok_or_else(|| format!("no {word:?} in {said}"))?;
    let digits: String =
        rest.trim_start().chars().take_while(|c| matches!(c, '0'..='9' | ',')).collect();
    Ok(digits.replace(',', "").parse()?)
}

const CLIENTS: usize = 16;
const ROUNDS: usize = 5;

/// The echo server with one worker and with two.
pub(crate) fn many_cores() -> Measured {
    let mut table = format!(
        "| workers | echoes a second, {CLIENTS} clients | the server's processor time for an echo | cores it keeps busy |\n|---|---:|---:|---:|\n"
    );
    for workers in ["1", "2"] {
        let (mut rates, mut times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let server = Server::start(&[
                "echo",
                "--prefix",
                "",
                "--workers",
                workers,
                "--addr",
                "127.0.0.1:0",
            ])?;
            let (before, start) = (server.processor_time()?, Instant::now());
            let echoes = ask_for(&server.address, Duration::from_secs(1))?;
            let elapsed = start.elapsed().as_secs_f64();
            rates.push(echoes / elapsed);
            times.push((server.processor_time()? - before) / echoes);
        }
        let (rate, time) = (median(rates), median(times));
        writeln!(
            table,
            "| {workers} | {} | {:.1} us | {:.2} |",
            grouped(rate),
            time * 1e6,
            rate * time
        )?;
    }
    writeln!(table, "\nMedians of {ROUNDS} runs of a second each.")?;
    Ok(table)
}

/// How many echoes so many clients get in this time.
fn ask_for(address: &str, time: Duration) -> io::Result<f64> {
    let converse = || -> io::Result<u32> {
        let mut server = TcpStream::connect(address)?;
        server.set_nodelay(true)?;
        let (start, mut message, mut echoes) = (Instant::now(), [b'x'; 64], 0);
        while start.elapsed() < time {
            server.write_all(&message)?;
            server.read_exact(&mut message)?;
            echoes += 1;
        }
        Ok(echoes)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(converse)).collect();
        let mut echoes = 0;
        for client in clients {
            echoes += client.join().map_err(|_| io::Error::other("a client panicked"))??;
        }
        Ok(f64::from(echoes))
    })
}

/// Three servers behind haproxy, of which one goes in different ways while clients ask.
pub(crate) fn goodbye() -> Measured {
    type Leave = fn(&Server) -> Result<(), Box<dyn std::error::Error>>;
    let ways: [(&str, Leave); 4] = [
        ("nobody", |_| Ok(())),
        ("drained by haproxy, then told to stop", |two| {
            to_haproxy("set server fibs/two state drain")?;
            thread::sleep(Duration::from_millis(500));
            two.signal("TERM")
        }),
        ("told to stop (SIGTERM)", |two| two.signal("TERM")),
        ("killed (SIGKILL)", |two| two.signal("KILL")),
    ];
    let mut table = "| one of three goes | answers | failures |\n|---|---:|---:|\n".to_owned();
    for (name, leave) in ways {
        let servers = ["127.0.0.1:25001", "127.0.0.1:25002", "127.0.0.1:25003"]
            .map(|address| Server::start(&["--quiet", "--addr", address]));
        let [one, two, three] = servers;
        let (_one, two, _three) = (one?, two?, three?);
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("14-cost/haproxy.cfg");
        let haproxy = Command::new("haproxy").arg("-q").arg("-f").arg(config).spawn();
        let _haproxy = Running(haproxy.map_err(|error| format!("haproxy: {error}"))?);
        let clients = Command::new(program("14-cost-clients")?)
            .args(["127.0.0.1:25000", "4", "4"])
            .stdout(Stdio::piped())
            .spawn()?;
        thread::sleep(Duration::from_millis(1500));
        leave(&two)?;
        let output = clients.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let behind = |word| {
            let line = said.lines().find_map(|line| line.strip_prefix(word));
            line.and_then(|line| line.split(',').next()).map(str::to_owned)
        };
        let answers = behind("answers: ").ok_or("the clients say nothing")?.parse()?;
        let failures = behind("failures: ").ok_or("the clients say nothing")?;
        writeln!(table, "| {name} | {} | {failures} |", grouped(answers))?;
    }
    writeln!(table, "\n4 clients for 4 seconds, ten requests a connection; one run each.")?;
    Ok(table)
}

/// A command for haproxy's socket. It answers with an empty line if all is well.
fn to_haproxy(command: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut socket = TcpStream::connect("127.0.0.1:25009")?;
    writeln!(socket, "{command}")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.trim().is_empty() { Ok(()) } else { Err(answer.into()) }
}

/// `server`, until this is dropped.
struct Server {
    process: Running,
    address: String,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(arguments: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut command = Command::new(program("server")?);
        let mut process = Running(command.args(arguments).stdout(Stdio::piped()).spawn()?);
        let output = process.0.stdout.take().ok_or("no output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        // `fib server on ADDRESS, try: ..`
        let address = line.split_whitespace().nth(3).ok_or("the server does not listen")?;
        let address = address.trim_end_matches(',').to_owned();
        thread::spawn(move || io::copy(&mut output, &mut io::sink())); // it must not wait for a reader
        Ok(Server { process, address })
    }

    fn signal(&self, name: &str) -> Result<(), Box<dyn std::error::Error>> {
        let id = self.process.0.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), "--", &id]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill: {status}").into()) }
    }

    /// In seconds, of all its threads.
    fn processor_time(&self) -> Result<f64, Box<dyn std::error::Error>> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let (_, rest) = text.rsplit_once(')').ok_or("no name")?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        let ticks: f64 = ticks.sum::<Result<f64, _>>()?;
        Ok(ticks / 100.0) // the kernel's tick for programs, on every Linux that runs here
    }
}
