//! Commits and checkpoints: how a shelf moves from one durable state to the next.
//!
//! A commit gathers the changed pages and catalog operations into one record, appends it to the preallocated log and
//! flushes once. New and moved pages go to free extents first and are flushed before the record names them. The heap
//! itself is changed only by a checkpoint, which then starts the log over with a new salt.
//!
//! Invariants
//!
//! - A record that checks implies that every extent it names is durable.
//! - Bytes reachable from the durable superblock are overwritten only with images the log behind it also holds.
//! - `sequence` grows by exactly one per commit; a no-op commit writes nothing.
//! - After a failed flush nothing is acknowledged until the shelf is opened again.

use crate::catalog::{
    Commit, CommitInfo, Item, NameList, Op, Segment, Stored, encode_ops, encode_snapshot, forget_names, runs,
};
use crate::core::{Core, Logged, State};
use crate::error::{CommitError, is_full};
use crate::format::{self, PAGE, PageRef, RecordHeader, Superblock, Writer, crc, record_span};
use crate::options::Tuning;
use crate::shelf::Shelf;
use crate::space::Extent;
use crate::view::View;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Commits whose message and names stay in `log`, beyond those whose state is kept.
const LOG_MAX: usize = 1000;
/// Most bytes of page images in one record; more dirty chunks are moved whole.
const IMAGES_MAX: usize = 32 << 20;

/// The log region in use.
pub(crate) struct Log {
    pub extent: Arc<Extent>,
    pub len: u64,
    /// Bytes used.
    pub tail: u64,
    /// Header CRC of the last record.
    pub prev_crc: u32,
    /// What lies at the tail may be part of a record that was never acknowledged: it must be gone before the next
    /// record is written over it, or the two could add up to the old one.
    pub torn_tail: bool,
}

/// What a commit is about to write.
struct Plan {
    ops: Vec<Op>,
    /// Page table and images, in the same order.
    pages: Vec<(PageRef, u64)>,
    images: Vec<u8>,
    next: Vec<(Arc<str>, Option<Arc<Item>>)>,
    /// Views whose dirty pages this commit carries.
    views: Vec<Arc<View>>,
}

impl Shelf {
    /// Makes everything since the last commit durable: puts, removals, and stores through writable buffers.
    ///
    /// One flush if only existing pages changed, two if there are new extents; no change writes nothing.
    ///
    /// # Errors
    /// `Full` and `Io` leave the shelf at its last commit with the changes still pending; `Stopped` after a failed flush.
    pub fn commit(&self, message: Option<&str>) -> Result<CommitInfo, CommitError> {
        let core = &self.core;
        let mut state = core.state.lock();
        core.committable(&state)?;
        let before = core.written.load(Ordering::Relaxed);
        let sequence = state.commit + 1;
        let message: String = message.unwrap_or("").chars().take(format::MESSAGE_MAX / 4).collect();
        let mut checkpointed = false;
        loop {
            let plan = core
                .plan(&mut state, sequence)
                .map_err(|error| core.failed(&state, error))?;
            if plan.ops.is_empty() {
                return Ok(CommitInfo {
                    id: state.commit,
                    ..CommitInfo::default()
                });
            }
            let ops = encode_ops(&message, state.retain, &plan.ops);
            let span = record_span(ops.len() as u64, plan.pages.len() as u64);
            if state.log.tail + span > state.log.len {
                if checkpointed {
                    return Err(core.failed(&state, io::Error::other("a record larger than a fresh log")));
                }
                core.checkpoint(&mut state, span)?;
                checkpointed = true;
                continue;
            }
            let time_ns = now_ns();
            core.append(&mut state, sequence, time_ns, &ops, &plan)?;
            let bytes_written = core.written.load(Ordering::Relaxed) - before;
            let info = CommitInfo {
                id: sequence,
                time_ns,
                message,
                bytes_written,
                ..CommitInfo::default()
            };
            let names = core.publish(&mut state, info.clone(), plan);
            let (live, _, held, _) = core.space.sizes();
            if held > (64 << 20).max(live / 2) {
                // The commit is durable whatever happens here; a failed flush shows at the next call.
                if let Err(error) = core.checkpoint(&mut state, 0) {
                    tracing::warn!(shelf = core.name, %error, "checkpoint after a commit failed");
                }
            }
            return Ok(CommitInfo {
                names_changed: names.to_vec(),
                ..info
            });
        }
    }

