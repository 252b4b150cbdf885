//! Damaged files, foreign files, full and failing disks: a clear error, nothing written, the last commit intact.

use larder_shelf::media::Media;
use larder_shelf::media::sim::{Call, Failure, SimMedia};
use larder_shelf::{Class, OpenError, OpenOptions, Shelf, Tuning};
use std::sync::Arc;

fn options() -> OpenOptions {
    OpenOptions {
        log_bytes: 8 << 10,
        tuning: Tuning {
            chunk_pages: 2,
            dense_pages: 2,
            log_growth_max: 16 << 10,
        },
        ..OpenOptions::default()
    }
}

fn open(media: &Arc<SimMedia>) -> Result<Shelf, OpenError> {
    Shelf::open_media(Arc::clone(media) as Arc<dyn Media>, &options())
}

/// Two variables with known bytes, one commit.
fn sample(close: bool) -> Vec<u8> {
    let media = Arc::new(SimMedia::default());
    let shelf = open(&media).unwrap();
    shelf.put("apple", "bytes", b"meta", &[&[1u8; 5000]]).unwrap();
    shelf.put("pear", "bytes", b"", &[&[2u8; 100]]).unwrap();
    shelf.commit(None).unwrap();
    if close {
        shelf.close().unwrap();
    }
    drop(shelf);
    media.image()
}

