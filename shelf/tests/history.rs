//! Older commits, readers in other processes, compaction, backup.

use larder_shelf::{Class, MediumChoice, Mode, OpenOptions, Shelf};
use std::path::Path;

fn open(path: &Path, history: u32) -> Shelf {
    Shelf::open(
        path,
        &OpenOptions {
            history: Some(history),
            ..OpenOptions::default()
        },
    )
    .expect("open")
}

fn read(path: &Path) -> Shelf {
    Shelf::open(
        path,
        &OpenOptions {
            mode: Mode::R,
            ..OpenOptions::default()
        },
    )
    .expect("open for reading")
}

fn bytes(shelf: &Shelf, name: &str) -> Vec<u8> {
    shelf.get(name).expect("get").expect("there").buffers[0].to_vec()
}

fn store(shelf: &Shelf, name: &str, at: usize, byte: u8) {
    let buffer = shelf.get(name).unwrap().unwrap().buffers.remove(0);
    buffer.make_writable().unwrap();
    assert!((at as u64) < buffer.len());
    // SAFETY: in bounds (asserted) of a live, writable buffer that only this test uses.
    unsafe { *buffer.as_ptr().add(at) = byte };
}

#[test]
fn older_commits_are_shown_compared_and_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.shelf");
    let mut shelf = open(&path, 10);
    shelf.put("x", "b", b"", &[&vec![1u8; 3 << 20]]).unwrap();
    shelf.commit(Some("one")).unwrap();
    for round in 2..=6u8 {
        store(&shelf, "x", 5000, round);
        if round == 4 {
            shelf.put("y", "b", b"", &[&[4u8; 10]]).unwrap();
            shelf.checkpoint().unwrap();
        }
        if round == 6 {
            shelf.remove("y").unwrap();
        }
        shelf.commit(Some("more")).unwrap();
    }
    for _ in 0..2 {
        for id in 1..=6u64 {
            let then = shelf.at(id).unwrap();
            let x = bytes(&then, "x");
            assert_eq!(
                (x[5000], x[4999], then.contains("y")),
                (id as u8, 1, id == 4 || id == 5),
                "commit {id}"
            );
            assert_eq!(then.put("x", "b", b"", &[]).unwrap_err().class(), Class::ReadOnly);
        }
        let diff = shelf.diff(3, Some(5)).unwrap();
        assert_eq!(
            (diff.added, diff.removed, diff.changed),
            (vec!["y".into()], vec![], vec!["x".into()])
        );
        assert_eq!(shelf.at(99).err().unwrap().class(), Class::NotFound);
        shelf.close().unwrap();
        shelf = open(&path, 10);
    }
    assert_eq!(shelf.checkout(4).unwrap(), ["x", "y"]);
    assert_eq!((bytes(&shelf, "x")[5000], bytes(&shelf, "y")), (4, vec![4; 10]));
    store(&shelf, "x", 5000, 77); // must not reach commit 4's pages
    shelf.commit(Some("back")).unwrap();
    assert_eq!(bytes(&shelf.at(4).unwrap(), "x")[5000], 4);
    assert_eq!(bytes(&shelf.at(7).unwrap(), "x")[5000], 77);
    drop(shelf);
    let shelf = open(&path, 2);
    assert_eq!(bytes(&shelf, "x")[5000], 77);
    for round in 0..5u8 {
        store(&shelf, "x", 1, round);
        shelf.commit(None).unwrap();
    }
    assert_eq!(shelf.oldest().unwrap(), shelf.stats().commit - 2);
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_reader_keeps_its_commit_while_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.shelf");
    let shelf = open(&path, 0);
    shelf.put("x", "b", b"", &[&vec![1u8; 1 << 20]]).unwrap();
    shelf.commit(None).unwrap();
    store(&shelf, "x", 0, 2); // in the log only when the reader comes
    shelf.commit(None).unwrap();
    let reader = read(&path);
    let early = reader.get("x").unwrap().unwrap().buffers.remove(0);
    let snapshot = shelf.snapshot().unwrap();
    for round in 0..30u8 {
        store(&shelf, "x", usize::from(round) * 4096, 9);
        shelf.put("big", "b", b"", &[&vec![round; 600 << 10]]).unwrap();
        shelf.commit(None).unwrap();
        shelf.checkpoint().unwrap();
    }
    let mut expected = vec![1u8; 1 << 20];
    expected[0] = 2;
    assert!(early.to_vec() == expected && bytes(&reader, "x") == expected && bytes(&snapshot, "x") == expected);
    assert_eq!(
        (reader.stats().commit, reader.names(), snapshot.names()),
        (2, vec!["x".into()], vec!["x".into()])
    );
    let later = read(&path);
    assert_eq!((bytes(&later, "x")[0], bytes(&later, "big")[0]), (9, 29));
    drop((reader, early, later, snapshot));
    let before = shelf.stats().quarantined_bytes;
    shelf.checkpoint().unwrap();
    shelf.checkpoint().unwrap();
    assert!(shelf.stats().quarantined_bytes < before, "pins gone, pages free");
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn verification_names_the_variable_and_the_commit_that_a_damaged_page_hits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.shelf");
    let shelf = open(&path, 3);
    shelf.put("x", "b", b"", &[&vec![1u8; 40_000]]).unwrap();
    shelf.commit(None).unwrap();
    let place = shelf.inspect()[0].offset.unwrap();
    store(&shelf, "x", 20_000, 2); // page 4 moves, the old one is kept
    shelf.commit(None).unwrap();
    shelf.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for (page, expected) in [(2, "x"), (4, "x of commit 1")] {
        let mut bytes = whole.clone();
        bytes[place as usize + page * 4096 + 7] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let report = open(&path, 3).verify(&mut |_, _| {}).unwrap();
        assert_eq!(report.damages.len(), 1, "{:?}", report.damages);
        let damage = &report.damages[0];
        assert_eq!(
            (damage.variable.as_deref(), damage.offset),
            (Some(expected), place + page as u64 * 4096)
        );
        assert!(damage.to_string().contains(expected), "{damage}");
    }
}

