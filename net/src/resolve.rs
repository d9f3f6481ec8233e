//! How does a name become an address without stopping the loop?
//!
//! The system's resolver blocks, for seconds if its servers are silent, and cannot be stopped. So a name goes to the pool,
//! and who no longer wants to know goes on at once: the thread finds that out by itself when it comes back, and the end of
//! the program does not wait for it either. What is an address already, as a value or as text, starts no thread
//! (`"127.0.0.1:80"`), and neither does what cannot be a name.
//!
//! What it does not do: remember answers, ask name servers itself, or limit the time: that is `runtime::timeout`.
//!
//! Comes from: tcp.rs, or anybody. Goes to: `runtime::unblock`.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use crate::tcp::told;

#[cfg(test)]
mod tests;

/// What can be connected or bound to: a socket address, or a host and a port.
///
/// ```
/// use net::{Addresses, ToAddresses};
///
/// /// One of our services, on a port that all of them have.
/// struct Service(&'static str);
///
/// impl ToAddresses for Service {
///     fn to_addresses(&self) -> Addresses {
///         (self.0, 7000).to_addresses()
///     }
/// }
///
/// let addresses = runtime::block_on(net::resolve(Service("::1")))?;
/// assert_eq!(addresses, ["[::1]:7000".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToAddresses {
    /// The addresses, or the name they hide behind.
    fn to_addresses(&self) -> Addresses;
}

/// What [`resolve`] starts from.
///
/// ```
/// use net::{Addresses, ToAddresses};
///
/// let known = Addresses::Known(vec!["127.0.0.1:80".parse().unwrap()]);
/// assert_eq!("127.0.0.1:80".to_addresses(), known); // nobody will be asked
/// let name = Addresses::Name("localhost:80".to_owned());
/// assert_eq!(("localhost", 80).to_addresses(), name); // the resolver will
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Known already.
    Known(Vec<SocketAddr>),
    /// A host and a port, as in `"localhost:80"`.
    Name(String),
}

/// The addresses of `host`, in the resolver's order, each once, never none.
///
/// An IPv6 address stands in brackets in a text that also has the port: `"[::1]:80"`.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if `host` has no host or no port, or the port is none. The resolver's, which
/// name the host. The pool's, if it is full.
///
/// # Cancel safety
/// Dropped before it is ready, it gives up the look-up: what has begun ends on its own thread, and its answer is dropped.
///
/// ```
/// let addresses = runtime::block_on(net::resolve(("127.0.0.1", 80)))?;
/// assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn resolve(host: impl ToAddresses) -> io::Result<Vec<SocketAddr>> {
    resolve_by(host, |host, port| Ok((host, port).to_socket_addrs()?.collect())).await
}

/// As [`resolve`], by any way of looking up a host.
async fn resolve_by(
    host: impl ToAddresses,
    look_up: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> io::Result<Vec<SocketAddr>> {
    let name = match host.to_addresses() {
        Addresses::Known(addresses) => return some(addresses),
        Addresses::Name(name) => name,
    };
    let (host, port) = host_and_port(&name).map_err(|reason| {
        let text = format!("cannot resolve {name:?}: {reason}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let host = host.to_owned();
    let found = runtime::unblock(move || look_up(&host, port)).await?;
    some(found.map_err(|error| told(format!("cannot resolve {name:?}: {error}"), error))?)
}

/// What can be told without asking anybody; and the host as the resolver wants it, without brackets.
fn host_and_port(name: &str) -> Result<(&str, u16), &'static str> {
    let only_host = name.ends_with(']') || name.parse::<Ipv6Addr>().is_ok();
    let parts = name.rsplit_once(':').filter(|_| !only_host);
    let (host, port) =
        parts.ok_or("it has no port; write HOST:PORT, or [ADDRESS]:PORT for IPv6")?;
    let port =
        port.parse().map_err(|_| "what is behind the last colon is not a port, 0 to 65535")?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if in_brackets.is_none() && host.contains(':') {
        return Err("an IPv6 address stands in brackets: [ADDRESS]:PORT");
    }
    match in_brackets.unwrap_or(host) {
        "" => Err("it has no host; for all addresses of this machine write 0.0.0.0 or [::]"),
        host if host.contains('\0') => Err("it has a NUL byte in it"),
        host => Ok((host, port)),
    }
}

/// Each once, and at least one.
fn some(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no address to use: the list is empty",
        ));
    }
    Ok(addresses)
}

impl ToAddresses for Addresses {
    fn to_addresses(&self) -> Addresses {
        self.clone()
    }
}

impl ToAddresses for [SocketAddr] {
    fn to_addresses(&self) -> Addresses {
        Addresses::Known(self.to_vec())
    }
}

impl<const N: usize> ToAddresses for [SocketAddr; N] {
    fn to_addresses(&self) -> Addresses {
        self.as_slice().to_addresses()
    }
}

impl ToAddresses for Vec<SocketAddr> {
    fn to_addresses(&self) -> Addresses {
        self.as_slice().to_addresses()
    }
}

macro_rules! one_address {
    ($($address:ty),*) => {$(
        impl ToAddresses for $address {
            fn to_addresses(&self) -> Addresses {
                Addresses::Known(vec![(*self).into()])
            }
        }
    )*};
}

one_address!(SocketAddr, SocketAddrV4, SocketAddrV6);
one_address!((IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToAddresses for (&str, u16) {
    fn to_addresses(&self) -> Addresses {
        match self.0.parse::<IpAddr>() {
            Ok(address) => (address, self.1).to_addresses(),
            // With a zone, say, as in `fe80::1%eth0`.
            Err(_) if self.0.contains(':') => Addresses::Name(format!("[{}]:{}", self.0, self.1)),
            Err(_) => Addresses::Name(format!("{}:{}", self.0, self.1)),
        }
    }
}

impl ToAddresses for (String, u16) {
    fn to_addresses(&self) -> Addresses {
        (self.0.as_str(), self.1).to_addresses()
    }
}

impl ToAddresses for str {
    fn to_addresses(&self) -> Addresses {
        match self.parse::<SocketAddr>() {
            Ok(address) => address.to_addresses(),
            Err(_) => Addresses::Name(self.to_owned()),
        }
    }
}

impl ToAddresses for String {
    fn to_addresses(&self) -> Addresses {
        self.as_str().to_addresses()
    }
}

impl<T: ToAddresses + ?Sized> ToAddresses for &T {
    fn to_addresses(&self) -> Addresses {
        (**self).to_addresses()
    }
}
