//! The running Linux kernel behind [`Os`], each question with its fallback.
//!
//! Page tables: `PAGEMAP_SCAN` (6.7+), else `/proc/self/pagemap`. Nodes: `move_pages` without a target, else
//! `get_mempolicy`, else the only node there is. No call here dereferences the addresses it is given: stale ones come
//! back as an error or as "absent".

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use larder_pages::{Category, Pagemap, Scan, Word};

use super::{Entry, Method, Node, Os, Vma};

const MOVE_PAGES_MAX: usize = 1 << 16;

/// This process's memory, asked of the running kernel.
#[derive(Debug)]
pub struct Linux {
    pagemap: Pagemap,
    page_bytes: u64,
    /// Set to refuse PAGEMAP_SCAN, so that the fallback can be tested on a kernel that has it.
    pub plain_pagemap: bool,
}

impl Linux {
    /// # Errors
    /// When `/proc/self/pagemap` cannot be opened (no `/proc`, or a hardened mount).
    pub fn open() -> io::Result<Linux> {
        let pagemap = Pagemap::open()
            .map_err(|e| io::Error::new(e.kind(), format!("/proc/self/pagemap: {e}; placement needs /proc")))?;
        // SAFETY: sysconf takes no pointer.
        let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        Ok(Linux {
            pagemap,
            page_bytes,
            plain_pagemap: false,
        })
    }

    /// NUMA balancing hides pages behind access hints: `move_pages` then answers "not there" (or, for huge pages, as for
    /// the zero page) for pages that are. Asking by policy clears the hint, as a read would; then the answer is true.
    fn look_behind_hints(&self, pages: &[u64], nodes: &mut [i32]) {
        let hidden = |node: i32| node == -libc::ENOENT || node == -libc::EFAULT;
        if !nodes.iter().any(|node| hidden(*node)) || self.nodes().is_ok_and(|nodes| nodes.len() < 2) {
            return;
        }
        for (page, node) in pages.iter().zip(nodes).filter(|(_, node)| hidden(**node)) {
            if node_by_policy(*page) >= 0 {
                // SAFETY: a query for one page: one address read, one status written.
                let rc = unsafe {
                    libc::syscall(
                        libc::SYS_move_pages,
                        0,
                        1,
                        page,
                        std::ptr::null::<i32>(),
                        node as *mut i32,
                        0,
                    )
                };
                if rc != 0 {
                    *node = -libc::ENOENT;
                }
            }
        }
    }

    fn scan_ioctl(&self, start: u64, end: u64, out: &mut Vec<(u64, u64, Entry)>) -> io::Result<()> {
        let scan = Scan {
            any: Category::PRESENT | Category::SWAPPED,
            told: Category::FILE | Category::PRESENT | Category::SWAPPED | Category::ZERO,
            ..Scan::default()
        };
        let mut at = start;
        self.pagemap
            .scan(start as usize, end as usize, scan, &mut |from, to, is| {
                let (from, to) = (from as u64, to as u64);
                if from > at {
                    out.push((at, from, Entry::Absent));
                }
                let entry = match is {
                    is if is.any(Category::SWAPPED) => Entry::Swapped,
                    is if is.any(Category::ZERO) => Entry::Zero,
                    is if is.any(Category::FILE) => Entry::File,
                    _ => Entry::Anon,
                };
                out.push((from, to, entry));
                at = to;
            })?;
        if at < end {
            out.push((at, end, Entry::Absent));
        }
        Ok(())
    }

    fn scan_pagemap(&self, start: u64, end: u64, out: &mut Vec<(u64, u64, Entry)>) -> io::Result<()> {
        let mut words = vec![Word(0); 4096];
        let mut at = start;
        while at < end {
            let pages = ((end - at) / self.page_bytes).min(4096) as usize;
            self.pagemap
                .words((at / self.page_bytes) as usize, &mut words[..pages])?;
            for word in &words[..pages] {
                let entry = match (word.is_present(), word.is_swapped(), word.is_file()) {
                    (true, _, false) => Entry::Anon,
                    (true, _, true) => Entry::File,
                    (_, true, _) => Entry::Swapped,
                    _ => Entry::Absent,
                };
                match out.last_mut() {
                    Some(last) if last.1 == at && last.2 == entry && last.0 >= start => last.1 = at + self.page_bytes,
                    _ => out.push((at, at + self.page_bytes, entry)),
                }
                at += self.page_bytes;
            }
        }
        Ok(())
    }
}

