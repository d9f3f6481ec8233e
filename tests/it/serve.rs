//! Does the accept loop survive what happens to servers?
//!
//! Too many connections, too few descriptors, a handler that panics, a client that never ends, a shutdown in the midst of
//! it. `serve` counts what it has done, and the tests compare.
//!
//! Comes from: main.rs. Goes to: net/src/serve.rs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::io::{AsyncReadExt, AsyncWriteExt, Cursor};
use net::{
    Excess, Limits, ListenOptions, Listener, MemoryConnector, MemoryListener, MemoryStream, Served,
    TcpListener, serve,
};
use runtime::{
    CancelToken, JoinHandle, PanicPolicy, Runtime, now, sleep, spawn, testing, unblock, yield_now,
};

use crate::support::counters::{
    Counter, CountingWaker, on_drop, panicking_waker, poll_with, until_async,
};
use crate::support::process::{descriptors, limit_descriptors};
use crate::support::{in_child_process, panic_quietly, run, within};

/// An echo server with these limits; its address, what stops it, and what it has done.
async fn echo(limits: Limits) -> (SocketAddr, CancelToken, JoinHandle<io::Result<Served>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancelToken::new();
    let server = spawn(serve(listener, limits.shutdown(stop.clone()), echo_handler));
    (address, stop, server)
}

async fn echo_handler(stream: net::TcpStream, _: SocketAddr) {
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// One exchange with the echo server, blocking.
fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"abc").unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"abc");
}

#[test]
fn clients_are_served_and_counted() {
    run(async || {
        let (address, stop, server) = echo(Limits::new()).await;
        let clients = unblock(move || {
            let mut clients: Vec<_> =
                (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
            clients.iter_mut().for_each(exchange);
        });
        clients.await.unwrap();
        stop.cancel();
        let served = server.await.unwrap().unwrap();
        assert_eq!(served, Served { accepted: 50, ..Served::default() });
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    run(async || {
        let (address, stop, server) = echo(Limits::new().connections(2)).await;
        let clients = unblock(move || {
            let mut first: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
            first.iter_mut().for_each(exchange);
            let mut third = TcpStream::connect(address).unwrap();
            third.write_all(b"abc").unwrap();
            third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert!(third.read(&mut [0; 3]).is_err(), "nobody serves it yet");
            drop(first.pop());
            third.set_read_timeout(None).unwrap();
            third.read_exact(&mut [0; 3]).unwrap();
        });
        clients.await.unwrap();
        stop.cancel();
        let served = server.await.unwrap().unwrap();
        assert_eq!((served.accepted, served.refused), (3, 0));
    });
}

#[test]
fn connections_beyond_the_limit_are_told_if_so_wished() {
    run(async || {
        let limits = Limits::new().connections(1).excess(Excess::Refuse("come later\n".into()));
        let (address, stop, server) = echo(limits).await;
        let clients = unblock(move || {
            let mut first = TcpStream::connect(address).unwrap();
            exchange(&mut first);
            for way in 0..20 {
                let mut next = TcpStream::connect(address).unwrap();
                if way % 2 == 0 {
                    // What it has said must not turn the answer into a reset.
                    let _ = next.write_all(b"a request");
                }
                let mut answer = String::new();
                next.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "come later\n");
            }
            exchange(&mut first);
        });
        clients.await.unwrap();
        stop.cancel();
        let served = server.await.unwrap().unwrap();
        assert_eq!((served.accepted, served.refused), (1, 20));
    });
}

#[test]
fn a_handler_that_panics_costs_one_connection() {
    static PANICS: Mutex<usize> = Mutex::new(0);
    within(30, || {
        let rt = Runtime::builder()
            .panic_policy(PanicPolicy::Hook(|_, _| *PANICS.lock().unwrap() += 1))
            .build()
            .unwrap();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancelToken::new();
            let limits = Limits::new().connections(3).shutdown(stop.clone());
            let server = spawn(serve(listener, limits, async |stream, address| {
                let mut byte = [0; 1];
                stream.read_exact(&mut byte).await.unwrap();
                if byte[0] == b'!' {
                    std::panic::resume_unwind(Box::new("of the handler"));
                }
                stream.write_all(&byte).await.unwrap();
                echo_handler(stream, address).await;
            }));
            let clients = unblock(move || {
                // More panics than connections allowed: each gives its place back.
                for _ in 0..10 {
                    let mut bad = TcpStream::connect(address).unwrap();
                    bad.write_all(b"!").unwrap();
                    assert!(matches!(bad.read(&mut [0; 1]), Ok(0) | Err(_)));
                    let mut good = TcpStream::connect(address).unwrap();
                    good.write_all(b"x").unwrap();
                    good.read_exact(&mut [0; 1]).unwrap();
                    exchange(&mut good);
                }
            });
            clients.await.unwrap();
            stop.cancel();
            assert_eq!(server.await.unwrap().unwrap().accepted, 20);
        });
        assert_eq!((rt.unobserved_panics(), *PANICS.lock().unwrap()), (10, 10));
    });
}

