//! Do the Python twins still do what their counterparts do?
//!
//! Each server is asked for a number, and each client is given a server. On a machine without python3 nothing is asked.
//!
//! Comes from: docs/python. Goes to: python3, as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::text::docs;
use crate::support::within;

#[test]
fn python_servers_answer() {
    let Some(()) = has_python() else { return };
    within(120, || {
        for name in ["server_threads.py", "server_pool.py", "aserver.py"] {
            let address = free_address();
            let mut server = Twin::start(name, &address);
            assert_eq!(server.line(), format!("Listening on {address}"), "{name}");
            let mut client = TcpStream::connect(&address).unwrap();
            for (number, answer) in [(10, "55\n"), (20, "6765\n")] {
                write!(client, "{number}").unwrap();
                let mut got = vec![0; answer.len()];
                client.read_exact(&mut got).unwrap();
                assert_eq!(String::from_utf8(got).unwrap(), answer, "{name}");
            }
            assert!(server.line().starts_with("Connection 127.0.0.1:"), "{name}");
            drop(client);
            assert_eq!(server.line(), "Closed", "{name}");
        }
    });
}

#[test]
fn python_clients_measure() {
    let Some(()) = has_python() else { return };
    within(120, || {
        let address = free_address();
        let mut server = Twin::start("server_threads.py", &address);
        server.line();
        let seconds = Twin::start("perf1.py", &address).line();
        assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
        let rate = Twin::start("perf2.py", &address).line();
        let rate: u64 = rate.strip_suffix(" reqs/sec").unwrap().parse().unwrap();
        assert!(rate > 0, "{rate}");
    });
}

fn has_python() -> Option<()> {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    python.ok().filter(|status| status.success()).map(drop)
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

struct Twin {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Twin {
    fn start(name: &str, address: &str) -> Self {
        let mut python = Command::new("python3");
        python.arg("-B").arg(docs().join("python").join(name)).arg(address); // -B: no files beside it
        let mut child = python.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Twin { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// With its worker processes.
impl Drop for Twin {
    fn drop(&mut self) {
        let group = self.child.id() as i32;
        // SAFETY: the group is our own child's, which nobody has waited for yet.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        self.child.wait().unwrap();
    }
}
