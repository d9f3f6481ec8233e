//! What does a whole server look like? Arguments, listen, serve, stop.
//!
//! `server fib` and `server echo` are the talk's two services, in plain async/await over `net`. To see how a connection is
//! served, read echo.rs and then fib.rs: nothing about the runtime has to be known for that.
//!
//! ```text
//! main.rs      start, and the end: signals, drain, exit code
//!   options.rs what the command line can say
//!   echo.rs    one connection of the echo service
//!   fib.rs     one connection of the fib service     framing.rs  where its requests begin and end
//!   manners.rs time limits, and who is there         log.rs      lines to the terminal that never make the loop wait
//! ```
//!
//! One thread serves all connections; `--workers N` starts N threads that have nothing in common but the address and the
//! wish to stop. Every listener is bound before the first thread starts, so an address in use is one error at the start.
//! [`cannot`] says what an error of the start means and what to do about it.
//!
//! The exit code: 0 after a stop by signal; 1 if it could not start or go on; 128 and the signal's number if a second
//! signal cut the stop short; 2 for a command line that makes no sense.
//!
//! Comes from: you. Goes to: `net::serve`, which calls the handlers.

#![forbid(unsafe_code)]

mod echo;
mod fib;
mod framing;
mod log;
mod manners;
mod options;

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::process::{ExitCode, exit};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use net::{Excess, Limits, ListenOptions, Served, TcpListener, resolve, serve};
use runtime::process_pool::{self, Functions, ProcessPool};
use runtime::{CancelToken, PoolSettings, Runtime, Signal, Signals, signals, spawn, workers};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseport;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::echo::Echo;
use crate::fib::Fib;
use crate::log::{Log, printable};
use crate::manners::{Guests, TimeLimits};
use crate::options::{CommonOptions, FibOptions, Options, Pool, Service};

fn main() -> ExitCode {
    // In a process that `--pool processes` has started, this serves that pool and never returns.
    let functions = process_pool::functions(&[(fib::BY_PROCESS, fib::by_process)]);
    match run(Options::read(), functions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for (number, line) in error.to_string().lines().enumerate() {
                let begin = if number == 0 { "server: " } else { "" };
                eprintln!("{begin}{}", printable(line.to_owned()));
            }
            ExitCode::FAILURE
        }
    }
}

/// What all workers share.
struct Server {
    service: Service,
    /// What other processes can compute for us.
    functions: Functions,
    log: Log,
    /// Set when the server is to stop.
    stop: CancelToken,
    /// One for each worker, to be taken.
    listeners: Mutex<Vec<std::net::TcpListener>>,
    /// How many connections the descriptors leave room for, if not for all that were asked for.
    room: Option<usize>,
    /// What all workers have done, once they have ended.
    served: Mutex<Served>,
}

fn run(service: Service, functions: Functions) -> io::Result<()> {
    // Before anything else: to resolve a name is a job of the pool's, and with its first job it has its settings.
    if let Service::Fib(FibOptions { pool_fast, pool_long, pool_queue, .. }) = &service {
        let settings = PoolSettings::new().fast(pool_fast.get()).long(pool_long.get());
        settings.queue(pool_queue.get()).apply().map_err(io::Error::other)?;
    }
    let runtime = Runtime::new().map_err(|error| cannot("start the event loop", error))?;
    let listeners = runtime.block_on(listen(service.common()))?;
    let count = listeners.len();
    let log = Log::start(service.common().quiet)
        .map_err(|error| cannot("start the thread of the log", error))?;
    let server = Arc::new(Server {
        room: room(&service)?,
        service,
        functions,
        log: log.clone(),
        stop: CancelToken::new(),
        listeners: Mutex::new(listeners),
        served: Mutex::default(),
    });

    let ends = if count == 1 {
        vec![Ok(runtime.block_on(Arc::clone(&server).work(0)))]
    } else {
        let server = Arc::clone(&server);
        workers(count, move |number| Arc::clone(&server).work(number))
            .map_err(|error| cannot("start a worker", error))?
            .join()
    };
    let panicked = || Err(io::Error::other("a worker has panicked"));
    let result = ends.into_iter().try_for_each(|end| end.unwrap_or_else(|_| panicked()));
    let Served { accepted, refused, cut, .. } = *lock(&server.served);
    if result.is_ok() || accepted > 0 {
        log.announce(format!(
            "Stopped: {accepted} connections served, {refused} refused, {cut} cut off"
        ));
    }
    log.finish();
    result
}

