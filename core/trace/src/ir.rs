//! The trace IR: a tree of straight-line SSA traces under one loop head.
//!
//! The root trace runs from the head back to the head. An exit taken often grows a side trace, which runs from the
//! exit's snapshot to the head (or to an exit of its own). All traces of a tree share one arena of instructions.
//!
//! Invariants
//!
//! - An instruction's operands are inputs, constants, or instructions that dominate it.
//! - Every slot a trace leaves changed at the head is an input of the tree, with the same type on every way in.
//! - A snapshot names exactly the slots that differ from the frame as the loop head found it, in this iteration.

use crate::ops::{Kind, Op};

/// An object of the interpreter; the trace crate never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Obj(pub usize);

impl Obj {
    pub const NULL: Obj = Obj(0);
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
    const POSITION: usize = 3;
    /// What a frame's slot holds for a number without an object: where a `for` of 3.15 stands in a sequence.
    pub fn position(index: i64) -> Obj {
        Obj((index << 2) as usize | Obj::POSITION)
    }
    /// The number, if this is one and no object.
    pub fn as_position(self) -> Option<i64> {
        (self.0 & Obj::POSITION == Obj::POSITION).then_some(self.0 as i64 >> 2)
    }
}

/// Index of an instruction in [`Tree::insts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(pub u32);

impl Ref {
    pub const NONE: Ref = Ref(u32::MAX);
    pub fn is_none(self) -> bool {
        self == Ref::NONE
    }
    pub fn at(self) -> usize {
        self.0 as usize
    }
    const TOKEN: u32 = 1 << 31;
    /// The identity of a number that has no object yet but is held in more than one place. It stands only where a
    /// value names its object, never as an operand.
    pub fn token(n: u32) -> Ref {
        Ref(Ref::TOKEN | n)
    }
    pub fn as_token(self) -> Option<u32> {
        (self.0 & Ref::TOKEN != 0 && !self.is_none()).then_some(self.0 & !Ref::TOKEN)
    }
    /// Whether this names an instruction.
    pub fn is_inst(self) -> bool {
        self.0 & Ref::TOKEN == 0
    }
}

/// Index of an exit in [`Tree::exits`]; [`ExitId::NONE`] where an operation cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitId(pub u32);

impl ExitId {
    pub const NONE: ExitId = ExitId(u32::MAX);
    /// The exit at the loop head, taken when the interpreter wants control.
    pub const HEAD: ExitId = ExitId(0);
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inst {
    pub op: Op,
    pub args: [Ref; 3],
    pub imm: i64,
    pub exit: ExitId,
}

/// A place of the frame: a fast local, a stack entry above them, or a name in a namespace (see [`Tree::names`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    const NAME: u32 = 1 << 16;
    /// Places that a frame may have.
    pub const FRAME_MAX: usize = Slot::NAME as usize;
    pub fn frame(index: usize) -> Slot {
        Slot(index as u32)
    }
    pub fn name(index: usize) -> Slot {
        Slot(Slot::NAME | index as u32)
    }
    /// The index into [`Tree::names`], for a name.
    pub fn as_name(self) -> Option<usize> {
        (self.0 & Slot::NAME != 0).then_some((self.0 & !Slot::NAME) as usize)
    }
    /// The index into the frame's locals and stack, for anything else.
    pub fn as_frame(self) -> Option<usize> {
        (self.0 & Slot::NAME == 0).then_some(self.0 as usize)
    }
}

/// What a slot holds in the middle of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Val {
    /// An int in a register. `boxed` is its identity: the object it came from or was made into, a token when several
    /// places hold it, or none when this place alone holds a number that has no object yet.
    Int {
        value: Ref,
        boxed: Ref,
    },
    Float {
        value: Ref,
        boxed: Ref,
    },
    Bool(Ref),
    /// An object of exactly this type.
    Ptr(Ref, Obj),
    /// This very object.
    Known(Obj),
    /// A null stack entry or an unbound local.
    Null,
    /// Where a `for` of 3.15 stands in the sequence one slot below.
    Position(Ref),
    /// An iterator over a range: next value, step, how many are left, the object if there is one.
    RangeIter {
        next: Ref,
        step: Ref,
        left: Ref,
        object: Ref,
    },
    /// An iterator over a list, tuple or string.
    SeqIter {
        seq: Seq,
        on: Ref,
        index: Ref,
        object: Ref,
    },
    /// `enumerate` over a list.
    Enumerate {
        count: Ref,
        list: Ref,
        index: Ref,
        object: Ref,
    },
    /// `zip` over two lists, which it has read equally far.
    Zip {
        first: Ref,
        second: Ref,
        index: Ref,
        object: Ref,
    },
    Range {
        start: Ref,
        stop: Ref,
        step: Ref,
    },
    /// A tuple that has not been made: index into [`Tree::tuples`], which is its identity too.
    Tuple(u32),
}

