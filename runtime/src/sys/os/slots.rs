//! A registry of waiters without a lock: threads add to it and leave it, and closing it hands all of them out.
//!
//! Invariant: a value that `put` has accepted is handed out by `close`, unless it was taken out before. One word, `closed`,
//! decides that. Both sides change it by read-modify-write, so their accesses to it have one order:
//!
//! ```text
//! put                                              close
//!   1 place the value in the slot                    1 closed = true
//!   2 closed |= false; was it set? take the value    2 walk over all slots, take what is in each
//!     back, and say so
//! ```
//!
//! If 2 of `put` comes before 1 of `close`, the walk sees the slot and what is in it; if it comes after, `put` sees `closed`.
//!
//! Slots are freed with the registry and not before, so a walk needs no protection, and several threads may walk at the
//! same time. A slot that was given back is used again: the free ones form a stack (Treiber's), and popping single nodes
//! is safe since one thread at a time pops. A thread that finds another popping makes a new slot instead of waiting.
//!
//! A thread can be stopped at any instruction here (one behind all others, outer/pool) and holds up no other: at most the
//! one value that it has just taken out waits for it.
//!
//! Cost: 48 bytes for each slot, of which there are as many as were in use at the same time; a node for each value.
//!
//! Comes from: outer/cancel_token.rs. Goes to: stack.rs.

use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use super::Stack;
use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// Places for values that any thread may take, fill and give back. Closed once, for good.
pub(crate) struct Slots<T> {
    /// The head of the list of all slots. The list owns a reference to each.
    newest: AtomicPtr<Slot<T>>,
    /// The head of the stack of free slots. It owns another reference to each.
    free: AtomicPtr<Slot<T>>,
    /// A thread is popping from `free`.
    is_popping: AtomicBool,
    closed: AtomicBool,
    /// Send and Sync as shared slots are.
    owns: PhantomData<Arc<Slot<T>>>,
}

/// One place. Holds one value at most.
pub(crate) struct Slot<T> {
    value: Stack<T>,
    /// The next older one in the list of all; it never changes once the slot is in the list.
    older: AtomicPtr<Slot<T>>,
    next_free: AtomicPtr<Slot<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            newest: AtomicPtr::new(ptr::null_mut()),
            free: AtomicPtr::new(ptr::null_mut()),
            is_popping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            owns: PhantomData,
        }
    }
}

impl<T> Slots<T> {
    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// An empty slot, the caller's until it is given to [`release`](Self::release).
    pub(crate) fn reserve(&self) -> Arc<Slot<T>> {
        self.pop_free().unwrap_or_else(|| self.append())
    }

    /// Puts a value into a slot of this registry in place of the one it has. `false`: the registry is closed, and the value
    /// was dropped or handed out.
    pub(crate) fn put(&self, slot: &Slot<T>, value: T) -> bool {
        let mut dropped = Vec::new(); // at the end: a value's drop is foreign code
        slot.value.take(&mut dropped);
        dropped.extend(slot.value.push(value).err()); // a slot's stack is never closed
        let is_open = !self.closed.fetch_or(false, Ordering::AcqRel);
        if !is_open {
            slot.value.take(&mut dropped);
        }
        is_open
    }

