//! Which exits of a tree share which stores.
//!
//! Leaving a trace means writing the values the frame needs into the buffer. Exits of one tree need much the same
//! values, so the writing is a tree as well: an exit begins at its own block and walks to the common end, and every
//! block on the way writes values that all exits above it need.
//!
//! ```text
//! exit 2 ──┐
//! exit 3 ── store b ── store c ──┐
//! exit 5 ── store d ──────────── store a ── return the exit's number
//! ```
//!
//! Values needed by most exits come last, so that the shared part is long. A value has one word in all exits, so that what
//! they say of it is the same and kept once; values that no exit needs together may share a word. The components of one value
//! lie in words that follow each other where that can be, which takes one byte to tell.

use larder_trace::Ref;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One block of stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it goes on; none: to the end.
    pub next: Option<u32>,
    /// The values it writes, each with its word, counted from the first.
    pub stores: Vec<(Ref, u16)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub nodes: Vec<Node>,
    /// Where each exit begins, in the order given; none: it needs no values.
    pub begins: Vec<Option<u32>>,
}

/// The word wanted for every value, or the lowest, those needed most first, that no value has with which an exit needs it.
fn words(exits: &[Vec<Ref>], counts: &BTreeMap<u32, usize>, wanted: &BTreeMap<u32, u16>) -> BTreeMap<u32, u16> {
    let mut order: Vec<u32> = counts.keys().copied().collect();
    order.sort_by_key(|r| (std::cmp::Reverse(counts[r]), *r));
    let mut needing = BTreeMap::<u32, Vec<usize>>::new();
    for (exit, refs) in exits.iter().enumerate() {
        refs.iter().for_each(|r| needing.entry(r.0).or_default().push(exit));
    }
    let mut words = BTreeMap::new();
    // The words that each exit has given away.
    let mut given = vec![HashSet::new(); exits.len()];
    for r in order {
        let with = needing.get(&r).map_or(&[][..], Vec::as_slice);
        let taken = |word: &u16| with.iter().any(|exit| given[*exit].contains(word));
        let free = || (0..).find(|word| !taken(word)).unwrap_or(u16::MAX);
        let word = wanted.get(&r).copied().filter(|word| !taken(word)).unwrap_or_else(free);
        for exit in with {
            given[*exit].insert(word);
        }
        words.insert(r, word);
    }
    words
}

impl Plan {
    /// Plans for exits that need these values; duplicates count once. Some are wanted in certain words, if those are free.
    pub fn new(exits: &[Vec<Ref>], near: &BTreeMap<u32, u16>) -> Plan {
        let mut counts = BTreeMap::<u32, usize>::new();
        let mut wanted: Vec<Vec<Ref>> = exits.to_vec();
        for refs in &mut wanted {
            refs.sort_unstable();
            refs.dedup();
            for r in refs {
                *counts.entry(r.0).or_default() += 1;
            }
        }
        for refs in &mut wanted {
            refs.sort_by_key(|r| (std::cmp::Reverse(counts[&r.0]), r.0));
        }
        let words = words(&wanted, &counts, near);
        // One value per node first.
        let mut plan = Plan::default();
        let mut known = HashMap::<(Option<u32>, Ref), u32>::new();
        for refs in &mut wanted {
            let mut at = None;
            for r in refs.iter() {
                at = Some(*known.entry((at, *r)).or_insert_with(|| {
                    plan.nodes.push(Node {
                        next: at,
                        stores: vec![(*r, words[&r.0])],
                    });
                    plan.nodes.len() as u32 - 1
                }));
            }
            plan.begins.push(at);
        }
        plan.merged()
    }

    /// Nodes that only one other reaches, and where no exit begins, become part of it.
    fn merged(mut self) -> Plan {
        let mut reached = vec![0; self.nodes.len()];
        for at in self
            .nodes
            .iter()
            .filter_map(|n| n.next)
            .chain(self.begins.iter().flatten().copied())
        {
            reached[at as usize] += 1;
        }
        let mut begun = vec![false; self.nodes.len()];
        self.begins.iter().flatten().for_each(|at| begun[*at as usize] = true);
        // Nodes come after those they lead to, so by the time a node is looked at, its successor is final.
        for index in 0..self.nodes.len() {
            while let Some(next) = self.nodes[index].next.map(|n| n as usize) {
                if reached[next] != 1 || begun[next] {
                    break;
                }
                let absorbed = std::mem::replace(
                    &mut self.nodes[next],
                    Node {
                        next: None,
                        stores: vec![],
                    },
                );
                self.nodes[index].stores.extend(absorbed.stores);
                self.nodes[index].next = absorbed.next;
            }
        }
        let mut place = vec![0; self.nodes.len()];
        let mut kept = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            place[index] = kept;
            kept += u32::from(!node.stores.is_empty());
        }
        self.nodes.retain(|n| !n.stores.is_empty());
        for at in self
            .nodes
            .iter_mut()
            .filter_map(|n| n.next.as_mut())
            .chain(self.begins.iter_mut().flatten())
        {
            *at = place[*at as usize];
        }
        self
    }

    /// The word an exit's value is written to.
    pub fn word(&self, exit: usize, r: Ref) -> Option<u16> {
        let mut at = self.begins[exit];
        while let Some(node) = at.map(|at| &self.nodes[at as usize]) {
            if let Some(found) = node.stores.iter().find(|s| s.0 == r) {
                return Some(found.1);
            }
            at = node.next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(all: &[u32]) -> Vec<Ref> {
        all.iter().map(|r| Ref(*r)).collect()
    }

    #[test]
    fn common_values_are_stored_once_and_last() {
        let exits = [refs(&[1, 2, 9]), refs(&[1, 2, 3, 4]), refs(&[]), refs(&[1, 5])];
        let plan = Plan::new(&exits, &BTreeMap::new());
        assert_eq!(plan.nodes.iter().map(|n| n.stores.len()).sum::<usize>(), 6, "{plan:?}");
        assert_eq!(
            (plan.word(0, Ref(1)), plan.word(1, Ref(1)), plan.word(3, Ref(1))),
            (Some(0), Some(0), Some(0))
        );
        assert_eq!((plan.word(0, Ref(2)), plan.word(1, Ref(2))), (Some(1), Some(1)));
        assert_eq!((plan.begins[2], plan.word(2, Ref(1))), (None, None));
    }

    #[test]
    fn every_exit_finds_all_its_values_in_words_of_their_own() {
        let mut state = 7u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let exits: Vec<Vec<Ref>> = (0..1 + random(12))
                .map(|_| (0..random(14)).map(|_| Ref(random(16) as u32)).collect())
                .collect();
            let near = (0..random(8)).map(|_| (random(16) as u32, random(14) as u16)).collect();
            let plan = Plan::new(&exits, &near);
            for (exit, wanted) in exits.iter().enumerate() {
                let mut words: Vec<u16> = Vec::new();
                let mut all = wanted.clone();
                all.sort_unstable();
                all.dedup();
                for r in &all {
                    words.push(
                        plan.word(exit, *r)
                            .unwrap_or_else(|| panic!("{r:?} of exit {exit} in {plan:?}")),
                    );
                }
                words.sort_unstable();
                words.dedup();
                assert_eq!(words.len(), all.len(), "{plan:?}");
            }
            for (index, node) in plan.nodes.iter().enumerate() {
                assert!(
                    !node.stores.is_empty() && node.next.is_none_or(|n| (n as usize) < plan.nodes.len()),
                    "{index}"
                );
            }
        }
    }
}
