//! Do the programs of the texts print what docs/seeds/README.md says they print?
//!
//! A block there that begins with `$ ` is what somebody has typed, and what came back. Each is done again here, and has to
//! come out the same, up to what [`masked`] leaves out: times, dates, ports, process numbers. Three things can be typed:
//!
//! ```text
//! $ seeds NAME WORDS                    a program that ends; `printf 'a\nb\n' | ` before it is its input
//! $ seeds NAME WORDS   and ^C at last   a server: it is stopped when the blocks after it are done
//! $ nc ADDRESS PORT                     a client of that server: what is typed and what is answered, in turns
//! ```
//!
//! (`seeds` is short for `cargo run -q -p walkthrough --bin seeds --`.) On a busy machine two lines whose order is a matter
//! of time can change places, so a block has five tries. With `GROUND_WRITE=1` what comes out is written into README.md
//! instead: then look at the difference.
//!
//! What the programs of one text do beyond their printing (how long they take, who waits for whom) is tested in a module
//! for each text, with [`seeds`] for programs that end and [`Server`] for those that do not.
//!
//! Comes from: `cargo test`, the other `seeds` modules. Goes to: the binary `seeds`, README.md.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::sockets::reset;
use crate::support::{program, within};

/// How long a line or an answer may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_program_stands_in_the_readme_and_the_reverse() {
    deadline(120, || {
        let table = seeds("").printed;
        let programs = table.lines().filter_map(|line| line.strip_prefix("  "));
        let programs: BTreeSet<_> =
            programs.filter_map(|line| line.split_whitespace().next()).collect();
        let readme = readme();
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| [`"));
        let rows: BTreeSet<_> = rows.filter_map(|line| line.split('`').next()).collect();
        let sections = readme.lines().filter_map(|line| line.strip_prefix("### "));
        let sections: BTreeSet<_> = sections.collect();
        assert!(programs.len() > 3, "the table has no programs: {table}");
        assert_eq!(programs, rows, "left: the programs; right: the table in docs/seeds/README.md");
        assert_eq!(programs, sections, "left: the programs; right: README.md's sections, ### NAME");
        for section in readme.split("\n### ").skip(1) {
            let (name, text) = section.split_once('\n').unwrap();
            assert!(text.contains(&format!("seeds {name}")), "no transcript of {name}");
        }
    });
}

#[test]
fn what_the_readme_shows_is_what_the_programs_print() {
    deadline(600, || {
        let mut readme = readme();
        let mut blocks = blocks(&readme).into_iter().peekable();
        let mut wrong = Vec::new();
        while let Some(block) = blocks.next() {
            let mut group = vec![block];
            while let Some(client) = blocks.next_if(|block| block.starts_with("$ nc ")) {
                group.push(client);
            }
            if let Err(printed) = repeat(&group) {
                for (block, printed) in group.iter().zip(&printed) {
                    if std::env::var_os("GROUND_WRITE").is_some() {
                        readme = readme.replacen(block.as_str(), printed, 1);
                    } else if masked(block) != masked(printed) {
                        wrong.push(format!(
                            "README.md shows\n\n{block}\nbut now it is\n\n{printed}"
                        ));
                    }
                }
            }
        }
        if std::env::var_os("GROUND_WRITE").is_some() {
            fs::write(README, readme).unwrap();
        }
        assert!(
            wrong.is_empty(),
            "{}\nIf that is right: GROUND_WRITE=1 writes it into the file.",
            wrong.join("\n")
        );
    });
}

#[test]
fn a_program_that_does_not_exist_and_a_word_that_is_not_known_are_errors() {
    deadline(120, || {
        for (line, what) in [("helo", "no program \"helo\""), ("fib-list --x", "--x is not known")]
        {
            let output = command(line).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{line} succeeds");
            assert!(told.contains(what), "{line} says {told}");
        }
    });
}

// ---------------------------------------------------------------------------------------------- transcripts

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/seeds/README.md");

