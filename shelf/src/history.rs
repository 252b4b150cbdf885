//! Older commits, snapshots, compaction and backup: everything that looks at more than the current state.
//!
//! An older state is the current catalog with the items that later commits replaced put back. While history is kept
//! (or somebody looks at a snapshot) no page is changed in place: changed pages go to new extents, so every kept item
//! still lies where its catalog says.

use crate::catalog::{Item, Names, Segment, Stored};
use crate::commit::Log;
use crate::core::{Core, State};
use crate::error::{CommitError, OpenError, ReadError, WriteError};
use crate::format::{HEAP_START, PAGE};
use crate::shelf::Shelf;
use crate::space::Extent;
use crate::tracker::Tracker;
use crate::view::Arena;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Weak};

/// What differs between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

/// What [`Shelf::compact`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compaction {
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub buffers_moved: usize,
}

impl Shelf {
    /// Oldest commit whose state can still be shown.
    pub fn oldest(&self) -> Result<u64, ReadError> {
        let state = self.core.lock()?;
        Ok(oldest(&state))
    }

    /// What changed from commit `a` to commit `b` (the last one if `None`), by name.
    pub fn diff(&self, a: u64, b: Option<u64>) -> Result<Difference, ReadError> {
        let state = self.core.lock()?;
        let before = names_at(&self.core, &state, a)?;
        let after = names_at(&self.core, &state, b.unwrap_or(state.commit))?;
        let mut difference = Difference::default();
        let all: BTreeSet<&Arc<str>> = before.keys().chain(after.keys()).collect();
        for name in all {
            let list = match (before.get(name), after.get(name)) {
                (None, Some(_)) => &mut difference.added,
                (Some(_), None) => &mut difference.removed,
                (Some(old), Some(new)) if old.commit != new.commit => &mut difference.changed,
                _ => continue,
            };
            list.push(name.to_string());
        }
        Ok(difference)
    }

    /// A read-only shelf that shows the last commit, whatever is committed later.
    pub fn snapshot(&self) -> Result<Shelf, WriteError> {
        let commit = self.core.lock()?.commit;
        self.at(commit)
    }

    /// A read-only shelf that shows commit `id`.
    ///
    /// # Errors
    /// `NoCommit` if it is not kept any more.
    pub fn at(&self, id: u64) -> Result<Shelf, WriteError> {
        let core = &self.core;
        let mut state = core.lock()?;
        names_at(core, &state, id)?;
        if !core.read_only && !state.overlay.is_empty() {
            // The log will be written over while the snapshot lives: its pages must be in the heap.
            core.checkpoint(&mut state, 0)
                .map_err(|error| core.commit_failed(&state, error))?;
        }
        let names = names_at(core, &state, id)?;
        let pin = Arc::new(());
        state.pins.push((id, Arc::downgrade(&pin)));
        let committed = names
            .into_iter()
            .map(|(name, item)| (name, Arc::new(item.detached())))
            .collect();
        let history = state
            .history
            .iter()
            .filter(|commit| commit.info.id <= id)
            .cloned()
            .collect();
        let copy = State {
            commit: id,
            committed,
            history,
            overlay: state.overlay.clone(),
            log: Log {
                extent: Arc::clone(&state.log.extent),
                len: 0,
                tail: 0,
                prev_crc: 0,
                torn_tail: false,
            },
            root: state.root.clone(),
            ..State::blank()
        };
        Ok(Shelf {
            core: Arc::new(Core {
                name: format!("{}@{id}", core.name),
                path: core.path.clone(),
                media: Arc::clone(&core.media),
                arena: Arena::new(),
                tracker: Tracker::Hash,
                space: Arc::clone(&core.space),
                faults: core.faults,
                tuning: core.tuning,
                memory_max: None,
                read_only: true,
                writer: AtomicU32::new(core.opener),
                opener: core.opener,
                pin: Some(pin),
                state: Mutex::new(copy),
                filling: RwLock::new(()),
                written: AtomicU64::new(0),
                syncs: AtomicU64::new(0),
                views: Mutex::default(),
            }),
        })
    }

