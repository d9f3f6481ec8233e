//! How does one say goodbye, when a destructor cannot wait?
//!
//! A session has to say `bye` before it closes. It can do so in a function that is awaited, which a cancelled task does not come
//! to; in a destructor, by a task that it leaves behind; or in a destructor without waiting, if there is room in the kernel's
//! buffer.
//!
//! Comes from: the exercise. Goes to: `net`'s streams.

use std::io;
use std::time::Duration;

use net::UnixStream;
use runtime::{block_on, sleep, spawn};

/// Says goodbye if somebody awaits that.
struct Closed(UnixStream);

impl Closed {
    async fn close(self) -> io::Result<()> {
        self.0.write_all(b"bye").await
    }
}

/// Leaves a task behind that says goodbye.
struct Shielded(Option<UnixStream>);

impl Drop for Shielded {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            drop(spawn(async move { stream.write_all(b"bye").await }));
        }
    }
}

/// Says goodbye if that needs no waiting.
struct Tried(UnixStream);

impl Drop for Tried {
    fn drop(&mut self) {
        let _ = self.0.try_write(b"bye"); // there may be no room, and there is nobody to tell
    }
}

/// What the other end hears of a session whose task is aborted.
async fn heard<S: 'static>(
    make: impl FnOnce(UnixStream) -> S,
    live: impl AsyncFnOnce(S) -> io::Result<()> + 'static,
) -> io::Result<String> {
    let (ours, theirs) = UnixStream::pair()?;
    let session = make(theirs);
    let task = spawn(async move { live(session).await });
    sleep(Duration::from_millis(5)).await;
    task.abort();
    let mut word = [0; 3];
    let count = ours.read(&mut word).await?;
    Ok(String::from_utf8_lossy(&word[..count]).into_owned())
}

async fn a_day<S>(_: &S) {
    sleep(Duration::from_secs(86_400)).await;
}

fn main() -> io::Result<()> {
    block_on(async {
        let closed = heard(Closed, async |session| {
            a_day(&session).await;
            session.close().await
        });
        println!("a closing function:        {:?}", closed.await?);
        let shielded = heard(
            |stream| Shielded(Some(stream)),
            async |session| {
                a_day(&session).await;
                Ok(())
            },
        );
        println!("a task left behind:        {:?}", shielded.await?);
        let tried = heard(Tried, async |session| {
            a_day(&session).await;
            Ok(())
        });
        println!("a try without waiting:     {:?}", tried.await?);
        Ok(())
    })
}
