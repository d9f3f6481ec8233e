//! What does one of it cost, counted?
//!
//! One operation, repeated: `14-cost yield 1000`. It prints nothing and measures nothing. Other programs count while it runs,
//! strace the system calls, valgrind the instructions and the allocations. What a run of 3,000 costs more than a run of 1,000
//! is the price of 2,000: start and end cancel out.
//!
//! Comes from: the table `cost`, or you. Goes to: the runtime, and the tools around it.

use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use net::{TcpListener, TcpStream};
use runtime::{block_on, sleep, spawn, timeout, unblock, yield_now};

async fn act(what: String, count: usize) -> Result<(), Box<dyn Error>> {
    match what.as_str() {
        "nothing" => {}
        "yield" => {
            for _ in 0..count {
                yield_now().await;
            }
        }
        "spawn" => {
            for number in 0..count {
                black_box(spawn(async move { number }).await?);
            }
        }
        "timeout" => {
            for _ in 0..count {
                timeout(Duration::from_secs(60), yield_now()).await?;
            }
        }
        "job" => {
            for number in 0..count {
                let job = move || {
                    thread::sleep(Duration::from_micros(200)); // the loop is asleep when it ends
                    number
                };
                black_box(unblock(job).await?);
            }
        }
        "connection" => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            for _ in 0..count {
                let client = std::net::TcpStream::connect(address)?; // blocking; its calls count, too
                let (server, _) = listener.accept().await?;
                drop((client, server));
            }
        }
        "echo" => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let client = TcpStream::connect(listener.local_addr()?).await?;
            let (server, _) = listener.accept().await?;
            drop(spawn(echo(server)));
            let mut message = [b'x'; 64];
            for _ in 0..count {
                client.write_all(&message).await?;
                client.read_exact(&mut message).await?;
            }
        }
        _ => return Err("what? nothing, yield, spawn, timeout, job, connection, echo".into()),
    }
    // The loop sleeps once at least, in every run.
    sleep(Duration::from_millis(1)).await;
    Ok(())
}

async fn echo(stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "nothing".into());
    let count = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    block_on(async move { spawn(act(what, count)).await? })
}
