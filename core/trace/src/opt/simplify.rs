//! One walk from the front: folding, merging, guard elimination, forwarding.

use super::fold::{Bounds, Const, cheaper, constant, evaluate, fitting, identity, simpler};
use super::{Passes, substitute};
use crate::ir::{ExitId, Inst, Ref, Tree, Type};
use crate::ops::{Cond, Op};
use std::collections::{HashMap, HashSet};

/// Writes to each part of memory so far.
type Epochs = [u32; 8];

struct Walk {
    epochs: Epochs,
    /// Operation, operands and immediate, with the writes seen when it was done.
    done: HashMap<(Op, [Ref; 3], i64), (Ref, Epochs)>,
    types: HashMap<Ref, i64>,
    guarded: HashSet<(Op, [Ref; 3], i64)>,
    truths: HashMap<Ref, bool>,
    bounds: Bounds,
    /// The last store to each list place and attribute, until another may have hit it.
    stored: HashMap<(Op, Ref, Ref, i64), Ref>,
    /// Objects made from numbers, and the count of number writes then.
    boxes: HashMap<Ref, (Ref, u32)>,
}

const ITEMS_AT: usize = 0;
const NUMBER_AT: usize = 2;

pub(super) fn simplify(tree: &mut Tree, index: usize, passes: &Passes) {
    let mut w = Walk {
        epochs: [0; 8],
        done: HashMap::new(),
        types: HashMap::new(),
        guarded: HashSet::new(),
        truths: HashMap::new(),
        bounds: Bounds::default(),
        stored: HashMap::new(),
        boxes: HashMap::new(),
    };
    for input in &tree.inputs {
        if let Type::Ptr(t) = input.ty {
            w.types.insert(input.refs[0], t.0 as i64);
        }
    }
    for r in tree.prefix(index) {
        w.note(tree, r);
    }
    if let Some(exit) = tree.traces[index].from {
        // The guard that left here says the opposite in this trace.
        let owner = tree.exits[exit.at()].owner as usize;
        let at = tree.traces[owner]
            .body
            .iter()
            .find(|r| tree.inst(**r).exit == exit)
            .copied();
        if let Some(r) = at {
            let inst = *tree.inst(r);
            let holds = match inst.op {
                Op::GuardTrue => Some(false),
                Op::GuardFalse => Some(true),
                _ => None,
            };
            // Several operations may share the exit: then nothing is known.
            let all = tree.traces.iter().flat_map(|t| &t.body);
            let alone = all.filter(|r| tree.inst(**r).exit == exit).count() == 1;
            if let (Some(holds), true) = (holds, alone) {
                w.assume(tree, inst.args[0], holds);
            }
        }
    }
    let body = std::mem::take(&mut tree.traces[index].body);
    let mut kept = Vec::with_capacity(body.len());
    let mut map: HashMap<Ref, Ref> = HashMap::new();
    for r in body {
        for k in 0..3 {
            let arg = tree.insts[r.at()].args[k];
            if let Some(to) = map.get(&arg) {
                tree.insts[r.at()].args[k] = *to;
            }
        }
        let inst = *tree.inst(r);
        if let Some(to) = w.replaced(tree, &inst, passes) {
            map.insert(r, to);
            continue;
        }
        if passes.guards && w.needless(tree, &inst) {
            continue;
        }
        w.lighten(tree, r, passes);
        if passes.merge {
            let inst = *tree.inst(r);
            if let Some(to) = w.seen(&inst) {
                map.insert(r, to);
                continue;
            }
        }
        w.note(tree, r);
        kept.push(r);
    }
    tree.traces[index].body = kept;
    substitute(tree, index, &map);
}

fn new_constant(tree: &mut Tree, c: Const) -> Ref {
    let (op, imm) = match c {
        Const::Int(k) => (Op::ConstI, k),
        Const::Float(x) => (Op::ConstF, x.to_bits() as i64),
        Const::Bool(b) => (Op::ConstB, i64::from(b)),
    };
    if let Some(found) = tree.insts.iter().position(|i| i.op == op && i.imm == imm) {
        return Ref(found as u32);
    }
    tree.insts.push(Inst {
        op,
        args: [Ref::NONE; 3],
        imm,
        exit: ExitId::NONE,
    });
    Ref(tree.insts.len() as u32 - 1)
}

