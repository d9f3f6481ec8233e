//! Are the lines the same however the bytes come, and does waiting for one cost nothing?
//!
//! The first question is put to a model: a few lines of code that cut the whole input at once. Any pieces, any pauses
//! between them, any number of futures that are given up meanwhile must give what the model gives.
//!
//! Comes from: main.rs. Goes to: net/src/buffered.rs, net/src/stock.rs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::future::poll_once;
use futures_lite::io::repeat;
use futures_lite::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt,
};
use net::{Buffered, LineError, Lines, MemoryStream, lines, split};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use runtime::testing::{self, Hostile, check, duplex, until_idle};
use runtime::{spawn, unblock};

use crate::counting;
use crate::support::counters::until_async;
use crate::support::sockets::net_tcp;
use crate::support::{in_child_process, run, within};

/// What comes out of a stream by lines.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Line(String),
    Fault(LineError),
    Failed(ErrorKind),
}

/// The lines of `input`, cut all at once.
fn model(input: &[u8], longest: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut start = 0;
    while start < input.len() {
        let end = input[start..].iter().position(|&byte| byte == b'\n').map(|at| start + at);
        let whole = &input[start..end.unwrap_or(input.len())];
        let line = match (end, whole.split_last()) {
            (Some(_), Some((b'\r', line))) => line,
            _ => whole,
        };
        seen.push(if line.len() > longest {
            Seen::Fault(LineError::TooLong { longest })
        } else {
            match std::str::from_utf8(line) {
                Ok(line) => Seen::Line(line.to_owned()),
                Err(error) => {
                    Seen::Fault(LineError::NotUtf8 { offset: (start + error.valid_up_to()) as u64 })
                }
            }
        });
        start += whole.len() + 1;
    }
    seen
}

/// All that comes out. Each wait is given up at its first Pending and begun anew.
async fn all<R: AsyncBufRead + Unpin>(mut lines: Lines<R>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut failures = 0;
    loop {
        let Some(result) = poll_once(lines.next_line()).await else {
            runtime::yield_now().await;
            continue;
        };
        match result {
            Ok(Some(line)) => seen.push(Seen::Line(line)),
            Ok(None) => break,
            Err(error) => match LineError::of(&error) {
                Some(fault) => seen.push(Seen::Fault(*fault)),
                None => {
                    seen.push(Seen::Failed(error.kind()));
                    failures += 1;
                    assert!(failures < 100, "it fails for ever");
                }
            },
        }
    }
    assert!(lines.next_line().await.unwrap().is_none(), "the end is for ever");
    seen
}

/// Reads what it is given, piece by piece: a piece with nothing in it is a pause.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    /// Cut at the sizes given, in a circle.
    fn of(mut input: &[u8], sizes: &[usize]) -> Self {
        let mut pieces = VecDeque::new();
        for &size in sizes.iter().cycle() {
            if input.is_empty() {
                break;
            }
            let (piece, rest) = input.split_at(size.min(input.len()));
            pieces.push_back(piece.to_vec());
            input = rest;
        }
        Pieces(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.0.pop_front() else {
            return Poll::Ready(Ok(0));
        };
        if piece.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.0.push_front(piece.split_off(count));
        }
        Poll::Ready(Ok(count))
    }
}

/// Sizes of pieces, of which at least one is not a pause.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let sizes = proptest::collection::vec(0usize..6, 1..6);
    sizes.prop_filter("a stream of pauses", |sizes| sizes.iter().any(|&size| size > 0))
}

/// Bytes of which lines are made, and what is wrong with lines.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        4 => Just(vec![b'a']),
        3 => Just(vec![b'\n']),
        2 => Just(vec![b'\r']),
        2 => Just(b"\r\n".to_vec()),
        2 => Just("\u{e9}".as_bytes().to_vec()),
        1 => Just(vec![0xc3]),
        1 => Just(vec![0xff]),
    ];
    proptest::collection::vec(bytes, 0..40).prop_map(|parts| parts.concat())
}

