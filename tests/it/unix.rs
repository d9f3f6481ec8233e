//! Do Unix sockets find each other by name, and are their files there exactly as long as they should be?
//!
//! The other end is std's blocking socket, or another program: Python, socat, nc. What all datagrams have in common is in
//! datagram.rs.
//!
//! Comes from: main.rs. Goes to: net/src/unix.rs, net/src/unix_name.rs, net/src/unix_datagram.rs.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net as std_unix;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;

use futures_lite::StreamExt;
use futures_lite::future::{poll_once, zip};
use net::{Limits, UnixDatagram, UnixListener, UnixOptions, UnixStream, serve};
use runtime::testing::check_two_way_stream;
use runtime::{CancelToken, spawn, unblock, yield_now};

use crate::support::folder::Folder;
use crate::support::process::descriptors;
use crate::support::{in_child_process, run, within};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A listener's file after a crash: the socket is gone, the file is not.
fn leave_behind(path: &Path) -> u64 {
    drop(std_unix::UnixListener::bind(path).unwrap());
    fs::symlink_metadata(path).unwrap().ino()
}

// ------------------------------------------------------------------------------------------------------ streams

#[test]
fn a_listener_and_a_stream_find_each_other_by_name() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let listener = UnixListener::bind(&path).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut waiting = pin!(listener.accept());
        assert!(poll_once(waiting.as_mut()).await.is_none());
        let client = UnixStream::connect(path.to_str().unwrap()).await.unwrap();
        let (server, peer) = waiting.await.unwrap();
        assert!(peer.is_unnamed() && server.peer_addr().unwrap().is_unnamed());
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        assert_eq!(server.local_addr().unwrap().as_pathname(), Some(&*path));
        client.write_all(b"hello").await.unwrap();
        drop(client);
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
        let text = format!("{listener:?}");
        assert!(text.contains("UnixListener") && text.contains(path.to_str().unwrap()), "{text}");
    });
}

#[test]
fn std_s_sockets_are_their_peers() {
    run(async || {
        let folder = Folder::new();
        let (ours_at, theirs_at) = (folder.at("ours"), folder.at("theirs"));
        let listener = UnixListener::bind(&ours_at).await.unwrap();
        let mut theirs = std_unix::UnixStream::connect(&ours_at).unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        theirs.write_all(b"abc").unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 3);
        ours.write_all(b"defg").await.unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 4);

        let listener = std_unix::UnixListener::bind(&theirs_at).unwrap();
        let ours = UnixStream::connect(&theirs_at).await.unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.write_all(b"abc").await.unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 3);
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn unix_streams_do_what_every_two_way_stream_must() {
    within(120, || {
        runtime::block_on(check_two_way_stream(async || UnixStream::pair().unwrap()));
        runtime::block_on(async {
            let folder = Folder::new();
            let listener = UnixListener::bind(folder.at("s")).await.unwrap();
            check_two_way_stream(async || {
                let client = UnixStream::connect(folder.at("s")).await.unwrap();
                (client, listener.accept().await.unwrap().0)
            })
            .await;
        });
    });
}

#[test]
fn connections_come_as_a_stream_and_in_order() {
    run(async || {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.at("s")).await.unwrap();
        let mut clients = Vec::new();
        for number in 0..20 {
            let client = UnixStream::connect(folder.at("s")).await.unwrap();
            client.write_all(&[number]).await.unwrap();
            clients.push(client);
        }
        let mut incoming = listener.incoming();
        for number in 0..20 {
            let stream = incoming.next().await.unwrap().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [number]);
        }
        assert!(poll_once(incoming.next()).await.is_none());
    });
}

