//! Do the servers serve clients that nobody here has written, and that are in a hurry?
//!
//! | client                      | what it does                                                             |
//! |-----------------------------|--------------------------------------------------------------------------|
//! | nc, ncat, socat, perl       | sends all it has, ends its side, and wants everything back               |
//! | telnet, curl, bash          | asks, reads the answer, asks again                                       |
//! | Python's asyncio            | a hundred connections at once, each with all of its requests in one write |
//! | as redis-benchmark -P does  | ten thousand requests written before an answer is read; a hundred in flight on fifty connections |
//!
//! Rules kept here:
//! - Answers are compared byte by byte, and bodies are noise: a byte that is lost, doubled or moved shows.
//! - A client that is not installed is left out, and the test says so: `skipped: no NAME`.
//! - Every program that is started has a time limit, and is killed and waited for by its own number ([`Running`]).
//!
//! Not done here: the server's manners toward bad clients, its limits and its end; those are in server.rs.
//!
//! Comes from: `cargo test`. Goes to: the package `server`'s binary, through server.rs's `Server`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::server::{Running, Server, deadline, eventually, is_installed};

// ---- all is sent, the client's side ends, all comes back

#[test]
fn a_megabyte_comes_back_after_the_client_has_ended_its_side() {
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", "", "--quiet"]);
        for (program, args) in half_closing(&server) {
            let sent = noise(1 << 20);
            let Some(back) = pipe_through(program, &args, sent.clone()) else { continue };
            assert_eq!(difference(&sent, &back), None, "{program}");
        }
        server.settles_at(0);
    });
}

#[test]
fn all_requests_are_answered_after_the_client_has_ended_its_side() {
    deadline(120, || {
        let server = Server::start(&["fib", "--half-close", "--quiet"]);
        for (program, args) in half_closing(&server) {
            let requests: String = (0..5000).map(|i| format!("{}\n", i % 21 + 1)).collect();
            let expected: String = (0..5000).map(|i| format!("{}\n", fib(i % 21 + 1))).collect();
            let Some(answers) = pipe_through(program, &args, requests.into()) else { continue };
            assert_eq!(difference(expected.as_bytes(), &answers), None, "{program}");
        }
        server.settles_at(0);
    });
}

/// Programs that connect their input and output to a server's, with what makes them end their side at the end of the input
/// and read on.
fn half_closing(server: &Server) -> Vec<(&'static str, Vec<String>)> {
    const PERL: &str = r#"
        use IO::Socket::INET;
        my $socket = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or die $@;
        binmode STDIN; binmode STDOUT;
        if (fork) {
            print STDOUT $_ while sysread $socket, $_, 65536;
            wait;
        } else {
            print $socket $_ while sysread STDIN, $_, 65536;
            shutdown $socket, 1;
        }"#;
    let [ip, port] = place(server);
    let list = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
    vec![
        ("nc", list(&["-N", &ip, &port])),
        ("ncat", list(&[&ip, &port])),
        // -t: how long it waits for the rest of the answer; its default is half a second.
        ("socat", list(&["-t", "60", "STDIO", &format!("TCP:{ip}:{port}")])),
        ("perl", list(&["-e", PERL, &ip, &port])),
    ]
}

// ---- question and answer

