//! Loop-invariant motion: what the innermost loop would do the same way each time is done once before it.

use crate::ir::{Ref, Tree, Type};
use crate::ops::{Cond, Op};
use std::collections::HashSet;

/// The instructions of the root trace that can run before the innermost loop, in order. A guard among them leaves at
/// the loop head if it fails, where the interpreter goes on with the iteration.
pub fn hoist(tree: &Tree) -> Vec<Ref> {
    let inner = || tree.traces.iter().filter(|t| !t.outer);
    let mut changing: HashSet<Ref> = HashSet::new();
    for (input, k) in tree.carried_by(|t| !t.outer) {
        changing.insert(tree.inputs[input as usize].refs[k as usize]);
    }
    let writes = inner()
        .flat_map(|t| &t.body)
        .fold(0, |w, r| w | tree.inst(*r).op.info().writes);
    let Some(root) = tree.traces.first() else { return vec![] };
    let mut out: Vec<Ref> = Vec::new();
    let mut moved: HashSet<Ref> = HashSet::new();
    let typed: HashSet<Ref> = tree
        .inputs
        .iter()
        .filter(|i| matches!(i.ty, Type::Ptr(_)))
        .map(|i| i.refs[0])
        .collect();
    let mut checked: HashSet<Ref> = HashSet::new();
    let mut inside: HashSet<(Ref, Ref)> = HashSet::new();
    for r in &root.body {
        let inst = *tree.inst(*r);
        let info = inst.op.info();
        let takes = info.takes.len();
        let steady = |a: &Ref| {
            let i = tree.inst(*a);
            i.op.is_const() || (i.op == Op::Input && !changing.contains(a)) || moved.contains(a)
        };
        if info.effect || inst.op == Op::Named || !inst.args[..takes].iter().all(steady) || info.reads & writes != 0 {
            continue;
        }
        // Memory is read only where a check that was moved too says what is there.
        let sure = |a: Ref| typed.contains(&a) || checked.contains(&a) || tree.inst(a).op == Op::ConstP;
        let allowed = match inst.op {
            Op::Size | Op::Items | Op::SizeT | Op::Len | Op::LenD | Op::UnboxI | Op::UnboxF => sure(inst.args[0]),
            Op::Best | Op::SumI => sure(inst.args[0]),
            Op::SumF => sure(inst.args[1]),
            Op::GuardType => inst.args[0] != Ref::NONE,
            Op::Load => {
                let items = tree.inst(inst.args[0]);
                items.op == Op::Items && inside.contains(&(inst.args[1], items.args[0]))
            }
            Op::LoadT | Op::Byte => inside.contains(&(inst.args[1], inst.args[0])),
            Op::Field | Op::GuardByte | Op::GuardLatin => sure(inst.args[0]),
            Op::DictI
            | Op::DictP
            | Op::StrEq
            | Op::StrCmp
            | Op::GuardShared
            | Op::GuardHeld
            | Op::GuardImmortal
            | Op::GuardQuiet
            | Op::Raw
            | Op::DictNext
            | Op::SetI
            | Op::SetP => false,
            _ => true,
        };
        if !allowed {
            continue;
        }
        match inst.op {
            Op::GuardType => {
                checked.insert(inst.args[0]);
            }
            // A bound that was checked: the index may be used on that sequence.
            Op::GuardTrue => {
                let c = tree.inst(inst.args[0]);
                if c.op == Op::CmpI && c.imm == Cond::Below as i64 {
                    let size = tree.inst(c.args[1]);
                    if matches!(size.op, Op::Size | Op::SizeT | Op::Len) {
                        inside.insert((c.args[0], size.args[0]));
                    }
                }
            }
            _ => {}
        }
        moved.insert(*r);
        out.push(*r);
    }
    out
}
