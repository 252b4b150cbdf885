//! The shelf as its users see it: names, entries, buffers, and the changes pending since the last commit.
//!
//! Reads see pending changes; the medium sees them at [`Shelf::commit`]. One lock guards the catalog; stores through
//! buffers take no lock at all.

use crate::catalog::{Commit, CommitInfo, Item, Names, Segment, Stored};
use crate::error::{ReadError, WriteError, is_full};
use crate::format::{self, PAGE, PageRef, crc};
use crate::media::{Media, Medium};
use crate::space::{Extent, Space};
use crate::tracker::{Dirty, Tracker, TrackerKind};
use crate::view::{Arena, View};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// How to open, as h5py's letters: r, r+, a, w, x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Read only, must exist; any number of processes, each at the commit it opened.
    R,
    /// Read and write, must exist.
    RPlus,
    /// Read and write, created if missing.
    #[default]
    A,
    /// Created anew; what was there is gone.
    W,
    /// Created; fails if something is there.
    X,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediumChoice {
    /// DAX if the file system offers it, else file.
    #[default]
    Auto,
    File,
    Dax,
    /// In memory only: gone when closed.
    Dram,
}

/// The crash suite's seeded bugs: each must be caught by the simulator. All off in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    pub single_superblock: bool,
    pub no_log_sync_before_replay: bool,
    pub apply_before_log_sync: bool,
    pub stale_tail_accepted: bool,
    pub crc_skipped: bool,
    pub reuse_before_checkpoint: bool,
    pub lost_set_length: bool,
    pub torn_tail_kept: bool,
}

#[derive(Debug, Clone)]
pub struct OpenOptions {
    pub mode: Mode,
    pub medium: MediumChoice,
    /// Forces a dirty tracker; otherwise `LARDER_TRACKER`, otherwise a self-test chooses.
    pub tracker: Option<TrackerKind>,
    /// How many older commits stay showable; `None` keeps what the shelf has (0 in a new one).
    pub history: Option<u32>,
    /// Size of a new shelf's log, in bytes.
    pub log_bytes: u64,
    /// Reads on past damage, as far as anything can be made of it: for [`Shelf::salvage`].
    #[doc(hidden)]
    pub lenient: bool,
    #[doc(hidden)]
    pub faults: Faults,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            mode: Mode::A,
            medium: MediumChoice::Auto,
            tracker: None,
            history: None,
            log_bytes: 1 << 20,
            lenient: false,
            faults: Faults::default(),
        }
    }
}

/// One value, as [`Shelf::get`] returns it.
#[derive(Clone)]
pub struct Entry {
    pub kind: String,
    pub meta: Vec<u8>,
    pub buffers: Vec<Buffer>,
    /// The commit that last changed it; 0 while pending.
    pub commit: u64,
}

/// A pinned piece of the heap: address and length stay valid while any clone lives, also after the name is removed or
/// replaced, or the shelf is closed.
#[derive(Clone)]
pub struct Buffer {
    pub(crate) view: Arc<View>,
    core: Weak<Core>,
    name: Arc<str>,
    index: usize,
}

impl Buffer {
    pub fn as_ptr(&self) -> *mut u8 {
        self.view.as_ptr()
    }
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.view.len()
    }
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }
    /// True once stores through the pointer are tracked, and so committed.
    pub fn writable(&self) -> bool {
        self.view.is_armed()
    }

    /// From here on, stores through the pointer belong to the next commit.
    ///
    /// # Errors
    /// `ReadOnly` for a shelf opened with mode r or a snapshot, `Closed` after close.
    pub fn make_writable(&self) -> Result<(), WriteError> {
        if self.writable() {
            return Ok(());
        }
        let core = self.core.upgrade().ok_or_else(|| WriteError::Closed {
            name: self.name.to_string(),
        })?;
        let mut state = core.writable()?;
        core.arm(&mut state, &self.name, self.index, &self.view)
    }

    /// The descriptor and offset this buffer is mapped from, if it lies in one piece.
    pub fn file_range(&self) -> Option<(RawFd, u64)> {
        let [only] = self.view.backing.as_slice() else {
            return None;
        };
        Some((self.view.media.as_ref()?.fd()?, only.at()))
    }

    /// Copies the bytes out.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() as usize);
        let mut page = [0u8; PAGE as usize];
        for index in 0..self.view.pages() {
            self.view.copy_page(index, &mut page);
            bytes.extend_from_slice(&page[..crate::catalog::page_bytes(self.len(), index)]);
        }
        bytes
    }
}

