//! What is an echo on monoio?
//!
//! What its own example shows, on its epoll driver: a task per connection, a buffer that travels by
//! value into the read, from there into the write, and back.
//!
//! The buffer is a `Vec` with capacity and no content. Pages of it that no message ever reached do
//! not count as resident: that is why an idle connection weighs a page here, and four where the
//! task holds an array that was zeroed.
//!
//! What this does not do: io_uring, which is not compiled in.
//!
//! Comes from: servers.rs, `serve monoio`. Goes to: monoio's `LegacyDriver`.

use super::{BUFFER, Open};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{LegacyDriver, RuntimeBuilder};

/// Serves until the process ends.
pub(crate) fn serve() {
    let runtime = RuntimeBuilder::<LegacyDriver>::new().build();
    runtime.expect("an epoll and an eventfd").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        super::listening(listener.local_addr());
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            monoio::spawn(echo(stream));
        }
    });
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let _open = Open::new();
    let mut buf = Vec::with_capacity(BUFFER);
    loop {
        let (count, filled) = stream.read(buf).await;
        if count? == 0 {
            return Ok(());
        }
        let (written, filled) = stream.write_all(filled).await;
        written?;
        buf = filled;
        buf.clear();
    }
}
