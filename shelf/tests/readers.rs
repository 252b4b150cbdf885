//! Readers in other processes beside a writer that commits as fast as it can: each sees one whole commit, and keeps it.
//!
//! Each goes on until it has seen so many: `LARDER_READER_ROUNDS=1000` for more.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

mod child;

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(child::path());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("start the child")
}

#[test]
fn readers_in_other_processes_see_one_commit_each_while_the_writer_goes_on() {
    let rounds = std::env::var("LARDER_READER_ROUNDS").unwrap_or("20".into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read.shelf");
    let path = path.to_str().expect("a plain path");
    let mut writer = start(&[path]);
    let mut lines = BufReader::new(writer.stdout.take().expect("a pipe")).lines();
    let first_commit = lines.find(|line| line.as_ref().is_ok_and(|line| line == "1"));
    assert!(first_commit.is_some(), "the writer made no commit");
    let drain = std::thread::spawn(move || lines.map_while(Result::ok).last());
    let readers: Vec<Child> = (0..3).map(|_| start(&[path, "read", &rounds])).collect();
    for reader in readers {
        let output = reader.wait_with_output().expect("reader");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(
        writer.try_wait().expect("writer").is_none(),
        "the writer ended beside its readers"
    );
    writer.kill().expect("kill");
    let output = writer.wait_with_output().expect("writer");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    drain.join().expect("drain");
}
