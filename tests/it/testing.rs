//! Does the testing module keep the promises that tests are to be built on?
//!
//! That the same seed is the same run, that a failure names its seed, that streams in memory behave as sockets do and
//! hostile ones as bad as they were told to, and that all this is true of sockets, too, where both can be asked
//! (`check_two_way_stream` runs over streams in memory, TCP and Unix sockets). The clock has a module of its own.
//!
//! Comes from: main.rs. Goes to: runtime/src/outer/testing, net/src/memory.rs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, zip};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use net::{Limits, Listener, MemoryListener, MemoryStream, serve};
use runtime::testing::{
    self, Duplex, Hostile, TwoWayStream, assert_never_yields, assert_yields, check,
    check_two_way_stream, duplex, polls, until_idle,
};
use runtime::{
    AsyncSocket, CancelToken, Instrument, JoinError, TaskId, Wait, interval, now, sleep, spawn,
    timeout, unblock, yield_now,
};

use crate::support::counters::{CountingWaker, acting_waker, panicking_waker, poll_with};
use crate::support::sockets::std_tcp;
use crate::support::{child_process, run, within};

const HOUR: Duration = Duration::from_secs(3600);

/// Gives up after a minute of real time.
fn in_time<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    within(60, body)
}

// ------------------------------------------------------------------------------------ one seed, one run

/// Everything that a loop tells, in words.
#[derive(Default)]
struct Diary {
    lines: RefCell<Vec<String>>,
    /// When it was first written: the system's time, from which all others are told.
    start: Cell<Option<Instant>>,
}

impl Diary {
    fn write(&self, what: String) {
        let start = self.start.get().unwrap_or_else(now);
        self.start.set(Some(start));
        self.lines.borrow_mut().push(format!("{:?} {what}", now() - start));
    }
}

impl Instrument for Diary {
    fn spawned(&self, task: TaskId, name: Option<&str>, _: &'static std::panic::Location<'static>) {
        self.write(format!("{task} is {name:?}"));
    }
    fn poll_started(&self, task: TaskId) {
        self.write(format!("{task} is polled"));
    }
    fn poll_ended(&self, task: TaskId) {
        self.write(format!("{task} was polled"));
    }
    fn ended(&self, task: TaskId, cancelled: bool) {
        self.write(format!("{task} ended, {cancelled}"));
    }
    fn parked(&self, task: TaskId, on: &Wait<'_>) {
        let label = on.label.map(|label| label.to_string());
        self.write(format!("{task} waits for {:?} of {label:?}", on.reason));
    }
    fn woken(&self, task: TaskId, from_abroad: bool) {
        self.write(format!("{task} is woken, {from_abroad}"));
    }
    fn wait_started(&self, limit: Option<Duration>) {
        self.write(format!("wait for {limit:?}"));
    }
    fn wait_ended(&self, events: usize) {
        self.write(format!("{events} events"));
    }
}

