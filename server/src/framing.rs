//! Where does one request end and the next begin?
//!
//! TCP carries bytes, not messages: two requests may arrive as one chunk, and one request as two. The talk takes every
//! chunk for a request, and its clients, which send `30` and no newline, rely on that. People with nc or telnet send lines,
//! and so do programs that send many requests at once. Both are served:
//!
//! | a connection that has sent          | speaks in | a request is                                     |
//! |-------------------------------------|-----------|--------------------------------------------------|
//! | no newline so far                   | chunks    | what one read gives, at most [`LONGEST_CHUNK`] bytes |
//! | a newline, in this chunk or earlier | lines     | what ends with a newline, or with the stream     |
//!
//! The first newline decides for good. If it comes alone, behind a chunk that was answered already (a client that writes
//! the number and the end of the line separately), it belongs to that chunk and is no empty line.
//!
//! Rules kept here:
//! - What is held is bounded. [`room`](Requests::room) says how much more may be read, and is zero until requests have been
//!   taken out; so a client that sends faster than it is served is slowed down by TCP, and costs no memory.
//! - Whatever comes in, something comes out: a number, or a [`Fault`] that says what was wrong.
//! - A connection that has nothing pending holds no buffer.
//!
//! Not done here: reading, waiting, limits on the number. This file knows nothing of sockets, so its tests need none.
//!
//! Comes from: fib.rs, chunk by chunk. Goes to: fib.rs, request by request.

use std::fmt;

/// The most bytes that a chunk without a newline may have. The largest `u64` has 20 digits.
pub(crate) const LONGEST_CHUNK: usize = 20;

/// How many bytes of requests a connection may have pending, unless a single line may be longer.
const PENDING: usize = 4096;

/// A connection's requests: bytes go in, numbers come out.
pub(crate) struct Requests {
    /// What has not been taken out yet, every request with a newline behind it.
    bytes: Vec<u8>,
    /// How many of them have been.
    taken: usize,
    speech: Speech,
    /// An over-long chunk: what comes behind it cannot be told apart from it.
    overlong: bool,
    ended: bool,
    longest_line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// Nothing has come yet.
    Silent,
    Chunks,
    Lines,
}

/// Why a request is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    Negative,
    /// A whole number, but no `u64` holds it.
    TooLarge,
    NotANumber,
    /// Longer than a line may be, or a chunk. No request behind it can be found.
    Overlong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Empty => "an empty line is not a number",
            Fault::Negative => "negative numbers have no place here",
            Fault::TooLarge => "the number is too large",
            Fault::NotANumber => "that is not a number",
            Fault::Overlong => "the line is too long",
        })
    }
}

impl Requests {
    /// None yet. A line may have `longest_line` bytes, its end not counted.
    pub(crate) fn new(longest_line: usize) -> Self {
        Requests {
            bytes: Vec::new(),
            taken: 0,
            speech: Speech::Silent,
            overlong: false,
            ended: false,
            longest_line,
        }
    }

    /// How many bytes may be pushed next.
    pub(crate) fn room(&self) -> usize {
        // One byte more than the longest line and its `\r\n`, so that a line that fills it all is known to be over-long.
        let most = PENDING.max(self.longest_line.saturating_add(3));
        let room = most.saturating_sub(self.bytes.len() - self.taken);
        // A chunk cut in two would be two requests, and two wrong answers.
        if self.speech != Speech::Lines && room <= LONGEST_CHUNK {
            return 0;
        }
        room
    }

    /// Takes in what one read gave. An empty chunk is the end of the stream, as reads have it.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) {
        self.forget_taken();
        if chunk.is_empty() {
            self.ended = true;
            if self.is_half() {
                self.bytes.push(b'\n');
            }
        } else if self.speech == Speech::Lines {
            self.bytes.extend_from_slice(chunk);
        } else if chunk.contains(&b'\n') {
            if self.speech == Speech::Chunks {
                chunk = without_leading_line_end(chunk);
            }
            self.speech = Speech::Lines;
            self.bytes.extend_from_slice(chunk);
        } else if chunk.len() > LONGEST_CHUNK {
            self.overlong = true;
        } else {
            self.speech = Speech::Chunks;
            self.bytes.extend_from_slice(chunk);
            self.bytes.push(b'\n');
        }
    }

    /// The next request, if there is a whole one.
    pub(crate) fn next(&mut self) -> Option<Result<u64, Fault>> {
        let pending = &self.bytes[self.taken..];
        let line = match pending.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                self.taken += end + 1;
                &pending[..end]
            }
            None => {
                let without_end = pending.strip_suffix(b"\r").unwrap_or(pending);
                let overlong = self.overlong || without_end.len() > self.longest_line;
                self.forget_taken();
                return overlong.then_some(Err(Fault::Overlong));
            }
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(if line.len() > self.longest_line { Err(Fault::Overlong) } else { number(line) })
    }

    /// Whether the client has begun a line and not ended it.
    pub(crate) fn is_half(&self) -> bool {
        self.bytes[self.taken..].last().is_some_and(|&byte| byte != b'\n')
    }

    /// Whether the end of the stream has come. Requests may still be pending.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Gives up the line that was begun and not ended.
    pub(crate) fn forget_half(&mut self) {
        let whole = self.bytes.iter().rposition(|&byte| byte == b'\n');
        self.bytes.truncate(whole.map_or(0, |end| end + 1));
    }

    fn forget_taken(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        // A few lines' worth is kept, so that the next one needs no allocation.
        if self.bytes.is_empty() && self.bytes.capacity() > 64 {
            self.bytes = Vec::new();
        }
    }
}

