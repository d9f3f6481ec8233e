//! What does the loop do, all day long?
//!
//! It turns. One turn is six calls, in the order of the files behind them ([`Runtime::one_turn`]):
//!
//! ```text
//!            ┌─► run_batch      poll what is ready                    run_queue.rs, task/
//!            │   may_sleep      nothing ready, no mail? until when?   run_queue.rs, clock.rs
//!   one turn │   wait           the kernel: events, bell or time      sys/
//!            │   dispatch       wake who waits for descriptors        reactor.rs
//!            │   fire           wake who waits for a time             clock.rs, wheel.rs
//!            └── read_mail      wakes and calls from other threads    run_queue.rs
//! ```
//!
//! Strangers are other threads; their letters are the mail. The root is the future given to `block_on`, which is no task.
//! (A seventh call, `let_jump`, is for tests: a time of the program's own may jump when nothing else moves.)
//!
//! Waking only puts tasks into the run queue; the loop polls them. The batch is bounded, and that is the whole fairness
//! argument. It goes in rounds: a round is exactly what was ready at its beginning, and the first round that brings the
//! batch to `POLLS_PER_TURN` polls is its last. Then descriptors, time and strangers get their say, whatever the tasks do.
//! A poll that has used up its operations on sockets (context.rs) makes its round the last one, too: sixty-four such polls in
//! a row would be a quarter of a second. A turn never leaves the wait out; with work left it only does not sleep. (Why more than one round? Two tasks that wake
//! each other would pay one system call a link.)
//!
//! How many threads? One: the caller's. How many loops? One a runtime; a second `block_on` inside is refused, because the
//! inner loop would stop the outer one.
//!
//! Order of the end, when a [`Runtime`] is dropped: the inbox closes (strangers are told so); tasks are dropped in the
//! order of their places on the list, each under a guard against its panics, until none is left (a drop may spawn, and
//! what it spawns is dropped unpolled); then timers; then the kernel's queue, when the last socket is gone.
//!
//! Comes from: the user's main. Goes to: run_queue.rs, task/, reactor.rs, clock.rs.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_task::ArcWake;

use crate::clock::{Clock, Time};
use crate::context::{self, Context};
use crate::instrument::{Instrument, TaskId};
use crate::panics::{self, PanicPolicy};
use crate::reactor::Reactor;
use crate::run_queue::{Address, Closed, Home, Letter, Ready, RunQueue, Woken};
use crate::sys::{AtHome, Poller};
use crate::task::{self, JoinError, JoinHandle};

/// With how many polls a batch is full: the round that reaches this is its last.
const POLLS_PER_TURN: usize = 64;

/// The largest batch whose memory is kept for the next one; what a rare crowd of tasks has needed is given back.
const BATCH_KEPT: usize = 4096;

/// Runs `future` to its end on a new runtime, and gives its output. Tasks it has spawned and not awaited are dropped
/// when it returns.
///
/// # Panics
/// If the kernel has no descriptors or memory for a runtime ([`Runtime::new`] gives that as an error); inside of another
/// `block_on`; and with whatever `future` itself panics.
///
/// ```
/// let answer = runtime::block_on(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    refuse_nesting("runtime::block_on");
    match Runtime::new() {
        Ok(runtime) => boxed_if_large!(future => runtime.run(future)),
        Err(error) => panic!("runtime::block_on could not make a runtime: {error}"),
    }
}

/// Gives the loop a new task. It starts at the loop's next turn, on this thread, and runs on if the handle is dropped.
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// runtime::block_on(async {
///     let doubled = runtime::spawn(async { 21 * 2 });
///     assert_eq!(doubled.await.unwrap(), 42);
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let (site, context) = (Location::caller(), context::current("runtime::spawn"));
    boxed_if_large!(future => task::spawn(&context, future, None, site))
}

/// As [`spawn`], with a name for those who watch (see [`Instrument`]).
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// use runtime::instruments::Statistics;
/// use std::rc::Rc;
///
/// let statistics = Statistics::new();
/// let rt = runtime::Runtime::builder().instrument(Rc::new(statistics.clone())).build()?;
/// rt.block_on(async {
///     let _greeter = runtime::spawn_named("greeter", std::future::pending::<()>());
///     assert!(statistics.snapshot().tasks.iter().any(|task| task.name.as_deref() == Some("greeter")));
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn spawn_named<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let (site, context) = (Location::caller(), context::current("runtime::spawn_named"));
    boxed_if_large!(future => task::spawn(&context, future, Some(name), site))
}

