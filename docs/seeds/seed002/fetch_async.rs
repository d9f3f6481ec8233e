//! How does one thread fetch four pages, and read as if it fetched one?
//!
//! The original: asyncio, when it was new: a coroutine that yields from a request, a list of four, `asyncio.wait` for all,
//! a loop that runs until that is done.
//!
//! In Rust: `get` is web.rs's, with `.await` behind what waits, and that is all the difference to the one that blocks. Each
//! page is a task. A task prints when it is done, so the lines come in the order of the pages' times; awaiting the handles
//! one after the other gives the results in the order of the list. (`asyncio.wait` gives a set, in no order.)
//!
//! Comes from: ../main.rs. Goes to: `net::TcpStream`, `runtime::spawn`.

use std::io;
use std::time::Instant;

use net::TcpStream;
use runtime::{block_on, spawn};

use super::web::{self, Answer, OPTIONS, REDIRECTS, Url};
use crate::Outcome;
use crate::words::Words;

pub(crate) fn main(words: &[String]) -> Outcome {
    let urls = web::urls(&Words::new(words, &OPTIONS)?)?;
    let (start, count) = (Instant::now(), urls.len());
    let results = block_on(async {
        let tasks: Vec<_> = urls.into_iter().map(|url| spawn(fetch(url))).collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await?);
        }
        io::Result::Ok(results)
    })?;
    if count <= 4 {
        let statuses = results.into_iter().map(|result| result.unwrap_or(0).to_string());
        println!("in the order of the list: {}", statuses.collect::<Vec<_>>().join(" "));
    }
    web::print_time(count, start);
    Ok(())
}

async fn fetch(url: Url) -> io::Result<u16> {
    let result = get(&url).await;
    web::print(&url, &result);
    result
}

async fn get(url: &Url) -> io::Result<u16> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS {
        let stream = TcpStream::connect(url.origin).await?;
        stream.write_all(&url.request()).await?;
        let bytes = read_to_end(&stream).await?;
        match url.answer(&bytes)? {
            Answer::Status(status) => return Ok(status),
            Answer::Elsewhere(next) => url = next,
        }
    }
    Err(web::too_many_redirects())
}

async fn read_to_end(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        // Lent by the thread: ten thousand tasks that wait for an answer hold no buffer.
        let is_end = stream.read_lent(4096, |part| {
            bytes.extend_from_slice(part);
            part.is_empty()
        });
        if is_end.await? {
            return Ok(bytes);
        }
    }
}