    /// Writes the state of the last commit into the heap and a snapshot, and starts the log over.
    pub fn checkpoint(&self) -> Result<(), CommitError> {
        let mut state = self.core.state.lock();
        self.core.committable(&state)?;
        self.core.checkpoint(&mut state, 0)
    }

    /// Closes the shelf: checkpoints if there is anything in the log, lets the lock go. Pending changes are dropped.
    ///
    /// Buffers stay readable; a second close does nothing.
    pub fn close(&self) -> Result<(), CommitError> {
        let core = &self.core;
        let _filled = core.filling.write();
        let mut state = core.state.lock();
        if state.closed {
            return Ok(());
        }
        if !core.read_only && !state.stopped && state.log.tail > 0 && core.is_own_process() {
            // Every commit is durable in the log already; a full disk only makes the next open read it.
            if let Err(error) = core.checkpoint(&mut state, 0) {
                tracing::warn!(shelf = core.name, %error, "checkpoint at close failed");
            }
        }
        state.closed = true;
        if core.is_own_process() {
            core.release(&state);
        }
        state.pending.clear();
        state.tracked.clear();
        Ok(())
    }
}

impl Core {
    pub(crate) fn committable(&self, state: &State) -> Result<(), CommitError> {
        let name = self.name.clone();
        if state.closed || !self.is_own_process() {
            Err(CommitError::Closed { name })
        } else if self.read_only {
            Err(CommitError::ReadOnly { name })
        } else if state.stopped {
            Err(CommitError::Stopped {
                name,
                commit: state.commit,
                source: None,
            })
        } else {
            Ok(())
        }
    }

    pub fn failed(&self, state: &State, source: io::Error) -> CommitError {
        let (name, commit) = (self.name.clone(), state.commit);
        if is_full(&source) {
            CommitError::Full { name, commit, source }
        } else {
            CommitError::Io { name, commit, source }
        }
    }

    /// A flush that failed may have dropped any of the writes before it: nothing more is acknowledged.
    fn flush(&self, state: &mut State) -> Result<(), CommitError> {
        self.sync().map_err(|source| {
            state.stopped = true;
            CommitError::Stopped {
                name: self.name.clone(),
                commit: state.commit,
                source: Some(source),
            }
        })
    }