/// A loop and all that belongs to it, on one thread. Tasks that have not ended when a `block_on` returns stay, without
/// running, until the next one.
///
/// ```
/// let rt = runtime::Runtime::new()?;
/// let task = rt.block_on(async { runtime::spawn(async { 42 }) });
/// assert_eq!(rt.block_on(task).unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    context: Rc<Context>,
    /// What `run_batch` and `read_mail` empty, kept for their memory.
    batch: Cell<Vec<Ready>>,
    mail: Cell<Vec<Letter>>,
    order: Option<Pick>,
}

/// Chooses one of so many.
type Pick = Box<dyn Fn(usize) -> usize>;

impl Runtime {
    /// A runtime with the usual settings.
    ///
    /// # Errors
    /// The kernel's, if it has no descriptors or memory for the runtime's two descriptors.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// A runtime with settings of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs `future`, and the runtime's tasks beside it, until `future` has ended.
    ///
    /// # Panics
    /// Inside of another `block_on`; with whatever `future` panics; and if the kernel refuses to wait, which it does
    /// only to a child process made by fork() from the runtime's own.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        refuse_nesting("Runtime::block_on");
        boxed_if_large!(future => self.run(future))
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let _entered = self.enter(true);
        let mut future = pin!(future);
        let root = Root::new(&self.context);
        let waker = futures_task::waker_ref(&root);
        waker.wake_by_ref();
        let mut cx = TaskContext::from_waker(&waker);
        loop {
            let turned = self.one_turn(None, || {
                root.unqueue();
                match future.as_mut().poll(&mut cx) {
                    Poll::Ready(output) => ControlFlow::Break(output),
                    Poll::Pending => ControlFlow::Continue(()),
                }
            });
            match turned {
                Ok(ControlFlow::Break(output)) => return output,
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => panic!("the runtime cannot wait for events: {error}"),
            }
        }
    }

    /// One turn of the loop, for programs that have a loop of their own: polls what is ready; if nothing was, waits at
    /// most `limit` (no time given: until something happens); wakes whom the events concern. Gives the time until the
    /// next timer is due, if there is one, or zero if tasks are ready.
    ///
    /// Between turns, watch the runtime's descriptor ([`AsFd`]) with poll, epoll or another runtime, with the returned time
    /// as the limit: it becomes readable when there is something new to turn for.
    ///
    /// # Errors
    /// The kernel's; see [`block_on`](Self::block_on).
    ///
    /// # Panics
    /// Inside of a `block_on`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = runtime::Runtime::new()?;
    /// let task = rt.spawn(runtime::sleep(Duration::from_millis(1)));
    /// while !task.is_finished() {
    ///     rt.turn(None)?;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn turn(&self, limit: Option<Duration>) -> io::Result<Option<Duration>> {
        refuse_nesting("Runtime::turn");
        let _entered = self.enter(false);
        let limit = if self.queue().is_empty() { limit } else { Some(Duration::ZERO) };
        self.one_turn(limit, || ControlFlow::<()>::Continue(())).map(drop)?;
        let at_once = (!self.queue().is_empty()).then_some(Duration::ZERO);
        Ok(at_once.or_else(|| self.context.clock.until_next()))
    }

    /// As the free [`spawn`](crate::spawn), from outside of `block_on`: the task starts with the next one.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        let site = Location::caller();
        boxed_if_large!(future => task::spawn(&self.context, future, None, site))
    }

    /// What other threads may do with this runtime.
    pub fn handle(&self) -> Handle {
        Handle { home: Arc::clone(&self.context.home) }
    }

    /// How many tasks have panicked with nobody to tell.
    ///
    /// ```
    /// let rt = runtime::Runtime::new()?;
    /// drop(rt.spawn(async { panic!("and nobody will ask") }));
    /// rt.block_on(runtime::yield_now());
    /// assert_eq!(rt.unobserved_panics(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unobserved_panics(&self) -> u64 {
        self.queue().panics.count()
    }

    fn one_turn<B>(
        &self,
        limit: Option<Duration>,
        root: impl FnMut() -> ControlFlow<B>,
    ) -> io::Result<ControlFlow<B>> {
        if let ControlFlow::Break(output) = self.run_batch(root) {
            return Ok(ControlFlow::Break(output));
        }
        let limit = self.may_sleep(limit);
        self.wait(limit)?;
        self.dispatch();
        if let Some(time) = &self.context.clock.time {
            self.let_jump(&**time);
        }
        self.context.clock.fire();
        self.read_mail();
        Ok(ControlFlow::Continue(()))
    }

    /// Polls what is ready, in order; and what becomes ready by that, as long as there were few.
    fn run_batch<B>(&self, mut root: impl FnMut() -> ControlFlow<B>) -> ControlFlow<B> {
        let queue = self.queue();
        let mut polls = 0;
        while polls < POLLS_PER_TURN && !queue.is_empty() {
            let mut batch = queue.take_batch(self.batch.take());
            polls += batch.len();
            if let Some(pick) = &self.order {
                let lasts = (1..batch.len()).rev();
                let shuffle =
                    || lasts.for_each(|last| batch.swap(last, pick(last + 1) % (last + 1)));
                // It is foreign code, and nothing guards the batch yet.
                panics::catch(shuffle)
                    .unwrap_or_else(|payload| queue.panics.unobserved(TaskId::ROOT, payload));
            }
            let mut rest = Rest { queue, ready: batch.drain(..) };
            for ready in rest.ready.by_ref() {
                context::refill_operations();
                if queue.is_watched() {
                    self.run_watched(ready, &mut root)?;
                } else {
                    match ready {
                        Ready::Task(task) => task.run(),
                        Ready::Root => root()?,
                    }
                }
                if context::is_exhausted() {
                    polls = POLLS_PER_TURN;
                }
            }
            drop(rest);
            if batch.capacity() <= BATCH_KEPT {
                self.batch.set(batch);
            }
        }
        ControlFlow::Continue(())
    }

    /// As the loop's two lines, with word to the instrument before and after.
    #[cold]
    fn run_watched<B>(
        &self,
        ready: Ready,
        root: &mut impl FnMut() -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let queue = self.queue();
        let id = match &ready {
            Ready::Task(task) => task.id(),
            Ready::Root => TaskId::ROOT,
        };
        queue.polled.set(id);
        queue.tell(|instrument| instrument.poll_started(id));
        let flow = match ready {
            Ready::Task(task) => {
                task.run();
                ControlFlow::Continue(())
            }
            Ready::Root => root(),
        };
        queue.tell(|instrument| instrument.poll_ended(id));
        flow
    }

    /// How long the wait may last: not at all if a task is ready or mail has come, else until the next timer.
    fn may_sleep(&self, limit: Option<Duration>) -> Option<Duration> {
        // `fall_asleep` tells strangers that they must ring from now on; `false`: there is mail already.
        if !self.queue().is_empty() || !self.context.home.inbox().fall_asleep() {
            return Some(Duration::ZERO);
        }
        let next = self.context.clock.until_next();
        let next = self.context.clock.time.as_ref().map_or(next, |time| time.may_sleep(next));
        match (limit, next) {
            (Some(limit), Some(next)) => Some(limit.min(next)),
            (limit, next) => limit.or(next),
        }
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        self.queue().tell(|instrument| instrument.wait_started(limit));
        let result = self.context.reactor.wait(limit);
        self.context.home.inbox().wake_up();
        result
    }

    fn dispatch(&self) {
        let count = self.context.reactor.dispatch();
        self.queue().tell(|instrument| instrument.wait_ended(count));
    }

    /// A time of the program's own may move on by itself when nothing else moves.
    #[cold]
    fn let_jump(&self, time: &dyn Time) {
        if self.queue().is_empty()
            && !self.context.home.inbox().has_mail()
            && let Some(next) = self.context.clock.until_next()
        {
            time.idle(next);
        }
    }

    /// Does what strangers have asked for.
    fn read_mail(&self) {
        let mut mail = self.mail.take();
        self.context.home.inbox().take(&mut mail);
        for letter in mail.drain(..) {
            match letter {
                Letter::Wake(task) => task.arrived(),
                Letter::Call(call) => {
                    if let Err(payload) = panics::catch(call) {
                        self.queue().panics.unobserved(TaskId::ROOT, payload);
                    }
                }
            }
        }
        self.mail.set(mail);
    }

    fn queue(&self) -> &RunQueue {
        &self.context.queue
    }

    /// Makes this the runtime that code finds itself in, and the one that is awake, until the guard is dropped. A turn's
    /// caller is told of tasks that are left; others have to see them at the descriptor.
    fn enter(&self, shows_what_is_left: bool) -> impl Drop + use<> {
        struct Running {
            context: Rc<Context>,
            turning_before: bool,
            shows_what_is_left: bool,
            _entered: context::Entered,
        }
        impl Drop for Running {
            fn drop(&mut self) {
                let Context { home, queue, reactor, .. } = &*self.context;
                reactor.set_turning(self.turning_before);
                queue.away.set(!self.turning_before);
                // From here on strangers have to ring. What has come meanwhile, or is left, has to show now.
                let asleep = home.inbox().fall_asleep();
                if !asleep || self.shows_what_is_left && !queue.is_empty() {
                    queue.show_work();
                }
            }
        }
        self.context.home.inbox().wake_up();
        self.context.queue.away.set(false);
        Running {
            turning_before: self.context.reactor.set_turning(true),
            shows_what_is_left,
            _entered: context::enter(&self.context),
            context: Rc::clone(&self.context),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _running = self.enter(false);
        let (queue, home) = (self.queue(), &self.context.home);
        queue.closing.set(true);
        home.inbox().close().into_iter().for_each(panics::forget);
        loop {
            let tasks = queue.take_tasks();
            if tasks.is_empty() {
                break;
            }
            for (_, task) in tasks {
                panics::catch(|| task.close()).unwrap_or_else(panics::forget);
            }
        }
        self.context.clock.clear();
        queue.clear();
    }
}

