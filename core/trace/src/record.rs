//! The recorder: walks one loop iteration in its mind and writes down what it means.
//!
//! Concrete values steer it, taken from the interpreter through [`World`], which can only read. So a recording that
//! fails has changed nothing, and the interpreter runs the iteration itself afterwards in any case.
//!
//! Invariants
//!
//! - A recorded trace changes nothing but the frame and its namespaces, and those only at an exit. So every object it
//!   borrows stays alive while it runs.
//! - An instruction that could raise is never followed: the trace leaves before it.

use crate::bytecode::{Bc, Ins};
use crate::ir::*;
use crate::layout::Layout;
use crate::ops::{Cond, Op};
use crate::overhead;

/// What an object is, as far as the recorder can use it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    Int(i64),
    Float(f64),
    Bool(bool),
    List,
    RangeIter(i64, i64, i64),
    ListIter(Obj, i64),
    /// None, a function, a type, a module: treated as this very object.
    Known,
    Other,
}

/// Callables with a meaning of their own in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Range,
    Abs,
    Len,
    Float,
    Min,
    Max,
    Sqrt,
}

/// The interpreter's objects, read-only.
pub trait World {
    fn class(&self, o: Obj) -> Class;
    fn type_of(&self, o: Obj) -> Obj;
    /// A fast local or stack entry of the frame being recorded.
    fn slot(&self, index: usize) -> Obj;
    /// A name of the recorded frame's code, and a constant.
    fn name(&self, index: usize) -> Obj;
    fn constant(&self, index: usize) -> Obj;
    /// The object bound to a name, null when there is none.
    fn lookup(&self, space: Namespace, key: Obj) -> Obj;
    /// The namespace of a module object, null for anything else.
    fn module_dict(&self, o: Obj) -> Obj;
    /// Whether the frame runs at module level: its locals are its globals.
    fn module_level(&self) -> bool;
    fn builtin(&self, o: Obj) -> Option<Builtin>;
    fn list_len(&self, o: Obj) -> i64;
    fn list_item(&self, o: Obj, index: i64) -> Obj;
    fn none(&self) -> Obj;
}

type Step<T> = Result<T, &'static str>;

/// Instructions one trace may have, and times it may go round an inner loop.
const BODY_MAX: usize = 1500;
const UNROLL_MAX: u32 = 6;
const STACK_MAX: usize = 48;
const SIDE_MIN: usize = 10;
const EXACT: i64 = 1 << 53;

#[derive(Clone)]
struct State {
    vals: Vec<Option<Val>>,
    dirty: Vec<bool>,
    names: Vec<Option<Val>>,
    names_dirty: Vec<bool>,
    depth: usize,
    pc: usize,
}

pub struct Recorder<'a, W: World> {
    tree: &'a mut Tree,
    world: &'a W,
    code: &'a [Ins],
    layout: &'a Layout,
    /// Heads of other trees of this code.
    heads: &'a [u32],
    s: State,
    conc: Vec<u64>,
    body: Vec<Ref>,
    backs: Vec<(usize, u32)>,
    bytecodes: u32,
    root: bool,
}

/// Records the root trace (`from` is none) or the side trace of an exit, into `tree`. On an error the tree is spoilt:
/// record into a copy.
pub fn record<W: World>(
    tree: &mut Tree,
    from: Option<ExitId>,
    world: &W,
    code: &[Ins],
    layout: &Layout,
    heads: &[u32],
) -> Result<(), &'static str> {
    let locals = tree.locals as usize;
    let (pc, depth) = match from {
        None => (tree.header as usize, tree.depth as usize),
        Some(e) => {
            let s = &tree.exits[e.at()].snapshot;
            (s.pc as usize, s.depth as usize)
        }
    };
    let width = locals + STACK_MAX;
    let names = tree.names.len();
    let s = State {
        vals: vec![None; width],
        dirty: vec![false; width],
        names: vec![None; names],
        names_dirty: vec![false; names],
        depth,
        pc,
    };
    let conc = vec![0; tree.insts.len()];
    let root = from.is_none();
    let mut r = Recorder {
        tree,
        world,
        code,
        layout,
        heads,
        s,
        conc,
        body: vec![],
        backs: vec![],
        bytecodes: 0,
        root,
    };
    if let Some(e) = from {
        r.bind_snapshot(e)?;
    }
    r.tree.walked.push(Default::default());
    let end = r.run()?;
    let Recorder {
        tree, body, bytecodes, ..
    } = r;
    if matches!(end, End::Leave(_)) && body.len() < SIDE_MIN {
        return Err("too little follows");
    }
    tree.traces.push(Trace { body, end, bytecodes });
    if let Some(e) = from {
        tree.exits[e.at()].side = Some(tree.traces.len() as u32 - 1);
    }
    Ok(())
}

