//! Who is tried when, and who wins? Timelines, on a clock that jumps: no socket, no waiting.
//!
//! Each case is a list of addresses with what becomes of an attempt at them and after how long, and says when which attempt
//! has to begin, in milliseconds from the start, and how it all ends. Then the rule itself, in one line, against hundreds of
//! races by chance.
//!
//! Comes from: connect.rs. Goes to: its `race`, and `runtime::testing`.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used)]

use super::*;
use std::cell::{Cell, RefCell};
use std::pin::pin;

use Fate::{Fails, Never, Works};
use futures_lite::future::poll_once;
use runtime::testing::{assert_never_yields, run, seeded};
use runtime::{now, timeout};

const DELAY: Duration = Duration::from_millis(250);
const HOUR: Duration = Duration::from_secs(3600);

/// What becomes of an attempt, so many milliseconds after it was begun.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Works(u64),
    Fails(u64),
    Never,
}

/// How a race has to end: with the address of that number, at that time; or all failed, at that time; or not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Wins(usize, u64),
    AllFailed(u64),
    Open,
}

/// The n-th IPv6 and IPv4 address.
fn six(n: u16) -> SocketAddr {
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 80).into()
}

fn four(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 80).into()
}

/// A race over addresses of one family, and what was seen of it.
#[derive(Default)]
struct Course {
    /// (number, when it was begun)
    begun: RefCell<Vec<(usize, u64)>>,
    /// Attempts under way.
    alive: Cell<usize>,
}

impl Course {
    async fn race(&self, delay: Duration, fates: &[Fate]) -> Result<usize, ConnectErrors> {
        let start = now();
        let addresses: Vec<_> = (0..fates.len()).map(|n| four(n as u8)).collect();
        let attempt = |address| {
            let number = addresses.iter().position(|other| *other == address).unwrap();
            self.begun.borrow_mut().push((number, (now() - start).as_millis() as u64));
            let alive = Alive::new(&self.alive);
            async move {
                let _alive = alive;
                match fates[number] {
                    Works(after) => sleep(Duration::from_millis(after)).await,
                    Fails(after) => {
                        sleep(Duration::from_millis(after)).await;
                        return Err(io::Error::other(format!("failure {number}")));
                    }
                    Never => std::future::pending().await,
                }
                Ok(number)
            }
        };
        race(addresses.clone(), delay, None, attempt).await
    }
}

struct Alive<'a>(&'a Cell<usize>);

impl<'a> Alive<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Alive(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Plays a race to its end, and gives when which attempt was begun, and the end.
fn play(delay: Duration, fates: &[Fate]) -> (Vec<(usize, u64)>, End) {
    run(async {
        let course = Course::default();
        let start = now();
        let result = timeout(HOUR, course.race(delay, fates)).await;
        assert_eq!(course.alive.get(), 0, "an attempt has outlived its race: {fates:?}");
        let elapsed = (now() - start).as_millis() as u64;
        let end = match result {
            Ok(Ok(number)) => End::Wins(number, elapsed),
            Ok(Err(errors)) => {
                // All, in the order in which they were begun, whichever failed first.
                let texts: Vec<_> =
                    errors.attempts().iter().map(|(_, error)| error.to_string()).collect();
                let all: Vec<_> = (0..fates.len()).map(|n| format!("failure {n}")).collect();
                assert_eq!(texts, all);
                End::AllFailed(elapsed)
            }
            Err(_) => End::Open,
        };
        (course.begun.take(), end)
    })
}

