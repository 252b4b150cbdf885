//! A shelf whose writers take turns, each with a catalog of its own, as a process and its forked children do.

use larder_shelf::media::Media;
use larder_shelf::media::sim::{Call, Failure, Random, SimMedia};
use larder_shelf::{OpenOptions, Shelf};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Length and (constant) byte of each value.
type Model = BTreeMap<String, (usize, Option<u8>)>;

fn options() -> OpenOptions {
    OpenOptions {
        log_bytes: 12 << 10,
        ..OpenOptions::default()
    }
}

fn open(media: &Arc<SimMedia>) -> Shelf {
    Shelf::open_media(Arc::clone(media) as Arc<dyn Media>, &options()).unwrap()
}

fn shown(shelf: &Shelf) -> Model {
    let value = |name: &String| {
        let bytes = shelf.get(name).unwrap().unwrap().buffers[0].to_vec();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{name} is of two commits");
        (bytes.len(), bytes.first().copied())
    };
    let names = shelf.names();
    names.iter().map(|name| (name.clone(), value(name))).collect()
}

fn change(shelf: &Shelf, model: &mut Model, rng: &mut Random) {
    for _ in 0..1 + rng.below(4) {
        let name = format!("n{}", rng.below(8));
        if rng.below(3) == 0 {
            assert_eq!(shelf.remove(&name).unwrap(), model.remove(&name).is_some());
        } else {
            let bytes = vec![rng.roll() as u8; rng.below(30_000) as usize];
            shelf.put(&name, "bytes", b"", &[&bytes]).unwrap();
            model.insert(name, (bytes.len(), bytes.first().copied()));
        }
    }
}

#[test]
fn every_writer_sees_what_the_others_committed_and_reuses_nothing_that_is_needed() {
    for seed in 0..60 {
        let mut rng = Random(seed);
        let media = Arc::new(SimMedia::default());
        drop(open(&media));
        let writers: Vec<Shelf> = (0..3).map(|_| open(&media)).collect();
        writers.iter().for_each(|shelf| shelf.lend().unwrap());
        let (mut model, mut commits) = (Model::new(), 0);
        for turn in 0..40 {
            let shelf = &writers[rng.below(3) as usize];
            assert_eq!(shelf.take().unwrap(), commits, "seed {seed}, turn {turn}");
            assert_eq!(shown(shelf), model, "seed {seed}, turn {turn}");
            for _ in 0..rng.below(4) {
                let mut next = model.clone();
                change(shelf, &mut next, &mut rng);
                if rng.below(5) == 0 {
                    shelf.rollback().unwrap();
                    continue;
                }
                let before = commits;
                commits = shelf.commit(None).unwrap().id;
                assert!(commits == before + 1 || next == model);
                model = next;
                if rng.below(6) == 0 {
                    shelf.checkpoint().unwrap();
                }
            }
            assert_eq!(shown(shelf), model, "seed {seed}, turn {turn}");
            shelf.lend().unwrap();
            assert!(shelf.is_lent() && shelf.put("x", "", b"", &[]).is_err() && shelf.commit(None).is_err());
        }
        let again = open(&media);
        assert_eq!(shown(&again), model, "seed {seed}");
        let report = again.verify(&mut |_, _| {}).unwrap();
        assert!(report.damages.is_empty(), "seed {seed}: {:?}", report.damages);
    }
}

#[test]
fn a_writer_that_ends_in_the_middle_leaves_a_whole_commit_or_none() {
    let mut cut_short = 0;
    for seed in 0..40 {
        let mut rng = Random(seed);
        let media = Arc::new(SimMedia::default());
        let parent = open(&media);
        let mut model = Model::new();
        change(&parent, &mut model, &mut rng);
        parent.commit(None).unwrap();
        for turn in 0..12 {
            parent.lend().unwrap();
            let child = open(&media);
            let mut next = model.clone();
            change(&child, &mut next, &mut rng);
            media.fail(Some(Failure {
                call: Call::Change,
                after: rng.below(14),
                errno: 5,
                sticky: true,
            }));
            let committed = child.commit(None).is_ok();
            cut_short += u32::from(!committed);
            let _ = rng.below(2) == 0 && child.checkpoint().is_ok();
            media.fail(None);
            drop(child);
            parent.take().unwrap();
            let found = shown(&parent);
            assert!(
                found == model || found == next,
                "seed {seed}, turn {turn}: neither before nor after"
            );
            assert!(
                !committed || found == next,
                "seed {seed}, turn {turn}: lost what was acknowledged"
            );
            model = found;
            change(&parent, &mut model, &mut rng);
            parent.commit(None).unwrap();
            assert_eq!(shown(&parent), model);
        }
        let again = open(&media);
        assert_eq!(shown(&again), model, "seed {seed}");
        assert!(again.verify(&mut |_, _| {}).unwrap().damages.is_empty());
    }
    assert!(cut_short > 100, "{cut_short}: the test has to cut commits short");
}
