//! What is an echo on tokio?
//!
//! What its tutorial shows: the current_thread runtime, a task per connection, a buffer in the task,
//! `read` and `write_all`.
//!
//! Rule: as its users would write it first, without tuning.
//!
//! What this does not do: limits, timeouts, logs; nor does any other server here.
//!
//! Comes from: servers.rs, `serve tokio`. Goes to: tokio's runtime and sockets.

use super::{BUFFER, Open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves until the process ends.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an epoll and an eventfd").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        super::listening(listener.local_addr());
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            tokio::spawn(echo(stream));
        }
    });
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let _open = Open::new();
    let mut buf = [0; BUFFER];
    loop {
        let count = stream.read(&mut buf).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..count]).await?;
    }
}