/// What is left of a batch. If the root ends, or panics, in the middle of it, this goes back where it came from.
struct Rest<'a> {
    queue: &'a RunQueue,
    ready: std::vec::Drain<'a, Ready>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if self.ready.len() > 0 {
            self.queue.put_back(self.ready.by_ref());
        }
    }
}

/// The runtime's descriptor: readable when a turn has something to do.
impl AsFd for Runtime {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.context.reactor.as_fd()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("tasks", &self.queue().tasks.borrow().len()).finish()
    }
}

/// The settings of a runtime.
///
/// ```
/// use runtime::{PanicPolicy, Runtime, instruments::Statistics, testing};
/// use std::{rc::Rc, time::Duration};
///
/// let statistics = Statistics::new();
/// let rt = Runtime::builder()
///     .panic_policy(PanicPolicy::Abort)
///     .instrument(Rc::new(statistics.clone()))
///     .time(testing::TestClock::new())
///     .order(testing::seeded(17))
///     .build()?;
/// rt.block_on(runtime::sleep(Duration::from_secs(3600)));
/// assert_eq!(statistics.snapshot().counts.polls, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a Builder makes a runtime when `build` is called"]
#[derive(Default)]
pub struct Builder {
    panic_policy: PanicPolicy,
    instrument: Option<Rc<dyn Instrument>>,
    time: Option<Rc<dyn Time>>,
    order: Option<Pick>,
}

