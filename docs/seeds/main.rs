//! What did the texts that this project grew from want to show, and how does each of their programs look in Rust?
//!
//! Five texts stand at the beginning: a blog's copy of the talk's two servers, the notes of a Polish course, slides about
//! five ways to fetch four pages, slides about five echo servers, and an article on the talk's generator step. Each of
//! their programs has a counterpart here, by name:
//!
//! ```text
//! cargo run -p walkthrough --bin seeds                 # the table of all
//! cargo run -p walkthrough --bin seeds -- hello        # one of them
//! ```
//!
//! A program's code stands in one file, named as the program. [README.md](README.md) has the table with what each
//! prints; a test runs them all and compares.
//!
//! Comes from: the command line. Goes to: the programs, one folder a text.

mod fib;
mod seed001;
mod seed002;
mod seed003;
mod seed004;
mod words;

use std::process::ExitCode;
use std::sync::OnceLock;

use runtime::process_pool::{self, Function, Functions};

/// What a program gives back: its own message if it fails.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One program of one text.
struct Program {
    /// What it is called on the command line.
    name: &'static str,
    /// The text it comes from.
    seed: &'static str,
    /// What it shows, in a line.
    shows: &'static str,
    /// Gets the rest of the command line.
    run: fn(&[String]) -> Outcome,
}

/// All programs, in the order of the texts.
fn programs() -> impl Iterator<Item = &'static Program> {
    [seed001::PROGRAMS, seed002::PROGRAMS, seed003::PROGRAMS, seed004::PROGRAMS]
        .into_iter()
        .flatten()
}

/// What worker processes can be asked for.
const BY_PROCESS: &[(&str, Function)] = &[("fib", fib::fib_of_bytes)];

/// The same, for a program that makes a `ProcessPool`.
fn by_process() -> Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    *FUNCTIONS.get_or_init(|| process_pool::functions(BY_PROCESS))
}

fn main() -> ExitCode {
    by_process(); // in a worker process this is where it serves, for ever
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next().filter(|name| name != "--help" && name != "-h") else {
        print_table();
        return ExitCode::SUCCESS;
    };
    let Some(program) = programs().find(|program| program.name == name) else {
        eprintln!("there is no program {name:?}; without a name you see them all");
        return ExitCode::FAILURE;
    };
    match (program.run)(&words.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_table() {
    println!("cargo run -p walkthrough --bin seeds -- NAME\n");
    for Program { name, seed, shows, .. } in programs() {
        println!("  {name:20} {seed}  {shows}");
    }
}
