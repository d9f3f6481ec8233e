//! A result's way from the thread that makes it to the future that awaits it, without a lock.
//!
//! Invariant: a value that `send` has accepted is given by `poll` or `close`, and a waker that `poll` has left is called
//! once the value is there. The head of the stack of wakers decides the second:
//!
//! ```text
//! send                                     poll
//!   1 push the value                         1 is the value there? take it
//!   2 close the stack of wakers, and call    2 push the waker; is the stack closed? then the value is there:
//!     those that it had                        take it
//! ```
//!
//! Either the push of 2 comes before the close, which then finds the waker, or after it, and then the push says so. Both
//! sides can be stopped at any instruction (by the scheduler, behind all others) and hold up no other thread.
//!
//! One thread sends, once; one future receives. Cost: a node on the heap for the value, and one for each waker.
//!
//! Comes from: remote.rs. Goes to: the waker of the future that awaits.

use std::task::{Poll, Waker};

use crate::sys::os::Stack;

/// A place for one value, with the wakers of the future that awaits it.
pub(crate) struct Oneshot<T> {
    value: Stack<T>,
    wakers: Stack<Waker>,
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Self {
        Oneshot { value: Stack::new(), wakers: Stack::new() }
    }

    /// Hands the value over and wakes the future; gives it back if the receiving side has closed. To be called once.
    pub(crate) fn send(&self, value: T) -> Result<(), T> {
        self.value.push(value)?;
        self.wakers.close().into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The value, once. `None`: it was given before, and there will be no other. `registered` is the future's note of the
    /// waker that is in place.
    pub(crate) fn poll(&self, registered: &mut Option<WakerId>, waker: &Waker) -> Poll<Option<T>> {
        if let Some(value) = self.take() {
            *registered = None; // so that the next poll asks whether there will be another
            return Poll::Ready(Some(value));
        }
        let id = WakerId::of(waker);
        if *registered == Some(id) {
            return Poll::Pending;
        }
        let mut earlier = Vec::new();
        self.wakers.take(&mut earlier);
        drop(earlier);
        match self.wakers.push(waker.clone()) {
            Ok(()) => {
                *registered = Some(id);
                Poll::Pending
            }
            Err(_) => Poll::Ready(self.take()),
        }
    }

    /// No value is wanted any more: `send` gives it back from now on. Gives the one that was there.
    pub(crate) fn close(&self) -> Option<T> {
        let mut earlier = Vec::new();
        self.wakers.take(&mut earlier);
        self.value.close().pop()
    }

    fn take(&self) -> Option<T> {
        let mut values = Vec::new();
        self.value.take(&mut values);
        values.pop()
    }
}

/// Data and vtable of a waker, by address. As long as a clone of the waker is kept, no other waker has the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerId(usize, usize);

impl WakerId {
    pub(crate) fn of(waker: &Waker) -> Self {
        WakerId(waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
    }
}

#[cfg(all(test, ground_loom))]
mod model {
    use super::Oneshot;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;
    use std::task::{Poll, Wake, Waker};

    /// Says that it was called.
    struct Told(AtomicBool);

    impl Wake for Told {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn model_a_value_is_there_or_its_waker_is_called() {
        loom::model(|| {
            let oneshot = Arc::new(Oneshot::new());
            let told = std::sync::Arc::new(Told(AtomicBool::new(false)));
            let sender = {
                let oneshot = Arc::clone(&oneshot);
                thread::spawn(move || oneshot.send(5))
            };
            let waker = Waker::from(std::sync::Arc::clone(&told));
            let mut registered = None;
            let first = oneshot.poll(&mut registered, &waker);
            assert_eq!(sender.join().unwrap(), Ok(()));
            if first.is_pending() {
                assert!(told.0.load(Ordering::Acquire), "pending, and never woken");
                assert_eq!(oneshot.poll(&mut registered, &waker), Poll::Ready(Some(5)));
            }
            assert_eq!(oneshot.poll(&mut registered, &waker), Poll::Ready(None));
        });
    }

    #[test]
    fn model_a_value_is_given_back_or_comes_out_at_the_close() {
        loom::model(|| {
            let oneshot = Arc::new(Oneshot::new());
            let sender = {
                let oneshot = Arc::clone(&oneshot);
                thread::spawn(move || oneshot.send(5))
            };
            let left = oneshot.close();
            assert_eq!(sender.join().unwrap().err().or(left), Some(5));
        });
    }
}
