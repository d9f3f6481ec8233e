//! What does Rust say to the talk's callback?
//!
//! That it does not compile. This file is no program: it is there to be refused.
//!
//!     rustc --edition 2024 --crate-type lib docs/07-pool/from_another_thread.rs
//!
//! Comes from: whoever types the talk's callback in Rust. Goes to: the compiler's error.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::thread;

/// The loop's queue is shared with a thread of the pool, which appends to it.
pub fn submit(tasks: &Rc<RefCell<VecDeque<usize>>>, task: usize) {
    let tasks = Rc::clone(tasks);
    thread::spawn(move || tasks.borrow_mut().push_back(task));
}