/// None if everything is as committed; else what is wrong.
fn differs(shelf: &Shelf) -> Option<String> {
    for (name, byte, len) in [("apple", 1u8, 5000), ("pear", 2, 100)] {
        match shelf.get(name) {
            Ok(Some(entry)) if entry.buffers[0].to_vec() == vec![byte; len] && entry.kind == "bytes" => {}
            Ok(_) => return Some(format!("{name} differs")),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

#[test]
fn a_flipped_byte_anywhere_is_harmless_or_named() {
    let image = sample(true);
    let step = if cfg!(miri) { 1999 } else { 1 };
    let (mut harmless, mut refused, mut found) = (0, 0, 0);
    for at in (0..image.len()).step_by(step) {
        let mut broken = image.clone();
        broken[at] ^= 0x40;
        let media = Arc::new(SimMedia::new(broken.clone()));
        match open(&media) {
            Err(error) => {
                assert!(
                    matches!(error.class(), Class::Corrupt | Class::Format),
                    "byte {at:#x}: {error}"
                );
                refused += 1;
            }
            Ok(shelf) => {
                let report = shelf.verify(&mut |_, _| {}).unwrap();
                match differs(&shelf) {
                    None if report.is_sound() => harmless += 1,
                    difference => {
                        let damage = report
                            .damages
                            .first()
                            .unwrap_or_else(|| panic!("byte {at:#x}: {difference:?} unnoticed"));
                        assert!(damage.variable.is_some() && damage.offset > 0, "{damage}");
                        found += 1;
                    }
                }
            }
        }
        assert!(media.image() == broken, "byte {at:#x}: opening wrote something");
    }
    assert!(
        cfg!(miri) || harmless > 0 && refused > 0 && found > 0,
        "{harmless} harmless, {refused} refused, {found} found by verify"
    );
}

#[test]
fn a_shelf_cut_at_any_byte_is_refused_and_not_touched() {
    let image = sample(true);
    let step = if cfg!(miri) { 9999 } else { 7 };
    for len in (1..image.len()).step_by(step) {
        let cut = image[..len].to_vec();
        let media = Arc::new(SimMedia::new(cut.clone()));
        let Err(error) = open(&media) else {
            panic!("opened with {len} of {} bytes", image.len())
        };
        assert!(
            matches!(error.class(), Class::Corrupt | Class::Format),
            "{len}: {error}"
        );
        assert!(media.image() == cut);
    }
}

#[test]
fn a_flipped_byte_in_the_log_never_shows_half_a_commit() {
    let media = Arc::new(SimMedia::default());
    let shelf = open(&media).unwrap();
    for round in 1..=5u8 {
        shelf.put("x", "bytes", &[round; 50], &[]).unwrap();
        shelf.commit(None).unwrap();
    }
    drop(shelf);
    let image = media.image();
    let (mut refused, mut last) = (0, 0);
    let step = if cfg!(miri) { 150 } else { 1 };
    for at in (8192..8192 + 1200).step_by(step) {
        let mut broken = image.clone();
        broken[at] ^= 1;
        match open(&Arc::new(SimMedia::new(broken))) {
            Err(error) => {
                assert_eq!(error.class(), Class::Corrupt, "{error}");
                refused += 1;
            }
            Ok(shelf) => {
                // The last record may be taken for one that was cut by a power loss; no other may.
                let x = shelf.get("x").unwrap().unwrap();
                assert!(
                    x.commit >= 4 && x.meta == vec![x.commit as u8; 50],
                    "byte {at:#x} shows commit {}",
                    x.commit
                );
                last += 1;
            }
        }
    }
    assert!(
        cfg!(miri) || refused > 300 && last > 100,
        "{refused} refused, {last} opened"
    );
}

#[test]
#[cfg_attr(miri, ignore = "locks and maps a real file")]
fn what_is_not_a_shelf_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty-ish", vec![0u8; 20_000]),
        ("text", b"hello ".repeat(5000)),
        ("short", b"LARDERSH".to_vec()),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, &content).unwrap();
        let Err(error) = Shelf::open(&path, &OpenOptions::default()) else {
            panic!("{name} opened")
        };
        assert_eq!(
            error.class(),
            if name == "short" { Class::Format } else { error.class() }
        );
        assert!(
            matches!(error.class(), Class::Format | Class::Corrupt),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("nothing was written"), "{error}");
        assert!(std::fs::read(&path).unwrap() == content);
    }
    let Err(error) = Shelf::open(dir.path(), &OpenOptions::default()) else {
        panic!("a directory opened")
    };
    assert!(matches!(error.class(), Class::Format | Class::Other), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let image = sample(true);
    // The version, then the incompatible feature flags, in both superblocks, with right checksums.
    for (field, what) in [(8usize, "version"), (16, "flags")] {
        let mut newer = image.clone();
        for slot in [0, 4096] {
            newer[slot + field] = 99;
            let sum = larder_shelf::format::crc(&newer[slot..slot + 508]).to_le_bytes();
            newer[slot + 508..slot + 512].copy_from_slice(&sum);
        }
        let media = Arc::new(SimMedia::new(newer.clone()));
        let Err(error) = open(&media) else {
            panic!("newer {what} opened")
        };
        assert_eq!(error.class(), Class::Format);
        assert!(
            error.to_string().contains(what) && error.to_string().contains("newer larder"),
            "{error}"
        );
        assert!(media.image() == newer);
    }
}

#[test]
fn an_unknown_compatible_feature_is_cleared_by_who_does_not_know_it() {
    let mut image = sample(true);
    for slot in [0, 4096] {
        image[slot + 28] = 1;
        let sum = larder_shelf::format::crc(&image[slot..slot + 508]).to_le_bytes();
        image[slot + 508..slot + 512].copy_from_slice(&sum);
    }
    let media = Arc::new(SimMedia::new(image.clone()));
    let shelf = open(&media).unwrap();
    assert_eq!(differs(&shelf), None);
    assert!(media.image() == image, "opening wrote something");
    for round in 0..2 {
        shelf.put("x", "k", &[round], &[]).unwrap();
        shelf.commit(None).unwrap();
        shelf.checkpoint().unwrap();
    }
    assert_eq!((media.image()[28], media.image()[4096 + 28]), (0, 0));
}

/// One session of puts, in-place stores, commits and a checkpoint; how many commits succeeded.
fn session(media: &Arc<SimMedia>) -> Result<u64, String> {
    let shelf = open(media).map_err(|error| error.to_string())?;
    let mut done = shelf.stats().commit;
    for round in 0..6u8 {
        let attempt = || -> Result<u64, Box<dyn std::error::Error>> {
            shelf.put("x", "bytes", &[round; 10], &[&[round; 5000]])?;
            shelf.put(&format!("n{round}"), "bytes", &[round], &[])?;
            if round == 3 {
                shelf.checkpoint()?;
            }
            let info = shelf.commit(None)?;
            let x = shelf.get("x")?.ok_or("gone")?.buffers.remove(0);
            x.make_writable()?;
            // SAFETY: in bounds of a live buffer that only this test uses.
            unsafe { *x.as_ptr() = 99 };
            if round % 2 == 1 {
                shelf.relieve(u64::MAX)?;
                // SAFETY: as above.
                unsafe { *x.as_ptr() = 99 };
            }
            if round == 4 {
                shelf.remove("n1")?;
                shelf.commit(None)?;
                shelf.compact(&mut |_, _| {})?;
            }
            Ok(shelf.commit(None)?.id.max(info.id))
        };
        match attempt() {
            Ok(id) => done = id,
            Err(_) => {
                if shelf.rollback().is_err() {
                    break; // stopped after a failed flush
                }
                done = done.max(shelf.stats().commit);
            }
        }
    }
    // A close that fails to checkpoint loses nothing either.
    let _ = shelf.close();
    Ok(done)
}

#[test]
fn a_full_or_failing_disk_at_any_call_keeps_the_last_commit() {
    let calls = [Call::Write, Call::Sync, Call::SetLen, Call::Read];
    let limit = if cfg!(miri) { 2 } else { 5000 };
    let mut failures = 0;
    for call in calls {
        for (errno, sticky) in [
            (libc::ENOSPC, true),
            (libc::ENOSPC, false),
            (libc::EIO, false),
            (libc::EIO, true),
        ] {
            for after in 0..limit {
                let media = Arc::new(SimMedia::new(sample(after % 2 == 0)));
                media.fail(Some(Failure {
                    call,
                    after,
                    errno,
                    sticky,
                }));
                let outcome = session(&media);
                media.fail(None);
                if media.failed() == 0 {
                    break; // the session has no more calls of this kind
                }
                failures += 1;
                assert!(cfg!(miri) || after + 1 < limit, "{call:?}: more calls than were tried");
                // After the fault is gone: the shelf opens, at a commit that is whole and not older than the last good one.
                let shelf = open(&media).unwrap_or_else(|error| panic!("{call:?} {errno} after {after}: {error}"));
                assert!(
                    shelf.verify(&mut |_, _| {}).unwrap().is_sound(),
                    "{call:?} {errno} after {after}"
                );
                if let Ok(done) = outcome {
                    assert!(
                        shelf.stats().commit >= done,
                        "{call:?} {errno} after {after}: {done} acknowledged"
                    );
                }
                if let Some(x) = shelf.get("x").unwrap() {
                    let bytes = x.buffers[0].to_vec();
                    assert!(
                        bytes[1..].iter().all(|b| *b == x.meta[0]),
                        "{call:?} {errno} after {after}"
                    );
                    assert!(bytes[0] == x.meta[0] || bytes[0] == 99);
                }
            }
        }
    }
    assert!(cfg!(miri) || failures > 300, "only {failures} failures were injected");
}

#[test]
fn a_file_that_could_not_grow_is_not_taken_for_one_that_was_cut() {
    for call in [Call::SetLen, Call::Write] {
        let media = Arc::new(SimMedia::new(sample(true)));
        let shelf = open(&media).unwrap();
        // Room for the next snapshot, so that the last checkpoint grows nothing.
        shelf.put("gap", "bytes", b"", &[&[3u8; 60_000]]).unwrap();
        shelf.put("after", "bytes", b"", &[&[4u8; 5000]]).unwrap();
        shelf.commit(None).unwrap();
        shelf.remove("gap").unwrap();
        shelf.commit(None).unwrap();
        shelf.checkpoint().unwrap();
        let (len, before) = (media.image().len(), shelf.stats());
        media.fail(Some(Failure {
            call,
            after: 0,
            errno: libc::ENOSPC,
            sticky: true,
        }));
        let put = shelf.put("big", "bytes", b"", &[&vec![5u8; 500_000]]);
        let allocated = shelf.alloc("big", "bytes", b"", &[500_000]);
        for error in [put.unwrap_err(), allocated.map(drop).unwrap_err()] {
            assert_eq!(error.class(), Class::Full, "{call:?}: {error}");
        }
        media.fail(None);
        assert_eq!(shelf.stats().quarantined_bytes, before.quarantined_bytes, "{call:?}");
        if call == Call::SetLen {
            assert_eq!(
                (media.image().len(), shelf.stats().free_bytes),
                (len, before.free_bytes)
            );
        }
        shelf.put("small", "bytes", b"in the log", &[]).unwrap();
        shelf.commit(None).unwrap();
        shelf.close().unwrap();
        let shelf = open(&media).unwrap_or_else(|error| panic!("{call:?}: {error}"));
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound(), "{call:?}");
        assert_eq!(differs(&shelf), None, "{call:?}");
    }
}

