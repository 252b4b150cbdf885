//! What is known of values: constants and intervals.

use crate::ir::{Inst, Ref, Tree};
use crate::ops::{Cond, Kind, Op};
use std::collections::HashMap;

/// A constant operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Const {
    Int(i64),
    Float(f64),
    Bool(bool),
}

pub(super) fn constant(tree: &Tree, r: Ref) -> Option<Const> {
    if r.is_none() || !r.is_inst() {
        return None;
    }
    let inst = tree.inst(r);
    Some(match inst.op {
        Op::ConstI => Const::Int(inst.imm),
        Op::ConstF => Const::Float(f64::from_bits(inst.imm as u64)),
        Op::ConstB => Const::Bool(inst.imm != 0),
        _ => return None,
    })
}

/// The constant an operation on constants gives.
pub(super) fn evaluate(tree: &Tree, inst: &Inst) -> Option<Const> {
    use Const::{Bool, Float, Int};
    let takes = inst.op.info().takes.len();
    if takes == 0 || !(inst.op.info().pure || inst.op.info().exits) {
        return None;
    }
    let a = constant(tree, inst.args[0])?;
    let b = if takes > 1 { constant(tree, inst.args[1])? } else { a };
    Some(match (inst.op, a, b) {
        (Op::AddO, Int(x), Int(y)) => Int(x.checked_add(y)?),
        (Op::SubO, Int(x), Int(y)) => Int(x.checked_sub(y)?),
        (Op::MulO, Int(x), Int(y)) => Int(x.checked_mul(y)?),
        (Op::NegO, Int(x), _) => Int(x.checked_neg()?),
        (Op::AddW, Int(x), Int(y)) => Int(x.wrapping_add(y)),
        (Op::SubW, Int(x), Int(y)) => Int(x.wrapping_sub(y)),
        (Op::MulW, Int(x), Int(y)) => Int(x.wrapping_mul(y)),
        (Op::And, Int(x), Int(y)) => Int(x & y),
        (Op::Or, Int(x), Int(y)) => Int(x | y),
        (Op::Xor, Int(x), Int(y)) => Int(x ^ y),
        (Op::Not, Int(x), _) => Int(!x),
        (Op::Shr, Int(x), Int(y)) if (0..64).contains(&y) => Int(x >> y),
        (Op::FloorDiv, Int(x), Int(y)) if y > 0 => Int(x.div_euclid(y)),
        (Op::Mod, Int(x), Int(y)) if y > 0 => Int(x.rem_euclid(y)),
        (Op::CmpI, Int(x), Int(y)) => Bool(Cond::from_imm(inst.imm).ints(x, y)),
        (Op::CmpF, Float(x), Float(y)) => Bool(Cond::from_imm(inst.imm).floats(x, y)),
        (Op::IToF, Int(x), _) => Float(x as f64),
        (Op::FNeg, Float(x), _) => Float(-x),
        (Op::FAbs, Float(x), _) => Float(x.abs()),
        (Op::FAdd, Float(x), Float(y)) => Float(x + y),
        (Op::FSub, Float(x), Float(y)) => Float(x - y),
        (Op::FMul, Float(x), Float(y)) => Float(x * y),
        (Op::FDiv, Float(x), Float(y)) if y != 0.0 => Float(x / y),
        (Op::BToI, Bool(x), _) => Int(i64::from(x)),
        (Op::NotB, Bool(x), _) => Bool(!x),
        _ => return None,
    })
}

/// An operation that does the same with less.
pub(super) fn cheaper(tree: &Tree, inst: &Inst) -> Option<(Op, Const)> {
    let Some(Const::Int(k)) = constant(tree, inst.args[1]) else {
        return None;
    };
    if k <= 0 || k & (k - 1) != 0 {
        return None;
    }
    match inst.op {
        Op::Mod => Some((Op::And, Const::Int(k - 1))),
        Op::FloorDiv => Some((Op::Shr, Const::Int(i64::from(k.trailing_zeros())))),
        _ => None,
    }
}

/// An operation on floats that is a simpler one, to the last bit, and which operand of that is an integer zero: twice a number
/// is its sum with itself, and an int as a float lies on the side of zero where the int does.
pub(super) fn simpler(tree: &Tree, inst: &Inst) -> Option<(Op, [Ref; 3], Option<usize>)> {
    let [a, b, c] = inst.args;
    let is = |r: Ref, wanted: f64| matches!(constant(tree, r), Some(Const::Float(x)) if x == wanted);
    let int = |r: Ref| (r.is_inst() && tree.inst(r).op == Op::IToF).then(|| tree.inst(r).args[0]);
    match inst.op {
        Op::FMul if is(b, 2.0) => Some((Op::FAdd, [a, a, c], None)),
        Op::FMul if is(a, 2.0) => Some((Op::FAdd, [b, b, c], None)),
        Op::CmpF if is(b, 0.0) => Some((Op::CmpI, [int(a)?, b, c], Some(1))),
        Op::CmpF if is(a, 0.0) => Some((Op::CmpI, [a, int(b)?, c], Some(0))),
        _ => None,
    }
}

/// An operand that the operation leaves as it is.
pub(super) fn identity(tree: &Tree, inst: &Inst) -> Option<Ref> {
    let [a, b, _] = inst.args;
    match (inst.op, constant(tree, a), constant(tree, b)) {
        (Op::AddO | Op::AddW | Op::SubO | Op::SubW | Op::Or | Op::Xor | Op::Shr | Op::ShlO, _, Some(Const::Int(0))) => {
            Some(a)
        }
        (Op::AddO | Op::AddW | Op::Or | Op::Xor, Some(Const::Int(0)), _) => Some(b),
        (Op::MulO | Op::MulW | Op::FloorDiv, _, Some(Const::Int(1))) => Some(a),
        (Op::MulO | Op::MulW, Some(Const::Int(1)), _) => Some(b),
        _ => None,
    }
}

