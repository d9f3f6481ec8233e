//! What do all servers of the talk compute?
//!
//! The Fibonacci numbers, by the slowest way there is. It stands for any work that takes its time and no input.
//!
//! Comes from: each chapter's server. Goes to: itself, twice.

/// The n-th Fibonacci number: 1, 1, 2, 3, 5, ...
pub(crate) fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}
