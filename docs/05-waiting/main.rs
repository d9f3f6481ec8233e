//! How does one thread serve many clients?
//!
//! It runs the loop, in which the server is one task and each client another.
//!
//! ```text
//! 05-waiting [ADDRESS [trace | look]]
//! ```
//!
//! `trace` prints what the loop does. `look` polls once what is ready, prints the loop's tables before and after, and ends.
//!
//! Comes from: nc, perf1, perf2. Goes to: server.rs, the_loop.rs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;

#[path = "../fib.rs"]
mod fib;
mod server;
mod the_loop;
use fib::fib;
use server::fib_server;
use the_loop::Loop;

fn main() -> io::Result<()> {
    let [address, mode] = [1, 2].map(|at| std::env::args().nth(at));
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let the_loop = Rc::new(Loop::new(mode.as_deref() == Some("trace"))?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    if mode.as_deref() == Some("look") {
        println!("{the_loop:?}");
        the_loop.run_ready();
        println!("{the_loop:?}");
        return Ok(());
    }
    the_loop.run()
}

async fn compute(n: u64) -> io::Result<u64> {
    Ok(fib(n))
}
