//! What is an echo on this project's net?
//!
//! A task per connection that holds no buffer. The bytes are lent by the runtime and sent on from
//! where they lie; only what the socket does not take at once is copied, and sent when it can be.
//! An idle connection therefore weighs its task and its source.
//!
//! Rule: the public surface of `net`, as any user has it.
//!
//! What this does not do: limits, timeouts, logs. The program `server echo` has those.
//!
//! Comes from: servers.rs, `serve ours`. Goes to: net and the runtime below it.

use super::{BUFFER, Open};
use net::{TcpListener, TcpStream};
use std::io;

/// Serves until the process ends.
pub(crate) fn serve() {
    runtime::block_on(async {
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(addr).await.expect("a free port");
        super::listening(listener.local_addr());
        loop {
            let (stream, _) = listener.accept().await.expect("descriptors enough");
            runtime::spawn(echo(stream));
        }
    });
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let _open = Open::new();
    let mut rest = Vec::new();
    loop {
        let send_at_once = |bytes: &[u8]| {
            match stream.try_write(bytes) {
                Ok(count) if count == bytes.len() => {}
                sent => rest = what_is_left(bytes, sent)?,
            }
            Ok(bytes.len())
        };
        let received: io::Result<usize> = stream.read_lent(BUFFER, send_at_once).await?;
        if received? == 0 {
            return Ok(());
        }
        if !rest.is_empty() {
            stream.write_all(&std::mem::take(&mut rest)).await?;
        }
    }
}

/// A copy of what the socket did not take at once.
#[cold]
fn what_is_left(bytes: &[u8], sent: io::Result<usize>) -> io::Result<Vec<u8>> {
    match sent {
        Ok(count) => Ok(bytes[count..].to_vec()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(bytes.to_vec()),
        Err(error) => Err(error),
    }
}
