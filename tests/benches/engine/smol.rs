//! How are the rows run on smol?
//!
//! In its documentation's way for one thread: a `LocalExecutor` run under `smol::block_on`, which
//! turns async-io's reactor while it waits.
//!
//! Rule: every word is one call of smol's own; what it returns is used as its users use it.
//!
//! What this does not do: leave out the thread that async-io keeps for itself. It is there for
//! every user of smol, and its processor time counts.
//!
//! Comes from: engine.rs. Goes to: rows.rs, compiled as this module's child.

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::unix::UnixStream;
use std::time::Duration;

#[path = "rows.rs"]
#[expect(clippy::duplicate_mod, reason = "one source, compiled once per runtime")]
pub(crate) mod rows;

type Handle<T> = smol::Task<T>;

thread_local! {
    // Leaked: a child runs one row and ends.
    static EXECUTOR: &'static smol::LocalExecutor<'static> = Box::leak(Box::default());
}

fn run<F: Future + 'static>(future: F) -> F::Output {
    smol::block_on(EXECUTOR.with(|executor| executor.run(async { join(spawn(future)).await })))
}

fn spawn<F: Future + 'static>(future: F) -> Handle<F::Output> {
    EXECUTOR.with(|executor| executor.spawn(future))
}

async fn join<T>(handle: Handle<T>) -> T {
    handle.await
}

fn detach<T>(handle: Handle<T>) {
    handle.detach();
}

fn yield_now() -> impl Future<Output = ()> {
    smol::future::yield_now()
}

fn sleep(length: Duration) -> smol::Timer {
    smol::Timer::after(length)
}

async fn unblock<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    smol::unblock(job).await
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two descriptors")
}

async fn receive(stream: &mut UnixStream, mut buf: Vec<u8>) -> (usize, Vec<u8>) {
    (stream.read(&mut buf).await.expect("a socket pair"), buf)
}

async fn transmit(stream: &mut UnixStream, buf: Vec<u8>) -> Vec<u8> {
    stream.write_all(&buf).await.expect("a socket pair");
    buf
}
