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
//! Waking only puts tasks into the run queue; the loop polls them. Each part of a turn has a bound, so
//! no part can starve another:
//!
//! | part        | bound per turn                                                               |
//! |-------------|------------------------------------------------------------------------------|
//! | `run_batch` | 256 polls; a poll that used up its operations (context.rs) counts as 16      |
//! | `wait`      | 256 events, the capacity of the kernel's list; each wakes all its waiters    |
//! | `fire`      | 256 timers; moving a coarse slot of the wheel is not bounded (10 ns per entry) |
//! | `read_mail` | 64 messages; a call (`Handle::post`) takes as long as its closure            |
//!
//! If a part leaves anything over, the next wait does not sleep. Every turn polls the kernel, with a
//! zero timeout if work is left.
//!
//! A batch goes in rounds. A round polls what was ready when it began; no round begins after 64 polls,
//! or after a poll that used up its operations. One round per batch would cost two tasks that wake each
//! other a system call per wake. If more than 128 tasks are left at the end of a batch, they become the
//! backlog, or go behind it. Later batches give the backlog at least half of their polls and keep the
//! rest for tasks woken since by events, timers and messages. So a timer's task waits for one batch, not
//! for a crowd. Tasks that the backlog wakes go behind the backlog. Tasks that other threads spawn wait
//! in the inbox: 64 messages make at most as many tasks as one batch has room for.
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
use crate::run_queue::{Address, Closed, Home, Lane, Letter, Ready, RunQueue, Woken};
use crate::sys::{AtHome, Poller, Taken};
use crate::task::{self, JoinError, JoinHandle};

/// How many polls a batch has room for: as many as one wait can bring events.
const POLLS_PER_TURN: usize = 256;

/// After so many no round begins: those that wake each other have had their share.
const POLLS_BEFORE_LAST_ROUND: usize = 64;

/// As how many polls one counts that used up its operations. Sixteen of them take some milliseconds.
const POLLS_OF_AN_EXHAUSTED: usize = 16;

/// How many may be left ready by a batch before all of them become backlog: as many as the next one surely has room for.
const READY_KEPT: usize = POLLS_PER_TURN / 2;

