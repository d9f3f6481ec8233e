//! An async runtime written from nothing on epoll and kqueue, small enough to read in one evening.
//!
//! ```
//! use std::time::Duration;
//!
//! runtime::block_on(async {
//!     let slow = runtime::spawn(async {
//!         runtime::sleep(Duration::from_millis(20)).await;
//!         "slow"
//!     });
//!     let fast = runtime::spawn(async { "fast" });
//!     assert_eq!((fast.await?, slow.await?), ("fast", "slow"));
//!     Ok::<(), runtime::JoinError>(())
//! })?;
//! # Ok::<(), runtime::JoinError>(())
//! ```
//!
//! One runtime a thread, and everything on it stays there: tasks need not be `Send`. No work is stolen, no thread is
//! started behind your back (the pool's are, when you call [`unblock`]), and there is no global reactor. Several threads
//! are several runtimes ([`workers`]); what crosses between them goes through a [`Handle`].
//!
//! | you want                                             | take                                                  |
//! |------------------------------------------------------|-------------------------------------------------------|
//! | to start the loop                                    | [`block_on`]; [`Runtime::builder`] for settings; [`main!`](crate::main!), [`test!`](crate::test!) |
//! | something running beside                             | [`spawn`]: a task, that outlives who made it          |
//! | several, and none of them lost, the first error ends all | [`nursery`]; over borrowed data: [`scope`]        |
//! | to wait for a time                                   | [`sleep`], [`interval`]                               |
//! | to give up after a time                              | [`timeout`], [`timeout_at`]; [`shield`] for what must go on all the same |
//! | to tell others to stop                               | [`CancelToken`], also with a deadline                 |
//! | to call what blocks, or to compute                   | [`unblock`]; [`ProcessPool`](process_pool::ProcessPool) for what must be killed or may crash |
//! | Ctrl-C and other signals                             | [`ctrl_c`], [`signals`]                               |
//! | other programs; pipes; the keyboard                  | [`process::Command`]; [`PipeReader`]; [`stdin`]       |
//! | sockets                                              | the crate `net`; any other descriptor: [`AsyncSocket`] |
//! | to reach the loop from another thread                | [`Handle`]                                            |
//! | all cores                                            | [`workers`]                                           |
//! | to see what the loop does                            | [`instruments`]                                       |
//! | tests without waiting, and a network in memory       | [`testing`], `net::MemoryListener`                    |
//! | channels, locks, `join`, `select`                    | async-channel, async-lock, futures-lite: they run here unchanged |
//!
//! # What crosses threads
//!
//! | type                                           | `Send` | `Sync` | `Unpin` | why                                           |
//! |------------------------------------------------|--------|--------|---------|-----------------------------------------------|
//! | [`Handle`], [`CancelToken`], [`Cancelled`]     | yes    | yes    | yes     | made for it                                   |
//! | [`RemoteHandle<T>`]                            | `T: Send` | `T: Send` | yes | its result comes from another thread          |
//! | [`Sleep`], [`Interval`]                        | yes    | yes    | yes     | a number and a key; hyper asks for it         |
//! | the futures of `timeout` and `CancelToken::run` | as their future | as their future | no |                                    |
//! | [`Unblock<T>`]                                 | `T: Send` | `T: Send` | yes | its result comes from another thread          |
//! | [`Stdin`], [`process::Command`]                | yes    | yes    | yes     | one input a process; a list of settings       |
//! | [`process::Child`], [`PipeReader`], [`PipeWriter`] | no | no     | yes     | the loop watches their descriptors            |
//! | [`Job`], [`PoolSettings`], [`PoolStats`], [`WorkerOptions`] | yes    | yes    | yes     | a flag; numbers                               |
//! | [`JoinError`], [`Elapsed`], [`Gone`], [`NotStarted`], [`PoolInUse`] | yes | yes | yes | errors travel                      |
//! | [`Errors<E>`]                                  | as `E` | as `E` | as `E`  | they do if what they list does                |
//! | [`Statistics`](instruments::Statistics), [`Snapshot`](instruments::Snapshot) | yes | yes | yes | for whoever looks, on any thread |
//! | [`LongPoll`](instruments::LongPoll)            | no     | no     | yes     | it is called by the loop alone                |
//! | [`Runtime`], [`JoinHandle`], [`AsyncSocket`], [`Signals`] | no | no | yes  | they touch the loop without locks             |
//! | [`testing`]'s `Duplex`, `Hostile`, `Rc<TestClock>` | no | no      | yes     | both ends of a test live on one thread        |
//! | [`Nursery<E>`], [`Scope<E>`](Scope), [`Child<T>`], [`Started<T>`], [`Shield<T>`] | no | no | yes | they hold tasks of this thread    |
//!
//! Of [`process_pool`]: `Functions` and `CallError` are all three; `ProcessPool` and `Call` are `Unpin` and nothing else.
//!
//! # In which order to read
//!
//! `executor.rs` first: one turn of the loop is six calls, and they are the table of contents. Then once round the
//! circle: `task/` (what is polled), `async_socket.rs` (what a leaf does when it must wait), `reactor.rs` (who is woken),
//! `sys/epoll.rs` (the sleep), `run_queue.rs` (the way back, and the strangers' door), `clock.rs` and `wheel.rs` (the other
//! reason to wake). What stands in `outer/` is built on these as any user could build it.

