//! What must the two echo programs agree on?
//!
//! The port; and for their lines, how bytes look in Python.
//!
//! Comes from: echo_client.rs, echo_server.rs. Goes to: nothing.

use std::fmt;

/// Any one above 1023 that is free, but the same on both sides. (`--addr` says another.)
pub(super) const PORT: u16 = 12345;

/// The most that one read takes.
pub(super) const BUFSIZE: usize = 16384;

/// Bytes as `{!r}` prints them.
pub(super) struct Repr<'a>(pub &'a [u8]);

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Python takes the other quotes if there is an apostrophe in it; this prints \' then.
        write!(f, "b'{}'", self.0.escape_ascii())
    }
}
