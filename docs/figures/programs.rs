//! How are the early servers measured?
//!
//! From outside, as the talk's clients do it: a program is started, asked, and ended with all that it has started. The client
//! is the same for all of them, so that a Python server is not measured by a slower client than a Rust one.
//!
//! Comes from: the tables of the early chapters. Goes to: the programs, over the loopback.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// One of the walkthrough's programs, taken from where this one lies.
    pub(crate) fn rust(name: &str, arguments: &[&str]) -> io::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(name);
        Self::start(Command::new(program), arguments)
    }

    /// A file of docs/python.
    pub(crate) fn python(name: &str) -> io::Result<Self> {
        let mut python = Command::new("python3");
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name));
        Self::start(python, &[])
    }

    /// The server itself, from the folder `server`.
    pub(crate) fn ours(arguments: &[&str]) -> io::Result<Self> {
        let mut server = Command::new(std::env::current_exe()?.with_file_name("server"));
        server.args(["fib", "--addr"]);
        Self::start(server, arguments)
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the program listens.
    fn start(mut command: Command, arguments: &[&str]) -> io::Result<Self> {
        // A port that is free now; that nobody takes it meanwhile is likely enough for a measurement.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        command.arg(&address).args(arguments).stdout(Stdio::piped()).process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::other(format!("{:?}: {error}", command.get_program())))?;
        let output = child.stdout.take();
        let server = Server { child, address };
        let mut output = BufReader::new(output.ok_or_else(|| io::Error::other("no output"))?);
        output.read_line(&mut String::new())?;
        thread::spawn(move || io::copy(&mut output, &mut io::sink())); // it must not wait for a reader
        Ok(server)
    }

    pub(crate) fn client(&self) -> io::Result<Client> {
        Client::connect(&self.address)
    }

    /// What perf1 prints: how long an answer to `n` takes, with so many clients who ask at the same time.
    pub(crate) fn latency(&self, n: u64, clients: usize, rounds: usize) -> io::Result<f64> {
        let start = Barrier::new(clients);
        let times: io::Result<Vec<Vec<f64>>> = thread::scope(|scope| {
            let ask = || -> io::Result<Vec<f64>> {
                let client = self.client();
                start.wait();
                let mut client = client?;
                (0..rounds).map(|_| Ok(client.ask(n)?.as_secs_f64())).collect()
            };
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|times| times.map_err(|_| io::Error::other("a client panicked"))?).collect()
        });
        Ok(median(times?.concat()))
    }

    /// What perf2 prints: how many answers to `1` there are in a second.
    pub(crate) fn rate(&self, rounds: usize) -> io::Result<f64> {
        let mut client = self.client()?;
        let mut rates = Vec::new();
        for _ in 0..=rounds {
            let (start, mut answers) = (Instant::now(), 0);
            while start.elapsed() < Duration::from_secs(1) {
                client.ask(1)?;
                answers += 1;
            }
            rates.push(f64::from(answers) / start.elapsed().as_secs_f64());
        }
        Ok(median(rates.split_off(1))) // the first one is for getting warm
    }
}

/// The program, and what it has started: servers have workers.
impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection on which numbers are asked for, without a newline, as the talk's clients do it.
pub(crate) struct Client(TcpStream);

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client(stream))
    }

    pub(crate) fn ask(&mut self, n: u64) -> io::Result<Duration> {
        let start = Instant::now();
        self.send(n)?;
        let mut answer = [0; 100];
        match self.0.read(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(start.elapsed()),
        }
    }

    /// Asks, and does not wait for the answer.
    pub(crate) fn send(&mut self, n: u64) -> io::Result<()> {
        self.0.write_all(n.to_string().as_bytes())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `1234567.8` as `1,234,568`.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
