//! How many letters do four thousand wakes from abroad become?
//!
//! An instrument is told of each wake that comes home. It has one method to write; the others do nothing by default.
//!
//! Comes from: exercise 2. Goes to: `runtime::Instrument`.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use runtime::{Instrument, Runtime, TaskId, sleep, spawn};

#[derive(Default)]
struct FromAbroad(Cell<usize>);

impl Instrument for FromAbroad {
    fn woken(&self, _: TaskId, from_abroad: bool) {
        self.0.set(self.0.get() + usize::from(from_abroad));
    }
}

fn main() -> io::Result<()> {
    let counted = Rc::new(FromAbroad::default());
    let runtime = Runtime::builder().instrument(counted.clone()).build()?;
    runtime.block_on(async {
        let kept = Rc::new(Cell::new(None));
        let keep = Rc::clone(&kept);
        let never = std::future::poll_fn(move |cx| {
            keep.set(Some(cx.waker().clone()));
            Poll::<()>::Pending
        });
        let _task = spawn(never);
        sleep(Duration::from_millis(1)).await;
        let waker: Waker = kept.take().expect("it has been polled");

        for while_the_loop in ["is busy", "goes round"] {
            counted.0.set(0);
            let strangers: Vec<_> = (0..4)
                .map(|_| {
                    let waker = waker.clone();
                    thread::spawn(move || {
                        for _ in 0..1000 {
                            waker.wake_by_ref();
                            thread::sleep(Duration::from_micros(10));
                        }
                    })
                })
                .collect();
            while while_the_loop == "goes round" && strangers.iter().any(|one| !one.is_finished()) {
                runtime::yield_now().await;
            }
            for stranger in strangers {
                stranger.join().expect("a wake does not panic");
            }
            sleep(Duration::from_millis(1)).await;
            println!("4000 wakes while the loop {while_the_loop}: letters: {}", counted.0.get());
        }
    });
    Ok(())
}
