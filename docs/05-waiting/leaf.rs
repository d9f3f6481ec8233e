//! How does a task say what it waits for?
//!
//! At the bottom of its `.await`s, in one future that is written by hand: it leaves the task's waker in one of the loop's two tables,
//! tells the poller what to watch the socket for, and returns `Pending`. That is what remains of the talk's `yield 'recv', sock`:
//! here the word and the socket go into a table, and nothing but "not yet" goes to the loop.
//!
//! Comes from: the handlers' `.await`. Goes to: the loop's tables, and the poller, by way of watched.rs.

use std::future::poll_fn;
use std::io;
use std::mem::replace;
use std::os::fd::{AsFd, AsRawFd};
use std::task::Poll;

use polling::{Event, PollMode};

use super::{Loop, WaitTable};

#[path = "../watched.rs"]
mod watched;
pub(crate) use watched::Watched;

impl Loop {
    /// Lets the poller know of a socket, which must not block. Nobody waits for it yet.
    pub(crate) fn watch<S: AsFd + AsRawFd>(&self, socket: S) -> io::Result<Watched<S>> {
        let nothing = Event::none(socket.as_raw_fd() as usize);
        Watched::new(&self.poller, socket, nothing, PollMode::Oneshot)
    }

    /// Until a read, or an accept, is worth a try.
    pub(crate) async fn readable(&self, socket: &Watched<impl AsFd + AsRawFd>) -> io::Result<()> {
        self.park(&self.recv_wait, socket).await
    }

    /// Until a write is worth a try.
    pub(crate) async fn writable(&self, socket: &Watched<impl AsFd + AsRawFd>) -> io::Result<()> {
        self.park(&self.send_wait, socket).await
    }

    /// Pending once, with the task's waker in a table; then ready.
    async fn park(
        &self,
        table: &WaitTable,
        socket: &Watched<impl AsFd + AsRawFd>,
    ) -> io::Result<()> {
        let key = socket.as_raw_fd() as usize;
        let mut has_parked = false;
        poll_fn(|cx| {
            if replace(&mut has_parked, true) {
                return Poll::Ready(Ok(()));
            }
            table.borrow_mut().insert(key, cx.waker().clone());
            let [recv, send] =
                [&self.recv_wait, &self.send_wait].map(|table| table.borrow().contains_key(&key));
            socket.ask(Event::new(key, recv, send), PollMode::Oneshot)?;
            Poll::Pending
        })
        .await
    }
}
