//! How is one figure taken apart from all others?
//!
//! By a child: this very executable, started again with the words that name the measurement. It
//! runs, prints lines of `name value`, and ends; or it prints one such line (a server: its
//! address), stays, and is killed when its [`Child`] is dropped. A line that is no such pair goes
//! through to the terminal, so that a child may explain itself.
//!
//! Rule: no child outlives the benchmark, and only children are ever killed, by the identity their
//! start returned.
//!
//! What this does not do: it sets no deadline on a child. A runtime that hangs shows as a benchmark
//! that stands still, with the name of the child in `ps`; a deadline would only turn it into a
//! wrong figure.
//!
//! Comes from: the benchmarks' plans. Goes to: the first words of their command lines.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What a child said: names and numbers.
pub(crate) type Said = HashMap<String, f64>;

/// A running child that answers on its standard output.
pub(crate) struct Child {
    process: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Child {
    /// Starts this executable again with the given words.
    pub(crate) fn start(words: &[&str]) -> Child {
        Child::start_under(&[], words)
    }

    /// The same below another program (strace, valgrind), whose command line comes first.
    pub(crate) fn start_under(tool: &[&str], words: &[&str]) -> Child {
        let own = std::env::current_exe().expect("the benchmark can name its own executable");
        let mut command = match tool {
            [] => Command::new(own),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(own);
                command
            }
        };
        command.args(words);
        Child::from(command)
    }

    /// Starts any command whose answers are to be read.
    pub(crate) fn from(mut command: Command) -> Child {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let answers = BufReader::new(process.stdout.take().expect("its output was just piped"));
        Child { process, answers }
    }

    /// Its process's number.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line it prints; `None` when it has closed its output.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).expect("a child's output is text");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Tells it to go on with its next step.
    pub(crate) fn go_on(&mut self) {
        let to_child = self.process.stdin.as_mut().expect("its input was piped at its start");
        to_child.write_all(b"\n").expect("the child waits for this line");
    }

    /// Everything it still has to say, until it ends; panics if it fails.
    pub(crate) fn finish(mut self) -> Said {
        let mut said = Said::new();
        while let Some(line) = self.line() {
            match line.split_once(' ').map(|(name, value)| (name, value.parse())) {
                Some((name, Ok(value))) => drop(said.insert(name.to_owned(), value)),
                _ => println!("{line}"),
            }
        }
        let end = self.process.wait().expect("it is our child");
        assert!(end.success(), "a child of the benchmark failed: {end}");
        said
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail harmlessly on a child that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one child to its end.
pub(crate) fn run(words: &[&str]) -> Said {
    Child::start(words).finish()
}

/// What every child does first: its own session, a death with its parent, and a core if it is given
/// one.
pub(crate) fn settle(core: Option<usize>) {
    super::sys::own_session();
    super::sys::die_with_parent();
    if let Some(core) = core {
        super::sys::pin(core);
    }
}
