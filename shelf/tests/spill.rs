//! Changed pages that leave memory before their commit: nothing becomes durable, nothing is lost, nothing is written twice.

use larder_shelf::{Buffer, OpenOptions, Shelf, TrackerKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MIB: usize = 1 << 20;
const KINDS: [TrackerKind; 3] = [TrackerKind::WriteProtect, TrackerKind::AnonBit, TrackerKind::Hash];

fn open(path: &Path, kind: TrackerKind) -> Shelf {
    let options = OpenOptions {
        tracker: Some(kind),
        ..OpenOptions::default()
    };
    Shelf::open(path, &options).expect("open")
}

fn fill(buffer: &Buffer, from: usize, to: usize, byte: u8) {
    assert!(to as u64 <= buffer.len() && buffer.writable());
    // SAFETY: in bounds (asserted) of a live, writable buffer that only this test uses.
    unsafe { std::ptr::write_bytes(buffer.as_ptr().add(from), byte, to - from) };
}

fn x(shelf: &Shelf) -> Buffer {
    let buffer = shelf.get("x").expect("get").expect("x").buffers.remove(0);
    buffer.make_writable().expect("writable");
    buffer
}

/// Bytes of this buffer's pages that are private copies, from `/proc/self/smaps`.
fn private(buffer: &Buffer) -> u64 {
    let range = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len();
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let (mut inside, mut sum) = (false, 0);
    for line in smaps.lines() {
        let start = line
            .split_once('-')
            .and_then(|(start, _)| u64::from_str_radix(start, 16).ok());
        if let Some(start) = start.filter(|_| line.contains("p ")) {
            inside = range.contains(&start);
        } else if let Some(size) = line.strip_prefix("Anonymous:").filter(|_| inside) {
            sum += size.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") * 1024;
        }
    }
    sum
}

#[test]
fn a_new_array_leaves_memory_while_it_is_filled_and_is_committed_whole() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.shelf");
        let shelf = open(&path, kind);
        shelf.alloc("x", "bytes", b"", &[64 << 20]).unwrap();
        let x = x(&shelf);
        for part in 0..8u8 {
            fill(
                &x,
                usize::from(part) * 8 * MIB,
                usize::from(part + 1) * 8 * MIB,
                part + 1,
            );
            let given = shelf.relieve(u64::MAX).unwrap();
            assert!(given >= 8 << 20, "{kind:?} gave {given}");
            assert_eq!(private(&x), 0, "{kind:?}");
        }
        fill(&x, 5, 6, 77); // into a page that has left
        fill(&x, 64 * MIB - 1, 64 * MIB, 78);
        let written = shelf.commit(None).unwrap().bytes_written;
        assert!(
            written < 64 << 10,
            "{kind:?}: the commit wrote {written}, not only what was stored since"
        );
        drop((x, shelf));
        let shelf = open(&path, kind);
        let mut expected: Vec<u8> = (0..8u8).flat_map(|part| vec![part + 1; 8 * MIB]).collect();
        (expected[5], expected[64 * MIB - 1]) = (77, 78);
        assert!(
            shelf.get("x").unwrap().unwrap().buffers[0].to_vec() == expected,
            "{kind:?}"
        );
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound(), "{kind:?}");
    }
}

