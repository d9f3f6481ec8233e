//! Where does a task's future live, and who may touch it when?
//!
//! The cell is one `Arc`. Its outer half, [`Address`], is for any thread. Its inner half, [`Body`], holds the future, which
//! may be anything and must never be touched abroad; [`AtHome`] sees to that. At home three parties meet over it, the
//! loop (`run`), the handle (`poll_join`, `abort`, `detach`) and the end of the runtime (`close`), and they may meet inside
//! one another: a task can abort or await itself in its own poll. So `stage` is a `RefCell`, borrowed for the whole of a
//! poll: that is the mark "being polled", and two references to the future at a time are impossible, not just forbidden.
//!
//! `stage` as a register sheet:
//!
//! | stage      | what it holds                 | entered by                                 | left by                       |
//! |------------|-------------------------------|--------------------------------------------|-------------------------------|
//! | `Running`  | the future, pinned            | `start`                                    | `run`, `abort`, `close`       |
//! | `Finished` | the result, for the handle    | those three, if there is a handle          | `poll_join`, `detach`         |
//! | `Gone`     | nothing                       | those three, if there is none; the handle  | never                         |
//!
//! `notes` (in the address, where there is room for them), one bit each:
//!
//! | bit      | set by                                          | cleared by                | read by                    |
//! |----------|-------------------------------------------------|---------------------------|----------------------------|
//! | `HANDLE` | `start`                                         | `detach`                  | `finish`: keep the result? |
//! | `ABORT`  | `abort`, if it finds the stage borrowed         | never                     | `run`, after the poll      |
//! | `WOKEN`  | a wake that finds `me` empty                    | `run`, before the poll    | `run`, after the poll      |
//!
//! `me` is the reference by which a waiting task holds itself (see mod.rs). It is a circle on purpose; it is broken by
//! whoever ends the task, and the end of the runtime ends all.
//!
//! Comes from: mod.rs (spawn), executor.rs (run), join.rs (the handle). Goes to: the joiner's waker.

use std::cell::{Cell, RefCell, RefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_task::{ArcWake, waker_ref};

use crate::instrument::TaskId;
use crate::panics;
use crate::run_queue::{Address, Home, Ready, RunQueue, Runnable, Woken};
use crate::sys::AtHome;

use super::join::{Join, JoinError};

/// A spawned future and all that is known about it. One allocation.
pub(super) struct Task<F: Future> {
    address: Address,
    body: AtHome<Body<F>>,
}

/// The home thread's half.
struct Body<F: Future> {
    /// The reference by which a waiting task holds itself.
    me: Cell<Option<Arc<Task<F>>>>,
    /// Who awaits the handle.
    joiner: Cell<Option<Waker>>,
    id: TaskId,
    /// Borrowed during a poll, and while what it holds is dropped.
    stage: RefCell<Stage<F>>,
}

enum Stage<F: Future> {
    Running(F),
    Finished(Result<F::Output, JoinError>),
    Gone,
}

const HANDLE: u8 = 1;
const ABORT: u8 = 2;
const WOKEN: u8 = 4;

impl<F: Future + 'static> Task<F> {
    /// Makes a task that is on the list and in the run queue; during the end of the runtime, one that has ended.
    pub(super) fn start(home: &Arc<Home>, id: TaskId, future: F) -> Arc<Self> {
        let queue = home.queue();
        let mut tasks = queue.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let body = Body {
            me: Cell::new(None),
            joiner: Cell::new(None),
            id,
            stage: RefCell::new(Stage::Running(future)),
        };
        let address = Address::new(Arc::clone(home), entry.key() as u32);
        address.notes.set(HANDLE);
        let task = Arc::new(Task { address, body: AtHome::new(body) });
        entry.insert(Arc::clone(&task) as Arc<dyn Runnable>);
        drop(tasks);
        if queue.closing.get() {
            // Spawned by the drop of another task while the runtime ends: it is never polled.
            task.stop(queue);
        } else {
            home.push(queue, Ready::Task(Arc::clone(&task) as Arc<dyn Runnable>));
        }
        task
    }
}

impl<F: Future + 'static> Task<F> {
    /// The inner half, for code that can only run at home: the loop, and a handle, which is not `Send`.
    #[inline(always)]
    fn body(&self) -> &Body<F> {
        self.body.get().expect("a task's body is asked for at home only")
    }

    #[inline(always)]
    fn queue(&self) -> &RunQueue {
        self.address.home.queue()
    }

    /// A wake, at home or come home by letter.
    #[inline(always)]
    fn enqueue(&self, body: &Body<F>, from_abroad: bool) {
        let queue = self.queue();
        match body.me.take() {
            Some(me) => self.address.home.push(queue, Ready::Task(me)),
            None => self.address.notes.set(WOKEN),
        }
        queue.tell(|instrument| instrument.woken(body.id, from_abroad));
    }

    /// Ends a task that is not being polled: now, or, deep inside of other drops, after them.
    fn stop(&self, queue: &RunQueue) {
        if !queue.is_deep() {
            return self.close();
        }
        let is_running =
            self.body().stage.try_borrow().is_ok_and(|stage| matches!(*stage, Stage::Running(_)));
        // One that runs is on the list.
        let listed = queue.tasks.borrow().get(self.address.key as usize).cloned();
        if let Some(task) = listed
            && is_running
        {
            queue.put_off(Box::new(move || task.close()));
        }
    }

    /// Ends the task: the future is dropped where it lies, then the result is kept for the handle, if there is one, and
    /// whoever awaits it is woken. The future's drop is foreign code; a panic of it counts as the task's.
    fn finish(&self, mut stage: RefMut<'_, Stage<F>>, mut result: Result<F::Output, JoinError>) {
        let (body, queue) = (self.body(), self.queue());
        queue.nested(|| {
            if let Err(payload) = panics::catch(|| *stage = Stage::Gone) {
                panics::forget(std::mem::replace(&mut result, Err(JoinError::panicked(payload))));
            }
            let listed = queue.tasks.borrow_mut().try_remove(self.address.key as usize);
            drop((listed, body.me.take())); // not the last references: the caller holds one
            let cancelled = result.as_ref().is_err_and(JoinError::is_cancelled);
            queue.tell(|instrument| instrument.ended(body.id, cancelled));
            if self.address.notes.has(HANDLE) {
                *stage = Stage::Finished(result);
                drop(stage);
            } else {
                drop(stage);
                discard(queue, body.id, result);
            }
            if let Some(joiner) = body.joiner.take() {
                panics::wake(&joiner);
                panics::forget(joiner);
            }
        });
    }
}

