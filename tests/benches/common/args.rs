//! How is a benchmark's command line read?
//!
//! `cargo bench -p tests --bench echo -- instructions --only ours` reaches the program as words and
//! options. An option is `--name value`, or `--name` alone if the benchmark lists it as a switch;
//! everything else is a word. Unknown options end the program with the help text, because a
//! misspelt `--round 3` that silently runs seven rounds wastes minutes.
//!
//! `cargo bench` adds `--bench`; `cargo test --benches` does not. Without `--bench` and without a
//! word or an option the program says how it is meant to be run and ends, so that a test run never
//! turns into a benchmark.
//!
//! What this is not: a parser for the server's command line, which has clap. A benchmark's child is
//! started a thousand times and needs to be read, not to be friendly.
//!
//! Comes from: main of each benchmark. Goes to: its plan.

use std::collections::HashMap;
use std::str::FromStr;

/// The words and options of one command line.
pub(crate) struct Args {
    words: Vec<String>,
    options: HashMap<String, String>,
    help: &'static str,
}

impl Args {
    /// Reads the program's own command line. `options` take a value, `switches` do not.
    pub(crate) fn read(help: &'static str, options: &[&str], switches: &[&str]) -> Args {
        let mut args = Args { words: Vec::new(), options: HashMap::new(), help };
        let mut wanted = false;
        let mut line = std::env::args().skip(1);
        while let Some(word) = line.next() {
            wanted = true;
            match word.strip_prefix("--") {
                None => args.words.push(word),
                Some("bench") => {}
                Some("help") => {
                    print!("{help}");
                    std::process::exit(0);
                }
                Some(name) if switches.contains(&name) => {
                    args.options.insert(name.to_owned(), String::new());
                }
                Some(name) if options.contains(&name) => {
                    let value = line.next();
                    let value =
                        value.unwrap_or_else(|| args.wrong(&format!("--{name} needs a value")));
                    args.options.insert(name.to_owned(), value);
                }
                Some(name) => args.wrong(&format!("there is no option --{name}")),
            }
        }
        if !wanted {
            println!("a benchmark: run it with `cargo bench`, or pass --help");
            std::process::exit(0);
        }
        args
    }

    /// The word at `place`, counted from 0.
    pub(crate) fn word(&self, place: usize) -> Option<&str> {
        self.words.get(place).map(String::as_str)
    }

    /// Whether a switch was given.
    pub(crate) fn has(&self, switch: &str) -> bool {
        self.options.contains_key(switch)
    }

    /// An option's value, or what it is without.
    pub(crate) fn get<T: FromStr>(&self, option: &str, without: T) -> T {
        match self.options.get(option) {
            None => without,
            Some(text) => match text.parse() {
                Ok(value) => value,
                Err(_) => self.wrong(&format!("--{option} cannot be {text:?}")),
            },
        }
    }

    /// Of `all`, those named in the comma-separated option; all of them without it.
    pub(crate) fn choose<'a>(&self, option: &str, all: &[&'a str]) -> Vec<&'a str> {
        let Some(text) = self.options.get(option) else {
            return all.to_vec();
        };
        for name in text.split(',') {
            if !all.contains(&name) {
                self.wrong(&format!("--{option} knows {}, not {name:?}", all.join(", ")));
            }
        }
        all.iter().copied().filter(|name| text.split(',').any(|chosen| chosen == *name)).collect()
    }

    /// Ends the program with a reason and the help text.
    pub(crate) fn wrong(&self, reason: &str) -> ! {
        eprint!("{reason}\n\n{}", self.help);
        std::process::exit(2);
    }
}
