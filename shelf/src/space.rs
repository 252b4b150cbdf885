//! Free space of the heap: which pages nobody needs.
//!
//! Free space is derived, never written down: at open it is what no catalog entry, snapshot, log or superblock
//! covers. An [`Extent`] is owned by reference count: catalog versions and live views hold it; when the last holder
//! lets go it is *quarantined*, because the state on the medium may still need it. Only a checkpoint, which makes
//! that state durable without it, moves it to the free list. One that could not be filled was never part of any state, and
//! is free again at once.
//!
//! Invariants
//!
//! - Free, quarantined and live ranges never overlap; the free list is coalesced.
//! - A range leaves quarantine only after a superblock that does not reach it is durable, and no reader's pin is
//!   older than the commit that let it go.

use crate::format::{HEAP_START, PAGE, pages};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A run of heap pages followed by their checksums (4 bytes per page, padded to pages).
pub struct Extent {
    pub at: u64,
    /// Data pages; the checksum pages come after them.
    pub data_pages: u32,
    /// Without checksums: snapshots and logs carry their own.
    bare: bool,
    space: Weak<Space>,
    /// Pins older than this commit may show it, whenever it is let go.
    needed_before: AtomicU64,
    /// No state names it and no view shows it: free as soon as it is let go.
    unused: AtomicBool,
}

impl Extent {
    pub fn bytes(&self) -> u64 {
        extent_bytes(self.data_pages, self.bare)
    }
    pub fn page_at(&self, page: u32) -> u64 {
        self.at + u64::from(page) * PAGE
    }
    /// The contents of the last commit move elsewhere: pins on that very commit still show them here.
    pub fn moved_after(&self, commit: u64) {
        self.needed_before.fetch_max(commit + 1, Ordering::Relaxed);
    }
    /// It could not be filled, and nobody was told of it.
    pub fn abandon(&self) {
        self.unused.store(true, Ordering::Relaxed);
    }
    pub fn crc_at(&self, page: u32) -> u64 {
        self.at + u64::from(self.data_pages) * PAGE + u64::from(page) * 4
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if let Some(space) = self.space.upgrade() {
            if self.unused.load(Ordering::Relaxed) {
                space.take_back(self.at, self.bytes());
            } else {
                let before = self.needed_before.load(Ordering::Relaxed);
                space.quarantine(self.at, self.bytes(), before);
            }
        }
    }
}

impl std::fmt::Debug for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}+{}p", self.at, self.data_pages)
    }
}

fn extent_bytes(data_pages: u32, bare: bool) -> u64 {
    let data = u64::from(data_pages) * PAGE;
    if bare {
        data
    } else {
        data + pages(u64::from(data_pages) * 4) * PAGE
    }
}

struct Held {
    at: u64,
    len: u64,
    /// Readers pinned before this commit may still map it.
    commit: u64,
}

#[derive(Default)]
struct Lists {
    /// Coalesced free ranges: start -> length.
    free: BTreeMap<u64, u64>,
    quarantine: Vec<Held>,
    live: BTreeMap<u64, (u64, Weak<Extent>)>,
    end: u64,
}

/// The allocator. Interior lock; never held while an extent is dropped.
pub struct Space {
    lists: Mutex<Lists>,
    /// The commit a range freed now belongs to.
    pub commit: AtomicU64,
    /// Seeded bug for the crash suite: skip the quarantine.
    pub reuse_at_once: bool,
}

/// A fresh allocation; `grow_to` is the file length it needs.
pub struct Allocated {
    pub extent: Arc<Extent>,
    /// Never used before in this file's life: reads as zeros without zeroing.
    pub fresh: bool,
}

impl Space {
    pub fn new(reuse_at_once: bool) -> Arc<Space> {
        let lists = Lists {
            end: HEAP_START,
            ..Lists::default()
        };
        Arc::new(Space {
            lists: Mutex::new(lists),
            commit: AtomicU64::new(0),
            reuse_at_once,
        })
    }

    /// End of the last byte ever handed out: the file is at least this long.
    pub fn end(&self) -> u64 {
        self.lists.lock().end
    }

