//! How does a server treat its guests: the patient, the slow, the silent, and those who are there when it closes?
//!
//! Every connection is a [`Guest`]: its stream, and a note of what it is [`Doing`]. The handler keeps the note up to date;
//! nobody reads a clock for that and nobody sets a timer. A task of its own, [`Guests::watch_over`], comes by four times per
//! time limit, and whoever has not moved since its fourth visit ago is overdue. So a limit of 30 s ends a connection after 30 to
//! 37.5 s, and costs one store per request. With no guests in the house it does not come at all: an idle server sleeps.
//!
//! | doing     | what it means                                    | limit            | the word                     |
//! |-----------|--------------------------------------------------|------------------|------------------------------|
//! | `Idle`    | nothing is pending                               | `--idle-timeout` | `error: nothing came for ..` |
//! | `HalfLine`| a line was begun and not ended                   | `--slow-timeout` | `error: the line was ..`     |
//! | `Working` | it waits for us                                  | none             |                              |
//! | `Unread`  | it does not take its answer, and both sides' buffers are full | `--slow-timeout` | none would reach it: in the log |
//!
//! More of the same line, or some more room for the same answer, is no progress: a limit counts from the beginning. Both
//! are bounded in size, so a client at a normal pace never notices.
//!
//! An overdue connection is ended from outside by shutting its socket down: the handler, wherever it waits, finds the end
//! of the stream or an error, and leaves by the way it always leaves.
//!
//! When the server stops, every guest's reading direction is shut down: what has been sent is still read and answered, then
//! comes the end of the stream. (That is Linux's way; elsewhere the kernel may drop what was not read yet.)
//!
//! Comes from: main.rs, once a connection. Goes to: the handlers (fib.rs, echo.rs), which own their guest.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use net::TcpStream;
use runtime::{sleep, timeout};

use crate::log::Log;

/// One connection. Dropping it closes it and says so.
pub(crate) struct Guest {
    pub(crate) stream: TcpStream,
    doing: Cell<Doing>,
    /// Whether anything has happened since the last visit.
    moved: Cell<bool>,
    /// How many visits ago something has.
    quiet: Cell<u32>,
    overdue: Cell<bool>,
    /// Its place on the list.
    seat: Cell<usize>,
    guests: Rc<Guests>,
}

/// What a connection is in the course of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Idle,
    HalfLine,
    Working,
    Unread,
}

impl Guest {
    /// Notes what the connection is doing. The same again is no news, and its time runs on.
    pub(crate) fn now(&self, doing: Doing) {
        if self.doing.replace(doing) != doing {
            self.moved.set(true);
        }
    }

    /// Notes that something has happened.
    pub(crate) fn moves(&self) {
        self.moved.set(true);
    }

    /// Writes all of `bytes`. As a rule the kernel takes them at once.
    pub(crate) async fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        let count = match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => result?,
        };
        if count < bytes.len() {
            Box::pin(self.owe(&bytes[count..], Doing::Working)).await?;
        }
        Ok(())
    }

    /// Writes what the client did not take at once, as it reads, within its limit; then goes on with `then`.
    pub(crate) async fn owe(&self, rest: impl AsRef<[u8]>, then: Doing) -> io::Result<()> {
        self.now(Doing::Unread);
        self.stream.write_all(rest.as_ref()).await?;
        self.now(then);
        Ok(())
    }

    /// Whether its connection was ended from this side: by a limit, or because the server stops.
    pub(crate) fn is_sent_home(&self) -> bool {
        self.overdue.get() || self.guests.closing.get()
    }

    /// Whether the client has broken the connection off. Asked only where reading cannot tell.
    pub(crate) fn has_broken_off(&self) -> bool {
        !matches!(self.stream.as_socket().get_ref().take_error(), Ok(None))
    }

    /// Says a last word and closes so that it arrives: the kernel answers bytes that nobody has read by a reset, which would
    /// overtake the word; so they are read, for a second at most.
    pub(crate) async fn farewell(&self, word: &str) {
        let told = async {
            self.answer(word.as_bytes()).await?;
            self.stream.shutdown(Shutdown::Write)?;
            while self.stream.read_lent(usize::MAX, <[u8]>::len).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        // Whether it heard is its own affair.
        let _ = timeout(Duration::from_secs(1), told).await;
    }

    fn end_overdue(&self, limits: &TimeLimits) {
        let reason = match self.doing.get() {
            Doing::Idle => format!("nothing came for {:?}", limits.idle),
            Doing::HalfLine => format!("the line was not ended within {:?}", limits.slow),
            Doing::Working => return,
            Doing::Unread => format!("the answer was not read within {:?}", limits.slow),
        };
        if self.doing.get() != Doing::Unread {
            // One short line into an empty buffer; if even that does not fit, the log has it.
            let _ = self.stream.try_write(format!("error: {reason}\n").as_bytes());
        }
        self.guests.log.say(|| match self.stream.peer_addr() {
            Ok(peer) => format!("Ending {peer}: {reason}"),
            Err(_) => format!("Ending a connection: {reason}"),
        });
        self.overdue.set(true);
        // Fails only for a connection that is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.leave(self.seat.get());
        self.guests.log.say(|| "Closed".into());
    }
}

