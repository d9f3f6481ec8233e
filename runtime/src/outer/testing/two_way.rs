//! What must every stream of bytes do, whatever it is made of?
//!
//! [`check_two_way_stream`] asks it all of any pair of streams that implements [`TwoWayStream`]: sockets, streams in memory,
//! what somebody has built on top of them. It takes a function that makes pairs, and uses a new one for each rule:
//!
//! | rule                                         | who breaks it loses                                        |
//! |----------------------------------------------|------------------------------------------------------------|
//! | bytes arrive in order, whatever the pieces   | data                                                       |
//! | a read takes what there is                   | answers: it waits for more than it was promised            |
//! | nothing read or written is nothing, at once  | the difference between that and the end; time              |
//! | the end of the stream is for good            | the end, and the other direction with it                   |
//! | what is closed takes no more                 | data that nobody will read                                 |
//! | a read given up has read nothing             | data, at each timeout                                      |
//! | a write given up has written nothing         | the order: it is written twice                             |
//! | both directions flow at the same time        | both, when both buffers are full                           |
//! | bytes wake who waits for them, so do ends    | the task that waits                                        |
//! | one who is gone is not written to for ever   | a task, and memory                                         |
//!
//! It does not look at speed or memory. The idea is trio's `check_two_way_stream`.
//!
//! Comes from: tests of streams. Goes to: the streams; tasks of the runtime it is called in.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::testing::Duplex;
use crate::{AsyncSocket, JoinHandle, sleep, spawn, timeout, yield_now};

