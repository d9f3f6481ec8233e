//! Which tasks wait for which descriptors, and who wakes them when the kernel speaks?
//!
//! A [`Source`] is one watched descriptor. It has two [`Direction`]s, read and write, and each of them remembers two
//! things: what the kernel said last (`READY`, `CLOSED`), and who waits. A source is added to the kernel's list once, for
//! both directions, edge-triggered, and never touched again until it is dropped.
//!
//! The flags say "worth a try", never more. Whoever wants to read tries first and parks only if the kernel would block:
//!
//! | what happens                         | `READY` | `CLOSED` | who is woken          |
//! |--------------------------------------|---------|----------|-----------------------|
//! | a source is new                      | set     | -        |                       |
//! | the kernel reports the direction     | set     | as told  | all who wait          |
//! | the call would block                 | cleared | cleared  |                       |
//! | a stream's count falls short         | cleared unless `CLOSED` | kept | (the kernel will report the next byte) |
//! | a stream's count is zero on reading  | kept    | set      |                       |
//! | any other result                     | kept    | kept     |                       |
//!
//! `CLOSED` is why the fourth row is safe: if the last bytes and the end of the stream share one report, a short read of
//! those bytes must not make us wait for a report that has already been given.
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
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::sys::{Event, Events, Poller, SHORT_COUNT_MEANS_EMPTY};

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
    pub(crate) read: Direction,
    pub(crate) write: Direction,
}

/// One direction of a source: what the kernel said, and who waits.
pub(crate) struct Direction {
    /// READY and CLOSED.
    flags: Cell<u8>,
    /// Whether `first` waits. Its waker stays in place after the wake, since it is most often the next one too, and
    /// cloning a waker is an atomic operation.
    waiting: Cell<bool>,
    /// The ticket of `first`.
    holder: Cell<Ticket>,
    first: Cell<Option<Waker>>,
    /// All who came while `first` waited.
    others: RefCell<Vec<(Ticket, Waker)>>,
    last_ticket: Cell<Ticket>,
}

/// Names one wait, so that a future that is dropped takes only itself off the list. Zero: not on it.
pub(crate) type Ticket = u32;

/// The ticket of all `poll_*` callers, who have no future to keep one in: one waker, the last one.
pub(crate) const POLLER: Ticket = 1;

const READY: u8 = 1;
const CLOSED: u8 = 2;

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
        let mut reports = events.iter();
        let mut count = 0;
        // A waker that panics costs its own wake, not those behind it.
        while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for event in reports.by_ref() {
                count += 1;
                self.report(event);
            }
        }))
        .is_err()
        {}
        drop(reports);
        self.events.set(Some(events));
        count
    }

    #[inline]
    fn report(&self, event: Event) {
        let source = match self.sources.borrow().get(event.token as u32 as usize) {
            Some(source) if source.token == event.token => Rc::clone(source),
            _ => return,
        };
        if event.read {
            source.read.report(event.read_closed);
        }
        if event.write {
            source.write.report(event.write_closed);
        }
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
    /// Puts a waiter on the list of `direction`, which is one of this source's.
    pub(crate) fn park(
        &self,
        fd: RawFd,
        direction: &Direction,
        ticket: &mut Ticket,
        waker: &Waker,
    ) -> io::Result<()> {
        if !self.reactor.turning.get() {
            return Err(io::Error::other(
                "the runtime that this socket was made in is not running on this thread: \
                 use a socket inside the block_on it was made in",
            ));
        }
        direction.park(ticket, waker);
        self.reactor.poller.rearm(
            fd,
            self.token,
            self.read.is_awaited(),
            self.write.is_awaited(),
        )
    }

    /// Stops watching. `closing`: the descriptor is closed next, and has no duplicate.
    pub(crate) fn remove(&self, fd: RawFd, closing: bool) {
        let key = self.token as u32 as usize;
        let source = self.reactor.sources.borrow_mut().try_remove(key);
        debug_assert!(source.is_some_and(|source| source.token == self.token));
        // It fails only if the descriptor is closed already; then the kernel has forgotten it by itself.
        let _ = self.reactor.poller.remove(fd, closing);
    }
}

