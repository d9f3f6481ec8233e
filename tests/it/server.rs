//! Does the server have manners? The program itself is run, and hit through sockets as its users would.
//!
//! The clients here are blocking ones of the standard library (and `nc`, where it is installed): they share no code with
//! the server. Every read has a time limit, so a server that falls silent fails a test instead of stopping it.
//!
//! What can be counted is counted: answers, log lines, descriptors, clock ticks of CPU time. What a computation does in
//! the server's pool is seen from outside, by the state of the process's threads in `/proc`; where there is none, those
//! tests say so and pass.
//!
//! Comes from: `cargo test`. Goes to: the binaries of the package `server`, which are built first.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::children_of;
use crate::support::sockets::reset;
use crate::support::{program, within};

/// How long anything may take that should be there at once: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(30);

// ---- the talk

#[test]
fn the_talk_s_transcript() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let mut client = server.connect();
        for (n, value) in [("10", "55"), ("10", "55"), ("12", "144"), ("20", "6765")] {
            client.send(n);
            client.send("\n");
            assert_eq!(client.line(), value);
        }
        let peer = client.stream().local_addr().unwrap();
        drop(client);
        server.log_line(&format!("Connection {peer}"));
        server.log_line("Closed");
    });
}

#[test]
fn clients_that_send_no_newline_are_answered_chunk_by_chunk() {
    deadline(90, || {
        let server = Server::start(&[]);
        let mut client = server.connect();
        for (n, value) in [("30", "832040"), ("1", "1"), ("20", "6765")] {
            client.send(n);
            assert_eq!(client.line(), value);
        }
    });
}

#[test]
fn the_talk_s_clients_get_their_answers() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let address = server.address.to_string();
        let output = run("perf1", &["--addr", &address, "--n", "20", "--count", "3"]);
        let seconds: Vec<f64> = text(&output).lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(seconds.len(), 3);
        let output = run("perf2", &["--addr", &address, "--seconds", "1.5"]);
        let (count, unit) = text(&output).trim().split_once(' ').expect("a count, a unit");
        assert!(count.parse::<u64>().unwrap() > 0, "{count}");
        assert_eq!(unit, "reqs/sec");
    });
}

#[test]
fn nc_gets_all_its_answers_after_it_has_ended_its_side() {
    deadline(90, || {
        if !is_installed("nc") {
            return eprintln!("nc is not installed: left out");
        }
        let server = Server::start(&["fib"]);
        within_the_grace(|| text(&nc(&server, "10\n12\n20\n")) == "55\n144\n6765\n");
        within_the_grace(|| text(&nc(&server, "10")) == "55\n");
        let echo = Server::start(&["echo"]);
        let output = nc(&echo, "Hello\n");
        assert_eq!(text(&output), "Received: Hello\n");
    });
}

#[test]
fn many_requests_at_once_are_answered_in_order() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let mut client = server.connect();
        let requests: String = (0..20_000).map(|i| format!("{}\r\n", i % 3 + 10)).collect();
        let writing = client.send_aside(requests.into_bytes());
        for i in 0..20_000 {
            assert_eq!(client.line(), ["55", "89", "144"][i % 3]);
        }
        writing.join().unwrap().unwrap();
    });
}

/// With Nagle's algorithm the second answer waits for the acknowledgement of the first, which the client's kernel delays by
/// 40 ms once it takes the connection for an exchange of questions and answers.
#[test]
fn the_second_answer_of_a_pipeline_does_not_wait_for_an_acknowledgement() {
    deadline(90, || {
        // Echo reads 16 KB at a time, so this is two answers there.
        let long = "x".repeat(20 << 10);
        let cases = [("fib", "1\n2\n", "1\n1\n".len()), ("echo", &long, "Received: ".len() * 2)];
        for (service, request, more) in cases {
            let server = Server::start(&[service]);
            let mut client = server.connect();
            let mut answers = vec![0; if service == "fib" { more } else { request.len() + more }];
            let mut fastest = Duration::MAX;
            for exchange in 0..60 {
                let start = Instant::now();
                client.send(request);
                client.reader.read_exact(&mut answers).unwrap();
                if exchange >= 40 {
                    fastest = fastest.min(start.elapsed());
                }
            }
            assert!(fastest < Duration::from_millis(30), "{service}: {fastest:?}");
        }
    });
}

// ---- bad input

#[test]
fn bad_input_is_answered_by_one_line_and_the_connection_lives_on() {
    deadline(90, || {
        let server = Server::start(&["fib", "--max-n", "40"]);
        let mut witness = server.connect();
        let mut client = server.connect();
        client.ask("10\n", "55");
        let bad: [&[u8]; 9] = [
            b"hello",
            b"",
            b"-5",
            b"111111111111111111111",
            b"\xff\xfe\x80",
            b"41",
            b"1 2",
            b"3.5",
            b"\0",
        ];
        for line in bad {
            client.send([line, b"\n"].concat());
            let answer = client.line();
            assert!(answer.starts_with("error: "), "{line:?}: {answer}");
            client.ask("12\n", "144");
            witness.ask("20\n", "6765");
        }
        client.ask("41\n", "error: 41 is over the limit, which is 40");
    });
}

#[test]
fn a_line_without_an_end_in_sight_is_told_so_once_and_closed() {
    deadline(90, || {
        let server = Server::start(&["fib", "--max-line", "100"]);
        let mut witness = server.connect();
        let megabyte = "9".repeat(1 << 20);
        let chunk = "1".repeat(21);
        let lines = ["1\n".to_string() + &"9".repeat(101), chunk, megabyte];
        for long in lines {
            let client = server.connect();
            let writing = client.send_aside(long.into_bytes());
            let rest = client.rest();
            // The server may close before all is written; that is its right.
            let _ = writing.join().unwrap();
            let errors = rest.lines().filter(|line| *line != "1").collect::<Vec<_>>();
            assert_eq!(errors, ["error: the line is too long, goodbye"]);
            witness.ask("20\n", "6765");
        }
    });
}

