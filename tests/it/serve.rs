//! Does the accept loop survive what happens to servers?
//!
//! Too many connections, too few descriptors, a handler that panics, a client that never ends, a shutdown in the midst of
//! it. `serve` counts what it has done, and the tests compare.
//!
//! Comes from: main.rs. Goes to: net/src/serve.rs.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::io::Cursor;
use net::{Excess, Limits, ListenOptions, Listener, Served, TcpListener, serve};
use runtime::{CancelToken, JoinHandle, PanicPolicy, Runtime, sleep, spawn, unblock, yield_now};

use crate::support::counters::{Counter, on_drop, until_async};
use crate::support::process::{descriptors, limit_descriptors};
use crate::support::{in_child_process, run, within};

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
