//! The arena: a home for large arrays that can leave DRAM and come back at the same address.
//!
//! One range of addresses is reserved once. Each array gets whole 2 MiB slots of it, ending in at least one page that
//! faults (a guard). With a tier file set, its pages are that file's pages at the same offset (`MAP_SHARED`), so writing
//! them back and letting the kernel drop them frees DRAM, while loads, stores and `readv` keep working throughout: the
//! mapping itself never changes. Without one they are anonymous memory with huge pages.
//!
//! Invariants
//!
//! - An address inside the reservation belongs to the arena and to nothing else, for the life of the process.
//! - A file-backed block has its disk space allocated before it is handed out: a full disk refuses the block (it becomes
//!   anonymous) and never turns into a SIGBUS.
//! - A fresh block reads as zeros.
//! - After `fork` the child sees its file-backed blocks as private copies and never writes to, punches or extends the
//!   parent's tier file.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// How the tier file is named in its directory, and so in `/proc/self/maps`.
pub const TIER_FILE_PREFIX: &str = "larder-tier-";
const SLOT: usize = 2 << 20;
const PAGE: usize = 4096;
/// Freed blocks that stay mapped, all together; none is larger than half of it.
const KEPT_BYTES_MAX: usize = 64 << 20;
const RESERVE_BYTES: [usize; 3] = [1 << 40, 1 << 37, 1 << 34];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Anonymous memory: can move to a slow node or to swap only.
    Anonymous,
    /// Pages of the tier file.
    TierFile,
    /// Inherited through `fork`: a private view of the parent's tier file.
    Inherited,
}

/// One array's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub start: usize,
    /// Mapped bytes: what was asked for, in whole pages.
    pub bytes: usize,
    pub backing: Backing,
    /// Of this block alone, not of others that had its addresses before.
    pub serial: u64,
    /// Its pages are watched: stores into them cost more than into fresh ones, so it is not kept.
    pub watched: bool,
}

#[derive(Default)]
struct State {
    live: BTreeMap<usize, Block>,
    /// Free runs of slots by first slot.
    free: BTreeMap<usize, usize>,
    next_slot: usize,
    made: u64,
    /// Blocks that were given back and are still mapped, for the next array of their size.
    kept: Vec<Block>,
    file: Option<Arc<File>>,
}

/// A lock that can be held across `fork`, which the standard ones cannot be.
struct Guarded {
    held: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is reached only between `lock` and `unlock`.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn lock(&self) {
        while self
            .held
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            std::thread::yield_now();
        }
    }

    fn unlock(&self) {
        self.held.store(false, Ordering::Release);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.lock();
        // SAFETY: the lock is held, so this is the only reference.
        let out = act(unsafe { &mut *self.state.get() });
        self.unlock();
        out
    }
}

/// The process's one reservation.
pub struct Arena {
    base: usize,
    bytes: usize,
    inner: Guarded,
}

static ARENA: OnceLock<Result<Arena, String>> = OnceLock::new();

/// The arena, reserved at the first call.
///
/// # Errors
/// Why no addresses could be reserved (an address-space limit).
pub fn arena() -> Result<&'static Arena, String> {
    let arena = ARENA.get_or_init(|| {
        let made = Arena::reserve();
        if made.is_ok() {
            // SAFETY: the three handlers are plain functions without arguments that live as long as the process.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) };
        }
        made
    });
    arena.as_ref().map_err(Clone::clone)
}

/// The arena if some call has made it.
pub fn existing() -> Option<&'static Arena> {
    ARENA.get().and_then(|arena| arena.as_ref().ok())
}

extern "C" fn before_fork() {
    if let Some(arena) = existing() {
        arena.inner.lock();
    }
}

extern "C" fn after_fork_parent() {
    if let Some(arena) = existing() {
        arena.inner.unlock();
    }
}

