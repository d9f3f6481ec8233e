//! Do the ready instruments say what is so?
//!
//! What they report is compared with what the test itself has done: so many tasks, polls, wakes. A poll that is too long
//! is one that looks at the clock until it is.
//!
//! Comes from: main.rs. Goes to: outer/instruments of the runtime.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{or, zip};
use runtime::instruments::{LongPoll, Snapshot, State, Statistics, TaskStatistics, TooLong, all};
use runtime::{
    AsyncSocket, CancelToken, Instrument, JoinHandle, Reason, Runtime, TaskId, sleep, spawn,
    spawn_named, timeout, unblock, yield_now,
};

use crate::counting;
use crate::support::counters::{Counter, give_waker, until, until_async};
use crate::support::sockets::{net_tcp, pair};
use crate::support::{in_child_process, within};

const LONG: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

/// Stops the loop for that long.
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn watched(instrument: Rc<dyn Instrument>) -> Runtime {
    Runtime::builder().instrument(instrument).build().unwrap()
}

fn counted() -> (Statistics, Runtime) {
    let statistics = Statistics::new();
    (statistics.clone(), watched(Rc::new(statistics)))
}

fn task(snapshot: &Snapshot, name: &str) -> TaskStatistics {
    let found = snapshot.tasks.iter().find(|task| task.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{snapshot}")).clone()
}

/// What a task waits for, as the table says it.
fn waits_of(snapshot: &Snapshot, name: &str) -> String {
    task(snapshot, name).state.to_string()
}

/// Polls longer than `limit`, as they were told.
fn long_polls(limit: Duration, every: Duration) -> (Rc<RefCell<Vec<TooLong>>>, Rc<LongPoll>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&told);
    let long_poll = LongPoll::new(limit).every(every);
    let long_poll = long_poll.tell(move |poll| list.borrow_mut().push(poll.clone()));
    (told, Rc::new(long_poll))
}

// -------------------------------------------------------------------------------------------------- long polls

#[test]
fn a_long_poll_is_told_with_its_task_its_site_and_what_it_had_waited_for() {
    within(60, || {
        let (told, long_poll) = long_polls(LONG, Duration::ZERO);
        let rt = watched(long_poll.clone());
        let line = rt.block_on(async {
            let (stream, mut peer) = net_tcp();
            let address = peer.local_addr().unwrap();
            let greedy = spawn_named("greedy", async move {
                stream.read(&mut [0; 1]).await.unwrap();
                compute(LONG);
            });
            let line = line!() - 4;
            yield_now().await;
            peer.write_all(b"x").unwrap();
            greedy.await.unwrap();
            (line, address)
        });
        let (line, address) = line;
        let told = told.borrow();
        // A machine that is busy elsewhere may have made other polls long, too.
        let greedy: Vec<_> =
            told.iter().filter(|poll| poll.name.as_deref() == Some("greedy")).collect();
        let poll = greedy.last().expect("it is told");
        assert_eq!(poll.site.unwrap().line(), line);
        assert!(poll.site.unwrap().file().ends_with("instruments.rs"));
        assert!(poll.took >= LONG, "{poll:?}");
        let waited_for = poll.waited_for.as_ref().unwrap();
        assert_eq!(waited_for.reason, Reason::Readable);
        assert_eq!(waited_for.label.as_deref(), Some(&*address.to_string()));
        assert_eq!(long_poll.count(), told.len() as u64);
        let text = poll.to_string();
        for word in ["greedy", "instruments.rs:", "readable fd", "unblock"] {
            assert!(text.contains(word), "{text}");
        }
    });
}

#[test]
fn the_future_given_to_block_on_can_be_told_too() {
    within(60, || {
        let (told, long_poll) = long_polls(LONG, Duration::ZERO);
        watched(long_poll).block_on(async {
            sleep(Duration::from_micros(1)).await;
            compute(LONG);
        });
        let poll = told.borrow().last().unwrap().clone();
        assert_eq!((poll.task, poll.site), (TaskId::ROOT, None));
        assert_eq!(poll.waited_for.unwrap().reason, Reason::Timer);
    });
}

#[test]
fn short_polls_are_not_told() {
    within(60, || {
        let (told, long_poll) = long_polls(HOUR, Duration::ZERO);
        watched(long_poll.clone()).block_on(async {
            for _ in 0..100 {
                spawn(yield_now()).await.unwrap();
            }
        });
        assert_eq!((told.borrow().len(), long_poll.count()), (0, 0));
    });
}

