//! How does a server of threads let processes compute?
//!
//! The original: a thread for each client, which for each request does `pool.submit(fib, n)` and then `future.result()`,
//! on a pool of four processes. To wait there is fine: only this client's thread waits.
//!
//! In Rust the pool is one of our runtime's things, and those live on one thread. So a thread of its own runs the loop, and
//! the others reach it by a channel: a number, and where to put the answer. [`Pool::submit`] is that, and what it returns
//! is the future, whose `result()` is here `recv_blocking`. A loop can serve threads that know nothing of async.
//!
//! ```text
//! --n-max N    the largest number that is computed (45)
//! ```
//!
//! Comes from: ../main.rs. Goes to: std's threads, `process_pool`, async-channel.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use async_channel::{Receiver, Sender, bounded};
use runtime::process_pool::ProcessPool;
use runtime::{block_on, spawn};

use crate::words::Words;
use crate::{Outcome, by_process};

pub(crate) fn main(words: &[String]) -> Outcome {
    let words = Words::new(words, &["--addr", "--n-max"])?;
    let most = words.value("--n-max")?.unwrap_or(45);
    let listener = TcpListener::bind(words.address(25000)?)?;
    println!("Listening on {}", listener.local_addr()?);
    let pool = Pool::start(4)?;
    loop {
        let (client, peer) = listener.accept()?;
        println!("Connection {peer}");
        let pool = pool.clone();
        let handler = move || {
            if let Err(error) = fib_handler(client, peer, &pool, most) {
                println!("{peer}: {error}");
            }
            println!("Closed");
        };
        if let Err(error) = thread::Builder::new().spawn(handler) {
            println!("{peer} refused: {error}");
        }
    }
}

/// As in the talk, one `read` is taken for one request. (`server fib` knows better.)
fn fib_handler(mut client: TcpStream, _peer: SocketAddr, pool: &Pool, most: u64) -> io::Result<()> {
    let mut buffer = [0; 100];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let request = String::from_utf8_lossy(&buffer[..count]);
        let answer = match request.trim().parse() {
            Ok(n) if n <= most => pool.submit(n).recv_blocking().map_err(io::Error::other)?,
            _ => format!("error: send a number up to {most}"),
        };
        client.write_all(format!("{answer}\n").as_bytes())?;
    }
}

/// A process pool that threads can use. It lives as long as somebody can submit.
#[derive(Clone)]
struct Pool {
    jobs: Sender<(u64, Sender<String>)>,
}

impl Pool {
    fn start(workers: usize) -> io::Result<Pool> {
        let (jobs, queue) = bounded::<(u64, Sender<String>)>(workers);
        thread::Builder::new().name("pool".to_owned()).spawn(move || {
            block_on(async {
                let pool = ProcessPool::builder(by_process()).workers(workers).build()?;
                while let Ok((n, answer)) = queue.recv().await {
                    let call = pool.call("fib", n.to_string());
                    spawn(async move {
                        let text =
                            call.await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                        let text = text.unwrap_or_else(|error| format!("error: {error}"));
                        let _ = answer.send(text).await; // who has asked may have gone
                    });
                }
                io::Result::Ok(())
            })
        })?;
        Ok(Pool { jobs })
    }

    /// Has a process compute fib(n). What comes back is where the answer will be.
    fn submit(&self, n: u64) -> Receiver<String> {
        let (answer, future) = bounded(1);
        // An error is a pool that is gone; then `answer` is dropped, and the future says so.
        let _ = self.jobs.send_blocking((n, answer));
        future
    }
}
