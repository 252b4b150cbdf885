//! A writer to be killed: commits as fast as it can and acknowledges each commit over stdout.
//!
//! `kill_child PATH`: every commit puts a small value, replaces a two-page one, and stores into an array in place, all
//! derived from the commit number. The SIGKILL test and the machine test check what comes back with `kill_child PATH check`;
//! `kill_child PATH read N` opens it beside the writer until it has seen N commits, and checks each time, twice, that it sees one.

use larder_shelf::{Mode, OpenOptions, Shelf};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const ARRAY: u64 = 1 << 20;
/// A writer that commits nothing for so long stands still.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where round `n` stores into the array.
fn place(n: u64) -> usize {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (ARRAY / 8)) as usize * 8
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: kill_child PATH [check]");
    let what = arguments.next().unwrap_or_default();
    if what == "read" {
        let times = arguments.next().and_then(|n| n.parse().ok()).expect("how often");
        return read(Path::new(&path), times);
    }
    let check = what == "check";
    let shelf = Shelf::open(Path::new(&path), &OpenOptions::default()).expect("open");
    let mut out = std::io::stdout();
    let last = verify(&shelf);
    writeln!(
        out,
        "medium {} tracker {} at {last}",
        shelf.medium().name(),
        shelf.tracker().name()
    )
    .expect("stdout");
    if check {
        return;
    }
    if last == 0 {
        shelf.alloc("array", "u64", b"", &[ARRAY]).expect("alloc");
    }
    let array = shelf.get("array").expect("get").expect("array").buffers.remove(0);
    array.make_writable().expect("writable");
    for n in last + 1.. {
        shelf.put("small", "int", &n.to_le_bytes(), &[]).expect("put");
        shelf
            .put("large", "bytes", b"", &[&n.to_le_bytes().repeat(1000)])
            .expect("put");
        // SAFETY: `place` stays inside the array, on an 8-byte boundary; nobody else uses it.
        unsafe { array.as_ptr().add(place(n)).cast::<u64>().write(n) };
        if n % 50 == 0 {
            shelf
                .put(&format!("kept{}", n % 7), "int", &n.to_le_bytes(), &[])
                .expect("put");
        }
        shelf.commit(None).expect("commit");
        writeln!(out, "{n}").expect("stdout");
        out.flush().expect("stdout");
    }
}

/// A reader keeps its commit however far the writer goes, and the next one sees no older commit.
fn read(path: &Path, times: u32) {
    let options = OpenOptions {
        mode: Mode::R,
        ..OpenOptions::default()
    };
    let (mut last, mut moved, mut moved_at) = (0, 0, Instant::now());
    while moved < times {
        let shelf = Shelf::open(path, &options).expect("open for reading");
        let seen = verify(&shelf);
        assert!(seen >= last, "commit {last} was shown before, {seen} now");
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(verify(&shelf), seen, "the commit changed under its reader");
        if seen > last {
            (last, moved, moved_at) = (seen, moved + 1, Instant::now());
        }
        assert!(
            moved_at.elapsed() < PATIENCE,
            "the writer stands still at commit {last}"
        );
    }
}

/// Checks that all parts belong to one round; that round's number (0: an empty shelf).
fn verify(shelf: &Shelf) -> u64 {
    let Some(small) = shelf.get("small").expect("get") else {
        assert!(shelf.names().is_empty(), "half a first commit: {:?}", shelf.names());
        return 0;
    };
    let n = u64::from_le_bytes(small.meta.try_into().expect("8 bytes"));
    let large = shelf.get("large").expect("get").expect("large").buffers[0].to_vec();
    assert_eq!(large, n.to_le_bytes().repeat(1000), "`large` is not of round {n}");
    let array = shelf.get("array").expect("get").expect("array").buffers[0].to_vec();
    let word = |at: usize| u64::from_le_bytes(array[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(word(place(n)), n, "the store of round {n}");
    for at in (0..array.len()).step_by(8) {
        let stored = word(at);
        assert!(
            stored <= n && (stored == 0 || place(stored) == at),
            "a stray {stored} at {at} in round {n}"
        );
    }
    let report = shelf.verify(&mut |_, _| {}).expect("verify");
    assert!(report.is_sound(), "{:?}", report.damages);
    n
}
