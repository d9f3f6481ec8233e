//! Where does a task's future live, and who may touch it when?
//!
//! The cell is one `Arc`. Its outer half, [`Place`], is for any thread. Its inner half, [`Body`], holds the future, which
//! may be anything and must never be touched abroad; [`AtHome`] sees to that. At home three parties meet over it, the
//! loop (`run`), the handle (`poll_join`, `abort`, `detach`) and the end of the runtime (`close`), and they may meet inside
//! one another: a task can abort or await itself in its own poll. So `stage` is a `RefCell`, borrowed for the whole of a
//! poll: it is the mark "being polled", and two references to the future at a time are impossible, not just forbidden.
//!
//! `stage` as a register sheet:
//!
//! | stage      | what it holds                 | entered by                                 | left by                       |
//! |------------|-------------------------------|--------------------------------------------|-------------------------------|
//! | `Running`  | the future, pinned            | `new`                                      | `run`, `abort`, `close`       |
//! | `Finished` | the result, for the handle    | those three, if there is a handle          | `poll_join`, `detach`         |
//! | `Gone`     | nothing                       | those three, if there is none; the handle  | never                         |
//!
//! `flags`: `HANDLE` is set by `new` and cleared by `detach`; `ABORT` is set by an abort that finds the stage borrowed, and
//! read by `run` when the poll is over.
//!
//! The one unsafe line of the file pins the future. Its argument stands there.
//!
//! Comes from: mod.rs (spawn), executor.rs (run), join.rs (the handle). Goes to: the joiner's waker.

use std::cell::{Cell, RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_task::{ArcWake, waker_ref};

use crate::instrument::TaskId;
use crate::run_queue::{Place, Posted};
use crate::sys::AtHome;

use super::join::{Join, JoinError};
use super::{Outcome, Runnable, drop_caught, unobserved};

/// A spawned future and all that is known about it. One allocation.
pub(super) struct Task<F: Future> {
    place: Place,
    body: AtHome<Body<F>>,
}

/// The home thread's half.
struct Body<F: Future> {
    /// Borrowed during a poll, and while what it holds is dropped.
    stage: RefCell<Stage<F>>,
    /// Who awaits the handle.
    joiner: Cell<Option<Waker>>,
    /// HANDLE and ABORT.
    flags: Cell<u8>,
}

enum Stage<F: Future> {
    Running(F),
    Finished(Result<F::Output, JoinError>),
    Gone,
}

/// Somebody may ask for the result.
const HANDLE: u8 = 1;
/// Drop the future as soon as its poll is over.
const ABORT: u8 = 2;

impl<F: Future> Task<F> {
    pub(super) fn new(place: Place, future: F) -> Self {
        let stage = RefCell::new(Stage::Running(future));
        let body = Body {
            stage,
            joiner: Cell::new(None),
            flags: Cell::new(HANDLE),
        };
        Task {
            place,
            body: AtHome::new(body),
        }
    }

    /// The inner half, for code that can only run at home: the loop, and a handle, which is not `Send`.
    #[inline(always)]
    fn body(&self) -> &Body<F> {
        self.body
            .get()
            .expect("a task's body is asked for at home only")
    }

    /// Ends the task: the future is dropped where it lies, then the result is kept for the handle, if there is one, and
    /// whoever awaits it is woken. The future's drop is foreign code; a panic of it counts as the task's.
    fn finish(&self, mut stage: RefMut<'_, Stage<F>>, mut result: Result<F::Output, JoinError>) {
        let body = self.body();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| *stage = Stage::Gone)) {
            result = Err(JoinError::panicked(payload));
        }
        if body.flags.get() & HANDLE != 0 {
            *stage = Stage::Finished(result);
            drop(stage);
        } else {
            drop(stage);
            self.discard(result);
        }
        if let Some(joiner) = body.joiner.take() {
            joiner.wake();
        }
    }

    /// Nobody will ask for this result.
    fn discard(&self, result: Result<F::Output, JoinError>) {
        let panic = match result {
            Ok(output) => drop_caught(output).err(),
            Err(error) => error.try_into_panic().ok(),
        };
        if let Some(payload) = panic {
            unobserved(self.place.id, payload);
        }
    }
}

impl<F: Future + 'static> Runnable for Task<F> {
    #[inline]
    fn run(self: Arc<Self>) -> Outcome {
        let body = self.body();
        let mut stage = body.stage.borrow_mut();
        let Stage::Running(future) = &mut *stage else {
            // Aborted while it stood in the queue; its mark stays, so that no wake queues it again.
            return Outcome::Ended;
        };
        self.place.unqueue();
        let waker = waker_ref(&self);
        let mut cx = Context::from_waker(&waker);
        // SAFETY: a pinned value must stay where it is until it is dropped. The future lies in an `Arc`, is not moved out
        // of `stage` by anyone (`finish` and `close` overwrite it, which drops it in place), and is dropped before the
        // memory is: a live task is held by the table, and the end of the runtime closes all that are in the table.
        let future = unsafe { Pin::new_unchecked(future) };
        let poll = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        let result = match poll {
            Ok(Poll::Ready(output)) => Ok(output),
            Ok(Poll::Pending) if body.flags.get() & ABORT == 0 => {
                drop(stage);
                return Outcome::Waiting(self);
            }
            Ok(Poll::Pending) => Err(JoinError::cancelled()),
            Err(payload) => Err(JoinError::panicked(payload)),
        };
        self.finish(stage, result);
        if self.place.retire() {
            Outcome::EndedButQueued(self)
        } else {
            Outcome::Ended
        }
    }

    fn close(&self) {
        if let Ok(stage) = self.body().stage.try_borrow_mut()
            && matches!(*stage, Stage::Running(_))
        {
            self.finish(stage, Err(JoinError::cancelled()));
            self.place.retire();
        }
    }

    fn id(&self) -> TaskId {
        self.place.id
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

    fn abort(self: Arc<Self>) {
        let body = self.body();
        let Ok(stage) = body.stage.try_borrow_mut() else {
            body.flags.set(body.flags.get() | ABORT);
            return;
        };
        if let Stage::Running(_) = *stage {
            self.finish(stage, Err(JoinError::cancelled()));
            // The loop takes the empty cell off the table when its key comes up.
            ArcWake::wake_by_ref(&self);
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
        body.flags.set(body.flags.get() & !HANDLE);
        drop(body.joiner.take());
        let Ok(mut stage) = body.stage.try_borrow_mut() else {
            return;
        };
        if let Stage::Finished(_) = *stage
            && let Stage::Finished(result) = std::mem::replace(&mut *stage, Stage::Gone)
        {
            drop(stage);
            self.discard(result);
        }
    }

    fn id(&self) -> TaskId {
        self.place.id
    }
}

impl<F: Future + 'static> ArcWake for Task<F> {
    #[inline]
    fn wake_by_ref(task: &Arc<Self>) {
        task.place.wake(|| Arc::clone(task) as Arc<dyn Posted>);
    }
}

impl<F: Future + 'static> Posted for Task<F> {
    fn place(&self) -> &Place {
        &self.place
    }
}
