//! How can a value that only one thread may touch sit inside something that all threads hold?
//!
//! A waker may be cloned, woken and dropped by any thread, and what it points to holds a future that must never leave
//! its thread. [`AtHome`] squares the two: the box travels, the content does not. It remembers the thread that made it,
//! and [`AtHome::get`] gives the content to that thread alone; every other thread gets `None`. So the question "am I at
//! home?", which a wake has to ask anyway, and the proof that the content may be touched, are one and the same branch.
//!
//! The rule: content is made, read and dropped on its own thread. If the last holder is a stranger, the content is
//! leaked rather than dropped abroad; the rooms that use this empty it first (a task dies empty, see task/cell.rs).
//!
//! Threads are told apart by a number of our own, given out once and never again: the address of a thread-local would be
//! cheaper to make but comes back after its thread has ended.
//!
//! Comes from: run_queue.rs, task/cell.rs. Goes to: nowhere.

use std::cell::Cell;
use std::mem::{ManuallyDrop, needs_drop};
use std::sync::atomic::{AtomicU64, Ordering};

/// A value that only the thread that made it can reach.
pub(crate) struct AtHome<T> {
    /// The number of the thread that made `value`. Never changes.
    home: u64,
    /// Touched on that thread only.
    value: ManuallyDrop<T>,
}

// SAFETY: a reference to an `AtHome` lets another thread do two things: `get`, which gives it nothing, and the drop of
// the box, which leaves the content alone. So no thread but the maker ever touches `value`, whatever `T` is.
unsafe impl<T> Sync for AtHome<T> {}
// SAFETY: as above: moving the box moves bytes, and neither `get` nor drop touches the content on a foreign thread.
unsafe impl<T> Send for AtHome<T> {}

impl<T> AtHome<T> {
    /// Keeps `value` for the calling thread.
    pub(crate) fn new(value: T) -> Self {
        AtHome { home: this_thread(), value: ManuallyDrop::new(value) }
    }

    /// The content, if the caller is on its thread.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        (self.home == this_thread()).then_some(&*self.value)
    }
}

impl<T> Drop for AtHome<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() && self.home == this_thread() {
            // SAFETY: `value` is dropped here only, once, and on its own thread; nobody can reach it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

/// The calling thread's number. Works during thread teardown too: the cell has no destructor.
#[inline(always)]
fn this_thread() -> u64 {
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });

    #[cold]
    #[inline(never)]
    fn number_this_thread() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(number);
        number
    }

    match NUMBER.get() {
        0 => number_this_thread(),
        number => number,
    }
}

#[cfg(all(test, not(ground_loom)))]
mod tests {
    use super::AtHome;
    use std::rc::Rc;

    #[test]
    fn strangers_get_nothing_and_drop_nothing() {
        let rc = Rc::new(());
        let at_home = AtHome::new(Rc::clone(&rc));
        assert!(at_home.get().is_some());
        std::thread::spawn(move || {
            assert!(at_home.get().is_none());
            drop(at_home);
        })
        .join()
        .expect("the stranger does not panic");
        assert_eq!(Rc::strong_count(&rc), 2, "dropped abroad: the content is leaked, not touched");
    }

    #[test]
    fn the_own_thread_drops_the_content() {
        let rc = Rc::new(());
        drop(AtHome::new(Rc::clone(&rc)));
        assert_eq!(Rc::strong_count(&rc), 1);
    }
}