#[test]
fn the_accept_loop_survives_being_out_of_descriptors() {
    in_child_process(|| {
        runtime::block_on(async {
            const CLIENTS: usize = 60;
            limit_descriptors(128);
            let said = Rc::new(RefCell::new(Vec::new()));
            let log = Rc::clone(&said);
            let listener = ListenOptions::new().backlog(128).listen("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            // The clients' ends and what else is open leave room for a few of the server's.
            let mut clients: Vec<_> =
                (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
            let mut hold: Vec<_> =
                std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            hold.truncate(hold.len() - 5);
            let stop = CancelToken::new();
            let limits = Limits::new()
                .shutdown(stop.clone())
                .log(move |line| log.borrow_mut().push(line.to_owned()));
            let server = spawn(serve(listener, limits, async |stream, _| {
                // Holds its place until its client has had an answer.
                stream.read_exact(&mut [0; 1]).await.unwrap();
                stream.write_all(b"y").await.unwrap();
            }));
            sleep(Duration::from_millis(50)).await;
            assert_eq!(said.borrow().len(), 1, "said once: {:?}", said.borrow());
            let all = unblock(move || {
                for mut client in clients.drain(..) {
                    client.write_all(b"x").unwrap();
                    client.read_exact(&mut [0; 1]).unwrap();
                }
            });
            all.await.unwrap();
            stop.cancel();
            let served = server.await.unwrap().unwrap();
            assert_eq!((served.accepted, served.failed), (CLIENTS as u64, 0));
            assert!((1..=200).contains(&served.rests), "{} rests", served.rests);
            assert_eq!(said.borrow().len(), 1, "said once: {:?}", said.borrow());
        });
    });
}

#[test]
fn a_shutdown_lets_connections_end_by_themselves() {
    run(async || {
        let (address, stop, server) = echo(Limits::new()).await;
        let mut client = unblock(move || {
            let mut client = TcpStream::connect(address).unwrap();
            exchange(&mut client);
            client
        })
        .await
        .unwrap();
        stop.cancel();
        yield_now().await;
        let client = unblock(move || {
            exchange(&mut client);
            // Nobody new is taken.
            assert!(TcpStream::connect(address).is_err());
            client
        });
        let client = client.await.unwrap();
        assert!(!server.is_finished());
        drop(client);
        let served = server.await.unwrap().unwrap();
        assert_eq!((served.accepted, served.cut), (1, 0));
    });
}

#[test]
fn connections_that_do_not_end_are_cut_at_the_drain_s_deadline() {
    run(async || {
        let drain = Duration::from_millis(30);
        let (address, stop, server) = echo(Limits::new().drain(drain)).await;
        let clients = unblock(move || {
            let mut clients: Vec<_> =
                (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
            clients.iter_mut().for_each(exchange);
            clients
        });
        let clients = clients.await.unwrap();
        let start = Instant::now();
        stop.cancel();
        let served = server.await.unwrap().unwrap();
        assert!(start.elapsed() >= drain);
        assert_eq!((served.accepted, served.cut), (3, 3));
        for mut client in clients {
            assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)), "it is closed");
        }
    });
}

#[test]
fn whom_the_kernel_has_queued_is_served_before_a_shutdown() {
    run(async || {
        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut clients: Vec<_> =
                (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
            let stop = CancelToken::new();
            stop.cancel(); // before the server has even begun
            let server = spawn(serve(listener, Limits::new().shutdown(stop), echo_handler));
            let clients = unblock(move || clients.iter_mut().for_each(exchange));
            clients.await.unwrap();
            assert_eq!(server.await.unwrap().unwrap().accepted, 10);
        }
    });
}

