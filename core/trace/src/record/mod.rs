//! The recorder: walks one loop iteration in its mind and writes down what it means.
//!
//! Concrete values steer it, taken from the interpreter through [`World`], which can only read; what the iteration
//! would store is kept aside ([`Recorder::memory`]). So a recording that fails has changed nothing, and the interpreter
//! runs the iteration itself afterwards in any case. A wrong concrete value would only make a useless trace: every
//! decision taken from one is guarded.
//!
//! One file per family of bytecodes: `arith`, `containers`, `attrs`, `iterate`, `calls`; `state` keeps the frame, `walk`
//! dispatches.
//!
//! Invariants
//!
//! - An instruction that could raise is never followed: the trace leaves before it.
//! - Within one bytecode every exit is emitted before the first write.
//! - What an inlined call stores waits for its return, and its exits are the call's: the interpreter makes the whole
//!   call again.

mod arith;
mod attrs;
mod calls;
mod containers;
mod fresh;
mod iterate;
mod pending;
mod retrace;
mod rounds;
mod state;
mod walk;
mod walkers;
mod wholes;
mod world;

pub use arith::{float_floor, float_mod, gcd};
pub use walkers::{Gives, Walker};
pub use world::{Attribute, Builtin, ByteTest, Callee, Class, Concrete, World};

use crate::bytecode::{Bc, Ins};
use crate::ir::*;
use crate::layout::Layout;
use crate::ops::{Cond, Op};
use crate::overhead;
use retrace::Retrace;
use std::rc::Rc;

pub(crate) type Step<T> = Result<T, &'static str>;

/// Why nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub why: &'static str,
    /// The next iteration may go another way: trying again soon costs little.
    pub soon: bool,
}

/// Instructions one trace may have, and times it may go round an inner loop.
const BODY_MAX: usize = 1500;
const SIDE_MAX: usize = 500;
const UNROLL_MAX: u32 = 6;
const STACK_MAX: usize = 48;
const SIDE_MIN: usize = 10;
const INLINE_MAX: usize = 4;
/// Stores that one inlined call may make.
const PENDING_MAX: usize = 24;
/// Dicts of other modules one tree may know names of.
const MODULES_MAX: usize = 6;
const ENDING: &str = "the loop was ending";
/// Why a trace ends where another tree begins.
pub const ANOTHER: &str = "another loop's head";
const INNER_LOOP: &str = "a loop inside that has its own trace";

#[derive(Clone)]
struct State {
    vals: Vec<Option<Val>>,
    dirty: Vec<bool>,
    names: Vec<Option<Val>>,
    names_dirty: Vec<bool>,
    depth: usize,
    pc: usize,
    /// How often the walk went along each of [`Tree::backs`].
    crossed: Vec<u16>,
}

/// Something the iteration has stored.
#[derive(Clone, Copy)]
struct Stored {
    on: Obj,
    /// The same object in the trace.
    by: Ref,
    /// An index, or an attribute's offset.
    place: i64,
    field: bool,
    value: Val,
}

/// A caller, while the walk is inside the function it calls.
struct Caller {
    code: Obj,
    ins: Rc<[Ins]>,
    locals: usize,
    globals: Obj,
    vals: Vec<Option<Val>>,
    dirty: Vec<bool>,
    /// Depth once the call's operands are gone.
    depth: usize,
    next: usize,
}