pub(super) type Interval = (i64, i64);
const ALL: Interval = (i64::MIN, i64::MAX);
/// No sequence is longer.
const LENGTH: Interval = (0, 1 << 60);

/// Bounds of integer values, by reference.
#[derive(Default)]
pub(super) struct Bounds(HashMap<Ref, Interval>);

impl Bounds {
    pub(super) fn get(&self, tree: &Tree, r: Ref) -> Interval {
        match constant(tree, r) {
            Some(Const::Int(k)) => (k, k),
            _ => self.0.get(&r).copied().unwrap_or(ALL),
        }
    }
    /// Remembers what an instruction's result lies between.
    pub(super) fn note(&mut self, tree: &Tree, r: Ref) {
        let inst = tree.inst(r);
        if tree.kind(r) != Kind::Int {
            return;
        }
        let (a, b) = (self.get(tree, inst.args[0]), self.get(tree, inst.args[1]));
        let found = match inst.op {
            Op::AddO => (a.0.saturating_add(b.0), a.1.saturating_add(b.1)),
            Op::SubO => (a.0.saturating_sub(b.1), a.1.saturating_sub(b.0)),
            Op::AddW | Op::SubW | Op::MulW => result(inst.op, a, b).unwrap_or(ALL),
            Op::MulO => {
                let all = [(a.0, b.0), (a.0, b.1), (a.1, b.0), (a.1, b.1)].map(|(x, y)| x.saturating_mul(y));
                (
                    all.into_iter().min().unwrap_or(i64::MIN),
                    all.into_iter().max().unwrap_or(i64::MAX),
                )
            }
            Op::And if b.0 >= 0 => (0, b.1),
            Op::And if a.0 >= 0 => (0, a.1),
            Op::Shr if b.0 == b.1 && (0..64).contains(&b.0) => (a.0 >> b.0, a.1 >> b.0),
            Op::Mod if b.0 > 0 => (0, b.1 - 1),
            Op::FloorDiv if b.0 > 0 => (a.0.min(0), a.1.max(0)),
            Op::Size | Op::SizeT | Op::Len | Op::LenD => LENGTH,
            Op::Byte => (0, 255),
            Op::BToI => (0, 1),
            _ => return,
        };
        self.0.insert(r, found);
    }
    /// Learns from a comparison that holds.
    pub(super) fn learn(&mut self, tree: &Tree, cond: Cond, x: Ref, y: Ref) {
        let (a, b) = (self.get(tree, x), self.get(tree, y));
        let (x_now, y_now) = match cond {
            Cond::Lt => (
                (a.0, a.1.min(b.1.saturating_sub(1))),
                (b.0.max(a.0.saturating_add(1)), b.1),
            ),
            Cond::Le => ((a.0, a.1.min(b.1)), (b.0.max(a.0), b.1)),
            Cond::Gt => (
                (a.0.max(b.0.saturating_add(1)), a.1),
                (b.0, b.1.min(a.1.saturating_sub(1))),
            ),
            Cond::Ge => ((a.0.max(b.0), a.1), (b.0, b.1.min(a.1))),
            Cond::Eq => ((a.0.max(b.0), a.1.min(b.1)), (a.0.max(b.0), a.1.min(b.1))),
            Cond::Below if b.0 >= 0 => ((a.0.max(0), a.1.min(b.1.saturating_sub(1))), b),
            Cond::Ne | Cond::Below => return,
        };
        self.0.insert(x, x_now);
        self.0.insert(y, y_now);
    }
    /// What a comparison must say, if that is certain.
    pub(super) fn decide(&self, tree: &Tree, inst: &Inst) -> Option<bool> {
        if inst.op != Op::CmpI {
            return None;
        }
        let (a, b) = (self.get(tree, inst.args[0]), self.get(tree, inst.args[1]));
        let (always, never) = match Cond::from_imm(inst.imm) {
            Cond::Lt => (a.1 < b.0, a.0 >= b.1),
            Cond::Le => (a.1 <= b.0, a.0 > b.1),
            Cond::Gt => (a.0 > b.1, a.1 <= b.0),
            Cond::Ge => (a.0 >= b.1, a.1 < b.0),
            Cond::Eq => (a.0 == a.1 && a == b, a.1 < b.0 || b.1 < a.0),
            Cond::Ne => (a.1 < b.0 || b.1 < a.0, a.0 == a.1 && a == b),
            Cond::Below => (a.0 >= 0 && a.1 < b.0, false),
        };
        if always {
            Some(true)
        } else if never {
            Some(false)
        } else {
            None
        }
    }
}

fn result(op: Op, a: Interval, b: Interval) -> Option<Interval> {
    Some(match op {
        Op::AddO | Op::AddW => (a.0.checked_add(b.0)?, a.1.checked_add(b.1)?),
        Op::SubO | Op::SubW => (a.0.checked_sub(b.1)?, a.1.checked_sub(b.0)?),
        Op::MulO | Op::MulW => {
            let (p, q, r, s) = (
                a.0.checked_mul(b.0)?,
                a.0.checked_mul(b.1)?,
                a.1.checked_mul(b.0)?,
                a.1.checked_mul(b.1)?,
            );
            (p.min(q).min(r).min(s), p.max(q).max(r).max(s))
        }
        _ => return None,
    })
}

/// The unchecked form of an operation whose result always fits.
pub(super) fn fitting(op: Op, a: Interval, b: Interval) -> Option<Op> {
    result(op, a, b)?;
    match op {
        Op::AddO => Some(Op::AddW),
        Op::SubO => Some(Op::SubW),
        Op::MulO => Some(Op::MulW),
        _ => None,
    }
}
