//! What is a Unix socket called, and who takes its name away again?
//!
//! The name is a file. Binding makes it, closing does not remove it, and binding where it lies is refused: so every server
//! that has crashed once stands in its own way. Here the name has an owner, [`SocketFile`], which removes it in the end if
//! it is still the file it made, and what lies in the way is looked at before it is complained of:
//!
//! | there lies                          | a bind                                             |
//! |-------------------------------------|----------------------------------------------------|
//! | a socket that somebody has          | fails, and says so                                 |
//! | a socket that nobody has any more   | fails, and says what to do; or, if told so, replaces it |
//! | something else                      | fails, and says so; it is never touched            |
//!
//! Whether somebody has it is found out without disturbing anybody: by connecting a datagram socket to it, which sends
//! nothing. To a stream's listener that is of the wrong kind, which only one who is there can be; and it is so from its
//! bind on, so one that does not listen yet is not taken for dead.
//!
//! Two who replace the same dead name at the same moment may take it away from each other, and only the last one's name
//! is left: no system has a call for it. Whoever starts servers that way should do so one after the other.
//!
//! On Linux there are also abstract names, which are no files (`std::os::linux::net::SocketAddrExt` makes them) and end
//! with their socket; the permissions of files do not guard them.
//!
//! Removing at the end is as in Python's asyncio since 3.13.
//!
//! Comes from: unix.rs, unix_datagram.rs. Goes to: the file system.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf, absolute};

use socket2::{SockAddr, Socket};

/// What a Unix socket can be bound or connected to: a path, or std's [`SocketAddr`], which may be an abstract name.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # runtime::block_on(async {
/// use std::os::linux::net::SocketAddrExt;
/// use std::os::unix::net::SocketAddr;
/// let name = SocketAddr::from_abstract_name(format!("example of {}", std::process::id()))?;
/// let socket = net::UnixDatagram::bind(&name).await?;
/// net::UnixDatagram::unbound()?.send_to(b"hello", &name).await?;
/// # let _ = socket;
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToUnixAddress {
    /// The address.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that is empty, too long (107 bytes are allowed on Linux,
    /// 103 on macOS and the BSDs), or has a zero in it.
    ///
    /// ```
    /// use net::ToUnixAddress;
    ///
    /// assert!("/run/server.sock".to_unix_address()?.as_pathname().is_some());
    /// let too_long = "a".repeat(200).to_unix_address().unwrap_err();
    /// assert_eq!(too_long.kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn to_unix_address(&self) -> io::Result<SocketAddr>;
}

impl ToUnixAddress for Path {
    fn to_unix_address(&self) -> io::Result<SocketAddr> {
        let length = self.as_os_str().len();
        if length == 0 || length > LONGEST {
            let text = format!(
                "the path of a Unix socket has 1 to {LONGEST} bytes, and {} has {length}: put the socket into a folder \
                 with a shorter path, or name it from the current folder",
                self.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        SocketAddr::from_pathname(self)
    }
}

/// How long a path may be: the end needs a byte, too.
const LONGEST: usize = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path) - 1;

macro_rules! paths {
    ($($path:ty),*) => {$(
        impl ToUnixAddress for $path {
            fn to_unix_address(&self) -> io::Result<SocketAddr> {
                Path::new(self).to_unix_address()
            }
        }
    )*};
}

paths!(str, String, OsStr, PathBuf);

impl ToUnixAddress for SocketAddr {
    fn to_unix_address(&self) -> io::Result<SocketAddr> {
        Ok(self.clone())
    }
}

impl<T: ToUnixAddress + ?Sized> ToUnixAddress for &T {
    fn to_unix_address(&self) -> io::Result<SocketAddr> {
        (**self).to_unix_address()
    }
}

/// How to give a Unix socket its name. The defaults: the file's permissions are the system's choice, a name that is there
/// is an error, a backlog of 1,024.
///
/// ```
/// # runtime::block_on(async {
/// # let path = std::env::temp_dir().join(format!("net-options-{}", std::process::id()));
/// let options = net::UnixOptions::new().mode(0o600).replace_stale(true).backlog(16);
/// let listener = options.listen(&path).await?;
/// drop(listener);
/// assert!(!path.exists());
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixOptions {
    mode: Option<u32>,
    replace_stale: bool,
    pub(crate) backlog: i32,
}

impl Default for UnixOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl UnixOptions {
    /// The defaults.
    pub fn new() -> Self {
        UnixOptions { mode: None, replace_stale: false, backlog: 1024 }
    }

