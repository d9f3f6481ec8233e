//! Which programs do the notes of the course have?
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each.

mod hello;

use crate::Program;

pub(crate) const PROGRAMS: &[Program] =
    &[Program { name: "hello", seed: "001", shows: "a coroutine that is run", run: hello::main }];
