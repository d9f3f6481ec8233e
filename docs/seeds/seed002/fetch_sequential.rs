//! How long do four pages take, one thing at a time?
//!
//! The original: a loop over four addresses with `urlopen` in it. It waits for each page before it asks for the next, so
//! the time is the sum of all: here 4 + 2 + 3 + 1 = 10 ticks. Nearly all of that is spent waiting.
//!
//! In Rust it is the same loop.
//!
//! Comes from: ../main.rs. Goes to: web.rs.

use std::time::Instant;

use super::web::{self, OPTIONS};
use crate::Outcome;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    let urls = web::urls(&Words::new(words, &OPTIONS)?)?;
    let start = Instant::now();
    for url in &urls {
        web::print(url, &web::get(url));
    }
    web::print_time(urls.len(), start);
    Ok(())
}