/// One end of a stream that can be read and written at the same time.
///
/// Implemented by the streams of this crate and of `net`. For one whose type is not yours, wrap it.
///
/// ```
/// use runtime::testing::{Duplex, TwoWayStream, check_two_way_stream, duplex, run};
/// use std::io;
///
/// /// Nobody on the way can read it (at a glance).
/// struct Secret(Duplex);
/// impl TwoWayStream for Secret {
///     async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
///         let count = self.0.read(buffer).await?;
///         buffer[..count].iter_mut().for_each(|byte| *byte ^= 42);
///         Ok(count)
///     }
///     async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
///         let hidden: Vec<_> = bytes.iter().map(|byte| byte ^ 42).collect();
///         self.0.write(&hidden).await
///     }
///     async fn close(&self) -> io::Result<()> {
///         self.0.close();
///         Ok(())
///     }
/// }
///
/// run(check_two_way_stream(async || {
///     let (left, right) = duplex(1000);
///     (Secret(left), Secret(right))
/// }));
/// ```
pub trait TwoWayStream {
    /// Reads some bytes, at least one; zero is the end of the stream.
    ///
    /// # Errors
    /// The stream's own.
    ///
    /// # Cancel safety
    /// Must be given: dropped before it is ready, it has read nothing.
    fn read(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
    /// Writes some bytes, at least one. What it has written must not be held back.
    ///
    /// # Errors
    /// The stream's own; at some time, if the other end is gone.
    ///
    /// # Cancel safety
    /// Must be given: dropped before it is ready, it has written nothing.
    fn write(&self, bytes: &[u8]) -> impl Future<Output = io::Result<usize>>;
    /// Ends the direction in which this end writes.
    ///
    /// # Errors
    /// The stream's own.
    ///
    /// # Cancel safety
    /// Need not be given: nobody drops it before it is ready.
    fn close(&self) -> impl Future<Output = io::Result<()>>;
}

/// Checks what every two-way stream must do, with pairs of connected ends given by `make`, each rule both ways round. In
/// real time it takes about a second for sockets.
///
/// # Panics
/// With the first rule that does not hold; also if the streams do not get there within a minute.
///
/// # Cancel safety
/// Dropping it leaves tasks behind that end with their streams.
///
/// ```
/// use runtime::testing::{Hostile, check, check_two_way_stream, duplex};
/// check(0..3, async |seed| {
///     check_two_way_stream(async || {
///         let (left, right) = duplex(1000);
///         (left.hostile(Hostile::new(seed).chunks(1000)), right)
///     })
///     .await;
/// });
/// ```
pub async fn check_two_way_stream<A, B>(make: impl AsyncFn() -> (A, B))
where
    A: TwoWayStream + 'static,
    B: TwoWayStream + 'static,
{
    macro_rules! rules {
        ($($rule:ident)*) => {$(
            let (left, right) = make().await;
            in_time(stringify!($rule), $rule(left, right)).await;
            let (left, right) = make().await;
            in_time(stringify!($rule), $rule(right, left)).await;
        )*};
    }
    rules! {
        bytes_arrive_in_order_whatever_the_pieces
        a_read_takes_what_there_is
        nothing_read_or_written_is_nothing
        the_end_of_the_stream_is_for_good
        what_is_closed_takes_no_more
        a_read_given_up_has_read_nothing
        a_write_given_up_has_written_nothing
        both_directions_flow_at_the_same_time
        bytes_wake_who_waits_for_them
        the_end_wakes_who_waits_for_bytes
        one_who_goes_wakes_who_waits_for_bytes
        one_who_is_gone_is_not_written_to_for_ever
    }
}

/// How long one rule may take.
const LONGEST: Duration = Duration::from_secs(60);
/// How many bytes are sent where the rule is about many.
const MANY: usize = 20_000;

/// How many writes of 1,000 bytes cannot all have gone into buffers.
const TOO_MANY: usize = 20_000;

async fn in_time(rule: &str, check: impl Future<Output = ()>) {
    let in_time = timeout(LONGEST, check).await.is_ok();
    assert!(in_time, "a stream does not keep the rule `{rule}`: it was not over in time");
}

async fn bytes_arrive_in_order_whatever_the_pieces(
    a: impl TwoWayStream + 'static,
    b: impl TwoWayStream,
) {
    let writer = spawn(async move {
        write_pattern(&a, 0, MANY).await;
        a.close().await.expect("a stream can be closed");
    });
    assert_eq!(read_to_end(&b, 0).await, MANY, "what was written arrives, all of it");
    writer.await.expect("the writer does not panic");
}

async fn a_read_takes_what_there_is(a: impl TwoWayStream, b: impl TwoWayStream) {
    let read = async {
        let mut taken = 0;
        for size in [1, 3].into_iter().chain(std::iter::repeat(100)) {
            let mut buffer = vec![0; size];
            let count = b.read(&mut buffer).await.expect("there are bytes");
            assert!((1..=size.min(10 - taken)).contains(&count), "a read of {size} gave {count}");
            check_pattern(&buffer[..count], taken);
            taken += count;
            if taken == 10 {
                break;
            }
        }
    };
    both(write_pattern(&a, 0, 10), read).await;
}

async fn nothing_read_or_written_is_nothing(a: impl TwoWayStream, b: impl TwoWayStream) {
    // While there is nothing to read, and at the end while there is no room to write.
    let count = b.read(&mut []).await.expect("nothing can be read");
    assert_eq!(count, 0, "nothing was there");
    let count = a.write(&[]).await.expect("nothing can be written");
    assert_eq!(count, 0, "nothing was written");
    write_pattern(&a, 0, 1).await;
    let count = b.read(&mut []).await.expect("nothing can be read");
    assert_eq!(count, 0, "there was no place for more");
    read_pattern(&b, 0, 1).await;
    // The empty write was no end, and neither was the empty read.
    both(write_pattern(&a, 1, 5), read_pattern(&b, 1, 5)).await;
    while let Ok(Ok(_)) = timeout(Duration::from_millis(20), a.write(&[0; 1 << 12])).await {}
    let count = a.write(&[]).await.expect("nothing can be written");
    assert_eq!(count, 0, "nothing was written");
}

async fn the_end_of_the_stream_is_for_good(a: impl TwoWayStream, b: impl TwoWayStream) {
    let write = async {
        write_pattern(&a, 0, 100).await;
        a.close().await.expect("a stream can be closed");
    };
    let read = async {
        assert_eq!(read_to_end(&b, 0).await, 100, "what was written before the end arrives");
    };
    both(write, read).await;
    for _ in 0..3 {
        let count = b.read(&mut [0; 10]).await.expect("the end of the stream is no error");
        assert_eq!(count, 0, "after the end of the stream there is nothing");
    }
    // The other direction has not ended.
    both(write_pattern(&b, 0, 100), read_pattern(&a, 0, 100)).await;
}

async fn what_is_closed_takes_no_more(a: impl TwoWayStream, b: impl TwoWayStream) {
    a.close().await.expect("a stream can be closed");
    a.close().await.expect("what is closed already can be closed");
    let error = a.write(b"late").await.expect_err("a write after close fails");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    assert_eq!(read_to_end(&b, 0).await, 0, "nothing was written");
}

async fn a_read_given_up_has_read_nothing(a: impl TwoWayStream + 'static, b: impl TwoWayStream) {
    const BYTES: usize = 1000;
    let writer = spawn(async move {
        for at in 0..BYTES {
            write_pattern(&a, at, 1).await;
            yield_now().await;
        }
        a.close().await.expect("a stream can be closed");
    });
    let mut taken = 0;
    loop {
        let mut buffer = [0; 7];
        // Every read is polled once, and dropped if that was not enough.
        let count = match once(b.read(&mut buffer)).await {
            Some(count) => count.expect("a read that follows one given up"),
            None => {
                sleep(PATIENCE).await;
                continue;
            }
        };
        if count == 0 {
            break;
        }
        check_pattern(&buffer[..count], taken);
        taken += count;
    }
    assert_eq!(taken, BYTES, "reads that were given up took bytes with them");
    writer.await.expect("the writer does not panic");
}

async fn a_write_given_up_has_written_nothing(
    a: impl TwoWayStream + 'static,
    b: impl TwoWayStream,
) {
    let written = fill(&a).await;
    let writer = spawn(async move { a.close().await.expect("a stream can be closed") });
    assert_eq!(read_to_end(&b, 0).await, written, "writes that were given up have written");
    writer.await.expect("the writer does not panic");
}

async fn both_directions_flow_at_the_same_time(
    a: impl TwoWayStream + 'static,
    b: impl TwoWayStream + 'static,
) {
    // Both buffers are full, or as good as, before anybody reads.
    let filled = (fill(&a).await, fill(&b).await);
    fn flow(
        stream: impl TwoWayStream + 'static,
        written: usize,
        to_read: usize,
    ) -> [JoinHandle<()>; 2] {
        let stream = Rc::new(stream);
        let writing = Rc::clone(&stream);
        let writer = spawn(async move { write_pattern(&*writing, written, MANY).await });
        let reader = spawn(async move { read_pattern(&*stream, 0, to_read + MANY).await });
        [writer, reader]
    }
    let (left, right) = (flow(a, filled.0, filled.1), flow(b, filled.1, filled.0));
    for task in left.into_iter().chain(right) {
        task.await.expect("neither end panics");
    }
}

async fn bytes_wake_who_waits_for_them(a: impl TwoWayStream, b: impl TwoWayStream + 'static) {
    let reader = spawn(async move {
        for at in 0..100 {
            read_pattern(&b, at, 1).await;
        }
    });
    for at in 0..100 {
        for _ in 0..at % 5 {
            yield_now().await;
        }
        write_pattern(&a, at, 1).await;
    }
    reader.await.expect("the reader does not panic");
}

async fn the_end_wakes_who_waits_for_bytes(a: impl TwoWayStream, b: impl TwoWayStream + 'static) {
    let reader = waiting_reader(b).await;
    a.close().await.expect("a stream can be closed");
    let count = reader.await.expect("the reader does not panic").expect("an end is no error");
    assert_eq!(count, 0, "the end of the stream");
}

async fn one_who_goes_wakes_who_waits_for_bytes(
    a: impl TwoWayStream,
    b: impl TwoWayStream + 'static,
) {
    let reader = waiting_reader(b).await;
    drop(a);
    match reader.await.expect("the reader does not panic") {
        Ok(count) => assert_eq!(count, 0, "the end of the stream"),
        Err(error) => assert!(is_gone(&error), "{error}"),
    }
}

async fn one_who_is_gone_is_not_written_to_for_ever(
    a: impl TwoWayStream + 'static,
    b: impl TwoWayStream,
) {
    let writer = spawn(async move {
        for _ in 0..TOO_MANY {
            match a.write(&[7; 1000]).await {
                Ok(count) => assert!(count > 0, "a write of some bytes writes some"),
                Err(error) => return error,
            }
            yield_now().await;
        }
        panic!("one who is gone was written to {TOO_MANY} times");
    });
    read_some(&b).await;
    drop(b); // while the writer waits for room, or is about to write
    let error = writer.await.expect("the writer does not panic");
    assert!(is_gone(&error), "{error}");
}

// ------------------------------------------------------------------------------------------------- helpers

/// How long one who has been told to wait does so before it asks again.
const PATIENCE: Duration = Duration::from_micros(100);

/// After how many bytes the pattern begins again. No power of two: a buffer's end must not be where it does.
const PERIOD: usize = 251;

/// The largest piece that is written or read at once.
const LARGEST: usize = 9_973;

/// What the byte at this place of a stream is.
fn pattern(at: usize) -> u8 {
    (at % PERIOD) as u8
}

#[track_caller]
fn check_pattern(bytes: &[u8], at: usize) {
    for (place, &byte) in (at..).zip(bytes) {
        assert_eq!(byte, pattern(place), "byte {place} of the stream is another one");
    }
}

/// Writes so many bytes, from that place on, in pieces of many sizes.
async fn write_pattern(stream: &impl TwoWayStream, mut at: usize, count: usize) {
    let bytes: Vec<u8> = (0..PERIOD + LARGEST).map(pattern).collect();
    let end = at + count;
    for size in (1..).map(|round| round * round % LARGEST + 1) {
        if at == end {
            return;
        }
        let bytes = &bytes[at % PERIOD..][..size.min(end - at)];
        let count = stream.write(bytes).await.expect("the other end is there");
        assert!((1..=bytes.len()).contains(&count), "a write of {} wrote {count}", bytes.len());
        at += count;
    }
}

/// Reads so many bytes, which are to be those from that place on, in pieces of many sizes.
async fn read_pattern(stream: &impl TwoWayStream, mut at: usize, count: usize) {
    let mut buffer = vec![0; LARGEST];
    let end = at + count;
    for size in (1..).map(|round| round * 7_919 % LARGEST + 1) {
        if at == end {
            return;
        }
        let buffer = &mut buffer[..size.min(end - at)];
        let count = stream.read(buffer).await.expect("the other end is there");
        assert!((1..=buffer.len()).contains(&count), "a read of {} gave {count}", buffer.len());
        check_pattern(&buffer[..count], at);
        at += count;
    }
}

/// Reads to the end what is to be the pattern from that place on; how many bytes that were.
async fn read_to_end(stream: &impl TwoWayStream, at: usize) -> usize {
    let (mut buffer, mut taken) = (vec![0; 5_000], 0);
    loop {
        let count = stream.read(&mut buffer).await.expect("the end of a stream is no error");
        if count == 0 {
            return taken;
        }
        check_pattern(&buffer[..count], at + taken);
        taken += count;
    }
}

/// Writes the pattern until that has been given up for want of room several times; how many bytes that were.
/// More than any stream should take that nobody reads.
const BOUNDLESS: usize = 1 << 30;

async fn fill(stream: &impl TwoWayStream) -> usize {
    let bytes: Vec<u8> = (0..1 << 16).map(pattern).collect();
    let (mut given_up, mut written) = (0, 0);
    while given_up < 8 {
        match once(stream.write(&bytes[written % PERIOD..])).await {
            Some(count) => {
                let count = count.expect("the other end is there");
                assert!(count > 0, "a write of some bytes says that it took none");
                written += count;
                assert!(
                    written < BOUNDLESS,
                    "{written} bytes written, none read: it never says that it is full"
                );
                yield_now().await; // so that whoever limits the time of this has a say
            }
            None => {
                given_up += 1;
                yield_now().await;
            }
        }
    }
    written
}

async fn read_some(stream: &impl TwoWayStream) {
    let count = stream.read(&mut [0; 10]).await.expect("there are bytes");
    assert!(count > 0, "the other end is there");
}

/// A task that waits for bytes; it has begun to when this returns.
async fn waiting_reader(stream: impl TwoWayStream + 'static) -> JoinHandle<io::Result<usize>> {
    let reader = spawn(async move { stream.read(&mut [0; 10]).await });
    for _ in 0..10 {
        yield_now().await;
    }
    reader
}

/// Two futures at the same time, to the end of both.
async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut ended = [false; 2];
    std::future::poll_fn(|cx| {
        ended[0] = ended[0] || one.as_mut().poll(cx).is_ready();
        ended[1] = ended[1] || other.as_mut().poll(cx).is_ready();
        if ended == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What a future gives at its first poll; if it gives nothing, it is dropped.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected].contains(&error.kind())
}

impl TwoWayStream for Duplex {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Duplex::read(self, buffer).await
    }
    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Duplex::write(self, bytes).await
    }
    async fn close(&self) -> io::Result<()> {
        Duplex::close(self);
        Ok(())
    }
}

macro_rules! sockets {
    ($($socket:ty),*) => {$(
        impl TwoWayStream for AsyncSocket<$socket> {
            async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                if buffer.is_empty() { Ok(0) } else { self.recv(buffer).await }
            }
            async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.is_empty() { Ok(0) } else { self.send(bytes).await }
            }
            async fn close(&self) -> io::Result<()> {
                self.get_ref().shutdown(Shutdown::Write)
            }
        }
    )*};
}

sockets!(std::net::TcpStream, std::os::unix::net::UnixStream);
