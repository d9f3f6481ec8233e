//! How does a descriptor stay on the poller's list exactly as long as it is open?
//!
//! By being owned by something that takes it off the list before it closes. polling asks for that, and cannot check it, so
//! its `add` is unsafe; this file is the one place in the chapters' programs that promises it.
//!
//! Comes from: the programs that use polling. Goes to: `polling::Poller`.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use polling::{Event, PollMode, Poller};

/// A socket that the poller knows, until it is dropped.
pub(crate) struct Watched<S: AsFd> {
    source: S,
    poller: Arc<Poller>,
}

impl<S: AsFd + AsRawFd> Watched<S> {
    /// Puts the socket on the list. What is asked for, and the key under which it is reported, stand in `interest`.
    pub(crate) fn new(
        poller: &Arc<Poller>,
        source: S,
        interest: Event,
        mode: PollMode,
    ) -> io::Result<Self> {
        // SAFETY: a source must be taken off the list before it is dropped. It is owned by the value made here, whose drop
        // does that, and which gives it away to nobody.
        unsafe { poller.add_with_mode(&source, interest, mode) }?;
        Ok(Watched { source, poller: Arc::clone(poller) })
    }

    /// Asks for something else; in `PollMode::Oneshot` for the next report.
    #[allow(dead_code)] // not every program does
    pub(crate) fn ask(&self, interest: Event, mode: PollMode) -> io::Result<()> {
        self.poller.modify_with_mode(&self.source, interest, mode)
    }
}

impl<S: AsFd> Deref for Watched<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.source
    }
}

impl<S: AsFd> Drop for Watched<S> {
    fn drop(&mut self) {
        // It fails only if the kernel has forgotten the descriptor already.
        let _ = self.poller.delete(&self.source);
    }
}
