//! What does a short read prove?
//!
//! Four bytes and the end of the stream come together, and edges are reported once. The reader has room for 64 bytes, gets four, takes
//! that for the proof that nothing is left, and waits. Once it asks the kernel to say when the peer has finished, and once not.
//!
//! Comes from: exercise 1. Goes to: epoll itself, by rustix.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, epoll};

fn main() -> io::Result<()> {
    for finish in [EventFlags::empty(), EventFlags::RDHUP] {
        println!("{}", if finish.is_empty() { "IN" } else { "IN and RDHUP" });
        read_to_the_end(finish)?;
    }
    Ok(())
}

fn read_to_the_end(finish: EventFlags) -> io::Result<()> {
    let kernel = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let (mut ours, mut theirs) = connection()?;
    ours.set_nonblocking(true)?;
    let flags = EventFlags::IN | EventFlags::ET | finish;
    epoll::add(&kernel, &ours, epoll::EventData::new_u64(0), flags)?;
    theirs.write_all(b"last")?;
    theirs.shutdown(Shutdown::Write)?;
    thread::sleep(Duration::from_millis(50)); // until both have arrived

    loop {
        let Some(reported) = report(&kernel)? else {
            println!("    no report: it would wait for ever");
            return Ok(());
        };
        loop {
            let mut buffer = [0; 64];
            let count = ours.read(&mut buffer)?;
            println!("    {count} bytes read");
            if count == 0 {
                return Ok(());
            }
            if count < buffer.len() && !reported.contains(EventFlags::RDHUP) {
                break; // nothing is left. Or is there?
            }
        }
    }
}

/// Waits for a report, for a fifth of a second.
fn report(kernel: &OwnedFd) -> io::Result<Option<EventFlags>> {
    let mut events = Vec::with_capacity(8);
    let limit = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    epoll::wait(kernel, spare_capacity(&mut events), Some(&limit))?;
    Ok(events.first().map(|event| event.flags))
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let theirs = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener.accept()?.0, theirs))
}
