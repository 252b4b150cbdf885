//! Placement: where the bytes of a variable are, page by page.
//!
//! Page-table entries come first (present, swapped, zero page, absent); absent pages of file mappings are then looked up
//! in the page cache, and present anonymous pages get their NUMA node. Nothing is touched by asking.
//!
//! Invariants
//!
//! - The runs of [`locate`] cover the asked pages exactly, in order, without overlap.
//! - [`weigh`] adds up to the bytes asked for; what has no mapping any more is counted as `unmapped`, never guessed.
//! - With `exact`, every present page's node is asked for; without it, up to [`SAMPLE_PAGES`] are, evenly spread.

use std::collections::BTreeMap;
use std::io;

use crate::os::{Entry, Method, Os, Vma};
use crate::ranges::{Range, pages};

/// Node look-ups per call when sampling: 0.65 ms, whatever the size.
pub const SAMPLE_PAGES: u64 = 1000;

/// Where one page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// DRAM or slow memory of this NUMA node.
    Node(u32),
    /// In the page cache of a file.
    Cache,
    /// File-backed and not resident.
    Disk,
    Swap,
    /// Never written: reads as zeros and costs nothing.
    Untouched,
    /// Present, but no interface says on which node.
    SomeNode,
    /// Not mapped (freed since it was listed).
    Unmapped,
}

/// A run of pages in one place.
pub type Run = (u64, u64, Where);

/// What [`locate`] found and how.
#[derive(Debug, Default, Clone)]
pub struct Located {
    pub runs: Vec<Run>,
    pub methods: Vec<Method>,
    pub mincore: bool,
    /// mincore may not be asked here: file pages that are not mapped count as on disk.
    pub mincore_refused: bool,
    pub sampled: bool,
}

/// Finds the pages under `ranges` (normal list).
///
/// # Errors
/// When neither PAGEMAP_SCAN nor pagemap can be read, or `/proc/self/maps` cannot.
pub fn locate(os: &dyn Os, ranges: &[Range], exact: bool) -> io::Result<Located> {
    let mut out = Located::default();
    if ranges.is_empty() {
        return Ok(out);
    }
    let page_bytes = os.page_bytes();
    let maps = os.maps()?;
    let mut entries: Vec<(u64, u64, Entry)> = Vec::new();
    let mut found: Vec<(u64, u64, Entry, Option<usize>)> = Vec::new();
    for (start, end) in pages(ranges, page_bytes, 16) {
        split_by_vma(&maps, start, end, &mut |from, to, vma| -> io::Result<()> {
            let Some(index) = vma else {
                found.push((from, to, Entry::Absent, None));
                return Ok(());
            };
            entries.clear();
            note(&mut out.methods, os.scan(from, to, &mut entries)?);
            found.extend(entries.iter().map(|e| (e.0, e.1, e.2, Some(index))));
            Ok(())
        })?;
    }
    let present: u64 = found
        .iter()
        .filter(|f| on_node(&maps, f))
        .map(|f| (f.1 - f.0) / page_bytes)
        .sum();
    let stride_pages = if exact {
        1
    } else {
        present.div_ceil(SAMPLE_PAGES).max(1)
    };
    out.sampled = stride_pages > 1;
    let mut asked: Vec<u64> = Vec::new();
    let mut really: BTreeMap<usize, bool> = BTreeMap::new();
    for (start, end, mut entry, vma) in found {
        if let (Entry::Swapped, Some(index)) = (entry, vma) {
            let known = match really.get(&index) {
                Some(known) => *known,
                None => os.swapped(&maps[index])? > 0,
            };
            really.insert(index, known);
            if !known {
                entry = Entry::Absent; // a write tracker's marker
            }
        }
        let vma = vma.map(|index| &maps[index]);
        match (entry, vma) {
            (_, None) => out.runs.push((start, end, Where::Unmapped)),
            (Entry::Zero, _) => out.runs.push((start, end, Where::Untouched)),
            (Entry::Swapped, _) => out.runs.push((start, end, Where::Swap)),
            (Entry::File, Some(vma)) if !(vma.is_tier_file() || vma.inode == 0 || vma.is_shmem()) => {
                out.runs.push((start, end, Where::Cache));
            }
            (Entry::Anon | Entry::File, Some(_)) => {
                let mut at = start;
                while at < end {
                    let next = (at + stride_pages * page_bytes).min(end);
                    asked.push(at);
                    out.runs.push((at, next, Where::SomeNode));
                    at = next;
                }
            }
            (Entry::Absent, Some(vma)) if vma.is_file() => absent_file_pages(os, vma, start, end, &mut out)?,
            (Entry::Absent, Some(_)) => out.runs.push((start, end, Where::Untouched)),
        }
    }
    if !asked.is_empty() {
        let (nodes, method) = os.node_of(&asked)?;
        note(&mut out.methods, method);
        let mut nodes = nodes.into_iter();
        for run in out.runs.iter_mut().filter(|r| r.2 == Where::SomeNode) {
            run.2 = match nodes.next() {
                Some(node) if node >= 0 => Where::Node(node.unsigned_abs()),
                Some(error) if error == -libc::EFAULT => Where::Untouched, // the zero page, where pagemap cannot tell
                _ => Where::SomeNode,
            };
        }
    }
    join(&mut out.runs);
    Ok(out)
}