#[test]
fn whatever_clients_do_nothing_is_left_over() {
    deadline(180, || {
        let server = Server::start(&["fib", "--quiet"]);
        let mut witness = server.connect();
        witness.ask("10\n", "55");
        let mut round = || {
            for count in 0..50 {
                let client = server.connect();
                match count % 5 {
                    0 => client.send("hello\n\n-5\n"),
                    1 => client.send("9".repeat(1 << 16)),
                    2 => {
                        client.send("30\n30\n30\n");
                        client.reset();
                    }
                    3 => client.send("1\n12"),
                    _ => client.send("90\n"), // and leaves without waiting for centuries
                }
            }
            witness.ask("20\n", "6765");
            server.settles_at(1);
        };
        round();
        let Some((memory, descriptors)) = server.memory().zip(server.descriptors()) else {
            return eprintln!("no /proc: left out");
        };
        for _ in 0..5 {
            round();
        }
        assert_eq!(server.descriptors(), Some(descriptors));
        let growth = server.memory().unwrap().saturating_sub(memory);
        assert!(growth < 4 << 20, "{growth} bytes more after five rounds");
        server.computes(false);
    });
}

// ---- clients that leave

#[test]
fn a_reset_ends_its_computation_at_once() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let client = server.connect();
        client.send("90\n");
        if !server.computes(true) {
            return;
        }
        client.reset();
        server.computes(false);
        server.connect().ask("10\n", "55");
    });
}

#[test]
fn a_reset_is_seen_behind_more_requests_than_are_read_ahead() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let client = server.connect();
        client.send("90\n".repeat(10_000));
        if !server.computes(true) {
            return;
        }
        client.reset();
        server.computes(false);
    });
}

#[test]
fn an_end_of_stream_ends_a_long_computation_and_says_nothing() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let client = server.connect();
        client.send("90\n");
        if !server.computes(true) {
            return;
        }
        client.end();
        assert_eq!(client.rest(), "");
        server.computes(false);
    });
}

#[test]
fn with_half_close_an_end_of_stream_waits_for_the_answer() {
    deadline(120, || {
        let server = Server::start(&["fib", "--half-close"]);
        let client = server.connect();
        client.send("40\n12\n");
        client.end();
        assert_eq!(client.rest(), "102334155\n144\n");

        let client = server.connect();
        client.send("90\n");
        client.end();
        if !server.computes(true) {
            return;
        }
        client.reset();
        server.computes(false);
    });
}

/// RFC 1122, 4.2.3.9: "host unreachable" from a router is no end of a connection. The network here is three namespaces in a
/// row: client, router, server; the router loses its way to the client while the server computes.
#[cfg(target_os = "linux")]
#[test]
fn an_unreachable_message_from_a_router_ends_no_computation() {
    use std::os::fd::AsRawFd;
    /// Namespaces that are gone when this is dropped.
    struct Network(Vec<String>);
    impl Drop for Network {
        fn drop(&mut self) {
            self.0.iter().for_each(|name| drop(shell(&format!("ip netns del {name}"))));
        }
    }
    fn shell(script: &str) -> Output {
        Command::new("sh").args(["-ec", script]).output().unwrap()
    }
    deadline(150, || {
        let id = std::process::id();
        let [c, r, s] = ["c", "r", "s"].map(|name| format!("ground-{name}-{id}"));
        let network = Network(vec![c.clone(), r.clone(), s.clone()]);
        let made = shell(&format!(
            "for name in {c} {r} {s}; do ip netns add $name; ip -n $name link set lo up; done
             ip link add tocr{id} netns {c} type veth peer name torc{id} netns {r}
             ip link add tosr{id} netns {s} type veth peer name tors{id} netns {r}
             ip -n {c} addr add 10.9.1.2/24 dev tocr{id}; ip -n {c} link set tocr{id} up
             ip -n {r} addr add 10.9.1.1/24 dev torc{id}; ip -n {r} link set torc{id} up
             ip -n {r} addr add 10.9.2.1/24 dev tors{id}; ip -n {r} link set tors{id} up
             ip -n {s} addr add 10.9.2.2/24 dev tosr{id}; ip -n {s} link set tosr{id} up
             ip -n {c} route add default via 10.9.1.1; ip -n {s} route add default via 10.9.2.1
             ip netns exec {r} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
        ));
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            return println!("skipped: no network namespaces here: {}", why.trim());
        }
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &s]).arg(server_program("server"));
        command.args(["fib", "--half-close", "--max-seconds", "6", "--addr", "10.9.2.2:0"]);
        let server = Server::start_as(command);
        let namespace = fs::File::open(format!("/run/netns/{c}")).unwrap();
        let address = server.address;
        let mut client = thread::spawn(move || {
            // SAFETY: no pointers; the descriptor is open. It concerns this thread alone.
            let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            Client::connect(address)
        })
        .join()
        .unwrap();
        client.ask("10\n", "55");
        client.send("90\n");
        let unreachable = || {
            let file = format!("ip netns exec {s} cat /proc/net/snmp");
            let text = String::from_utf8(shell(&file).stdout).unwrap();
            let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
            let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
            let place = names.split(' ').position(|name| name == "InDestUnreachs").unwrap();
            values.split(' ').nth(place).unwrap().parse::<u64>().unwrap()
        };
        let reroute = |how: &str| {
            let output = shell(&format!("ip -n {r} route {how} unreachable 10.9.1.2/32"));
            assert!(output.status.success(), "{output:?}");
        };
        reroute("add");
        let before = unreachable();
        client.end(); // answered by an acknowledgement, and that by the router
        // So is each repetition of it, and the server looks at the connection meanwhile, four times a second.
        let told = eventually(|| (unreachable() >= before + 4).then_some(()));
        assert!(told.is_some(), "no ICMP messages");
        reroute("del");
        // It has gone on, to the end of its time; had it been ended, there would be no line.
        assert_eq!(client.line(), format!("error: fib(90) took longer than 6 s{GIVEN_UP}"));
        drop((server, network));
    });
}