    /// Gathers the operations, page images and new items of the next commit; writes new and moved pages to extents.
    fn plan(&self, state: &mut State, sequence: u64) -> io::Result<Plan> {
        let mut plan = Plan {
            ops: vec![],
            pages: vec![],
            images: vec![],
            next: vec![],
            views: vec![],
        };
        let dirty = self.collect(state)?;
        let moving = state.retain > 0 || !dirty.is_empty() && self.oldest_pin(state)?.is_some();
        let mut touched: BTreeMap<Arc<str>, (Item, bool)> = BTreeMap::new();
        for (name, index, view, pages) in dirty {
            let holds = |item: &Item| {
                let stored = item.buffers.get(index)?;
                let same = stored.cell.lock().as_ref().is_some_and(|held| Arc::ptr_eq(held, &view));
                same.then(|| stored.clone())
            };
            if let Some(pending) = state.pending.get(&name) {
                // An uncommitted buffer: nothing durable refers to its extent, so its pages go straight there.
                if let Some((item, stored)) = pending.as_ref().and_then(|item| Some((item, holds(item)?))) {
                    state.unsynced = true;
                    if item.commit != 0 {
                        // Checked out from an older commit, which still lies on these pages.
                        let mut next = Item::clone(item);
                        next.buffers[index] = self.shadow(&stored, &view, &runs(&pages, self.tuning.chunk_pages))?;
                        state.pending.insert(name, Some(Arc::new(next)));
                        plan.views.push(view);
                        continue;
                    }
                    for (first, count) in runs(&pages, u32::MAX) {
                        self.write_run(&stored.segments[0].extent, first, &view, first, count)?;
                    }
                    plan.views.push(view);
                }
                continue;
            }
            let Some(item) = state.committed.get(&name) else {
                continue;
            };
            let Some(stored) = holds(item) else { continue };
            let (next, moved) = touched.entry(name).or_insert_with(|| (Item::clone(item), false));
            let (stored, pages) = match self.absorb(&stored, &view, &pages)? {
                Some((stored, pages)) => {
                    *moved = true;
                    state.unsynced |= !self.faults.spill_not_flushed;
                    next.buffers[index] = stored.clone();
                    (stored, pages)
                }
                None => (stored, pages),
            };
            let (moves, logged) = split(&pages, view.pages(), moving, plan.images.len(), &self.tuning);
            if !moves.is_empty() {
                *moved = true;
                state.unsynced = true;
                next.buffers[index] = self.shadow(&stored, &view, &moves)?;
            }
            let mut image = [0u8; PAGE as usize];
            for page in logged {
                let Some((extent, at)) = stored.locate(page) else {
                    continue;
                };
                view.copy_page(page, &mut image);
                let page = PageRef {
                    page_at: extent.page_at(at),
                    crc_at: extent.crc_at(at),
                    crc: crc(&image),
                };
                plan.pages.push((page, plan.images.len() as u64));
                plan.images.extend_from_slice(&image);
            }
            plan.views.push(view);
        }
        for (name, pending) in &state.pending {
            match pending {
                Some(item) => {
                    let item = Item {
                        commit: sequence,
                        ..Item::clone(item)
                    };
                    plan.ops.push(Op::Put(Arc::clone(name), item.clone()));
                    plan.next.push((Arc::clone(name), Some(Arc::new(item))));
                }
                None => {
                    plan.ops.push(Op::Remove(Arc::clone(name)));
                    plan.next.push((Arc::clone(name), None));
                }
            }
        }
        for (name, (mut item, moved)) in touched {
            item.commit = sequence;
            plan.ops.push(if moved {
                Op::Put(Arc::clone(&name), item.clone())
            } else {
                Op::Touch(Arc::clone(&name))
            });
            plan.next.push((name, Some(Arc::new(item))));
        }
        Ok(plan)
    }

    /// Writes `count` pages of a view from `first` on to the pages of an extent from `to` on.
    pub fn write_run(&self, extent: &Extent, to: u32, view: &View, first: u32, count: u32) -> io::Result<()> {
        const PART_PAGES: u32 = 2048;
        let mut copy = vec![];
        for start in (0..count).step_by(PART_PAGES as usize) {
            let pages = PART_PAGES.min(count - start);
            // Another thread may store meanwhile: checksum and bytes must come from one copy.
            copy.resize(pages as usize * PAGE as usize, 0);
            for (index, into) in copy.as_chunks_mut::<{ PAGE as usize }>().0.iter_mut().enumerate() {
                view.copy_page(first + start + index as u32, into);
            }
            self.write_pages(extent, to + start, &copy)?;
        }
        Ok(())
    }

    /// Copies runs of pages to new extents; the buffer with its segments changed.
    fn shadow(&self, stored: &Stored, view: &View, moves: &[(u32, u32)]) -> io::Result<Stored> {
        let mut made: Vec<Arc<Extent>> = Vec::with_capacity(moves.len());
        for (first, count) in moves {
            let extent = self
                .allocate(*count, false, false)
                .and_then(|extent| self.filled(extent, |extent| self.write_run(extent, 0, view, *first, *count)));
            match extent {
                Ok(extent) => made.push(extent),
                Err(error) => {
                    made.iter().for_each(|extent| self.abandon(extent));
                    return Err(error);
                }
            }
        }
        Ok(moves
            .iter()
            .zip(made)
            .fold(stored.clone(), |stored, ((first, _), extent)| {
                stored.moved(*first, &Segment::whole(extent))
            }))
    }

