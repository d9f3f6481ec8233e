//! How is a coroutine run?
//!
//! asyncio: `loop.run_until_complete(hello_world())`, then `loop.close()`. Here `block_on` does both: the loop is gone when it
//! returns.
//!
//! Comes from: ../main.rs. Goes to: `runtime::block_on`.

use crate::Outcome;

async fn hello_world() {
    println!("Hello World!");
}

pub(crate) fn main(_: &[String]) -> Outcome {
    runtime::block_on(hello_world());
    Ok(())
}