#[test]
fn what_is_pending_at_the_end_of_a_stream_is_answered() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        within_the_grace(|| {
            let client = server.connect();
            client.send("10\nx\n12");
            client.end();
            let rest = client.rest();
            let lines: Vec<&str> = rest.lines().collect();
            matches!(lines[..], ["55", error, "144"] if error.starts_with("error: "))
        });
    });
}

// ---- long requests

#[test]
fn four_long_requests_do_not_keep_a_short_one_waiting() {
    deadline(90, || {
        let server = Server::start(&["fib", "--pool-fast", "1"]);
        let long = [(); 4].map(|()| server.connect());
        long.iter().for_each(|client| client.send("90\n"));
        let mut fast = server.connect();
        for _ in 0..100 {
            fast.ask("1\n", "1");
        }
        // They go on as long as somebody waits for them, and no longer.
        server.computes(true);
        drop(long);
        server.computes(false);
    });
}

#[test]
fn a_full_pool_is_told_to_the_client_and_takes_requests_again_afterwards() {
    deadline(90, || {
        let limits = ["--pool-fast", "1", "--pool-long", "1", "--pool-queue", "1"];
        let server = Server::start(&[&["fib"], &limits[..]].concat());
        let long = [(); 3].map(|()| server.connect());
        long.iter().for_each(|client| client.send("90\n"));
        // Two compute, one waits, and there is room for no more.
        let full = "error: the queue is full, try again later";
        let told = eventually(|| {
            let mut client = server.connect();
            client.send("1\n");
            // Until all three have arrived it may be queued instead, behind one that never ends.
            client.line_within(Duration::from_millis(200)).filter(|line| line == full)
        });
        assert!(told.is_some());
        drop(long);
        assert!(
            eventually(|| {
                let mut client = server.connect();
                client.send("1\n");
                (client.line() == "1").then_some(())
            })
            .is_some()
        );
    });
}

// ---- the time limit of a computation

const GIVEN_UP: &str = " and was given up; ask for a smaller number";

#[test]
fn a_computation_past_its_time_limit_is_given_up_and_the_connection_lives_on() {
    deadline(120, || {
        for pool in ["threads", "processes"] {
            let server = Server::start(&["fib", "--pool", pool, "--max-seconds", "0.5"]);
            let mut client = server.connect();
            client.ask("90\n", &format!("error: fib(90) took longer than 0.5 s{GIVEN_UP}"));
            client.ask("10\n", "55");
            client.send("89\n12\n");
            assert_eq!(client.line(), format!("error: fib(89) took longer than 0.5 s{GIVEN_UP}"));
            assert_eq!(client.line(), "144");
            server.computes(false);
            let at_work = || {
                let children = children_of(server.child.0.id())?;
                let pids: Vec<_> = children.iter().map(|child| (child.pid, child.ticks)).collect();
                Some(pids)
            };
            // What still computed would collect clock ticks.
            let calm = eventually(|| {
                let before = at_work();
                thread::sleep(Duration::from_millis(100));
                (at_work() == before).then_some(())
            });
            assert!(calm.is_some(), "{pool}: {:?} compute on", at_work());
        }
    });
}

#[test]
fn without_a_time_limit_a_computation_takes_its_time() {
    deadline(120, || {
        for pool in ["threads", "processes"] {
            let server = Server::start(&["fib", "--pool", pool, "--max-seconds", "0"]);
            server.connect().ask("32\n", "2178309");
        }
    });
}

#[test]
fn requests_that_only_waited_for_a_process_are_told_so() {
    deadline(120, || {
        let pool = ["--pool", "processes", "--processes", "1", "--max-seconds", "1"];
        let server = Server::start(&[&["fib"], &pool[..]].concat());
        let mut clients = [(); 40].map(|()| server.connect());
        clients.iter().for_each(|client| client.send("90\n"));
        let (mut waited, mut computed) = (0, 0);
        for client in &mut clients {
            let line = client.line();
            if line == "error: fib(90) has waited 1 s for a free process; try again later" {
                waited += 1;
            } else {
                assert_eq!(line, format!("error: fib(90) took longer than 1 s{GIVEN_UP}"));
                computed += 1;
            }
        }
        // The first is computed; some may have taken its place in the moment before their own time was over.
        assert!(waited > 0 && computed > 0, "{waited} waited, {computed} were computed");
        for client in &mut clients {
            client.ask("10\n", "55");
        }
    });
}

#[test]
fn clients_that_fill_the_whole_pool_each_hear_a_line_and_a_short_request_is_answered() {
    deadline(180, || {
        let server = Server::start(&["fib", "--quiet", "--max-seconds", "3"]);
        let mut long: Vec<_> = (0..320).map(|_| server.connect()).collect();
        long.iter().for_each(|client| client.send("90\n"));
        thread::sleep(Duration::from_millis(500)); // so that its own time is over later than theirs
        server.connect().ask("1\n", "1");
        for client in &mut long {
            let line = client.line();
            assert!(line.starts_with("error: fib(90) "), "{line}");
        }
        for client in &mut long {
            client.ask("12\n", "144");
        }
    });
}

// ---- computing in processes

#[test]
fn a_process_that_crashes_is_told_plainly_to_the_client_and_in_detail_to_the_log() {
    deadline(120, || {
        let server = Server::start(&["fib", "--pool", "processes", "--processes", "1"]);
        let mut client = server.connect();
        client.send("90\n");
        let Some(computing) = server.processes_at_work(1) else {
            return eprintln!("no /proc: left out");
        };
        let status = Command::new("kill").args(["-s", "KILL", &computing[0].to_string()]).status();
        assert!(status.unwrap().success());
        assert_eq!(client.line(), "error: fib(90) could not be computed, try again later");
        let peer = client.stream().local_addr().unwrap();
        server.log_line(&format!("{peer}: fib(90) failed: the worker process crashed (signal: 9"));
        client.ask("10\n", "55");
    });
}

