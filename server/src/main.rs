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

use std::io;
use std::num::NonZeroUsize;
use std::process::{ExitCode, exit};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use net::{Excess, Limits, ListenOptions, Served, TcpListener, serve};
use runtime::process_pool::{self, Functions, ProcessPool};
use runtime::{CancelToken, PoolSettings, Signal, Signals, block_on, signals, spawn, workers};

use crate::echo::Echo;
use crate::fib::Fib;
use crate::log::Log;
use crate::manners::{Guests, TimeLimits};
use crate::options::{CommonOptions, FibOptions, Options, Pool, Service};

fn main() -> ExitCode {
    // In a process that `--pool processes` has started, this serves that pool and never returns.
    let functions = process_pool::functions(&[(fib::BY_PROCESS, fib::by_process)]);
    match run(Options::read(), functions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
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
}

fn run(service: Service, functions: Functions) -> io::Result<()> {
    // Before anything else: to resolve a name is a job of the pool's, and with its first job it has its settings.
    if let Service::Fib(FibOptions { pool_fast, pool_long, pool_queue, .. }) = &service {
        let settings = PoolSettings::new().fast(pool_fast.get()).long(pool_long.get());
        settings.queue(pool_queue.get()).apply().map_err(io::Error::other)?;
    }
    let listeners = block_on(listen(service.common()))?;
    let count = listeners.len();
    let log = Log::start(service.common().quiet)?;
    let server = Arc::new(Server {
        service,
        functions,
        log: log.clone(),
        stop: CancelToken::new(),
        listeners: Mutex::new(listeners),
    });

    let mut served = Served::default();
    let mut result = Ok(());
    let ends = if count == 1 {
        vec![Ok(block_on(server.work(0)))]
    } else {
        workers(count, move |number| Arc::clone(&server).work(number))?.join()
    };
    for end in ends {
        match end {
            Ok(Ok(part)) => {
                served.accepted += part.accepted;
                served.refused += part.refused;
                served.cut += part.cut;
            }
            Ok(Err(error)) => result = Err(error),
            Err(_) => result = Err(io::Error::other("a worker has panicked")),
        }
    }
    let Served { accepted, refused, cut, .. } = served;
    log.announce(format!(
        "Stopped: {accepted} connections served, {refused} refused, {cut} cut off"
    ));
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
    let how = ListenOptions::new().reuse_port(count > 1);
    let mut listeners = Vec::new(); // it may be any number; the system will say so
    let mut address = options.addr.clone();
    for _ in 0..count {
        let listener = how.listen(address.as_str()).await.map_err(with_advice)?;
        address = listener.local_addr()?.to_string(); // asked for port 0, all get the same one
        listeners.push(listener.into_std());
    }
    Ok(listeners)
}

/// The error, and what to do about it.
fn with_advice(error: io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there, perhaps a server like this one: end it, \
             or choose another port (--addr 127.0.0.1:0 takes any that is free)"
        }
        io::ErrorKind::InvalidInput => "--addr takes a host and a port, such as 127.0.0.1:25000",
        io::ErrorKind::AddrNotAvailable => "--addr takes an address of this machine",
        // What the resolver says has no kind of its own.
        _ if error.raw_os_error().is_none() => {
            "is --addr a host and a port, such as 127.0.0.1:25000?"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}\n{advice}"))
}

impl Server {
    /// One worker's life, on its own runtime.
    async fn work(self: Arc<Self>, number: usize) -> io::Result<Served> {
        let result = self.accept(number).await;
        if result.is_err() {
            self.stop.cancel(); // one that cannot go on takes the others along
        }
        result
    }

    async fn accept(&self, number: usize) -> io::Result<Served> {
        let listener = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let listener = TcpListener::from_std(listener.expect("there is one for each worker"))?;
        let options = self.service.common();
        if number == 0 {
            // Subscribed before anybody is told that we listen, so that a signal from then on is a stop.
            let signals = signals([Signal::INTERRUPT, Signal::TERMINATE])?;
            spawn(stop_on_signal(signals, self.stop.clone(), self.log.clone()));
            let (name, address) = (self.service.name(), listener.local_addr()?);
            let (ip, port) = (address.ip(), address.port());
            self.log.announce(format!("{name} server on {address}, try: nc {ip} {port}"));
        }

        let times = TimeLimits { idle: options.idle_timeout, slow: options.slow_timeout };
        let guests = Guests::new(times, self.log.clone());
        spawn(Rc::clone(&guests).watch_over());
        let (stop, leaving) = (self.stop.clone(), Rc::clone(&guests));
        spawn(async move {
            stop.cancelled().await;
            leaving.close();
        });

        let limits = self.limits();
        match &self.service {
            Service::Fib(options) => {
                let fib = Rc::new(Fib {
                    max_n: options.max_n,
                    max_line: options.max_line,
                    half_close: options.half_close,
                    processes: self.processes(options)?,
                });
                let handler =
                    move |stream, peer| Rc::clone(&fib).serve(guests.welcome(stream, peer));
                serve(listener, limits, handler).await
            }
            Service::Echo(options) => {
                let echo = Rc::new(Echo::new(&options.prefix));
                let handler =
                    move |stream, peer| Rc::clone(&echo).serve(guests.welcome(stream, peer));
                serve(listener, limits, handler).await
            }
        }
    }

    /// This worker's part of the processes that compute, if they are asked for.
    fn processes(&self, options: &FibOptions) -> io::Result<Option<ProcessPool>> {
        if options.pool == Pool::Threads {
            return Ok(None);
        }
        let count = options.processes.or_else(|| available_parallelism().ok());
        let count = count.map_or(1, NonZeroUsize::get).div_ceil(options.common.workers.get());
        let queue = options.pool_queue.get();
        ProcessPool::builder(self.functions).workers(count).queue(queue).build().map(Some)
    }

    fn limits(&self) -> Limits {
        let options = self.service.common();
        let most = options.max_connections.get().div_ceil(options.workers.get());
        let word = format!("error: too many connections, the limit is {most}; try again later\n");
        let log = self.log.clone();
        Limits::new()
            .connections(most)
            .excess(Excess::Refuse(word))
            .shutdown(self.stop.clone())
            .drain(options.drain)
            .log(move |line| log.announce(line.to_string()))
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
