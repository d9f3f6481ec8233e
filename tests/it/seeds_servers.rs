//! What do the five echo servers, the two fib servers and the riddles about joining promise beyond what they print?
//!
//! Who waits for whom: the point of each of these servers is what a second client gets while the first is there.
//!
//! Comes from: `cargo test`. Goes to: docs/seeds/seed003, seed004.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::seeds::{Client, Run, Server, deadline, seeds};
use crate::seeds_fetch::in_one_of_ten;

const ECHO: [&str; 5] =
    ["echo-single", "echo-threads", "echo-processes", "echo-select", "echo-async"];

#[test]
fn a_second_client_of_a_single_thread_waits_for_the_first_to_leave() {
    deadline(120, || {
        let server = Server::start("echo-single");
        let mut first = Client::to(server.address);
        assert_eq!(first.ask("one"), "Received: one");
        let mut second = Client::to(server.address);
        second.send("two");
        assert!(
            !second.hears_within(Duration::from_millis(200)),
            "it is answered beside the first"
        );
        assert_eq!(first.ask("still here"), "Received: still here");
        first.end();
        assert_eq!(second.line(), "Received: two");
    });
}

#[test]
fn the_other_four_answer_a_second_client_beside_the_first() {
    deadline(120, || {
        for program in &ECHO[1..] {
            let server = Server::start(program);
            let mut first = Client::to(server.address);
            assert_eq!(first.ask("one"), "Received: one", "{program}");
            let mut second = Client::to(server.address);
            assert_eq!(second.ask("two"), "Received: two", "{program}");
            assert_eq!(first.ask("three"), "Received: three", "{program}");
            second.end();
            first.end();
        }
    });
}

/// Written without reading until everybody's buffers are full: a server must stop reading then, keep what it has, and go on
/// where it was when there is room.
#[test]
fn a_client_that_reads_late_gets_everything_and_costs_no_memory() {
    deadline(240, || {
        for program in ECHO {
            let server = Server::start(program);
            let mut stream = TcpStream::connect(server.address).unwrap();
            // A machine that stands still for so long makes this test weaker, and does not fail it.
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut written = 0;
            while let Ok(count) = stream.write(&[b'x'; 100_000]) {
                written += count;
                assert!(written < 256 << 20, "{program} takes whatever comes");
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let mut echoed = String::new();
            stream.read_to_string(&mut echoed).unwrap();
            let mut parts = echoed.split("Received: ");
            assert_eq!(parts.next(), Some(""), "{program}: it begins in the middle");
            let parts: Vec<_> = parts.collect();
            assert!(parts.iter().all(|part| part.starts_with('x')), "{program}: an empty answer");
            // Each `x` came back, and nothing else did.
            assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), written, "{program}");
            assert_eq!(echoed.matches('x').count(), written, "{program}: torn");
        }
    });
}

#[test]
fn a_client_that_is_reset_harms_nobody() {
    deadline(120, || {
        for program in ECHO {
            let server = Server::start(program);
            let mut rude = Client::to(server.address);
            assert_eq!(rude.ask("one"), "Received: one", "{program}");
            rude.reset();
            let mut next = Client::to(server.address);
            assert_eq!(next.ask("two"), "Received: two", "{program}");
            next.end();
        }
    });
}

/// More than `select` could: it has room for the descriptors 0 to 1,023.
#[test]
fn poll_serves_more_clients_than_select_could() {
    deadline(240, || {
        const CLIENTS: usize = 1_100;
        if descriptors_allowed() < CLIENTS as u64 + 200 {
            return; // neither here nor in the server can so many be open
        }
        let server = Server::start("echo-select");
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::to(server.address)).collect();
        for place in [CLIENTS - 1, 0, CLIENTS / 2] {
            assert_eq!(clients[place].ask("here"), "Received: here");
        }
    });
}