#[test]
fn a_shutdown_ends_a_server_that_waits_for_a_place() {
    run(async || {
        let limits = Limits::new().connections(1).drain(Duration::from_millis(10));
        let (address, stop, server) = echo(limits).await;
        let client = unblock(move || {
            let mut client = TcpStream::connect(address).unwrap();
            exchange(&mut client);
            client
        });
        let _client = client.await.unwrap();
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().cut, 1);
    });
}

#[test]
fn a_server_that_is_dropped_leaves_its_connections_running() {
    run(async || {
        let (address, _stop, server) = echo(Limits::new()).await;
        let client = unblock(move || {
            let mut client = TcpStream::connect(address).unwrap();
            exchange(&mut client);
            client
        });
        let mut client = client.await.unwrap();
        assert!(server.cancel().await.unwrap_err().is_cancelled());
        let client = unblock(move || {
            exchange(&mut client);
            assert!(TcpStream::connect(address).is_err());
        });
        client.await.unwrap();
    });
}

#[test]
fn a_handler_is_dropped_by_the_time_the_cut_server_returns() {
    run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drops, started) = (Counter::new(), Counter::new());
        let (inside, begun) = (drops.clone(), started.clone());
        let stop = CancelToken::new();
        let limits = Limits::new().shutdown(stop.clone()).drain(Duration::ZERO);
        let server = spawn(serve(listener, limits, async move |_stream, _| {
            let drops = inside.clone();
            let _guard = on_drop(move || drops.up());
            begun.up();
            std::future::pending::<()>().await;
        }));
        let _clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        until_async(|| started.get() == 5).await;
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().cut, 5);
        assert_eq!(drops.get(), 5);
    });
}

#[test]
fn thousands_of_short_connections_leave_nothing_open() {
    in_child_process(|| {
        runtime::block_on(async {
            let (address, stop, server) = echo(Limits::new()).await;
            unblock(|| ()).await.unwrap();
            let before = descriptors();
            let clients = unblock(move || {
                for n in 0..2000 {
                    let mut client = TcpStream::connect(address).unwrap();
                    match n % 3 {
                        0 => exchange(&mut client),
                        1 => drop(client),
                        _ => crate::support::sockets::reset(client),
                    }
                }
            });
            clients.await.unwrap();
            // The last ones are on their way.
            until_async(|| descriptors() <= before).await;
            stop.cancel();
            server.await.unwrap().unwrap();
        });
    });
}

/// Connections that never saw a network: what each has sent is there, and its answers are kept.
struct InMemory {
    left: Cell<u32>,
    errors: RefCell<Vec<ErrorKind>>,
    end: Option<i32>,
}

impl Listener for InMemory {
    type Stream = Cursor<Vec<u8>>;
    type Address = u32;

    async fn accept(&self) -> io::Result<(Self::Stream, u32)> {
        yield_now().await;
        if let Some(kind) = self.errors.borrow_mut().pop() {
            return Err(match kind {
                ErrorKind::ConnectionAborted => io::Error::from_raw_os_error(libc::ECONNABORTED),
                _ => io::Error::from_raw_os_error(libc::EMFILE),
            });
        }
        match self.try_accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => match self.end {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => std::future::pending().await,
            },
            result => result,
        }
    }

    fn try_accept(&self) -> io::Result<(Self::Stream, u32)> {
        match self.left.get() {
            0 => Err(ErrorKind::WouldBlock.into()),
            left => {
                self.left.set(left - 1);
                Ok((Cursor::new(b"abc".to_vec()), left))
            }
        }
    }
}

#[test]
fn it_serves_whatever_accepts_and_tells_errors_apart() {
    run(async || {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let inside = Rc::clone(&seen);
        let listener = InMemory {
            left: Cell::new(5),
            errors: RefCell::new(vec![
                ErrorKind::ConnectionAborted,
                ErrorKind::OutOfMemory,
                ErrorKind::ConnectionAborted,
            ]),
            end: Some(libc::EINVAL),
        };
        let lines = Rc::new(Cell::new(0));
        let said = Rc::clone(&lines);
        let limits = Limits::new().log(move |_| said.set(said.get() + 1));
        let result = serve(listener, limits, async move |_, number| {
            inside.borrow_mut().push(number);
        });
        // The listener's own error ends it, after all that came before were served.
        assert_eq!(result.await.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!((seen.borrow().len(), lines.get()), (5, 1));
    });
}

#[test]
fn a_busy_server_answers_many_at_once() {
    run(async || {
        let (address, stop, server) = echo(Limits::new()).await;
        let clients: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(move || {
                    for _ in 0..20 {
                        let mut client = TcpStream::connect(address).unwrap();
                        for _ in 0..20 {
                            exchange(&mut client);
                        }
                    }
                })
            })
            .collect();
        unblock(move || clients.into_iter().for_each(|client| client.join().unwrap()))
            .await
            .unwrap();
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().accepted, 160);
    });
}

