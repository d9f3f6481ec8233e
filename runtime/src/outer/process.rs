//! Starting other programs, talking to them, and knowing when they end.
//!
//! A thin layer over [`std::process`]: std starts the program, holds its number and reaps it; here are the waits. A child's
//! end is a readable descriptor (a pidfd, Linux 5.3 or later); elsewhere each wait subscribes to `SIGCHLD`, looks, and
//! looks again at each signal. Subscribe first, then look: what ends in between is seen by one or the other.
//!
//! Rules kept here:
//! - A child that is dropped is killed, unless it was [detached](Child::detach). A future of [`Command::output`] or
//!   [`Command::status`] that is dropped kills its child likewise.
//! - No zombie stays. Even after SIGKILL the end takes a moment, and a drop must not wait. So a task of the runtime that the
//!   drop happens in waits for the child; and if that runtime ends, or there was none, a thread does that has nothing
//!   else to do. (Only if the system gives no thread either, the zombie stays until this process ends. And under a `Runtime`
//!   that is kept but not running it waits for the next `block_on`, or for that runtime's end.)
//! - A signal never reaches a stranger. A child's number is its own until it has been reaped; only std's `Child` reaps, and
//!   who sends asks it first. This fails if other code of this process reaps what is not its own (`waitpid(-1)`).
//! - Descriptors do not leak into children: std's pipes, the pidfd and all of the runtime's own are close-on-exec.
//!
//! What a child inherits: ignored signals stay ignored (but `SIGPIPE`, which std sets back); caught ones, those of
//! [`signals`](crate::signals) too, are at their default again, which exec sees to; the signal mask is the calling
//! thread's, and this runtime blocks none. `fork` handlers run in the child alone, so that a runtime goes on unharmed.
//!
//! What it does not do: start programs off the loop's thread (std's call returns when the program runs or has failed to,
//! after about a tenth of a millisecond; longer if it has to fork a large process, for `pre_exec` or another user); kill
//! grandchildren (give the child a process group by [`Command::as_std_mut`]); bound what `output` collects.
//!
//! Comes from: user code. Goes to: std, async_socket.rs and signals.rs (to wait), pipe.rs (to talk).

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Output, Stdio};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::sys::os;
use crate::{AsyncSocket, Handle, PipeReader, PipeWriter, Signal, signals, sleep, spawn};

/// How often to look where neither a descriptor nor a subscription tells of the end: late, but nothing is lost.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The stack of a thread that does nothing but wait for a child.
const REAPER_STACK: usize = 1 << 16;

/// A program to be started, with its arguments and surroundings: std's [`Command`](std::process::Command), whose methods
/// it has, with ends that can be awaited. What is missing here is reached by [`as_std_mut`](Self::as_std_mut).
///
/// ```
/// use runtime::process::Command;
///
/// runtime::block_on(async {
///     let output = Command::new("echo").arg("hello").output().await?;
///     assert!(output.status.success());
///     assert_eq!(output.stdout, b"hello\n");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With surroundings of its own:
///
/// ```
/// use runtime::process::Command;
/// use std::process::Stdio;
///
/// runtime::block_on(async {
///     let output = Command::new("/bin/sh")
///         .args(["-c", "echo $WHO in $(pwd); echo trouble >&2"])
///         .env_clear()
///         .env("WHO", "nobody")
///         .current_dir("/")
///         .stderr(Stdio::null())
///         .output()
///         .await?;
///     assert_eq!(output.stdout, b"nobody in /\n");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    std: std::process::Command,
    /// Whether somebody has said what standard input, output and errors are to be.
    set: [bool; 3],
}