#[test]
fn questions_are_answered_when_they_end() {
    deadline(120, || {
        let server = Server::start("echo-select --questions");
        let mut client = Client::to(server.address);
        client.send("what");
        assert!(!client.hears_within(Duration::from_millis(100)), "that was no question");
        client.send("now?");
        assert_eq!(client.line(), "Received: what");
        assert_eq!(client.line(), "now?");
        client.end();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn every_client_s_process_is_waited_for() {
    deadline(120, || {
        let mut server = Server::start("echo-processes");
        for _ in 0..5 {
            let mut client = Client::to(server.address);
            assert_eq!(client.ask("one"), "Received: one");
            assert_eq!(children(server.child.id()), 1, "a process for the client");
            client.end();
            server.line();
            server.line();
            let deadline = Instant::now() + Duration::from_secs(30);
            while children(server.child.id()) > 0 {
                assert!(Instant::now() < deadline, "a zombie stays");
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
}

#[test]
fn threads_whose_processes_compute_do_not_wait_for_one_another() {
    deadline(240, || {
        let mut server = Server::start("threads-with-processes --n-max 90");
        let mut slow = Client::to(server.address);
        slow.send("70"); // for ages
        let mut fast = Client::to(server.address);
        assert_eq!(fast.ask("10"), "55");
        assert_eq!(fast.ask("abc"), "error: send a number up to 90");
        assert_eq!(fast.ask("20"), "6765");
        fast.end();
        let lines: Vec<_> = (0..3).map(|_| server.line()).collect();
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("Connection 127.0.0.1:")).count(),
            2
        );
        assert_eq!(lines.iter().filter(|line| *line == "Closed").count(), 1);
    });
}

#[test]
fn the_loop_of_generators_serves_two_and_waits_for_one_that_computes() {
    deadline(240, || {
        let server = Server::start("generator-server --n-max 90");
        let mut first = Client::to(server.address);
        let mut second = Client::to(server.address);
        assert_eq!(first.ask("10"), "55");
        assert_eq!(second.ask("12"), "144");
        assert_eq!(first.ask("abc"), "error: send a number up to 90");
        second.reset();
        assert_eq!(first.ask("20"), "6765");
        // One thread: while it computes, nobody is served.
        let mut slow = Client::to(server.address);
        slow.send("80");
        let is_answered = |_| {
            first.send("10");
            first.hears_within(Duration::from_millis(200)) && first.line() == "55"
        };
        assert!(!(0..100).all(is_answered), "somebody else computes here");
    });
}

/// The riddle's answer, which in Python is another: threads are as good as processes.
#[test]
fn a_list_of_numbers_is_computed_sooner_by_threads_processes_and_the_pool() {
    deadline(600, || {
        let time_of = |form: &str| {
            let Run { printed, .. } = seeds(&format!("fib-list {form} --n 38"));
            assert!(printed.contains("[39088169, 39088169, 39088169, 39088169]"), "{printed}");
            let (_, time) = printed.trim_end().rsplit_once(" in ").expect("a time");
            time.trim_end_matches(" s").parse::<f64>().unwrap()
        };
        if thread::available_parallelism().map_or(1, usize::from) == 1 {
            return; // then nothing can be sooner
        }
        for form in ["threads", "processes", "async"] {
            let is_sooner = (0..10).any(|_| time_of(form) < time_of("sequential"));
            // Where others compute on all cores, four threads of ours are no better off than one.
            if !is_sooner && is_busy() {
                return println!("skipped: the machine is too busy to see that {form} are sooner");
            }
            assert!(is_sooner, "{form}: not once in ten times sooner than one after the other");
        }
    });
}

/// Whether more processes want to compute than there are cores, beside this test's own.
fn is_busy() -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse::<f64>().ok());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    load.is_some_and(|load| load > 1.5 * cores as f64)
}

#[test]
fn what_is_not_joined_is_not_done() {
    deadline(240, || {
        let rows = [
            ("threads, joined", 4),
            ("futures, dropped", 0),
            ("tasks, awaited", 4),
            ("tasks, detached", 0),
            ("threads, not joined", 0),
        ];
        in_one_of_ten("done is what was joined, and nothing else", || {
            let Run { printed, .. } = seeds("no-join --n 36");
            rows.iter().all(|(name, count)| {
                let row = printed.lines().find_map(|line| line.strip_prefix(name)).expect(name);
                row.trim_start().starts_with(&format!("{count} of 4 done"))
            })
        });
    });
}

/// How many processes have this one as their parent, those included that have ended and that nobody has waited for.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> usize {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // The name, in parentheses, can have any sign in it; behind it: state, parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    });
    processes.filter(|of| *of == parent).count()
}

fn descriptors_allowed() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours to be written.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur
}
