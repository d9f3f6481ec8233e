//! Which tasks wait for which descriptors, and who wakes them when the kernel speaks?
//!
//! A [`Source`] is one watched descriptor. It has two [`Direction`]s, read and write, and each of them remembers two
//! things: what the kernel said last, and who waits. A source is added to the kernel's list once, for both directions,
//! edge-triggered, and never touched again until it is dropped.
//!
//! What the kernel said makes a direction *ready*: worth a try, never more. Whoever wants to read tries first, and parks
//! only if the direction is not ready:
//!
//! | what happens                         | ready          | unsure   | who is woken          |
//! |--------------------------------------|----------------|----------|-----------------------|
//! | a source is new                      | yes            | no       |                       |
//! | the kernel reports the direction     | yes            | as told  | all who wait          |
//! | the kernel is asked, and says so     | yes            | as told  |                       |
//! | a receive or a send would block      | no             | no       |                       |
//! | a TCP stream's count falls short     | no, unless unsure | as it was |                   |
//! | a stream's count is zero on reading  | yes            | yes      |                       |
//! | any other result, or a closure's     | as it was      | as it was |                      |
//!
//! The flag is shared, so only operations that ask the kernel the same question believe it: plain receives, and plain sends.
//! A closure may have a reason of its own (it peeks for ten bytes, it sends to another peer, the other end of its splice is
//! full). Its would-block says nothing to the others, nor theirs to it: it parks only if it has itself tried since the last
//! report, which is so as long as its ticket is on the list, because a report empties that.
//!
//! `readable` and `writable` are such closures: their try is to ask the kernel.
//!
//! Unsure is why the fifth row is safe. If the last bytes and the end of the stream share one report, a short read of
//! those bytes must not make us wait for a report that has already been given; likewise with urgent data, before which a
//! read stops. Where the kernel has said neither, a short count proves that nothing is left, and saves the call that
//! would only say so.
//!
//! Why no lock and no counter of turns: one thread owns the reactor, and reports arrive only inside `wait`. Between a
//! call that would block and the flag being cleared nothing can come in.
//!
//! Tokens are never given twice: a key in the slab, and above it a number that counts registrations. A late report for a
//! descriptor that is gone finds another number, or nobody, and is dropped. So waking may run foreign code (a waker is
//! foreign code) in the middle of a list of reports; only borrows must not be held meanwhile.
//!
//! The reactor polls nothing itself: it calls wakers, and the run queue does the rest.
//!
//! Comes from: async_socket.rs (upper half: park). Goes to: sys (wait), and wakers (lower half: dispatch).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::panics;
use crate::sys::{Event, Events, Poller, SHORT_COUNT_MEANS_EMPTY, state};

/// The watched descriptors of one runtime.
pub(crate) struct Reactor {
    poller: Poller,
    sources: RefCell<Slab<Rc<Source>>>,
    /// Counts registrations; the upper half of a token.
    registrations: Cell<u32>,
    /// Out of its cell while reports are handed out.
    events: Cell<Option<Events>>,
    /// Whether somebody turns the loop: if not, to park would be to wait for ever.
    turning: Cell<bool>,
}

/// One watched descriptor.
pub(crate) struct Source {
    reactor: Rc<Reactor>,
    token: u64,
    /// The descriptor that the owner gave at the start. The owner is only borrowed after that, so it is still that one.
    pub(crate) fd: RawFd,
    pub(crate) read: Direction<READ>,
    pub(crate) write: Direction<WRITE>,
}

/// One direction of a source: what the kernel said, and who waits.
pub(crate) struct Direction<const SIDE: bool> {
    /// What the kernel has said that is still worth a try, in the bits of `sys::state`; and FIRST and OTHERS.
    flags: Cell<u32>,
    /// The ticket of `first`.
    holder: Cell<Ticket>,
    last_ticket: Cell<Ticket>,
    /// The waker of the first who waits. It stays in place after the wake, when `FIRST` is cleared, since it is most often
    /// the next one too, and cloning a waker is an atomic operation. Borrowed while it is called.
    first: RefCell<Option<Waker>>,
    /// All who came while the first place was taken.
    others: RefCell<Vec<(Ticket, Waker)>>,
    /// How many pollers among them are a crowd.
    crowd: Cell<usize>,
}

