//! What does the server of this chapter do?
//!
//! That of chapter 6, with one line changed: a pool computes, and the task waits for it.
//!
//! Comes from: the programs of this folder. Goes to: the_loop.rs, pool.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use crate::fib::fib;
use crate::pool::Pool;
use crate::the_loop::{Loop, Socket, Way};

/// Serves until something goes wrong that concerns all clients.
pub(crate) fn serve(the_loop: &Rc<Loop>) -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:25000".to_owned());
    let server = fib_server(address, Rc::clone(the_loop));
    the_loop.spawn(async {
        if let Err(error) = server.await {
            println!("{error}");
        }
    });
    the_loop.run()
}

async fn fib_server(address: String, the_loop: Rc<Loop>) -> io::Result<()> {
    let pool = Rc::new(Pool::new(4)?);
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    let listener = the_loop.watch(listener)?;
    println!("Listening on {address}");
    loop {
        let (client, peer) = listener.wait(Way::Recv, TcpListener::accept).await?;
        println!("Connection {peer}");
        client.set_nonblocking(true)?;
        let client = the_loop.watch(client)?;
        let pool = Rc::clone(&pool);
        the_loop.spawn(async move {
            if let Err(error) = fib_handler(client, &pool).await {
                println!("Lost: {error}");
            }
        });
    }
}

async fn fib_handler(client: Socket<TcpStream>, pool: &Pool) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        let count = client.wait(Way::Recv, |mut stream| stream.read(&mut request)).await?;
        if count == 0 {
            break;
        }
        let n = number(&request[..count])?;
        let answer = pool.submit(move || fib(n)).await?;
        let answer = format!("{answer}\n").into_bytes();
        let mut sent = 0;
        while sent < answer.len() {
            sent += client.wait(Way::Send, |mut stream| stream.write(&answer[sent..])).await?;
        }
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(request);
    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a number"))
}
