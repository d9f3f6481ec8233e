//! Where are the greenlets?
//!
//! The original: gevent. Coroutines with stacks of their own, on one thread, and a patched standard library in which every
//! call that would block switches to another greenlet instead: `urlopen` stays as it was, and four of them run at once.
//!
//! There are none here, and that is a decision:
//!
//! | what it needs                   | why not here                                                              |
//! |---------------------------------|---------------------------------------------------------------------------|
//! | to switch stacks                | machine code, or `ucontext`: unsafe, for each system and processor anew    |
//! | a stack for each coroutine      | reserved for the deepest call; a future is as large as what it has to keep |
//! | calls that can be patched       | Rust calls the kernel directly; to put oneself between every program and its C library is to change what `read` means behind its back |
//!
//! (Rust had such threads before its first release and took them out: to have both kinds made both slower. Crates that
//! switch stacks exist.) What remains of the wish is to call code that blocks, unchanged, from tasks, and that is what
//! `unblock` is for: the `get` of fetch-sequential, each call on a thread of the pool. The pool has an end (64 threads, and
//! 256 more for jobs that take long), so with a thousand pages some wait for others; fetch-async has no such end.
//!
//! Comes from: ../main.rs. Goes to: `runtime::unblock`, web.rs.

use std::io;
use std::time::Instant;

use runtime::{block_on, spawn, unblock};

use super::web::{self, OPTIONS, Url};
use crate::Outcome;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    let urls = web::urls(&Words::new(words, &OPTIONS)?)?;
    let (start, count) = (Instant::now(), urls.len());
    // `joinall([spawn(fetch, url) for url in urls])`
    block_on(async {
        let tasks: Vec<_> = urls.into_iter().map(|url| spawn(fetch(url))).collect();
        for task in tasks {
            task.await?;
        }
        io::Result::Ok(())
    })?;
    web::print_time(count, start);
    Ok(())
}

async fn fetch(url: Url) {
    let asked = url.clone();
    let result = unblock(move || web::get(&asked)).await.unwrap_or_else(|error| Err(error.into()));
    web::print(&url, &result);
}