#[test]
fn people_at_a_terminal_are_answered_line_by_line() {
    deadline(120, || {
        let server = Server::start(&["fib", "--quiet"]);
        let [ip, port] = place(&server);
        // (Not curl's telnet: while it waits for the next line of its input it shows no answer.)
        if !is_there("telnet") {
            return;
        }
        let mut command = Command::new("telnet");
        command.args([ip, port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let mut input = child.0.stdin.take().unwrap();
        let mut output = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // It says first where it is; no line of that is an answer.
        let mut answers = |wanted: &str| output.any(|line| line.unwrap().trim_end() == wanted);
        for (request, answer) in [("10\n", "55"), ("12\n", "144"), ("20\n", "6765")] {
            input.write_all(request.as_bytes()).unwrap();
            assert!(answers(answer), "telnet ends without {answer}");
        }
    });
}

#[test]
fn a_shell_alone_can_ask() {
    deadline(120, || {
        const SCRIPT: &str = r#"
            exec 3<>"/dev/tcp/$0/$1"
            for n in 10 12 x 20; do
                echo "$n" >&3
                read -r answer <&3
                echo "$answer"
            done"#;
        let server = Server::start(&["fib", "--quiet"]);
        let [ip, port] = place(&server);
        let args = ["-c", SCRIPT, &ip, &port].map(String::from);
        let Some(answers) = pipe_through("bash", &args, Vec::new()) else { return };
        let answers = String::from_utf8(answers).unwrap();
        let answers: Vec<&str> = answers.lines().collect();
        let expected = ["55", "144", "error: that is not a number; send one from 0 to 90", "6765"];
        assert_eq!(answers, expected);
    });
}

// ---- a hundred at once

#[test]
fn a_hundred_python_clients_at_once_get_their_bytes_back() {
    const SCRIPT: &str = r#"
import asyncio, os, sys

async def client(count):
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    body = os.urandom(count)

    async def send():
        for start in range(0, count, 777):
            writer.write(body[start:start + 777])
            await writer.drain()
        writer.write_eof()

    back, _ = await asyncio.gather(reader.read(), send())
    writer.close()
    await writer.wait_closed()
    return back == body

async def main():
    right = await asyncio.gather(*(client(997 * number) for number in range(100)))
    print(sum(right))

asyncio.run(main())
"#;
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", "", "--quiet"]);
        let Some(right) = python(SCRIPT, &server) else { return };
        assert_eq!(right, "100\n", "so many of a hundred clients got back what they had sent");
        server.settles_at(0);
    });
}

#[test]
fn a_hundred_python_clients_at_once_get_their_answers_in_order() {
    const SCRIPT: &str = r#"
import asyncio, sys

def fib(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a

async def client(number):
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    asked = [1 + (number + i) % 22 for i in range(200)]
    writer.write(b''.join(b'%d\n' % n for n in asked))
    answers = [int(await reader.readline()) for _ in asked]
    writer.close()
    await writer.wait_closed()
    return answers == [fib(n) for n in asked]

async def main():
    right = await asyncio.gather(*(client(number) for number in range(100)))
    print(sum(right))

asyncio.run(main())
"#;
    deadline(120, || {
        let server = Server::start(&["fib", "--quiet"]);
        let Some(right) = python(SCRIPT, &server) else { return };
        assert_eq!(right, "100\n", "so many of a hundred clients got the right answers");
        server.settles_at(0);
    });
}

// ---- requests in a row

/// How many bytes a request has, with its line end.
const REQUEST: usize = 64;

#[test]
fn ten_thousand_requests_written_before_an_answer_is_read_all_come_back() {
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", "", "--quiet"]);
        let client = server.connect();
        let requests = noise(10_000 * REQUEST);
        // What the server cannot send yet it does not read either: the kernel holds the rest, and has room for it.
        client.send(&requests);
        client.end();
        assert_eq!(difference(&requests, &client.rest_of_bytes()), None);
        server.connect().ask("hello\n", "hello");
    });
}

#[test]
fn ten_thousand_requests_written_before_an_answer_is_read_are_all_answered() {
    deadline(120, || {
        let server = Server::start(&["fib", "--half-close", "--quiet"]);
        let client = server.connect();
        let requests: String = (0..10_000).map(|i| request(i % 21 + 1)).collect();
        let expected: String = (0..10_000).map(|i| format!("{}\n", fib(i % 21 + 1))).collect();
        client.send(&requests);
        client.end();
        assert_eq!(difference(expected.as_bytes(), &client.rest_of_bytes()), None);
        server.connect().ask("10\n", "55");
    });
}

#[test]
fn fifty_connections_with_a_hundred_requests_in_flight_each_get_all_their_bytes() {
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", "", "--quiet"]);
        in_flight(&server, |i| {
            let line = format!("{i:0width$}\n", width = REQUEST - 1);
            (line.clone(), line)
        });
    });
}

#[test]
fn fifty_connections_with_a_hundred_requests_in_flight_each_get_all_their_answers() {
    deadline(120, || {
        let server = Server::start(&["fib", "--quiet"]);
        in_flight(&server, |i| (request(i % 21 + 1), format!("{}\n", fib(i % 21 + 1))));
    });
}

