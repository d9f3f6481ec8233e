//! Unix sockets: how do two programs on one machine talk without a network?
//!
//! Through a name in the file system, or a pair of ends that one of them has made.
//!
//! Comes from: user code. Goes to: connection.rs, `runtime::AsyncSocket`.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use runtime::Kind;

use crate::Connection;

/// A Unix stream connection.
///
/// What it can do as any connection can (read, write, halves, ...) stands at [`Connection`].
pub type UnixStream = Connection<StdUnixStream>;

impl UnixStream {
    /// Two ends that are connected with each other.
    ///
    /// # Errors
    /// The kernel's, such as too many descriptors.
    ///
    /// ```
    /// use net::UnixStream;
    ///
    /// runtime::block_on(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     left.write_all(b"hello").await?;
    ///     let mut answer = [0; 5];
    ///     right.read_exact(&mut answer).await?;
    ///     assert_eq!(&answer, b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (left, right) = StdUnixStream::pair()?;
        left.set_nonblocking(true)?;
        right.set_nonblocking(true)?;
        // Not `Kind::Stream`: a read stops short where the peer has sent a descriptor.
        Ok((Connection::trusted(left, Kind::Other)?, Connection::trusted(right, Kind::Other)?))
    }
}
