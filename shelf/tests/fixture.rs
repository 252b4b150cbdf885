//! A shelf written by each released format opens for ever. `fixtures/format-1.bin` was written by `write_fixture`
//! (`cargo test -p larder-shelf --test fixture -- --ignored`), once; it is not written again when the code changes.

use larder_shelf::{Mode, OpenOptions, Shelf};
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.bin")
}

#[test]
#[ignore = "writes the fixture of a new format"]
fn write_fixture() {
    let options = OpenOptions {
        mode: Mode::X,
        log_bytes: 16 << 10,
        history: Some(2),
        ..OpenOptions::default()
    };
    let shelf = Shelf::open(&fixture(), &options).unwrap();
    shelf.put("größe", "inline", "wörter".as_bytes(), &[]).unwrap();
    shelf
        .put("pages", "bytes", b"meta", &[&[1u8; 9000], &[], &[2u8; 5]])
        .unwrap();
    shelf.commit(Some("first")).unwrap();
    shelf.checkpoint().unwrap();
    let pages = shelf.get("pages").unwrap().unwrap().buffers.remove(0);
    pages.make_writable().unwrap();
    // SAFETY: in bounds of a live buffer nobody else uses.
    unsafe { *pages.as_ptr().add(5000) = 9 };
    shelf.commit(Some("a split buffer, in the log")).unwrap();
    shelf.set_history(0).unwrap();
    // SAFETY: as above.
    unsafe { *pages.as_ptr().add(8999) = 8 };
    shelf.commit(Some("an image in the log")).unwrap();
    // Dropped, not closed: the log stays.
}

#[test]
fn a_shelf_of_format_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("old.shelf");
    std::fs::copy(fixture(), &copy).unwrap();
    for mode in [Mode::R, Mode::RPlus, Mode::RPlus] {
        let shelf = Shelf::open(
            &copy,
            &OpenOptions {
                mode,
                ..OpenOptions::default()
            },
        )
        .unwrap();
        assert_eq!(shelf.names(), ["größe", "pages"]);
        let text = shelf.get("größe").unwrap().unwrap();
        assert_eq!(
            (text.kind.as_str(), text.meta.as_slice(), text.commit),
            ("inline", "wörter".as_bytes(), 1)
        );
        let pages = shelf.get("pages").unwrap().unwrap();
        let mut expected = vec![1u8; 9000];
        (expected[5000], expected[8999]) = (9, 8);
        assert_eq!(pages.buffers[0].to_vec(), expected);
        assert_eq!(
            (pages.buffers[1].len(), pages.buffers[2].to_vec(), pages.commit),
            (0, vec![2; 5], 3)
        );
        let messages: Vec<String> = shelf.log().into_iter().map(|commit| commit.message).collect();
        assert_eq!(messages, ["first", "a split buffer, in the log", "an image in the log"]);
        assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
        shelf.close().unwrap();
    }
}
