//! What does the engine cost beside its peers: a task, a wake, a timer, a job?
//!
//! One table: the rows are the things every async program does, the columns are this runtime, tokio
//! (current_thread), smol (LocalExecutor with async-io) and monoio (its epoll driver), and before
//! them a floor where one exists. The peers are compiled in by the feature `peers`; without it the
//! table has the floor and ours.
//!
//! ```text
//! cargo bench -p tests --features peers --bench engine
//! cargo bench -p tests --features peers --bench engine -- --rows spawn-await,yield --only ours,monoio --rounds 3
//! ```
//!
//! Every figure comes from a child process of its own: this executable again, `child <runtime>
//! <row>`. In each round the runtimes take turns at each row, and which one begins moves on by one
//! per round. The table shows medians, with the smallest value behind it where the figure is a
//! time.
//!
//! Rule: all runtimes run the same source, engine/rows.rs, in the words that engine/<runtime>.rs
//! defines.
//!
//! What this does not measure: sockets to other processes (that is echo.rs) and long jobs (that is
//! talk.rs).
//!
//! Comes from: cargo bench. Goes to: standard output.

// Elsewhere than on Linux this is an empty program that can be checked, but not run.
#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

#[path = "common/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part of it")]
mod common;
#[path = "engine/floor.rs"]
mod floor;
#[cfg(feature = "peers")]
#[path = "engine/monoio.rs"]
mod on_monoio;
#[cfg(feature = "peers")]
#[path = "engine/smol.rs"]
mod on_smol;
#[cfg(feature = "peers")]
#[path = "engine/tokio.rs"]
mod on_tokio;
#[path = "engine/ours.rs"]
mod ours;

use common::args::Args;
use common::stats::{median, smallest};
use common::{child, runtimes, table};
use std::collections::HashMap;

#[global_allocator]
static ALLOCATOR: common::sys::Counting = common::sys::Counting;

const HELP: &str = "\
The engine beside its peers: tasks, wakes, timers, jobs; one process per figure.

  --rows A,B      only these rows: task-bytes spawn-await spawn-many yield channel timer
                  sleeps lateness wake pool socketpair
  --only A,B      only these runtimes: ours, and with `--features peers` tokio smol monoio
  --rounds N      how often each figure is taken; the median is shown (default 7)
  child R ROW     run one row on one runtime in this process and print its figures
";

/// A line of the table: the row that yields it, the name of the figure, and what it says.
struct Line {
    row: &'static str,
    figure: &'static str,
    title: &'static str,
}

#[rustfmt::skip]
const LINES: [Line; 13] = [
    Line { row: "task-bytes", figure: "bytes", title: "waiting task (heap bytes)" },
    Line { row: "task-bytes", figure: "allocations", title: "waiting task (allocations)" },
    Line { row: "spawn-await", figure: "ns", title: "spawn + await, one at a time (CPU ns)" },
    Line { row: "spawn-many", figure: "ns", title: "spawn 10,000, then await (CPU ns each)" },
    Line { row: "yield", figure: "ns", title: "yield among 1,000 tasks (CPU ns)" },
    Line { row: "channel", figure: "ns", title: "async-channel ping-pong (CPU ns; floor: by hand)" },
    Line { row: "timer", figure: "ns", title: "timer created, polled, dropped (CPU ns; floor: clock)" },
    Line { row: "sleeps", figure: "ns", title: "50,000 sleeps fired, with task (CPU ns each)" },
    Line { row: "lateness", figure: "p50", title: "timer lateness, idle, p50 (us)" },
    Line { row: "lateness", figure: "p99", title: "timer lateness, idle, p99 (us)" },
    Line { row: "wake", figure: "us", title: "wake from another thread and back (us)" },
    Line { row: "pool", figure: "us", title: "pool job and back (us)" },
    Line { row: "socketpair", figure: "ns", title: "socketpair echo, 200 tasks (CPU ns per message)" },
];

fn main() {
    let args = Args::read(HELP, &["rows", "only", "rounds"], &[]);
    match args.word(0) {
        None => compare(&args),
        Some("child") => match (args.word(1), args.word(2)) {
            (Some(runtime), Some(row)) => measure(runtime, row),
            _ => args.wrong("child needs a runtime and a row"),
        },
        Some(word) => args.wrong(&format!("there is no command {word}")),
    }
}

/// One child's life.
fn measure(runtime: &str, row: &str) {
    child::settle(None);
    match runtime {
        "floor" => floor::measure(row),
        "ours" => ours::rows::measure(row),
        #[cfg(feature = "peers")]
        "tokio" => on_tokio::rows::measure(row),
        #[cfg(feature = "peers")]
        "smol" => on_smol::rows::measure(row),
        #[cfg(feature = "peers")]
        "monoio" => on_monoio::rows::measure(row),
        other => panic!("no runtime is called {other:?}"),
    }
}

/// All rounds, and the table.
fn compare(args: &Args) {
    let mut rows: Vec<&str> = LINES.iter().map(|line| line.row).collect();
    rows.dedup();
    let rows = args.choose("rows", &rows);
    let runtimes = args.choose("only", &runtimes());
    let rounds = args.get("rounds", 7);

    let mut figures: HashMap<(&str, &str, String), Vec<f64>> = HashMap::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for row in &rows {
            let floor = floor::ROWS.contains(row).then_some("floor");
            let mut turns: Vec<&str> = runtimes.iter().copied().chain(floor).collect();
            let first = round % turns.len();
            turns.rotate_left(first);
            for runtime in turns {
                for (figure, value) in child::run(&["child", runtime, row]) {
                    figures.entry((row, runtime, figure)).or_default().push(value);
                }
            }
        }
    }

    let columns: Vec<&str> = ["floor"].into_iter().chain(runtimes).collect();
    let mut lines = vec![vec![format!("median (min) of {rounds} rounds")]];
    lines[0].extend(columns.iter().map(|&name| name.to_owned()));
    for line in LINES.iter().filter(|line| rows.contains(&line.row)) {
        let mut cells = vec![line.title.to_owned()];
        for &runtime in &columns {
            let values = figures.get(&(line.row, runtime, line.figure.to_owned()));
            cells.push(values.map_or("-".to_owned(), |values| cell(line.row, values)));
        }
        lines.push(cells);
    }
    table::print(&lines);
}

/// The median; for times with the smallest value behind it.
fn cell(row: &str, values: &[f64]) -> String {
    let middle = table::number(median(values));
    match row {
        "task-bytes" => middle,
        _ => format!("{middle} ({})", table::number(smallest(values))),
    }
}
