//! How does one thread wait for all sockets at the same time?
//!
//! A task that would have to wait leaves its waker in a table, under the socket's number, and returns `Pending` (leaf.rs). The
//! loop polls the tasks whose numbers stand in the run queue. When there are none, it sleeps in the kernel until a socket is ready,
//! and the waker that lies in the table for that socket puts its task's number back into the run queue.
//!
//! | here                     | in the talk                                       |
//! |--------------------------|---------------------------------------------------|
//! | `run_queue`              | `tasks`, the deque                                |
//! | `recv_wait`, `send_wait` | the same, with wakers in the place of tasks       |
//! | `tasks`                  | nothing: there a waiting task lies in `recv_wait` |
//! | `wait`                   | `select`                                          |
//!
//! It looks at the sockets only when no task is ready, as the talk's does; chapter 5 shows what follows from that.
//!
//! Comes from: the servers of chapters 5 and 6. Goes to: tasks, by their polls; the kernel, by polling.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use polling::{Events, Poller};

#[path = "leaf.rs"]
mod leaf;
#[path = "look.rs"]
mod look;
pub(crate) use leaf::Watched;

pub(crate) struct Loop {
    poller: Arc<Poller>,
    /// All that have not ended, by number, except the one that is being polled.
    pub(crate) tasks: RefCell<BTreeMap<u64, Task>>,
    spawned: Cell<u64>,
    pub(crate) run_queue: RunQueue,
    recv_wait: WaitTable,
    send_wait: WaitTable,
    trace: bool,
}

pub(crate) type Task = Pin<Box<dyn Future<Output = io::Result<()>>>>;
/// The numbers of tasks that are ready, in order.
pub(crate) type RunQueue = Arc<Mutex<VecDeque<u64>>>;
/// The wakers of tasks that wait, by the number of the socket's descriptor.
type WaitTable = RefCell<BTreeMap<usize, Waker>>;

impl Loop {
    pub(crate) fn new(trace: bool) -> io::Result<Self> {
        let (recv_wait, send_wait) = Default::default();
        let (tasks, spawned, run_queue) = Default::default();
        let poller = Arc::new(Poller::new()?);
        Ok(Loop { poller, tasks, spawned, run_queue, recv_wait, send_wait, trace })
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = io::Result<()>> + 'static) {
        let number = self.spawned.get() + 1;
        self.spawned.set(number);
        self.tasks.borrow_mut().insert(number, Box::pin(future));
        locked(&self.run_queue).push_back(number);
    }

    /// Until all tasks have ended.
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            self.run_ready();
            if self.tasks.borrow().is_empty() {
                return Ok(());
            }
            self.wait(&mut events, None)?;
        }
    }

    pub(crate) fn run_ready(&self) {
        while let Some(number) = self.next_ready() {
            self.poll(number);
        }
    }

    pub(crate) fn next_ready(&self) -> Option<u64> {
        locked(&self.run_queue).pop_front()
    }

    pub(crate) fn poll(&self, number: u64) {
        // Taken out of the table, because it may spawn another one while it is polled.
        let Some(mut task) = self.tasks.borrow_mut().remove(&number) else {
            return; // it has ended, and somebody woke it all the same
        };
        self.tell(format_args!("poll task {number}"));
        let waker = Waker::from(Arc::new(Knock { number, run_queue: self.run_queue.clone() }));
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => _ = self.tasks.borrow_mut().insert(number, task),
            Poll::Ready(Ok(())) => self.tell(format_args!("task {number} has ended")),
            Poll::Ready(Err(error)) => println!("Lost: {error}"),
        }
    }

    pub(crate) fn wait(&self, events: &mut Events, most: Option<Duration>) -> io::Result<()> {
        self.tell(format_args!("wait: {self:?}"));
        events.clear();
        self.poller.wait(events, most)?;
        for event in events.iter() {
            self.tell(format_args!("socket {} is ready", event.key));
            // A report switches the socket off in both directions, so a task that waits in either has to ask again.
            for table in [&self.recv_wait, &self.send_wait] {
                let waker = table.borrow_mut().remove(&event.key);
                waker.into_iter().for_each(Waker::wake);
            }
        }
        Ok(())
    }
}

/// What a task's waker does: it puts the task's number at the end of the run queue.
struct Knock {
    number: u64,
    run_queue: RunQueue,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        locked(&self.run_queue).push_back(self.number);
    }
}

pub(crate) fn locked(run_queue: &RunQueue) -> MutexGuard<'_, VecDeque<u64>> {
    run_queue.lock().unwrap_or_else(PoisonError::into_inner)
}
