//! What if the loop took the youngest task instead of the oldest?
//!
//! Comes from: the answers to chapter 4. Goes to: pause.rs.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[path = "../../04-tasks/pause.rs"]
mod pause;
use pause::pause;

fn main() {
    print!("the youngest first:");
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

fn run(mut tasks: Vec<Task>) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut task) = tasks.pop() {
        match task.as_mut().poll(&mut cx) {
            Poll::Pending => tasks.push(task),
            Poll::Ready(from) => print!(" ({from} is done)"),
        }
    }
    println!();
}
