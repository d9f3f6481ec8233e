//! In which order are the callbacks of a deferred called, and with what?
//!
//! The original: a function that starts something, hangs two callbacks and an errback on the deferred it got, and returns
//! it; its caller hangs one more. They are called in that order, each with what the one before it returned.
//!
//! In Rust: the same chain, once with a value and once with an error, which skips what comes before the errback.
//!
//! Comes from: ../main.rs. Goes to: deferred.rs.

use std::io;

use super::deferred::{Deferred, Fire, deferred};
use crate::Outcome;

pub(crate) fn main(_: &[String]) -> Outcome {
    println!("a value:");
    let (fire, chain) = do_async_stuff();
    chain.finally(|result| println!("  the caller's own callback gets {result:?}"));
    println!("  nothing has happened yet");
    fire.fire(Ok(20));

    println!("an error:");
    let (fire, chain) = do_async_stuff();
    chain.finally(|result| println!("  the caller's own callback gets {result:?}"));
    fire.fire(Err(io::Error::other("no connection")));
    Ok(())
}

/// Starts something (who fires it is in our hands here), and says what is to be done with its result.
fn do_async_stuff() -> (Fire<u32>, Deferred<String>) {
    let (fire, operation) = deferred();
    let chain = operation
        .then(|number: u32| {
            println!("  handle_result gets {number}");
            Ok(number + 1)
        })
        .then(|number| {
            println!("  further_process gets {number}");
            Ok(format!("{number} pages"))
        })
        .catch(|error| {
            println!("  handle_exception gets {error}");
            Ok("no pages".to_owned())
        });
    (fire, chain)
}
