//! How does one connect to a name that has several addresses, some of them dead?
//!
//! Not one after the other: an address that answers nothing costs two minutes, and the commonest of all, a network whose IPv6
//! leads nowhere, would cost them each time. And not all at once: that is rude to servers. But by turns, in the way of
//! RFC 8305 ("happy eyeballs"):
//!
//! | when                                     | what                                                                 |
//! |------------------------------------------|----------------------------------------------------------------------|
//! | before                                   | the families alternate; the resolver's first address stays the first |
//! | the newest attempt fails                 | the next address is tried at once                                    |
//! | it is still under way after the delay    | the next address is tried beside it                                  |
//! | one attempt, new or old, works           | it wins; the others are closed before it is given                    |
//! | two work at the same time                | the one that was begun first wins                                    |
//! | all have failed, or the time is over     | the error tells each address with what it said                       |
//!
//! The attempts are futures inside one future, no tasks: whoever drops that, at any time, has closed them all. The delay is
//! the runtime's own time, so a test's clock drives it ([`race`] knows nothing of sockets).
//!
//! What it does not do: sort addresses (the system's resolver has, by RFC 6724), ask for both families apart and begin with
//! the faster answer (the resolver gives both at once), or remember what worked.
//!
//! Comes from: `TcpStream::connect`, user code. Goes to: resolve.rs, tcp.rs, `runtime::sleep`.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::{Sleep, now, sleep, timeout};
use socket2::Socket;

use crate::tcp::{keepalive_after, new_socket};
use crate::{Addresses, TcpStream, ToAddresses, resolve};

#[cfg(test)]
mod tests;

/// How to connect. Its defaults: the next address is tried after 250 ms, from whatever local address the system chooses;
/// everything else as the system has it.
///
/// What is set here is set before the connection is made. For the buffers there is no other time: how large a window may
/// become is said in the first segment.
///
/// ```
/// use std::net::Ipv4Addr;
/// use std::time::Duration;
///
/// # runtime::block_on(async {
/// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// let options = net::ConnectOptions::new()
///     .local_address((Ipv4Addr::LOCALHOST, 0))
///     .attempt_delay(Duration::from_millis(100))
///     .keepalive(Duration::from_secs(60))
///     .receive_buffer(256 * 1024)
///     .send_buffer(64 * 1024)
///     .nodelay(true)
///     .timeout(Duration::from_secs(10));
/// let stream = options.connect(address).await?;
/// assert_eq!(stream.local_addr()?.ip(), Ipv4Addr::LOCALHOST);
/// assert!(stream.nodelay()?);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    attempt_delay: Duration,
    timeout: Option<Duration>,
    local_address: Option<SocketAddr>,
    nodelay: bool,
    keepalive: Option<Duration>,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
}