#[test]
fn a_connect_that_fails_says_where_and_why() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        leave_behind(&path);
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        let socket = UnixDatagram::unbound().unwrap();
        let error = socket.connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(path.exists(), "a connect removes nothing");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_backlog_is_an_error_at_once() {
    in_child_process(|| {
        runtime::block_on(async {
            let folder = Folder::new();
            let path = folder.at("s");
            let listener = UnixOptions::new().backlog(2).listen(&path).await.unwrap();
            let before = descriptors();
            let mut clients = Vec::new();
            let error = loop {
                // One poll each: it never waits.
                let connect = pin!(UnixStream::connect(&path));
                match poll_once(connect).await.expect("it does not wait") {
                    Ok(client) => clients.push(client),
                    Err(error) => break error,
                }
            };
            assert_eq!(clients.len(), 3, "Linux takes one more than it is told");
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert!(error.to_string().contains("backlog"), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            let (served, _) = listener.accept().await.unwrap();
            let late = UnixStream::connect(&path).await.unwrap();
            // Each of them is a connection that works, those that were never accepted included.
            clients[0].write_all(b"x").await.unwrap();
            assert_eq!(served.read(&mut [0; 8]).await.unwrap(), 1);
            late.write_all(b"x").await.unwrap();
            drop((clients, served, late));
            while listener.try_accept().is_ok() {}
            assert_eq!(descriptors(), before);
        });
    });
}

#[test]
fn serve_takes_unix_connections_and_its_end_removes_the_name() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let listener = UnixListener::bind(&path).await.unwrap();
        let stop = CancelToken::new();
        let limits = Limits::new().connections(2).shutdown(stop.clone());
        let server = spawn(serve(listener, limits, async |stream: UnixStream, _| {
            let mut word = [0; 4];
            stream.read_exact(&mut word).await?;
            word.reverse();
            stream.write_all(&word).await
        }));
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let path = path.clone();
                spawn(async move {
                    let client = UnixStream::connect(&path).await.unwrap();
                    client.write_all(b"abcd").await.unwrap();
                    let mut word = [0; 4];
                    client.read_exact(&mut word).await.unwrap();
                    assert_eq!(&word, b"dcba");
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        assert!(path.exists());
        stop.cancel();
        assert_eq!(server.await.unwrap().unwrap().accepted, 10);
        assert!(!path.exists());
    });
}

// -------------------------------------------------------------------------------------------- names and their files

#[test]
fn a_name_goes_with_the_socket_that_made_it() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        for _ in 0..3 {
            let listener = UnixListener::bind(&path).await.unwrap();
            assert!(path.exists());
            drop(listener);
            assert!(!path.exists());
            let socket = UnixDatagram::bind(&path).await.unwrap();
            assert!(path.exists());
            drop(socket);
            assert!(!path.exists());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    });
}

#[test]
fn a_name_that_has_passed_to_another_is_left_alone() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let first = UnixListener::bind(&path).await.unwrap();
        fs::rename(&path, folder.at("moved")).unwrap(); // so that its inode is not given to the next
        let second = UnixListener::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists(), "the first one has removed the second one's name");
        UnixStream::connect(&path).await.unwrap();
        drop(second);
        assert!(!path.exists());

        let socket = UnixDatagram::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn a_name_stays_with_a_socket_that_leaves_the_runtime() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let listener = UnixListener::bind(&path).await.unwrap().into_std();
        let client = std_unix::UnixStream::connect(&path).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        listener.accept().await.unwrap();
        drop((listener, client));
        assert!(path.exists(), "it was not its to remove any more");
        fs::remove_file(&path).unwrap();
        let socket = UnixDatagram::bind(&path).await.unwrap().into_std();
        drop(UnixDatagram::from_std(socket).unwrap());
        assert!(path.exists());
    });
}

#[test]
fn a_relative_name_is_removed_though_the_current_folder_has_changed() {
    in_child_process(|| {
        runtime::block_on(async {
            let folder = Folder::new();
            std::env::set_current_dir(folder.path()).unwrap();
            let listener = UnixListener::bind("s").await.unwrap();
            let socket = UnixDatagram::bind("./d").await.unwrap();
            UnixStream::connect("s").await.unwrap();
            assert!(folder.at("s").exists() && folder.at("d").exists());
            std::env::set_current_dir("/").unwrap();
            drop((listener, socket));
            assert!(!folder.at("s").exists() && !folder.at("d").exists());
        });
    });
}

