//! The echo server whose user instructions are counted.
//!
//! Server and clients share one thread, so that every round is one batch and the count is the same in every run: all
//! clients write, the loop sleeps once and wakes for all of them, all servers answer, all clients read. The clients are
//! plain blocking sockets; what they do stands in [`clients_write`] and [`clients_read`], which callgrind is told to leave
//! out. It is a program of its own, and not a test started again, because a test has a second thread beside it: with that,
//! the C library's `recv` and `send` have more to do.
//!
//! What it does not do: survive errors. One that it does not expect ends it, and so fails the test; at the latest its alarm.
//!
//! Comes from: tests/it/costs.rs, which runs it under callgrind. Goes to: net.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ::net::{TcpListener, TcpStream};
use runtime::{block_on, spawn};

const MESSAGE: [u8; 64] = [b'x'; 64];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let (Some(Ok(connections)), Some(Ok(rounds))) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: echo_child CONNECTIONS ROUNDS"));
    };
    // Not a timer of the runtime's: that the clock is not read is one of the counts.
    // SAFETY: it takes a number and touches no memory. The signal ends a process that does not handle it.
    unsafe { libc::alarm(60) };
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let unanswered = Rc::<Unanswered>::default();
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(net::TcpStream::connect(listener.local_addr()?)?);
            let (stream, _) = listener.accept().await?;
            drop(spawn(echo(stream, Rc::clone(&unanswered))));
        }
        for _ in 0..rounds {
            clients_write(&mut clients)?;
            unanswered.count.set(connections);
            unanswered.none().await;
            clients_read(&mut clients)?;
        }
        Ok(())
    })
}

async fn echo(stream: TcpStream, unanswered: Rc<Unanswered>) -> io::Result<()> {
    let answer = |bytes: &[u8]| match bytes {
        [] => Ok(0),
        _ => stream.try_write(bytes),
    };
    while stream.read_lent(16 * 1024, answer).await?? > 0 {
        unanswered.one_less();
    }
    Ok(())
}

// In release builds an inlined function has no name that callgrind could leave out.
#[inline(never)]
fn clients_write(clients: &mut [net::TcpStream]) -> io::Result<()> {
    clients.iter_mut().try_for_each(|client| client.write_all(&MESSAGE))
}

#[inline(never)]
fn clients_read(clients: &mut [net::TcpStream]) -> io::Result<()> {
    clients.iter_mut().try_for_each(|client| client.read_exact(&mut [0; MESSAGE.len()]))
}

/// How many clients have asked and not been answered.
#[derive(Default)]
struct Unanswered {
    count: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Unanswered {
    #[inline]
    fn one_less(&self) {
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }

    async fn none(&self) {
        poll_fn(|cx| {
            if self.count.get() == 0 {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
