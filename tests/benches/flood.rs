//! What does one client that floods the echo cost the others?
//!
//! Ten polite connections send 64 bytes, wait for the echo, and rest a millisecond; their latencies are taken alone, and
//! with one more connection beside them that sends as fast as the socket takes and reads as fast as it gives. The server
//! (`server echo --prefix ''`) has a core to itself; polite clients and the flood are processes of their own on the other,
//! where the flood has what the polite ones leave (SCHED_IDLE): otherwise it is their own core that they would wait for.
//!
//! `cargo build --release -p server && cargo bench -p tests --bench flood [-- --rounds N --seconds S]`
//!
//! What it is not: a throughput benchmark; that is echo.rs.
//!
//! Comes from: you. Goes to: the server's binary, found beside the benchmark's own.

#![allow(dead_code, reason = "each benchmark uses a part of what they share")]

mod common;

use common::args::Args;
use common::child::{Said, settle};
use common::stats::{median, percentile};
use common::table;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HELP: &str = "\
What one flooding client costs the others of the echo server: their latencies without and with it.

  --rounds N      rounds of the two cases by turns; medians are printed (default 7)
  --seconds S     how long each case is measured (default 2)

  polite ADDR     be the polite clients   flood ADDR   be the flooding one
";

fn main() {
    let args = Args::read(HELP, &["rounds", "seconds"], &[]);
    match (args.word(0), args.word(1)) {
        (Some("polite"), Some(addr)) => polite(parse(addr), args.get("seconds", 2.0)),
        (Some("flood"), Some(addr)) => flood(parse(addr)),
        (None, _) => compare(&args),
        _ => args.wrong("unknown words"),
    }
}

fn compare(args: &Args) {
    let seconds = args.get("seconds", 2.0).to_string();
    let mut cases = [("alone", Vec::new()), ("beside a flood", Vec::new())];
    for _ in 0..args.get("rounds", 7) {
        for (case, said) in &mut cases {
            let (mut server, addr) = start_server();
            let flood = (*case != "alone").then(|| {
                let own = std::env::current_exe().expect("it runs");
                // Without rights to the core while a polite client wants it: what is measured is the server's part.
                let mut flood = Command::new("chrt");
                flood.args(["--idle", "0"]).arg(own).args(["flood", &addr]);
                flood.spawn().expect("chrt is installed (util-linux)")
            });
            said.push(common::child::run(&["polite", &addr, "--seconds", &seconds]));
            if let Some(mut flood) = flood {
                flood.kill().and_then(|()| flood.wait()).expect("it is ours");
            }
            server.kill().and_then(|()| server.wait()).expect("it is ours");
        }
    }
    let mut rows = vec![["", "p50 (us)", "p99 (us)", "echoes/s"].map(String::from).to_vec()];
    for (case, said) in &cases {
        let middle = |name: &str| {
            let figures: Vec<f64> = said.iter().map(|figures: &Said| figures[name]).collect();
            table::number(median(&figures))
        };
        rows.push(vec![case.to_string(), middle("p50"), middle("p99"), middle("rate")]);
    }
    table::print(&rows);
}

fn start_server() -> (std::process::Child, String) {
    let mut program = std::env::current_exe().expect("it runs");
    program.pop();
    program.pop();
    program.push("server");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(&program).args(["echo", "--prefix", "", "--addr", "127.0.0.1:0"]);
    let mut server = command
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}: build the server first", program.display()));
    let mut out = std::io::BufReader::new(server.stdout.take().expect("it is piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("it speaks");
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let addr = line.split([' ', ',']).find(|word| word.starts_with("127.0.0.1:"));
    (server, addr.expect("its first line says where").to_string())
}

fn polite(addr: SocketAddr, seconds: f64) {
    settle(Some(1));
    let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(addr)).collect();
    let (mut latencies, start) = (Vec::new(), Instant::now());
    while start.elapsed().as_secs_f64() < seconds {
        for stream in &mut streams {
            let asked = Instant::now();
            stream.write_all(&[7; 64]).expect("the server is there");
            stream.read_exact(&mut [0; 64]).expect("the server echoes");
            latencies.push(asked.elapsed().as_nanos() as u64);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    println!("p50 {}", percentile(&latencies, 0.5) as f64 / 1e3);
    println!("p99 {}", percentile(&latencies, 0.99) as f64 / 1e3);
    println!("rate {rate}");
}

fn flood(addr: SocketAddr) {
    settle(Some(1));
    let stream = connect(addr);
    let mut reading = stream.try_clone().expect("a descriptor is free");
    std::thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while reading.read(&mut room).is_ok_and(|count| count > 0) {}
    });
    let bytes = vec![1; 1 << 16];
    while (&stream).write_all(&bytes).is_ok() {}
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the server accepts");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

fn parse(addr: &str) -> SocketAddr {
    addr.parse().expect("the benchmark gives an address")
}