/// What a sequence iterator walks along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    List,
    Tuple,
    /// A string of one byte a character.
    Str,
}

/// The type of an input: what entering the tree checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int,
    Float,
    Bool,
    Ptr(Obj),
    Known(Obj),
    Null,
    Position,
    RangeIter,
    SeqIter(Seq),
    Enumerate,
    Zip,
}

impl Type {
    /// The kinds of an input's components, in order.
    pub fn components(self) -> &'static [Kind] {
        match self {
            Type::Int => &[Kind::Int, Kind::Ptr],
            Type::Float => &[Kind::Float, Kind::Ptr],
            Type::Bool => &[Kind::Bool],
            Type::Ptr(_) => &[Kind::Ptr],
            Type::Known(_) | Type::Null => &[],
            Type::Position => &[Kind::Int],
            Type::RangeIter => &[Kind::Int, Kind::Int, Kind::Int, Kind::Ptr],
            Type::SeqIter(_) => &[Kind::Ptr, Kind::Int, Kind::Ptr],
            Type::Enumerate => &[Kind::Int, Kind::Ptr, Kind::Int, Kind::Ptr],
            Type::Zip => &[Kind::Ptr, Kind::Ptr, Kind::Int, Kind::Ptr],
        }
    }
}

impl Val {
    /// A number's identity, if it has any to keep.
    pub fn identity(self) -> Option<Ref> {
        match self {
            Val::Int { boxed, .. } | Val::Float { boxed, .. } if !boxed.is_none() => Some(boxed),
            _ => None,
        }
    }

    pub fn with_identity(self, boxed: Ref) -> Val {
        match self {
            Val::Int { value, .. } => Val::Int { value, boxed },
            Val::Float { value, .. } => Val::Float { value, boxed },
            v => v,
        }
    }

    /// The components of a value, in the order of [`Type::components`]; [`Ref::NONE`] for "no object yet".
    pub fn components(self) -> ([Ref; 4], usize) {
        let no = Ref::NONE;
        match self {
            Val::Int { value, boxed } | Val::Float { value, boxed } => ([value, boxed, no, no], 2),
            Val::Bool(value) | Val::Ptr(value, _) | Val::Position(value) => ([value, no, no, no], 1),
            Val::Known(_) | Val::Null | Val::Tuple(_) => ([no; 4], 0),
            Val::RangeIter {
                next,
                step,
                left,
                object,
            } => ([next, step, left, object], 4),
            Val::SeqIter { on, index, object, .. } => ([on, index, object, no], 3),
            Val::Enumerate {
                count,
                list,
                index,
                object,
            } => ([count, list, index, object], 4),
            Val::Zip {
                first,
                second,
                index,
                object,
            } => ([first, second, index, object], 4),
            Val::Range { start, stop, step } => ([start, stop, step, no], 3),
        }
    }

