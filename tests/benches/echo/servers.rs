//! Which servers echo, and what do they have in common?
//!
//! Five servers that do the same thing: each binds a free port on the loopback, says so in one
//! line, and echoes whatever comes. The peers are written as their documentation teaches: a task
//! per connection, a buffer of 16 KiB in the task, read, write all.
//!
//! Rule: a server started with `--until-closed` ends, cleanly, with its last connection. A tool
//! that counts (strace, valgrind) then reports a whole run; without it a server is killed when its
//! measurement is over.
//!
//! What they do not do: limits, timeouts, logs. The project's own server, with manners, is measured
//! by talk.rs.
//!
//! Comes from: echo.rs, word `serve`. Goes to: one file per server.

mod bare;
#[cfg(feature = "peers")]
#[path = "monoio.rs"]
mod on_monoio;
#[cfg(feature = "peers")]
#[path = "smol.rs"]
mod on_smol;
#[cfg(feature = "peers")]
#[path = "tokio.rs"]
mod on_tokio;
mod ours;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The size of the peers' buffers, and the most that ours reads at once.
pub(crate) const BUFFER: usize = 16 * 1024;

/// Runs one server.
pub(crate) fn serve(name: &str, until_closed: bool) {
    UNTIL_CLOSED.store(until_closed, Relaxed);
    match name {
        "bare" => bare::serve(),
        "ours" => ours::serve(),
        #[cfg(feature = "peers")]
        "tokio" => on_tokio::serve(),
        #[cfg(feature = "peers")]
        "smol" => on_smol::serve(),
        #[cfg(feature = "peers")]
        "monoio" => on_monoio::serve(),
        other => panic!("no server is called {other:?}"),
    }
}

/// Tells the benchmark where the server listens and which process it is, which below strace is not
/// the one it started.
fn listening(addr: std::io::Result<SocketAddr>) {
    println!("{} {}", addr.expect("a bound socket has an address"), std::process::id());
}

static UNTIL_CLOSED: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A connection while it lasts. It takes no room in a task.
struct Open;

impl Open {
    fn new() -> Open {
        OPEN.fetch_add(1, Relaxed);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if OPEN.fetch_sub(1, Relaxed) == 1 && UNTIL_CLOSED.load(Relaxed) {
            std::process::exit(0);
        }
    }
}
