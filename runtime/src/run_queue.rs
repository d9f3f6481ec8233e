//! Who is ready to run, and how does a wake from any thread get into that list?
//!
//! There are two doors:
//!
//! - **The run queue**, for the home thread itself: the tasks that are ready, in the order they became so. No lock, no
//!   atomic read-modify-write. A task in it is held by it: who puts a task in takes the task's own reference out of the
//!   task (cell.rs), so that no reference is counted up or down on the way, and no task can stand in it twice. It has two
//!   lanes: `ready`, and `backlog` for what a turn had no room to poll, so that what an event or a timer wakes does not
//!   wait behind a crowd (executor.rs, `run_batch`).
//! - **The inbox**, for other threads: a list that takes no lock (sys/stack.rs says why), and one word that says whether there is mail and
//!   whether the owner sleeps.
//!
//! # The handshake of sleep and mail (both halves are in this file; the models at its end run through them)
//!
//! ```text
//!   the owner, about to sleep                    a stranger with a letter
//!   1 fall_asleep: word 0 -> ASLEEP, or          1 post: put the letter into the list
//!     fail if MAIL is set: do not sleep          2 word |= MAIL; was ASLEEP set? then ring
//!   2 wait in the kernel
//!   3 wake_up: word without ASLEEP; MAIL stays
//!   4 take, at the end of the turn: was MAIL set? clear it, then take the letters
//! ```
//!
//! One word, changed by read-modify-write only, so all changes stand in one order: either the stranger's MAIL comes
//! before the owner's 1, which then fails, or after it, and then the stranger has seen ASLEEP and rings. A ring before
//! the wait is kept by the kernel until the wait. No sender rings while the owner is awake. Every sender that finds the
//! owner asleep rings, not the first alone: the first may be stopped between its two steps, and a later letter must not
//! wait for it. So N letters to a sleeping owner are 1 to N rings (each one `write`), and they end one sleep.
//!
//! # The handshake of `posted`
//!
//! ```text
//!   a stranger wakes a task                      the owner reads its mail
//!   1 writes what the task waits for             1 posted -> false
//!   2 posted -> true; was it true? done          2 queues the task, which will look for what it waits for
//!   3 posts the task
//! ```
//!
//! A stranger that is stopped between 2 and 3 holds up the wakes of other strangers, for this one task, until it goes on.
//!
//! Both swaps are acquire-release. A stranger who finds `posted` true relies on a letter still unread: the owner's swap
//! comes later in the order of that word, so it sees what the stranger wrote, and so does the poll that follows.
//!
//! # Drops inside of drops
//!
//! Dropping a future may abort another task, whose future aborts the next, and so on: as calls inside of calls, a chain of
//! some thousands would overflow the stack. So the first [`DEEPEST`] of them nest, which keeps the order in which a program
//! drops its values, and what goes deeper is put into a list that the call at that depth works off, first come, first
//! served. By the time any of the nested calls returns, all below it are done; so is everything once the outermost returns.
//!
//! Comes from: wakers (task/, executor.rs), Handle. Goes to: executor.rs, which takes from both doors.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use crate::instrument::{Instrument, TaskId};
use crate::panics::{self, PanicPolicy, Panics};
use crate::sync::{AtomicBool, AtomicU8, Ordering};
use crate::sys::{AtHome, Bell, Stack, Taken};

/// How many drops nest before further ones wait for their turn. A level takes some 3 KB of stack in a debug build, and what the
/// dropped values need themselves.
const DEEPEST: usize = 32;

/// The largest lane whose memory is kept once it is empty; what a rare crowd of tasks has needed is given back.
const KEPT: usize = 4096;

/// How many letters a turn puts in order. Far more than it reads (executor.rs), so that reading never waits for it for long.
const ORDERED_PER_TURN: usize = 1024;

