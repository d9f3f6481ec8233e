//! How does a thread hand something over without ever holding a lock?
//!
//! By one compare-and-swap: a [`Stack`] is a list whose head any thread may replace by a node that points to the old one,
//! and whose whole content its taker exchanges for nothing. (Treiber's stack, IBM 1986. Its trouble, a head that was
//! taken and came back in between, needs a taker of single nodes; here all are taken or none.)
//!
//! Why no lock: a thread that the scheduler has put behind all others (a job that took too long, outer/pool) may be
//! stopped at any instruction and for long. If it held a lock then, whoever wants the lock would wait as long. Here it
//! can be stopped anywhere: what it has not handed over yet is not there, and nobody waits for it.
//!
//! A stack can be closed, for good: what is pushed then comes back.
//!
//! Comes from: run_queue.rs (the inbox), outer/pool (the wakers of a result). Goes to: nowhere.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// A list that any thread may push to, and whose content is taken at once.
pub(crate) struct Stack<T> {
    /// The youngest node; null: empty; `closed()`: closed.
    head: AtomicPtr<Node<T>>,
}

struct Node<T> {
    value: T,
    /// The next older one, as in `head`.
    next: *mut Node<T>,
}

// SAFETY: a stack hands values from thread to thread and never lets two of them see one: a node belongs to its pusher
// until the exchange that publishes it, and after the exchange that takes it to the taker.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above; a shared stack gives out no references to what it holds.
unsafe impl<T: Send> Sync for Stack<T> {}

/// The head of a closed stack: an address that no node has.
fn closed<T>() -> *mut Node<T> {
    ptr::dangling_mut()
}

impl<T> Stack<T> {
    pub(crate) fn new() -> Self {
        Stack { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a value; gives it back if the stack is closed. Allocates a node.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let node = Box::into_raw(Box::new(Node { value, next: ptr::null_mut() }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                // SAFETY: `node` comes from the box above and has been published to nobody.
                return Err(unsafe { Box::from_raw(node) }.value);
            }
            // SAFETY: as above: it is still ours alone.
            unsafe { (*node).next = head };
            // Release: whoever takes the node sees its value, and all that was written before the push.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all there is, the oldest first.
    pub(crate) fn take(&self) -> Taken<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        while !head.is_null() && head != closed() {
            let empty = ptr::null_mut();
            match self.head.compare_exchange_weak(head, empty, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Taken::reversed(head),
                Err(now) => head = now,
            }
        }
        Taken { next: ptr::null_mut() }
    }

    /// From here on a push gives its value back. Takes what is left, the oldest first.
    pub(crate) fn close(&self) -> Taken<T> {
        Taken::reversed(self.head.swap(closed(), Ordering::AcqRel))
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// What was taken: a list that belongs to one thread.
pub(crate) struct Taken<T> {
    next: *mut Node<T>,
}

impl<T> Taken<T> {
    /// Turns the list round. `youngest` has just been exchanged out of a head.
    fn reversed(mut youngest: *mut Node<T>) -> Self {
        let mut taken = Taken { next: ptr::null_mut() };
        while !youngest.is_null() && youngest != closed() {
            // SAFETY: the nodes of a list that was taken belong to the taker; each is still allocated.
            let older = std::mem::replace(unsafe { &mut (*youngest).next }, taken.next);
            taken.next = youngest;
            youngest = older;
        }
        taken
    }
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: made by `push` from a box, taken by us, and never looked at again.
        let node = unsafe { Box::from_raw(self.next) };
        self.next = node.next;
        Some(node.value)
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        // One after the other, not by recursion: the list may be long.
        self.for_each(drop);
    }
}
