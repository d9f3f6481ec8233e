//! How does one find the one order in a hundred that breaks a program, and then find it again?
//!
//! By running the test once for each of many seeds, each time on a new runtime that takes its time and its order from the
//! test alone. What fails is named by its seed, and the seed alone brings it back: `GROUND_SEED=17 cargo test ...`.
//!
//! Two things fail a run that a plain `block_on` lets pass:
//!
//! - a task that panics with nobody to ask for its result;
//! - a test that waits for what never comes. Time jumps when nothing else can happen, so a year is over at once.
//!
//! What it does not do: make a seed's failure smaller, or choose seeds cleverly. Seeds are cheap.
//!
//! Comes from: tests. Goes to: test_clock.rs, and `seeded` in mod.rs.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::testing::{TestClock, seeded};
use crate::{Builder, PanicPolicy, Runtime, timeout};

/// The environment variable that chooses the one seed to be run.
const VARIABLE: &str = "GROUND_SEED";

/// How much of its own time a test has: a year. Nothing that is tested waits longer, and what is stuck is there at once.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs a test on a runtime whose time is a [`TestClock`]: waits take no time, and are exact.
///
/// # Panics
/// With whatever `test` panics; if a task panics with nobody to ask for its result; if the test has not ended when all
/// that is left is to wait, or after a year of its own time; and if the kernel has no descriptors for a runtime.
///
/// ```
/// use std::time::Duration;
/// let elapsed = runtime::testing::run(async {
///     let start = runtime::now();
///     runtime::sleep(Duration::from_secs(86_400)).await;
///     runtime::now() - start
/// });
/// assert_eq!(elapsed, Duration::from_secs(86_400));
/// ```
#[track_caller]
pub fn run<F: Future>(test: F) -> F::Output {
    run_on(Runtime::builder().time(TestClock::new()), test)
        .unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a test once for each seed, on the runtime of [`builder`]; the seed is given to the test, for its [`Hostile`] streams
/// and other choices of its own. After the first seed that fails it says how to run that one alone, and fails in the same
/// way.
///
/// If the variable `GROUND_SEED` is set, that seed is run and no other.
///
/// [`Hostile`]: crate::testing::Hostile
///
/// # Panics
/// As [`run`]; and if `GROUND_SEED` is not a number.
///
/// ```
/// use runtime::testing::{Hostile, check, duplex};
///
/// // Sends back the line it is sent; it must not care in which pieces that comes.
/// check(0..50, async |seed| {
///     let (client, server) = duplex(16);
///     let server = server.hostile(Hostile::new(seed));
///     let echo = runtime::spawn(async move {
///         let (mut line, mut byte) = (Vec::new(), [0; 1]);
///         while server.read(&mut byte).await? == 1 && byte != *b"\n" {
///             line.push(byte[0]);
///         }
///         server.write_all(&line).await
///     });
///     client.write_all(b"hello\n").await.unwrap();
///     let mut answer = [0; 5];
///     client.read_exact(&mut answer).await.unwrap();
///     assert_eq!(&answer, b"hello");
///     echo.await.unwrap().unwrap();
/// });
/// ```
#[track_caller]
pub fn check(seeds: impl IntoIterator<Item = u64>, test: impl AsyncFn(u64)) {
    let chosen = std::env::var_os(VARIABLE).map(|text| {
        let number = text.to_str().and_then(|text| text.trim().parse().ok());
        number
            .unwrap_or_else(|| panic!("{VARIABLE}={} is not a seed: give a number", text.display()))
    });
    let run = |seed| {
        if let Err(panic) = run_on(builder(seed), test(seed)) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("..");
            eprintln!(
                "seed {seed} fails. This seed alone, and the same way: {VARIABLE}={seed} cargo test {name}"
            );
            resume_unwind(panic);
        }
    };
    match chosen {
        Some(seed) => run(seed),
        None => seeds.into_iter().for_each(run),
    }
}

/// The settings of a runtime whose time is a [`TestClock`] and whose order follows from `seed`: what [`check`] runs a
/// test on. For tests that want an [`Instrument`](crate::Instrument) beside, say, to see what a seed does.
///
/// ```
/// let rt = runtime::testing::builder(17).build()?;
/// rt.block_on(runtime::yield_now());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn builder(seed: u64) -> Builder {
    Runtime::builder().time(TestClock::new()).order(seeded(seed))
}

type Payload = Box<dyn Any + Send>;

thread_local! {
    /// The first panic of a task of the run that nobody can ask for it.
    static UNOBSERVED: Cell<Option<Payload>> = const { Cell::new(None) };
}

/// One run; the error is the panic that came first.
#[track_caller]
fn run_on<F: Future>(builder: Builder, test: F) -> Result<F::Output, Payload> {
    let keep_first = PanicPolicy::Hook(|_, payload| {
        let first = UNOBSERVED.take().unwrap_or(payload);
        UNOBSERVED.set(Some(first));
    });
    let runtime = match builder.panic_policy(keep_first).build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("a test could not make its runtime: {error}"),
    };
    UNOBSERVED.set(None);
    let result = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            timeout(LONGEST, test).await.unwrap_or_else(|_| {
                panic!("the test waits for what never comes: nothing else could happen, or it went on for a year of its own time")
            })
        })
    }));
    let result = UNOBSERVED.take().map_or(result, Err);
    // The tasks that are left end here, and may panic at that.
    drop(runtime);
    match UNOBSERVED.take() {
        Some(panic) if result.is_ok() => Err(panic),
        _ => result,
    }
}
