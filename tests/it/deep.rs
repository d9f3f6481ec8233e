//! How deep may tasks hang on one another?
//!
//! Ending a task drops its future, which may end another task, and so on. Whatever the chain goes through, as long as it
//! goes through tasks it may have any length: 100,000 links on a stack of 2 MiB, in a debug build too. Futures that lie in
//! one another without tasks between them nest like calls; how deep that goes is said here too.
//!
//! Comes from: main.rs. Goes to: run_queue.rs (`nested`), task/cell.rs of the runtime.

use std::any::Any;
use std::cell::RefCell;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use runtime::{JoinHandle, Nursery, Runtime, block_on, nursery, scope, spawn, timeout, yield_now};

use crate::support::counters::Counter;

const LINKS: usize = 100_000;

/// Runs `body` on a thread with a stack of 2 MiB, as the test harness gives it, too.
fn on_two_mebibytes(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(2 << 20).spawn(body).unwrap().join().unwrap();
}

/// Aborts its task when it is dropped.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// Ends something when it is dropped.
type Link = Box<dyn Any>;

/// Waits for ever, and holds the next link until it is dropped itself.
async fn hold(next: Link, count: Counter) {
    let _count = count.guard();
    let _next = next;
    pending::<()>().await;
}

fn guard(next: Link, count: Counter) -> Link {
    Box::new(AbortOnDrop(spawn(hold(next, count))))
}

/// A task that has ended, with the next link in its result.
fn result(next: Link, count: Counter) -> Link {
    Box::new(spawn(async move { (next, count.guard()) }))
}

fn child(next: Link, count: Counter) -> Link {
    Box::new(AbortOnDrop(spawn(nursery(async move |n: &Nursery<()>| {
        n.spawn(async move {
            hold(next, count).await;
            Ok(())
        });
        pending::<Result<(), ()>>().await
    }))))
}

fn timed(next: Link, count: Counter) -> Link {
    let hour = Duration::from_secs(3600);
    Box::new(AbortOnDrop(spawn(timeout(hour, AbortOnDrop(spawn(hold(next, count)))))))
}

/// The first link of a chain of them, all running or ended as they are meant to be.
async fn chain(kinds: &[fn(Link, Counter) -> Link], count: &Counter) -> Link {
    let mut link: Link = Box::new(());
    for number in 0..LINKS {
        link = kinds[number % kinds.len()](link, count.clone());
    }
    // A batch is 256 polls; a link has two tasks at most, polled once.
    for _ in 0..LINKS / 100 {
        yield_now().await;
    }
    link
}

/// Drops a chain's first link; by the time that returns, all are dropped.
fn drop_a_chain(kinds: &'static [fn(Link, Counter) -> Link]) {
    on_two_mebibytes(|| {
        block_on(async {
            let count = Counter::new();
            let link = chain(kinds, &count).await;
            assert_eq!(count.get(), 0);
            drop(link);
            assert_eq!(count.get(), LINKS);
        });
    });
}

#[test]
fn a_chain_of_abort_on_drop_guards_is_aborted_whatever_its_length() {
    drop_a_chain(&[guard]);
}

#[test]
fn a_chain_of_nurseries_is_dropped_whatever_its_length() {
    drop_a_chain(&[child]);
}

#[test]
fn a_chain_of_timeouts_around_handles_is_dropped_whatever_its_length() {
    drop_a_chain(&[timed]);
}

#[test]
fn a_chain_of_results_that_hold_handles_is_dropped_whatever_its_length() {
    drop_a_chain(&[result]);
}

#[test]
fn a_chain_of_all_of_them_is_dropped_whatever_its_length() {
    drop_a_chain(&[guard, result, child, timed, result, guard]);
}

#[test]
fn a_chain_ends_with_its_runtime_whatever_its_length() {
    for kinds in [&[guard as fn(Link, Counter) -> Link] as &[_], &[guard, result, child, timed]] {
        let kinds = kinds.to_vec();
        on_two_mebibytes(move || {
            let (rt, count) = (Runtime::new().unwrap(), Counter::new());
            let link = rt.block_on(chain(&kinds, &count));
            // Held by a task, so that the runtime's end is what drops it.
            drop(rt.spawn(hold(link, Counter::new())));
            rt.block_on(yield_now());
            drop(rt);
            assert_eq!(count.get(), LINKS);
        });
    }
}

