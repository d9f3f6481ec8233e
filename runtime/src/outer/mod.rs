//! The rooms around the core.
//!
//! What stands here is built on the core's public surface, as any user could build it, and on `sys::os` where the
//! operating system must be asked for something; a test checks that no other door is used.
//!
//! Comes from: the core. Goes to: lib.rs, which shows it to the world.

pub(crate) mod accept;
pub(crate) mod cancel_token;
pub mod instruments;
pub(crate) mod interval;
pub(crate) mod lent;
pub(crate) mod nursery;
pub(crate) mod oneshot;
pub(crate) mod pipe;
pub(crate) mod pool;
pub mod process;
pub mod process_pool;
pub(crate) mod remote;
pub(crate) mod scope;
pub(crate) mod shield;
pub(crate) mod signals;
pub(crate) mod stdin;
pub mod testing;
pub(crate) mod timeout;
pub(crate) mod workers;
pub(crate) mod yield_now;
