//! Allocator and catalog against models that are too simple to be wrong.

use larder_shelf::media::Media;
use larder_shelf::media::sim::SimMedia;
use larder_shelf::space::{Extent, Space};
use larder_shelf::{OpenOptions, Shelf, Tuning};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<u8>),
    PutJoined(u8, Vec<Vec<u8>>),
    Alloc(u8, u16),
    Store(u8, u16, u8),
    Remove(u8),
    Commit,
    Rollback,
    Checkpoint,
    Relieve,
    Compact,
    Reopen,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5u8, proptest::collection::vec(any::<u8>(), 0..9000)).prop_map(|(n, b)| Step::Put(n, b)),
        1 => (0..5u8, proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..4))
            .prop_map(|(n, parts)| Step::PutJoined(n, parts)),
        1 => (0..5u8, 0..9000u16).prop_map(|(n, len)| Step::Alloc(n, len)),
        5 => (0..5u8, any::<u16>(), any::<u8>()).prop_map(|(n, at, b)| Step::Store(n, at, b)),
        1 => (0..5u8).prop_map(Step::Remove),
        3 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Relieve),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..60)
}

type Model = BTreeMap<String, Vec<u8>>;

fn show(shelf: &Shelf) -> Model {
    let value = |name: &String| shelf.get(name).unwrap().unwrap().buffers[0].to_vec();
    shelf
        .names()
        .into_iter()
        .map(|name| (name.clone(), value(&name)))
        .collect()
}

fn run(steps: Vec<Step>, history: u32) {
    let media = Arc::new(SimMedia::default());
    let options = OpenOptions {
        log_bytes: 12 << 10,
        history: Some(history),
        tuning: Tuning {
            chunk_pages: 2,
            dense_pages: 2,
            ..Tuning::default()
        },
        ..OpenOptions::default()
    };
    let open = || Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options).unwrap();
    let mut shelf = open();
    let (mut now, mut committed) = (Model::new(), Model::new());
    for step in steps {
        match step {
            Step::Put(n, bytes) => {
                shelf.put(&n.to_string(), "bytes", b"", &[&bytes]).unwrap();
                now.insert(n.to_string(), bytes);
            }
            Step::PutJoined(n, parts) => {
                let spans: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let mut seen = Vec::new();
                let mut show = |bytes: &[u8]| seen.extend_from_slice(bytes);
                shelf
                    .put_joined(&n.to_string(), "bytes", b"", &spans, &mut show)
                    .unwrap();
                assert_eq!(seen, parts.concat());
                now.insert(n.to_string(), seen);
            }
            Step::Alloc(n, len) => {
                shelf.alloc(&n.to_string(), "bytes", b"", &[len.into()]).unwrap();
                now.insert(n.to_string(), vec![0; len.into()]);
            }
            Step::Store(n, at, byte) => {
                let Some(value) = now.get_mut(&n.to_string()).filter(|value| !value.is_empty()) else {
                    continue;
                };
                let at = usize::from(at) % value.len();
                value[at] = byte;
                let buffer = shelf.get(&n.to_string()).unwrap().unwrap().buffers.remove(0);
                buffer.make_writable().unwrap();
                // SAFETY: reduced to the length; only this test uses it.
                unsafe { *buffer.as_ptr().add(at) = byte };
            }
            Step::Remove(n) => assert_eq!(
                shelf.remove(&n.to_string()).unwrap(),
                now.remove(&n.to_string()).is_some()
            ),
            Step::Commit => {
                shelf.commit(None).unwrap();
                committed = now.clone();
            }
            Step::Rollback => {
                shelf.rollback().unwrap();
                now = committed.clone();
            }
            Step::Checkpoint => shelf.checkpoint().unwrap(),
            Step::Relieve => {
                shelf.relieve(u64::MAX).unwrap();
            }
            Step::Compact => {
                shelf.compact(&mut |_, _| {}).unwrap();
            }
            Step::Reopen | Step::Close => {
                if matches!(step, Step::Close) {
                    shelf.close().unwrap();
                }
                drop(shelf);
                shelf = open();
                now = committed.clone();
            }
        }
        assert_eq!(show(&shelf), now);
    }
    assert!(shelf.verify(&mut |_, _| {}).unwrap().is_sound());
}

/// `LARDER_MODEL_CASES=100000` for more.
fn cases() -> u32 {
    let wanted = std::env::var("LARDER_MODEL_CASES").ok().and_then(|v| v.parse().ok());
    wanted.unwrap_or(if cfg!(miri) { 2 } else { 1000 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shelf_behaves_like_a_map_with_commit_and_rollback(steps in steps(), history in 0..3u32) {
        run(steps, history);
    }

    #[test]
    fn the_allocator_never_hands_out_a_page_twice(sizes in proptest::collection::vec((1..40u32, any::<bool>()), 1..120)) {
        let space = Space::new(false);
        let mut live: Vec<Arc<Extent>> = Vec::new();
        for (index, (pages, free)) in sizes.into_iter().enumerate() {
            let extent = space.allocate(pages, index % 3 == 0).extent;
            let range = |e: &Extent| e.at..e.at + e.bytes();
            for other in &live {
                let (a, b) = (range(&extent), range(other));
                prop_assert!(a.end <= b.start || b.end <= a.start, "{a:?} overlaps {b:?}");
            }
            live.push(extent);
            if free {
                live.swap_remove(index * 7 % live.len());
            }
            if index % 5 == 0 {
                space.release(space.quarantined(), None);
            }
            let (used, free, held, _) = space.sizes();
            prop_assert_eq!(used, live.iter().map(|e| e.bytes()).sum::<u64>());
            prop_assert_eq!(used + free + held + larder_shelf::format::HEAP_START, space.end());
        }
        live.clear();
        space.release(space.quarantined(), None);
        let (used, _, held, ranges) = space.sizes();
        prop_assert_eq!((used, held, ranges), (0, 0, 1), "all free, coalesced");
    }
}
