//! Which pages of a range were written since they were last looked at.
//!
//! userfaultfd in its asynchronous write-protect mode (Linux 6.7) lets the kernel note a page's first store itself, without a
//! signal or a thread; `PAGEMAP_SCAN` reads the notes and protects the pages again in one step, so no store falls between.
//!
//! Invariants
//!
//! - A scan of a range with a mapped page that is not watched (mapped anew, moved) fails; it never says "unwritten". Of
//!   unmapped memory it says nothing: who asks knows that the range is still his.
//! - Only [`Watch::open`]'s self-test decides whether a machine can do this, not a version number.

use std::io;

use crate::{Category, Pagemap, Protector, Scan};

const PAGE: usize = 4096;

/// Memory whose pages can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Anonymous memory: every page is protected when watching starts.
    Whole,
    /// A shared mapping of a file: as `Whole`. An unwritten page that leaves memory leaves a marker behind, which reads as
    /// swapped; a written one leaves nothing. So where there is nothing at all, something was written.
    SharedFile,
    /// A private mapping of a file: pages are the file's until the first store makes a copy, so only copies are protected,
    /// and watching a mapping of any size costs nothing.
    PrivateFile,
}

/// The two descriptors it takes.
#[derive(Debug)]
pub struct Watch {
    protector: Protector,
    pagemap: Pagemap,
    /// A forked child has the descriptors, but they speak of its parent's memory.
    process: u32,
}

impl Watch {
    /// # Errors
    /// What is missing: an older kernel, a filter on system calls, or a self-test that failed.
    pub fn open() -> io::Result<Watch> {
        let watch = Watch {
            protector: Protector::open()?,
            pagemap: Pagemap::open()?,
            process: std::process::id(),
        };
        watch.self_test()?;
        Ok(watch)
    }

    /// Watches `start..start + bytes` (whole pages); all of it counts as unwritten from here on.
    pub fn arm(&self, start: usize, bytes: usize, sort: Sort) -> io::Result<()> {
        self.ours()?;
        self.protector.register(start, bytes)?;
        if sort != Sort::PrivateFile {
            self.protector.protect(start, bytes)?;
        }
        Ok(())
    }

    /// Stops watching; harmless where nothing is watched.
    pub fn disarm(&self, start: usize, bytes: usize) {
        if self.ours().is_ok() {
            let _ = self.protector.unregister(start, bytes);
        }
    }

    fn ours(&self) -> io::Result<()> {
        if self.process == std::process::id() {
            Ok(())
        } else {
            Err(io::Error::other("pages are watched in the process that began it only"))
        }
    }

    /// Ranges written since the last `take`, in address order; with `rearm` they count as unwritten from here on.
    ///
    /// # Errors
    /// `EPERM` if not all of it is watched any more: then nothing is known of it.
    pub fn take(&self, start: usize, bytes: usize, sort: Sort, rearm: bool) -> io::Result<Vec<(usize, usize)>> {
        self.ours()?;
        let there = Category::PRESENT | Category::SWAPPED;
        // One scan sees and protects a page in one step; two could miss one that leaves memory and comes back in between.
        let (all, inverted, any, told) = match sort {
            Sort::Whole => (Category::WRITTEN, Category::NONE, Category::NONE, Category::WRITTEN),
            Sort::SharedFile => (
                Category::NONE,
                Category::NONE,
                Category::NONE,
                Category::WRITTEN | there,
            ),
            // Where there is no page yet the kernel says "written", and would make a page table to protect it.
            Sort::PrivateFile => (
                Category::WRITTEN | Category::FILE,
                Category::FILE,
                there,
                Category::WRITTEN,
            ),
        };
        let scan = Scan {
            all,
            inverted,
            any,
            told,
            rearm,
            only_watched: true,
        };
        let mut found: Vec<(usize, usize)> = Vec::new();
        self.pagemap.scan(start, start + bytes, scan, &mut |from, to, is| {
            if !is.any(Category::WRITTEN) && is.any(there) {
                return;
            }
            match found.last_mut() {
                Some((_, last)) if *last == from => *last = to,
                _ => found.push((from, to)),
            }
        })?;
        Ok(found)
    }

