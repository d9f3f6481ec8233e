//! What does a caller see when all threads are busy and the queue is full?
//!
//! A pool of one thread that leaves nobody out of the lane, with room for two jobs in its queue.
//!
//! Comes from: exercise 2. Goes to: the runtime's pool.

use std::io;
use std::sync::mpsc::channel;
use std::time::Duration;

use runtime::{PoolSettings, block_on, spawn, timeout, unblock, unblock_when_room};

fn main() -> io::Result<()> {
    PoolSettings::new().fast(1).long(0).queue(2).apply().map_err(io::Error::other)?;
    block_on(async {
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let first = spawn(unblock(move || {
            let _ = begun.send(());
            let _ = may_go_on.recv();
        }));
        has_begun.recv().map_err(io::Error::other)?;
        let second = unblock(|| "second");
        let third = unblock(|| "third");
        match unblock(|| "fourth").await {
            Ok(answer) => println!("done: {answer}"),
            Err(error) => println!("the fourth: {error}"),
        }
        let mut fifth = Box::pin(unblock_when_room(|_| "fifth"));
        let waited = timeout(Duration::from_millis(50), &mut fifth).await;
        println!("the fifth waits for room: {}", waited.is_err());

        let _ = go_on.send(());
        first.await.map_err(io::Error::other)??;
        println!("done: first, {}, {}, {}", second.await?, third.await?, fifth.await?);
        Ok(())
    })
}
