//! Do children that borrow keep to their block, and is only who was woken polled?
//!
//! The rules of ending are the nursery's, and so are the tests; those of its own are about borrowing, about the wakers
//! (which outlive children, blocks and threads), and about what a wake costs: polls are counted.
//!
//! Comes from: main.rs. Goes to: outer/scope.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use runtime::{Child, Errors, Scope, scope, sleep, spawn, timeout, yield_now};

use crate::counting::growth;
use crate::support::counters::{
    Counter, CountingWaker, give_waker, on_drop, poll_with, polled, until_async,
};
use crate::support::{
    cancel_at_every_poll, in_child_process, panic_of, panic_quietly, run, within,
};

type E = &'static str;

fn holding(s: &Scope<'_, E>, drops: &Counter) -> Child<()> {
    let guard = drops.guard();
    s.spawn(async move {
        let _guard = guard;
        pending().await
    })
}

fn list(errors: Errors<E>) -> Vec<E> {
    errors.into_iter().collect()
}

#[test]
fn children_borrow_from_around_the_block() {
    run(async || {
        let words = &[String::from("one"), String::from("two"), String::from("three")];
        let longest = Cell::new(0);
        let (mut left, mut right) = (0, Vec::new());
        let (l, r) = (&mut left, &mut right);
        let count = scope(async |s| {
            for word in words {
                s.spawn(async {
                    yield_now().await;
                    longest.set(longest.get().max(word.len()));
                    Ok::<_, E>(())
                });
            }
            s.spawn(async move {
                yield_now().await;
                *l += 5;
                Ok(())
            });
            s.spawn(async move {
                r.push(words.len());
                Ok(())
            });
            Ok(s.len())
        });
        assert_eq!(count.await, Ok(5));
        assert_eq!((longest.get(), left, right), (5, 5, vec![3]));
    });
}

#[test]
fn children_may_spawn_and_give_values() {
    run(async || {
        let base = 40;
        let sum = scope(async |s| {
            let more = s.clone();
            let child = s.spawn(async move {
                let (one, two) = (more.spawn(async { Ok(1) }), more.spawn(async { Ok(1) }));
                Ok::<_, E>(base + one.await.unwrap() + two.await.unwrap())
            });
            Ok(child.await.unwrap())
        });
        assert_eq!(sum.await, Ok(42));
    });
}

#[test]
fn it_runs_under_any_executor() {
    within(10, || {
        let word = String::from("abroad");
        let length = futures_lite::future::block_on(scope(async |s| {
            let child = s.spawn(async {
                futures_lite::future::yield_now().await;
                Ok::<_, E>(word.len())
            });
            Ok(child.await.unwrap())
        }));
        assert_eq!(length, Ok(6));
    });
}

#[test]
fn only_the_child_that_was_woken_is_polled() {
    run(async || {
        const CHILDREN: usize = 1000;
        let all: Vec<_> = (0..CHILDREN).map(|_| async_channel::unbounded::<()>()).collect();
        let polls = Counter::new();
        let (body, body_polls) = polled(pending::<Result<(), E>>());
        let block = scope(async |s| {
            for (_, receive) in &all {
                let polls = polls.clone();
                s.spawn(async move {
                    let mut receive = std::pin::pin!(receive.recv());
                    poll_fn(|cx| {
                        polls.up();
                        receive.as_mut().poll(cx)
                    })
                    .await
                    .map_err(|_| "closed")
                });
            }
            body.await
        });
        let (counts, waker) = CountingWaker::new();
        let mut block = Box::pin(block);
        assert!(poll_with(&mut block, &waker).is_pending());
        assert!(poll_with(&mut block, &waker).is_pending());
        assert_eq!((polls.get(), body_polls.get()), (CHILDREN, 1));
        let woken = counts.wakes();
        for (send, _) in &all[7..10] {
            send.try_send(()).unwrap();
        }
        assert_eq!(counts.wakes(), woken + 1, "the parent, once for all three");
        assert!(poll_with(&mut block, &waker).is_pending());
        assert_eq!((polls.get(), body_polls.get()), (CHILDREN + 3, 1));
        assert!(poll_with(&mut block, &waker).is_pending());
        assert_eq!((polls.get(), body_polls.get()), (CHILDREN + 3, 1), "polled without a reason");
    });
}