// ---- by a clock that jumps, and over a network in memory

/// A queue of connections as a kernel has it: an error leaves them in there.
struct Troubled {
    queue: MemoryListener,
    next: RefCell<Option<(MemoryStream, u64)>>,
    errors: Rc<RefCell<VecDeque<io::Error>>>,
}

impl Listener for Troubled {
    type Stream = MemoryStream;
    type Address = u64;

    async fn accept(&self) -> io::Result<(MemoryStream, u64)> {
        if self.next.borrow().is_none() {
            let next = self.queue.accept().await?;
            *self.next.borrow_mut() = Some(next);
        }
        self.try_accept()
    }

    fn try_accept(&self) -> io::Result<(MemoryStream, u64)> {
        let next = self.next.take().map_or_else(|| self.queue.try_accept(), Ok)?;
        match self.errors.borrow_mut().pop_front() {
            None => Ok(next),
            Some(error) => {
                *self.next.borrow_mut() = Some(next);
                Err(error)
            }
        }
    }
}

/// An echo server in memory, with what connects to it, stops it, and troubles its accepts.
struct Memory {
    network: MemoryConnector,
    errors: Rc<RefCell<VecDeque<io::Error>>>,
    stop: CancelToken,
    server: JoinHandle<io::Result<Served>>,
}

impl Memory {
    /// Its streams hold 16 bytes in each direction.
    fn start(limits: Limits) -> Memory {
        let queue = MemoryListener::new(16);
        let (network, errors, stop) = (queue.connector(), Rc::default(), CancelToken::new());
        let listener = Troubled { queue, next: RefCell::default(), errors: Rc::clone(&errors) };
        let limits = limits.shutdown(stop.clone()).log(|_| {});
        let server = spawn(serve(listener, limits, async |mut stream: MemoryStream, _| {
            let mut buffer = [0; 16];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }));
        Memory { network, errors, stop, server }
    }

    /// A connection that has been answered, so it is one of the open ones.
    async fn connect(&self) -> MemoryStream {
        let mut client = self.network.connect().unwrap();
        client.write_all(b"abc").await.unwrap();
        client.read_exact(&mut [0; 3]).await.unwrap();
        client
    }

    fn fail_next(&self, number: i32) {
        self.errors.borrow_mut().push_back(io::Error::from_raw_os_error(number));
    }

    async fn stop(self) -> Served {
        self.stop.cancel();
        self.server.await.unwrap().unwrap()
    }
}

/// As [`run`], by a test's time.
fn jump(body: impl AsyncFnOnce() + Send + 'static) {
    within(60, || testing::run(body()));
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn every_error_of_an_accept_is_of_one_of_three_kinds() {
    jump(async || {
        const ERESTARTSYS: i32 = 512;
        let of_a_connection = [
            libc::ECONNABORTED,
            libc::ECONNRESET,
            libc::ECONNREFUSED,
            libc::EPIPE,
            libc::EPERM,
            libc::EACCES,
            libc::EPROTO,
            libc::ENOPROTOOPT,
            libc::EOPNOTSUPP,
            libc::ESOCKTNOSUPPORT,
            libc::EPROTONOSUPPORT,
            libc::ENETDOWN,
            libc::ENETUNREACH,
            libc::ENETRESET,
            libc::EHOSTDOWN,
            libc::EHOSTUNREACH,
            libc::ETIMEDOUT,
            libc::EINTR,
            libc::EAGAIN,
            #[cfg(target_os = "linux")]
            libc::ENONET,
            #[cfg(target_os = "linux")]
            ERESTARTSYS,
        ]
        .map(io::Error::from_raw_os_error);
        // What a listener gives that is not the kernel's, such as one that speaks TLS first.
        let of_its_peer = [
            ErrorKind::ConnectionAborted,
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
            ErrorKind::TimedOut,
            ErrorKind::UnexpectedEof,
            ErrorKind::InvalidData,
        ]
        .map(|kind| io::Error::new(kind, "of the peer"));
        for error in of_a_connection.into_iter().chain(of_its_peer) {
            let (text, server) = (error.to_string(), Memory::start(Limits::new()));
            server.errors.borrow_mut().push_back(error);
            let start = now();
            drop(server.connect().await);
            assert_eq!(now(), start, "it does not rest: {text}");
            let expected = Served { accepted: 1, failed: 1, ..Served::default() };
            assert_eq!(server.stop().await, expected, "{text}");
        }

        let of_the_process = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOSPC,
            #[cfg(target_os = "linux")]
            libc::ENOSR,
        ]
        .map(io::Error::from_raw_os_error);
        for error in of_the_process.into_iter().chain([ErrorKind::OutOfMemory.into()]) {
            let (text, server) = (error.to_string(), Memory::start(Limits::new()));
            server.errors.borrow_mut().push_back(error);
            let start = now();
            drop(server.connect().await);
            assert_eq!(now() - start, 100 * MS, "{text}");
            let expected = Served { accepted: 1, rests: 1, ..Served::default() };
            assert_eq!(server.stop().await, expected, "{text}");
        }

        let of_the_listener =
            [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT, libc::ENODEV, libc::ENOSYS];
        for number in of_the_listener {
            let server = Memory::start(Limits::new());
            server.fail_next(number);
            let mut client = server.network.connect().unwrap();
            let error = server.server.await.unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(number));
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "the listener is closed");
        }
    });
}

