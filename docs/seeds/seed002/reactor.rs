//! Who sets the deferreds off?
//!
//! A reactor: the list of sockets somebody waits for, each with the deferred to fire when it is ready. Its loop asks the
//! kernel, fires, and asks again. There are no tasks and there is no state but this list: where each conversation stands is
//! known to the next callback of its chain alone.
//!
//! The runtime's reactor is the same list, with a waker in the place of each deferred (runtime/src/reactor.rs).
//!
//! Comes from: fetch_callbacks.rs. Goes to: rustix's `poll`, deferred.rs.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, poll};

use super::deferred::{Deferred, Fire, deferred};

#[derive(Default)]
pub(super) struct Reactor {
    waiting: RefCell<Vec<Waiting>>,
}

struct Waiting {
    stream: TcpStream,
    wants: PollFlags,
    fire: Fire<TcpStream>,
}

/// Runs the loop until what `main` returns has fired.
pub(super) fn react<T: 'static>(main: impl FnOnce(&Rc<Reactor>) -> Deferred<T>) -> io::Result<T> {
    let reactor = Rc::new(Reactor::default());
    let end = Rc::new(Cell::new(None));
    let set_end = Rc::clone(&end);
    main(&reactor).finally(move |result| set_end.set(Some(result)));
    loop {
        if let Some(result) = end.take() {
            return result;
        }
        reactor.turn()?;
    }
}

impl Reactor {
    /// The stream again, when it is ready for that: `IN` or `OUT`.
    pub(super) fn when(&self, stream: TcpStream, wants: PollFlags) -> Deferred<TcpStream> {
        let (fire, deferred) = deferred();
        self.waiting.borrow_mut().push(Waiting { stream, wants, fire });
        deferred
    }

    /// Waits until somebody is ready, and fires their deferreds: by then the list is free for what they add.
    fn turn(&self) -> io::Result<()> {
        let waiting = self.waiting.take();
        if waiting.is_empty() {
            return Err(io::Error::other("nobody waits for anything, and the end has not come"));
        }
        let mut list: Vec<_> =
            waiting.iter().map(|entry| PollFd::new(&entry.stream, entry.wants)).collect();
        match poll(&mut list, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = list.iter().map(|socket| !socket.revents().is_empty()).collect();
        let (mut fired, mut rest) = (Vec::new(), Vec::new());
        for (entry, is_ready) in waiting.into_iter().zip(ready) {
            if is_ready { fired.push(entry) } else { rest.push(entry) }
        }
        self.waiting.replace(rest);
        for Waiting { stream, fire, .. } in fired {
            fire.fire(Ok(stream));
        }
        Ok(())
    }
}
