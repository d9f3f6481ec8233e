//! What does a server's accept loop have to know, beyond accepting?
//!
//! That errors come in three kinds, and only one of them ends a server:
//!
//! | kind            | such as                                     | what `serve` does                                  |
//! |-----------------|---------------------------------------------|----------------------------------------------------|
//! | one connection's| it was reset before we took it; a firewall  | goes on                                            |
//! | the process's   | no descriptors, no memory                   | says so, once a minute, rests 100 ms or until one ends, goes on |
//! | the listener's  | it is not listening; it was shut down       | returns it                                         |
//!
//! That there is a limit to how many connections may be open, and that those beyond it wait in the kernel's queue, or are
//! told. That one connection's panic is not another's. And how to stop: those whom the kernel has queued are taken first
//! (their clients believe they are connected), then the listener closes, then the connections have until the drain's
//! deadline, then they are cancelled.
//!
//! The classes of errors follow the accept(2) manual; the 100 ms are trio's.
//!
//! Comes from: a server's main. Goes to: the listener, `runtime::spawn`, once a connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use runtime::{CancelToken, JoinHandle, spawn, timeout, yield_now};

use crate::TcpListener;

/// What [`serve`] can accept from: a TCP listener, or something in memory that behaves like one.
///
/// ```
/// use net::{Limits, Listener, TcpListener, TcpStream, serve};
/// use std::{io, net::IpAddr};
///
/// /// Peers are known by their addresses, whatever their ports.
/// struct ByAddress(TcpListener);
///
/// impl Listener for ByAddress {
///     type Stream = TcpStream;
///     type Address = IpAddr;
///     async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
///         self.0.accept().await.map(|(stream, peer)| (stream, peer.ip()))
///     }
///     fn try_accept(&self) -> io::Result<(TcpStream, IpAddr)> {
///         self.0.try_accept().map(|(stream, peer)| (stream, peer.ip()))
///     }
/// }
///
/// # runtime::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let client = TcpStream::connect(listener.local_addr()?).await?;
/// let greet = async |stream: TcpStream, peer: IpAddr| {
///     stream.write_all(peer.to_string().as_bytes()).await
/// };
/// runtime::spawn(serve(ByAddress(listener), Limits::new(), greet));
/// assert_eq!(client.read_lent(64, |text| text.to_vec()).await?, b"127.0.0.1");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// What its peer is known by.
    type Address;
    /// Waits for a connection. Must be cancel safe.
    ///
    /// # Errors
    /// The kernel's, by their numbers. Of those without a number these concern one connection only: `ConnectionAborted`,
    /// `ConnectionReset`, `BrokenPipe`, `TimedOut`, `Interrupted`, `WouldBlock`, `UnexpectedEof`, `InvalidData`; after
    /// `OutOfMemory` [`serve`] rests; any other ends the server.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Address)>>;
    /// Takes a connection that is there already.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none.
    fn try_accept(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

impl Listener for TcpListener {
    type Stream = crate::TcpStream;
    type Address = std::net::SocketAddr;
    async fn accept(&self) -> io::Result<(Self::Stream, Self::Address)> {
        TcpListener::accept(self).await
    }
    fn try_accept(&self) -> io::Result<(Self::Stream, Self::Address)> {
        TcpListener::try_accept(self)
    }
}

/// How much a server takes on, and how it ends. The defaults: 10,000 connections, those beyond wait; no end; a drain of
/// 10 s; trouble is told on standard error.
///
/// ```
/// use net::{Limits, MemoryListener, serve};
/// use std::time::Duration;
///
/// runtime::testing::run(async {
///     let stop = runtime::CancelToken::new();
///     let limits = Limits::new()
///         .shutdown(stop.clone())
///         .drain(Duration::from_secs(5))
///         .log(|line| eprintln!("my server: {line}"));
///     let listener = MemoryListener::new(64);
///     let _client = listener.connector().connect().unwrap();
///     let endless = async |_stream, _| std::future::pending::<()>().await;
///     stop.cancel();
///     let served = serve(listener, limits, endless).await.unwrap();
///     assert_eq!((served.accepted, served.cut), (1, 1)); // taken from the queue; cut after 5 s
/// });
/// ```
#[derive(Clone)]
pub struct Limits {
    connections: usize,
    excess: Excess,
    shutdown: Option<CancelToken>,
    drain: Duration,
    log: Rc<dyn Fn(&str)>,
    counts: Rc<Cell<Served>>,
}

/// What happens to connections beyond the limit.
///
/// ```
/// use futures_lite::AsyncReadExt;
/// use net::{Excess, Limits, MemoryListener, serve};
///
/// # runtime::block_on(async {
/// let listener = MemoryListener::new(64);
/// let network = listener.connector();
/// let excess = Excess::Refuse("too many, come back later\n".to_owned());
/// let limits = Limits::new().connections(1).excess(excess);
/// runtime::spawn(serve(listener, limits, async |_stream, _| std::future::pending::<()>().await));
///
/// let (_first, mut second) = (network.connect()?, network.connect()?);
/// let mut text = String::new();
/// second.read_to_string(&mut text).await?;
/// assert_eq!(text, "too many, come back later\n");
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// They wait in the kernel's queue until one of the others ends.
    Wait,
    /// They are accepted, sent this text, and closed.
    Refuse(String),
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            excess: Excess::Wait,
            shutdown: None,
            drain: Duration::from_secs(10),
            // Not `eprintln!`: that panics when standard error is gone.
            log: Rc::new(|line| drop(writeln!(io::stderr().lock(), "{line}"))),
            counts: Rc::default(),
        }
    }
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections may be open at the same time; at least one.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// What happens to those beyond.
    pub fn excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }

    /// Ends the server when the token is set.
    pub fn shutdown(mut self, token: CancelToken) -> Self {
        self.shutdown = Some(token);
        self
    }

    /// How long connections may go on after that, and those that are being refused may take to read why.
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Who is told, a line at a time, when the process is short of descriptors or memory.
    pub fn log(mut self, log: impl Fn(&str) + 'static) -> Self {
        self.log = Rc::new(log);
        self
    }

    /// Where [`serve`] keeps its counts up to date: to be looked at while it runs, and after an error.
    ///
    /// ```
    /// use net::{Limits, MemoryListener, Served, serve};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// runtime::testing::run(async {
    ///     let counts = Rc::new(Cell::new(Served::default()));
    ///     let listener = MemoryListener::new(64);
    ///     let _client = listener.connector().connect().unwrap();
    ///     let limits = Limits::new().counts(Rc::clone(&counts));
    ///     let _server = runtime::spawn(serve(listener, limits, async |_stream, _| {}));
    ///     runtime::testing::until_idle().await;
    ///     assert_eq!(counts.get().accepted, 1);
    /// });
    /// ```
    pub fn counts(mut self, counts: Rc<Cell<Served>>) -> Self {
        self.counts = counts;
        self
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("connections", &self.connections)
            .field("excess", &self.excess)
            .field("shutdown", &self.shutdown)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

/// What a server has done in its life.
///
/// ```
/// use net::{Limits, MemoryListener, Served, serve};
///
/// # runtime::block_on(async {
/// let listener = MemoryListener::new(64);
/// let _clients = [listener.connector().connect()?, listener.connector().connect()?];
/// let stop = runtime::CancelToken::new();
/// stop.cancel();
/// let limits = Limits::new().connections(1).shutdown(stop);
/// let served = serve(listener, limits, async |_stream, _| {}).await?;
/// // Both waited in the queue, and at the end there is no more waiting.
/// assert_eq!(served, Served { accepted: 1, refused: 1, ..Served::default() });
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections given to the handler.
    pub accepted: u64,
    /// Connections beyond the limit that were turned away: told so if [`Excess::Refuse`] has a text, just closed at the end
    /// of a server whose excess waits.
    pub refused: u64,
    /// Connections that failed between the kernel's queue and us.
    pub failed: u64,
    /// Rests taken because the process was short of descriptors or memory.
    pub rests: u64,
    /// Connections that were still open at the drain's deadline.
    pub cut: u64,
}