impl Builder {
    /// What to do with the panic of a task that nobody can ask for it.
    pub fn panic_policy(mut self, policy: PanicPolicy) -> Self {
        self.panic_policy = policy;
        self
    }

    /// Who watches.
    pub fn instrument(mut self, instrument: Rc<dyn Instrument>) -> Self {
        self.instrument = Some(instrument);
        self
    }

    /// What to ask for the time, and when to sleep, instead of the system; for tests, see [`testing`](crate::testing).
    pub fn time(mut self, time: Rc<dyn Time>) -> Self {
        self.time = Some(time);
        self
    }

    /// Has each round of ready tasks polled in the order that `pick` chooses, instead of first come, first served: it is
    /// given how many are left and answers which of them is next (modulo that number). For tests, see [`testing`](crate::testing).
    pub fn order(mut self, pick: impl Fn(usize) -> usize + 'static) -> Self {
        self.order = Some(Box::new(pick));
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn build(self) -> io::Result<Runtime> {
        let poller = Poller::new()?;
        let home = Home::new(poller.bell());
        let context = Context {
            queue: RunQueue::new(Arc::clone(&home), self.instrument, self.panic_policy),
            home,
            reactor: Reactor::new(poller),
            clock: Clock::new(self.time),
            spawned: Cell::new(0),
        };
        let (batch, mail) = (Cell::default(), Cell::default());
        Ok(Runtime { context: Rc::new(context), batch, mail, order: self.order })
    }
}

/// A runtime as other threads see it: they can send it work, and that is all. `Send`, `Sync` and cheap to clone; does not
/// keep the runtime alive.
///
/// ```
/// runtime::block_on(async {
///     let handle = runtime::Handle::current();
///     let thread = std::thread::spawn(move || handle.post(|| println!("at home")));
///     thread.join().unwrap()
/// })?;
/// # Ok::<(), runtime::Gone>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    home: Arc<Home>,
}

