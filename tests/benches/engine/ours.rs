//! How are the rows run on this project's runtime?
//!
//! With nothing but what its users have: the free `block_on` and `spawn`, and an [`AsyncSocket`]
//! around each end of a socket pair, as in the talk.
//!
//! Rule: every word is one call of the runtime's own, like the peers'.
//!
//! What this does not do: use what only the runtime's own files can reach, or the lent buffer, which the
//! peers do not have; echo.rs shows what that is worth.
//!
//! Comes from: engine.rs. Goes to: rows.rs, compiled as this module's child.

use runtime::AsyncSocket;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[path = "rows.rs"]
#[cfg_attr(
    feature = "peers",
    expect(clippy::duplicate_mod, reason = "one source, compiled once per runtime")
)]
pub(crate) mod rows;

type Handle<T> = runtime::JoinHandle<T>;

fn run<F: Future + 'static>(future: F) -> F::Output {
    runtime::block_on(async { join(spawn(future)).await })
}

fn spawn<F: Future + 'static>(future: F) -> Handle<F::Output> {
    runtime::spawn(future)
}

async fn join<T>(handle: Handle<T>) -> T {
    handle.await.expect("no row panics")
}

fn detach<T>(handle: Handle<T>) {
    drop(handle);
}

fn yield_now() -> impl Future<Output = ()> {
    runtime::yield_now()
}

fn sleep(length: Duration) -> runtime::Sleep {
    runtime::sleep(length)
}

async fn unblock<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    runtime::unblock(job).await.expect("the pool has room")
}

fn pair() -> (AsyncSocket<UnixStream>, AsyncSocket<UnixStream>) {
    let (one, other) = UnixStream::pair().expect("two descriptors");
    let socket = |end| AsyncSocket::new(end).expect("a socket can be watched");
    (socket(one), socket(other))
}

async fn receive(socket: &mut AsyncSocket<UnixStream>, mut buf: Vec<u8>) -> (usize, Vec<u8>) {
    (socket.recv(&mut buf).await.expect("a socket pair"), buf)
}

async fn transmit(socket: &mut AsyncSocket<UnixStream>, buf: Vec<u8>) -> Vec<u8> {
    let count = socket.send(&buf).await.expect("a socket pair");
    assert_eq!(count, buf.len());
    buf
}
