//! A crawler: reads a page, then all pages that it links to, and so on, many at the same time.
//!
//! ```text
//! cargo run -p net --example crawler                           # against an origin of its own, 16 pages at a time
//! cargo run -p net --example crawler -- - 1                    # one page at a time, to compare
//! cargo run -p net --example crawler -- --origin 127.0.0.1:25300      # the origin alone; in a second terminal:
//! cargo run -p net --example crawler -- 127.0.0.1:25300/ 8
//! ```
//!
//! What it shows: tasks as workers around one queue, `lines` for a head and the same buffer for the body, a nursery that ends
//! when all is read. The origin takes 30 to 70 ms for a page, as a database would, and the last line says what that adds up
//! to and how long the crawl took: waiting is done at the same time, by one thread.
//!
//! HTTP/1.0, by hand: a request, a head, a body up to the end of the connection. No TLS, no redirects, no robots.txt; links
//! are `href="/.."`, so it never leaves the server it was sent to. Be kind: send it to servers that are yours.
//!
//! Limits: 1,000 pages, 1 MiB a page, 10 s a page, also for the origin's clients. A page that fails is told and costs itself alone, unless it is the first.
//!
//! Comes from: `cargo run`. Goes to: net.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_lite::AsyncReadExt;
use net::{Buffered, Limits, TcpListener, TcpStream, lines, serve};
use runtime::{nursery, sleep, spawn, timeout};

const WORKERS: usize = 16;
const MOST_PAGES: usize = 1000;
const LARGEST_PAGE: u64 = 1 << 20;
const LONGEST_HEADER: usize = 8192;
const MOST_HEADERS: usize = 100;
const PAGE_TIME: Duration = Duration::from_secs(10);
/// How many pages the origin has.
const PAGES: usize = 40;

const USAGE: &str = "\
usage: crawler [ADDRESS:PORT[/PATH] | - [WORKERS]]    (-: an origin of its own; 16 workers)
       crawler --origin ADDRESS:PORT";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let workers = match words.get(1) {
        Some(word) => word.parse().ok().filter(|workers| (1..=1000).contains(workers)),
        None => Some(WORKERS),
    };
    let result = match (&words[..], workers) {
        (["--origin", address], _) => runtime::block_on(async {
            let listener = TcpListener::bind(*address).await?;
            log(&format!("listening on {}", listener.local_addr()?));
            serve(listener, Limits::new(), answer).await.map(drop)
        }),
        ([] | ["-"] | ["-", _], Some(workers)) => runtime::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let _origin = spawn(serve(listener, Limits::new(), answer));
            crawl(&address.to_string(), "/", workers).await
        }),
        ([url] | [url, _], Some(workers)) if !url.starts_with('-') => {
            let url = url.strip_prefix("http://").unwrap_or(url);
            let (host, path) = url.split_once('/').unwrap_or((url, ""));
            runtime::block_on(crawl(host, &format!("/{path}"), workers))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

// ---- the crawler

/// What the workers share.
struct Crawl {
    host: String,
    /// Paths that were found, whether read or not.
    seen: RefCell<HashSet<String>>,
    queue: Sender<String>,
    /// Pages that were found and not done with. When there is none, there will be no other.
    left: Cell<usize>,
    pages: Cell<usize>,
    bytes: Cell<usize>,
    failed: Cell<usize>,
    /// The time of all pages, each by itself.
    times: Cell<Duration>,
}

async fn crawl(host: &str, path: &str, workers: usize) -> io::Result<()> {
    let (queue, paths) = async_channel::unbounded(); // bounded by MOST_PAGES
    let crawl = Rc::new(Crawl {
        host: host.to_owned(),
        seen: RefCell::default(),
        queue,
        left: Cell::new(0),
        pages: Cell::new(0),
        bytes: Cell::new(0),
        failed: Cell::new(0),
        times: Cell::new(Duration::ZERO),
    });
    let start = Instant::now();
    crawl.found(path);
    let all_done = nursery(async |nursery| {
        for _ in 0..workers {
            nursery.spawn(work(Rc::clone(&crawl), paths.clone()));
        }
        Ok::<(), io::Error>(())
    });
    all_done.await.map_err(io::Error::other)?;
    log(&format!(
        "{} pages, {} bytes, {} failed, in {:.3} s; their times add up to {:.3} s",
        crawl.pages.get(),
        crawl.bytes.get(),
        crawl.failed.get(),
        start.elapsed().as_secs_f64(),
        crawl.times.get().as_secs_f64(),
    ));
    Ok(())
}

async fn work(crawl: Rc<Crawl>, paths: Receiver<String>) -> io::Result<()> {
    while let Ok(path) = paths.recv().await {
        let start = Instant::now();
        let page = timeout(PAGE_TIME, fetch(&crawl.host, &path)).await;
        let took = start.elapsed();
        crawl.times.set(crawl.times.get() + took);
        match page.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok((status, body)) => {
                crawl.pages.set(crawl.pages.get() + 1);
                crawl.bytes.set(crawl.bytes.get() + body.len());
                log(&format!(
                    "{path}: {status}, {} bytes, {:.3} s",
                    body.len(),
                    took.as_secs_f64()
                ));
                links(&body).for_each(|link| crawl.found(link));
            }
            Err(error) if crawl.pages.get() == 0 && crawl.left.get() == 1 => return Err(error),
            Err(error) => {
                crawl.failed.set(crawl.failed.get() + 1);
                log(&format!("{path}: {error}"));
            }
        }
        crawl.left.set(crawl.left.get() - 1);
        if crawl.left.get() == 0 {
            crawl.queue.close(); // and so all workers end
        }
    }
    Ok(())
}