fn on_node(maps: &[Vma], found: &(u64, u64, Entry, Option<usize>)) -> bool {
    let Some(vma) = found.3.map(|index| &maps[index]) else {
        return false;
    };
    match found.2 {
        Entry::Anon => true,
        Entry::File => vma.is_tier_file() || vma.inode == 0 || vma.is_shmem(),
        _ => false,
    }
}

fn absent_file_pages(os: &dyn Os, vma: &Vma, start: u64, end: u64, out: &mut Located) -> io::Result<()> {
    let page_bytes = os.page_bytes();
    let resident = match os.in_core(start, end) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ) =>
        {
            out.mincore_refused = true;
            vec![false; ((end - start) / page_bytes) as usize]
        }
        asked => asked?,
    };
    out.mincore |= !out.mincore_refused;
    let from = out.runs.len();
    for (index, cached) in resident.iter().enumerate() {
        let at = start + index as u64 * page_bytes;
        let place = if *cached { Where::Cache } else { Where::Disk };
        match out.runs[from..].last_mut() {
            Some(last) if last.2 == place => last.1 = at + page_bytes,
            _ => out.runs.push((at, at + page_bytes, place)),
        }
    }
    // A hole in the file was never written: nothing of it is on the disk.
    let tail: Vec<Run> = out.runs.drain(from..).collect();
    for run in tail {
        if run.2 != Where::Disk {
            out.runs.push(run);
            continue;
        }
        let mut at = run.0;
        for (hole, hole_end) in os.holes(vma, run.0, run.1).unwrap_or_default() {
            if hole > at {
                out.runs.push((at, hole, Where::Disk));
            }
            out.runs.push((hole, hole_end, Where::Untouched));
            at = hole_end;
        }
        if at < run.1 {
            out.runs.push((at, run.1, Where::Disk));
        }
    }
    Ok(())
}