impl Handle {
    /// The runtime this code runs in.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn current() -> Handle {
        Handle { home: Arc::clone(&context::current("Handle::current").home) }
    }

    /// The runtime this code runs in, if there is one.
    pub fn try_current() -> Option<Handle> {
        context::with(|context| Handle { home: Arc::clone(&context.home) })
    }

    /// Whether this is the runtime that the calling code runs in.
    ///
    /// ```
    /// use runtime::{Handle, Runtime};
    /// let (rt, other) = (Runtime::new()?, Runtime::new()?);
    /// assert!(Handle::try_current().is_none());
    /// rt.block_on(async {
    ///     assert!(rt.handle().is_current() && !other.handle().is_current());
    ///     assert!(Handle::try_current().is_some());
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_current(&self) -> bool {
        context::with(|context| Arc::ptr_eq(&context.home, &self.home)).unwrap_or(false)
    }

    /// Has the runtime call `f` on its own thread, soon, between two polls. `f` may spawn; it must not block. A panic of
    /// it goes to the runtime's [`PanicPolicy`].
    ///
    /// # Errors
    /// [`Gone`], if the runtime has ended. (One that ends before it has read the letter drops `f` uncalled.)
    pub fn post(&self, f: impl FnOnce() + Send + 'static) -> Result<(), Gone> {
        self.home.post(Letter::Call(Box::new(f))).map_err(|Closed| Gone)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The runtime that was to do this has ended.
///
/// ```
/// let rt = runtime::Runtime::new()?;
/// let handle = rt.handle();
/// drop(rt);
/// assert_eq!(handle.post(|| ()), Err(runtime::Gone));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime has ended")
    }
}

impl std::error::Error for Gone {}

/// A task whose runtime has ended was cancelled by that.
impl From<Gone> for JoinError {
    fn from(_: Gone) -> Self {
        JoinError::cancelled()
    }
}

/// The future given to `block_on`, as its wakers see it. It is not a task: it lies on the stack of `block_on`.
struct Root {
    address: Address,
    body: AtHome<RootBody>,
}

struct RootBody {
    queue: Rc<RunQueue>,
    queued: Cell<bool>,
}

impl Root {
    fn new(context: &Context) -> Arc<Self> {
        let body = RootBody { queue: Rc::clone(&context.queue), queued: Cell::new(false) };
        let address = Address::new(Arc::clone(&context.home), u32::MAX); // it is on no list
        Arc::new(Root { address, body: AtHome::new(body) })
    }

    /// It is about to be polled: from here on a wake counts again.
    fn unqueue(&self) {
        if let Some(body) = self.body.get() {
            body.queued.set(false);
        }
    }
}

impl RootBody {
    fn wake(&self, from_abroad: bool) {
        if !self.queued.replace(true) {
            self.queue.push(Ready::Root);
        }
        self.queue.tell(|instrument| instrument.woken(TaskId::ROOT, from_abroad));
    }
}

impl ArcWake for Root {
    fn wake_by_ref(root: &Arc<Self>) {
        match root.body.get() {
            Some(body) => body.wake(false),
            None => root.address.post(|| Arc::clone(root) as Arc<dyn Woken>),
        }
    }
}

impl Woken for Root {
    fn arrived(self: Arc<Self>) {
        self.address.arrived();
        if let Some(body) = self.body.get() {
            body.wake(true);
        }
    }
}

#[track_caller]
fn refuse_nesting(who: &str) {
    assert!(
        !context::is_entered(),
        "{who} was called inside of a block_on on the same thread: the inner loop would stop the outer one. \
         Use .await here, or spawn; for blocking code use unblock, or a thread of its own"
    );
}
