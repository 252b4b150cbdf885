//! Power loss at every moment: whatever part of the unflushed writes survives, the shelf comes back at a commit, and
//! never at one older than the last it acknowledged.
//!
//! `LARDER_SIM_STATES=1000000` asks for more states, `LARDER_SIM_SEED` for other ones. A failure prints the seed,
//! the moment and the kind of image.
#![allow(clippy::print_stdout)] // the count of states is the point of a run

use larder_shelf::media::Media;
use larder_shelf::media::sim::{Crash, Event, Random, Recording, SimMedia};
use larder_shelf::{Faults, OpenOptions, Shelf, Tuning};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

type Digests = BTreeMap<u64, u64>;

fn options(faults: Faults, history: u32) -> OpenOptions {
    let history = (history > 0).then_some(history);
    OpenOptions {
        log_bytes: if cfg!(miri) { 8 } else { 24 } << 10,
        faults,
        history,
        // Two pages are a dense chunk here, as 256 of 512 are elsewhere.
        tuning: Tuning {
            chunk_pages: 2,
            dense_pages: 2,
            log_growth_max: 32 << 10,
        },
        ..OpenOptions::default()
    }
}

/// Everything a user can see of a shelf.
fn digest(shelf: &Shelf) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in shelf.names() {
        let entry = shelf.get(&name).expect("readable").expect("listed");
        (name, entry.kind, entry.meta, entry.commit).hash(&mut hasher);
        for buffer in entry.buffers {
            buffer.to_vec().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn store(shelf: &Shelf, name: &str, at: u64, byte: u8) {
    let Some(entry) = shelf.get(name).expect("readable") else {
        return;
    };
    let Some(buffer) = entry.buffers.first().filter(|b| !b.is_empty()) else {
        return;
    };
    buffer.make_writable().expect("writable");
    // SAFETY: reduced to the buffer's length; only this thread uses it.
    unsafe { *buffer.as_ptr().add((at % buffer.len()) as usize) = byte };
}

fn commit(shelf: &Shelf, media: &SimMedia, digests: &mut Digests) {
    let info = shelf.commit(Some("c")).expect("commit");
    digests.insert(info.id, digest(shelf));
    media.ack(info.id);
}

/// One step of a random session.
fn step(shelf: &Shelf, media: &SimMedia, digests: &mut Digests, random: &mut Random) {
    let name = ["a", "b", "c", "d"][random.below(4) as usize];
    let byte = random.roll() as u8;
    match random.below(16) {
        0..=2 => {
            let size = [0, 1, 100, 4096, 5000, 9000][random.below(6) as usize];
            let bytes = vec![byte; size];
            let (first, rest) = bytes.split_at(random.below(size as u64 + 1) as usize);
            let put = match random.below(2) {
                0 => shelf.put(name, "bytes", &[byte; 20], &[&bytes]),
                _ => shelf.put_joined(name, "bytes", &[byte; 20], &[first, rest], &mut |_| {}),
            };
            put.expect("put");
        }
        3 => {
            let meta = vec![byte; random.below(300) as usize];
            shelf.put(name, "inline", &meta, &[]).expect("put");
        }
        4 => {
            shelf
                .alloc(name, "array", &[byte], &[random.below(9000)])
                .expect("alloc");
            store(shelf, name, random.roll(), byte);
        }
        5 => {
            shelf.remove(name).expect("remove");
        }
        6..=8 => store(shelf, name, random.roll(), byte),
        9 => shelf.rollback().expect("rollback"),
        10 if random.below(6) == 0 => {
            shelf.compact(&mut |_, _| {}).expect("compact");
        }
        11 if random.below(4) == 0 => {
            let (oldest, last) = (shelf.oldest().expect("open"), shelf.stats().commit);
            shelf.checkout(oldest + random.below(last - oldest + 1)).expect("kept");
        }
        10 if random.below(3) == 0 => shelf.checkpoint().expect("checkpoint"),
        12 => {
            shelf.relieve(u64::MAX).expect("relieve");
        }
        _ => commit(shelf, media, digests),
    }
}

/// A random session on an empty medium; what it wrote, and the state of each commit.
fn session(seed: u64, steps: usize, faults: Faults) -> (Recording, Digests) {
    let mut random = Random(seed);
    let history = if seed % 3 == 2 { 2 } else { 0 };
    let media = Arc::new(SimMedia::default());
    let open = || Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options(faults, history)).expect("open");
    let mut shelf = open();
    let mut digests = Digests::from([(0, digest(&shelf))]);
    media.ack(0);
    for _ in 0..steps {
        step(&shelf, &media, &mut digests, &mut random);
        if random.below(40) == 0 {
            // The process dies and another one goes on.
            drop(shelf);
            shelf = open();
            media.ack(shelf.stats().commit);
        }
    }
    (media.recording(), digests)
}

struct Suite {
    states: usize,
    faults: Faults,
    violation: Option<String>,
}

impl Suite {
    fn new(faults: Faults) -> Suite {
        Suite {
            states: 0,
            faults,
            violation: None,
        }
    }

    /// Opens one image and judges it; the commit it shows.
    fn judge(&mut self, image: &[u8], least: Option<u64>, digests: &Digests, what: &str) -> Option<u64> {
        self.states += 1;
        let media = Arc::new(SimMedia::new(image.to_vec()));
        let least = least?;
        let verdict = match Shelf::open_media(media, &options(self.faults, 0)) {
            Err(error) => Err(format!("did not open: {error}")),
            Ok(shelf) => {
                let shown = shelf.stats().commit;
                match digests.get(&shown) {
                    _ if shown < least => Err(format!("commit {shown} shown, {least} was acknowledged")),
                    None => Err(format!("commit {shown} was never made")),
                    Some(expected) if *expected != digest(&shelf) => {
                        Err(format!("commit {shown} shown with other content"))
                    }
                    Some(_) => match shelf.verify(&mut |_, _| {}) {
                        Ok(report) if report.is_sound() => Ok(shown),
                        Ok(report) => Err(format!("commit {shown}: {}", report.damages[0])),
                        Err(error) => Err(error.to_string()),
                    },
                }
            }
        };
        match verdict {
            Ok(shown) => Some(shown),
            Err(error) => {
                self.violation.get_or_insert(format!("{what}: {error}"));
                None
            }
        }
    }

    /// Power loss at every moment of a recording; some of the images are then used further and lose power again.
    fn power_loss(&mut self, recording: &Recording, digests: &Digests, budget: usize, seed: u64) {
        let mut random = Random(seed ^ 0x5eed);
        for crash in recording.crashes() {
            let (at, acked) = (crash.at, crash.acked);
            let mut again = Vec::new();
            crash.images(budget, seed, &mut |image, kind| {
                let what = format!("seed {seed}, power loss after event {at}, {kind}");
                if self.judge(image, acked, digests, &what).is_some() && random.below(150) == 0 {
                    again.push(image.to_vec());
                }
            });
            for image in again {
                self.go_on(
                    SimMedia::new(image),
                    digests,
                    budget / 4,
                    seed,
                    &format!("seed {seed}, event {at}, then"),
                );
            }
            if random.below(6) == 0 {
                self.process_crash(&crash, digests, budget / 4, seed);
            }
            if self.violation.is_some() {
                return;
            }
        }
    }

    /// The process dies (nothing is lost), another one recovers and shows a commit; then the power goes.
    fn process_crash(&mut self, crash: &Crash, digests: &Digests, budget: usize, seed: u64) {
        if crash.acked.is_some() {
            let media = SimMedia::with_pending(crash.durable.clone(), crash.pending);
            self.go_on(
                media,
                digests,
                budget,
                seed,
                &format!("seed {seed}, process crash at event {}, then", crash.at),
            );
        }
    }

    /// Recovers, does a few more commits, and loses power at every moment of that.
    fn go_on(&mut self, media: SimMedia, digests: &Digests, budget: usize, seed: u64, what: &str) {
        let media = Arc::new(media);
        let before = media.trace_len();
        let shelf = match Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options(self.faults, 0)) {
            Ok(shelf) => shelf,
            Err(error) => {
                self.violation.get_or_insert(format!("{what}: did not open: {error}"));
                return;
            }
        };
        let shown = shelf.stats().commit;
        media.ack(shown);
        let mut digests: Digests = digests.range(..=shown).map(|(id, d)| (*id, *d)).collect();
        let mut random = Random(seed ^ shown);
        for _ in 0..6 {
            step(&shelf, &media, &mut digests, &mut random);
        }
        drop(shelf);
        let recording = media.recording();
        for crash in recording.crashes().filter(|c| c.at > before && c.acked.is_some()) {
            let (at, acked) = (crash.at, crash.acked);
            crash.images(budget, seed, &mut |image, kind| {
                self.judge(
                    image,
                    acked,
                    &digests,
                    &format!("{what} {shown} shown, power loss after event {at}, {kind}"),
                );
            });
        }
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn a_power_loss_at_any_moment_leaves_the_last_acknowledged_commit_or_the_next() {
    let wanted = number("LARDER_SIM_STATES", if cfg!(miri) { 20 } else { 20_000 }) as usize;
    let (steps, budget) = if cfg!(miri) { (6, 2) } else { (60, 24) };
    let mut seed = number("LARDER_SIM_SEED", 1);
    let mut suite = Suite::new(Faults::default());
    while suite.states < wanted {
        let (recording, digests) = session(seed, steps, Faults::default());
        suite.power_loss(&recording, &digests, budget, seed);
        assert!(suite.violation.is_none(), "{}", suite.violation.unwrap());
        seed += 1;
    }
    println!(
        "{} simulated states, seeds up to {}, 0 violations",
        suite.states,
        seed - 1
    );
}

/// Each seeded bug must be caught within this many sessions.
fn caught(faults: Faults, first_seed: u64) {
    for seed in first_seed..first_seed + 60 {
        let outcome = std::panic::catch_unwind(|| {
            let (recording, digests) = session(seed, 60, faults);
            let mut suite = Suite::new(faults);
            suite.power_loss(&recording, &digests, 16, seed);
            suite.violation
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(violation)) => return println!("caught: {violation}"),
            Err(_) => return println!("caught: seed {seed}: the session itself failed"),
        }
    }
    panic!("{faults:?} was not caught");
}

macro_rules! seeded_bugs {
    ($($name:ident: $field:ident from $seed:literal;)*) => {$(
        #[test]
        #[cfg_attr(miri, ignore = "too many states for an interpreter")]
        fn $name() {
            caught(Faults { $field: true, ..Faults::default() }, $seed);
        }
    )*};
}

seeded_bugs! {
    catches_a_single_superblock: single_superblock from 1;
    catches_no_log_sync_before_replay: no_log_sync_before_replay from 1;
    catches_applying_before_the_log_is_synced: apply_before_log_sync from 1;
    catches_a_stale_log_tail_accepted: stale_tail_accepted from 1;
    catches_skipped_checksums: crc_skipped from 1;
    catches_reuse_before_a_checkpoint: reuse_before_checkpoint from 1;
    catches_a_lost_set_length: lost_set_length from 1;
    catches_a_spill_that_is_not_flushed: spill_not_flushed from 1;
}

/// Power is lost while commit 2 is written: one word of its record is missing. The next process shows commit 1 and
/// writes another commit 2 over it; power is lost again when only a single word of that has arrived.
fn torn_record_revived(faults: Faults) -> Option<String> {
    let media = Arc::new(SimMedia::default());
    let shelf = Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options(faults, 0)).expect("open");
    shelf.put("x", "bytes", b"", &[&[1; 5000]]).expect("put");
    shelf.commit(None).expect("commit");
    let first = digest(&shelf);
    let (before, mut events) = (media.image(), media.trace_len());
    shelf.put("y", "bytes", b"", &[&[2; 5000]]).expect("put");
    shelf.commit(None).expect("commit");
    drop(shelf);
    let record = media
        .recording()
        .trace
        .split_off(events)
        .into_iter()
        .rev()
        .find_map(|event| match event {
            Event::Write { at, bytes } => Some((at as usize, bytes)),
            _ => None,
        });
    let (at, bytes) = record.expect("a record was written");
    for word in (0..bytes.len()).step_by(8) {
        let mut torn = media.image();
        let missing = at + word..at + (word + 8).min(bytes.len());
        torn[missing.clone()].copy_from_slice(&before[missing.clone()]);
        let again = Arc::new(SimMedia::new(torn));
        let shelf = Shelf::open_media(Arc::clone(&again) as Arc<dyn Media>, &options(faults, 0)).expect("open");
        if shelf.stats().commit == 2 {
            continue; // the word was the same before
        }
        events = again.trace_len();
        shelf.put("z", "bytes", b"", &[&[3; 5000]]).expect("put");
        shelf.commit(None).expect("commit");
        let third = digest(&shelf);
        // The first commit 2 was shown by nobody and acknowledged to nobody: it must not come back.
        let legal = Digests::from([(1, first), (2, third)]);
        for crash in again.recording().crashes().filter(|crash| crash.at > events) {
            for event in crash.pending {
                let Event::Write { at, bytes } = event else { continue };
                if !(*at as usize..*at as usize + bytes.len()).contains(&missing.start) {
                    continue;
                }
                let mut image = crash.durable.clone();
                let arrived = &bytes[missing.start - *at as usize..][..missing.len()];
                image[missing.clone()].copy_from_slice(arrived);
                let mut suite = Suite::new(faults);
                suite.judge(&image, Some(1), &legal, &format!("word {word} of the torn record"));
                if suite.violation.is_some() {
                    return suite.violation;
                }
            }
        }
    }
    None
}

#[test]
#[cfg_attr(miri, ignore = "too many states for an interpreter")]
fn a_torn_record_does_not_come_back_when_the_next_one_is_torn_too() {
    assert_eq!(torn_record_revived(Faults::default()), None);
    let caught = torn_record_revived(Faults {
        torn_tail_kept: true,
        ..Faults::default()
    });
    println!("caught: {}", caught.expect("the seeded bug is caught"));
}

/// Power is lost while a checkpoint writes its superblock: one word of it is missing. The next process goes on from the
/// other superblock, uses the space of the catalog that nobody names, and makes a checkpoint of its own; power is lost
/// again when only a single word of its superblock has arrived.
fn torn_superblock_revived(faults: Faults) -> Option<String> {
    let media = Arc::new(SimMedia::default());
    let open = |media: &Arc<SimMedia>| {
        Shelf::open_media(Arc::clone(media) as Arc<dyn Media>, &options(faults, 0)).expect("open")
    };
    let shelf = open(&media);
    shelf.put("x", "bytes", b"", &[&[1; 5000]]).expect("put");
    shelf.commit(None).expect("commit");
    let first = digest(&shelf);
    let before = media.image();
    shelf.checkpoint().expect("checkpoint");
    drop(shelf);
    let after = media.image();
    let slot = if before[..512] == after[..512] { 4096 } else { 0 };
    for word in (slot..slot + 512).step_by(8) {
        let missing = word..word + 8;
        if before[missing.clone()] == after[missing.clone()] {
            continue;
        }
        let mut torn = after.clone();
        torn[missing.clone()].copy_from_slice(&before[missing.clone()]);
        let again = Arc::new(SimMedia::new(torn));
        let shelf = open(&again);
        let mut legal = Digests::from([(1, first)]);
        for round in 0..3u8 {
            // Soon one of these lies where the lost catalog was.
            shelf
                .put(&format!("z{round}"), "bytes", b"", &[&[9; 3000]])
                .expect("put");
            let id = shelf.commit(None).expect("commit").id;
            legal.insert(id, digest(&shelf));
        }
        let events = again.trace_len();
        shelf.checkpoint().expect("checkpoint");
        for crash in again.recording().crashes().filter(|crash| crash.at > events) {
            for event in crash.pending {
                let Event::Write { at, bytes } = event else { continue };
                let range = *at as usize..*at as usize + bytes.len();
                if !range.contains(&missing.start) {
                    continue;
                }
                let mut image = crash.durable.clone();
                image[missing.clone()].copy_from_slice(&bytes[missing.start - range.start..][..8]);
                let mut suite = Suite::new(faults);
                suite.judge(
                    &image,
                    Some(4),
                    &legal,
                    &format!("word {:#x} of the torn superblock", word - slot),
                );
                if suite.violation.is_some() {
                    return suite.violation;
                }
            }
        }
    }
    None
}

#[test]
#[cfg_attr(miri, ignore = "too many states for an interpreter")]
fn a_torn_superblock_does_not_come_back_when_the_next_one_is_torn_too() {
    assert_eq!(torn_superblock_revived(Faults::default()), None);
    let caught = torn_superblock_revived(Faults {
        torn_superblock_kept: true,
        ..Faults::default()
    });
    println!("caught: {}", caught.expect("the seeded bug is caught"));
}
