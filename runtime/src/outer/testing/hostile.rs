//! What is the worst that a network may do to a program, and still be a network?
//!
//! It may give a message in any number of pieces, take what is written in any number of pieces, say "not yet" for no
//! reason, take its time, end early, break. A [`Hostile`] does all that to one end of a [`Duplex`], as its seed and its
//! settings say:
//!
//! | setting               | without it     | what it does to reads and writes                           |
//! |-----------------------|----------------|------------------------------------------------------------|
//! | [`chunks(n)`]         | 16             | each moves 1 to n bytes                                    |
//! | [`pending(n)`]        | 4              | one in n first says Pending, and has itself polled again   |
//! | [`delays(d)`]         | none           | each first waits 0 to d of the runtime's time              |
//! | [`ends_after(k)`]     | never          | after k bytes, reads see the end of the stream             |
//! | [`breaks_after(k, e)`]| never          | after k bytes in all, both fail with e for ever            |
//!
//! To sweep k over the whole length of a conversation is to test each place where it can be cut.
//!
//! What was decided for an operation stays with the end, not with the future: an operation that is dropped and begun again
//! goes on where it was. So it decides once for each operation that succeeds, and no test can be kept waiting for ever.
//!
//! [`Duplex`]: crate::testing::Duplex
//! [`chunks(n)`]: Hostile::chunks
//! [`pending(n)`]: Hostile::pending
//! [`delays(d)`]: Hostile::delays
//! [`ends_after(k)`]: Hostile::ends_after
//! [`breaks_after(k, e)`]: Hostile::breaks_after
//!
//! Comes from: duplex.rs. Goes to: `sleep`, for delays.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::testing::duplex::Waiters;
use crate::testing::seeded;
use crate::{Sleep, sleep};

/// How an end of a stream makes life hard; see [`Duplex::hostile`](crate::testing::Duplex::hostile).
///
/// Clones draw from the same row of numbers: several streams made difficult by one `Hostile` do not do the same at the same
/// time, and the same seed still gives the same run.
///
/// ```
/// use runtime::testing::{Hostile, check, duplex};
/// check(0..20, async |seed| {
///     let (client, server) = duplex(64);
///     let client = client.hostile(Hostile::new(seed).chunks(3).ends_after(4));
///     server.write_all(b"hello").await.unwrap();
///     let mut word = [0; 5];
///     assert!(client.read_exact(&mut word).await.is_err(), "there were four");
///     assert_eq!(&word[..4], b"hell");
/// });
/// ```
#[derive(Clone)]
pub struct Hostile {
    numbers: Rc<dyn Fn(usize) -> usize>,
    chunk: usize,
    pending: usize,
    delay: Duration,
    end: u64,
    broken: u64,
    error: io::ErrorKind,
}

impl Hostile {
    /// Chunks of 1 to 16 bytes, one operation in four Pending at first.
    pub fn new(seed: u64) -> Self {
        Hostile {
            // Not the numbers that order the tasks: pieces and order are to have nothing to do with one another.
            numbers: Rc::new(seeded(!seed)),
            chunk: 16,
            pending: 4,
            delay: Duration::ZERO,
            end: u64::MAX,
            broken: u64::MAX,
            error: io::ErrorKind::ConnectionReset,
        }
    }

    /// How many bytes an operation moves at most; at least one.
    pub fn chunks(mut self, most: usize) -> Self {
        self.chunk = most.max(1);
        self
    }

    /// One in how many operations is Pending at first; 0: none.
    pub fn pending(mut self, one_in: usize) -> Self {
        self.pending = one_in;
        self
    }

    /// How long an operation waits at most before it looks. That is the runtime's time: under a
    /// [`TestClock`](crate::testing::TestClock) it costs none of the real one.
    pub fn delays(mut self, longest: Duration) -> Self {
        self.delay = longest;
        self
    }

    /// After how many bytes read here the stream ends, as if the other end had closed its write direction. This end can
    /// still write; writes of the other end fail with `BrokenPipe`.
    pub fn ends_after(mut self, bytes: u64) -> Self {
        self.end = bytes;
        self
    }

