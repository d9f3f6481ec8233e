//! How can a server with a free core be slowed down a hundred times by one long request?
//!
//! By a lock such as CPython's interpreter has. A thread that computes holds it, a thread that waits for the kernel gives it
//! away, and to get it back from a thread that computes it must wait for 5 ms before it may ask. A toy: it shows one effect
//! and no more.
//!
//! ```text
//! 02-threads-gil [ADDRESS [INTERVAL_IN_MS]]
//! ```
//!
//! Comes from: nc, perf1, perf2. Goes to: the standard library.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:25000".to_owned());
    let interval = arguments.next().unwrap_or("5".to_owned());
    let interval: f64 = interval.parse().map_err(|_| invalid("the interval is a number of ms"))?;
    let interval = Duration::try_from_secs_f64(interval / 1000.0).map_err(io::Error::other)?;
    fib_server(&address, &Arc::new(Interpreter::new(interval)))
}

/// The lock.
struct Interpreter {
    state: Mutex<State>,
    changed: Condvar,
    /// A thread has waited for the whole interval, and wants the lock.
    asked: AtomicBool,
    interval: Duration,
}

struct State {
    taken: bool,
    /// How many times it has been taken.
    turns: u64,
}

impl Interpreter {
    fn new(interval: Duration) -> Self {
        let state = Mutex::new(State { taken: false, turns: 0 });
        Interpreter { state, changed: Condvar::new(), asked: AtomicBool::new(false), interval }
    }

    fn take(&self) {
        let mut state = self.state();
        while state.taken {
            let turns = state.turns;
            let wait = self.changed.wait_timeout(state, self.interval);
            let timeout;
            (state, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            // No other thread has had it meanwhile: its holder has kept it for the whole interval.
            if timeout.timed_out() && state.taken && state.turns == turns {
                self.asked.store(true, Ordering::Relaxed);
            }
        }
        state.taken = true;
        state.turns += 1;
        self.asked.store(false, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn give(&self) {
        self.state().taken = false;
        self.changed.notify_all();
    }

    /// Code that computes calls this now and then.
    fn give_if_asked(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let turns = state.turns;
        state.taken = false;
        self.changed.notify_all();
        // Only after another thread's turn: we would mostly be back before the other one is awake.
        while state.turns == turns {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.take();
    }

    /// Waits without the lock, so that others may compute meanwhile.
    fn without<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.give();
        let result = wait();
        self.take();
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fib(n: u64, interpreter: &Interpreter) -> u64 {
    interpreter.give_if_asked();
    if n <= 2 { 1 } else { fib(n - 1, interpreter) + fib(n - 2, interpreter) }
}

fn fib_server(address: &str, interpreter: &Arc<Interpreter>) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("Listening on {address}");
    loop {
        let (client, peer) = listener.accept()?;
        println!("Connection {peer}");
        let interpreter = interpreter.clone();
        thread::Builder::new().spawn(move || {
            interpreter.take();
            let result = fib_handler(client, &interpreter);
            interpreter.give();
            if let Err(error) = result {
                println!("Lost: {error}");
            }
        })?;
    }
}

fn fib_handler(mut client: TcpStream, interpreter: &Interpreter) -> io::Result<()> {
    let mut request = [0; 100];
    loop {
        let count = interpreter.without(|| client.read(&mut request))?;
        if count == 0 {
            break;
        }
        let answer = fib(number(&request[..count])?, interpreter);
        let answer = format!("{answer}\n");
        interpreter.without(|| client.write_all(answer.as_bytes()))?;
    }
    println!("Closed");
    Ok(())
}

fn number(request: &[u8]) -> io::Result<u64> {
    String::from_utf8_lossy(request).trim().parse().map_err(|_| invalid("not a number"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}