#[test]
fn a_rest_ends_as_soon_as_one_of_the_own_connections_does() {
    jump(async || {
        let server = Memory::start(Limits::new());
        let (first, start) = (server.connect().await, now());
        server.fail_next(libc::EMFILE);
        spawn(async move {
            sleep(10 * MS).await;
            drop(first);
        });
        drop(server.connect().await);
        assert_eq!(now() - start, 10 * MS);
        assert_eq!(server.stop().await.rests, 1);
    });
}

#[test]
fn a_shutdown_ends_a_rest() {
    jump(async || {
        let server = Memory::start(Limits::new());
        (0..10).for_each(|_| server.fail_next(libc::EMFILE));
        let (_client, start) = (server.network.connect().unwrap(), now());
        sleep(10 * MS).await;
        assert_eq!(server.stop().await, Served { rests: 1, ..Served::default() });
        assert_eq!(now() - start, 10 * MS);
    });
}

#[test]
fn a_rest_is_told_once_however_many_follow() {
    jump(async || {
        let told = Rc::new(Cell::new(0));
        let tell = Rc::clone(&told);
        let queue = MemoryListener::new(16);
        let network = queue.connector();
        let errors: VecDeque<_> =
            (0..50).map(|_| io::Error::from_raw_os_error(libc::ENFILE)).collect();
        let errors = Rc::new(RefCell::new(errors));
        let listener = Troubled { queue, next: RefCell::default(), errors };
        let stop = CancelToken::new();
        let limits = Limits::new().shutdown(stop.clone()).log(move |line| {
            assert!(line.starts_with("cannot accept: "), "{line}");
            tell.set(tell.get() + 1);
        });
        let handler = async |mut stream: MemoryStream, _| stream.write_all(b"x").await;
        let server = spawn(serve(listener, limits, handler));
        let (mut client, start) = (network.connect().unwrap(), now());
        client.read_exact(&mut [0; 1]).await.unwrap();
        assert_eq!((now() - start, told.get()), (50 * 100 * MS, 1));
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().rests, 50);
    });
}

#[test]
fn an_aborted_connection_in_the_queue_at_a_shutdown_does_not_cost_those_behind_it() {
    jump(async || {
        let server = Memory::start(Limits::new());
        server.fail_next(libc::ECONNABORTED);
        let mut clients: Vec<_> = (0..3).map(|_| server.network.connect().unwrap()).collect();
        server.stop.cancel();
        for client in &mut clients {
            client.write_all(b"abc").await.unwrap();
            client.read_exact(&mut [0; 3]).await.unwrap();
        }
        clients.clear();
        let expected = Served { accepted: 3, failed: 1, ..Served::default() };
        assert_eq!(server.stop().await, expected);
    });
}

#[test]
fn those_who_wait_for_a_place_at_a_shutdown_are_closed_and_counted() {
    jump(async || {
        let server = Memory::start(Limits::new().connections(0)); // which is one
        let first = server.connect().await;
        let mut waiting: Vec<_> = (0..3).map(|_| server.network.connect().unwrap()).collect();
        server.stop.cancel();
        for client in &mut waiting {
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        }
        drop(first);
        let expected = Served { accepted: 1, refused: 3, ..Served::default() };
        assert_eq!(server.stop().await, expected);
    });
}

