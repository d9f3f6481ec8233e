//! Is a descriptor watched as what it is, and no longer than its owner lives?
//!
//! A duplicate may outlive a listener, a datagram socket or a pipe (`try_clone`, a fork, one that was sent on): the kernel's
//! list must not keep the entry, or each event wakes the loop for nothing. (A connection is not taken off the list before it
//! closes, which would cost a call each; its doc says so.) A FIFO without a writer is not at its end. And what cannot be watched is refused
//! with a word on what to do, and left as it was.
//!
//! Comes from: main.rs. Goes to: async_socket.rs, outer/pipe.rs of the runtime; all sockets of net.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use runtime::{AsyncSocket, PipeReader, PipeWriter, Runtime, sleep, timeout, yield_now};

use crate::support::counters::Watcher;
use crate::support::folder::Folder;
use crate::support::{in_child_process, run, within};

const EVENTS: usize = 50;

/// How often the loop is woken while `event` happens again and again to a socket whose duplicate lives.
fn waits_after_the_drop<S: AsFd>(
    make: impl AsyncFnOnce() -> (S, Box<dyn FnMut() + Send>),
    end: impl FnOnce(S),
) -> usize {
    let watcher = Rc::new(Watcher::default());
    let rt = Runtime::builder().instrument(watcher.clone()).build().unwrap();
    rt.block_on(async {
        let (socket, mut event) = make().await;
        let _duplicate = socket.as_fd().try_clone_to_owned().unwrap();
        end(socket);
        yield_now().await;
        let before = watcher.waits.get();
        let events = thread::spawn(move || {
            for _ in 0..EVENTS {
                event();
                thread::sleep(Duration::from_micros(300));
            }
        });
        sleep(Duration::from_millis(40)).await;
        events.join().unwrap();
        watcher.waits.get() - before
    })
}

#[test]
fn a_dropped_listener_datagram_socket_or_pipe_whose_duplicate_lives_wakes_the_loop_no_more() {
    within(60, || {
        let folder = Folder::new();
        let path = |name| folder.at(name);
        let tcp_listener = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut clients = Vec::new();
            let come = move || clients.push(std::net::TcpStream::connect(address).unwrap());
            (listener, Box::new(come) as Box<dyn FnMut() + Send>)
        };
        let tcp_stream = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().await.unwrap().0;
            let write = move || client.write_all(b"x").unwrap();
            (stream, Box::new(write) as Box<dyn FnMut() + Send>)
        };
        let udp = async || {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (address, sender) =
                (socket.local_addr().unwrap(), std::net::UdpSocket::bind("127.0.0.1:0"));
            let sender = sender.unwrap();
            let send = move || assert_eq!(sender.send_to(b"x", address).unwrap(), 1);
            (socket, Box::new(send) as Box<dyn FnMut() + Send>)
        };
        let unix_listener = async || {
            let path: PathBuf = path("listener");
            let listener = UnixListener::bind(&path).await.unwrap();
            // Its name goes with it, so the clients' connects have to be made by another: a hard link.
            let link = path.with_extension("link");
            std::fs::hard_link(&path, &link).unwrap();
            let mut clients = Vec::new();
            let come =
                move || clients.push(std::os::unix::net::UnixStream::connect(&link).unwrap());
            (listener, Box::new(come) as Box<dyn FnMut() + Send>)
        };
        let unix_datagram = async || {
            let (socket, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
            theirs.set_nonblocking(true).unwrap(); // the queue is short
            let send = move || drop(theirs.send(b"x"));
            (UnixDatagram::from_std(socket).unwrap(), Box::new(send) as Box<dyn FnMut() + Send>)
        };
        let reader = async || {
            let (reader, mut writer) = io::pipe().unwrap();
            let write = move || writer.write_all(b"x").unwrap();
            (PipeReader::new(reader).unwrap(), Box::new(write) as Box<dyn FnMut() + Send>)
        };
        let counts = [
            ("a TCP listener", waits_after_the_drop(tcp_listener, drop)),
            ("a UDP socket", waits_after_the_drop(udp, drop)),
            ("a Unix listener", waits_after_the_drop(unix_listener, drop)),
            ("a Unix datagram socket", waits_after_the_drop(unix_datagram, drop)),
            ("a pipe", waits_after_the_drop(reader, drop)),
            (
                "into_std",
                waits_after_the_drop(tcp_stream, |stream| {
                    std::mem::forget(stream.into_std()); // open all the time
                }),
            ),
        ];
        println!("{counts:?}");
        // Some for the sleep and the turns around it.
        assert!(counts.iter().all(|(_, waits)| *waits <= 8), "{counts:?}");
    });
}

// -------------------------------------------------------------------------------------------------------- FIFOs

