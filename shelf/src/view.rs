//! Views: the memory a buffer is seen through.
//!
//! A view is a private mapping of a buffer's extents, laid end to end in a range reserved for the shelf: loads come
//! straight from the file's pages, stores make private copies and can never reach the file by themselves. Over media
//! without a descriptor (the simulator) a view is an anonymous copy.
//!
//! Invariants
//!
//! - The address of a view never changes while any handle lives, whatever happens to the name or the shelf.
//! - The extents under a view are held by it: nobody else's data appears in it.
//! - Views smaller than 1 MiB share windows of the file, because a process may have 65,530 mappings; each page of a
//!   window belongs to one view at most.
//! - Views are read and written by copying through raw pointers: Python writes them at any time, so no Rust reference
//!   into one is ever made.

use crate::catalog::{Segment, Stored, page_bytes};
use crate::format::{PAGE, pages};
use crate::media::Media;
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Address space reserved in one piece; more pieces follow when it is used up.
const RESERVE: usize = 1 << 38;

/// The reserved address range of one shelf.
pub struct Arena {
    pieces: Mutex<Vec<Piece>>,
    /// Windows in use, by their place in the file.
    windows: Mutex<BTreeMap<u64, Weak<Window>>>,
    /// Nothing will be mapped any more: returned ranges can wait until the whole arena goes.
    closing: AtomicBool,
}

struct Piece {
    base: usize,
    len: usize,
    next: usize,
    /// Returned ranges: length -> starts.
    free: BTreeMap<usize, Vec<usize>>,
}