/// Accepts connections and spawns `handler(stream, address)` for each, until the shutdown token is set or the listener
/// fails. What a handler gives is dropped; a panic of one goes to the runtime's panic policy and concerns nobody else.
///
/// # Errors
/// Those that concern the listener itself; the connections are then drained as at a shutdown.
///
/// # Cancel safety
/// Dropped, it stops accepting, and the connections go on by themselves, with no deadline.
///
/// ```
/// use net::{Limits, TcpListener, TcpStream, serve};
///
/// runtime::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let stop = runtime::CancelToken::new();
///     let limits = Limits::new().connections(100).shutdown(stop.clone());
///     let server = runtime::spawn(serve(listener, limits, async |stream, _| {
///         stream.write_all(b"bye\n").await
///     }));
///     let mut word = [0; 4];
///     TcpStream::connect(address).await?.read_exact(&mut word).await?;
///     stop.cancel();
///     assert_eq!(server.await.expect("no panic")?.accepted, 1);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn serve<L, H, R>(listener: L, limits: Limits, handler: H) -> io::Result<Served>
where
    L: Listener + 'static,
    L::Address: 'static,
    H: AsyncFn(L::Stream, L::Address) -> R + 'static,
    R: 'static,
{
    let handler = Rc::new(handler);
    let open = Rc::new(Connections::default());
    let refusing = Rc::new(Connections::default());
    let mut served = Served::default();
    let mut told = None;
    let mut in_a_row = 0;
    let mut stop = pin!(async {
        match &limits.shutdown {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    });

    let admit = |served: &mut Served, (stream, address): (L::Stream, L::Address)| {
        if open.count() < limits.connections {
            served.accepted += 1;
            let handler = Rc::clone(&handler);
            open.spawn(|place| async move {
                let _place = place; // given up at the end, by whichever way it comes
                drop(handler(stream, address).await);
            });
        } else {
            served.refused += 1;
            if let Excess::Refuse(text) = &limits.excess {
                if refusing.count() >= REFUSALS_AT_A_TIME {
                    refusing.abort_first();
                }
                let text = text.clone();
                refusing.spawn(|place| async move {
                    let _place = place;
                    refuse(stream, text).await;
                });
            }
        }
        limits.counts.set(*served);
    };

    let result = loop {
        if limits.excess == Excess::Wait
            && unless(stop.as_mut(), open.fewer_than(limits.connections)).await.is_none()
        {
            break Ok(());
        }
        match unless(stop.as_mut(), listener.accept()).await {
            None => break Ok(()),
            Some(Ok(connection)) => {
                in_a_row = 0;
                admit(&mut served, connection);
                if served.refused % TAKEN_AT_A_TIME == TAKEN_AT_A_TIME - 1 {
                    yield_now().await; // let those that are refused be told before they have to make room
                }
            }
            Some(Err(error)) => match Trouble::of(&error) {
                Trouble::Connection if in_a_row < SUSPICIOUSLY_MANY => {
                    in_a_row += 1;
                    served.failed += 1;
                }
                Trouble::Process | Trouble::Connection => {
                    if told.is_none_or(|at| runtime::now().duration_since(at) >= SAID_AGAIN_AFTER) {
                        told = Some(runtime::now());
                        (limits.log)(&shortage(&error, open.count()));
                    }
                    served.rests += 1;
                    let rest = timeout(REST, open.fewer_than(open.count()));
                    if unless(stop.as_mut(), rest).await.is_none() {
                        break Ok(());
                    }
                }
                Trouble::Listener => break Err(error),
            },
        }
    };

    let queued = async {
        // Bounded, since a listener need not be a kernel's.
        for taken in 1..=MOST_QUEUED {
            match listener.try_accept() {
                Ok(connection) => admit(&mut served, connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => match Trouble::of(&error) {
                    Trouble::Connection => served.failed += 1,
                    Trouble::Process if open.count() > 0 => open.fewer_than(open.count()).await,
                    _ => break,
                },
            }
            if taken % TAKEN_AT_A_TIME == 0 {
                yield_now().await;
            }
        }
        drop(listener);
        open.fewer_than(1).await;
        refusing.fewer_than(1).await; // they are told, too, and then nothing of us is left
    };
    if timeout(limits.drain, queued).await.is_err() {
        served.cut = open.abort_all();
        refusing.abort_all();
    }
    limits.counts.set(served);
    result.map(|()| served)
}

/// How long to wait for a descriptor before trying again, if none of our own connections ends first.
const REST: Duration = Duration::from_millis(100);
/// A shortage is told once; one that lasts, or comes again, once more after this time.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How many connections are taken from the kernel's queue at the end.
const MOST_QUEUED: u64 = 65_536;
/// How many of them in one poll. Less than [`REFUSALS_AT_A_TIME`], so that a refusal has had a poll before it is ended.
const TAKEN_AT_A_TIME: u64 = 32;
/// So many failed connections without a good one between them are no connection's fault (a listener that is no stream
/// socket, a system call that is forbidden): from there on they are treated as a shortage, told and waited for.
const SUSPICIOUSLY_MANY: u32 = 1024;
/// How many connections may be in the course of being refused. One more ends the oldest of them: its text has been sent, and what
/// is left of its time is for clients that are slow to take it.
const REFUSALS_AT_A_TIME: usize = 64;
/// How long a refused client may take to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The line that tells of a shortage.
fn shortage(error: &io::Error, open: usize) -> String {
    // epoll's error, not accept's: the connection was there, and is closed since it cannot be watched.
    if error.raw_os_error() == Some(libc::ENOSPC) {
        return format!(
            "cannot watch a new connection, so it was closed: {error}: this user watches as many descriptors as it may \
             (fs.epoll.max_user_watches); {open} connections are open"
        );
    }
    format!(
        "cannot accept: {error}; {open} connections are open, new ones wait in the kernel's queue"
    )
}

/// The kernel's word for "call again", which a tracer may let through; libc has no name for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ERESTARTSYS: i32 = 512;

/// What an error of accept concerns. All numbers that accept(2) has on Linux, macOS, the BSDs and illumos:
///
/// | class        | numbers                                                                                             |
/// |--------------|-----------------------------------------------------------------------------------------------------|
/// | `Connection` | `ECONNABORTED`, `EPROTO`, `EPERM` (a firewall) and `EACCES` (a security module); what is pending on the new connection and passed on: `ECONNRESET`, `ECONNREFUSED`, `EPIPE`, `ETIMEDOUT`, `ENETDOWN`, `ENETUNREACH`, `ENETRESET`, `EHOSTDOWN`, `EHOSTUNREACH`, `ENONET`, `ENOPROTOOPT`, `EOPNOTSUPP`, `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT` |
/// |              | and no error at all: `EINTR`, `ERESTARTSYS` (seen under a tracer), `EAGAIN` from an accept that was to wait |
/// | `Process`    | `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, `ENOSR`; `ENOSPC`, which is epoll's: the user's limit of watched descriptors |
/// | `Listener`   | `EBADF`, `EFAULT`, `EINVAL`, `ENOTSOCK`, `ENODEV`, `ENOSYS`, and every other                          |
///
/// `EOPNOTSUPP` and `EPERM` may also be the listener's (no stream socket; a forbidden system call): [`SUSPICIOUSLY_MANY`]
/// of the first class in a row are treated as the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Connection,
    Process,
    Listener,
}

impl Trouble {
    fn of(error: &io::Error) -> Trouble {
        let Some(number) = error.raw_os_error() else {
            return Trouble::of_kind(error.kind());
        };
        match number {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC => {
                Trouble::Process
            }
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::EACCES
            | libc::ECONNRESET
            | libc::ECONNREFUSED
            | libc::EPIPE
            | libc::ETIMEDOUT
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::ENETRESET
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::EINTR
            | libc::EAGAIN => Trouble::Connection,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            libc::ENONET | ERESTARTSYS => Trouble::Connection,
            #[cfg(any(
                target_os = "linux",
                target_os = "android",
                target_vendor = "apple",
                target_os = "netbsd",
                target_os = "illumos",
            ))]
            libc::ENOSR => Trouble::Process,
            _ => Trouble::Listener,
        }
    }

    /// Of errors that no kernel gave: a listener may be anything.
    fn of_kind(kind: io::ErrorKind) -> Trouble {
        use io::ErrorKind as Kind;
        match kind {
            Kind::OutOfMemory => Trouble::Process,
            Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::WouldBlock
            | Kind::UnexpectedEof
            | Kind::InvalidData => Trouble::Connection,
            _ => Trouble::Listener,
        }
    }
}