impl<W: World> Recorder<'_, W> {
    // --- values ---

    fn emit(&mut self, op: Op, args: &[Ref], imm: i64, exit: ExitId, conc: u64) -> Ref {
        let mut all = [Ref::NONE; 3];
        all[..args.len()].copy_from_slice(args);
        // The same pure operation on the same operands is the same value.
        if op.info().pure {
            let same = |r: &&Ref| {
                let i = self.tree.inst(**r);
                i.op == op && i.args == all && i.imm == imm
            };
            if let Some(found) = self.body.iter().rev().take(64).find(same) {
                return *found;
            }
        }
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
    fn pure(&mut self, op: Op, args: &[Ref], conc: u64) -> Ref {
        self.emit(op, args, 0, ExitId::NONE, conc)
    }
    fn int(&mut self, v: i64) -> Ref {
        self.emit(Op::ConstI, &[], v, ExitId::NONE, v as u64)
    }
    fn float(&mut self, v: f64) -> Ref {
        self.emit(Op::ConstF, &[], v.to_bits() as i64, ExitId::NONE, v.to_bits())
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

    fn type_for(&self, o: Obj, stack: bool) -> Step<Type> {
        if o.is_null() {
            return Ok(Type::Null);
        }
        Ok(match self.world.class(o) {
            Class::Int(_) => Type::Int,
            Class::Float(_) => Type::Float,
            Class::Bool(_) => Type::Bool,
            Class::List => Type::Ptr(self.world.type_of(o)),
            Class::RangeIter(..) if stack => Type::RangeIter,
            Class::ListIter(list, _) if stack && !list.is_null() => Type::ListIter,
            Class::Known => Type::Known(o),
            _ => return Err("a type that is not traced yet"),
        })
    }

    fn new_input(&mut self, slot: Slot, ty: Type) -> usize {
        let index = self.tree.inputs.len();
        let mut refs = [Ref::NONE; 4];
        for (k, r) in refs.iter_mut().enumerate().take(ty.components().len()) {
            *r = Ref(self.tree.insts.len() as u32);
            let imm = (index << 3 | k) as i64;
            self.tree.insts.push(Inst {
                op: Op::Input,
                args: [Ref::NONE; 3],
                imm,
                exit: ExitId::NONE,
            });
            self.conc.push(0);
        }
        if let Type::Known(o) | Type::Ptr(o) = ty {
            self.tree.pin(o);
        }
        self.tree.inputs.push(Input { slot, ty, refs });
        index
    }

    fn bind(&mut self, refs: [Ref; 4], o: Obj) {
        let words: [u64; 4] = match self.world.class(o) {
            Class::Int(v) => [v as u64, o.0 as u64, 0, 0],
            Class::Float(v) => [v.to_bits(), o.0 as u64, 0, 0],
            Class::Bool(v) => [u64::from(v), 0, 0, 0],
            Class::RangeIter(a, b, c) => [a as u64, b as u64, c as u64, o.0 as u64],
            Class::ListIter(list, index) => [list.0 as u64, index as u64, o.0 as u64, 0],
            Class::List | Class::Known | Class::Other => [o.0 as u64, 0, 0, 0],
        };
        for (r, word) in refs.iter().zip(words) {
            if !r.is_none() && !self.tree.inst(*r).op.is_const() {
                self.conc[r.at()] = word;
            }
        }
    }

    fn input(&mut self, slot: Slot, o: Obj) -> Step<Val> {
        let stack = slot.as_frame().is_some_and(|i| i >= self.tree.locals as usize);
        let ty = self.type_for(o, stack)?;
        let index = match self.tree.input_of(slot) {
            Some(index) if self.tree.inputs[index].ty == ty => index,
            Some(_) => return Err("a variable changed its type"),
            None => self.new_input(slot, ty),
        };
        let input = self.tree.inputs[index].clone();
        if !o.is_null() {
            self.bind(input.refs, o);
        }
        Ok(input.val())
    }

    /// Takes the state an exit left behind; the frame already shows it.
    fn bind_snapshot(&mut self, e: ExitId) -> Step<()> {
        let slots = self.tree.exits[e.at()].snapshot.slots.clone();
        for r in 0..self.tree.insts.len() {
            if self.tree.insts[r].op.is_const() {
                self.conc[r] = self.tree.insts[r].imm as u64;
            }
        }
        for (slot, val) in slots {
            if matches!(val, Val::Range { .. }) {
                return Err("a range that is not a loop's");
            }
            let o = match (slot.as_frame(), slot.as_name()) {
                (Some(i), _) => self.world.slot(i),
                (_, Some(n)) => self.world.lookup(self.tree.names[n].space, self.tree.names[n].key),
                _ => Obj::NULL,
            };
            if !o.is_null() {
                if let Some(ty) = val.type_at_head() {
                    let stack = slot.as_frame().is_some_and(|i| i >= self.tree.locals as usize);
                    if self.type_for(o, stack)? != ty {
                        return Err("the exit's state is not as recorded");
                    }
                }
                self.bind(val.components().0, o);
            }
            match (slot.as_frame(), slot.as_name()) {
                (Some(i), _) => (self.s.vals[i], self.s.dirty[i]) = (Some(val), true),
                (_, Some(n)) => (self.s.names[n], self.s.names_dirty[n]) = (Some(val), true),
                _ => {}
            }
        }
        Ok(())
    }

    // --- frame ---

    fn read(&mut self, index: usize) -> Step<Val> {
        if let Some(v) = self.s.vals[index] {
            return Ok(v);
        }
        let v = self.input(Slot::frame(index), self.world.slot(index))?;
        self.s.vals[index] = Some(v);
        Ok(v)
    }
    fn local(&mut self, index: usize) -> Step<Val> {
        match self.read(index)? {
            Val::Null => Err("an unbound local"),
            v => Ok(v),
        }
    }
    fn top(&self, n: usize) -> usize {
        self.tree.locals as usize + self.s.depth - n
    }
    fn peek(&mut self, n: usize) -> Step<Val> {
        let at = self.top(n);
        self.read(at)
    }
    fn set(&mut self, n: usize, v: Val) {
        let at = self.top(n);
        (self.s.vals[at], self.s.dirty[at]) = (Some(v), true);
    }
    fn push(&mut self, v: Val) -> Step<()> {
        if self.s.depth + 1 >= STACK_MAX {
            return Err("the stack is too deep");
        }
        self.s.depth += 1;
        self.set(1, v);
        Ok(())
    }
    fn replace(&mut self, n: usize, v: Val) -> Step<()> {
        self.s.depth -= n;
        self.push(v)
    }
    fn storable(v: Val) -> Step<Val> {
        match v {
            Val::Int { .. } | Val::Float { .. } | Val::Bool(_) | Val::Ptr(..) | Val::Known(_) => Ok(v),
            _ => Err("storing something virtual"),
        }
    }
    fn store_local(&mut self, index: usize, n: usize) -> Step<()> {
        let v = Self::storable(self.peek(n)?)?;
        (self.s.vals[index], self.s.dirty[index]) = (Some(v), true);
        Ok(())
    }

    fn name_index(&mut self, space: Namespace, key: Obj) -> usize {
        let name = Name { space, key };
        if let Some(found) = self.tree.names.iter().position(|n| *n == name) {
            return found;
        }
        self.tree.pin(key);
        if let Namespace::Dict(d) = space {
            self.tree.pin(d);
        }
        self.tree.names.push(name);
        self.s.names.push(None);
        self.s.names_dirty.push(false);
        self.tree.names.len() - 1
    }
    fn read_name(&mut self, space: Namespace, key: Obj) -> Step<Val> {
        let index = self.name_index(space, key);
        if let Some(v) = self.s.names[index] {
            return Ok(v);
        }
        let v = self.input(Slot::name(index), self.world.lookup(space, key))?;
        self.s.names[index] = Some(v);
        Ok(v)
    }
    fn global(&mut self, key: Obj) -> Step<Val> {
        match self.read_name(Namespace::Globals, key)? {
            Val::Null => match self.read_name(Namespace::Builtins, key)? {
                Val::Null => Err("a name that is not defined"),
                v => Ok(v),
            },
            v => Ok(v),
        }
    }
    fn store_global(&mut self, key: Obj) -> Step<()> {
        let v = Self::storable(self.peek(1)?)?;
        if self.world.lookup(Namespace::Globals, key).is_null() {
            return Err("a new global");
        }
        let index = self.name_index(Namespace::Globals, key);
        (self.s.names[index], self.s.names_dirty[index]) = (Some(v), true);
        self.s.depth -= 1;
        Ok(())
    }

    fn snapshot(&self, pc: usize) -> Snapshot {
        let mut slots = Vec::new();
        for i in 0..self.tree.locals as usize + self.s.depth {
            if let (true, Some(v)) = (self.s.dirty[i], self.s.vals[i]) {
                slots.push((Slot::frame(i), v));
            }
        }
        for i in 0..self.s.names.len() {
            if let (true, Some(v)) = (self.s.names_dirty[i], self.s.names[i]) {
                slots.push((Slot::name(i), v));
            }
        }
        Snapshot {
            pc: pc as u32,
            depth: self.s.depth as u32,
            slots,
        }
    }
    fn exit_to(&mut self, pc: usize, reason: &'static str) -> ExitId {
        let snapshot = self.snapshot(pc);
        self.tree
            .walked_to
            .push(self.tree.walked.last().copied().unwrap_or_default());
        self.tree.exits.push(Exit {
            snapshot,
            reason,
            side: None,
        });
        ExitId(self.tree.exits.len() as u32 - 1)
    }
    fn exit(&mut self, reason: &'static str) -> ExitId {
        self.exit_to(self.s.pc, reason)
    }
    fn guard(&mut self, c: Ref, exit: ExitId) {
        if self.tree.inst(c).op != Op::ConstB {
            let op = if self.b(c) { Op::GuardTrue } else { Op::GuardFalse };
            self.emit(op, &[c], 0, exit, 0);
        }
    }
    fn compare_ints(&mut self, cond: Cond, a: Ref, b: Ref) -> Ref {
        let v = u64::from(cond.ints(self.i(a), self.i(b)));
        if self.const_int(a).is_some() && self.const_int(b).is_some() {
            return self.emit(Op::ConstB, &[], v as i64, ExitId::NONE, v);
        }
        self.emit(Op::CmpI, &[a, b], cond as i64, ExitId::NONE, v)
    }

    // --- arithmetic ---

    fn number(&mut self, v: Val) -> Val {
        match v {
            Val::Bool(r) => {
                let c = self.conc[r.at()];
                Val::Int {
                    value: self.pure(Op::BToI, &[r], c),
                    boxed: Ref::NONE,
                }
            }
            v => v,
        }
    }
    fn as_float(&mut self, v: Val) -> Step<Ref> {
        match self.number(v) {
            Val::Float { value, .. } => Ok(value),
            Val::Int { value, .. } => {
                let c = self.i(value) as f64;
                if self.const_int(value).is_some() {
                    return Ok(self.float(c));
                }
                Ok(self.pure(Op::IToF, &[value], c.to_bits()))
            }
            _ => Err("not a number"),
        }
    }
    fn exact(&mut self, v: Val) -> Step<()> {
        if let Val::Int { value, .. } = v {
            if self.i(value).unsigned_abs() > EXACT as u64 {
                return Err("an integer that no float holds exactly");
            }
            if self.const_int(value).is_none() {
                let e = self.exit("an integer that no float holds exactly");
                self.emit(Op::GuardExact, &[value], 0, e, 0);
            }
        }
        Ok(())
    }
    fn checked(&mut self, op: Op, args: &[Ref], v: Option<i64>) -> Step<Ref> {
        let v = v.ok_or("an integer beyond 64 bits")?;
        let e = self.exit("an integer beyond 64 bits");
        Ok(self.emit(op, args, 0, e, v as u64))
    }
    fn fresh_int(value: Ref) -> Val {
        Val::Int {
            value,
            boxed: Ref::NONE,
        }
    }
    fn fresh_float(value: Ref) -> Val {
        Val::Float {
            value,
            boxed: Ref::NONE,
        }
    }

    fn binary(&mut self, op: u32, a: Val, b: Val) -> Step<Val> {
        if let (Val::Bool(_), Val::Bool(_), 1 | 7 | 12) = (a, b, op) {
            return Err("bits of bools");
        }
        let (a, b) = (self.number(a), self.number(b));
        if let (Val::Int { value: x, .. }, Val::Int { value: y, .. }) = (a, b) {
            return self.binary_int(op, a, b, x, y);
        }
        let (x, y) = (self.as_float(a)?, self.as_float(b)?);
        let (cx, cy) = (self.f(x), self.f(y));
        Ok(Self::fresh_float(match op {
            0 => self.pure(Op::FAdd, &[x, y], (cx + cy).to_bits()),
            10 => self.pure(Op::FSub, &[x, y], (cx - cy).to_bits()),
            5 => self.pure(Op::FMul, &[x, y], (cx * cy).to_bits()),
            11 => {
                if cy == 0.0 {
                    return Err("a division by zero");
                }
                if self.tree.inst(y).op != Op::ConstF {
                    let zero = self.float(0.0);
                    let c = self.emit(Op::CmpF, &[y, zero], Cond::Ne as i64, ExitId::NONE, 1);
                    let e = self.exit("a division by zero");
                    self.guard(c, e);
                }
                self.pure(Op::FDiv, &[x, y], (cx / cy).to_bits())
            }
            _ => return Err("a float operation that is not traced yet"),
        }))
    }

    fn binary_int(&mut self, op: u32, a: Val, b: Val, x: Ref, y: Ref) -> Step<Val> {
        let (cx, cy) = (self.i(x), self.i(y));
        let value = match op {
            0 => self.checked(Op::AddO, &[x, y], cx.checked_add(cy))?,
            10 => self.checked(Op::SubO, &[x, y], cx.checked_sub(cy))?,
            5 => self.checked(Op::MulO, &[x, y], cx.checked_mul(cy))?,
            1 => self.pure(Op::And, &[x, y], (cx & cy) as u64),
            7 => self.pure(Op::Or, &[x, y], (cx | cy) as u64),
            12 => self.pure(Op::Xor, &[x, y], (cx ^ cy) as u64),
            2 | 6 => {
                if cy <= 0 {
                    return Err("a division by something not positive");
                }
                if self.const_int(y).is_none() {
                    let zero = self.int(0);
                    let c = self.compare_ints(Cond::Gt, y, zero);
                    let e = self.exit("a division by something not positive");
                    self.guard(c, e);
                }
                match self.const_int(y) {
                    Some(k) if k & (k - 1) == 0 && op == 6 => {
                        let mask = self.int(k - 1);
                        self.pure(Op::And, &[x, mask], (cx & (k - 1)) as u64)
                    }
                    Some(k) if k & (k - 1) == 0 => {
                        let by = self.int(i64::from(k.trailing_zeros()));
                        self.pure(Op::Shr, &[x, by], (cx >> k.trailing_zeros()) as u64)
                    }
                    _ if op == 2 => self.pure(Op::FloorDiv, &[x, y], cx.div_euclid(cy) as u64),
                    _ => self.pure(Op::Mod, &[x, y], cx.rem_euclid(cy) as u64),
                }
            }
            3 | 9 => {
                if !(0..63).contains(&cy) {
                    return Err("a shift that is negative or wide");
                }
                if self.const_int(y).is_none() {
                    let limit = self.int(63);
                    let c = self.compare_ints(Cond::Below, y, limit);
                    let e = self.exit("a shift that is negative or wide");
                    self.guard(c, e);
                }
                if op == 9 {
                    self.pure(Op::Shr, &[x, y], (cx >> cy) as u64)
                } else {
                    let v = cx << cy;
                    self.checked(Op::ShlO, &[x, y], (v >> cy == cx).then_some(v))?
                }
            }
            11 => {
                if cy == 0 {
                    return Err("a division by zero");
                }
                self.exact(a)?;
                self.exact(b)?;
                if self.const_int(y).is_none() {
                    let zero = self.int(0);
                    let c = self.compare_ints(Cond::Ne, y, zero);
                    let e = self.exit("a division by zero");
                    self.guard(c, e);
                }
                let (fx, fy) = (self.as_float(a)?, self.as_float(b)?);
                let v = self.f(fx) / self.f(fy);
                return Ok(Self::fresh_float(self.pure(Op::FDiv, &[fx, fy], v.to_bits())));
            }
            _ => return Err("an integer operation that is not traced yet"),
        };
        Ok(Self::fresh_int(value))
    }

    fn compare(&mut self, cond: Cond, a: Val, b: Val) -> Step<Ref> {
        let (a, b) = (self.number(a), self.number(b));
        match (a, b) {
            (Val::Int { value: x, .. }, Val::Int { value: y, .. }) => Ok(self.compare_ints(cond, x, y)),
            (Val::Int { .. } | Val::Float { .. }, Val::Int { .. } | Val::Float { .. }) => {
                self.exact(a)?;
                self.exact(b)?;
                let (x, y) = (self.as_float(a)?, self.as_float(b)?);
                let v = u64::from(cond.floats(self.f(x), self.f(y)));
                Ok(self.emit(Op::CmpF, &[x, y], cond as i64, ExitId::NONE, v))
            }
            _ => Err("a comparison that is not traced yet"),
        }
    }

    fn truth(&mut self, v: Val) -> Step<Ref> {
        match v {
            Val::Bool(r) => Ok(r),
            Val::Int { value, .. } => {
                let zero = self.int(0);
                Ok(self.compare_ints(Cond::Ne, value, zero))
            }
            Val::Float { value, .. } => {
                let zero = self.float(0.0);
                let v = u64::from(self.f(value) != 0.0);
                Ok(self.emit(Op::CmpF, &[value, zero], Cond::Ne as i64, ExitId::NONE, v))
            }
            Val::Known(o) if o == self.world.none() => Ok(self.emit(Op::ConstB, &[], 0, ExitId::NONE, 0)),
            _ => Err("a truth test that is not traced yet"),
        }
    }

    // --- lists ---

    fn item(&mut self, list: Ref, index: Ref) -> Step<Val> {
        let (len, i) = (self.world.list_len(self.o(list)), self.i(index));
        let length = self.emit(Op::ListLen, &[list], 0, ExitId::NONE, len as u64);
        let e = self.exit("an index out of range");
        let mut at = index;
        if i < 0 {
            let zero = self.int(0);
            let negative = self.compare_ints(Cond::Lt, index, zero);
            self.guard(negative, e);
            at = self.pure(Op::AddW, &[index, length], i.wrapping_add(len) as u64);
        }
        if !(0..len).contains(&self.i(at)) {
            return Err("an index out of range");
        }
        let inside = self.compare_ints(Cond::Below, at, length);
        self.guard(inside, e);
        self.load_item(list, at)
    }
    fn load_item(&mut self, list: Ref, at: Ref) -> Step<Val> {
        let found = self.world.list_item(self.o(list), self.i(at));
        let r = self.emit(Op::ListItem, &[list, at], 0, ExitId::NONE, found.0 as u64);
        let ty = self.world.type_of(found);
        let e = self.exit("an item of another type");
        let class = self.world.class(found);
        if !matches!(class, Class::Int(_) | Class::Float(_) | Class::Bool(_) | Class::List) {
            return Err("an item that is not traced yet");
        }
        self.tree.pin(ty);
        self.emit(Op::GuardType, &[r], ty.0 as i64, e, 0);
        Ok(match class {
            Class::Int(v) => Val::Int {
                value: self.emit(Op::UnboxI, &[r], 0, e, v as u64),
                boxed: r,
            },
            Class::Float(v) => Val::Float {
                value: self.pure(Op::UnboxF, &[r], v.to_bits()),
                boxed: r,
            },
            Class::Bool(v) => Val::Bool(self.pure(Op::UnboxB, &[r], u64::from(v))),
            _ => Val::Ptr(r, ty),
        })
    }

    fn constant(&mut self, o: Obj) -> Step<Val> {
        Ok(match self.world.class(o) {
            Class::Int(v) => {
                self.tree.pin(o);
                let boxed = self.emit(Op::ConstP, &[], o.0 as i64, ExitId::NONE, o.0 as u64);
                Val::Int {
                    value: self.int(v),
                    boxed,
                }
            }
            Class::Float(v) => {
                self.tree.pin(o);
                let boxed = self.emit(Op::ConstP, &[], o.0 as i64, ExitId::NONE, o.0 as u64);
                Val::Float {
                    value: self.float(v),
                    boxed,
                }
            }
            Class::Bool(v) => Val::Bool(self.emit(Op::ConstB, &[], i64::from(v), ExitId::NONE, u64::from(v))),
            Class::Known => {
                self.tree.pin(o);
                Val::Known(o)
            }
            _ => return Err("a constant that is not traced yet"),
        })
    }

    fn call(&mut self, f: Obj, args: &[Val]) -> Step<Val> {
        match (self.world.builtin(f).ok_or("a call that is not traced yet")?, args) {
            (Builtin::Range, _) if (1..=3).contains(&args.len()) => {
                let mut r = [Ref::NONE; 3];
                for (k, v) in args.iter().enumerate() {
                    let Val::Int { value, .. } = v else {
                        return Err("a range of something else");
                    };
                    r[k] = *value;
                }
                let (start, stop) = if args.len() == 1 {
                    (self.int(0), r[0])
                } else {
                    (r[0], r[1])
                };
                let step = if args.len() == 3 { r[2] } else { self.int(1) };
                Ok(Val::Range { start, stop, step })
            }
            (Builtin::Len, [Val::Ptr(list, _)]) => {
                let n = self.world.list_len(self.o(*list));
                Ok(Self::fresh_int(self.emit(
                    Op::ListLen,
                    &[*list],
                    0,
                    ExitId::NONE,
                    n as u64,
                )))
            }
            (Builtin::Abs, [Val::Float { value, .. }]) => {
                let v = self.f(*value).abs().to_bits();
                Ok(Self::fresh_float(self.pure(Op::FAbs, &[*value], v)))
            }
            (Builtin::Abs, [v @ Val::Int { value, .. }]) => {
                let zero = self.int(0);
                let c = self.compare_ints(Cond::Ge, *value, zero);
                let e = self.exit("the other sign");
                self.guard(c, e);
                if self.b(c) {
                    return Ok(*v);
                }
                let n = self.i(*value).checked_neg();
                Ok(Self::fresh_int(self.checked(Op::NegO, &[*value], n)?))
            }
            (Builtin::Float, [v @ (Val::Int { .. } | Val::Float { .. })]) => match *v {
                Val::Float { .. } => Ok(*v),
                v => Ok(Self::fresh_float(self.as_float(v)?)),
            },
            (Builtin::Sqrt, [v]) => {
                let x = self.as_float(*v)?;
                let c = self.f(x);
                if c.is_nan() || c < 0.0 {
                    return Err("the root of a negative number");
                }
                let zero = self.float(0.0);
                let ok = self.emit(Op::CmpF, &[x, zero], Cond::Ge as i64, ExitId::NONE, 1);
                let e = self.exit("the root of a negative number");
                self.guard(ok, e);
                Ok(Self::fresh_float(self.pure(Op::FSqrt, &[x], c.sqrt().to_bits())))
            }
            (which @ (Builtin::Min | Builtin::Max), [x, y]) => {
                let cond = if which == Builtin::Max { Cond::Gt } else { Cond::Lt };
                let c = self.compare(cond, *y, *x)?;
                let e = self.exit("the other one is chosen");
                self.guard(c, e);
                Ok(if self.b(c) { *y } else { *x })
            }
            _ => Err("a call that is not traced yet"),
        }
    }

    /// The loop state for a `range` object that only this loop sees.
    fn iterate(&mut self, start: Ref, stop: Ref, step: Ref) -> Step<Val> {
        let k = self.const_int(step).ok_or("a range whose step varies")?;
        if k == 0 || k == i64::MIN {
            return Err("a range with step zero");
        }
        let (low, high) = if k > 0 { (start, stop) } else { (stop, start) };
        let span = self.i(high).checked_sub(self.i(low));
        let span = self.checked(Op::SubO, &[high, low], span)?;
        let zero = self.int(0);
        let some = self.compare_ints(Cond::Gt, span, zero);
        let e = self.exit("a range that is empty or not");
        self.guard(some, e);
        let left = if !self.b(some) {
            zero
        } else if k.abs() == 1 {
            span
        } else {
            let round = self.int(k.abs() - 1);
            let v = self.i(span).checked_add(k.abs() - 1);
            let sum = self.checked(Op::AddO, &[span, round], v)?;
            let by = self.int(k.abs());
            let c = self.i(sum).div_euclid(k.abs());
            self.pure(Op::FloorDiv, &[sum, by], c as u64)
        };
        // The value after the last may not fit either; stay where it does.
        if self
            .i(start)
            .checked_add(k.saturating_mul(self.i(left).max(1)))
            .is_none()
        {
            return Err("a range near the end of 64 bits");
        }
        Ok(Val::RangeIter {
            next: start,
            step,
            left,
            object: Ref::NONE,
        })
    }

    // --- the walk ---

    fn run(&mut self) -> Result<End, &'static str> {
        let mut first = true;
        loop {
            if !first && self.s.pc == self.tree.header as usize && self.s.depth == self.tree.depth as usize {
                return match self.close() {
                    Ok(end) => Ok(end),
                    Err(why) if self.root => Err(why),
                    Err(why) => Ok(End::Leave(self.exit(why))),
                };
            }
            if !first && self.s.pc != self.tree.header as usize && self.heads.contains(&(self.s.pc as u32)) {
                if self.root {
                    return Err("a loop inside that has its own trace");
                }
                return Ok(End::Leave(self.exit("another loop's head")));
            }
            if self.body.len() > BODY_MAX {
                return Err("too long");
            }
            let (saved, len) = (self.s.clone(), self.body.len());
            let bc = self.code.get(self.s.pc).map_or(Bc::Unknown, |ins| ins.bc);
            if let Err(why) = self.step(first) {
                if self.root {
                    return Err(why);
                }
                // Names found in the failed step stay known, unread.
                let (names, dirty) = (self.s.names.len(), saved.names.len());
                self.s = saved;
                self.s.names.resize(names.max(dirty), None);
                self.s.names_dirty.resize(names.max(dirty), false);
                self.body.truncate(len);
                return Ok(End::Leave(self.exit(why)));
            }
            self.bytecodes += 1;
            if let Some(walked) = self.tree.walked.last_mut() {
                overhead::add(walked, overhead::of_bytecode(bc));
            }
            first = false;
        }
    }

    fn close(&mut self) -> Step<End> {
        let here = self.snapshot(self.s.pc);
        for (slot, val) in &here.slots {
            let ty = val.type_at_head().ok_or("a range that is not a loop's")?;
            if matches!(ty, Type::Known(_) | Type::Null) {
                return Err("a constant object carried round the loop");
            }
            if self.tree.input_of(*slot).is_some_and(|i| self.tree.inputs[i].ty != ty) {
                return Err("a variable changed its type");
            }
        }
        let mut changed = Vec::new();
        for (slot, val) in here.slots {
            let Some(ty) = val.type_at_head() else { continue };
            let index = self.tree.input_of(slot).unwrap_or_else(|| self.new_input(slot, ty));
            changed.push((index as u32, val.components().0));
        }
        Ok(End::Head(changed))
    }

    fn jump_if(&mut self, wanted: bool, next: usize, target: usize) -> Step<()> {
        let v = self.peek(1)?;
        let c = self.truth(v)?;
        self.s.depth -= 1;
        let (here, other) = if self.b(c) == wanted {
            (target, next)
        } else {
            (next, target)
        };
        let e = self.exit_to(other, "a branch went the other way");
        self.guard(c, e);
        self.s.pc = here;
        Ok(())
    }

    fn call_with_null(&mut self, v: Val, with_null: bool) -> Step<()> {
        if with_null && !self.layout.null_above_callable {
            self.push(Val::Null)?;
        }
        self.push(v)?;
        if with_null && self.layout.null_above_callable {
            self.push(Val::Null)?;
        }
        Ok(())
    }

    fn step(&mut self, first: bool) -> Step<()> {
        let ins = *self.code.get(self.s.pc).ok_or("outside the code")?;
        let (next, arg) = (ins.next as usize, ins.arg as usize);
        match ins.bc {
            Bc::NOP | Bc::RESUME | Bc::NOT_TAKEN => {}
            Bc::POP_TOP => {
                if matches!(self.peek(1)?, Val::RangeIter { .. } | Val::ListIter { .. }) {
                    return Err("an abandoned iterator");
                }
                self.s.depth -= 1;
            }
            Bc::PUSH_NULL => self.push(Val::Null)?,
            Bc::COPY => {
                let v = Self::storable(self.peek(arg)?)?;
                self.push(v)?;
            }
            Bc::SWAP => {
                let (a, b) = (Self::storable(self.peek(1)?)?, Self::storable(self.peek(arg)?)?);
                self.set(1, b);
                self.set(arg, a);
            }
            Bc::LOAD_FAST | Bc::LOAD_FAST_CHECK => {
                let v = self.local(arg)?;
                self.push(v)?;
            }
            Bc::LOAD_FAST_LOAD_FAST => {
                let (a, b) = (self.local(arg >> 4)?, self.local(arg & 15)?);
                self.push(a)?;
                self.push(b)?;
            }
            Bc::STORE_FAST => {
                self.store_local(arg, 1)?;
                self.s.depth -= 1;
            }
            Bc::STORE_FAST_LOAD_FAST => {
                self.store_local(arg >> 4, 1)?;
                let v = self.local(arg & 15)?;
                self.replace(1, v)?;
            }
            Bc::STORE_FAST_STORE_FAST => {
                self.store_local(arg >> 4, 1)?;
                self.store_local(arg & 15, 2)?;
                self.s.depth -= 2;
            }
            Bc::LOAD_CONST => {
                let v = self.constant(self.world.constant(arg))?;
                self.push(v)?;
            }
            Bc::LOAD_NAME => {
                self.at_module_level()?;
                let v = self.global(self.world.name(arg))?;
                self.push(v)?;
            }
            Bc::STORE_NAME => {
                self.at_module_level()?;
                self.store_global(self.world.name(arg))?;
            }
            Bc::STORE_GLOBAL => self.store_global(self.world.name(arg))?,
            Bc::LOAD_GLOBAL => {
                let v = self.global(self.world.name(arg >> 1))?;
                self.call_with_null(v, arg & 1 != 0)?;
            }
            Bc::LOAD_ATTR => {
                let Val::Known(o) = self.peek(1)? else {
                    return Err("an attribute that is not traced yet");
                };
                let dict = self.world.module_dict(o);
                if dict.is_null() {
                    return Err("an attribute that is not traced yet");
                }
                let v = self.read_name(Namespace::Dict(dict), self.world.name(arg >> 1))?;
                if v == Val::Null {
                    return Err("a module attribute that is missing");
                }
                self.s.depth -= 1;
                self.call_with_null(v, arg & 1 != 0)?;
            }
            Bc::BINARY_OP => {
                let (b, a) = (self.peek(1)?, self.peek(2)?);
                let v = self.binary(arg as u32 % 13, a, b)?;
                self.replace(2, v)?;
            }
            Bc::BINARY_SUBSCR => {
                let (Val::Int { value: index, .. }, Val::Ptr(list, _)) = (self.peek(1)?, self.peek(2)?) else {
                    return Err("a subscript that is not traced yet");
                };
                let v = self.item(list, index)?;
                self.replace(2, v)?;
            }
            Bc::COMPARE_OP => {
                let (b, a) = (self.peek(1)?, self.peek(2)?);
                let cond = Cond::from_imm((arg >> self.layout.compare_shift) as i64);
                let c = self.compare(cond, a, b)?;
                self.replace(2, Val::Bool(c))?;
            }
            Bc::TO_BOOL => {
                let v = self.peek(1)?;
                let c = self.truth(v)?;
                self.replace(1, Val::Bool(c))?;
            }
            Bc::UNARY_NOT => {
                let v = self.peek(1)?;
                let c = self.truth(v)?;
                let n = u64::from(!self.b(c));
                let r = self.pure(Op::NotB, &[c], n);
                self.replace(1, Val::Bool(r))?;
            }
            Bc::UNARY_NEGATIVE => {
                let v = match self.peek(1)? {
                    Val::Int { value, .. } => {
                        let n = self.i(value).checked_neg();
                        Self::fresh_int(self.checked(Op::NegO, &[value], n)?)
                    }
                    Val::Float { value, .. } => {
                        let n = (-self.f(value)).to_bits();
                        Self::fresh_float(self.pure(Op::FNeg, &[value], n))
                    }
                    _ => return Err("a negation that is not traced yet"),
                };
                self.replace(1, v)?;
            }
            Bc::UNARY_INVERT => {
                let Val::Int { value, .. } = self.peek(1)? else {
                    return Err("an inversion that is not traced yet");
                };
                let n = !self.i(value) as u64;
                let r = self.pure(Op::Not, &[value], n);
                self.replace(1, Self::fresh_int(r))?;
            }
            Bc::POP_JUMP_IF_FALSE | Bc::POP_JUMP_IF_TRUE => {
                return self.jump_if(ins.bc == Bc::POP_JUMP_IF_TRUE, next, next + arg);
            }
            Bc::JUMP_FORWARD => {
                self.s.pc = next + arg;
                return Ok(());
            }
            Bc::JUMP_BACKWARD => {
                let target = next.checked_sub(arg).ok_or("outside the code")?;
                if target != self.tree.header as usize {
                    let pc = self.s.pc;
                    match self.backs.iter_mut().find(|b| b.0 == pc) {
                        Some(b) if b.1 >= UNROLL_MAX => return Err("an inner loop"),
                        Some(b) => b.1 += 1,
                        None => self.backs.push((pc, 1)),
                    }
                }
                self.s.pc = target;
                return Ok(());
            }
            Bc::FOR_ITER => return self.for_iter(first, next, arg),
            Bc::GET_ITER => {
                let v = match self.peek(1)? {
                    Val::Range { start, stop, step } => self.iterate(start, stop, step)?,
                    Val::Ptr(list, _) => Val::ListIter {
                        list,
                        index: self.int(0),
                        object: Ref::NONE,
                    },
                    _ => return Err("an iteration that is not traced yet"),
                };
                self.replace(1, v)?;
            }
            Bc::CALL => {
                let mut args = Vec::with_capacity(arg);
                for n in (1..=arg).rev() {
                    args.push(self.peek(n)?);
                }
                let (upper, lower) = (self.peek(arg + 1)?, self.peek(arg + 2)?);
                let (f, null) = if self.layout.null_above_callable {
                    (lower, upper)
                } else {
                    (upper, lower)
                };
                let (Val::Known(f), Val::Null) = (f, null) else {
                    return Err("a call that is not traced yet");
                };
                let v = self.call(f, &args)?;
                self.replace(arg + 2, v)?;
            }
            _ => return Err("a bytecode that is not traced yet"),
        }
        self.s.pc = next;
        Ok(())
    }

    fn at_module_level(&mut self) -> Step<()> {
        if !self.world.module_level() {
            return Err("a namespace that is not the globals");
        }
        self.tree.module_level = true;
        Ok(())
    }

    fn for_iter(&mut self, first: bool, next: usize, arg: usize) -> Step<()> {
        let v = self.peek(1)?;
        let (more, item, after) = match v {
            Val::RangeIter {
                next: at,
                step,
                left,
                object,
            } => {
                let zero = self.int(0);
                let more = self.compare_ints(Cond::Gt, left, zero);
                let e = self.exit("the loop's end, or not");
                self.guard(more, e);
                if !self.b(more) {
                    (false, v, v)
                } else {
                    let (n, l) = (self.i(at).wrapping_add(self.i(step)), self.i(left) - 1);
                    let then = self.pure(Op::AddW, &[at, step], n as u64);
                    let minus = self.int(-1);
                    let left = self.pure(Op::AddW, &[left, minus], l as u64);
                    (
                        true,
                        Self::fresh_int(at),
                        Val::RangeIter {
                            next: then,
                            step,
                            left,
                            object,
                        },
                    )
                }
            }
            Val::ListIter { list, index, object } => {
                let (len, i) = (self.world.list_len(self.o(list)), self.i(index));
                let length = self.emit(Op::ListLen, &[list], 0, ExitId::NONE, len as u64);
                let more = self.compare_ints(Cond::Below, index, length);
                let e = self.exit("the loop's end, or not");
                self.guard(more, e);
                if !self.b(more) {
                    (false, v, v)
                } else {
                    let item = self.load_item(list, index)?;
                    let one = self.int(1);
                    let then = self.pure(Op::AddW, &[index, one], (i + 1) as u64);
                    (
                        true,
                        item,
                        Val::ListIter {
                            list,
                            index: then,
                            object,
                        },
                    )
                }
            }
            _ => return Err("an iteration that is not traced yet"),
        };
        if more {
            self.set(1, after);
            self.push(item)?;
            self.s.pc = next;
        } else {
            if first && self.root {
                return Err("the loop was ending");
            }
            // The iterator may own the list, and the list's death is for the interpreter to see in time.
            if matches!(v, Val::ListIter { object, .. } if !object.is_none()) {
                return Err("the end of a list");
            }
            self.s.depth -= 1;
            self.s.pc = next + arg + self.layout.for_exit_units;
        }
        Ok(())
    }
}
