//! Whom does a report reach whose descriptor was closed, when another socket has its number by now?
//!
//! An entry in the kernel's list names a descriptor's number and the open file behind it, and stays until the file is closed. Two
//! numbers may name one file (dup, fork), and a number that was closed is given to the next who asks. The same story is told twice,
//! with a descriptor's number as token and with a count.
//!
//! Comes from: you. Goes to: epoll itself, by rustix.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

fn main() -> io::Result<()> {
    println!("token: the descriptor's number");
    story(|socket, _| socket.as_raw_fd() as u64)?;
    println!("token: a count");
    story(|_, count| count)
}

fn story(token: impl Fn(&UnixStream, u64) -> u64) -> io::Result<()> {
    let kernel = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut who = HashMap::new();

    let (old, mut peer) = UnixStream::pair()?;
    let old_token = token(&old, 1);
    watch(&kernel, &old, old_token)?;
    who.insert(old_token, "the old socket");

    let _elsewhere = old.try_clone()?; // as a child process would have it
    let number = old.as_raw_fd();
    who.remove(&old_token);
    drop(old);

    let (new, _its_peer) = UnixStream::pair()?;
    println!("    the new socket has the old one's number: {}", new.as_raw_fd() == number);
    if let Err(error) = epoll::delete(&kernel, &new) {
        println!("    to take that number off the list: {error}");
    }
    let new_token = token(&new, 2);
    watch(&kernel, &new, new_token)?;
    who.insert(new_token, "the new socket");

    peer.write_all(b"for the old one")?;
    for token in reports(&kernel)? {
        println!("    bytes for the old one are told to {}", who.get(&token).unwrap_or(&"nobody"));
    }
    Ok(())
}

fn watch(kernel: &OwnedFd, socket: &UnixStream, token: u64) -> io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(kernel, socket, epoll::EventData::new_u64(token), flags)?)
}

/// The tokens of what is reported now.
fn reports(kernel: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut events = Vec::with_capacity(8);
    epoll::wait(kernel, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(events.iter().map(|event| event.data.u64()).collect())
}
