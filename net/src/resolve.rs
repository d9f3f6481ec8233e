//! How does a name become an address without stopping the loop?
//!
//! The system's resolver blocks, so a name goes to the pool. What is an address already, as a value or as text, does not:
//! `"127.0.0.1:80"` starts no thread.
//!
//! Comes from: tcp.rs, or anybody. Goes to: `runtime::unblock`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

/// What can be connected or bound to: a socket address, or a host and a port.
pub trait ToAddresses {
    /// The addresses, or the name they hide behind.
    fn to_addresses(&self) -> Addresses;
}

/// What [`resolve`] starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Known already.
    Known(Vec<SocketAddr>),
    /// A host and a port, as in `"localhost:80"`.
    Name(String),
}

/// The addresses of `host`, in the resolver's order, never none. Cancel safe.
///
/// # Errors
/// The resolver's; [`InvalidInput`](io::ErrorKind::InvalidInput) if a port is missing; the pool's, if it is full.
///
/// ```
/// let addresses = runtime::block_on(net::resolve(("127.0.0.1", 80)))?;
/// assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn resolve(host: impl ToAddresses) -> io::Result<Vec<SocketAddr>> {
    let name = match host.to_addresses() {
        Addresses::Known(addresses) => return some(addresses),
        Addresses::Name(name) => name,
    };
    let looked_up = runtime::unblock(move || {
        let found = name.to_socket_addrs().map(Vec::from_iter);
        found.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::InvalidInput => "; give a host and a port, such as localhost:80",
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot resolve {name:?}: {error}{advice}"))
        })
    });
    some(looked_up.await.map_err(io::Error::other)??)
}

fn some(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no address to use: the list is empty",
        ));
    }
    Ok(addresses)
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
