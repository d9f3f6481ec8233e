//! How does one use all cores? With a runtime on each.
//!
//! [`workers`] starts threads that have nothing in common: each makes a runtime of its own and runs the same start
//! function on it. Work is not moved between them. For a server that means a listener a thread on the same port; on Linux
//! the kernel deals connections out among listeners that share a port (`SO_REUSEPORT`). On other systems it does not, and
//! one of the threads has to accept and hand connections on through a [`Handle`].
//!
//! Comes from: main. Goes to: executor.rs, once a thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use crate::sys::os;
use crate::{Handle, Runtime};

/// Starts `count` threads, each with a runtime of its own on which `start(index)` runs to its end. Each has a stack of
/// 2 MiB; [`WorkerOptions`] sets another size.
///
/// # Errors
/// If a thread ([`QuotaExceeded`](io::ErrorKind::QuotaExceeded)) or a runtime cannot be made. Nothing tells those that were made already: they run on, so a caller who gives
/// up should end the process, or set a token that they listen to.
///
/// ```
/// let workers = runtime::workers(2, |index| async move { index * 10 })?;
/// assert_eq!(workers.join().into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 10]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn workers<S, F>(count: usize, start: S) -> io::Result<Workers<F::Output>>
where
    S: Fn(usize) -> F + Send + Sync + 'static,
    F: Future,
    F::Output: Send + 'static,
{
    WorkerOptions::new().start(count, start)
}

/// The settings of [`workers`].
///
/// ```
/// // Deep recursion in a handler, say.
/// let options = runtime::WorkerOptions::new().stack_size(16 << 20);
/// let workers = options.start(2, |index| async move { index * 10 })?;
/// assert_eq!(workers.join().len(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "options start nothing until `start` is called"]
#[derive(Clone, Debug, Default)]
pub struct WorkerOptions {
    /// `None`: as std has it.
    stack_size: Option<usize>,
}

impl WorkerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes each thread's stack has. The default is std's: 2 MiB, or what the environment variable
    /// `RUST_MIN_STACK` says. The system rounds it up to whole pages, and to its least. Memory is taken as it is used.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts the threads, as [`workers`] does.
    ///
    /// # Errors
    /// As `workers`.
    pub fn start<S, F>(&self, count: usize, start: S) -> io::Result<Workers<F::Output>>
    where
        S: Fn(usize) -> F + Send + Sync + 'static,
        F: Future,
        F::Output: Send + 'static,
    {
        let start = Arc::new(start);
        let mut workers = Workers { threads: Vec::new(), handles: Vec::new() };
        for index in 0..count {
            let start = Arc::clone(&start);
            let (ready, is_ready) = mpsc::channel();
            let name = format!("worker-{index}");
            let thread = os::start_thread_with_stack(&name, self.stack_size, move || {
                // The other side waits for just this, so it is there.
                match Runtime::new() {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(runtime.handle()));
                        Some(runtime.block_on(start(index)))
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        None
                    }
                }
            })?;
            let handle = is_ready.recv().map_err(io::Error::other)??;
            workers.handles.push(handle);
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

/// Threads started by [`workers`]. Dropping it leaves them running.
///
/// ```
/// use runtime::{CancelToken, block_on, workers};
///
/// let stop = CancelToken::new();
/// let stopped = stop.clone();
/// let workers = workers(2, move |_| stopped.cancelled())?;
/// let names = workers.handles().iter().map(|worker| {
///     let name = worker.spawn(|| async { std::thread::current().name().map(str::to_owned) });
///     block_on(name.expect("it runs")).expect("no panic")
/// });
/// assert_eq!(names.flatten().collect::<Vec<_>>(), ["worker-0", "worker-1"]);
/// stop.cancel();
/// assert!(workers.join().iter().all(Result::is_ok));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Workers<T> {
    threads: Vec<thread::JoinHandle<Option<T>>>,
    handles: Vec<Handle>,
}

impl<T> Workers<T> {
    /// What can be sent to each of them.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Waits, blocking, until all have ended, and gives their outputs in the order of their numbers. Not for the inside of
    /// a runtime: it would stop the loop.
    ///
    /// # Errors
    /// For each worker by itself: the payload of the panic that ended it.
    pub fn join(self) -> Vec<thread::Result<T>> {
        self.threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map(|output| output.expect("a worker without a runtime is not listed"))
            })
            .collect()
    }
}

impl<T> fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads.len()).finish()
    }
}
