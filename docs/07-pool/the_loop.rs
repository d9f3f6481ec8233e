//! How does a sleeping loop learn that another thread has something for it?
//!
//! By what is given to it as its bell: something that every waker used on another thread does after it has put its task into
//! the queue. What that should be is the question of this chapter, so each of its programs brings its own. The rest is the loop
//! of chapter 5.
//!
//! Comes from: the programs of this folder. Goes to: polling.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use crate::pool::lock;
use crate::watched::Watched;

pub(crate) struct Socket<S: AsFd + AsRawFd> {
    source: Watched<S>,
    key: usize,
    the_loop: Rc<Loop>,
}

impl<S: AsFd + AsRawFd> Socket<S> {
    /// Tries; puts the task aside as long as the kernel says that it would have to wait; and tries again.
    pub(crate) async fn wait<T>(
        &self,
        way: Way,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| match operation(&self.source) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.park(way, cx.waker())?;
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
        .await
    }

    fn park(&self, way: Way, waker: &Waker) -> io::Result<()> {
        let Loop { recv_wait, send_wait, .. } = &*self.the_loop;
        let waiters = if way == Way::Recv { recv_wait } else { send_wait };
        waiters.borrow_mut().insert(self.key, waker.clone());
        let (recv, send) = (recv_wait.borrow(), send_wait.borrow());
        let interest =
            Event::new(self.key, recv.contains_key(&self.key), send.contains_key(&self.key));
        self.source.ask(interest, PollMode::Oneshot)
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Recv,
    Send,
}

impl<S: AsFd + AsRawFd> Drop for Socket<S> {
    fn drop(&mut self) {
        self.the_loop.recv_wait.borrow_mut().remove(&self.key);
        self.the_loop.send_wait.borrow_mut().remove(&self.key);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Loop {
    poller: Arc<Poller>,
    /// Those that can go on, by number; and all that there are.
    ready: Arc<Ready>,
    tasks: RefCell<HashMap<usize, (Task, Waker)>>,
    /// Who waits for which socket.
    recv_wait: RefCell<HashMap<usize, Waker>>,
    send_wait: RefCell<HashMap<usize, Waker>>,
    /// Numbers of tasks and sockets are never given twice.
    numbers: Cell<usize>,
}

impl Loop {
    pub(crate) fn new(poller: Arc<Poller>, bell: Bell) -> Rc<Self> {
        let (tasks, home) = (Mutex::default(), thread::current().id());
        Rc::new(Loop {
            poller,
            ready: Arc::new(Ready { tasks, home, bell }),
            tasks: RefCell::default(),
            recv_wait: RefCell::default(),
            send_wait: RefCell::default(),
            numbers: Cell::new(0),
        })
    }

    pub(crate) fn run(&self) -> io::Result<()> {
        let mut events = Events::new();
        while !self.tasks.borrow().is_empty() {
            for number in std::mem::take(&mut *lock(&self.ready.tasks)) {
                self.step(number);
            }
            let idle = lock(&self.ready.tasks).is_empty();
            events.clear();
            self.poller.wait(&mut events, if idle { None } else { Some(Duration::ZERO) })?;
            for event in events.iter() {
                let recv = event.readable.then(|| self.recv_wait.borrow_mut().remove(&event.key));
                let send = event.writable.then(|| self.send_wait.borrow_mut().remove(&event.key));
                [recv, send].into_iter().flatten().flatten().for_each(Waker::wake);
            }
        }
        Ok(())
    }

    fn step(&self, number: usize) {
        let task = self.tasks.borrow_mut().remove(&number);
        let Some((mut task, waker)) = task else { return }; // woken after its end
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut().insert(number, (task, waker));
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let number = self.number();
        let waker = Waker::from(Arc::new(Ticket { number, ready: Arc::clone(&self.ready) }));
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(number, (Box::pin(task), waker));
    }

    pub(crate) fn watch<S: AsFd + AsRawFd>(self: &Rc<Self>, source: S) -> io::Result<Socket<S>> {
        let key = self.number();
        let source = Watched::new(&self.poller, source, Event::none(key), PollMode::Oneshot)?;
        Ok(Socket { source, key, the_loop: Rc::clone(self) })
    }

    fn number(&self) -> usize {
        self.numbers.replace(self.numbers.get() + 1)
    }
}

/// What a waker is: a task's number, and the queue to put it into. It may be used on any thread.
struct Ticket {
    number: usize,
    ready: Arc<Ready>,
}

/// What is done on another thread when the queue has something new.
pub(crate) type Bell = Box<dyn Fn() + Send + Sync>;

struct Ready {
    tasks: Mutex<VecDeque<usize>>,
    home: ThreadId,
    bell: Bell,
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        lock(&self.ready.tasks).push_back(self.number);
        if thread::current().id() != self.ready.home {
            (self.ready.bell)();
        }
    }
}