fn readme() -> String {
    fs::read_to_string(README).unwrap()
}

/// The fenced blocks in which something is typed.
fn blocks(readme: &str) -> Vec<String> {
    let blocks = readme.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    blocks
        .map(|(_info, block)| format!("{block}\n"))
        .filter(|block| block.starts_with("$ "))
        .collect()
}

/// Does a block again, with its clients' blocks if it is a server's. Gives what came out if in five tries that was never the
/// same.
fn repeat(group: &[String]) -> Result<(), Vec<String>> {
    let mut printed = Vec::new();
    for _ in 0..5 {
        printed = match group[0].ends_with("^C\n") {
            true => serve_and_talk(group),
            false => vec![type_again(&group[0])],
        };
        if group.iter().zip(&printed).all(|(block, printed)| masked(block) == masked(printed)) {
            return Ok(());
        }
    }
    Err(printed)
}

fn type_again(block: &str) -> String {
    let mut printed = String::new();
    for typed in block.lines().filter(|line| line.starts_with("$ ")) {
        let (input, line) = match typed.strip_prefix("$ printf '") {
            None => (String::new(), &typed[2..]),
            Some(piped) => {
                let (input, line) = piped.split_once("' | ").expect("printf '..' | seeds ..");
                (input.replace("\\n", "\n"), line)
            }
        };
        let line = line.strip_prefix("seeds").unwrap_or_else(|| panic!("{typed}: not seeds"));
        printed.push_str(&format!("{typed}\n{}", seeds_with_input(line, &input).printed));
    }
    printed
}

fn serve_and_talk(group: &[String]) -> Vec<String> {
    let (typed, rest) = group[0].split_once('\n').unwrap();
    let mut server = Server::start(typed.strip_prefix("$ seeds ").unwrap());
    let mut printed = vec![String::new()];
    for block in &group[1..] {
        let (typed, session) = block.split_once('\n').unwrap();
        let mut talked = format!("{typed}\n");
        let mut client = Client::to(server.address);
        for line in session.lines().step_by(2) {
            talked.push_str(&format!("{line}\n{}\n", client.ask(line)));
        }
        client.end();
        printed.push(talked);
    }
    let expected = rest.lines().count() - 1; // its last is ^C
    let mut lines = vec![typed.to_owned(), server.first_line.clone()];
    lines.extend((1..expected).map(|_| server.line()));
    lines.push("^C\n".to_owned());
    printed[0] = lines.join("\n");
    printed
}

/// A text without what is another at each run.
///
/// | what                                      | such as                      | becomes          |
/// |-------------------------------------------|------------------------------|------------------|
/// | the port of the loopback's address        | `127.0.0.1:40123`            | `127.0.0.1:PORT` |
/// | a number before a unit, `process`'s number | `0.41 s`, `12 MB`, `process 77` | `#`           |
/// | a date, a time of day                     | `2026-11-21`, `07:00:00.123` | `TIME`           |
/// | what a program says of the machine        | `machine: linux, 2 cores`    | `machine: ...`   |
/// | spaces between words, which align columns | `a    b`                     | `a b`            |
fn masked(text: &str) -> String {
    text.lines().map(|line| masked_line(line) + "\n").collect()
}

fn masked_line(line: &str) -> String {
    const UNITS: [&str; 8] = ["s", "ms", "us", "kB", "MB", "times", "threads", "lines"];
    if line.starts_with("machine: ") {
        return "machine: ...".to_owned();
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    let words: Vec<_> = line.split_whitespace().collect();
    let bare = |place: usize| {
        words.get(place).map_or("", |word| word.trim_matches(['(', ')', ',', ';', ':', '.']))
    };
    let masked = (0..words.len()).map(|place| {
        let (word, bare_word) = (words[place], bare(place));
        let is_made_of = |signs: &str| {
            bare_word.contains(|c: char| c.is_ascii_digit())
                && bare_word.chars().all(|c| c.is_ascii_digit() || signs.contains(c))
        };
        let of_process = place > 0 && bare(place - 1) == "process";
        if let Some((before, behind)) = word.split_once("127.0.0.1:") {
            let behind = behind.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}127.0.0.1:PORT{behind}")
        } else if is_made_of(".") && (UNITS.contains(&bare(place + 1)) || of_process) {
            word.replace(bare_word, "#")
        } else if is_made_of("-:.") && bare_word.matches(['-', ':']).count() >= 2 {
            word.replace(bare_word, "TIME")
        } else {
            word.to_owned()
        }
    });
    format!("{indent}{}", masked.collect::<Vec<_>>().join(" "))
}