impl Os for Linux {
    fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    fn nodes(&self) -> io::Result<Vec<Node>> {
        let root = "/sys/devices/system/node";
        let Ok(with_memory) = std::fs::read_to_string(format!("{root}/has_memory")) else {
            return Ok(vec![Node {
                id: 0,
                has_cpu: true,
                bytes: meminfo("/proc/meminfo", "MemTotal:")?,
            }]);
        };
        let cpus = list(&std::fs::read_to_string(format!("{root}/has_cpu")).unwrap_or_default());
        list(&with_memory)
            .into_iter()
            .map(|id| {
                let bytes = meminfo(&format!("{root}/node{id}/meminfo"), "MemTotal:")?;
                Ok(Node {
                    id,
                    has_cpu: cpus.contains(&id),
                    bytes,
                })
            })
            .collect()
    }

    fn swap(&self) -> io::Result<(u64, u64)> {
        Ok((
            meminfo("/proc/meminfo", "SwapTotal:")?,
            meminfo("/proc/meminfo", "SwapFree:")?,
        ))
    }

    fn maps(&self) -> io::Result<Vec<Vma>> {
        let text = String::from_utf8_lossy(&std::fs::read("/proc/self/maps")?).into_owned();
        Ok(text.lines().filter_map(vma_of).collect())
    }

    fn scan(&self, start: u64, end: u64, out: &mut Vec<(u64, u64, Entry)>) -> io::Result<Method> {
        if !self.plain_pagemap {
            let before = out.len();
            if self.scan_ioctl(start, end, out).is_ok() {
                return Ok(Method::PagemapScan);
            }
            out.truncate(before);
        }
        self.scan_pagemap(start, end, out)?;
        Ok(Method::Pagemap)
    }

    fn swapped(&self, vma: &Vma) -> io::Result<u64> {
        if self.swap()?.0 == 0 {
            return Ok(0);
        }
        let text = String::from_utf8_lossy(&std::fs::read("/proc/self/smaps")?).into_owned();
        let head = format!("{:x}-{:x} ", vma.start, vma.end);
        let mut lines = text
            .lines()
            .skip_while(|line| !line.trim_start_matches('0').starts_with(&head));
        let line = lines.find(|line| line.starts_with("Swap:")).unwrap_or_default();
        Ok(line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024)
    }

    fn in_core(&self, start: u64, end: u64) -> io::Result<Vec<bool>> {
        let mut bytes = vec![0u8; ((end - start) / self.page_bytes) as usize];
        // SAFETY: mincore reads no memory at `start`; it writes one byte per page into `bytes`, which has that many.
        let rc = unsafe { libc::mincore(start as *mut libc::c_void, (end - start) as usize, bytes.as_mut_ptr()) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(bytes.into_iter().map(|b| b & 1 == 1).collect())
    }

    fn node_of(&self, pages: &[u64]) -> io::Result<(Vec<i32>, Method)> {
        let mut nodes = vec![0i32; pages.len()];
        let mut method = Method::MovePages;
        for (pages, nodes) in pages.chunks(MOVE_PAGES_MAX).zip(nodes.chunks_mut(MOVE_PAGES_MAX)) {
            // SAFETY: without target nodes move_pages only queries; it reads `pages` and writes `nodes`, equally long.
            let rc = unsafe {
                libc::syscall(
                    libc::SYS_move_pages,
                    0,
                    pages.len(),
                    pages.as_ptr(),
                    std::ptr::null::<i32>(),
                    nodes.as_mut_ptr(),
                    0,
                )
            };
            if rc == 0 {
                self.look_behind_hints(pages, nodes);
                continue;
            }
            if let [only] = self.nodes()?.as_slice() {
                method = Method::OneNode;
                nodes.fill(i32::try_from(only.id).unwrap_or(0));
                continue;
            }
            method = Method::GetMempolicy;
            for (page, node) in pages.iter().zip(nodes) {
                *node = node_by_policy(*page);
            }
        }
        Ok((nodes, method))
    }

    fn holes(&self, vma: &Vma, start: u64, end: u64) -> Option<Vec<(u64, u64)>> {
        let file = File::open(format!("/proc/self/map_files/{:x}-{:x}", vma.start, vma.end)).ok()?;
        let to_file = |at: u64| i64::try_from(at - vma.start + vma.offset).ok();
        let to_memory = |at: i64| (u64::try_from(at).unwrap_or(0) - vma.offset + vma.start).min(end);
        let mut out = Vec::new();
        let mut at = start;
        while at < end {
            // SAFETY: lseek takes no pointer.
            let data = unsafe { libc::lseek(file.as_raw_fd(), to_file(at)?, libc::SEEK_DATA) };
            let next = match data {
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => end,
                -1 => return None,
                data => to_memory(data),
            };
            if next > at {
                out.push((at, next));
            }
            if next >= end {
                break;
            }
            // SAFETY: as above.
            let hole = unsafe { libc::lseek(file.as_raw_fd(), to_file(next)?, libc::SEEK_HOLE) };
            if hole < 0 {
                return None;
            }
            at = to_memory(hole);
        }
        Some(out)
    }
}

/// The node of a present page, or a negative errno; brings the page's table entry up to date, as a read would.
fn node_by_policy(page: u64) -> i32 {
    let mut node = 0i32;
    const NODE_OF_ADDRESS: i32 = 1 | 2;
    // SAFETY: MPOL_F_NODE | MPOL_F_ADDR writes one int and takes the address as a number.
    let rc = unsafe { libc::syscall(libc::SYS_get_mempolicy, &mut node, 0, 0, page, NODE_OF_ADDRESS) };
    if rc == 0 {
        node
    } else {
        -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
    }
}

fn meminfo(path: &str, key: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find(|line| line.contains(key)).unwrap_or_default();
    let kib = line
        .split_whitespace()
        .rev()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0);
    Ok(kib * 1024)
}

