//! How does the loop look at its sockets although a task is always ready?
//!
//! It polls as many tasks as were ready when it began, and then looks; if there are ready ones again, without waiting. The server, and
//! the task that is always ready, are those of chapter 5.
//!
//! Comes from: the answers to chapter 5. Goes to: the_loop.rs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use polling::Events;

#[path = "../../fib.rs"]
mod fib;
#[path = "../../04-tasks/pause.rs"]
mod pause;
#[path = "../../05-waiting/server.rs"]
mod server;
#[allow(dead_code)] // its own way to run
#[path = "../../05-waiting/the_loop.rs"]
mod the_loop;
use fib::fib;
use pause::pause;
use server::fib_server;
use the_loop::{Loop, locked};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:25000");
    let the_loop = Rc::new(Loop::new(false)?);
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    the_loop.spawn(fib_server(Rc::clone(&the_loop), listener));
    the_loop.spawn(never_waits());
    run(&the_loop)
}

fn run(the_loop: &Loop) -> io::Result<()> {
    let ready = || locked(&the_loop.run_queue).len();
    let mut events = Events::new();
    loop {
        for _ in 0..ready() {
            if let Some(number) = the_loop.next_ready() {
                the_loop.poll(number);
            }
        }
        if the_loop.tasks.borrow().is_empty() {
            return Ok(());
        }
        let most = if ready() > 0 { Some(Duration::ZERO) } else { None };
        the_loop.wait(&mut events, most)?;
    }
}

async fn never_waits() -> io::Result<()> {
    loop {
        pause().await;
    }
}

async fn compute(n: u64) -> io::Result<u64> {
    Ok(fib(n))
}
