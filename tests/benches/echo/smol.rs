//! What is an echo on smol?
//!
//! What its examples show, on one thread: a `LocalExecutor` under `smol::block_on`, a task per
//! connection, a buffer in the task, `read` and `write_all`.
//!
//! Rule: as its users would write it first, without tuning.
//!
//! What this does not do: limits, timeouts, logs; nor does any other server here.
//!
//! Comes from: servers.rs, `serve smol`. Goes to: async-executor and async-io.

use super::{BUFFER, Open};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

/// Serves until the process ends.
pub(crate) fn serve() {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        super::listening(listener.local_addr());
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            executor.spawn(echo(stream)).detach();
        }
    }));
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
