//! What is an event loop made of, if a task says what it waits for?
//!
//! The original: generators that `yield 'recv', client` just before each call that would block, and a loop that takes a
//! task from the front of a queue, runs it to its next yield, and puts it into `recv_wait` or `send_wait`, from where
//! `select` brings it back.
//!
//! In Rust the same loop runs futures. A generator's `next()` is `poll`, and returns no reason: Pending says "not now" and
//! nothing else. So a task leaves its reason in a cell before it returns Pending ([`wait_for`]), and the loop takes it from
//! there. With that, no waker is needed (the loop gives each task one that does nothing); with wakers, no loop needs to know
//! the reasons, which is how every real runtime does it: `runtime` is this file with the two swapped.
//!
//! ```text
//! --n-max N    the largest number that is computed (45). While it computes, all others wait: there is one thread
//! ```
//!
//! Comes from: ../main.rs. Goes to: rustix's `poll`, nothing of the runtime.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::{PollFd, PollFlags, poll};

use crate::Outcome;
use crate::fib::fib;
use crate::words::Words;

type Task = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Why a task has stopped, and at which socket.
enum Why {
    Recv(Rc<dyn std::os::fd::AsFd>),
    Send(Rc<dyn std::os::fd::AsFd>),
}

thread_local! {
    /// Who can go on, in order.
    static TASKS: RefCell<VecDeque<Task>> = RefCell::default();
    /// What the task that has just been polled waits for.
    static WHY: Cell<Option<Why>> = const { Cell::new(None) };
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", "--n-max"])?;
    let most = words.value("--n-max")?.unwrap_or(45);
    let listener = TcpListener::bind(words.address(25000)?)?;
    println!("Listening on {}", listener.local_addr()?);
    start(fib_server(listener, most));
    run()?;
    Ok(())
}

fn start(task: impl Future<Output = io::Result<()>> + 'static) {
    TASKS.with_borrow_mut(|tasks| tasks.push_back(Box::pin(task)));
}

/// `yield why, socket`: the first poll leaves the reason and stops, the second goes on.
async fn wait_for(why: Why) {
    let mut why = Some(why);
    poll_fn(|_| match why.take() {
        None => Poll::Ready(()),
        reason => {
            WHY.set(reason);
            Poll::Pending
        }
    })
    .await;
}

async fn fib_server(listener: TcpListener, most: u64) -> io::Result<()> {
    let listener = Rc::new(listener);
    loop {
        wait_for(Why::Recv(listener.clone())).await;
        let (client, peer) = listener.accept()?;
        println!("Connection {peer}");
        start(fib_handler(client, peer, most));
    }
}

async fn fib_handler(client: TcpStream, _peer: SocketAddr, most: u64) -> io::Result<()> {
    let client = Rc::new(client);
    let mut buffer = [0; 100];
    loop {
        wait_for(Why::Recv(client.clone())).await;
        let count = (&*client).read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let request = String::from_utf8_lossy(&buffer[..count]);
        let answer = match request.trim().parse() {
            Ok(n) if n <= most => fib(n).to_string(),
            _ => format!("error: send a number up to {most}"),
        };
        wait_for(Why::Send(client.clone())).await;
        (&*client).write_all(format!("{answer}\n").as_bytes())?;
    }
    println!("Connection Closed");
    Ok(())
}

/// The loop: while there is a task, run one; if none can run, ask the kernel whose socket is ready.
fn run() -> io::Result<()> {
    let mut waiting: Vec<(Why, Task)> = Vec::new(); // recv_wait and send_wait in one
    loop {
        let Some(mut task) = TASKS.with_borrow_mut(VecDeque::pop_front) else {
            if waiting.is_empty() {
                return Ok(());
            }
            wait_for_any(&mut waiting)?;
            continue;
        };
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => match WHY.take() {
                Some(why) => waiting.push((why, task)),
                None => println!("a task waits for something that this loop does not know"),
            },
            // In the original this ended the loop, and with it everybody.
            Poll::Ready(Err(error)) => println!("task done: {error}"),
            Poll::Ready(Ok(())) => println!("task done"),
        }
    }
}

/// Moves the tasks whose sockets are ready to the end of the queue.
fn wait_for_any(waiting: &mut Vec<(Why, Task)>) -> io::Result<()> {
    let interest = |(why, _): &(Why, Task)| match why {
        Why::Recv(socket) => (socket.clone(), PollFlags::IN),
        Why::Send(socket) => (socket.clone(), PollFlags::OUT),
    };
    let sockets: Vec<_> = waiting.iter().map(interest).collect();
    let mut list: Vec<_> =
        sockets.iter().map(|(socket, flags)| PollFd::new(socket, *flags)).collect();
    match poll(&mut list, None) {
        Err(rustix::io::Errno::INTR) => return Ok(()),
        result => result?,
    };
    let mut ready = list.iter().map(|socket| !socket.revents().is_empty());
    let (can_run, must_wait): (Vec<_>, Vec<_>) =
        std::mem::take(waiting).into_iter().partition(|_| ready.next().unwrap_or_default());
    *waiting = must_wait;
    TASKS.with_borrow_mut(|tasks| tasks.extend(can_run.into_iter().map(|(_, task)| task)));
    Ok(())
}