    /// The input type that a slot holding this value has at the loop head; none for what cannot cross it.
    pub fn type_at_head(self) -> Option<Type> {
        Some(match self {
            Val::Int { .. } => Type::Int,
            Val::Float { .. } => Type::Float,
            Val::Bool(_) => Type::Bool,
            Val::Ptr(_, t) => Type::Ptr(t),
            Val::Known(o) => Type::Known(o),
            Val::Null => Type::Null,
            Val::Position(_) => Type::Position,
            Val::RangeIter { .. } => Type::RangeIter,
            Val::SeqIter { seq, .. } => Type::SeqIter(seq),
            Val::Enumerate { .. } => Type::Enumerate,
            Val::Zip { .. } => Type::Zip,
            Val::Range { .. } | Val::Tuple(_) => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub slot: Slot,
    pub ty: Type,
    /// One `Input` instruction per component.
    pub refs: [Ref; 4],
    /// Whether some trace reads it; one that is only written needs no check when every trace writes it.
    pub read: bool,
}

impl Input {
    pub fn val(&self) -> Val {
        let r = self.refs;
        match self.ty {
            Type::Int => Val::Int {
                value: r[0],
                boxed: r[1],
            },
            Type::Float => Val::Float {
                value: r[0],
                boxed: r[1],
            },
            Type::Bool => Val::Bool(r[0]),
            Type::Ptr(t) => Val::Ptr(r[0], t),
            Type::Known(o) => Val::Known(o),
            Type::Null => Val::Null,
            Type::Position => Val::Position(r[0]),
            Type::RangeIter => Val::RangeIter {
                next: r[0],
                step: r[1],
                left: r[2],
                object: r[3],
            },
            Type::SeqIter(seq) => Val::SeqIter {
                seq,
                on: r[0],
                index: r[1],
                object: r[2],
            },
            Type::Enumerate => Val::Enumerate {
                count: r[0],
                list: r[1],
                index: r[2],
                object: r[3],
            },
            Type::Zip => Val::Zip {
                first: r[0],
                second: r[1],
                index: r[2],
                object: r[3],
            },
        }
    }
}

/// The state of the frame at one point of a trace: where the interpreter resumes, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub pc: u32,
    pub depth: u32,
    pub slots: Vec<(Slot, Val)>,
}

#[derive(Clone, Debug)]
pub struct Exit {
    pub snapshot: Snapshot,
    /// Why the trace left here, for people.
    pub reason: &'static str,
    /// The side trace that continues here.
    pub side: Option<u32>,
    /// The trace that leaves here.
    pub owner: u32,
    /// Where the trace goes on that does not leave here; the snapshot's place, but for branches.
    pub onward: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Back to the loop head, with these inputs changed.
    Head(Vec<(u32, [Ref; 4])>),
    /// Out, always: the recorder could not follow further.
    Leave(ExitId),
    /// Into a loop of its own, the trace of this number, whose [`Trace::phis`] are these values first.
    Into(u32, Vec<Ref>),
    /// Round that loop again: its phis are these values now.
    Again(Vec<Ref>),
}

impl End {
    /// The values that a way round takes along: those of inputs, and those of phis.
    pub fn for_each_ref(&mut self, f: &mut impl FnMut(&mut Ref)) {
        match self {
            End::Leave(_) => {}
            End::Head(changed) => changed.iter_mut().flat_map(|c| &mut c.1).for_each(f),
            End::Into(_, args) | End::Again(args) => args.iter_mut().for_each(f),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Trace {
    pub body: Vec<Ref>,
    pub end: End,
    /// Bytecodes one run of this trace stands for.
    pub bytecodes: u32,
    /// The exit it continues from; none for the root.
    pub from: Option<ExitId>,
    /// It went outside the loop's own code: it belongs to an enclosing loop.
    pub outer: bool,
    /// One round of a short loop: the trace that runs into it.
    pub before: Option<u32>,
    /// What changes from round to round.
    pub phis: Vec<Ref>,
}

/// Where a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    Globals,
    Builtins,
    /// The namespace of a module or of an inlined function, kept alive by the tree.
    Dict(Obj),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub space: Namespace,
    pub key: Obj,
}

/// The back edge of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// The code it is in; null for the frame's own.
    pub code: Obj,
    /// The units of the loop's head and of the jump.
    pub header: u32,
    pub from: u32,
}

#[derive(Clone, Debug)]
pub struct Tree {
    /// Code unit of the loop head.
    pub header: u32,
    /// Stack depth at the head.
    pub depth: u32,
    /// Number of fast locals, cells and free variables.
    pub locals: u32,
    pub insts: Vec<Inst>,
    pub inputs: Vec<Input>,
    pub names: Vec<Name>,
    pub traces: Vec<Trace>,
    pub exits: Vec<Exit>,
    /// The frame's namespace must be its globals: the tree treats cell-level names as globals.
    pub module_level: bool,
    /// Objects the tree must keep alive: types, functions, modules, constants.
    pub pins: Vec<Obj>,
    /// Tokens handed out.
    pub tokens: u32,
    /// What must hold when the tree is entered: nothing a trace does can change it.
    pub conditions: Vec<Condition>,
    /// Who may hold an object that a store would reuse; see [`Holders`].
    pub holders: Vec<Holders>,
    /// Tuples that no object stands for yet.
    pub tuples: Vec<Vec<Val>>,
    /// What the interpreter does in one run of each trace, by category; see [`crate::overhead`].
    pub walked: Vec<crate::overhead::Counts>,
    /// The same from the beginning of a trace to each of its exits.
    pub walked_to: Vec<crate::overhead::Counts>,
    /// The back edges that traces take; how often, up to the end of each trace and to each exit.
    pub backs: Vec<Back>,
    pub crossed: Vec<Vec<u16>>,
    pub crossed_to: Vec<Vec<u16>>,
}

/// The places that may name a number object without owning it, where a store wants to reuse that object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    pub ints: Vec<Ref>,
    pub floats: Vec<Ref>,
    /// Inputs' slots that have been overwritten: what they brought is not held any more.
    pub over: Vec<Slot>,
}

/// Something outside the frame that recorded code relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A type's version: its namespace and bases are as they were.
    TypeVersion(Obj, u32),
    /// How many attribute names the instances of a type share: names are only ever added.
    SharedNames(Obj, u32),
    /// A function's code, which no other tool watches: one may begin to listen to that code alone.
    Code(Obj, Obj),
    /// A code object that no other tool watches, of whatever function.
    Unwatched(Obj),
    /// The frame's globals are this dict: other names for it, and functions that share it, were taken for the same.
    Globals(Obj),
    /// A module's class is the one modules have: a program may give it another.
    Module(Obj),
}

impl Tree {
    pub fn new(header: u32, depth: u32, locals: u32) -> Tree {
        let head = Exit {
            snapshot: Snapshot {
                pc: header,
                depth,
                slots: Vec::new(),
            },
            reason: "the interpreter wanted control",
            side: None,
            owner: 0,
            onward: header,
        };
        Tree {
            header,
            depth,
            locals,
            insts: Vec::new(),
            inputs: Vec::new(),
            names: Vec::new(),
            traces: Vec::new(),
            exits: vec![head],
            module_level: false,
            pins: Vec::new(),
            walked: Vec::new(),
            walked_to: vec![Default::default()],
            backs: Vec::new(),
            crossed: Vec::new(),
            crossed_to: vec![Vec::new()],
            tokens: 0,
            conditions: Vec::new(),
            holders: Vec::new(),
            tuples: Vec::new(),
        }
    }

