//! How does a task wait for a thread?
//!
//! As it waits for a socket: it leaves its waker, and somebody wakes it. Result and waker lie in one place under one lock, so
//! there is no moment in which the task has looked and the thread cannot find the waker yet. What waking does is not this
//! file's business, and this file does not know what a loop is.
//!
//! A fixed number of threads, first come first served. Chapter 12 says why that is not enough.
//!
//! Comes from: handlers. Goes to: threads of the standard library, and the task's waker.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().spawn(move || {
                loop {
                    let job = locked(&queue).recv(); // one thread waits in here, the others for the lock
                    match job {
                        Ok(job) => job(),
                        Err(_) => break, // the pool is gone
                    }
                }
            })?;
        }
        Ok(Pool { jobs })
    }

    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let place = Arc::new(Mutex::new(Place { result: None, waker: None }));
        let theirs = Arc::clone(&place);
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            let result = result.map_err(|_| io::Error::other("the job panicked"));
            let mut place = locked(&theirs);
            place.result = Some(result);
            let waker = place.waker.take();
            drop(place);
            waker.into_iter().for_each(Waker::wake);
        };
        let _ = self.jobs.send(Box::new(job));
        Answer(place)
    }
}

/// Where a thread of the pool leaves its result, and the task its waker.
struct Place<T> {
    result: Option<io::Result<T>>,
    waker: Option<Waker>,
}

pub(crate) struct Answer<T>(Arc<Mutex<Place<T>>>);

impl<T> Future for Answer<T> {
    type Output = io::Result<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut place = locked(&self.0);
        if let Some(result) = place.result.take() {
            return Poll::Ready(result);
        }
        place.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A panic while a lock is held spoils nothing that lies behind one here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
