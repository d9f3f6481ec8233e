//! What does a timer cost, in a heap made in an evening and in the engine's wheel?
//!
//! Both read the clock for each timer and keep a waker, as a timeout does. The heap is given no loop: what it would need of one is not
//! in its figures.
//!
//! Comes from: main.rs. Goes to: 11-time/timers.rs; the runtime.

use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{block_on, sleep, sleep_until, timeout};

#[path = "../11-time/timers.rs"]
mod heap;

use crate::Measured;
use crate::programs::median;

const TIMERS: u32 = 100_000;
const ROUNDS: usize = 9;
const LONG: Duration = Duration::from_secs(30);

/// What is measured, and how long it takes each time.
type Row = (&'static str, fn() -> f64);

pub(crate) fn timers() -> Measured {
    let rows: [Row; 7] = [
        ("a reading of the clock", reading),
        ("heap: a timeout made and taken back", heap_taken_back),
        ("heap: and its entry thrown away when its time comes", heap_thrown_away),
        ("runtime: a timeout made, polled and dropped", wheel_dropped),
        ("heap: a timer fired", heap_fired),
        ("runtime: a sleep fired", wheel_fired),
        ("runtime: a sleep fired, all of one deadline", wheel_fired_at_once),
    ];
    let mut table = format!("| nanoseconds each, of {TIMERS} | |\n|---|---|\n");
    for (name, measure) in rows {
        let each = median((0..ROUNDS).map(|_| measure()).collect());
        writeln!(table, "| {name} | {each:.0} |")?;
    }
    writeln!(table, "\nMedians of {ROUNDS} rounds.")?;
    Ok(table)
}

/// How long `work` takes, for each timer.
fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    each(start.elapsed())
}

fn each(time: Duration) -> f64 {
    time.as_nanos() as f64 / f64::from(TIMERS)
}

fn reading() -> f64 {
    timed(|| (0..TIMERS).for_each(|_| _ = std::hint::black_box(Instant::now())))
}

fn with_context(work: impl FnMut(&mut Context<'_>) -> f64) -> f64 {
    let mut work = work;
    block_on(poll_fn(|cx| Poll::Ready(work(cx))))
}

fn nanos(start: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(start).as_nanos() as u64
}

/// Makes and takes back all timeouts, in a heap.
fn heap_of_dead(cx: &Context<'_>) -> heap::Timers<std::task::Waker> {
    let start = Instant::now();
    let mut timers = heap::Timers::new();
    for _ in 0..TIMERS {
        let deadline = nanos(start, Instant::now() + LONG);
        let number = timers.insert(deadline, cx.waker().clone());
        drop(timers.remove(number));
    }
    timers
}

fn heap_taken_back() -> f64 {
    with_context(|cx| timed(|| drop(heap_of_dead(cx))))
}

fn heap_thrown_away() -> f64 {
    with_context(|cx| {
        let mut timers = heap_of_dead(cx);
        assert_eq!(timers.entries(), TIMERS as usize);
        timed(|| assert!(timers.pop_due(u64::MAX).is_none()))
    })
}

fn wheel_dropped() -> f64 {
    with_context(|cx| {
        timed(|| {
            for _ in 0..TIMERS {
                let waits = pin!(timeout(LONG, pending::<()>()));
                assert!(waits.poll(cx).is_pending());
            }
        })
    })
}

/// Numbers below 10^7, in no order.
fn deadlines() -> impl Iterator<Item = u64> {
    (0..u64::from(TIMERS)).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 10_000_000)
}

fn heap_fired() -> f64 {
    with_context(|cx| {
        let mut timers = heap::Timers::new();
        for deadline in deadlines() {
            timers.insert(deadline, cx.waker().clone());
        }
        timed(|| {
            while let Some(waker) = timers.pop_due(u64::MAX) {
                waker.wake()
            }
        })
    })
}

fn wheel_fired() -> f64 {
    fired(deadlines().map(Duration::from_nanos))
}

fn wheel_fired_at_once() -> f64 {
    fired(deadlines().map(|_| Duration::ZERO))
}

/// Lets all sleeps fall due while nobody looks, and has the loop's next turn fire them.
fn fired(after: impl Iterator<Item = Duration>) -> f64 {
    block_on(async {
        let first = Instant::now() + Duration::from_millis(200);
        let mut sleeps: Vec<_> = after.map(|after| sleep_until(first + after)).collect();
        poll_fn(|cx| {
            for sleep in &mut sleeps {
                assert!(Pin::new(sleep).poll(cx).is_pending(), "this machine is too slow");
            }
            Poll::Ready(())
        })
        .await;
        let last = first + Duration::from_millis(11);
        thread::sleep(last.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        sleep(Duration::ZERO).await; // ends the turn, and the clock is looked at
        let time = start.elapsed();
        poll_fn(|cx| {
            for sleep in &mut sleeps {
                assert!(Pin::new(sleep).poll(cx).is_ready(), "they have fired");
            }
            Poll::Ready(())
        })
        .await;
        each(time)
    })
}
