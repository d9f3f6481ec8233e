//! What does a server look like that asks the kernel who is ready, with nothing in between?
//!
//! The original: `select` over two lists of sockets, a queue of answers for each client, a timeout of 60 seconds, answers
//! only to what ends in a question mark; and where answers are sent it says `(...)`. Here that half is written out.
//!
//! Its logic is inside out: there is no handler that says "read, then write, until the end". Each round looks at everybody
//! and does a bit for those who are ready; what a handler would know from where it stands is a [`Client`]'s fields. That is
//! the price to which the next program, echo-async, is the answer.
//!
//! In Rust, `poll` instead of `select`: the same list handed over at each call, without select's limit of 1,024
//! descriptors. It is linear in the number of clients all the same: see the reactor for what epoll and kqueue change.
//!
//! ```text
//! --questions   answer only to what ends in `?`, as the slides do; what comes before it waits for its end
//! ```
//!
//! Comes from: ../main.rs. Goes to: echo.rs, rustix's `poll`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::echo::{self, RECV};
use crate::Outcome;
use crate::words::Words;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A client with more than that to fetch is not read from until it has fetched some: one that only sends would fill our
/// memory otherwise.
const MOST_WAITING: usize = 64 << 10;

struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    /// What has come of a question that is not complete.
    question: Vec<u8>,
    /// What it has not been sent yet.
    waiting: Vec<u8>,
    /// It will say no more, and goes when it has been sent everything.
    has_ended: bool,
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", "--questions"])?;
    let only_questions = words.has("--questions");
    let listener = echo::listen(words.address(25000)?)?;
    listener.set_nonblocking(true)?;
    let mut clients = Vec::<Client>::new();
    loop {
        let ready = wait(&listener, &clients)?;
        if ready.is_empty() {
            continue; // the timeout: here a server would look for clients that have gone to sleep
        }
        for (client, ready) in clients.iter_mut().zip(&ready[1..]) {
            let result = client.go_on(*ready, only_questions);
            if let Err(error) = &result {
                println!("Connection from {}: {error}", client.peer);
                client.has_ended = true;
                client.waiting.clear();
            }
        }
        clients.retain(|client| {
            let stays = !client.has_ended || !client.waiting.is_empty();
            if !stays {
                println!("Connection from {} closed", client.peer);
            }
            stays
        });
        if !ready[0].is_empty() {
            accept(&listener, &mut clients)?;
        }
    }
}

/// What each is ready for: the listener first, then the clients in their order. Empty if nobody was for a minute.
fn wait(listener: &TcpListener, clients: &[Client]) -> io::Result<Vec<PollFlags>> {
    let mut list = vec![PollFd::new(listener, PollFlags::IN)];
    list.extend(clients.iter().map(|client| PollFd::new(&client.stream, client.wants())));
    let timeout = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut list, Some(&timeout)) {
        Ok(0) => Ok(Vec::new()),
        Ok(_) => Ok(list.iter().map(PollFd::revents).collect()),
        Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn accept(listener: &TcpListener, clients: &mut Vec<Client>) -> io::Result<()> {
    let (stream, peer) = match listener.accept() {
        Ok(accepted) => accepted,
        // It has gone again before we came.
        Err(error) if is_not_now(&error) || error.kind() == ErrorKind::ConnectionAborted => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    println!("Connection from {peer}");
    stream.set_nonblocking(true)?;
    let (question, waiting) = (Vec::new(), Vec::new());
    clients.push(Client { stream, peer, question, waiting, has_ended: false });
    Ok(())
}

impl Client {
    fn wants(&self) -> PollFlags {
        let mut wants = PollFlags::empty();
        wants.set(PollFlags::IN, !self.has_ended && self.waiting.len() < MOST_WAITING);
        wants.set(PollFlags::OUT, !self.waiting.is_empty());
        wants
    }

    /// Does what it is ready for.
    fn go_on(&mut self, ready: PollFlags, only_questions: bool) -> io::Result<()> {
        // An error, or that both sides are closed, is reported to those who did not ask, too: reading tells which.
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive(only_questions)?;
        }
        if ready.contains(PollFlags::OUT) {
            self.send()?;
        }
        Ok(())
    }

    fn receive(&mut self, only_questions: bool) -> io::Result<()> {
        let mut buffer = [0; RECV];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.has_ended = true,
            Ok(count) => {
                self.question.extend_from_slice(&buffer[..count]);
                if !only_questions || self.question.trim_ascii_end().ends_with(b"?") {
                    self.waiting.extend(echo::answer(&std::mem::take(&mut self.question)));
                } else if self.question.len() > MOST_WAITING {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        "a question without an end",
                    ));
                }
            }
            Err(error) if is_not_now(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The half that the slides leave out: as much as fits now; the rest stays for when there is room again.
    fn send(&mut self) -> io::Result<()> {
        match self.stream.write(&self.waiting) {
            Ok(count) => drop(self.waiting.drain(..count)),
            Err(error) if is_not_now(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A socket that is said to be ready need not be: the next round asks again.
fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
