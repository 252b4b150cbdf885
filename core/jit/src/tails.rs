//! Code that ends alike is there once: exits of one tree end in the same stores and jumps.
//!
//! Invariants
//!
//! - A stretch (what lies between two places where nothing goes on) loses an end only to one that has it whole.
//! - The time this takes grows with the code as sorting does: trees have thousands of exits.

use crate::shrink::{goes_nowhere_on, is_jump};
use iced_x86::{Code as C, Instruction};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// What ends in the same way and goes on at the same place is there once: the others jump into the first.
pub fn merge_tails(all: &mut Vec<Instruction>) {
    while merge_once(all) {}
}

/// Every two stretches next to each other when sorted from their ends have most in common there: the longest ends first, a
/// stretch gives up its end to the first of those that share it. Jumps that then lead to the same place make more alike: the next time.
fn merge_once(all: &mut Vec<Instruction>) -> bool {
    let stretches = stretches(all);
    let numbers = numbers(all);
    let backwards = |s: usize| numbers[stretches[s].clone()].iter().rev();
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_by(|a, b| backwards(*a).cmp(backwards(*b)).then(a.cmp(b)));
    let common = |a: usize, b: usize| backwards(a).zip(backwards(b)).take_while(|(x, y)| x == y).count();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for at in 1..order.len() {
        let alike = common(order[at - 1], order[at]);
        // A return is shorter than a jump to one.
        let worth = if is_jump(&all[stretches[order[at]].end - 1]) {
            2
        } else {
            3
        };
        if alike >= worth {
            pairs.push((alike, at));
        }
    }
    pairs.sort_by_key(|(alike, at)| (std::cmp::Reverse(*alike), *at));
    // The stretch that has the end of those merged so far, by place in the order.
    let mut has: Vec<usize> = (0..order.len()).collect();
    let mut moved: HashMap<u64, u64> = HashMap::new();
    // Where stretches end now, and the jump that stands there instead of the rest.
    let mut cut: Vec<Option<(usize, Option<Instruction>)>> = vec![None; stretches.len()];
    for (alike, at) in &pairs {
        let (x, y) = (root(&mut has, at - 1), root(&mut has, *at));
        let (into, from) = if order[x] < order[y] { (x, y) } else { (y, x) };
        has[from] = into;
        let (kept, gone) = (stretches[order[into]].end - alike, stretches[order[from]].end - alike);
        for k in 0..*alike {
            moved.insert(all[gone + k].ip(), all[kept + k].ip());
        }
        let entered = gone > stretches[order[from]].start;
        let jump = Instruction::with_branch(C::Jmp_rel32_64, all[kept].ip()).ok();
        let jump = jump.filter(|_| entered).map(|mut jump| {
            jump.set_ip(all[gone].ip());
            jump
        });
        cut[order[from]] = Some((gone, jump));
    }
    if pairs.is_empty() {
        return false;
    }
    let behind = stretches.last().map_or(0, |last| last.end);
    let mut out = Vec::with_capacity(all.len());
    for (stretch, cut) in stretches.into_iter().zip(cut) {
        let (end, jump) = cut.unwrap_or((stretch.end, None));
        out.extend(&all[stretch.start..end]);
        out.extend(jump);
    }
    out.extend(&all[behind..]);
    for i in out.iter_mut().filter(|i| is_jump(i)) {
        while let Some(to) = moved.get(&i.near_branch_target()) {
            i.set_near_branch64(*to);
        }
    }
    *all = out;
    true
}

/// Up to each place where nothing goes on, without what lies behind the last.
fn stretches(all: &[Instruction]) -> Vec<Range<usize>> {
    let mut begin = 0;
    let ends = (0..all.len()).filter(|k| goes_nowhere_on(&all[*k]));
    ends.map(|end| std::mem::replace(&mut begin, end + 1)..end + 1)
        .collect()
}

/// A number for each instruction, the same for the same.
fn numbers(all: &[Instruction]) -> Vec<u32> {
    let mut known: HashMap<&Instruction, u32, BuildHasherDefault<Quick>> = HashMap::default();
    known.reserve(all.len());
    let mut number = |i| {
        let next = known.len() as u32;
        *known.entry(i).or_insert(next)
    };
    all.iter().map(&mut number).collect()
}

/// A hash in a few instructions: what is hashed comes from our own code generator.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

fn root(has: &mut [usize], mut at: usize) -> usize {
    while has[at] != at {
        has[at] = has[has[at]];
        at = has[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{MemoryOperand, Register};

    /// `mov eax, k`, two stores of it, and a return.
    fn stretch(k: u64) -> Vec<Instruction> {
        let store = |n: i64| {
            let at = MemoryOperand::with_base_displ(Register::RDI, n);
            Instruction::with2(C::Mov_rm64_r64, at, Register::RAX).unwrap()
        };
        let mut all = vec![
            Instruction::with2(C::Mov_r32_imm32, Register::EAX, k as u32).unwrap(),
            store(8),
            store(16),
            Instruction::with(C::Retnq),
        ];
        all.iter_mut().zip(0..).for_each(|(i, n)| i.set_ip(100 * k + n));
        all
    }

    /// `mov ecx, 7`, and a jump.
    fn jump(k: u64, to: u64) -> Vec<Instruction> {
        let mut all = vec![
            Instruction::with2(C::Mov_r32_imm32, Register::ECX, 7).unwrap(),
            Instruction::with_branch(C::Jmp_rel32_64, to).unwrap(),
        ];
        all.iter_mut().zip(0..).for_each(|(i, n)| i.set_ip(100 * k + n));
        all
    }

    #[test]
    fn thousands_of_ends_become_one() {
        // Comparing every two of them for each that goes would take minutes.
        let mut all: Vec<Instruction> = (0..5000).flat_map(stretch).collect();
        merge_tails(&mut all);
        assert_eq!(all.len(), 4 + 4999 * 2);
        let jumps = all.iter().filter(|i| is_jump(i));
        assert!(jumps.clone().all(|i| i.near_branch_target() == 1));
        assert_eq!(jumps.count(), 4999);
        assert_eq!(all[4].immediate32(), 1, "in their order");
    }

    #[test]
    fn what_becomes_alike_by_that_is_merged_next() {
        // The second and the third end alike only when what they lead to has become one; the third is gone as a whole.
        let mut all = [stretch(0), stretch(1), jump(2, 1), jump(3, 101), jump(4, 300)].concat();
        merge_tails(&mut all);
        let told: Vec<(u64, u64)> = all.iter().map(|i| (i.ip(), i.near_branch_target())).collect();
        let wanted = [
            (0, 0),
            (1, 0),
            (2, 0),
            (3, 0),
            (100, 0),
            (101, 1),
            (200, 0),
            (201, 1),
            (400, 0),
            (401, 200),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn the_longest_end_counts_and_a_short_one_stays() {
        let mut other = stretch(5);
        other.drain(..2);
        let mut all = [stretch(0), other.clone(), stretch(0)].concat();
        all[6..].iter_mut().zip(700..).for_each(|(i, ip)| i.set_ip(ip));
        merge_tails(&mut all);
        assert_eq!(all.len(), 6, "two instructions and no jump less is nothing less");
        assert_eq!(all[4..], other);
    }
}
