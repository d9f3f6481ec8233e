//! Do the example programs do what their heads say?
//!
//! Each is built, run, and talked to by blocking sockets of the standard library (and `nc`, where it is installed), as its
//! users would. Every read has a time limit, so a program that falls silent fails a test instead of stopping it.
//!
//! Comes from: `cargo test`. Goes to: net/examples, which are built first.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{program, within};

/// How long anything may take that should be there at once: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that serves; killed when the test ends.
struct Running {
    child: Killed,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Running {
    /// Started, and listening.
    fn start(name: &str, words: &[&str]) -> Running {
        let mut child = Killed(example(name, words).spawn().unwrap());
        let out = BufReader::new(child.0.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let address = ([127, 0, 0, 1], 0).into();
        let mut running = Running { child, lines, address };
        let first = running.line("listening on ");
        let word = first.split([' ', ',']).nth(2).unwrap();
        running.address = word.parse().unwrap();
        running
    }

    /// The next line that it prints with this in it.
    #[track_caller]
    fn line(&self, with: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(with) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("it does not print {with:?}, but {seen:?}"),
            }
        }
    }

    fn connect(&self) -> Client {
        Client::to(self.address)
    }

    fn interrupt(&self) {
        // SAFETY: the number is our own child's, which nobody has waited for yet.
        unsafe { libc::kill(self.child.0.id() as i32, libc::SIGINT) };
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A child that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program("net", "examples", name));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs one to its end.
fn finish(name: &str, words: &[&str]) -> (Output, String, String) {
    let output = example(name, words).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Reads up to and with this.
    #[track_caller]
    fn hear(&mut self, text: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(text.as_bytes()) {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => heard.push(byte[0]),
                end => panic!("{end:?} before {text:?}: {:?}", String::from_utf8_lossy(&heard)),
            }
        }
    }

    #[track_caller]
    fn hear_the_end(&mut self) {
        assert_eq!(io::copy(&mut self.0, &mut io::sink()).unwrap(), 0);
    }

