//! Does a nursery keep every child, and does its block say all that went wrong?
//!
//! The rows of the table in runtime/src/outer/nursery.rs, a test each, and what holds beside: ends are counted by guards,
//! so "dropped" means dropped and not merely told to stop; the order of ends is written down by the guards themselves.
//!
//! Comes from: main.rs. Goes to: outer/nursery.rs of the runtime.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use runtime::{
    Child, Errors, NotStarted, Nursery, PanicPolicy, Runtime, Started, nursery, sleep, spawn,
    timeout, yield_now,
};

use crate::counting::growth;
use crate::support::counters::{
    Counter, CountingWaker, OnDrop, on_drop, poll_with, polled, until_async,
};
use crate::support::{
    cancel_at_every_poll, in_child_process, panic_of, panic_quietly, run, within,
};

type E = &'static str;

/// A child that never ends and counts its drop.
fn holding(n: &Nursery<E>, drops: &Counter) -> Child<()> {
    let guard = drops.guard();
    n.spawn(async move {
        let _guard = guard;
        pending().await
    })
}

fn list(errors: Errors<E>) -> Vec<E> {
    errors.into_iter().collect()
}

#[test]
fn the_block_gives_the_body_s_value_when_all_children_have_ended() {
    run(async || {
        let drops = Counter::new();
        let ended = nursery(async |n| {
            for turns in 0..10 {
                let guard = drops.guard();
                n.spawn(async move {
                    let _guard = guard;
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    Ok::<_, E>(())
                });
            }
            Ok("the body was first")
        });
        assert_eq!(ended.await, Ok("the body was first"));
        assert_eq!(drops.get(), 10);
    });
}

#[test]
fn a_block_without_children_or_waits_is_ready_at_its_first_poll() {
    let mut block = Box::pin(nursery(async |_: &Nursery<E>| Ok(5)));
    assert!(poll_with(&mut block, Waker::noop()).is_ready());
}

#[test]
fn children_give_their_values() {
    run(async || {
        let sum = nursery(async |n| {
            let children: Vec<_> =
                (1..=100).map(|i| n.spawn(async move { Ok::<_, E>(i) })).collect();
            let mut sum = 0;
            for child in children {
                sum += child.await.unwrap();
            }
            Ok(sum)
        });
        assert_eq!(sum.await, Ok(5050));
    });
}

#[test]
fn a_value_can_be_had_after_the_block_and_by_another_task() {
    run(async || {
        let child = nursery(async |n| Ok::<_, E>(n.spawn(async { Ok(5) }))).await.unwrap();
        assert!(child.is_finished());
        assert_eq!(spawn(child).await.unwrap(), Some(5));
    });
}

// ------------------------------------------------------------------------------------------- the table's rows

