//! What stands below a handler that reads like chapter 1's?
//!
//! All of chapters 4 to 7 but the pool, once more and in one piece: sockets that wait without the thread, and below them the
//! loop that polls what is ready, sleeps until a socket or another thread has something, and goes round again.
//!
//! Comes from: the handlers. Goes to: polling, by way of watched.rs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use polling::{Event, Events, PollMode, Poller};

use crate::pool::locked;
use crate::watched::Watched;

/// A socket whose methods wait, and leave the thread to others meanwhile.
pub(crate) struct AsyncSocket<S: AsFd + AsRawFd> {
    socket: Watched<S>,
    the_loop: Rc<Loop>,
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
        self.attempt(Way::Recv, |mut client| client.read(buffer)).await
    }

    pub(crate) async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.attempt(Way::Send, |mut client| client.write(data)).await
    }

    pub(crate) async fn send_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let count = self.send(data).await?;
            data = &data[count..];
        }
        Ok(())
    }
}

impl<S: AsFd + AsRawFd> AsyncSocket<S> {
    /// Tries; puts the task aside as long as the kernel says that one would have to wait; and tries again.
    async fn attempt<T>(
        &self,
        way: Way,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| match operation(&self.socket) {
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
        let table = if way == Way::Recv { recv_wait } else { send_wait };
        let key = key(&*self.socket);
        table.borrow_mut().insert(key, waker.clone());
        let [recv, send] = [recv_wait, send_wait].map(|table| table.borrow().contains_key(&key));
        self.socket.ask(Event::new(key, recv, send), PollMode::Oneshot)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Recv,
    Send,
}

/// Whatever a socket can do without waiting: the talk's `__getattr__`.
impl<S: AsFd + AsRawFd> Deref for AsyncSocket<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.socket
    }
}

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

impl Loop {
    /// A loop of the thread that calls this.
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let poller = Arc::new(Poller::new()?);
        let home = thread::current().id();
        let inbox = Inbox { run_queue: Mutex::default(), home, poller: Arc::clone(&poller) };
        Ok(Rc::new(Loop {
            poller,
            tasks: RefCell::default(),
            spawned: Cell::new(0),
            inbox: Arc::new(inbox),
            recv_wait: WaitTable::default(),
            send_wait: WaitTable::default(),
        }))
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

    fn watch<S: AsFd + AsRawFd>(self: &Rc<Self>, socket: S) -> io::Result<AsyncSocket<S>> {
        let nothing = Event::none(key(&socket));
        let socket = Watched::new(&self.poller, socket, nothing, PollMode::Oneshot)?;
        Ok(AsyncSocket { socket, the_loop: Rc::clone(self) })
    }
}

/// What is shared with other threads, and all that is.
struct Inbox {
    /// The numbers of tasks that are ready, in order.
    run_queue: Mutex<VecDeque<u64>>,
    /// The loop's own thread.
    home: ThreadId,
    poller: Arc<Poller>,
}

/// What a waker does: it puts its task's number at the end of the run queue, and rings if the loop may be asleep.
struct Knock {
    number: u64,
    inbox: Arc<Inbox>,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        locked(&self.inbox.run_queue).push_back(self.number);
        if thread::current().id() != self.inbox.home {
            // On Linux it does not fail. Where it does, the task waits until something else ends the sleep.
            let _ = self.inbox.poller.notify();
        }
    }
}

fn key(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd() as usize
}
