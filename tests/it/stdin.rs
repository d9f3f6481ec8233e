//! Does standard input give what comes, whatever it is, and leave everything else alone?
//!
//! Descriptor 0 belongs to the process, so each test runs in a child process of its own, with a pipe, a socket, a file, a
//! terminal or nothing as its input. A socket is the richest: the child can answer over it, so that both sides know how
//! far the other is, and nobody sleeps for luck.
//!
//! Comes from: main.rs. Goes to: `runtime::stdin`.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::{ChildStdin, Stdio};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use runtime::{block_on, spawn, stdin, timeout};

use crate::support::counters::{CountingWaker, acting_waker, until_async};
use crate::support::process::threads;
use crate::support::{child_process, child_process_with_input};

#[test]
fn lines_come_one_by_one_without_their_ends() {
    check(Stdio::piped(), write(b"one\ntwo\r\n\n caf\xc3\xa9 \nlast"), || {
        block_on(async {
            let input = stdin();
            for line in ["one", "two", "", " caf\u{e9} ", "last"] {
                assert_eq!(input.read_line().await.unwrap().as_deref(), Some(line));
            }
            for _ in 0..3 {
                assert_eq!(input.read_line().await.unwrap(), None);
                assert_eq!(input.read(&mut [0; 8]).await.unwrap(), 0);
            }
        });
    });
}

#[test]
fn nothing_is_an_end() {
    check(Stdio::null(), |_| {}, at_its_end);
}

#[test]
fn an_empty_pipe_is_an_end() {
    check(Stdio::piped(), drop, at_its_end);
}

#[test]
fn a_closed_descriptor_is_an_end() {
    let (output, text) = child_process(|| {
        // SAFETY: nobody in this process uses descriptor 0, and nothing below opens one that would get its number.
        unsafe { libc::close(0) };
        let count = futures_lite::future::block_on(stdin().read(&mut [0; 8])).unwrap();
        assert_eq!(count, 0);
    });
    assert!(output.status.success(), "{text}");
}

fn at_its_end() {
    block_on(async {
        assert_eq!(stdin().read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(stdin().read_line().await.unwrap(), None);
    });
}

#[test]
fn a_file_is_read_to_its_end() {
    let mut file = temporary_file();
    for number in 0..20_000 {
        writeln!(file, "line {number}").unwrap();
    }
    file.rewind().unwrap();
    check(
        file.into(),
        |_| {},
        || {
            block_on(async {
                for number in 0..20_000 {
                    let line = stdin().read_line().await.unwrap();
                    assert_eq!(line, Some(format!("line {number}")));
                }
                assert_eq!(stdin().read_line().await.unwrap(), None);
            });
        },
    );
}

#[test]
fn a_directory_is_an_error() {
    check(
        File::open("/").unwrap().into(),
        |_| {},
        || {
            block_on(async {
                for _ in 0..2 {
                    let error = stdin().read(&mut [0; 8]).await.unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
                }
            });
        },
    );
}

#[test]
fn a_terminal_gives_lines_until_its_end() {
    let (mut terminal, line) = terminal();
    let ours = line.try_clone().unwrap();
    check(
        line.into(),
        |_| {
            terminal.write_all(b"hello\nthere\n").unwrap();
            terminal.write_all(b"\x04").unwrap(); // Ctrl-D
        },
        || {
            block_on(async {
                let input = stdin();
                assert_eq!(input.read_line().await.unwrap().as_deref(), Some("hello"));
                assert_eq!(input.read_line().await.unwrap().as_deref(), Some("there"));
                assert_eq!(input.read_line().await.unwrap(), None);
            });
        },
    );
    assert!(blocks(&ours));
}

#[test]
fn much_comes_through_unchanged() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    check(Stdio::piped(), write(&bytes), || {
        block_on(async {
            let mut all = Vec::new();
            let mut buffer = vec![0; 5000];
            loop {
                match stdin().read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => all.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(all.len(), 3_000_000);
            assert!(all.iter().enumerate().all(|(n, &byte)| byte == (n % 251) as u8));
        });
    });
}

#[test]
fn a_pending_read_does_not_hold_up_the_exit() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let started = Instant::now();
    check(
        to_stdio(theirs),
        |_| {},
        || {
            block_on(async {
                assert!(
                    timeout(Duration::from_millis(5), stdin().read(&mut [0; 8])).await.is_err()
                );
            });
        },
    );
    // Without end, if it did: our end of the socket is still open.
    assert!(started.elapsed() < Duration::from_secs(30));
    drop(ours);
}

