//! Which programs do the slides about fetching four pages have?
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each.

mod generator_echo;

use crate::Program;

pub(crate) const PROGRAMS: &[Program] = &[Program {
    name: "generator-echo",
    seed: "002",
    shows: "a coroutine that is resumed with a value",
    run: generator_echo::main,
}];