#[test]
fn a_child_that_is_always_ready_keeps_neither_siblings_nor_tasks_waiting() {
    run(async || {
        let stop = Cell::new(false);
        let other = spawn(async {
            for _ in 0..10 {
                yield_now().await;
            }
        });
        let ended = scope(async |s| {
            s.spawn(async {
                while !stop.get() {
                    yield_now().await;
                }
                Ok::<_, E>(())
            });
            let sibling = s.spawn(async {
                for _ in 0..10 {
                    yield_now().await;
                }
                Ok(())
            });
            sibling.await;
            other.await.unwrap();
            stop.set(true);
            Ok(())
        });
        assert_eq!(ended.await, Ok(()));
    });
}

#[test]
fn children_are_woken_from_other_threads() {
    within(60, || {
        runtime::block_on(async {
            for _ in 0..200 {
                let base = 1;
                let sum = scope(async |s| {
                    let children: Vec<_> = (0..8)
                        .map(|_| {
                            let (send, receive) = async_channel::bounded(1);
                            let thread = thread::spawn(move || send.try_send(1).unwrap());
                            s.spawn(async move {
                                let got = receive.recv().await.map_err(|_| "closed")?;
                                thread.join().unwrap();
                                Ok::<_, E>(got * base)
                            })
                        })
                        .collect();
                    let mut sum = 0;
                    for child in children {
                        sum += child.await.unwrap();
                    }
                    Ok(sum)
                });
                assert_eq!(sum.await, Ok(8));
            }
        });
    });
}

#[test]
fn an_old_waker_polls_nobody() {
    run(async || {
        let old = RefCell::new(None::<Waker>);
        let (next, polls) = polled(pending::<Result<(), E>>());
        let next = RefCell::new(Some(next));
        let mut block = Box::pin(scope(async |s: &Scope<'_, E>| {
            let first = s.spawn(async {
                poll_fn(|cx| {
                    *old.borrow_mut() = Some(cx.waker().clone());
                    Poll::Ready(())
                })
                .await;
                Ok(())
            });
            first.await;
            s.spawn(next.take().unwrap()); // in the same place
            pending::<Result<(), E>>().await
        }));
        let (_, waker) = CountingWaker::new();
        for _ in 0..5 {
            assert!(poll_with(&mut block, &waker).is_pending());
        }
        assert_eq!(polls.get(), 1);
        old.borrow().as_ref().unwrap().wake_by_ref();
        assert!(poll_with(&mut block, &waker).is_pending());
        assert_eq!(polls.get(), 1);
        drop(block);
        let old = old.take().unwrap();
        old.wake_by_ref();
        thread::spawn(move || old.wake()).join().unwrap();
    });
}

// ------------------------------------------------------------------------------------- the nursery's table

