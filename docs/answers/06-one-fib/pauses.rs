//! Can a fib give way while it computes?
//!
//! It can, if it is written as a task. Whether that helps the others is up to the loop: chapter 5's does not let them in; the loop
//! of chapter 5's answers, which you get with the word `fairly`, does.
//!
//! ```text
//! 06-one-fib-pauses [ADDRESS [fairly]]
//! ```
//!
//! Comes from: nc, perf2. Goes to: chapter 5's loop, or fairly.rs; chapter 4's pause.rs.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;

#[path = "../05-waiting/fairly.rs"]
mod fairly;
#[path = "../../fib.rs"]
mod fib;
#[path = "../../04-tasks/pause.rs"]
mod pause;
#[path = "../../05-waiting/server.rs"]
mod server;
#[path = "../../05-waiting/the_loop.rs"]
mod the_loop;
use fairly::run_fairly;
use fib::fib;
use pause::pause;
use server::fib_server;
use the_loop::Loop;

fn main() -> io::Result<()> {
    let [address, mode] = [1, 2].map(|at| std::env::args().nth(at));
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let the_loop = Rc::new(Loop::new(false)?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    match mode.as_deref() {
        Some("fairly") => run_fairly(&the_loop),
        _ => the_loop.run(),
    }
}

/// Less than a millisecond's work. Smaller ones are computed in one go.
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
