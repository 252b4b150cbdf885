//! A medium in memory that remembers every call, and can say what a crash might have left.
//!
//! Between two syncs every written unit (8-byte words or 512-byte sectors), and every length change, may be on the
//! medium or not, each on its own: [`Crash`] enumerates such images. When there are few they are all taken; when there
//! are many: none, all, prefixes, all but one, and random subsets from a seed.
//!
//! It can also fail: the n-th call of a kind with a given errno.

use super::{Media, Medium};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

#[derive(Debug, Clone)]
pub enum Event {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    Sync,
    /// The caller told somebody that this commit is durable (or showed it).
    Ack(u64),
}

/// Which call to fail: counted over all fallible calls of that kind from when the fault was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Write,
    Sync,
    SetLen,
    Read,
    /// Any of write, sync and set-length.
    Change,
}

#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub call: Call,
    /// How many such calls still succeed.
    pub after: u64,
    pub errno: i32,
    /// Later calls of the kind fail too (a full disk), or only this one.
    pub sticky: bool,
}

#[derive(Default)]
struct Inner {
    base: Vec<u8>,
    live: Vec<u8>,
    trace: Vec<Event>,
    failure: Option<Failure>,
    failed: u64,
}

#[derive(Default)]
pub struct SimMedia {
    inner: Mutex<Inner>,
}

impl SimMedia {
    /// A medium whose durable content is `image`.
    pub fn new(image: Vec<u8>) -> SimMedia {
        SimMedia {
            inner: Mutex::new(Inner {
                live: image.clone(),
                base: image,
                ..Inner::default()
            }),
        }
    }

    /// A medium after a process crash: `pending` was written but never flushed.
    pub fn with_pending(image: Vec<u8>, pending: &[Event]) -> SimMedia {
        let media = SimMedia::new(image);
        {
            let mut inner = media.inner.lock();
            for event in pending {
                apply(&mut inner.live, event);
                inner.trace.push(event.clone());
            }
        }
        media
    }

    pub fn ack(&self, commit: u64) {
        self.inner.lock().trace.push(Event::Ack(commit));
    }

    pub fn fail(&self, failure: Option<Failure>) {
        self.inner.lock().failure = failure;
    }

    /// How many calls have failed so far.
    pub fn failed(&self) -> u64 {
        self.inner.lock().failed
    }

    /// The content a process sees now.
    pub fn image(&self) -> Vec<u8> {
        self.inner.lock().live.clone()
    }

    pub fn trace_len(&self) -> usize {
        self.inner.lock().trace.len()
    }

    /// Everything needed to crash it.
    pub fn recording(&self) -> Recording {
        let inner = self.inner.lock();
        Recording {
            base: inner.base.clone(),
            trace: inner.trace.clone(),
        }
    }

    fn step(inner: &mut Inner, call: Call) -> io::Result<()> {
        let Some(failure) = &mut inner.failure else {
            return Ok(());
        };
        if failure.call != call && !(failure.call == Call::Change && call != Call::Read) {
            return Ok(());
        }
        if failure.after > 0 {
            failure.after -= 1;
            return Ok(());
        }
        let errno = failure.errno;
        inner.failed += 1;
        if !failure.sticky {
            inner.failure = None;
        }
        Err(io::Error::from_raw_os_error(errno))
    }

    fn change(&self, call: Call, event: Event) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Err(error) = SimMedia::step(&mut inner, call) {
            // A failed write may have written its first half.
            if let Event::Write { at, bytes } = event {
                let half = Event::Write {
                    at,
                    bytes: bytes[..bytes.len() / 2].to_vec(),
                };
                apply(&mut inner.live, &half);
                inner.trace.push(half);
            }
            return Err(error);
        }
        apply(&mut inner.live, &event);
        inner.trace.push(event);
        Ok(())
    }
}

impl Media for SimMedia {
    fn medium(&self) -> Medium {
        Medium::Simulated
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.lock().live.len() as u64)
    }
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner.lock();
        SimMedia::step(&mut inner, Call::Read)?;
        let from = inner
            .live
            .get(at as usize..at as usize + into.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(from);
        Ok(())
    }
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(
            Call::Write,
            Event::Write {
                at,
                bytes: bytes.to_vec(),
            },
        )
    }
    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.change(
            Call::Write,
            Event::Write {
                at,
                bytes: vec![0; len as usize],
            },
        )
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Call::SetLen, Event::SetLen(len))
    }
    fn sync(&self) -> io::Result<()> {
        self.change(Call::Sync, Event::Sync)
    }
}

fn apply(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { at, bytes } => {
            let end = *at as usize + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at as usize..end].copy_from_slice(bytes);
        }
        Event::SetLen(len) => image.resize(*len as usize, 0),
        Event::Sync | Event::Ack(_) => {}
    }
}

/// Content before, and every call since.
pub struct Recording {
    pub base: Vec<u8>,
    pub trace: Vec<Event>,
}

impl Recording {
    /// Crash points in order: after each event. Walks the trace once.
    pub fn crashes(&self) -> impl Iterator<Item = Crash<'_>> {
        let (mut durable, mut from, mut acked) = (self.base.clone(), 0, None);
        (0..=self.trace.len()).map(move |at| {
            if at > 0 {
                match &self.trace[at - 1] {
                    Event::Sync => {
                        for event in &self.trace[from..at] {
                            apply(&mut durable, event);
                        }
                        from = at;
                    }
                    Event::Ack(commit) => acked = Some(*commit),
                    _ => {}
                }
            }
            Crash {
                at,
                durable: durable.clone(),
                pending: &self.trace[from..at],
                acked,
            }
        })
    }
}

