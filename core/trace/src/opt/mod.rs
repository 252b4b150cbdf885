//! The passes: each takes a recorded trace and makes it do less.
//!
//! `simplify` walks a trace once from the front and folds, merges, forwards and drops guards, with what the traces
//! before it have established; `refcounts` and `dead` then take out what nobody needs. `hoist` looks at the whole
//! tree when it is compiled. What the recorder itself decides (specialisation by type, unboxing, objects that are
//! made at the exit only) is not a pass.
//!
//! Invariants
//!
//! - A pass never adds an exit, and never moves an effect across one.
//! - A substituted operand gives the same value, and stands earlier in every path.

mod fold;
mod hoist;
mod simplify;

pub use hoist::hoist;

use crate::ir::{End, ExitId, Ref, Tree, Val};
use crate::ops::Op;
use std::collections::{HashMap, HashSet};

/// Which passes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Constants, and cheaper operations for known operands.
    pub fold: bool,
    /// The same value is computed and read once.
    pub merge: bool,
    /// Guards that cannot fail, and overflow checks that cannot either.
    pub guards: bool,
    /// What was just stored or boxed is not read back.
    pub forward: bool,
    /// Counting up and down again.
    pub refcounts: bool,
    /// Results nobody uses.
    pub dead: bool,
    /// What does not change inside the innermost loop is done before it.
    pub hoist: bool,
}

impl Passes {
    pub const ALL: Passes = Passes {
        fold: true,
        merge: true,
        guards: true,
        forward: true,
        refcounts: true,
        dead: true,
        hoist: true,
    };
    pub const NONE: Passes = Passes {
        fold: false,
        merge: false,
        guards: false,
        forward: false,
        refcounts: false,
        dead: false,
        hoist: false,
    };

    /// The switch of a pass; none for a name that is no pass.
    pub fn switch(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "fold" => &mut self.fold,
            "merge" => &mut self.merge,
            "guards" => &mut self.guards,
            "forward" => &mut self.forward,
            "refcounts" => &mut self.refcounts,
            "dead" => &mut self.dead,
            "hoist" => &mut self.hoist,
            _ => return None,
        })
    }
    pub const NAMES: [&str; 7] = ["fold", "merge", "guards", "forward", "refcounts", "dead", "hoist"];
}

impl Default for Passes {
    fn default() -> Passes {
        Passes::ALL
    }
}

/// Improves one trace, given those it continues from.
pub fn optimise(tree: &mut Tree, index: usize, passes: &Passes) {
    if passes.fold || passes.merge || passes.guards || passes.forward {
        simplify::simplify(tree, index, passes);
    }
    if passes.refcounts {
        refcounts(tree, index);
    }
    if passes.dead {
        dead(tree, index);
    }
}

fn for_each_ref(val: &mut Val, f: &mut impl FnMut(&mut Ref)) {
    match val {
        Val::Int { value, boxed } | Val::Float { value, boxed } => {
            f(value);
            f(boxed);
        }
        Val::Bool(r) | Val::Ptr(r, _) | Val::Position(r) => f(r),
        Val::Known(_) | Val::Null | Val::Tuple(_) => {}
        Val::RangeIter {
            next,
            step,
            left,
            object,
        } => [next, step, left, object].into_iter().for_each(f),
        Val::SeqIter { on, index, object, .. } => [on, index, object].into_iter().for_each(f),
        Val::Enumerate {
            count,
            list,
            index,
            object,
        } => [count, list, index, object].into_iter().for_each(f),
        Val::Zip {
            first,
            second,
            index,
            object,
        } => [first, second, index, object].into_iter().for_each(f),
        Val::Range { start, stop, step } => [start, stop, step].into_iter().for_each(f),
    }
}

