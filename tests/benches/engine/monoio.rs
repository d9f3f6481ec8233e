//! How are the rows run on monoio?
//!
//! On its `LegacyDriver`, which is epoll; io_uring is not compiled in. Buffers travel by value, as
//! its traits ask. Jobs go to its own `DefaultThreadPool` with 4 threads, which its documentation has
//! the user attach.
//!
//! Rule: every word is one call of monoio's own, but for one: it has no `yield_now`, and the one
//! here wakes itself, as theirs would have to.
//!
//! What this does not do: measure io_uring, which is another machine.
//!
//! Comes from: engine.rs. Goes to: rows.rs, compiled as this module's child.

use monoio::blocking::DefaultThreadPool;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::UnixStream;
use monoio::{LegacyDriver, RuntimeBuilder};
use std::task::Poll;
use std::time::Duration;

#[path = "rows.rs"]
#[expect(clippy::duplicate_mod, reason = "one source, compiled once per runtime")]
pub(crate) mod rows;

type Handle<T> = monoio::task::JoinHandle<T>;

fn run<F: Future + 'static>(future: F) -> F::Output
where
    F::Output: 'static,
{
    let builder = RuntimeBuilder::<LegacyDriver>::new().enable_timer();
    let builder = builder.attach_thread_pool(Box::new(DefaultThreadPool::new(4)));
    let mut runtime = builder.build().expect("an epoll and an eventfd");
    runtime.block_on(async { join(spawn(future)).await })
}

fn spawn<F: Future + 'static>(future: F) -> Handle<F::Output>
where
    F::Output: 'static,
{
    monoio::spawn(future)
}

async fn join<T>(handle: Handle<T>) -> T {
    handle.await
}

fn detach<T>(handle: Handle<T>) {
    drop(handle);
}

fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

fn sleep(length: Duration) -> monoio::time::Sleep {
    monoio::time::sleep(length)
}

async fn unblock<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    monoio::spawn_blocking(job).await.expect("the pool stands")
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two descriptors")
}

async fn receive(stream: &mut UnixStream, buf: Vec<u8>) -> (usize, Vec<u8>) {
    let (count, buf) = stream.read(buf).await;
    (count.expect("a socket pair"), buf)
}

async fn transmit(stream: &mut UnixStream, buf: Vec<u8>) -> Vec<u8> {
    let (count, buf) = stream.write_all(buf).await;
    assert_eq!(count.expect("a socket pair"), buf.len());
    buf
}
