//! Which function do all the talk's and the texts' servers compute?
//!
//! The worst way to a Fibonacci number: exponential on purpose, so that a small request can be as much work as one likes.
//!
//! Comes from: the programs that compute. Goes to: nowhere.

/// The n-th Fibonacci number, 1 for the first two.
pub(crate) fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// The same for a worker process, which gets bytes and gives bytes: a number in decimal both ways.
pub(crate) fn fib_of_bytes(request: &[u8]) -> Vec<u8> {
    let n = std::str::from_utf8(request).ok().and_then(|text| text.parse().ok());
    fib(n.expect("the pool's user sends a number")).to_string().into_bytes()
}
