//! Accessed bits in epochs: `clear_refs`, wait, smaps `Referenced` per mapping.
//!
//! An epoch is as long as it must be for neither the sampler nor the watched code, whose pages fault once after each clearing,
//! to spend more on it than they may.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Plan, Seen};

/// Share of the sampler's allowance that goes to accessed bits.
const BITS_SHARE: f64 = 0.15;
/// What a cleared bit costs the watched code when it touches the page again (620 to 830 cycles on a virtual machine, where
/// two page tables are walked), and the share of its time that may go there: large working sets get long epochs.
const TOUCH_COST_S: f64 = 0.3e-6;
const TOUCH_SHARE: f64 = 0.005;
const EPOCH_MAX: Duration = Duration::from_secs(10);

/// Accessed bits in epochs: cleared, left alone for a while, read.
pub(super) struct Epochs {
    /// When the bits were cleared, in this run.
    cleared: Option<Instant>,
    began: Instant,
    /// Running time between the last clearing and this run.
    idle_s: f64,
    touched_pages: u64,
    /// What the last reading and clearing cost the sampler.
    pub(super) cost_s: f64,
    epoch: Duration,
    cpu_max: f64,
}

impl Epochs {
    pub(super) fn new(plan: &Plan) -> Epochs {
        let (touched_pages, idle_s) = plan.before.unwrap_or((0, f64::MAX));
        Epochs {
            cleared: None,
            began: Instant::now(),
            idle_s,
            touched_pages,
            cost_s: 0.0,
            epoch: plan.epoch,
            cpu_max: plan.cpu_max,
        }
    }

    /// How long an epoch has to be, so that neither the sampler nor the watched code spends more on it than it may.
    fn length(&self) -> Duration {
        let ours = self.cost_s / (BITS_SHARE * self.cpu_max);
        let theirs = self.touched_pages as f64 * TOUCH_COST_S / TOUCH_SHARE;
        self.epoch
            .max(Duration::from_secs_f64(ours.max(theirs).min(EPOCH_MAX.as_secs_f64())))
    }

    /// Until the next thing to do.
    pub(super) fn left(&self) -> Duration {
        match self.cleared {
            Some(cleared) => self.length().saturating_sub(cleared.elapsed()),
            // Short cells share a clearing: the first waits until enough running time has passed since the last one.
            None if self.touched_pages as f64 * TOUCH_COST_S <= TOUCH_SHARE * self.idle_s => Duration::ZERO,
            None => self
                .length()
                .saturating_sub(Duration::from_secs_f64(self.idle_s))
                .saturating_sub(self.began.elapsed()),
        }
    }

    /// Ends the epoch in progress, if any, and begins the next.
    pub(super) fn turn(&mut self, plan: &Plan, seen: &mut Seen, late: &AtomicBool) {
        if self.cleared.is_some() {
            self.touched_pages = collect(&plan.ranges, seen, late).unwrap_or(self.touched_pages);
        }
        clear(&mut seen.refused);
        self.cleared = Some(Instant::now());
    }

    /// The last epoch counts when it is not a splinter; a cell shorter than one epoch has just this one.
    pub(super) fn end(&mut self, plan: &Plan, seen: &mut Seen, late: &AtomicBool) {
        if let Some(cleared) = self.cleared
            && (seen.epochs == 0 || cleared.elapsed() * 2 >= self.length())
        {
            self.touched_pages = collect(&plan.ranges, seen, late).unwrap_or(self.touched_pages);
        }
        seen.touched_pages = self.touched_pages;
        seen.since_clear_s = match self.cleared {
            Some(cleared) => cleared.elapsed().as_secs_f64(),
            None => self.idle_s + self.began.elapsed().as_secs_f64(),
        };
    }
}

fn clear(refused: &mut Option<String>) {
    if let Err(error) = fs::write("/proc/self/clear_refs", "1") {
        *refused = Some(format!("/proc/self/clear_refs: {error}"));
    }
}