/// One moment of power loss.
pub struct Crash<'a> {
    pub at: usize,
    /// What certainly is on the medium.
    pub durable: Vec<u8>,
    /// What may be, in any part.
    pub pending: &'a [Event],
    pub acked: Option<u64>,
}

/// Which part of the pending changes reached the medium.
struct Choice {
    /// Per unit: how many of the writes that cover it arrived.
    versions: Vec<u32>,
    length: usize,
}

impl Crash<'_> {
    /// Calls `check` with possible images, `budget` or fewer per unit size unless all of them are few.
    ///
    /// Returns how many images were shown.
    pub fn images(&self, budget: usize, seed: u64, check: &mut dyn FnMut(&[u8], &str)) -> usize {
        let mut shown = 0;
        for unit in [8usize, 512] {
            shown += self.images_of(unit, budget, seed ^ unit as u64, check);
            if self.pending.iter().all(|e| matches!(e, Event::Sync | Event::Ack(_))) {
                break; // one image, whatever the unit
            }
        }
        shown
    }

    fn images_of(&self, unit: usize, budget: usize, seed: u64, check: &mut dyn FnMut(&[u8], &str)) -> usize {
        let mut covers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut lengths = vec![self.durable.len()];
        for (index, event) in self.pending.iter().enumerate() {
            match event {
                Event::Write { at, bytes } if !bytes.is_empty() => {
                    let end = *at as usize + bytes.len();
                    for slot in *at as usize / unit..end.div_ceil(unit) {
                        covers.entry(slot).or_default().push(index);
                    }
                    let last = *lengths.last().expect("never empty");
                    if end > last {
                        lengths.push(end);
                    }
                }
                Event::SetLen(len) => lengths.push(*len as usize),
                _ => {}
            }
        }
        let units: Vec<(usize, Vec<usize>)> = covers.into_iter().collect();
        let most: Vec<u32> = units.iter().map(|(_, writes)| writes.len() as u32).collect();
        let (all_lengths, last) = (lengths.len(), lengths.len() - 1);
        let combinations = most
            .iter()
            .try_fold(all_lengths as u64, |n, m| n.checked_mul(u64::from(*m) + 1));
        let mut shown = 0;
        let mut show = |choice: &Choice, what: &str| {
            check(&self.build(unit, &units, choice, &lengths), what);
            shown += 1;
        };
        if combinations.is_some_and(|n| n <= budget as u64) {
            let mut choice = Choice {
                versions: vec![0; units.len()],
                length: 0,
            };
            loop {
                show(&choice, "exhaustive");
                // Count up in mixed radix; the length is the last digit.
                let Some(index) = (0..units.len()).find(|i| choice.versions[*i] < most[*i]) else {
                    choice.versions.fill(0);
                    choice.length += 1;
                    if choice.length == all_lengths {
                        return shown;
                    }
                    continue;
                };
                choice.versions[index] += 1;
                choice.versions[..index].fill(0);
            }
        }
        let mut random = Random(seed ^ (self.at as u64).wrapping_mul(0x9E37_79B9));
        show(
            &Choice {
                versions: vec![0; units.len()],
                length: 0,
            },
            "none",
        );
        show(
            &Choice {
                versions: vec![0; units.len()],
                length: last,
            },
            "length only",
        );
        show(
            &Choice {
                versions: most.clone(),
                length: last,
            },
            "all",
        );
        show(
            &Choice {
                versions: most.clone(),
                length: 0,
            },
            "all but the length",
        );
        let each = budget / 4 + 1;
        for _ in 0..each {
            // The first writes whole, one torn in its middle, nothing after.
            let cut = random.below(self.pending.len() as u64 + 1) as usize;
            let torn = random.below(units.len() as u64 + 1) as usize;
            let versions = units.iter().enumerate().map(|(index, (_, writes))| {
                writes
                    .iter()
                    .filter(|w| **w < cut || **w == cut && index < torn)
                    .count() as u32
            });
            show(
                &Choice {
                    versions: versions.collect(),
                    length: random.below(all_lengths as u64) as usize,
                },
                "prefix",
            );
        }
        // Only lengths changed: no unit can be missing.
        let missing_ones = if most.is_empty() { 0 } else { each };
        for _ in 0..missing_ones {
            let mut versions = most.clone();
            let missing = random.below(units.len() as u64) as usize;
            versions[missing] = random.below(u64::from(most[missing])) as u32;
            show(&Choice { versions, length: last }, "one missing");
        }
        for _ in 0..each {
            let chance = [10, 50, 90][random.below(3) as usize];
            let versions = most.iter().map(|m| {
                if random.below(100) < chance {
                    *m
                } else {
                    random.below(u64::from(*m) + 1) as u32
                }
            });
            let versions = versions.collect();
            show(
                &Choice {
                    versions,
                    length: random.below(all_lengths as u64) as usize,
                },
                "random",
            );
        }
        shown
    }

    fn build(&self, unit: usize, units: &[(usize, Vec<usize>)], choice: &Choice, lengths: &[usize]) -> Vec<u8> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut image = self.durable.clone();
        image.resize(longest.max(image.len()), 0);
        for ((slot, writes), version) in units.iter().zip(&choice.versions) {
            for index in &writes[..*version as usize] {
                let Event::Write { at, bytes } = &self.pending[*index] else {
                    continue;
                };
                let part = overlap(slot * unit..(slot + 1) * unit, *at as usize..*at as usize + bytes.len());
                image[part.clone()].copy_from_slice(&bytes[part.start - *at as usize..part.end - *at as usize]);
            }
        }
        image.truncate(lengths[choice.length]);
        image
    }
}

fn overlap(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Small generator, so that a seed replays anywhere.
pub struct Random(pub u64);

impl Random {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.roll() % n }
    }
}
