//! The engine on real files: what is committed comes back, what is not does not.

use larder_shelf::{Class, Mode, OpenError, OpenOptions, Shelf, TrackerKind};
use std::path::Path;

fn options(mode: Mode) -> OpenOptions {
    OpenOptions {
        mode,
        ..OpenOptions::default()
    }
}

fn open(path: &Path) -> Shelf {
    Shelf::open(path, &OpenOptions::default()).expect("open")
}

fn store(buffer: &larder_shelf::Buffer, at: usize, byte: u8) {
    assert!((at as u64) < buffer.len() && buffer.writable());
    // SAFETY: in bounds (asserted) of a live, writable buffer that only this test uses.
    unsafe { *buffer.as_ptr().add(at) = byte };
}

fn bytes(shelf: &Shelf, name: &str) -> Vec<u8> {
    shelf.get(name).expect("get").expect("there").buffers[0].to_vec()
}

#[test]
fn committed_values_come_back_and_pending_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.shelf");
    let shelf = open(&path);
    shelf.put("x", "bytes", b"meta", &[&[7u8; 5000], &[]]).unwrap();
    shelf.put("größe", "none", b"", &[]).unwrap();
    let info = shelf.commit(Some("first")).unwrap();
    assert_eq!((info.id, info.names_changed.len()), (1, 2));
    shelf.put("y", "bytes", b"", &[&[1u8; 10]]).unwrap();
    drop(shelf); // no commit, no close: as a crash leaves it
    let shelf = open(&path);
    assert_eq!(shelf.names(), ["größe", "x"]);
    let x = shelf.get("x").unwrap().unwrap();
    assert_eq!(
        (x.kind.as_str(), x.meta.as_slice(), x.commit),
        ("bytes", b"meta".as_slice(), 1)
    );
    assert_eq!(x.buffers[0].to_vec(), vec![7u8; 5000]);
    assert!(x.buffers[1].is_empty());
    assert_eq!(shelf.log()[0].message, "first");
    assert!(shelf.get("y").unwrap().is_none());
}

#[test]
fn joined_parts_are_one_buffer_and_what_was_written_is_shown() {
    const MIB: usize = 1 << 20;
    for sizes in [
        vec![0],
        vec![5, 0, 4091],
        vec![65_536],
        vec![MIB, MIB],
        vec![300_001, 3 * MIB, 17],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.shelf");
        let shelf = open(&path);
        let parts: Vec<Vec<u8>> = (0..)
            .zip(&sizes)
            .map(|(i, len)| (0..*len).map(|at| (at * 7 + at / 251 + i) as u8).collect())
            .collect();
        let spans: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut seen = Vec::new();
        let mut show = |bytes: &[u8]| seen.extend_from_slice(bytes);
        shelf.put_joined("x", "k", b"meta", &spans, &mut show).unwrap();
        assert_eq!(seen, parts.concat());
        shelf.commit(None).unwrap();
        drop(shelf);
        let shelf = open(&path);
        assert_eq!(bytes(&shelf, "x"), seen);
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound(), "{sizes:?}");
    }
}

