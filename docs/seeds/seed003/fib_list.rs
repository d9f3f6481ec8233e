//! Which is faster for a list of Fibonacci numbers: threads or processes?
//!
//! The original asks this as a riddle, and its answer is processes: Python's threads share one interpreter, so four of them
//! are no faster than none.
//!
//! In Rust the answer is another: threads compute at the same time, so both are faster than one by one, by the number of
//! cores, and processes are a little behind because they have to be started. Tasks alone would gain nothing, they share one
//! thread; a task that computes hands it to the pool, and then it is as fast as threads are.
//!
//! ```text
//! sequential|threads|processes|async    one of them; all, if none is named
//! --n N                                 which Fibonacci number, four times (40)
//! ```
//!
//! Comes from: ../main.rs. Goes to: std's threads, `process_pool`, `unblock`.

use std::thread;
use std::time::Instant;

use runtime::process_pool::ProcessPool;
use runtime::{block_on, unblock};

use crate::fib::fib;
use crate::words::Words;
use crate::{Outcome, by_process};

type Answers = Result<Vec<u64>, Box<dyn std::error::Error>>;
type Form = (&'static str, fn(&[u64]) -> Answers);

const FORMS: [Form; 4] = [
    ("sequential", sequential),
    ("threads", threads),
    ("processes", processes),
    ("async", tasks_and_a_pool),
];

pub(crate) fn main(words: &[String]) -> Outcome {
    let options = Words::new(words, &["--n"])?;
    let list = [options.value("--n")?.unwrap_or(40); 4];
    let is_named = |(name, _): &&Form| words.iter().any(|word| word == name);
    let all = !FORMS.iter().any(|form| is_named(&form));
    for (name, compute) in FORMS.iter().filter(|form| all || is_named(form)) {
        let start = Instant::now();
        let answers = compute(&list)?;
        println!("{name:10} {answers:?} in {:.3} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn sequential(list: &[u64]) -> Answers {
    Ok(list.iter().map(|n| fib(*n)).collect())
}

fn threads(list: &[u64]) -> Answers {
    thread::scope(|scope| {
        let threads: Vec<_> = list.iter().map(|n| scope.spawn(|| fib(*n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".into()))
            .collect()
    })
}

/// As many processes as there are cores take the calls as they come; each `call` has begun when the first is awaited.
fn processes(list: &[u64]) -> Answers {
    block_on(async {
        let pool = ProcessPool::new(by_process())?;
        let calls: Vec<_> = list.iter().map(|n| pool.call("fib", n.to_string())).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(String::from_utf8(call.await?)?.parse()?);
        }
        Ok(answers)
    })
}

fn tasks_and_a_pool(list: &[u64]) -> Answers {
    block_on(async {
        let jobs: Vec<_> = list.iter().copied().map(|n| unblock(move || fib(n))).collect();
        let mut answers = Vec::new();
        for job in jobs {
            answers.push(job.await?);
        }
        Ok(answers)
    })
}