/// RFC 8305, section 8: recommended.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The same: what no delay may fall below.
const SHORTEST_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        ConnectOptions {
            attempt_delay: ATTEMPT_DELAY,
            timeout: None,
            local_address: None,
            nodelay: false,
            keepalive: None,
            receive_buffer: None,
            send_buffer: None,
        }
    }

    /// How long an address may say nothing until the next one is tried beside it.
    ///
    /// By RFC 8305 it should not be shorter than 100 ms, nor longer than 2 s, and must not be shorter than 10 ms: what is
    /// less counts as 10 ms. `Duration::MAX` tries one after the other.
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay.max(SHORTEST_ATTEMPT_DELAY);
        self
    }

    /// How long it may take altogether, the name's look-up included. The error then tells of each address what it has said so
    /// far, which a [`timeout`](runtime::timeout) around the connect would not. By default there is no limit but the system's,
    /// which gives up an address after some two minutes.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// From which address to connect. Port 0 lets the system choose one that is free towards the destination (on Linux;
    /// elsewhere towards all). Another port can be used by several connections to different destinations, and again while
    /// an old connection of it lingers (`SO_REUSEADDR`). Addresses of the other family fail without being tried.
    pub fn local_address(mut self, address: impl Into<SocketAddr>) -> Self {
        self.local_address = Some(address.into());
        self
    }

    /// Whether small writes are sent at once instead of collected (Nagle's algorithm off).
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Has the system ask a peer that has said nothing for so long whether it is still there, and end the connection if it
    /// is not. Whole seconds, as [`TcpStream::set_keepalive`].
    pub fn keepalive(mut self, silence: Duration) -> Self {
        self.keepalive = Some(silence);
        self
    }

    /// How many bytes the system holds that were not yet read (`SO_RCVBUF`; Linux doubles it, for its own bookkeeping, and
    /// has a limit, `net.core.rmem_max`). Set, it no longer grows by itself.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// How many bytes the system holds that were written and not yet taken by the peer (`SO_SNDBUF`). Otherwise as
    /// [`receive_buffer`](Self::receive_buffer).
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Connects to the address, of several to the first that answers (RFC 8305). IPv6 and IPv4 take turns, beginning with what
    /// comes first. The next one is tried as soon as the one before has failed, and beside it if it says nothing for the
    /// [`attempt_delay`](Self::attempt_delay). One that works ends all others, which are closed.
    ///
    /// So a server may see a connection that ends at once: an attempt that came in second.
    ///
    /// # Errors
    /// The name cannot be resolved: see [`resolve`]. Or no address could be reached: then the error is a [`ConnectErrors`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it closes all it has begun.
    pub async fn connect(&self, address: impl ToAddresses) -> io::Result<TcpStream> {
        let address = address.to_addresses();
        let begun = now();
        let addresses = timeout(self.timeout.unwrap_or(Duration::MAX), resolve(&address)).await;
        let name = match address {
            Addresses::Name(name) => Some(name),
            Addresses::Known(_) => None,
        };
        let addresses = addresses.map_err(|_| {
            let name = name.as_deref().unwrap_or_default();
            let what = format!("cannot connect to {name}: it was not looked up in time");
            io::Error::new(ErrorKind::TimedOut, what)
        })??;
        let left = self.timeout.map(|time| time.saturating_sub(now().duration_since(begun)));
        let connected = race(addresses, self.attempt_delay, left, |one| self.attempt(one)).await;
        Ok(connected.map_err(|errors| ConnectErrors { name, ..errors })?)
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(address)?;
        loop {
            match socket.connect(&address.into()).map_err(|error| (error.raw_os_error(), error)) {
                Ok(()) => break,
                Err((Some(libc::EINTR), _)) => {}
                // The latter two: it had begun when the signal came.
                Err((Some(libc::EINPROGRESS | libc::EALREADY | libc::EISCONN), _)) => break,
                Err((_, error)) => return Err(error),
            }
        }
        let stream = TcpStream::from_nonblocking(socket)?;
        let peer = stream.as_socket().write_with(connected).await?;
        if stream.local_addr()? == peer {
            // The system had chosen, of all ports, the one that was to be reached, and both sides greeted each other.
            return Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                "nobody listens there: the socket was connected with itself",
            ));
        }
        Ok(stream)
    }

    /// A socket as it has to be before it connects.
    fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        if let Some(local) = self.local_address.filter(|own| own.is_ipv4() != address.is_ipv4()) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("not tried: the local address {local} is of the other family"),
            ));
        }
        let socket = new_socket(address)?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(silence) = self.keepalive {
            socket.set_tcp_keepalive(&keepalive_after(silence))?;
        }
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(local) = self.local_address {
            match local.port() {
                0 => runtime::choose_port_at_connect(&socket),
                _ => socket.set_reuse_address(true)?,
            }
            socket.bind(&local.into()).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot use the local address {local}: {error}"),
                )
            })?;
        }
        Ok(socket)
    }
}

