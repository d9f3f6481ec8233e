//! Does it work for somebody who is not in this workspace?
//!
//! README.md, under "As a library", shows a crate beside this folder. Here that crate is written as it stands there, built,
//! run and talked to; and its other `Cargo.toml`, the one for a git server, is given a clone of this repository.
//!
//! Rules kept here:
//! - The README's text is what is tested: nothing but the port and the git server's address is replaced.
//! - Nothing is asked of a network: the versions are those of our `Cargo.lock`, and they have been fetched to build this.
//! - Nothing stays behind but a build folder below the one of this build, so that the next time is quick.
//!
//! Comes from: `cargo test`. Goes to: README.md, cargo, git.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::server::{Running, is_installed};
use crate::support::counters::on_drop;
use crate::support::within;

#[test]
fn the_crate_of_the_readme_builds_runs_and_echoes() {
    within(300, || {
        let (folder, _removed) = beside_the_project("path");
        // The port was free a moment ago, and others want ports too: so more than once.
        let started = (0..3).find_map(|_| {
            let port = free_port();
            let program = readme_block("rust", 0).replace("12345", &port.to_string());
            write_crate(&folder, &readme_block("toml", 0), &program);
            let built = cargo(&folder, &["build", "--offline"]);
            assert!(!built.contains("warning"), "a newcomer is greeted by warnings:\n{built}");
            start(&build_folder().join("debug/hello"), port).map(|program| (program, port))
        });
        let ((program, mut printed), port) = started.expect("it starts, at one of three ports");

        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for round in 0..3 {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let sent = format!("hello, {round}\n").repeat(5000);
            let mut writing = client.try_clone().unwrap();
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    writing.write_all(sent.as_bytes()).unwrap();
                    writing.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = String::new();
                client.read_to_string(&mut back).unwrap();
                assert!(back == sent, "{} bytes come back of {}", back.len(), sent.len());
            });
            let mut line = || printed.next().unwrap().unwrap();
            assert_eq!(line(), format!("Connection {}", client.local_addr().unwrap()));
            assert_eq!(line(), "Closed");
        }
        drop(program);
        assert!(TcpStream::connect(address).is_err(), "it is still there");
    });
}

#[test]
fn the_readme_s_git_form_resolves() {
    within(120, || {
        if !is_installed("git") {
            return eprintln!("skipped: no git");
        }
        if !project().join(".git").exists() {
            return eprintln!("skipped: no .git, so this is no clone");
        }
        let (folder, _removed) = beside_the_project("git");
        let clone = folder.join("ground-up.git");
        let mut git = Command::new("git");
        run(git.args(["clone", "--quiet", "--bare"]).arg(project()).arg(&clone));

        // Cargo keeps clones for ever: these go to a home of their own, and away with it.
        let home = folder.join("home");
        fs::create_dir(&home).unwrap();
        for shared in ["registry", "config", "config.toml"] {
            // Those that exist are seen through it, and the others are not.
            symlink(cargo_home().join(shared), home.join(shared)).unwrap();
        }
        let url = format!("file://{}", clone.display());
        let manifest =
            readme_block("toml", 1).replace("https://git.example.org/ground-up.git", &url);
        write_crate(&folder, &manifest, "fn main() {}");
        let mut tree = cargo_command(&folder);
        let tree = run(tree.args(["tree", "--depth", "1"]).env("CARGO_HOME", &home));
        for package in ["runtime", "net"] {
            let found = tree
                .lines()
                .any(|line| line.contains(&format!("{package} v")) && line.contains(&url));
            assert!(found, "{package} does not come from {url}:\n{tree}");
        }
    });
}

/// One of the blocks in the README's section, by its language and number.
fn readme_block(language: &str, number: usize) -> String {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("As a library"));
    let section = section.expect("README.md has a section \"As a library\"");
    let begin = format!("\n```{language}\n");
    let block =
        section.split(begin.as_str()).nth(number + 1).and_then(|rest| rest.split("```").next());
    block
        .unwrap_or_else(|| panic!("README.md shows no {language} number {number} there"))
        .to_owned()
}

/// A folder outside of all workspaces, with the project in it as `ground-up`, as the README has it; and what removes it. Its
/// name is the same each time, so that cargo knows what it has built; so another run of this test waits until we are done.
fn beside_the_project(purpose: &str) -> (PathBuf, impl Drop + use<>) {
    let mut hasher = DefaultHasher::new();
    build_folder().hash(&mut hasher);
    let folder = std::env::temp_dir().join(format!("ground-up-{purpose}-{:x}", hasher.finish()));
    let lock = lock(purpose);
    // Left by one that was killed, or not there at all.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    symlink(project(), folder.join("ground-up")).unwrap();
    let removed = folder.clone();
    let remove = move || {
        let _ = fs::remove_dir_all(removed);
        drop(lock);
    };
    (folder, on_drop(remove))
}

/// Waits until no other process has this lock. It is ours as long as the file is open.
fn lock(name: &str) -> File {
    fs::create_dir_all(build_folder()).unwrap();
    let file = File::create(build_folder().join(format!("{name}.lock"))).unwrap();
    // SAFETY: the descriptor is open: `file` lives through the call.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    file
}

fn write_crate(folder: &Path, manifest: &str, program: &str) {
    let hello = folder.join("hello");
    fs::create_dir_all(hello.join("src")).unwrap();
    fs::write(hello.join("Cargo.toml"), manifest).unwrap();
    fs::write(hello.join("src/main.rs"), program).unwrap();
    fs::copy(project().join("Cargo.lock"), hello.join("Cargo.lock")).unwrap();
}

/// Starts the program; `None` if it does not get its port.
fn start(
    program: &Path,
    port: u16,
) -> Option<(Running, impl Iterator<Item = std::io::Result<String>> + use<>)> {
    let mut program = Running(Command::new(program).stdout(Stdio::piped()).spawn().ok()?);
    let mut printed = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let first = printed.next()?.ok()?;
    (first == format!("try: nc 127.0.0.1 {port}")).then_some((program, printed))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn cargo(folder: &Path, args: &[&str]) -> String {
    run(cargo_command(folder).args(args).arg("--target-dir").arg(build_folder()))
}

fn cargo_command(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder.join("hello"));
    cargo
}

/// What a program prints, on both of its outputs; it must succeed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Below the build folder of this test.
fn build_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("outside")
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
