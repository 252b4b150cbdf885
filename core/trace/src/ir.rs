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
    /// An int in a register, with the object it came from or was boxed into, if any.
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
    /// An iterator over a range: next value, step, how many are left, the object if there is one.
    RangeIter {
        next: Ref,
        step: Ref,
        left: Ref,
        object: Ref,
    },
    ListIter {
        list: Ref,
        index: Ref,
        object: Ref,
    },
    Range {
        start: Ref,
        stop: Ref,
        step: Ref,
    },
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
    RangeIter,
    ListIter,
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
            Type::RangeIter => &[Kind::Int, Kind::Int, Kind::Int, Kind::Ptr],
            Type::ListIter => &[Kind::Ptr, Kind::Int, Kind::Ptr],
        }
    }
}

impl Val {
    /// The components of a value, in the order of [`Type::components`]; [`Ref::NONE`] for "no object yet".
    pub fn components(self) -> ([Ref; 4], usize) {
        let no = Ref::NONE;
        match self {
            Val::Int { value, boxed } | Val::Float { value, boxed } => ([value, boxed, no, no], 2),
            Val::Bool(value) | Val::Ptr(value, _) => ([value, no, no, no], 1),
            Val::Known(_) | Val::Null => ([no; 4], 0),
            Val::RangeIter {
                next,
                step,
                left,
                object,
            } => ([next, step, left, object], 4),
            Val::ListIter { list, index, object } => ([list, index, object, no], 3),
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
            Val::RangeIter { .. } => Type::RangeIter,
            Val::ListIter { .. } => Type::ListIter,
            Val::Range { .. } => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub slot: Slot,
    pub ty: Type,
    /// One `Input` instruction per component.
    pub refs: [Ref; 4],
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
            Type::RangeIter => Val::RangeIter {
                next: r[0],
                step: r[1],
                left: r[2],
                object: r[3],
            },
            Type::ListIter => Val::ListIter {
                list: r[0],
                index: r[1],
                object: r[2],
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Back to the loop head, with these inputs changed.
    Head(Vec<(u32, [Ref; 4])>),
    /// Out, always: the recorder could not follow further.
    Leave(ExitId),
}

#[derive(Clone, Debug)]
pub struct Trace {
    pub body: Vec<Ref>,
    pub end: End,
    /// Bytecodes one run of this trace stands for.
    pub bytecodes: u32,
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
    /// What the interpreter does in one run of each trace, by category; see [`crate::overhead`].
    pub walked: Vec<crate::overhead::Counts>,
    /// The same from the beginning of a trace to each of its exits.
    pub walked_to: Vec<crate::overhead::Counts>,
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
        }
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
        inst.op.info().gives
    }

    pub fn pin(&mut self, o: Obj) {
        if !o.is_null() && !self.pins.contains(&o) {
            self.pins.push(o);
        }
    }

    pub fn input_of(&self, slot: Slot) -> Option<usize> {
        self.inputs.iter().position(|input| input.slot == slot)
    }

    /// Input components that some trace changes on its way back to the head: the loop-carried registers.
    pub fn carried(&self) -> Vec<(u32, u8)> {
        let mut out = Vec::new();
        for trace in &self.traces {
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