#[test]
fn attempts_begin_and_win_in_their_time() {
    use End::{AllFailed, Open, Wins};
    type Case = (&'static [Fate], &'static [(usize, u64)], End);
    let cases: &[Case] = &[
        // One address.
        (&[Works(30)], &[(0, 0)], Wins(0, 30)),
        (&[Fails(30)], &[(0, 0)], AllFailed(30)),
        (&[Never], &[(0, 0)], Open),
        // The first is in time, just in time, just not.
        (&[Works(30), Works(0)], &[(0, 0)], Wins(0, 30)),
        (&[Works(249), Works(0)], &[(0, 0)], Wins(0, 249)),
        (&[Works(251), Works(5)], &[(0, 0), (1, 250)], Wins(0, 251)),
        // A black hole, and one that is only slow.
        (&[Never, Works(10)], &[(0, 0), (1, 250)], Wins(1, 260)),
        (&[Works(300), Works(100)], &[(0, 0), (1, 250)], Wins(0, 300)),
        (&[Works(400), Works(100)], &[(0, 0), (1, 250)], Wins(1, 350)),
        // Both at once: who was begun first.
        (&[Works(300), Works(50)], &[(0, 0), (1, 250)], Wins(0, 300)),
        // The newest fails: the next at once.
        (&[Fails(0), Works(10)], &[(0, 0), (1, 0)], Wins(1, 10)),
        (&[Fails(20), Works(10)], &[(0, 0), (1, 20)], Wins(1, 30)),
        (&[Fails(20), Fails(30), Works(1)], &[(0, 0), (1, 20), (2, 50)], Wins(2, 51)),
        (&[Never, Fails(10), Works(5)], &[(0, 0), (1, 250), (2, 260)], Wins(2, 265)),
        // An older one fails: that changes nothing.
        (&[Fails(300), Never, Works(1)], &[(0, 0), (1, 250), (2, 500)], Wins(2, 501)),
        // The delay counts from the newest attempt, not from the first.
        (&[Fails(100), Never, Works(1)], &[(0, 0), (1, 100), (2, 350)], Wins(2, 351)),
        // The last of them has nobody to wait for, and an older one may still win.
        (&[Works(900), Fails(10), Fails(10)], &[(0, 0), (1, 250), (2, 260)], Wins(0, 900)),
        (&[Works(900), Never, Never], &[(0, 0), (1, 250), (2, 500)], Wins(0, 900)),
        // All fail, one way or another.
        (&[Fails(0), Fails(0), Fails(0)], &[(0, 0), (1, 0), (2, 0)], AllFailed(0)),
        (&[Fails(300), Fails(10), Fails(100)], &[(0, 0), (1, 250), (2, 260)], AllFailed(360)),
        (&[Fails(1000), Fails(10)], &[(0, 0), (1, 250)], AllFailed(1000)),
        // One says nothing for ever: it is not the race's to give up.
        (&[Fails(10), Never], &[(0, 0), (1, 10)], Open),
        (&[Never, Never], &[(0, 0), (1, 250)], Open),
    ];
    for (fates, begun, end) in cases {
        assert_eq!(play(DELAY, fates), (begun.to_vec(), *end), "{fates:?}");
    }
}

#[test]
fn the_delay_is_the_one_that_was_set() {
    let (begun, end) = play(Duration::from_millis(40), &[Never, Never, Works(1)]);
    assert_eq!((begun, end), (vec![(0, 0), (1, 40), (2, 80)], End::Wins(2, 81)));
    // Without an end to it: one after the other.
    let (begun, end) = play(Duration::MAX, &[Fails(5000), Works(9000), Works(0)]);
    assert_eq!((begun, end), (vec![(0, 0), (1, 5000)], End::Wins(1, 14_000)));
    // And never so short that a host with many addresses is flooded.
    let delay = |delay| ConnectOptions::new().attempt_delay(delay).attempt_delay;
    assert_eq!(delay(Duration::ZERO), Duration::from_millis(10));
    assert_eq!(delay(Duration::from_millis(11)), Duration::from_millis(11));
    assert_eq!(ConnectOptions::new().attempt_delay, DELAY);
}

