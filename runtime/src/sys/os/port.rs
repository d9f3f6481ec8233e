//! The local port of a connection that is bound to an address alone: when does the kernel choose it?
//!
//! In `bind` it would have to be free towards all destinations, and so a program could have no more such connections than
//! there are ports. In `connect` the destination is known. What it does not do: bind, connect.
//!
//! Comes from: net's connect. Goes to: the kernel.

use std::os::fd::{AsFd, AsRawFd};

/// Leaves the choice of the local port to `connect` where `bind` is given port 0 (`IP_BIND_ADDRESS_NO_PORT`, Linux): the
/// kernel then looks for a port that is free towards that destination, not towards all. Where it cannot, `bind` chooses.
#[doc(hidden)]
pub fn choose_port_at_connect(socket: impl AsFd) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let on: libc::c_int = 1;
        // SAFETY: the option is a number, ours, and lives through the call.
        let _ = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket;
}