/// Runs `test` with many inputs.
fn for_all<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() };
    TestRunner::new(config).run(&strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_pieces_give_the_same_lines() {
    within(120, || {
        let rt = runtime::Runtime::new().unwrap();
        for_all((input(), 0usize..7, sizes()), |(input, longest, sizes)| {
            let reader = Buffered::new(Pieces::of(&input, &sizes));
            let seen = rt.block_on(all(lines(reader, longest)));
            prop_assert_eq!(seen, model(&input, longest));
            Ok(())
        });
    });
}

#[test]
fn any_pieces_give_the_same_parts() {
    within(120, || {
        let rt = runtime::Runtime::new().unwrap();
        for_all((input(), sizes()), |(input, sizes)| {
            let reader = Buffered::new(Pieces::of(&input, &sizes));
            let parts: Vec<_> =
                rt.block_on(split(reader, b'a', 1000).map(Result::unwrap).collect());
            let mut expected: Vec<_> =
                input.split(|&byte| byte == b'a').map(<[u8]>::to_vec).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            prop_assert_eq!(parts, expected);
            Ok(())
        });
    });
}

#[test]
fn reads_of_any_size_give_the_same_bytes() {
    within(120, || {
        let rt = runtime::Runtime::new().unwrap();
        let reads = proptest::collection::vec(1usize..20_000, 1..8);
        for_all((0usize..60_000, sizes(), reads), |(length, sizes, reads)| {
            let input: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sizes: Vec<_> = sizes.iter().map(|size| size * 4001).collect();
            let mut reader = Buffered::new(Pieces::of(&input, &sizes));
            let mut output = Vec::new();
            rt.block_on(async {
                for &size in reads.iter().cycle() {
                    let mut buffer = vec![0; size];
                    match reader.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => output.extend_from_slice(&buffer[..count]),
                    }
                }
            });
            prop_assert!(output == input);
            Ok(())
        });
    });
}

#[test]
fn hostile_streams_give_the_same_lines() {
    within(60, || {
        let input = b"one\r\ntwo\n\nfour is too long\nfi\xffve\nsix";
        check(0..200, async |seed| {
            let (left, right) = duplex(1 + seed as usize % 30);
            let right: MemoryStream = right.hostile(Hostile::new(seed).chunks(9)).into();
            let writing = spawn(async move { left.write_all(input).await });
            assert_eq!(all(lines(Buffered::new(right), 6)).await, model(input, 6));
            writing.await.unwrap().unwrap();
        });
    });
}

#[test]
fn lines_come_over_sockets_and_answers_go_back() {
    run(async || {
        let (stream, mut client) = net_tcp();
        let client = unblock(move || {
            client.write_all(b"ping\r\nlonger than allowed\npi").unwrap();
            client.write_all(b"ng\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            io::read_to_string(client).unwrap()
        });
        // Through the wrapper, and past it.
        let mut lines = lines(Buffered::new(&stream), 8);
        loop {
            match lines.next_line().await {
                Ok(Some(line)) => stream.write_all(line.to_uppercase().as_bytes()).await.unwrap(),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    lines.get_mut().write_all(format!("({error})").as_bytes()).await.unwrap();
                }
            }
        }
        lines.get_mut().close().await.unwrap();
        assert_eq!(client.await.unwrap(), "PING(a line is longer than 8 bytes)PING");
    });
}

#[test]
fn an_over_long_line_is_told_at_once_and_kept_nowhere() {
    in_child_process(|| {
        testing::run(async {
            let (left, right) = duplex(1000);
            let mut lines = lines(Buffered::new(MemoryStream::from(right)), 100);
            left.write_all(&[b'x'; 102]).await.unwrap();
            let error = lines.next_line().await.unwrap_err();
            assert_eq!(LineError::of(&error), Some(&LineError::TooLong { longest: 100 }));
            // It goes on for ten megabytes.
            let flood = spawn(async move {
                for _ in 0..10_000 {
                    left.write_all(&[b'x'; 1000]).await.unwrap();
                }
                left.write_all(b"\nnext\n").await.unwrap();
            });
            counting::start();
            let line = lines.next_line().await.unwrap();
            let held = counting::now().bytes;
            assert_eq!(line.as_deref(), Some("next"));
            assert!(held < 20_000, "{held} bytes for a line that nobody wants");
            flood.await.unwrap();
        });
    });
}