/// An echo server over hostile streams, clients with timeouts, and a shutdown in the midst of it.
async fn a_server_s_life(seed: u64) {
    let hostile = Hostile::new(seed).chunks(5).delays(HOUR);
    let listener = MemoryListener::new(16).hostile(hostile.clone());
    let (network, stop) = (listener.connector(), CancelToken::new());
    let limits = Limits::new().connections(5).drain(HOUR).shutdown(stop.clone());
    let server = spawn(serve(listener, limits, async |stream, _| echo(stream).await));
    let clients: Vec<_> = (0..8u8)
        .map(|number| {
            let client = network.connect().unwrap().into_inner().hostile(hostile.clone());
            spawn(async move {
                let message = [number; 40];
                let talk = async {
                    zip(client.write_all(&message), client.read_exact(&mut [0; 40])).await.1
                };
                timeout(24 * HOUR, talk).await.is_ok_and(|result| result.is_ok())
            })
        })
        .collect();
    let mut ticks = interval(30 * HOUR);
    ticks.tick().await;
    stop.cancel();
    server.await.unwrap().unwrap();
    for client in clients {
        client.await.unwrap();
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.close().await;
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

/// What the loop told of one run.
fn diary_of(seed: u64) -> Vec<String> {
    in_time(move || {
        let diary = Rc::new(Diary::default());
        let rt = testing::builder(seed).instrument(diary.clone()).build().unwrap();
        rt.block_on(a_server_s_life(seed));
        drop(rt);
        diary.lines.take()
    })
}

#[test]
fn the_same_seed_is_the_same_run() {
    let diaries: Vec<_> = (0..8).map(diary_of).collect();
    for (seed, diary) in (0..).zip(&diaries) {
        assert!(diary.len() > 2000, "that is a run worth comparing: {}", diary.len());
        let again = diary_of(seed);
        let differs = (0..).zip(diary).zip(&again).find(|((_, first), second)| first != second);
        assert!(differs.is_none() && diary.len() == again.len(), "seed {seed}: {differs:?}");
    }
    let different: BTreeSet<_> = diaries.iter().collect();
    assert_eq!(different.len(), 8, "each seed is another run");
}

/// A test that depends on order alone: of two tasks, the first is first.
async fn the_first_is_first(_: u64) {
    let order = Rc::<RefCell<Vec<u8>>>::default();
    let tasks = [1, 2].map(|number| {
        let order = Rc::clone(&order);
        spawn(async move { order.borrow_mut().push(number) })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), [1, 2], "the first is first");
}

#[test]
fn a_failure_names_its_seed_and_how_to_see_it_again() {
    let (output, text) = child_process(|| {
        forget_seed();
        check(0..1000, the_first_is_first);
    });
    assert!(!output.status.success());
    let (_, seed) = text.split_once("GROUND_SEED=").expect("it is named");
    let (seed, rest) = seed.split_once(' ').unwrap();
    let name = "testing::a_failure_names_its_seed_and_how_to_see_it_again";
    assert!(rest.starts_with(&format!("cargo test {name}")), "{rest}");
    assert!(text.contains("the first is first"), "the test's own word is there, too: {text}");
    assert!(text.contains(&format!("seed {seed} fails")), "{text}");
    // The seed alone fails, those before it do not.
    let seed: u64 = seed.parse().unwrap();
    in_time(move || {
        let run = |seed| testing::builder(seed).build().unwrap().block_on(the_first_is_first(seed));
        (0..seed).for_each(run);
        assert!(catch_unwind(AssertUnwindSafe(|| run(seed))).is_err());
    });
}

#[test]
fn a_seed_in_the_environment_is_run_alone() {
    let (output, text) = child_process(|| {
        set_seed("17");
        println!(); // the harness has begun a line
        check(0..1000, async |seed| println!("seed {seed} is run"));
        set_seed(" many");
        let wrong = catch_unwind(|| check(0..1000, async |seed| println!("seed {seed} is run")));
        assert!(wrong.unwrap_err().downcast_ref::<String>().unwrap().contains("give a number"));
        forget_seed();
        check(0..3, async |seed| println!("seed {seed} is run"));
    });
    assert!(output.status.success(), "{text}");
    let seeds: Vec<_> = text.lines().filter(|line| line.ends_with(" is run")).collect();
    assert_eq!(seeds, ["seed 17 is run", "seed 0 is run", "seed 1 is run", "seed 2 is run"]);
}

fn set_seed(seed: &str) {
    // SAFETY: in a child process of this test alone, where no other thread looks at the environment meanwhile.
    unsafe { std::env::set_var("GROUND_SEED", seed) };
}

fn forget_seed() {
    // SAFETY: as in `set_seed`.
    unsafe { std::env::remove_var("GROUND_SEED") };
}

/// The payload of the panic that `body` ends with.
fn panic_of(body: impl FnOnce()) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(body)).expect_err("it panics")
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).expect("it is a text")
}

#[test]
fn a_run_fails_with_the_panic_that_came_first() {
    in_time(|| {
        let own = panic_of(|| testing::run(async { panic_any(1) }));
        assert_eq!(own.downcast_ref(), Some(&1));
        let of_check = panic_of(|| check([5], async |seed| panic_any(seed)));
        assert_eq!(of_check.downcast_ref(), Some(&5u64));
        let of_a_task = panic_of(|| {
            testing::run(async {
                drop(spawn(async { panic_any(2) }));
                drop(spawn(async { panic_any(3) }));
                pending::<()>().await;
            });
        });
        assert_eq!(of_a_task.downcast_ref(), Some(&2), "not what it brought about");
        // A panic that somebody has asked for is nobody's failure.
        testing::run(async {
            assert!(spawn(async { panic_any(4) }).await.is_err_and(|error| error.is_panic()));
        });
        testing::run(async {});
    });
}

