//! The talk's service: a number comes in, its Fibonacci number goes out.
//!
//! [`Fib::serve`] is the talk's handler, line by line: receive, compute, send, until the client is gone. It looks like the
//! blocking version, and the loop serves everybody else at each `await`. Computing does not await, so it goes to a pool
//! ([`Fib::compute`]), and meanwhile the handler listens on: a result that nobody waits for is not worth a core. The pool is
//! one of threads, where the recursion asks now and then whether it is still wanted; or one of processes ([`by_process`]),
//! where it is the talk's plain function, and ended by the end of its process.
//!
//! | while a request is computed, the client | then the computation                                              |
//! |-----------------------------------------|-------------------------------------------------------------------|
//! | sends more                              | goes on; the requests wait their turn, and TCP slows the client   |
//! | breaks off (a reset)                    | ends at once                                                      |
//! | ends its side (`nc -N`, or it has left) | has [`GRACE`] to finish; with `--half-close`, all the time it needs |
//! | waits                                   | ends after `--max-seconds`, and the client gets a line about it   |
//!
//! The end of a stream does not say whether the client still listens: `printf '10\n' | nc -N` does, a closed window does not.
//! 25 ms serve the first and hardly cost anything for the second.
//!
//! Bad input is answered by one line that begins with `error:`, and the connection lives on; only a line without an end in
//! sight ends it.
//!
//! Known limit: of a client that has sent more than 4 KB ahead only a reset is seen, not the end, until its requests have
//! been taken up.
//!
//! Comes from: main.rs. Goes to: framing.rs (requests), manners.rs (the guest), `runtime::unblock_with` or a
//! `ProcessPool` (computing).

use std::io;
use std::rc::Rc;
use std::time::Duration;

use runtime::process_pool::{CallError, ProcessPool};
use runtime::{Job, UnblockError, sleep, timeout, unblock_with, yield_now};

use crate::framing::{Fault, Requests};
use crate::manners::{Doing, First, Guest, first_of};
use crate::options::Seconds;

/// What all connections share.
pub(crate) struct Fib {
    /// The largest number that is computed; at most 93, the last whose result fits 64 bits.
    pub(crate) max_n: u64,
    /// The longest line, in bytes.
    pub(crate) max_line: usize,
    /// How long a computation may take, counted from when its request is taken up. Zero: no limit.
    pub(crate) max_time: Duration,
    /// Whether a client that has ended its side is taken to listen still.
    pub(crate) half_close: bool,
    /// Where to compute, if not on threads.
    pub(crate) processes: Option<ProcessPool>,
}

/// How long a request may still run when its client has ended its side.
const GRACE: Duration = Duration::from_millis(25);
/// How often a connection is looked at that reading tells nothing about: its buffer is full, or its stream has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Below this the recursion does not ask whether anybody still waits. `fib(24)` takes some 0.1 ms.
const TOO_SMALL_TO_ASK: u64 = 24;

impl Fib {
    /// Serves one connection until its client ends it.
    pub(crate) async fn serve(self: Rc<Self>, guest: Rc<Guest>) {
        // An error is a connection that has broken off.
        let _ = self.answer(&guest).await;
        guest.finish().await;
    }

    async fn answer(&self, guest: &Guest) -> io::Result<()> {
        let mut requests = Requests::new(self.max_line);
        loop {
            while let Some(request) = requests.next() {
                guest.now(Doing::Working);
                let answer = match request {
                    Ok(n) if n > self.max_n => {
                        format!("error: {n} is over the limit, which is {}\n", self.max_n)
                    }
                    // Boxed, so that a connection that waits for its client keeps no room for this.
                    Ok(n) => match Box::pin(self.compute(n, guest, &mut requests)).await {
                        Some(answer) => answer,
                        None => return Ok(()),
                    },
                    Err(Fault::Overlong) => {
                        let word = format!("error: {}, goodbye\n", Fault::Overlong);
                        return guest.answer(word.as_bytes()).await;
                    }
                    Err(fault) => {
                        format!("error: {fault}; send one from 0 to {}\n", self.max_n)
                    }
                };
                guest.answer(answer.as_bytes()).await?;
                // A pipeline of nonsense needs no waiting anywhere; after each piece of it the others have their turn.
                yield_now().await;
            }
            if requests.has_ended() {
                return Ok(());
            }
            guest.now(if requests.is_half() { Doing::HalfLine } else { Doing::Idle });
            read_more(guest, &mut requests).await?;
        }
    }

