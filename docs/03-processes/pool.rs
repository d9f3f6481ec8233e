//! How do many threads share a few workers?
//!
//! The pool has a fixed number of places, in a channel. A thread that wants something computed takes one out, waits for the
//! answer, and puts it back. In a place is a worker, or nothing if the last one died; then a new one is started.
//!
//! Comes from: main.rs. Goes to: worker.rs.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::worker::Worker;

type Place = Option<Worker>;

pub(crate) struct Pool {
    free: Mutex<Receiver<Place>>,
    back: Sender<Place>,
}

impl Pool {
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let (back, free) = channel();
        for _ in 0..size {
            let _ = back.send(Some(Worker::start()?)); // the other end is in our hand
        }
        Ok(Pool { free: Mutex::new(free), back })
    }

    /// Has `fib(n)` computed, and waits: first for a place, then for the answer.
    pub(crate) fn call(&self, n: u64) -> io::Result<u64> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let mut place = free.map_err(io::Error::other)?;
        let answer = call_in(&mut place, n);
        if answer.is_err() {
            place = None; // dead, or we cannot know: it is killed
        }
        let _ = self.back.send(place);
        answer
    }
}

fn call_in(place: &mut Place, n: u64) -> io::Result<u64> {
    if place.as_mut().is_some_and(|worker| !matches!(worker.process.try_wait(), Ok(None))) {
        *place = None; // it has died meanwhile
    }
    let worker = match place {
        Some(worker) => worker,
        None => place.insert(Worker::start()?),
    };
    worker.ask(n)?;
    worker.answer()
}
