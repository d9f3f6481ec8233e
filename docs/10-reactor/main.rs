//! How often does the kernel say the same thing?
//!
//! Ten bytes arrive, and are read four at a time; before each read the kernel is asked whether there is something to read. The
//! answer depends on the mode in which the socket is watched. Later five more bytes arrive.
//!
//! Comes from: you. Goes to: polling, which on Linux is epoll.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

#[path = "../watched.rs"]
mod watched;
use watched::Watched;

fn main() -> io::Result<()> {
    for mode in [PollMode::Level, PollMode::Oneshot, PollMode::Edge] {
        println!("{mode:?}");
        let poller = Arc::new(Poller::new()?);
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = Watched::new(&poller, ours, Event::readable(7), mode)?;
        for step in ["ten bytes arrive", "", "", "", "five bytes arrive", ""] {
            match step {
                "ten bytes arrive" => theirs.write_all(&[b'x'; 10])?,
                "five bytes arrive" => theirs.write_all(&[b'y'; 5])?,
                _ => {}
            }
            let report = if is_reported(&poller)? { "reported" } else { "silence" };
            let read = match (&*ours).read(&mut [0; 4]) {
                Ok(count) => format!("{count} read"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => "would block".into(),
                Err(error) => return Err(error),
            };
            println!("    {step:20} {report:10} {read}");
        }
    }
    Ok(())
}

/// Asks without waiting.
fn is_reported(poller: &Poller) -> io::Result<bool> {
    let mut events = Events::new();
    poller.wait(&mut events, Some(Duration::ZERO))?;
    Ok(events.iter().any(|event| event.readable))
}