fn split_by_vma(
    maps: &[Vma],
    start: u64,
    end: u64,
    each: &mut dyn FnMut(u64, u64, Option<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = start;
    let mut index = maps.partition_point(|vma| vma.end <= start);
    while at < end {
        match maps.get(index) {
            Some(vma) if vma.start <= at => {
                let to = vma.end.min(end);
                each(at, to, Some(index))?;
                at = to;
                index += 1;
            }
            other => {
                let to = other.map_or(end, |vma| vma.start.min(end));
                each(at, to, None)?;
                at = to;
            }
        }
    }
    Ok(())
}

fn note(methods: &mut Vec<Method>, method: Method) {
    if !methods.contains(&method) {
        methods.push(method);
    }
}

fn join(runs: &mut Vec<Run>) {
    let mut kept = 0;
    for at in 0..runs.len() {
        let next = runs[at];
        if kept > 0 && runs[kept - 1].1 == next.0 && runs[kept - 1].2 == next.2 {
            runs[kept - 1].1 = next.1;
        } else {
            runs[kept] = next;
            kept += 1;
        }
    }
    runs.truncate(kept);
}

/// Bytes of `ranges` (normal list) in each place, given the runs that cover them.
pub fn weigh(ranges: &[Range], runs: &[Run]) -> BTreeMap<Where, u64> {
    let mut out = BTreeMap::new();
    let mut index = 0;
    for &(start, end) in ranges {
        while index < runs.len() && runs[index].1 <= start {
            index += 1;
        }
        let mut look = index;
        let mut at = start;
        while at < end {
            let Some(run) = runs.get(look) else {
                *out.entry(Where::Unmapped).or_default() += end - at;
                break;
            };
            if run.0 > at {
                *out.entry(Where::Unmapped).or_default() += run.0.min(end) - at;
                at = run.0.min(end);
                continue;
            }
            let to = run.1.min(end);
            if to > at {
                *out.entry(run.2).or_default() += to - at;
                at = to;
            }
            look += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Node;

    /// Four pages anonymous (node 0, node 1, zero, swapped), then four of a file (mapped, cached, disk, hole).
    struct Made {
        two_nodes: bool,
    }

    const P: u64 = 4096;

    impl Os for Made {
        fn page_bytes(&self) -> u64 {
            P
        }
        fn nodes(&self) -> io::Result<Vec<Node>> {
            Ok(vec![
                Node {
                    id: 0,
                    has_cpu: true,
                    bytes: 1 << 30,
                },
                Node {
                    id: 1,
                    has_cpu: false,
                    bytes: 1 << 30,
                },
            ])
        }
        fn swap(&self) -> io::Result<(u64, u64)> {
            Ok((1 << 30, 1 << 30))
        }
        fn maps(&self) -> io::Result<Vec<Vma>> {
            let vma = |start: u64, path: &str, inode| Vma {
                start: start * P,
                end: (start + 4) * P,
                readable: true,
                shared: inode != 0,
                path: path.into(),
                inode,
                offset: 0,
            };
            Ok(vec![vma(16, "", 0), vma(20, "/data/work.shelf", 7)])
        }
        fn scan(&self, start: u64, end: u64, out: &mut Vec<(u64, u64, Entry)>) -> io::Result<Method> {
            for page in start / P..end / P {
                let entry = match page {
                    16 | 17 => Entry::Anon,
                    18 => Entry::Zero,
                    19 => Entry::Swapped,
                    20 => Entry::File,
                    22 => Entry::Swapped, // a marker: this file mapping has nothing in swap
                    _ => Entry::Absent,
                };
                match out.last_mut() {
                    Some(last) if last.1 == page * P && last.2 == entry => last.1 += P,
                    _ => out.push((page * P, page * P + P, entry)),
                }
            }
            Ok(Method::PagemapScan)
        }
        fn swapped(&self, vma: &Vma) -> io::Result<u64> {
            Ok(if vma.inode == 0 { P } else { 0 })
        }
        fn in_core(&self, start: u64, end: u64) -> io::Result<Vec<bool>> {
            Ok((start / P..end / P).map(|page| page == 21).collect())
        }
        fn node_of(&self, pages: &[u64]) -> io::Result<(Vec<i32>, Method)> {
            let slow = i32::from(self.two_nodes);
            Ok((
                pages.iter().map(|p| if *p == 17 * P { slow } else { 0 }).collect(),
                Method::MovePages,
            ))
        }
        fn holes(&self, _vma: &Vma, start: u64, end: u64) -> Option<Vec<(u64, u64)>> {
            Some(if (start..end).contains(&(23 * P)) {
                vec![(23 * P, 24 * P)]
            } else {
                Vec::new()
            })
        }
    }

    #[test]
    fn every_kind_of_page_is_told_apart() {
        let found = locate(&Made { two_nodes: true }, &[(16 * P, 24 * P)], true).unwrap();
        let places: Vec<Where> = found.runs.iter().map(|r| r.2).collect();
        assert_eq!(
            places,
            [
                Where::Node(0),
                Where::Node(1),
                Where::Untouched,
                Where::Swap,
                Where::Cache,
                Where::Disk,
                Where::Untouched
            ]
        );
        assert!(found.mincore && !found.sampled);
    }

    #[test]
    fn weights_follow_bytes_and_add_up() {
        let ranges = [(16 * P + 100, 17 * P + 50), (30 * P, 30 * P + 10)];
        let found = locate(&Made { two_nodes: true }, &ranges, true).unwrap();
        let weights = weigh(&ranges, &found.runs);
        assert_eq!(weights[&Where::Node(0)], P - 100);
        assert_eq!(weights[&Where::Node(1)], 50);
        assert_eq!(weights[&Where::Unmapped], 10);
        assert_eq!(weights.values().sum::<u64>(), crate::ranges::total(&ranges));
    }
}
