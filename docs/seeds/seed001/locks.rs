//! When do tasks need locks, if only one of them runs at a time?
//!
//! asyncio: `Lock`, `Semaphore`, `Event`, `Barrier`, without threads in sight. The reason is the await: between two of
//! them a task is alone, but what it has read before one may be old after it. So it is here. A `Cell` will do as long
//! as no await stands between reading and writing; otherwise it is async-lock's `Mutex`, whose lock is awaited and may
//! be kept over an await (std's would stop the loop, and clippy says so).
//!
//! | asyncio     | here                                                        |
//! |-------------|-------------------------------------------------------------|
//! | `Lock`      | `async_lock::Mutex`, which holds what it protects           |
//! | `Semaphore` | `async_lock::Semaphore`; four sleepers by two are two ticks |
//! | `Event`     | `runtime::CancelToken`, for those that are set once         |
//! | `Barrier`   | `async_lock::Barrier`                                       |
//! | `Condition` | a channel, mostly                                           |
//!
//! Comes from: ../main.rs. Goes to: `async_lock`, `runtime::scope`.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use async_lock::{Barrier, Mutex, Semaphore};
use runtime::{CancelToken, Errors, scope, sleep, yield_now};

use crate::Outcome;
use crate::words::Words;

type Result = std::result::Result<(), Infallible>;

/// Two tasks add 1 five times each, and wait in the middle of it.
async fn lost_update() -> std::result::Result<u32, Errors<Infallible>> {
    let total = Cell::new(0);
    let add = async || -> Result {
        for _ in 0..5 {
            let old = total.get();
            yield_now().await;
            total.set(old + 1);
        }
        Ok(())
    };
    scope(async |s| {
        s.spawn(add());
        s.spawn(add());
        Ok(())
    })
    .await?;
    Ok(total.get())
}

/// The same, with the lock kept meanwhile.
async fn no_lost_update() -> std::result::Result<u32, Errors<Infallible>> {
    let total = Mutex::new(0);
    let add = async || -> Result {
        for _ in 0..5 {
            let mut total = total.lock().await;
            let old = *total;
            yield_now().await;
            *total = old + 1;
        }
        Ok(())
    };
    scope(async |s| {
        s.spawn(add());
        s.spawn(add());
        Ok(())
    })
    .await?;
    Ok(total.into_inner())
}

/// Four that want in, and room for two: the most that were in at the same time.
async fn at_most_two(tick: Duration) -> std::result::Result<u32, Errors<Infallible>> {
    let room = Semaphore::new(2);
    let (inside, most) = (Cell::new(0), Cell::new(0));
    let visit = async || -> Result {
        let _place = room.acquire().await; // given back when it is dropped
        inside.set(inside.get() + 1);
        most.set(inside.get().max(most.get()));
        sleep(tick).await;
        inside.set(inside.get() - 1);
        Ok(())
    };
    scope(async |s| {
        for _ in 0..4 {
            s.spawn(visit());
        }
        Ok(())
    })
    .await?;
    Ok(most.get())
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        println!("10 additions without a lock: {}", lost_update().await?);
        println!("10 additions with a lock: {}", no_lost_update().await?);
        println!("four visitors, a semaphore of 2: at most {} inside", at_most_two(tick).await?);

        let (event, barrier) = (CancelToken::new(), Barrier::new(3));
        scope(async |s| {
            for name in ["x", "y", "z"] {
                let (event, barrier) = (&event, &barrier);
                s.spawn(async move {
                    event.cancelled().await;
                    println!("{name} heard the event");
                    let met = barrier.wait().await;
                    if met.is_leader() {
                        println!("all three have met");
                    }
                    Result::Ok(())
                });
            }
            yield_now().await; // now all three wait
            println!("setting the event");
            event.cancel();
            Ok(())
        })
        .await?;
        Ok(())
    })
}