#[test]
fn processes_answer_as_threads_do() {
    deadline(90, || {
        let server =
            Server::start(&["fib", "--pool", "processes", "--processes", "2", "--max-n", "40"]);
        let mut client = server.connect();
        for (request, answer) in [
            ("0\n", "1"),
            ("10\n", "55"),
            ("x\n", "error: that is not a number; send one from 0 to 40"),
            ("41\n", "error: 41 is over the limit, which is 40"),
            ("30\n", "832040"),
        ] {
            client.ask(request, answer);
        }
        let writing = client.send_aside("10\n12\n20\n".repeat(1000).into_bytes());
        for i in 0..3000 {
            assert_eq!(client.line(), ["55", "144", "6765"][i % 3]);
        }
        writing.join().unwrap().unwrap();
        if is_installed("nc") {
            within_the_grace(|| text(&nc(&server, "10\n12\n20\n")) == "55\n144\n6765\n");
        }
    });
}

#[test]
fn a_client_that_leaves_ends_the_process_that_computes_for_it() {
    deadline(120, || {
        let server = Server::start(&["fib", "--pool", "processes", "--processes", "2"]);
        let mut witness = server.connect();
        witness.ask("10\n", "55");
        for leave in [
            Client::reset,
            |client: Client| drop(client),
            |client: Client| {
                client.end();
                assert_eq!(client.rest(), "");
            },
        ] {
            let clients = [(); 2].map(|()| server.connect());
            clients.iter().for_each(|client| client.send("90\n"));
            let Some(computing) = server.processes_at_work(2) else {
                return eprintln!("no /proc: left out");
            };
            clients.into_iter().for_each(leave);
            let ended = eventually(|| {
                let alive = children_of(server.child.0.id())?;
                alive.iter().all(|child| !computing.contains(&child.pid)).then_some(())
            });
            assert!(ended.is_some(), "they compute on");
            witness.ask("10\n", "55");
        }
    });
}

#[test]
fn long_requests_stop_nobody_as_long_as_there_is_a_process_left() {
    deadline(90, || {
        let server = Server::start(&["fib", "--pool", "processes", "--processes", "5"]);
        let long = [(); 4].map(|()| server.connect());
        long.iter().for_each(|client| client.send("90\n"));
        if server.processes_at_work(4).is_none() {
            return eprintln!("no /proc: left out");
        }
        let mut fast = server.connect();
        for _ in 0..100 {
            fast.ask("1\n", "1");
        }
    });
}

#[test]
fn the_processes_end_with_the_server() {
    deadline(120, || {
        for (signal, code) in [("TERM", Some(0)), ("KILL", None)] {
            let server = Server::start(&["fib", "--pool", "processes", "--drain", "0.2"]);
            let client = server.connect();
            client.send("90\n");
            let Some(computing) = server.processes_at_work(1) else {
                return eprintln!("no /proc: left out");
            };
            server.signal(signal);
            assert_eq!(server.end().0.code(), code);
            for process in computing {
                let ended = eventually(|| {
                    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
                    stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
                });
                assert!(ended.is_some(), "one computes on");
            }
        }
    });
}

// ---- limits

#[test]
fn a_client_that_stalls_in_the_middle_of_a_line_is_told_so_and_closed() {
    deadline(90, || {
        let server = Server::start(&["fib", "--slow-timeout", "0.3"]);
        let mut idle = server.connect();
        idle.ask("10\n", "55");
        let client = server.connect();
        client.send("1\n2");
        let rest = client.rest();
        assert_eq!(rest, "1\nerror: the line was not ended within 0.3 s\n");
        server.log_line("Ending ");
        idle.ask("10\n", "55");
    });
}

#[test]
fn a_client_that_sends_nothing_is_told_so_and_closed() {
    deadline(90, || {
        let server = Server::start(&["fib", "--idle-timeout", "0.3"]);
        let mut client = server.connect();
        client.ask("10\n", "55");
        assert_eq!(client.rest(), "error: nothing came for 0.3 s\n");
        let echo = Server::start(&["echo", "--idle-timeout", "0.3"]);
        let mut client = echo.connect();
        client.ask("10\n", "Received: 10");
        assert_eq!(client.rest(), "error: nothing came for 0.3 s\n");
    });
}

/// A client that goes on sending may not lose the last line: bytes behind a close are answered by a reset.
#[test]
fn the_word_at_a_limit_reaches_a_client_that_goes_on_sending() {
    deadline(120, || {
        let cases: [(&[&str], &str, &str); 4] = [
            (&["fib", "--slow-timeout", "0.3"], "2", "error: the line was not ended within 0.3 s"),
            (&["fib", "--idle-timeout", "0.3"], "", "error: nothing came for 0.3 s"),
            (&["echo", "--idle-timeout", "0.3"], "", "error: nothing came for 0.3 s"),
            (&["fib", "--max-line", "30"], &"2".repeat(31), "error: the line is too long, goodbye"),
        ];
        for (options, request, word) in cases {
            let server = Server::start(options);
            let mut client = server.connect();
            client.send("1\n");
            client.line();
            client.send(request);
            let ended = eventually(|| {
                // One byte at a time would be a line that goes on; this is a client that has seen nothing yet.
                let line = client.line_within(Duration::from_millis(50))?;
                Some(line)
            });
            assert_eq!(ended.as_deref(), Some(word));
            for _ in 0..5 {
                client.send("10\n");
            }
            assert_eq!(client.rest(), "", "{word}");
        }
    });
}

