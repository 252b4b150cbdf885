//! What one open shelf is in memory: the catalog, the log's place, and the views, behind one lock.
//!
//! [`crate::shelf`] is the public face over it; `commit`, `recover`, `history` and `spill` are its other parts.
//!
//! Invariants
//!
//! - `committed` is the state of the last commit, with `overlay` over its pages; `pending` is what the next one changes.
//! - A view belongs to a name as long as the name's item holds its cell; only such views are looked at by a commit.
//! - Only the process that opened the shelf writes, or the forked child it lent the shelf to: see [`crate::lend`].

use crate::catalog::{Commit, Item, Names, Stored};
use crate::error::{ReadError, WriteError, is_full};
use crate::format::{self, PAGE, PageRef, crc};
use crate::media::Media;
use crate::options::{Faults, Tuning};
use crate::space::{Extent, Space};
use crate::tracker::{Dirty, Tracker};
use crate::view::{Arena, View};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

pub(crate) struct Core {
    pub name: String,
    pub path: Option<PathBuf>,
    pub media: Arc<dyn Media>,
    pub arena: Arc<Arena>,
    pub tracker: Tracker,
    pub space: Arc<Space>,
    pub faults: Faults,
    pub tuning: Tuning,
    pub memory_max: Option<u64>,
    pub read_only: bool,
    /// The process that may write: a forked child shares the lock, not the right. 0 while the shelf is lent.
    pub writer: AtomicU32,
    /// The process that opened it.
    pub opener: u32,
    /// Set for snapshots: keeps the pages of their commit.
    pub pin: Option<Arc<()>>,
    pub state: Mutex<State>,
    /// Held shared while extents are filled without the lock on `state`; taken before that lock, never after.
    pub filling: RwLock<()>,
    pub written: AtomicU64,
    pub syncs: AtomicU64,
    /// Every view handed out, for close.
    pub views: Mutex<Vec<Weak<View>>>,
}

/// Where a page's newest committed bytes are while they are only in the log.
#[derive(Clone)]
pub(crate) struct Logged {
    pub image_at: u64,
    /// The bytes themselves, for a reader: the log under it is the writer's, who starts it over at any time.
    pub image: Option<Box<[u8]>>,
    pub page: PageRef,
    pub commit: u64,
}

/// Name, buffer index, view and dirty pages of a changed buffer.
pub(crate) type DirtyBuffer = (Arc<str>, usize, Arc<View>, Vec<u32>);

pub(crate) struct Tracked {
    pub name: Arc<str>,
    pub index: usize,
    pub view: Weak<View>,
}

pub(crate) struct State {
    pub closed: bool,
    /// A flush failed: what is on the medium is unknown until it is read again.
    pub stopped: bool,
    /// The last commit.
    pub commit: u64,
    pub committed: Names,
    pub pending: BTreeMap<Arc<str>, Option<Arc<Item>>>,
    /// Extent bytes written since the last sync, which a record may not overtake.
    pub unsynced: bool,
    pub overlay: BTreeMap<u64, Logged>,
    pub history: VecDeque<Commit>,
    pub retain: u32,
    pub tracked: Vec<Tracked>,
    /// Commits shown by snapshots in this process.
    pub pins: Vec<(u64, Weak<()>)>,
    pub log: crate::commit::Log,
    pub root: format::Superblock,
    pub slot: u64,
    /// The other superblock does not check: it may be one that was being written when power was lost. The next one must
    /// not be written over it, or words of both could add up to it after all.
    pub spare_torn: bool,
    pub snapshot: Option<Arc<Extent>>,
}

impl State {
    pub fn item(&self, name: &str) -> Option<&Arc<Item>> {
        match self.pending.get(name) {
            Some(pending) => pending.as_ref(),
            None => self.committed.get(name),
        }
    }
}

impl Core {
    pub fn is_own_process(&self) -> bool {
        self.writer.load(Ordering::Relaxed) == std::process::id()
    }