#[test]
fn the_mask_leaves_out_times_and_ports_and_nothing_else() {
    assert_eq!(
        masked_line(
            "  (127.0.0.1:1234, 12)  took 0.5 s: 3 of 10, 2026-11-21 07:00:01.5; process 9"
        ),
        "  (127.0.0.1:PORT, 12) took # s: 3 of 10, TIME TIME; process #"
    );
}

// ------------------------------------------------------------------------------------ programs, for all modules

/// What a program that has ended has done.
pub(crate) struct Run {
    pub(crate) printed: String,
    /// From its start to its end, both included.
    pub(crate) took: Duration,
}

/// Runs a program by its name and words, and gives what it printed. It must succeed, and say nothing on standard error.
#[track_caller]
pub(crate) fn seeds(line: &str) -> Run {
    seeds_with_input(line, "")
}

/// As [`seeds`], with something on its standard input.
#[track_caller]
pub(crate) fn seeds_with_input(line: &str, input: &str) -> Run {
    let mut command = command(line);
    let start = Instant::now();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A program that does not read may have ended before that.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let took = start.elapsed();
    let printed = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seeds {line}: {}\n{printed}{told}", output.status);
    assert_eq!(told, "", "seeds {line} complains");
    Run { printed, took }
}

/// A program that listens. It ends when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    first_line: String,
    lines: Receiver<String>,
}

impl Server {
    /// Starts a program on a free port, and waits until it says where it listens: as the last word of its first line.
    #[track_caller]
    pub(crate) fn start(line: &str) -> Server {
        let mut child = command(&format!("{line} --addr 127.0.0.1:0"))
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        printed.read_line(&mut first_line).unwrap();
        let first_line = first_line.trim_end().to_owned();
        let address = first_line.rsplit(' ').next().and_then(|word| word.parse().ok());
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                // Read on when nobody listens any more: a process that the server has started may still print.
                let _ = tell.send(line);
            }
        });
        let address = address.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("seeds {line} does not say where it listens: {first_line:?}")
        });
        Server { child, address, first_line, lines }
    }

    /// The next line it prints.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the server prints another line")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What somebody at `nc` is for a server: lines out, lines in.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    #[track_caller]
    pub(crate) fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Sends a line.
    #[track_caller]
    pub(crate) fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line that comes.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        assert!(answer.ends_with('\n'), "the connection ends in the middle of {answer:?}");
        answer.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    /// Whether something comes within that time. The stream's end counts.
    pub(crate) fn hears_within(&mut self, time: Duration) -> bool {
        self.0.get_mut().set_read_timeout(Some(time)).unwrap();
        let heard = self.0.fill_buf().is_ok();
        self.0.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }

    /// Leaves with a reset instead of an end.
    #[track_caller]
    pub(crate) fn reset(self) {
        reset(self.0.into_inner());
    }

    /// Ends its side, and waits until the other has ended too.
    #[track_caller]
    pub(crate) fn end(self) {
        let mut stream = self.0.into_inner();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "more than was asked for");
    }
}

fn command(line: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// As `within`, for tests of the programs, which are built before the clock starts.
#[track_caller]
pub(crate) fn deadline(seconds: u64, body: impl FnOnce() + Send + 'static) {
    binary();
    within(seconds, body);
}

pub(crate) fn binary() -> PathBuf {
    program("walkthrough", "bins", "seeds")
}
