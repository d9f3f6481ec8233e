//! How does one thread fetch four pages by callbacks?
//!
//! The original: Twisted. An agent's `request` gives a deferred, the printing is hung on it, a list of them makes one
//! deferred of all, and `react` runs the loop until that fires. A second agent around the first follows redirects.
//!
//! In Rust, the same parts, 150 lines of them where Twisted brings them along: deferred.rs, reactor.rs, and here a `get` that
//! is a chain of small functions, each saying what comes next. Nothing blocks, one thread is enough, the time is that of the
//! slowest page. What the slides call viral can be seen: all that calls something deferred has to be deferred itself. And a
//! loop ("read until the end") is a function that hangs itself on what it waits for.
//!
//! Comes from: ../main.rs. Goes to: deferred.rs, reactor.rs, web.rs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::PollFlags;
use socket2::{Domain, Socket, Type};

use super::deferred::{Deferred, all};
use super::reactor::{Reactor, react};
use super::web::{self, Answer, OPTIONS, REDIRECTS, Url};
use crate::Outcome;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    let urls = web::urls(&Words::new(words, &OPTIONS)?)?;
    let (start, count) = (Instant::now(), urls.len());
    react(|reactor| {
        let list = urls.into_iter().map(|url| {
            let page = get(reactor, url.clone(), REDIRECTS);
            page.both(move |result| {
                web::print(&url, &result);
                result
            })
        });
        all(list.collect())
    })?;
    web::print_time(count, start);
    Ok(())
}

/// Fetches a page, and where it leads, and so on, so many times.
fn get(reactor: &Rc<Reactor>, url: Url, redirects: usize) -> Deferred<u16> {
    let again = Rc::clone(reactor);
    request(reactor, url).and_then(move |answer| match answer {
        Answer::Status(status) => Deferred::fired(Ok(status)),
        Answer::Elsewhere(next) if redirects > 0 => get(&again, next, redirects - 1),
        Answer::Elsewhere(_) => Deferred::fired(Err(web::too_many_redirects())),
    })
}

/// One request: connect, send, read until the end, understand.
fn request(reactor: &Rc<Reactor>, url: Url) -> Deferred<Answer> {
    let stream = match begin_to_connect(url.origin) {
        Ok(stream) => stream,
        Err(error) => return Deferred::fired(Err(error)),
    };
    let (reading, sent) = (Rc::clone(reactor), url.request());
    reactor
        .when(stream, PollFlags::OUT)
        .then(move |mut stream| {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            stream.write_all(&sent)?; // some hundred bytes: there is always room for them
            Ok(stream)
        })
        .and_then(move |stream| read_to_end(reading, stream, Vec::new()))
        .then(move |bytes| url.answer(&bytes))
}

/// A connection that is being made: it is ready to be written to when it stands, or has failed.
fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

fn read_to_end(reactor: Rc<Reactor>, stream: TcpStream, mut bytes: Vec<u8>) -> Deferred<Vec<u8>> {
    let again = Rc::clone(&reactor);
    reactor.when(stream, PollFlags::IN).and_then(move |mut stream| {
        match stream.read_to_end(&mut bytes) {
            Ok(_) => Deferred::fired(Ok(bytes)),
            // What has come until now is in `bytes`.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                read_to_end(again, stream, bytes)
            }
            Err(error) => Deferred::fired(Err(error)),
        }
    })
}