/// The home thread's door, and all the tasks behind it.
pub(crate) struct RunQueue {
    pub(crate) ready: Lane,
    /// What earlier turns had no room for.
    pub(crate) backlog: Lane,
    /// All tasks that have not ended, for the end of the runtime. The loop never looks here.
    pub(crate) tasks: RefCell<Slab<Arc<dyn Runnable>>>,
    watched: Cell<bool>,
    /// Taken out at the end: the queue itself may live on in the last waker of some task.
    instrument: RefCell<Option<Rc<dyn Instrument>>>,
    /// The task being polled. Kept only while an instrument is set.
    pub(crate) polled: Cell<TaskId>,
    pub(crate) closing: Cell<bool>,
    pub(crate) panics: Panics,
    /// The loop is in other hands, between two turns: then the first to become ready has to show at its descriptor.
    pub(crate) away: Cell<bool>,
    /// How many calls of `nested` are under way.
    depth: Cell<usize>,
    /// Drops that were too deep.
    put_off: RefCell<VecDeque<Box<dyn FnOnce()>>>,
}

/// Something to poll.
pub(crate) enum Ready {
    /// The future given to `block_on`.
    Root,
    Task(Arc<dyn Runnable>),
}

/// Some of what is ready, first come, first served.
#[derive(Default)]
pub(crate) struct Lane(RefCell<VecDeque<Ready>>);

impl Lane {
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Ready> {
        self.0.borrow_mut().pop_front()
    }

    pub(crate) fn swap(&self, one: usize, other: usize) {
        self.0.borrow_mut().swap(one, other);
    }

    fn give_memory_back(&self) {
        let mut lane = self.0.borrow_mut();
        if lane.is_empty() && lane.capacity() > KEPT {
            *lane = VecDeque::new();
        }
    }
}

/// A task as the loop sees it, its future's type forgotten.
pub(crate) trait Runnable {
    /// Polls once, and puts itself where it belongs afterwards.
    fn run(self: Arc<Self>);
    /// Drops the future, as the runtime ends.
    fn close(&self);
    fn id(&self) -> TaskId;
}

impl RunQueue {
    fn new(instrument: Option<Rc<dyn Instrument>>, policy: PanicPolicy) -> Self {
        RunQueue {
            ready: Lane::default(),
            backlog: Lane::default(),
            tasks: RefCell::default(),
            watched: Cell::new(instrument.is_some()),
            instrument: RefCell::new(instrument),
            polled: Cell::new(TaskId::ROOT),
            closing: Cell::new(false),
            panics: Panics::new(policy),
            away: Cell::new(true),
            depth: Cell::new(0),
            put_off: RefCell::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.len() + self.backlog.len() == 0
    }

    /// Tells the instrument, if there is one: one flag tested where there is none.
    #[inline(always)]
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Instrument)) {
        if self.watched.get() {
            self.tell_it(what);
        }
    }

    #[cold]
    fn tell_it(&self, what: impl FnOnce(&dyn Instrument)) {
        let instrument = self.instrument.borrow().clone();
        if let Some(instrument) = instrument
            && let Err(payload) = panics::catch(|| what(&*instrument))
        {
            panics::report(format_args!("the instrument panicked and is removed"), payload);
            self.watched.set(false);
            let instrument = self.instrument.take();
            drop(instrument);
        }
    }

    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.get()
    }

    /// The end: nothing is ready any more and nobody watches. What is left holds no memory of its own, so that it may be
    /// leaked if the last waker is dropped on another thread.
    pub(crate) fn clear(&self) {
        let ready = (self.ready.0.take(), self.backlog.0.take(), self.put_off.take());
        let instrument = self.instrument.take();
        self.watched.set(false);
        drop((ready, instrument));
    }

    /// Takes all tasks off the list, in the order of their places.
    pub(crate) fn take_tasks(&self) -> Slab<Arc<dyn Runnable>> {
        self.tasks.take()
    }

    /// Puts what is ready, but for the first `kept`, behind the backlog.
    pub(crate) fn move_to_backlog(&self, kept: usize) {
        if kept == 0 && self.backlog.len() == 0 {
            self.ready.0.swap(&self.backlog.0);
        } else {
            self.backlog.0.borrow_mut().extend(self.ready.0.borrow_mut().drain(kept..));
        }
    }

    /// The end of a batch.
    pub(crate) fn give_memory_back(&self) {
        self.ready.give_memory_back();
        self.backlog.give_memory_back();
    }

    /// Puts everything into one lane, in order.
    pub(crate) fn join_lanes(&self) {
        self.move_to_backlog(0);
        self.ready.0.swap(&self.backlog.0);
    }

    /// Takes the root out: its `block_on` has ended.
    #[cold]
    pub(crate) fn remove_root(&self) {
        for lane in [&self.ready, &self.backlog] {
            lane.0.borrow_mut().retain(|ready| !matches!(ready, Ready::Root));
        }
    }

    /// Calls `drop`, which drops foreign values and must not panic; what comes back here from deep inside is called
    /// afterwards. See the head.
    pub(crate) fn nested(&self, drop: impl FnOnce()) {
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        drop();
        if depth == DEEPEST {
            while let Some(drop) = self.next_put_off() {
                drop();
            }
        }
        self.depth.set(depth);
    }

    fn next_put_off(&self) -> Option<Box<dyn FnOnce()>> {
        self.put_off.borrow_mut().pop_front()
    }

    /// Whether a drop is to be put off.
    pub(crate) fn is_deep(&self) -> bool {
        self.depth.get() > DEEPEST
    }

    #[cold]
    pub(crate) fn put_off(&self, drop: Box<dyn FnOnce()>) {
        self.put_off.borrow_mut().push_back(drop);
    }
}