    /// Unwritten after arming and after reading, also where no page was yet; written after a store; unwritten after a scan.
    fn self_test(&self) -> io::Result<()> {
        const BYTES: usize = 4 * PAGE;
        // SAFETY: fresh anonymous memory at an address the kernel chooses, unmapped below.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = at as usize;
        // SAFETY: within the mapping above, which nobody else knows.
        let store = |page: usize| unsafe { ((start + page * PAGE) as *mut u8).write_volatile(1) };
        // SAFETY: as above.
        let load = |page: usize| unsafe { ((start + page * PAGE) as *const u8).read_volatile() };
        let page = |index: usize| (start + index * PAGE, start + (index + 1) * PAGE);
        let test = || -> io::Result<bool> {
            store(0);
            self.arm(start, BYTES, Sort::Whole)?;
            load(0);
            load(1);
            let nothing = self.take(start, BYTES, Sort::Whole, true)?.is_empty();
            store(0);
            store(2);
            let both = vec![page(0), page(2)];
            let seen = self.take(start, BYTES, Sort::Whole, false)? == both;
            let again = self.take(start, BYTES, Sort::Whole, true)? == both;
            let clean = self.take(start, BYTES, Sort::Whole, true)?.is_empty();
            store(1);
            let one = self.take(start, BYTES, Sort::Whole, true)? == [page(1)];
            self.disarm(start, BYTES);
            let unwatched = self.take(start, BYTES, Sort::Whole, true).is_err();
            Ok(nothing && seen && again && clean && one && unwatched)
        };
        let passed = test();
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(at, BYTES) };
        if passed? {
            Ok(())
        } else {
            Err(io::Error::other(
                "the kernel's notes of written pages are not right here",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_range_mapped_anew_is_not_taken_for_unwritten() {
        let Ok(watch) = Watch::open() else { return };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: fresh memory of this test.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 8 * PAGE, rights, flags, -1, 0) };
        let start = at as usize;
        watch.arm(start, 8 * PAGE, Sort::Whole).unwrap();
        assert!(watch.take(start, 8 * PAGE, Sort::Whole, true).unwrap().is_empty());
        // SAFETY: replaces two pages of this test's own mapping.
        unsafe {
            libc::mmap(
                (start + PAGE) as *mut _,
                2 * PAGE,
                rights,
                flags | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        assert!(watch.take(start, 8 * PAGE, Sort::Whole, true).is_err());
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(at, 8 * PAGE) };
    }

    #[test]
    fn copies_of_a_private_file_mapping_are_seen_and_its_other_pages_are_not() {
        let Ok(watch) = Watch::open() else { return };
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::io::Write::write_all(&mut file, &[7; 16 * PAGE]).unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping of this test's own file.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                16 * PAGE,
                rights,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        let start = at as usize;
        // SAFETY: within that mapping.
        let store = |page: usize| unsafe { ((start + page * PAGE) as *mut u8).write_volatile(1) };
        // SAFETY: as above.
        let load = |page: usize| unsafe { ((start + page * PAGE) as *const u8).read_volatile() };
        let take = || watch.take(start, 16 * PAGE, Sort::PrivateFile, true).unwrap();
        watch.arm(start, 16 * PAGE, Sort::PrivateFile).unwrap();
        (0..16).for_each(|page| assert_eq!(load(page), 7));
        assert!(take().is_empty());
        store(5);
        assert_eq!(take(), [(start + 5 * PAGE, start + 6 * PAGE)]);
        assert!(take().is_empty());
        store(5);
        store(9);
        assert_eq!(take().len(), 2);
        assert!(take().is_empty());
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(at, 16 * PAGE) };
    }

    #[test]
    fn watching_a_mapping_of_a_file_makes_no_page_tables() {
        let Ok(watch) = Watch::open() else { return };
        const BYTES: usize = 8 << 30;
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(BYTES as u64).unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping of this test's own file.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                rights,
                libc::MAP_PRIVATE | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        let start = at as usize;
        let tables_kib = || -> usize {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmPTE")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let before = tables_kib();
        watch.arm(start, BYTES, Sort::PrivateFile).unwrap();
        let take = || watch.take(start, BYTES, Sort::PrivateFile, true).unwrap();
        take();
        assert!(take().is_empty());
        let far = BYTES / 2 + 7 * PAGE;
        // SAFETY: within the mapping above.
        unsafe { ((start + far) as *mut u8).write_volatile(1) };
        assert_eq!(take(), [(start + far, start + far + PAGE)]);
        assert!(take().is_empty());
        // All of it would be 16 MiB.
        assert!(
            tables_kib() < before + (4 << 10),
            "{before} KiB, then {} KiB",
            tables_kib()
        );
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(at, BYTES) };
    }

    #[test]
    fn a_page_of_a_shared_file_that_was_written_and_left_memory_counts_as_written() {
        let Ok(watch) = Watch::open() else { return };
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::io::Write::write_all(&mut file, &[7; 64 * PAGE]).unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping of this test's own file.
        let at = unsafe {
            let fd = file.as_raw_fd();
            libc::mmap(std::ptr::null_mut(), 64 * PAGE, rights, libc::MAP_SHARED, fd, 0)
        };
        let start = at as usize;
        // SAFETY: within that mapping.
        let store = |page: usize| unsafe { ((start + page * PAGE) as *mut u8).write_volatile(1) };
        // SAFETY: as above.
        let load = |page: usize| unsafe { ((start + page * PAGE) as *const u8).read_volatile() };
        // SAFETY: as above; the bytes stay in the file.
        let leave = || unsafe {
            assert_eq!(libc::msync(at, 64 * PAGE, libc::MS_SYNC), 0);
            assert_eq!(libc::madvise(at, 64 * PAGE, libc::MADV_PAGEOUT), 0);
            libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
        };
        let resident = || {
            let mut there = [0u8; 64];
            // SAFETY: one byte for each page of the mapping.
            unsafe { libc::mincore(at, 64 * PAGE, there.as_mut_ptr()) };
            there.iter().filter(|byte| **byte & 1 == 1).count()
        };
        let page = |index: usize| (start + index * PAGE, start + (index + 1) * PAGE);
        let take = || watch.take(start, 64 * PAGE, Sort::SharedFile, true).unwrap();
        (0..32).for_each(|page| assert_eq!(load(page), 7));
        watch.arm(start, 64 * PAGE, Sort::SharedFile).unwrap();
        assert!(take().is_empty(), "not read, read, or not there: nothing was written");
        leave();
        assert!(resident() < 64, "nothing left memory, so this shows nothing");
        assert!(take().is_empty(), "what leaves as it was is unwritten");
        (0..64).for_each(|page| assert_eq!(load(page), 7));
        assert!(take().is_empty(), "what comes back as it was is unwritten");
        store(5);
        store(40);
        assert_eq!(take(), [page(5), page(40)]);
        store(6);
        store(41);
        leave();
        assert_eq!(take(), [page(6), page(41)], "written and gone");
        assert!(take().is_empty());
        store(7);
        leave();
        assert_eq!((load(7), load(8)), (1, 7));
        assert_eq!(take(), [page(7)], "written, gone and read again");
        assert!(take().is_empty());
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(at, 64 * PAGE) };
    }
}
