//! Does what is shielded go on, whoever gives up waiting for it?
//!
//! Comes from: main.rs. Goes to: outer/shield.rs of the runtime.

use std::cell::RefCell;
use std::future::pending;
use std::panic::resume_unwind;
use std::time::Duration;

use runtime::{PanicPolicy, Runtime, shield, spawn, timeout, yield_now};

use crate::support::counters::{Counter, until_async};
use crate::support::{cancel_at_every_poll, run, within};

#[test]
fn a_shield_gives_the_output() {
    run(async || {
        assert_eq!(shield(async { 5 }).await, 5);
        let mut later = shield(async {
            yield_now().await;
            6
        });
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        assert_eq!((&mut later).await, 6);
    });
}

#[test]
fn a_shielded_future_starts_without_being_awaited_and_runs_on_when_the_shield_is_dropped() {
    run(async || {
        let (polls, ends) = (Counter::new(), Counter::new());
        let inside = (polls.clone(), ends.clone());
        let (go, gone) = async_channel::bounded::<()>(1);
        let shielded = shield(async move {
            inside.0.up();
            gone.recv().await.unwrap();
            inside.1.up();
        });
        yield_now().await;
        assert_eq!(polls.get(), 1);
        // Under a timeout, in a task that is aborted.
        let task = spawn(timeout(Duration::from_secs(60), shielded));
        yield_now().await;
        task.abort();
        assert_eq!(ends.get(), 0);
        go.send(()).await.unwrap();
        until_async(|| ends.get() == 1).await;
    });
}

#[test]
fn a_shield_can_be_dropped_after_any_poll_and_the_future_ends_all_the_same() {
    run(async || {
        let (begun, ends) = (Counter::new(), Counter::new());
        let shielded = async || {
            let inside = ends.clone();
            begun.up();
            shield(async move {
                for _ in 0..3 {
                    yield_now().await;
                }
                inside.up();
            })
            .await
        };
        cancel_at_every_poll(shielded, || ()).await;
        until_async(|| ends.get() == begun.get()).await;
    });
}

#[test]
fn a_panic_goes_on_in_whoever_awaits() {
    run(async || {
        let shielded = shield(async { resume_unwind(Box::new("inside")) });
        let error = spawn(shielded).await.unwrap_err();
        assert_eq!(*error.try_into_panic().unwrap().downcast::<&str>().unwrap(), "inside");
    });
}

#[test]
fn a_panic_that_nobody_awaits_goes_to_the_policy() {
    thread_local!(static SEEN: RefCell<Vec<&'static str>> = RefCell::default());
    within(10, || {
        let hook = PanicPolicy::Hook(|_, payload| {
            SEEN.with_borrow_mut(|seen| seen.push(*payload.downcast().unwrap()));
        });
        let rt = Runtime::builder().panic_policy(hook).build().unwrap();
        rt.block_on(async {
            drop(shield(async { resume_unwind(Box::new("unheard")) }));
            until_async(|| SEEN.with_borrow(|seen| !seen.is_empty())).await;
        });
        assert_eq!(SEEN.take(), ["unheard"]);
    });
}

#[test]
fn the_end_of_the_runtime_drops_what_is_shielded_and_says_so() {
    within(10, || {
        let drops = Counter::new();
        let guard = drops.guard();
        let shielded = runtime::block_on(async {
            let shielded = shield(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            yield_now().await;
            shielded
        });
        assert_eq!(drops.get(), 1);
        let error = runtime::block_on(async { spawn(shielded).await }).unwrap_err();
        assert!(error.to_string().contains("its runtime has ended first"), "{error}");
    });
}
