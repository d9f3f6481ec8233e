//! Who may wake a task, from where, how often, and for how long?
//!
//! One task that is never ready and counts its polls, and a waker of it, which is used in all the ways that the contract
//! allows. What is printed is the number of polls that came of it.
//!
//! Comes from: you. Goes to: the runtime's run queue and inbox.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use runtime::{block_on, sleep, spawn};

/// What the task leaves behind at each poll.
#[derive(Default)]
struct Traces {
    polls: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    wake_in_the_poll: Cell<bool>,
}

/// A future that is never ready. It keeps its last waker where we can get at it.
async fn never(traces: Rc<Traces>) {
    std::future::poll_fn(|cx| {
        traces.polls.set(traces.polls.get() + 1);
        *traces.waker.borrow_mut() = Some(cx.waker().clone());
        if traces.wake_in_the_poll.take() {
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl Traces {
    fn waker(&self) -> Waker {
        self.waker.borrow().clone().expect("it has been polled")
    }

    /// Lets the loop go round, and prints how many polls there were since the last time.
    async fn report(&self, what: &str) {
        sleep(Duration::from_millis(1)).await;
        println!("{what:48} polls: {}", self.polls.take());
    }
}

fn main() {
    let traces = Rc::new(Traces::default());
    let waker = block_on(async {
        let task = spawn(never(Rc::clone(&traces)));
        traces.report("spawned").await;
        let waker = traces.waker();

        traces.report("not woken").await;

        waker.wake_by_ref();
        traces.report("woken once").await;

        for _ in 0..1000 {
            waker.wake_by_ref();
        }
        traces.report("woken a thousand times").await;

        traces.wake_in_the_poll.set(true);
        waker.wake_by_ref();
        traces.report("woken, and once more while it is polled").await;

        let strangers: Vec<_> = (0..4)
            .map(|_| {
                let waker = waker.clone();
                thread::spawn(move || (0..1000).for_each(|_| waker.wake_by_ref()))
            })
            .collect();
        for stranger in strangers {
            stranger.join().expect("a wake does not panic");
        }
        traces.report("woken a thousand times by each of four threads").await;

        task.abort();
        waker.wake_by_ref();
        traces.report("woken after its end").await;
        waker
    });
    // The loop is gone, the waker is not.
    waker.wake();
    println!("{:48} polls: {}", "woken after the runtime's end", traces.polls.get());
}
