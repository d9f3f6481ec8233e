//! Does the server answer although a task is always ready?
//!
//! It does if the loop looks at its sockets in each turn (fairly.rs). The server, and the task that is always ready, are those of
//! chapter 5.
//!
//! Comes from: the answers to chapter 5. Goes to: fairly.rs, the_loop.rs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;

mod fairly;
#[path = "../../fib.rs"]
mod fib;
#[path = "../../04-tasks/pause.rs"]
mod pause;
#[path = "../../05-waiting/server.rs"]
mod server;
#[allow(dead_code)] // its own way to run
#[path = "../../05-waiting/the_loop.rs"]
mod the_loop;
use fairly::run_fairly;
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
    the_loop.spawn(never_waits());
    run_fairly(&the_loop)
}

async fn never_waits() -> io::Result<()> {
    loop {
        pause().await;
    }
}

async fn compute(n: u64) -> io::Result<u64> {
    Ok(fib(n))
}