#[test]
fn stores_through_a_buffer_are_committed_or_rolled_back_with_every_tracker() {
    let kinds = [
        TrackerKind::WriteProtect,
        TrackerKind::AnonBit,
        TrackerKind::Mprotect,
        TrackerKind::Hash,
    ];
    for kind in kinds {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.shelf");
        let shelf = Shelf::open(
            &path,
            &OpenOptions {
                tracker: Some(kind),
                ..OpenOptions::default()
            },
        )
        .unwrap();
        // In a container without userfaultfd or pagemap the self-test may fall back; the results must not differ.
        assert!(shelf.tracker() == kind || shelf.tracker() == TrackerKind::Hash);
        shelf.put("x", "bytes", b"", &[&vec![1u8; 3 << 20]]).unwrap();
        shelf.commit(None).unwrap();
        let x = shelf.get("x").unwrap().unwrap().buffers.remove(0);
        x.make_writable().unwrap();
        assert_eq!(
            shelf.commit(None).unwrap().id,
            1,
            "{kind:?}: nothing changed, nothing committed"
        );
        for round in 0..3u8 {
            store(&x, 70_000, round + 10);
            store(&x, (3 << 20) - 1, round + 20);
            let info = shelf.commit(None).unwrap();
            assert_eq!(info.id, 2 + u64::from(round), "{kind:?}");
            if kind != TrackerKind::Mprotect {
                assert!(info.bytes_written <= 16 << 10, "{kind:?} wrote {}", info.bytes_written);
            }
        }
        store(&x, 70_000, 99);
        store(&x, 5, 99);
        shelf.rollback().unwrap();
        assert_eq!((x.to_vec()[70_000], x.to_vec()[5]), (12, 1), "{kind:?}");
        assert_eq!(
            shelf.commit(None).unwrap().id,
            4,
            "{kind:?}: rolled back, nothing to commit"
        );
        store(&x, 9, 3);
        shelf.commit(None).unwrap();
        drop(shelf);
        let shelf = open(&path);
        let mut expected = vec![1u8; 3 << 20];
        (expected[70_000], expected[(3 << 20) - 1], expected[9]) = (12, 22, 3);
        assert!(bytes(&shelf, "x") == expected, "{kind:?}");
        shelf.close().unwrap();
        let shelf = open(&path);
        assert!(bytes(&shelf, "x") == expected, "{kind:?} after a checkpoint");
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn a_dense_update_is_written_once_and_an_allocated_buffer_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.shelf");
    let shelf = open(&path);
    let x = shelf.alloc("x", "bytes", b"", &[5 << 20, 100]).unwrap();
    assert!(x[0].to_vec().iter().all(|b| *b == 0));
    for at in (0..5 << 20).step_by(100) {
        store(&x[0], at, 5);
    }
    store(&x[1], 99, 6);
    shelf.commit(None).unwrap();
    for at in (1 << 20..4 << 20).step_by(4096) {
        store(&x[0], at, 9);
    }
    let info = shelf.commit(None).unwrap();
    assert!(info.bytes_written < 7 << 20, "{}", info.bytes_written);
    store(&x[0], 2 << 20, 1);
    store(&x[0], 0, 1);
    shelf.rollback().unwrap();
    let expected: Vec<u8> = (0..5usize << 20)
        .map(|at| {
            if (1 << 20..4 << 20).contains(&at) && at % 4096 == 0 {
                9
            } else if at % 100 == 0 {
                5
            } else {
                0
            }
        })
        .collect();
    assert!(x[0].to_vec() == expected);
    drop((shelf, x));
    let shelf = open(&path);
    assert!(bytes(&shelf, "x") == expected);
    assert_eq!(shelf.get("x").unwrap().unwrap().buffers[1].to_vec()[99], 6);
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_buffer_outlives_its_name_and_its_shelf() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(&dir.path().join("b.shelf"));
    shelf.put("x", "bytes", b"", &[&[1u8; 9000]]).unwrap();
    shelf.commit(None).unwrap();
    let old = shelf.get("x").unwrap().unwrap().buffers.remove(0);
    shelf.remove("x").unwrap();
    shelf.commit(None).unwrap();
    for round in 0..20u8 {
        shelf.put("y", "bytes", b"", &[&[round + 2; 9000]]).unwrap();
        shelf.commit(None).unwrap();
        shelf.checkpoint().unwrap();
    }
    assert_eq!(old.to_vec(), vec![1u8; 9000]);
    shelf.close().unwrap();
    drop(shelf);
    // The next writer owes nothing to a value that was removed: its pages are free, and soon overwritten.
    let next = open(&dir.path().join("b.shelf"));
    for round in 0..40u8 {
        next.put(&format!("z{round}"), "bytes", b"", &[&[round + 100; 9000]])
            .unwrap();
    }
    next.commit(None).unwrap();
    assert_eq!(old.to_vec(), vec![1u8; 9000]);
}

#[test]
fn a_reader_keeps_its_pages_while_writers_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.shelf");
    let shelf = open(&path);
    shelf.put("x", "bytes", b"", &[&[7u8; 100_000]]).unwrap();
    shelf.commit(None).unwrap();
    let reader = Shelf::open(&path, &options(Mode::R)).unwrap();
    let kept = shelf.get("x").unwrap().unwrap().buffers[0].clone();
    shelf.close().unwrap();
    for round in 1u8..6 {
        let writer = open(&path);
        for name in ["x", "y"] {
            writer.put(name, "bytes", b"", &[&[round; 100_000]]).unwrap();
            writer.commit(None).unwrap();
        }
        writer.compact(&mut |_, _| {}).unwrap();
        writer.close().unwrap();
    }
    assert_eq!(bytes(&reader, "x"), [7u8; 100_000]);
    assert_eq!(kept.to_vec(), [7u8; 100_000]);
    drop((reader, kept, shelf));
    let writer = open(&path);
    writer.compact(&mut |_, _| {}).unwrap();
    let stats = writer.stats();
    assert!(stats.file_bytes < 2_000_000, "{stats:?}: what was held is given back");
}

