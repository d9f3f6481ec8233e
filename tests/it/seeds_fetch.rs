//! What do the five ways to fetch four pages promise beyond what they print?
//!
//! How long they take: the origin's pages take 4, 2, 3 and 1 ticks, so one after the other cannot be done in less than ten,
//! and all at once must be done before two of the long ones could have come one after the other. A busy machine can make
//! anything late, so what is an upper bound here has some tries, and what is a lower one has none.
//!
//! Comes from: `cargo test`. Goes to: docs/seeds/seed002.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::seeds::{Run, Server, deadline, seeds};

/// Of the fetching programs.
const TICK: Duration = Duration::from_millis(50);

const AT_ONCE: [&str; 4] = ["fetch-threads", "fetch-callbacks", "fetch-stackful", "fetch-async"];

#[test]
fn one_after_the_other_takes_the_sum() {
    deadline(120, || {
        let Run { took, printed } = seeds("fetch-sequential --tick 50");
        assert!(took >= TICK * 10, "ten ticks in {took:?}");
        let names: Vec<_> = names(&printed).collect();
        assert_eq!(names, ["twitter", "google", "yahoo", "facebook"], "the order of the list");
    });
}

#[test]
fn all_at_once_takes_the_longest() {
    deadline(300, || {
        for program in AT_ONCE {
            // The longest is 4 ticks; 6 are the three others together, of which a form that did two at a time needs 5.
            in_one_of_ten(&format!("{program} takes four ticks"), || {
                let Run { took, .. } = seeds(&format!("{program} --tick 50"));
                assert!(took >= TICK * 4, "{program}: four ticks in {took:?}");
                took < TICK * 5
            });
        }
    });
}

#[test]
fn all_at_once_prints_each_page_once_in_the_order_of_their_times() {
    deadline(300, || {
        for program in AT_ONCE {
            in_one_of_ten(&format!("{program} prints in the order of times"), || {
                let Run { printed, .. } = seeds(&format!("{program} --tick 50"));
                let mut names: Vec<_> = names(&printed).collect();
                let is_in_order = names == ["facebook", "google", "yahoo", "twitter"];
                names.sort_unstable();
                assert_eq!(names, ["facebook", "google", "twitter", "yahoo"], "{program}");
                is_in_order
            });
        }
    });
}

#[test]
fn every_form_follows_redirects_and_tells_bad_from_ok() {
    deadline(300, || {
        for program in ["fetch-sequential"].iter().chain(&AT_ONCE) {
            let Run { printed, .. } = seeds(&format!("{program} --tick 1"));
            assert_eq!(printed.matches("/google OK").count(), 1, "{program}: {printed}");
            assert_eq!(printed.matches("/facebook Bad\n").count(), 1, "{program}: {printed}");
            assert_eq!(printed.matches(" OK").count(), 3, "{program}: {printed}");
        }
    });
}

#[test]
fn every_form_fetches_three_hundred_pages() {
    deadline(300, || {
        for program in AT_ONCE {
            let Run { printed, .. } = seeds(&format!("{program} --tick 20 --urls 300"));
            assert_eq!(printed.matches(" OK").count(), 300, "{program}");
            assert!(printed.contains("300 pages in "), "{program}");
        }
    });
}

#[test]
fn every_form_says_what_is_wrong_if_nobody_answers() {
    deadline(300, || {
        // A port that was free just now, and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for program in ["fetch-sequential"].iter().chain(&AT_ONCE) {
            let Run { printed, .. } = seeds(&format!("{program} --origin {free}"));
            assert_eq!(printed.matches("Bad: ").count(), 4, "{program}: {printed}");
            assert!(printed.to_lowercase().contains("refused"), "{program}: {printed}");
        }
    });
}

#[test]
fn threads_that_are_not_joined_end_with_main() {
    deadline(120, || {
        let Run { printed, .. } = seeds("fetch-threads --no-join --tick 2000");
        assert_eq!(names(&printed).count(), 0, "{printed}");
    });
}

