//! How many descriptors and threads has this process?
//!
//! Read from `/proc/self`; `None` on systems that have none, where the tests that ask leave the question out. Other tests
//! run beside in the same process, so ask only in a child process ([`super::in_child_process`]).
//!
//! Comes from: tests of leaks. Goes to: the kernel.

use std::fs;

/// Open descriptors, the one that is used for looking not counted.
pub(crate) fn descriptors() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() - 1)
}

/// Descriptors that the kernel watches for this process's epolls.
pub(crate) fn watched_descriptors() -> Option<usize> {
    let infos = fs::read_dir("/proc/self/fdinfo").ok()?.filter_map(|entry| {
        // The one that is used for looking is gone by now.
        fs::read_to_string(entry.ok()?.path()).ok()
    });
    let watched = |info: String| info.lines().filter(|line| line.starts_with("tfd:")).count();
    Some(infos.map(watched).sum())
}

/// Threads that are alive.
pub(crate) fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// How often the calling thread has given up the CPU of its own will, which is how often it slept.
pub(crate) fn voluntary_switches() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Lets this process open `most` descriptors at a time and no more.
pub(crate) fn limit_descriptors(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` lives through the call, which only reads it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// A child process, as `/proc` tells of it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pub(crate) pid: u32,
    /// That of its first thread: `T`: stopped; `Z`: ended and not waited for.
    pub(crate) state: char,
    /// Its CPU time outside of the kernel, in clock ticks.
    pub(crate) ticks: u64,
}

/// The children of a process.
pub(crate) fn children_of(parent: u32) -> Option<Vec<ChildProcess>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").ok()? {
        let Ok(stat) = fs::read_to_string(entry.ok()?.path().join("stat")) else {
            continue; // no process, or one that has ended meanwhile
        };
        let (number, rest) = stat.split_once(" (")?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
        if fields[1].parse() == Ok(parent) {
            let (pid, state) = (number.parse().ok()?, fields[0].chars().next()?);
            children.push(ChildProcess { pid, state, ticks: fields[11].parse().ok()? });
        }
    }
    Some(children)
}