/// Puts other values in place of some, everywhere a trace names them outside its body.
fn substitute(tree: &mut Tree, index: usize, map: &HashMap<Ref, Ref>) {
    if map.is_empty() {
        return;
    }
    let mut change = |r: &mut Ref| {
        if let Some(to) = map.get(r) {
            *r = *to;
        }
    };
    // Traces recorded after this one, before it was optimised, name its values too.
    for exit in tree.exits.iter_mut().filter(|e| e.owner as usize >= index) {
        for (_, val) in &mut exit.snapshot.slots {
            for_each_ref(val, &mut change);
        }
    }
    for val in tree.tuples.iter_mut().flatten() {
        for_each_ref(val, &mut change);
    }
    for holders in &mut tree.holders {
        holders.ints.iter_mut().chain(&mut holders.floats).for_each(&mut change);
    }
    for later in &tree.traces[index + 1..] {
        for r in &later.body {
            tree.insts[r.at()].args.iter_mut().for_each(&mut change);
        }
    }
    for trace in &mut tree.traces[index..] {
        trace.end.for_each_ref(&mut change);
    }
}

/// Counting up, then down, or down, then up, with no exit between: neither.
fn refcounts(tree: &mut Tree, index: usize) {
    let body = std::mem::take(&mut tree.traces[index].body);
    let mut drop = HashSet::new();
    let mut open: Vec<(Op, Ref, usize)> = Vec::new();
    for (at, r) in body.iter().enumerate() {
        let inst = *tree.inst(*r);
        if inst.op.info().exits {
            open.clear();
        }
        // Reusing an object in place asks how many own it; a dict, and a tuple of strings joined, let go of what they had.
        if matches!(inst.op, Op::ReplaceI | Op::ReplaceF | Op::DictPut | Op::Join) {
            open.clear();
        }
        let other = match inst.op {
            Op::Incref => Op::Release,
            Op::Release => Op::Incref,
            _ => continue,
        };
        match open.iter().position(|o| o.0 == other && o.1 == inst.args[0]) {
            Some(found) => {
                drop.insert(open.remove(found).2);
                drop.insert(at);
            }
            None => open.push((inst.op, inst.args[0], at)),
        }
    }
    let kept = body.into_iter().enumerate().filter(|(at, _)| !drop.contains(at));
    tree.traces[index].body = kept.map(|(_, r)| r).collect();
}

/// Drops what has no effect, cannot leave on purpose, and is used by nobody.
fn dead(tree: &mut Tree, index: usize) {
    let mut used: HashSet<Ref> = HashSet::new();
    let mut mark = |r: &mut Ref| {
        used.insert(*r);
    };
    for exit in &mut tree.exits {
        for (_, val) in &mut exit.snapshot.slots {
            for_each_ref(val, &mut mark);
        }
    }
    for val in tree.tuples.iter_mut().flatten() {
        for_each_ref(val, &mut mark);
    }
    for holders in &mut tree.holders {
        holders.ints.iter_mut().chain(&mut holders.floats).for_each(&mut mark);
    }
    for trace in &mut tree.traces {
        trace.end.for_each_ref(&mut mark);
    }
    for (k, trace) in tree.traces.iter().enumerate() {
        if k != index {
            for r in &trace.body {
                used.extend(tree.inst(*r).args);
            }
        }
    }
    let mut kept = Vec::new();
    for r in tree.traces[index].body.iter().rev() {
        let inst = tree.inst(*r);
        // Where these leave, the interpreter raises or compares by a program's methods, used or not.
        let raises = matches!(
            inst.op,
            Op::Best | Op::SumI | Op::SumF | Op::FToI | Op::SetI | Op::SetP | Op::DictI | Op::DictP
        );
        if inst.op.info().effect || raises || inst.op.is_guard() || used.contains(r) {
            used.extend(inst.args);
            kept.push(*r);
        }
    }
    kept.reverse();
    tree.traces[index].body = kept;
}

/// The exits that a trace's body or end can still take.
pub fn live_exits(tree: &Tree, index: usize) -> Vec<ExitId> {
    let trace = &tree.traces[index];
    let mut out: Vec<ExitId> = trace.body.iter().map(|r| tree.inst(*r).exit).collect();
    if let End::Leave(e) = trace.end {
        out.push(e);
    }
    out.retain(|e| *e != ExitId::NONE);
    out.sort_unstable_by_key(|e| e.0);
    out.dedup();
    out
}