#[test]
fn the_descriptor_is_left_as_it_was() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let same_open_file = theirs.try_clone().unwrap();
    let talk = talk_over(ours, |ours| {
        ours.write_all(b"hello\n").unwrap();
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
    });
    check(to_stdio(theirs), talk, || {
        block_on(async {
            assert_eq!(stdin().read_line().await.unwrap().as_deref(), Some("hello"));
            assert!(blocks(&std::io::stdin()));
            assert!(timeout(Duration::from_millis(1), stdin().read_line()).await.is_err());
            assert!(blocks(&std::io::stdin()));
            answer();
        });
    });
    assert!(blocks(&same_open_file));
}

#[test]
fn a_descriptor_that_others_have_made_non_blocking_is_read_all_the_same() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let talk = move |_| {
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1); // it waits now
        ours.write_all(b"hello\n").unwrap();
    };
    check(to_stdio(theirs), talk, || {
        block_on(async {
            let mut line = pin!(stdin_line());
            assert!(line.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            answer();
            assert_eq!(line.await.as_deref(), Some("hello"));
        });
    });
}

#[test]
fn a_dropped_read_loses_nothing_and_half_a_line_waits_for_its_rest() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let talk = talk_over(ours, |ours| {
        for piece in ["he", "ll", "o\nthe", "re\n"] {
            ours.write_all(piece.as_bytes()).unwrap();
            assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
        }
    });
    check(to_stdio(theirs), talk, || {
        block_on(async {
            for round in 0..4 {
                // Until the thread has read this piece.
                let (wakes, waker) = CountingWaker::new();
                let mut line = Box::pin(stdin_line());
                let polled = line.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending(), "in round {round}");
                until_async(|| wakes.wakes() > 0).await;
                drop(line);
                if round == 2 {
                    assert_eq!(stdin_line().await.as_deref(), Some("hello"));
                }
                answer();
            }
            assert_eq!(stdin_line().await.as_deref(), Some("there"));
        });
    });
}

#[test]
fn a_line_that_is_too_long_or_no_text_is_an_error_that_takes_nothing() {
    check(Stdio::piped(), write(b"0123456789\n\xff\xfe\nlast"), || {
        block_on(async {
            let strict = stdin().line_limit(9);
            for _ in 0..2 {
                let error = strict.read_line().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::FileTooLarge);
                assert!(error.to_string().contains("longer than 9 bytes"), "{error}");
            }
            assert_eq!(stdin_line().await.as_deref(), Some("0123456789"));
            for _ in 0..2 {
                let error = strict.read_line().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
            }
            let mut buffer = [0; 3];
            assert_eq!(strict.read(&mut buffer).await.unwrap(), 3);
            assert_eq!(buffer, *b"\xff\xfe\n");
            assert_eq!(strict.read_line().await.unwrap().as_deref(), Some("last"));
        });
    });
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let talk = talk_over(ours, |ours| {
        let chunk = vec![b'x'; 1 << 16];
        let mut written = 0;
        while written < 64 << 20 {
            match ours.write(&chunk) {
                Ok(count) => written += count,
                Err(_) => break, // it has gone
            }
        }
        assert!(written < 2 << 20, "{written} bytes were taken");
    });
    check(to_stdio(theirs), talk, || {
        block_on(async {
            let error = stdin().read_line().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        });
    });
}

#[test]
fn nothing_is_read_that_nobody_has_asked_for() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let talk = talk_over(ours, |ours| {
        ours.write_all(b"mine\n").unwrap();
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
        ours.write_all(b"the child's\n").unwrap();
    });
    check(to_stdio(theirs), talk, || {
        block_on(async {
            assert_eq!(stdin_line().await.as_deref(), Some("mine"));
            answer();
            let mut head = runtime::process::Command::new("head");
            let output = head.args(["-n", "1"]).stdin(Stdio::inherit()).output().await.unwrap();
            assert_eq!(output.stdout, b"the child's\n");
        });
    });
}