fn fifo(folder: &Folder) -> PathBuf {
    let path = folder.at("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a string that ends in a zero and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path
}

fn open_to_read(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

fn open_to_write(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

#[test]
fn a_fifo_that_no_writer_has_opened_yet_is_waited_for() {
    run(async || {
        let folder = Folder::new();
        let path = fifo(&folder);
        let reader = PipeReader::new(open_to_read(&path)).unwrap();
        let mut buffer = [0; 64];
        assert!(poll_once(pin!(reader.read(&mut buffer))).await.is_none(), "no writer, no end");
        yield_now().await;
        assert!(poll_once(pin!(reader.read(&mut buffer))).await.is_none());
        let mut all = Vec::new();
        assert!(poll_once(pin!(reader.read_to_end(&mut all))).await.is_none());
        let mut writer = open_to_write(&path);
        assert!(poll_once(pin!(reader.read(&mut buffer))).await.is_none(), "nothing is written");
        writer.write_all(b"hello").unwrap();
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 5);
        let second = open_to_write(&path);
        drop(writer);
        assert!(poll_once(pin!(reader.read(&mut buffer))).await.is_none(), "one is left");
        drop(second);
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 0, "all have left");
        assert_eq!(reader.read_to_end(&mut all).await.unwrap(), 0);
        // And what a later one writes is read.
        open_to_write(&path).write_all(b"again").unwrap();
        assert_eq!(reader.read_to_end(&mut all).await.unwrap(), 5);
    });
}

#[test]
fn a_fifo_s_first_writer_that_comes_and_goes_while_the_reader_waits_is_seen() {
    run(async || {
        let folder = Folder::new();
        let path = fifo(&folder);
        for writes in [true, false] {
            let reader = PipeReader::new(open_to_read(&path)).unwrap();
            let writer = {
                let path = path.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(5));
                    let mut writer = open_to_write(&path);
                    if writes {
                        writer.write_all(b"all of it").unwrap();
                    }
                })
            };
            let mut all = Vec::new();
            let end = timeout(Duration::from_secs(40), reader.read_to_end(&mut all)).await;
            assert_eq!(end.expect("it is at its end").unwrap(), if writes { 9 } else { 0 });
            writer.join().unwrap();
        }
    });
}

// ------------------------------------------------------------------------------------- what cannot be watched

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: no pointers; the descriptor is borrowed.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

#[cfg(all(target_os = "linux", not(ground_portable)))]
#[test]
fn a_descriptor_that_cannot_be_watched_is_refused_with_advice_and_left_as_it_was() {
    in_child_process(|| {
        let folder = Folder::new();
        let file = File::create(folder.at("file")).unwrap();
        let shared = file.try_clone().unwrap();
        let outside = AsyncSocket::new(std::os::unix::net::UnixStream::pair().unwrap().0);
        assert!(outside.is_err());
        runtime::block_on(async {
            let error = AsyncSocket::new(file).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("runtime::unblock"), "{error}");
            assert!(!is_nonblocking(&shared), "the open file is shared");
            let folder = File::open(folder.path()).unwrap();
            assert_eq!(AsyncSocket::new(folder).unwrap_err().kind(), ErrorKind::InvalidInput);
            let pipe_of_file = PipeReader::new(File::open("/proc/self/status").unwrap());
            assert!(pipe_of_file.unwrap_err().to_string().contains("runtime::unblock"));
            let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
            let _first = AsyncSocket::new(&one).unwrap();
            let error = AsyncSocket::new(&one).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        });
        // Outside of a runtime, too.
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let duplicate = one.try_clone().unwrap();
        assert!(AsyncSocket::new(one).is_err() && !is_nonblocking(&duplicate));
        drop(other);
    });
}

#[test]
fn a_pipe_s_wrong_end_is_refused_and_left_as_it_was() {
    run(async || {
        let (reader, writer) = io::pipe().unwrap();
        let (mut kept, reader) = (reader.try_clone().unwrap(), OwnedFd::from(reader));
        let error = PipeWriter::new(reader).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("PipeReader"), "{error}");
        let error = PipeReader::new(writer.try_clone().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("PipeWriter"), "{error}");
        assert!(!is_nonblocking(&kept) && !is_nonblocking(&writer));
        drop(writer);
        assert_eq!(kept.read(&mut [0; 8]).unwrap(), 0);
        // One that is open for both is either.
        let folder = Folder::new();
        let both = OpenOptions::new().read(true).write(true).open(fifo(&folder)).unwrap();
        let writer = PipeWriter::new(both.try_clone().unwrap()).unwrap();
        let reader = PipeReader::new(both).unwrap();
        writer.write_all(b"hello").await.unwrap();
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 5);
    });
}

#[test]
fn an_abstract_name_is_shown() {
    #[cfg(target_os = "linux")]
    run(async || {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("ground up {}\n", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind(&address).await.unwrap();
        let stream = UnixStream::connect(&address).await.unwrap();
        let shown = format!("@ground up {}\\n", std::process::id());
        assert!(format!("{stream:?}").contains(&shown), "{stream:?}");
    });
}

#[test]
fn a_reset_on_drop_comes_from_halves_too_with_no_end_before() {
    run(async || {
        for writer_first in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            client.write_all(b"half of it").await.unwrap();
            client.set_reset_on_drop(true).unwrap();
            let (reader, writer) = client.into_split();
            assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 10);
            if writer_first {
                drop(writer);
                let mut byte = [0];
                let early = poll_once(pin!(server.read(&mut byte))).await;
                assert!(early.is_none(), "{early:?}");
                drop(reader);
            } else {
                drop(reader);
                drop(writer);
            }
            let error = server.read(&mut [0; 64]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}