#[test]
fn the_callbacks_are_called_in_order_each_with_what_the_last_returned() {
    deadline(120, || {
        let Run { printed, .. } = seeds("deferred-chain");
        let places =
            ["nothing has", "result gets 20", "process gets 21", "callback gets Ok(\"21 pages"];
        let places = places.map(|words| printed.find(words).expect(words));
        assert!(places.is_sorted(), "{printed}");
        let (_, after_an_error) = printed.split_once("an error:").unwrap();
        assert!(!after_an_error.contains("_result") && !after_an_error.contains("_process"));
        assert!(after_an_error.contains("handle_exception gets no connection"), "{printed}");
    });
}

#[test]
fn one_thread_is_never_used_twice_at_the_same_time() {
    deadline(120, || {
        let Run { printed, .. } = seeds("not-parallel --tick 20");
        let rows: Vec<_> =
            printed.lines().filter_map(|line| line.trim().strip_prefix("task ")).collect();
        let rows: Vec<_> = rows.iter().map(|row| row[1..].trim().as_bytes()).collect();
        assert_eq!(rows.len(), 3, "{printed}");
        for turn in 0..rows[0].len() {
            let running = rows.iter().filter(|row| row[turn] == b'#').count();
            assert_eq!(running, 1, "turn {turn}: {printed}");
        }
        // Nobody is done before another has begun: they are concurrent.
        let begins = rows.iter().map(|row| row.iter().position(|turn| *turn == b'#').unwrap());
        let ends = rows.iter().map(|row| row.iter().rposition(|turn| *turn == b'#').unwrap());
        assert!(begins.max() < ends.min(), "{printed}");
    });
}

#[test]
fn three_that_wait_wait_together() {
    deadline(120, || {
        in_one_of_ten("three waits take as long as one", || {
            seeds("not-parallel --tick 200").took < Duration::from_millis(400)
        });
    });
}

#[test]
fn the_table_has_a_row_for_each_form_and_counts_threads() {
    deadline(300, || {
        let Run { printed, .. } = seeds("fetch-table --pages 4,40 --tick 50 --patience 1");
        let row = |name: &str| {
            let rows = printed.lines().filter(|line| line.trim_start().starts_with(name));
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows.len(), 2, "{name}: {printed}");
            rows[1].split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(row("sequential")[3..], ["(would", "take", "2", "s)"], "{printed}");
        for name in ["threads", "callbacks", "stackful", "async"] {
            let row = row(name);
            let threads: usize = row[3].parse().unwrap();
            if cfg!(target_os = "linux") {
                match name {
                    "callbacks" | "async" => assert_eq!(threads, 1, "{printed}"),
                    _ => assert!(threads > 4, "{printed}"),
                }
            }
        }
    });
}

#[test]
fn the_origin_refuses_what_is_not_a_request_and_goes_on() {
    deadline(120, || {
        let origin = Server::start("origin --tick 1");
        let ask = |request: &[u8]| {
            let mut stream = TcpStream::connect(origin.address).unwrap();
            let _ = stream.write_all(request); // it may have closed before it has all
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        };
        assert_eq!(ask(b"GET /twitter"), "", "half a request");
        assert_eq!(ask(&[b'a'; 100_000]), "", "an endless one");
        assert!(ask(b"GET /nowhere HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
        assert!(ask(b"GET /twitter HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 OK\r\n"));
    });
}

/// The pages' names in the order in which they are printed.
fn names(printed: &str) -> impl Iterator<Item = &str> {
    let pages = printed.lines().filter(|line| line.starts_with("http://"));
    pages.map(|line| line.rsplit('/').next().unwrap().split(' ').next().unwrap())
}

/// For what another program on the machine can make late, but not ten times in a row.
#[track_caller]
pub(crate) fn in_one_of_ten(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!((0..10).any(|_| is_so()), "not once in ten times: {what}");
}
