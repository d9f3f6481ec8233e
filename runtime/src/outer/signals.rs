//! How does a task wait for a signal: Ctrl-C, a polite request to end, a child that has ended?
//!
//! As for anything else: by a descriptor that becomes readable. A handler that touches nothing but atomics notes the
//! signal for each subscriber and writes a byte to the subscriber's socket (sys/os.rs); the runtime the subscriber lives
//! on sees the socket, and the task that awaits [`Signals::next`] takes the note.
//!
//! Rules kept here:
//! - There is one table per process, and every subscriber has its own place in it: several subscribers of the same
//!   signal, on several runtimes, are all told.
//! - A subscription lasts from the return of [`signals`] to the drop of [`Signals`]. A signal that comes before the first
//!   poll is not lost. The last subscriber of a signal puts back what the signal did before, be it to end the process.
//!   A signal that came before that and was not taken is lost with the subscription; it never does what was put back.
//! - Signals coalesce, as in Unix: two of a kind that come before the first is taken are one. They are a reason to look
//!   at something, never a count.
//! - A task that takes signals without end spends its poll's operations on them, as with any socket, so a flood of
//!   signals does not keep the loop for itself.
//!
//! What it does not do: tell who sent the signal, change any thread's signal mask, or call the handler that was there
//! before.
//!
//! After fork(), the child has the parent's handler and none of its subscriptions. A signal that comes there does what it
//! did before the parent subscribed: it is ignored, or its default happens (also where the parent had a handler of its
//! own before). What the child itself subscribes to puts back the rest of it first, and so does the drop of a
//! subscription that it has inherited; exec resets all.
//!
//! Comes from: server's main, or anybody. Goes to: async_socket.rs (to wait), sys/os.rs (to be told).

use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use crate::sys::os;
use crate::{AsyncSocket, Handle};

/// Subscribes to signals: from now on, until the drop of the last subscriber, they do not do what they did before.
///
/// # Errors
/// Outside of a runtime. [`InvalidInput`](io::ErrorKind::InvalidInput) for a signal that cannot be caught (`SIGKILL`,
/// `SIGSTOP`), for a fault of the program itself (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`: to return from their handler
/// is to repeat the fault), and for numbers that are no signals. [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) if 256
/// subscriptions are alive in the process. The kernel's, if it has no descriptors left.
///
/// ```
/// use runtime::{Signal, signals, timeout};
/// use std::time::Duration;
///
/// runtime::block_on(async {
///     let mut stop = signals([Signal::INTERRUPT, Signal::TERMINATE])?;
///     match timeout(Duration::from_millis(1), stop.next()).await {
///         Ok(signal) => println!("{signal}: time to end"),
///         Err(_) => println!("we may go on"),
///     }
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn signals(list: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
    if Handle::try_current().is_none() {
        return Err(io::Error::other(
            "runtime::signals outside of a runtime: call it inside runtime::block_on(async { .. })",
        ));
    }
    let numbers = list.into_iter().map(Signal::check).collect::<io::Result<Vec<_>>>()?;
    let subscription = os::Subscription::new(&numbers)?;
    let socket = AsyncSocket::new(subscription.reader())?.with_label(|_, f| f.write_str("signals"));
    Ok(Signals { socket, subscription })
}

/// Waits for Ctrl-C (`SIGINT`), once. It is caught from this call on, until the future has ended or is dropped; so a
/// second Ctrl-C ends the process, unless somebody else subscribes to it.
///
/// # Errors
/// As [`signals`].
///
/// # Panics
/// As [`Signals::poll_next`].
///
/// # Cancel safety
/// Dropped before it is ready, it ends its subscription; a Ctrl-C that came meanwhile is lost with it. Poll it by
/// reference to keep it.
///
/// ```no_run
/// runtime::block_on(async {
///     runtime::ctrl_c().await?;
///     println!("goodbye");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    let signals = signals([Signal::INTERRUPT]);
    async move {
        signals?.next().await;
        Ok(())
    }
}

/// A subscription, made by [`signals`]. Its drop ends it; what had come and was not taken is lost then.
///
/// ```
/// use runtime::{Signal, process::Command, signals};
/// use std::future::poll_fn;
///
/// runtime::block_on(async {
///     let mut told = signals([Signal::USER1])?;
///     Command::new("sh").args(["-c", "kill -USR1 $PPID"]).status().await?;
///     assert_eq!(told.next().await, Signal::USER1);
///     Command::new("sh").args(["-c", "kill -USR1 $PPID"]).status().await?;
///     assert_eq!(poll_fn(|cx| told.poll_next(cx)).await, Signal::USER1); // the same
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping it ends the subscription"]
pub struct Signals {
    // Before `subscription`, so that the kernel watches the slot's socket for nobody when the slot is given back. It is
    // not closed with this, so it has to be taken off the kernel's list: `AsyncSocket::new`, not `trusted`.
    socket: AsyncSocket<&'static UnixStream>,
    subscription: os::Subscription,
}