/// Whether an attempt has come to its end, and with whom: asked again each time the kernel reports something.
fn connected(stream: &std::net::TcpStream) -> io::Result<SocketAddr> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.peer_addr().map_err(|error| match error.kind() {
        ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

/// Gives what the first successful attempt gives. When which is begun, the table at the head says.
async fn race<T, A>(
    addresses: Vec<SocketAddr>,
    delay: Duration,
    limit: Option<Duration>,
    mut attempt: impl FnMut(SocketAddr) -> A,
) -> Result<T, ConnectErrors>
where
    A: Future<Output = io::Result<T>>,
{
    let mut addresses = alternate(addresses).into_iter();
    let mut attempts: Vec<Attempt<A>> = Vec::new();
    // Until the next is begun beside the newest; `None` if there is no next.
    let mut pause: Option<Sleep> = None;
    let mut end = limit.map(sleep);
    let winner = poll_fn(|cx| {
        loop {
            for attempt in &mut attempts {
                if let Some(connection) = attempt.poll(cx) {
                    return Poll::Ready(Some(connection));
                }
            }
            if end.as_mut().is_some_and(|end| Pin::new(end).poll(cx).is_ready()) {
                return Poll::Ready(None);
            }
            if attempts.last().is_some_and(Attempt::runs)
                && let Some(pause) = pause.as_mut()
                && Pin::new(pause).poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            match addresses.next() {
                Some(address) => {
                    let state = State::Runs(Box::pin(attempt(address)));
                    attempts.push(Attempt { address, state });
                    pause = (addresses.len() > 0).then(|| sleep(delay));
                }
                None if attempts.iter().any(Attempt::runs) => return Poll::Pending,
                None => return Poll::Ready(None),
            }
        }
    });
    let winner = winner.await;
    winner.ok_or_else(|| {
        let late = |what| io::Error::new(ErrorKind::TimedOut, what);
        let tried = attempts.into_iter().map(|attempt| match attempt.state {
            State::Failed(error) => (attempt.address, error),
            State::Runs(_) => (attempt.address, late("no answer in time")),
        });
        let untried = addresses.map(|address| (address, late("not tried: the time was over")));
        ConnectErrors { name: None, attempts: tried.chain(untried).collect() }
    })
}

/// The families by turns, each in its own order, that of the first address first (RFC 8305, section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().map(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.is_ipv4()) == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let by_turns = std::iter::from_fn(|| {
        let next = one.next().or_else(|| other.next());
        std::mem::swap(&mut one, &mut other);
        next
    });
    by_turns.collect()
}

struct Attempt<A> {
    address: SocketAddr,
    state: State<A>,
}

enum State<A> {
    Runs(Pin<Box<A>>),
    Failed(io::Error),
}

impl<T, A: Future<Output = io::Result<T>>> Attempt<A> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let State::Runs(future) = &mut self.state else { return None };
        match future.as_mut().poll(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(connection)) => Some(connection),
            Poll::Ready(Err(error)) => {
                self.state = State::Failed(error);
                None
            }
        }
    }

    fn runs(&self) -> bool {
        matches!(self.state, State::Runs(_))
    }
}

/// Why no address could be reached: what is in the [`io::Error`] of a connect, and what its text tells.
///
/// That error's kind is the one of the attempt that came furthest: where somebody answered (refused, reset), else where the
/// time ran out, else of the first.
///
/// ```
/// # runtime::block_on(async {
/// // A port that was free a moment ago.
/// let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
/// let error = net::TcpStream::connect(address).await.unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
/// let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<net::ConnectErrors>());
/// assert_eq!(inner.unwrap().attempts()[0].0, address);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ConnectErrors {
    /// What was to be connected to, if it had to be looked up.
    name: Option<String>,
    attempts: Vec<(SocketAddr, io::Error)>,
}

impl ConnectErrors {
    /// The addresses, in the order in which they were tried, each with its error. At least one.
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        &self.attempts
    }

    fn kind(&self) -> ErrorKind {
        let distance = |kind: &ErrorKind| match kind {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => 2,
            ErrorKind::TimedOut => 1,
            _ => 0,
        };
        // Of equals `max_by_key` takes the last.
        let kinds = self.attempts.iter().rev().map(|(_, error)| error.kind());
        kinds.max_by_key(distance).unwrap_or(ErrorKind::NotFound)
    }
}

impl fmt::Display for ConnectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect to ")?;
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        for (index, (address, error)) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for ConnectErrors {}

impl From<ConnectErrors> for io::Error {
    fn from(errors: ConnectErrors) -> io::Error {
        io::Error::new(errors.kind(), errors)
    }
}