/// The tasks of the connections that are open.
#[derive(Default)]
struct Connections {
    /// In the order in which they came, so that a test's seed decides all of their ends.
    tasks: RefCell<BTreeMap<u64, JoinHandle<()>>>,
    last: Cell<u64>,
    /// The accept loop, when it waits for one to end.
    waiting: Cell<Option<Waker>>,
}

impl Connections {
    fn count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Spawns what `connection` makes, which keeps its place as long as it lives. (One future, not one around another: that
    /// would be twice as large.)
    fn spawn<F>(self: &Rc<Self>, connection: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let number = self.last.get() + 1;
        self.last.set(number);
        let task = spawn(connection(Place { connections: Rc::clone(self), number }));
        self.tasks.borrow_mut().insert(number, task);
    }

    /// Waits until fewer than `limit` are open.
    async fn fewer_than(&self, limit: usize) {
        poll_fn(|cx| {
            if self.count() < limit {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Drops the one that has been open for the longest time.
    fn abort_first(&self) {
        let first = self.tasks.borrow_mut().pop_first();
        if let Some((_, task)) = first {
            task.abort();
        }
    }

    /// Drops all that are open, and says how many. Their drops are foreign code; since nobody holds their handles
    /// afterwards, a panic of one goes to the runtime's policy.
    fn abort_all(&self) -> u64 {
        let tasks = self.tasks.take();
        tasks.values().for_each(JoinHandle::abort);
        tasks.len() as u64
    }
}

/// One connection's place among those that are open.
struct Place {
    connections: Rc<Connections>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let task = self.connections.tasks.borrow_mut().remove(&self.number);
        drop(task); // detaches the task we are in, so that its panic, if this is one, goes to the policy
        if let Some(waiting) = self.connections.waiting.take() {
            // A waker may panic, and a panic may be why we are here: a second one would end the process.
            let _ = catch_unwind(AssertUnwindSafe(|| waiting.wake()));
        }
    }
}

/// `future`, unless `stop` comes first: then `None`.
async fn unless<F: Future>(
    mut stop: Pin<&mut impl Future<Output = ()>>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match stop.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

/// Tells a client why it is turned away, and closes in a way that lets it read that: what it has sent is read to the end,
/// since closing with unread bytes resets the connection, which may overtake the text.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, text: String) {
    let farewell = async {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, rest)).await {
                Ok(0) | Err(_) => return,
                Ok(count) => rest = &rest[count..],
            }
        }
        if poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await.is_err() {
            return;
        }
        let mut unread = [0; 512];
        while let Ok(1..) = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut unread)).await {}
    };
    // A client that takes longer has had its chance.
    let _ = timeout(REFUSAL_TIME, farewell).await;
}
