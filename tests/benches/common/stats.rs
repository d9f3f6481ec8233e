//! Which one number stands for many?
//!
//! For rounds: the median, since a disturbed round is an outlier and not a part of the truth;
//! beside it the smallest, which says what the code costs when nothing disturbs it. For latencies:
//! percentiles over every single sample.
//!
//! Rule: nothing is thrown away before it is counted, and no sample is estimated from a bucket.
//!
//! What this does not do: means and deviations. Neither says anything about a tail.
//!
//! Comes from: the rounds and the samples. Goes to: table.rs.

/// The middle value, or the mean of the middle two; `NaN` of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The smallest value; `NaN` of nothing.
pub(crate) fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// The value below which `share` (0 to 1) of the sorted samples lie: the nearest rank; 0 of
/// nothing.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}
