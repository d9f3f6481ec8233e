//! What can stand behind a program's name on the command line?
//!
//! `--name VALUE`, `--name` alone, and plain words. The most common is `--tick MILLISECONDS`: what an original slept in
//! seconds is here a number of ticks, of the original's length if nothing is said, so that the tests need not wait for it.
//!
//! What it does not do: short forms, `--name=VALUE`. The programs are small, and so are their wishes.
//!
//! Comes from: the programs. Goes to: nowhere.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A program's command line.
pub(crate) struct Words<'a>(&'a [String]);

impl<'a> Words<'a> {
    /// Takes the words, if those that begin with `--` are all among the `known`.
    pub(crate) fn new(words: &'a [String], known: &[&str]) -> Result<Self> {
        let options = words.iter().filter(|word| word.starts_with("--"));
        match options.into_iter().find(|word| !known.contains(&word.as_str())) {
            None => Ok(Words(words)),
            Some(word) if known.is_empty() => Err(format!("{word} is not known here").into()),
            Some(word) => Err(format!("{word} is not known; there is: {}", known.join(" ")).into()),
        }
    }

    /// Whether `name` is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|word| word == name)
    }

    /// The word behind `name`, read as what is wanted.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>> {
        let Some(place) = self.0.iter().position(|word| word == name) else {
            return Ok(None);
        };
        let word = self.0.get(place + 1).ok_or_else(|| format!("{name} wants a value"))?;
        word.parse().map(Some).map_err(|error| format!("{name} {word}: {error}").into())
    }

    /// `--tick MILLISECONDS`, or so many.
    pub(crate) fn tick(&self, milliseconds: u64) -> Result<Duration> {
        let tick = self.value("--tick")?;
        Ok(Duration::from_millis(tick.unwrap_or(milliseconds)))
    }

    /// `--addr ADDRESS:PORT`, or this port on the loopback, where nobody from outside comes in.
    pub(crate) fn address(&self, port: u16) -> Result<SocketAddr> {
        let address = self.value("--addr")?;
        Ok(address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port))))
    }
}
