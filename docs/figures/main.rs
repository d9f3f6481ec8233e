//! Where do the numbers in the text come from?
//!
//! From here. Each table in a chapter is measured by one function below and written, with the machine and the number of
//! rounds beside it, into a file of this folder and into the page that shows it; a test compares the two.
//!
//! ```text
//! cargo build --release -p walkthrough -p server
//! cargo run --release -p walkthrough --bin figures                # what there is
//! cargo run --release -p walkthrough --bin figures -- threads     # measures one table, prints it, writes it
//! cargo run --release -p walkthrough --bin figures -- all         # all of them, some ten minutes
//! ```
//!
//! Measure on a machine that does nothing else. The programs measured are those of the chapters, taken from where this
//! program lies.
//!
//! Comes from: whoever doubts a number. Goes to: NAME.md in this folder, and the page that has `<!-- figures: NAME -->`.

mod ch02_threads;
mod ch03_processes;
mod ch05_waiting;
mod ch06_one_fib;
mod ch07_pool;
mod ch08_await;
mod ch10_reactor;
mod ch11_time;
mod ch12_fair_pool;
mod ch14_cost;
mod programs;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a measurement gives: the table in Markdown.
type Measured = Result<String, Box<dyn Error>>;

/// A table: its name, what is measured, and who does it.
type Table = (&'static str, &'static str, fn() -> Measured);

/// All tables, in the order of the chapters.
const TABLES: &[Table] = &[
    ("threads", "perf1 with 1, 2 and 4 clients, a thread each", ch02_threads::threads),
    ("interpreter-lock", "perf2 beside one long fib, with threads", ch02_threads::interpreter_lock),
    ("one-core", "perf2 with client and server on one core", ch02_threads::one_core),
    ("thread-cost", "what a waiting thread costs", ch02_threads::thread_cost),
    ("processes", "perf2 beside one long fib, with processes", ch03_processes::processes),
    ("process-cost", "what a worker process costs", ch03_processes::process_cost),
    ("crowd", "a thousand silent clients, with threads and with one loop", ch05_waiting::crowd),
    ("one-fib", "perf1, and perf2 beside one long fib, with one loop", ch06_one_fib::one_fib),
    ("pool", "perf2 with one loop and a pool, alone and beside one long fib", ch07_pool::pool),
    ("pool-bill", "system calls per answer, with a pool, by strace", ch07_pool::pool_bill),
    ("twin", "the talk's last server, that of chapter 8, and the engine's", ch08_await::twin),
    ("bill", "system calls per echo, by strace", ch10_reactor::bill),
    ("timers", "timeouts that never fire, and timers that do", ch11_time::timers),
    ("four-long", "perf2 beside long requests without pause", ch12_fair_pool::four_long),
    ("cost", "instructions, system calls, allocations, counted", ch14_cost::cost),
    ("many-cores", "one worker and two", ch14_cost::many_cores),
    ("goodbye", "one server of three goes, behind haproxy", ch14_cost::goodbye),
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        for (name, what, _) in TABLES {
            println!("{name:20} {what}");
        }
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        eprintln!("a debug build measures nothing worth knowing: add --release");
        return ExitCode::FAILURE;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    if load > std::thread::available_parallelism().map_or(1, usize::from) as f64 / 2.0 {
        eprintln!("this machine has other work (load {load}): the figures will be of that, too");
    }
    let all = || TABLES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for name in if names == ["all"] { all() } else { names } {
        if let Err(error) = measure(&name) {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(name: &str) -> Result<(), Box<dyn Error>> {
    let (_, _, table) = TABLES.iter().find(|(other, ..)| *other == name).ok_or("no such table")?;
    let text = format!("{}\n\n{}\n", table()?.trim(), measured_here(name));
    print!("{text}");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = docs.join("figures").join(format!("{name}.md"));
    // A table that is new stands nowhere yet: put its marker and this text into the page by hand.
    if let Ok(before) = fs::read_to_string(&file) {
        for folder in [docs.to_owned(), docs.join("answers")] {
            for entry in fs::read_dir(folder)? {
                let page = entry?.path().join("README.md");
                show(&page, name, before.trim(), text.trim())?;
                tell_of_stale_numbers(&page, &before, &text);
            }
        }
    }
    fs::write(file, text)?;
    Ok(())
}

/// Puts the table into the page in the place of the one before, if it is that page's.
fn show(page: &Path, name: &str, before: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let marker = format!("<!-- figures: {name} -->\n");
    let Ok(shown) = fs::read_to_string(page) else { return Ok(()) };
    let Some((above, below)) = shown.split_once(&marker) else { return Ok(()) };
    let old = below.trim_start().strip_prefix(before);
    let rest =
        old.ok_or_else(|| format!("{} does not show {name}.md as it was", page.display()))?;
    fs::write(page, format!("{above}{marker}\n{text}{rest}"))?;
    Ok(())
}

/// Says which numbers of the table before a page's text still names: its sentences have to be read again.
fn tell_of_stale_numbers(page: &Path, before: &str, text: &str) {
    let Ok(shown) = fs::read_to_string(page) else { return };
    let (named, now) = (numbers(&shown), numbers(text));
    let gone = numbers(before);
    let stale: Vec<_> = gone.difference(&now).filter(|number| named.contains(*number)).collect();
    if !stale.is_empty() {
        eprintln!("{}: read its text again, it speaks of {stale:?}", page.display());
    }
}

/// The numbers of a text that are long enough to be known again: with three digits or more.
fn numbers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != ',' && c != '.');
    let words = words.map(|word| word.trim_matches([',', '.']));
    let is_long = |word: &&str| word.chars().filter(char::is_ascii_digit).count() >= 3;
    words.filter(is_long).map(str::to_owned).collect()
}

/// The line below a table: on what machine, and how to have it from one's own.
fn measured_here(name: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "*Measured on {cores} cores of {model}, client and server on the same machine. Yours: `figures -- {name}`.*"
    )
}

/// The path of one of the walkthrough's or the server's programs, which lie beside this one.
fn program(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        return Err(
            format!("{name} is not built: cargo build --release -p walkthrough -p server").into()
        );
    }
    Ok(path)
}