impl Crawl {
    /// Puts a path into the queue, unless it was there before.
    fn found(&self, path: &str) {
        let is_new = {
            let mut seen = self.seen.borrow_mut();
            seen.len() < MOST_PAGES && seen.insert(path.to_owned())
        };
        if is_new && self.queue.try_send(path.to_owned()).is_ok() {
            self.left.set(self.left.get() + 1);
        }
    }
}

/// The status and the body of a page.
async fn fetch(host: &str, path: &str) -> io::Result<(u16, String)> {
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;

    let mut stream = Buffered::new(stream);
    let mut head = lines(&mut stream, LONGEST_HEADER);
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let first = head.next_line().await?.ok_or_else(|| wrong("it closed without an answer"))?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.ok_or_else(|| wrong("that is not HTTP"))?;
    for header in 0.. {
        match head.next_line().await? {
            Some(line) if line.is_empty() => break,
            Some(_) if header < MOST_HEADERS => {}
            Some(_) => return Err(wrong("it has too many headers")),
            None => return Err(wrong("it ended within its head")),
        }
    }
    let mut body = Vec::new();
    stream.take(LARGEST_PAGE + 1).read_to_end(&mut body).await?;
    if body.len() as u64 > LARGEST_PAGE {
        return Err(wrong("it is larger than 1 MiB"));
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The links of a page that lead to the same server. What would end the request's line is no link.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("href=\"").skip(1).filter_map(|rest| {
        let link = rest.split(['"', '#']).next()?;
        let is_local = link.starts_with('/') && !link.starts_with("//");
        (is_local && link.bytes().all(|byte| byte.is_ascii_graphic())).then_some(link)
    })
}

// ---- the origin

/// Answers one request, from a client that asks and reads in time.
async fn answer(stream: TcpStream, _: SocketAddr) -> io::Result<()> {
    timeout(PAGE_TIME, give_page(&stream)).await?
}

/// Page n links to eight others, and takes its time.
async fn give_page(stream: &TcpStream) -> io::Result<()> {
    let mut request = lines(Buffered::new(stream), LONGEST_HEADER);
    let first = request.next_line().await?.unwrap_or_default();
    while request.next_line().await?.is_some_and(|line| !line.is_empty()) {}

    let path = first.split(' ').nth(1).unwrap_or_default();
    let number = match path.strip_prefix("/page/") {
        Some(number) => number.parse().ok().filter(|&number| number < PAGES),
        None => (path == "/").then_some(0),
    };
    let (status, body) = match number {
        Some(number) => {
            sleep(delay(number)).await;
            let links = (8 * number + 1..8 * number + 9).filter(|&link| link < PAGES);
            let links = links.map(|link| format!("<a href=\"/page/{link}\">{link}</a>\n"));
            ("200 OK", format!("<h1>Page {number}</h1>\n{}", links.collect::<String>()))
        }
        None => ("404 Not Found", "no such page\n".to_owned()),
    };
    let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// How long the origin thinks about a page.
fn delay(page: usize) -> Duration {
    Duration::from_millis(30 + 10 * (page as u64 * 7 % 5))
}

/// Not `println!`, which panics when nobody reads it any more.
fn log(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