#[test]
fn the_body_errs() {
    run(async || {
        let drops = Counter::new();
        let failed = scope(async |s| {
            holding(s, &drops);
            yield_now().await;
            holding(s, &drops); // never polled
            Err::<(), E>("body")
        });
        assert_eq!(list(failed.await.unwrap_err()), ["body"]);
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_child_errs() {
    run(async || {
        let (drops, after) = (Counter::new(), Counter::new());
        let failed = scope(async |s| {
            let _body = drops.guard();
            holding(s, &drops);
            s.spawn(async { Err::<(), E>("child") });
            s.spawn(async {
                after.up(); // behind the error in the same round
                Err::<(), E>("never")
            });
            pending::<Result<(), E>>().await
        });
        assert_eq!(list(failed.await.unwrap_err()), ["child"]);
        assert_eq!((drops.get(), after.get()), (2, 0));
    });
}

#[test]
fn a_child_errs_after_the_body_has_ended() {
    run(async || {
        let values = Counter::new();
        let failed = scope(async |s| {
            s.spawn(async {
                yield_now().await;
                Err::<(), E>("late")
            });
            Ok(values.guard())
        });
        assert_eq!(list(failed.await.err().unwrap()), ["late"]);
        assert_eq!(values.get(), 1);
    });
}

#[test]
fn a_panic_of_the_body_a_child_or_a_drop_goes_on_when_all_are_dropped() {
    run(async || {
        for way in 0..5 {
            let drops = Counter::new();
            let (seen, at_the_end) = (drops.clone(), Rc::new(Cell::new(0)));
            let place = Rc::clone(&at_the_end);
            let text = panic_of(async move {
                let then = seen.clone();
                let _parent = on_drop(move || place.set(then.get()));
                scope(async |s| {
                    holding(s, &seen);
                    match way {
                        0 => {
                            yield_now().await;
                            panic_quietly("expected");
                        }
                        1 => drop(s.spawn::<(), _>(async { panic_quietly("expected") })),
                        2 => {
                            // In the drop of one that has ended.
                            let guard = on_drop(|| panic_quietly("expected"));
                            s.spawn(async move {
                                let _guard = guard;
                                Ok(())
                            });
                        }
                        way => {
                            // In the drop of one that is stopped.
                            let guard = on_drop(|| panic_quietly("expected"));
                            s.spawn(async move {
                                let _guard = guard;
                                pending::<Result<(), E>>().await
                            });
                            yield_now().await;
                            if way == 3 {
                                holding(s, &seen);
                                return Err("error");
                            }
                            s.cancel();
                        }
                    }
                    holding(s, &seen);
                    pending::<Result<(), E>>().await
                })
                .await
            });
            assert_eq!(text.await, "expected", "{way}");
            let expected = if way == 0 { 1 } else { 2 };
            assert_eq!((at_the_end.get(), drops.get()), (expected, expected), "{way}");
        }
    });
}

#[test]
fn cancel_drops_the_children_and_lets_the_body_run_on() {
    run(async || {
        let drops = Counter::new();
        let value = scope(async |s| {
            let first = holding(s, &drops);
            yield_now().await;
            holding(s, &drops);
            s.cancel();
            assert_eq!((drops.get(), s.len()), (2, 0), "on the spot");
            assert_eq!(first.await, None);
            assert_eq!(holding(s, &drops).await, None);
            assert_eq!(drops.get(), 3, "and nobody is let in");
            yield_now().await;
            Ok(5)
        });
        assert_eq!(value.await, Ok(5));
    });
}

#[test]
fn a_child_that_cancels_is_dropped_at_the_end_of_its_poll() {
    run(async || {
        let (drops, after) = (Counter::new(), Counter::new());
        let ended = scope(async |s| {
            holding(s, &drops);
            let (all, guard) = (s.clone(), drops.guard());
            s.spawn(async {
                let (_guard, all) = (guard, all);
                all.cancel();
                assert_eq!(drops.get(), 1, "the sibling, not this one");
                after.up();
                yield_now().await;
                after.up();
                Ok(())
            });
            Ok(())
        });
        assert_eq!(ended.await, Ok(()));
        assert_eq!((drops.get(), after.get()), (2, 1));
    });
}

#[test]
fn cancel_from_outside_ends_a_block_whose_body_has_ended() {
    run(async || {
        let drops = Counter::new();
        let (inside, outside) = (drops.clone(), Rc::new(RefCell::new(None)));
        let place = Rc::clone(&outside);
        let block = spawn(scope(async move |s: &Scope<'static, E>| {
            holding(s, &inside);
            *place.borrow_mut() = Some(s.clone());
            Ok(5)
        }));
        until_async(|| outside.borrow().is_some()).await;
        yield_now().await;
        assert!(!block.is_finished());
        outside.take().unwrap().cancel();
        assert_eq!(drops.get(), 1);
        assert_eq!(block.await.unwrap(), Ok(5));
    });
}

#[test]
fn a_block_that_is_dropped_drops_the_body_and_then_the_children() {
    run(async || {
        let order = &RefCell::new(Vec::new());
        let writes = |name: E| on_drop(move || order.borrow_mut().push(name));
        let block = scope(async |s| {
            let _body = writes("body");
            for name in ["first", "second", "third"] {
                let guard = writes(name);
                s.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), E>>().await
                });
            }
            pending::<Result<(), E>>().await
        });
        assert!(timeout(Duration::from_millis(1), block).await.is_err());
        assert_eq!(order.take(), ["body", "first", "second", "third"]);
    });
}

