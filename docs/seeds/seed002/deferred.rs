//! What is a deferred?
//!
//! A value that is not there yet, and what shall be done with it once it is. Twisted's idea: a function that would have to
//! wait returns a [`Deferred`] at once; whoever gets it hangs callbacks on it, each of which is given what the one before it
//! returned; an error skips callbacks until one that catches. [`Fire`] is the other end: who has the value sets it off.
//!
//! | Twisted              | here                                                                 |
//! |----------------------|----------------------------------------------------------------------|
//! | `addCallback(f)`     | [`then`](Deferred::then)                                             |
//! | the same, `f` returning a deferred | [`and_then`](Deferred::and_then): a type tells the two apart |
//! | `addErrback(f)`      | [`catch`](Deferred::catch)                                           |
//! | `addBoth(f)`         | [`both`](Deferred::both)                                             |
//! | `DeferredList(list)` | [`all`]                                                              |
//!
//! In Python one object is changed by each `addCallback`; here each takes the deferred and gives the next, because its type
//! changes: so "callbacks are hung behind those that are there" is something the compiler sees.
//!
//! A callback is called by whoever comes last, [`Fire::fire`] or `then`: on that one's stack, never while it is borrowed.
//! Nothing here waits or knows of sockets. Compare with a future: that is asked, a deferred tells; that can be dropped in
//! the middle, which ends it; a chain of callbacks cannot be stopped by who made it.
//!
//! Comes from: deferred_chain.rs, fetch_callbacks.rs. Goes to: nowhere.

use std::cell::RefCell;
use std::io;
use std::mem::replace;
use std::rc::Rc;

type Callback<T> = Box<dyn FnOnce(io::Result<T>)>;

pub(super) struct Deferred<T>(Rc<RefCell<State<T>>>);

/// The right to set a deferred off, once.
pub(super) struct Fire<T>(Rc<RefCell<State<T>>>);

enum State<T> {
    Empty,
    Awaited(Callback<T>),
    Fired(io::Result<T>),
    Over,
}

pub(super) fn deferred<T>() -> (Fire<T>, Deferred<T>) {
    let state = Rc::new(RefCell::new(State::Empty));
    (Fire(Rc::clone(&state)), Deferred(state))
}

impl<T> Fire<T> {
    pub(super) fn fire(self, result: io::Result<T>) {
        let state = replace(&mut *self.0.borrow_mut(), State::Over);
        match state {
            State::Awaited(callback) => callback(result),
            _ => *self.0.borrow_mut() = State::Fired(result),
        }
    }
}

impl<T: 'static> Deferred<T> {
    /// One that has its value already.
    pub(super) fn fired(result: io::Result<T>) -> Self {
        Deferred(Rc::new(RefCell::new(State::Fired(result))))
    }

    /// The end of a chain.
    pub(super) fn finally(self, callback: impl FnOnce(io::Result<T>) + 'static) {
        let state = replace(&mut *self.0.borrow_mut(), State::Over);
        match state {
            State::Fired(result) => callback(result),
            _ => *self.0.borrow_mut() = State::Awaited(Box::new(callback)),
        }
    }

    /// Goes on with what `callback` makes of value or error.
    pub(super) fn both<U: 'static>(
        self,
        callback: impl FnOnce(io::Result<T>) -> io::Result<U> + 'static,
    ) -> Deferred<U> {
        let (fire, next) = deferred();
        self.finally(|result| fire.fire(callback(result)));
        next
    }

    /// Goes on with what `callback` makes of the value. An error passes by.
    pub(super) fn then<U: 'static>(
        self,
        callback: impl FnOnce(T) -> io::Result<U> + 'static,
    ) -> Deferred<U> {
        self.both(|result| result.and_then(callback))
    }

    /// Goes on with what `callback` makes of the error. A value passes by.
    pub(super) fn catch(
        self,
        callback: impl FnOnce(io::Error) -> io::Result<T> + 'static,
    ) -> Deferred<T> {
        self.both(|result| result.or_else(callback))
    }

    /// As [`then`](Self::then), for a callback that itself takes time: goes on when what it returns is set off.
    pub(super) fn and_then<U: 'static>(
        self,
        callback: impl FnOnce(T) -> Deferred<U> + 'static,
    ) -> Deferred<U> {
        let (fire, next) = deferred();
        self.finally(|result| match result {
            Ok(value) => callback(value).finally(|result| fire.fire(result)),
            Err(error) => fire.fire(Err(error)),
        });
        next
    }
}

/// All results, in the order of the list, when the last of them is there. No error stops the others.
pub(super) fn all<T: 'static>(list: Vec<Deferred<T>>) -> Deferred<Vec<io::Result<T>>> {
    let count = list.len();
    if count == 0 {
        return Deferred::fired(Ok(Vec::new()));
    }
    let (fire, next) = deferred();
    // The results so far, how many are missing, and what is to be set off.
    let empty: Vec<_> = list.iter().map(|_| None).collect();
    let state = Rc::new(RefCell::new((empty, count, Some(fire))));
    for (place, deferred) in list.into_iter().enumerate() {
        let state = Rc::clone(&state);
        deferred.finally(move |result| {
            let mut borrowed = state.borrow_mut();
            let (results, missing, fire) = &mut *borrowed;
            results[place] = Some(result);
            *missing -= 1;
            let fire = fire.take_if(|_| *missing == 0);
            if let Some(fire) = fire {
                let results = std::mem::take(results);
                drop(borrowed);
                fire.fire(Ok(results.into_iter().flatten().collect()));
            }
        });
    }
    next
}