#[test]
fn a_spilled_change_is_taken_back_lost_or_committed_as_any_other() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.shelf");
        let shelf = open(&path, kind);
        shelf.put("x", "bytes", b"", &[&vec![1u8; 16 * MIB]]).unwrap();
        shelf.commit(None).unwrap();
        let view = x(&shelf);
        fill(&view, 9 * MIB, 9 * MIB + 1, 2);
        shelf.commit(None).unwrap(); // an image in the log, under what is spilled next
        let mut expected = vec![1u8; 16 * MIB];
        expected[9 * MIB] = 2;
        let change = |view: &Buffer, byte| {
            fill(view, 4 * MIB, 11 * MIB + 100, byte);
            assert!(shelf.relieve(u64::MAX).unwrap() >= 6 << 20, "{kind:?}");
            assert!(shelf.stats().spilled_bytes >= 8 << 20, "{kind:?}");
            fill(view, 5 * MIB, 5 * MIB + 10, byte + 1); // into a chunk that has left
        };
        change(&view, 3);
        shelf.rollback().unwrap();
        assert!(view.to_vec() == expected, "{kind:?}: taken back");
        assert_eq!(
            (shelf.stats().spilled_bytes, shelf.commit(None).unwrap().id),
            (0, 2),
            "{kind:?}"
        );

        change(&view, 5);
        assert!(
            Shelf::open(
                &path,
                &OpenOptions {
                    mode: larder_shelf::Mode::R,
                    ..OpenOptions::default()
                }
            )
            .unwrap()
            .get("x")
            .unwrap()
            .unwrap()
            .buffers[0]
                .to_vec()
                == expected,
            "{kind:?}: nobody else sees it"
        );
        expected[4 * MIB..11 * MIB + 100].fill(5);
        expected[5 * MIB..5 * MIB + 10].fill(6);
        assert!(view.to_vec() == expected, "{kind:?}");
        let written = shelf.commit(None).unwrap().bytes_written;
        assert!(written < 1 << 20, "{kind:?}: written once: {written}");
        // What is committed is given back without writing, and a store into it is a change again.
        fill(&view, 0, 4 * MIB, 8);
        expected[..4 * MIB].fill(8);
        shelf.commit(None).unwrap();
        assert!(
            shelf.relieve(u64::MAX).unwrap() > 0 || kind == TrackerKind::Hash,
            "{kind:?}"
        );
        assert!(view.to_vec() == expected, "{kind:?}");
        fill(&view, 7, 8, 9);
        expected[7] = 9;
        assert_eq!(shelf.commit(None).unwrap().id, 5, "{kind:?}");

        change(&view, 10);
        drop(shelf); // as a crash leaves it: views keep what they show, the file what was committed
        assert_eq!((view.to_vec()[4 * MIB], view.to_vec()[5 * MIB]), (10, 11), "{kind:?}");
        let shelf = open(&path, kind);
        assert!(x(&shelf).to_vec() == expected, "{kind:?}: lost");
        // The shadows were free again; what is written there now must not show in the old view.
        for n in 0..4 {
            shelf
                .put(&format!("y{n}"), "bytes", b"", &[&vec![99u8; 6 * MIB]])
                .unwrap();
        }
        shelf.commit(None).unwrap();
        assert_eq!((view.to_vec()[4 * MIB], view.to_vec()[5 * MIB]), (10, 11), "{kind:?}");
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn no_store_of_another_thread_is_lost_while_pages_change_hands() {
    const THREADS: usize = 3;
    const WORDS: usize = 8 * MIB / 8;
    for kind in [TrackerKind::WriteProtect, TrackerKind::AnonBit] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storm.shelf");
        // The thread that watches memory does the same beside this one, and holds whole views.
        let options = OpenOptions {
            tracker: Some(kind),
            memory_max: Some(1),
            ..OpenOptions::default()
        };
        let shelf = Shelf::open(&path, &options).expect("open");
        shelf.put("x", "bytes", b"", &[&vec![0u8; 8 * MIB]]).unwrap();
        shelf.commit(None).unwrap();
        let x = x(&shelf);
        let (stop, counted) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut given = 0;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (x, stop, counted) = (x.clone(), &stop, &counted);
                scope.spawn(move || {
                    let mut random = thread as u64;
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..1000 {
                            random = random
                                .wrapping_mul(6364136223846793005)
                                .wrapping_add(1442695040888963407);
                            let word = (random >> 33) as usize % WORDS;
                            // SAFETY: reduced to the buffer's words; every access to them is atomic.
                            unsafe { AtomicU64::from_ptr(x.as_ptr().cast::<u64>().add(word)) }
                                .fetch_add(1, Ordering::Relaxed);
                        }
                        counted.fetch_add(1000, Ordering::Relaxed);
                    }
                });
            }
            for round in 0.. {
                given += shelf.relieve(u64::MAX).unwrap();
                if round % 7 == 3 {
                    shelf.commit(None).unwrap();
                }
                if given >= 128 << 20 {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let sum = |bytes: &[u8]| -> u64 {
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|word| u64::from_le_bytes(*word))
                .sum()
        };
        assert_eq!(sum(&x.to_vec()), counted.load(Ordering::Relaxed), "{kind:?}");
        shelf.commit(None).unwrap();
        drop((x, shelf));
        let shelf = open(&path, kind);
        assert_eq!(
            sum(&self::x(&shelf).to_vec()),
            counted.load(Ordering::Relaxed),
            "{kind:?}: committed"
        );
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn a_shelf_with_a_limit_spills_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("limit.shelf");
    let options = OpenOptions {
        memory_max: Some(1), // whatever this process uses is too much
        ..OpenOptions::default()
    };
    let shelf = Shelf::open(&path, &options).unwrap();
    let tracked = matches!(shelf.tracker(), TrackerKind::WriteProtect | TrackerKind::AnonBit);
    shelf.put("x", "bytes", b"", &[&vec![1u8; 32 * MIB]]).unwrap();
    shelf.commit(None).unwrap();
    let x = x(&shelf);
    fill(&x, 0, 32 * MIB, 2);
    while tracked && shelf.stats().spilled_bytes < 32 << 20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(x.to_vec() == vec![2u8; 32 * MIB]);
    shelf.commit(None).unwrap();
    drop((x, shelf));
    let shelf = Shelf::open(&path, &options).unwrap(); // the thread that watched does not keep the lock
    assert!(shelf.get("x").unwrap().unwrap().buffers[0].to_vec() == vec![2u8; 32 * MIB]);
}