/// A listener for each worker, all on the same address. They are made here, before any thread, so that an address that
/// cannot be had is an error at the start; each worker then takes one into its own runtime.
async fn listen(options: &CommonOptions) -> io::Result<Vec<std::net::TcpListener>> {
    let count = options.workers.get();
    if count > 1 && !cfg!(target_os = "linux") {
        return Err(io::Error::other(
            "--workers: only Linux deals connections out among several listeners; leave it at 1 here",
        ));
    }
    let addresses =
        resolve(options.addr.as_str()).await.map_err(|error| explained(RESOLVING, error))?;
    // The first has the port for itself when it binds: with a shared port, the kernel would let a second server of the
    // same user share it too, and each would get a part of the connections.
    let first =
        ListenOptions::new().listen(addresses).await.map_err(|error| explained("", error))?;
    let address = first.local_addr()?; // asked for port 0, all get the same one
    if count > 1 {
        set_socket_reuseport(&first, true)?;
    }
    let mut listeners = vec![first.into_std()]; // it may be any number; the system will say so
    while listeners.len() < count {
        let next = ListenOptions::new().reuse_port(true).listen(address).await;
        listeners.push(next.map_err(|error| explained("", error))?.into_std());
    }
    Ok(listeners)
}

/// How many descriptors a worker of this program holds beside its connections: the loop's, a listener, some for a moment.
const PER_WORKER: usize = 8;
/// How many connections `net::serve` turns away at a time; each has its descriptor until it is told why.
const REFUSED: usize = 64;
/// How many descriptors a process of the pool takes: a socket and a handle, and while it is started four more.
const PER_PROCESS: usize = 6;
/// For signals, and for libraries that open a file for a moment.
const SPARE: usize = 8;

/// How many connections there can be, if fewer than asked for: what the limit of descriptors leaves when the server's own are
/// taken off. Otherwise clients that only keep their connections could keep the pool from starting its processes.
fn room(service: &Service) -> io::Result<Option<usize>> {
    let (options, workers) = (service.common(), service.common().workers.get());
    let processes = match service {
        Service::Fib(options) if options.pool == Pool::Processes => workers * processes(options),
        _ => 0,
    };
    let open = fs::read_dir("/dev/fd").map_or(16, Iterator::count);
    let own = open + SPARE + PER_WORKER * workers + PER_PROCESS * processes;
    let asked = options.max_connections.get();
    let wanted = asked.saturating_add(own + REFUSED * workers);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted as u64) {
        let raised = limit.maximum.map_or(wanted as u64, |most| most.min(wanted as u64));
        limit.current = Some(raised);
        // Refused by some systems, above a number of their own.
        let _ = setrlimit(Resource::Nofile, limit);
        limit = getrlimit(Resource::Nofile);
    }
    let Some(limit) = limit.current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    else {
        return Ok(None);
    };
    let room = limit.saturating_sub(own).min(asked);
    if room < workers {
        let error = format!(
            "a limit of {limit} descriptors leaves none for connections\n\
             raise it to {} or more (`ulimit -n`), or start fewer workers and processes",
            own + workers
        );
        return Err(io::Error::other(error));
    }
    Ok((limit < wanted).then_some(room))
}

/// How many processes each worker may have.
fn processes(options: &FibOptions) -> usize {
    let count = options.processes.or_else(|| available_parallelism().ok());
    count.map_or(1, NonZeroUsize::get).div_ceil(options.common.workers.get())
}

/// How an error of the resolver begins.
const RESOLVING: &str = "--addr: ";

/// The error of a step of the start, with what it means and what to do about it.
fn cannot(step: &str, error: io::Error) -> io::Error {
    explained(&format!("cannot {step}: "), error)
}