    /// Appends the record and makes it durable. On return with `Ok` the commit may be acknowledged.
    fn append(
        &self,
        state: &mut State,
        sequence: u64,
        time_ns: i64,
        ops: &[u8],
        plan: &Plan,
    ) -> Result<(), CommitError> {
        if state.log.torn_tail
            && !self.faults.torn_tail_kept
            && state.log.tail + format::RECORD_HEADER as u64 <= state.log.len
        {
            let at = state.log.extent.at + state.log.tail;
            self.write(at, &[0; format::RECORD_HEADER])
                .map_err(|error| self.failed(state, error))?;
            state.unsynced = true;
        }
        state.log.torn_tail = false;
        if state.unsynced {
            self.flush(state)?;
            state.unsynced = false;
        }
        let mut table = Writer::default();
        plan.pages.iter().for_each(|(page, _)| page.encode(&mut table));
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(ops);
        hasher.update(&table.0);
        let header = RecordHeader {
            salt: state.root.salt,
            generation: state.root.generation,
            sequence,
            time_ns,
            ops_len: ops.len() as u32,
            page_count: plan.pages.len() as u32,
            body_crc: hasher.finalize(),
            prev_crc: state.log.prev_crc,
        };
        let (head, head_crc) = header.encode();
        let mut record = Vec::with_capacity(header.span() as usize);
        record.extend_from_slice(&head);
        record.extend_from_slice(ops);
        record.extend_from_slice(&table.0);
        record.extend_from_slice(&plan.images);
        let at = state.log.extent.at + state.log.tail;
        if self.faults.apply_before_log_sync {
            for (page, image) in &plan.pages {
                let image = &plan.images[*image as usize..][..PAGE as usize];
                self.write(page.page_at, image)
                    .map_err(|error| self.failed(state, error))?;
            }
        }
        if let Err(error) = self.write(at, &record) {
            state.log.torn_tail = true;
            return Err(self.failed(state, error));
        }
        if let Err(error) = self.flush(state) {
            // The record may still be in the page cache, and look durable to the next open: take it back.
            let _ = self.write(at, &[0; format::RECORD_HEADER]);
            return Err(error);
        }
        if self.faults.lost_set_length {
            self.media
                .set_len(self.space.end())
                .map_err(|error| self.failed(state, error))?;
        }
        let images_at = at + (head.len() + ops.len() + table.0.len()) as u64;
        for (page, image) in &plan.pages {
            let logged = Logged {
                image_at: images_at + image,
                image: None,
                page: *page,
                commit: sequence,
            };
            state.overlay.insert(page.page_at, logged);
        }
        state.log.tail += header.span();
        state.log.prev_crc = head_crc;
        Ok(())
    }

    /// Makes a durable commit the current state in memory.
    fn publish(&self, state: &mut State, info: CommitInfo, plan: Plan) -> NameList {
        for view in &plan.views {
            view.carry.lock().clear();
            view.spilled.lock().clear();
        }
        state.commit = info.id;
        // Before any replaced item is dropped: what it frees belongs to this commit.
        self.space.commit.store(info.id, Ordering::Relaxed);
        state.pending.clear();
        let mut undo = Vec::with_capacity(plan.next.len());
        for (name, item) in plan.next {
            let old = match item {
                Some(item) => state.committed.insert(Arc::clone(&name), item),
                None => state.committed.remove(&name),
            };
            undo.push((name, old));
        }
        remember(state, info, undo)
    }

    /// Applies the log to the heap, snapshots the catalog and switches superblocks.
    ///
    /// `room` is the size of a record that must fit into the log afterwards.
    pub fn checkpoint(&self, state: &mut State, room: u64) -> Result<(), CommitError> {
        self.media.begin_apply().map_err(|error| self.failed(state, error))?;
        let result = self.checkpoint_locked(state, room);
        self.media.end_apply();
        result
    }

