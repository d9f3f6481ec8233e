//! How is the talk's pool made?
//!
//! So many threads, one queue, first come first served. What a job returns comes back as a future.
//!
//! Comes from: main.rs. Goes to: threads.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_channel::oneshot;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Fifo {
    queue: Sender<Job>,
}

impl Fifo {
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().spawn(move || work(&jobs))?;
        }
        Ok(Fifo { queue })
    }

    pub(crate) fn submit<T, F>(&self, job: F) -> impl Future<Output = io::Result<T>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let sent = self.queue.send(Box::new(move || drop(done.send(job()))));
        async move {
            sent.map_err(|_| io::Error::other("the pool has no threads"))?;
            result.await.map_err(io::Error::other)
        }
    }
}

/// Whoever has the lock waits for the next job, the others wait for the lock.
fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return, // the pool is gone
        }
    }
}
