//! What does the runtime ask of the operating system?
//!
//! This folder is the only place, beside the task cell, where code is unsafe; everything it shows to the outside is
//! safe to call. A backend of the poller is a page, and provides, in this order:
//!
//! | item                          | what it must do                                                                   |
//! |-------------------------------|-----------------------------------------------------------------------------------|
//! | `Poller::new`                 | open the kernel's queue, with its bell already in it                                |
//! | `Poller::add(fd, token)`      | watch `fd` for both directions, reporting each change once (edge), until removed    |
//! | `Poller::rearm(fd, token, ..)`| ask again after a would-block, where the kernel has no edges; nothing elsewhere     |
//! | `Poller::remove(fd, closing)` | stop watching; may do nothing if the descriptor is about to be closed anyway        |
//! | `Poller::wait(events, time)`  | sleep until an event, the bell, a signal or the time (`None`: for ever)             |
//! | `Bell::ring`                  | end a sleep from any thread; rings while nobody sleeps may melt into one            |
//! | `SHORT_COUNT_MEANS_EMPTY`     | whether a short read proves the socket drained (needs end-of-stream in the event)   |
//!
//! Linux waits with epoll (epoll.rs). Every other Unix, and Linux under `--cfg ground_portable`, goes through the
//! polling crate (portable.rs): kqueue, event ports, poll().
//!
//! Beside the poller: `at_home` (a value that only its own thread can touch), `stack` (a list that is pushed to without a
//! lock), `socket` (the few calls on a descriptor), `os` (what the outer rooms need of the system), `fork` (has this process been split?).
//!
//! Comes from: reactor.rs, async_socket.rs, run_queue.rs. Goes to: the kernel.

#[cfg(all(target_os = "linux", not(ground_portable)))]
#[path = "epoll.rs"]
mod backend;
#[cfg(not(all(target_os = "linux", not(ground_portable))))]
#[path = "portable.rs"]
mod backend;

mod at_home;
mod fork;
pub(crate) mod os;
pub(crate) mod socket;
mod stack;

pub(crate) use at_home::AtHome;
pub(crate) use backend::{Bell, Events, Poller, SHORT_COUNT_MEANS_EMPTY};
pub(crate) use stack::{Stack, Taken};

/// The token that no source ever gets: the bell's own.
#[allow(dead_code, reason = "not every backend keeps its bell among the sources")]
const BELL: u64 = u64::MAX;

/// One line of the kernel's report: which source, and what may now be tried on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// The number the source was added with.
    pub(crate) token: u64,
    /// Bits of [`state`].
    pub(crate) state: u32,
}

/// What an event says, in bits. They are epoll's numbers, so that its backend has nothing to translate.
pub(crate) mod state {
    /// There are bytes, or a connection.
    pub(crate) const IN: u32 = 0x1;
    /// A write would not block.
    pub(crate) const OUT: u32 = 0x4;
    /// Any bit of these: the peer has finished, the connection is gone, an error waits, or urgent data does (a read stops
    /// short before it). Then less than was asked for does not prove that nothing is left.
    pub(crate) const READ_UNSURE: u32 = 0x201a;
    /// Those among them that say that nothing more will come.
    pub(crate) const READ_ENDED: u32 = 0x2010;
    /// The same for writing: the connection is gone, or an error waits.
    pub(crate) const WRITE_UNSURE: u32 = 0x18;
}
