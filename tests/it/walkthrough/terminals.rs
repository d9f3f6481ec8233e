//! Does the reader see in the terminals what the text shows?
//!
//! A chapter's console blocks are one story, told in order:
//!
//! | line                        | what is done                                                              |
//! |-----------------------------|---------------------------------------------------------------------------|
//! | `$ command`                 | it is run to its end, in a terminal of its own                            |
//! | `2$ command`                | it is started in terminal 2, where the one before must have ended         |
//! | `terminal 2:`               | what follows happens there                                                |
//! | `> text`                    | it is typed                                                               |
//! | `^C`                        | an interrupt; the program ends                                            |
//! | `^D`                        | the end of input                                                          |
//! | `(nothing)`                 | for a third of a second nothing is printed                                |
//! | `...`                       | any lines                                                                 |
//! | anything else               | this line is printed                                                      |
//!
//! Commands are those that a reader types; what differs is that programs are taken from where they are built already, and
//! that each chapter has an address of its own on the loopback, so that chapters can be replayed at the same time.
//! Ports that the kernel chooses, and in measured blocks all numbers, stand for any.
//!
//! Comes from: the blocks of a page. Goes to: processes, and the Markdown, which they must match.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::root;
use super::text::{Block, Chapter};
use crate::support::program;

/// How long a line may be waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// Programs that the text shows failing.
const FAIL: &[&str] = &["04-tasks-again", "rustc "];
/// Programs that a machine may not have.
const FROM_ELSEWHERE: &[&str] = &["nc", "python3", "haproxy", "strace", "rustc", "mdbook"];
/// How long nothing must happen to be called nothing.
const NOTHING: Duration = Duration::from_millis(300);

/// Plays a chapter, and panics at the first line that is not as the text says.
pub(super) fn replay(chapter: &Chapter) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn =
        (!cfg!(target_os = "linux")).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    let mut story = Story { address: address(chapter), terminals: BTreeMap::new() };
    for block in chapter.blocks.iter().filter(|block| block.kind() == "console") {
        if let Some(missing) = block.missing_program() {
            println!("skipped: no {missing}, for {}:{}", chapter.name(), block.line);
            return;
        }
        story.play(chapter, block);
    }
    for (name, terminal) in story.terminals {
        if terminal.interrupted { terminal.wait(&name, false) } else { terminal.end(&name) }
    }
}

struct Story {
    address: String,
    terminals: BTreeMap<String, Terminal>,
}

struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Lines that came while a following one was looked for.
    pending: VecDeque<String>,
    /// Whether the text has left lines out, so that there may be more at the end.
    elided: bool,
    /// Whether the text shows how it fails.
    may_fail: bool,
    interrupted: bool,
}

impl Story {
    fn play(&mut self, chapter: &Chapter, block: &Block) {
        let mut current = String::new();
        for (offset, line) in block.lines.iter().enumerate() {
            let place = format!("{}:{}", chapter.name(), block.line + offset);
            if let Some((name, command)) = prompt(line) {
                current = name.to_owned();
                if let Some(before) = self.terminals.remove(name) {
                    before.wait(&place, name.is_empty());
                }
                self.terminals.insert(current.clone(), self.start(command, &place));
                continue;
            }
            if let Some(name) =
                line.strip_prefix("terminal ").and_then(|rest| rest.strip_suffix(':'))
            {
                current = name.to_owned();
                continue;
            }
            let terminal = self.terminals.get_mut(&current);
            let terminal = terminal.unwrap_or_else(|| panic!("{place}: no command runs there"));
            match line.as_str() {
                "^C" => terminal.interrupt(),
                "^D" => drop(terminal.keyboard.take()),
                "..." => terminal.elided = true,
                "(nothing)" => terminal.nothing(&place),
                _ => match line.strip_prefix("> ") {
                    Some(typed) => terminal.type_in(typed, &place),
                    None => terminal.expect(line, block.is_measured(), &place, &self.address),
                },
            }
        }
        if let Some(ended) = self.terminals.remove("") {
            ended.wait(&chapter.name(), true);
        }
    }

    fn start(&self, line: &str, place: &str) -> Terminal {
        let mut command = self.command(line, place);
        let (output, write) = std::io::pipe().unwrap();
        command.stdin(Stdio::piped()).stdout(write.try_clone().unwrap()).stderr(write);
        command.current_dir(root()).process_group(0);
        // Whoever runs the tests in the background may have had interrupts ignored, and children inherit that.
        let heed = || {
            // SAFETY: it sets what this process does at an interrupt, and touches no memory.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            Ok(())
        };
        // SAFETY: between fork and exec only `signal` is called, which is allowed there.
        unsafe { command.pre_exec(heed) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{place}: {line}: {error}"));
        drop(command); // and with it our copies of the pipe
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let keyboard = child.stdin.take();
        Terminal {
            child,
            keyboard,
            lines,
            pending: VecDeque::new(),
            elided: false,
            may_fail: FAIL.iter().any(|program| line.contains(program)),
            interrupted: false,
        }
    }

    /// A command as the reader types it, as a process.
    fn command(&self, line: &str, place: &str) -> Command {
        let line = line.split("  #").next().unwrap_or(line).trim();
        let here = line.replace("127.0.0.1", self.host());
        let Some(rest) = line.strip_prefix("cargo run ") else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec {here}")]);
            if line.contains('|') || line.contains(';') {
                shell = Command::new("sh");
                shell.args(["-c", &here]);
            }
            return shell;
        };
        let (options, arguments) = rest.split_once(" -- ").unwrap_or((rest, ""));
        let words: Vec<_> = options.split_whitespace().collect();
        let after = |option| words.iter().position(|word| *word == option).map(|at| words[at + 1]);
        let package = after("-p").unwrap_or_else(|| panic!("{place}: which package?"));
        let bin = after("--bin").unwrap_or(package);
        let mut command = Command::new(program(package, "bins", bin));
        command
            .args(arguments.split_whitespace().map(|word| word.replace("127.0.0.1", self.host())));
        if !arguments.contains("127.0.0.1") {
            match (package, bin) {
                ("server", _) => command.args(["--addr", &self.address]),
                (_, "seeds" | "figures") => &mut command,
                _ => command.arg(&self.address),
            };
        }
        command
    }

