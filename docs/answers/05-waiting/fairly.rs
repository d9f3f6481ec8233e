//! How does the loop look at its sockets although a task is always ready?
//!
//! It polls as many tasks as were ready when the turn began, and then looks, without sleeping if a task is ready again.
//!
//! Comes from: fair.rs, and the answers to chapter 6. Goes to: the_loop.rs.

use std::io;
use std::time::Duration;

use polling::Events;

use crate::the_loop::{Loop, locked};

pub(crate) fn run_fairly(the_loop: &Loop) -> io::Result<()> {
    let ready = || locked(&the_loop.run_queue).len();
    let mut events = Events::new();
    loop {
        for _ in 0..ready() {
            if let Some(number) = the_loop.next_ready() {
                the_loop.poll(number);
            }
        }
        if the_loop.tasks.borrow().is_empty() {
            return Ok(());
        }
        let most = if ready() > 0 { Some(Duration::ZERO) } else { None };
        the_loop.wait(&mut events, most)?;
    }
}
