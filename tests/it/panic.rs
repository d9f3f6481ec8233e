//! Where does a panic go?
//!
//! To the handle of the task it happened in; if nobody holds that any more, to the runtime's policy, which counts it. It
//! never takes the loop down, and it is never lost. Only a panic of the root future goes on through `block_on`.
//!
//! Panics here are started by `resume_unwind`, which does not print: a test's output shows only what went wrong.
//!
//! Comes from: main.rs. Goes to: task/, outer/remote.rs of the runtime.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::task::Poll;

use runtime::{Handle, JoinError, JoinHandle, PanicPolicy, Runtime, TaskId, spawn, yield_now};

use crate::support::counters::{Counter, on_drop, until_async};
use crate::support::{child_process, run, within};

fn throw(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().unwrap_or("(other)")
}

/// A runtime whose unobserved panics go to `seen`, which is filled by one test alone.
fn hooked(hook: fn(TaskId, Box<dyn Any + Send>)) -> Runtime {
    Runtime::builder().panic_policy(PanicPolicy::Hook(hook)).build().unwrap()
}

#[test]
fn the_payload_comes_through_the_handle() {
    run(async || {
        let task = spawn(async {
            yield_now().await;
            throw("of the task")
        });
        let error: JoinError = match task.await {
            Err(error) => error,
            Ok(()) => unreachable!("it panics"),
        };
        assert!(error.is_panic() && !error.is_cancelled());
        assert!(error.to_string().contains("of the task"), "{error}");
        assert_eq!(text(&*error.try_into_panic().unwrap()), "of the task");
        let cancelled = spawn(std::future::pending::<()>());
        cancelled.abort();
        assert!(cancelled.await.unwrap_err().try_into_panic().is_err());
    });
}