extern "C" fn after_fork_child() {
    let Some(arena) = existing() else { return };
    // SAFETY: `before_fork` took the lock in this thread, the only one the child has.
    let state = unsafe { &mut *arena.inner.state.get() };
    if let Some(file) = state.file.take() {
        for block in state
            .live
            .values_mut()
            .filter(|block| block.backing == Backing::TierFile)
        {
            let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
            // SAFETY: the block's own pages, in a child with one thread; the contents are the same file pages.
            unsafe { arena.map(block.start, block.bytes, flags, Some(&file)) };
            block.backing = Backing::Inherited;
        }
        // Only this process's descriptor goes; the mappings keep the file.
        drop(file);
    }
    arena.inner.unlock();
}

impl Arena {
    fn reserve() -> Result<Arena, String> {
        for bytes in RESERVE_BYTES {
            // SAFETY: a fresh reservation without access at an address the kernel chooses.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    bytes + SLOT,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if at != libc::MAP_FAILED {
                let base = (at as usize).next_multiple_of(SLOT);
                let inner = Guarded {
                    held: AtomicBool::new(false),
                    state: UnsafeCell::new(State::default()),
                };
                return Ok(Arena { base, bytes, inner });
            }
        }
        Err(format!(
            "no {} GiB of addresses to reserve (ulimit -v?)",
            RESERVE_BYTES[2] >> 30
        ))
    }

    /// Whether `address` is one of the arena's.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.bytes
    }

    /// Puts blocks made from now on into a fresh, unlinked file in `directory`; `None`: back to anonymous memory.
    ///
    /// # Errors
    /// The directory's: not writable, or a memory file system, which would be no slower tier.
    pub fn set_file(&self, directory: Option<&Path>) -> io::Result<()> {
        let file = match directory {
            None => None,
            Some(directory) => Some(self.make_file(directory)?),
        };
        self.inner.with(|state| {
            if file.is_none() || state.file.is_none() {
                // Blocks of the old file keep it open through their mappings; their space goes with the last of them.
                state.file = file.map(Arc::new);
            }
        });
        Ok(())
    }

    fn make_file(&self, directory: &Path) -> io::Result<File> {
        let path = directory.join(format!("{TIER_FILE_PREFIX}{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        // SAFETY: an all-zero statfs is a value; fstatfs fills it.
        let mut about: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: a live descriptor and a struct of the right type.
        if unsafe { libc::fstatfs(file.as_raw_fd(), &mut about) } == 0 && about.f_type == libc::TMPFS_MAGIC {
            return Err(io::Error::other(format!(
                "{} is in memory (tmpfs): no slower tier",
                directory.display()
            )));
        }
        file.set_len(self.bytes as u64)?;
        Ok(file)
    }

    /// A block of at least `bytes` with anything in it: one that was given back, if there is one of that size.
    pub fn alloc_dirty(&self, bytes: usize) -> Option<Block> {
        let size = bytes.max(1).checked_next_multiple_of(PAGE)?;
        let found = self.inner.with(|state| {
            if state.file.is_some() {
                return None;
            }
            let at = state.kept.iter().rposition(|block| block.bytes == size)?;
            let mut block = state.kept.remove(at);
            state.made += 1;
            block.serial = state.made;
            state.live.insert(block.start, block);
            Some(block)
        });
        found.or_else(|| self.alloc(bytes))
    }

    /// The block at `start` is watched from here on.
    pub fn set_watched(&self, start: usize) {
        self.inner.with(|state| {
            if let Some(block) = state.live.get_mut(&start) {
                block.watched = true;
            }
        });
    }

    /// A zeroed block of at least `bytes`; `None` when no addresses or no memory are left.
    pub fn alloc(&self, bytes: usize) -> Option<Block> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE)?;
        let slots = bytes.checked_add(PAGE)?.div_ceil(SLOT);
        self.inner.with(|state| {
            if let Some(at) = state.kept.iter().position(|block| block.bytes == bytes) {
                let kept = state.kept.remove(at);
                self.unmap(state, kept);
            }
            let found = state
                .free
                .iter()
                .find(|(_, count)| **count >= slots)
                .map(|(first, count)| (*first, *count));
            let first = match found {
                Some((first, count)) => {
                    state.free.remove(&first);
                    if count > slots {
                        state.free.insert(first + slots, count - slots);
                    }
                    first
                }
                None => {
                    let first = state.next_slot;
                    if (first + slots) * SLOT > self.bytes {
                        return None;
                    }
                    state.next_slot += slots;
                    first
                }
            };
            let start = self.base + first * SLOT;
            state.made += 1;
            let block = self.back(state.file.as_deref(), start, bytes, state.made);
            match block {
                Some(block) => drop(state.live.insert(start, block)),
                None => Self::release(state, first, slots),
            }
            block
        })
    }

    fn back(&self, file: Option<&File>, start: usize, bytes: usize, serial: u64) -> Option<Block> {
        if let Some(file) = file {
            let offset = i64::try_from(start - self.base).ok()?;
            let length = i64::try_from(bytes).ok()?;
            // SAFETY: fallocate takes no pointer.
            let room = unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, length) } == 0;
            let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
            // SAFETY: free slots of the reservation: nobody else's memory.
            if room && unsafe { self.map(start, bytes, flags, Some(file)) } {
                return Some(Block {
                    start,
                    bytes,
                    backing: Backing::TierFile,
                    serial,
                    watched: false,
                });
            }
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: as above.
        if !unsafe { self.map(start, bytes, flags, None) } {
            return None;
        }
        if bytes >= SLOT {
            // SAFETY: advice on our own fresh mapping; without effect where huge pages are off.
            unsafe { libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_HUGEPAGE) };
        }
        Some(Block {
            start,
            bytes,
            backing: Backing::Anonymous,
            serial,
            watched: false,
        })
    }

    /// # Safety
    /// `start..start + bytes` lies in the reservation and is either unused or this caller's to replace.
    unsafe fn map(&self, start: usize, bytes: usize, flags: i32, file: Option<&File>) -> bool {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, offset) = file.map_or((-1, 0), |file| (file.as_raw_fd(), (start - self.base) as i64));
        // SAFETY: the caller's promise.
        unsafe { libc::mmap(start as *mut libc::c_void, bytes, rights, flags, fd, offset) != libc::MAP_FAILED }
    }

    /// Gives a block back. `false` when `start` is not the start of a live block; nothing happens then.
    pub fn free(&self, start: usize) -> bool {
        self.inner.with(|state| {
            let Some(block) = state.live.remove(&start) else {
                return false;
            };
            let plain = block.backing == Backing::Anonymous && state.file.is_none();
            if plain && !block.watched && block.bytes <= KEPT_BYTES_MAX / 2 {
                // As the C library keeps freed memory: the next temporary of this size costs no page faults.
                state.kept.push(block);
                let mut bytes: usize = state.kept.iter().map(|kept| kept.bytes).sum();
                while bytes > KEPT_BYTES_MAX {
                    let oldest = state.kept.remove(0);
                    bytes -= oldest.bytes;
                    self.unmap(state, oldest);
                }
                return true;
            }
            self.unmap(state, block);
            true
        })
    }

    fn unmap(&self, state: &mut State, block: Block) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: nobody has the block any more; its addresses return to the reservation, without access.
        unsafe {
            libc::mmap(
                block.start as *mut libc::c_void,
                block.bytes,
                libc::PROT_NONE,
                flags,
                -1,
                0,
            )
        };
        if let (Backing::TierFile, Some(file)) = (block.backing, &state.file) {
            let (how, at) = (
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                block.start - self.base,
            );
            // SAFETY: fallocate takes no pointer.
            unsafe { libc::fallocate(file.as_raw_fd(), how, at as i64, block.bytes as i64) };
        }
        let slots = (block.bytes + PAGE).div_ceil(SLOT);
        Self::release(state, (block.start - self.base) / SLOT, slots);
    }

    fn release(state: &mut State, mut first: usize, mut slots: usize) {
        let before = state.free.range(..first).next_back().map(|(k, v)| (*k, *v));
        if let Some((before, count)) = before.filter(|(before, count)| before + count == first) {
            state.free.remove(&before);
            first = before;
            slots += count;
        }
        if let Some(after) = state.free.remove(&(first + slots)) {
            slots += after;
        }
        state.free.insert(first, slots);
    }

    /// Writes changed pages of `start..end` to the tier file and waits for them, so that dropping them frees DRAM. The
    /// file is nobody's after a crash, so neither its journal nor the disk's own cache is waited for. `false`: these
    /// addresses are not in the file.
    ///
    /// # Errors
    /// The file's: `EIO`, `ENOSPC`.
    pub fn write_back(&self, start: usize, end: usize) -> io::Result<bool> {
        let file = self.inner.with(|state| {
            let block = state.live.range(..=start).next_back()?.1;
            let inside = end <= block.start + block.bytes && block.backing == Backing::TierFile;
            inside.then(|| state.file.clone()).flatten()
        });
        let Some(file) = file else { return Ok(false) };
        let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: sync_file_range takes no pointer; the descriptor is held.
        let rc =
            unsafe { libc::sync_file_range(file.as_raw_fd(), (start - self.base) as i64, (end - start) as i64, all) };
        if rc == 0 {
            Ok(true)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The live block that holds `address`.
    pub fn block_of(&self, address: usize) -> Option<Block> {
        self.inner.with(|state| {
            let block = state.live.range(..=address).next_back()?.1;
            (address < block.start + block.bytes).then_some(*block)
        })
    }

    /// All live blocks, by address.
    pub fn blocks(&self) -> Vec<Block> {
        self.inner.with(|state| state.live.values().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(block: Block) -> &'static mut [u8] {
        // SAFETY: a live block of this test alone.
        unsafe { std::slice::from_raw_parts_mut(block.start as *mut u8, block.bytes) }
    }

    #[test]
    fn blocks_are_zero_aligned_apart_and_reused() {
        let arena = Arena::reserve().unwrap();
        let first = arena.alloc(3 << 20).unwrap();
        let second = arena.alloc(2 << 20).unwrap();
        assert_eq!(first.start % SLOT, 0);
        assert!(second.start >= first.start + first.bytes + PAGE, "a guard lies between");
        bytes_of(first).fill(7);
        assert!(bytes_of(second).iter().all(|byte| *byte == 0));
        assert!(arena.free(first.start));
        assert!(!arena.free(first.start), "a second free does nothing");
        let again = arena.alloc(3 << 20).unwrap();
        assert_eq!(again.start, first.start);
        assert!(bytes_of(again).iter().all(|byte| *byte == 0));
        assert_eq!(arena.block_of(again.start + 5), Some(again));
        assert_eq!(arena.block_of(again.start + again.bytes), None);
    }

    #[test]
    fn a_file_backed_block_keeps_its_bytes_when_its_pages_leave() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let arena = Arena::reserve().unwrap();
        arena.set_file(Some(directory.path())).unwrap();
        let block = arena.alloc(4 << 20).unwrap();
        assert_eq!(block.backing, Backing::TierFile);
        for (index, byte) in bytes_of(block).iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        let (start, end) = (block.start as u64, (block.start + block.bytes) as u64);
        super::super::linux::sync(start, end).unwrap();
        super::super::linux::advise(start, end, super::super::linux::Advice::PageOut).unwrap();
        assert!(
            bytes_of(block)
                .iter()
                .enumerate()
                .all(|(index, byte)| *byte == (index % 251) as u8)
        );
        assert!(arena.free(block.start));
        let again = arena.alloc(4 << 20).unwrap();
        assert!(bytes_of(again).iter().all(|byte| *byte == 0), "a hole was punched");
        assert!(
            std::fs::read_dir(directory.path()).unwrap().next().is_none(),
            "the file has no name"
        );
    }
}
