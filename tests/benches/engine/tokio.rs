//! How are the rows run on tokio?
//!
//! On its current_thread runtime, built as its documentation has it for one thread:
//! `Builder::new_current_thread().enable_all()`, tasks by `tokio::spawn`, jobs by `spawn_blocking`.
//!
//! Rule: every word is one call of the runtime's own; what it returns is used as its users use it.
//!
//! What this does not do: `LocalSet` or `LocalRuntime`. The rows' futures are Send on tokio, and the
//! plain spawn is the one that its users call.
//!
//! Comes from: engine.rs. Goes to: rows.rs, compiled as this module's child.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[path = "rows.rs"]
#[expect(clippy::duplicate_mod, reason = "one source, compiled once per runtime")]
pub(crate) mod rows;

type Handle<T> = tokio::task::JoinHandle<T>;

fn run<F: Future<Output: Send> + Send + 'static>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an epoll and an eventfd").block_on(async { join(spawn(future)).await })
}

fn spawn<F: Future<Output: Send> + Send + 'static>(future: F) -> Handle<F::Output> {
    tokio::spawn(future)
}

async fn join<T>(handle: Handle<T>) -> T {
    handle.await.expect("no row panics")
}

fn detach<T>(handle: Handle<T>) {
    drop(handle);
}

fn yield_now() -> impl Future<Output = ()> {
    tokio::task::yield_now()
}

fn sleep(length: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(length)
}

async fn unblock<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(job).await.expect("no job panics")
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
