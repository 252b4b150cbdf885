//! Opens any bytes: random ones, damaged shelves, and damaged shelves whose checksums were made right again, so that
//! the damage reaches the decoders behind them.
//!
//! Whatever the bytes: no panic, no write, no memory beyond what the file could fill, and every listed name answers.
//! `LARDER_FUZZ_CASES=1000000` for more cases, `LARDER_FUZZ_SEED` for other ones; a failure names its seed.

use larder_shelf::format::{self, HEAP_START, PAGE, RecordHeader, Slot, Superblock, crc};
use larder_shelf::media::Media;
use larder_shelf::media::sim::{Random, SimMedia};
use larder_shelf::{OpenOptions, Shelf};
use std::sync::Arc;

fn options() -> OpenOptions {
    OpenOptions {
        log_bytes: 16 << 10,
        ..OpenOptions::default()
    }
}

/// Shelves in different states: closed, with a log, with history, with split buffers.
fn samples() -> Vec<Vec<u8>> {
    let build = |history: u32, close: bool| {
        let media = Arc::new(SimMedia::default());
        let options = OpenOptions {
            history: Some(history),
            ..options()
        };
        let shelf = Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options).expect("open");
        shelf.put("a", "bytes", b"meta", &[&[1; 9000], &[2; 10]]).expect("put");
        shelf.put("größe", "none", b"", &[]).expect("put");
        shelf.commit(Some("first")).expect("commit");
        let a = shelf.get("a").expect("get").expect("a").buffers.remove(0);
        a.make_writable().expect("writable");
        for round in 0..3u8 {
            // SAFETY: in bounds of a live buffer nobody else uses.
            unsafe { *a.as_ptr().add(usize::from(round) * 4000) = 7 };
            shelf.commit(None).expect("commit");
        }
        shelf.remove("größe").expect("remove");
        shelf.commit(None).expect("commit");
        if close {
            shelf.close().expect("close");
        }
        media.image()
    };
    vec![build(0, true), build(0, false), build(4, true), build(4, false)]
}

/// Makes the checksums of superblocks, snapshot and log records fit their content again, as far as they can be found.
fn mend(image: &mut [u8]) {
    for slot in [0, PAGE as usize] {
        if image.len() < slot + PAGE as usize || !image[slot..].starts_with(&format::MAGIC) {
            continue;
        }
        let place =
            |at: usize| u64::from_le_bytes(image[slot + at..slot + at + 8].try_into().expect("8 bytes")) as usize;
        let (at, len) = (place(64), place(72));
        if let Some(snapshot) = at.checked_add(len).and_then(|end| image.get(at..end)) {
            let sum = crc(snapshot).to_le_bytes();
            image[slot + 80..slot + 84].copy_from_slice(&sum);
        }
        let sum = crc(&image[slot..slot + 508]).to_le_bytes();
        image[slot + 508..slot + 512].copy_from_slice(&sum);
        let Slot::Valid(root) = Superblock::decode(&image[slot..slot + PAGE as usize]) else {
            continue;
        };
        let (mut at, mut before) = (root.log_at as usize, root.salt as u32);
        while let Some(record) = image
            .get_mut(at..)
            .filter(|r| r.len() > format::RECORD_HEADER && r.starts_with(b"LREC"))
        {
            let size =
                |at: usize, record: &[u8]| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes")) as usize;
            let body =
                format::RECORD_HEADER..format::RECORD_HEADER + size(40, record) + size(44, record) * format::PAGE_REF;
            let Some(sum) = record.get(body).map(crc) else { break };
            record[48..52].copy_from_slice(&sum.to_le_bytes());
            record[52..56].copy_from_slice(&before.to_le_bytes());
            let sum = crc(&record[..64]);
            record[64..68].copy_from_slice(&sum.to_le_bytes());
            before = sum;
            let Some((header, _)) = RecordHeader::decode(record) else {
                break;
            };
            at += header.span() as usize;
        }
    }
}

fn mutate(image: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        // Mostly where the structures are: superblocks, log, and snapshots near the end.
        let span = image.len() as u64;
        let at = match random.below(4) {
            0 => random.below(512) + PAGE * random.below(2),
            1 => HEAP_START + random.below(2000),
            2 => span - 1 - random.below(span.min(5 * PAGE)),
            _ => random.below(span),
        } as usize;
        if at >= image.len() {
            continue;
        }
        match random.below(5) {
            0 => image[at] ^= 1 << random.below(8),
            1 => image[at] = [0, 1, 0x7f, 0xff][random.below(4) as usize],
            2 => {
                let end = (at + 8).min(image.len());
                let value = [0, 1, u64::MAX, u64::MAX / 2, 1 << 40, 4096][random.below(6) as usize];
                image[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            3 => {
                let from = random.below(image.len() as u64 - 16) as usize;
                let end = (at + 16).min(image.len());
                image.copy_within(from..from + (end - at), at);
            }
            _ if random.below(8) == 0 => image.truncate(at.max(32)),
            _ => image[at] = image[at].wrapping_add(1),
        }
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(otherwise)
}

fn try_one(image: Vec<u8>) -> bool {
    let media = Arc::new(SimMedia::new(image.clone()));
    let Ok(shelf) = Shelf::open_media(Arc::clone(&media) as Arc<dyn Media>, &options()) else {
        assert!(media.image() == image, "a refused file was written to");
        return false;
    };
    for name in shelf.names() {
        let _ = shelf
            .get(&name)
            .map(|entry| entry.map(|e| e.buffers.iter().map(|b| b.to_vec().len()).sum::<usize>()));
    }
    let _ = shelf.verify(&mut |_, _| {});
    let _ = (shelf.log(), shelf.inspect(), shelf.stats());
    let _ = shelf.oldest().map(|id| shelf.diff(id, None));
    assert!(media.image() == image, "reading wrote something");
    // Going on must not panic either, nor damage what was readable.
    if shelf.put("new", "bytes", b"", &[&[5; 5000]]).is_ok() && shelf.commit(None).is_ok() {
        let _ = shelf.close();
    }
    true
}

#[test]
#[cfg_attr(miri, ignore = "too many cases for an interpreter")]
fn any_bytes_can_be_opened_or_are_refused() {
    let (cases, first) = (number("LARDER_FUZZ_CASES", 20_000), number("LARDER_FUZZ_SEED", 1));
    let samples = samples();
    let mut opened = 0;
    for seed in first..first + cases {
        let mut random = Random(seed);
        let mut image = samples[random.below(samples.len() as u64) as usize].clone();
        if random.below(50) == 0 {
            image = (0..random.below(30_000)).map(|_| random.roll() as u8).collect();
        } else {
            mutate(&mut image, &mut random);
            if random.below(4) != 0 {
                mend(&mut image);
            }
        }
        if image.is_empty() {
            continue; // an empty medium is formatted
        }
        let outcome = std::panic::catch_unwind(|| try_one(image));
        opened += u64::from(outcome.unwrap_or_else(|_| panic!("LARDER_FUZZ_SEED={seed} LARDER_FUZZ_CASES=1")));
    }
    assert!(
        opened * 20 > cases || cases < 1000,
        "only {opened} of {cases} opened: the fuzzer does not get in"
    );
}