    pub fn condition(&mut self, c: Condition) {
        if !self.conditions.contains(&c) {
            self.conditions.push(c);
        }
    }

    pub fn new_token(&mut self) -> Ref {
        self.tokens += 1;
        Ref::token(self.tokens)
    }

    /// The instructions that have run whenever a trace begins; of a loop it comes from, those of the last round.
    pub fn prefix(&self, index: usize) -> Vec<Ref> {
        let mut chain = Vec::new();
        let mut trace = &self.traces[index];
        loop {
            if let Some(e) = trace.from {
                trace = &self.traces[self.exits[e.at()].owner as usize];
                let until = trace.body.iter().position(|r| self.inst(*r).exit == e);
                chain.push(&trace.body[..until.unwrap_or(trace.body.len())]);
            } else if let Some(lead) = trace.before {
                trace = &self.traces[lead as usize];
                chain.push(&trace.body[..]);
            } else {
                break;
            }
        }
        chain.iter().rev().flat_map(|part| part.iter().copied()).collect()
    }

    /// How many objects one pass may hand to the release log at most.
    pub fn releases(&self) -> usize {
        let logs = |r: &&Ref| matches!(self.inst(**r).op, Op::Release | Op::Keep | Op::ReplaceI | Op::ReplaceF);
        self.traces.iter().map(|t| t.body.iter().filter(logs).count()).sum()
    }

    /// Whether some trace lets go of objects whose death could be seen, so that a borrowed one may be held by nobody but an
    /// iterator that has no object yet.
    pub fn ends_containers(&self) -> bool {
        let lets_go = |r: &Ref| {
            let op = self.inst(*r).op;
            matches!(
                op,
                Op::GuardShared | Op::GuardQuiet | Op::NewList | Op::ListOf | Op::Slice | Op::Pop
            )
        };
        self.traces.iter().any(|t| t.body.iter().any(lets_go))
    }

    pub fn inst(&self, r: Ref) -> &Inst {
        &self.insts[r.at()]
    }

    /// The kind of an instruction's result; an input's depends on its type.
    pub fn kind(&self, r: Ref) -> Kind {
        let inst = self.inst(r);
        if inst.op == Op::Input {
            let (input, component) = ((inst.imm >> 3) as usize, (inst.imm & 7) as usize);
            return self.inputs[input].ty.components()[component];
        }
        if inst.op == Op::Phi {
            return Kind::PHIS[inst.imm as usize];
        }
        inst.op.info().gives
    }

    pub fn pin(&mut self, o: Obj) {
        if !o.is_null() && !self.pins.contains(&o) {
            self.pins.push(o);
        }
    }

