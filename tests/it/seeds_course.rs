//! What do the programs of the course's notes do, beyond what they print?
//!
//! They take the time that their shape says: one after the other is the sum, side by side the longest. The least is asserted each
//! time. The most, which a busy machine can spoil, has five tries; a program that is not of that shape fails them all.
//!
//! And those that need a second program, or a signal, are run with it here, and print what docs/seeds/README.md shows in
//! blocks that begin with what is done beside it, in brackets.
//!
//! Comes from: `cargo test`. Goes to: the binary `seeds`, by way of seeds.rs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::seeds::{Client, Server, binary, deadline, seeds};
use crate::support::sockets::reset;

// ------------------------------------------------------------------------------------------------------ time

/// A tick of these tests, in milliseconds.
const TICK: u64 = 100;

#[test]
fn what_is_done_one_after_the_other_takes_the_sum() {
    deadline(300, || {
        for (name, sum) in
            [("date-ticker", 4), ("chained", 1), ("future", 1), ("executor", 2), ("timeouts", 4)]
        {
            let took = seeds(&format!("{name} --tick {TICK}")).took;
            assert!(took >= ticks(sum), "{name} took only {took:?}");
        }
    });
}

#[test]
fn what_is_done_side_by_side_takes_the_longest() {
    deadline(300, || {
        // What it takes at the least, and the sum that it must not come near: without the smallest of what is summed up.
        for (name, longest, sum) in [
            ("factorials", 3, 5),
            ("nursery", 1, 2),
            ("errors", 1, 10),
            ("queues", 2, 5),
            ("futures", 3 + 3, 11),
            ("gather", 3 + 3 + 2, 15),
            ("locks", 2, 3),
            ("timeouts", 4, 6),
        ] {
            let line = format!("{name} --tick {TICK}");
            let is_short = || {
                let took = seeds(&line).took;
                assert!(took >= ticks(longest), "{line} took only {took:?}");
                took < ticks(sum)
            };
            assert!((0..5).any(|_| is_short()), "{line} always takes {:?} or more", ticks(sum));
        }
    });
}

fn ticks(count: u32) -> Duration {
    count * Duration::from_millis(TICK)
}

// ------------------------------------------------------------------------------------------------------ dates

#[test]
fn on_a_clock_that_jumps_the_dates_are_a_second_apart_and_take_no_time() {
    deadline(60, || {
        let is_quick = || {
            let run = seeds("date-ticker --test-clock");
            let times: Vec<_> = run.printed.lines().map(microseconds).collect();
            assert_eq!(times.len(), 5);
            for pair in times.windows(2) {
                assert_eq!((pair[1] + DAY - pair[0]) % DAY, 1_000_000, "{}", run.printed);
            }
            run.took < Duration::from_secs(4)
        };
        assert!((0..5).any(|_| is_quick()), "it sleeps");
    });
}