#[test]
fn a_test_that_is_stuck_is_told_so_at_once() {
    let begin = Instant::now();
    in_time(|| {
        let stuck = panic_of(|| testing::run(pending()));
        assert!(text_of(&*stuck).contains("waits for what never comes"));
        let while_others_go_on = panic_of(|| {
            testing::run(async {
                drop(spawn(async {
                    let mut ticks = interval(24 * HOUR);
                    loop {
                        ticks.tick().await;
                    }
                }));
                pending::<()>().await;
            });
        });
        assert!(text_of(&*while_others_go_on).contains("waits for what never comes"));
    });
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_run_gives_its_output_and_its_tasks_end_with_it() {
    in_time(|| {
        let value = Rc::new(5);
        let left = Rc::clone(&value);
        let output = testing::run(async {
            drop(spawn(async move {
                let _left = left;
                pending::<()>().await;
            }));
            yield_now().await;
            Rc::clone(&value)
        });
        assert_eq!((*output, Rc::strong_count(&value)), (5, 2));
    });
}

// ---------------------------------------------------------------------------------------- all streams alike

#[test]
fn streams_in_memory_do_what_streams_must() {
    in_time(|| {
        for capacity in [0, 1, 2, 7, 100, 100_000, 1_000_000] {
            testing::run(check_two_way_stream(async || duplex(capacity)));
        }
        let memory = async || {
            let (left, right) = duplex(100);
            (MemoryStream::from(left), MemoryStream::from(right))
        };
        testing::run(check_two_way_stream(memory));
    });
}

#[test]
fn hostile_streams_do_what_streams_must() {
    in_time(|| {
        check(0..4, async |seed| {
            let hostile = Hostile::new(seed).chunks(500);
            check_two_way_stream(async || {
                let (left, right) = duplex(300);
                (left.hostile(hostile.clone()), right.hostile(hostile.clone()))
            })
            .await;
            check_two_way_stream(async || {
                let (left, right) = duplex(3000);
                let late = hostile.clone().delays(Duration::from_millis(1)).pending(1);
                (left.hostile(late), right)
            })
            .await;
        });
    });
}

#[test]
fn sockets_do_what_streams_must() {
    run(async || {
        check_two_way_stream(async || {
            let (left, right) = std_tcp();
            (net::TcpStream::from_std(left).unwrap(), net::TcpStream::from_std(right).unwrap())
        })
        .await;
        check_two_way_stream(async || {
            let (left, right) = std_tcp();
            (AsyncSocket::new(left).unwrap(), AsyncSocket::new(right).unwrap())
        })
        .await;
        check_two_way_stream(async || {
            let (left, right) = UnixStream::pair().unwrap();
            (AsyncSocket::new(left).unwrap(), AsyncSocket::new(right).unwrap())
        })
        .await;
    });
}

/// A stream with a fault, to see that the check finds it.
struct Faulty {
    stream: Duplex,
    fault: Fault,
    /// How many writes are under way.
    writing: Cell<usize>,
    closed: Cell<bool>,
    ended: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A read turns its bytes round.
    Turns,
    /// A read waits until its buffer is full.
    Fills,
    /// An empty write ends the stream.
    EndsWithNothing,
    /// An empty read takes a byte.
    TakesIntoNothing,
    /// The end of the stream is told once.
    EndsOnce,
    /// The end of the stream ends the other direction, too.
    EndsBoth,
    /// What is written after close disappears.
    TakesAfterClose,
    /// A second close is an error.
    ClosesOnce,
    /// A read that is given up has taken its bytes.
    ReadsTooEarly,
    /// A write that is given up has written its bytes.
    WritesTooEarly,
    /// No read goes on while a write does.
    OneAtATime,
    /// A read that waits is not woken.
    Sleeps,
    /// Close tells nobody.
    ClosesInSilence,
    /// Writes to one who is gone disappear.
    NeverTells,
}

impl Faulty {
    fn pair(fault: Fault) -> (Faulty, Faulty) {
        let (left, right) = duplex(100_000);
        let faulty = |stream| Faulty {
            stream,
            fault,
            writing: Cell::default(),
            closed: Cell::default(),
            ended: Cell::default(),
        };
        (faulty(left), faulty(right))
    }
}

impl TwoWayStream for Faulty {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault == Fault::OneAtATime && self.writing.get() > 0
            || self.fault == Fault::EndsOnce && self.ended.get()
        {
            pending::<()>().await;
        }
        if self.fault == Fault::TakesIntoNothing && buffer.is_empty() {
            self.stream.read(&mut [0]).await?;
        }
        let mut waker = CountingWaker::new().1;
        let mut count = poll_fn(|cx| {
            if self.fault != Fault::Sleeps {
                waker.clone_from(cx.waker());
            }
            self.stream.poll_read(&mut std::task::Context::from_waker(&waker), buffer)
        })
        .await?;
        if self.fault == Fault::Fills {
            while count < buffer.len() {
                match self.stream.read(&mut buffer[count..]).await? {
                    0 => break,
                    more => count += more,
                }
            }
        }
        if self.fault == Fault::ReadsTooEarly {
            yield_now().await;
        }
        if self.fault == Fault::Turns {
            buffer[..count].reverse();
        }
        if count == 0 && !buffer.is_empty() {
            self.ended.set(true);
            if self.fault == Fault::EndsBoth {
                self.stream.close();
            }
        }
        Ok(count)
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.fault == Fault::EndsWithNothing && bytes.is_empty() {
            self.stream.close();
        }
        if self.fault == Fault::TakesAfterClose && self.closed.get() {
            return Ok(bytes.len());
        }
        self.writing.set(self.writing.get() + 1);
        let result = self.stream.write(bytes).await;
        self.writing.set(self.writing.get() - 1);
        if self.fault == Fault::WritesTooEarly {
            yield_now().await;
        }
        match result {
            Err(_) if self.fault == Fault::NeverTells && !self.closed.get() => Ok(bytes.len()),
            result => result,
        }
    }

    async fn close(&self) -> io::Result<()> {
        if self.closed.replace(true) && self.fault == Fault::ClosesOnce {
            return Err(ErrorKind::NotConnected.into());
        }
        if self.fault != Fault::ClosesInSilence {
            self.stream.close();
        }
        Ok(())
    }
}

