//! Is a look-up that nobody waits for any more in nobody's way? And what does a name say that is none?
//!
//! The resolver here is one that answers when the test lets it, or never. No name server is asked.
//!
//! Comes from: resolve.rs. Goes to: its `resolve_by`, and the pool.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use runtime::timeout;

/// How long any of this may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn run<R>(test: impl Future<Output = R>) -> R {
    runtime::block_on(async { timeout(LONG, test).await.expect("it hangs") })
}

#[test]
fn an_address_that_the_resolver_gives_twice_is_one() {
    let [one, other] = ["127.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap());
    let given = vec![one, other, one, one, other];
    let known = run(resolve(given.clone())).unwrap();
    let looked_up = run(resolve_by("twice.test:80", move |_, _| Ok(given))).unwrap();
    assert_eq!((known, looked_up), (vec![one, other], vec![one, other]));
}

type LookUp = Box<dyn FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send>;

/// What a test sees of a look-up that gives no answer until `answer` is dropped.
struct Silence {
    began: Receiver<String>,
    ended: Receiver<()>,
    answer: Sender<()>,
}

impl Silence {
    fn break_at_last(self) {
        assert!(self.ended.try_recv().is_err(), "it was still silent");
        drop(self.answer);
        self.ended.recv_timeout(LONG).unwrap();
    }
}

fn silent() -> (LookUp, Silence) {
    let (begin, began) = channel();
    let (end, ended) = channel();
    let (answer, wait) = channel::<()>();
    let look_up = Box::new(move |host: &str, port| {
        begin.send(host.to_owned()).unwrap();
        let _ = wait.recv_timeout(LONG);
        let _ = end.send(());
        Ok(vec![([127, 0, 0, 1], port).into()])
    });
    (look_up, Silence { began, ended, answer })
}

#[test]
fn a_look_up_that_is_dropped_is_not_waited_for() {
    let (look_up, silence) = silent();
    run(async {
        let mut looking = Box::pin(resolve_by("silent.test:80", look_up));
        let given_up = timeout(Duration::from_millis(20), looking.as_mut());
        assert!(given_up.await.is_err());
        assert_eq!(silence.began.recv_timeout(LONG).unwrap(), "silent.test", "it runs");
        drop(looking);
        // This task goes on, and so does the pool: the next look-up is not behind the silent one.
        let next = resolve_by("next.test:81", |_, port| Ok(vec![([127, 0, 0, 2], port).into()]));
        assert_eq!(next.await.unwrap(), [SocketAddr::from(([127, 0, 0, 2], 81))]);
    });
    // Nor does the end of the runtime wait for it.
    silence.break_at_last();
}

#[test]
fn the_end_of_the_runtime_does_not_wait_for_a_look_up() {
    let (look_up, silence) = silent();
    run(async {
        let looking = runtime::spawn(resolve_by("silent.test:80", look_up));
        while !looking.is_finished() && silence.began.try_recv().is_err() {
            runtime::yield_now().await;
        }
        // The task is left behind with the look-up in it.
    });
    silence.break_at_last();
}

#[test]
fn a_look_up_gets_host_and_port_and_its_answer_is_given_as_it_is() {
    run(async {
        let cases = [
            ("localhost:80", "localhost", 80),
            ("example.test:0", "example.test", 0),
            ("example.test:65535", "example.test", 65535),
            ("[fe80::1%eth0]:80", "fe80::1%eth0", 80), // an address whose scope is a name: the resolver knows it
        ];
        for (name, host, port) in cases {
            // Not sorted, nothing left out: that is its user's affair.
            let answer: Vec<SocketAddr> =
                vec![([192, 0, 2, 2], port).into(), ([192, 0, 2, 1], port).into()];
            let given = answer.clone();
            let asked = (host.to_owned(), port);
            let found = resolve_by(name, move |host, port| {
                assert_eq!((host.to_owned(), port), asked);
                Ok(given)
            });
            assert_eq!(found.await.unwrap(), answer);
        }
        let pair = resolve_by(("localhost", 80), |host, port| {
            assert_eq!((host, port), ("localhost", 80));
            Ok(vec![([127, 0, 0, 1], port).into()])
        });
        assert_eq!(pair.await.unwrap().len(), 1);
    });
}

#[test]
fn what_is_an_address_already_is_not_looked_up() {
    let never =
        |_: &str, _: u16| -> io::Result<Vec<SocketAddr>> { panic!("nobody is to be asked") };
    run(async {
        let four: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let six: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(resolve_by("127.0.0.1:80", never).await.unwrap(), [four]);
        assert_eq!(resolve_by("[::1]:80", never).await.unwrap(), [six]);
        assert_eq!(resolve_by(("::1", 80), never).await.unwrap(), [six]);
        assert_eq!(resolve_by(("127.0.0.1".to_owned(), 80), never).await.unwrap(), [four]);
        assert_eq!(resolve_by([six, four].as_slice(), never).await.unwrap(), [six, four]);
    });
}

#[test]
fn what_is_no_name_is_told_so_and_not_looked_up() {
    let cases = [
        ("localhost", "no port"),
        ("127.0.0.1", "no port"),
        ("::1", "no port"),
        ("[::1]", "no port"),
        ("", "no port"),
        ("localhost:", "not a port"),
        ("localhost:http", "not a port"),
        ("localhost:-1", "not a port"),
        ("localhost:65536", "not a port"),
        ("127.0.0.1:65536", "not a port"),
        ("[::1]:65536", "not a port"),
        (":80", "no host"),
        ("[]:80", "no host"),
        ("local\0host:80", "NUL byte"),
    ];
    run(async {
        for (name, reason) in cases {
            let error = resolve_by(name, |_, _| panic!("nobody is to be asked")).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(reason) && text.contains(&format!("{name:?}")), "{text}");
        }
        for (host, reason) in [("", "no host"), ("a\0b", "NUL byte")] {
            let error = resolve((host, 80)).await.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    });
}

#[test]
fn what_the_resolver_says_is_told_with_the_name() {
    run(async {
        let fails =
            |_: &str, _: u16| Err(io::Error::new(io::ErrorKind::TimedOut, "no server answers"));
        let error = resolve_by("far.test:80", fails).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "cannot resolve \"far.test:80\": no server answers");
        // An answer without an address is none.
        let error = resolve_by("empty.test:80", |_, _| Ok(Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = resolve([].as_slice()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}
