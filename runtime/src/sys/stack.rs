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
//! A stack gives its values youngest first. [`Taken`] is the taker's side where the order of the pushes is wanted: it holds
//! the nodes as they came and reverses them a bounded number at a time, since another thread may have pushed millions.
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
        self.take_chain().empty_into(values);
    }

    /// Takes all there is, in constant time, into what has room for it ([`Taken::takes_more`]).
    pub(crate) fn take_unordered(&self, taken: &mut Taken<T>) {
        debug_assert!(taken.takes_more());
        taken.youngest_first = self.take_chain();
    }

    fn take_chain(&self) -> Chain<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        while !head.is_null() && head != closed() {
            let null = ptr::null_mut();
            match self.head.compare_exchange_weak(head, null, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Chain(head),
                Err(now) => head = now,
            }
        }
        Chain::default()
    }

    /// From here on a push gives its value back. Takes what is left, the oldest first.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut values = Vec::new();
        let head = self.head.swap(closed(), Ordering::AcqRel);
        if head != closed() {
            Chain(head).empty_into(&mut values);
        }
        values
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Nodes that belong to one thread, each pointing to the next.
struct Chain<T>(*mut Node<T>);

impl<T> Chain<T> {
    fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    fn pop(&mut self) -> Option<Box<Node<T>>> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: a node is made by `push` from a box. It belongs to the thread that took it out of a stack, which put
        // it into this chain and nowhere else, and the next line takes it out again.
        let node = unsafe { Box::from_raw(self.0) };
        self.0 = node.next;
        Some(node)
    }

    fn push(&mut self, mut node: Box<Node<T>>) {
        node.next = self.0;
        self.0 = Box::into_raw(node);
    }

    /// Frees the nodes and keeps the values, the last one first.
    fn empty_into(mut self, values: &mut Vec<T>) {
        let kept = values.len();
        values.extend(std::iter::from_fn(|| self.pop()).map(|node| node.value));
        values[kept..].reverse();
    }
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Chain(ptr::null_mut())
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// What was taken out of a stack, to be popped in the order in which it was pushed.
pub(crate) struct Taken<T> {
    /// As the stack gave it.
    youngest_first: Chain<T>,
    /// The part of it that is reversed already. Not in use before the rest is: the oldest node is the last to come.
    reversed: Chain<T>,
    oldest_first: Chain<T>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        let (youngest_first, reversed, oldest_first) = Default::default();
        Taken { youngest_first, reversed, oldest_first }
    }
}

impl<T> Taken<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.takes_more() && self.oldest_first.is_empty()
    }

    /// Whether all that was taken before is in order.
    pub(crate) fn takes_more(&self) -> bool {
        self.youngest_first.is_empty() && self.reversed.is_empty()
    }

    /// Puts at most `at_most` more nodes in order.
    pub(crate) fn reverse(&mut self, at_most: usize) {
        for _ in 0..at_most {
            let Some(node) = self.youngest_first.pop() else { break };
            self.reversed.push(node);
        }
        if self.youngest_first.is_empty() && self.oldest_first.is_empty() {
            std::mem::swap(&mut self.reversed, &mut self.oldest_first);
        }
    }

    /// The oldest value, if it is in order yet.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.oldest_first.pop().map(|node| node.value)
    }
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
            let mut taken = super::Taken::default();
            stack.take_unordered(&mut taken);
            let mut out = Vec::new();
            while !taken.is_empty() {
                taken.reverse(1);
                out.extend(taken.pop());
            }
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
