//! Which programs do the slides about fetching four pages have?
//!
//! One task, fetching four pages and printing for each whether it went well, in five ways; and what the slides say on the
//! way: what concurrency is not, what a deferred is, how a generator is resumed. The slides fetch from the internet; these
//! programs start an origin of their own, whose pages take known times, so that what is seen can be reckoned beforehand.
//!
//! ```text
//! web.rs       what all forms share: addresses, requests, answers, and the `get` that blocks
//! deferred.rs  a value to come, with a chain of callbacks      reactor.rs  the loop that sets it off
//! ```
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each.

mod deferred;
mod deferred_chain;
mod fetch_async;
mod fetch_callbacks;
mod fetch_sequential;
mod fetch_stackful;
mod fetch_table;
mod fetch_threads;
mod generator_echo;
mod not_parallel;
mod origin;
mod reactor;
mod web;

use crate::Program;

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "origin",
        seed: "002",
        shows: "the web server that the fetching programs ask, on its own",
        run: origin::main,
    },
    Program {
        name: "not-parallel",
        seed: "002",
        shows: "three tasks, one thread: many things at hand, one done at a time",
        run: not_parallel::main,
    },
    Program {
        name: "fetch-sequential",
        seed: "002",
        shows: "four pages, one after the other: the sum of their times",
        run: fetch_sequential::main,
    },
    Program {
        name: "fetch-threads",
        seed: "002",
        shows: "a thread for each page: the longest time; and what happens without a join",
        run: fetch_threads::main,
    },
    Program {
        name: "deferred-chain",
        seed: "002",
        shows: "callbacks in a chain, each gets what the last one returned",
        run: deferred_chain::main,
    },
    Program {
        name: "fetch-callbacks",
        seed: "002",
        shows: "a reactor, deferreds and callbacks, on one thread",
        run: fetch_callbacks::main,
    },
    Program {
        name: "generator-echo",
        seed: "002",
        shows: "a coroutine that is resumed with a value",
        run: generator_echo::main,
    },
    Program {
        name: "fetch-stackful",
        seed: "002",
        shows: "code that blocks, unchanged, in tasks; and why there are no greenlets here",
        run: fetch_stackful::main,
    },
    Program {
        name: "fetch-async",
        seed: "002",
        shows: "a task for each page, on one thread",
        run: fetch_async::main,
    },
    Program {
        name: "fetch-table",
        seed: "002",
        shows: "the five forms side by side: lines of code, threads, memory, time",
        run: fetch_table::main,
    },
];