#[test]
fn races_by_chance_keep_to_the_rule() {
    const FOREVER: u64 = u64::MAX / 4;
    for seed in 0..500 {
        let choose = seeded(seed);
        let fates: Vec<_> = (0..choose(8) + 1)
            .map(|_| match choose(3) {
                0 => Works(choose(1000) as u64),
                1 => Fails(choose(1000) as u64),
                _ => Never,
            })
            .collect();
        // The rule: an attempt begins when the one before it has failed or the delay is over, unless one has won by then.
        let (mut begun, mut at) = (Vec::new(), 0);
        let mut first = (FOREVER, 0);
        let mut last_failure = 0;
        for (number, fate) in fates.iter().enumerate() {
            if first.0 < at {
                break;
            }
            begun.push((number, at));
            let (works, fails) = match *fate {
                Works(after) => (at + after, FOREVER),
                Fails(after) => (FOREVER, at + after),
                Never => (FOREVER, FOREVER),
            };
            first = first.min((works, number));
            last_failure = last_failure.max(fails);
            at = fails.min(at + 250);
        }
        let end = match (first, last_failure) {
            ((FOREVER, _), FOREVER) => End::Open,
            ((FOREVER, _), failure) => End::AllFailed(failure),
            ((won, number), _) => End::Wins(number, won),
        };
        let (mut seen, seen_end) = play(DELAY, &fates);
        // Whether an attempt is begun in the same millisecond in which another wins is nobody's concern.
        seen.retain(|(_, at)| *at < first.0);
        begun.retain(|(_, at)| *at < first.0);
        assert_eq!((seen, seen_end), (begun, end), "seed {seed}: {fates:?}");
    }
}

#[test]
fn families_alternate_in_the_order_the_resolver_gave() {
    let (s, f) = (six, four);
    let cases = [
        (vec![], vec![]),
        (vec![f(1)], vec![f(1)]),
        (vec![s(1), s(2), f(1), f(2)], vec![s(1), f(1), s(2), f(2)]),
        (vec![s(1), s(2), s(3), f(1)], vec![s(1), f(1), s(2), s(3)]),
        (vec![f(1), s(1), s(2), s(3)], vec![f(1), s(1), s(2), s(3)]),
        (vec![f(2), f(1), s(2), s(1)], vec![f(2), s(2), f(1), s(1)]),
        (vec![f(3), f(1), f(2)], vec![f(3), f(1), f(2)]),
    ];
    for (given, expected) in cases {
        assert_eq!(alternate(given), expected);
    }
}

#[test]
fn a_dead_first_family_costs_one_delay_and_no_more() {
    // Three addresses of IPv6 that lead nowhere; the resolver names all of them first.
    run(async {
        let addresses = vec![six(1), six(2), six(3), four(1)];
        let start = now();
        let winner = race(addresses, DELAY, None, |address| async move {
            if address.is_ipv6() {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(30)).await;
            Ok(address)
        });
        assert_eq!(winner.await.unwrap(), four(1));
        assert_eq!(now() - start, Duration::from_millis(280));
    });
}

#[test]
fn a_race_that_is_dropped_ends_all_its_attempts() {
    run(async {
        for (after, under_way) in [(0, 1), (249, 1), (251, 2), (501, 3), (9999, 3)] {
            let course = Course::default();
            let mut racing = Box::pin(course.race(DELAY, &[Never, Never, Never]));
            let after = Duration::from_millis(after);
            assert!(timeout(after, racing.as_mut()).await.is_err());
            assert_eq!(course.alive.get(), under_way, "after {after:?}");
            drop(racing);
            assert_eq!(course.alive.get(), 0, "after {after:?}");
        }
        // Never polled, it has begun nothing.
        let course = Course::default();
        drop(course.race(DELAY, &[Never]));
        assert!(course.begun.borrow().is_empty());
    });
}

#[test]
fn the_losers_are_gone_before_the_winner_is_given() {
    run(async {
        let course = Course::default();
        let mut racing = pin!(course.race(DELAY, &[Never, Never, Works(10)]));
        assert!(timeout(DELAY * 2, racing.as_mut()).await.is_err());
        assert!(course.alive.get() > 1);
        racing.await.unwrap();
        assert_eq!(course.alive.get(), 0);
    });
}