    /// The permissions of the file: `0o600` lets only its user connect (by the right to write). On Linux it has never had
    /// others that are wider; elsewhere it gets them right after it is made, before a listener listens.
    ///
    /// In a folder that others may write to, they may put another file into the socket's place meanwhile. Its permissions
    /// stay as they are, and the bind is an error; not on Linux, that holds for links, and not for a file that was moved or
    /// linked (by a hard link) there.
    pub fn mode(mut self, permissions: u32) -> Self {
        self.mode = Some(permissions & 0o777);
        self
    }

    /// Whether a socket's file that nobody has any more is removed, which a crash leaves behind. One that somebody has is
    /// not, nor is any other file.
    pub fn replace_stale(mut self, on: bool) -> Self {
        self.replace_stale = on;
        self
    }

    /// How many connections the kernel holds that nobody has accepted yet; for listeners alone. The system has a limit of
    /// its own (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// Binds, and gives the file that this has made, if any.
    pub(crate) fn name(
        &self,
        socket: &Socket,
        address: &SocketAddr,
    ) -> io::Result<Option<SocketFile>> {
        let to = to_socket2(address)?;
        let Some(path) = address.as_pathname() else {
            socket.bind(&to)?;
            return Ok(None);
        };
        self.restrict(socket)?;
        for last in [false, false, true] {
            match socket.bind(&to) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    match (in_the_way(path), self.replace_stale) {
                        (Obstacle::Stale(file), true) if !last => file.remove_stale()?,
                        // Its owner has removed it since the bind.
                        (Obstacle::Unknown(gone), _) if is_missing(&gone) && !last => {}
                        (obstacle, _) => {
                            return Err(io::Error::new(error.kind(), obstacle.to_string()));
                        }
                    }
                }
                result => {
                    result?;
                    break;
                }
            }
        }
        self.own(socket, path).map(Some)
    }

    /// Takes the file that the bind has made for ours, and gives it its permissions. A folder that others may write to lets
    /// them put another file there meanwhile, which is not to be touched.
    fn own(&self, socket: &Socket, path: &Path) -> io::Result<SocketFile> {
        let file = match File::at(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(replaced()),
            file => SocketFile { file: file?, owner: std::process::id() },
        };
        if let Some(mode) = self.mode
            && file.file.mode != mode
        {
            file.file.set_mode(mode, socket)?;
        }
        Ok(file)
    }

    /// Before the file is there: on Linux it takes its permissions from the socket, less the process's mask.
    #[cfg(target_os = "linux")]
    fn restrict(&self, socket: &Socket) -> io::Result<()> {
        match self.mode {
            Some(mode) => as_file(socket)?.set_permissions(permissions(mode)),
            None => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn restrict(&self, _: &Socket) -> io::Result<()> {
        Ok(())
    }
}

/// A file that names a socket of ours. Its drop removes it, if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    file: File,
    /// A fork's copy of us is not the owner.
    owner: u32,
}

impl SocketFile {
    /// Leaves it where it is.
    pub(crate) fn keep(mut self) {
        self.owner = 0;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // If it cannot be removed, nobody is there to be told; the next bind will be.
            let _ = self.file.remove();
        }
    }
}

/// A socket's file, as it was found.
#[derive(Debug)]
struct File {
    /// From the root, so that a change of the current folder does not lead elsewhere.
    path: PathBuf,
    /// Device and inode: what tells it from another file in the same place.
    identity: (u64, u64),
    mode: u32,
    /// When it was last changed. A socket that is gone holds no inode, and the next file may have the same one.
    changed: (i64, i64),
}

