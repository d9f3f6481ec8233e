//! How does a test wait an hour in no time?
//!
//! On a [`TestClock`] time stands still while anything can happen. When nothing can but a timer, it jumps to the next
//! deadline, to the nanosecond.
//!
//! | what could still happen               | so the clock                                        |
//! |---------------------------------------|-----------------------------------------------------|
//! | a task is ready, a letter has come    | stands still: the loop does not ask it              |
//! | the kernel has an event               | stands still: it looks first, without sleeping      |
//! | a job is out, a stranger holds time   | stands still, and the loop sleeps until they ring   |
//! | nothing but a timer                   | jumps                                               |
//!
//! What it cannot foresee: what another process is about to send, or a thread that holds nothing. Tests of this kind
//! keep to one process, and best to streams in memory.
//!
//! The handshake with those who hold: they post their letter, then end the hold, then ring. The loop asks for holds
//! before it looks for letters. So a hold that is seen to have ended has left its letter in sight.
//!
//! Comes from: tests, by `Builder::time`. Goes to: clock.rs and executor.rs, which ask it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{Handle, Time};

/// How long the loop sleeps, in the system's time, while somebody holds the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A time for tests that jumps to the next deadline when nothing else can happen.
///
/// ```
/// use std::time::Duration;
/// let rt = runtime::Runtime::builder().time(runtime::testing::TestClock::new()).build()?;
/// rt.block_on(async {
///     let start = runtime::now();
///     runtime::sleep(Duration::from_secs(3600)).await;
///     assert_eq!(runtime::now() - start, Duration::from_secs(3600));
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TestClock {
    now: Cell<Instant>,
    /// Whether the sleep that is about to be had is a look, after which it may jump.
    looks: Cell<bool>,
    holds: Arc<AtomicUsize>,
}

impl TestClock {
    /// A clock that shows the system's time, and stands.
    pub fn new() -> Rc<Self> {
        let now = Cell::new(Instant::now());
        Rc::new(TestClock { now, looks: Cell::new(false), holds: Arc::default() })
    }
}

impl Time for TestClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn may_sleep(&self, next: Option<Duration>) -> Option<Duration> {
        let held = self.holds.load(Ordering::Acquire) > 0;
        self.looks.set(!held);
        if held {
            // What is out may be a job behind others, and the timer by which its awaiter looks at the pool stands still.
            crate::pool_stats();
            return Some(LOOK_AGAIN);
        }
        next.map(|_| Duration::ZERO)
    }

    fn idle(&self, next: Duration) {
        if self.looks.get() {
            self.now.set(self.now.get() + next);
        }
    }

    fn hold(&self) -> Box<dyn Send> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Box::new(Hold { holds: Arc::clone(&self.holds), home: Handle::current() })
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClock").field("now", &self.now.get()).finish_non_exhaustive()
    }
}

/// Somebody is going to post.
struct Hold {
    holds: Arc<AtomicUsize>,
    home: Handle,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.fetch_sub(1, Ordering::Release);
        // The loop may sleep without a limit: it has to ask again. If it has ended, nobody asks any more.
        let _ = self.home.post(|| ());
    }
}
