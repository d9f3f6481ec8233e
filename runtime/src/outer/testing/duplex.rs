//! How do two ends of a connection meet without a kernel between them?
//!
//! In a [`Duplex`]: two buffers, one for each direction, and who waits at either side of each. It behaves as a connected
//! TCP socket does, as far as a program can rely on that ([`check_two_way_stream`] says how far):
//!
//! | one end                    | so the other                                                       |
//! |----------------------------|--------------------------------------------------------------------|
//! | writes                     | reads, in order, in pieces of any size                             |
//! | writes more than fits      | has to read before that goes on                                    |
//! | closes its write direction | reads what is left, then the end of the stream; may still write    |
//! | is dropped                 | as closed; and its own writes fail with `BrokenPipe`               |
//!
//! No bytes come late: what is written can be read at once. An end that is to be difficult is made so by
//! [`Duplex::hostile`] (hostile.rs).
//!
//! Any number of tasks may wait at the same side: all are woken, and those who find nothing wait again. Wakers are called
//! with no borrow held.
//!
//! [`check_two_way_stream`]: crate::testing::check_two_way_stream
//!
//! Comes from: tests; net's listener in memory. Goes to: the wakers of those who wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use crate::testing::Hostile;
use crate::testing::hostile::Hostility;
use crate::{Reason, Wait, parked};

/// Two ends of a stream of bytes in memory. Each direction holds up to `capacity` bytes (at least one) that were written
/// and not read yet.
///
/// ```
/// runtime::block_on(async {
///     let (client, server) = runtime::testing::duplex(64);
///     client.write_all(b"hello").await?;
///     client.close();
///     let mut buffer = [0; 64];
///     assert_eq!(server.read(&mut buffer).await?, 5);
///     assert_eq!(server.read(&mut buffer).await?, 0, "the end of the stream");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn duplex(capacity: usize) -> (Duplex, Duplex) {
    let (there, back) = (Pipe::new(capacity.max(1)), Pipe::new(capacity.max(1)));
    let left = Duplex { reads: Rc::clone(&back), writes: Rc::clone(&there), hostility: None };
    (left, Duplex { reads: there, writes: back, hostility: None })
}

/// One end of a stream in memory; see [`duplex`]. Dropping it closes both directions.
///
/// Methods take `&self`, as those of sockets do: two tasks may use both directions at the same time, with it in an `Rc`.
///
/// ```
/// use runtime::testing::{Hostile, duplex};
/// runtime::block_on(async {
///     let (client, server) = duplex(4);
///     let server = server.hostile(Hostile::new(17)); // a bad line
///     assert_eq!(client.write(b"hello").await?, 4, "no more fits");
///     let mut word = [0; 4];
///     server.read_exact(&mut word).await?;
///     assert_eq!(&word, b"hell");
///     drop(client);
///     assert!(server.write(b"?").await.is_err());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Duplex {
    reads: Rc<Pipe>,
    writes: Rc<Pipe>,
    hostility: Option<Hostility>,
}

impl Duplex {
    /// Makes this end difficult from now on: its reads and writes, not those of the other end.
    pub fn hostile(mut self, hostile: Hostile) -> Self {
        self.hostility = Some(Hostility::new(hostile));
        self
    }

    /// Reads some bytes: as many as there are, at least one, at most the buffer's length. Zero: the end of the stream. An
    /// empty buffer gives zero at once.
    ///
    /// # Errors
    /// None, but those asked for by [`hostile`](Self::hostile).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has read nothing.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the stream ends first; as [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it is ready, what it has read is in the buffer, but how much is not known.
    pub async fn read_exact(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read(buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Writes some bytes: as many as fit now, at least one. To write nothing gives zero at once.
    ///
    /// # Errors
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the other end is gone, or this one was closed; and those asked for by
    /// [`hostile`](Self::hostile).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has written nothing.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, bytes)).await
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it is ready, a beginning of unknown length has been written.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends the write direction: the other end reads what was written and then sees the end of the stream. Ending it again
    /// changes nothing.
    pub fn close(&self) {
        self.writes.change(|state| state.ended = true);
    }

    /// As [`read`](Self::read), for those who implement futures. If it is Pending, the waker will be called.
    ///
    /// ```
    /// use std::future::poll_fn;
    ///
    /// runtime::block_on(async {
    ///     let (client, server) = runtime::testing::duplex(64);
    ///     poll_fn(|cx| client.poll_write(cx, b"hello")).await?;
    ///     let mut buffer = [0; 64];
    ///     assert_eq!(poll_fn(|cx| server.poll_read(cx, &mut buffer)).await?, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(hostility) = &self.hostility else {
            return self.reads.poll_read(cx, buffer);
        };
        let most = ready!(hostility.poll_before_read(cx, &self.reads.readers, buffer.len()));
        let result = match most {
            Ok(most) => ready!(self.reads.poll_read(cx, &mut buffer[..most])),
            Err(error) => Err(error),
        };
        hostility.after_read(&result);
        self.break_if(hostility);
        Poll::Ready(result)
    }