#[test]
fn no_panic_is_swallowed() {
    static SEEN: Mutex<Vec<(TaskId, &'static str)>> = Mutex::new(Vec::new());
    within(10, || {
        let rt = hooked(|id, payload| {
            let text = *payload.downcast_ref::<&str>().unwrap();
            SEEN.lock().unwrap().push((id, text));
        });
        let id = rt.block_on(async {
            let detached = spawn(async { throw("detached") });
            let id = detached.id();
            drop::<JoinHandle<()>>(detached);
            let dropped: JoinHandle<()> = spawn(async { throw("dropped after the end") });
            until_async(|| dropped.is_finished()).await;
            drop(dropped);
            let in_drop = spawn(async {
                let _guard = on_drop(|| throw("in the drop of the future"));
                std::future::pending::<()>().await;
            });
            yield_now().await;
            in_drop.abort();
            drop(in_drop);
            let output = spawn(async { on_drop(|| throw("in the drop of the output")) });
            until_async(|| output.is_finished()).await;
            drop(output);
            Handle::current().post(|| throw("posted")).unwrap();
            yield_now().await;
            until_async(|| SEEN.lock().unwrap().len() == 5).await;
            id
        });
        assert_eq!(rt.unobserved_panics(), 5);
        let seen = SEEN.lock().unwrap();
        let texts: Vec<_> = seen.iter().map(|(_, text)| *text).collect();
        for text in [
            "detached",
            "dropped after the end",
            "in the drop of the future",
            "in the drop of the output",
            "posted",
        ] {
            assert!(texts.contains(&text), "{text} is not in {texts:?}");
        }
        assert_eq!(seen.iter().find(|(_, text)| *text == "detached").unwrap().0, id);
    });
}

#[test]
fn a_panic_leaves_the_loop_and_the_others_running() {
    run(async || {
        let ended = Counter::new();
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let ended = ended.clone();
                spawn(async move {
                    yield_now().await;
                    if n % 3 == 0 {
                        throw("every third");
                    }
                    ended.up();
                })
            })
            .collect();
        let mut panics = 0;
        for task in tasks {
            panics += usize::from(task.await.is_err());
        }
        assert_eq!((panics, ended.get()), (34, 66));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_finished_future_is_the_task_s() {
    run(async || {
        let guard = on_drop(|| throw("in the drop"));
        let mut held = Some(guard);
        let task = spawn(poll_fn(move |_| {
            let _ = &mut held;
            Poll::Ready(5)
        }));
        let error = task.await.unwrap_err();
        assert_eq!(text(&*error.try_into_panic().unwrap()), "in the drop");
    });
}

#[test]
fn a_panic_in_the_drop_of_a_future_and_another_in_that_of_its_output_leave_the_loop_running() {
    run(async || {
        let mut held = Some(on_drop(|| throw("in the drop of the future")));
        let task = spawn(poll_fn(move |_| {
            let _ = &mut held;
            Poll::Ready(on_drop(|| throw("in the drop of the output")))
        }));
        yield_now().await;
        assert!(task.await.is_err());
    });
}

#[test]
fn a_panic_in_the_drop_of_an_aborted_future_is_told_to_whoever_awaits() {
    run(async || {
        let task = spawn(async {
            let _guard = on_drop(|| throw("in the drop"));
            std::future::pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        let error = task.await.unwrap_err();
        assert_eq!(text(&*error.try_into_panic().unwrap()), "in the drop");
    });
}

#[test]
fn a_payload_whose_drop_panics_leaves_the_loop_running() {
    run(async || {
        let nested = || Box::new(on_drop(|| throw("of the payload"))) as Box<dyn Any + Send>;
        let detached: JoinHandle<()> = spawn(async move { resume_unwind(nested()) });
        drop(detached);
        yield_now().await;
        yield_now().await;
        assert_eq!(spawn(async { 5 }).await.unwrap(), 5);
    });
}

#[test]
fn a_panic_of_the_root_goes_through_block_on_and_the_tasks_are_dropped() {
    within(10, || {
        let drops = Counter::new();
        let guard = drops.guard();
        let root = AssertUnwindSafe(|| {
            runtime::block_on(async {
                let _task = spawn(async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                });
                yield_now().await;
                throw("of the root")
            })
        });
        let payload = catch_unwind(root).map(|(): ()| ()).unwrap_err();
        assert_eq!(text(&*payload), "of the root");
        assert_eq!(drops.get(), 1);
        runtime::block_on(async { spawn(async {}).await.unwrap() });
    });
}

#[test]
fn a_runtime_can_be_used_again_after_its_root_has_panicked() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let task = rt.spawn(async {
            yield_now().await;
            5
        });
        let root = AssertUnwindSafe(|| rt.block_on(async { throw("of the root") }));
        catch_unwind(root).map(|(): ()| ()).unwrap_err();
        assert!(Handle::try_current().is_none(), "it has been left");
        assert_eq!(rt.block_on(task).unwrap(), 5);
    });
}

#[test]
fn panics_in_drops_while_the_root_unwinds_do_not_abort_the_process() {
    within(10, || {
        let drops = Counter::new();
        let inside = drops.clone();
        let root = AssertUnwindSafe(|| {
            runtime::block_on(async {
                for _ in 0..3 {
                    let drops = inside.clone();
                    drop(spawn(async move {
                        let _guard = on_drop(move || {
                            drops.up();
                            throw("in the drop")
                        });
                        std::future::pending::<()>().await;
                    }));
                }
                yield_now().await;
                throw("of the root")
            })
        });
        let payload = catch_unwind(root).map(|(): ()| ()).unwrap_err();
        assert_eq!((text(&*payload), drops.get()), ("of the root", 3));
    });
}

