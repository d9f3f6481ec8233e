//! How many times was the heap asked, and how many bytes are held?
//!
//! The test binary's global allocator is the system's with two numbers in front of it. They move only between [`start`]
//! and the end of the process, so a test that does not count pays one load of a flag that nobody writes.
//!
//! The rule: the numbers belong to the whole process. A test that reads them runs in a process of its own with nobody
//! beside it (costs.rs starts such a process for each of its tests); elsewhere they would count the neighbours too. The
//! one thread-local has neither a first use nor a destructor, so it does not allocate in the middle of an allocation.
//!
//! What it does not do: blame. It does not say who allocated; for that run the child under heaptrack or gdb.
//!
//! Comes from: costs.rs, and whoever else counts memory. Goes to: the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static HEAP: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// What the heap was asked for while something ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heap {
    /// Blocks asked for; one that was resized counts again.
    pub(crate) allocations: u64,
    /// Bytes held at the end, less those held at the start.
    pub(crate) bytes: i64,
}

/// Begins to count, for good. Blocks from before that are freed later make `bytes` go below zero.
pub(crate) fn start() {
    ON.store(true, Relaxed);
}

/// What has been counted since [`start`].
pub(crate) fn now() -> Heap {
    Heap { allocations: ALLOCATIONS.load(Relaxed), bytes: BYTES.load(Relaxed) }
}

/// The most bytes that were held at one time since [`start`].
pub(crate) fn peak() -> i64 {
    PEAK.load(Relaxed)
}

impl Heap {
    /// What has been counted since this was taken.
    pub(crate) fn until_now(self) -> Heap {
        let now = now();
        Heap { allocations: now.allocations - self.allocations, bytes: now.bytes - self.bytes }
    }
}

thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });

/// Whether the calling thread was interrupted while it was in the allocator, where it may hold the allocator's locks. For
/// signal handlers.
pub(crate) fn is_allocating() -> bool {
    INSIDE.get()
}

/// Calls the system's allocator.
fn inside<R>(call: impl FnOnce() -> R) -> R {
    INSIDE.set(true);
    let result = call();
    INSIDE.set(false);
    result
}

struct Counting;

fn count(allocations: u64, bytes: i64) {
    if ON.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        let held = BYTES.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(held, Relaxed);
    }
}

// SAFETY: every block comes from the system's allocator and goes back to it with the layout it was asked for; counting
// touches two atomics and no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        inside(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as above.
        inside(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as above; `block` came from System, as all blocks here do.
        inside(|| unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as in `realloc`.
        inside(|| unsafe { System.dealloc(block, layout) })
    }
}

/// Runs `round` once to warm up, then some times more, and gives by how many bytes the heap has grown in the best of them.
pub(crate) async fn growth(round: impl AsyncFn()) -> i64 {
    round().await;
    start();
    let mut least = i64::MAX;
    for _ in 0..4 {
        let before = now();
        round().await;
        least = least.min(before.until_now().bytes);
    }
    least
}