/// Adds what was accessed since the bits were cleared; the pages that were, of the whole process. Nothing if it is late now:
/// this thread may have waited for a core since it was not, or while it read.
fn collect(ranges: &[(u64, u64)], seen: &mut Seen, late: &AtomicBool) -> Option<u64> {
    let found = referenced();
    if late.load(Ordering::SeqCst) {
        return None;
    }
    match found {
        Ok(mappings) => {
            seen.epochs += 1;
            for (at, range) in ranges.iter().enumerate() {
                let from = mappings.partition_point(|mapping| mapping.start < range.0);
                let inside = mappings[from..].iter().take_while(|mapping| mapping.end <= range.1);
                let bytes: u64 = inside.map(|mapping| mapping.accessed_bytes).sum();
                seen.accessed[at] += bytes;
                seen.hot_epochs[at] += u64::from(bytes > 0);
            }
            Some(mappings.iter().map(Mapping::accessed_pages).sum())
        }
        Err(error) => {
            seen.refused = Some(format!("/proc/self/smaps: {error}"));
            None
        }
    }
}

/// One mapping as smaps tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Since the bits were cleared.
    pub accessed_bytes: u64,
    /// Mapped by huge page table entries.
    pub huge_bytes: u64,
}

impl Mapping {
    /// Page table entries with an accessed bit, at least: huge ones are taken to be accessed first.
    fn accessed_pages(&self) -> u64 {
        let huge = self.accessed_bytes.min(self.huge_bytes);
        huge / (2 << 20) + (self.accessed_bytes - huge) / 4096
    }
}

/// Every mapping, with what was accessed since the last clearing.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read.
pub fn referenced() -> io::Result<Vec<Mapping>> {
    Ok(mappings_of(&fs::read("/proc/self/smaps")?))
}

fn mappings_of(text: &[u8]) -> Vec<Mapping> {
    let mut out: Vec<Mapping> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let bytes_after = |name: &[u8]| {
            let rest = String::from_utf8_lossy(line.strip_prefix(name)?).into_owned();
            Some(rest.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        let huge = [&b"AnonHugePages:"[..], b"ShmemPmdMapped:", b"FilePmdMapped:"];
        if let (Some(bytes), Some(mapping)) = (bytes_after(b"Referenced:"), out.last_mut()) {
            mapping.accessed_bytes = bytes;
        } else if let (Some(bytes), Some(mapping)) = (huge.iter().find_map(|name| bytes_after(name)), out.last_mut()) {
            mapping.huge_bytes += bytes;
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
            out.extend(range.map(|(start, end)| Mapping {
                start,
                end,
                ..Mapping::default()
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn smaps_is_read_with_the_pages_that_were_accessed() {
        let text = b"7f0000000000-7f0000800000 rw-p 00000000 00:00 0 \nRss: 8192 kB\nReferenced:         4100 kB\n\
            AnonHugePages:      4096 kB\nShmemPmdMapped: 0 kB\n55d0-55d1 r--s 00000000 fd:00 7 /a b\nReferenced: 4 kB\n";
        let found = mappings_of(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Mapping {
                start: 0x7f00_0000_0000,
                end: 0x7f00_0080_0000,
                accessed_bytes: 4100 << 10,
                huge_bytes: 4096 << 10,
            }
        );
        assert_eq!(
            [found[0].accessed_pages(), found[1].accessed_pages()],
            [3, 1],
            "two huge pages and a small one"
        );
    }

    #[test]
    fn large_working_sets_get_long_epochs_and_short_runs_share_one() {
        let plan = |before| Plan {
            roots: Vec::new(),
            tracked: Arc::new(()),
            frames: None,
            ranges: Vec::new(),
            interval: Duration::from_millis(1),
            burst: Duration::ZERO,
            epoch: Duration::from_millis(100),
            before,
            cpu_max: 0.05,
            beside: None,
        };
        let gibibyte = 1 << 18;
        assert!(
            Epochs::new(&plan(None)).left().is_zero(),
            "the first clearing is at once"
        );
        let just_cleared = Epochs::new(&plan(Some((gibibyte, 0.05)))).left();
        assert!(just_cleared > Duration::from_secs(9), "{just_cleared:?}");
        assert!(Epochs::new(&plan(Some((gibibyte, 16.0)))).left().is_zero());
        let small = Epochs::new(&plan(Some((100, 0.05))));
        assert!(small.left().is_zero() && small.length() == Duration::from_millis(100));
    }
}