#[test]
fn limits_do_not_touch_a_client_that_waits_for_its_answer_or_keeps_asking() {
    deadline(120, || {
        let limits = ["--idle-timeout", "1", "--slow-timeout", "1"];
        let server = Server::start(&[&["fib"], &limits[..]].concat());
        let mut asking = server.connect();
        let waiting = server.connect();
        waiting.send("90\n");
        let end = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < end {
            asking.ask("1\n", "1");
        }
        // Two limits and more have passed, and it is still there.
        waiting.stream().set_nonblocking(true).unwrap();
        let there = waiting.stream().read(&mut [0]).expect_err("no answer, no end");
        assert_eq!(there.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_buffer_and_is_closed() {
    deadline(180, || {
        for service in [&["fib"][..], &["echo"], &["echo", "--prefix", ""]] {
            let server = Server::start(&[service, &["--slow-timeout", "0.5"]].concat());
            let mut witness = server.connect();
            witness.send("10\n");
            let answer = witness.line();
            let memory = server.memory();
            let client = server.connect();
            let chunk = "x\n".repeat(1 << 15);
            // It ends with an error, since the server closes: all buffers between are full by then.
            let mut sends = (0..4096).map(|_| client.stream().write_all(chunk.as_bytes()));
            let error = sends.find_map(Result::err).expect("what nobody reads goes nowhere");
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it is not closed");
            server.log_line("Ending ");
            if let Some((before, now)) = memory.zip(server.memory()) {
                assert!(now < before + (2 << 20), "{service:?}: from {before} to {now} bytes");
            }
            witness.send("10\n");
            assert_eq!(witness.line(), answer);
        }
    });
}

#[test]
fn those_beyond_the_connection_limit_are_told_so_until_there_is_room() {
    deadline(90, || {
        let server = Server::start(&["fib", "--max-connections", "2"]);
        let (mut first, mut second) = (server.connect(), server.connect());
        first.ask("10\n", "55");
        second.ask("10\n", "55");
        let third = server.connect().rest();
        assert!(third.starts_with("error: too many connections"), "{third}");
        assert_eq!(third.lines().count(), 1);
        drop(first);
        server.log_line("Closed");
        server.connect().ask("12\n", "144");
        second.ask("12\n", "144");
    });
}

/// The server, with so many descriptors.
fn with_descriptors(count: usize, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {count} && exec \"$@\""), "sh"]);
    shell.arg(server_program("server")).args(args).args(["--addr", "127.0.0.1:0"]);
    shell
}

#[test]
fn idle_clients_leave_the_processes_their_descriptors() {
    deadline(180, || {
        let args = ["fib", "--pool", "processes", "--processes", "3"];
        let server = Server::start_as(with_descriptors(80, &args));
        server.log_line("The limit of descriptors (`ulimit -n`) leaves room for ");
        let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        for client in &clients {
            client.send("20\n");
        }
        for client in clients.iter_mut().take(16) {
            assert_eq!(client.line(), "6765");
        }
        // As many as there is room for are still there; the others come in as these leave.
        for mut client in clients.drain(16..) {
            if let Some(line) = client.line_within(Duration::from_millis(50)) {
                assert_eq!(line, "6765");
            }
        }
        server.connect().ask("10\n", "55");
        server.signal("TERM");
        let (status, lines) = server.end();
        assert_eq!(status.code(), Some(0));
        assert!(!lines.iter().any(|line| line.contains("Too many open files")), "{lines:?}");
    });
}

#[test]
fn out_of_descriptors_it_waits_without_spinning_and_everyone_is_served() {
    deadline(180, || {
        let server = Server::start_as(with_descriptors(64, &["fib"]));
        server.log_line("The limit of descriptors (`ulimit -n`) leaves room for ");
        let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        if let Some(before) = server.cpu_ticks() {
            thread::sleep(Duration::from_secs(1)); // the time in which it must not work
            let ticks = server.cpu_ticks().unwrap() - before;
            assert!(ticks <= 10, "{ticks} ticks of CPU time in a second of waiting");
        }
        for client in &mut clients {
            client.send("10\n");
        }
        for mut client in clients {
            assert_eq!(client.line(), "55");
        }
        server.signal("TERM");
        let (status, lines) = server.end();
        assert_eq!(status.code(), Some(0));
        let complaints = lines.iter().filter(|line| line.contains("descriptors"));
        assert_eq!(complaints.count(), 0, "it has said so once already: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("cannot accept")), "{lines:?}");
    });
}

// ---- echo

#[test]
fn echo_puts_its_prefix_before_each_chunk() {
    deadline(90, || {
        let server = Server::start(&["echo", "--prefix", "> "]);
        let mut client = server.connect();
        client.ask("Hello\n", "> Hello");
        client.ask("\n", "> ");
        client.ask("a\0b\n", "> a\0b");
    });
}

#[test]
fn echo_returns_every_byte_to_a_client_that_has_ended_its_side() {
    deadline(120, || {
        let server = Server::start(&["echo", "--prefix", ""]);
        let client = server.connect();
        let sent: Vec<u8> = (0..8u32 << 20).map(|i| (i * 7 + (i >> 9)) as u8).collect();
        let writing = client.send_aside(sent.clone());
        // Reading begins late, so that answers have to wait in the server; how late makes no difference to the outcome.
        thread::sleep(Duration::from_millis(50));
        let ending = thread::spawn(move || writing.join().unwrap()?.shutdown(Shutdown::Write));
        let received = client.rest_of_bytes();
        ending.join().unwrap().unwrap();
        assert!(received == sent, "{} bytes sent, {} received", sent.len(), received.len());
    });
}

// ---- start and stop

#[test]
fn an_address_in_use_is_an_error_that_says_what_to_do() {
    deadline(90, || {
        let server = Server::start(&["fib"]);
        let address = server.address.to_string();
        for workers in ["1", "2"] {
            let output = run("server", &["echo", "--addr", &address, "--workers", workers]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains(&address) && said.contains("--addr"), "{said}");
            assert_eq!(text(&output), "");
        }
        server.connect().ask("10\n", "55");
    });
}

#[test]
fn a_port_that_another_server_s_workers_share_is_in_use() {
    if !cfg!(target_os = "linux") {
        return eprintln!("only Linux deals connections out among listeners: left out");
    }
    deadline(90, || {
        let server = Server::start(&["fib", "--workers", "2"]);
        let address = server.address.to_string();
        for workers in ["1", "2", "3"] {
            let output = run("server", &["fib", "--addr", &address, "--workers", workers]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("another program listens there"), "{said}");
        }
        for _ in 0..20 {
            server.connect().ask("10\n", "55");
        }
    });
}

#[test]
fn an_error_of_the_start_says_what_it_means() {
    deadline(90, || {
        let cases = [
            ("1.2.3.4:0", "--addr takes an address of this machine"),
            ("127.0.0.1", "--addr takes a host and a port"),
            ("", "--addr takes a host and a port"),
            ("127.0.0.1:65536", "--addr takes a host and a port"),
            ("nobody.invalid:1", "the resolver does not know this name"),
            ("\x1b]0;title\x07\u{9b}31m:1", "the resolver does not know this name"),
        ];
        for (address, meaning) in cases {
            let output = run("server", &["fib", "--addr", address]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.starts_with("server: ") && said.contains(meaning), "{said}");
            assert_eq!(
                said.lines().filter(|line| line.contains("--addr takes")).count() == 1,
                meaning.contains("--addr takes"),
                "{said}"
            );
            let controls = said.chars().filter(|&c| c.is_control() && c != '\n').count();
            assert_eq!(controls, 0, "{said:?}");
        }
    });
}

#[test]
fn too_few_descriptors_are_an_error_and_no_panic() {
    deadline(180, || {
        for args in [&["fib"][..], &["fib", "--pool", "processes"], &["echo", "--workers", "2"]] {
            for count in 4..24 {
                let mut command = with_descriptors(count, args);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                let output = finish(Running(command.spawn().unwrap()));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if said.contains("loading shared libraries") {
                    continue; // not a line of the program has run
                }
                assert_eq!(output.status.code(), Some(1), "{count}: {said}");
                assert!(said.starts_with("server: "), "{count}: {said}");
                assert!(
                    said.contains("descriptors") && !said.contains("panicked"),
                    "{count}: {said}"
                );
                assert_eq!(text(&output), "");
            }
        }
    });
}

#[test]
fn a_time_too_short_to_mean_anything_is_refused() {
    deadline(90, || {
        for option in ["--slow-timeout", "--idle-timeout", "--drain", "--max-seconds"] {
            for nonsense in ["0.000000003", "-1", "NaN", "1e-30", "x"] {
                let output = run("server", &["fib", &format!("{option}={nonsense}")]);
                assert_eq!(output.status.code(), Some(2), "{option} {nonsense}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains(option) && said.contains(nonsense), "{said}");
            }
        }
    });
}

#[test]
fn a_stop_lets_requests_end_and_sends_idle_clients_home() {
    deadline(120, || {
        for signal in ["TERM", "INT"] {
            let server = Server::start(&["fib", "--drain", "60"]);
            let mut idle = server.connect();
            idle.ask("10\n", "55");
            let mut half = server.connect();
            half.ask("1\n", "1");
            half.send("2");
            let busy = server.connect();
            busy.send("40\n10\n");
            server.computes(true);
            server.signal(signal);
            assert_eq!(idle.rest(), "");
            assert_eq!(half.rest(), "");
            assert_eq!(busy.rest(), "102334155\n55\n");
            let address = server.address;
            let (status, lines) = server.end();
            assert_eq!(status.code(), Some(0), "{signal}: {lines:?}");
            assert!(lines.iter().any(|line| line.contains("0 cut off")), "{lines:?}");
            assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        }
    });
}

#[test]
fn a_stop_loses_no_answer_of_a_client_that_goes_on_sending() {
    deadline(180, || {
        for pool in ["threads", "processes"] {
            let server = Server::start(&["fib", "--pool", pool, "--drain", "60"]);
            let client = server.connect();
            client.send("38\n1\n1\n1\n");
            if pool == "threads" {
                server.computes(true);
            } else {
                server.processes_at_work(1);
            }
            server.signal("TERM");
            server.log_line("Stopping");
            // Behind the stop, while the first is computed: taken up by nothing, and no reason to lose the answers.
            client.send("1\n");
            // (It may have come before the loop knew of the stop: then it is answered.)
            let rest = client.rest();
            let answers = rest.strip_prefix("39088169\n1\n1\n1\n");
            assert!(matches!(answers, Some("" | "1\n")), "{pool}: {rest:?}");
            let (status, lines) = server.end();
            assert_eq!(status.code(), Some(0));
            assert!(lines.iter().any(|line| line.contains("0 cut off")), "{lines:?}");
        }
    });
}

#[test]
fn a_stop_ends_pipelining_clients_by_an_end_of_stream_and_not_by_a_reset() {
    deadline(180, || {
        const CLIENTS: usize = 10;
        let server = Server::start(&["fib", "--quiet", "--drain", "60"]);
        let (begun, are_running) = mpsc::channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (mut client, begun) = (server.connect(), begun.clone());
                thread::spawn(move || {
                    // A hundred requests are always on their way, so the stop finds some in every buffer.
                    if !client.send_more(100) {
                        return false;
                    }
                    let mut answers = 0;
                    loop {
                        let mut line = String::new();
                        match client.reader.read_line(&mut line) {
                            Ok(0) => return true,
                            Ok(_) => assert_eq!(line, "1\n"),
                            Err(_) => return false,
                        }
                        answers += 1;
                        if answers == 200 {
                            begun.send(()).unwrap();
                        }
                        if !client.send_more(1) {
                            return false;
                        }
                    }
                })
            })
            .collect();
        for _ in 0..CLIENTS {
            are_running.recv_timeout(PATIENCE).unwrap();
        }
        server.signal("TERM");
        let ended: Vec<bool> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let (status, lines) = server.end();
        assert_eq!(status.code(), Some(0));
        assert!(lines.iter().any(|line| line.contains("0 cut off")), "{lines:?}");
        // A client that gets no processor for a second may meet the close after all.
        let resets = ended.iter().filter(|ended| !**ended).count();
        assert!(resets < CLIENTS / 2, "{resets} of {CLIENTS} were reset");
    });
}

#[test]
fn a_client_that_keeps_its_end_open_is_left_after_a_second_and_is_not_cut_off() {
    deadline(90, || {
        let server = Server::start(&["echo", "--drain", "60"]);
        let mut client = server.connect();
        client.ask("1\n", "Received: 1");
        server.signal("TERM");
        let (status, lines) = server.end(); // the client is still there
        assert_eq!(status.code(), Some(0));
        assert!(lines.iter().any(|line| line.contains("0 cut off")), "{lines:?}");
        assert_eq!(client.rest(), "");
    });
}

#[test]
fn a_stop_does_not_wait_beyond_its_deadline() {
    deadline(90, || {
        let server = Server::start(&["fib", "--drain", "0.2"]);
        let busy = server.connect();
        busy.send("90\n");
        server.computes(true);
        server.signal("TERM");
        assert_eq!(busy.rest(), "");
        let (status, lines) = server.end();
        assert_eq!(status.code(), Some(0));
        assert!(lines.iter().any(|line| line.contains("1 cut off")), "{lines:?}");
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    deadline(90, || {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let server = Server::start(&["fib", "--drain", "1000"]);
            let busy = server.connect();
            busy.send("90\n");
            server.computes(true);
            server.signal(signal);
            server.log_line("Stopping");
            server.signal(signal);
            let (status, _) = server.end();
            assert_eq!(status.code(), Some(code));
        }
    });
}

#[test]
fn workers_share_the_port_and_stop_together() {
    if !cfg!(target_os = "linux") {
        return eprintln!("only Linux deals connections out among listeners: left out");
    }
    deadline(90, || {
        let server = Server::start(&["fib", "--workers", "2"]);
        let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.ask("20\n", "6765");
        }
        server.signal("TERM");
        for client in clients {
            assert_eq!(client.rest(), "");
        }
        let (status, lines) = server.end();
        assert_eq!(status.code(), Some(0));
        let last = lines.last().expect("a last word");
        assert!(last.starts_with("Stopped: 40 connections"), "{last}");
    });
}

#[test]
fn a_stopped_terminal_never_stops_the_loop() {
    deadline(180, || {
        let mut command = Command::new(server_program("server"));
        command.args(["fib", "--addr", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let mut terminal = BufReader::new(child.0.stdout.take().unwrap());
        let address = listening(&mut terminal);
        // Nobody reads from here on. What fits: a pipe's 64 KB, and the queue's 1024 lines.
        for _ in 0..4000 {
            let mut client = Client::connect(address);
            client.ask("10\n", "55");
        }
        let (mut written, mut missing) = (0, 0);
        let mut take_in = |line: String| match line.split_once(" lines left out") {
            Some((count, _)) => missing += count.trim_matches('(').parse::<usize>().unwrap(),
            None => written += 1,
        };
        let mut lines = terminal.lines().map(Result::unwrap);
        // When it says that something is missing, it has caught up.
        for line in lines.by_ref() {
            let caught_up = line.contains("left out");
            take_in(line);
            if caught_up {
                signal(&child.0, "TERM");
                break;
            }
        }
        lines.for_each(&mut take_in);
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
        assert!(missing > 0, "{written} lines, and none left out");
        assert_eq!(written + missing, 8000 + 2, "each connection's two, and the last two");
    });
}

#[test]
fn an_idle_server_sleeps() {
    deadline(90, || {
        let server = Server::start(&["fib", "--slow-timeout", "0.1"]);
        server.connect().ask("10\n", "55");
        server.log_line("Closed");
        let Some(before) = server.naps() else {
            return eprintln!("no /proc: left out");
        };
        thread::sleep(Duration::from_millis(500)); // the time in which nothing may happen
        let naps = server.naps().unwrap() - before;
        // Some threads may have been on their way to bed; somebody who visits an empty house would come 20 times.
        assert!(naps < 10, "woken {naps} times in half a second with nobody there");
    });
}

/// With `GROUND_DEEP=1`, and 20,000 descriptors to be had.
#[test]
fn nineteen_thousand_connections() {
    if std::env::var_os("GROUND_DEEP").is_none() {
        return eprintln!("GROUND_DEEP is not set: left out");
    }
    deadline(300, || {
        for service in ["echo", "fib"] {
            const COUNT: usize = 19_000;
            let server = Server::start(&[service, "--max-connections", "19500", "--quiet"]);
            for _ in 0..100 {
                server.connect().send("1\n");
            }
            server.settles_at(0);
            let before = server.memory();
            let mut clients: Vec<Client> = Vec::new();
            for _ in 0..COUNT {
                let client = server.connect();
                client.send("1\n");
                clients.push(client);
            }
            let expected = if service == "echo" { "Received: 1" } else { "1" };
            for client in &mut clients {
                assert_eq!(client.line(), expected);
            }
            if let Some((before, now)) = before.zip(server.memory()) {
                println!("{service}: {} bytes per idle connection", (now - before) / COUNT);
            }
            server.signal("TERM");
            for client in clients {
                assert_eq!(client.rest(), "");
            }
            assert_eq!(server.end().0.code(), Some(0));
        }
    });
}

/// As [`within`], for tests of the programs, which are built before the clock starts.
#[track_caller]
pub(crate) fn deadline(seconds: u64, body: impl FnOnce() + Send + 'static) {
    server_program("server");
    within(seconds, body);
}

// ---- the server as a process

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    child: Running,
    pub(crate) address: SocketAddr,
    /// What it prints, after the first line.
    lines: Receiver<String>,
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Server {
        let mut command = Command::new(server_program("server"));
        Server::start_as({
            command.args(args).args(["--addr", "127.0.0.1:0"]);
            command
        })
    }

    fn start_as(mut command: Command) -> Server {
        let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut printed = BufReader::new(child.0.stdout.take().unwrap());
        let address = listening(&mut printed);
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Server { child, address, lines }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits for a line that begins so.
    #[track_caller]
    fn log_line(&self, begin: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(begin) => return,
                Ok(_) => {}
                Err(_) => panic!("it does not print a line that begins with {begin:?}"),
            }
        }
    }

    fn signal(&self, name: &str) {
        signal(&self.child.0, name);
    }

    /// Waits for its end, and gives the lines that nobody has read yet.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        let status = eventually(|| self.child.0.try_wait().unwrap());
        let status = status.expect("it does not end");
        (status, self.lines.iter().collect())
    }

    /// Waits until it has so many connections; where there is no `/proc`, it does not wait.
    #[track_caller]
    pub(crate) fn settles_at(&self, connections: usize) {
        let settled = eventually(|| {
            let sockets = self.sockets()?;
            // The listener is one too, and so are the two of the pair by which signals come.
            (sockets <= connections + 3).then_some(())
        });
        assert!(settled.is_some() || self.sockets().is_none(), "{:?} sockets", self.sockets());
    }

    /// Waits until a thread of the pool is at work, or none is; `false` where that cannot be seen.
    #[track_caller]
    fn computes(&self, expected: bool) -> bool {
        if self.is_computing().is_none() {
            eprintln!("no /proc: left out");
            return false;
        }
        let seen = eventually(|| (self.is_computing() == Some(expected)).then_some(()));
        assert!(seen.is_some(), "it computes: {}", !expected);
        true
    }

    fn is_computing(&self) -> Option<bool> {
        let mut computing = false;
        for thread in fs::read_dir(self.proc("task")).ok()? {
            let Ok(stat) = fs::read_to_string(thread.ok()?.path().join("stat")) else {
                continue; // it has ended meanwhile
            };
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            computing |= name.starts_with("pool") && rest.starts_with('R');
        }
        Some(computing)
    }

    /// Waits until so many of its processes have computed for some time, and says which; `None` where that cannot be seen.
    #[track_caller]
    fn processes_at_work(&self, count: usize) -> Option<Vec<u32>> {
        let at_work = || -> Option<Vec<u32>> {
            let children = children_of(self.child.0.id())?;
            Some(children.iter().filter(|child| child.ticks >= 5).map(|child| child.pid).collect())
        };
        at_work()?;
        let seen = eventually(|| at_work().filter(|processes| processes.len() == count));
        Some(seen.unwrap_or_else(|| panic!("{:?} compute, not {count}", at_work())))
    }

    fn descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(self.proc("fd")).ok()?.count())
    }

    fn sockets(&self) -> Option<usize> {
        let links = fs::read_dir(self.proc("fd")).ok()?;
        let is_socket = |link: &PathBuf| link.to_string_lossy().starts_with("socket:");
        Some(links.flatten().flat_map(|link| fs::read_link(link.path())).filter(is_socket).count())
    }

    /// Resident bytes.
    fn memory(&self) -> Option<usize> {
        let status = fs::read_to_string(self.proc("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
    }

    /// Clock ticks of CPU time, its own and the kernel's for it.
    fn cpu_ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.proc("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
    }

    /// How often any of its threads has gone to sleep.
    fn naps(&self) -> Option<u64> {
        let mut naps = 0;
        for thread in fs::read_dir(self.proc("task")).ok()? {
            let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
            naps += line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        }
        Some(naps)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.0.id().to_string()).join(file)
    }
}