    /// Lets the writer lock go; views still in use keep a pin, so that their pages stay what they are.
    pub fn release(&self, state: &State) {
        self.arena.close();
        if self.pin.is_some() {
            return; // a snapshot: the lock is its shelf's
        }
        let views = |item: &Item| -> Vec<usize> {
            let views = item
                .buffers
                .iter()
                .map(|b| b.cell.lock().as_ref().map(|view| view.addr()));
            views.flatten().collect()
        };
        let current: HashSet<usize> = state.committed.values().flat_map(|item| views(item)).collect();
        let undone = state.history.iter().flat_map(|commit| &commit.undo);
        let older = undone.map(|(_, item)| item).chain(state.pending.values()).flatten();
        let older: HashSet<usize> = older.flat_map(|item| views(item)).collect();
        // The lock goes with the last view. Views of the last commit need its pages; those of values that were replaced
        // or removed need what no catalog names any more, so nothing at all may be reused.
        let mut pin: Option<u64> = None;
        for view in self.views.lock().drain(..).filter_map(|view| view.upgrade()) {
            let newest = current.contains(&view.addr());
            let ours = 1 + usize::from(newest || older.contains(&view.addr()));
            if Arc::strong_count(&view) > ours {
                // What was spilled and not committed lies on pages no catalog names either.
                let committed = newest && view.spilled.lock().is_empty();
                let commit = if committed { state.commit } else { 0 };
                pin = Some(pin.map_or(commit, |pin| pin.min(commit)));
            }
        }
        let snapshots = state.pins.iter().filter(|(_, shown)| shown.strong_count() > 0);
        let pin = snapshots.map(|(commit, _)| *commit).chain(pin).min();
        self.media.release(pin);
    }

