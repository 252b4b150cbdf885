//! The shelf as its users see it: names, entries, buffers, and the changes pending since the last commit.
//!
//! Reads see pending changes; the medium sees them at [`Shelf::commit`]. One lock guards the catalog; stores through
//! buffers take no lock at all.

use crate::catalog::{Commit, CommitInfo, Item, Segment, Stored};
use crate::core::{Core, State};
use crate::error::{ReadError, WriteError};
use crate::format::{self, PAGE, crc};
use crate::media::Medium;
use crate::space::Extent;
use crate::tracker::TrackerKind;
use crate::view::View;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

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
        core.arm(&mut state, &self.name, self.index, &self.view)?;
        drop(state);
        crate::spill::watch(&core, &self.view);
        Ok(())
    }

    /// The descriptor and offset this buffer is mapped from, if it lies in one piece.
    pub fn file_range(&self) -> Option<(RawFd, u64)> {
        let backing = self.view.backing();
        let [only] = &*backing.segments else {
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
    /// Changed pages that left memory before their commit.
    pub spilled_bytes: u64,
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

impl Drop for Shelf {
    /// As a crash would leave the file, but the lock is free when this returns.
    fn drop(&mut self) {
        if !self.core.is_own_process() {
            return;
        }
        let mut state = self.core.state.lock();
        if !state.closed {
            state.closed = true;
            self.core.release(&state);
        }
    }
}

impl Shelf {
    /// Copies a value onto the shelf: `meta` stays in the catalog, each buffer gets an extent. Pending until commit.
    ///
    /// # Errors
    /// `TooLarge` over a limit of [`format`]; `Full` without room; the shelf is unchanged on any error.
    pub fn put(&self, name: &str, kind: &str, meta: &[u8], buffers: &[&[u8]]) -> Result<(), WriteError> {
        self.fill(name, kind, meta, || {
            let stored = buffers.iter().map(|bytes| {
                let write = |extent: &Extent| self.core.write_pages(extent, 0, bytes);
                self.stored(name, bytes.len() as u64, write)
            });
            stored.collect()
        })
    }

    /// As [`Shelf::put`], with one buffer that is all `parts` one after the other. `seen` is shown what was written, in order:
    /// copies, so that what others store into the parts meanwhile does not tell the two apart.
    ///
    /// # Errors
    /// As [`Shelf::put`].
    pub fn put_joined(
        &self,
        name: &str,
        kind: &str,
        meta: &[u8],
        parts: &[&[u8]],
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<(), WriteError> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.fill(name, kind, meta, || {
            let write = |extent: &Extent| self.core.write_joined(extent, parts, seen);
            Ok(vec![self.stored(name, len, write)?])
        })
    }

    /// Names what `buffers` stores.
    fn fill(
        &self,
        name: &str,
        kind: &str,
        meta: &[u8],
        buffers: impl FnOnce() -> Result<Vec<Stored>, WriteError>,
    ) -> Result<(), WriteError> {
        check_limits(name, kind, meta)?;
        let core = &self.core;
        // Nobody knows the new extents before they are named below, so they are filled without the lock: a commit of another
        // thread does not wait for a large value. Only `close` does.
        let _filling = core.filling.read();
        drop(core.writable()?);
        let item = Item {
            kind: kind.into(),
            meta: meta.into(),
            buffers: buffers()?,
            commit: 0,
        };
        let mut state = core.writable()?;
        state.unsynced |= item.nbytes() > 0;
        state.pending.insert(name.into(), Some(Arc::new(item)));
        Ok(())
    }

    /// A new extent for so many bytes, which `write` writes.
    fn stored(
        &self,
        name: &str,
        len: u64,
        write: impl FnOnce(&Extent) -> io::Result<()>,
    ) -> Result<Stored, WriteError> {
        let core = &self.core;
        let pages = page_count(name, len)?;
        if pages == 0 {
            return Ok(Stored::new(0, Vec::new()));
        }
        let place = || -> io::Result<Arc<Extent>> {
            let extent = {
                let _state = core.state.lock(); // two at once could set the file's length in the wrong order
                core.allocate(pages, false, false)?
            };
            core.filled(extent, write)
        };
        let extent = place().map_err(|error| core.write_failed(&core.state.lock(), name, error))?;
        Ok(Stored::new(len, vec![Segment::whole(extent)]))
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
                core.filled(extent, |extent| {
                    core.write(extent.crc_at(0), &zero.repeat(pages as usize))
                })
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
        drop(state);
        for buffer in &buffers {
            crate::spill::watch(core, &buffer.view);
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

    /// The buffers under `name` in mappings of their own: stores into them are seen by nobody else and never committed.
    pub fn private(&self, name: &str) -> Result<Option<Vec<Buffer>>, ReadError> {
        let state = self.core.lock()?;
        let Some(item) = state.item(name) else { return Ok(None) };
        let open = |(index, stored): (usize, &Stored)| {
            Ok(Buffer {
                view: self.core.fresh_view(&state, name, stored)?,
                core: Weak::new(),
                name: name.into(),
                index,
            })
        };
        item.buffers
            .iter()
            .enumerate()
            .map(open)
            .collect::<Result<_, _>>()
            .map(Some)
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
            let pages = core
                .unspill(&stored, &view, pages)
                .map_err(|error| core.write_failed(&state, &name, error))?;
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
            .map(|state| state.history.iter().map(Commit::info).collect())
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
        let views = state.tracked.iter().filter_map(|tracked| tracked.view.upgrade());
        Stats {
            spilled_bytes: views.map(|view| view.spilled_bytes()).sum(),
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