#[test]
fn the_body_errs() {
    run(async || {
        let drops = Counter::new();
        let failed = nursery(async |n| {
            holding(n, &drops);
            yield_now().await;
            holding(n, &drops); // never polled
            Err::<(), E>("body")
        });
        assert_eq!(list(failed.await.unwrap_err()), ["body"]);
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_child_errs() {
    run(async || {
        let (children, body, after) = (Counter::new(), Counter::new(), Counter::new());
        let failed = nursery(async |n| {
            let _guard = body.guard();
            holding(n, &children);
            n.spawn(async {
                yield_now().await;
                Err::<(), E>("child")
            });
            holding(n, &children);
            yield_now().await;
            yield_now().await; // ready again in the turn after the error: not polled any more
            after.up();
            pending().await
        });
        let failed: Result<(), _> = failed.await;
        assert_eq!(list(failed.unwrap_err()), ["child"]);
        assert_eq!((children.get(), body.get(), after.get()), (2, 1, 0));
    });
}

#[test]
fn several_err_before_the_parent_is_polled() {
    run(async || {
        let failed = nursery(async |n| {
            for text in ["first", "second", "third"] {
                n.spawn(async move { Err::<(), _>(text) });
            }
            pending::<Result<(), E>>().await
        });
        let errors = failed.await.unwrap_err();
        assert_eq!(errors.first(), &"first");
        assert_eq!(errors.to_string(), "first; and then: second; and then: third");
        assert_eq!(errors.iter().count(), 3);
        assert_eq!(list(errors), ["first", "second", "third"]);
    });
}

#[test]
fn a_child_errs_after_the_body_has_ended() {
    run(async || {
        let (drops, values) = (Counter::new(), Counter::new());
        let failed = nursery(async |n| {
            holding(n, &drops);
            n.spawn(async {
                yield_now().await;
                yield_now().await;
                Err::<(), E>("late")
            });
            Ok(values.guard())
        });
        assert_eq!(list(failed.await.err().unwrap()), ["late"]);
        assert_eq!((drops.get(), values.get()), (1, 1));
    });
}

#[test]
fn the_body_panics() {
    run(async || {
        let drops = Counter::new();
        let seen = drops.clone();
        let block = nursery(async move |n: &Nursery<E>| {
            holding(n, &seen);
            yield_now().await;
            panic_quietly("body")
        });
        let drops_then = drops.clone();
        let caught = spawn(async move {
            let mut block = Box::pin(block);
            let caught = std::future::poll_fn(move |cx| {
                match catch_unwind(AssertUnwindSafe(|| block.as_mut().poll(cx))) {
                    Ok(poll) => poll.map(|_: Result<(), _>| None),
                    Err(payload) => std::task::Poll::Ready(Some((payload, drops_then.get()))),
                }
            });
            caught.await.unwrap()
        });
        let (payload, dropped_by_then) = caught.await.unwrap();
        assert_eq!(*payload.downcast::<E>().unwrap(), "body");
        assert_eq!((dropped_by_then, drops.get()), (1, 1), "before the parent learns of it");
    });
}

#[test]
fn a_child_panics() {
    run(async || {
        let drops = Counter::new();
        let seen = drops.clone();
        let text = panic_of(async move {
            let _parent = on_drop({
                let seen = seen.clone();
                move || assert_eq!(seen.get(), 3, "two children and the body, then the parent")
            });
            nursery(async move |n: &Nursery<E>| {
                let _guard = seen.guard();
                holding(n, &seen);
                n.spawn::<(), _>(async { panic_quietly("child") });
                holding(n, &seen);
                pending::<Result<(), E>>().await
            })
            .await
        });
        assert_eq!(text.await, "child");
        assert_eq!(drops.get(), 3);
    });
}

#[test]
fn a_child_panics_and_others_err() {
    run(async || {
        let text = panic_of(nursery(async |n| {
            n.spawn(async { Err::<(), E>("error") });
            n.spawn::<(), _>(async { panic_quietly("panic") });
            n.spawn(async { Err::<(), E>("error") });
            pending::<Result<(), E>>().await
        }));
        assert_eq!(text.await, "panic");
    });
}

thread_local!(static POLICY: RefCell<Vec<E>> = RefCell::default());

/// A runtime whose policy writes down what it gets; gives that.
fn with_policy<F: Future>(body: F) -> (F::Output, Vec<E>) {
    let hook = PanicPolicy::Hook(|_, payload| {
        POLICY.with_borrow_mut(|list| list.push(*payload.downcast().unwrap()));
    });
    let rt = Runtime::builder().panic_policy(hook).build().unwrap();
    let output = rt.block_on(body);
    (output, POLICY.take())
}

#[test]
fn several_panic() {
    within(10, || {
        let (text, policy) = with_policy(async {
            panic_of(nursery(async |n| {
                for text in ["first", "second", "third"] {
                    n.spawn::<(), _>(async move { panic_quietly(text) });
                }
                pending::<Result<(), E>>().await
            }))
            .await
        });
        assert_eq!((text, policy), ("first", vec!["second", "third"]));
    });
}

fn panics_when_dropped(text: E) -> OnDrop<impl FnOnce()> {
    on_drop(move || panic_quietly(text))
}

#[test]
fn a_child_s_drop_panics() {
    run(async || {
        // Stopped because of a sibling, stopped by `cancel`, and at its own good end.
        for way in 0..3 {
            let drops = Counter::new();
            let inside = drops.clone();
            let text = panic_of(nursery(async move |n: &Nursery<E>| {
                let guard = panics_when_dropped("drop");
                n.spawn(async move {
                    let _guard = guard;
                    if way != 2 {
                        pending::<()>().await;
                    }
                    Ok(())
                });
                holding(n, &inside);
                yield_now().await;
                match way {
                    0 => Err("error"),
                    1 => {
                        n.cancel();
                        Ok(())
                    }
                    _ => pending().await,
                }
            }));
            assert_eq!((text.await, drops.get()), ("drop", 1), "{way}");
        }
    });
}

#[test]
fn cancel_drops_the_children_and_lets_the_body_run_on() {
    run(async || {
        let drops = Counter::new();
        let value = nursery(async |n| {
            let first = holding(n, &drops);
            yield_now().await;
            holding(n, &drops);
            assert_eq!(n.len(), 2);
            n.cancel();
            assert_eq!((drops.get(), n.len()), (2, 0), "on the spot");
            assert_eq!(first.await, None);
            yield_now().await;
            Ok(5)
        });
        assert_eq!(value.await, Ok(5));
    });
}

#[test]
fn cancel_from_outside_ends_a_block_whose_body_has_ended() {
    run(async || {
        let drops = Counter::new();
        let (inside, outside) = (drops.clone(), Rc::new(RefCell::new(None)));
        let place = Rc::clone(&outside);
        let block = spawn(nursery(async move |n: &Nursery<E>| {
            holding(n, &inside);
            *place.borrow_mut() = Some(n.clone());
            Ok(5)
        }));
        yield_now().await;
        yield_now().await;
        assert!(!block.is_finished());
        outside.take().unwrap().cancel();
        assert_eq!(drops.get(), 1);
        assert_eq!(block.await.unwrap(), Ok(5));
    });
}

#[test]
fn a_child_that_cancels_is_dropped_at_the_end_of_its_poll() {
    run(async || {
        let (drops, after) = (Counter::new(), Counter::new());
        let ended = nursery(async |n| {
            holding(n, &drops);
            let (all, guard, after, seen) =
                (n.clone(), drops.guard(), after.clone(), drops.clone());
            n.spawn(async move {
                let _guard = guard;
                all.cancel();
                assert_eq!(seen.get(), 1, "the sibling, not this one");
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
fn a_child_that_cancels_and_errs_in_that_poll_has_erred() {
    run(async || {
        let failed = nursery(async |n| {
            let all = n.clone();
            n.spawn(async move {
                all.cancel();
                Err::<(), E>("child")
            });
            pending::<Result<(), E>>().await
        });
        assert_eq!(list(failed.await.unwrap_err()), ["child"]);
    });
}

#[test]
fn a_spawn_after_cancel_or_the_end_is_dropped_unpolled() {
    run(async || {
        let (drops, left) = (Counter::new(), Rc::new(RefCell::new(None)));
        nursery(async |n| {
            n.cancel();
            *left.borrow_mut() = Some(n.clone());
            assert_eq!(holding(n, &drops).await, None);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(drops.get(), 1);
        let after = left.take().unwrap();
        let guard = drops.guard();
        let (future, polls) = polled(async move {
            let _guard = guard;
            Ok(())
        });
        assert_eq!(after.spawn(future).await, None);
        assert_eq!((drops.get(), polls.get(), after.is_empty()), (2, 0, true));
        assert_eq!(after.start(async |_: Started<()>| Ok(())).await, Err(NotStarted));
    });
}

#[test]
fn a_spawn_while_the_block_is_failing_is_dropped_unpolled() {
    run(async || {
        let drops = Counter::new();
        let failed = nursery(async |n| {
            let (late, inside) = (n.clone(), drops.clone());
            let spawns = on_drop(move || drop(holding(&late, &inside)));
            n.spawn(async move {
                let _spawns = spawns;
                pending::<Result<(), E>>().await
            });
            yield_now().await;
            Err::<(), E>("body")
        });
        assert_eq!(list(failed.await.unwrap_err()), ["body"]);
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_block_that_is_dropped_drops_the_body_and_then_the_children_in_order() {
    run(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let writes = |name: E| {
            let order = Rc::clone(&order);
            on_drop(move || order.borrow_mut().push(name))
        };
        let block = nursery(async |n| {
            let _body = writes("body");
            for name in ["first", "second", "third"] {
                let guard = writes(name);
                n.spawn(async move {
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
fn a_block_that_is_dropped_gives_panics_of_drops_to_the_policy() {
    within(10, || {
        let drops = Counter::new();
        let inside = drops.clone();
        let ((), policy) = with_policy(async {
            let block = nursery(async |n: &Nursery<E>| {
                for text in ["one", "two"] {
                    let guard = panics_when_dropped(text);
                    n.spawn(async move {
                        let _guard = guard;
                        pending::<Result<(), E>>().await
                    });
                    holding(n, &inside);
                }
                pending::<Result<(), E>>().await
            });
            assert!(timeout(Duration::from_millis(1), block).await.is_err());
        });
        assert_eq!((drops.get(), policy), (2, vec!["one", "two"]));
    });
}

#[test]
fn a_child_may_drop_its_own_block() {
    run(async || {
        type Block = Pin<Box<dyn Future<Output = Result<(), Errors<E>>>>>;
        let place: Rc<RefCell<Option<Block>>> = Rc::default();
        let (drops, own) = (Counter::new(), Rc::clone(&place));
        let inside = drops.clone();
        let mut block: Block = Box::pin(nursery(async move |n: &Nursery<E>| {
            holding(n, &inside);
            let guard = inside.guard();
            n.spawn(async move {
                let _guard = guard;
                drop(own.take());
                pending::<Result<(), E>>().await
            });
            pending::<Result<(), E>>().await
        }));
        assert!(poll_with(&mut block, Waker::noop()).is_pending());
        *place.borrow_mut() = Some(block);
        until_async(|| drops.get() == 2).await;
        assert!(place.borrow().is_none());
    });
}

// ----------------------------------------------------------------------------------------------- what else

#[test]
fn a_child_may_spawn_children_and_the_block_waits_for_all() {
    run(async || {
        fn grow(n: &Nursery<E>, depth: u32, ends: &Counter) {
            for _ in 0..2 {
                let (more, ends) = (n.clone(), ends.clone());
                n.spawn(async move {
                    yield_now().await;
                    if depth > 1 {
                        grow(&more, depth - 1, &ends);
                    }
                    ends.up();
                    Ok(())
                });
            }
        }
        let ends = Counter::new();
        nursery(async |n| {
            grow(n, 10, &ends);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(ends.get(), (1 << 11) - 2);
    });
}

#[test]
fn start_gives_what_the_child_reports_and_the_child_runs_on() {
    run(async || {
        let (go, gone) = async_channel::bounded::<()>(1);
        let ended = Counter::new();
        let inside = ended.clone();
        nursery(async move |n: &Nursery<E>| {
            let started = n.start(async move |started: Started<u16>| {
                yield_now().await;
                started.send(80);
                gone.recv().await.unwrap();
                inside.up();
                Ok(())
            });
            assert_eq!(started.await, Ok(80));
            assert_eq!((n.len(), ended.get()), (1, 0));
            go.send(()).await.unwrap();
            Ok(ended)
        })
        .await
        .map(|ended| assert_eq!(ended.get(), 1))
        .unwrap();
    });
}

#[test]
fn start_ends_with_its_child_though_its_started_lives_elsewhere() {
    run(async || {
        let place = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&place);
        let ended = nursery(async |n: &Nursery<E>| {
            let inside = Rc::clone(&kept);
            let child = async move |started: Started<()>| {
                inside.borrow_mut().push(started);
                yield_now().await;
                Ok(())
            };
            assert_eq!(n.start(child).await, Err(NotStarted));
            // What it has sent before its end counts.
            let inside = Rc::clone(&kept);
            let child = async move |started: Started<u8>| {
                let started = Rc::new(RefCell::new(Some(started)));
                started.take().unwrap().send(5);
                inside.borrow_mut().clear();
                Ok(())
            };
            assert_eq!(n.start(child).await, Ok(5));
            let inside = Rc::clone(&kept);
            let child = async move |started: Started<()>| {
                inside.borrow_mut().push(started);
                pending().await
            };
            let start = n.start::<(), (), _>(child);
            let stop = n.clone();
            drop(spawn(async move { stop.cancel() }));
            assert_eq!(start.await, Err(NotStarted));
            Ok(())
        });
        assert_eq!(ended.await, Ok(()));
    });
}

#[test]
fn a_child_that_cancelled_its_own_nursery_is_not_counted_after_its_poll() {
    run(async || {
        let seen = Rc::new(Cell::new(None));
        let ended = nursery(async |n: &Nursery<E>| {
            let (own, outside) = (n.clone(), n.clone());
            n.spawn(async move {
                own.cancel();
                pending::<Result<(), E>>().await
            });
            let see = Rc::clone(&seen);
            // It is polled after the child and before the parent looks.
            drop(spawn(async move { see.set(Some(outside.len())) }));
            until_async(|| seen.get().is_some()).await;
            Ok(())
        });
        assert_eq!(ended.await, Ok(()));
        assert_eq!(seen.get(), Some(0));
    });
}

#[test]
fn start_of_a_child_that_never_reports_is_an_error() {
    run(async || {
        let ended = nursery(async |n: &Nursery<E>| {
            assert_eq!(n.start(async |_: Started<()>| Ok(())).await, Err(NotStarted));
            // It lives on, but has thrown away what it could report with.
            let silent = async |started: Started<()>| {
                drop(started);
                yield_now().await;
                yield_now().await;
                Ok(())
            };
            assert_eq!(n.start(silent).await, Err(NotStarted));
            Ok(n.len())
        });
        assert_eq!(ended.await, Ok(1));
        let after = Counter::new();
        let failed = nursery(async |n: &Nursery<E>| {
            let _ = n.start(async |_: Started<()>| Err::<(), E>("no port")).await;
            after.up(); // an error of the child ends the block
            Ok(())
        });
        assert_eq!(list(failed.await.unwrap_err()), ["no port"]);
        assert_eq!(after.get(), 0);
    });
}

#[test]
fn a_start_that_is_dropped_stops_the_child_unless_it_has_reported() {
    run(async || {
        let drops = Counter::new();
        nursery(async |n: &Nursery<E>| {
            let guard = drops.guard();
            let start = n.start(async move |started: Started<()>| {
                let _both = (started, guard);
                pending::<Result<(), E>>().await
            });
            assert!(timeout(Duration::from_millis(1), start).await.is_err());
            assert_eq!((drops.get(), n.len()), (1, 0));
            let guard = drops.guard();
            let start = n.start(async move |started: Started<()>| {
                let _guard = guard;
                started.send(());
                pending::<Result<(), E>>().await
            });
            start.await.unwrap();
            yield_now().await;
            assert_eq!((drops.get(), n.len()), (1, 1));
            n.cancel();
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_child_that_ends_well_does_not_wake_the_parent_while_the_body_runs() {
    run(async || {
        let (counts, waker) = CountingWaker::new();
        let inner = Rc::new(Cell::new(None));
        let place = Rc::clone(&inner);
        let mut block = Box::pin(nursery(async move |n: &Nursery<E>| {
            place.set(Some(n.clone()));
            pending::<Result<(), E>>().await
        }));
        assert!(poll_with(&mut block, &waker).is_pending());
        let n = inner.take().unwrap();
        for _ in 0..1000 {
            n.spawn(async { Ok(()) }).await.unwrap();
        }
        assert_eq!((counts.wakes(), n.len()), (0, 0));
        n.spawn(async { Err::<(), _>("now") });
        until_async(|| counts.wakes() == 1).await;
        assert!(poll_with(&mut block, &waker).is_ready());
    });
}

#[test]
fn a_block_in_a_task_that_is_aborted_leaves_no_child() {
    run(async || {
        let drops = Counter::new();
        let inside = drops.clone();
        let task = spawn(nursery(async move |n: &Nursery<E>| {
            let deeper = inside.clone();
            n.spawn(async move {
                let block = nursery(async move |n: &Nursery<E>| {
                    holding(n, &deeper);
                    pending::<Result<(), E>>().await
                });
                block.await.map_err(Errors::into_first)
            });
            holding(n, &inside);
            pending::<Result<(), E>>().await
        }));
        for _ in 0..4 {
            yield_now().await;
        }
        task.abort();
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn the_end_of_the_runtime_ends_the_block() {
    within(10, || {
        let drops = Counter::new();
        let inside = drops.clone();
        runtime::block_on(async move {
            let late = inside.clone();
            drop(spawn(nursery(async move |n: &Nursery<E>| {
                let _guard = inside.guard();
                holding(n, &inside);
                // A drop that spawns while the runtime ends.
                let n2 = n.clone();
                let spawns = on_drop(move || drop(holding(&n2, &late)));
                n.spawn(async move {
                    let _spawns = spawns;
                    pending::<Result<(), E>>().await
                });
                pending::<Result<(), E>>().await
            })));
            for _ in 0..4 {
                yield_now().await;
            }
        });
        assert_eq!(drops.get(), 3);
    });
}

#[test]
fn a_block_can_be_dropped_after_any_poll() {
    run(async || {
        let (made, drops) = (Counter::new(), Counter::new());
        let block = async || {
            let guard = || {
                made.up();
                drops.guard()
            };
            nursery(async |n: &Nursery<E>| {
                let _body = guard();
                for turns in 0..3 {
                    let (guard, more, second) = (guard(), n.clone(), guard());
                    n.spawn(async move {
                        let _guard = guard;
                        for _ in 0..turns {
                            yield_now().await;
                        }
                        more.spawn(async move {
                            let _second = second;
                            sleep(Duration::ZERO).await;
                            Ok(())
                        });
                        Ok(())
                    });
                }
                let guard = guard();
                n.start(async move |started: Started<()>| {
                    let _guard = guard;
                    yield_now().await;
                    started.send(());
                    yield_now().await;
                    Ok(())
                })
                .await
                .unwrap();
                Ok(n.clone())
            })
            .await
        };
        cancel_at_every_poll(block, || assert_eq!(drops.get(), made.get())).await;
    });
}

#[test]
fn a_block_whose_child_fails_can_be_dropped_after_any_poll() {
    run(async || {
        let (made, drops) = (Counter::new(), Counter::new());
        let block = async || {
            let failed = nursery(async |n: &Nursery<E>| {
                for _ in 0..3 {
                    made.up();
                    holding(n, &drops);
                }
                n.spawn(async {
                    yield_now().await;
                    Err::<(), E>("child")
                });
                pending::<Result<(), E>>().await
            });
            assert_eq!(list(failed.await.unwrap_err()), ["child"]);
        };
        cancel_at_every_poll(block, || assert_eq!(drops.get(), made.get())).await;
    });
}

#[test]
fn a_nursery_that_has_seen_a_hundred_thousand_children_holds_no_more_than_before() {
    in_child_process(|| {
        runtime::block_on(async {
            nursery(async |n: &Nursery<E>| {
                let round = async || {
                    for _ in 0..2000 {
                        // Ten at a time, of which nobody asks for a value, and one that is asked.
                        for _ in 0..9 {
                            n.spawn(async { Ok([0_u8; 64]) });
                        }
                        n.spawn(async { Ok(()) }).await.unwrap();
                        // Stopped before its start is over.
                        drop(n.start(async |_: Started<()>| Ok(())));
                    }
                };
                let grown = growth(round).await;
                assert!(grown <= 0, "{grown} bytes");
                Ok(())
            })
            .await
            .unwrap();
        });
    });
}

#[test]
fn a_block_gives_all_its_memory_back() {
    in_child_process(|| {
        runtime::block_on(async {
            let round = async || {
                for way in 0..400 {
                    let drops = Counter::new();
                    let block = nursery(async |n: &Nursery<E>| {
                        let own = n.clone(); // a child that holds its nursery
                        n.spawn(async move {
                            let _own = own;
                            pending::<Result<(), E>>().await
                        });
                        holding(n, &drops);
                        yield_now().await;
                        match way % 4 {
                            0 => n.cancel(),
                            1 => return Err("error"),
                            2 => drop(n.spawn(async { Err::<(), E>("error") })),
                            _ => {}
                        }
                        yield_now().await;
                        if way % 4 == 0 { Ok(()) } else { pending::<Result<(), E>>().await }
                    });
                    match way % 4 {
                        3 => assert!(timeout(Duration::ZERO, block).await.is_err()),
                        2 | 1 => assert!(block.await.is_err()),
                        _ => block.await.unwrap(),
                    }
                    assert_eq!(drops.get(), 1);
                }
            };
            let grown = growth(round).await;
            assert!(grown <= 0, "{grown} bytes");
        });
    });
}

#[test]
fn a_start_that_is_dropped_after_the_report_leaves_the_child() {
    run(async || {
        nursery(async |n: &Nursery<std::io::Error>| {
            let mut start = Box::pin(n.start(async |started: Started<u8>| {
                started.send(1);
                pending::<Result<(), std::io::Error>>().await
            }));
            assert!(
                start
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            yield_now().await; // the child has reported
            drop(start);
            let left = n.len();
            n.cancel();
            assert_eq!(left, 1);
            Ok(())
        })
        .await
        .unwrap();
    });
}
