//! How does a sleeping loop learn that another thread has something for it?
//!
//! By its bell: something that every waker which is used on another thread does after it has put its task's number into the run
//! queue. What that should be is the question of this chapter, so each of its programs brings its own. The rest is the loop of
//! chapter 5, without its trace.
//!
//! Comes from: the programs of this folder. Goes to: polling, by way of watched.rs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use polling::{Event, Events, PollMode, Poller};

use crate::pool::locked;
use crate::watched::Watched;

pub(crate) struct Loop {
    poller: Arc<Poller>,
    /// All tasks that have not ended, by number; but for the one that is being polled.
    tasks: RefCell<BTreeMap<u64, Task>>,
    spawned: Cell<u64>,
    inbox: Arc<Inbox>,
    recv_wait: WaitTable,
    send_wait: WaitTable,
}

struct Task {
    future: Pin<Box<dyn Future<Output = io::Result<()>>>>,
    waker: Waker,
}

/// Who waits, by the number of the socket's descriptor.
type WaitTable = RefCell<BTreeMap<usize, Waker>>;

/// What is shared with other threads, and all that is.
struct Inbox {
    /// The numbers of tasks that are ready, in order.
    run_queue: Mutex<VecDeque<u64>>,
    /// The loop's own thread.
    home: ThreadId,
    bell: Bell,
}

/// What another thread does after it has put something into the run queue.
pub(crate) type Bell = Box<dyn Fn() + Send + Sync>;

/// What a waker does: it puts its task's number at the end of the run queue, and rings if the loop may be asleep.
struct Knock {
    number: u64,
    inbox: Arc<Inbox>,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        locked(&self.inbox.run_queue).push_back(self.number);
        if thread::current().id() != self.inbox.home {
            (self.inbox.bell)();
        }
    }
}

impl Loop {
    /// A loop of the thread that calls this.
    pub(crate) fn new(poller: Arc<Poller>, bell: Bell) -> Self {
        let home = thread::current().id();
        Loop {
            poller,
            tasks: RefCell::default(),
            spawned: Cell::new(0),
            inbox: Arc::new(Inbox { run_queue: Mutex::default(), home, bell }),
            recv_wait: WaitTable::default(),
            send_wait: WaitTable::default(),
        }
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = io::Result<()>> + 'static) {
        let number = self.spawned.get() + 1;
        self.spawned.set(number);
        let waker = Waker::from(Arc::new(Knock { number, inbox: Arc::clone(&self.inbox) }));
        waker.wake_by_ref(); // a new task is ready
        self.tasks.borrow_mut().insert(number, Task { future: Box::pin(future), waker });
    }

    /// Until all tasks have ended.
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            while let Some(number) = self.next_ready() {
                self.poll(number);
            }
            if self.tasks.borrow().is_empty() {
                return Ok(());
            }
            self.wait(&mut events)?;
        }
    }

    fn next_ready(&self) -> Option<u64> {
        locked(&self.inbox.run_queue).pop_front()
    }

    fn poll(&self, number: u64) {
        // Taken out of the table, because it may spawn another one while it is polled.
        let Some(mut task) = self.tasks.borrow_mut().remove(&number) else {
            return; // it has ended, and somebody woke it all the same
        };
        match task.future.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            Poll::Pending => _ = self.tasks.borrow_mut().insert(number, task),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => println!("Lost: {error}"),
        }
    }

    fn wait(&self, events: &mut Events) -> io::Result<()> {
        events.clear();
        self.poller.wait(events, None)?;
        for event in events.iter() {
            // A report takes the socket off duty in both directions, so whoever waits in either has to ask anew.
            for table in [&self.recv_wait, &self.send_wait] {
                let waker = table.borrow_mut().remove(&event.key);
                waker.into_iter().for_each(Waker::wake);
            }
        }
        Ok(())
    }

    /// Lets the poller know of a socket, which must not block. Nobody waits for it yet.
    pub(crate) fn watch<S: AsFd + AsRawFd>(&self, socket: S) -> io::Result<Watched<S>> {
        let nothing = Event::none(key(&socket));
        Watched::new(&self.poller, socket, nothing, PollMode::Oneshot)
    }

    /// Until a read, or an accept, is worth a try.
    pub(crate) fn readable<'a, S: AsFd + AsRawFd>(&'a self, socket: &'a Watched<S>) -> Wait<'a, S> {
        Wait { on: self, table: &self.recv_wait, socket, has_parked: false }
    }

    /// Until a write is worth a try.
    pub(crate) fn writable<'a, S: AsFd + AsRawFd>(&'a self, socket: &'a Watched<S>) -> Wait<'a, S> {
        Wait { on: self, table: &self.send_wait, socket, has_parked: false }
    }
}

/// Pending once, with the task's waker in a table; then ready.
pub(crate) struct Wait<'a, S: AsFd> {
    on: &'a Loop,
    table: &'a WaitTable,
    socket: &'a Watched<S>,
    has_parked: bool,
}

impl<S: AsFd + AsRawFd> Future for Wait<'_, S> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_parked {
            return Poll::Ready(Ok(()));
        }
        self.has_parked = true;
        let key = key(&**self.socket);
        self.table.borrow_mut().insert(key, cx.waker().clone());
        let [recv, send] =
            [&self.on.recv_wait, &self.on.send_wait].map(|table| table.borrow().contains_key(&key));
        self.socket.ask(Event::new(key, recv, send), PollMode::Oneshot)?;
        Poll::Pending
    }
}

fn key(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd() as usize
}