#[test]
fn what_is_ready_at_once_is_given_at_once() {
    run(async {
        let connected = race(vec![four(1), four(2)], DELAY, None, async |address| Ok(address));
        assert_eq!(assert_never_yields(connected).await.unwrap(), four(1));
        let failed = race(vec![four(1), four(2)], DELAY, None, async |_| -> io::Result<()> {
            Err(ErrorKind::ConnectionRefused.into())
        });
        assert_eq!(assert_never_yields(failed).await.unwrap_err().attempts().len(), 2);
    });
}

#[test]
fn nobody_is_woken_for_a_delay_that_nobody_needs_any_more() {
    run(async {
        let course = Course::default();
        let mut racing = pin!(course.race(DELAY, &[Fails(100), Never]));
        assert!(timeout(Duration::from_millis(101), racing.as_mut()).await.is_err());
        assert!(poll_once(racing.as_mut()).await.is_none());
        // Only the timeout's timer is left: it, and nothing before it, ends this wait.
        let (result, polls) = runtime::testing::polls(timeout(HOUR, racing)).await;
        assert!(result.is_err());
        assert_eq!(polls, 2, "the first, and the one of the timeout");
    });
}

#[test]
fn the_error_s_kind_is_that_of_the_attempt_that_came_furthest() {
    use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, InvalidInput, TimedOut};
    let cases: [(&[ErrorKind], ErrorKind); 6] = [
        (&[ConnectionRefused], ConnectionRefused),
        (&[HostUnreachable, ConnectionRefused], ConnectionRefused),
        (&[ConnectionRefused, TimedOut], ConnectionRefused),
        (&[HostUnreachable, TimedOut, InvalidInput], TimedOut),
        (&[HostUnreachable, AddrNotAvailable], HostUnreachable),
        (&[AddrNotAvailable, HostUnreachable], AddrNotAvailable),
    ];
    for (kinds, expected) in cases {
        let attempts = kinds.iter().map(|kind| (six(1), io::Error::from(*kind))).collect();
        assert_eq!(
            io::Error::from(ConnectErrors { name: None, attempts }).kind(),
            expected,
            "{kinds:?}"
        );
    }
}

#[test]
fn the_error_s_text_tells_each_address_with_what_it_said() {
    let attempts = vec![
        (six(1), io::Error::from_raw_os_error(libc::ENETUNREACH)),
        (four(1), io::Error::from_raw_os_error(libc::ECONNREFUSED)),
    ];
    let error = io::Error::from(ConnectErrors { name: None, attempts });
    let [unreachable, refused] =
        [libc::ENETUNREACH, libc::ECONNREFUSED].map(io::Error::from_raw_os_error);
    assert_eq!(
        error.to_string(),
        format!("cannot connect to [2001:db8::1]:80: {unreachable}; 192.0.2.1:80: {refused}")
    );
    let inner = error.get_ref().unwrap().downcast_ref::<ConnectErrors>().unwrap();
    assert_eq!(inner.attempts()[0].1.raw_os_error(), Some(libc::ENETUNREACH));
}

#[test]
fn when_the_time_is_over_all_addresses_say_how_far_they_came() {
    run(async {
        let addresses = vec![four(1), four(2), four(3)];
        let failed = race(addresses, DELAY, Some(DELAY + DELAY / 2), async |address| {
            if address == four(1) {
                return Err::<(), _>(ErrorKind::ConnectionRefused.into());
            }
            std::future::pending().await
        });
        let errors = failed.await.unwrap_err();
        // The second was begun when the first had failed, and the third beside it.
        let told: Vec<_> = errors.attempts().iter().map(|(_, error)| error.kind()).collect();
        let late = ErrorKind::TimedOut;
        assert_eq!(told, [ErrorKind::ConnectionRefused, late, late]);
        assert_eq!(errors.kind(), ErrorKind::ConnectionRefused);
        let failed = race(vec![four(1), four(2)], DELAY, Some(DELAY / 2), async |_| {
            std::future::pending::<io::Result<()>>().await
        });
        let text = failed.await.unwrap_err().to_string();
        assert!(text.contains("no answer in time") && text.contains("not tried"), "{text}");
    });
}