pub struct Recorder<'a, W: World> {
    tree: &'a mut Tree,
    world: &'a W,
    layout: &'a Layout,
    /// Heads of other trees of this code.
    heads: &'a [u32],
    /// The code being walked; null for the frame's own.
    code: Obj,
    ins: Rc<[Ins]>,
    locals: usize,
    /// Namespace of an inlined function; null for the frame's own.
    globals: Obj,
    callers: Vec<Caller>,
    call_exit: ExitId,
    s: State,
    conc: Vec<u64>,
    body: Vec<Ref>,
    /// What the iteration would have stored: object, index or offset, value.
    memory: Vec<Stored>,
    lengths: Vec<(Obj, i64)>,
    /// The tuple that is being made, under the name it goes by.
    making: Option<Val>,
    /// Stores of the call being inlined; see [`pending`].
    pending: Vec<pending::Pending>,
    /// Owners that an object must have more of, to stay while these stores let it go.
    releases: i64,
    /// An inlined call has written something: no exit may follow inside it.
    written: bool,
    /// One did follow.
    late: bool,
    /// The exit after the last effect.
    checkpoint: Option<ExitId>,
    /// The instruction being walked has an effect.
    effects: bool,
    backs: Vec<(usize, u32)>,
    bytecodes: u32,
    root: bool,
    /// The loop's own code ends here.
    last: usize,
    outer: bool,
    /// While the walk follows a trace that is there already.
    retrace: Option<Retrace>,
    /// It left that trace where no new one can begin.
    astray: bool,
    /// The exit made last in this instruction that stands for this very place and nothing else.
    last_fork: ExitId,
    /// Where the new trace begins.
    from: Option<ExitId>,
    /// The new trace is a round of a loop: the trace before it, and what changes.
    round: Option<(u32, Vec<Ref>)>,
    /// Heads of loops of which that was tried.
    round_tried: Vec<usize>,
    /// What the frame was when the first round began of the loop being followed.
    round_state: Option<State>,
}

/// Records the root trace (`from` is none) or the side trace of an exit, into `tree`. If that exit has one already, which
/// must not have been optimised yet, the walk follows it and what it recorded at the first branch it takes otherwise becomes
/// a trace of its own: so a tree learns its ways before it is compiled. On an error the tree is spoilt: record into a
/// copy.
///
/// # Errors
/// Why this iteration cannot be a trace.
pub fn record<W: World>(
    tree: &mut Tree,
    from: Option<ExitId>,
    world: &W,
    code: &Rc<[Ins]>,
    layout: &Layout,
    heads: &[u32],
) -> Result<(), Failure> {
    let locals = tree.locals as usize;
    let (pc, depth) = match from {
        None => (tree.header as usize, tree.depth as usize),
        Some(e) => {
            let s = &tree.exits[e.at()].snapshot;
            (s.pc as usize, s.depth as usize)
        }
    };
    let width = locals + STACK_MAX;
    if width > Slot::FRAME_MAX {
        return Err(Failure {
            why: "a function of too many variables",
            soon: false,
        });
    }
    let names = tree.names.len();
    let header = tree.header as usize;
    let back = |(at, i): (usize, &Ins)| {
        (i.bc == Bc::JUMP_BACKWARD && i.next as usize == header + i.arg as usize).then_some(at)
    };
    let last = code.iter().enumerate().filter_map(back).max().unwrap_or(usize::MAX);
    let mut r = Recorder {
        conc: vec![0; tree.insts.len()],
        tree,
        world,
        layout,
        heads,
        code: Obj::NULL,
        ins: Rc::clone(code),
        locals,
        globals: Obj::NULL,
        callers: vec![],
        call_exit: ExitId::NONE,
        s: State {
            vals: vec![None; width],
            dirty: vec![false; width],
            names: vec![None; names],
            names_dirty: vec![false; names],
            depth,
            pc,
            crossed: Vec::new(),
        },
        body: vec![],
        memory: vec![],
        lengths: vec![],
        making: None,
        pending: vec![],
        releases: 1,
        written: false,
        late: false,
        checkpoint: None,
        effects: false,
        backs: vec![],
        bytecodes: 0,
        root: from.is_none(),
        last,
        outer: false,
        retrace: None,
        astray: false,
        last_fork: ExitId::NONE,
        from,
        round: None,
        round_tried: vec![],
        round_state: None,
    };
    if let Some(e) = from {
        r.retrace = r.tree.exits[e.at()].side.map(|side| Retrace::new(r.tree, side));
        r.outer = r.tree.traces[r.tree.exits[e.at()].owner as usize].outer;
    }
    let failure = |why| Failure {
        why,
        soon: why == ENDING,
    };
    if let Some(e) = from {
        r.bind_snapshot(e).map_err(failure)?;
    }
    r.tree.walked.push(Default::default());
    let end = r.run().map_err(failure)?;
    let Recorder {
        tree,
        body,
        bytecodes,
        outer,
        s,
        from,
        retrace,
        astray,
        round,
        ..
    } = r;
    if astray || retrace.is_some() {
        return Err(failure("the same way as before"));
    }
    if matches!(end, End::Leave(_)) && body.len() < SIDE_MIN {
        return Err(failure("too little follows"));
    }
    tree.crossed.push(s.crossed);
    let (before, phis) = round.map_or((None, vec![]), |(lead, phis)| (Some(lead), phis));
    let first = before.unwrap_or(tree.traces.len() as u32);
    tree.traces.push(Trace {
        body,
        end,
        bytecodes,
        from: from.filter(|_| before.is_none()),
        outer,
        before,
        phis,
    });
    if let Some(e) = from {
        tree.exits[e.at()].side = Some(first);
    }
    Ok(())
}

