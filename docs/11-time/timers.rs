//! How would one keep timers, if one had an evening?
//!
//! In a heap, the earliest deadline on top. A heap cannot take an entry out of its middle, so who gives up only says so: the entry
//! stays until it comes to the top, and is thrown away there.
//!
//! Comes from: heap.rs, and figures/ch11_time.rs. Goes to: the standard library's heap.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

thread_local! {
    /// How often two deadlines have been compared.
    pub(crate) static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// Values, each with a deadline. Time is a number here, so that it is the same in every run.
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Entry>,
    values: HashMap<u64, T>,
    count: u64,
}

/// The first to fall due is the greatest.
#[derive(PartialEq, Eq)]
struct Entry {
    deadline: u64,
    number: u64,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Timers { heap: BinaryHeap::new(), values: HashMap::new(), count: 0 }
    }

    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> u64 {
        self.count += 1;
        self.values.insert(self.count, value);
        self.heap.push(Entry { deadline, number: self.count });
        self.count
    }

    /// Takes the value out, and leaves the entry where it is.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        self.values.remove(&number)
    }

    /// The next value that is due. Entries without a value are thrown away on the way.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<T> {
        while self.heap.peek().is_some_and(|entry| entry.deadline <= now) {
            let entry = self.heap.pop()?;
            if let Some(value) = self.values.remove(&entry.number) {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn entries(&self) -> usize {
        self.heap.len()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        (other.deadline, other.number).cmp(&(self.deadline, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