#[test]
fn a_listener_that_fails_leaves_the_open_connections_the_drain_s_time() {
    jump(async || {
        let counts = Rc::new(Cell::new(Served::default()));
        let server = Memory::start(Limits::new().drain(50 * MS).counts(Rc::clone(&counts)));
        let (mut quick, mut slow) = (server.connect().await, server.connect().await);
        server.fail_next(libc::EINVAL);
        let (_next, start) = (server.network.connect().unwrap(), now());
        sleep(10 * MS).await;
        assert!(server.network.connect().is_err(), "the listener is closed by now");
        quick.write_all(b"abc").await.unwrap();
        quick.read_exact(&mut [0; 3]).await.unwrap();
        drop(quick);
        assert_eq!(slow.read(&mut [0; 1]).await.unwrap(), 0, "it is cut");
        assert_eq!(now() - start, 50 * MS);
        assert_eq!(server.server.await.unwrap().unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(counts.get(), Served { accepted: 3, cut: 2, ..Served::default() });
    });
}

#[test]
fn a_limit_of_watched_descriptors_is_told_as_what_it_is() {
    jump(async || {
        let told = Rc::new(RefCell::new(String::new()));
        let tell = Rc::clone(&told);
        let queue = MemoryListener::new(16);
        let network = queue.connector();
        let errors = Rc::new(RefCell::new([io::Error::from_raw_os_error(libc::ENOSPC)].into()));
        let listener = Troubled { queue, next: RefCell::default(), errors };
        let limits = Limits::new().log(move |line| tell.borrow_mut().push_str(line));
        let handler = async |mut stream: MemoryStream, _| stream.write_all(b"x").await;
        let _server = spawn(serve(listener, limits, handler));
        network.connect().unwrap().read_exact(&mut [0; 1]).await.unwrap();
        let told = told.borrow();
        assert!(told.contains("fs.epoll.max_user_watches") && !told.contains("queue"), "{told}");
    });
}

#[test]
fn a_drain_may_be_without_end() {
    jump(async || {
        let server = Memory::start(Limits::new().drain(Duration::MAX));
        let (client, start) = (server.connect().await, now());
        spawn(async move {
            sleep(Duration::from_secs(86_400)).await;
            drop(client);
        });
        assert_eq!(server.stop().await, Served { accepted: 1, ..Served::default() });
        assert_eq!(now() - start, Duration::from_secs(86_400));
    });
}

/// Longer than a stream in memory takes at once here.
const REFUSAL: &str = "there are too many of you; come later\n";

fn refusing() -> Limits {
    Limits::new().connections(1).excess(Excess::Refuse(REFUSAL.into()))
}

#[test]
fn a_crowd_of_refused_clients_is_told_and_the_last_64_are_kept_for_a_second() {
    jump(async || {
        let server = Memory::start(refusing());
        let (first, start) = (server.connect().await, now());
        let mut crowd: Vec<_> = (0..200).map(|_| server.network.connect().unwrap()).collect();
        testing::until_idle().await;
        // The oldest make room for the last 64, and have been sent as much as they took: a stream holds 16 bytes.
        for mut client in crowd.drain(..200 - 64) {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, REFUSAL[..16]);
        }
        assert!(now() - start < MS);
        sleep(Duration::from_secs(1)).await;
        for mut client in crowd {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, REFUSAL[..16]);
        }
        assert!(now() - start < Duration::from_secs(1) + MS);
        let mut next = server.network.connect().unwrap();
        let mut text = String::new();
        next.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, REFUSAL);
        drop((first, next));
        let expected = Served { accepted: 1, refused: 201, ..Served::default() };
        assert_eq!(server.stop().await, expected);
    });
}

#[test]
fn a_shutdown_lets_those_who_are_refused_read_why() {
    jump(async || {
        let server = Memory::start(refusing());
        let first = server.connect().await;
        let mut refused = server.network.connect().unwrap();
        let reader = spawn(async move {
            let mut text = Vec::new();
            for _ in REFUSAL.bytes() {
                sleep(MS).await;
                let mut byte = [0];
                refused.read_exact(&mut byte).await.unwrap();
                text.extend(byte);
            }
            text
        });
        testing::until_idle().await;
        drop(first);
        assert_eq!(server.stop().await.refused, 1);
        sleep(2 * MS).await; // the last bytes lie in the stream
        assert!(reader.is_finished(), "the server was gone before");
        assert_eq!(reader.await.unwrap(), REFUSAL.as_bytes());
    });
}

