//! Which atomics does the runtime use, and how can a model checker take their place?
//!
//! Every word that two threads of the core share is named through this file. In a normal build the names are the
//! standard library's. Under `--cfg ground_loom`, in tests, they are loom's, which runs a model through every
//! interleaving the memory model allows. That is the whole reason for the file: a handshake that cannot be switched to
//! loom cannot be proved.
//!
//! `Arc` is not here: futures-task hands out wakers over the standard `Arc`, and its counting is not ours to model.
//!
//! Comes from: std or loom. Goes to: run_queue.rs, and the models beside it.

#[cfg(not(all(test, ground_loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};

#[cfg(all(test, ground_loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
