//! How does one test a program whose trouble is time, order and the network?
//!
//! By taking all three out of the world's hands, and giving them to a number.
//!
//! | trouble     | in a test                                                                               |
//! |-------------|-----------------------------------------------------------------------------------------|
//! | time        | [`TestClock`] jumps to the next deadline when nothing else can happen                   |
//! | order       | [`seeded`] decides by a seed which of the ready tasks comes first                       |
//! | the network | [`duplex`] is a stream in memory; [`Hostile`] cuts it into pieces, delays and breaks it |
//! | all three   | [`check`] runs a test with many seeds and names the one that fails; [`run`] runs it once |
//!
//! What fails with a seed fails with it again, as long as the program asks nobody else: not the system's clock (use
//! [`now`](crate::now)), no other process, no thread whose end is not awaited, no `HashMap`'s order.
//!
//! Beside them small tools: [`until_idle`], [`polls`], [`assert_yields`], [`assert_never_yields`]. And for those who write
//! streams of their own, [`check_two_way_stream`]: what every stream must do.
//!
//! A test of an hour that takes no time:
//!
//! ```
//! use std::time::Duration;
//! use runtime::{now, testing, timeout};
//!
//! const HOUR: Duration = Duration::from_secs(3600);
//!
//! testing::run(async {
//!     let start = now();
//!     let (client, _server) = testing::duplex(64);
//!     let answer = timeout(HOUR, client.read(&mut [0; 8])).await;
//!     assert!(answer.is_err(), "the server says nothing");
//!     assert_eq!(now() - start, HOUR);
//! });
//! ```
//!
//! The model is trio's testing module (its clock that jumps, streams in memory, check of two-way streams), and the idea of
//! running everything from one number is that of the simulators that databases are tested with.
//!
//! Comes from: tests. Goes to: `Builder::time` and `Builder::order`.

mod check;
mod duplex;
mod hostile;
mod observe;
mod test_clock;
mod two_way;

use std::cell::Cell;

pub use check::{builder, check, run};
pub use duplex::{Duplex, duplex};
pub use hostile::Hostile;
pub use observe::{assert_never_yields, assert_yields, polls, until_idle};
pub use test_clock::TestClock;
pub use two_way::{TwoWayStream, check_two_way_stream};

/// An order for [`Builder::order`](crate::Builder::order) that follows from `seed`: the same seed and the same program give the
/// same order. Good for a test's own choices, too: it answers with a number below the one it is given. (The numbers are
/// splitmix64's: Steele, Lea, Flood 2014.)
///
/// ```
/// let rt = runtime::Runtime::builder().order(runtime::testing::seeded(42)).build()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn seeded(seed: u64) -> impl Fn(usize) -> usize + 'static {
    let state = Cell::new(seed);
    move |count| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut number = state.get();
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((number ^ (number >> 31)) % count.max(1) as u64) as usize
    }
}
