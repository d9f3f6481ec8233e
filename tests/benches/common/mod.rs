//! What do the three benchmarks share?
//!
//! They share a way to measure fairly on a machine that is never quiet: every figure is taken by a
//! fresh child process of the benchmark's own binary (so that allocators, threads and timers of one
//! runtime cannot disturb another), the runtimes take turns round by round (so that a slow minute
//! hits all of them), and what is printed is the median of the rounds.
//!
//! A child is the same executable with other words on its command line. It answers on its standard
//! output with lines `name value`, and that is the whole protocol ([`child`]). Each child leads a
//! session of its own, because the kernel shares processor time out by session before it looks at
//! processes, and is killed by the kernel when the benchmark dies, because a session of its own no
//! longer hears Ctrl-C.
//!
//! Rule: all unsafe code of the benchmarks stands in [`sys`], each block with its argument.
//!
//! What this is not: a statistics package. There is a median, a smallest value and a percentile;
//! whoever wants more runs more rounds.
//!
//! Comes from: engine.rs, echo.rs, talk.rs. Goes to: their children, and a table on the terminal.

pub(crate) mod args;
pub(crate) mod child;
pub(crate) mod stats;
pub(crate) mod sys;
pub(crate) mod table;

/// The names of the runtimes compiled in, in the order of the columns.
pub(crate) fn runtimes() -> Vec<&'static str> {
    let mut names = vec!["ours"];
    if cfg!(feature = "peers") {
        names.extend(["tokio", "smol", "monoio"]);
    }
    names
}