#[test]
fn several_readers_share_and_no_line_is_lost_or_torn() {
    let text: String = (0..5000).map(|number| format!("{number}\n")).collect();
    check(Stdio::piped(), write(text.as_bytes()), || {
        let mut all = block_on(async {
            let readers: Vec<_> = (0..5)
                .map(|_| {
                    spawn(async {
                        let mut lines = Vec::new();
                        while let Some(line) = stdin_line().await {
                            lines.push(line.parse::<usize>().unwrap());
                            runtime::yield_now().await;
                        }
                        lines
                    })
                })
                .collect();
            let mut all = Vec::new();
            for reader in readers {
                all.extend(reader.await.unwrap());
            }
            all
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(0..5000));
    });
}

#[test]
fn a_waker_that_panics_costs_the_others_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let talk = talk_over(ours, |ours| {
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
        ours.write_all(b"hello\n").unwrap();
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
        ours.write_all(b"there\n").unwrap();
    });
    check(to_stdio(theirs), talk, || {
        block_on(async {
            let panicking = acting_waker(|| panic!("on purpose"));
            let mut first = pin!(stdin_line());
            assert!(first.as_mut().poll(&mut Context::from_waker(&panicking)).is_pending());
            let second = spawn(stdin_line());
            runtime::yield_now().await;
            answer();
            assert_eq!(second.await.unwrap().as_deref(), Some("hello"));
            answer();
            assert_eq!(stdin_line().await.as_deref(), Some("there"));
        });
    });
}

#[test]
fn it_needs_no_runtime_and_one_thread() {
    check(Stdio::piped(), write(b"hello\nthere\n"), || {
        let before = threads();
        let _unused = stdin();
        assert_eq!(threads(), before);
        for line in ["hello", "there"] {
            let read = futures_lite::future::block_on(stdin().read_line()).unwrap();
            assert_eq!(read.as_deref(), Some(line));
        }
        assert_eq!(threads(), before.map(|before| before + 1));
    });
}

#[test]
fn what_std_had_read_comes_first() {
    check(Stdio::piped(), write(b"one\ntwo\nthree\n"), || {
        let mut first = String::new();
        std::io::stdin().read_line(&mut first).unwrap();
        assert_eq!(first, "one\n");
        block_on(async {
            assert_eq!(stdin_line().await.as_deref(), Some("two"));
            assert_eq!(stdin_line().await.as_deref(), Some("three"));
        });
    });
}

#[test]
fn in_a_child_of_fork_it_is_an_error_and_no_wait_without_end() {
    check(Stdio::piped(), write(b"hello\n"), || {
        block_on(async { assert_eq!(stdin_line().await.as_deref(), Some("hello")) });
        // SAFETY: the child reads an atomic and its own number, makes an error, and leaves.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let input = stdin();
            let mut buffer = [0; 8];
            let mut read = pin!(input.read(&mut buffer));
            let polled = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let refused = matches!(polled, std::task::Poll::Ready(Err(_)));
            // SAFETY: it ends the process at once.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let mut status = 0;
        // SAFETY: the place is ours and lives through the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    });
}

// ------------------------------------------------------------------------------------------------- helpers

/// Runs `body` in a process with this standard input, and `talk` here.
#[track_caller]
fn check<B: FnOnce() + Send + 'static>(
    input: Stdio,
    talk: impl FnOnce(Option<ChildStdin>),
    body: B,
) {
    let (output, text) = child_process_with_input(input, talk, body);
    assert!(output.status.success(), "{}\n{text}", output.status);
}

/// Writes all of it, and closes.
fn write(bytes: &[u8]) -> impl FnOnce(Option<ChildStdin>) {
    move |input| input.unwrap().write_all(bytes).unwrap()
}

/// Talks over a socket whose other end is the child's input.
fn talk_over(
    mut ours: UnixStream,
    talk: impl FnOnce(&mut UnixStream),
) -> impl FnOnce(Option<ChildStdin>) {
    move |_| talk(&mut ours)
}

/// The child's word to `talk_over`, over its standard input, which is a socket.
fn answer() {
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    assert_eq!(input.write(b"!").unwrap(), 1);
}

async fn stdin_line() -> Option<String> {
    stdin().read_line().await.unwrap()
}

fn to_stdio(socket: UnixStream) -> Stdio {
    OwnedFd::from(socket).into()
}

fn blocks(fd: &impl AsFd) -> bool {
    // SAFETY: the call takes two numbers and gives one.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert_ne!(flags, -1);
    flags & libc::O_NONBLOCK == 0
}

/// A file without a name.
fn temporary_file() -> File {
    let path = std::env::temp_dir().join(format!("ground-stdin-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Both ends of a terminal: who sits at it, and the line that a program has as its input.
fn terminal() -> (File, File) {
    let (mut person, mut line) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two places of ours for the numbers; the three others may be left out.
    let result =
        unsafe { libc::openpty(&raw mut person, &raw mut line, null, null.cast(), null.cast()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: new, and nobody else's.
    let person = unsafe { File::from_raw_fd(person) };
    // SAFETY: as above.
    let line = unsafe { File::from_raw_fd(line) };
    (person, line)
}
