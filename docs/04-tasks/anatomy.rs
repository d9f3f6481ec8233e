//! What is a future made of, and where does it lie?
//!
//! It is made of what its function still needs after a pause, put into an enum by the compiler; so its size says what it keeps.
//! And it lies where it was put: the last part prints, at each poll, where one of its variables lies while the queue moves the task.
//!
//! Comes from: you. Goes to: countdown.rs, pause.rs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Waker};

mod countdown;
mod pause;
use countdown::Countdown;
use pause::pause;

fn main() {
    let by_hand = Countdown::Start { from: 10 };
    println!("the pause                     {:5} bytes", size_of_val(&pause()));
    println!("countdown by hand             {:5} bytes", size_of_val(&by_hand));
    println!("countdown by the compiler     {:5} bytes", size_of_val(&countdown(10)));
    println!("two of them, one by one       {:5} bytes", size_of_val(&two_countdowns()));
    println!("a buffer, used before a pause {:5} bytes", size_of_val(&used_before()));
    println!("a buffer, used after it       {:5} bytes", size_of_val(&used_after()));

    let mut tasks: VecDeque<Pin<Box<dyn Future<Output = ()>>>> = VecDeque::new();
    tasks.push_back(Box::pin(points_into_itself()));
    tasks.push_back(Box::pin(points_into_itself()));
    println!("a task, as the queue holds it {:5} bytes", size_of_val(&tasks[0]));
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut task) = tasks.pop_front() {
        if task.as_mut().poll(&mut cx).is_pending() {
            tasks.push_back(task);
        }
    }
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

async fn two_countdowns() -> u64 {
    countdown(10).await + countdown(20).await
}

async fn used_before() -> usize {
    let count = {
        let buffer = [b'x'; 4096];
        buffer.iter().filter(|&&byte| byte == b'x').count()
    };
    pause().await;
    count
}

async fn used_after() -> usize {
    let buffer = [b'x'; 4096];
    pause().await;
    buffer.iter().filter(|&&byte| byte == b'x').count()
}

/// While it is paused, `rest` points to `numbers`, and both are parts of the same future.
async fn points_into_itself() {
    let numbers = [3, 2, 1];
    let mut rest = &numbers[..];
    while let [number, others @ ..] = rest {
        println!("{number}, which lies at {number:p}");
        rest = others;
        pause().await;
    }
}
