//! Which programs do the notes of the course have?
//!
//! The notes are an outline (concurrency in Python: futures, asyncio from its low level to its high one, trio) with
//! worked examples. The examples are here by their own names; each line of the outline has a program, too.
//!
//! Comes from: ../main.rs. Goes to: the programs, a file each.

mod await_trait;
mod callbacks;
mod chained;
mod context_manager;
mod coroutine_object;
mod create_task;
mod date_ticker;
mod echo;
mod echo_client;
mod echo_server;
mod errors;
mod executor;
mod factorials;
mod future;
mod futures;
mod gather;
mod hello;
mod lines;
mod locks;
mod nursery;
mod protocol;
mod queues;
mod signals;
mod subprocess;
mod timeouts;

use crate::{Outcome, Program};

pub(crate) const PROGRAMS: &[Program] = &[
    // The examples.
    entry("hello", "a coroutine that is run", hello::main),
    entry("date-ticker", "the date once a tick, without drifting", date_ticker::main),
    entry("chained", "a coroutine that waits for another", chained::main),
    entry("future", "a value that one task waits for and another gives", future::main),
    entry("factorials", "three tasks at the same time", factorials::main),
    entry("nursery", "a block that ends when its children have", nursery::main),
    entry("errors", "several children fail: none of it is lost", errors::main),
    entry("echo-client", "sending and receiving at the same time", echo_client::main),
    entry("echo-server", "connections with numbers, each failing for itself", echo_server::main),
    // The outline: the language's protocols, ...
    entry("coroutine-object", "calling an async fn runs nothing", coroutine_object::main),
    entry("await-trait", "an object of one's own that can be awaited", await_trait::main),
    entry("lines", "looping over what comes bit by bit", lines::main),
    entry("context-manager", "a beginning and an end that wait", context_manager::main),
    // ... work that computes or blocks, ...
    entry("queues", "workers that share a queue: threads, processes", queues::main),
    entry("futures", "pools that give a future for each job", futures::main),
    entry("executor", "a call that blocks, and a loop that does not", executor::main),
    // ... the loop, from below and from above.
    entry("create-task", "the loop's life: create, run, stop, close", create_task::main),
    entry("callbacks", "functions the loop calls, soon or later", callbacks::main),
    entry("protocol", "transports and protocols: a server of callbacks", protocol::main),
    entry("gather", "all results in order, and what of errors", gather::main),
    entry("subprocess", "other programs: start, talk, wait, kill", subprocess::main),
    entry("signals", "Ctrl-C and polite requests to end", signals::main),
    entry("locks", "when tasks need them, and which", locks::main),
    entry("timeouts", "giving up, and what being cancelled means", timeouts::main),
];

const fn entry(name: &'static str, shows: &'static str, run: fn(&[String]) -> Outcome) -> Program {
    Program { name, seed: "001", shows, run }
}
