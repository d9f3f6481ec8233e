//! How does one test a program whose trouble is time, order and the network?
//!
//! By taking all three out of the world's hands. [`TestClock`] is a time that jumps to the next deadline when nothing else
//! can happen; [`seeded`] decides by a number which of the ready tasks comes first. What fails under a seed fails
//! under it again.
//!
//! Comes from: tests. Goes to: `Builder::time` and `Builder::order`.

mod test_clock;

use std::cell::Cell;

pub use test_clock::TestClock;

/// An order for [`Builder::order`](crate::Builder::order) that follows from `seed`: the same seed and the same program give the
/// same order. (The numbers are splitmix64's: Steele, Lea, Flood 2014.)
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