    fn checkpoint_locked(&self, state: &mut State, room: u64) -> Result<(), CommitError> {
        let pin = self.oldest_pin(state).map_err(|error| self.failed(state, error))?;
        if let Some(pin) = pin {
            self.relocate(state, pin).map_err(|error| self.failed(state, error))?;
        }
        forget_names(&mut state.history);
        let releasable = self.space.quarantined();
        let prepared = self
            .prepare(state, pin, room)
            .map_err(|error| self.failed(state, error));
        let (snapshot, root, log) = prepared?;
        let slot = if self.faults.single_superblock {
            0
        } else {
            1 - state.slot
        };
        if state.spare_torn && !self.faults.single_superblock && !self.faults.torn_superblock_kept {
            self.write(slot * PAGE, &[0; PAGE as usize])
                .map_err(|error| self.failed(state, error))?;
        }
        self.flush(state)?;
        if let Err(error) = self.write(slot * PAGE, &root.encode()) {
            // The slot may hold anything now; only a reopen can tell.
            state.stopped = true;
            return Err(self.failed(state, error));
        }
        self.flush(state)?;
        if self.faults.lost_set_length {
            self.media
                .set_len(self.space.end())
                .map_err(|error| self.failed(state, error))?;
        }
        state.slot = slot;
        state.spare_torn = false;
        state.snapshot = Some(snapshot);
        if let Some(extent) = log {
            state.log.len = extent.bytes();
            state.log.extent = extent;
        }
        state.log.tail = 0;
        state.log.torn_tail = false;
        state.log.prev_crc = root.salt as u32;
        state.root = root;
        state.overlay.clear();
        state.unsynced = false;
        self.space.release(releasable, pin);
        Ok(())
    }

    /// Writes heap pages, the snapshot and a larger log if needed; nothing durable refers to the new parts yet.
    fn prepare(
        &self,
        state: &State,
        pin: Option<u64>,
        room: u64,
    ) -> io::Result<(Arc<Extent>, Superblock, Option<Arc<Extent>>)> {
        let mut image = [0u8; PAGE as usize];
        for (at, logged) in &state.overlay {
            if pin.is_some_and(|pin| logged.commit > pin) {
                continue; // relocated; a reader still sees the page under it
            }
            self.media.read_at(logged.image_at, &mut image)?;
            self.write(*at, &image)?;
            self.write(logged.page.crc_at, &logged.page.crc.to_le_bytes())?;
        }
        let bytes = encode_snapshot(&state.committed, &state.history, state.retain);
        let snapshot = self.allocate(format::pages(bytes.len() as u64) as u32, true, false)?;
        self.write(snapshot.at, &bytes)?;
        let mut log = None;
        // A log that holds few records of this size would be checkpointed all the time: three flushes for one.
        let most = self.tuning.log_growth_max.max(state.log.len);
        let wanted = (room * 8).clamp(state.log.len, most).max(room);
        if wanted > state.log.len {
            let extent = self.allocate(format::pages(wanted.next_power_of_two()) as u32, true, false)?;
            zero_fill(self, &extent)?;
            log = Some(extent);
        }
        let generation = state.root.generation + 1;
        let (log_at, log_len) = log
            .as_ref()
            .map_or((state.log.extent.at, state.log.len), |e| (e.at, e.bytes()));
        let root = Superblock {
            generation,
            salt: next_salt(state.root.salt, generation),
            log_at,
            log_len,
            snapshot_at: snapshot.at,
            snapshot_len: bytes.len() as u64,
            snapshot_crc: crc(&bytes),
            commit: state.commit,
            file_len: self.space.end(),
            id: state.root.id,
        };
        Ok((snapshot, root, log))
    }

    /// Moves pages that changed in place after `pin` to new extents, so that the reader's pages stay as they are.
    fn relocate(&self, state: &mut State, pin: u64) -> io::Result<()> {
        if state.overlay.values().all(|logged| logged.commit <= pin) {
            return Ok(());
        }
        let mut changed = Vec::new();
        for (name, item) in &state.committed {
            let mut next: Option<Item> = None;
            for (index, stored) in item.buffers.iter().enumerate() {
                let mut start = 0;
                for segment in stored.segments.iter() {
                    let range = segment.at()..segment.at() + u64::from(segment.count) * PAGE;
                    for (at, logged) in state.overlay.range(range.clone()).filter(|(_, l)| l.commit > pin) {
                        segment.extent.moved_after(state.commit);
                        let mut image = [0u8; PAGE as usize];
                        self.media.read_at(logged.image_at, &mut image)?;
                        let extent = self.allocate(1, false, false)?;
                        self.write_pages(&extent, 0, &image)?;
                        let page = start + ((at - range.start) / PAGE) as u32;
                        let next = next.get_or_insert_with(|| Item::clone(item));
                        next.buffers[index] = next.buffers[index].moved(page, &Segment::whole(extent));
                    }
                    start += segment.count;
                }
            }
            if let Some(next) = next {
                changed.push((Arc::clone(name), Arc::new(next)));
            }
        }
        state.committed.extend(changed);
        Ok(())
    }

