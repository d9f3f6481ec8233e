//! A chat room: who connects gives a name, and what one says all others read.
//!
//! ```text
//! cargo run -p net --example chat                      # or: -- 0.0.0.0:4000
//! nc 127.0.0.1 25100                                   # in as many other terminals as you like
//! ```
//!
//! What it shows: `serve` with a shutdown, `lines`, a bounded channel for each client, both directions of a connection in
//! one task.
//!
//! The question of every chat server is what to do with a client that does not read: to wait for it stops the room, to keep
//! everything for it fills the memory. Here each client has a queue of [`QUEUE`] lines beside what the kernel holds for it;
//! when that is full, it is told so, as far as it still hears, and dropped, and the others go on.
//!
//! Limits: 1,000 clients, lines of 1,000 bytes, names of 20 letters and digits, a minute to give one. Ctrl-C tells the room that it
//! closes and leaves two seconds to read that; a second one ends at once.
//!
//! Comes from: `cargo run`. Goes to: net.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use async_channel::{Receiver, Sender, TrySendError};
use futures_lite::future::or;
use net::{Buffered, Limits, LineError, Lines, TcpListener, TcpStream, lines, serve};
use runtime::{CancelToken, ctrl_c, spawn, timeout, yield_now};

/// How many lines may wait for one client.
const QUEUE: usize = 100;
const LONGEST_LINE: usize = 1000;
const LONGEST_NAME: usize = 20;
/// How long a client may take to give its name.
const NAME_TIME: Duration = Duration::from_secs(60);
/// How long it may take to read its last words.
const FAREWELL: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = match &arguments[..] {
        [] => "127.0.0.1:25100",
        [address] if !address.starts_with('-') => address,
        _ => {
            eprintln!("usage: chat [ADDRESS]    (default 127.0.0.1:25100)");
            return ExitCode::from(2);
        }
    };
    match runtime::block_on(run(address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    log(&format!("listening on {}", listener.local_addr()?));
    let (room, stop) = (Rc::new(Room::default()), CancelToken::new());

    let interrupted = ctrl_c();
    let (closing, closes) = (Rc::clone(&room), stop.clone());
    let _waits = spawn(async move {
        if interrupted.await.is_ok() {
            closes.cancel();
            closing.close();
        }
    });

    let limits = Limits::new().connections(1000).shutdown(stop).drain(2 * FAREWELL);
    let handler = async move |stream: TcpStream, peer: SocketAddr| {
        log(&format!("{peer} has come"));
        if let Err(error) = visit(&room, &stream).await {
            log(&format!("{peer}: {error}"));
        }
        log(&format!("{peer} has left"));
    };
    let served = serve(listener, limits, handler).await?;
    log(&format!("the room is closed; {} were here", served.accepted));
    Ok(())
}

/// One client, from the first word to the last.
async fn visit(room: &Rc<Room>, stream: &TcpStream) -> io::Result<()> {
    let mut lines = lines(Buffered::new(stream), LONGEST_LINE);
    let named = timeout(NAME_TIME, introduce(room, stream, &mut lines)).await;
    let Some((place, queue)) = named.unwrap_or(Ok(None))? else {
        return Ok(());
    };

    let mut listens = std::pin::pin!(async {
        while let Ok(line) = queue.recv().await {
            stream.write_all(line.as_bytes()).await?;
        }
        Ok(false)
    });
    let speaks = async {
        loop {
            match lines.next_line().await {
                Ok(Some(line)) => {
                    // Its escapes would move the cursors of others.
                    let line = line.replace(char::is_control, " ");
                    room.say(&format!("{}: {line}\n", place.name));
                    // One that sends many lines at once would fill the queues before anybody has read.
                    yield_now().await;
                }
                Ok(None) => return Ok(true),
                Err(error) if LineError::of(&error).is_some() => {
                    place.tell(&format!("error: {error}\n"));
                }
                Err(error) => return Err(error),
            }
        }
    };
    match place.member.dropped.run(or(listens.as_mut(), speaks)).await {
        Some(ended) => {
            drop(place);
            if ended? {
                // The client has ended its side and may still read: what it said itself, for one thing.
                let _ = timeout(FAREWELL, listens).await;
            }
        }
        None => {
            let word = "\nerror: you do not read what is said, and are dropped\n";
            let _ = timeout(FAREWELL, stream.write_all(word.as_bytes())).await;
        }
    }
    Ok(())
}

/// Asks for a name until there is a good one. `None`: the client has gone, or the room is closed.
async fn introduce(
    room: &Rc<Room>,
    stream: &TcpStream,
    lines: &mut Lines<Buffered<&TcpStream>>,
) -> io::Result<Option<(Place, Receiver<Rc<str>>)>> {
    loop {
        stream.write_all(b"your name? ").await?;
        let name = match lines.next_line().await {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(None),
            Err(error) if LineError::of(&error).is_some() => String::new(),
            Err(error) => return Err(error),
        };
        match room.enter(name.trim()) {
            Ok(place) => return Ok(Some(place)),
            Err(why) => stream.write_all(format!("error: {why}\n").as_bytes()).await?,
        }
    }
}

#[derive(Default)]
struct Room {
    members: RefCell<BTreeMap<String, Rc<Member>>>,
}

struct Member {
    queue: Sender<Rc<str>>,
    /// Set when it is dropped because it does not read.
    dropped: CancelToken,
}

impl Room {
    fn enter(self: &Rc<Self>, name: &str) -> Result<(Place, Receiver<Rc<str>>), String> {
        let is_good = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.chars().count() > LONGEST_NAME || !name.chars().all(is_good) {
            return Err(format!("a name is 1 to {LONGEST_NAME} letters and digits"));
        }
        if self.members.borrow().contains_key(name) {
            return Err(format!("{name} is here already; take another name"));
        }
        let (queue, receiver) = async_channel::bounded(QUEUE);
        let member = Rc::new(Member { queue, dropped: CancelToken::new() });
        self.members.borrow_mut().insert(name.to_owned(), Rc::clone(&member));
        let place = Place { room: Rc::clone(self), name: name.to_owned(), member };
        self.say(&format!("* {name} has come; here are {}\n", self.names()));
        Ok((place, receiver))
    }

    /// Tells all. Who has no room for another line is dropped.
    fn say(&self, line: &str) {
        let line: Rc<str> = line.into();
        // Sending wakes the receiver, which is foreign code: with no borrow held.
        let members: Vec<_> = self.members.borrow().clone().into_iter().collect();
        let mut dropped = Vec::new();
        for (name, member) in members {
            if let Err(TrySendError::Full(_)) = member.queue.try_send(Rc::clone(&line)) {
                self.members.borrow_mut().remove(&name);
                member.dropped.cancel();
                dropped.push(name);
            }
        }
        for name in dropped {
            log(&format!("{name} does not read, and is dropped"));
            self.say(&format!("* {name} does not read, and is dropped\n"));
        }
    }

    fn names(&self) -> String {
        let members = self.members.borrow();
        let names: Vec<_> = members.keys().map(String::as_str).collect();
        names.join(", ")
    }

    /// Each client reads what is in its queue, and then its connection ends.
    fn close(&self) {
        self.say("* the room closes; good night\n");
        for member in self.members.take().into_values() {
            member.queue.close();
        }
    }
}

/// A client's place in the room; its drop gives it up.
struct Place {
    room: Rc<Room>,
    name: String,
    member: Rc<Member>,
}

impl Place {
    /// Tells this client alone.
    fn tell(&self, line: &str) {
        let _ = self.member.queue.try_send(line.into()); // full: the next that is said drops it
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.member.queue.close();
        // The name may be another's by now, if this one was dropped.
        let mut members = self.room.members.borrow_mut();
        if members.get(&self.name).is_some_and(|member| Rc::ptr_eq(member, &self.member)) {
            members.remove(&self.name);
            drop(members);
            self.room.say(&format!("* {} has left\n", self.name));
        }
    }
}

/// Not `println!`, which panics when nobody reads it any more.
fn log(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