impl Direction {
    /// Optimistic: a new source is tried before it is waited for. Most often there is something: a request behind the
    /// connection, room in the send buffer.
    fn new() -> Self {
        Direction {
            flags: Cell::new(READY),
            waiting: Cell::new(false),
            holder: Cell::new(0),
            first: Cell::new(None),
            others: RefCell::default(),
            last_ticket: Cell::new(POLLER),
        }
    }

    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.flags.get() & READY != 0
    }

    /// The call would have blocked: nothing is ready, and nothing has ended either (an error, if that was what closed
    /// this direction, has been taken by an earlier call).
    #[inline]
    pub(crate) fn would_block(&self) {
        self.flags.set(0);
    }

    /// A stream moved fewer bytes than asked for.
    #[inline(always)]
    pub(crate) fn fell_short(&self) {
        if SHORT_COUNT_MEANS_EMPTY && self.flags.get() & CLOSED == 0 {
            self.flags.set(0);
        }
    }

    /// A stream has come to its end, for good.
    pub(crate) fn ended(&self) {
        self.flags.set(READY | CLOSED);
    }

    #[inline]
    fn report(&self, closed: bool) {
        let closed = if closed { CLOSED } else { 0 };
        self.flags.set(self.flags.get() | READY | closed);
        if self.waiting.get() {
            self.waiting.set(false);
            self.wake_first();
        }
        if !self.others.borrow().is_empty() {
            self.wake_others();
        }
    }

    #[inline]
    fn wake_first(&self) {
        // Out of its cell while it is called: it is foreign code, and may come back here.
        let Some(waker) = self.first.take() else {
            return;
        };
        waker.wake_by_ref();
        if let Some(newer) = self.first.replace(Some(waker)) {
            self.first.set(Some(newer));
        }
    }

    #[cold]
    fn wake_others(&self) {
        for (_, waker) in self.others.take() {
            waker.wake();
        }
    }

    fn is_awaited(&self) -> bool {
        self.waiting.get() || !self.others.borrow().is_empty()
    }

    /// The first who waits takes the place that costs nothing, all others stand in a list.
    fn park(&self, ticket: &mut Ticket, waker: &Waker) {
        if *ticket == 0 {
            // After four billion waits the numbers come round; two futures that then share one only wake too often.
            let next = self.last_ticket.get().checked_add(1).unwrap_or(POLLER + 1);
            self.last_ticket.set(next);
            *ticket = next;
        }
        let holder = self.holder.get();
        if self.waiting.get() && holder != *ticket {
            return self.park_behind(*ticket, waker);
        }
        let first = self.first.take();
        match first {
            Some(first) if first.will_wake(waker) => self.first.set(Some(first)),
            other => {
                self.first.set(Some(waker.clone()));
                // Two tasks that poll the same direction by turns: the one that loses its place must not wait for ever.
                if *ticket == POLLER
                    && self.waiting.get()
                    && let Some(replaced) = other
                {
                    replaced.wake();
                }
            }
        }
        self.holder.set(*ticket);
        self.waiting.set(true);
    }

    #[cold]
    fn park_behind(&self, ticket: Ticket, waker: &Waker) {
        let waker = waker.clone();
        let mut others = self.others.borrow_mut();
        let replaced = match others.iter_mut().find(|(other, _)| *other == ticket) {
            Some((_, place)) => Some(std::mem::replace(place, waker)),
            None => {
                others.push((ticket, waker));
                None
            }
        };
        drop(others);
        if ticket == POLLER
            && let Some(replaced) = replaced
        {
            replaced.wake();
        }
    }

    /// The future with this ticket is dropped.
    #[inline]
    pub(crate) fn leave(&self, ticket: Ticket) {
        if self.holder.get() == ticket {
            self.waiting.set(false);
        }
        if !self.others.borrow().is_empty() {
            self.leave_others(ticket);
        }
    }

    #[cold]
    fn leave_others(&self, ticket: Ticket) {
        let mut others = self.others.borrow_mut();
        let left = others
            .iter()
            .position(|(other, _)| *other == ticket)
            .map(|at| others.remove(at));
        drop(others);
        drop(left); // outside the borrow: dropping a waker may run foreign code
    }
}

/// The key in the low half, the registration in the high half.
fn token(key: usize, registration: u32) -> u64 {
    key as u64 | u64::from(registration) << 32
}