#[test]
fn a_chain_ends_with_its_first_task_and_with_a_timeout_whatever_its_length() {
    on_two_mebibytes(|| {
        block_on(async {
            let count = Counter::new();
            let link = chain(&[guard, child], &count).await;
            // By a future that ends.
            spawn(async move { drop(link) }).await.unwrap();
            assert_eq!(count.get(), LINKS);
            let link = chain(&[guard, child], &count).await;
            // By a future that is dropped.
            assert!(timeout(Duration::ZERO, hold(link, Counter::new())).await.is_err());
            assert_eq!(count.get(), 2 * LINKS);
        });
    });
}

#[test]
fn a_drop_at_the_end_of_a_runtime_may_spawn_what_does_the_same_whatever_their_number() {
    struct Spawns(usize, Counter);
    impl Drop for Spawns {
        fn drop(&mut self) {
            self.1.up();
            if self.0 > 0 {
                let next = Spawns(self.0 - 1, self.1.clone());
                drop(spawn(async move { drop(next) }));
            }
        }
    }
    on_two_mebibytes(|| {
        let (rt, count) = (Runtime::new().unwrap(), Counter::new());
        let first = Spawns(LINKS, count.clone());
        drop(rt.spawn(async move {
            let _first = first;
            pending::<()>().await;
        }));
        drop(rt);
        assert_eq!(count.get(), LINKS + 1);
    });
}

#[test]
fn the_first_32_nested_drops_come_in_the_program_s_order_and_deeper_ones_first_come_first_served() {
    struct Level {
        number: usize,
        next: Option<JoinHandle<()>>,
        log: Rc<RefCell<Vec<(usize, bool)>>>,
    }
    impl Drop for Level {
        fn drop(&mut self) {
            self.next.iter().for_each(JoinHandle::abort);
            // Whether the next one is gone when its abort has returned.
            let gone = self.next.as_ref().is_none_or(JoinHandle::is_finished);
            self.log.borrow_mut().push((self.number, gone));
        }
    }
    block_on(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut next = None;
        for number in (0..100).rev() {
            let level = Level { number, next: next.take(), log: Rc::clone(&log) };
            next = Some(spawn(async move {
                let _level = level;
                pending::<()>().await;
            }));
        }
        yield_now().await;
        next.unwrap().abort();
        // Level 32 is the last that nests: its call works off what is deeper, before those above go on.
        let deep = (32..100).map(|number| (number, number == 99));
        let nested = (0..32).rev().map(|number| (number, true));
        assert_eq!(*log.borrow(), deep.chain(nested).collect::<Vec<_>>());
    });
}

#[test]
fn scopes_and_futures_nest_like_calls_and_some_hundred_of_them_do() {
    type Boxed = Pin<Box<dyn Future<Output = ()>>>;
    fn futures(depth: usize) -> Boxed {
        Box::pin(async move {
            if depth > 0 {
                futures(depth - 1).await;
            }
            pending::<()>().await;
        })
    }
    fn scopes(depth: usize) -> Boxed {
        Box::pin(async move {
            let body = async move |s: &runtime::Scope<'_, ()>| {
                if depth > 0 {
                    s.spawn(async move {
                        scopes(depth - 1).await;
                        Ok(())
                    });
                }
                pending::<Result<(), ()>>().await
            };
            let _ = scope(body).await;
        })
    }
    on_two_mebibytes(|| {
        block_on(async {
            for nested in [futures(SCOPES), scopes(SCOPES)] {
                let task = spawn(nested);
                // A scope polls a new child in its next round.
                for _ in 0..2 * SCOPES {
                    yield_now().await;
                }
                task.abort();
                assert!(task.is_finished());
            }
        });
    });
}

/// How many scopes may lie in one another on 2 MiB, in a debug build.
const SCOPES: usize = 300;
