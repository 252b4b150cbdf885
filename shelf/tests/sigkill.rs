//! A writer killed with SIGKILL at random moments loses no acknowledged commit.
//!
//! `LARDER_KILL_ROUNDS=1000` for more rounds.

#![allow(clippy::print_stdout)] // the count of commits is the point of a run

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

mod child;

#[test]
fn sigkill_loses_no_acknowledged_commit() {
    let rounds: u32 = std::env::var("LARDER_KILL_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(100);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.shelf");
    let (mut acknowledged, mut seed) = (0u64, 1u64);
    for round in 0..rounds {
        let mut process = Command::new(child::path())
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the child");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let first = lines
            .next()
            .expect("the child checks what it finds, then speaks")
            .expect("text");
        let found: u64 = first.rsplit(' ').next().unwrap().parse().expect("a number");
        assert!(
            found >= acknowledged,
            "round {round}: {acknowledged} was acknowledged, {found} came back"
        );
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let micros = seed >> 33 & 0x3fff;
        let reader =
            std::thread::spawn(move || lines.map_while(Result::ok).filter_map(|l| l.parse::<u64>().ok()).last());
        std::thread::sleep(Duration::from_micros(micros));
        process.kill().expect("kill");
        process.wait().expect("reap");
        acknowledged = reader.join().expect("reader").unwrap_or(found).max(found);
    }
    let output = Command::new(child::path())
        .arg(&path)
        .arg("check")
        .output()
        .expect("check");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{rounds} rounds, {acknowledged} commits acknowledged, 0 lost");
    assert!(
        acknowledged > u64::from(rounds) / 4,
        "the child hardly ran: {acknowledged} commits"
    );
}
