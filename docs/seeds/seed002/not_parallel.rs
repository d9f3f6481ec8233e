//! Why is concurrency not parallelism?
//!
//! The original quotes Rob Pike: concurrency is to have many things at hand, parallelism is to do many at the same time; and
//! gives the scheduler of a machine with one processor as the example of the first without the second.
//!
//! Here is such a scheduler: three tasks, one thread. Each column of the picture is one turn at the processor, and there is
//! never more than one `#` in a column: what each computes is spread out, and nothing is gained by it. Then the same three
//! wait for a timer instead, and the whole takes as long as one of them: waiting is what can be done together on one thread.
//!
//! In Rust a task gives the processor up where it awaits, and nowhere else. `yield_now` is "let others go first".
//!
//! ```text
//! --tick MILLISECONDS   how long each waits (200)
//! ```
//!
//! Comes from: ../main.rs. Goes to: `spawn`, `yield_now`, `sleep`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use runtime::{JoinError, JoinHandle, block_on, sleep, spawn, yield_now};

use crate::Outcome;
use crate::words::Words;

/// The tasks, and how many turns each has to compute.
const TASKS: [(char, usize); 3] = [('A', 4), ('B', 6), ('C', 3)];

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(200)?;
    block_on(async {
        let turns = Rc::new(RefCell::new(Vec::new()));
        join(TASKS.map(|(name, work)| spawn(compute(name, work, Rc::clone(&turns))))).await?;
        let turns = turns.take();
        println!("computing: {} turns, whatever the order", turns.len());
        for (name, _) in TASKS {
            let row: String =
                turns.iter().map(|turn| if *turn == name { '#' } else { '.' }).collect();
            println!("  task {name}  {row}");
        }

        let start = Instant::now();
        join(TASKS.map(|_| spawn(sleep(tick)))).await?;
        let (each, all) = (tick.as_secs_f64(), start.elapsed().as_secs_f64());
        println!("waiting: 3 times {each:.2} s, together {all:.2} s");
        Ok::<_, JoinError>(())
    })?;
    Ok(())
}

/// Works for so many turns, and lets others go first after each.
async fn compute(name: char, work: usize, turns: Rc<RefCell<Vec<char>>>) {
    for _ in 0..work {
        turns.borrow_mut().push(name);
        yield_now().await;
    }
}

async fn join(tasks: [JoinHandle<()>; 3]) -> Result<(), JoinError> {
    for task in tasks {
        task.await?;
    }
    Ok(())
}
