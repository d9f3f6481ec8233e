//! Connections: their time limits, their count, and how the server ends them.
//!
//! Every connection is a [`Guest`]: its stream, and a note of what it is [`Doing`]. The handler keeps the note up to date;
//! that reads no clock and sets no timer. One task per runtime, [`Guests::watch_over`], visits all connections four times
//! per time limit, and a connection that has not moved for four visits is overdue. So a limit of 30 s ends a connection
//! after 30 to 37.5 s, and costs one store per request. Without connections there are no visits: an idle server sleeps.
//!
//! | doing      | what it means                                   | limit            | the word                     |
//! |------------|-------------------------------------------------|------------------|------------------------------|
//! | `Idle`     | nothing is pending                              | `--idle-timeout` | `error: nothing came for ..` |
//! | `HalfLine` | a line was begun and not ended                  | `--slow-timeout` | `error: the line was ..`     |
//! | `Working`  | the client waits for the server                 | `--max-seconds` (fib.rs) | `error: fib(..) took ..` |
//! | `Unread`   | the client does not take its answer, and the buffers of both sides are full | `--slow-timeout` | none would arrive: in the log |
//! | `Leaving`  | the server has ended its side                   | [`LINGER`]       |                              |
//!
//! More of the same line, or some more room for the same answer, is no progress: a limit counts from the beginning. Both
//! are bounded in size, so a client at a normal pace never meets it.
//!
//! How the server ends a connection (a limit, an over-long line, the stop of the server): [`Guest::read`] gives `None`
//! once the bytes that may still be read are read: none at a limit; at a stop, those that have arrived before it. The
//! handler answers what it has and calls [`Guest::finish`]: end the sending direction, then read away what comes.
//! Without the latter, the kernel answers bytes that nothing has read, and every byte that comes after the close, by a reset,
//! and a reset throws away the answers that are still on their way. The reading direction is never shut down for the same
//! reason: together with the end of the sending one it resets the connection at the next byte.
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
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;

use crate::log::Log;
use crate::options::Seconds;

/// How long the server reads on after it has ended its side, for the client to take its last answers and end its own.
const LINGER: Duration = Duration::from_secs(1);

/// One connection. Dropping it closes it and says so.
pub(crate) struct Guest {
    pub(crate) stream: TcpStream,
    doing: Cell<Doing>,
    /// Whether anything has happened since the last visit.
    moved: Cell<bool>,
    /// How many visits ago something has.
    quiet: Cell<u32>,
    /// How many bytes may still be read; unlimited until the server ends the connection.
    may_read: Cell<usize>,
    /// Whether the end of the stream, or an error, has come from the client, or it takes nothing.
    has_left: Cell<bool>,
    /// The task that reads, to be woken when `may_read` changes.
    reader: Cell<Option<Waker>>,
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
    Leaving,
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