    /// As [`write`](Self::write), for those who implement futures. If it is Pending, the waker will be called.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(hostility) = &self.hostility else {
            return self.writes.poll_write(cx, bytes);
        };
        let most = ready!(hostility.poll_before_write(cx, &self.writes.writers, bytes.len()));
        let result = match most {
            Ok(most) => ready!(self.writes.poll_write(cx, &bytes[..most])),
            Err(error) => Err(error),
        };
        hostility.after_write(&result);
        self.break_if(hostility);
        Poll::Ready(result)
    }

    /// A direction that has come to its hostile end shows that to all who wait, here and there.
    fn break_if(&self, hostility: &Hostility) {
        if hostility.is_broken() {
            self.leave();
        } else if hostility.has_ended() {
            self.reads.change(|state| state.gone = true);
        }
    }

    fn leave(&self) {
        self.writes.change(|state| state.ended = true);
        self.reads.change(|state| state.gone = true);
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex")
            .field("to_read", &self.reads.state.borrow().bytes.len())
            .field("written", &self.writes.state.borrow().bytes.len())
            .finish_non_exhaustive()
    }
}

/// One direction.
struct Pipe {
    state: RefCell<State>,
    readers: Arc<Waiters>,
    writers: Arc<Waiters>,
}

struct State {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Nobody will write any more.
    ended: bool,
    /// Nobody will read any more.
    gone: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Rc<Self> {
        let state = State { bytes: VecDeque::new(), capacity, ended: false, gone: false };
        Rc::new(Pipe {
            state: RefCell::new(state),
            readers: Arc::default(),
            writers: Arc::default(),
        })
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        let count = buffer.len().min(state.bytes.len());
        if count == 0 && !state.ended && !state.gone {
            drop(state);
            return self.readers.wait(cx, Reason::Readable);
        }
        state.bytes.read_exact(&mut buffer[..count])?; // so many are there
        drop(state);
        if count > 0 {
            self.writers.wake_all();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        if state.ended || state.gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(state.capacity - state.bytes.len());
        if count == 0 {
            drop(state);
            return self.writers.wait(cx, Reason::Writable);
        }
        state.bytes.extend(&bytes[..count]);
        drop(state);
        if count > 0 {
            self.readers.wake_all();
        }
        Poll::Ready(Ok(count))
    }

    /// Ends something, and wakes all to see it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
        self.readers.wake_all();
        self.writers.wake_all();
    }
}

/// Who waits at one side of a direction. It is itself a waker that wakes them all: that is what a hostile delay's timer is
/// given, so that it may outlive the one who happened to poll it last. A waker has to be `Send`, hence the lock.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Vec<Waker>>);

impl Waiters {
    fn wait<T>(&self, cx: &mut Context<'_>, reason: Reason) -> Poll<T> {
        self.add(cx.waker());
        parked(&Wait { reason, source: None, label: Some(&"a stream in memory") });
        Poll::Pending
    }

    /// Those who gave up waiting stay until the next wake, which for them is one too many.
    pub(crate) fn add(&self, waker: &Waker) {
        let waker = waker.clone(); // foreign code, and so is its drop: not under the lock
        let mut waiting = self.lock();
        if waiting.iter().any(|other| other.will_wake(&waker)) {
            drop(waiting);
        } else {
            waiting.push(waker);
        }
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for waker in waiting {
            // If one panics, the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}
