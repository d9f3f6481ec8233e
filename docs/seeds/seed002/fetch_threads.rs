//! What do threads change, and who waits for them?
//!
//! The original: a thread for each address, started and never joined. The time is that of the slowest page, 4 ticks, and
//! the pages are printed as they come. The slides name the cost: a stack for each, and (in Python) no two at the same time.
//!
//! In Rust, threads that are not joined end with `main`, wherever they are, and this would print nothing: Python waits for
//! its threads at the end, Rust does not. (`--no-join` shows it.) A scope joins all that were started in it, and so they
//! may borrow the addresses.
//!
//! Comes from: ../main.rs. Goes to: std's threads, web.rs.

use std::thread;
use std::time::Instant;

use super::web::{self, OPTIONS, Url};
use crate::Outcome;
use crate::words::Words;

const NO_JOIN: &str = "--no-join";

pub(crate) fn main(words: &[String]) -> Outcome {
    let known = [&OPTIONS[..], &[NO_JOIN]].concat();
    let words = Words::new(words, &known)?;
    let urls = web::urls(&words)?;
    let start = Instant::now();
    if words.has(NO_JOIN) {
        for url in urls {
            thread::spawn(move || fetch(&url));
        }
        println!("main is done, and takes the threads with it");
        return Ok(());
    }
    thread::scope(|scope| {
        for url in &urls {
            // Not `scope.spawn`: that panics when there can be no more threads.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, || fetch(url)) {
                web::print(url, &Err(error));
            }
        }
    });
    web::print_time(urls.len(), start);
    Ok(())
}

fn fetch(url: &Url) {
    web::print(url, &web::get(url));
}