/// Names one wait, so that a future that is dropped takes only itself off the list. Zero: not on it.
pub(crate) type Ticket = u32;

/// The ticket of all `poll_*` callers, who have no future to keep one in. They are told apart by their wakers, and one that
/// goes away is forgotten at the next report, or in a crowd.
pub(crate) const POLLER: Ticket = 1;

/// With so many of them on a list, one more has the oldest woken for nothing. If that one is alive it comes back; if it has
/// ended long ago, this is where its memory is given back.
const CROWD: usize = 64;

/// The two directions. Known when the code is compiled, so that no operation has to ask which it is.
pub(crate) const READ: bool = false;
pub(crate) const WRITE: bool = true;

/// `first` waits. (Bits that no kernel report has.)
const FIRST: u32 = 1 << 30;
/// `others` is not empty.
const OTHERS: u32 = 1 << 31;

impl Reactor {
    pub(crate) fn new(poller: Poller) -> Rc<Self> {
        Rc::new(Reactor {
            poller,
            sources: RefCell::default(),
            registrations: Cell::new(0),
            events: Cell::new(Some(Events::new())),
            turning: Cell::new(false),
        })
    }

    /// Watches `fd`, which must be non-blocking, until [`Source::remove`].
    pub(crate) fn add(self: &Rc<Self>, fd: BorrowedFd<'_>) -> io::Result<Rc<Source>> {
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        let registration = self.registrations.get().wrapping_add(1);
        self.registrations.set(registration);
        let token = token(entry.key(), registration);
        self.poller.add(fd, token)?;
        let source = Source {
            reactor: Rc::clone(self),
            token,
            fd: fd.as_raw_fd(),
            read: Direction::new(),
            write: Direction::new(),
        };
        Ok(Rc::clone(entry.insert(Rc::new(source))))
    }