#[test]
fn an_error_of_the_stream_keeps_the_line_that_was_begun() {
    /// Fails between two pieces.
    struct Flaky(VecDeque<Result<&'static [u8], ErrorKind>>);
    impl AsyncRead for Flaky {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let piece = self.0.pop_front().unwrap_or(Ok(b""));
            Poll::Ready(piece.map_err(Into::into).map(|piece| {
                buffer[..piece.len()].copy_from_slice(piece);
                piece.len()
            }))
        }
    }
    run(async || {
        let pieces = [Ok(&b"be"[..]), Err(ErrorKind::TimedOut), Ok(b"gun\nlast"), Ok(b"")];
        let seen = all(lines(Buffered::new(Flaky(pieces.into())), 100)).await;
        let line = |text: &str| Seen::Line(text.into());
        assert_eq!(seen, [Seen::Failed(ErrorKind::TimedOut), line("begun"), line("last")]);
    });
}

#[test]
fn what_is_begun_or_buffered_can_be_taken_out() {
    run(async || {
        let (left, right) = duplex(100);
        let mut lines = lines(Buffered::new(MemoryStream::from(right)), 100);
        left.write_all(b"one\ntwo\nthr").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("one"));
        assert_eq!(lines.get_ref().buffer(), b"two\nthr");
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("two"));
        assert!(poll_once(lines.next_line()).await.is_none());
        let (buffered, begun) = lines.into_parts();
        assert_eq!(begun, b"thr");
        left.write_all(b"ee").await.unwrap();
        let mut buffered = buffered;
        assert_eq!(buffered.fill_buf().await.unwrap(), b"ee");
        let (_, bytes) = buffered.into_parts();
        assert_eq!(bytes, b"ee");
    });
}

#[test]
fn a_body_is_read_where_the_lines_ended() {
    run(async || {
        let input = b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbodyGET /";
        let mut stream = Buffered::new(Pieces::of(input, &[7]));
        let mut head = lines(&mut stream, 100);
        while let Some(line) = head.next_line().await.unwrap() {
            if line.is_empty() {
                break;
            }
        }
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
        // futures-lite's own lines run on it, too.
        let mut rest = String::new();
        stream.read_line(&mut rest).await.unwrap();
        assert_eq!(rest, "GET /");
    });
}

#[test]
fn lines_without_an_end_let_others_run() {
    run(async || {
        // A reader that always has something, and never a newline.
        let mut lines = lines(Buffered::new(repeat(b'x')), 10);
        assert!(lines.next_line().await.is_err());
        assert!(poll_once(lines.next_line()).await.is_none(), "it skips for ever in one poll");
    });
}

