//! What becomes of the clients when one task is always ready?
//!
//! They get no answer. The task beside the server pauses all the time, as it should, and is ready again at once; so the loop never
//! comes to ask about its sockets.
//!
//! Comes from: nc. Goes to: server.rs, the_loop.rs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;

#[path = "../fib.rs"]
mod fib;
#[path = "../04-tasks/pause.rs"]
mod pause;
mod server;
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
    the_loop.spawn(never_waits());
    the_loop.run()
}

async fn never_waits() -> io::Result<()> {
    loop {
        pause().await;
    }
}

async fn compute(n: u64) -> io::Result<u64> {
    Ok(fib(n))
}
