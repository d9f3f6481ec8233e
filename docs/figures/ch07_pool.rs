//! What does it cost one loop to let a pool compute, and what does it bring?
//!
//! Comes from: main.rs. Goes to: programs.rs, strace.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{Server, grouped, median};
use crate::{Measured, program};

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ROUNDS: usize = 5;
/// Takes longer than the measurement.
const HOG: u64 = 52;

/// perf2 alone, and beside one long request.
pub(crate) fn pool() -> Measured {
    type Start = fn() -> io::Result<Server>;
    let servers: [(&str, Start); 5] = [
        ("a thread for each client (chapter 2)", || Server::rust("02-threads", &[])),
        ("threads and 4 processes (chapter 3)", || Server::rust("03-processes", &[])),
        ("one loop, which computes (chapter 5)", || Server::rust("05-waiting", &[])),
        ("one loop and 4 threads, a pair of sockets", || Server::rust("07-pool-pair", &[])),
        ("one loop and 4 threads, an eventfd", || Server::rust("07-pool", &[])),
    ];
    let mut table =
        "| requests a second | alone | an answer takes | beside a long fib |\n|---|---|---|---|\n"
            .to_owned();
    for (name, start) in servers {
        let server = start()?;
        let alone = rate(&server)?;
        let mut hog = server.client()?;
        hog.send(HOG)?;
        thread::sleep(Duration::from_millis(200)); // so that its work has begun
        let beside = rate(&server)?;
        let [each, alone, beside] = [1e6 / alone, alone, beside].map(grouped);
        writeln!(table, "| {name} | {alone} | {each} us | {beside} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} seconds each.")?;
    Ok(table)
}

/// As perf2 asks, in answers a second; it gives up when a second brings none, and says 0.
pub(crate) fn rate(server: &Server) -> io::Result<f64> {
    let mut client = TcpStream::connect(server.address())?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(SECOND))?;
    let mut rates = Vec::new();
    for _ in 0..=ROUNDS {
        let (start, mut answers) = (Instant::now(), 0);
        while start.elapsed() < SECOND {
            client.write_all(b"1")?;
            match client.read(&mut [0; 100]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => answers += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0.0),
                Err(error) => return Err(error),
            }
        }
        rates.push(f64::from(answers) / start.elapsed().as_secs_f64());
    }
    Ok(median(rates.split_off(1))) // the first one is for getting warm
}

/// System calls per answer, by name, of the two bells and of the next chapter's server.
pub(crate) fn pool_bill() -> Measured {
    const ANSWERS: u32 = 1000;
    let programs = ["07-pool-pair", "07-pool", "08-await"];
    let mut bills = Vec::new();
    for name in programs {
        // The difference of two runs: what is done once in a program's life does not belong to an answer.
        let [short, long] = [calls(name, ANSWERS)?, calls(name, 3 * ANSWERS)?];
        let each = long.into_iter().map(|(call, count)| {
            let before = short.get(&call).copied().unwrap_or(0);
            let each = f64::from(count.saturating_sub(before)) / f64::from(2 * ANSWERS);
            (call, each)
        });
        bills.push(each.collect::<BTreeMap<_, _>>());
    }
    let names: BTreeSet<_> = bills.iter().flat_map(BTreeMap::keys).collect();
    let mut table = "| system calls for an answer |".to_owned();
    programs.iter().for_each(|name| table += &format!(" `{name}` |"));
    table += "\n|---|---|---|---|\n";
    for name in names {
        let each: Vec<_> =
            bills.iter().map(|bill| bill.get(name).copied().unwrap_or(0.0)).collect();
        if each.iter().any(|each| *each >= 0.1) {
            let cells: Vec<_> = each.iter().map(|each| format!("{each:.1}")).collect();
            writeln!(table, "| `{name}` | {} |", cells.join(" | "))?;
        }
    }
    let sums: Vec<_> =
        bills.iter().map(|bill| format!("{:.1}", bill.values().sum::<f64>())).collect();
    writeln!(table, "| all | {} |", sums.join(" | "))?;
    writeln!(
        table,
        "\nThe difference of a run of {} answers and one of {ANSWERS}, for each; the client pauses for 1 ms before it asks.",
        3 * ANSWERS
    )?;
    Ok(table)
}

/// The system calls of a server that has given so many answers, as strace counts them.
fn calls(name: &str, answers: u32) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let report = std::env::temp_dir().join(format!("pool-bill-{}-{name}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&report).arg(program(name)?).arg(&address);
    let mut strace = strace
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let mut output = BufReader::new(strace.stdout.take().ok_or("no output")?);
    output.read_line(&mut String::new())?; // it listens
    let mut client = TcpStream::connect(&address)?;
    client.set_nodelay(true)?;
    for _ in 0..answers {
        thread::sleep(Duration::from_millis(1)); // strace is slow; so the server sleeps when the question comes
        client.write_all(b"1")?;
        if client.read(&mut [0; 100])? == 0 {
            return Err(format!("{name} has closed the connection").into());
        }
    }
    // The server is in strace's group. It ends of this; strace, told to write to a file, does not, and writes what it has counted.
    let group = format!("-{}", strace.id());
    Command::new("kill").args(["-INT", "--", &group]).status()?;
    strace.wait()?;
    let text = fs::read_to_string(&report)?;
    fs::remove_file(&report)?;
    // Columns: % time, seconds, usecs/call, calls, [errors,] name.
    let rows = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?))
    });
    Ok(rows.filter(|(name, _)| name != "total").collect())
}
