//! Which programs do the slides about five echo servers have?
//!
//! One function that is slow, four ways to call it four times; one protocol, five servers; and a thread that nobody joins.
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each; echo.rs is what the five servers share.

mod echo;
mod echo_async;
mod echo_processes;
mod echo_select;
mod echo_single;
mod echo_threads;
mod fib_list;
mod no_join;

use crate::Program;

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "fib-list",
        seed: "003",
        shows: "four numbers computed one by one, by threads, processes, tasks: which is fastest?",
        run: fib_list::main,
    },
    Program {
        name: "echo-single",
        seed: "003",
        shows: "an echo server with one thread: the second client waits",
        run: echo_single::main,
    },
    Program {
        name: "echo-threads",
        seed: "003",
        shows: "the same with a thread for each client",
        run: echo_threads::main,
    },
    Program {
        name: "echo-processes",
        seed: "003",
        shows: "the same with a process for each client",
        run: echo_processes::main,
    },
    Program {
        name: "echo-select",
        seed: "003",
        shows: "the same with one thread that asks the kernel who is ready",
        run: echo_select::main,
    },
    Program {
        name: "echo-async",
        seed: "003",
        shows: "the same with a task for each client",
        run: echo_async::main,
    },
    Program {
        name: "no-join",
        seed: "003",
        shows: "who waits for threads and tasks, and what happens if nobody does",
        run: no_join::main,
    },
];
