//! How does a process for each client free the server?
//!
//! The original: `Process(target=echo_handler, args=(client, addr)).start()`, and a guard around the program's last lines
//! without which each new process would become a server, too.
//!
//! In Rust a process begins at `main`, so nobody can hand it a function. It is this program again, with a word more on its
//! command line (which is what the guard was for), and the connection as its standard input. The parent drops its copy:
//! a connection is closed only when all of its descriptors are. And somebody has to wait for a child that has ended, or the
//! system keeps its number for ever (a zombie): a small thread does. The slides leave that to their library, which looks
//! for ended children when it starts the next.
//!
//! Comes from: ../main.rs. Goes to: echo.rs.

use std::env;
use std::io::{self, stdin};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;

use super::echo;
use crate::Outcome;
use crate::words::Words;

/// The word that makes this program the handler of one connection instead of the server.
const HANDLER: &str = "--connection-on-stdin";

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", HANDLER])?;
    if words.has(HANDLER) {
        return in_the_child();
    }
    let listener = echo::listen(words.address(25000)?)?;
    loop {
        let (client, peer) = listener.accept()?;
        if let Err(error) = start(client, peer) {
            println!("Connection from {peer} refused: {error}");
        }
    }
}

fn start(client: TcpStream, peer: SocketAddr) -> io::Result<()> {
    // `spawn` duplicates the connection into the child, and drops ours with the `Command`, at the end of the statement.
    let mut child = Command::new(env::current_exe()?)
        .args(["echo-processes", HANDLER])
        .stdin(OwnedFd::from(client))
        .spawn()?;
    let waiting = thread::Builder::new().stack_size(16 << 10).spawn(move || child.wait());
    waiting.map(drop).map_err(|error| io::Error::new(error.kind(), format!("{peer}: {error}")))
}

/// The listener is not here: std's descriptors close themselves when another program starts.
fn in_the_child() -> Outcome {
    let client = TcpStream::from(stdin().as_fd().try_clone_to_owned()?);
    let peer = client.peer_addr()?;
    echo::handler(client, peer);
    Ok(())
}
