//! What does the kernel charge for one echo, in system calls?
//!
//! The same service three times: a byte comes, a byte goes back, a thousand times over one connection. A thread plays the
//! client. Run it under `strace -c`, which counts the calls of the first thread, the server's.
//!
//! Comes from: figures/ch10_reactor.rs, or you. Goes to: polling; the runtime.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

#[path = "../watched.rs"]
mod watched;
use watched::Watched;

fn main() -> io::Result<()> {
    let variant = std::env::args().nth(1).unwrap_or_default();
    let echoes: u32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1000);
    let (server, client) = connection()?;
    let client = thread::spawn(move || talk(client, echoes));
    match variant.as_str() {
        "oneshot" => with_polling(server, PollMode::Oneshot)?,
        "edge" => with_polling(server, PollMode::Edge)?,
        "runtime" => runtime::block_on(with_the_runtime(server))?,
        _ => {
            eprintln!("say which: oneshot, edge or runtime; then how many echoes");
            std::process::exit(2);
        }
    }
    client.join().unwrap_or_else(|_| Err(io::Error::other("the client panicked")))
}

/// Waits, reads, answers; in oneshot mode asks again for the next report.
fn with_polling(server: TcpStream, mode: PollMode) -> io::Result<()> {
    let poller = Arc::new(Poller::new()?);
    server.set_nonblocking(true)?;
    let server = Watched::new(&poller, server, Event::readable(1), mode)?;
    let mut events = Events::new();
    let mut buffer = [0; 64];
    loop {
        events.clear();
        poller.wait(&mut events, None)?;
        // An edge is reported once, so it has to be used up: until a read would block.
        loop {
            match (&*server).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => (&*server).write_all(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if mode == PollMode::Oneshot {
                break; // it reports again if there is more
            }
        }
        if mode == PollMode::Oneshot {
            server.ask(Event::readable(1), mode)?;
        }
    }
}

async fn with_the_runtime(server: TcpStream) -> io::Result<()> {
    let server = net::TcpStream::from_std(server)?;
    let mut buffer = [0; 64];
    loop {
        let count = server.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        server.write_all(&buffer[..count]).await?;
    }
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    Ok((server, client))
}

fn talk(mut client: TcpStream, echoes: u32) -> io::Result<()> {
    let mut byte = *b"x";
    for _ in 0..echoes {
        client.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        // So that the server has to wait each time, as with a client far away.
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}