impl Command {
    /// For this program, found along `PATH` if it has no slash, with this process's environment and directory.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command { std: std::process::Command::new(program), set: [false; 3] }
    }

    /// One more argument. No shell looks at it.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.std.arg(arg);
        self
    }

    /// More arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.std.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.std.env(key, value);
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.std.env_remove(key);
        self
    }

    /// Takes all environment variables away.
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// Sets the directory that the program starts in.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.std.current_dir(dir);
        self
    }

    /// Sets standard input. If nobody does: nothing at all for [`output`](Self::output), this process's own otherwise.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.std.stdin(stdin);
        self.set[0] = true;
        self
    }

    /// Sets standard output. If nobody does: a pipe for [`output`](Self::output), this process's own otherwise.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.std.stdout(stdout);
        self.set[1] = true;
        self
    }

    /// Sets standard error, as [`stdout`](Self::stdout).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.std.stderr(stderr);
        self.set[2] = true;
        self
    }

    /// The settings as std has them.
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// The settings as std has them, for what is not here: user, process group, `pre_exec`. Set the three standard streams
    /// here, not there: [`output`](Self::output) and its like would not know of it.
    ///
    /// ```
    /// use runtime::process::Command;
    /// use std::os::unix::process::CommandExt;
    ///
    /// runtime::block_on(async {
    ///     let mut command = Command::new("true");
    ///     command.env_remove("LD_PRELOAD");
    ///     command.as_std_mut().process_group(0); // so that Ctrl-C at the terminal does not reach it
    ///     assert_eq!(command.as_std().get_program(), "true");
    ///     assert!(command.status().await?.success());
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }

    /// Starts the program.
    ///
    /// # Errors
    /// Outside of a runtime. The system's, with the program's name in front and std's error as its source;
    /// [`NotFound`](ErrorKind::NotFound) if there is no such program (or no such directory to start in);
    /// [`QuotaExceeded`](ErrorKind::QuotaExceeded) if there may be no more processes. Also if there are no descriptors left
    /// for what the child is watched by; it is killed then.
    ///
    /// ```
    /// use runtime::process::Command;
    /// use std::process::Stdio;
    ///
    /// runtime::block_on(async {
    ///     let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    ///     input.write_all(b"meow").await?;
    ///     let mut buffer = [0; 16];
    ///     let count = output.read(&mut buffer).await?;
    ///     assert_eq!(&buffer[..count], b"meow");
    ///     drop(input); // the end, as cat sees it
    ///     assert!(child.wait().await?.success());
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn(&mut self) -> io::Result<Child> {
        if Handle::try_current().is_none() {
            return Err(io::Error::other(
                "Command::spawn outside of a runtime: call it inside runtime::block_on(async { .. })",
            ));
        }
        let mut child = self.std.spawn().map_err(|error| self.not_started(error))?;
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let running = Running { child, watch: None };
        let mut child =
            Child { stdin: None, stdout: None, stderr: None, state: State::Running(running) };
        // From here on its drop kills and reaps what has been started.
        if let State::Running(running) = &mut child.state {
            running.watch()?;
        }
        child.stdin = ends.0.map(PipeWriter::new).transpose()?;
        child.stdout = ends.1.map(PipeReader::new).transpose()?;
        child.stderr = ends.2.map(PipeReader::new).transpose()?;
        Ok(child)
    }

    /// Starts the program, by this call, and waits for its end. Pipes that were set for it are closed at once.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait`]. That the program has failed is no error: ask the status.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has killed the child.
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + use<> {
        let child = self.spawn();
        async move {
            let mut child = child?;
            drop((child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }

    /// Starts the program, by this call, collects what it writes, as much as that may be, and waits for its end. Standard
    /// input is empty if nobody has set it.
    ///
    /// # Errors
    /// As [`status`](Self::status), and those of reading.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has killed the child; what it has collected is lost.
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + use<> {
        self.collect(Stdio::null(), Vec::new())
    }

    /// As [`output`](Self::output), and meanwhile writes `input` to the program's standard input. A program that does not
    /// read all of it is no error. A `stdin` that was set before is forgotten by this.
    ///
    /// ```
    /// use runtime::process::Command;
    ///
    /// runtime::block_on(async {
    ///     let sorted = Command::new("sort").output_of("b\na\n").await?;
    ///     assert_eq!(sorted.stdout, b"a\nb\n");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `output`.
    ///
    /// # Cancel safety
    /// As `output`.
    pub fn output_of<I: Into<Vec<u8>>>(
        &mut self,
        input: I,
    ) -> impl Future<Output = io::Result<Output>> + use<I> {
        self.set[0] = false;
        self.collect(Stdio::piped(), input.into())
    }

    /// Spawns with a `stdin` and pipes where nobody has said otherwise, and leaves the settings as they were.
    fn collect(
        &mut self,
        stdin: Stdio,
        input: Vec<u8>,
    ) -> impl Future<Output = io::Result<Output>> + use<> {
        self.fill_in([stdin, Stdio::piped(), Stdio::piped()]);
        let child = self.spawn();
        self.fill_in([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()]);
        async move { child?.communicate(&input).await }
    }

    /// Sets those of the standard streams that nobody has set.
    fn fill_in(&mut self, [stdin, stdout, stderr]: [Stdio; 3]) {
        let set = self.set;
        (!set[0]).then(|| self.std.stdin(stdin));
        (!set[1]).then(|| self.std.stdout(stdout));
        (!set[2]).then(|| self.std.stderr(stderr));
    }

    fn not_started(&self, source: io::Error) -> io::Error {
        let source = os::explain_shortage(source, "process");
        let program = self.std.get_program().to_owned();
        let dir = self.std.get_current_dir().map(Path::to_owned);
        io::Error::new(source.kind(), NotStarted { program, dir, source })
    }
}

/// The settings as they are; for [`output`](Command::output) and its like, the standard streams count as not set.
impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Self {
        Command { std, set: [false; 3] }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

/// A program that was started. Its drop kills it; see [`detach`](Self::detach).
///
/// ```
/// use runtime::{Signal, process::Command};
/// use std::os::unix::process::ExitStatusExt;
///
/// runtime::block_on(async {
///     let mut child = Command::new("sleep").arg("60").spawn()?;
///     assert!(child.id().is_some() && child.try_wait()?.is_none());
///     child.signal(Signal::TERMINATE)?;
///     let status = child.wait().await?;
///     assert_eq!(status.signal(), Some(Signal::TERMINATE.as_raw()));
///     assert_eq!(child.id(), None);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping it kills the program"]
pub struct Child {
    /// The program's standard input, if it was set to be a pipe.
    pub stdin: Option<PipeWriter>,
    /// Its standard output, likewise.
    pub stdout: Option<PipeReader>,
    /// Its standard error, likewise.
    pub stderr: Option<PipeReader>,
    state: State,
}

enum State {
    /// Not reaped. (It may have ended.)
    Running(Running),
    Ended(ExitStatus),
}

impl Child {
    /// The process's number, until it has been reaped; from then on it may be another's.
    pub fn id(&self) -> Option<u32> {
        match &self.state {
            State::Running(running) => Some(running.child.id()),
            State::Ended(_) => None,
        }
    }

    /// Waits for the end, in whichever runtime it is called. First closes [`stdin`](Self::stdin), if it is still here, so that a program that reads to the end
    /// of it comes to one. A program that writes more than a pipe holds (64 KiB on Linux) into one that nobody reads does
    /// not end: read it, drop it, or use [`wait_with_output`](Self::wait_with_output).
    ///
    /// # Errors
    /// The system's; outside of a runtime. If `SIGCHLD` is ignored in this process, or other code of it has reaped the
    /// child, nothing tells any more how it ended, and the error says so.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it can be called again; only `stdin` stays closed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        let status = match &mut self.state {
            State::Running(running) => running.wait().await?,
            State::Ended(status) => return Ok(*status),
        };
        self.state = State::Ended(status);
        Ok(status)
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if let State::Running(running) = &mut self.state {
            match running.look()? {
                Some(status) => self.state = State::Ended(status),
                None => return Ok(None),
            }
        }
        match self.state {
            State::Ended(status) => Ok(Some(status)),
            State::Running(_) => Ok(None),
        }
    }

    /// Collects what comes out of [`stdout`](Self::stdout) and [`stderr`](Self::stderr), as far as they are here, both at
    /// once, until both have ended; closes `stdin`; waits for the end. (An output ends when all who hold it have closed it:
    /// a grandchild left running keeps this waiting.)
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of reading.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has killed the child; what it has collected is lost.
    ///
    /// ```
    /// use runtime::process::Command;
    /// use std::process::Stdio;
    ///
    /// runtime::block_on(async {
    ///     let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     if let Some(stdin) = &child.stdin {
    ///         stdin.write_all(b"meow").await?;
    ///     }
    ///     assert_eq!(child.wait_with_output().await?.stdout, b"meow");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn wait_with_output(self) -> io::Result<Output> {
        self.communicate(b"").await
    }

    async fn communicate(mut self, input: &[u8]) -> io::Result<Output> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdin, stdout, stderr) = (self.stdin.take(), self.stdout.take(), self.stderr.take());
        let write = pin!(async move {
            let Some(stdin) = stdin else { return Ok(()) };
            match stdin.write_all(input).await {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()), // it has read what it wanted
            }
        });
        {
            let read_out = pin!(collect(stdout, &mut out));
            let read_err = pin!(collect(stderr, &mut err));
            all([write, read_out, read_err]).await?;
        }
        let status = self.wait().await?;
        Ok(Output { status, stdout: out, stderr: err })
    }

    /// Sends it a signal; nothing happens if it has ended. [`Signal::TERMINATE`] asks it politely to end.
    ///
    /// # Errors
    /// The system's: no such signal, or the child has become another user's.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match (self.try_wait()?, self.id()) {
            // Not reaped, and nobody but us reaps it: the number is its own, be it a zombie's by now.
            (None, Some(id)) => os::send_signal(id, signal.as_raw()),
            _ => Ok(()),
        }
    }

    /// Kills it (`SIGKILL`), without waiting for the end; nothing happens if it has ended.
    ///
    /// # Errors
    /// The system's: the child has become another user's.
    ///
    /// ```
    /// use runtime::process::Command;
    ///
    /// runtime::block_on(async {
    ///     let mut sleep = Command::new("sleep");
    ///     sleep.arg("60");
    ///     let mut children = [sleep.spawn()?, sleep.spawn()?];
    ///     for child in &mut children {
    ///         child.start_kill()?; // all of them, before the first wait
    ///     }
    ///     for child in &mut children {
    ///         assert!(!child.wait().await?.success());
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.signal(Signal::from_raw(os::SIGKILL))
    }

    /// Kills it, and waits for the end.
    ///
    /// # Errors
    /// As [`start_kill`](Self::start_kill) and [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Once polled, the child is killed; what may be left to do is to [`wait`](Self::wait).
    ///
    /// ```
    /// use runtime::{process::Command, timeout};
    /// use std::time::Duration;
    ///
    /// runtime::block_on(async {
    ///     let mut child = Command::new("sleep").arg("60").spawn()?;
    ///     let status = match timeout(Duration::from_millis(5), child.wait()).await {
    ///         Ok(status) => status?,
    ///         Err(_) => child.kill().await?,
    ///     };
    ///     assert!(!status.success());
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.start_kill()?;
        self.wait().await
    }

    /// Lets it run on, with nobody to ask for its end; it will be reaped when that has come. Its pipes, as far as they are
    /// still here, are closed.
    ///
    /// A task of this runtime waits for it, and when the runtime ends, a thread does.
    ///
    /// ```
    /// use runtime::process::Command;
    /// use std::process::Stdio;
    ///
    /// runtime::block_on(async {
    ///     let mut child = Command::new("sh").args(["-c", "echo still here"]).stdout(Stdio::piped()).spawn()?;
    ///     let output = child.stdout.take().expect("it was set");
    ///     child.detach();
    ///     let mut said = Vec::new();
    ///     output.read_to_end(&mut said).await?;
    ///     assert_eq!(said, b"still here\n");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn detach(mut self) {
        self.leave();
    }

    /// Has it reaped, if it has not been, without waiting.
    fn leave(&mut self) {
        // The status is nobody's: this is the drop.
        let state = mem::replace(&mut self.state, State::Ended(ExitStatus::default()));
        if let State::Running(mut running) = state
            && matches!(running.look(), Ok(None))
        {
            let orphan = Orphan(Some(running));
            if Handle::try_current().is_some() {
                drop(spawn(orphan.reap()));
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.start_kill(); // a child that is another user's cannot be killed, and will be reaped
        self.leave();
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut child = f.debug_struct("Child");
        match &self.state {
            State::Running(running) => child.field("id", &running.child.id()),
            State::Ended(status) => child.field("status", status),
        };
        child.finish_non_exhaustive()
    }
}

/// A child that has not been reaped, and what tells of its end.
struct Running {
    child: std::process::Child,
    /// By which runtime it is watched, and the descriptor for that where the system has it.
    watch: Option<(Handle, Option<AsyncSocket<OwnedFd>>)>,
}

impl Running {
    /// Has the current runtime watch it.
    fn watch(&mut self) -> io::Result<()> {
        let home = Handle::try_current().ok_or_else(|| {
            io::Error::other(
                "a wait for a child process outside of a runtime: await it inside runtime::block_on(async { .. })",
            )
        })?;
        let descriptor = match os::process_descriptor(self.child.id())? {
            Some(descriptor) => {
                Some(AsyncSocket::new(descriptor)?.with_label(|_, f| f.write_str("child process")))
            }
            None => None,
        };
        self.watch = Some((home, descriptor));
        Ok(())
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if !self.is_watched_here() {
                self.watch()?;
            }
            let result = match &self.watch {
                Some((_, Some(descriptor))) => {
                    let child = &mut self.child;
                    let look = |_: &_| look(child)?.ok_or_else(|| ErrorKind::WouldBlock.into());
                    descriptor.read_with(look).await
                }
                _ => self.wait_by_signal().await,
            };
            // If it was begun in one runtime and went on in another, the error says only that.
            if result.is_ok() || self.is_watched_here() {
                return result;
            }
        }
    }

    fn is_watched_here(&self) -> bool {
        self.watch.as_ref().is_some_and(|(home, _)| home.is_current())
    }

    async fn wait_by_signal(&mut self) -> io::Result<ExitStatus> {
        let mut told = signals([Signal::CHILD]);
        loop {
            if let Some(status) = self.look()? {
                return Ok(status);
            }
            let Ok(told) = &mut told else {
                sleep(LOOK_EVERY).await;
                continue;
            };
            poll_fn(|cx| match self.is_watched_here() {
                true => told.poll_next(cx).map(|_| Ok(())),
                false => Poll::Ready(Err(io::Error::other("it goes on in another runtime"))),
            })
            .await?;
        }
    }

    fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        look(&mut self.child)
    }
}

