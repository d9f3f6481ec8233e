//! What do a channel and a clock cost without any runtime?
//!
//! Two rows have a floor below which no runtime can come. The channels' own work: the same two
//! futures as in the row `channel`, polled in turns by hand with a waker that does nothing. And one
//! clock reading, which a timer needs to know when it is due.
//!
//! What this is not: a runtime. It cannot wait; it polls futures of which it knows that one of them
//! can go on.
//!
//! Comes from: engine.rs, word `child`, runtime `floor`. Goes to: the first column of the table.

use crate::common::sys::cpu_ns;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Instant;

/// The rows that have a floor.
pub(crate) const ROWS: [&str; 2] = ["channel", "timer"];

/// Runs one of [`ROWS`] and prints its figure.
pub(crate) fn measure(row: &str) {
    const TIMES: u64 = 200_000;
    let work = if row == "channel" { channel } else { clock };
    work(TIMES / 10);
    let start = cpu_ns();
    work(TIMES);
    println!("ns {}", (cpu_ns() - start) as f64 / TIMES as f64);
}

fn channel(times: u64) {
    let (to_echo, at_echo) = async_channel::bounded::<u64>(1);
    let (to_asker, at_asker) = async_channel::bounded::<u64>(1);
    let mut echo = pin!(async move {
        while let Ok(number) = at_echo.recv().await {
            to_asker.send(number).await.expect("the asker waits for it");
        }
    });
    let mut asker = pin!(async move {
        for number in 0..times {
            to_echo.send(number).await.expect("the echo waits for it");
            assert_eq!(at_asker.recv().await, Ok(number));
        }
    });
    let mut cx = Context::from_waker(Waker::noop());
    while asker.as_mut().poll(&mut cx).is_pending() {
        let _ = echo.as_mut().poll(&mut cx);
    }
}

fn clock(times: u64) {
    for _ in 0..times {
        black_box(Instant::now());
    }
}
