//! What does "every hundred milliseconds" mean when the work takes time?
//!
//! Work of 30 ms, but for the second piece, which takes 350. The times at which it begins are printed, in milliseconds on a test's
//! clock: once with a sleep between the pieces, and with an interval and its three answers to ticks that were missed.
//!
//! Comes from: exercise 2. Goes to: `runtime::interval`.

use std::io;
use std::time::Duration;

use runtime::testing::TestClock;
use runtime::{MissedTicks, Runtime, interval, now, sleep};

const PERIOD: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let runtime = Runtime::builder().time(TestClock::new()).build()?;
    runtime.block_on(async {
        let mut begins = Vec::new();
        let start = now();
        for piece in 0..7 {
            sleep(PERIOD).await;
            begins.push((now() - start).as_millis());
            work(piece).await;
        }
        println!("sleep            {begins:?}");
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            let mut begins = Vec::new();
            let start = now();
            let mut ticks = interval(PERIOD).missed_ticks(missed);
            for piece in 0..7 {
                ticks.tick().await;
                begins.push((now() - start).as_millis());
                work(piece).await;
            }
            println!("interval, {:6} {begins:?}", format!("{missed:?}"));
        }
    });
    Ok(())
}

async fn work(piece: u32) {
    sleep(Duration::from_millis(if piece == 1 { 350 } else { 30 })).await;
}
