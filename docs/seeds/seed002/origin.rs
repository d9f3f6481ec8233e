//! Whom do the fetching programs ask?
//!
//! A web server whose pages take known times, on the loopback. It stands for the slides' four sites, which cannot be
//! asked for a figure that is the same tomorrow:
//!
//! | page           | ticks | answer                      |
//! |----------------|-------|-----------------------------|
//! | `/twitter`     | 4     | 200                         |
//! | `/google`      | 1     | 302, to `/google/home`      |
//! | `/google/home` | 1     | 200                         |
//! | `/yahoo`       | 3     | 200                         |
//! | `/facebook`    | 1     | 500                         |
//! | `/page/...`    | 1     | 200                         |
//! | others         | 0     | 404                         |
//!
//! So the four together: one after the other 10 ticks, all at once 4.
//!
//! It runs on our runtime, one thread for any number of requests that wait: it must not be what is measured.
//!
//! ```text
//! --tick MILLISECONDS (100), --addr ADDRESS (127.0.0.1:8000)
//! ```
//!
//! Comes from: ../main.rs; web.rs, which starts one inside of each program. Goes to: `net::serve`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use net::{Limits, ListenOptions, TcpListener, TcpStream, serve};
use runtime::{block_on, sleep};

use crate::Outcome;
use crate::words::Words;

/// A request longer than that is none of ours.
const LONGEST_REQUEST: usize = 4096;

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--tick", "--addr"])?;
    let (tick, address) = (words.tick(100)?, words.address(8000)?);
    block_on(async {
        let listener = listen(address).await?;
        println!("Listening on {}", listener.local_addr()?);
        serve_pages(listener, tick).await
    })?;
    Ok(())
}

/// Starts one on a thread of its own, on a port that is free, and says where. It ends with the process.
pub(super) fn start(tick: Duration) -> io::Result<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("origin".to_owned()).spawn(move || {
        let served = block_on(async {
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            // Nobody listens any more if the program has ended.
            let _ = tell.send(listener.local_addr()?);
            serve_pages(listener, tick).await
        });
        if let Err(error) = served {
            eprintln!("origin: {error}");
        }
    })?;
    told.recv().map_err(|_| io::Error::other("the origin did not start"))
}

/// With a long queue: ten thousand clients may come at the same moment.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    ListenOptions::new().backlog(u16::MAX).listen(address).await
}

async fn serve_pages(listener: TcpListener, tick: Duration) -> io::Result<()> {
    let limits = Limits::new().connections(100_000);
    serve(listener, limits, async move |client, _| answer(client, tick).await).await?;
    Ok(())
}

async fn answer(client: TcpStream, tick: Duration) -> io::Result<()> {
    let request = read_request(&client).await?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (ticks, head) = match path {
        "/twitter" => (4, "200 OK"),
        "/google" => (1, "302 Found\r\nLocation: /google/home"),
        "/google/home" => (1, "200 OK"),
        "/yahoo" => (3, "200 OK"),
        "/facebook" => (1, "500 Internal Server Error"),
        _ if path.starts_with("/page/") => (1, "200 OK"),
        _ => (0, "404 Not Found"),
    };
    sleep(tick * ticks).await;
    client.write_all(format!("HTTP/1.0 {head}\r\n\r\nthis is {path}\n").as_bytes()).await
}

async fn read_request(client: &TcpStream) -> io::Result<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"\r\n\r\n") {
        let count = client.read(&mut buffer).await?;
        request.extend_from_slice(&buffer[..count]);
        if count == 0 || request.len() > LONGEST_REQUEST {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}
