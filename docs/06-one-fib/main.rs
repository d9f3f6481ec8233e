//! Is it enough to let another thread compute?
//!
//! Not if the task waits for it as threads wait. This is chapter 5's server except for `compute`, which starts a thread and waits
//! until it is done. What stops then is not the handler alone.
//!
//! Comes from: nc, perf2. Goes to: chapter 5's server.rs and the_loop.rs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;

#[path = "../fib.rs"]
mod fib;
#[path = "../05-waiting/server.rs"]
mod server;
#[path = "../05-waiting/the_loop.rs"]
mod the_loop;
use fib::fib;
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

async fn compute(n: u64) -> io::Result<u64> {
    let thread = thread::Builder::new().spawn(move || fib(n))?;
    thread.join().map_err(|_| io::Error::other("fib has panicked")) // waits, and not with .await
}