/// Reaps, if there is something to reap.
fn look(child: &mut std::process::Child) -> io::Result<Option<ExitStatus>> {
    child.try_wait().map_err(|error| match error.raw_os_error() {
        Some(os::ECHILD) => io::Error::new(
            error.kind(),
            "nobody knows how the child process has ended: it was reaped behind its owner's back, by other code of this \
             process that waits for children that are not its own, or because this process ignores SIGCHLD",
        ),
        _ => error,
    })
}

/// A child that nobody will ask for any more, on its way to be reaped. Dropped on that way, it takes the other one.
struct Orphan(Option<Running>);

impl Orphan {
    async fn reap(mut self) {
        if let Some(running) = &mut self.0
            && running.wait().await.is_ok()
        {
            self.0 = None;
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(mut running) = self.0.take()
            && matches!(running.look(), Ok(None))
        {
            let mut child = running.child;
            let thread = thread::Builder::new().name("reaper".into()).stack_size(REAPER_STACK);
            // No thread to be had: see the head.
            let _ = thread.spawn(move || child.wait());
        }
    }
}

/// Why a program was not started.
#[derive(Debug)]
struct NotStarted {
    program: OsString,
    dir: Option<PathBuf>,
    source: io::Error,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start {:?}", self.program)?;
        if let Some(dir) = &self.dir {
            write!(f, " in {dir:?}")?;
        }
        write!(f, ": {}", self.source)
    }
}

impl Error for NotStarted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

async fn collect(pipe: Option<PipeReader>, into: &mut Vec<u8>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.read_to_end(into).await.map(drop),
        None => Ok(()),
    }
}

/// Runs all of them side by side in this task, until all have ended or one has failed.
async fn all<const N: usize>(
    mut parts: [Pin<&mut dyn Future<Output = io::Result<()>>>; N],
) -> io::Result<()> {
    let mut ended = [false; N];
    poll_fn(|cx| {
        for (part, ended) in parts.iter_mut().zip(&mut ended) {
            if !*ended && let Poll::Ready(result) = part.as_mut().poll(cx) {
                *ended = true;
                result?;
            }
        }
        if ended == [true; N] { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