/// One row of [`Shelf::inspect`].
#[derive(Debug, Clone)]
pub struct Inspect {
    pub name: String,
    pub kind: String,
    pub meta: Vec<u8>,
    pub nbytes: u64,
    pub buffers: usize,
    pub segments: usize,
    /// Offset of the first byte in the file, if it has any.
    pub offset: Option<u64>,
    pub commit: u64,
    /// True if it differs from the last commit by a put (in-place stores are not looked for).
    pub pending: bool,
    pub mapped: bool,
}

#[derive(Debug, Clone)]
pub struct Stats {
    pub medium: &'static str,
    pub tracker: &'static str,
    pub names: usize,
    pub commit: u64,
    pub generation: u64,
    pub file_bytes: u64,
    pub live_bytes: u64,
    pub free_bytes: u64,
    pub quarantined_bytes: u64,
    pub free_ranges: usize,
    pub log_bytes: u64,
    pub log_used: u64,
    pub history: u32,
    pub bytes_written: u64,
    pub syncs: u64,
}

pub struct Shelf {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    pub name: String,
    pub path: Option<PathBuf>,
    pub media: Arc<dyn Media>,
    pub arena: Arc<Arena>,
    pub tracker: Tracker,
    pub space: Arc<Space>,
    pub faults: Faults,
    pub read_only: bool,
    /// The process that opened it: a forked child shares the lock but must not write.
    pub pid: u32,
    /// Set for snapshots: keeps the pages of their commit.
    pub pin: Option<Arc<()>>,
    pub state: Mutex<State>,
    pub written: AtomicU64,
    pub syncs: AtomicU64,
    /// Every view handed out, for close.
    pub views: Mutex<Vec<Weak<View>>>,
}

/// Where a page's newest committed bytes are while they are only in the log.
#[derive(Clone, Copy)]
pub(crate) struct Logged {
    pub image_at: u64,
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

impl Drop for Core {
    fn drop(&mut self) {
        if self.is_own_process() && !self.state.get_mut().closed {
            let state = self.state.lock();
            self.release(&state);
        }
    }
}

impl Core {
    pub fn is_own_process(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Lets the writer lock go; views still in use keep the pages of the last commit.
    pub fn release(&self, state: &State) {
        self.arena.close();
        if self.pin.is_some() {
            return; // a snapshot: the lock is its shelf's
        }
        let used = |b: &Stored| b.cell.lock().as_ref().is_some_and(|view| Arc::strong_count(view) > 1);
        let in_use = state.committed.values().flat_map(|item| &item.buffers).any(used);
        // Views of values that were replaced or removed: no pin keeps their pages, so they get copies of their own.
        let cells = state.committed.values().flat_map(|item| &item.buffers);
        let current: HashSet<usize> = cells
            .filter_map(|b| b.cell.lock().as_ref().map(|view| view.addr()))
            .collect();
        for view in self.views.lock().drain(..).filter_map(|view| view.upgrade()) {
            if !current.contains(&view.addr()) {
                view.detach();
            }
        }
        self.media.release(in_use.then_some(state.commit));
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
            self.media.set_len(end + step)?;
        } else if zeroed && !allocated.fresh {
            self.media.zero(extent.at, extent.bytes())?;
        }
        Ok(extent)
    }