impl<W: World> Recorder<'_, W> {
    fn emit(&mut self, op: Op, args: &[Ref], imm: i64, exit: ExitId, conc: u64) -> Ref {
        let mut all = [Ref::NONE; 3];
        all[..args.len()].copy_from_slice(args);
        self.effects |= op.info().effect;
        if let Some(r) = self.follow(op, all, imm, exit, conc) {
            return r;
        }
        // The exit this trace begins at cannot be one of its own.
        self.astray |= exit != ExitId::NONE && self.from == Some(exit);
        let r = Ref(self.tree.insts.len() as u32);
        self.tree.insts.push(Inst {
            op,
            args: all,
            imm,
            exit,
        });
        self.conc.push(conc);
        self.body.push(r);
        r
    }
    /// A constant: never part of a body, made where it is used.
    fn constant_inst(&mut self, op: Op, imm: i64) -> Ref {
        if let Some(found) = self.tree.insts.iter().position(|i| i.op == op && i.imm == imm) {
            self.conc[found] = imm as u64;
            return Ref(found as u32);
        }
        let r = Ref(self.tree.insts.len() as u32);
        self.tree.insts.push(Inst {
            op,
            args: [Ref::NONE; 3],
            imm,
            exit: ExitId::NONE,
        });
        self.conc.push(imm as u64);
        r
    }
    fn pure(&mut self, op: Op, args: &[Ref], conc: u64) -> Ref {
        self.emit(op, args, 0, ExitId::NONE, conc)
    }
    fn int(&mut self, v: i64) -> Ref {
        self.constant_inst(Op::ConstI, v)
    }
    fn float(&mut self, v: f64) -> Ref {
        self.constant_inst(Op::ConstF, v.to_bits() as i64)
    }
    fn bool(&mut self, v: bool) -> Ref {
        self.constant_inst(Op::ConstB, i64::from(v))
    }
    fn object(&mut self, o: Obj) -> Ref {
        self.tree.pin(o);
        self.constant_inst(Op::ConstP, o.0 as i64)
    }
    fn i(&self, r: Ref) -> i64 {
        self.conc[r.at()] as i64
    }
    fn f(&self, r: Ref) -> f64 {
        f64::from_bits(self.conc[r.at()])
    }
    fn b(&self, r: Ref) -> bool {
        self.conc[r.at()] != 0
    }
    fn o(&self, r: Ref) -> Obj {
        Obj(self.conc[r.at()] as usize)
    }
    fn const_int(&self, r: Ref) -> Option<i64> {
        let i = self.tree.inst(r);
        (i.op == Op::ConstI).then_some(i.imm)
    }
    fn guard(&mut self, c: Ref, exit: ExitId) {
        if self.tree.inst(c).op != Op::ConstB {
            let op = if self.b(c) { Op::GuardTrue } else { Op::GuardFalse };
            self.emit(op, &[c], 0, exit, 0);
        }
    }
    fn compare_ints(&mut self, cond: Cond, a: Ref, b: Ref) -> Ref {
        let v = cond.ints(self.i(a), self.i(b));
        if self.const_int(a).is_some() && self.const_int(b).is_some() {
            return self.bool(v);
        }
        self.emit(Op::CmpI, &[a, b], cond as i64, ExitId::NONE, u64::from(v))
    }

    fn run(&mut self) -> Result<End, &'static str> {
        let mut first = true;
        // What to go back to when a step fails: the state before it, or before the call it is inside of.
        let mut saved = None;
        loop {
            let inside = !self.callers.is_empty();
            let head = self.tree.header as usize;
            if !inside {
                self.outer |= self.s.pc > self.last || self.s.pc < head;
                if self.outer && self.root {
                    return Err(ENDING);
                }
            }
            if !inside && !first {
                if self.s.pc == head && self.s.depth == self.tree.depth as usize && !self.over_at_once() {
                    return match self.close() {
                        Ok(end) => Ok(end),
                        Err(why) if self.root => Err(why),
                        Err(why) => Ok(End::Leave(self.fork(why))),
                    };
                }
                if self.s.pc != head && self.heads.contains(&(self.s.pc as u32)) && !self.ends_soon() {
                    if self.root {
                        return Err(INNER_LOOP);
                    }
                    return Ok(End::Leave(self.fork(ANOTHER)));
                }
                let loops = self.ins.get(self.s.pc).is_some_and(|ins| ins.bc == Bc::FOR_ITER);
                if self.s.pc != head && loops && self.ends_soon() {
                    if self.retrace.is_some() {
                        self.follow_round();
                    } else if let Some(end) = self.go_round() {
                        return Ok(end);
                    }
                }
            }
            if self.body.len() > if self.root { BODY_MAX } else { SIDE_MAX } {
                return Err("too long");
            }
            if !inside {
                saved = Some((self.s.clone(), self.body.len(), self.memory.len(), self.lengths.len()));
            }
            let bc = self.ins.get(self.s.pc).map_or(Bc::Unknown, |ins| ins.bc);
            let stepped = self.step(first);
            if self.astray {
                return Err("a way that parts from the one before where none can begin");
            }
            if let Err(why) = stepped {
                let Some((saved, body, memory, lengths)) =
                    saved.take().filter(|_| !self.root && self.retrace.is_none())
                else {
                    return Err(why);
                };
                self.unwind();
                // Names found in the failed step stay known, unread.
                let names = self.s.names.len();
                self.s = saved;
                self.s.names.resize(names, None);
                self.s.names_dirty.resize(names, false);
                self.body.truncate(body);
                self.memory.truncate(memory);
                self.lengths.truncate(lengths);
                self.checkpoint = None;
                return Ok(End::Leave(self.fork(why)));
            }
            self.bytecodes += 1;
            if let Some(walked) = self.tree.walked.last_mut() {
                overhead::add(walked, overhead::of_bytecode(bc));
            }
            first = false;
        }
    }

    /// Back to the frame's own code.
    fn unwind(&mut self) {
        self.pending.clear();
        self.releases = 1;
        if !self.callers.is_empty() {
            let c = self.callers.swap_remove(0);
            self.callers.clear();
            (self.code, self.ins, self.locals, self.globals) = (c.code, c.ins, c.locals, c.globals);
        }
    }

    /// Whether the loop whose head this is has few passes left: going round it here is better than leaving.
    fn ends_soon(&self) -> bool {
        self.rounds_left() <= i64::from(UNROLL_MAX)
    }

    /// Passes that the loop has left whose head this may be; many if it is no loop over a range made in this trace.
    fn rounds_left(&self) -> i64 {
        let top = self.s.depth.checked_sub(self.layout.for_width);
        match top.and_then(|top| self.s.vals[self.locals + top]) {
            Some(Val::RangeIter { left, object, .. }) if !object.is_inst() => self.i(left),
            _ => i64::MAX,
        }
    }

    /// Whether the loop is begun here with a range that is empty: then its end is part of this trace, instead of a pass of
    /// the head that leaves at once.
    fn over_at_once(&self) -> bool {
        let top = self
            .s
            .depth
            .checked_sub(1)
            .and_then(|top| self.s.vals[self.locals + top]);
        let left = match top {
            Some(Val::RangeIter { left, .. }) if !self.root => left,
            _ => return false,
        };
        self.const_int(left) == Some(0)
    }

    fn close(&mut self) -> Step<End> {
        // No tuple crosses the head unmade.
        let slots = self.s.vals.iter().chain(self.s.names.iter());
        let mut tuples: Vec<Val> = slots
            .flatten()
            .copied()
            .filter(|v| matches!(v, Val::Tuple(_)))
            .collect();
        while let Some(v) = tuples.pop() {
            if self
                .s
                .vals
                .iter()
                .chain(self.s.names.iter())
                .any(|have| *have == Some(v))
            {
                self.real(v)?;
                let slots = self.s.vals.iter().chain(self.s.names.iter());
                tuples = slots
                    .flatten()
                    .copied()
                    .filter(|v| matches!(v, Val::Tuple(_)))
                    .collect();
            }
        }
        let here = self.snapshot(self.s.pc);
        let mut slots = Vec::with_capacity(here.slots.len());
        for (slot, val) in here.slots {
            // A constant object goes round the loop as an object of its type.
            let val = match val {
                Val::Known(o)
                    if self
                        .tree
                        .input_of(slot)
                        .is_none_or(|i| self.tree.inputs[i].ty != Type::Known(o)) =>
                {
                    Val::Ptr(self.object(o), self.world.type_of(o))
                }
                v => v,
            };
            let ty = val.type_at_head().ok_or("a range that is not a loop's")?;
            if ty == Type::Null {
                // As it was found: the second entry of a loop that goes along an iterator.
                if self.tree.input_of(slot).is_some_and(|i| self.tree.inputs[i].ty == ty) {
                    continue;
                }
                return Err("an empty place carried round the loop");
            }
            if self.tree.input_of(slot).is_some_and(|i| self.tree.inputs[i].ty != ty) {
                return Err("a variable changed its type");
            }
            slots.push((slot, val));
        }
        self.name_shared(&mut slots);
        let mut changed = Vec::new();
        for (slot, val) in slots {
            let Some(ty) = val.type_at_head() else { continue };
            let index = match self.tree.input_of(slot) {
                Some(index) => index,
                None => self.new_input(slot, ty),
            };
            changed.push((index as u32, val.components().0));
        }
        Ok(End::Head(changed))
    }

    /// Numbers held in several places keep one identity round the loop; those held once need none.
    fn name_shared(&mut self, slots: &mut Vec<(Slot, Val)>) {
        // Inputs this iteration left alone hold their number too.
        for input in self.tree.inputs.clone() {
            let kept = slots.iter().all(|s| s.0 != input.slot);
            let number = matches!(input.ty, Type::Int | Type::Float);
            let borrowed = slots.iter().any(|s| s.1.identity() == Some(input.refs[1]));
            if kept && number && borrowed {
                slots.push((input.slot, input.val()));
            }
        }
        for k in 0..slots.len() {
            let Some(id) = slots[k].1.identity() else { continue };
            let holders = slots.iter().filter(|s| s.1.identity() == Some(id)).count();
            if id.as_token().is_some() && holders == 1 {
                slots[k].1 = slots[k].1.with_identity(Ref::NONE);
            } else if id.is_inst() && holders > 1 && matches!(self.tree.inst(id).op, Op::Input | Op::Phi) {
                let name = i64::from(self.tree.new_token().0);
                let named = self.emit(Op::Named, &[id], name, ExitId::NONE, self.conc[id.at()]);
                for s in slots.iter_mut().filter(|s| s.1.identity() == Some(id)) {
                    s.1 = s.1.with_identity(named);
                }
            }
        }
    }
}