    /// Every object the tree names, some more than once: what must live as long as it does.
    pub fn objects(&self) -> Vec<Obj> {
        let mut all = self.pins.clone();
        for input in &self.inputs {
            if let Type::Ptr(o) | Type::Known(o) = input.ty {
                all.push(o);
            }
        }
        for name in &self.names {
            all.push(name.key);
            if let Namespace::Dict(o) = name.space {
                all.push(o);
            }
        }
        for condition in &self.conditions {
            match *condition {
                Condition::TypeVersion(o, _)
                | Condition::SharedNames(o, _)
                | Condition::Globals(o)
                | Condition::Module(o)
                | Condition::Unwatched(o) => all.push(o),
                Condition::Code(f, code) => all.extend([f, code]),
            }
        }
        all.extend(self.backs.iter().map(|back| back.code));
        all.retain(|o| !o.is_null());
        all
    }

    pub fn input_of(&self, slot: Slot) -> Option<usize> {
        self.inputs.iter().position(|input| input.slot == slot)
    }

    /// Input components that some trace (of those asked for) changes on its way back to the head.
    pub fn carried_by(&self, wanted: impl Fn(&Trace) -> bool) -> Vec<(u32, u8)> {
        let mut out = Vec::new();
        for trace in self.traces.iter().filter(|t| wanted(t)) {
            let End::Head(changed) = &trace.end else { continue };
            for (index, refs) in changed {
                let input = &self.inputs[*index as usize];
                let components = input.ty.components().len();
                for (k, (now, before)) in refs.iter().zip(&input.refs).take(components).enumerate() {
                    if now != before && !out.contains(&(*index, k as u8)) {
                        out.push((*index, k as u8));
                    }
                }
            }
        }
        out.sort_unstable();
        out
    }

    /// The loop-carried registers.
    pub fn carried(&self) -> Vec<(u32, u8)> {
        self.carried_by(|_| true)
    }

    /// Whether every way back to the head brings a number for this input that no object stands for yet. Then its own
    /// object matters in the first pass only.
    pub fn always_fresh(&self, input: u32) -> bool {
        if !matches!(self.inputs[input as usize].ty, Type::Int | Type::Float) {
            return false;
        }
        self.traces.iter().all(|t| match &t.end {
            End::Head(changed) => changed.iter().any(|(i, refs)| *i == input && refs[1].is_none()),
            _ => true,
        })
    }

    /// For each input, whether its object may belong to somebody else than the frame: some way back to the head brings one
    /// that was read from memory, or made and given away. Otherwise it is the frame's own, or there is none.
    pub fn borrowing(&self) -> Vec<bool> {
        let mut found = vec![false; self.inputs.len()];
        loop {
            let before = found.clone();
            for trace in &self.traces {
                let End::Head(changed) = &trace.end else { continue };
                for (index, refs) in changed {
                    found[*index as usize] |= self.is_borrowed(refs[1], &found);
                }
            }
            if found == before {
                return found;
            }
        }
    }

    /// Whether an identity may be an object that the frame does not own, with what is known of the inputs.
    pub fn is_borrowed(&self, id: Ref, inputs: &[bool]) -> bool {
        if !id.is_inst() {
            return false;
        }
        let inst = self.inst(id);
        match inst.op {
            op if op.is_const() => false,
            Op::Input if inst.imm & 7 == 1 => inputs[(inst.imm >> 3) as usize],
            Op::Named => self.is_borrowed(inst.args[0], inputs),
            _ => true,
        }
    }

    /// Whether entering the tree may leave this input unread: every way back to the head writes it, none reads it.
    pub fn write_only(&self, input: u32) -> bool {
        let changed = |t: &Trace| match &t.end {
            End::Head(changed) => changed.iter().any(|(i, _)| *i == input),
            _ => true,
        };
        let object = matches!(self.inputs[input as usize].ty, Type::Ptr(_) | Type::Bool);
        let written = self.always_fresh(input) || object && self.traces.iter().all(changed);
        !self.inputs[input as usize].read && written
    }

    /// Bytes this tree occupies besides its machine code.
    pub fn metadata_bytes(&self) -> usize {
        use std::mem::size_of;
        let exits: usize = self
            .exits
            .iter()
            .map(|e| e.snapshot.slots.len() * size_of::<(Slot, Val)>())
            .sum();
        let bodies: usize = self.traces.iter().map(|t| t.body.len() * size_of::<Ref>()).sum();
        self.insts.len() * size_of::<Inst>()
            + self.inputs.len() * size_of::<Input>()
            + self.exits.len() * size_of::<Exit>()
            + self.names.len() * size_of::<Name>()
            + exits
            + bodies
    }
}
