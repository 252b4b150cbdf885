//! The writer example, for tests that need another process.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The example beside this test's executable; built here if only this test was asked for.
pub fn path() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let target = test.parent().and_then(Path::parent).expect("target directory");
    let child = target.join("examples/kill_child");
    if !child.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "larder-shelf", "--example", "kill_child"]);
        build.args(target.ends_with("release").then_some("--release"));
        assert!(build.status().expect("cargo").success());
    }
    child
}