#[test]
fn a_reader_that_looks_late_does_not_see_the_log_of_later_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.shelf");
    let shelf = open(&path, 0);
    shelf.put("x", "b", b"", &[&vec![1u8; 1 << 20]]).unwrap();
    shelf.commit(None).unwrap();
    store(&shelf, "x", 5000, 2); // an image in the log
    shelf.commit(None).unwrap();
    let reader = read(&path);
    for round in 0..5u8 {
        // The log starts over, and other bytes lie where the image was.
        shelf.checkpoint().unwrap();
        shelf.put("y", "b", &[round; 40_000], &[]).unwrap();
        shelf.commit(None).unwrap();
    }
    let mut expected = vec![1u8; 1 << 20];
    expected[5000] = 2;
    assert!(bytes(&reader, "x") == expected);
    assert!(reader.verify(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_view_kept_after_close_survives_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.shelf");
    let shelf = open(&path, 0);
    shelf.put("x", "b", b"", &[&vec![1u8; 1 << 20]]).unwrap();
    shelf.commit(None).unwrap();
    let kept = shelf.get("x").unwrap().unwrap().buffers.remove(0);
    shelf.close().unwrap();
    let next = open(&path, 0);
    for round in 0..10u8 {
        store(&next, "x", 4096 * usize::from(round), 9);
        next.commit(None).unwrap();
        next.checkpoint().unwrap();
    }
    next.remove("x").unwrap();
    next.put("y", "b", b"", &[&vec![8u8; 4 << 20]]).unwrap();
    next.commit(None).unwrap();
    next.checkpoint().unwrap();
    assert!(kept.to_vec() == vec![1u8; 1 << 20]);
}

#[test]
fn compaction_gives_free_space_back_and_keeps_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.shelf");
    let shelf = open(&path, 0);
    for n in 0..20u8 {
        shelf.put(&format!("n{n}"), "b", b"", &[&vec![n; 1 << 20]]).unwrap();
    }
    shelf.commit(None).unwrap();
    for n in (0..20).filter(|n| n % 4 != 3) {
        shelf.remove(&format!("n{n}")).unwrap();
    }
    shelf.commit(None).unwrap();
    let held = shelf.get("n7").unwrap().unwrap().buffers.remove(0);
    let done = shelf.compact(&mut |_, _| {}).unwrap();
    assert!(
        done.bytes_after < done.bytes_before && done.buffers_moved > 0,
        "{done:?}"
    );
    assert!(held.to_vec() == vec![7; 1 << 20]);
    drop(held);
    drop(shelf);
    let shelf = open(&path, 0);
    let done = shelf.compact(&mut |_, _| {}).unwrap();
    assert!(done.bytes_after <= 8 << 20, "{done:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), done.bytes_after);
    for n in [3u8, 7, 11, 15, 19] {
        assert!(bytes(&shelf, &format!("n{n}")) == vec![n; 1 << 20]);
    }
    shelf.put("new", "b", b"", &[&vec![1u8; 2 << 20]]).unwrap();
    shelf.commit(None).unwrap();
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
    drop(shelf);
    assert_eq!(open(&path, 0).names().len(), 6);
}

#[test]
fn a_backup_is_the_commit_it_was_taken_at() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(&dir.path().join("b.shelf"), 3);
    shelf.put("x", "b", b"", &[&vec![1u8; 2 << 20]]).unwrap();
    shelf.commit(Some("first")).unwrap();
    store(&shelf, "x", 100, 2);
    shelf.commit(None).unwrap();
    let copy = dir.path().join("copy.shelf");
    assert_eq!(shelf.backup(&copy, &mut |_, _| {}).unwrap(), 2);
    store(&shelf, "x", 100, 3);
    shelf.commit(None).unwrap();
    assert_eq!(shelf.backup(&copy, &mut |_, _| {}).unwrap_err().class(), Class::Exists);
    let backup = open(&copy, 3);
    assert_eq!(
        (bytes(&backup, "x")[100], bytes(&backup.at(1).unwrap(), "x")[100]),
        (2, 1)
    );
    assert!(backup.verify(&mut |_, _| {}).unwrap().is_sound());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_volatile_shelf_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        medium: MediumChoice::Dram,
        ..OpenOptions::default()
    };
    let shelf = Shelf::open(&dir.path().join("d"), &options).unwrap();
    shelf.put("x", "b", b"", &[&[1u8; 10]]).unwrap();
    shelf.commit(None).unwrap();
    store(&shelf, "x", 3, 9);
    shelf.commit(None).unwrap();
    assert_eq!((bytes(&shelf, "x")[3], shelf.stats().medium), (9, "dram"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn salvage_brings_over_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.shelf");
    let shelf = open(&path, 0);
    for name in ["a", "b", "c"] {
        shelf
            .put(name, "bytes", name.as_bytes(), &[&vec![name.as_bytes()[0]; 20_000]])
            .unwrap();
    }
    shelf.commit(None).unwrap();
    let place = |name: &str| {
        shelf
            .inspect()
            .into_iter()
            .find(|row| row.name == name)
            .unwrap()
            .offset
            .unwrap()
    };
    let (hit, end) = (place("b") + 5000, place("c") + 100);
    shelf.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let root = if whole[32] > whole[4096 + 32] { 0 } else { 4096 };
    let snapshot = u64::from_le_bytes(whole[root + 64..root + 72].try_into().unwrap()) as usize;
    for (case, damage) in [
        ("page", hit as usize),
        ("catalog", snapshot + 5),
        ("superblock", root + 40),
    ] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        if case != "page" {
            bytes[hit as usize] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        let saved = dir.path().join(format!("{case}.shelf"));
        let result = Shelf::salvage(&path, &saved).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(
            (result.saved.join(" "), result.lost.len()),
            ("a c".into(), 1),
            "{case}: {result:?}"
        );
        assert!(
            result.lost[0].0 == "b" && result.lost[0].1.contains("checksum"),
            "{result:?}"
        );
        assert!(bytes == std::fs::read(&path).unwrap(), "the damaged file is only read");
        let new = open(&saved, 0);
        assert_eq!(self::bytes(&new, "c"), vec![b'c'; 20_000]);
        assert_eq!(new.get("a").unwrap().unwrap().meta, b"a");
    }
    std::fs::write(&path, &whole[..end as usize]).unwrap();
    assert!(Shelf::open(&path, &OpenOptions::default()).is_err());
}