    /// Sleeps in the kernel until there are reports, at most for `limit`, and keeps them for `dispatch`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut events = self.events.take().unwrap_or_else(Events::new);
        let result = self.poller.wait(&mut events, limit);
        self.events.set(Some(events));
        result
    }

    /// Hands out what the last wait brought, and says how many reports there were.
    pub(crate) fn dispatch(&self) -> usize {
        let Some(events) = self.events.take() else {
            return 0;
        };
        let mut count = 0;
        for event in events.iter() {
            count += 1;
            self.report(event);
        }
        self.events.set(Some(events));
        count
    }

    #[inline]
    fn report(&self, event: Event) {
        let source = match self.sources.borrow().get(event.token as u32 as usize) {
            Some(source) if source.token == event.token => Rc::clone(source),
            _ => return,
        };
        source.read.report(event.state);
        source.write.report(event.state);
        // It fails only for a descriptor that is no more, and then nobody waits for it.
        let _ = source.rearm();
    }

    /// Says whether somebody turns the loop from now on, and gives what was so before.
    pub(crate) fn set_turning(&self, turning: bool) -> bool {
        self.turning.replace(turning)
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Source {
    /// Puts a waiter on the list of a direction of this source.
    #[inline(always)]
    pub(crate) fn park<const SIDE: bool>(
        &self,
        direction: &Direction<SIDE>,
        ticket: &mut Ticket,
        waker: &Waker,
    ) -> io::Result<()> {
        if !self.reactor.turning.get() {
            return Err(not_running());
        }
        direction.park(ticket, waker);
        self.rearm()
    }

    /// Asks the kernel again for what is awaited, where it forgets after each report.
    #[inline(always)]
    fn rearm(&self) -> io::Result<()> {
        let wanted = || (self.read.is_awaited(), self.write.is_awaited());
        self.reactor.poller.rearm(self.fd, self.token, wanted)
    }

    /// Stops watching. `closing`: the descriptor is closed next, and has no duplicate.
    pub(crate) fn remove(&self, closing: bool) {
        let key = self.token as u32 as usize;
        let source = self.reactor.sources.borrow_mut().try_remove(key);
        debug_assert!(source.is_some_and(|source| source.token == self.token));
        // It fails only if the descriptor is closed already; then the kernel has forgotten it by itself.
        let _ = self.reactor.poller.remove(self.fd, closing);
    }
}

impl<const SIDE: bool> Direction<SIDE> {
    /// The bits of a report that concern this direction.
    const READY: u32 = if SIDE == READ {
        state::IN | state::READ_UNSURE
    } else {
        state::OUT | state::WRITE_UNSURE
    };
    /// Those among them that take its proof from a short count; see the head.
    const UNSURE: u32 = if SIDE == READ { state::READ_UNSURE } else { state::WRITE_UNSURE };

    /// Optimistic: a new source is tried before it is waited for. Most often there is something: a request behind the
    /// connection, room in the send buffer.
    fn new() -> Self {
        Direction {
            flags: Cell::new(Self::READY & !Self::UNSURE),
            holder: Cell::new(0),
            last_ticket: Cell::new(POLLER),
            first: RefCell::default(),
            others: RefCell::default(),
            crowd: Cell::new(CROWD),
        }
    }

    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.has(Self::READY)
    }

    /// The kernel was asked, and has said this. Its report of it may come later, and the receive or send that comes next is
    /// not to wait for that. Whether it has said anything.
    pub(crate) fn learn(&self, state: u32) -> bool {
        self.set(state & Self::READY);
        state != 0
    }

    /// Whether this wait has begun, and no report has come since. Not known of pollers, who share a ticket.
    #[inline]
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        let is_other = || self.others.borrow().iter().any(|(other, _)| *other == ticket);
        ticket > POLLER
            && (self.has(FIRST) && self.holder.get() == ticket || self.has(OTHERS) && is_other())
    }

    /// Whether the kernel has reported that this direction may have come to its end; always, where it reports no such thing.
    pub(crate) fn may_have_ended(&self) -> bool {
        !SHORT_COUNT_MEANS_EMPTY || self.has(state::READ_ENDED)
    }

    /// A call gave an error. If it would have blocked, nothing is ready, and nothing has ended either: an error, if that was
    /// what the kernel had reported, has been taken by an earlier call.
    #[cold]
    pub(crate) fn failed(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.clear(Self::READY);
        }
    }

    /// A stream moved fewer bytes than asked for.
    #[inline(always)]
    pub(crate) fn fell_short(&self) {
        if SHORT_COUNT_MEANS_EMPTY && !self.has(Self::UNSURE) {
            self.clear(Self::READY);
        }
    }

    /// A stream has come to its end, for good.
    #[inline]
    pub(crate) fn ended(&self) {
        self.set(Self::UNSURE);
    }

    #[inline(always)]
    fn report(&self, reported: u32) {
        let reported = reported & Self::READY;
        let before = self.flags.get();
        if reported == 0 {
            return;
        }
        self.flags.set((before & !(FIRST | OTHERS)) | reported);
        if before & FIRST != 0 {
            // Borrowed while it is called: it is foreign code and may come back here to park; then it waits behind.
            if let Some(waker) = &*self.first.borrow() {
                panics::wake(waker);
            }
        }
        if before & OTHERS != 0 {
            self.wake_others();
        }
    }

    #[cold]
    fn wake_others(&self) {
        self.crowd.set(CROWD);
        for (_, waker) in self.others.take() {
            panics::wake(&waker);
            panics::forget(waker);
        }
    }

    fn is_awaited(&self) -> bool {
        self.has(FIRST | OTHERS)
    }

    /// The first who waits takes the place that costs nothing, all others stand in a list.
    #[inline(always)]
    fn park(&self, ticket: &mut Ticket, waker: &Waker) {
        if *ticket == 0 {
            // After four billion waits for this direction the numbers come round, and a future still there from the first
            // time may then be taken off the list by another of its number.
            let next = self.last_ticket.get().checked_add(1).unwrap_or(POLLER + 1);
            self.last_ticket.set(next);
            *ticket = next;
        }
        let mine = !self.has(FIRST) || self.holder.get() == *ticket;
        let known =
            mine && self.first.borrow().as_ref().is_some_and(|first| first.will_wake(waker));
        // Pollers share one ticket, and each has to be woken: they do not take the place from one another.
        let free = !self.has(FIRST) || *ticket != POLLER;
        if known || mine && free && self.replace_first(waker) {
            self.holder.set(*ticket);
            self.set(FIRST);
        } else {
            self.park_behind(*ticket, waker);
        }
    }

    /// Puts another waker into the first place; `false` if the one there is being called right now.
    #[cold]
    fn replace_first(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let Ok(mut first) = self.first.try_borrow_mut() else { return false };
        let replaced = first.replace(waker);
        drop(first);
        panics::forget(replaced);
        true
    }

    #[cold]
    fn park_behind(&self, ticket: Ticket, waker: &Waker) {
        let waker = waker.clone();
        let mut others = self.others.borrow_mut();
        let same = |other: &(Ticket, Waker)| {
            other.0 == ticket && (ticket != POLLER || other.1.will_wake(&waker))
        };
        match others.iter().position(same) {
            Some(at) => {
                let replaced = std::mem::replace(&mut others[at].1, waker);
                drop(others);
                panics::forget(replaced);
            }
            None => {
                let is_poller = |(other, _): &(Ticket, Waker)| *other == POLLER;
                let count = others.iter().filter(|other| is_poller(other)).count();
                let mut crowd = Vec::new();
                if count >= self.crowd.get().max(CROWD) {
                    // All at once, and twice as many may come back before the next time: if only the oldest were woken
                    // and is alive, it would push out the next one, and so on for ever.
                    crowd = others.extract_if(.., |other| is_poller(other)).collect();
                    self.crowd.set(2 * count);
                }
                others.push((ticket, waker));
                drop(others);
                crowd.iter().for_each(|(_, waker)| panics::wake(waker));
                crowd.into_iter().for_each(|(_, waker)| panics::forget(waker));
            }
        }
        self.set(OTHERS);
    }

    /// The future with this ticket is dropped.
    #[inline(always)]
    pub(crate) fn leave(&self, ticket: Ticket) {
        if self.has(FIRST | OTHERS) {
            self.leave_list(ticket);
        }
    }

    #[cold]
    fn leave_list(&self, ticket: Ticket) {
        if self.holder.get() == ticket {
            self.clear(FIRST);
            let left = self.first.try_borrow_mut().ok().and_then(|mut first| first.take());
            panics::forget(left); // it would keep the memory of a task that may have ended
        }
        let mut others = self.others.borrow_mut();
        let left =
            others.iter().position(|(other, _)| *other == ticket).map(|at| others.remove(at));
        if others.is_empty() {
            self.clear(OTHERS);
        }
        drop(others);
        drop(left); // outside the borrow: dropping a waker may run foreign code
    }

    #[inline(always)]
    fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    #[inline(always)]
    fn set(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }

    #[inline(always)]
    fn clear(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }
}

#[cold]
fn not_running() -> io::Error {
    io::Error::other(
        "the runtime that this socket was made in is not running on this thread: \
         use a socket inside the block_on it was made in",
    )
}

/// The key in the low half, the registration in the high half.
fn token(key: usize, registration: u32) -> u64 {
    key as u64 | u64::from(registration) << 32
}
