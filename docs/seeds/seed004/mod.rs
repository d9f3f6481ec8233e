//! Which servers do the article on the generator step, and the copy of the talk's code, have?
//!
//! The talk's first server, its threads and its last one are steps of the walkthrough and modes of `server`. Two remain.
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each.

mod generator_server;
mod threads_with_processes;

use crate::Program;

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "threads-with-processes",
        seed: "000",
        shows: "fib server: a thread for each client, four processes that compute",
        run: threads_with_processes::main,
    },
    Program {
        name: "generator-server",
        seed: "004",
        shows: "fib server: tasks that say what they wait for, and the loop that runs them, in one file",
        run: generator_server::main,
    },
];
