//! Measures the engine beside a plain `pwrite` + `fdatasync` of the same bytes, interleaved, on the same file system.
//!
//! `cargo run --release -p larder-shelf --example bench_engine [DIRECTORY]`: a Markdown table of p50s and ratios.

use larder_shelf::{OpenOptions, Shelf};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

fn main() {
    let base = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let dir = tempfile::Builder::new()
        .prefix("larder-bench")
        .tempdir_in(base)
        .expect("scratch directory");
    let mut out = std::io::stdout();
    let mut row = |name: &str, ours: f64, floor: Option<f64>, note: String| {
        let (f, ratio) = floor.map_or(("-".into(), "-".into()), |f| {
            (format!("{f:.3}"), format!("{:.2}", ours / f))
        });
        writeln!(out, "| {name} | {ours:.3} | {f} | {ratio} | {note} |").expect("stdout");
    };
    row(
        "p50, ms (each row interleaved with its floor)",
        0.0,
        None,
        "columns: shelf, floor, shelf/floor, note".into(),
    );
    small(dir.path(), &mut row);
    put(dir.path(), &mut row);
    element(dir.path(), &mut row);
    many(dir.path(), &mut row);
    reopen(dir.path(), &mut row);
}

type Row<'a> = dyn FnMut(&str, f64, Option<f64>, String) + 'a;

fn ms(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

fn p50(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn shelf(dir: &Path, name: &str) -> Shelf {
    Shelf::open(&dir.join(name), &OpenOptions::default()).expect("open")
}

fn small(dir: &Path, row: &mut Row) {
    let shelf = shelf(dir, "small.shelf");
    let floor = File::create_new(dir.join("small.floor")).expect("file");
    floor.write_all_at(&vec![0; 1 << 20], 0).expect("write");
    floor.sync_all().expect("sync");
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..1000u64 {
        ours.push(ms(|| {
            shelf.put("x", "bytes", &[round as u8; 200], &[]).expect("put");
            shelf.commit(None).expect("commit");
        }));
        theirs.push(ms(|| {
            floor.write_all_at(&[round as u8; 200], round * 200).expect("write");
            floor.sync_data().expect("sync");
        }));
    }
    row(
        "durable 200 B commit",
        p50(ours),
        Some(p50(theirs)),
        "target ratio <= 1.3".into(),
    );
}

fn put(dir: &Path, row: &mut Row) {
    let data = vec![3u8; 256 << 20];
    let shelf = shelf(dir, "put.shelf");
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..7 {
        let place = dir.join(format!("put.floor{round}"));
        let floor = File::create_new(&place).expect("file");
        theirs.push(ms(|| {
            for (index, part) in data.chunks(8 << 20).enumerate() {
                floor.write_all_at(part, index as u64 * (8 << 20)).expect("write");
            }
            floor.sync_data().expect("sync");
        }));
        drop(floor);
        std::fs::remove_file(place).expect("remove");
        ours.push(ms(|| {
            shelf.put(&format!("x{round}"), "bytes", b"", &[&data]).expect("put");
            shelf.commit(None).expect("commit");
        }));
    }
    let (o, t) = (p50(ours), p50(theirs));
    row(
        "put 256 MiB",
        o,
        Some(t),
        format!(
            "{:.2} GB/s, target >= 0.9x the floor's {:.2}",
            0.268 / o * 1e3,
            0.268 / t * 1e3
        ),
    );
}

fn element(dir: &Path, row: &mut Row) {
    let shelf = shelf(dir, "element.shelf");
    shelf.put("x", "bytes", b"", &[&vec![1u8; 256 << 20]]).expect("put");
    shelf.commit(None).expect("commit");
    let x = shelf.get("x").expect("get").expect("x").buffers.remove(0);
    x.make_writable().expect("writable");
    let (mut times, mut bytes) = (vec![], vec![]);
    for round in 0..400u64 {
        times.push(ms(|| {
            // SAFETY: the place is reduced to the buffer's length; nobody else uses it.
            unsafe {
                *x.as_ptr()
                    .add((round.wrapping_mul(0x9E37_79B9_7F4A_7C15) % x.len()) as usize) = round as u8
            };
            bytes.push(shelf.commit(None).expect("commit").bytes_written as f64);
        }));
    }
    let note = format!(
        "p50 {} B written, mean {} B with checkpoints, tracker {}; target <= 0.8 ms, <= 16384 B",
        p50(bytes.clone()),
        (bytes.iter().sum::<f64>() / bytes.len() as f64).round(),
        shelf.tracker().name()
    );
    row("one element of 256 MiB, durable", p50(times), None, note);
    let mut times = vec![];
    for round in 0..5u8 {
        times.push(ms(|| {
            // SAFETY: fills exactly the buffer; nobody else uses it.
            unsafe { std::ptr::write_bytes(x.as_ptr(), round, x.len() as usize) };
            shelf.commit(None).expect("commit");
        }));
    }
    row(
        "all of 256 MiB in place, durable",
        p50(times),
        None,
        "includes the stores themselves".into(),
    );
}

fn many(dir: &Path, row: &mut Row) {
    let shelf = shelf(dir, "many.shelf");
    let (mut inline, mut extents) = (vec![], vec![]);
    let names: Vec<String> = (0..1000).map(|n| format!("name{n}")).collect();
    for round in 0..15u8 {
        inline.push(ms(|| {
            names
                .iter()
                .for_each(|name| shelf.put(name, "bytes", &[round; 200], &[]).expect("put"));
            shelf.commit(None).expect("commit");
        }));
    }
    for round in 0..15u8 {
        extents.push(ms(|| {
            names
                .iter()
                .for_each(|name| shelf.put(name, "bytes", b"", &[&[round; 200]]).expect("put"));
            shelf.commit(None).expect("commit");
        }));
    }
    row(
        "1,000 puts of 200 B inline, one commit",
        p50(inline),
        None,
        "target <= 2 ms".into(),
    );
    row(
        "1,000 puts of 200 B as buffers, one commit",
        p50(extents),
        None,
        String::new(),
    );
}

fn reopen(dir: &Path, row: &mut Row) {
    let (mut first, mut all, mut closes) = (vec![], vec![], vec![]);
    for _ in 0..15 {
        let path = dir.join("element.shelf");
        let mut held = None;
        first.push(ms(|| {
            let shelf = Shelf::open(&path, &OpenOptions::default()).expect("open");
            let x = shelf.get("x").expect("get").expect("x").buffers.remove(0);
            // SAFETY: one byte of a live buffer.
            std::hint::black_box(unsafe { x.as_ptr().read_volatile() });
            held = Some(shelf);
        }));
        closes.push(ms(|| held.take().expect("open").close().expect("close")));
        all.push(ms(|| {
            let shelf = Shelf::open(&dir.join("many.shelf"), &OpenOptions::default()).expect("open");
            for name in shelf.names() {
                std::hint::black_box(shelf.get(&name).expect("get"));
            }
            shelf.close().expect("close");
        }));
    }
    row(
        "open + first value of a 256 MiB array",
        p50(first),
        None,
        "same process, warm; target <= 1 ms".into(),
    );
    row(
        "open + 1,000 names with buffers + close",
        p50(all),
        None,
        "target <= 3 ms".into(),
    );
    row("close without changes", p50(closes), None, String::new());
}