#[test]
fn the_date_is_today_s() {
    deadline(60, || {
        let system = || {
            let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M:%S"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let before = system();
        let printed = seeds("date-ticker --test-clock").printed;
        let after = system();
        let first = &printed[..before.len()];
        assert!(*before <= *first && *first <= *after, "{before}, {first}, {after}");
    });
}

const DAY: u64 = 86_400_000_000;

/// The time of day of a line such as `2026-11-21 06:53:00.901614`.
fn microseconds(line: &str) -> u64 {
    let (_, time) = line.split_once(' ').unwrap();
    let parts: Vec<u64> = time.split([':', '.']).map(|part| part.parse().unwrap()).collect();
    assert_eq!(parts.len(), 4, "{line}");
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000_000 + parts[3]
}

// ------------------------------------------------------------------------------------------------------ echo

#[test]
fn the_echo_programs_talk_as_the_readme_shows() {
    deadline(300, || {
        let (client_shown, server_shown) = (shown("echo-client"), shown("echo-server"));
        let talk = || {
            let mut server = Running::start("echo-server --connections 1 --addr 127.0.0.1:0");
            let mut heard = server.line();
            let address = heard.trim_end().rsplit(' ').next().unwrap().to_owned();
            let client = seeds(&format!("echo-client --messages 2 --addr {address}")).printed;
            server.printed.read_to_string(&mut heard).unwrap();
            assert!(server.child.wait().unwrap().success(), "one connection was enough");
            [client, heard].map(|text| text.replace(&address, "127.0.0.1:12345"))
        };
        // Two tasks share the client's output, so whose line comes first is a matter of time; and on a busy machine the
        // second message may reach a side together with the first.
        let is_as_shown = |[client, server]: [String; 2]| {
            sorted(&client) == sorted(&client_shown) && server == server_shown
        };
        assert!((0..5).any(|_| is_as_shown(talk())), "now it is {}", talk().join("\n"));
    });
}

#[test]
fn one_connection_s_failure_is_not_the_others() {
    deadline(120, || {
        let mut server = Server::start("echo-server --connections 2");
        let mut steady = Client::to(server.address);
        steady.send("a");
        for line in ["started", "received data b'a\\n'", "sending data b'a\\n'"] {
            assert_eq!(server.line(), format!("echo_server 0: {line}"));
        }
        assert_eq!(steady.line(), "a");
        let rude = TcpStream::connect(server.address).unwrap();
        assert_eq!(server.line(), "echo_server 1: started");
        reset(rude);
        let crashed = server.line();
        assert!(crashed.starts_with("echo_server 1: crashed: "), "{crashed}");
        assert_eq!(steady.ask("b"), "b");
        steady.end();
        for line in [
            "received data b'b\\n'",
            "sending data b'b\\n'",
            "received data b''",
            "connection closed",
        ] {
            assert_eq!(server.line(), format!("echo_server 0: {line}"));
        }
        assert!(server.child.wait().unwrap().success(), "two connections were enough");
    });
}

#[test]
fn the_server_s_end_ends_the_client_s_nursery_and_the_sender_with_it() {
    deadline(120, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut data = [0; 100];
            let count = stream.read(&mut data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            String::from_utf8_lossy(&data[..count]).into_owned()
        });
        // A sender that sleeps for an hour after its first message. Nobody waits for it.
        let client = seeds(&format!("echo-client --tick 3600000 --addr {address}")).printed;
        assert!(serve.join().unwrap().starts_with("async can"));
        let (_, end) = client.split_once("receiver: got").unwrap();
        assert_eq!(end, " data b''\nreceiver: connection closed\n");
    });
}

// --------------------------------------------------------------------------------------------------- signals

#[test]
fn signals_are_heard_as_the_readme_shows() {
    deadline(120, || {
        let mut program = Running::start("signals");
        let mut printed = program.line();
        let process = printed.trim_end().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(process, program.child.id().to_string());
        for signal in ["-HUP", "-HUP", "-TERM"] {
            let status = Command::new("kill").args([signal, &process]).status().unwrap();
            assert!(status.success(), "kill {signal} {process}");
            printed.push_str(&program.line());
        }
        assert!(program.child.wait().unwrap().success());
        assert_eq!(program.line(), "", "it has said all");
        assert_eq!(printed.replace(&process, "4711"), shown("signals"));
    });
}

// --------------------------------------------------------------------------------------------------- helpers

/// What docs/seeds/README.md shows of a program that is not run alone: the lines below the one that is typed.
fn shown(name: &str) -> String {
    const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/seeds/README.md");
    let readme = fs::read_to_string(README).unwrap();
    let mut blocks = readme.split("```text\n(").filter_map(|block| block.split_once("\n```"));
    let typed = format!("$ seeds {name}");
    let block = blocks.find(|(block, _)| block.contains(&typed)).unwrap().0;
    block.lines().skip(2).map(|line| format!("{line}\n")).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// A program that runs beside the test, until this is dropped.
struct Running {
    child: Child,
    printed: BufReader<ChildStdout>,
}

impl Running {
    fn start(line: &str) -> Running {
        let mut command = Command::new(binary());
        let mut child = command.args(line.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        Running { child, printed }
    }

    /// The next line with its end, or nothing after the last.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.printed.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
