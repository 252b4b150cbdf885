//! The active trace: a thread that watches words and accessed bits while a cell runs, without the interpreter's lock.
//!
//! Words (reference counts with their type beside them) are read through `read`, which must answer "gone" for memory that
//! is not there instead of touching it. Accessed bits come in epochs: `clear_refs`, wait, smaps `Referenced` per mapping.
//! Both slow themselves down to stay under the share of a core they are given.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Two words at an address, or `None` when they cannot be read.
pub type ReadPairs = fn(&[usize], &mut Vec<Option<[u64; 2]>>);

#[derive(Debug, Clone)]
pub struct Plan {
    /// Objects whose first word is a reference count.
    pub objects: Vec<usize>,
    /// Buffers, as page-aligned ranges that are mappings of their own.
    pub ranges: Vec<(u64, u64)>,
    pub interval: Duration,
    pub epoch: Duration,
    /// Share of one core, `0..1`.
    pub cpu_max: f64,
}

/// What a run of the sampler saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Per object: samples in which its count had changed or stood above its rest.
    pub touches: Vec<u64>,
    /// Samples taken.
    pub looks: u64,
    /// Per range: bytes accessed, summed over epochs.
    pub accessed: Vec<u64>,
    /// Per range: epochs with any access.
    pub hot_epochs: Vec<u64>,
    pub epochs: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Why accessed bits were not read, if so.
    pub refused: Option<String>,
}

pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

const REST_SAMPLES: u32 = 1000;

impl Sampler {
    /// # Errors
    /// When no thread can be started.
    pub fn start(plan: Plan, read: ReadPairs) -> io::Result<Sampler> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("larder-heat".into())
            .spawn(move || run(&plan, read, &told))?;
        Ok(Sampler {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the thread and takes what it saw.
    pub fn stop(&mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Seen::default();
        };
        thread.thread().unpark();
        thread.join().unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(plan: &Plan, read: ReadPairs, stop: &AtomicBool) -> Seen {
    let mut seen = Seen {
        touches: vec![0; plan.objects.len()],
        accessed: vec![0; plan.ranges.len()],
        hot_epochs: vec![0; plan.ranges.len()],
        ..Seen::default()
    };
    let mut pairs = Vec::new();
    read(&plan.objects, &mut pairs);
    let first: Vec<Option<[u64; 2]>> = pairs.clone();
    let mut last: Vec<u64> = first.iter().map(|pair| pair.map_or(0, |p| p[0])).collect();
    let mut rest = last.clone();
    let mut same = vec![0u32; last.len()];
    let mut gone: Vec<bool> = first.iter().map(Option::is_none).collect();
    let began = Instant::now();
    let cpu_began = cpu_seconds();
    let bits = !plan.ranges.is_empty();
    let mut wait = plan.interval;
    let mut epoch = plan.epoch;
    let mut epoch_began = Instant::now();
    if bits {
        clear(&mut seen.refused);
    }
    while !stop.load(Ordering::Relaxed) {
        if plan.objects.is_empty() {
            std::thread::park_timeout(
                epoch
                    .saturating_sub(epoch_began.elapsed())
                    .max(Duration::from_millis(1)),
            );
        } else {
            std::thread::park_timeout(wait);
            let cost = cpu_seconds();
            read(&plan.objects, &mut pairs);
            seen.looks += 1;
            for (at, pair) in pairs.iter().enumerate() {
                let Some([count, class]) = *pair else {
                    gone[at] = true;
                    continue;
                };
                // Another type at this address: the object is gone and its memory serves something else.
                if gone[at] || first[at].is_some_and(|f| f[1] != class) {
                    gone[at] = true;
                    continue;
                }
                seen.touches[at] += u64::from(count != last[at] || count > rest[at]);
                same[at] = if count == last[at] {
                    same[at].saturating_add(1)
                } else {
                    0
                };
                if same[at] > REST_SAMPLES || count < rest[at] {
                    rest[at] = count; // a new alias, or one less
                }
                last[at] = count;
            }
            let cost = cpu_seconds() - cost;
            wait = plan
                .interval
                .max(Duration::from_secs_f64((2.0 * cost / plan.cpu_max).min(1.0)));
        }
        if bits && seen.refused.is_none() && epoch_began.elapsed() >= epoch {
            let cost = cpu_seconds();
            collect(plan, &mut seen);
            clear(&mut seen.refused);
            let cost = cpu_seconds() - cost;
            epoch = plan
                .epoch
                .max(Duration::from_secs_f64((2.0 * cost / plan.cpu_max).min(10.0)));
            epoch_began = Instant::now();
        }
    }
    // The last epoch counts when it is not a splinter; a cell shorter than one epoch has just this one.
    if bits && seen.refused.is_none() && (seen.epochs == 0 || epoch_began.elapsed() * 2 >= epoch) {
        collect(plan, &mut seen);
    }
    seen.seconds = began.elapsed().as_secs_f64();
    seen.cpu_seconds = cpu_seconds() - cpu_began;
    seen
}

fn clear(refused: &mut Option<String>) {
    if let Err(error) = fs::write("/proc/self/clear_refs", "1") {
        *refused = Some(format!("/proc/self/clear_refs: {error}"));
    }
}

fn collect(plan: &Plan, seen: &mut Seen) {
    match referenced() {
        Ok(mappings) => {
            seen.epochs += 1;
            for (at, range) in plan.ranges.iter().enumerate() {
                let from = mappings.partition_point(|mapping| mapping.0 < range.0);
                let inside = mappings[from..].iter().take_while(|mapping| mapping.1 <= range.1);
                let bytes: u64 = inside.map(|mapping| mapping.2).sum();
                seen.accessed[at] += bytes;
                seen.hot_epochs[at] += u64::from(bytes > 0);
            }
        }
        Err(error) => seen.refused = Some(format!("/proc/self/smaps: {error}")),
    }
}

/// `(start, end, accessed bytes)` of every mapping since the bits were last cleared.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read.
pub fn referenced() -> io::Result<Vec<(u64, u64, u64)>> {
    let text = fs::read("/proc/self/smaps")?;
    let mut out: Vec<(u64, u64, u64)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"Referenced:") {
            let kib: u64 = String::from_utf8_lossy(rest)
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            if let Some(mapping) = out.last_mut() {
                mapping.2 = kib * 1024;
            }
        } else if line
            .first()
            .is_some_and(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
        {
            let head = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
            let range = head
                .split(' ')
                .next()
                .and_then(|word| word.split_once('-'))
                .and_then(|(start, end)| {
                    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
                });
            out.extend(range.map(|(start, end)| (start, end, 0)));
        }
    }
    Ok(out)
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec of ours to fill.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
