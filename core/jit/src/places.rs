//! In which order stretches of code lie, for [`crate::shrink`].

use crate::shrink::{goes_nowhere_on, is_jump};
use iced_x86::{Encoder, FlowControl, Instruction};
use std::collections::HashMap;
use std::ops::Range;

/// Distances that are surely short: less than one byte tells, as constants are put in place later.
const SHORT: std::ops::RangeInclusive<i32> = -124..=123;

/// Stretches times jumps that are gone through at most: half a millisecond's.
const WORK: usize = 48_000;

/// Stretches lie where jumps to them and from them are short: one after the other is put beside those it has to do with, if
/// that makes it less. The first stays.
pub fn near_together(all: &mut Vec<Instruction>) {
    let Some(mut places) = Places::of(all) else { return };
    let mut order: Vec<usize> = (0..places.runs.len()).collect();
    let mut least = places.settle(&order);
    // What it takes grows with both: large code is left as it is.
    let rounds = WORK / (places.runs.len() * places.jumps.len().max(1));
    for _ in 0..rounds.min(3) {
        let before = least;
        for run in 1..order.len() {
            let beside = places.beside(run);
            let mut best = None;
            let at = order.iter().position(|r| *r == run).unwrap_or(0);
            order.remove(at);
            for place in 1..=order.len() {
                if !beside.contains(&order[place - 1]) && !order.get(place).is_some_and(|r| beside.contains(r)) {
                    continue;
                }
                order.insert(place, run);
                let cost = places.long(&order);
                order.remove(place);
                if cost < least && best.is_none_or(|(_, found)| cost < found) {
                    best = Some((place, cost));
                }
            }
            order.insert(best.map_or(at, |b| b.0), run);
            if best.is_some() {
                least = places.settle(&order);
            }
        }
        if least >= before {
            break;
        }
    }
    let out = order
        .iter()
        .flat_map(|r| all[places.runs[*r].clone()].iter().copied())
        .collect();
    *all = out;
}

/// Where stretches of code and the jumps between them lie.
struct Places {
    /// Instructions of each stretch.
    runs: Vec<Range<usize>>,
    /// Bytes of each, with short jumps.
    sizes: Vec<i32>,
    /// By stretches: from where, to where, with the bytes from its beginning, and the bytes more that it takes when it is
    /// long.
    jumps: Vec<Jump>,
    starts: Vec<i32>,
}

struct Jump {
    from: (usize, i32),
    to: (usize, i32),
    more: i32,
    long: bool,
}

impl Places {
    /// None if there is nothing to order.
    fn of(all: &[Instruction]) -> Option<Places> {
        let mut encoder = Encoder::new(64);
        let place: HashMap<u64, usize> = all.iter().enumerate().map(|(k, i)| (i.ip(), k)).collect();
        let (mut runs, mut sizes, mut within) = (Vec::new(), Vec::new(), Vec::with_capacity(all.len()));
        let (mut first, mut size) = (0, 0);
        for (k, i) in all.iter().enumerate() {
            within.push((runs.len(), size));
            size += if is_jump(i) {
                2
            } else {
                encoder.encode(i, i.ip()).ok()? as i32
            };
            if goes_nowhere_on(i) {
                runs.push(first..k + 1);
                sizes.push(std::mem::take(&mut size));
                first = k + 1;
            }
        }
        let mut jumps = Vec::new();
        for (k, i) in all.iter().enumerate().filter(|(_, i)| is_jump(i)) {
            let to = *place.get(&i.near_branch_target())?;
            let more = if i.flow_control() == FlowControl::ConditionalBranch {
                4
            } else {
                3
            };
            let (from, to, long) = ((within[k].0, within[k].1 + 2), within[to], false);
            jumps.push(Jump { from, to, more, long });
        }
        let starts = vec![0; sizes.len()];
        (runs.len() > 2 && first == all.len()).then_some(Places {
            runs,
            sizes,
            jumps,
            starts,
        })
    }

    /// The stretches that one jumps to, or that jump to it.
    fn beside(&self, run: usize) -> Vec<usize> {
        let other = |j: &Jump| match (j.from.0, j.to.0) {
            (from, to) if from == run && to != run => Some(to),
            (from, to) if to == run && from != run => Some(from),
            _ => None,
        };
        self.jumps.iter().filter_map(other).collect()
    }

    /// Bytes that long jumps take more, in this order, with those long that were when it was settled.
    fn long(&mut self, order: &[usize]) -> i32 {
        let mut at = 0;
        for run in order {
            self.starts[*run] = at;
            at += self.sizes[*run];
        }
        let place = |(run, at): (usize, i32)| self.starts[run] + at;
        let far = |j: &&Jump| !SHORT.contains(&(place(j.to) - place(j.from)));
        self.jumps.iter().filter(far).map(|j| j.more).sum()
    }

    /// The same, once for all: long jumps make the stretches longer.
    fn settle(&mut self, order: &[usize]) -> i32 {
        loop {
            let all = self.long(order);
            let place = |(run, at): (usize, i32), starts: &[i32]| starts[run] + at;
            let mut grown = Vec::new();
            for (k, j) in self.jumps.iter().enumerate() {
                let distance = place(j.to, &self.starts) - place(j.from, &self.starts);
                if !j.long && !SHORT.contains(&distance) {
                    grown.push(k);
                }
            }
            if grown.is_empty() {
                return all;
            }
            for k in grown {
                let (from, more) = (self.jumps[k].from, self.jumps[k].more);
                self.jumps[k].long = true;
                self.sizes[from.0] += more;
                for j in &mut self.jumps {
                    for end in [&mut j.from, &mut j.to] {
                        if end.0 == from.0 && end.1 >= from.1 {
                            end.1 += more;
                        }
                    }
                }
            }
        }
    }
}