#[test]
fn a_block_that_is_dropped_drops_all_though_a_drop_panics() {
    run(async || {
        let drops = Counter::new();
        let inside = drops.clone();
        let text = panic_of(async move {
            let block = scope(async |s| {
                holding(s, &inside);
                let guard = on_drop(|| panic_quietly("drop"));
                s.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), E>>().await
                });
                holding(s, &inside);
                pending::<Result<(), E>>().await
            });
            timeout(Duration::from_millis(1), block).await
        });
        assert_eq!(text.await, "drop");
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_block_can_be_dropped_after_any_poll() {
    run(async || {
        for fails in [false, true] {
            let (made, drops) = (Counter::new(), Counter::new());
            let block = async || {
                let guard = || {
                    made.up();
                    drops.guard()
                };
                scope(async |s: &Scope<'_, E>| {
                    let _body = guard();
                    for turns in 0..4 {
                        let (guard, more, second) = (guard(), s.clone(), guard());
                        s.spawn(async move {
                            let (_guard, more) = (guard, more);
                            for _ in 0..turns {
                                yield_now().await;
                            }
                            more.spawn(async move {
                                let _second = second;
                                sleep(Duration::ZERO).await;
                                if fails { Err("child") } else { Ok(()) }
                            });
                            Ok(())
                        });
                    }
                    yield_now().await;
                    Ok(())
                })
                .await
                .is_err()
            };
            cancel_at_every_poll(block, || assert_eq!(drops.get(), made.get())).await;
            assert_eq!(block().await, fails);
        }
    });
}

#[test]
fn a_scope_gives_its_memory_back() {
    in_child_process(|| {
        runtime::block_on(async {
            let waker = &RefCell::new(None);
            let words = &[String::from("borrowed")];
            scope(async |s: &Scope<'_, E>| {
                let children = async || {
                    for _ in 0..10_000 {
                        for word in words {
                            s.spawn(async { Ok(word.len()) }).await.unwrap();
                        }
                        // One whose waker is about when it is gone, and is called then.
                        let child: Pin<Box<dyn Future<Output = Result<(), E>>>> =
                            Box::pin(async move {
                                give_waker(|mine| *waker.borrow_mut() = Some(mine)).await;
                                Ok(())
                            });
                        let child = s.spawn(child);
                        yield_now().await;
                        waker.borrow().as_ref().map(Waker::wake_by_ref);
                        child.await;
                        waker.take().unwrap().wake();
                    }
                };
                let blocks = async || {
                    for way in 0..1000 {
                        let block = scope(async |s: &Scope<'_, E>| {
                            let own = s.clone(); // a child that holds its scope
                            s.spawn(async move {
                                let _own = own;
                                give_waker(|mine| *waker.borrow_mut() = Some(mine)).await;
                                Ok(())
                            });
                            yield_now().await;
                            if way % 2 == 0 { Err("error") } else { pending().await }
                        });
                        let late: Result<Result<(), _>, _> = timeout(Duration::ZERO, block).await;
                        assert_eq!(late.is_ok(), way % 2 == 0);
                        waker.take().unwrap().wake();
                    }
                };
                let grown = growth(async || {
                    children().await;
                    blocks().await;
                })
                .await;
                assert!(grown <= 0, "{grown} bytes");
                Ok(())
            })
            .await
            .unwrap();
        });
    });
}
