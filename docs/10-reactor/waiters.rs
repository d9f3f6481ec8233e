//! What if several tasks wait for the same socket?
//!
//! Three tasks read from one socket, a byte each. One byte comes, and later two more. An instrument counts the wakes.
//!
//! Comes from: you. Goes to: `runtime::AsyncSocket`, and the lists of its source.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use runtime::{AsyncSocket, Instrument, Runtime, TaskId, sleep, spawn};

#[derive(Default)]
struct Woken(Cell<usize>);

impl Instrument for Woken {
    fn woken(&self, task: TaskId, _: bool) {
        self.0.set(self.0.get() + usize::from(task != TaskId::ROOT));
    }
}

fn main() -> io::Result<()> {
    let woken = Rc::new(Woken::default());
    let runtime = Runtime::builder().instrument(woken.clone()).build()?;
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        let ours = Rc::new(AsyncSocket::new(ours)?);
        for name in ["first", "second", "third"] {
            spawn(wait(name, Rc::clone(&ours)));
        }
        for bytes in ["", "a", "bc"] {
            theirs.write_all(bytes.as_bytes())?;
            woken.0.set(0);
            println!("bytes that come: {}", bytes.len());
            sleep(Duration::from_millis(10)).await;
            println!("    tasks woken: {}", woken.0.get());
        }
        Ok(())
    })
}

async fn wait(name: &str, socket: Rc<AsyncSocket<UnixStream>>) {
    let mut byte = [0];
    match socket.recv(&mut byte).await {
        Ok(_) => println!("    the {name} one has {:?}", byte[0] as char),
        Err(error) => println!("    the {name} one has an error: {error}"),
    }
}