fn explained(begin: &str, error: io::Error) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let mut errno = None;
    while let (Some(inner), None) = (cause, errno) {
        errno = inner.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        cause = inner.source();
    }
    let advice = match errno {
        Some(Errno::ADDRINUSE) => {
            "another program listens there, perhaps a server like this one: end it, \
             or choose another port (--addr 127.0.0.1:0 takes any that is free)"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "the system does not allow it; ports below 1024 need privileges: \
             choose a greater one, such as --addr 127.0.0.1:25000"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "--addr takes an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all that it has"
        }
        Some(Errno::AFNOSUPPORT) => {
            "this machine does not have that kind of address: \
             choose one of the other kind, such as --addr 127.0.0.1:25000 or --addr [::1]:25000"
        }
        Some(Errno::INVAL) => {
            "an IPv6 address that begins with fe80 takes its interface along: --addr [fe80::1%eth0]:25000"
        }
        Some(Errno::MFILE) => {
            "this process may have no more descriptors: raise the limit (`ulimit -n`)"
        }
        Some(Errno::NFILE) => {
            "the system has no more descriptors: end other programs, or raise fs.file-max"
        }
        Some(Errno::NOMEM | Errno::NOBUFS) => "the system is short of memory: end other programs",
        Some(Errno::NOSPC) => {
            "this user may watch no more descriptors: end other programs, or raise fs.epoll.max_user_watches"
        }
        Some(Errno::AGAIN) => {
            "the system starts no more threads: end other programs, or raise the limit (`ulimit -u`, pids.max)"
        }
        // `net::resolve` has no other.
        None if error.kind() == io::ErrorKind::InvalidInput => {
            "--addr takes a host and a port, such as 127.0.0.1:25000"
        }
        None if begin == RESOLVING => {
            "the resolver does not know this name, or cannot be asked: check it, \
             or use an address, such as --addr 127.0.0.1:25000"
        }
        _ => return io::Error::new(error.kind(), format!("{begin}{error}")),
    };
    io::Error::new(error.kind(), format!("{begin}{error}\n{advice}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker leaves behind, however it ends: its counts, and the wish to stop, since one that cannot go on takes the
/// others along.
struct Worker {
    server: Arc<Server>,
    guests: Rc<Guests>,
    counts: Rc<Cell<Served>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut total = lock(&self.server.served);
        total.accepted += self.counts.get().accepted;
        total.refused += self.counts.get().refused;
        total.cut += self.guests.cut();
        self.server.stop.cancel();
    }
}

impl Server {
    /// One worker's life, on its own runtime.
    async fn work(self: Arc<Self>, number: usize) -> io::Result<()> {
        let options = self.service.common();
        let times = TimeLimits { idle: options.idle_timeout, slow: options.slow_timeout };
        let guests = Guests::new(times, self.log.clone());
        let (server, counts) = (Arc::clone(&self), Rc::default());
        let worker = Worker { server, guests, counts };
        self.accept(number, &worker).await
    }

    async fn accept(&self, number: usize, worker: &Worker) -> io::Result<()> {
        let listener = lock(&self.listeners).pop();
        let listener = TcpListener::from_std(listener.expect("there is one for each worker"))
            .map_err(|error| cannot("watch the listening socket", error))?;
        if number == 0 {
            // Subscribed before anybody is told that we listen, so that a signal from then on is a stop.
            let signals = signals([Signal::INTERRUPT, Signal::TERMINATE])
                .map_err(|error| cannot("catch signals", error))?;
            spawn(stop_on_signal(signals, self.stop.clone(), self.log.clone()));
            let (name, address) = (self.service.name(), listener.local_addr()?);
            let (ip, port) = (address.ip(), address.port());
            self.log.announce(format!("{name} server on {address}, try: nc {ip} {port}"));
            if let Some(room) = self.room {
                self.log.announce(format!(
                    "The limit of descriptors (`ulimit -n`) leaves room for {room} connections; \
                     further clients wait until others leave"
                ));
            }
        }

        let guests = &worker.guests;
        spawn(Rc::clone(guests).watch_over());
        let (stop, leaving) = (self.stop.clone(), Rc::clone(guests));
        spawn(async move {
            stop.cancelled().await;
            leaving.close();
        });

        let guests = Rc::clone(guests);
        match &self.service {
            Service::Fib(options) => {
                let fib = Rc::new(Fib {
                    max_n: options.max_n,
                    max_line: options.max_line,
                    max_time: options.max_seconds,
                    half_close: options.half_close,
                    processes: self.processes(options)?,
                });
                let handler =
                    move |stream, peer| Rc::clone(&fib).serve(guests.welcome(stream, peer));
                serve(listener, self.limits(worker), handler).await?;
            }
            Service::Echo(options) => {
                let echo = Rc::new(Echo::new(&options.prefix));
                let handler =
                    move |stream, peer| Rc::clone(&echo).serve(guests.welcome(stream, peer));
                serve(listener, self.limits(worker), handler).await?;
            }
        }
        Ok(())
    }

    /// This worker's part of the processes that compute, if they are asked for.
    fn processes(&self, options: &FibOptions) -> io::Result<Option<ProcessPool>> {
        if options.pool == Pool::Threads {
            return Ok(None);
        }
        let (count, queue) = (processes(options), options.pool_queue.get());
        ProcessPool::builder(self.functions).workers(count).queue(queue).build().map(Some)
    }

    fn limits(&self, worker: &Worker) -> Limits {
        let options = self.service.common();
        let workers = options.workers.get();
        let log = self.log.clone();
        let limits = Limits::new()
            .shutdown(self.stop.clone())
            .drain(options.drain)
            .counts(Rc::clone(&worker.counts))
            .log(move |line| log.announce(line.to_string()));
        if let Some(room) = self.room {
            return limits.connections(room / workers); // and those beyond wait
        }
        let most = options.max_connections.get().div_ceil(workers);
        let word = format!("error: too many connections, the limit is {most}; try again later\n");
        limits.connections(most).excess(Excess::Refuse(word))
    }
}

/// The first signal stops the server, the second one ends the process.
async fn stop_on_signal(mut signals: Signals, stop: CancelToken, log: Log) {
    let first = signals.next().await;
    log.announce(format!("Stopping ({first:?}); once more ends at once"));
    stop.cancel();
    let second = signals.next().await;
    exit(128 + second.as_raw());
}