    fn host(&self) -> &str {
        self.address.split(':').next().unwrap()
    }
}

impl Terminal {
    fn next(&mut self, wait: Duration) -> Result<String, RecvTimeoutError> {
        match self.pending.pop_front() {
            Some(line) => Ok(line),
            None => self.lines.recv_timeout(wait),
        }
    }

    fn expect(&mut self, shown: &str, measured: bool, place: &str, address: &str) {
        let expected = masked(shown, measured);
        loop {
            let printed = match self.next(PATIENCE) {
                Ok(line) => line.replace(address.split(':').next().unwrap(), "127.0.0.1"),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{place}: {shown:?} is not printed in time")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{place}: it ended without {shown:?}")
                }
            };
            if masked(&printed, measured) == expected {
                self.elided = false;
                return;
            }
            self.check_left_out(&printed, place);
            assert!(self.elided, "{place}: the text shows\n  {shown}\nand it prints\n  {printed}");
        }
    }

    /// A line `...` may stand for much, but not for a panic.
    fn check_left_out(&self, line: &str, place: &str) {
        assert!(self.may_fail || !line.contains("panicked at"), "{place}: {line}");
    }

    fn nothing(&mut self, place: &str) {
        if let Ok(line) = self.next(NOTHING) {
            panic!("{place}: nothing should be printed, but there is\n  {line}");
        }
    }

    fn type_in(&mut self, text: &str, place: &str) {
        let keyboard = self.keyboard.as_mut().unwrap_or_else(|| panic!("{place}: after ^D"));
        // In one write, as a terminal gives a line: the early servers take what one read gives for a request.
        let line = format!("{text}\n");
        keyboard.write_all(line.as_bytes()).unwrap_or_else(|error| panic!("{place}: {error}"));
    }

    fn interrupt(&mut self) {
        self.interrupted = true;
        self.signal(libc::SIGINT);
    }

    /// To all processes of the terminal, as its keyboard would send it.
    fn signal(&self, number: i32) {
        // SAFETY: the group is that of our own child, which nobody has waited for yet.
        unsafe { libc::kill(-(self.child.id() as i32), number) };
    }

    /// The program ends by itself, and has printed all that the text shows and no more.
    fn wait(mut self, place: &str, must_succeed: bool) {
        drop(self.keyboard.take());
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > deadline {
                self.end(place);
                panic!("{place}: the command before this one has not ended");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.try_wait().unwrap();
        let succeeded = status.is_some_and(|status| status.success());
        assert!(succeeded || self.may_fail || !must_succeed, "{place}: it failed: {status:?}");
        self.end(place);
    }

    /// Ends the program if it has not ended, and looks at what it still had to say.
    fn end(mut self, place: &str) {
        self.signal(libc::SIGKILL);
        self.child.wait().unwrap();
        drop(self.keyboard.take());
        let mut more: Vec<_> = self.pending.drain(..).collect();
        more.extend(self.lines.iter());
        more.iter().for_each(|line| self.check_left_out(line, place));
        if !self.elided {
            assert!(more.is_empty(), "{place}: this is printed, too:\n{}", more.join("\n"));
        }
    }
}

/// So that a test that fails leaves nobody behind.
impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Block {
    /// The first program of its commands that this machine does not have, of those that it need not have.
    fn missing_program(&self) -> Option<&'static str> {
        let commands: Vec<_> =
            self.lines.iter().filter_map(|line| prompt(line)).map(|(_, command)| command).collect();
        let is_used = |program: &&&str| {
            let mut words = commands.iter().flat_map(|command| command.split([' ', '(', ')']));
            words.any(|word| word == **program)
        };
        FROM_ELSEWHERE.iter().filter(is_used).copied().find(|program| {
            let known = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            !known.unwrap().status.success()
        })
    }
}

/// The terminal's number and the command of a line that starts one.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once("$ ")?;
    name.chars().all(|c| c.is_ascii_digit()).then_some((name, command))
}

/// An address on the loopback for each chapter of each run of the tests. Systems other than Linux have one, and there the
/// chapters take turns.
fn address(chapter: &Chapter) -> String {
    if !cfg!(target_os = "linux") {
        return "127.0.0.1:25000".to_owned();
    }
    let name = chapter.path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let number: u8 = name.split('-').next().unwrap().parse().unwrap_or(99); // the map has none
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{}:25000", high | 0x80, number + 1)
}

/// Ports that the kernel chooses become `PORT`; if measured, numbers become `#`.
fn masked(line: &str, measured: bool) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let is_port =
            rest[..at].ends_with(':') && masked.ends_with(|c: char| c == '#' || c.is_ascii_digit());
        masked.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| at + end);
        let number = &rest[at..end];
        match number {
            _ if is_port && number != "25000" => masked.push_str("PORT"),
            _ if measured => masked.push('#'),
            _ => masked.push_str(number),
        }
        rest = &rest[end..];
    }
    masked + rest
}
