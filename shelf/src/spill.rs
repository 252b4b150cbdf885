//! What memory has no room for: changed pages leave it before their commit.
//!
//! Stores make private copies of pages, and the kernel can only swap those. When memory runs short, chunks that are
//! mostly private copies are given back: a chunk that is as committed is mapped from the file again; a changed one is
//! written to a *shadow* extent, which nothing durable knows, and mapped from there. The next commit moves the buffer to
//! its shadows instead of writing them, as it does with any dense change; a rollback maps the committed pages again.
//!
//! Invariants
//!
//! - No store is lost: pages change hands only while stores are held back (see [`crate::guard`]).
//! - A page that was stored into after its chunk was spilled is dirty again, and is written to the shadow by the commit.
//! - A spill alone commits nothing: after a crash its extents are free space.

use crate::catalog::{Segment, Stored, runs};
use crate::core::{Core, State};
use crate::error::WriteError;
use crate::guard;
use crate::shelf::Shelf;
use crate::space::Extent;
use crate::tracker::Tracker;
use crate::view::View;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

/// A run of pages of a view; `held` if nobody can store into the view anyway.
struct Chunk<'a> {
    view: &'a View,
    first: u32,
    count: u32,
    held: bool,
}

/// Smaller views are not worth a look, in bytes.
const VIEW_MIN: u64 = 1 << 20;
/// Most that is given back under one hold of a shelf's lock, in bytes.
const PASS_MAX: u64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// No program fills memory faster, in bytes per millisecond: how long it is safe to look away.
const FILL_MAX: u64 = 8 << 20;
const LOOK_RARELY: Duration = Duration::from_millis(200);

impl Shelf {
    /// Gives up to `bytes` of memory that private copies of pages hold back to the system; returns how many it gave.
    ///
    /// Nothing becomes durable, and no value changes. Runs by itself when memory is short.
    ///
    /// # Errors
    /// `Full` if there is no room in the file for changed pages; they stay in memory then.
    pub fn relieve(&self, bytes: u64) -> Result<u64, WriteError> {
        let mut state = self.core.writable()?;
        self.core
            .relieve(&mut state, bytes, false)
            .map_err(|error| self.core.write_failed(&state, "changed pages", error))
    }
}

impl Core {
    /// With `press` nobody stores into a view while it is worked on, so that memory is not filled faster than emptied.
    fn relieve(&self, state: &mut State, bytes: u64, press: bool) -> io::Result<u64> {
        if matches!(self.tracker, Tracker::Mprotect) {
            return Ok(0); // holds pages read-only itself
        }
        if !state.overlay.is_empty() {
            // A clean page can only be mapped again once its newest bytes are in the heap.
            self.checkpoint(state, 0).map_err(io::Error::other)?;
        }
        self.collect(state)?;
        let mut given = self.drop_idle(state)?;
        let live: Vec<(Arc<str>, usize, Arc<View>)> = state
            .tracked
            .iter()
            .filter_map(|tracked| Some((Arc::clone(&tracked.name), tracked.index, tracked.view.upgrade()?)))
            .collect();
        let size = self.tuning.chunk_pages;
        for (name, index, view) in live {
            if view.is_mapped() && view.len() < VIEW_MIN {
                continue;
            }
            let all = press.then(|| guard::hold(&view, 0, view.pages())).transpose()?;
            for first in (0..view.pages()).step_by(size as usize) {
                if given >= bytes {
                    return Ok(given);
                }
                let count = size.min(view.pages() - first);
                let private = self.tracker.private_pages(&view, first, count)?;
                let chunk = Chunk {
                    view: &view,
                    first,
                    count,
                    held: all.is_some(),
                };
                if private * 4 >= count && self.give_back(state, &name, index, &chunk)? {
                    given += u64::from(private) * crate::format::PAGE;
                }
            }
        }
        Ok(given)
    }

    /// Unmaps views that nobody holds and that are as committed: the next use maps them again.
    fn drop_idle(&self, state: &State) -> io::Result<u64> {
        let mut given = 0;
        for stored in state.committed.values().flat_map(|item| &item.buffers) {
            let mut cell = stored.cell.lock();
            // Handles are made under the state's lock, which is held: a count of one stays one.
            let idle = cell.as_ref().filter(|view| {
                Arc::strong_count(view) == 1
                    && view.is_mapped()
                    && view.len() >= VIEW_MIN
                    && view.carry.lock().is_empty()
                    && view.spilled.lock().is_empty()
            });
            if let Some(view) = idle {
                let pages = self.tracker.private_pages(view, 0, view.pages())?;
                given += u64::from(pages) * crate::format::PAGE;
                *cell = None;
            }
        }
        Ok(given)
    }