#[test]
fn connections_that_wait_for_a_line_hold_no_buffer() {
    const CONNECTIONS: usize = 1000;
    in_child_process(|| {
        runtime::block_on(async {
            let said = RefCell::new(0);
            let said: &'static RefCell<usize> = Box::leak(Box::new(said));
            let mut clients = Vec::with_capacity(CONNECTIONS + 1);
            let mut tasks = Vec::with_capacity(CONNECTIONS + 1);
            let mut before = counting::now();
            for connection in 0..=CONNECTIONS {
                if connection == 1 {
                    // The first has filled the stock.
                    until_async(|| *said.borrow() == 2).await;
                    counting::start();
                    before = counting::now();
                }
                let (stream, mut client) = net_tcp();
                tasks.push(spawn(async move {
                    let mut lines = lines(Buffered::new(stream), 1000);
                    while let Some(line) = lines.next_line().await.unwrap() {
                        assert_eq!(line, "hello");
                        *said.borrow_mut() += 1;
                    }
                }));
                client.write_all(b"hello\nhello\n").unwrap();
                clients.push(client);
            }
            until_async(|| *said.borrow() == 2 * (CONNECTIONS + 1)).await;
            let each = before.until_now().bytes as f64 / CONNECTIONS as f64;
            println!("counted: bytes a connection that waits for a line: {each}");
            assert!(each <= 900.0, "{each} bytes a connection");
            drop(clients);
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn a_line_begun_holds_itself_and_no_buffer() {
    in_child_process(|| {
        testing::run(async {
            let (left, right) = duplex(1000);
            let reading = spawn(async move {
                let mut lines = lines(Buffered::new(MemoryStream::from(right)), 1000);
                lines.next_line().await
            });
            left.write_all(&[b'x'; 1000]).await.unwrap();
            counting::start();
            until_idle().await;
            let held = counting::now().bytes;
            // The line, twice at most by the way a vector grows, and the one buffer of the stock.
            assert!((1000..2500 + 16 * 1024).contains(&held), "{held} bytes");
            left.write_all(b"\n").await.unwrap();
            assert_eq!(reading.await.unwrap().unwrap().unwrap().len(), 1000);
        });
    });
}

#[test]
fn what_is_written_goes_straight_through_by_every_method() {
    /// Tells which method was called.
    #[derive(Default)]
    struct Tells(Vec<&'static str>);
    impl AsyncWrite for Tells {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push("write");
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffers: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push("write_vectored");
            Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()))
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push("flush");
            Poll::Ready(Ok(()))
        }
        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push("close");
            Poll::Ready(Ok(()))
        }
    }
    run(async || {
        let mut stream = Buffered::new(Tells::default());
        assert_eq!(stream.write(b"abc").await.unwrap(), 3);
        let slices = [&b"one "[..], b"two"].map(io::IoSlice::new);
        assert_eq!(stream.write_vectored(&slices).await.unwrap(), 7, "all slices in one call");
        stream.flush().await.unwrap();
        stream.close().await.unwrap();
        assert_eq!(stream.get_ref().0, ["write", "write_vectored", "flush", "close"]);
    });
}

#[test]
fn a_read_of_nothing_takes_nothing_and_more_than_is_there_cannot_be_consumed() {
    run(async || {
        let mut stream = Buffered::new(Pieces::of(b"onetwo", &[3]));
        assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        assert_eq!(stream.buffer(), b"", "and brings nothing in");
        assert_eq!(stream.fill_buf().await.unwrap(), b"one");
        assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        assert_eq!(stream.buffer(), b"one");
        stream.consume(usize::MAX);
        assert_eq!(stream.buffer(), b"");
        assert_eq!(stream.fill_buf().await.unwrap(), b"two");
    });
}

#[test]
fn a_line_is_as_long_as_allowed_and_one_more_is_not_wherever_its_end_is_cut() {
    run(async || {
        for end in [&b"\n"[..], b"\r\n"] {
            for (length, is_allowed) in [(0, true), (5, true), (6, false)] {
                let mut input = vec![b'\0'; length];
                input.extend_from_slice(end);
                input.extend_from_slice(b"next\n");
                for first in 1..input.len() {
                    let reader = Buffered::new(Pieces::of(&input, &[first, input.len()]));
                    let seen = all(lines(reader, 5)).await;
                    let expected = if is_allowed {
                        Seen::Line("\0".repeat(length))
                    } else {
                        Seen::Fault(LineError::TooLong { longest: 5 })
                    };
                    assert_eq!(seen, [expected, Seen::Line("next".into())], "{end:?} {first}");
                }
            }
        }
    });
}

#[test]
fn the_end_is_for_ever_even_if_the_stream_says_more() {
    run(async || {
        let pieces = [b"last".to_vec(), b"\n".to_vec()];
        /// Ends after each piece.
        struct Ends(VecDeque<Vec<u8>>, bool);
        impl AsyncRead for Ends {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.1 = !self.1;
                let piece = if self.1 { self.0.pop_front() } else { None }.unwrap_or_default();
                buffer[..piece.len()].copy_from_slice(&piece);
                Poll::Ready(Ok(piece.len()))
            }
        }
        let mut lines = lines(Buffered::new(Ends(pieces.into(), false)), 100);
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("last"));
        for _ in 0..3 {
            assert_eq!(lines.next_line().await.unwrap(), None);
        }
    });
}

#[test]
fn a_buffer_comes_from_the_stock_and_not_from_the_heap() {
    in_child_process(|| {
        testing::run(async {
            let (left, right) = duplex(100);
            let mut stream = Buffered::new(MemoryStream::from(right));
            let mut byte = [0; 1];
            left.write_all(b"a").await.unwrap();
            stream.read_exact(&mut byte).await.unwrap(); // makes the first
            counting::start();
            let before = counting::now();
            for _ in 0..100 {
                left.write_all(b"b").await.unwrap();
                stream.read_exact(&mut byte).await.unwrap();
            }
            assert_eq!(before.until_now().allocations, 0);
        });
    });
}
