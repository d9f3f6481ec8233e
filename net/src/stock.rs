//! Where do the buffers of those who only pass bytes on come from, and where are they while nothing comes?
//!
//! From a stock that each thread has, and there. What is read has to lie somewhere until it is written or taken, so the
//! thread's one lent buffer (`TcpStream::read_lent`) does not do: several connections may hold bytes at the same time. But a
//! connection that waits for its peer holds none. So:
//!
//! | a read is            | the buffer                                       |
//! |----------------------|--------------------------------------------------|
//! | tried                | is taken from the stock                          |
//! | Pending, or the end  | goes back at once                                |
//! | ready                | stays with its bytes until the last of them is out |
//!
//! [`Held`] is that rule as a type: it has a buffer exactly while it has bytes. Ten thousand idle connections need no
//! buffer, and as many are alive as hold bytes that somebody does not take.
//!
//! The stock keeps [`KEPT`] buffers a thread, 256 KiB; those beyond are freed. They are not wiped: a reader that claims
//! bytes which it has not written, which no sane one does, shows what the buffer held before.
//!
//! [`Share`] is what keeps copies and lines from moving bytes in one poll without end. Sockets have the loop's allowance
//! for that; streams in memory, and two sockets in one poll, do not end by it.
//!
//! Comes from: copy.rs, buffered.rs. Goes to: the reader; for `Share`, `runtime::sleep`.

use std::cell::RefCell;
use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::AsyncRead;

/// How many bytes one read brings at most. 16 KiB are 7 us of a loopback's time, beside which a read's own cost is small.
pub(crate) const BUFFER: usize = 16 * 1024;

/// How many buffers a thread keeps that nobody uses.
const KEPT: usize = 16;

thread_local!(static STOCK: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) });

/// Bytes on their way from a reader to somebody.
#[derive(Default)]
pub(crate) struct Held {
    /// Empty while there are none.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Held {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads, when nothing is held; zero is the end of the stream. Pending or failed, it holds nothing, as before.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut impl AsyncRead>,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty(), "it would lose what it holds");
        let stocked = STOCK.try_with(|stock| stock.borrow_mut().pop()).ok().flatten();
        // In here before the reader is called, so that the buffer goes back by whichever way that ends.
        let mut read = Held { buffer: stocked.unwrap_or_else(make), start: 0, end: 0 };
        let count = ready!(reader.poll_read(cx, &mut read.buffer))?;
        if count > read.buffer.len() {
            return Poll::Ready(Err(overstated()));
        }
        read.end = count;
        if count > 0 {
            *self = read;
        }
        Poll::Ready(Ok(count))
    }

    /// Takes `count` bytes out at the front; the buffer goes with the last one.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            *self = Held::default();
        }
    }
}

/// What to say of a reader that claims more than it was given room for.
#[cold]
pub(crate) fn overstated() -> io::Error {
    io::Error::other(
        "the reader says that it has read more than there was room for: mend its poll_read",
    )
}

#[cold]
fn make() -> Box<[u8]> {
    vec![0; BUFFER].into_boxed_slice()
}

impl Drop for Held {
    fn drop(&mut self) {
        let buffer = take(&mut self.buffer);
        if buffer.is_empty() {
            return;
        }
        // In the thread's last breaths there is no stock any more, and the buffer is freed.
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < KEPT {
                stock.push(buffer);
            }
        });
    }
}

/// What one poll may still move before it lets others run, in the loop's own measure: an operation, and one more for each
/// 1,024 bytes. It is less than the loop allows a poll (128), by what one step from full to spent may cost beyond it.
pub(crate) struct Share(usize);

impl Share {
    pub(crate) fn new() -> Self {
        Share(94)
    }

    /// For bytes that were read and then written.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(2 + 2 * (bytes / 1024));
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// To be called before returning Pending for no other reason than that others should run: the task is polled again behind
/// those that are ready, and behind what the kernel has to tell.
pub(crate) fn step_back(cx: &mut Context<'_>) {
    // A sleep whose time has passed long ago ends at the loop's next turn, and so ends this one. A mere wake does not: a
    // task that wakes itself is polled dozens of times before anybody's event is looked at.
    const LONG_AGO: Duration = Duration::from_secs(365 * 24 * 3600);
    if runtime::Handle::try_current().is_some()
        && let Some(passed) = runtime::now().checked_sub(LONG_AGO)
    {
        let _ = pin!(runtime::sleep_until(passed)).poll(cx);
    }
    cx.waker().wake_by_ref();
}
