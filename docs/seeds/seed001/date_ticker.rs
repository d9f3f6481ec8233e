//! How does one do something every second?
//!
//! asyncio: print, look at `loop.time()` whether the end is near, `sleep(1)`, again; each round is a second and a bit,
//! and the bits add up. An [`interval`](runtime::interval) counts its ticks from the start, so they do not.
//!
//! `loop.time()` is `runtime::now()`. It is asked for here, too, and the date is made of it: so the program can run on
//! a clock that jumps (`--test-clock`), where its four seconds take no time and the dates are a second apart all the
//! same.
//!
//! Comes from: ../main.rs. Goes to: `runtime::interval`, `runtime::testing::TestClock`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::Runtime;
use runtime::testing::TestClock;

use crate::Outcome;
use crate::words::Words;

async fn display_date(tick: Duration) {
    let (start, date_at_start) = (runtime::now(), SystemTime::now());
    let end = start + 5 * tick;
    let mut ticks = runtime::interval(tick);
    loop {
        let now = runtime::now();
        println!("{}", date(date_at_start + (now - start)));
        if now + tick >= end {
            break;
        }
        ticks.tick().await;
    }
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--tick", "--test-clock"])?;
    let tick = words.tick(1000)?.max(Duration::from_millis(1)); // an interval of nothing is none
    let mut builder = Runtime::builder();
    if words.has("--test-clock") {
        builder = builder.time(TestClock::new());
    }
    builder.build()?.block_on(display_date(tick));
    Ok(())
}

/// As Python prints a `datetime`, but in UTC: the local time would cost a crate, or an unsafe call of the C library.
fn date(time: SystemTime) -> String {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut days, seconds) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (day, micros) = (days + 1, time.subsec_micros());
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}