impl Signals {
    /// Waits for the next of the signals. There is always a next one.
    ///
    /// # Panics
    /// As [`poll_next`](Self::poll_next).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken no signal.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for `poll_*` methods of traits.
    ///
    /// # Panics
    /// In another runtime than the one it was made in; and if foreign code has closed the table's descriptors.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        let subscription = &mut self.subscription;
        let polled = self.socket.poll_read_with(cx, |&(mut reader)| {
            loop {
                if let Some(number) = subscription.take() {
                    return Ok(Signal(number));
                }
                // The bytes say only that there is something to take; only when none is left may we wait.
                if reader.read(&mut [0; 64])? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        });
        polled.map(|result| match result {
            Ok(signal) => signal,
            Err(error) => panic!("cannot wait for signals: {error}"),
        })
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

/// A signal, by its number. Prints as its name.
///
/// ```
/// use runtime::Signal;
/// assert_eq!(Signal::INTERRUPT.to_string(), "SIGINT");
/// assert_eq!(Signal::from_raw(2), Signal::INTERRUPT);
/// assert_eq!(Signal::TERMINATE.as_raw(), 15);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// Ctrl-C at the terminal (`SIGINT`).
    pub const INTERRUPT: Signal = Signal(os::SIGINT);
    /// A polite request to end, from `kill` or a service manager (`SIGTERM`).
    pub const TERMINATE: Signal = Signal(os::SIGTERM);
    /// The terminal is gone; for services, by custom: read your settings again (`SIGHUP`).
    pub const HANGUP: Signal = Signal(os::SIGHUP);
    /// Ctrl-\ at the terminal (`SIGQUIT`).
    pub const QUIT: Signal = Signal(os::SIGQUIT);
    /// For the program's own use (`SIGUSR1`).
    pub const USER1: Signal = Signal(os::SIGUSR1);
    /// For the program's own use (`SIGUSR2`).
    pub const USER2: Signal = Signal(os::SIGUSR2);
    /// A child process has ended, stopped or gone on (`SIGCHLD`).
    pub const CHILD: Signal = Signal(os::SIGCHLD);
    /// The terminal's window has another size (`SIGWINCH`).
    pub const WINDOW_CHANGE: Signal = Signal(os::SIGWINCH);
    /// The process's alarm clock (`SIGALRM`).
    pub const ALARM: Signal = Signal(os::SIGALRM);
    /// A write to a pipe or socket that nobody reads (`SIGPIPE`). Rust programs ignore it from the start.
    pub const PIPE: Signal = Signal(os::SIGPIPE);
    /// A stopped process goes on (`SIGCONT`).
    pub const CONTINUE: Signal = Signal(os::SIGCONT);

    /// The signal of this number. Any number will do; [`signals`] refuses those that are none.
    pub const fn from_raw(number: i32) -> Signal {
        Signal(number)
    }

    /// The signal's number, as the system has it.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// The number, if it can be subscribed to.
    fn check(self) -> io::Result<i32> {
        let why_not = match self.0 {
            os::SIGKILL | os::SIGSTOP => "cannot be caught by any process",
            os::SIGSEGV | os::SIGBUS | os::SIGFPE | os::SIGILL => {
                "is a fault of the program itself and cannot be awaited"
            }
            1..=os::MAX_SIGNAL => return Ok(self.0),
            _ => "does not exist",
        };
        let error = format!("{self} {why_not}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            os::SIGINT => "SIGINT",
            os::SIGTERM => "SIGTERM",
            os::SIGHUP => "SIGHUP",
            os::SIGQUIT => "SIGQUIT",
            os::SIGUSR1 => "SIGUSR1",
            os::SIGUSR2 => "SIGUSR2",
            os::SIGCHLD => "SIGCHLD",
            os::SIGWINCH => "SIGWINCH",
            os::SIGALRM => "SIGALRM",
            os::SIGPIPE => "SIGPIPE",
            os::SIGCONT => "SIGCONT",
            os::SIGKILL => "SIGKILL",
            os::SIGSTOP => "SIGSTOP",
            os::SIGSEGV => "SIGSEGV",
            os::SIGBUS => "SIGBUS",
            os::SIGFPE => "SIGFPE",
            os::SIGILL => "SIGILL",
            number => return write!(f, "signal {number}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