#[test]
fn nothing_of_a_server_is_left_when_it_returns() {
    jump(async || {
        let server = Memory::start(refusing().drain(Duration::ZERO));
        let (mut first, mut refused) = (server.connect().await, server.network.connect().unwrap());
        testing::until_idle().await;
        let expected = Served { accepted: 1, refused: 1, cut: 1, ..Served::default() };
        assert_eq!(server.stop().await, expected);
        for stream in [&mut first, &mut refused] {
            let error = stream.write_all(b"anybody?").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn a_panic_in_the_drop_of_a_cut_handler_goes_to_the_policy() {
    static PANICS: Mutex<usize> = Mutex::new(0);
    within(30, || {
        let rt = Runtime::builder()
            .panic_policy(PanicPolicy::Hook(|_, _| *PANICS.lock().unwrap() += 1))
            .build()
            .unwrap();
        rt.block_on(async {
            let listener = MemoryListener::new(16);
            let (network, stop) = (listener.connector(), CancelToken::new());
            let (begun, drops) = (Counter::new(), Counter::new());
            let (begins, inside) = (begun.clone(), drops.clone());
            let limits = Limits::new().shutdown(stop.clone()).drain(Duration::ZERO);
            let server = spawn(serve(listener, limits, async move |_stream, number| {
                begins.up();
                let _counted = inside.guard();
                let _bad = on_drop(move || {
                    if number % 2 == 0 {
                        panic_quietly("of a drop");
                    }
                });
                std::future::pending::<()>().await;
            }));
            let _clients: Vec<_> = (0..6).map(|_| network.connect().unwrap()).collect();
            until_async(|| begun.get() == 6).await;
            stop.cancel();
            assert_eq!(server.await.unwrap().unwrap().cut, 6);
            assert_eq!((drops.get(), *PANICS.lock().unwrap()), (6, 3));
        });
        assert_eq!(rt.unobserved_panics(), 3);
    });
}

#[test]
fn a_handler_s_panic_beside_one_of_the_waker_that_waits_for_its_place_is_no_end_of_the_process() {
    in_child_process(|| {
        runtime::block_on(async {
            let listener = MemoryListener::new(16);
            let network = listener.connector();
            let limits = Limits::new().connections(1);
            let mut server =
                Box::pin(serve(listener, limits, async |mut stream: MemoryStream, _| {
                    stream.read_exact(&mut [0; 1]).await.unwrap();
                    panic_quietly("of the handler");
                }));
            let mut client = network.connect().unwrap();
            // Accepted, and now it waits for the place to be free.
            assert!(poll_with(&mut server, &panicking_waker()).is_pending());
            client.write_all(b"x").await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            // The place is free again.
            let _second = network.connect().unwrap();
            let (woken, waker) = CountingWaker::new();
            assert!(poll_with(&mut server, &waker).is_pending());
            assert_eq!(woken.wakes(), 0);
            drop(server);
        });
    });
}

#[test]
fn a_shortage_at_a_shutdown_costs_nobody_in_the_queue() {
    jump(async || {
        let server = Memory::start(Limits::new());
        let first = server.connect().await;
        let mut clients: Vec<_> = (0..2).map(|_| server.network.connect().unwrap()).collect();
        server.fail_next(libc::EMFILE);
        server.stop.cancel();
        sleep(10 * MS).await;
        drop(first); // and with it there is a descriptor again
        for client in &mut clients {
            client.write_all(b"abc").await.unwrap();
            client.read_exact(&mut [0; 3]).await.unwrap();
        }
        clients.clear();
        assert_eq!(server.stop().await.accepted, 3);
    });
}

#[test]
fn a_listener_that_only_fails_is_told_of_and_rested_for() {
    jump(async || {
        let server = Memory::start(Limits::new());
        (0..1030).for_each(|_| server.fail_next(libc::EOPNOTSUPP));
        let (start, client) = (now(), server.connect().await);
        assert_eq!(now() - start, 6 * 100 * MS);
        drop(client);
        let served = server.stop().await;
        assert_eq!((served.failed, served.rests, served.accepted), (1024, 6, 1));
    });
}
