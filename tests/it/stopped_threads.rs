//! Can a thread that is stopped at any instruction make the loop wait?
//!
//! The pool puts threads behind all others of the machine. Such a thread may stand still in the middle of anything for as
//! long as others want the cores, so what it shares with a loop must have no lock. Here a thread uses one thing without
//! pause, and is stopped by a signal wherever it is just then; while it stands there, this thread uses the same thing. If
//! the stopped one holds a lock, this one never comes back, and the deadline says which case it was.
//!
//! The allocator's locks are not the project's: a thread that is in the allocator is let go and tried again.
//!
//! Comes from: main.rs. Goes to: what the runtime shares between threads: tokens and remote handles.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Waker;
use std::thread;

use runtime::{CancelToken, Runtime, yield_now};

use crate::counting::is_allocating;
use crate::support::counters::{CountingWaker, poll_with, until};
use crate::support::in_child_process;

/// How often the thread is stopped, for each case.
const STOPS: usize = 400;

static STOPPED: AtomicBool = AtomicBool::new(false);
static MAY_GO: AtomicBool = AtomicBool::new(false);
static MISSED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn stop(_: libc::c_int) {
    if is_allocating() {
        MISSED.fetch_add(1, SeqCst);
        return;
    }
    STOPPED.store(true, SeqCst);
    while !MAY_GO.load(SeqCst) {
        // SAFETY: it takes no memory, and a signal handler may call it.
        unsafe { libc::sched_yield() };
    }
    STOPPED.store(false, SeqCst);
}

/// Stops a thread that calls `there` without pause at random places, and calls `here` meanwhile.
fn stopped_anywhere(case: &str, mut there: impl FnMut() + Send + 'static, mut here: impl FnMut()) {
    println!("{case}");
    let handler = stop as extern "C" fn(libc::c_int);
    // SAFETY: the handler touches atomics, a thread-local without destructor, and sched_yield.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    let (over, id) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_over, tell) = (Arc::clone(&over), Arc::clone(&id));
    let thread = thread::spawn(move || {
        // SAFETY: it takes no memory.
        tell.store(unsafe { libc::pthread_self() } as usize, SeqCst);
        while !is_over.load(SeqCst) {
            there();
        }
    });
    until(|| id.load(SeqCst) != 0);
    for stopped in 0..STOPS {
        loop {
            let missed = MISSED.load(SeqCst);
            // SAFETY: the thread runs until `over` is set below.
            unsafe { libc::pthread_kill(id.load(SeqCst) as libc::pthread_t, libc::SIGUSR2) };
            until(|| STOPPED.load(SeqCst) || MISSED.load(SeqCst) != missed);
            if STOPPED.load(SeqCst) {
                break;
            }
            // Not at the same instruction again.
            (0..stopped % 64).for_each(|n| _ = black_box(n));
        }
        here();
        MAY_GO.store(true, SeqCst);
        until(|| !STOPPED.load(SeqCst));
        MAY_GO.store(false, SeqCst);
    }
    over.store(true, SeqCst);
    thread.join().unwrap();
}

#[test]
fn a_thread_stopped_while_it_uses_a_token_holds_up_no_other() {
    in_child_process(|| {
        let token = CancelToken::new();
        let shared = token.clone();
        let (_, waker) = CountingWaker::new();
        let there_waker = waker.clone();
        let use_it = |token: &CancelToken, waker: &Waker| {
            assert!(!token.is_cancelled() && !token.child().is_cancelled());
            let mut wait = token.cancelled();
            assert!(poll_with(&mut wait, waker).is_pending());
            assert!(poll_with(&mut wait, Waker::noop()).is_pending());
        };
        stopped_anywhere(
            "asking, children, waits",
            move || use_it(&shared, &there_waker),
            || use_it(&token, &waker),
        );
    });
}

#[test]
fn a_thread_stopped_while_it_cancels_holds_up_no_other() {
    in_child_process(|| {
        // One for each call there, and then round again: to cancel twice is allowed.
        let tokens: Arc<Vec<_>> = Arc::new((0..1000).map(|_| CancelToken::new()).collect());
        let at = Arc::new(AtomicUsize::new(0));
        let (shared, there) = (Arc::clone(&tokens), Arc::clone(&at));
        let (_, waker) = CountingWaker::new();
        let below = tokens.iter().map(|token| (token.child().child(), token.cancelled()));
        let mut below: Vec<_> = below.collect();
        for (_, wait) in &mut below {
            assert!(poll_with(wait, &waker).is_pending());
        }
        stopped_anywhere(
            "cancelling",
            move || shared[there.fetch_add(1, SeqCst) % shared.len()].cancel(),
            || {
                let at = at.load(SeqCst).saturating_sub(1) % tokens.len();
                tokens[at].cancel();
                let (leaf, wait) = &mut below[at];
                assert!(leaf.is_cancelled(), "cancelled above, and not here");
                assert!(poll_with(wait, &waker).is_ready());
            },
        );
    });
}

#[test]
fn a_thread_stopped_while_it_uses_a_remote_handle_holds_up_no_loop() {
    in_child_process(|| {
        let rt = Runtime::new().unwrap();
        let handle = rt.handle();
        let (_, waker) = CountingWaker::new();
        let mut task = None;
        stopped_anywhere(
            "spawning, polling, aborting, dropping",
            move || {
                let polled = task.get_or_insert_with(|| handle.spawn(|| turns(2)).unwrap());
                // By turns with two wakers, so that each poll has one to put down.
                let mut is_over = poll_with(polled, &waker).is_ready();
                is_over = is_over || poll_with(polled, Waker::noop()).is_ready();
                if is_over {
                    task = None;
                    let dropped = handle.spawn(|| turns(1)).unwrap();
                    dropped.abort();
                }
            },
            || rt.block_on(turns(4)),
        );
    });
}

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}