/// A client that does not wait for ever.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // A small buffer: there may be thousands of these.
        Client { reader: BufReader::with_capacity(512, stream) }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends these bytes from another thread, which keeps the connection open until all are sent.
    fn send_aside(&self, bytes: Vec<u8>) -> thread::JoinHandle<io::Result<TcpStream>> {
        let mut stream = self.stream().try_clone().unwrap();
        thread::spawn(move || stream.write_all(&bytes).map(|()| stream))
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// Asks for fib(1) so many times; `false` if the connection takes no more.
    fn send_more(&self, count: usize) -> bool {
        self.stream().write_all("1\n".repeat(count).as_bytes()).is_ok()
    }

    /// Ends its side: what it has sent is all.
    #[track_caller]
    pub(crate) fn end(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Breaks the connection off.
    fn reset(self) {
        reset(self.reader.into_inner());
    }

    /// One line, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the connection has ended behind {line:?}");
        line.pop();
        line
    }

    /// As `line`, if one comes within that time.
    fn line_within(&mut self, time: Duration) -> Option<String> {
        self.stream().set_read_timeout(Some(time)).unwrap();
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        self.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        read.ok()?;
        line.strip_suffix('\n').map(String::from)
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: &str, answer: &str) {
        self.send(request);
        assert_eq!(self.line(), answer);
    }

    /// All that comes until the server ends the connection.
    #[track_caller]
    pub(crate) fn rest(self) -> String {
        String::from_utf8(self.rest_of_bytes()).unwrap()
    }

    #[track_caller]
    pub(crate) fn rest_of_bytes(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// Reads the line that says where a server listens.
#[track_caller]
fn listening(printed: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let address = line.split_once(" on ").and_then(|(_, rest)| rest.split_once(','));
    let (address, _) = address.unwrap_or_else(|| panic!("it does not listen: {line:?}"));
    address.parse().unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
    assert!(status.success(), "{status}");
}

/// For answers that a client behind an end of stream gets if they take 25 ms at most: on a busy machine one may take
/// longer, but not all of twenty.
#[track_caller]
fn within_the_grace(mut is_answered: impl FnMut() -> bool) {
    assert!((0..20).any(|_| is_answered()), "not once in twenty times");
}

/// Asks until there is an answer, or patience ends.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn nc(server: &Server, input: &str) -> Output {
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let mut command = Command::new("nc");
    command.args(["-N", &ip, &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    child.0.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finish(child)
}

fn run(name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(server_program(name));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(Running(command.spawn().unwrap()))
}

/// What a short-lived program has printed, when it has ended.
#[track_caller]
fn finish(mut child: Running) -> Output {
    let status = eventually(|| child.0.try_wait().unwrap()).expect("it does not end");
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    if let Some(mut out) = child.0.stdout.take() {
        out.read_to_end(&mut output.stdout).unwrap();
    }
    if let Some(mut err) = child.0.stderr.take() {
        err.read_to_end(&mut output.stderr).unwrap();
    }
    output
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn server_program(name: &str) -> PathBuf {
    program("server", "bins", name)
}
