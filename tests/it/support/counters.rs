//! Things that count: how often a waker was called, a future polled, a value dropped, a loop put to sleep.
//!
//! - [`Counter`] is a shared number; [`Counter::guard`] counts its own drop.
//! - [`CountingWaker`] is a foreign waker, as another executor would hand in; [`acting_waker`] one that does something.
//! - [`Watcher`] is an instrument that counts what the loop does.
//!
//! Comes from: every module here. Goes to: nowhere.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;

use runtime::{Instrument, TaskId, Wait};

/// A number that many hold.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn new() -> Self {
        Self::default()
    }
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
    /// A value whose drop counts.
    pub(crate) fn guard(&self) -> OnDrop<impl FnOnce() + use<>> {
        let counter = self.clone();
        on_drop(move || counter.up())
    }
    /// Waits for what another thread is about to do; the deadline around the test bounds it.
    pub(crate) fn wait_for(&self, at_least: usize) {
        until(|| self.get() >= at_least);
    }
}

/// Waits for what another thread is about to do; the deadline around the test bounds it.
pub(crate) fn until(condition: impl Fn() -> bool) {
    for asked in 0.. {
        if condition() {
            return;
        }
        match asked {
            0..100 => std::thread::yield_now(),
            _ => std::thread::sleep(BREATH),
        }
    }
}

/// Lets all others that are ready run, again and again, until the condition holds.
pub(crate) async fn until_async(condition: impl Fn() -> bool) {
    for asked in 0.. {
        if condition() {
            return;
        }
        match asked {
            0..100 => runtime::yield_now().await,
            _ => runtime::sleep(BREATH).await,
        }
    }
}

/// How long the two above leave the CPU to those they wait for before they ask again. No result depends on it.
const BREATH: Duration = Duration::from_micros(200);

/// Does something when it is dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

pub(crate) fn on_drop<F: FnOnce()>(action: F) -> OnDrop<F> {
    OnDrop(Some(action))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}

/// A foreign waker that counts.
#[derive(Default, Debug)]
pub(crate) struct CountingWaker {
    wakes: AtomicUsize,
}

impl CountingWaker {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// A foreign waker that panics when it is called.
pub(crate) fn panicking_waker() -> Waker {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("of the waker"));
        }
    }
    Waker::from(Arc::new(Bad))
}

thread_local! {
    /// What this thread's acting wakers have still to do. Their actions may hold what is not `Send`, a waker may not.
    static ACTIONS: RefCell<HashMap<usize, Box<dyn FnOnce()>>> = RefCell::default();
}

fn keep_action(action: impl FnOnce() + 'static) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    ACTIONS.with(|actions| actions.borrow_mut().insert(number, Box::new(action)));
    number
}

fn act(number: usize) {
    let action = ACTIONS.with(|actions| actions.borrow_mut().remove(&number));
    if let Some(action) = action {
        action();
    }
}

/// A waker that does something, once, on the thread it was made on, when it is called.
pub(crate) fn acting_waker(action: impl FnOnce() + 'static) -> Waker {
    struct Acting(usize);
    impl Wake for Acting {
        fn wake(self: Arc<Self>) {
            act(self.0);
        }
    }
    Waker::from(Arc::new(Acting(keep_action(action))))
}

/// A waker that does something, on the thread it was made on, when the last of its clones is dropped.
pub(crate) fn dying_waker(action: impl FnOnce() + 'static) -> Waker {
    struct Dying(usize);
    impl Wake for Dying {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Dying {
        fn drop(&mut self) {
            act(self.0);
        }
    }
    Waker::from(Arc::new(Dying(keep_action(action))))
}

/// A waker whose every clone and drop calls `act`: the most meddlesome code that a waker can be.
pub(crate) fn meddling_waker(act: &'static (dyn Fn() + Sync)) -> Waker {
    type Act = &'static (dyn Fn() + Sync);
    const TABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| (), |_| (), drop_it);
    fn act_of(data: *const ()) -> Act {
        // SAFETY: `data` is the leaked box made below, which lives for ever and is only read.
        unsafe { *data.cast::<Act>() }
    }
    fn clone(data: *const ()) -> RawWaker {
        act_of(data)();
        RawWaker::new(data, &TABLE)
    }
    fn drop_it(data: *const ()) {
        act_of(data)();
    }
    let data: &'static Act = Box::leak(Box::new(act));
    // SAFETY: the functions of the table are safe on any thread: they read what lives for ever, and `act` is `Sync`.
    unsafe { Waker::new((&raw const *data).cast(), &TABLE) }
}

/// One poll with this waker.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A future that counts how often it is polled.
pub(crate) struct Polled<F> {
    future: Pin<Box<F>>,
    pub(crate) polls: Counter,
}

pub(crate) fn polled<F: Future>(future: F) -> (Polled<F>, Counter) {
    let polls = Counter::new();
    let counted = Polled { future: Box::pin(future), polls: polls.clone() };
    (counted, polls)
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.up();
        self.future.as_mut().poll(cx)
    }
}

/// Hands out the waker of whoever awaits it first, then waits for that to be called.
pub(crate) async fn give_waker(to: impl FnOnce(Waker)) {
    let mut to = Some(to);
    std::future::poll_fn(|cx| match to.take() {
        Some(to) => {
            to(cx.waker().clone());
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// An instrument that counts.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) polls: RefCell<HashMap<TaskId, usize>>,
    pub(crate) waits: Cell<usize>,
    /// Waits that might sleep.
    pub(crate) sleeps: Cell<usize>,
    pub(crate) parks: Cell<usize>,
    pub(crate) woken: Cell<usize>,
    pub(crate) woken_from_abroad: Cell<usize>,
    /// The most polls between two waits.
    pub(crate) longest_batch: Cell<usize>,
    batch: Cell<usize>,
    /// How the last sources that were waited for call themselves.
    pub(crate) labels: RefCell<Vec<String>>,
}

impl Watcher {
    pub(crate) fn polls_of(&self, task: TaskId) -> usize {
        self.polls.borrow().get(&task).copied().unwrap_or(0)
    }
    pub(crate) fn all_polls(&self) -> usize {
        self.polls.borrow().values().sum()
    }
}

fn up(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

impl Instrument for Watcher {
    fn poll_started(&self, task: TaskId) {
        *self.polls.borrow_mut().entry(task).or_default() += 1;
        up(&self.batch);
    }
    fn parked(&self, _: TaskId, on: &Wait<'_>) {
        up(&self.parks);
        if let Some(label) = on.label {
            self.labels.borrow_mut().push(label.to_string());
        }
    }
    fn woken(&self, _: TaskId, from_abroad: bool) {
        up(if from_abroad { &self.woken_from_abroad } else { &self.woken });
    }
    fn wait_started(&self, limit: Option<Duration>) {
        up(&self.waits);
        if limit != Some(Duration::ZERO) {
            up(&self.sleeps);
        }
        let batch = self.batch.take();
        self.longest_batch.set(self.longest_batch.get().max(batch));
    }
}
