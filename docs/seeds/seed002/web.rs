//! What do all five ways to fetch a page have in common?
//!
//! A request is some bytes to send, an answer is all that comes until the other side closes (HTTP/1.0), and it is a status
//! or a redirect. None of that waits, so every form can use it. And [`get`], which does: the counterpart of `urlopen`, and
//! what three of the five forms call.
//!
//! ```text
//! --tick MILLISECONDS  how long a page of one tick takes (100)
//! --origin ADDRESS     ask this one instead of starting an own
//! --urls N             so many pages of one tick each, instead of the four
//! ```
//!
//! What it does not do: encryption, names, anything of HTTP beyond a GET.
//!
//! Comes from: the fetching programs. Goes to: origin.rs, which it starts.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::origin;
use crate::words::Words;

/// The four pages of the slides, and what the origin makes of them: see the table there.
const FOUR: [&str; 4] = ["/twitter", "/google", "/yahoo", "/facebook"];

/// How many redirects are followed; more are a circle, probably.
pub(super) const REDIRECTS: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct Url {
    pub(super) origin: SocketAddr,
    path: String,
}

/// What a server has said.
#[derive(Debug)]
pub(super) enum Answer {
    Status(u16),
    Elsewhere(Url),
}

/// What is to be fetched; the origin runs on a thread of its own from here on.
pub(super) fn urls(words: &Words<'_>) -> Result<Vec<Url>, Box<dyn std::error::Error>> {
    let origin = match words.value("--origin")? {
        Some(address) => address,
        None => origin::start(words.tick(100)?)?,
    };
    let paths: Vec<String> = match words.value::<usize>("--urls")? {
        Some(count) => (0..count).map(|number| format!("/page/{number}")).collect(),
        None => FOUR.map(str::to_owned).into(),
    };
    Ok(paths.into_iter().map(|path| Url { origin, path }).collect())
}

/// The words that [`urls`] knows.
pub(super) const OPTIONS: [&str; 3] = ["--tick", "--origin", "--urls"];

/// Fetches a page and follows where it leads. Blocks.
pub(super) fn get(url: &Url) -> io::Result<u16> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS {
        let mut stream = TcpStream::connect(url.origin)?;
        stream.write_all(&url.request())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        match url.answer(&bytes)? {
            Answer::Status(status) => return Ok(status),
            Answer::Elsewhere(next) => url = next,
        }
    }
    Err(too_many_redirects())
}

/// What the slides print for a page. (Their `urlopen` raises for a 500, so its `Bad` was never seen.)
pub(super) fn print(url: &Url, result: &io::Result<u16>) {
    match result {
        Ok(200) => println!("{url} OK"),
        Ok(_) => println!("{url} Bad"),
        Err(error) => println!("{url} Bad: {error}"),
    }
}

/// The last line of each form.
pub(super) fn print_time(pages: usize, start: Instant) {
    println!("{pages} pages in {:.2} s", start.elapsed().as_secs_f64());
}

pub(super) fn too_many_redirects() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "too many redirects")
}

impl Url {
    pub(super) fn request(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, self.origin).into_bytes()
    }

    /// Reads all that a server has sent.
    pub(super) fn answer(&self, bytes: &[u8]) -> io::Result<Answer> {
        let nonsense = || io::Error::new(ErrorKind::InvalidData, "this is not an answer of HTTP");
        let text = std::str::from_utf8(bytes).map_err(|_| nonsense())?;
        let (head, _body) = text.split_once("\r\n\r\n").ok_or_else(nonsense)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
        let status = status.and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status: u16 = status.ok_or_else(nonsense)?;
        if !(300..400).contains(&status) {
            return Ok(Answer::Status(status));
        }
        let path = lines.find_map(|line| line.strip_prefix("Location: ")).ok_or_else(nonsense)?;
        Ok(Answer::Elsewhere(Url { origin: self.origin, path: path.to_owned() }))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.origin, self.path)
    }
}
