//! Which pages of a view were written since the last commit.
//!
//! Four ways, tried in this order by a *self-test* at open (a read must report clean, a write must report dirty); the
//! first that passes is used. `LARDER_TRACKER=wp|anon|mprotect|hash` forces one.
//!
//! | tracker  | how                                                    | cost                        |
//! |----------|--------------------------------------------------------|-----------------------------|
//! | wp       | userfaultfd WP_ASYNC, PAGEMAP_SCAN gets and re-arms     | one scan of private copies  |
//! | anon     | pagemap: a private file page that became anonymous      | 8 B per page, CRC of copied pages |
//! | mprotect | pages read-only, a SIGSEGV handler opens and notes them | one signal per dirty page; system calls that write into a buffer fail |
//! | hash     | CRC of every page                                      | reads all writable memory   |

use crate::format::{PAGE, crc};
use crate::media::Media;
use crate::view::{Arena, View};
use larder_pages::{Category, Pagemap, Protector, Scan, Word};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackerKind {
    WriteProtect,
    AnonBit,
    Mprotect,
    Hash,
}

impl TrackerKind {
    pub fn name(self) -> &'static str {
        match self {
            TrackerKind::WriteProtect => "wp",
            TrackerKind::AnonBit => "anon",
            TrackerKind::Mprotect => "mprotect",
            TrackerKind::Hash => "hash",
        }
    }

    pub fn parse(name: &str) -> Option<TrackerKind> {
        [
            TrackerKind::WriteProtect,
            TrackerKind::AnonBit,
            TrackerKind::Mprotect,
            TrackerKind::Hash,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

pub enum Tracker {
    WriteProtect {
        protector: Protector,
        pagemap: Pagemap,
        /// Only private copies are protected: where there is none, nothing was stored, and no page table is needed to say so.
        /// Where pages of a file do not say that they are (DAX), all of a view is protected.
        copies: bool,
    },
    AnonBit {
        pagemap: Pagemap,
    },
    Mprotect,
    Hash,
}

/// Dirty pages of one view, sorted.
pub type Dirty = Vec<(Arc<View>, Vec<u32>)>;

impl Tracker {
    /// The forced tracker, else the first that passes its self-test. Views that are copies can only be hashed.
    pub fn choose(forced: Option<TrackerKind>, media: &dyn Media, arena: &Arc<Arena>) -> Tracker {
        if media.fd().is_none() {
            return Tracker::Hash;
        }
        let order = match forced {
            Some(kind) => vec![kind],
            None => vec![TrackerKind::WriteProtect, TrackerKind::AnonBit],
        };
        for kind in order {
            let ways: &[bool] = if kind == TrackerKind::WriteProtect {
                &[true, false]
            } else {
                &[false]
            };
            for copies in ways {
                match Tracker::start(kind, *copies).and_then(|t| self_test(&t, media, arena).map(|()| t)) {
                    Ok(tracker) => return tracker,
                    Err(error) => tracing::debug!(tracker = kind.name(), copies, %error, "tracker not usable here"),
                }
            }
        }
        Tracker::Hash
    }

    fn start(kind: TrackerKind, copies: bool) -> io::Result<Tracker> {
        Ok(match kind {
            TrackerKind::WriteProtect => Tracker::WriteProtect {
                protector: Protector::open()?,
                pagemap: Pagemap::open()?,
                copies,
            },
            TrackerKind::AnonBit => Tracker::AnonBit {
                pagemap: Pagemap::open()?,
            },
            TrackerKind::Mprotect => {
                crate::mprotect::install()?;
                Tracker::Mprotect
            }
            TrackerKind::Hash => Tracker::Hash,
        })
    }

    pub fn kind(&self) -> TrackerKind {
        match self {
            Tracker::WriteProtect { .. } => TrackerKind::WriteProtect,
            Tracker::AnonBit { .. } => TrackerKind::AnonBit,
            Tracker::Mprotect => TrackerKind::Mprotect,
            Tracker::Hash => TrackerKind::Hash,
        }
    }

    /// Starts tracking `view`; all its pages count as clean from here on.
    pub fn arm(&self, view: &View) -> io::Result<()> {
        if view.is_empty() {
            return Ok(());
        }
        match self {
            Tracker::WriteProtect { protector, .. } => {
                let Some(window) = view.window() else {
                    return self.arm_fresh(view, 0, view.pages());
                };
                if !window.registered.load(Ordering::Acquire) {
                    let (at, bytes) = window.range();
                    protector.register(at, bytes)?;
                    window.registered.store(true, Ordering::Release);
                }
                self.rearm(view)
            }
            Tracker::AnonBit { .. } => self.rearm(view),
            Tracker::Mprotect => {
                crate::mprotect::add(view.addr(), view.mapped_len())?;
                view.protect(true)
            }
            Tracker::Hash => {
                let mut sums = view.sums.lock();
                *sums = (0..view.pages()).map(|page| page_sum(view, page)).collect();
                Ok(())
            }
        }
    }

    /// Starts tracking pages of an armed view that were just mapped anew and show what `collect_range` last saw.
    pub fn arm_fresh(&self, view: &View, first: u32, count: u32) -> io::Result<()> {
        match self {
            Tracker::WriteProtect { protector, .. } => {
                let page = PAGE as usize;
                let (at, bytes) = (view.addr() + first as usize * page, count as usize * page);
                protector.register(at, bytes)?;
                self.protect(at, bytes)
            }
            Tracker::AnonBit { .. } => {
                // A private copy that comes now is a change.
                let mut known = view.known.lock();
                (first..first + count).for_each(|page| {
                    known.remove(&page);
                });
                Ok(())
            }
            Tracker::Hash => Ok(()),
            Tracker::Mprotect => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Counts all of a registered range as clean (`WriteProtect` only).
    fn protect(&self, at: usize, bytes: usize) -> io::Result<()> {
        match self {
            Tracker::WriteProtect {
                pagemap, copies: true, ..
            } => scan_written(pagemap, at, at + bytes, true).map(drop),
            Tracker::WriteProtect { protector, .. } => protector.protect(at, bytes),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The pages of `first..first + count` of one armed view written since the last call, counted as clean from here on.
    pub fn collect_range(&self, view: &View, first: u32, count: u32) -> io::Result<Vec<u32>> {
        match self {
            Tracker::WriteProtect { pagemap, copies, .. } => {
                let at = view.addr() + first as usize * PAGE as usize;
                let ranges = scan_written(pagemap, at, at + count as usize * PAGE as usize, *copies)?;
                let page = |at: usize| ((at - view.addr()) as u64 / PAGE) as u32;
                Ok(ranges.into_iter().flat_map(|(from, to)| page(from)..page(to)).collect())
            }
            Tracker::AnonBit { pagemap } => {
                let mut pages = anonymous_pages(pagemap, view, first, count)?;
                let mut sums = view.sums.lock();
                sums.resize(view.pages() as usize, 0);
                let mut known = view.known.lock();
                pages.retain(|page| {
                    let sum = page_sum(view, *page);
                    let changed = known.insert(*page) | (sums[*page as usize] != sum);
                    sums[*page as usize] = sum;
                    changed
                });
                Ok(pages)
            }
            Tracker::Hash => {
                let mut sums = view.sums.lock();
                let mut pages = Vec::new();
                for page in first..first + count {
                    let sum = page_sum(view, page);
                    if sums[page as usize] != sum {
                        sums[page as usize] = sum;
                        pages.push(page);
                    }
                }
                Ok(pages)
            }
            Tracker::Mprotect => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// How many of these pages are private copies; where the kernel does not tell, those known to be changed.
    pub fn private_pages(&self, view: &View, first: u32, count: u32) -> io::Result<u32> {
        match self {
            Tracker::WriteProtect { pagemap, .. } | Tracker::AnonBit { pagemap } => {
                // Not those that look swapped out: a protected page that was never touched looks the same.
                let words = words(pagemap, view, first, count)?;
                let private = |word: &&Word| word.is_present() && !word.is_file();
                Ok(words.iter().filter(private).count() as u32)
            }
            Tracker::Mprotect | Tracker::Hash => {
                let changed = view.carry.lock();
                Ok(changed
                    .iter()
                    .filter(|page| (first..first + count).contains(page))
                    .count() as u32)
            }
        }
    }

    /// Counts all pages of `view` as clean again, after its bytes were put back.
    pub fn rearm(&self, view: &View) -> io::Result<()> {
        if view.is_empty() {
            return Ok(());
        }
        match self {
            Tracker::WriteProtect { .. } => self.protect(view.addr(), view.mapped_len()),
            Tracker::AnonBit { pagemap } => {
                let anon = anonymous_pages(pagemap, view, 0, view.pages())?;
                let mut sums = view.sums.lock();
                sums.resize(view.pages() as usize, 0);
                let mut known = view.known.lock();
                for page in anon {
                    sums[page as usize] = page_sum(view, page);
                    known.insert(page);
                }
                Ok(())
            }
            Tracker::Mprotect => {
                crate::mprotect::take(view.addr(), view.mapped_len());
                view.protect(true)
            }
            Tracker::Hash => self.arm(view),
        }
    }

    /// The pages written since the last call, counted as clean from here on. `views` are armed ones, sorted by address.
    pub fn collect(&self, arena: &Arena, views: &[Arc<View>]) -> io::Result<Dirty> {
        let mut dirty = Dirty::new();
        match self {
            Tracker::WriteProtect { pagemap, copies, .. } => {
                let (Some(first), Some(last)) = (views.first(), views.last()) else {
                    return Ok(dirty);
                };
                let mut at = 0;
                for (start, end) in scan_written(pagemap, first.addr(), last.addr() + last.mapped_len(), *copies)? {
                    while at < views.len() && views[at].addr() + views[at].mapped_len() <= start {
                        at += 1;
                    }
                    let mut index = at;
                    while let Some(view) = views.get(index)
                        && view.addr() < end
                    {
                        let from = start.max(view.addr()) - view.addr();
                        let to = end.min(view.addr() + view.mapped_len()) - view.addr();
                        let pages = (from as u64 / PAGE) as u32..(to as u64 / PAGE) as u32;
                        match dirty.last_mut() {
                            Some((last, list)) if Arc::ptr_eq(last, view) => list.extend(pages),
                            _ => dirty.push((Arc::clone(view), pages.collect())),
                        }
                        index += 1;
                    }
                }
            }
            Tracker::AnonBit { .. } | Tracker::Hash => {
                for view in views {
                    push(&mut dirty, view, self.collect_range(view, 0, view.pages())?);
                }
            }
            Tracker::Mprotect => {
                for view in views {
                    let pages = crate::mprotect::take(view.addr(), view.mapped_len());
                    if !pages.is_empty() {
                        view.protect(true)?;
                    }
                    push(&mut dirty, view, pages);
                }
            }
        }
        let _ = arena;
        Ok(dirty)
    }

    /// Stops tracking, before the addresses are used for something else.
    pub fn forget(&self, view: &View) {
        if let Tracker::Mprotect = self {
            crate::mprotect::remove(view.addr());
        }
    }
}

fn push(dirty: &mut Dirty, view: &Arc<View>, pages: Vec<u32>) {
    if !pages.is_empty() {
        dirty.push((Arc::clone(view), pages));
    }
}

fn page_sum(view: &View, page: u32) -> u32 {
    let mut copy = [0u8; PAGE as usize];
    view.copy_page(page, &mut copy);
    crc(&copy)
}

/// A read reports clean and a write reports dirty, twice over, on a private mapping of the shelf's own
/// first pages (whose stores never reach the file): what works on one file system need not on another.
fn self_test(tracker: &Tracker, media: &dyn Media, arena: &Arc<Arena>) -> io::Result<()> {
    let view = Arc::new(View::map_range(arena, media, 0, 4 * PAGE)?);
    tracker.arm(&view)?;
    let views = [Arc::clone(&view)];
    let seen = |expected: &[u32], what: &str| -> io::Result<()> {
        let dirty: BTreeSet<u32> = tracker
            .collect(arena, &views)?
            .into_iter()
            .flat_map(|(_, pages)| pages)
            .collect();
        // mprotect works on 64 KiB units: more than was written, never less, and nothing for nothing.
        let coarse = matches!(tracker, Tracker::Mprotect) && !expected.is_empty();
        if dirty.iter().eq(expected) || coarse && expected.iter().all(|page| dirty.contains(page)) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{what}: expected pages {expected:?}, got {dirty:?}"
        )))
    };
    let mut page = [0u8; PAGE as usize];
    view.copy_page(1, &mut page);
    let verdict = seen(&[], "after a read")
        .and_then(|()| {
            view.write(2 * PAGE as usize + 5, &[1]);
            seen(&[2], "after a write")
        })
        .and_then(|()| seen(&[], "after a scan"))
        .and_then(|()| {
            view.write(2 * PAGE as usize + 6, &[2]);
            view.write(3 * PAGE as usize, &[3]);
            seen(&[2, 3], "after a second write")
        });
    tracker.forget(&view);
    verdict
}

/// Written ranges in `start..end`, re-armed in the same step, in address order without repeats. With `copies` only private
/// copies are looked for: pages that are there, or swapped out, and not the file's.
fn scan_written(pagemap: &Pagemap, start: usize, end: usize, copies: bool) -> io::Result<Vec<(usize, usize)>> {
    let mut written = Scan {
        all: Category::WRITTEN,
        told: Category::WRITTEN,
        rearm: true,
        ..Scan::default()
    };
    if copies {
        written.all = Category::WRITTEN | Category::FILE;
        written.inverted = Category::FILE;
        written.any = Category::PRESENT | Category::SWAPPED;
    }
    let mut found: Vec<(usize, usize)> = Vec::new();
    pagemap.scan(start, end, written, &mut |from, to, _| match found.last_mut() {
        Some((_, last)) if *last == from => *last = to,
        _ => found.push((from, to)),
    })?;
    Ok(found)
}

/// Pages of a private file view that hold a private copy, in memory or swapped out.
fn anonymous_pages(pagemap: &Pagemap, view: &View, first: u32, count: u32) -> io::Result<Vec<u32>> {
    let private = |word: &Word| (word.is_present() || word.is_swapped()) && !word.is_file();
    let words = words(pagemap, view, first, count)?;
    let pages = (first..).zip(&words).filter(|(_, word)| private(word));
    Ok(pages.map(|(page, _)| page).collect())
}

fn words(pagemap: &Pagemap, view: &View, first: u32, count: u32) -> io::Result<Vec<Word>> {
    let mut words = vec![Word(0); count as usize];
    pagemap.words(view.addr() / PAGE as usize + first as usize, &mut words)?;
    Ok(words)
}
