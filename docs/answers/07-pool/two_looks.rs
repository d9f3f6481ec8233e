//! What is lost if one looks for the result under a lock, and leaves the waker under another?
//!
//! The wake. The pool's thread comes between the two, held there by barriers.
//!
//! Comes from: chapter 7's first exercise. Goes to: the terminal.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread;

#[derive(Default)]
struct Place {
    result: Option<u64>,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() {
    let (place, gap) = (&Mutex::new(Place::default()), &Barrier::new(2));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    thread::scope(|scope| {
        scope.spawn(move || {
            gap.wait(); // the task has looked
            let mut place = locked(place);
            place.result = Some(55);
            let waker = place.waker.take();
            drop(place);
            waker.into_iter().for_each(Waker::wake);
            gap.wait();
        });
        // What the task's poll does:
        let result = locked(place).result.take();
        gap.wait();
        gap.wait(); // the pool's thread is done
        if result.is_none() {
            locked(place).waker = Some(waker);
        }
    });
    println!("the result is there: {}", locked(place).result.is_some());
    println!("the waker is there:  {}", locked(place).waker.is_some());
    println!("wakes:               {}", wakes.0.load(Ordering::Relaxed));
}

fn locked(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
