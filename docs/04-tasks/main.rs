//! How do three functions run at the same time on one thread?
//!
//! In turns. Each is polled, which runs it to its next pause, and then goes to the end of the queue. First come three tasks whose
//! futures are written by hand, and then three whose futures the compiler makes of an `async fn`.
//!
//! Comes from: you. Goes to: countdown.rs, pause.rs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

mod countdown;
mod pause;
use countdown::Countdown;
use pause::pause;

fn main() {
    print!("by hand:");
    run([10, 5, 20].map(|from| Box::pin(Countdown::Start { from }) as Task).into());
    print!("by the compiler:");
    run([10, 5, 20].map(|from| Box::pin(countdown(from)) as Task).into());
}

async fn countdown(from: u64) -> u64 {
    let mut n = from;
    while n > 0 {
        print!(" {n}");
        pause().await;
        n -= 1;
    }
    from
}

type Task = Pin<Box<dyn Future<Output = u64>>>;

fn run(mut tasks: VecDeque<Task>) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut task) = tasks.pop_front() {
        match task.as_mut().poll(&mut cx) {
            Poll::Pending => tasks.push_back(task),
            Poll::Ready(from) => print!(" ({from} is done)"),
        }
    }
    println!();
}
