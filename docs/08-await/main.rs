//! How does the code come to look like chapter 1's again?
//!
//! By hiding each wait behind a name: `accept`, `recv`, `send_all`, `submit`. What they stand on is in the other files.
//!
//! Comes from: nc, perf1, perf2. Goes to: the_loop.rs, requests.rs, and chapter 7's pool.rs.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

#[path = "../fib.rs"]
mod fib;
#[path = "../07-pool/pool.rs"]
mod pool;
mod requests;
mod the_loop;
#[path = "../watched.rs"]
mod watched;

use fib::fib;
use pool::Pool;
use requests::Requests;
use the_loop::{AsyncSocket, Loop};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:25000".to_owned());
    let the_loop = Loop::new()?;
    the_loop.spawn(fib_server(Rc::clone(&the_loop), address));
    the_loop.run()
}

async fn fib_server(the_loop: Rc<Loop>, address: String) -> io::Result<()> {
    let pool = Rc::new(Pool::new(4)?);
    let listener = AsyncSocket::new(&the_loop, TcpListener::bind(&address)?)?;
    println!("Listening on {address}");
    loop {
        let (client, peer) = listener.accept().await?;
        println!("Connection {peer}");
        the_loop.spawn(fib_handler(client, Rc::clone(&pool)));
    }
}

async fn fib_handler(client: AsyncSocket<TcpStream>, pool: Rc<Pool>) -> io::Result<()> {
    let mut requests = Requests::new(&client);
    while let Some(request) = requests.next().await? {
        let answer = match number(&request) {
            Ok(n) => pool.submit(move || fib(n)).await?.to_string(),
            Err(error) => format!("error: {error}"),
        };
        client.send_all(format!("{answer}\n").as_bytes()).await?;
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
