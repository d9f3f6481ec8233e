//! What stands below a handler that reads like chapter 1's?
//!
//! All of chapters 4 to 7 but the pool: sockets that wait without the thread, and below them the loop that runs what is ready,
//! sleeps until a socket or another thread has something, and goes round again.
//!
//! A task is known by its number, and a waker is that number with a queue to put it into: so it can be used on any thread,
//! and a task that is gone is a number that nobody answers to.
//!
//! Comes from: the handlers. Goes to: polling.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
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

pub(crate) struct AsyncSocket<S: AsFd + AsRawFd> {
    source: Watched<S>,
    key: usize,
    the_loop: Rc<Loop>,
}

impl<S: AsFd + AsRawFd> AsyncSocket<S> {
    /// Tries; puts the task aside as long as the kernel says that it would have to wait; and tries again.
    async fn attempt<T>(
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
enum Way {
    Recv,
    Send,
}

impl AsyncSocket<TcpListener> {
    pub(crate) fn new(the_loop: &Rc<Loop>, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        the_loop.watch(listener)
    }

    pub(crate) async fn accept(&self) -> io::Result<(AsyncSocket<TcpStream>, SocketAddr)> {
        let (client, peer) = self.attempt(Way::Recv, TcpListener::accept).await?;
        client.set_nonblocking(true)?;
        Ok((self.the_loop.watch(client)?, peer))
    }
}

impl AsyncSocket<TcpStream> {
    pub(crate) async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.attempt(Way::Recv, |mut stream| stream.read(buffer)).await
    }

    async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.attempt(Way::Send, |mut stream| stream.write(data)).await
    }

    pub(crate) async fn send_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let count = self.send(data).await?;
            data = &data[count..];
        }
        Ok(())
    }
}

/// All that a socket can do without waiting: the talk's `__getattr__`.
impl<S: AsFd + AsRawFd> Deref for AsyncSocket<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.source
    }
}

impl<S: AsFd + AsRawFd> Drop for AsyncSocket<S> {
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
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let poller = Arc::new(Poller::new()?);
        let (tasks, home) = (Mutex::default(), thread::current().id());
        Ok(Rc::new(Loop {
            ready: Arc::new(Ready { tasks, home, poller: Arc::clone(&poller) }),
            poller,
            tasks: RefCell::default(),
            recv_wait: RefCell::default(),
            send_wait: RefCell::default(),
            numbers: Cell::new(0),
        }))
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

    fn watch<S: AsFd + AsRawFd>(self: &Rc<Self>, source: S) -> io::Result<AsyncSocket<S>> {
        let key = self.number();
        let source = Watched::new(&self.poller, source, Event::none(key), PollMode::Oneshot)?;
        Ok(AsyncSocket { source, key, the_loop: Rc::clone(self) })
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

struct Ready {
    tasks: Mutex<VecDeque<usize>>,
    home: ThreadId,
    poller: Arc<Poller>,
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        lock(&self.ready.tasks).push_back(self.number);
        if thread::current().id() != self.ready.home {
            // It fails if the kernel has no memory left; then the task waits until something else ends the sleep.
            let _ = self.ready.poller.notify();
        }
    }
}