    /// Gives one chunk of a view back; false if it has to stay.
    fn give_back(&self, state: &mut State, name: &str, index: usize, chunk: &Chunk) -> io::Result<bool> {
        let Chunk { view, first, count, .. } = *chunk;
        let holds = |stored: &&Stored| {
            let cell = stored.cell.lock();
            cell.as_ref().is_some_and(|held| std::ptr::eq(&**held, view))
        };
        let pending = state.pending.get(name).and_then(Option::as_ref);
        let new = pending.and_then(|item| Some((item, item.buffers.get(index).filter(holds)?)));
        if let Some((item, stored)) = new {
            if item.commit != 0 {
                return Ok(false); // checked out: it still shares its pages with an older commit
            }
            // Nothing durable refers to its extent: its pages go to their own place.
            let place = stored.slice(first, count);
            let extent = Arc::clone(&stored.segments[0].extent);
            state.unsynced |= !self.faults.spill_not_flushed;
            return self.swap(chunk, &place, Some((&extent, first)));
        }
        let committed = state.committed.get(name).and_then(|item| item.buffers.get(index));
        let Some(stored) = committed.filter(holds).cloned() else {
            return Ok(false);
        };
        let known = view.spilled.lock().iter().find(|(at, _)| *at == first).cloned();
        if let Some((_, place)) = known {
            state.unsynced |= !self.faults.spill_not_flushed;
            return self.swap(chunk, std::slice::from_ref(&place), Some((&place.extent, place.first)));
        }
        let changed = view
            .carry
            .lock()
            .iter()
            .any(|page| (first..first + count).contains(page));
        if !changed {
            let place = stored.slice(first, count);
            return self.swap(chunk, &place, None);
        }
        let extent = self.allocate(count, false, false)?;
        let place = Segment::whole(Arc::clone(&extent));
        state.unsynced |= !self.faults.spill_not_flushed;
        let done = self.swap(chunk, std::slice::from_ref(&place), Some((&extent, 0)))?;
        if done {
            view.spilled.lock().push((first, place));
        }
        Ok(done)
    }

    /// Maps a chunk from `place`, after writing it there if `to` says where. False if it is to stay: it counted as
    /// committed, and was stored into.
    fn swap(&self, chunk: &Chunk, place: &[Segment], to: Option<(&Extent, u32)>) -> io::Result<bool> {
        let Chunk { view, first, count, .. } = *chunk;
        if let Some((extent, at)) = to {
            // Most of the work, while stores go on; what they change is written again below.
            self.write_run(extent, at, view, first, count)?;
        }
        let held = (!chunk.held).then(|| guard::hold(view, first, count)).transpose()?;
        let late = self.tracker.collect_range(view, first, count)?;
        view.carry.lock().extend(&late);
        match to {
            None if !late.is_empty() => return Ok(false),
            None => {}
            Some((extent, at)) => {
                for (page, pages) in runs(&late, u32::MAX) {
                    self.write_run(extent, at + (page - first), view, page, pages)?;
                }
            }
        }
        view.remap(first, place)?;
        self.tracker.arm_fresh(view, first, count)?;
        drop(held);
        view.carry.lock().retain(|page| !(first..first + count).contains(page));
        Ok(true)
    }

    /// For a commit: the buffer with its spilled chunks where they were spilled to, and the dirty pages that are left.
    /// Dirty pages of those chunks are written to them. `None` if nothing was spilled.
    pub fn absorb(&self, stored: &Stored, view: &View, dirty: &[u32]) -> io::Result<Option<(Stored, Vec<u32>)>> {
        let spilled = view.spilled.lock().clone();
        if spilled.is_empty() {
            return Ok(None);
        }
        let (mut stored, mut left) = (stored.clone(), dirty.to_vec());
        for (first, place) in spilled {
            let (inside, outside): (Vec<u32>, Vec<u32>) = left
                .into_iter()
                .partition(|page| (first..first + place.count).contains(page));
            for (page, pages) in runs(&inside, u32::MAX) {
                self.write_run(&place.extent, place.first + (page - first), view, page, pages)?;
            }
            left = outside;
            stored = stored.moved(first, &place);
        }
        Ok(Some((stored, left)))
    }

    /// For a rollback: spilled chunks show the committed pages again. Returns `dirty` and the pages of those chunks.
    pub fn unspill(&self, stored: &Stored, view: &View, mut dirty: Vec<u32>) -> io::Result<Vec<u32>> {
        loop {
            let Some((first, place)) = view.spilled.lock().last().cloned() else {
                break;
            };
            let held = guard::hold(view, first, place.count)?;
            view.remap(first, &stored.slice(first, place.count))?;
            self.tracker.arm_fresh(view, first, place.count)?;
            drop(held);
            view.spilled.lock().pop();
            dirty.extend(first..first + place.count);
        }
        dirty.sort_unstable();
        dirty.dedup();
        Ok(dirty)
    }
}

// ---- watching memory ---------------------------------------------------------------------------------------------

/// Shelves with writable views, and their limits; one thread looks after all of them, and ends with the last.
static WATCHED: Mutex<Vec<(Weak<Core>, Option<u64>)>> = Mutex::new(Vec::new());

static WATCHER: Mutex<Option<Thread>> = Mutex::new(None);