#[test]
fn a_fork_s_copy_does_not_remove_the_name() {
    in_child_process(|| {
        let folder = Folder::new();
        let path = folder.at("s");
        let runtime = runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(UnixListener::bind(&path)).unwrap();
        // SAFETY: the copy only drops the listener, which takes no lock that another thread may hold, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(listener);
            // SAFETY: ends the copy at once.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: the number is our own child's; the place for the status is ours.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    });
}

#[test]
fn a_name_left_behind_is_told_of_and_replaced_on_demand() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let left = leave_behind(&path);
        for error in [
            UnixListener::bind(&path).await.unwrap_err(),
            UnixDatagram::bind(&path).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(text.contains("remove it") && text.contains("replace_stale"), "{text}");
        }
        assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), left, "it was not to be touched");
        let options = UnixOptions::new().replace_stale(true);
        let listener = options.listen(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(listener);
        leave_behind(&path);
        let socket = options.bind(&path).await.unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"x", &path).await.unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap().count, 1);
        drop(socket);
        // Nothing to replace is no error.
        drop(options.listen(&path).await.unwrap());
    });
}

#[test]
fn a_name_that_somebody_has_is_never_replaced_nor_is_he_disturbed() {
    /// What must happen to whoever wants this name.
    async fn refused(path: &Path) {
        let before = fs::symlink_metadata(path).unwrap().ino();
        for replace in [false, true] {
            let options = UnixOptions::new().replace_stale(replace);
            for error in
                [options.listen(path).await.unwrap_err(), options.bind(path).await.unwrap_err()]
            {
                assert_eq!(error.kind(), ErrorKind::AddrInUse);
                assert!(error.to_string().contains("has that name"), "{error}");
                assert!(!error.to_string().contains("remove"), "{error}");
            }
        }
        assert_eq!(fs::symlink_metadata(path).unwrap().ino(), before);
    }
    run(async || {
        let folder = Folder::new();
        // A listener, which sees nobody come.
        let path = folder.at("listener");
        let listener = UnixListener::bind(&path).await.unwrap();
        refused(&path).await;
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // One that does not listen yet.
        let path = folder.at("bound");
        let bound = bound_only(&path);
        refused(&path).await;
        drop(bound);
        // Datagram sockets: one, and one that hears its peer alone.
        let path = folder.at("datagram");
        let socket = UnixDatagram::bind(&path).await.unwrap();
        refused(&path).await;
        let peer = UnixDatagram::bind(folder.at("peer")).await.unwrap();
        socket.connect(folder.at("peer")).await.unwrap();
        refused(&path).await;
        assert_eq!(socket.try_recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(peer);
        // No socket at all, and a way to one.
        let path = folder.at("file");
        fs::write(&path, "precious").unwrap();
        refused(&path).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        leave_behind(&folder.at("stale"));
        std::os::unix::fs::symlink(folder.at("stale"), folder.at("link")).unwrap();
        refused(&folder.at("link")).await;
        assert!(folder.at("stale").exists());
    });
}

/// A stream socket that has a name and does not listen.
fn bound_only(path: &Path) -> OwnedFd {
    // SAFETY: plain numbers.
    let number = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | CLOEXEC, 0) };
    assert!(number >= 0);
    // SAFETY: it has just been opened and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    bind_raw(&socket, path.as_os_str().as_bytes(), 1);
    socket
}

#[cfg(target_os = "linux")]
const CLOEXEC: i32 = libc::SOCK_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOEXEC: i32 = 0;

/// Binds with the kernel's own call, to these bytes and as many zeros behind them.
fn bind_raw(socket: &OwnedFd, path: &[u8], zeros: usize) {
    // SAFETY: zeros are a valid address of no family.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as _;
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + path.len() + zeros;
    assert!(length <= size_of::<libc::sockaddr_un>());
    // SAFETY: the address lives through the call and is at least as long as we say.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length as libc::socklen_t)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_name_that_goes_while_it_is_looked_at_is_free() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        for round in 0..500 {
            let (meet, met) = (Arc::new(Barrier::new(2)), path.clone());
            let other = thread::spawn({
                let meet = Arc::clone(&meet);
                move || {
                    runtime::block_on(async {
                        let listener = UnixListener::bind(&met).await.unwrap();
                        meet.wait();
                        (0..round % 40 * 10).for_each(|_| std::hint::spin_loop());
                        drop(listener);
                    });
                }
            });
            meet.wait();
            if let Err(error) = UnixOptions::new().replace_stale(true).listen(&path).await {
                let text = error.to_string();
                assert!(text.ends_with("another socket has that name"), "{text}");
            }
            other.join().unwrap();
        }
    });
}