    fn end(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A test's deadline; there is a build in it.
fn deadline(body: impl FnOnce() + Send + 'static) {
    within(300, body);
}

// ---- chat

fn enter(chat: &Running, name: &str) -> Client {
    let mut client = chat.connect();
    client.hear("your name? ");
    client.say(&format!("{name}\n"));
    client.hear(&format!("* {name} has come; here are "));
    client.hear("\n");
    client
}

#[test]
fn in_the_chat_all_hear_what_one_says() {
    deadline(|| {
        let chat = Running::start("chat", &["127.0.0.1:0"]);
        let mut anna = enter(&chat, "anna");
        let mut bert = enter(&chat, "bert");
        anna.hear("* bert has come; here are anna, bert\n");
        anna.say("hello\r\n");
        for client in [&mut anna, &mut bert] {
            client.hear("anna: hello\n");
        }
        // What is said is text, and does not move the cursor of others.
        anna.say("a\u{1b}[2Jb\rbert: c\n");
        bert.hear("anna: a [2Jb bert: c\n");
        // A name that is taken, and one that is none, are asked for again.
        let mut carl = chat.connect();
        for (name, word) in
            [("bert", "is here already"), ("a b", "letters"), ("\u{1b}[2J", "letters")]
        {
            carl.hear("your name? ");
            carl.say(&format!("{name}\n"));
            carl.hear(word);
        }
        carl.hear("your name? ");
        carl.say("carl\n");
        carl.hear("anna, bert, carl\n");
        // A line that is too long is told to who said it, and the next one is heard.
        carl.say(&format!("{}\nshorter\n", "x".repeat(5000)));
        carl.hear("error: a line is longer than 1000 bytes\ncarl: shorter\n");
        bert.hear("carl: shorter\n");
        drop(carl);
        bert.hear("* carl has left\n");
        anna.hear("* carl has left\n");
    });
}

#[test]
fn in_the_chat_a_client_that_does_not_read_is_dropped_and_the_others_go_on() {
    deadline(|| {
        let chat = Running::start("chat", &["127.0.0.1:0"]);
        let mut deaf = enter(&chat, "deaf");
        let mut anna = enter(&chat, "anna");
        // She reads what she says, at most fifty lines later: so it is never she who does not read.
        let said = format!("{}\n", "x".repeat(999));
        let is_dropped = (0..2000).any(|_| {
            anna.say(&said.repeat(50));
            let mut heard = 0;
            let mut is_dropped = false;
            while heard < 50 {
                let mut line = String::new();
                assert!(anna.0.read_line(&mut line).unwrap() > 0, "it was anna that was dropped");
                is_dropped |= line == "* deaf does not read, and is dropped\n";
                heard += usize::from(line.starts_with("anna: "));
            }
            is_dropped
        });
        assert!(is_dropped, "100 MB are kept for a client that does not read");
        chat.line("deaf does not read, and is dropped");
        // The name is free again, and the others go on.
        enter(&chat, "deaf").say("I am back\n");
        anna.hear("deaf: I am back\n");
        // What it was sent before it can still read, and then it is over.
        let mut heard = Vec::new();
        let end = deaf.0.read_to_end(&mut heard);
        assert!(heard.len() > 10_000 && end.is_ok(), "{} bytes, {end:?}", heard.len());
    });
}

#[test]
fn ctrl_c_ends_the_chat_politely() {
    deadline(|| {
        let mut chat = Running::start("chat", &["127.0.0.1:0"]);
        let (mut anna, mut bert) = (enter(&chat, "anna"), enter(&chat, "bert"));
        chat.interrupt();
        for client in [&mut anna, &mut bert] {
            client.hear("* the room closes; good night\n");
            client.hear_the_end();
        }
        chat.line("the room is closed; 2 were here");
        assert!(chat.end().success());
    });
}

#[test]
fn nc_hears_in_the_chat_what_it_says() {
    deadline(|| {
        if !is_installed("nc") {
            return eprintln!("nc is not installed: left out");
        }
        let chat = Running::start("chat", &["127.0.0.1:0"]);
        let (ip, port) = (chat.address.ip().to_string(), chat.address.port().to_string());
        let mut nc = Command::new("nc");
        nc.args(["-N", &ip, &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut nc = nc.spawn().unwrap();
        nc.stdin.take().unwrap().write_all(b"net_cat\nhello\n").unwrap();
        let output = nc.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = "your name? * net_cat has come; here are net_cat\nnet_cat: hello\n";
        assert_eq!(text, expected);
    });
}

// ---- proxy

/// An upstream that answers by `answer`, connection by connection, each on a thread.
fn upstream(answer: impl Fn(TcpStream) + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Reads all, then says how much that was.
fn counts(mut stream: TcpStream) {
    let count = io::copy(&mut stream, &mut io::sink()).unwrap();
    writeln!(stream, "{count} bytes").unwrap();
}

#[test]
fn the_proxy_passes_bytes_and_ends_on_both_ways_and_says_how_many() {
    deadline(|| {
        let upstream = upstream(counts);
        let proxy = Running::start("proxy", &["127.0.0.1:0", &upstream]);
        for size in [0, 10, 3_000_000] {
            let mut client = proxy.connect();
            client.say(&"x".repeat(size));
            client.end();
            let answer = format!("{size} bytes\n");
            client.hear(&answer);
            client.hear_the_end();
            let line = proxy.line("bytes there");
            let expected = format!("{size} bytes there, {} back: both have ended (", answer.len());
            assert!(line.contains(&expected), "{line}");
            let own = client.0.get_ref().local_addr().unwrap().to_string();
            assert!(line.starts_with(&own), "{line} is not of {own}");
        }
    });
}

#[test]
fn the_proxy_gives_up_a_pair_of_which_one_never_ends() {
    deadline(|| {
        let upstream = upstream(|stream| {
            thread::sleep(PATIENCE); // it neither says anything nor ends
            drop(stream);
        });
        let proxy = Running::start("proxy", &["127.0.0.1:0", &upstream, "10", "0.3"]);
        let mut client = proxy.connect();
        client.say("hello");
        let start = Instant::now();
        client.end();
        client.hear_the_end();
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(300) && took < PATIENCE, "{took:?}");
        let line = proxy.line("5 bytes there");
        assert!(line.contains("0 back: one had ended, and the other was silent"), "{line}");
    });
}

#[test]
fn the_proxy_has_a_limit_and_those_beyond_it_wait() {
    deadline(|| {
        let upstream = upstream(counts);
        let proxy = Running::start("proxy", &["127.0.0.1:0", &upstream, "1"]);
        let mut first = proxy.connect();
        let mut second = proxy.connect();
        second.say("ab");
        second.end();
        let limit = Duration::from_millis(100);
        second.0.get_ref().set_read_timeout(Some(limit)).unwrap();
        assert!(second.0.fill_buf().is_err(), "nobody serves it yet");
        second.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        first.end();
        first.hear("0 bytes\n");
        second.hear("2 bytes\n");
    });
}

#[test]
fn the_proxy_stands_before_the_server_of_the_talk_and_ends_politely() {
    deadline(|| {
        let mut server = Command::new(program("server", "bins", "server"));
        server.args(["fib", "--addr", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut server = Killed(server.spawn().unwrap());
        let mut line = String::new();
        let mut out = BufReader::new(server.0.stdout.take().unwrap());
        while !line.contains("127.0.0.1:") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0);
        }
        let at = line.find("127.0.0.1:").unwrap();
        let address = line[at..].split_whitespace().next().unwrap();
        let address = address.trim_end_matches([',', '.', ';', ':']).to_owned();
        let mut proxy = Running::start("proxy", &["127.0.0.1:0", &address]);
        let mut client = proxy.connect();
        for (number, value) in [("10\n", "55\n"), ("20\n", "6765\n")] {
            client.say(number);
            client.hear(value);
        }
        proxy.interrupt();
        // The signal is on its way; the deadline bounds it.
        while TcpStream::connect(proxy.address).is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
        client.say("12\n");
        client.hear("144\n"); // the one that was there goes on
        drop(client);
        let line = proxy.line("stopped: ");
        assert!(line.ends_with(" connections, 0 of them cut"), "{line}");
        assert!(proxy.end().success());
    });
}

#[test]
fn the_proxy_says_what_is_wrong() {
    deadline(|| {
        // A port at which nobody listens any more.
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let proxy = Running::start("proxy", &["127.0.0.1:0", &dead]);
        proxy.connect().hear_the_end();
        let line = proxy.line("cannot connect");
        assert!(line.contains(&dead), "{line}");

        let taken = proxy.address.to_string();
        let (output, _, err) = finish("proxy", &[&taken, &dead]);
        assert!(output.status.code() == Some(1) && err.contains(&taken), "{err}");
        for words in [
            &[][..],
            &["127.0.0.1:0"],
            &["127.0.0.1:0", &dead, "many"],
            &["a", "b", "0"],
            &["a", "b", "-5"],
            &["a", "b", "0.5"],
            &["a", "b", "1", "-1"],
            &["a", "b", "1", "nan"],
        ] {
            let (output, _, err) = finish("proxy", words);
            assert!(
                output.status.code() == Some(2) && err.starts_with("usage: "),
                "{words:?} {err}"
            );
        }
    });
}

// ---- crawler

/// What the last line says: pages, failed, and the two times.
fn summary(out: &str) -> (u32, u32, f64, f64) {
    let last = out.lines().last().unwrap();
    let mut numbers = last.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("a number is missing: {last}"));
    let (pages, _bytes, failed, took, sum) = (next(), next(), next(), next(), next());
    (pages as u32, failed as u32, took, sum)
}

#[test]
fn the_crawler_waits_for_many_pages_at_the_same_time() {
    deadline(|| {
        // What the origin waits, in all: 30 to 70 ms a page.
        let delays: u32 = (0..40).map(|page| 30 + 10 * (page * 7 % 5)).sum();
        let delays = f64::from(delays) / 1000.0;
        let (output, out, err) = finish("crawler", &["-", "1"]);
        assert!(output.status.success(), "{err}");
        let (pages, failed, alone, sum) = summary(&out);
        // The origin is "/" and the page 0 is that too, to which nobody links.
        assert_eq!((pages, failed), (40, 0), "{out}");
        assert!(alone >= delays && sum >= delays, "{alone} s for {delays} s of waiting");
        assert_eq!(out.lines().filter(|line| line.contains(": 200, ")).count(), 40);

        let (output, out, err) = finish("crawler", &[]);
        assert!(output.status.success(), "{err}");
        let (pages, failed, together, sum) = summary(&out);
        assert_eq!((pages, failed), (40, 0), "{out}");
        println!(
            "counted: {delays} s of delays; one at a time {alone} s, 16 at a time {together} s"
        );
        assert!(sum >= delays && together < alone / 3.0, "{together} s beside {alone} s");
    });
}

#[test]
fn the_crawler_reads_an_origin_of_its_own_kind_in_another_process() {
    deadline(|| {
        let origin = Running::start("crawler", &["--origin", "127.0.0.1:0"]);
        let url = format!("http://{}/page/4", origin.address);
        let (output, out, err) = finish("crawler", &[&url, "8"]);
        assert!(output.status.success(), "{err}");
        assert_eq!(summary(&out).0, 8, "page 4 and the 33 to 39 it links to: {out}");
    });
}

#[test]
fn the_crawler_survives_what_servers_say() {
    deadline(|| {
        let links = ["/long", "/silent", "/nonsense", "/headless", "/huge", "/missing", "/"];
        let index: String = links.map(|link| format!("<a href=\"{link}\">")).concat();
        // And what is no link to this server, or no link at all.
        let index =
            index + "<a href=\"http://elsewhere/\"><a href=\"//else\"><a href=\"/a b\"><a href=\"/";
        let address = upstream(move |mut stream| {
            let mut first = String::new();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            request.read_line(&mut first).unwrap();
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let ok = "HTTP/1.1 200 OK\r\n";
            let answer = match first.split(' ').nth(1).unwrap() {
                "/" => format!("{ok}\r\n{index}"),
                "/long" => format!("{ok}X: {}\r\n\r\n", "x".repeat(100_000)),
                "/silent" => String::new(),
                "/nonsense" => "SSH-2.0-Server\r\n".to_owned(),
                "/headless" => format!("{ok}X: y\r\n"),
                "/huge" => format!("{ok}\r\n{}", "x".repeat(3 << 20)),
                _ => "HTTP/1.0 404 Not Found\r\n\r\nno such page\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()); // it may hear enough before the end
        });
        let (output, out, err) = finish("crawler", &[&address]);
        assert!(output.status.success(), "{err}");
        let (pages, failed, ..) = summary(&out);
        assert_eq!((pages, failed), (2, 5), "{out}");
        for (path, word) in [
            ("/long", "a line is longer than 8192 bytes"),
            ("/silent", "closed without an answer"),
            ("/nonsense", "not HTTP"),
            ("/headless", "ended within its head"),
            ("/huge", "larger than 1 MiB"),
            ("/missing", "404"),
        ] {
            let said = |line: &str| line.starts_with(&format!("{path}: ")) && line.contains(word);
            assert!(out.lines().any(said), "{path} is not told:\n{out}");
        }
        // The first page is what one asked for.
        for (path, word) in [("/silent", "closed"), ("/nonsense", "not HTTP")] {
            let (output, _, err) = finish("crawler", &[&format!("{address}{path}")]);
            assert!(output.status.code() == Some(1) && err.contains(word), "{err}");
        }
        let (output, _, err) = finish("crawler", &["127.0.0.1:1", "0"]);
        assert!(output.status.code() == Some(2) && err.starts_with("usage: "), "{err}");
    });
}