#[test]
fn a_client_that_reads_late_gets_all_its_bytes() {
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", "", "--quiet"]);
        let client = server.connect();
        // More than the kernel holds between us, so that the server finds a client that takes a part of an answer.
        let sent = noise(1_000_003).repeat(32);
        let (body, written) = (sent.clone(), Arc::new(AtomicUsize::new(0)));
        let (mut stream, count) = (client.stream().try_clone().unwrap(), Arc::clone(&written));
        let writing = thread::spawn(move || -> io::Result<()> {
            for chunk in body.chunks(1 << 16) {
                stream.write_all(chunk)?;
                count.fetch_add(chunk.len(), Ordering::SeqCst);
            }
            stream.shutdown(Shutdown::Write)
        });
        // Until nothing moves any more. On a busy machine that may look so before; then it is an easier test.
        let mut before = usize::MAX;
        while before != written.load(Ordering::SeqCst) {
            before = written.load(Ordering::SeqCst);
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(difference(&sent, &client.rest_of_bytes()), None);
        writing.join().unwrap().unwrap();
    });
}

/// Fifty connections at once; each has a hundred requests out, and sends the next when an answer has come, 1,000 in all.
#[track_caller]
fn in_flight(server: &Server, exchange: fn(u64) -> (String, String)) {
    const IN_FLIGHT: u64 = 100;
    const EACH: u64 = 1000;
    thread::scope(|threads| {
        for connection in 0..50 {
            let mut client = server.connect();
            threads.spawn(move || {
                // Each begins elsewhere, so that an answer on the wrong connection shows.
                let exchange = |i| exchange(connection * 7 + i);
                client.send((0..IN_FLIGHT).map(|i| exchange(i).0).collect::<String>());
                for i in 0..EACH {
                    assert_eq!(client.line() + "\n", exchange(i).1, "answer {i}");
                    if i + IN_FLIGHT < EACH {
                        client.send(exchange(i + IN_FLIGHT).0);
                    }
                }
                client.end();
                assert_eq!(client.rest(), "", "there are more answers than requests");
            });
        }
    });
    server.settles_at(0);
}

// ---- what they share

/// What a program prints that gets this input, and ends well. `None` if it is not installed, which is said.
#[track_caller]
fn pipe_through(program: &str, args: &[String], input: Vec<u8>) -> Option<Vec<u8>> {
    if !is_there(program) {
        return None;
    }
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let mut stdout = child.0.stdout.take().unwrap();
    // Both at the same time: a program that reads nothing until somebody takes its output must not stop us.
    let writing = thread::spawn(move || stdin.write_all(&input));
    let reading = thread::spawn(move || {
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).map(|_| output)
    });
    let status = eventually(|| child.0.try_wait().unwrap());
    let status = status.unwrap_or_else(|| panic!("{program} does not end"));
    assert!(status.success(), "{program}: {status}");
    writing.join().unwrap().unwrap_or_else(|error| panic!("{program} takes no input: {error}"));
    Some(reading.join().unwrap().unwrap())
}

/// What a Python script prints that gets the server's address.
#[track_caller]
fn python(script: &str, server: &Server) -> Option<String> {
    let [ip, port] = place(server);
    let args = ["-c", script, &ip, &port].map(String::from);
    Some(String::from_utf8(pipe_through("python3", &args, Vec::new())?).unwrap())
}

/// Whether a program is installed; says so if it is not.
fn is_there(program: &str) -> bool {
    let installed = is_installed(program);
    if !installed {
        eprintln!("skipped: no {program}");
    }
    installed
}

fn place(server: &Server) -> [String; 2] {
    [server.address.ip().to_string(), server.address.port().to_string()]
}

/// A request of [`REQUEST`] bytes.
fn request(n: u64) -> String {
    format!("{n:<width$}\n", width = REQUEST - 1)
}

fn fib(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// Bytes without a pattern, always the same.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Where two rows of bytes begin to differ, if they do: a megabyte in a failure's message helps nobody.
fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let same = expected.iter().zip(got).take_while(|(one, other)| one == other).count();
    Some(format!("{} bytes, not {}; the first {same} are right", got.len(), expected.len()))
}