#[test]
fn of_several_who_replace_a_dead_name_at_once_all_are_told_something_true() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        for _ in 0..100 {
            leave_behind(&path);
            let meet = Arc::new(Barrier::new(2));
            let threads = [(); 2].map(|()| {
                let (meet, path) = (Arc::clone(&meet), path.clone());
                thread::spawn(move || {
                    meet.wait();
                    let options = UnixOptions::new().replace_stale(true);
                    runtime::block_on(async {
                        let result = options.listen(&path).await;
                        meet.wait();
                        result.map(drop).map_err(|error| error.to_string())
                    })
                })
            });
            for thread in threads {
                if let Err(text) = thread.join().unwrap() {
                    assert!(text.ends_with("another socket has that name"), "{text}");
                }
            }
            let _ = fs::remove_file(&path);
        }
    });
}

#[test]
fn a_name_has_the_permissions_it_was_given() {
    // The mask is the process's.
    in_child_process(|| {
        runtime::block_on(async {
            for mask in [0o022_u32, 0o077, 0o000] {
                // SAFETY: a plain number.
                unsafe { libc::umask(mask as libc::mode_t) };
                let folder = Folder::new();
                for bits in [0o600, 0o660, 0o666, 0o777, 0o700] {
                    let options = UnixOptions::new().mode(bits);
                    let listener = options.listen(folder.at("s")).await.unwrap();
                    let socket = options.bind(folder.at("d")).await.unwrap();
                    assert_eq!(mode(&folder.at("s")), bits, "{mask:o}");
                    assert_eq!(mode(&folder.at("d")), bits, "{mask:o}");
                    drop((listener, socket));
                }
                let listener = UnixListener::bind(folder.at("s")).await.unwrap();
                assert_eq!(mode(&folder.at("s")), 0o777 & !mask);
                drop(listener);
            }
        });
    });
}

#[test]
fn a_path_that_cannot_be_a_name_is_refused_in_words() {
    run(async || {
        let folder = Folder::new();
        let room = 107 - folder.path().as_os_str().len() - 1;
        if cfg!(target_os = "linux") {
            // The longest there is.
            let path = folder.at(&"x".repeat(room));
            let listener = UnixListener::bind(&path).await.unwrap();
            UnixStream::connect(&path).await.unwrap();
            assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
            drop(listener);
            assert!(!path.exists());
        }
        let long = folder.at(&"x".repeat(room + 1));
        for error in [
            UnixListener::bind(&long).await.unwrap_err(),
            UnixDatagram::bind(&long).await.unwrap_err(),
            UnixStream::connect(&long).await.unwrap_err(),
            UnixDatagram::unbound().unwrap().send_to(b"x", &long).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("108"), "{error}");
            assert!(error.to_string().contains(long.to_str().unwrap()), "{error}");
        }
        assert_eq!(UnixListener::bind("").await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UnixListener::bind("a\0b").await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let error = UnixListener::bind(folder.at("none/s")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("none/s"), "{error}");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_names_work_and_end_with_their_socket() {
    use std::os::linux::net::SocketAddrExt;
    run(async || {
        let text = format!("ground up \0 {}", std::process::id());
        let name = std_unix::SocketAddr::from_abstract_name(&text).unwrap();
        let listener = UnixListener::bind(&name).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().as_abstract_name(), Some(text.as_bytes()));
        let client = UnixStream::connect(&name).await.unwrap();
        assert_eq!(client.peer_addr().unwrap().as_abstract_name(), Some(text.as_bytes()));
        listener.accept().await.unwrap();
        let error = UnixListener::bind(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("@ground up \\x00"), "{error}");
        drop((listener, client));

        let socket = UnixDatagram::bind(name.clone()).await.unwrap();
        let sender_name = std_unix::SocketAddr::from_abstract_name(text + " sender").unwrap();
        let sender = UnixDatagram::bind(&sender_name).await.unwrap();
        sender.send_to(b"abc", &name).await.unwrap();
        let (_, from) = socket.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!(from.as_abstract_name(), sender_name.as_abstract_name());
        socket.send_to(b"de", from).await.unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).await.unwrap().count, 2);
    });
}

