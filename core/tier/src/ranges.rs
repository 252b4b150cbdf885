//! Sets of byte ranges, and who owns a byte that several variables reach.
//!
//! Invariants
//!
//! - A normal list is sorted, its ranges are non-empty, and none touches the next.
//! - [`claim`] gives every byte to exactly one owner: the first variable, in table order, that reaches it.

/// Half-open `start..end`, in bytes.
pub type Range = (u64, u64);

/// Sorts `ranges` and joins those that touch or overlap; empty ones go.
pub fn normalise(ranges: &mut Vec<Range>) {
    ranges.retain(|r| r.1 > r.0);
    ranges.sort_unstable();
    let mut kept = 0;
    for at in 0..ranges.len() {
        let next = ranges[at];
        if kept > 0 && next.0 <= ranges[kept - 1].1 {
            ranges[kept - 1].1 = ranges[kept - 1].1.max(next.1);
        } else {
            ranges[kept] = next;
            kept += 1;
        }
    }
    ranges.truncate(kept);
}

/// A list of which the first `sorted` ranges are in order, and apart, made normal: cheaper than [`normalise`] where few follow.
pub fn normalise_tail(ranges: &mut Vec<Range>, sorted: usize) {
    let mut tail = ranges.split_off(sorted.min(ranges.len()));
    normalise(&mut tail);
    let Some(first) = tail.first() else { return };
    // All that lies before the first of the new ones stays as it is.
    let from = ranges.partition_point(|range| range.1 < first.0);
    let old = ranges.split_off(from);
    ranges.reserve(old.len() + tail.len());
    let (mut old, mut new) = (old.into_iter().peekable(), tail.into_iter().peekable());
    loop {
        let next = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a <= b => old.next(),
            (Some(_), None) => old.next(),
            _ => new.next(),
        };
        let Some(next) = next else { return };
        match ranges.last_mut() {
            Some(last) if next.0 <= last.1 => last.1 = last.1.max(next.1),
            _ => ranges.push(next),
        }
    }
}

/// Bytes in a normal list.
pub fn total(ranges: &[Range]) -> u64 {
    ranges.iter().map(|r| r.1 - r.0).sum()
}