#[test]
fn long_polls_never_flood_and_none_is_left_uncounted() {
    within(60, || {
        // Each poll is too long, and a report is due once an hour: what is told is the first, and records.
        let (told, long_poll) = long_polls(Duration::ZERO, HOUR);
        watched(long_poll.clone()).block_on(async {
            for _ in 0..10_000 {
                yield_now().await;
            }
        });
        let told = told.borrow();
        assert!((1..=54).contains(&told.len()), "{} reports", told.len());
        assert_eq!(long_poll.count(), 10_001);
        let left_out: u64 = told.iter().map(|poll| poll.left_out).sum();
        assert!(left_out < 10_001 - told.len() as u64 + 1, "{left_out}");
        for pair in told.windows(2) {
            assert!(pair[1].took / 2 > pair[0].took, "{pair:?}");
        }
    });
}

#[test]
fn what_was_left_out_is_told_with_the_next() {
    within(60, || {
        let (told, long_poll) = long_polls(Duration::ZERO, HOUR);
        watched(long_poll.clone()).block_on(async {
            for _ in 0..100 {
                yield_now().await;
            }
            let longest = told.borrow().iter().map(|poll| poll.took).max().unwrap();
            compute(3 * longest.max(LONG)); // in the same poll as the end
        });
        let told = told.borrow();
        let left_out: u64 = told.iter().map(|poll| poll.left_out).sum();
        assert_eq!(told.len() as u64 + left_out, long_poll.count());
    });
}

#[test]
fn without_a_closure_a_long_poll_is_a_line_on_standard_error() {
    let text = in_child_process(|| {
        let rt = watched(Rc::new(LongPoll::new(LONG)));
        rt.block_on(async {
            spawn_named("greedy", async { compute(LONG) }).await.unwrap();
        });
    });
    let lines = text.lines().filter(|line| line.contains("runtime: task 1 (greedy, "));
    assert_eq!(lines.count(), 1, "{text}");
}

#[test]
fn a_long_poll_may_be_the_last_of_its_task() {
    within(60, || {
        let (told, long_poll) = long_polls(LONG, Duration::ZERO);
        watched(long_poll).block_on(async {
            let panicking: JoinHandle<()> = spawn_named("panicking", async {
                compute(LONG);
                std::panic::resume_unwind(Box::new("of the task"));
            });
            panicking.await.unwrap_err();
            // It ends while another is polled: that one's poll is told, not its own.
            let victim = spawn_named("victim", pending::<()>());
            yield_now().await;
            let killer = spawn_named("killer", async move {
                victim.abort();
                compute(LONG);
            });
            killer.await.unwrap();
        });
        let names: Vec<_> = told.borrow().iter().filter_map(|poll| poll.name.clone()).collect();
        assert!(names.contains(&"panicking".to_owned()), "{names:?}");
        assert!(names.contains(&"killer".to_owned()), "{names:?}");
    });
}

// -------------------------------------------------------------------------------------------------- statistics

#[test]
fn statistics_count_what_was_done() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            for task in [spawn(yield_now()), spawn(yield_now()), spawn(yield_now())] {
                task.await.unwrap();
            }
            assert!(spawn(pending::<()>()).cancel().await.unwrap_err().is_cancelled());
            drop(spawn(pending::<()>()));
            yield_now().await;
        });
        let snapshot = statistics.snapshot();
        let counts = &snapshot.counts;
        assert_eq!((counts.spawned, counts.ended, counts.cancelled), (5, 4, 1));
        // Three tasks of two polls, the one that is left of one; what the root takes depends on how they fall.
        let root = &snapshot.tasks[0];
        assert_eq!(root.id, TaskId::ROOT);
        assert_eq!(counts.polls, 3 * 2 + 1 + root.polls);
        assert_eq!(snapshot.tasks.len(), 2);
        assert_eq!(counts.parks_on(Reason::Timer), 0);
        assert!(counts.parks_on(Reason::Join) >= 1);
        assert!(counts.wakes_at_home >= 4 && counts.wakes_from_abroad == 0, "{counts:?}");
        assert!(counts.most_polls_in_turn >= 4 && counts.most_polls_in_turn <= counts.polls);
        drop(rt);
        let counts = statistics.snapshot().counts;
        assert_eq!((counts.spawned, counts.ended, counts.cancelled), (5, 5, 2));
        assert_eq!(statistics.snapshot().tasks.len(), 1, "the root alone");
    });
}