    /// First-fit allocation of `data_pages` (and their checksum pages), at the end if no free range fits.
    pub fn allocate(self: &Arc<Space>, data_pages: u32, bare: bool) -> Allocated {
        let len = extent_bytes(data_pages, bare);
        let mut lists = self.lists.lock();
        let found = lists
            .free
            .iter()
            .find(|(_, free)| **free >= len)
            .map(|(at, free)| (*at, *free));
        let (at, fresh) = match found {
            Some((at, free)) => {
                lists.free.remove(&at);
                if free > len {
                    lists.free.insert(at + len, free - len);
                }
                (at, false)
            }
            None => {
                let at = lists.end;
                lists.end += len;
                (at, true)
            }
        };
        let extent = Arc::new(Extent {
            at,
            data_pages,
            bare,
            space: Arc::downgrade(self),
            needed_before: AtomicU64::new(0),
            unused: AtomicBool::new(false),
        });
        lists.live.insert(at, (len, Arc::downgrade(&extent)));
        Allocated { extent, fresh }
    }

    /// A free range that starts below `limit`, or none; never grows the file.
    pub fn allocate_below(self: &Arc<Space>, data_pages: u32, limit: u64) -> Option<Arc<Extent>> {
        let len = extent_bytes(data_pages, false);
        {
            let lists = self.lists.lock();
            lists
                .free
                .iter()
                .take_while(|(at, _)| **at < limit)
                .find(|(_, free)| **free >= len)?;
        }
        Some(self.allocate(data_pages, false).extent)
    }

    /// The extent a catalog names: the live one, or a new claim on that range.
    ///
    /// `None` if the range lies outside `HEAP_START..limit`, or overlaps another live one.
    pub fn adopt(self: &Arc<Space>, at: u64, data_pages: u32, bare: bool, limit: u64) -> Option<Arc<Extent>> {
        let len = extent_bytes(data_pages, bare);
        let end = at.checked_add(len)?;
        if at < HEAP_START || end > limit || !at.is_multiple_of(PAGE) || data_pages == 0 {
            return None;
        }
        let mut lists = self.lists.lock();
        if let Some((_, weak)) = lists.live.get(&at)
            && let Some(extent) = weak.upgrade()
        {
            let same = extent.data_pages == data_pages && extent.bare == bare;
            drop(lists); // a mismatching extent may be the last handle: it must drop outside the lock
            return same.then_some(extent);
        }
        let before = lists
            .live
            .range(..=at)
            .next_back()
            .is_some_and(|(s, (l, w))| s + l > at && w.strong_count() > 0);
        let after = lists.live.range(at..end).any(|(_, (_, w))| w.strong_count() > 0);
        if before || after {
            return None;
        }
        lists.end = lists.end.max(end);
        // A log may reuse no range before a checkpoint, but a record may let one go and a later one claim it back; and what
        // another writer has put to use was never durable here.
        lists
            .quarantine
            .retain(|held| held.at >= end || held.at + held.len <= at);
        let extent = Arc::new(Extent {
            at,
            data_pages,
            bare,
            space: Arc::downgrade(self),
            needed_before: AtomicU64::new(0),
            unused: AtomicBool::new(false),
        });
        lists.live.insert(at, (len, Arc::downgrade(&extent)));
        Some(extent)
    }

    /// The file could not grow for this extent, the last one handed out: the heap ends where it did before.
    ///
    /// A superblock says how long the file is; an end beyond it would be taken for a file that was cut.
    pub fn retract(&self, extent: Arc<Extent>) {
        let at = extent.at;
        extent.abandon();
        drop(extent);
        let mut lists = self.lists.lock();
        // It may have joined a free range before it.
        if let Some((start, len)) = lists.free.last_key_value().map(|(start, len)| (*start, *len))
            && start <= at
            && start + len == lists.end
        {
            lists.free.remove(&start);
            if start < at {
                lists.free.insert(start, at - start);
            }
            lists.end = at;
        }
    }