/// The whole pages that hold at least one byte of a normal list, as a normal list; `gap_pages` joins neighbours.
pub fn pages(ranges: &[Range], page_bytes: u64, gap_pages: u64) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for &(start, end) in ranges {
        let (start, end) = (start & !(page_bytes - 1), (end + page_bytes - 1) & !(page_bytes - 1));
        match out.last_mut() {
            Some(last) if start <= last.1 + gap_pages * page_bytes => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

/// The pages to move so that a normal list moves: neighbours joined, of pages that are at least half these bytes.
///
/// Objects rarely fill a page to the last byte (allocators keep headers between them), so pages count that hold any of
/// them; a header alone in its page stays where its neighbours are. `ends_at` may end the last page of a large range early.
pub fn moving_pages(ranges: &[Range], page_bytes: u64, ends_at: impl Fn(u64) -> Option<u64>) -> Vec<Range> {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for &(start, end) in ranges {
        let low = start & !(page_bytes - 1);
        let mut high = (end + page_bytes - 1) & !(page_bytes - 1);
        if let Some(limit) = (end - start >= page_bytes).then(|| ends_at(start)).flatten() {
            high = high.min(limit);
        }
        match runs.last_mut() {
            Some(last) if low <= last.1 => *last = (last.0, last.1.max(high), last.2 + end - start),
            _ => runs.push((low, high, end - start)),
        }
    }
    runs.retain(|run| run.2 * 2 >= run.1 - run.0);
    runs.into_iter().map(|run| (run.0, run.1)).collect()
}

/// What one owner keeps after sharing is settled.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Bytes counted for this owner, normal.
    pub own: Vec<Range>,
    /// `(other owner, bytes)`: reached here too, counted there.
    pub shared: Vec<(usize, u64)>,
}

/// Settles overlaps between owners: each byte goes to the lowest index that reaches it.
///
/// | argument | shape                | unit  | meaning                     |
/// |----------|----------------------|-------|-----------------------------|
/// | `owners` | `[n_owners][ranges]` | bytes | normal lists, may overlap   |
pub fn claim(owners: &[Vec<Range>]) -> Vec<Claim> {
    let mut edges: Vec<(u64, bool, usize)> = Vec::new();
    for (owner, ranges) in owners.iter().enumerate() {
        for &(start, end) in ranges {
            edges.push((start, true, owner));
            edges.push((end, false, owner));
        }
    }
    edges.sort_unstable();
    let mut out = vec![Claim::default(); owners.len()];
    let mut active: Vec<usize> = Vec::new();
    let mut from = 0;
    for (at, opens, owner) in edges {
        if at > from && !active.is_empty() {
            let winner = active[0];
            match out[winner].own.last_mut() {
                Some(last) if last.1 == from => last.1 = at,
                _ => out[winner].own.push((from, at)),
            }
            for &other in &active[1..] {
                match out[other].shared.iter_mut().find(|s| s.0 == winner) {
                    Some(share) => share.1 += at - from,
                    None => out[other].shared.push((winner, at - from)),
                }
            }
        }
        from = at;
        match active.binary_search(&owner) {
            Ok(index) if !opens => drop(active.remove(index)),
            Err(index) if opens => active.insert(index, owner),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_tail_is_joined_as_if_all_were_sorted() {
        let sorted = [(0, 10), (20, 30), (40, 50), (60, 70)];
        for tail in [
            vec![],
            vec![(30, 40)],
            vec![(65, 90), (5, 7), (15, 16)],
            vec![(0, 100)],
            vec![(80, 90), (12, 12)],
        ] {
            let mut one: Vec<Range> = sorted.iter().chain(&tail).copied().collect();
            let mut other = one.clone();
            normalise(&mut one);
            normalise_tail(&mut other, sorted.len());
            assert_eq!(one, other);
        }
    }

    #[test]
    fn pages_move_that_are_half_their_owners_and_end_where_a_block_ends() {
        let none = |_| None;
        assert_eq!(moving_pages(&[(100, 3000), (3100, 5000)], 4096, none), [(0, 8192)]);
        assert_eq!(
            moving_pages(&[(100, 200)], 4096, none),
            [],
            "a header stays with its neighbours"
        );
        assert_eq!(
            moving_pages(&[(0, 4096), (40_960, 50_000)], 4096, |at| (at == 40_960)
                .then_some(49_152)),
            [(0, 4096), (40_960, 49_152)]
        );
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        let mut ranges = vec![(8, 10), (0, 4), (4, 6), (5, 7), (9, 9)];
        normalise(&mut ranges);
        assert_eq!(ranges, [(0, 7), (8, 10)]);
        assert_eq!(total(&ranges), 9);
    }

    #[test]
    fn a_byte_two_variables_reach_is_counted_for_the_first() {
        let claims = claim(&[vec![(0, 100)], vec![(50, 150)], vec![(60, 70), (140, 160)]]);
        assert_eq!(claims[0].own, [(0, 100)]);
        assert_eq!(claims[1].own, [(100, 150)]);
        assert_eq!(claims[1].shared, [(0, 50)]);
        assert_eq!(claims[2].own, [(150, 160)]);
        assert_eq!(claims[2].shared, [(0, 10), (1, 10)]);
    }

    #[test]
    fn claims_add_up_to_the_union() {
        let owners = vec![vec![(3, 9), (20, 40)], vec![(0, 30)], vec![(35, 60)]];
        let mut union: Vec<Range> = owners.iter().flatten().copied().collect();
        normalise(&mut union);
        let counted: u64 = claim(&owners).iter().map(|c| total(&c.own)).sum();
        assert_eq!(counted, total(&union));
    }

    #[test]
    fn pages_of_neighbours_are_joined_over_a_gap() {
        assert_eq!(pages(&[(100, 200), (8200, 8300)], 4096, 0), [(0, 4096), (8192, 12288)]);
        assert_eq!(pages(&[(100, 200), (8200, 8300)], 4096, 1), [(0, 12288)]);
    }
}
