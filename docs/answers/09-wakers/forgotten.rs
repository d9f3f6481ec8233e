//! What becomes of a future that returns Pending and tells nobody?
//!
//! Nothing, for ever. The statistics say which task it is: one that is not ready and waits for nothing.
//!
//! Comes from: exercise 1. Goes to: `runtime::instruments`.

use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use runtime::instruments::{State, Statistics};
use runtime::{Runtime, sleep, spawn_named};

/// Ready at its second poll, which nobody will ever make.
async fn forgetful() {
    let mut asked = false;
    std::future::poll_fn(|_waker_thrown_away| {
        if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn main() -> io::Result<()> {
    let statistics = Statistics::new();
    let runtime = Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
    runtime.block_on(async {
        drop(spawn_named("forgetful", forgetful()));
        drop(spawn_named("careful", sleep(Duration::from_secs(60))));
        sleep(Duration::from_millis(10)).await;
        for task in statistics.snapshot().tasks {
            if let (Some(name), State::Waiting { on, .. }) = (task.name, task.state) {
                println!("{name} waits for {on:?}");
            }
        }
    });
    Ok(())
}
