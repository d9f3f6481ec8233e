//! What do those who wait for something learn when their own socket's reading direction is shut down?
//!
//! The kernel's blocking calls end then. Its non-blocking ones go on to say "would block" for datagrams and at Unix
//! listeners, so the runtime has to find it out: before the first wait, in the midst of one, and after a try without one.
//!
//! Comes from: main.rs. Goes to: async_socket.rs of the runtime; datagrams and listeners of net.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use net::{Limits, TcpListener, UdpSocket, UnixDatagram, UnixListener, UnixStream, serve};
use runtime::{AsyncSocket, spawn, timeout, yield_now};
use socket2::SockRef;

use crate::support::folder::Folder;
use crate::support::run;
use crate::support::sockets::tcp;

const LONG: Duration = Duration::from_secs(40);

/// When it is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// And the kernel's report of it comes before anybody waits.
    Before,
    /// The report has not come yet.
    JustBefore,
    While,
    AfterATry,
}

/// Waits by `wait`, and gives the error that it must end with.
async fn told<S: AsFd + 'static, T: 'static>(
    socket: S,
    how: Shutdown,
    when: When,
    attempt: impl Fn(&S) -> io::Result<T>,
    wait: impl AsyncFn(&S) -> io::Result<T> + 'static,
) -> io::Error {
    let socket = Rc::new(socket);
    let shut = || SockRef::from(&*socket).shutdown(how).unwrap();
    match when {
        When::Before => {
            shut();
            yield_now().await;
            yield_now().await;
        }
        When::JustBefore => shut(),
        When::While => {}
        When::AfterATry => {
            assert!(attempt(&socket).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
            shut();
            let told = async {
                loop {
                    match attempt(&socket).err().expect("nothing is there") {
                        early if early.kind() == ErrorKind::WouldBlock => yield_now().await,
                        error => break error,
                    }
                }
            };
            let error = timeout(LONG, told).await.expect("it is never told");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    let waiting = spawn({
        let socket = Rc::clone(&socket);
        async move { wait(&socket).await }
    });
    if when == When::While {
        yield_now().await;
        yield_now().await;
        shut();
    }
    let end = timeout(LONG, waiting).await;
    let error = end.expect("it waits for ever").unwrap().err().expect("nothing is there");
    assert!(error.to_string().contains("was shut down"), "{error}");
    error
}

const ALL: [When; 4] = [When::Before, When::JustBefore, When::While, When::AfterATry];

#[test]
fn a_receive_on_a_datagram_socket_that_is_shut_down_ends_with_an_error() {
    run(async || {
        for when in ALL {
            for how in [Shutdown::Read, Shutdown::Both] {
                let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                udp.connect(there.local_addr().unwrap()).await.unwrap();
                let error = told(
                    udp,
                    how,
                    when,
                    |socket| socket.try_recv(&mut [0; 8]),
                    async |socket| socket.recv(&mut [0; 8]).await,
                );
                assert_eq!(error.await.kind(), ErrorKind::InvalidInput);
                let (unix, _theirs) = UnixDatagram::pair().unwrap();
                let error = told(
                    unix,
                    how,
                    when,
                    |socket| socket.try_recv_from(&mut [0; 8]).map(drop),
                    async |socket| socket.recv_from(&mut [0; 8]).await.map(drop),
                );
                assert_eq!(error.await.kind(), ErrorKind::InvalidInput);
                let (plain, _theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
                let plain = AsyncSocket::new(plain).unwrap();
                let receive = async |socket: &AsyncSocket<_>| socket.recv(&mut [0; 8]).await;
                told(plain, how, when, |socket| socket.try_recv(&mut [0; 8]), receive).await;
            }
        }
    });
}

#[test]
fn what_had_come_before_the_shutdown_is_received() {
    run(async || {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"one").await.unwrap();
        theirs.send(b"").await.unwrap();
        ours.shutdown(Shutdown::Both).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(ours.recv(&mut buffer).await.unwrap().count, 3);
        assert_eq!(ours.recv(&mut buffer).await.unwrap().count, 0, "an empty one is one, too");
        assert_eq!(ours.recv(&mut buffer).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn an_accept_on_a_listener_that_is_shut_down_ends_with_an_error() {
    run(async || {
        let folder = Folder::new();
        for (number, when) in ALL.into_iter().enumerate() {
            for how in [Shutdown::Read, Shutdown::Both] {
                let path = folder.at(&format!("{number}-{how:?}"));
                let unix = UnixListener::bind(&path).await.unwrap();
                let accept = async |listener: &UnixListener| listener.accept().await.map(drop);
                told(unix, how, when, |it| it.try_accept().map(drop), accept).await;
                if cfg!(target_os = "linux") {
                    // Elsewhere the kernel refuses to shut it down.
                    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    let accept = async |listener: &TcpListener| listener.accept().await.map(drop);
                    told(tcp, how, when, |it| it.try_accept().map(drop), accept).await;
                }
            }
        }
    });
}

#[test]
fn a_closure_on_a_stream_whose_peer_has_finished_is_not_told_of_a_shutdown() {
    run(async || {
        let (ours, peer) = tcp();
        peer.shutdown(Shutdown::Write).unwrap();
        ours.readable().await.unwrap();
        for _ in 0..200 {
            yield_now().await; // the report, too, has come
        }
        // As a read of the error queue, where the time stamps of what is still sent come.
        let error = ours.try_read_with(|_| Err::<(), _>(ErrorKind::WouldBlock.into()));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn serve_ends_with_the_error_of_its_listener() {
    run(async || {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.at("shut")).await.unwrap();
        let duplicate = listener.as_fd().try_clone_to_owned().unwrap();
        let serving =
            spawn(serve(listener, Limits::new(), async |_: UnixStream, _| Ok::<(), io::Error>(())));
        yield_now().await;
        SockRef::from(&duplicate).shutdown(Shutdown::Both).unwrap();
        let ended = timeout(LONG, serving).await.expect("it serves nobody for ever").unwrap();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}