    /// Gives a slot of this registry back, and drops what is in it.
    pub(crate) fn release(&self, slot: Arc<Slot<T>>) {
        let mut dropped = Vec::new();
        slot.value.take(&mut dropped);
        let slot = Arc::into_raw(slot).cast_mut();
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            // SAFETY: the reference that `slot` stands for is ours until the exchange below.
            unsafe { &*slot }.next_free.store(head, Ordering::Relaxed);
            // Release: the thread that pops it sees `next_free` and the empty stack.
            match self.free.compare_exchange_weak(head, slot, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// From here on [`put`](Self::put) refuses. Gives all slots, the oldest first, for the caller to [`take`](Slot::take) what
    /// is in them, one by one: what it has not come to yet, another thread that closes can hand out meanwhile.
    pub(crate) fn close(&self) -> Vec<Arc<Slot<T>>> {
        self.closed.swap(true, Ordering::AcqRel);
        let mut slots = Vec::new();
        let mut slot = self.newest.load(Ordering::Acquire).cast_const();
        while !slot.is_null() {
            // SAFETY: the list owns a reference to each of its slots as long as `self` lives.
            unsafe { Arc::increment_strong_count(slot) };
            // SAFETY: this is the reference that has just been counted.
            let listed = unsafe { Arc::from_raw(slot) };
            slot = listed.older.load(Ordering::Relaxed);
            slots.push(listed);
        }
        slots.reverse();
        slots
    }

    fn append(&self) -> Arc<Slot<T>> {
        let mut newest = self.newest.load(Ordering::Acquire);
        let slot = Arc::new(Slot {
            value: Stack::new(),
            older: AtomicPtr::new(newest),
            next_free: AtomicPtr::new(ptr::null_mut()),
        });
        let listed = Arc::into_raw(Arc::clone(&slot)).cast_mut();
        loop {
            match self.newest.compare_exchange_weak(
                newest,
                listed,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return slot,
                Err(now) => newest = now,
            }
            slot.older.store(newest, Ordering::Relaxed);
        }
    }

    fn pop_free(&self) -> Option<Arc<Slot<T>>> {
        let is_empty = self.free.load(Ordering::Relaxed).is_null();
        if is_empty || self.is_popping.swap(true, Ordering::Acquire) {
            return None;
        }
        let mut head = self.free.load(Ordering::Acquire);
        while !head.is_null() {
            // SAFETY: it is in the stack, which owns a reference to it; this thread alone takes slots out.
            let next = unsafe { &*head }.next_free.load(Ordering::Relaxed);
            // If the head is the same as above, it has been in the stack all the time, and so `next` is what follows it.
            match self.free.compare_exchange_weak(head, next, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.is_popping.store(false, Ordering::Release);
        // SAFETY: the reference that the stack had to this slot is ours now.
        (!head.is_null()).then(|| unsafe { Arc::from_raw(head) })
    }
}

impl<T> Slot<T> {
    /// Takes the value out, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let mut values = Vec::new();
        self.value.take(&mut values);
        values.pop()
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        while self.pop_free().is_some() {}
        let mut slot = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        while !slot.is_null() {
            // SAFETY: this is the reference that the list owns; with the list it goes.
            let listed = unsafe { Arc::from_raw(slot) };
            slot = listed.older.load(Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, ground_loom))]
mod model {
    use super::Slots;
    use loom::sync::Arc;
    use loom::thread;

    /// What is accepted comes out, once; what is refused, or left before, does not have to.
    #[test]
    fn model_what_was_put_before_the_close_is_handed_out() {
        loom::model(|| {
            let slots = Arc::new(Slots::default());
            let putter = {
                let slots = Arc::clone(&slots);
                thread::spawn(move || slots.put(&slots.reserve(), 1))
            };
            let closed = slots.close();
            let mut out: Vec<i32> = closed.iter().filter_map(|slot| slot.take()).collect();
            if putter.join().unwrap() {
                // It was put before the close, so the walk has seen it.
                assert_eq!(out, [1]);
            }
            out.extend(slots.close().iter().filter_map(|slot| slot.take()));
            assert!(out.len() <= 1);
        });
    }

    /// Two threads never get the same slot, whatever a third gives back meanwhile.
    #[test]
    fn model_a_slot_has_one_holder() {
        loom::model(|| {
            let slots = Arc::new(Slots::<u32>::default());
            let (one, other) = (slots.reserve(), slots.reserve());
            slots.release(one);
            let taker = {
                let slots = Arc::clone(&slots);
                thread::spawn(move || {
                    let mine = slots.reserve();
                    slots.release(mine);
                    slots.reserve()
                })
            };
            slots.release(other);
            let (here, there) = (slots.reserve(), taker.join().unwrap());
            assert!(!std::sync::Arc::ptr_eq(&here, &there));
        });
    }
}