// --------------------------------------------------------------------------------------------------- datagrams

#[test]
fn named_datagram_sockets_answer_each_other() {
    run(async || {
        let folder = Folder::new();
        let server = UnixDatagram::bind(folder.at("server")).await.unwrap();
        let client = std_unix::UnixDatagram::bind(folder.at("client")).unwrap();
        client.send_to(b"question", folder.at("server")).unwrap();
        let mut buffer = [0; 16];
        let (received, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!((received.count, from.as_pathname()), (8, Some(&*folder.at("client"))));
        server.send_to(b"answer", &from).await.unwrap();
        let (count, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((count, from.as_pathname()), (6, Some(&*folder.at("server"))));
        server.connect(folder.at("client")).await.unwrap();
        server.send(b"more").await.unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        assert_eq!(server.peer_addr().unwrap().as_pathname(), Some(&*folder.at("client")));
        let nameless = UnixDatagram::unbound().unwrap();
        nameless.connect(folder.at("server")).await.unwrap_err(); // it hears its peer alone
        // A peer that is gone is told of, and to the one that waits for it, too.
        drop(client);
        assert_eq!(server.send(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_sender_with_the_longest_name_that_linux_allows_is_heard() {
    // 108 bytes and no zero behind them: more than the C library's type holds.
    run(async || {
        let folder = Folder::new();
        let server = UnixDatagram::bind(folder.at("server")).await.unwrap();
        let path = folder.at(&"x".repeat(108 - folder.path().as_os_str().len() - 1));
        let client = std_unix::UnixDatagram::unbound().unwrap();
        let client = OwnedFd::from(client);
        bind_raw(&client, path.as_os_str().as_bytes(), 0);
        assert!(path.exists());
        let client = std_unix::UnixDatagram::from(client);
        client.send_to(b"abc", folder.at("server")).unwrap();
        let (received, from) = server.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!(received.count, 3);
        assert!(from.is_unnamed(), "{from:?}");
        client.send_to(b"abc", folder.at("server")).unwrap();
        assert_eq!(server.recv(&mut [0; 8]).await.unwrap().count, 3);

        // The same as a stream's client.
        let listener = UnixListener::bind(folder.at("listener")).await.unwrap();
        let path = folder.at(&"y".repeat(108 - folder.path().as_os_str().len() - 1));
        // SAFETY: plain numbers.
        let number = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | CLOEXEC, 0) };
        // SAFETY: it has just been opened and is nobody else's.
        let client = unsafe { OwnedFd::from_raw_fd(number) };
        bind_raw(&client, path.as_os_str().as_bytes(), 0);
        let connecting = thread::spawn({
            let to = folder.at("listener");
            move || {
                // SAFETY: zeros are a valid address of no family.
                let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
                address.sun_family = libc::AF_UNIX as _;
                for (to, from) in address.sun_path.iter_mut().zip(to.as_os_str().as_bytes()) {
                    *to = *from as _;
                }
                let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
                // SAFETY: the address lives through the call and is as long as we say.
                let result = unsafe {
                    libc::connect(client.as_raw_fd(), (&raw const address).cast(), length)
                };
                assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
                std_unix::UnixStream::from(client).write_all(b"abc").unwrap();
            }
        });
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 3);
        let _ = format!("{stream:?}");
        connecting.join().unwrap();
    });
}

// -------------------------------------------------------------------------------------------------- other programs

/// Runs a program to its end beside `ours`, if it is there.
async fn beside(command: &mut Command, ours: impl Future<Output = ()>) -> Option<Output> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(child) = child else {
        println!("skipped: no {:?} here", command.get_program());
        return None;
    };
    let (output, ()) = zip(unblock(|| child.wait_with_output()), ours).await;
    Some(output.unwrap().unwrap())
}

#[test]
fn python_talks_to_a_listener_and_to_a_datagram_socket() {
    run(async || {
        let folder = Folder::new();
        let program = "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.settimeout(30)
s.connect(sys.argv[1] + '/stream')
s.sendall(b'x' * 1000000)
s.shutdown(socket.SHUT_WR)
assert s.recv(10) == b'1000000'
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
d.settimeout(30)
d.bind(sys.argv[1] + '/python')
d.sendto(b'hello', sys.argv[1] + '/datagram')
assert d.recvfrom(100) == (b'olleh', sys.argv[1] + '/datagram')
";
        let listener = UnixListener::bind(folder.at("stream")).await.unwrap();
        let socket = UnixDatagram::bind(folder.at("datagram")).await.unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(folder.path());
        let output = beside(&mut command, async {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut total, mut buffer) = (0, vec![0; 10_000]);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => total += count,
                }
            }
            stream.write_all(total.to_string().as_bytes()).await.unwrap();
            let mut word = [0; 5];
            let (received, from) = socket.recv_from(&mut word).await.unwrap();
            assert_eq!(received.whole().unwrap(), 5);
            word.reverse();
            socket.send_to(&word, &from).await.unwrap();
        })
        .await;
        if let Some(output) = output {
            assert!(output.status.success(), "{output:?}");
        }
    });
}