#[test]
fn a_snapshot_says_what_each_task_waits_for() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            let (stream, peer) = net_tcp();
            let peer = peer.local_addr().unwrap();
            let (socket, _theirs) = pair();
            let fd = std::os::fd::AsRawFd::as_raw_fd(socket.get_ref());
            let token = CancelToken::new();
            let (cancelled, job_token) = (token.cancelled(), token.clone());
            let (_release, released) = mpsc::channel::<()>();
            let joined = spawn(pending::<()>());
            let id = joined.id();
            drop(spawn_named("reader", async move { stream.read(&mut [0; 1]).await }));
            drop(spawn_named("sleeper", sleep(HOUR)));
            drop(spawn_named("joiner", joined));
            drop(spawn_named("stopped", cancelled));
            drop(spawn_named("worker", unblock(move || drop((released.recv(), job_token)))));
            drop(spawn_named("foreign", pending::<()>()));
            drop(spawn_named("two", async move {
                let mut byte = [0; 1];
                or(async { drop(socket.recv(&mut byte).await) }, sleep(HOUR)).await;
            }));
            drop(spawn_named("seven", async move {
                let sleeps = || zip(sleep(HOUR), sleep(HOUR));
                zip(sleep(HOUR), zip(sleeps(), zip(sleeps(), sleeps()))).await;
            }));
            let ready = spawn_named("ready", async {
                loop {
                    yield_now().await;
                }
            });
            yield_now().await;
            let now = statistics.snapshot();
            assert!(waits_of(&now, "reader").starts_with("waits for readable fd "), "{now}");
            assert!(waits_of(&now, "reader").ends_with(&format!("({peer})")), "{now}");
            assert_eq!(waits_of(&now, "sleeper"), "waits for timer");
            assert_eq!(waits_of(&now, "joiner"), format!("waits for join ({id})"));
            assert_eq!(waits_of(&now, "stopped"), "waits for token");
            assert_eq!(waits_of(&now, "worker"), "waits for job");
            assert_eq!(waits_of(&now, "foreign"), "waits");
            assert_eq!(waits_of(&now, "two"), format!("waits for readable fd {fd}, timer"));
            assert!(waits_of(&now, "seven").ends_with(" and 3 more"), "{now}");
            assert_eq!(task(&now, "ready").state, State::Ready);
            assert_eq!(now.running().unwrap().id, TaskId::ROOT);
            token.cancel();
            assert_eq!(task(&statistics.snapshot(), "stopped").state, State::Ready);
            ready.abort();
        });
    });
}

#[test]
fn a_wake_from_another_thread_is_counted_as_such() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            let (send, receive) = mpsc::channel::<Waker>();
            let thread = thread::spawn(move || receive.iter().for_each(Waker::wake));
            give_waker(|waker| send.send(waker).unwrap()).await;
            drop(send);
            thread.join().unwrap();
        });
        let counts = statistics.snapshot().counts;
        assert_eq!((counts.wakes_at_home, counts.wakes_from_abroad), (1, 1));
    });
}

#[test]
fn a_poll_that_never_returns_is_seen_from_another_thread() {
    within(60, || {
        let (statistics, rt) = counted();
        let (stop, stopped) = mpsc::channel::<()>();
        let looking = thread::spawn(move || {
            let runs_long = |snapshot: &Snapshot| {
                snapshot.running().is_some_and(|task| match task.state {
                    State::Running(time) => task.name.is_some() && time >= LONG,
                    _ => false,
                })
            };
            until(|| runs_long(&statistics.snapshot()));
            let snapshot = statistics.snapshot();
            let culprit = snapshot.running().unwrap();
            assert_eq!(culprit.name.as_deref(), Some("stuck"));
            assert!(culprit.busy >= LONG && snapshot.counts.polling >= LONG);
            stop.send(()).unwrap();
        });
        rt.block_on(async {
            spawn_named("stuck", async move { stopped.recv().unwrap() }).await.unwrap();
        });
        looking.join().unwrap();
    });
}

#[test]
fn time_is_told_apart_into_polls_and_sleep() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            compute(LONG);
            sleep(2 * LONG).await;
        });
        let snapshot = statistics.snapshot();
        let counts = &snapshot.counts;
        assert!(counts.polling >= LONG && counts.longest_poll >= LONG, "{snapshot}");
        assert!(counts.asleep >= LONG, "{snapshot}");
        assert!(counts.sleeps >= 1 && counts.sleeps <= counts.turns, "{snapshot}");
        assert!(counts.polling + counts.asleep <= snapshot.up, "{snapshot}");
        assert_eq!(counts.longest_poll_of, Some(TaskId::ROOT));
    });
}

#[test]
fn the_table_has_a_line_for_each_task_and_its_columns_stand() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            drop(spawn_named("a longer name than others", pending::<()>()));
            drop(spawn(pending::<()>()));
            yield_now().await;
        });
        let table = statistics.snapshot().to_string();
        let rows: Vec<_> = table.lines().skip_while(|line| !line.starts_with("task  ")).collect();
        assert_eq!(rows.len(), 1 + 3, "{table}");
        let column = rows[0].find("state").unwrap();
        let state = |row: &str| row.chars().skip(column).collect::<String>();
        assert_eq!((&*state(rows[2]), &*state(rows[3])), ("waits", "waits"), "{table}");
        assert!(rows[2].contains("instruments.rs:"), "{table}");
    });
}