/// Messages delivered per turn. Each may spawn two tasks (`Handle::spawn`); the next batch has room for them.
const LETTERS_PER_TURN: usize = 64;

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
    /// Letters that were taken out of the inbox and not yet read.
    mail: Cell<Taken<Letter>>,
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
        let root = Root::new(&self.context);
        let _end = RootEnd(&root); // after the future's drop, which may wake
        let mut future = pin!(future);
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
        let limit = if self.has_work() { Some(Duration::ZERO) } else { limit };
        self.one_turn(limit, || ControlFlow::<()>::Continue(())).map(drop)?;
        let at_once = self.has_work().then_some(Duration::ZERO);
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
        if self.order.is_some() {
            queue.join_lanes(); // or what is in different lanes would never be exchanged
        }
        let mut left = POLLS_PER_TURN;
        let mut is_last = false;
        while !is_last && left > POLLS_PER_TURN - POLLS_BEFORE_LAST_ROUND && !queue.is_empty() {
            let new = queue.ready.len();
            if queue.backlog.len() > 0 {
                // Enough for the new ones, if they use up their operations, too.
                let reserved = (new * POLLS_OF_AN_EXHAUSTED).min(POLLS_PER_TURN / 2);
                is_last = self.run_round(&queue.backlog, reserved, &mut left, &mut root)?;
                queue.move_to_backlog(new); // what a crowd wakes belongs to it
            }
            is_last |= self.run_round(&queue.ready, 0, &mut left, &mut root)?;
        }
        if queue.ready.len() > READY_KEPT {
            queue.move_to_backlog(0);
        }
        queue.give_memory_back();
        ControlFlow::Continue(())
    }

    /// Polls what a lane holds now, until `reserved` polls are left, and says whether one of them used up its operations.
    #[inline(always)]
    fn run_round<B>(
        &self,
        lane: &Lane,
        reserved: usize,
        left: &mut usize,
        root: &mut impl FnMut() -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        let queue = self.queue();
        self.shuffle(lane);
        let mut exhausted = false;
        for _ in 0..lane.len() {
            if *left <= reserved {
                break;
            }
            let Some(ready) = lane.pop() else { break };
            *left -= 1;
            context::refill_operations();
            if queue.is_watched() {
                self.run_watched(ready, root)?;
            } else {
                match ready {
                    Ready::Task(task) => task.run(),
                    Ready::Root => root()?,
                }
            }
            if context::is_exhausted() {
                exhausted = true;
                *left = left.saturating_sub(POLLS_OF_AN_EXHAUSTED - 1);
            }
        }
        ControlFlow::Continue(exhausted)
    }

    /// Puts a lane into the order that the program has chosen, if it has.
    fn shuffle(&self, lane: &Lane) {
        let Some(pick) = &self.order else { return };
        // It is foreign code: no lane is borrowed while it is called, and it may make more tasks ready.
        let shuffle = || {
            (1..lane.len()).rev().for_each(|last| lane.swap(last, pick(last + 1) % (last + 1)));
        };
        panics::catch(shuffle)
            .unwrap_or_else(|payload| self.queue().panics.unobserved(TaskId::ROOT, payload));
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

    /// Whether something is left to do without the kernel: tasks to poll, or letters to read.
    fn has_work(&self) -> bool {
        !self.queue().is_empty() || self.has_mail_left()
    }

    fn has_mail_left(&self) -> bool {
        let mail = self.mail.take();
        let has_mail = !mail.is_empty();
        self.mail.set(mail);
        has_mail
    }

    /// How long the wait may last: not at all if a task is ready or mail has come, else until the next timer.
    fn may_sleep(&self, limit: Option<Duration>) -> Option<Duration> {
        // `fall_asleep` tells strangers that they must ring from now on; `false`: there is mail already.
        if self.has_work() || !self.context.home.inbox().fall_asleep() {
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
        if !self.has_work()
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
        for _ in 0..LETTERS_PER_TURN {
            match mail.pop() {
                Some(Letter::Wake(task)) => task.arrived(),
                Some(Letter::Call(call)) => {
                    if let Err(payload) = panics::catch(call) {
                        self.queue().panics.unobserved(TaskId::ROOT, payload);
                    }
                }
                None => break,
            }
        }
        self.mail.set(mail);
    }

    fn queue(&self) -> &RunQueue {
        self.context.home.queue()
    }

    /// Makes this the runtime that code finds itself in, and the one that is awake, until the guard is dropped. A turn's
    /// caller is told of tasks that are left; others have to see them at the descriptor.
    fn enter(&self, shows_what_is_left: bool) -> impl Drop + use<'_> {
        struct Running<'a> {
            runtime: &'a Runtime,
            turning_before: bool,
            shows_what_is_left: bool,
            _entered: context::Entered,
        }
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                let Context { home, reactor, .. } = &*self.runtime.context;
                reactor.set_turning(self.turning_before);
                home.queue().away.set(!self.turning_before);
                // From here on strangers have to ring. What has come meanwhile, or is left, has to show now.
                let asleep = home.inbox().fall_asleep();
                if !asleep || self.shows_what_is_left && self.runtime.has_work() {
                    home.show_work();
                }
            }
        }
        self.context.home.inbox().wake_up();
        self.queue().away.set(false);
        Running {
            turning_before: self.context.reactor.set_turning(true),
            shows_what_is_left,
            _entered: context::enter(&self.context),
            runtime: self,
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _running = self.enter(false);
        let (queue, home) = (self.queue(), &self.context.home);
        queue.closing.set(true);
        let unread = home.inbox().close();
        let mut mail = self.mail.take();
        mail.reverse(usize::MAX);
        std::iter::from_fn(|| mail.pop()).for_each(panics::forget);
        mail.reverse(usize::MAX);
        std::iter::from_fn(|| mail.pop()).chain(unread).for_each(panics::forget);
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
        let context = Context {
            home: Home::new(poller.bell(), self.instrument, self.panic_policy),
            reactor: Reactor::new(poller),
            clock: Clock::new(self.time),
            spawned: Cell::new(0),
        };
        Ok(Runtime { context: Rc::new(context), mail: Cell::default(), order: self.order })
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

#[derive(Default)]
struct RootBody {
    queued: Cell<bool>,
    /// Its `block_on` has returned: a wake must not reach the root of the next one.
    ended: Cell<bool>,
}

impl Root {
    fn new(context: &Context) -> Arc<Self> {
        let address = Address::new(Arc::clone(&context.home), u32::MAX); // it is on no list
        Arc::new(Root { address, body: AtHome::new(RootBody::default()) })
    }

    /// It is about to be polled: from here on a wake counts again.
    fn unqueue(&self) {
        if let Some(body) = self.body.get() {
            body.queued.set(false);
        }
    }

    /// A wake, at home or come home by letter.
    fn enqueue(&self, body: &RootBody, from_abroad: bool) {
        if body.ended.get() {
            return;
        }
        let queue = self.address.home.queue();
        if !body.queued.replace(true) {
            self.address.home.push(queue, Ready::Root);
        }
        queue.tell(|instrument| instrument.woken(TaskId::ROOT, from_abroad));
    }
}

/// The end of a `block_on`, by whichever way it comes.
struct RootEnd<'a>(&'a Root);

impl Drop for RootEnd<'_> {
    fn drop(&mut self) {
        if let Some(body) = self.0.body.get() {
            body.ended.set(true);
            if body.queued.get() {
                self.0.address.home.queue().remove_root();
            }
        }
    }
}

impl ArcWake for Root {
    fn wake_by_ref(root: &Arc<Self>) {
        match root.body.get() {
            Some(body) => root.enqueue(body, false),
            None => root.address.post(|| Arc::clone(root) as Arc<dyn Woken>),
        }
    }
}

impl Woken for Root {
    fn arrived(self: Arc<Self>) {
        self.address.arrived();
        if let Some(body) = self.body.get() {
            self.enqueue(body, true);
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
