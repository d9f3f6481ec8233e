//! How does a server tell what happens, without ever waiting for whoever reads it?
//!
//! A terminal can be stopped (Ctrl-S), a pipe's reader can be slow or asleep, and writing to either then waits. So the loop
//! writes nothing itself: it puts lines into a bounded queue, and a thread writes them. A line for which there is no room is
//! dropped and counted, and when the reader comes back it is told how many are missing. The loop never waits, and the queue
//! never grows.
//!
//! Rules kept here:
//! - [`Log::say`] takes a closure, so a quiet server does not even make the text.
//! - Lines that were kept come out whole and in order.
//! - No line can steer the terminal: [`printable`] takes the control characters out of whatever comes from outside.
//! - At the end the queue is written out, unless that takes longer than [`LAST_WORDS`].
//!
//! Comes from: main.rs, manners.rs. Goes to: standard output.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines may wait.
const LINES: usize = 1024;
/// About how many bytes are written in one go.
const AT_A_TIME: usize = 64 * 1024;
/// How long the end of the program waits for lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where lines go. Clones share the queue, from any thread.
#[derive(Clone)]
pub(crate) struct Log {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    quiet: bool,
}

enum Entry {
    Line(String),
    /// Answered when all lines before it are written.
    End(Sender<()>),
}

impl Log {
    /// Starts the writing thread. A quiet log takes only what is [announced](Self::announce).
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(quiet: bool) -> io::Result<Log> {
        let (queue, lines) = sync_channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_out(&lines, &count, io::stdout()))?;
        Ok(Log { queue, dropped, quiet })
    }

    /// One line about the daily business.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if !self.quiet {
            self.announce(line());
        }
    }

    /// One line that a quiet server tells too.
    pub(crate) fn announce(&self, line: String) {
        if self.queue.try_send(Entry::Line(printable(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all is written, or for as long as [`LAST_WORDS`].
    pub(crate) fn finish(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        let (written, is_written) = channel();
        let mut entry = Entry::End(written);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(entry) {
            if Instant::now() > deadline {
                return;
            }
            entry = back;
            thread::sleep(Duration::from_millis(1));
        }
        // No answer in time: the reader sleeps, and we do not wait for it.
        let _ = is_written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// The text with escapes (`\u{1b}`) in place of the characters by which it could move the cursor, retitle or reprogram a
/// terminal, forge a further line, or turn the order of what stands around it.
pub(crate) fn printable(text: String) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    if !text.contains(steers) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ =
            if steers(c) { write!(shown, "{}", c.escape_unicode()) } else { shown.write_char(c) };
    }
    shown
}

/// The thread: takes what there is, writes it in one go, and tells what was left out.
fn write_out(lines: &Receiver<Entry>, dropped: &AtomicU64, mut out: impl Write) {
    let mut text = String::new();
    let mut ended = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Entry::End(written) => ended.push(written),
            }
            next = if text.len() < AT_A_TIME { lines.try_recv().ok() } else { None };
        }
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            text.push_str(&format!("({missing} lines left out: they were not read in time)\n"));
        }
        // A reader that is gone misses nothing.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        text.clear();
        for written in ended.drain(..) {
            let _ = written.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A writer that stops, from its first write on, until it is let go.
    struct Terminal {
        go: Receiver<()>,
        text: Arc<Mutex<String>>,
    }

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv_timeout(Duration::from_secs(10));
            let text = String::from_utf8_lossy(bytes);
            self.text.lock().expect("no panic under it").push_str(&text);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stopped_terminal_stops_nobody_and_hears_afterwards_what_it_missed() {
        let (queue, lines) = sync_channel(LINES);
        let log = Log { queue, dropped: Arc::default(), quiet: false };
        let text = Arc::new(Mutex::new(String::new()));
        let (go, gone) = channel();
        let terminal = Terminal { go: gone, text: Arc::clone(&text) };
        let dropped = Arc::clone(&log.dropped);
        let writer = thread::spawn(move || write_out(&lines, &dropped, terminal));
        for number in 0..10 * LINES {
            log.say(|| format!("line {number}"));
        }
        drop(go);
        log.finish();
        drop(log);
        writer.join().expect("the writer ends with its queue");

        let text = text.lock().expect("no panic under it").clone();
        let (mut written, mut missing) = (0, 0);
        for line in text.lines() {
            if line.starts_with("line ") {
                written += 1;
            } else {
                let number = line.trim_start_matches('(').split(' ').next();
                missing += number.and_then(|n| n.parse::<usize>().ok()).expect("a count");
            }
        }
        assert!(text.starts_with("line 0\n"), "{text:.80}");
        assert!(written >= LINES);
        assert_eq!(written + missing, 10 * LINES);
    }

    #[test]
    fn control_characters_reach_the_terminal_as_escapes() {
        let (queue, lines) = sync_channel(LINES);
        let log = Log { queue, dropped: Arc::default(), quiet: false };
        let hostile = [
            "\x1b]0;a title\x07",        // OSC, BEL
            "\x1b[2J\x1b[1;1H",          // CSI
            "\u{9b}31m \u{9d}0;x\u{9c}", // CSI, OSC and ST as C1 characters
            "one\r\n\tForged 1.2.3.4",   // a line of its own
            "\0\x08\x7f",
            "\u{202e}desrever\u{2066}\u{2028}",
        ];
        for text in hostile {
            log.say(|| format!("before {text} behind"));
            log.announce(text.into());
        }
        drop(log);
        let mut out = Vec::new();
        write_out(&lines, &AtomicU64::new(0), &mut out);
        let out = String::from_utf8(out).expect("text");
        assert_eq!(out.lines().count(), 2 * hostile.len(), "a line each: {out:?}");
        assert!(out.starts_with("before \\u{1b}]0;a title\\u{7} behind\n"), "{out:?}");
        let steers =
            |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{2028}".contains(c));
        assert_eq!(out.find(steers), None, "{out:?}");
        assert_eq!(printable("fib: Grüße, 数 \\ '".into()), "fib: Grüße, 数 \\ '");
    }

    #[test]
    fn a_quiet_log_makes_no_text_but_announces() {
        let (queue, lines) = sync_channel(LINES);
        let log = Log { queue, dropped: Arc::default(), quiet: true };
        log.say(|| unreachable!("text for a quiet log"));
        log.announce("here".into());
        assert!(matches!(lines.try_recv(), Ok(Entry::Line(line)) if line == "here"));
        assert!(lines.try_recv().is_err());
    }
}
