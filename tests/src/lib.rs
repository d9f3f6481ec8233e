//! What do the tests and benchmarks of this package share as a library? Nothing.
//!
//! The tests are one binary, it/main.rs, a module a behaviour; the benchmarks are in benches/. A package needs a target of
//! its own to be a member, and this is it.
