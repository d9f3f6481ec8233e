//! How does one look into the loop while it works?
//!
//! By its tables, which `{:?}` prints, and by the lines that it prints itself if it was made with `trace`. A waker does not say
//! whose it is, so `recv_wait` and `send_wait` show sockets and no tasks.
//!
//! Comes from: the_loop.rs, and main.rs. Goes to: your terminal.

use std::fmt;

use super::{Loop, WaitTable, locked};

impl Loop {
    pub(super) fn tell(&self, what: fmt::Arguments<'_>) {
        if self.trace {
            println!("    {what}");
        }
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = |table: &WaitTable| table.borrow().keys().copied().collect::<Vec<_>>();
        let (recv_wait, send_wait) = (waits(&self.recv_wait), waits(&self.send_wait));
        let run_queue = locked(&self.run_queue);
        write!(f, "run_queue {run_queue:?}, recv_wait {recv_wait:?}, send_wait {send_wait:?}")
    }
}