impl Walk {
    /// An earlier value that this operation would only compute again.
    fn replaced(&mut self, tree: &mut Tree, inst: &Inst, passes: &Passes) -> Option<Ref> {
        if passes.fold {
            if let Some(c) = evaluate(tree, inst) {
                return Some(new_constant(tree, c));
            }
            if let Some(r) = identity(tree, inst) {
                return Some(r);
            }
            if inst.op == Op::NotB && tree.inst(inst.args[0]).op == Op::NotB {
                return Some(tree.inst(inst.args[0]).args[0]);
            }
        }
        if passes.guards
            && let Some(known) = self.bounds.decide(tree, inst)
        {
            return Some(new_constant(tree, Const::Bool(known)));
        }
        if passes.forward {
            match inst.op {
                Op::UnboxI | Op::UnboxF => {
                    if let Some((value, epoch)) = self.boxes.get(&inst.args[0])
                        && *epoch == self.epochs[NUMBER_AT]
                    {
                        return Some(*value);
                    }
                }
                Op::UnboxB if tree.inst(inst.args[0]).op == Op::BoxB => {
                    return Some(tree.inst(inst.args[0]).args[0]);
                }
                Op::Load => return self.stored.get(&(Op::Load, inst.args[0], inst.args[1], 0)).copied(),
                Op::Field => {
                    return self
                        .stored
                        .get(&(Op::Field, inst.args[0], Ref::NONE, inst.imm))
                        .copied();
                }
                _ => {}
            }
        }
        None
    }

    /// A guard that cannot fail here.
    fn needless(&self, tree: &Tree, inst: &Inst) -> bool {
        let a = inst.args[0];
        match inst.op {
            Op::GuardTrue | Op::GuardFalse => {
                let wanted = inst.op == Op::GuardTrue;
                constant(tree, a) == Some(Const::Bool(wanted)) || self.truths.get(&a) == Some(&wanted)
            }
            Op::GuardType => self.types.get(&a) == Some(&inst.imm),
            Op::GuardSome => self.types.contains_key(&a) || self.guarded.contains(&(inst.op, inst.args, inst.imm)),
            Op::GuardExact => {
                let (low, high) = self.bounds.get(tree, a);
                (low >= -(1 << 53) && high <= 1 << 53) || self.guarded.contains(&(inst.op, inst.args, inst.imm))
            }
            Op::GuardImmortal => tree.inst(a).op == Op::BoxB || self.guarded.contains(&(inst.op, inst.args, inst.imm)),
            // How many own an object changes; everything else a guard asks stays as it is.
            Op::GuardShared | Op::GuardHeld | Op::GuardQuiet | Op::Round => false,
            op if op.is_guard() => self.guarded.contains(&(inst.op, inst.args, inst.imm)),
            _ => false,
        }
    }

    /// A cheaper operation in place of this one.
    fn lighten(&mut self, tree: &mut Tree, r: Ref, passes: &Passes) {
        let inst = *tree.inst(r);
        if passes.fold
            && let Some((op, c)) = cheaper(tree, &inst)
        {
            let k = new_constant(tree, c);
            tree.insts[r.at()].op = op;
            tree.insts[r.at()].args[1] = k;
            return;
        }
        if passes.fold
            && let Some((op, args, zero)) = simpler(tree, &inst)
        {
            let zero = zero.map(|at| (at, new_constant(tree, Const::Int(0))));
            tree.insts[r.at()].op = op;
            tree.insts[r.at()].args = args;
            if let Some((at, zero)) = zero {
                tree.insts[r.at()].args[at] = zero;
            }
            return;
        }
        // Its object is there: that was checked before anything was made.
        let object = (Op::GuardObject, [inst.args[1], Ref::NONE, Ref::NONE], 0);
        if passes.guards && matches!(inst.op, Op::MakeI | Op::MakeF) && self.guarded.contains(&object) {
            tree.insts[r.at()].exit = ExitId::NONE;
            return;
        }
        if passes.guards && matches!(inst.op, Op::AddO | Op::SubO | Op::MulO) {
            let (a, b) = (self.bounds.get(tree, inst.args[0]), self.bounds.get(tree, inst.args[1]));
            if let Some(op) = fitting(inst.op, a, b) {
                tree.insts[r.at()].op = op;
                tree.insts[r.at()].exit = ExitId::NONE;
            }
        }
    }

