//! Can a fib give way while it computes?
//!
//! It can pause now and then, since every function may be a task. What that costs, and whom it helps, is in the answers to chapter 6.
//!
//! Comes from: nc, perf2. Goes to: chapter 5's server.rs, chapter 4's pause.rs.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;

#[path = "../../fib.rs"]
mod fib;
#[path = "../../04-tasks/pause.rs"]
mod pause;
#[path = "../../05-waiting/server.rs"]
mod server;
#[path = "../../05-waiting/the_loop.rs"]
mod the_loop;
use fib::fib;
use pause::pause;
use server::fib_server;
use the_loop::Loop;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let the_loop = Rc::new(Loop::new(false)?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    the_loop.run()
}

/// About a millisecond's work in a release build: smaller ones are computed in one go.
const SMALL: u64 = 27;

async fn compute(n: u64) -> io::Result<u64> {
    Ok(pausing_fib(n).await)
}

fn pausing_fib(n: u64) -> Pin<Box<dyn Future<Output = u64>>> {
    Box::pin(async move {
        if n <= SMALL {
            pause().await;
            return fib(n);
        }
        pausing_fib(n - 1).await + pausing_fib(n - 2).await
    })
}