#[test]
fn a_waker_called_after_its_task_has_ended_brings_nothing_back() {
    within(60, || {
        let (statistics, rt) = counted();
        rt.block_on(async {
            let kept = Rc::new(RefCell::new(None));
            let place = Rc::clone(&kept);
            let task = spawn(poll_fn(move |cx| {
                *place.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            }));
            task.await.unwrap();
            kept.take().unwrap().wake();
        });
        let snapshot = statistics.snapshot();
        assert_eq!(snapshot.tasks.len(), 1, "{snapshot}");
    });
}

#[test]
fn a_label_may_look_at_the_statistics() {
    // It is foreign code, and printed while a task parks: not under the lock.
    thread_local!(static STATISTICS: Statistics = Statistics::new());
    within(60, || {
        let rt = watched(Rc::new(STATISTICS.with(Clone::clone)));
        rt.block_on(async {
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let socket = AsyncSocket::new(ours).unwrap().with_label(|_, f| {
                write!(f, "{} tasks", STATISTICS.with(Statistics::snapshot).tasks.len())
            });
            assert!(timeout(Duration::from_millis(1), socket.recv(&mut [0; 1])).await.is_err());
        });
        assert_eq!(STATISTICS.with(Statistics::snapshot).tasks.len(), 1);
    });
}

// ----------------------------------------------------------------------------------------------------- several

#[test]
fn several_instruments_are_all_told() {
    within(60, || {
        let (first, second) = (Statistics::new(), Statistics::new());
        let (told, long_poll) = long_polls(LONG, Duration::ZERO);
        let three = all([Rc::new(first.clone()), long_poll, Rc::new(second.clone())]);
        watched(three).block_on(async {
            spawn(sleep(Duration::from_micros(10))).await.unwrap();
            compute(LONG);
        });
        let (first, second) = (first.snapshot().counts, second.snapshot().counts);
        let numbers = |counts: &runtime::instruments::Counts| {
            let runtime::instruments::Counts { spawned, ended, polls, turns, events, .. } = counts;
            (*spawned, *ended, *polls, *turns, *events, counts.parks.clone())
        };
        assert_eq!(numbers(&first), numbers(&second));
        assert!(!told.borrow().is_empty());
    });
}

#[test]
fn one_instrument_of_several_that_panics_is_removed_and_the_others_stay() {
    struct Bad(Counter);
    impl Instrument for Bad {
        fn poll_started(&self, _: TaskId) {
            self.0.up();
            std::panic::resume_unwind(Box::new("of the instrument"));
        }
    }
    let text = in_child_process(|| {
        let (calls, statistics) = (Counter::new(), Statistics::new());
        let bad = Rc::new(Bad(calls.clone()));
        let rt = watched(all([bad, Rc::new(statistics.clone())]));
        rt.block_on(async {
            for _ in 0..10 {
                yield_now().await;
            }
        });
        assert_eq!((calls.get(), statistics.snapshot().counts.polls), (1, 11));
    });
    assert_eq!(text.lines().filter(|line| line.contains("is removed")).count(), 1, "{text}");
}

#[test]
fn what_the_instruments_know_of_a_task_goes_with_it() {
    in_child_process(|| {
        let (_, long_poll) = long_polls(HOUR, HOUR);
        let statistics = Statistics::new();
        let rt = watched(all([long_poll, Rc::new(statistics.clone())]));
        let round = || {
            rt.block_on(async {
                let open = Rc::new(());
                for n in 0..3000 {
                    let (socket, mut peer) = pair();
                    let socket = socket.with_label(|_, f| f.write_str("a label"));
                    let held = Rc::clone(&open);
                    let reader = spawn_named("reader", async move {
                        let _held = held;
                        socket.recv(&mut [0; 1]).await
                    });
                    yield_now().await;
                    match n % 3 {
                        0 => reader.abort(),
                        1 => drop(reader),
                        _ => {
                            peer.write_all(b"x").unwrap();
                            assert_eq!(reader.await.unwrap().unwrap(), 1);
                        }
                    }
                }
                // Those that were detached end with their peers.
                until_async(|| Rc::strong_count(&open) == 1).await;
            });
        };
        round();
        counting::start();
        let mut least = i64::MAX;
        for _ in 0..3 {
            let before = counting::now();
            round();
            least = least.min(before.until_now().bytes);
        }
        assert!(least <= 0, "{least} bytes");
        assert_eq!(statistics.snapshot().tasks.len(), 1);
    });
}