#[test]
fn the_check_of_streams_finds_every_fault() {
    use Fault::*;
    let faults = [
        Turns,
        Fills,
        EndsWithNothing,
        TakesIntoNothing,
        EndsOnce,
        EndsBoth,
        TakesAfterClose,
        ClosesOnce,
        ReadsTooEarly,
        WritesTooEarly,
        OneAtATime,
        Sleeps,
        ClosesInSilence,
        NeverTells,
    ];
    in_time(move || {
        let run = |fault| testing::run(check_two_way_stream(async || Faulty::pair(fault)));
        run(None);
        for fault in faults {
            assert!(catch_unwind(|| run(fault)).is_err(), "{fault:?} is not found");
        }
    });
}

// ------------------------------------------------------------------------------------------ streams in memory

#[test]
fn a_stream_in_memory_holds_as_much_as_it_was_told() {
    run(async || {
        let (left, right) = duplex(10);
        assert_eq!(left.write(&[1; 100]).await.unwrap(), 10);
        assert!(poll_once(left.write(&[1; 100])).await.is_none());
        assert_eq!(right.read(&mut [0; 3]).await.unwrap(), 3);
        assert_eq!(left.write(&[1; 100]).await.unwrap(), 3);
        assert_eq!(right.write(&[1; 100]).await.unwrap(), 10, "each direction has its own room");
        assert_eq!(format!("{left:?}"), "Duplex { to_read: 10, written: 10, .. }");
    });
}