#[test]
fn a_failed_flush_stops_the_shelf_until_it_is_opened_again() {
    let media = Arc::new(SimMedia::new(sample(true)));
    let shelf = open(&media).unwrap();
    shelf.put("x", "k", b"", &[]).unwrap();
    media.fail(Some(Failure {
        call: Call::Sync,
        after: 0,
        errno: libc::EIO,
        sticky: false,
    }));
    let error = shelf.commit(None).unwrap_err();
    assert!(error.to_string().contains("reopen it to return to commit 1"), "{error}");
    // The next flush would succeed; it must not be believed.
    assert!(shelf.commit(None).unwrap_err().to_string().contains("reopen"));
    assert!(shelf.put("y", "k", b"", &[]).is_err());
    drop(shelf);
    let shelf = open(&media).unwrap();
    assert_eq!((shelf.stats().commit, differs(&shelf)), (1, None));
}

#[test]
fn too_large_parts_are_refused_with_their_limit() {
    let shelf = open(&Arc::new(SimMedia::default())).unwrap();
    for (name, kind, meta) in [
        ("n".repeat(5000), "k".into(), 0),
        ("n".into(), "k".repeat(300), 0),
        ("n".into(), "k".into(), 2 << 20),
    ] {
        let error = shelf.put(&name, &kind, &vec![0; meta], &[]).unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        assert!(error.to_string().contains("the limit is"), "{error}");
    }
    assert!(shelf.alloc("n", "k", b"", &[u64::MAX]).is_err());
    assert!(shelf.names().is_empty());
}
