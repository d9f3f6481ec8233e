//! Has this process been split by fork() since the runtime was made?
//!
//! A child of fork() shares the parent's epoll: what it adds, the parent sees, and an event that one takes the other
//! misses. Nothing good can come of it, so a runtime refuses to turn in a child, with words. Asking for the process id
//! at every turn would be a system call; instead the C library counts for us: a handler that runs in each child adds
//! one to a number, and a poller compares that number with the one it was born under.
//!
//! Comes from: the backends. Goes to: the error that `wait` returns.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_the_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How often this process, or a forebear of it, was forked since somebody first asked.
pub(crate) fn generation() -> u32 {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed in a forked child. A failure (no memory) means
        // that forks go unnoticed, which is the state of things in other runtimes.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
    FORKS.load(Ordering::Relaxed)
}

/// The same, for a signal handler: an atomic is all it touches.
pub(super) fn counted() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// An error if a fork lies between `born` and now.
#[inline]
pub(super) fn check(born: u32) -> io::Result<()> {
    if FORKS.load(Ordering::Relaxed) == born {
        return Ok(());
    }
    Err(io::Error::other(
        "this runtime was made before fork() and would share its kernel queue with the parent process: \
         make a new Runtime in the child, or fork before the first one is made",
    ))
}