/// `0,2-4` -> 0, 2, 3, 4.
fn list(text: &str) -> Vec<u32> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some(low.parse().ok()?..=high.parse().ok()?)
        })
        .flatten()
        .collect()
}

fn vma_of(line: &str) -> Option<Vma> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let _device = words.next()?;
    Some(Vma {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: rights.starts_with('r'),
        shared: rights.ends_with('s'),
        offset,
        inode: words.next()?.parse().ok()?,
        path: words.next().unwrap_or_default().trim().to_owned(),
    })
}

/// Asks the kernel to move whole pages out of DRAM or back, or to forget clean cache. Contents never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_PAGEOUT`: to swap (anonymous) or to the file (file-backed).
    PageOut,
    /// `MADV_POPULATE_READ`: fault everything in now.
    PopulateRead,
    /// `MADV_POPULATE_WRITE`: fault everything in now, ready to be written: the pages count as changed afterwards.
    PopulateWrite,
    /// `MADV_DONTDUMP`: gives a range a mapping of its own, so that smaps counts it apart.
    Split,
    /// `MADV_DODUMP`: undoes `Split`.
    Unsplit,
}

/// Gives `advice` for a page-aligned range.
///
/// # Errors
/// The kernel's: `ENOMEM` when part of the range is not mapped, `EINVAL` when the kernel lacks the advice.
pub fn advise(start: u64, end: u64, advice: Advice) -> io::Result<()> {
    let flag = match advice {
        Advice::PageOut => libc::MADV_PAGEOUT,
        Advice::PopulateRead => 22,
        Advice::PopulateWrite => 23,
        Advice::Split => libc::MADV_DONTDUMP,
        Advice::Unsplit => libc::MADV_DODUMP,
    };
    // SAFETY: none of the five advices changes what a load returns, so no owner of the range can be harmed; ranges
    // that are gone give ENOMEM.
    let rc = unsafe { libc::madvise(start as *mut libc::c_void, (end - start) as usize, flag) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the kernel forget clean page cache behind file mappings in `start..end`, also of pages not mapped here.
///
/// Changed pages and those another process has mapped stay. Mappings whose file cannot be opened are passed over.
///
/// # Errors
/// When `/proc/self/maps` cannot be read.
pub fn drop_cache(start: u64, end: u64) -> io::Result<()> {
    for vma in Linux::open()?
        .maps()?
        .into_iter()
        .filter(|vma| vma.start < end && vma.end > start && vma.is_file())
    {
        let Ok(file) = File::open(format!("/proc/self/map_files/{:x}-{:x}", vma.start, vma.end))
            .or_else(|_| File::open(&vma.path))
        else {
            continue;
        };
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        let (Ok(offset), Ok(length)) = (i64::try_from(from - vma.start + vma.offset), i64::try_from(to - from)) else {
            continue;
        };
        // SAFETY: posix_fadvise takes no pointer.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, length, libc::POSIX_FADV_DONTNEED) };
    }
    Ok(())
}

/// Gives memory that was freed back to the system, after work that took much for a short time.
pub fn trim() {
    // SAFETY: malloc_trim only releases memory that is free.
    unsafe { libc::malloc_trim(0) };
}

/// Writes a shared file mapping's dirty pages to its file and waits.
///
/// # Errors
/// The kernel's: `EIO`/`ENOSPC` from the file, `ENOMEM` when part of the range is not mapped.
pub fn sync(start: u64, end: u64) -> io::Result<()> {
    // SAFETY: msync changes no memory.
    let rc = unsafe { libc::msync(start as *mut libc::c_void, (end - start) as usize, libc::MS_SYNC) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Prefers `node` for a page-aligned range, so that NUMA balancing leaves its pages there; `None`: as everywhere else.
///
/// # Errors
/// The kernel's: `EFAULT` when part of the range is not mapped, `ENOSYS`, `EPERM`.
pub fn prefer_node(start: u64, end: u64, node: Option<u32>) -> io::Result<()> {
    const MPOL_DEFAULT: i32 = 0;
    const MPOL_PREFERRED: i32 = 1;
    let mut mask = [0u64; 16];
    if let Some(word) = node.and_then(|node| mask.get_mut(node as usize / 64)) {
        *word |= 1u64 << (node.unwrap_or(0) % 64);
    }
    let (mode, nodes, bits) = match node {
        Some(_) => (MPOL_PREFERRED, mask.as_ptr(), 1024u64),
        None => (MPOL_DEFAULT, std::ptr::null(), 0),
    };
    // SAFETY: mbind sets a preference for the range and reads `bits` bits of `mask`; contents never change.
    let rc = unsafe { libc::syscall(libc::SYS_mbind, start, end - start, mode, nodes, bits, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Moves pages to NUMA node `node`; returns how many are there afterwards and the first refusal (an errno) if any.
///
/// # Errors
/// The kernel's, for the call as a whole: `ENODEV` for a node that is not online, `EPERM`, `ENOSYS`.
pub fn move_to_node(pages: &[u64], node: u32) -> io::Result<(usize, Option<i32>)> {
    move_pages(pages, node, false)
}

fn move_pages(pages: &[u64], node: u32, again: bool) -> io::Result<(usize, Option<i32>)> {
    let mut there = 0;
    let mut refusal = None;
    let targets = vec![i32::try_from(node).unwrap_or(i32::MAX); pages.len().min(MOVE_PAGES_MAX)];
    let mut status = vec![0i32; targets.len()];
    let mut hidden: Vec<u64> = Vec::new();
    for pages in pages.chunks(MOVE_PAGES_MAX) {
        const MPOL_MF_MOVE: i32 = 2;
        // SAFETY: the three arrays hold at least `pages.len()` elements; migration keeps contents and addresses.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                pages.as_ptr(),
                targets.as_ptr(),
                status.as_mut_ptr(),
                MPOL_MF_MOVE,
            )
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        for (page, state) in pages.iter().zip(&status) {
            match *state {
                state if state == targets[0] => there += 1,
                state if state == -libc::ENOENT || state == -libc::EFAULT => hidden.push(*page),
                state if state < 0 => refusal = refusal.or(Some(-state)),
                _ => {}
            }
        }
    }
    // Absent, or hidden behind a hint of NUMA balancing: asking by policy clears the hint; then once more.
    if !again {
        let node = i32::try_from(node).unwrap_or(i32::MAX);
        hidden.retain(|page| matches!(node_by_policy(*page), at if at >= 0 && at != node));
        if !hidden.is_empty() {
            let (more, other) = move_pages(&hidden, node.unsigned_abs(), true)?;
            return Ok((there + more, refusal.or(other)));
        }
    }
    Ok((there, refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes_are_read_as_the_kernel_prints_them() {
        assert_eq!(list("0,2-4\n"), [0, 2, 3, 4]);
        assert_eq!(list("\n"), Vec::<u32>::new());
    }

    #[test]
    fn a_maps_line_keeps_spaces_in_its_path() {
        let vma = vma_of("7f00-8f00 r--s 00001000 08:01 42                 /a b/work.shelf").unwrap();
        assert_eq!(
            (vma.start, vma.end, vma.offset, vma.inode),
            (0x7f00, 0x8f00, 0x1000, 42)
        );
        assert!(vma.shared && vma.is_file());
        assert_eq!(vma.path, "/a b/work.shelf");
    }

    #[test]
    fn both_page_table_readers_agree_about_a_vector_half_written() {
        let mut os = Linux::open().unwrap();
        let mut bytes: Vec<u8> = Vec::with_capacity(1 << 20);
        bytes.resize(1 << 19, 7);
        let start = (bytes.as_ptr() as u64 + 4095) & !4095;
        let end = (bytes.as_ptr() as u64 + (1 << 20)) & !4095;
        let count = |os: &Linux| {
            let mut runs = Vec::new();
            os.scan(start, end, &mut runs).unwrap();
            assert_eq!(runs.first().unwrap().0, start);
            assert_eq!(runs.last().unwrap().1, end);
            runs.iter()
                .filter(|r| r.2 == Entry::Anon)
                .map(|r| r.1 - r.0)
                .sum::<u64>()
        };
        let by_scan = count(&os);
        os.plain_pagemap = true;
        assert_eq!(by_scan, count(&os));
        assert!(by_scan >= (1 << 19) - 4096);
        drop(bytes);
    }
}
