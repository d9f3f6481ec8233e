//! How does a program let a process compute?
//!
//! It starts itself again, with one end of a socket pair for standard input, and asks over the other end: 8 bytes go, and 8
//! come back. However the worker ends, the kernel then closes its end of the pair, and so the server notices. A worker whose
//! server is gone reads the end of its input, and ends, too.
//!
//! Comes from: pool.rs, kill.rs. Goes to: the standard library.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use crate::fib::fib;

/// The argument that makes a worker of a program.
pub(crate) const WORKER: &str = "worker";

/// A process that computes Fibonacci numbers. It is killed when this is dropped.
pub(crate) struct Worker {
    pub(crate) process: Child,
    socket: UnixStream,
}

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        let process = command.arg(WORKER).stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Worker { process, socket })
    }

    pub(crate) fn ask(&mut self, n: u64) -> io::Result<()> {
        self.socket.write_all(&n.to_le_bytes())
    }

    /// Waits for the answer to what was asked.
    pub(crate) fn answer(&mut self) -> io::Result<u64> {
        let mut answer = [0; 8];
        self.socket.read_exact(&mut answer)?;
        Ok(u64::from_le_bytes(answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill(); // fails if it has ended already
        let _ = self.process.wait(); // until we have, the kernel must remember how it ended
    }
}

/// What a worker does, until its input ends.
pub(crate) fn work() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut n = [0; 8];
    loop {
        match socket.read_exact(&mut n) {
            Ok(()) => socket.write_all(&fib(u64::from_le_bytes(n)).to_le_bytes())?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