/// The runtime as strangers see it: where they send letters. Shared by everything that may wake one of its tasks, for as
/// long as such a waker lives; a runtime that has ended leaves an empty shell with a closed inbox.
pub(crate) struct Home {
    inbox: Inbox<Letter>,
    bell: Bell,
    /// In here, and not in an allocation of its own, because the last to hold it may be a waker on another thread.
    queue: AtHome<RunQueue>,
}

/// What strangers may send.
pub(crate) enum Letter {
    /// This task may go on.
    Wake(Arc<dyn Woken>),
    /// Do this at home.
    Call(Box<dyn FnOnce() + Send>),
}

/// A task as its letter sees it.
pub(crate) trait Woken: Send + Sync {
    /// The letter has come home.
    fn arrived(self: Arc<Self>);
}

/// The runtime has ended.
#[derive(Debug)]
pub(crate) struct Closed;

impl Home {
    pub(crate) fn new(
        bell: Bell,
        instrument: Option<Rc<dyn Instrument>>,
        policy: PanicPolicy,
    ) -> Arc<Self> {
        let queue = AtHome::new(RunQueue::new(instrument, policy));
        Arc::new(Home { inbox: Inbox::new(), bell, queue })
    }

    /// The run queue, for code that can only run at home.
    #[inline(always)]
    pub(crate) fn queue(&self) -> &RunQueue {
        self.queue.get().expect("the run queue is asked for at home only")
    }

    /// Puts something into the run queue, which is this one's.
    #[inline(always)]
    pub(crate) fn push(&self, queue: &RunQueue, ready: Ready) {
        let mut lane = queue.ready.0.borrow_mut();
        lane.push_back(ready);
        if queue.away.get() && lane.len() == 1 {
            self.show_work();
        }
    }

    /// Makes the runtime's descriptor readable.
    #[cold]
    pub(crate) fn show_work(&self) {
        self.bell.ring();
    }

    /// Sends a letter from anywhere, and ends the owner's sleep if it is asleep.
    pub(crate) fn post(&self, letter: Letter) -> Result<(), Closed> {
        if self.inbox.post(letter)? {
            self.bell.ring();
        }
        Ok(())
    }

    pub(crate) fn inbox(&self) -> &Inbox<Letter> {
        &self.inbox
    }
}

/// What a stranger needs to wake a task: its home, and the mark that says a letter is on its way already.
pub(crate) struct Address {
    pub(crate) home: Arc<Home>,
    /// Set by the first stranger to wake, cleared by the owner as it reads the letter: at most one letter a task.
    posted: AtomicBool,
    /// Beside `posted`, where there is room: what the home thread notes about the task (task/cell.rs says what). Strangers
    /// leave it alone, so plain loads and stores are enough.
    pub(crate) notes: Notes,
    /// The place on the list of live tasks.
    pub(crate) key: u32,
}

/// Eight marks that one thread alone reads and writes.
#[derive(Default)]
pub(crate) struct Notes(AtomicU8);

impl Notes {
    #[inline(always)]
    pub(crate) fn has(&self, mark: u8) -> bool {
        self.0.load(Ordering::Relaxed) & mark != 0
    }