    fn take_back(&self, at: u64, len: u64) {
        let mut lists = self.lists.lock();
        lists.live.remove(&at);
        insert_free(&mut lists.free, at, len);
    }

    fn quarantine(&self, at: u64, len: u64, needed_before: u64) {
        let mut lists = self.lists.lock();
        if lists.live.get(&at).is_some_and(|(_, weak)| weak.strong_count() == 0) {
            lists.live.remove(&at);
        }
        if self.reuse_at_once {
            insert_free(&mut lists.free, at, len);
        } else {
            lists.quarantine.push(Held {
                at,
                len,
                commit: self.commit.load(Ordering::Relaxed).max(needed_before),
            });
        }
    }

    /// Derives the free list once a catalog has been read: whatever is neither live nor quarantined.
    pub fn derive_free(&self, file_len: u64) {
        let mut lists = self.lists.lock();
        lists.end = lists.end.max(file_len / PAGE * PAGE);
        let mut used: Vec<(u64, u64)> = lists.live.iter().map(|(at, (len, _))| (*at, *len)).collect();
        used.extend(lists.quarantine.iter().map(|held| (held.at, held.len)));
        used.sort_unstable();
        lists.free.clear();
        let (mut at, end) = (HEAP_START, lists.end);
        for (start, len) in used {
            if start > at {
                lists.free.insert(at, start - at);
            }
            at = at.max(start + len);
        }
        if end > at {
            lists.free.insert(at, end - at);
        }
    }

    /// Quarantines all that is free: a pin from before this opening may still show what lay there.
    pub fn hold_free(&self) {
        let mut lists = self.lists.lock();
        // One more than the last commit: a compaction may have moved what a pin on that very commit shows.
        let commit = self.commit.load(Ordering::Relaxed) + 1;
        let free = std::mem::take(&mut lists.free);
        lists
            .quarantine
            .extend(free.into_iter().map(|(at, len)| Held { at, len, commit }));
    }

    /// Whoever wrote last has released, or quarantined anew, what was quarantined here; what is free is derived next.
    pub fn forget_quarantine(&self) {
        self.lists.lock().quarantine.clear();
    }

    /// How many ranges are quarantined now: what a checkpoint that starts now may release when done.
    pub fn quarantined(&self) -> usize {
        self.lists.lock().quarantine.len()
    }

    /// Frees the first `count` quarantined ranges that no pin needs.
    pub fn release(&self, count: usize, oldest_pin: Option<u64>) {
        let mut lists = self.lists.lock();
        let lists = &mut *lists;
        let late = lists.quarantine.split_off(count.min(lists.quarantine.len()));
        for held in std::mem::replace(&mut lists.quarantine, late) {
            if oldest_pin.is_some_and(|pin| pin < held.commit) {
                lists.quarantine.push(held);
            } else {
                insert_free(&mut lists.free, held.at, held.len);
            }
        }
    }

    /// Gives back a free tail; returns the length the file needs.
    pub fn trim(&self) -> u64 {
        let mut lists = self.lists.lock();
        if let Some((at, len)) = lists.free.last_key_value().map(|(at, len)| (*at, *len))
            && at + len == lists.end
        {
            lists.free.remove(&at);
            lists.end = at;
        }
        lists.end
    }

    /// (live, free, quarantined) bytes, free ranges.
    pub fn sizes(&self) -> (u64, u64, u64, usize) {
        let lists = self.lists.lock();
        let live = lists.live.values().map(|(len, _)| *len).sum();
        let held = lists.quarantine.iter().map(|held| held.len).sum();
        (live, lists.free.values().sum(), held, lists.free.len())
    }
}

fn insert_free(free: &mut BTreeMap<u64, u64>, at: u64, len: u64) {
    let (mut at, mut len) = (at, len);
    if let Some((start, before)) = free.range(..at).next_back().map(|(s, l)| (*s, *l))
        && start + before == at
    {
        free.remove(&start);
        (at, len) = (start, before + len);
    }
    if let Some(after) = free.remove(&(at + len)) {
        len += after;
    }
    free.insert(at, len);
}