    /// Reads up to `max` bytes into the thread's buffer, so a connection that waits here holds none. An empty chunk is the
    /// client's end of the stream; `None` is the server's end of the connection: it takes no more.
    pub(crate) async fn read<R>(
        &self,
        max: usize,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> io::Result<Option<R>> {
        let max = max.min(self.may_read.get());
        let mut reading = pin!(self.stream.read_lent(max, |chunk| {
            self.has_left.set(chunk.is_empty());
            if self.is_ended() {
                self.may_read.set(self.may_read.get().saturating_sub(chunk.len()));
            }
            use_bytes(chunk)
        }));
        poll_fn(|cx| {
            // Also what keeps a read of no bytes, which looks like the end of the stream, from being tried.
            if self.may_read.get() == 0 {
                return Poll::Ready(Ok(None));
            }
            match reading.as_mut().poll(cx) {
                Poll::Ready(Ok(output)) => Poll::Ready(Ok(Some(output))),
                Poll::Ready(Err(error)) => {
                    self.has_left.set(true);
                    Poll::Ready(Err(error))
                }
                Poll::Pending => {
                    let known = self.reader.take().filter(|known| known.will_wake(cx.waker()));
                    self.reader.set(known.or_else(|| Some(cx.waker().clone())));
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether the client has ended its side, as far as has been read.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left.get()
    }

    /// Whether the connection is over, with or without an error. Asked only where reading cannot tell.
    ///
    /// `SO_ERROR` would be the wrong question on Linux: it also gives soft errors, such as a router's "host unreachable",
    /// after which TCP just sends again (RFC 1122, 4.2.3.9). Elsewhere it gives none of these, while POLLHUP may mean less.
    pub(crate) fn has_broken_off(&self) -> bool {
        if !cfg!(target_os = "linux") {
            return !matches!(self.stream.take_error(), Ok(None));
        }
        let mut asked = [PollFd::new(&self.stream, PollFlags::empty())];
        // An error of the call itself (no memory) says nothing about the connection.
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|found| found > 0)
    }

    /// The last step of every handler: ends the server's side so that what was sent last arrives.
    pub(crate) async fn finish(&self) {
        self.now(Doing::Leaving);
        // A client that has ended its side sends nothing that could cause a reset. Of one that is gone the error tells.
        if self.has_left.get() || self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let rest = async {
            while let Ok(1..) = self.stream.read_lent(usize::MAX, <[u8]>::len).await {}
            self.has_left.set(true);
        };
        // Boxed, since few connections end this way: room for it would add to what every idle connection weighs.
        let _ = Box::pin(timeout(LINGER, rest)).await;
    }

    /// Writes a line about this connection into the log, also of a quiet server.
    pub(crate) fn report(&self, text: impl fmt::Display) {
        match self.stream.peer_addr() {
            Ok(peer) => self.guests.log.announce(format!("{peer}: {text}")),
            Err(_) => self.guests.log.announce(format!("a connection that has ended: {text}")),
        }
    }

    /// Has [`read`](Self::read) take in `more` bytes, and then no more.
    fn end_after(&self, more: usize) {
        self.may_read.set(more);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn end_after_what_has_arrived(&self) {
        if !self.is_ended() {
            // Without an answer the connection is gone.
            let arrived = ioctl_fionread(&self.stream).unwrap_or(0);
            self.end_after(arrived.try_into().unwrap_or(usize::MAX - 1));
        }
    }

    /// Whether the server has begun to end the connection.
    fn is_ended(&self) -> bool {
        self.may_read.get() != usize::MAX
    }

    fn end_overdue(&self, limits: &TimeLimits) {
        let (idle, slow) = (Seconds(limits.idle), Seconds(limits.slow));
        let reason = match self.doing.get() {
            Doing::Idle => format!("nothing came for {idle}"),
            Doing::HalfLine => format!("the line was not ended within {slow}"),
            Doing::Unread => format!("the answer was not read within {slow}"),
            Doing::Working | Doing::Leaving => return,
        };
        self.guests.log.say(|| match self.stream.peer_addr() {
            Ok(peer) => format!("Ending {peer}: {reason}"),
            Err(_) => format!("Ending a connection: {reason}"),
        });
        if self.doing.get() == Doing::Unread {
            // Nothing more would arrive, so there is nothing to linger for. This gives the handler's write an error.
            self.has_left.set(true);
            let _ = self.stream.shutdown(Shutdown::Both);
        } else {
            // One short line into an empty buffer; if even that does not fit, the log has it.
            let _ = self.stream.try_write(format!("error: {reason}\n").as_bytes());
        }
        self.end_after(0);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.doing.get() != Doing::Leaving {
            // The handler was dropped before its end: by the drain's deadline, or by a panic.
            self.guests.cut.set(self.guests.cut.get() + 1);
        }
        if !self.has_left.get() {
            // What time is left for: an end, and no reset for bytes that lie there already.
            let _ = self.stream.shutdown(Shutdown::Write);
            let mut unread = [0; 4096];
            (0..16).any(|_| !matches!(self.stream.try_read(&mut unread), Ok(1..)));
        }
        self.guests.leave(self.seat.get());
        self.guests.log.say(|| "Closed".into());
    }
}

/// All connections of one runtime.
pub(crate) struct Guests {
    /// In no order: whoever leaves is replaced by the last.
    list: RefCell<Vec<Weak<Guest>>>,
    closing: Cell<bool>,
    /// How many were dropped before their handler had ended.
    cut: Cell<u64>,
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
            cut: Cell::new(0),
            limits,
            log,
            waiting: Cell::default(),
        })
    }

    /// Lets a connection in.
    pub(crate) fn welcome(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) -> Rc<Guest> {
        self.log.say(|| format!("Connection {address}"));
        // An answer is a whole message: with Nagle's algorithm the second one of a pipeline waits for the acknowledgement of
        // the first, which the client's kernel delays by 40 ms. Fails only for a connection that is gone already.
        let _ = stream.set_nodelay(true);
        let guest = Rc::new(Guest {
            stream,
            doing: Cell::new(Doing::Idle),
            moved: Cell::new(true),
            quiet: Cell::new(0),
            may_read: Cell::new(usize::MAX),
            has_left: Cell::new(false),
            reader: Cell::default(),
            seat: Cell::new(self.list.borrow().len()),
            guests: Rc::clone(self),
        });
        self.list.borrow_mut().push(Rc::downgrade(&guest));
        if self.closing.get() {
            guest.end_after_what_has_arrived();
        }
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        guest
    }

    /// Has all connections end: what has arrived is still served.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.each(Guest::end_after_what_has_arrived);
    }

    /// How many connections were closed before all that had arrived was answered.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.get()
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
                    Doing::Working | Doing::Leaving => return,
                };
                if guest.may_read.get() > 0
                    && !limit.is_zero()
                    && period.saturating_mul(quiet) >= limit
                {
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