    #[inline(always)]
    pub(crate) fn set(&self, mark: u8) {
        self.0.store(self.0.load(Ordering::Relaxed) | mark, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn clear(&self, mark: u8) {
        self.0.store(self.0.load(Ordering::Relaxed) & !mark, Ordering::Relaxed);
    }
}

impl Address {
    pub(crate) fn new(home: Arc<Home>, key: u32) -> Self {
        Address { home, posted: AtomicBool::new(false), notes: Notes::default(), key }
    }

    /// A stranger wakes. `letter` makes what has to be sent.
    #[cold]
    pub(crate) fn post(&self, letter: impl FnOnce() -> Arc<dyn Woken>) {
        if !self.posted.swap(true, Ordering::AcqRel) {
            // A home that has ended needs no wakes.
            let _ = self.home.post(Letter::Wake(letter()));
        }
    }

    /// The letter has come: from here on another one may be sent. Before the task is polled, see the head.
    pub(crate) fn arrived(&self) {
        self.posted.swap(false, Ordering::AcqRel);
    }
}

/// There is mail.
const MAIL: u8 = 1;
/// The owner sleeps, or has handed its loop to somebody else: the first letter has to ring.
const ASLEEP: u8 = 2;

/// A list that any thread may add to and one thread empties, with the word that decides who rings.
pub(crate) struct Inbox<T> {
    /// MAIL and ASLEEP; see the head of this file.
    word: AtomicU8,
    letters: Stack<T>,
}

impl<T> Inbox<T> {
    /// Born asleep: a letter that comes before the first turn rings, and the kernel keeps the ring.
    pub(crate) fn new() -> Self {
        Inbox { word: AtomicU8::new(ASLEEP), letters: Stack::new() }
    }

    /// Adds a letter. `Ok(true)`: the owner sleeps, and it is the caller who has to ring.
    pub(crate) fn post(&self, letter: T) -> Result<bool, Closed> {
        self.letters.push(letter).map_err(|_| Closed)?;
        Ok(self.word.fetch_or(MAIL, Ordering::AcqRel) & ASLEEP != 0)
    }

    /// The owner wants to sleep. `false`: there is mail, so it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.word.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner is awake, whatever it was before; letters no longer ring. Keeps MAIL as it is.
    pub(crate) fn wake_up(&self) {
        // The owner alone sets ASLEEP, so it may look before it pays for the write.
        if self.word.load(Ordering::Relaxed) & ASLEEP != 0 {
            self.word.fetch_and(!ASLEEP, Ordering::AcqRel);
        }
    }

    /// Takes the letters that have come into `taken`, if that has been put in order, and puts some more of them in order. A
    /// look at the word first: no mail, no more to do.
    pub(crate) fn take(&self, taken: &mut Taken<T>) {
        if self.word.load(Ordering::Relaxed) & MAIL != 0 && taken.takes_more() {
            // First the mark, then the letters: a letter that comes between the two is taken now and leaves a mark for
            // nothing. The other way round it would be left without a mark.
            self.word.fetch_and(!MAIL, Ordering::AcqRel);
            self.letters.take_unordered(taken);
        }
        taken.reverse(ORDERED_PER_TURN);
    }

    /// Whether there is mail, for the owner.
    pub(crate) fn has_mail(&self) -> bool {
        self.word.load(Ordering::Acquire) & MAIL != 0
    }

    /// No more letters: whoever posts from now on is told so. Returns those not read.
    pub(crate) fn close(&self) -> Vec<T> {
        self.letters.close()
    }
}

#[cfg(all(test, not(ground_loom)))]
mod tests {
    use super::Inbox;

    /// A thread behind all others may be stopped between its post and its ring.
    #[test]
    fn whoever_posts_to_a_sleeper_rings_whatever_others_have_promised() {
        let inbox = Inbox::new();
        assert!(inbox.post(1).is_ok_and(|must_ring| must_ring));
        assert!(inbox.post(2).is_ok_and(|must_ring| must_ring));
        inbox.wake_up();
        assert!(inbox.post(3).is_ok_and(|must_ring| !must_ring));
    }
}

/// The models: loom runs each through every order in which the threads' steps can fall.
/// `RUSTFLAGS="--cfg ground_loom" cargo test -p runtime --release --lib model`
#[cfg(all(test, ground_loom))]
mod model {
    use super::Inbox;
    use crate::sync::{AtomicBool, Ordering};
    use crate::sys::Taken;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// The kernel's part: an eventfd that keeps a ring until the next wait. A lost wake-up shows as a deadlock, which
    /// loom reports.
    struct Eventfd {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Eventfd {
        fn new() -> Arc<Self> {
            Arc::new(Eventfd { rung: Mutex::new(false), changed: Condvar::new() })
        }
        fn ring(&self) {
            *self.rung.lock().unwrap() = true;
            self.changed.notify_one();
        }
        fn wait(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    /// The owner's loop until `count` letters are read: what executor.rs does in a turn, without tasks and sockets.
    fn read_letters(inbox: &Inbox<u32>, bell: &Eventfd, count: usize) -> Vec<u32> {
        let (mut read, mut taken) = (Vec::new(), Taken::default());
        inbox.wake_up();
        loop {
            inbox.take(&mut taken);
            read.extend(std::iter::from_fn(|| taken.pop()));
            if read.len() == count {
                return read;
            }
            if inbox.fall_asleep() {
                bell.wait();
            }
            inbox.wake_up();
        }
    }

    #[test]
    fn model_no_letter_is_slept_through() {
        loom::model(|| {
            let (inbox, bell) = (Arc::new(Inbox::new()), Eventfd::new());
            let strangers: Vec<_> = (0..2)
                .map(|number| {
                    let (inbox, bell) = (Arc::clone(&inbox), Arc::clone(&bell));
                    thread::spawn(move || {
                        if inbox.post(number).unwrap() {
                            bell.ring();
                        }
                    })
                })
                .collect();
            let mut read = read_letters(&inbox, &bell, 2);
            read.sort_unstable();
            assert_eq!(read, [0, 1]);
            for stranger in strangers {
                stranger.join().unwrap();
            }
        });
    }

    #[test]
    fn model_one_thread_posting_twice_is_read_twice() {
        loom::model(|| {
            let (inbox, bell) = (Arc::new(Inbox::new()), Eventfd::new());
            let stranger = {
                let (inbox, bell) = (Arc::clone(&inbox), Arc::clone(&bell));
                thread::spawn(move || {
                    for number in 0..2 {
                        if inbox.post(number).unwrap() {
                            bell.ring();
                        }
                    }
                })
            };
            assert_eq!(read_letters(&inbox, &bell, 2), [0, 1]);
            stranger.join().unwrap();
        });
    }

    #[test]
    fn model_a_letter_is_read_or_refused_at_close() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let stranger = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.post(1).is_ok())
            };
            // Closed before the thread is joined: the two race.
            let unread = inbox.close().len();
            assert_eq!(stranger.join().unwrap(), unread == 1);
        });
    }