#[test]
fn replaced_values_do_not_grow_the_file_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(&dir.path().join("g.shelf"));
    for round in 0..200u32 {
        shelf.put("x", "bytes", b"", &[&vec![round as u8; 4 << 20]]).unwrap();
        shelf.commit(None).unwrap();
    }
    assert!(shelf.stats().file_bytes < 200 << 20, "{:?}", shelf.stats());
}

#[test]
fn more_values_are_held_than_a_process_may_have_mappings() {
    const VALUES: usize = 70_000; // vm.max_map_count is 65,530
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.shelf");
    let shelf = open(&path);
    for n in 0..VALUES {
        shelf
            .put(&format!("n{n}"), "b", b"", &[&(n as u64).to_le_bytes()])
            .unwrap();
    }
    shelf.commit(None).unwrap();
    let held: Vec<_> = (0..VALUES)
        .map(|n| shelf.get(&format!("n{n}")).unwrap().unwrap().buffers.remove(0))
        .collect();
    for (n, buffer) in held.iter().enumerate() {
        assert_eq!(buffer.to_vec(), (n as u64).to_le_bytes());
        buffer.make_writable().unwrap();
    }
    for n in (0..VALUES).step_by(999) {
        store(&held[n], 7, 1);
    }
    let changed = shelf.commit(None).unwrap().names_changed;
    assert_eq!(changed.len(), VALUES.div_ceil(999));
    assert_eq!(shelf.commit(None).unwrap().id, 2, "nothing more had changed");
    store(&held[1], 0, 99);
    store(&held[999], 0, 99);
    shelf.rollback().unwrap();
    assert_eq!((held[1].to_vec()[0], held[999].to_vec()[0]), (1, 231));
    drop((held, shelf));
    let shelf = open(&path);
    assert_eq!((bytes(&shelf, "n999")[7], bytes(&shelf, "n1000")[7]), (1, 0));
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_small_value_put_in_place_of_another_shows_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(&dir.path().join("s.shelf"));
    for round in 0..50u8 {
        shelf.put("x", "b", b"", &[&[round; 6000]]).unwrap();
        shelf.commit(None).unwrap();
        let x = shelf.get("x").unwrap().unwrap().buffers.remove(0);
        x.make_writable().unwrap();
        store(&x, 10, 200); // never committed: the next put replaces it
        shelf.put("x", "b", b"", &[&[round + 1; 6000]]).unwrap();
        shelf.commit(None).unwrap();
        shelf.checkpoint().unwrap();
        assert_eq!(bytes(&shelf, "x"), vec![round + 1; 6000]);
        drop(x); // its pages are free from here on, and seen through the same memory again
    }
    assert!(shelf.stats().file_bytes < 4 << 20);
}

