//! What can be said on the command line? `server --help` is generated from this file.
//!
//! Rule kept here: every limit has a flag, a default, and the word a client hears when it meets the limit.
//!
//! Comes from: main.rs. Goes to: main.rs, which hands each part to the file it concerns.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The servers of the talk: async, on one thread, with the computing in a pool.
///
/// Without a command it is `server fib`.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    service: Option<Service>,
    #[command(flatten)]
    fib: FibOptions,
}

/// Shown with every error, too: options before the command are the mistake that is made most.
const USAGE: &str =
    "server [OPTIONS]\n       server fib|echo [OPTIONS]   (options stand behind the command)";

const EXAMPLES: &str = "\
Try it, in two terminals (from the sources: `cargo run -p server -- ..`, `cargo run -p server --bin perf1 -- ..`):
  server                           fib on port 25000
  nc 127.0.0.1 25000               type 10, press Enter: 55
  perf1                            the talk's first client: seconds per fib(30)
  perf2                            its second: answers to fib(1) per second
  printf '10\\n12\\n' | nc -N 127.0.0.1 25000
  server --pool processes          fib in processes of its own, as in the talk
  server echo --prefix '' --workers 4

Ctrl-C ends it: it stops accepting, lets connections end (--drain), exits with 0.
A second Ctrl-C ends it at once.";

/// What is served.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Answers every number with its Fibonacci number
    #[command(after_help = FIB_HELP)]
    Fib(FibOptions),
    /// Sends back whatever comes, with a prefix
    Echo(EchoOptions),
}

const FIB_HELP: &str = "\
A request is a number. A client that sends no newline (the talk's do not) is answered after each chunk,
of at most 20 bytes; from its first newline on, each line is a request. Several may be sent at once.
So a first line that arrives in pieces (`1`, then `0` and the newline) is taken for numbers without newline, one per
piece: send the first line in one piece.
Whatever is not a number in the limits is answered by one line that begins with `error:`.";

/// `server fib`.
#[derive(Args, Debug)]
pub(crate) struct FibOptions {
    /// The largest number to compute; beyond: `error: .. is over the limit`.
    ///
    /// fib(93) is the last that fits 64 bits. From about 45 on, an answer takes seconds, and from 60 on nobody waits for it.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u64).range(..=93))]
    pub(crate) max_n: u64,
    /// How long a computation may take, waiting for a thread or process included; beyond: `error: fib(..) took longer ..`.
    /// 0: no limit.
    ///
    /// It is given up then, and the connection goes on. A request that has only waited is told so: `error: fib(..) has waited ..`.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) max_seconds: Duration,
    /// The longest line; beyond: `error: the line is too long`, and the connection is closed
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub(crate) max_line: usize,
    /// Compute on for clients that have ended their side (`nc -N`), instead of for 25 ms only
    #[arg(long)]
    pub(crate) half_close: bool,
    /// Where to compute
    #[arg(long, value_name = "POOL", value_enum, default_value_t = Pool::Threads)]
    pub(crate) pool: Pool,
    /// How many processes `--pool processes` may start; as many as there are cores if it is not given.
    ///
    /// They are divided among the workers, at least one each. While all of them compute, requests wait.
    #[arg(long, value_name = "N")]
    pub(crate) processes: Option<NonZeroUsize>,
    /// How many threads may compute requests that are new. One that takes longer than a millisecond leaves its place to
    /// the next
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) pool_fast: NonZeroUsize,
    /// How many threads more may compute those that took longer. They get what all others leave of the processor
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) pool_long: NonZeroUsize,
    /// How many requests may wait for a thread, or a process; beyond: `error: the queue is full, try again later`
    #[arg(long, value_name = "N", default_value = "65536")]
    pub(crate) pool_queue: NonZeroUsize,
    #[command(flatten)]
    pub(crate) common: CommonOptions,
}

/// Where fib is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pool {
    /// On threads of the server
    Threads,
    /// In processes started for it, as the talk's last server does; one is killed when its client leaves
    Processes,
}

/// `server echo`.
#[derive(Args, Debug)]
pub(crate) struct EchoOptions {
    /// What to put before each chunk; may be empty
    #[arg(long, value_name = "TEXT", default_value = "Received: ")]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) common: CommonOptions,
}

/// What both have.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonOptions {
    /// Where to listen; port 0 is any free port, which is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:25000")]
    pub(crate) addr: String,
    /// How many threads serve, each with a runtime and a listener of its own; more than one on Linux only
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) workers: NonZeroUsize,
    /// How many connections at a time; beyond: `error: too many connections`, and closed.
    ///
    /// The number is divided among the workers, and the kernel deals connections out by chance, so one worker may be full
    /// a little before the others.
    ///
    /// Each connection takes a descriptor, and the server keeps some back for itself and its processes. If the limit of the
    /// process (`ulimit -n`) leaves fewer than this number, further clients wait in the kernel's queue until others leave,
    /// and one line says so.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub(crate) max_connections: NonZeroUsize,
    /// How long a client may be silent; then: `error: nothing came for ..`, and closed. 0: for ever.
    ///
    /// A client that waits for an answer may wait.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub(crate) idle_timeout: Duration,
    /// How long a client may take to end a line, or to read an answer; then: closed. 0: for ever.
    ///
    /// The first is told `error: the line was not ended ..`; the second would not read that either, so the log has it.
    /// This limit and the idle one are looked after four times in their length, so they may come a quarter late.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) slow_timeout: Duration,
    /// How long connections may take to end when the server is told to; those that take longer are cut off. 0: all at once
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) drain: Duration,
    /// Do not print who comes and goes
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Options {
    /// The command line's, or, if it cannot be understood, the end of the program with a word about why.
    pub(crate) fn read() -> Service {
        let options = Options::parse();
        options.service.unwrap_or(Service::Fib(options.fib))
    }
}

impl Service {
    pub(crate) fn common(&self) -> &CommonOptions {
        match self {
            Service::Fib(options) => &options.common,
            Service::Echo(options) => &options.common,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Service::Fib(_) => "fib",
            Service::Echo(_) => "echo",
        }
    }
}

/// A number of seconds, with or without a fraction. Zero is a value of its own; between it and [`SHORTEST`] a limit would
/// do nothing but keep the processor busy.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if seconds > 0.0 && duration < SHORTEST {
        return Err(format!("too short: 0, or at least {}", Seconds(SHORTEST)));
    }
    Ok(duration)
}

const SHORTEST: Duration = Duration::from_millis(1);

/// A time as clients and the log are told it: `60 s`, `0.3 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn no_command_is_fib() {
        let options = Options::try_parse_from(["server", "--addr", "127.0.0.1:1"]).expect("valid");
        assert!(options.service.is_none());
        assert_eq!(options.fib.common.addr, "127.0.0.1:1");
    }

    #[test]
    fn seconds_may_have_fractions_and_must_make_sense() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.001"), Ok(SHORTEST));
        for nonsense in ["", "x", "-1", "NaN", "inf", "1e300", "0.000000003", "1e-20", "0.0009"] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_number_whose_result_does_not_fit_is_no_limit() {
        assert!(Options::try_parse_from(["server", "fib", "--max-n", "93"]).is_ok());
        assert!(Options::try_parse_from(["server", "fib", "--max-n", "94"]).is_err());
    }
}