impl File {
    fn at(path: &Path) -> io::Result<File> {
        let path = absolute(path)?;
        let found = fs::symlink_metadata(&path)?;
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a file that is no socket"));
        }
        let mode = found.mode() & 0o777;
        Ok(File { path, identity: identity(&found), mode, changed: changed(&found) })
    }

    /// Changes this file's permissions, and those of no other. It is held while it is looked at: a socket, made by the user
    /// who has made `socket`, under one name.
    #[cfg(target_os = "linux")]
    fn set_mode(&self, mode: u32, socket: &Socket) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::OpenOptionsExt;
        let hold = libc::O_PATH | libc::O_NOFOLLOW;
        let held = fs::File::options().read(true).custom_flags(hold).open(&self.path)?;
        let found = held.metadata()?;
        let user = as_file(socket)?.metadata()?.uid();
        if identity(&found) != self.identity || found.uid() != user || found.nlink() != 1 {
            return Err(replaced());
        }
        // What is held by O_PATH has no fchmod. This name leads to it, wherever it has been moved.
        let name = format!("/proc/self/fd/{}", held.as_raw_fd());
        fs::set_permissions(name, permissions(mode))
    }

    /// Changes this file's permissions, by its name: a link in its place is not followed, but another socket that was moved
    /// there is not told from it.
    #[cfg(not(target_os = "linux"))]
    fn set_mode(&self, mode: u32, _: &Socket) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, Mode, chmodat};
        let mode = Mode::from_raw_mode(mode as _);
        Ok(chmodat(CWD, &self.path, mode, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes it, unless another one has come into its place.
    fn remove(&self) -> io::Result<()> {
        if identity(&fs::symlink_metadata(&self.path)?) == self.identity {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Removes what a socket that is gone has left behind, unless somebody else has been faster.
    fn remove_stale(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if changed(&found) != self.changed => Ok(()),
            Ok(_) => {
                self.remove().or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
            }
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// For what a file and a socket have in common.
#[cfg(target_os = "linux")]
fn as_file(socket: &Socket) -> io::Result<fs::File> {
    Ok(std::os::fd::OwnedFd::from(socket.try_clone()?).into())
}

#[cfg(target_os = "linux")]
fn permissions(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn replaced() -> io::Error {
    io::Error::other(
        "another file came into the socket's place while it was bound, and was left alone: put the socket into a folder \
         that no other user may write to",
    )
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn changed(file: &Metadata) -> (i64, i64) {
    (file.ctime(), file.ctime_nsec())
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// What lies where a socket was to be bound.
enum Obstacle {
    /// A socket that nobody has any more.
    Stale(File),
    Alive,
    NoSocket,
    Unknown(io::Error),
}

fn in_the_way(path: &Path) -> Obstacle {
    let file = match File::at(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Obstacle::NoSocket,
        Err(error) => return Obstacle::Unknown(error),
    };
    match UnixDatagram::unbound().and_then(|socket| socket.connect(path)) {
        Ok(()) => Obstacle::Alive,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Obstacle::Stale(file),
        Err(error) => match error.raw_os_error() {
            // A stream's; or a datagram socket that is connected to another.
            Some(libc::EPROTOTYPE | libc::EPERM) => Obstacle::Alive,
            _ => Obstacle::Unknown(error),
        },
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Stale(_) => f.write_str(
                "the file is there, and its socket is gone, as after a crash: remove it, or let \
                 UnixOptions::replace_stale(true) do that",
            ),
            Obstacle::Alive => f.write_str("another socket has that name"),
            Obstacle::NoSocket => f.write_str("a file that is no socket has that name"),
            Obstacle::Unknown(error) => {
                write!(f, "the name is in use, by whom is not to be found out: {error}")
            }
        }
    }
}

/// An error with what was tried in front of it, of the same kind.
pub(crate) fn explain(what: &str, address: &SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", Named(address)))
}

/// A Unix socket's name as text.
pub(crate) struct Named<'a>(pub(crate) &'a SocketAddr);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_pathname(), abstract_name(self.0)) {
            (Some(path), _) => write!(f, "{}", path.display()),
            (_, Some(name)) => write!(f, "@{}", name.escape_ascii()),
            _ => f.write_str("(no name)"),
        }
    }
}

pub(crate) fn to_socket2(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return SockAddr::unix(path);
    }
    // What socket2 calls an abstract name is a path that begins with a zero.
    let name = abstract_name(address).map(|name| [b"\0", name].concat());
    SockAddr::unix(OsStr::from_bytes(&name.unwrap_or_default()))
}

/// The address that a path or an abstract name is. One that std cannot hold is shown as no name: Linux lets a path have 108
/// bytes and no zero behind them, and nobody could answer to that.
pub(crate) fn from_name(
    path: Option<&Path>,
    abstract_name: Option<&[u8]>,
) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = abstract_name {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    let _ = abstract_name;
    SocketAddr::from_pathname(path.unwrap_or(Path::new("")))
        .or_else(|_| SocketAddr::from_pathname(""))
}

#[cfg(target_os = "linux")]
fn abstract_name(address: &SocketAddr) -> Option<&[u8]> {
    std::os::linux::net::SocketAddrExt::as_abstract_name(address)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &SocketAddr) -> Option<&[u8]> {
    None
}

#[cfg(test)]
mod tests {
    use super::{File, UnixOptions};
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::fs;
    use std::io;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};

    /// Binds a socket with wider permissions than the process's mask allows, calls `plant` between the bind and the
    /// change of the permissions, and says what the latter has come to and which permissions the victim has then.
    fn planted(test: &str, plant: impl Fn(&Path, &Path)) -> (io::Result<()>, u32) {
        let folder = std::env::temp_dir().join(format!("gu-{test}-{}", std::process::id()));
        fs::create_dir(&folder).expect("it is new");
        let (path, victim) = (folder.join("socket"), folder.join("victim"));
        let listener = UnixListener::bind(&victim).expect("its name is free");
        fs::set_permissions(&victim, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("it works in a folder of our own");
        let socket =
            Socket::new(Domain::UNIX, Type::STREAM, None).expect("it works in a folder of our own");
        socket
            .bind(&SockAddr::unix(&path).expect("it works in a folder of our own"))
            .expect("its name is free");
        plant(&path, &victim);
        let owned = UnixOptions::new().mode(0o777).own(&socket, &path).map(drop);
        let mode = fs::metadata(&victim).expect("it is still there").mode() & 0o777;
        drop(listener);
        fs::remove_dir_all(folder).expect("it works in a folder of our own");
        (owned, mode)
    }

    #[test]
    fn mode_does_not_follow_a_symlink_planted_after_bind() {
        let (owned, mode) = planted("symlink", |path, victim| {
            fs::remove_file(path).expect("it works in a folder of our own");
            symlink(victim, path).expect("it works in a folder of our own");
        });
        assert!(owned.expect_err("it was replaced").to_string().contains("another file came into"));
        assert_eq!(mode, 0o700);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn mode_leaves_a_hard_link_planted_after_bind_alone() {
        let (owned, mode) = planted("hard-link", |path, victim| {
            fs::remove_file(path).expect("it works in a folder of our own");
            fs::hard_link(victim, path).expect("it works in a folder of our own");
        });
        assert!(owned.expect_err("it was replaced").to_string().contains("another file came into"));
        assert_eq!(mode, 0o700);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn mode_is_not_given_to_a_file_that_comes_after_the_look() {
        let folder = std::env::temp_dir().join(format!("gu-swapped-{}", std::process::id()));
        fs::create_dir(&folder).expect("it is new");
        let at = |name: &str| -> PathBuf { folder.join(name) };
        let socket =
            Socket::new(Domain::UNIX, Type::STREAM, None).expect("it works in a folder of our own");
        socket
            .bind(&SockAddr::unix(at("socket")).expect("it works in a folder of our own"))
            .expect("it works in a folder of our own");
        let file = File::at(&at("socket")).expect("it works in a folder of our own");
        fs::write(at("victim"), "").expect("it works in a folder of our own");
        let before = fs::metadata(at("victim")).expect("it works in a folder of our own").mode();
        fs::rename(at("socket"), at("elsewhere")).expect("it works in a folder of our own");
        symlink(at("victim"), at("socket")).expect("it works in a folder of our own");
        let result = file.set_mode(0o777, &socket);
        assert!(
            result.expect_err("it was replaced").to_string().contains("another file came into")
        );
        assert_eq!(
            fs::metadata(at("victim")).expect("it works in a folder of our own").mode(),
            before
        );
        fs::remove_dir_all(folder).expect("it works in a folder of our own");
    }
}