/// Nobody will ask for this result.
fn discard<T>(queue: &RunQueue, id: TaskId, result: Result<T, JoinError>) {
    let panic = match result {
        Ok(output) => panics::catch(|| drop(output)).err(),
        Err(error) => error.try_into_panic().ok(),
    };
    if let Some(payload) = panic {
        queue.panics.unobserved(id, payload);
    }
}

impl<F: Future + 'static> Runnable for Task<F> {
    fn run(self: Arc<Self>) {
        let body = self.body();
        let mut stage = body.stage.borrow_mut();
        let Stage::Running(future) = &mut *stage else {
            return; // aborted while it stood in the queue
        };
        self.address.notes.clear(WOKEN);
        // SAFETY: a pinned value must stay where it is until it is dropped. The future lies in an `Arc`, is not moved out
        // of `stage` by anyone (`finish` overwrites it, which drops it in place), and is dropped before its memory is:
        // a task that has not finished is on the list, and the end of the runtime closes all that are on it.
        let future = unsafe { Pin::new_unchecked(future) };
        let waker = waker_ref(&self);
        let poll = panics::catch(|| future.poll(&mut Context::from_waker(&waker)));
        let result = match poll {
            Ok(Poll::Pending) if !self.address.notes.has(ABORT) => {
                drop(stage);
                if self.address.notes.has(WOKEN) {
                    let home = Arc::clone(&self.address.home);
                    home.push(home.queue(), Ready::Task(self));
                } else {
                    let me: *const Cell<Option<Arc<Self>>> = &raw const body.me;
                    // SAFETY: `me` lies in the allocation that `self` keeps alive, and `self` is what is stored in it, so
                    // the cell outlives the call. (A reference could not say so: `self` would be moved while borrowed.)
                    unsafe { (*me).set(Some(self)) };
                }
                return;
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Ok(Poll::Pending) => Err(JoinError::cancelled()),
            Err(payload) => Err(JoinError::panicked(payload)),
        };
        self.finish(stage, result);
    }

    fn close(&self) {
        let body = self.body();
        if let Ok(stage) = body.stage.try_borrow_mut()
            && matches!(*stage, Stage::Running(_))
        {
            self.finish(stage, Err(JoinError::cancelled()));
        }
    }

    fn id(&self) -> TaskId {
        self.body().id
    }
}

impl<F: Future + 'static> ArcWake for Task<F> {
    #[inline]
    fn wake_by_ref(task: &Arc<Self>) {
        match task.body.get() {
            Some(body) => task.enqueue(body, false),
            None => task.address.post(|| Arc::clone(task) as Arc<dyn Woken>),
        }
    }
}

impl<F: Future + 'static> Woken for Task<F> {
    fn arrived(self: Arc<Self>) {
        self.address.arrived();
        self.enqueue(self.body(), true);
    }
}

impl<F: Future + 'static> Join<F::Output> for Task<F> {
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        let body = self.body();
        let Ok(mut stage) = body.stage.try_borrow_mut() else {
            return Poll::Ready(Err(JoinError::itself()));
        };
        if let Stage::Running(_) = *stage {
            let joiner = match body.joiner.take() {
                Some(joiner) if joiner.will_wake(cx.waker()) => joiner,
                _ => cx.waker().clone(),
            };
            body.joiner.set(Some(joiner));
            return Poll::Pending;
        }
        match std::mem::replace(&mut *stage, Stage::Gone) {
            Stage::Finished(result) => Poll::Ready(result),
            _ => panic!("a JoinHandle was polled again after it had given the task's result"),
        }
    }

    fn abort(&self) {
        let being_polled = self.body().stage.try_borrow_mut().is_err();
        if being_polled {
            self.address.notes.set(ABORT);
        } else {
            self.stop(self.queue());
        }
    }

    fn is_finished(&self) -> bool {
        match self.body().stage.try_borrow() {
            Ok(stage) => !matches!(*stage, Stage::Running(_)),
            Err(_) => false,
        }
    }

    fn detach(&self) {
        let body = self.body();
        self.address.notes.clear(HANDLE);
        drop(body.joiner.take());
        let Ok(mut stage) = body.stage.try_borrow_mut() else {
            return;
        };
        if let Stage::Finished(_) = *stage
            && let Stage::Finished(result) = std::mem::replace(&mut *stage, Stage::Gone)
        {
            drop(stage);
            let (queue, id) = (self.queue(), body.id);
            if queue.is_deep() {
                let home = Arc::clone(&self.address.home);
                queue.put_off(Box::new(move || discard(home.queue(), id, result)));
            } else {
                queue.nested(|| discard(queue, id, result));
            }
        }
    }

    fn id(&self) -> TaskId {
        self.body().id
    }
}