#[test]
fn panics_at_the_end_of_a_runtime_are_counted_too() {
    static SEEN: Counted = Counted(Mutex::new(0));
    struct Counted(Mutex<usize>);
    within(10, || {
        let rt = hooked(|_, _| *SEEN.0.lock().unwrap() += 1);
        rt.block_on(async {
            for _ in 0..3 {
                drop(spawn(async {
                    let _guard = on_drop(|| throw("in the drop"));
                    std::future::pending::<()>().await;
                }));
            }
            yield_now().await;
        });
        drop(rt);
        assert_eq!(*SEEN.0.lock().unwrap(), 3);
    });
}

#[test]
fn a_handle_dropped_between_two_block_ons_gives_its_panic_to_its_own_runtime() {
    static SEEN: Mutex<usize> = Mutex::new(0);
    within(10, || {
        let rt = hooked(|_, _| *SEEN.lock().unwrap() += 1);
        let panicked = || {
            rt.block_on(async {
                let task: JoinHandle<()> = spawn(async { throw("of the task") });
                until_async(|| task.is_finished()).await;
                task
            })
        };
        drop(panicked());
        assert_eq!((*SEEN.lock().unwrap(), rt.unobserved_panics()), (1, 1));
        let task = panicked();
        let another = Runtime::new().unwrap();
        another.block_on(async move { drop(task) });
        assert_eq!((*SEEN.lock().unwrap(), rt.unobserved_panics()), (2, 2));
        assert_eq!(another.unobserved_panics(), 0);
    });
}

#[test]
fn a_panic_of_a_task_spawned_from_abroad_is_counted_if_nobody_asks_for_it() {
    static SEEN: Mutex<usize> = Mutex::new(0);
    within(10, || {
        let rt = hooked(|_, _| *SEEN.lock().unwrap() += 1);
        let handle = rt.handle();
        let spawned = std::thread::spawn(move || {
            let task = handle.spawn(|| async { throw("of the task") });
            drop::<runtime::RemoteHandle<()>>(task.unwrap());
        });
        spawned.join().unwrap();
        rt.block_on(async {
            until_async(|| *SEEN.lock().unwrap() == 1).await;
        });
        assert_eq!((*SEEN.lock().unwrap(), rt.unobserved_panics()), (1, 1));
    });
}

#[test]
fn a_panic_that_comes_from_making_a_future_for_abroad_is_told_there() {
    within(10, || {
        let rt = Runtime::new().unwrap();
        let handle = rt.handle();
        fn make() -> std::future::Ready<()> {
            throw("of the making")
        }
        let task = handle.spawn(make).unwrap();
        let error = rt.block_on(task).unwrap_err();
        assert!(error.is_panic() || rt.unobserved_panics() == 1, "{error}");
    });
}

#[test]
fn the_policy_can_end_the_process() {
    let (output, text) = child_process(|| {
        let rt = Runtime::builder().panic_policy(PanicPolicy::Abort).build().unwrap();
        rt.block_on(async {
            drop::<JoinHandle<()>>(spawn(async { throw("of the task") }));
            std::future::pending::<()>().await
        });
    });
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(libc::SIGABRT), "{text}");
}

#[test]
fn the_usual_policy_says_a_line_with_the_task_s_words() {
    let text = crate::support::in_child_process(|| {
        runtime::block_on(async {
            drop::<JoinHandle<()>>(spawn(async { throw("these very words") }));
            yield_now().await;
        });
    });
    let lines = text.lines().filter(|line| line.contains("these very words"));
    assert_eq!(lines.count(), 1, "{text}");
}

#[test]
fn a_hook_may_use_the_runtime() {
    thread_local!(static HANDLES: RefCell<Vec<JoinHandle<i32>>> = RefCell::default());
    within(10, || {
        let rt = hooked(|_, _| HANDLES.with_borrow_mut(|all| all.push(spawn(async { 5 }))));
        rt.block_on(async {
            drop::<JoinHandle<()>>(spawn(async { throw("of the task") }));
            yield_now().await;
            let task = HANDLES.with_borrow_mut(Vec::pop).unwrap();
            assert_eq!(task.await.unwrap(), 5);
        });
    });
}