impl Arena {
    pub fn new() -> Arc<Arena> {
        Arc::new(Arena {
            pieces: Mutex::new(Vec::new()),
            windows: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn take(&self, len: usize) -> io::Result<usize> {
        let mut list = self.pieces.lock();
        for piece in list.iter_mut() {
            if let Some(starts) = piece.free.get_mut(&len)
                && let Some(start) = starts.pop()
            {
                return Ok(start);
            }
            if piece.len - piece.next >= len {
                piece.next += len;
                return Ok(piece.base + piece.next - len);
            }
        }
        let size = RESERVE.max(len);
        let base = reserve(None, size).map(|base| (base, size));
        // A limit on address space (RLIMIT_AS): take less.
        let less = len.max(1 << 30);
        let (base, size) = base.or_else(|_| reserve(None, less).map(|base| (base, less)))?;
        list.push(Piece {
            base,
            len: size,
            next: len,
            free: BTreeMap::new(),
        });
        Ok(base)
    }

    fn give_back(&self, start: usize, len: usize) {
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        let mut list = self.pieces.lock();
        if let Some(piece) = list
            .iter_mut()
            .find(|piece| (piece.base..piece.base + piece.len).contains(&start))
            && reserve(Some(start), len).is_ok()
        {
            piece.free.entry(len).or_default().push(start);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for piece in self.pieces.lock().iter() {
            // SAFETY: the piece was reserved by us in one call, and every view holds the arena, so none is left.
            unsafe { libc::munmap(piece.base as *mut _, piece.len) };
        }
    }
}

/// Reserves inaccessible address space: anywhere, or over a range that is ours already.
fn reserve(over: Option<usize>, len: usize) -> io::Result<usize> {
    let fixed = if over.is_some() { libc::MAP_FIXED } else { 0 };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: without MAP_FIXED the kernel chooses unused addresses; with it, the caller passes a range of its arena
    // that no live view uses.
    let at = unsafe { libc::mmap(over.unwrap_or(0) as *mut _, len, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(at as usize)
    }
}

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Size and alignment of a window in the file, in bytes.
const WINDOW: u64 = 64 << 20;
/// Smaller buffers are seen through windows, in bytes.
const OWN_MIN: u64 = 1 << 20;

/// A stretch of the file that many small views share.
pub struct Window {
    base: usize,
    arena: Arc<Arena>,
    /// One bit per page that a view has.
    used: Mutex<Vec<u64>>,
    /// True once the write-protect tracker knows it: registering each view would split the mapping again.
    pub registered: AtomicBool,
}

impl Window {
    fn at(arena: &Arc<Arena>, fd: RawFd, place: u64) -> io::Result<Arc<Window>> {
        let mut windows = arena.windows.lock();
        if let Some(window) = windows.get(&place).and_then(Weak::upgrade) {
            return Ok(window);
        }
        let base = arena.take(WINDOW as usize)?;
        map_file(base, WINDOW as usize, fd, place, READ_WRITE)?;
        let window = Arc::new(Window {
            base,
            arena: Arc::clone(arena),
            used: Mutex::new(vec![0; (WINDOW / PAGE / 64) as usize]),
            registered: AtomicBool::new(false),
        });
        windows.retain(|_, window| window.strong_count() > 0);
        windows.insert(place, Arc::downgrade(&window));
        Ok(window)
    }

    /// Address and length in bytes.
    pub fn range(&self) -> (usize, usize) {
        (self.base, WINDOW as usize)
    }

    /// Takes pages for a view; false if another one has any of them.
    fn claim(&self, first: usize, count: usize) -> bool {
        let mut used = self.used.lock();
        let free = (first..first + count).all(|page| used[page / 64] & (1 << (page % 64)) == 0);
        if free {
            (first..first + count).for_each(|page| used[page / 64] |= 1 << (page % 64));
        }
        free
    }

    fn release(&self, first: usize, count: usize) {
        let mut used = self.used.lock();
        (first..first + count).for_each(|page| used[page / 64] &= !(1 << (page % 64)));
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.arena.give_back(self.base, WINDOW as usize);
    }
}

enum Memory {
    /// Mapped into the arena.
    Mapped(Arc<Arena>),
    /// Pages of a window.
    Shared(Arc<Window>),
    /// Page-aligned heap memory.
    Copied,
    /// A buffer of no bytes.
    Nothing,
}

pub struct View {
    base: NonNull<u8>,
    len: u64,
    memory: Memory,
    /// The segments whose bytes clean pages show.
    backing: Mutex<Stored>,
    /// Chunks that left memory before their commit: the next one moves them here. First page of each, and its place.
    pub spilled: Mutex<Vec<(u32, Segment)>>,
    /// True once handed out writable: stores are tracked from then on.
    pub armed: AtomicBool,
    /// Pages a failed commit found dirty and did not persist.
    pub carry: Mutex<Vec<u32>>,
    /// Page sums of the last commit (hash and anon trackers).
    pub sums: Mutex<Vec<u32>>,
    /// Pages with a private copy whose sum is known (anon tracker).
    pub known: Mutex<HashSet<u32>>,
    /// Kept open as long as the view may need it.
    pub media: Option<Arc<dyn Media>>,
}

// SAFETY: a view is an address range that stays mapped until drop; all access to it copies through raw pointers, and
// races between Python threads and a commit are defined by the format (a page re-arms, see `tracker`).
unsafe impl Send for View {}
// SAFETY: as above; the other fields synchronise themselves.
unsafe impl Sync for View {}

impl View {
    /// A view of `segments`, which hold `len` bytes.
    pub fn open(arena: &Arc<Arena>, media: &Arc<dyn Media>, len: u64, segments: &[Segment]) -> io::Result<View> {
        if len == 0 {
            return Ok(View::build(
                NonNull::<Aligned>::dangling().cast(),
                0,
                Memory::Nothing,
                Vec::new(),
            ));
        }
        let shared = media
            .fd()
            .map(|fd| View::shared(arena, fd, len, segments))
            .transpose()?;
        let mut view = match (shared.flatten(), media.fd()) {
            (Some(view), _) => view,
            (None, Some(fd)) => {
                let view = View::reserved(arena, len, segments.to_vec())?;
                let mut at = view.addr();
                for segment in segments {
                    let bytes = segment.count as usize * PAGE as usize;
                    map_file(at, bytes, fd, segment.at(), READ_WRITE)?;
                    at += bytes;
                }
                view
            }
            (None, None) => {
                let layout = layout(len);
                // SAFETY: the layout is not zero-sized, `len > 0`.
                let base = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
                let view = View::build(base, len, Memory::Copied, segments.to_vec());
                let mut page = 0;
                let mut bytes = vec![0u8; PAGE as usize];
                for segment in segments {
                    for index in 0..segment.count {
                        media.read_at(segment.extent.page_at(segment.first + index), &mut bytes)?;
                        view.write((page * PAGE) as usize, &bytes);
                        page += 1;
                    }
                }
                view
            }
        };
        view.media = Some(Arc::clone(media));
        Ok(view)
    }

    /// A view of a plain range of a medium that has a descriptor (for self-tests).
    pub fn map_range(arena: &Arc<Arena>, media: &dyn Media, at: u64, len: u64) -> io::Result<View> {
        let fd = media.fd().ok_or(io::ErrorKind::Unsupported)?;
        let view = View::reserved(arena, len, Vec::new())?;
        map_file(view.addr(), len as usize, fd, at, READ_WRITE)?;
        Ok(view)
    }

    /// A small buffer that lies in one piece, in its window; `None` if it does not, or if its pages are in use there.
    fn shared(arena: &Arc<Arena>, fd: RawFd, len: u64, segments: &[Segment]) -> io::Result<Option<View>> {
        let [only] = segments else { return Ok(None) };
        let bytes = u64::from(only.count) * PAGE;
        let place = only.at() / WINDOW * WINDOW;
        if len >= OWN_MIN || only.at() + bytes > place + WINDOW {
            return Ok(None);
        }
        let window = Window::at(arena, fd, place)?;
        let first = ((only.at() - place) / PAGE) as usize;
        if !window.claim(first, only.count as usize) {
            return Ok(None);
        }
        let base = NonNull::new((window.base + first * PAGE as usize) as *mut u8).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Some(View::build(base, len, Memory::Shared(window), segments.to_vec())))
    }

    fn reserved(arena: &Arc<Arena>, len: u64, backing: Vec<Segment>) -> io::Result<View> {
        let at = arena.take((pages(len) * PAGE) as usize)?;
        let base = NonNull::new(at as *mut u8).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(View::build(base, len, Memory::Mapped(Arc::clone(arena)), backing))
    }

    fn build(base: NonNull<u8>, len: u64, memory: Memory, backing: Vec<Segment>) -> View {
        View {
            base,
            len,
            memory,
            backing: Mutex::new(Stored::new(len, backing)),
            spilled: Mutex::default(),
            armed: AtomicBool::new(false),
            carry: Mutex::default(),
            sums: Mutex::default(),
            known: Mutex::default(),
            media: None,
        }
    }

    pub fn addr(&self) -> usize {
        self.base.as_ptr() as usize
    }
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn pages(&self) -> u32 {
        pages(self.len) as u32
    }
    pub fn mapped_len(&self) -> usize {
        (pages(self.len) * PAGE) as usize
    }
    pub fn backing(&self) -> Stored {
        self.backing.lock().clone()
    }
    pub fn spilled_bytes(&self) -> u64 {
        let pages = |(_, place): &(u32, Segment)| u64::from(place.count);
        self.spilled.lock().iter().map(pages).sum::<u64>() * PAGE
    }
    pub fn is_mapped(&self) -> bool {
        matches!(self.memory, Memory::Mapped(_) | Memory::Shared(_))
    }
    pub fn window(&self) -> Option<&Window> {
        match &self.memory {
            Memory::Shared(window) => Some(window),
            _ => None,
        }
    }
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Copies one page out; bytes past the buffer's end come as zeros.
    pub fn copy_page(&self, page: u32, into: &mut [u8; PAGE as usize]) {
        assert!(page < self.pages(), "page {page} of a view of {} pages", self.pages());
        let used = page_bytes(self.len, page);
        into[used..].fill(0);
        // SAFETY: the page lies within the view (asserted) and the view is mapped until drop; `into` has a page's room.
        // Another thread may store meanwhile: the copy may then be half-done, which the format allows.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.base.as_ptr().add(page as usize * PAGE as usize),
                into.as_mut_ptr(),
                used,
            )
        };
    }

    /// Copies `bytes` in at `at`.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.mapped_len(), "store past the view");
        // SAFETY: in bounds (asserted), mapped writable until drop, and `bytes` is not part of the view.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(at), bytes.len()) };
    }

    /// Drops the private copies of `count` pages: they show the backing file again. False if this view is a copy.
    pub fn discard(&self, page: u32, count: u32) -> bool {
        if !self.is_mapped() {
            return false;
        }
        assert!(page + count <= self.pages());
        let at = self.addr() + page as usize * PAGE as usize;
        // SAFETY: the range lies within the view, a private file mapping: dropping copies leaves it mapped.
        unsafe { libc::madvise(at as *mut _, count as usize * PAGE as usize, libc::MADV_DONTNEED) == 0 }
    }

    /// Shows `segments` from page `first` on, read-only: private copies of those pages are gone. Copied views stay as
    /// they are.
    pub fn remap(&self, first: u32, segments: &[Segment]) -> io::Result<()> {
        let mut backing = self.backing.lock();
        let mut page = first;
        for segment in segments {
            assert!(page + segment.count <= self.pages(), "a mapping past the view");
            if let (true, Some(fd)) = (self.is_mapped(), self.media.as_ref().and_then(|media| media.fd())) {
                let at = self.addr() + page as usize * PAGE as usize;
                let bytes = segment.count as usize * PAGE as usize;
                map_file(at, bytes, fd, segment.at(), libc::PROT_READ)?;
            }
            *backing = backing.moved(page, segment);
            page += segment.count;
        }
        Ok(())
    }

    /// Makes all pages read-only, or writable again (mprotect tracker).
    pub fn protect(&self, read_only: bool) -> io::Result<()> {
        self.protect_range(0, self.pages(), read_only)
    }

    pub fn protect_range(&self, first: u32, count: u32, read_only: bool) -> io::Result<()> {
        if !self.is_mapped() {
            return Ok(());
        }
        assert!(first + count <= self.pages(), "protection past the view");
        let at = self.addr() + first as usize * PAGE as usize;
        let access = if read_only {
            libc::PROT_READ
        } else {
            libc::PROT_READ | libc::PROT_WRITE
        };
        // SAFETY: changes access of our own mapping; the fault handler opens pages that are written.
        if unsafe { libc::mprotect(at as *mut _, count as usize * PAGE as usize, access) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        match &self.memory {
            Memory::Mapped(arena) => {
                crate::mprotect::remove(self.addr());
                crate::guard::remove(self.addr());
                arena.give_back(self.addr(), self.mapped_len());
            }
            Memory::Shared(window) => {
                crate::mprotect::remove(self.addr());
                if self.is_armed() {
                    let _ = self.protect(false); // the next view of these pages may be written
                }
                self.discard(0, self.pages());
                let first = (self.addr() - window.base) / PAGE as usize;
                window.release(first, self.pages() as usize);
            }
            // SAFETY: allocated with exactly this layout in `open`, freed once.
            Memory::Copied => unsafe { dealloc(self.base.as_ptr(), layout(self.len)) },
            Memory::Nothing => {}
        }
    }
}

#[repr(align(4096))]
struct Aligned;

fn layout(len: u64) -> Layout {
    Layout::from_size_align((pages(len) * PAGE) as usize, PAGE as usize).expect("view layout")
}

fn map_file(at: usize, len: usize, fd: RawFd, offset: u64, access: i32) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: `at..at + len` is a range of our arena that was taken for this view, so nothing else is replaced.
    let got = unsafe { libc::mmap(at as *mut _, len, access, flags, fd, offset as libc::off_t) };
    if got == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