    /// Brings the names of commit `id` back as pending changes: the next commit makes them durable, a rollback takes
    /// them back. No data is copied. Returns the names that differ from the last commit.
    pub fn checkout(&self, id: u64) -> Result<Vec<String>, WriteError> {
        let core = &self.core;
        let mut state = core.writable()?;
        let then = names_at(core, &state, id)?;
        if !state.overlay.is_empty() {
            core.checkpoint(&mut state, 0)
                .map_err(|error| core.commit_failed(&state, error))?;
        }
        state.pending.clear();
        let mut changed = Vec::new();
        for (name, item) in &then {
            if state.committed.get(name).is_none_or(|now| now.commit != item.commit) {
                changed.push(Arc::clone(name));
                state.pending.insert(Arc::clone(name), Some(Arc::new(item.detached())));
            }
        }
        let gone: Vec<Arc<str>> = state
            .committed
            .keys()
            .filter(|name| !then.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            changed.push(Arc::clone(&name));
            state.pending.insert(name, None);
        }
        changed.sort();
        Ok(changed.into_iter().map(|name| name.to_string()).collect())
    }

    /// Moves variables towards the front of the file, joins split ones, and gives the free tail back.
    ///
    /// Variables with views in use keep their old place until those are gone; run it again then.
    pub fn compact(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Compaction, CommitError> {
        let core = &self.core;
        let mut state = core.state.lock();
        core.committable(&state)?;
        let bytes_before = core.media.len().map_err(|error| core.failed(&state, error))?;
        core.checkpoint(&mut state, 0)?;
        core.checkpoint(&mut state, 0)?; // frees what the first one replaced
        let mut moved = 0;
        for _pass in 0..4 {
            let count = core
                .move_down(&mut state, progress)
                .map_err(|error| core.failed(&state, error))?;
            core.checkpoint(&mut state, 0)?;
            core.checkpoint(&mut state, 0)?;
            moved += count;
            if count == 0 {
                break;
            }
        }
        core.space.trim();
        // A superblock that does not need the tail must be durable before the tail goes.
        core.checkpoint(&mut state, 0)?;
        core.checkpoint(&mut state, 0)?;
        let end = core.space.end();
        core.media.set_len(end).map_err(|error| core.failed(&state, error))?;
        core.space.derive_free(end);
        Ok(Compaction {
            bytes_before,
            bytes_after: end,
            buffers_moved: moved,
        })
    }

    /// Copies the last commit (and the history kept) to a new file while the shelf goes on.
    ///
    /// # Errors
    /// `Exists` if there is a file at `path`.
    pub fn backup(&self, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, OpenError> {
        let core = &self.core;
        let failed = |error| OpenError::io(path, error);
        let other = |error: String| OpenError::io(path, io::Error::other(error));
        if path.exists() {
            return Err(OpenError::Exists {
                path: path.display().to_string(),
            });
        }
        // Under a pin nothing the superblock reaches is changed or reused; the log is left out of the copy.
        let (_pin, _snapshot, root) = {
            let mut state = core.lock().map_err(|error| other(error.to_string()))?;
            if core.read_only {
                return Err(other("a backup is made by the process that writes the shelf".into()));
            }
            core.checkpoint(&mut state, 0)
                .map_err(|error| other(error.to_string()))?;
            let pin = Arc::new(());
            let commit = state.commit;
            state.pins.push((commit, Arc::downgrade(&pin)));
            (pin, state.snapshot.clone(), state.root.clone())
        };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.backup", std::process::id()));
        let temporary = path.with_file_name(name);
        let mut copy = || -> io::Result<()> {
            let file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.set_len(root.file_len)?;
            let mut bytes = vec![0u8; 4 << 20];
            let log = root.log_at..root.log_at + root.log_len;
            let mut at = HEAP_START;
            while at < root.file_len {
                if log.contains(&at) {
                    at = log.end;
                    continue;
                }
                let until = if at < log.start { log.start } else { root.file_len };
                let part = (until - at).min(bytes.len() as u64) as usize;
                core.media.read_at(at, &mut bytes[..part])?;
                if bytes[..part].iter().any(|byte| *byte != 0) {
                    file.write_all_at(&bytes[..part], at)?;
                }
                at += part as u64;
                progress(at, root.file_len);
            }
            file.write_all_at(&root.encode(), 0)?;
            file.sync_all()?;
            std::fs::hard_link(&temporary, path)
        };
        let copied = copy();
        let _ = std::fs::remove_file(&temporary);
        copied.map_err(failed)?;
        crate::recover::sync_directory(path).map_err(failed)?;
        Ok(root.commit)
    }
}

fn oldest(state: &State) -> u64 {
    let kept = state.history.iter().rev().take_while(|commit| commit.kept).last();
    kept.map_or(state.commit, |commit| commit.info.id - 1)
}

/// The catalog as of commit `id`.
fn names_at(core: &Core, state: &State, id: u64) -> Result<Names, ReadError> {
    let oldest = oldest(state);
    if id > state.commit || id < oldest {
        return Err(ReadError::NoCommit {
            name: core.name.clone(),
            commit: id,
            oldest,
        });
    }
    let mut names = state.committed.clone();
    for commit in state.history.iter().rev().take_while(|commit| commit.info.id > id) {
        for (name, old) in &commit.undo {
            match old {
                Some(item) => names.insert(Arc::clone(name), Arc::clone(item)),
                None => names.remove(name),
            };
        }
    }
    Ok(names)
}

impl Core {
    /// Oldest commit that a reader elsewhere or a snapshot here still shows.
    pub fn oldest_pin(&self, state: &mut State) -> io::Result<Option<u64>> {
        state.pins.retain(|(_, pin): &(u64, Weak<()>)| pin.strong_count() > 0);
        let here = state.pins.iter().map(|(commit, _)| *commit).min();
        Ok([self.media.oldest_pin()?, here].into_iter().flatten().min())
    }

    fn commit_failed(&self, state: &State, error: CommitError) -> WriteError {
        let source = io::Error::other(error.to_string());
        WriteError::Io {
            name: self.name.clone(),
            variable: "a snapshot".into(),
            commit: state.commit,
            source,
        }
    }

    /// One pass over all buffers, highest first: copies each to a lower place if there is one.
    fn move_down(&self, state: &mut State, progress: &mut dyn FnMut(u64, u64)) -> io::Result<usize> {
        let mut order: Vec<(u64, Arc<str>, usize)> = Vec::new();
        for (name, item) in &state.committed {
            for (index, stored) in item.buffers.iter().enumerate() {
                let highest = stored.segments.iter().map(Segment::at).max();
                order.extend(highest.map(|at| (at, Arc::clone(name), index)));
            }
        }
        order.sort_unstable_by(|a, b| b.cmp(a));
        let (total, mut moved) = (order.len() as u64, 0);
        for (done, (_, name, index)) in order.into_iter().enumerate() {
            let Some(item) = state.committed.get(&name) else {
                continue;
            };
            let stored = item.buffers[index].clone();
            if let Some(extent) = self.copy_lower(&stored)? {
                stored.segments.iter().for_each(|s| s.extent.moved_after(state.commit));
                let mut next = Item::clone(item);
                next.buffers[index] = Stored {
                    segments: vec![Segment::whole(extent)].into(),
                    len: stored.len,
                    cell: stored.cell,
                };
                state.committed.insert(name, Arc::new(next));
                moved += 1;
            }
            progress(done as u64 + 1, total);
        }
        Ok(moved)
    }

    fn copy_lower(&self, stored: &Stored) -> io::Result<Option<Arc<Extent>>> {
        let lowest = stored.segments.iter().map(Segment::at).min().unwrap_or(0);
        let split = stored.segments.len() > 1 || stored.segments.iter().any(|s| s.count < s.extent.data_pages);
        let Some(extent) = self
            .space
            .allocate_below(stored.pages(), if split { u64::MAX } else { lowest })
        else {
            return Ok(None);
        };
        let mut page = 0;
        let mut bytes = vec![0u8; 1 << 20];
        for segment in stored.segments.iter() {
            for start in (0..segment.count).step_by(256) {
                let count = 256.min(segment.count - start);
                let part = &mut bytes[..count as usize * PAGE as usize];
                self.media
                    .read_at(segment.extent.page_at(segment.first + start), part)?;
                // The old checksums move along: a page that was damaged must not look sound at its new place.
                let mut sums = vec![0u8; count as usize * 4];
                self.media
                    .read_at(segment.extent.crc_at(segment.first + start), &mut sums)?;
                self.write(extent.page_at(page), part)?;
                self.write(extent.crc_at(page), &sums)?;
                page += count;
            }
        }
        Ok(Some(extent))
    }
}