    /// After how many bytes, read and written here taken together, the connection breaks: all reads and writes at this end
    /// fail with `error`, and the other end sees what it would see if this one were dropped.
    ///
    /// ```
    /// use runtime::{now, testing::{Hostile, duplex, run}};
    /// use std::{io::ErrorKind::ConnectionReset, time::Duration};
    ///
    /// run(async {
    ///     let slow = Hostile::new(17).pending(2).delays(Duration::from_secs(60));
    ///     let (client, server) = duplex(64);
    ///     let client = client.hostile(slow.breaks_after(4, ConnectionReset));
    ///     let start = now();
    ///     let error = client.write_all(b"hello").await.unwrap_err();
    ///     assert_eq!(error.kind(), ConnectionReset);
    ///     assert!(now() - start <= Duration::from_secs(5 * 60));
    ///     assert!(server.read_exact(&mut [0; 5]).await.is_err(), "four have come");
    /// });
    /// ```
    pub fn breaks_after(mut self, bytes: u64, error: io::ErrorKind) -> Self {
        (self.broken, self.error) = (bytes, error);
        self
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile")
            .field("chunks", &self.chunk)
            .field("pending", &self.pending)
            .field("delays", &self.delay)
            .field("ends_after", &self.end)
            .field("breaks_after", &self.broken)
            .finish_non_exhaustive()
    }
}

/// What one end of a stream knows of its own trouble.
pub(crate) struct Hostility {
    settings: Hostile,
    read: Next,
    write: Next,
    bytes_read: Cell<u64>,
    bytes_moved: Cell<u64>,
}

/// What was decided for the next operation of a direction.
#[derive(Default)]
struct Next {
    decided: Cell<bool>,
    is_pending: Cell<bool>,
    delay: Cell<Option<Sleep>>,
}

impl Hostility {
    pub(crate) fn new(settings: Hostile) -> Self {
        Hostility {
            settings,
            read: Next::default(),
            write: Next::default(),
            bytes_read: Cell::new(0),
            bytes_moved: Cell::new(0),
        }
    }

    /// How many bytes the read may move, once it may go on.
    pub(crate) fn poll_before_read(
        &self,
        cx: &mut Context<'_>,
        waiters: &Arc<Waiters>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        let most = ready!(self.poll_before(cx, &self.read, waiters, wanted))?;
        let left = self.settings.end.saturating_sub(self.bytes_read.get());
        Poll::Ready(Ok(most.min(left.try_into().unwrap_or(usize::MAX))))
    }

    /// How many bytes the write may move, once it may go on.
    pub(crate) fn poll_before_write(
        &self,
        cx: &mut Context<'_>,
        waiters: &Arc<Waiters>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_before(cx, &self.write, waiters, wanted)
    }

    pub(crate) fn after_read(&self, result: &io::Result<usize>) {
        self.read.decided.set(false);
        let count = *result.as_ref().unwrap_or(&0) as u64;
        self.bytes_read.set(self.bytes_read.get() + count);
        self.bytes_moved.set(self.bytes_moved.get() + count);
    }

    pub(crate) fn after_write(&self, result: &io::Result<usize>) {
        self.write.decided.set(false);
        let count = *result.as_ref().unwrap_or(&0) as u64;
        self.bytes_moved.set(self.bytes_moved.get() + count);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.bytes_read.get() >= self.settings.end
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.bytes_moved.get() >= self.settings.broken
    }

    fn poll_before(
        &self,
        cx: &mut Context<'_>,
        next: &Next,
        waiters: &Arc<Waiters>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        let Hostile { numbers, chunk, pending, delay, broken, error, .. } = &self.settings;
        if !self.is_broken() {
            if !next.decided.replace(true) {
                next.is_pending.set(*pending > 0 && numbers(*pending) == 0);
                next.delay.set((!delay.is_zero()).then(|| {
                    let nanos = delay.as_nanos().try_into().unwrap_or(usize::MAX);
                    sleep(Duration::from_nanos(numbers(nanos.saturating_add(1)) as u64))
                }));
            }
            if next.is_pending.take() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(next.poll_delay(cx, waiters));
        }
        let left = broken.saturating_sub(self.bytes_moved.get());
        if left == 0 {
            return Poll::Ready(Err((*error).into()));
        }
        let most = wanted.min(numbers(*chunk) + 1);
        Poll::Ready(Ok(most.min(left.try_into().unwrap_or(usize::MAX))))
    }
}

impl Next {
    fn poll_delay(&self, cx: &mut Context<'_>, waiters: &Arc<Waiters>) -> Poll<()> {
        let Some(mut sleep) = self.delay.take() else {
            return Poll::Ready(());
        };
        // Whoever polls this last may give up: the timer is to wake all who wait here.
        waiters.add(cx.waker());
        let waker = Waker::from(Arc::clone(waiters));
        if Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending() {
            self.delay.set(Some(sleep));
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