#![deny(unsafe_code)]

/// Uses a future as it is, or in a box of its own if it is larger than 2 KiB. A future that is passed on by value is copied by
/// each call in a debug build, so one of some hundred kilobytes would overflow a thread's stack on its way into a task.
/// Small ones stay where they are, for the allocation that this saves.
macro_rules! boxed_if_large {
    ($future:ident => $use:expr) => {
        if size_of_val(&$future) > 2048 {
            let $future = Box::pin($future);
            $use
        } else {
            $use
        }
    };
}

// The core, from the bottom up. A file uses only those above its own line.
mod instrument;
mod panics;
mod sync;
#[allow(unsafe_code)]
mod sys;
mod wheel;

mod clock;
mod reactor;
mod run_queue;

mod context;
mod task;
mod timer;

mod async_socket;
mod executor;

// Around the core.
mod outer;

pub use async_socket::{AsyncSocket, Kind};
pub use clock::Time;
pub use context::{hold_time, now, parked, spend_bytes};
pub use executor::{Builder, Gone, Handle, Runtime, block_on, spawn, spawn_named};
pub use instrument::{Instrument, Reason, TaskId, Wait};
pub use outer::accept::Accept;
pub use outer::cancel_token::{CancelToken, Cancelled};
pub use outer::instruments;
pub use outer::interval::{Interval, MissedTicks, interval};
pub use outer::lent::{LENT_BUFFER, with_lent_buffer};
pub use outer::nursery::{Child, Errors, NotStarted, Nursery, Started, nursery};
pub use outer::pipe::{PipeReader, PipeWriter};
pub use outer::pool::{
    Job, PoolInUse, PoolSettings, PoolStats, Unblock, UnblockError, pool_stats, unblock,
    unblock_when_room, unblock_with,
};
pub use outer::process;
pub use outer::process_pool;
pub use outer::remote::RemoteHandle;
pub use outer::scope::{Scope, scope};
pub use outer::shield::{Shield, shield};
pub use outer::signals::{Signal, Signals, ctrl_c, signals};
pub use outer::stdin::{Stdin, stdin};
pub use outer::testing;
pub use outer::timeout::{Elapsed, timeout, timeout_at};
pub use outer::workers::{WorkerOptions, Workers, workers};
pub use outer::yield_now::yield_now;
pub use panics::PanicPolicy;
pub use sys::os::port::choose_port_at_connect; // for net, which has no unsafe code
pub use task::{JoinError, JoinHandle};
pub use timer::{Sleep, sleep, sleep_until};

/// Makes an async function the program's `main`.
///
/// ```
/// runtime::main! {
///     async fn main() {
///         runtime::yield_now().await;
///     }
/// }
/// ```
#[macro_export]
macro_rules! main {
    ($(#[$meta:meta])* async fn main() $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        fn main() $(-> $output)? {
            $crate::block_on(async $body)
        }
    };
}

/// Makes an async function a test.
///
/// ```
/// runtime::test! {
///     async fn a_yield_comes_back() {
///         runtime::yield_now().await;
///     }
/// }
/// ```
#[macro_export]
macro_rules! test {
    ($($(#[$meta:meta])* async fn $name:ident() $(-> $output:ty)? $body:block)*) => {
        $(
            #[test]
            $(#[$meta])*
            fn $name() $(-> $output)? {
                $crate::block_on(async $body)
            }
        )*
    };
}
