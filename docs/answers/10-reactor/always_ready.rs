//! How many polls does a task that is always ready get before the loop looks at a socket?
//!
//! One task wakes itself in each poll. In its thousandth it writes a byte to a socket that another task waits for, and from then on it
//! counts.
//!
//! Comes from: exercise 3. Goes to: the runtime's turn.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;

use runtime::{AsyncSocket, block_on, spawn};

fn main() -> io::Result<()> {
    block_on(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        let ours = AsyncSocket::new(ours)?;
        let polls = Rc::new(Cell::new(0));
        let counts = Rc::clone(&polls);
        let _always_ready = spawn(std::future::poll_fn(move |cx| {
            counts.set(counts.get() + 1);
            if counts.get() == 1000 {
                theirs.write_all(b"x").expect("a socket pair has room for a byte");
            }
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        ours.recv(&mut [0]).await?;
        println!("polls after the byte came: {}", polls.get() - 1000);
        Ok(())
    })
}