    /// `posted`: whatever a stranger wrote before its wake, whether it sent the letter or found one on the way, is
    /// seen by a poll after the letters are read. The writes are relaxed, so nothing but the swaps can carry them; a
    /// wake that is lost leaves the owner asleep for good, which loom reports as a deadlock.
    #[test]
    fn model_a_wake_that_finds_a_letter_on_the_way_is_not_lost() {
        loom::model(|| {
            struct Task {
                posted: AtomicBool,
                written: [AtomicBool; 2],
            }
            let task = Arc::new(Task {
                posted: AtomicBool::new(false),
                written: [AtomicBool::new(false), AtomicBool::new(false)],
            });
            let (inbox, bell) = (Arc::new(Inbox::new()), Eventfd::new());
            let strangers: Vec<_> = (0..2)
                .map(|me| {
                    let (task, inbox, bell) =
                        (Arc::clone(&task), Arc::clone(&inbox), Arc::clone(&bell));
                    thread::spawn(move || {
                        task.written[me].store(true, Ordering::Relaxed);
                        if !task.posted.swap(true, Ordering::AcqRel) && inbox.post(0).unwrap() {
                            bell.ring();
                        }
                    })
                })
                .collect();
            let (mut taken, mut seen) = (Taken::<u32>::default(), [false; 2]);
            inbox.wake_up();
            while seen != [true; 2] {
                inbox.take(&mut taken);
                if taken.pop().is_some() {
                    task.posted.swap(false, Ordering::AcqRel);
                    seen = [0, 1].map(|me| task.written[me].load(Ordering::Relaxed));
                } else if inbox.fall_asleep() {
                    bell.wait();
                    inbox.wake_up();
                }
            }
            for stranger in strangers {
                stranger.join().unwrap();
            }
        });
    }
}