    /// Writes whole pages of an extent from `first` on, and their checksums. `bytes` may end inside its last page.
    pub fn write_pages(&self, extent: &Extent, first: u32, bytes: &[u8]) -> io::Result<()> {
        const PART: usize = 8 << 20;
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
            if bytes.len() > PART {
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

    /// The view of a buffer, made on first use.
    pub fn view(&self, state: &State, name: &str, buffer: &Stored) -> Result<Arc<View>, ReadError> {
        let mut cell = buffer.cell.lock();
        if let Some(view) = cell.as_ref() {
            return Ok(Arc::clone(view));
        }
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
                    self.media.read_at(logged.image_at, &mut image).map_err(failed)?;
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
        *cell = Some(Arc::clone(&view));
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
            if !carry.is_empty() {
                carry.sort_unstable();
                carry.dedup();
                let pages = carry.clone();
                drop(carry);
                found.push((name, index, view, pages));
            }
        }
        Ok(found)
    }

    fn write_failed(&self, state: &State, variable: &str, source: io::Error) -> WriteError {
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

pub(crate) fn page_crc(page: &[u8]) -> u32 {
    if page.len() == PAGE as usize {
        return crc(page);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(page);
    hasher.update(&[0u8; PAGE as usize][page.len()..]);
    hasher.finalize()
}

impl Shelf {
    /// Copies a value onto the shelf: `meta` stays in the catalog, each buffer gets an extent. Pending until commit.
    ///
    /// # Errors
    /// `TooLarge` over a limit of [`format`]; `Full` without room; the shelf is unchanged on any error.
    pub fn put(&self, name: &str, kind: &str, meta: &[u8], buffers: &[&[u8]]) -> Result<(), WriteError> {
        check_limits(name, kind, meta)?;
        let core = &self.core;
        let mut state = core.writable()?;
        let mut stored = Vec::with_capacity(buffers.len());
        for bytes in buffers {
            let pages = page_count(name, bytes.len() as u64)?;
            if pages == 0 {
                stored.push(Stored::new(0, Vec::new()));
                continue;
            }
            let place = || -> io::Result<Arc<Extent>> {
                let extent = core.allocate(pages, false, false)?;
                core.write_pages(&extent, 0, bytes)?;
                Ok(extent)
            };
            state.unsynced = true;
            let extent = place().map_err(|error| core.write_failed(&state, name, error))?;
            stored.push(Stored::new(bytes.len() as u64, vec![Segment::whole(extent)]));
        }
        let item = Item {
            kind: kind.into(),
            meta: meta.into(),
            buffers: stored,
            commit: 0,
        };
        state.pending.insert(name.into(), Some(Arc::new(item)));
        Ok(())
    }

    /// Makes zeroed buffers of these sizes that the caller writes in place. Pending until commit.
    pub fn alloc(&self, name: &str, kind: &str, meta: &[u8], sizes: &[u64]) -> Result<Vec<Buffer>, WriteError> {
        check_limits(name, kind, meta)?;
        let core = &self.core;
        let mut state = core.writable()?;
        let mut stored = Vec::with_capacity(sizes.len());
        for len in sizes {
            let pages = page_count(name, *len)?;
            if pages == 0 {
                stored.push(Stored::new(0, Vec::new()));
                continue;
            }
            let place = || -> io::Result<Arc<Extent>> {
                let extent = core.allocate(pages, false, true)?;
                let zero = crc(&[0u8; PAGE as usize]).to_le_bytes();
                core.write(extent.crc_at(0), &zero.repeat(pages as usize))?;
                Ok(extent)
            };
            state.unsynced = true;
            let extent = place().map_err(|error| core.write_failed(&state, name, error))?;
            stored.push(Stored::new(*len, vec![Segment::whole(extent)]));
        }
        let item = Arc::new(Item {
            kind: kind.into(),
            meta: meta.into(),
            buffers: stored,
            commit: 0,
        });
        let name: Arc<str> = name.into();
        let buffers = self.buffers(&state, &name, &item)?;
        state.pending.insert(Arc::clone(&name), Some(item));
        for buffer in &buffers {
            core.arm(&mut state, &name, buffer.index, &buffer.view)?;
        }
        Ok(buffers)
    }

    fn buffers(&self, state: &State, name: &Arc<str>, item: &Item) -> Result<Vec<Buffer>, ReadError> {
        let open = |(index, stored): (usize, &Stored)| {
            let view = self.core.view(state, name, stored)?;
            Ok(Buffer {
                view,
                core: Arc::downgrade(&self.core),
                name: Arc::clone(name),
                index,
            })
        };
        item.buffers.iter().enumerate().map(open).collect()
    }

    /// The value under `name`, pending changes included. Buffers of one name alias each other.
    pub fn get(&self, name: &str) -> Result<Option<Entry>, ReadError> {
        let state = self.core.lock()?;
        let Some(item) = state.item(name) else { return Ok(None) };
        let name: Arc<str> = name.into();
        let buffers = self.buffers(&state, &name, item)?;
        Ok(Some(Entry {
            kind: item.kind.to_string(),
            meta: item.meta.to_vec(),
            buffers,
            commit: item.commit,
        }))
    }

    /// Removes a name; false if it was not there.
    pub fn remove(&self, name: &str) -> Result<bool, WriteError> {
        let mut state = self.core.writable()?;
        if state.item(name).is_none() {
            return Ok(false);
        }
        if state.committed.contains_key(name) {
            state.pending.insert(name.into(), None);
        } else {
            state.pending.remove(name);
        }
        Ok(true)
    }

    /// All names, sorted; none once closed.
    pub fn names(&self) -> Vec<String> {
        let Ok(state) = self.core.lock() else { return Vec::new() };
        let mut names: Vec<&Arc<str>> = state
            .committed
            .keys()
            .filter(|n| !state.pending.contains_key(*n))
            .collect();
        names.extend(
            state
                .pending
                .iter()
                .filter(|(_, item)| item.is_some())
                .map(|(name, _)| name),
        );
        names.sort();
        names.into_iter().map(|name| name.to_string()).collect()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.core.lock().is_ok_and(|state| state.item(name).is_some())
    }

    /// Takes everything since the last commit back: pending puts and removals, and stores through buffers, whose
    /// views show the committed bytes again.
    pub fn rollback(&self) -> Result<(), WriteError> {
        let core = &self.core;
        let mut state = core.writable()?;
        let dirty = core
            .collect(&mut state)
            .map_err(|error| core.write_failed(&state, "a view", error))?;
        let pending = std::mem::take(&mut state.pending);
        for (name, index, view, pages) in dirty {
            let Some(stored) = state
                .committed
                .get(&name)
                .and_then(|item| item.buffers.get(index))
                .cloned()
            else {
                continue;
            };
            let same = stored.cell.lock().as_ref().is_some_and(|held| Arc::ptr_eq(held, &view));
            if !same {
                continue;
            }
            core.restore(&state, &stored, &view, &pages)
                .map_err(|error| core.write_failed(&state, &name, error))?;
            view.carry.lock().clear();
        }
        drop(pending);
        Ok(())
    }

    /// Sets how many older commits stay showable. Takes effect with the next commit.
    pub fn set_history(&self, commits: u32) -> Result<(), crate::CommitError> {
        let core = &self.core;
        let mut state = core.state.lock();
        if state.retain == commits {
            return Ok(());
        }
        if state.retain == 0 && !state.overlay.is_empty() {
            // Pages changed in place must be in the heap before an older commit may point at them.
            core.checkpoint(&mut state, 0)?;
        }
        state.retain = commits;
        Ok(())
    }

    pub fn log(&self) -> Vec<CommitInfo> {
        self.core
            .lock()
            .map(|state| state.history.iter().map(|c| c.info.clone()).collect())
            .unwrap_or_default()
    }

    pub fn inspect(&self) -> Vec<Inspect> {
        let Ok(state) = self.core.lock() else { return Vec::new() };
        let mut rows = Vec::new();
        for name in state
            .committed
            .keys()
            .chain(state.pending.keys().filter(|n| !state.committed.contains_key(*n)))
        {
            let Some(item) = state.item(name) else { continue };
            rows.push(Inspect {
                name: name.to_string(),
                kind: item.kind.to_string(),
                meta: item.meta.to_vec(),
                nbytes: item.nbytes(),
                buffers: item.buffers.len(),
                segments: item.buffers.iter().map(|b| b.segments.len()).sum(),
                offset: item.buffers.iter().find_map(|b| b.segments.first()).map(Segment::at),
                commit: item.commit,
                pending: state.pending.contains_key(name),
                mapped: item.buffers.iter().any(|b| b.cell.lock().is_some()),
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let state = core.state.lock();
        let (live_bytes, free_bytes, quarantined_bytes, free_ranges) = core.space.sizes();
        Stats {
            medium: core.media.medium().name(),
            tracker: core.tracker.kind().name(),
            names: state.committed.len(),
            commit: state.commit,
            generation: state.root.generation,
            file_bytes: core.media.len().unwrap_or(0),
            live_bytes,
            free_bytes,
            quarantined_bytes,
            free_ranges,
            log_bytes: state.log.len,
            log_used: state.log.tail,
            history: state.retain,
            bytes_written: core.written.load(Ordering::Relaxed),
            syncs: core.syncs.load(Ordering::Relaxed),
        }
    }

    pub fn name(&self) -> &str {
        &self.core.name
    }
    pub fn path(&self) -> Option<&std::path::Path> {
        self.core.path.as_deref()
    }
    pub fn medium(&self) -> Medium {
        self.core.media.medium()
    }
    pub fn read_only(&self) -> bool {
        self.core.read_only
    }
    pub fn tracker(&self) -> TrackerKind {
        self.core.tracker.kind()
    }
    pub fn is_closed(&self) -> bool {
        self.core.state.lock().closed
    }
    /// True if puts or removals wait for a commit (in-place stores are not looked for).
    pub fn has_pending(&self) -> bool {
        !self.core.state.lock().pending.is_empty()
    }
}

fn check_limits(name: &str, kind: &str, meta: &[u8]) -> Result<(), WriteError> {
    let over = |what, size: usize, limit: usize| {
        let variable: String = name.chars().take(64).collect();
        if size > limit {
            return Err(WriteError::TooLarge {
                variable,
                what,
                size: size as u64,
                limit: limit as u64,
            });
        }
        Ok(())
    };
    over("the name", name.len(), format::NAME_MAX)?;
    over("the kind", kind.len(), format::KIND_MAX)?;
    over("the inline part", meta.len(), format::META_MAX)
}

fn page_count(name: &str, len: u64) -> Result<u32, WriteError> {
    const LIMIT: u64 = 1 << 43; // 8 TiB: page numbers stay below 2^31
    if len > LIMIT {
        return Err(WriteError::TooLarge {
            variable: name.into(),
            what: "a buffer",
            size: len,
            limit: LIMIT,
        });
    }
    Ok(format::pages(len) as u32)
}