    /// Has a pool compute one number, and gives the line that answers it; `None` if the client has left.
    async fn compute(&self, n: u64, guest: &Guest, requests: &mut Requests) -> Option<String> {
        let limit = if self.max_time.is_zero() { Duration::MAX } else { self.max_time };
        // Dropped when the limit is over, or the client has left, and with it the computation: a thread notices, a process is
        // killed. The timer adds an entry of the wheel to a request, and no allocation.
        let result = async {
            match &self.processes {
                Some(pool) => {
                    let mut call = pool.call(BY_PROCESS, n.to_le_bytes());
                    match timeout(limit, &mut call).await {
                        Ok(Ok(value)) => Ok(String::from_utf8_lossy(&value).into_owned()),
                        Ok(Err(CallError::Full)) => Err(FULL.to_owned()),
                        Ok(Err(error)) => Err(failed(guest, n, &error.into())),
                        Err(_) => Err(late(n, limit, call.has_started(), "process")),
                    }
                }
                None => {
                    let mut job = unblock_with(move |job| fib_for(job, n));
                    match timeout(limit, &mut job).await {
                        Ok(Ok(Some(value))) => Ok(value.to_string()),
                        Ok(Ok(None)) => Err(late(n, limit, true, "thread")), // given up, so `job` is dropped
                        Ok(Err(UnblockError::Full)) => Err(FULL.to_owned()),
                        Ok(Err(error)) => Err(failed(guest, n, &error.into())),
                        Err(_) => Err(late(n, limit, job.has_started(), "thread")),
                    }
                }
            }
        };
        match first_of(result, self.left(guest, requests)).await {
            First::One(Ok(value)) => Some(format!("{value}\n")),
            First::One(Err(refusal)) => Some(format!("error: {refusal}\n")),
            First::Other(()) => None,
        }
    }

    /// Ends when nobody waits for an answer any more. Meanwhile it takes in what the client sends, as far as there is room.
    async fn left(&self, guest: &Guest, requests: &mut Requests) {
        while !requests.has_ended() && requests.room() > 0 {
            if read_more(guest, requests).await.is_err() {
                return;
            }
        }
        if guest.has_left() && !self.half_close {
            return sleep(GRACE).await;
        }
        while !guest.has_broken_off() {
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// What a client is told when as many requests wait as may wait.
const FULL: &str = "the queue is full, try again later";

/// What a client is told whose computation was given up.
fn late(n: u64, limit: Duration, has_started: bool, place: &str) -> String {
    let limit = Seconds(limit);
    if has_started {
        format!("fib({n}) took longer than {limit} and was given up; ask for a smaller number")
    } else {
        format!("fib({n}) has waited {limit} for a free {place}; try again later")
    }
}

/// What a client is told when the server is at fault; the log says how.
fn failed(guest: &Guest, n: u64, error: &io::Error) -> String {
    guest.report(format_args!("fib({n}) failed: {error}"));
    format!("fib({n}) could not be computed, try again later")
}

/// One read. A connection that waits in it holds no buffer.
async fn read_more(guest: &Guest, requests: &mut Requests) -> io::Result<()> {
    if guest.read(requests.room(), |chunk| requests.push(chunk)).await?.is_none() {
        // The server ends the stream, not the client: how the half line would have gone on is not known.
        requests.forget_half();
        requests.push(&[]);
    }
    Ok(())
}

/// As the talk has it: `fib(0)`, which the talk never asks for, is 1 too.
fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// What a process of the pool is asked for: the function's name, and the function.
pub(crate) const BY_PROCESS: &str = "fib";

/// [`fib`] of the number in these eight bytes, in digits.
pub(crate) fn by_process(bytes: &[u8]) -> Vec<u8> {
    let number = bytes.try_into().map(u64::from_le_bytes).expect("eight bytes, as `compute` sends");
    fib(number).to_string().into_bytes()
}

/// [`fib`], unless nobody waits for it any more.
fn fib_for(job: &Job, n: u64) -> Option<u64> {
    if n <= TOO_SMALL_TO_ASK {
        return Some(fib(n));
    }
    if job.is_abandoned() {
        return None;
    }
    Some(fib_for(job, n - 1)? + fib_for(job, n - 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_talk() {
        let numbers = [(0, 1), (1, 1), (2, 1), (3, 2), (10, 55), (12, 144), (20, 6765)];
        for (n, value) in numbers {
            assert_eq!(fib(n), value, "fib({n})");
        }
    }

    #[test]
    fn asking_now_and_then_changes_no_result() {
        let n = TOO_SMALL_TO_ASK + 5;
        let asked = runtime::block_on(unblock_with(move |job| fib_for(job, n)));
        assert_eq!(asked.expect("the pool takes one job"), Some(fib(n)));
    }
}
