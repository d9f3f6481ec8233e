//! Where is the program that a test wants to start?
//!
//! Beside the test's own, in the target folder: built by cargo at the first question, once for each package.
//!
//! Comes from: tests of programs. Goes to: cargo.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The path of a built program. `kind` is `bin` or `example`.
pub(crate) fn program(package: &str, kind: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let mut built = BUILT.lock().unwrap();
    if built.insert(format!("{package} {kind}")) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", package, &format!("--{kind}s")]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "{package} does not build");
    }
    match kind {
        "example" => folder.join("examples").join(name),
        _ => folder.join(name),
    }
}