#[test]
fn a_commit_flushes_once_unless_it_has_new_pages() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(&dir.path().join("f.shelf"));
    let flushes = |change: &dyn Fn()| {
        let before = shelf.stats().syncs;
        change();
        shelf.commit(None).unwrap();
        shelf.stats().syncs - before
    };
    assert_eq!(flushes(&|| shelf.put("x", "int", &[1; 200], &[]).unwrap()), 1, "inline");
    assert_eq!(
        flushes(&|| shelf.put("y", "bytes", b"", &[&[1; 200]]).unwrap()),
        2,
        "a new extent"
    );
    let y = shelf.get("y").unwrap().unwrap().buffers.remove(0);
    y.make_writable().unwrap();
    assert_eq!(flushes(&|| store(&y, 7, 7)), 1, "in place");
    assert_eq!(flushes(&|| ()), 0, "nothing");
}

#[test]
fn a_second_writer_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.shelf");
    let first = open(&path);
    let Err(error) = Shelf::open(&path, &OpenOptions::default()) else {
        panic!("two writers")
    };
    assert!(
        matches!(&error, OpenError::Busy { pid, .. } if *pid == std::process::id()),
        "{error}"
    );
    assert_eq!(error.class(), Class::Busy);
    first.close().unwrap();
    open(&path);
}

#[test]
fn modes_are_those_of_h5py() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.shelf");
    for mode in [Mode::R, Mode::RPlus] {
        assert!(matches!(
            Shelf::open(&path, &options(mode)),
            Err(OpenError::NotFound { .. })
        ));
    }
    let shelf = Shelf::open(&path, &options(Mode::X)).unwrap();
    shelf.put("x", "k", b"", &[]).unwrap();
    shelf.commit(None).unwrap();
    drop(shelf);
    assert!(matches!(
        Shelf::open(&path, &options(Mode::X)),
        Err(OpenError::Exists { .. })
    ));
    let reader = Shelf::open(&path, &options(Mode::R)).unwrap();
    assert_eq!(reader.names(), ["x"]);
    assert_eq!(reader.put("y", "k", b"", &[]).unwrap_err().class(), Class::ReadOnly);
    assert_eq!(reader.commit(None).unwrap_err().class(), Class::ReadOnly);
    drop(reader);
    let shelf = Shelf::open(&path, &options(Mode::W)).unwrap();
    assert!(shelf.names().is_empty());
    drop(shelf);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["m.shelf"]);
}

#[test]
fn a_large_writable_buffer_needs_no_page_tables_to_be_watched() {
    const BYTES: u64 = 8 << 30;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("large.shelf");
    let tables_kib = || -> i64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmPTE")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let shelf = open(&path);
    let before = tables_kib();
    let buffer = shelf.alloc("x", "k", b"", &[BYTES]).unwrap().remove(0);
    shelf.commit(None).unwrap();
    let far = (BYTES / 2 + 12_345) as usize;
    store(&buffer, far, 7);
    store(&buffer, 3, 9);
    assert!(shelf.commit(None).unwrap().bytes_written < 64 << 10);
    assert_eq!(shelf.commit(None).unwrap().bytes_written, 0);
    store(&buffer, far, 8);
    shelf.rollback().unwrap();
    // SAFETY: within the buffer, which no other thread has.
    let read = |at: usize| unsafe { buffer.as_ptr().add(at).read_volatile() };
    assert_eq!((read(3), read(far)), (9, 7));
    store(&buffer, far + 1, 6);
    assert!(shelf.commit(None).unwrap().bytes_written > 0, "after a rollback too");
    if shelf.tracker() == TrackerKind::WriteProtect {
        // All of it would be 16 MiB.
        assert!(tables_kib() < before + (8 << 10), "{before} KiB, then {}", tables_kib());
    }
    drop((buffer, shelf));
    let again = open(&path);
    let back = again.get("x").unwrap().unwrap().buffers.remove(0);
    // SAFETY: as above.
    let read = |at: usize| unsafe { back.as_ptr().add(at).read_volatile() };
    assert_eq!((read(3), read(far), read(far + 1), read(far + 2)), (9, 7, 6, 0));
}