#[test]
fn all_who_wait_at_a_stream_are_woken_whatever_the_others_do() {
    run(async || {
        let (left, right) = duplex(10);
        let right = Rc::new(right);
        let (count, waker) = CountingWaker::new();
        let reads = Rc::new(Cell::new(0));
        let meddling = acting_waker({
            let (right, reads) = (Rc::clone(&right), Rc::clone(&reads));
            move || {
                // A waker that uses the stream at once finds it in order.
                let mut buffer = [0; 1];
                let mut read = pin!(right.read(&mut buffer));
                if let Poll::Ready(Ok(count)) = poll_with(&mut read, std::task::Waker::noop()) {
                    reads.set(reads.get() + count);
                }
            }
        });
        for waker in [&panicking_waker(), &meddling, &waker, &waker, &waker] {
            let mut buffer = [0; 1];
            assert!(poll_with(&mut Box::pin(right.read(&mut buffer)), waker).is_pending());
        }
        assert_eq!(left.write(b"ab").await.unwrap(), 2);
        assert_eq!((count.wakes(), reads.get()), (1, 1), "once, although it asked three times");
        assert_eq!(right.read(&mut [0; 2]).await.unwrap(), 1);
    });
}

#[test]
fn a_write_that_waits_is_woken_by_its_own_end_s_close() {
    run(async || {
        let (left, _right) = duplex(1);
        let left = Rc::new(left);
        left.write(b"a").await.unwrap();
        let writer = spawn({
            let left = Rc::clone(&left);
            async move { left.write(b"b").await }
        });
        yield_now().await;
        left.close();
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

// -------------------------------------------------------------------------------------------- hostile streams

#[test]
fn pieces_are_of_all_sizes_up_to_the_limit() {
    in_time(|| {
        check(0..10, async |seed| {
            let (left, right) = duplex(1000);
            let right = right.hostile(Hostile::new(seed).chunks(5));
            let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
            for _ in 0..200 {
                left.write_all(&[7; 100]).await.unwrap();
                let mut rest = 100;
                while rest > 0 {
                    let count = right.read(&mut [0; 100]).await.unwrap();
                    read.insert(count);
                    rest -= count;
                }
                written.insert(right.write(&[7; 100]).await.unwrap());
                assert!(left.read(&mut [0; 100]).await.unwrap() > 0);
            }
            assert!(read.into_iter().eq(1..=5) && written.into_iter().eq(1..=5));
        });
    });
}

#[test]
fn one_operation_in_so_many_says_not_yet_and_comes_back() {
    in_time(|| {
        for (one_in, least, most) in [(0, 0, 0), (1, 1000, 1000), (4, 150, 350)] {
            testing::run(async move {
                let (left, right) = duplex(1);
                let right = right.hostile(Hostile::new(1).pending(one_in));
                let mut pendings = 0;
                for _ in 0..1000 {
                    left.write(b"a").await.unwrap();
                    let (count, polls) = polls(right.read(&mut [0; 1])).await;
                    assert!(count.unwrap() == 1 && polls <= 2, "at most once an operation");
                    pendings += polls - 1;
                }
                assert!((least..=most).contains(&pendings), "{pendings} of 1,000");
            });
        }
    });
}

#[test]
fn what_is_late_is_late_by_the_test_s_time() {
    in_time(|| {
        check(0..20, async |seed| {
            let (left, right) = duplex(1000);
            let right = right.hostile(Hostile::new(seed).delays(HOUR).pending(0));
            left.write_all(&[7; 100]).await.unwrap();
            let (mut waits, mut rest) = (BTreeSet::new(), 100);
            while rest > 0 {
                let start = now();
                rest -= right.read(&mut [0; 100]).await.unwrap();
                assert!(now() - start <= HOUR);
                waits.insert(now() - start);
            }
            assert!(waits.len() > 3, "not always the same: {waits:?}");
            // One that is given up goes on where it was: ten minutes, six times, and it is there.
            left.write_all(&[7; 1]).await.unwrap();
            let mut given_up = 0;
            while timeout(HOUR / 6, right.read(&mut [0; 1])).await.is_err() {
                given_up += 1;
            }
            assert!(given_up <= 6, "{given_up}");
        });
    });
}

#[test]
fn whoever_gives_up_a_late_read_leaves_the_others_their_wake() {
    in_time(|| {
        testing::run(async {
            let (left, right) = duplex(10);
            let right = Rc::new(right.hostile(Hostile::new(1).delays(HOUR).pending(0)));
            left.write_all(b"a").await.unwrap();
            let stays = spawn({
                let right = Rc::clone(&right);
                async move { right.read(&mut [0; 1]).await }
            });
            yield_now().await;
            let goes =
                timeout(Duration::from_nanos(1), async move { right.read(&mut [0; 1]).await });
            assert!(spawn(async move { goes.await.is_err() }).await.unwrap());
            assert_eq!(stays.await.unwrap().unwrap(), 1);
        });
    });
}

#[test]
fn a_stream_ends_where_it_was_told_to() {
    in_time(|| {
        for end in 0..12 {
            testing::run(async move {
                let (left, right) = duplex(100);
                let right = right.hostile(Hostile::new(end).chunks(3).ends_after(end));
                left.write_all(&[7; 10]).await.unwrap();
                left.close();
                let mut taken = 0;
                while let count @ 1.. = right.read(&mut [0; 10]).await.unwrap() {
                    taken += count as u64;
                }
                assert_eq!(taken, end.min(10));
                assert_eq!(right.read(&mut [0; 10]).await.unwrap(), 0, "for good");
                right.write_all(b"but this way").await.unwrap();
                left.read_exact(&mut [0; 12]).await.unwrap();
            });
        }
        // Who writes what nobody will read is told, though it waits for room.
        testing::run(async {
            let (left, right) = duplex(3);
            let right = right.hostile(Hostile::new(1).ends_after(5));
            let writer = spawn(async move { left.write_all(&[7; 10]).await });
            while right.read(&mut [0; 10]).await.unwrap() > 0 {}
            assert_eq!(writer.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_connection_breaks_where_it_was_told_to_and_both_ends_see_it() {
    in_time(|| {
        for broken in 0..=20 {
            testing::run(async move {
                let (left, right) = duplex(100);
                let hostile = Hostile::new(broken).breaks_after(broken, ErrorKind::TimedOut);
                let right = Rc::new(right.hostile(hostile));
                // One that waits when the other direction breaks, unless that is at once.
                let waits = spawn({
                    let right = Rc::clone(&right);
                    async move { right.read(&mut [0; 10]).await }
                });
                yield_now().await;
                yield_now().await;
                let mut written = 0;
                let error = loop {
                    match right.write(&[7; 10]).await {
                        Ok(count) => written += count as u64,
                        Err(error) => break error,
                    }
                };
                assert_eq!((written, error.kind()), (broken, ErrorKind::TimedOut));
                assert_eq!(waits.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
                let again = right.read(&mut [0; 10]).await.unwrap_err();
                assert_eq!(again.kind(), ErrorKind::TimedOut, "for ever");
                // The other end reads what was written, then it is over.
                left.read_exact(&mut vec![0; broken as usize]).await.unwrap();
                assert_eq!(left.read(&mut [0; 10]).await.unwrap(), 0);
                assert_eq!(left.write(b"a").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            });
        }
    });
}

// --------------------------------------------------------------------------------------- a server in memory

#[test]
fn the_server_s_life_is_the_same_over_hostile_streams() {
    in_time(|| check(0..30, a_server_s_life));
}

#[test]
fn a_handler_survives_a_connection_cut_at_any_byte() {
    in_time(|| {
        for cut in 0..=80 {
            check(cut..cut + 2, async move |seed| {
                let hostile = Hostile::new(seed).breaks_after(cut, ErrorKind::ConnectionReset);
                let listener = MemoryListener::new(16).hostile(hostile);
                let (network, stop) = (listener.connector(), CancelToken::new());
                let limits = Limits::new().shutdown(stop.clone());
                let server = spawn(serve(listener, limits, async |stream, _| echo(stream).await));
                let client = network.connect().unwrap().into_inner();
                let mut answer = [0; 40];
                let talk = async {
                    let both =
                        zip(client.write_all(&[5; 40]), client.read_exact(&mut answer)).await;
                    both.0.and(both.1)
                };
                assert_eq!(talk.await.is_ok(), cut == 80, "an echo of 40 bytes moves 80");
                drop(client);
                stop.cancel();
                let served = server.await.unwrap().unwrap();
                assert_eq!((served.accepted, served.cut), (1, 0));
            });
        }
    });
}

#[test]
fn a_listener_in_memory_queues_and_refuses_as_a_port_does() {
    run(async || {
        let listener = MemoryListener::new(16);
        let network = listener.connector();
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut clients: Vec<_> = (0..1024).map(|_| network.connect().unwrap()).collect();
        assert_eq!(network.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        clients[0].write_all(b"early").await.unwrap();
        let (server, number) = listener.accept().await.unwrap();
        let mut word = [0; 5];
        server.into_inner().read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"early");
        assert_eq!((number, listener.try_accept().unwrap().1), (1, 2));
        network.connect().unwrap();
        // Those that were never accepted see that nobody will be there.
        drop(listener);
        assert_eq!(clients[5].write(b"a").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(network.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
    run(async || {
        let listener = Rc::new(MemoryListener::new(16));
        let network = listener.connector();
        let acceptors = [1, 2].map(|_| {
            let listener = Rc::clone(&listener);
            spawn(async move { listener.accept().await.unwrap().1 })
        });
        yield_now().await;
        let _clients = [network.connect().unwrap(), network.connect().unwrap()];
        let mut numbers = BTreeSet::new();
        for acceptor in acceptors {
            numbers.insert(acceptor.await.unwrap());
        }
        assert!(numbers.into_iter().eq([1, 2]));
    });
}

#[test]
fn an_accept_in_memory_that_is_dropped_leaves_no_waker_and_takes_no_wake() {
    run(async || {
        let listener = MemoryListener::new(16);
        let (counts, waker) = CountingWaker::new();
        for _ in 0..3 {
            let mut accept = Box::pin(listener.accept());
            assert!(poll_with(&mut accept, &waker).is_pending());
            assert!(poll_with(&mut accept, &waker).is_pending());
            drop(accept);
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&counts), 1);

        let (left, leaving) = CountingWaker::new();
        let (stays, staying) = CountingWaker::new();
        let (mut first, mut second) = (Box::pin(listener.accept()), Box::pin(listener.accept()));
        assert!(poll_with(&mut first, &leaving).is_pending());
        assert!(poll_with(&mut second, &staying).is_pending());
        let _client = listener.connector().connect().unwrap();
        drop(first);
        assert_eq!((left.wakes(), stays.wakes()), (1, 1));
        assert!(poll_with(&mut second, &staying).is_ready());
    });
}

// ------------------------------------------------------------------------------------------------ small tools

#[test]
fn polls_are_counted_and_judged() {
    run(async || {
        assert_eq!(polls(async { 5 }).await, (5, 1));
        assert_eq!(assert_never_yields(async { 5 }).await, 5);
        assert_eq!(polls(yield_now()).await, ((), 2));
        assert_yields(yield_now()).await;
        let (left, right) = duplex(1);
        assert_never_yields(left.write(b"a")).await.unwrap();
        assert_never_yields(right.read(&mut [0; 1])).await.unwrap();
        let reading = spawn(async move { assert_yields(right.read(&mut [0; 1])).await });
        yield_now().await;
        drop(left);
        assert_eq!(reading.await.unwrap().unwrap(), 0);

        let place = format!("{}:{}:", file!(), line!() + 1);
        let wrong = spawn(assert_yields(async {})).await;
        assert!(told_by(wrong).contains(&place));
        let wrong = spawn(assert_never_yields(yield_now())).await;
        assert!(told_by(wrong).contains("polled 2 times"));
    });
}

fn told_by<T: std::fmt::Debug>(result: Result<T, JoinError>) -> String {
    let panic = result.unwrap_err().try_into_panic().unwrap();
    text_of(&*panic).to_owned()
}

#[test]
fn until_idle_waits_for_all_that_can_happen_and_for_no_time() {
    in_time(|| {
        check(0..20, async |_| {
            let start = now();
            let steps = Rc::new(Cell::new(0));
            for _ in 0..5 {
                let steps = Rc::clone(&steps);
                drop(spawn(async move {
                    for _ in 0..100 {
                        steps.set(steps.get() + 1);
                        yield_now().await;
                    }
                    unblock(|| ()).await.unwrap();
                    steps.set(steps.get() + 1);
                    sleep(HOUR).await;
                    steps.set(steps.get() + 1);
                }));
            }
            until_idle().await;
            assert_eq!(steps.get(), 505);
            until_idle().await;
            assert_eq!((steps.get(), now() - start), (505, Duration::from_nanos(2)));
            sleep(HOUR).await;
            assert_eq!(steps.get(), 510);
        });
    });
    run(async || {
        let wrong = spawn(until_idle()).await;
        assert!(told_by(wrong).contains("TestClock"));
    });
}