    fn seen(&self, inst: &Inst) -> Option<Ref> {
        let info = inst.op.info();
        if info.effect || inst.op.is_guard() || inst.op.is_const() || matches!(inst.op, Op::Input | Op::Phi) {
            return None;
        }
        let (found, then) = self.done.get(&(inst.op, inst.args, inst.imm))?;
        let same = (0..8).all(|part| info.reads & 1 << part == 0 || then[part] == self.epochs[part]);
        same.then_some(*found)
    }

    fn assume(&mut self, tree: &Tree, c: Ref, holds: bool) {
        self.truths.insert(c, holds);
        let inst = *tree.inst(c);
        match inst.op {
            Op::NotB => self.assume(tree, inst.args[0], !holds),
            Op::CmpI => {
                let cond = Cond::from_imm(inst.imm);
                let cond = if holds {
                    cond
                } else {
                    match cond {
                        Cond::Lt => Cond::Ge,
                        Cond::Le => Cond::Gt,
                        Cond::Eq => Cond::Ne,
                        Cond::Ne => Cond::Eq,
                        Cond::Gt => Cond::Le,
                        Cond::Ge => Cond::Lt,
                        Cond::Below => return,
                    }
                };
                self.bounds.learn(tree, cond, inst.args[0], inst.args[1]);
            }
            _ => {}
        }
    }

    /// Remembers what is known once an instruction has run.
    fn note(&mut self, tree: &Tree, r: Ref) {
        let inst = *tree.inst(r);
        let info = inst.op.info();
        let key = (inst.op, inst.args, inst.imm);
        for part in 0..8 {
            if info.writes & 1 << part != 0 {
                self.epochs[part] += 1;
            }
        }
        if inst.op == Op::Put {
            // Other places of the same list still hold what was read there.
            let now = self.epochs[ITEMS_AT];
            for ((op, args, _), (_, then)) in &mut self.done {
                let spared = *op == Op::Load && args[0] == inst.args[0] && apart(tree, args[1], inst.args[1]);
                if spared && then[ITEMS_AT] == now - 1 {
                    then[ITEMS_AT] = now;
                }
            }
        }
        match inst.op {
            Op::GuardTrue => self.assume(tree, inst.args[0], true),
            Op::GuardFalse => self.assume(tree, inst.args[0], false),
            Op::GuardType => {
                self.types.insert(inst.args[0], inst.imm);
            }
            Op::NewI | Op::NewF | Op::MakeI | Op::MakeF => {
                self.boxes.insert(r, (inst.args[0], self.epochs[NUMBER_AT]));
            }
            Op::ReplaceI | Op::ReplaceF => {
                self.boxes.insert(r, (inst.args[1], self.epochs[NUMBER_AT]));
            }
            Op::Put => {
                // Another list may be this one, and another index this index.
                let (items, at) = (inst.args[0], inst.args[1]);
                self.stored
                    .retain(|k, _| k.0 != Op::Load || (k.1 == items && apart(tree, k.2, at)));
                self.stored.insert((Op::Load, items, at, 0), inst.args[2]);
            }
            Op::Append | Op::Pop | Op::PutSlice => self.stored.retain(|k, _| k.0 != Op::Load),
            Op::DictDone => self.stored.retain(|k, _| k.0 != Op::Field),
            // Rounds before this one may have stored anywhere.
            Op::Round => self.stored.clear(),
            Op::PutField => {
                self.stored.retain(|k, _| k.0 != Op::Field || k.3 != inst.imm);
                self.stored
                    .insert((Op::Field, inst.args[0], Ref::NONE, inst.imm), inst.args[1]);
            }
            _ => {}
        }
        if inst.op.is_guard() {
            self.guarded.insert(key);
        } else if !info.effect {
            self.done.insert(key, (r, self.epochs));
        }
        self.bounds.note(tree, r);
    }
}

/// Whether two indices are certainly different: constants, or the same value with different constants added.
fn apart(tree: &Tree, a: Ref, b: Ref) -> bool {
    let (x, y) = (split(tree, a), split(tree, b));
    x.0 == y.0 && x.1 != y.1
}

fn split(tree: &Tree, r: Ref) -> (Option<Ref>, i64) {
    if let Some(Const::Int(k)) = constant(tree, r) {
        return (None, k);
    }
    let inst = tree.inst(r);
    let sign = match inst.op {
        Op::AddO | Op::AddW => 1,
        Op::SubO | Op::SubW => -1,
        _ => return (Some(r), 0),
    };
    match constant(tree, inst.args[1]) {
        Some(Const::Int(k)) => (Some(inst.args[0]), k.wrapping_mul(sign)),
        _ => (Some(r), 0),
    }
}