/// All connections of one runtime.
pub(crate) struct Guests {
    /// In no order: whoever leaves is replaced by the last.
    list: RefCell<Vec<Weak<Guest>>>,
    closing: Cell<bool>,
    limits: TimeLimits,
    log: Log,
    /// The visiting task, when it waits for a first guest.
    waiting: Cell<Option<Waker>>,
}

/// How long a client may take. Zero: as long as it likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// To send anything.
    pub(crate) idle: Duration,
    /// To end a line it has begun; to read an answer.
    pub(crate) slow: Duration,
}

/// Visits per time limit.
const VISITS: u32 = 4;

impl Guests {
    pub(crate) fn new(limits: TimeLimits, log: Log) -> Rc<Self> {
        Rc::new(Guests {
            list: RefCell::default(),
            closing: Cell::new(false),
            limits,
            log,
            waiting: Cell::default(),
        })
    }

    /// Lets a connection in.
    pub(crate) fn welcome(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) -> Rc<Guest> {
        self.log.say(|| format!("Connection {address}"));
        let guest = Rc::new(Guest {
            stream,
            doing: Cell::new(Doing::Idle),
            moved: Cell::new(true),
            quiet: Cell::new(0),
            overdue: Cell::new(false),
            seat: Cell::new(self.list.borrow().len()),
            guests: Rc::clone(self),
        });
        self.list.borrow_mut().push(Rc::downgrade(&guest));
        if self.closing.get() {
            let _ = guest.stream.shutdown(Shutdown::Read);
        }
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        guest
    }

    /// Says to all that the server stops: what they have sent is still served.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.each(|guest| {
            // Fails only for a connection that is gone already.
            let _ = guest.stream.shutdown(Shutdown::Read);
        });
    }

    /// Visits, as long as there is anybody to visit. Never ends.
    pub(crate) async fn watch_over(self: Rc<Self>) {
        let TimeLimits { idle, slow } = self.limits;
        let Some(shortest) = [idle, slow].into_iter().filter(|limit| !limit.is_zero()).min() else {
            return;
        };
        let period = shortest / VISITS;
        loop {
            poll_fn(|cx| {
                if !self.list.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            sleep(period).await;
            self.each(|guest| {
                let quiet = if guest.moved.take() { 0 } else { guest.quiet.get() + 1 };
                guest.quiet.set(quiet);
                let limit = match guest.doing.get() {
                    Doing::Idle => idle,
                    Doing::HalfLine | Doing::Unread => slow,
                    Doing::Working => return,
                };
                if !limit.is_zero() && period.saturating_mul(quiet) >= limit {
                    guest.end_overdue(&self.limits);
                }
            });
        }
    }

    fn each(&self, visit: impl Fn(&Guest)) {
        for guest in self.list.borrow().iter() {
            // Their handlers hold them, and no handler runs meanwhile: none is dropped here.
            if let Some(guest) = guest.upgrade() {
                visit(&guest);
            }
        }
    }

    fn leave(&self, seat: usize) {
        let mut list = self.list.borrow_mut();
        list.swap_remove(seat);
        if let Some(moved) = list.get(seat).and_then(Weak::upgrade) {
            moved.seat.set(seat);
        }
        // A crowd that has left leaves no long list behind.
        let crowd = list.len();
        if list.capacity() > 64 + 4 * crowd {
            list.shrink_to(2 * crowd);
        }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("here", &self.list.borrow().len()).finish()
    }
}

/// Whichever of two futures is ready first. The other is dropped.
pub(crate) enum First<A, B> {
    One(A),
    Other(B),
}

/// Awaits two futures at a time and gives what the first one gives; if both are ready, `one`'s.
pub(crate) async fn first_of<A: Future, B: Future>(
    one: A,
    other: B,
) -> First<A::Output, B::Output> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| {
        if let Poll::Ready(output) = one.as_mut().poll(cx) {
            return Poll::Ready(First::One(output));
        }
        other.as_mut().poll(cx).map(First::Other)
    })
    .await
}