/// What a line says, if it is a number. Blanks around it are allowed, as Python's `int` does in the talk.
fn number(line: &[u8]) -> Result<u64, Fault> {
    let line = line.trim_ascii();
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    if line.is_empty() {
        return Err(Fault::Empty);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::NotANumber);
    }
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    match value {
        Some(1..) | None if line[0] == b'-' => Err(Fault::Negative),
        Some(value) => Ok(value),
        None => Err(Fault::TooLarge),
    }
}

fn without_leading_line_end(chunk: &[u8]) -> &[u8] {
    chunk.strip_prefix(b"\r\n").or(chunk.strip_prefix(b"\n")).unwrap_or(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 64;

    /// All requests that come out when these chunks go in, one after the other.
    fn requests(chunks: &[&str]) -> Vec<Result<u64, Fault>> {
        let mut requests = Requests::new(LINE);
        let mut out = Vec::new();
        for chunk in chunks {
            requests.push(chunk.as_bytes());
            while let Some(request) = requests.next() {
                out.push(request);
                if request == Err(Fault::Overlong) {
                    return out;
                }
            }
        }
        out
    }

    #[test]
    fn each_chunk_is_a_request_as_long_as_no_newline_has_come() {
        assert_eq!(requests(&["10", "12", "20"]), [Ok(10), Ok(12), Ok(20)]);
    }

    #[test]
    fn chunks_that_pile_up_stay_apart() {
        let mut requests = Requests::new(LINE);
        requests.push(b"1");
        requests.push(b"2");
        assert_eq!(
            (requests.next(), requests.next(), requests.next()),
            (Some(Ok(1)), Some(Ok(2)), None)
        );
    }

    #[test]
    fn the_first_newline_switches_to_lines_for_good() {
        assert_eq!(requests(&["10\n", "1", "2", "\n3\n4"]), [Ok(10), Ok(12), Ok(3)]);
    }

    #[test]
    fn a_newline_behind_an_answered_chunk_belongs_to_it() {
        assert_eq!(requests(&["10", "\n", "1", "1\n"]), [Ok(10), Ok(11)]);
        assert_eq!(requests(&["10", "\r\n12\r\n"]), [Ok(10), Ok(12)]);
        assert_eq!(requests(&["\n"]), [Err(Fault::Empty)]);
        assert_eq!(requests(&["10", "\n", "\n"]), [Ok(10), Err(Fault::Empty)]);
    }

    #[test]
    fn telnet_and_blanks_are_understood() {
        assert_eq!(requests(&["10\r\n 12 \r\n+7\n"]), [Ok(10), Ok(12), Ok(7)]);
    }

    #[test]
    fn requests_may_be_cut_anywhere_once_they_are_lines() {
        let whole = "1\n22\r\n333\n\nx\n4444\n";
        let expected = requests(&[whole]);
        assert_eq!(expected.len(), 6);
        for first in 2..whole.len() {
            for second in first..whole.len() {
                let cut = [&whole[..first], &whole[first..second], &whole[second..]];
                let cut: Vec<&str> = cut.into_iter().filter(|part| !part.is_empty()).collect();
                assert_eq!(requests(&cut), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        let named = [
            ("abc\n", Fault::NotANumber),
            ("\n", Fault::Empty),
            ("   \n", Fault::Empty),
            ("-5\n", Fault::Negative),
            ("-99999999999999999999999\n", Fault::Negative),
            ("-\n", Fault::NotANumber),
            ("1 2\n", Fault::NotANumber),
            ("3.5\n", Fault::NotANumber),
            ("111111111111111111111\n", Fault::TooLarge),
            ("18446744073709551616\n", Fault::TooLarge),
        ];
        for (line, fault) in named {
            assert_eq!(requests(&[line]), [Err(fault)], "{line:?}");
        }
        assert_eq!(requests(&["18446744073709551615\n"]), [Ok(u64::MAX)]);
        assert_eq!(requests(&["-0\n"]), [Ok(0)]);
    }

    #[test]
    fn bytes_that_are_not_text_are_not_a_number() {
        let mut requests = Requests::new(LINE);
        requests.push(b"\xff\xfe\0\n\xc3\x28\n");
        assert_eq!(requests.next(), Some(Err(Fault::NotANumber)));
        assert_eq!(requests.next(), Some(Err(Fault::NotANumber)));
        assert_eq!(requests.next(), None);
    }

    #[test]
    fn a_chunk_of_21_bytes_is_over_long_and_one_of_20_is_not() {
        assert_eq!(requests(&["00000000000000000010"]), [Ok(10)]);
        assert_eq!(requests(&["000000000000000000010"]), [Err(Fault::Overlong)]);
        assert_eq!(requests(&["000000000000000000010\n"]), [Ok(10)]);
    }

    #[test]
    fn a_line_is_over_long_beyond_its_limit_whether_it_ends_or_not() {
        let longest = "1".repeat(LINE);
        for end in ["\n", "\r\n"] {
            assert_eq!(requests(&["1\n", &longest, end]), [Ok(1), Err(Fault::TooLarge)]);
        }
        let longer = "1".repeat(LINE + 1);
        assert_eq!(requests(&["1\n", &longer]), [Ok(1), Err(Fault::Overlong)]);
        let longer = longer + "\n";
        assert_eq!(requests(&[&longer]), [Err(Fault::Overlong)]);
    }

    #[test]
    fn requests_before_an_over_long_chunk_come_first() {
        let mut requests = Requests::new(LINE);
        requests.push(b"7");
        requests.push(&[b'1'; 100]);
        assert_eq!(requests.next(), Some(Ok(7)));
        assert_eq!(requests.next(), Some(Err(Fault::Overlong)));
    }

    #[test]
    fn the_end_of_the_stream_ends_the_last_line() {
        assert_eq!(requests(&["10\n12", ""]), [Ok(10), Ok(12)]);
        assert_eq!(requests(&["10\n", ""]), [Ok(10)]);
        assert_eq!(requests(&["", ""]), []);
    }

    #[test]
    fn a_begun_line_is_half_until_it_ends_or_is_given_up() {
        let mut requests = Requests::new(LINE);
        requests.push(b"10\n1");
        assert_eq!(requests.next(), Some(Ok(10)));
        assert!(requests.is_half());
        requests.push(b"1\n1");
        requests.forget_half();
        assert!(!requests.is_half());
        assert_eq!(requests.next(), Some(Ok(11)));
        assert_eq!(requests.next(), None);
    }

    #[test]
    fn there_is_always_room_for_a_request_or_a_request_to_take() {
        for longest_line in [0, 1, 20, LINE, PENDING - 1, PENDING, PENDING * 3] {
            for stuff in [&b"1"[..], b"12345\n", b"\n", b"1\r\n"] {
                let mut requests = Requests::new(longest_line);
                for _ in 0..2 {
                    while requests.room() > 0 {
                        let count = requests.room().min(stuff.len());
                        requests.push(&stuff[..count]);
                        let most = PENDING.max(longest_line + 3) + 1;
                        assert!(requests.bytes.len() <= most, "it grows without bound");
                    }
                    assert!(requests.next().is_some(), "full, and nothing to take");
                    while requests.next().is_some_and(|r| r != Err(Fault::Overlong)) {}
                }
            }
        }
    }

    #[test]
    fn a_chunk_is_never_cut_by_want_of_room() {
        let mut requests = Requests::new(LINE);
        let mut pushed = 0;
        while requests.room() > 0 {
            assert!(requests.room() > LONGEST_CHUNK, "room for half a chunk");
            requests.push(b"18446744073709551615");
            pushed += 1;
        }
        for _ in 0..pushed {
            assert_eq!(requests.next(), Some(Ok(u64::MAX)));
        }
        assert_eq!(requests.next(), None);
    }

    #[test]
    fn nothing_is_held_when_nothing_is_pending() {
        let mut requests = Requests::new(LINE);
        requests.push("1\n".repeat(1000).as_bytes());
        while requests.next().is_some() {}
        assert_eq!(requests.bytes.capacity(), 0);
    }
}