    /// Puts committed bytes back into pages of a view, and counts them as clean.
    pub fn restore(&self, state: &State, stored: &Stored, view: &View, pages: &[u32]) -> io::Result<()> {
        let backing = view.backing();
        let mut image = [0u8; PAGE as usize];
        for page in pages {
            let (Some((extent, at)), Some((under, under_at))) = (stored.locate(*page), backing.locate(*page)) else {
                continue;
            };
            let place = extent.page_at(at);
            let source = match state.overlay.get(&place) {
                Some(logged) => logged.image_at,
                None if place == under.page_at(under_at) && view.discard(*page, 1) => continue,
                None => place,
            };
            self.media.read_at(source, &mut image)?;
            view.write(*page as usize * PAGE as usize, &image);
        }
        self.tracker.rearm(view)
    }
}

/// Remembers a commit in the history, and forgets what is beyond the retention; the names it changed, sorted.
pub(crate) fn remember(state: &mut State, info: CommitInfo, mut undo: Vec<(Arc<str>, Option<Arc<Item>>)>) -> NameList {
    undo.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let names = NameList::new(undo.iter().map(|(name, _)| &**name));
    state.history.push_back(Commit {
        info,
        names: names.clone(),
        undo,
        kept: true,
    });
    let surplus = state.history.len().saturating_sub(state.retain as usize);
    for commit in state.history.iter_mut().take(surplus).rev() {
        if !commit.kept {
            break;
        }
        commit.kept = false;
        commit.undo = Vec::new();
    }
    while state.history.len() > LOG_MAX.max(state.retain as usize) {
        state.history.pop_front();
    }
    names
}

/// Dirty pages of one view: runs to move to new extents, and single pages to log.
fn split(pages: &[u32], view_pages: u32, moving: bool, images: usize, tuning: &Tuning) -> (Vec<(u32, u32)>, Vec<u32>) {
    let size = tuning.chunk_pages;
    let mut moves: Vec<(u32, u32)> = Vec::new();
    let mut logged = Vec::new();
    for chunk in pages.chunk_by(|a, b| a / size == b / size) {
        let first = chunk[0] / size * size;
        let count = size.min(view_pages - first);
        let dense = chunk.len() as u32 >= tuning.dense_pages;
        let full = images + (logged.len() + chunk.len()) * PAGE as usize > IMAGES_MAX;
        if dense || full {
            match moves.last_mut() {
                Some((start, length)) if *start + *length == first => *length += count,
                _ => moves.push((first, count)),
            }
        } else if moving {
            moves.extend(runs(chunk, size));
        } else {
            logged.extend_from_slice(chunk);
        }
    }
    (moves, logged)
}

/// Writes zeros, so that later overwrites change no metadata.
pub(crate) fn zero_fill(core: &Core, extent: &Extent) -> io::Result<()> {
    let zeros = [0u8; PAGE as usize];
    let mut at = extent.at;
    while at < extent.at + extent.bytes() {
        let part = (extent.at + extent.bytes() - at).min(zeros.len() as u64);
        core.write(at, &zeros[..part as usize])?;
        at += part;
    }
    Ok(())
}

/// The salt of the next log: a bijection of the last one, so that neighbours never share it.
pub(crate) fn next_salt(salt: u64, generation: u64) -> u64 {
    let mut z = salt.wrapping_add(generation.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(crate) fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_nanos() as i64)
}