#[test]
fn we_talk_to_python_s_listener() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("stream");
        let program = "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.settimeout(30)
s.bind(sys.argv[1])
s.listen()
c, _ = s.accept()
c.settimeout(30)
while (data := c.recv(1000)):
    c.sendall(data.upper())
";
        let mut command = Command::new("python3");
        let output = beside(command.args(["-c", program]).arg(&path), async {
            let mut first = UnixStream::connect(&path).await;
            for _ in 0..30_000 {
                if first.is_ok() {
                    break;
                }
                // It is not there yet.
                runtime::sleep(std::time::Duration::from_millis(1)).await;
                first = UnixStream::connect(&path).await;
            }
            let stream = first.unwrap();
            for word in ["hello", "world"] {
                stream.write_all(word.as_bytes()).await.unwrap();
                let mut answer = [0; 5];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, word.to_uppercase().as_bytes());
            }
        });
        // Without Python nobody would ever be there.
        if Command::new("python3").arg("--version").output().is_err() {
            return println!("skipped: no python3 here");
        }
        let output = output.await.unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn socat_and_nc_talk_to_a_listener() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("s");
        let listener = UnixListener::bind(&path).await.unwrap();
        let text = path.to_str().unwrap();
        for (program, args) in [
            ("socat", vec!["-u".into(), format!("UNIX-CONNECT:{text}"), "STDOUT".into()]),
            ("nc", vec!["-d".into(), "-U".into(), text.into()]),
        ] {
            let output = beside(Command::new(program).args(args), async {
                let (stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"hello from here").await.unwrap();
            })
            .await;
            if let Some(output) = output {
                assert_eq!(output.stdout, b"hello from here", "{output:?}");
            }
        }
    });
}

#[test]
fn socat_sends_a_datagram() {
    run(async || {
        let folder = Folder::new();
        let path = folder.at("d");
        let socket = UnixDatagram::bind(&path).await.unwrap();
        let mut command = Command::new("socat");
        command.args(["-u", "EXEC:echo hello", &format!("UNIX-SENDTO:{}", path.display())]);
        let ours = async {
            let mut buffer = [0; 3];
            let received = socket.recv(&mut buffer).await.unwrap();
            assert_eq!((received.count, received.truncated, &buffer), (3, true, b"hel"));
        };
        if let Some(output) = beside(&mut command, ours).await {
            assert!(output.status.success(), "{output:?}");
        }
        yield_now().await;
    });
}
