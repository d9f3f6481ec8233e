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
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == closed() {
                // SAFETY: `node` comes from the box above and has been published to nobody.
                return Err(unsafe { Box::from_raw(node) }.value);
            }
            // SAFETY: as above: it is still ours alone.
            unsafe { (*node).next = head };
            // Release: whoever takes the node sees its value, and all that was written before the push.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Acquire)
            {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all there is, and adds it to `values`, the oldest first.
    pub(crate) fn take(&self, values: &mut Vec<T>) {
        let mut head = self.head.load(Ordering::Relaxed);
        while !head.is_null() && head != closed() {
            let null = ptr::null_mut();
            match self.head.compare_exchange_weak(head, null, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return unlink(head, values),
                Err(now) => head = now,
            }
        }
    }

    /// From here on a push gives its value back. Takes what is left, the oldest first.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut values = Vec::new();
        unlink(self.head.swap(closed(), Ordering::AcqRel), &mut values);
        values
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Frees the nodes of a list that has just been exchanged out of a head, and keeps the values.
fn unlink<T>(mut node: *mut Node<T>, values: &mut Vec<T>) {
    let kept = values.len();
    while !node.is_null() && node != closed() {
        // SAFETY: a node is made by `push` from a box, and belongs to the one who took it out of the head, to us.
        let taken = unsafe { Box::from_raw(node) };
        values.push(taken.value);
        node = taken.next;
    }
    values[kept..].reverse();
}

#[cfg(all(test, ground_loom))]
mod model {
    use super::Stack;
    use loom::sync::Arc;
    use loom::thread;

    /// Whatever is pushed is taken once, closed once, or given back; and by each pusher in its order.
    #[test]
    fn model_each_value_comes_out_once() {
        loom::model(|| {
            let stack = Arc::new(Stack::new());
            let pushers: Vec<_> = [[1, 2], [3, 4]]
                .into_iter()
                .map(|values| {
                    let stack = Arc::clone(&stack);
                    thread::spawn(move || values.map(|value| stack.push(value).err()))
                })
                .collect();
            let mut out = Vec::new();
            stack.take(&mut out);
            out.extend(stack.close());
            let place = |value| out.iter().position(|&other| other == value);
            for [first, second] in [[1, 2], [3, 4]] {
                assert!(
                    place(second)
                        .is_none_or(|second| place(first).is_some_and(|first| first < second))
                );
            }
            for pusher in pushers {
                out.extend(pusher.join().unwrap().into_iter().flatten());
            }
            out.sort_unstable();
            assert_eq!(out, [1, 2, 3, 4]);
        });
    }

    /// What pool/mod.rs relies on (`Slot`): who is told that the stack is closed sees what was written before that.
    #[test]
    fn model_a_push_that_comes_back_sees_what_was_written_before_the_close() {
        use crate::sync::{AtomicBool, Ordering};
        loom::model(|| {
            let slot = Arc::new((AtomicBool::new(false), Stack::new()));
            let finisher = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    slot.0.store(true, Ordering::Release);
                    drop(slot.1.close());
                })
            };
            if slot.1.push(1).is_err() {
                assert!(slot.0.load(Ordering::Acquire), "closed, and no result");
            }
            finisher.join().unwrap();
        });
    }
}
