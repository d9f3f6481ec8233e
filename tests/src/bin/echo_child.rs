//! The echo server whose user instructions are counted.
//!
//! A program of its own, and not a test started again, because a test has a second thread beside it: with that, the C
//! library's `recv` and `send` have more to do, and the count would be theirs. It accepts as many connections as its
//! argument says, echoes until all of them have ended, and ends; at the latest by its alarm, if its test has failed.
//!
//! What it does not do: survive errors. One that it does not expect ends it, and so fails the test.
//!
//! Comes from: tests/it/costs.rs, which runs it under callgrind. Goes to: net.

use std::io;

use net::{TcpListener, TcpStream};
use runtime::{block_on, spawn};

fn main() -> io::Result<()> {
    let connections = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let connections = connections.ok_or_else(|| io::Error::other("how many connections?"))?;
    // Not a timer of the runtime's: that the clock is not read is one of the counts.
    // SAFETY: it takes a number and touches no memory. The signal ends a process that does not handle it.
    unsafe { libc::alarm(60) };
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await?;
            tasks.push(spawn(echo(stream)));
        }
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(())
    })
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let answer = |bytes: &[u8]| match bytes {
        [] => Ok(0),
        _ => stream.try_write(bytes),
    };
    while stream.read_lent(16 * 1024, answer).await?? > 0 {}
    Ok(())
}