    pub fn lock(&self) -> Result<MutexGuard<'_, State>, ReadError> {
        let state = self.state.lock();
        if state.closed {
            Err(ReadError::Closed {
                name: self.name.clone(),
            })
        } else {
            Ok(state)
        }
    }

    pub fn writable(&self) -> Result<MutexGuard<'_, State>, WriteError> {
        let state = self.lock().map_err(|_| WriteError::Closed {
            name: self.name.clone(),
        })?;
        if !self.is_own_process() {
            return Err(WriteError::Closed {
                name: self.name.clone(),
            });
        }
        if self.read_only {
            return Err(WriteError::ReadOnly {
                name: self.name.clone(),
            });
        }
        if state.stopped {
            return Err(WriteError::Stopped {
                name: self.name.clone(),
                commit: state.commit,
            });
        }
        Ok(state)
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.media.write_at(at, bytes)?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.media.sync()
    }

    /// A new extent, inside the file; zeroed if asked and not fresh.
    pub fn allocate(&self, data_pages: u32, bare: bool, zeroed: bool) -> io::Result<Arc<Extent>> {
        let allocated = self.space.allocate(data_pages, bare);
        let extent = allocated.extent;
        if self.faults.lost_set_length && allocated.fresh && self.media.fd().is_none() {
            return Ok(extent);
        }
        if allocated.fresh && self.media.len()? < extent.at + extent.bytes() {
            // Grow in steps: a length change costs a journal commit at the next sync.
            let end = extent.at + extent.bytes();
            let step = (end / 8).clamp(64 * PAGE, 256 << 20).next_multiple_of(PAGE);
            let step = if self.media.fd().is_some() { step } else { 0 };
            // Without the step, a file that may not grow much further still takes what fits.
            let grown = self.media.set_len(end + step).or_else(|error| match step {
                0 => Err(error),
                _ => self.media.set_len(end),
            });
            if let Err(error) = grown {
                self.space.retract(extent);
                return Err(error);
            }
        } else if zeroed && !allocated.fresh {
            let zeroed = |extent: &Extent| self.media.zero(extent.at, extent.bytes());
            return self.filled(extent, zeroed);
        }
        Ok(extent)
    }

    /// A new extent that `fill` fills; if it cannot, the medium has its room back.
    pub fn filled(&self, extent: Arc<Extent>, fill: impl FnOnce(&Extent) -> io::Result<()>) -> io::Result<Arc<Extent>> {
        match fill(&extent) {
            Ok(()) => Ok(extent),
            Err(error) => {
                self.abandon(&extent);
                Err(error)
            }
        }
    }

    /// An extent that nobody was told of: its room goes back at once.
    pub fn abandon(&self, extent: &Extent) {
        self.media.discard(extent.at, extent.bytes());
        extent.abandon();
    }

    /// Writes whole pages of an extent from `first` on, and their checksums. `bytes` may end inside its last page.
    pub fn write_pages(&self, extent: &Extent, first: u32, bytes: &[u8]) -> io::Result<()> {
        if first == 0 && bytes.len() <= SMALL {
            // Data, padding and checksums lie side by side: one call.
            let mut whole = Vec::with_capacity(extent.bytes() as usize);
            whole.extend_from_slice(bytes);
            whole.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
            if whole.len() as u64 == u64::from(extent.data_pages) * PAGE {
                for page in 0..extent.data_pages as usize {
                    let sum = crc(&whole[page * PAGE as usize..(page + 1) * PAGE as usize]);
                    whole.extend_from_slice(&sum.to_le_bytes());
                }
                return self.write(extent.at, &whole);
            }
        }
        let mut sums = Vec::with_capacity(bytes.len() / PAGE as usize * 4 + 4);
        let mut at = extent.page_at(first);
        for part in bytes.chunks(PART) {
            self.write(at, part)?;
            if part.len() >= EARLY {
                self.media.start_writeback(at, part.len() as u64);
            }
            at += part.len() as u64;
            for page in part.chunks(PAGE as usize) {
                sums.extend_from_slice(&page_crc(page).to_le_bytes());
            }
        }
        let tail = bytes.len() % PAGE as usize;
        if tail != 0 {
            self.write(at, &[0u8; PAGE as usize][tail..])?;
        }
        self.write(extent.crc_at(first), &sums)
    }

    /// Writes parts one after the other as the pages of a new extent, through a copy that `seen` is shown.
    pub fn write_joined(&self, extent: &Extent, parts: &[&[u8]], seen: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut room = Vec::with_capacity(len.min(PART));
        let mut page = 0;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PART - room.len()));
                room.extend_from_slice(now);
                rest = later;
                if room.len() == PART {
                    seen(&room);
                    self.write_pages(extent, page, &room)?;
                    page += (PART as u64 / PAGE) as u32;
                    room.clear();
                }
            }
        }
        if room.is_empty() {
            return Ok(());
        }
        seen(&room);
        self.write_pages(extent, page, &room)
    }

    pub fn read_logged(&self, logged: &Logged, into: &mut [u8; PAGE as usize]) -> io::Result<()> {
        match &logged.image {
            Some(image) => {
                into.copy_from_slice(image);
                Ok(())
            }
            None => self.media.read_at(logged.image_at, into),
        }
    }

    /// The view of a buffer, made on first use.
    pub fn view(&self, state: &State, name: &str, buffer: &Stored) -> Result<Arc<View>, ReadError> {
        let mut cell = buffer.cell.lock();
        if let Some(view) = cell.as_ref() {
            return Ok(Arc::clone(view));
        }
        let view = self.fresh_view(state, name, buffer)?;
        *cell = Some(Arc::clone(&view));
        Ok(view)
    }

    /// A view that no other handle on the buffer has.
    pub fn fresh_view(&self, state: &State, name: &str, buffer: &Stored) -> Result<Arc<View>, ReadError> {
        let failed = |source| ReadError::Map {
            name: self.name.clone(),
            variable: name.into(),
            source,
        };
        let view = View::open(&self.arena, &self.media, buffer.len, &buffer.segments).map_err(failed)?;
        if !state.overlay.is_empty() {
            let mut image = [0u8; PAGE as usize];
            let mut page = 0;
            for segment in buffer.segments.iter() {
                let range = segment.at()..segment.at() + u64::from(segment.count) * PAGE;
                for (at, logged) in state.overlay.range(range.clone()) {
                    self.read_logged(logged, &mut image).map_err(failed)?;
                    view.write((u64::from(page) * PAGE + at - range.start) as usize, &image);
                }
                page += segment.count;
            }
        }
        let view = Arc::new(view);
        let mut views = self.views.lock();
        if views.len() == views.capacity() {
            views.retain(|view| view.strong_count() > 0);
        }
        views.push(Arc::downgrade(&view));
        drop(views);
        Ok(view)
    }

    pub fn arm(&self, state: &mut State, name: &Arc<str>, index: usize, view: &Arc<View>) -> Result<(), WriteError> {
        if view.is_armed() {
            return Ok(());
        }
        self.tracker.arm(view).map_err(|source| WriteError::Io {
            name: self.name.clone(),
            variable: name.to_string(),
            commit: state.commit,
            source,
        })?;
        view.armed.store(true, Ordering::Release);
        state.tracked.push(Tracked {
            name: Arc::clone(name),
            index,
            view: Arc::downgrade(view),
        });
        Ok(())
    }

    /// Dirty pages of all writable views that still belong to a name, with what an earlier failed commit left behind.
    pub fn collect(&self, state: &mut State) -> io::Result<Vec<DirtyBuffer>> {
        let mut live: Vec<(Arc<str>, usize, Arc<View>)> = Vec::new();
        let State {
            tracked,
            committed,
            pending,
            ..
        } = state;
        tracked.retain(|t| {
            let Some(view) = t.view.upgrade() else { return false };
            let same = |item: Option<&Arc<Item>>| {
                item.and_then(|item| item.buffers.get(t.index))
                    .is_some_and(|b| b.cell.lock().as_ref().is_some_and(|held| Arc::ptr_eq(held, &view)))
            };
            let current = same(committed.get(&t.name)) || same(pending.get(&t.name).and_then(Option::as_ref));
            if current {
                live.push((Arc::clone(&t.name), t.index, view));
            }
            current
        });
        live.sort_by_key(|(_, _, view)| view.addr());
        let views: Vec<Arc<View>> = live
            .iter()
            .filter(|l| !l.2.is_empty())
            .map(|l| Arc::clone(&l.2))
            .collect();
        let dirty: Dirty = self.tracker.collect(&self.arena, &views)?;
        for (view, pages) in dirty {
            view.carry.lock().extend(pages);
        }
        let mut found = Vec::new();
        for (name, index, view) in live {
            let mut carry = view.carry.lock();
            if !carry.is_empty() || !view.spilled.lock().is_empty() {
                carry.sort_unstable();
                carry.dedup();
                let pages = carry.clone();
                drop(carry);
                found.push((name, index, view, pages));
            }
        }
        Ok(found)
    }

    pub fn write_failed(&self, state: &State, variable: &str, source: io::Error) -> WriteError {
        let (name, variable, commit) = (self.name.clone(), variable.to_string(), state.commit);
        if is_full(&source) {
            WriteError::Full {
                name,
                variable,
                commit,
                source,
            }
        } else {
            WriteError::Io {
                name,
                variable,
                commit,
                source,
            }
        }
    }
}

/// Up to this size a buffer is copied once more to be written in one call.
const SMALL: usize = 64 << 10;
/// The disk begins with a part of a larger buffer while the next one is copied: the flush has less to wait for.
const PART: usize = 1 << 20;
/// Smaller parts are left to the flush.
const EARLY: usize = 256 << 10;

pub(crate) fn page_crc(page: &[u8]) -> u32 {
    if page.len() == PAGE as usize {
        return crc(page);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(page);
    hasher.update(&[0u8; PAGE as usize][page.len()..]);
    hasher.finalize()
}