/// From here on the shelf spills when memory is short.
pub(crate) fn watch(core: &Arc<Core>, view: &View) {
    if !view.is_mapped() || view.len() < VIEW_MIN {
        return;
    }
    let mut watched = WATCHED.lock();
    let first = watched.is_empty(); // else the thread runs
    watched.retain(|(held, _)| held.strong_count() > 0);
    if watched
        .iter()
        .any(|(held, _)| std::ptr::eq(held.as_ptr(), &raw const **core))
    {
        return;
    }
    watched.push((Arc::downgrade(core), core.memory_max));
    drop(watched);
    if first {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: the three functions touch one atomic and are part of this library, which is never unloaded.
        ONCE.call_once(|| unsafe {
            libc::pthread_atfork(Some(wait_for_pass), Some(end_pass), Some(end_pass));
        });
        let thread = std::thread::Builder::new().name("larder-memory".into());
        match thread.spawn(look) {
            Ok(handle) => *WATCHER.lock() = Some(handle.thread().clone()),
            Err(error) => tracing::warn!(%error, "no thread that watches memory: nothing is spilled"),
        }
    } else if let Some(thread) = &*WATCHER.lock() {
        thread.unpark(); // it may look away for longer than this shelf's limit allows
    }
}

/// True while the thread has a shelf's lock: a process forked in the middle would find it locked for ever.
static PASS: AtomicBool = AtomicBool::new(false);

extern "C" fn wait_for_pass() {
    while PASS.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn end_pass() {
    PASS.store(false, Ordering::Release);
}

fn look() {
    let mut pause = Duration::ZERO;
    loop {
        std::thread::park_timeout(pause);
        let shelves = {
            let mut watched = WATCHED.lock();
            watched.retain(|(core, _)| core.strong_count() > 0);
            if watched.is_empty() {
                return; // under the lock: who comes next starts a thread anew
            }
            watched.clone()
        };
        pause = LOOK_EVERY;
        for (core, memory_max) in shelves {
            let Shortage { wanted, spare, press } = shortage(memory_max);
            pause = pause.min(Duration::from_millis((spare / FILL_MAX).max(1)));
            let Some(core) = (wanted > 0).then(|| core.upgrade()).flatten() else {
                continue;
            };
            wait_for_pass();
            let given = core
                .writable()
                .map_or(Ok(0), |mut state| core.relieve(&mut state, wanted.min(PASS_MAX), press));
            drop(core);
            end_pass();
            match given {
                Ok(0) => pause = LOOK_RARELY,
                Ok(bytes) => tracing::debug!(bytes, "memory given back"),
                Err(error) => {
                    tracing::warn!(%error, "changed pages cannot leave memory");
                    pause = LOOK_RARELY;
                }
            }
        }
    }
}

struct Shortage {
    /// Bytes that should be given back.
    wanted: u64,
    /// Bytes that may be used before some should.
    spare: u64,
    /// Memory is filled faster than it is given back.
    press: bool,
}

fn shortage(memory_max: Option<u64>) -> Shortage {
    if let Some(limit) = memory_max {
        let used = field("/proc/self/status", "RssAnon:").unwrap_or(0);
        return Shortage {
            wanted: used.saturating_sub(limit),
            spare: limit.saturating_sub(used),
            press: used > limit / 4 * 5,
        };
    }
    let machine = field("/proc/meminfo", "MemTotal:").zip(field("/proc/meminfo", "MemAvailable:"));
    let mut worst = Shortage {
        wanted: 0,
        spare: u64::MAX,
        press: false,
    };
    for (total, available) in machine.into_iter().chain(group()) {
        let least = (total / 10).max((total / 4).min(256 << 20));
        if available < least {
            worst.wanted = worst.wanted.max(least + least / 2 - available);
        }
        worst.spare = worst.spare.min(available.saturating_sub(least));
        worst.press |= available < least / 4 * 3;
    }
    worst
}

/// Limit and what is left of it in this process's control group, of either version; page cache counts as free.
fn group() -> Option<(u64, u64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = |mark: &str| groups.lines().find_map(|line| Some(line.split_once(mark)?.1));
    let (root, own, limit, used) = match path(":memory:") {
        Some(own) => (
            "/sys/fs/cgroup/memory",
            own,
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        None => ("/sys/fs/cgroup", path("0::")?, "memory.max", "memory.current"),
    };
    // In a container the path may be the host's, and the container's own group lies at the root.
    [format!("{root}{own}"), root.to_string()].iter().find_map(|group| {
        let text = |name: &str| std::fs::read_to_string(format!("{group}/{name}")).ok();
        let number = |name: &str| -> Option<u64> { text(name)?.trim().parse().ok() };
        let (limit, used, stat) = (number(limit)?, number(used)?, text("memory.stat")?);
        let cached = |name: &str| -> u64 {
            let line = stat.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let cache = cached("inactive_file ") + cached("active_file ");
        Some((limit, limit.saturating_sub(used.saturating_sub(cache))))
    })
}

/// A field of a `/proc` file, given there in kB.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
