//! Entering compiled loops.
//!
//! Invariants
//!
//! - Native code changes no frame and no namespace, so up to [`restore`] they are as the loop head found them, and own
//!   what they held then.
//! - What a trace drops for good is in the release log, and dies after the frame is right again.
//! - Entering refuses a frame in which an overwritten slot holds the last reference to something that could notice
//!   its own death; so it makes no difference that old values die at the exit and not at the store.
//! - From the first instruction of the machine code until the frame is right again nothing panics: what could is asked before,
//!   or left for after. A mistake of ours at any other time costs the loop its machine code; see [`crate::faults`].

use crate::attributes::shared_names;
use crate::frame::{Frame, code_watched};
use crate::helpers::{known_again, lasting_owners, may_go, set_namespaces, set_running};
use crate::hook::Engine;
use crate::object::{decref, int_value, load, ptr, refcount, type_of};
use crate::restore::restore;
use crate::rows::Row;
use crate::world::{Live, enumerate_parts, lookup, namespace, plain_namespaces, zip_parts};
use larder_jit::lower::{BUFFER_WORDS, Code, FIRST, FORCED, ITERATIONS, LOG_WORDS, LOGGED, ORIGIN, SCRATCH};
use larder_jit::packed::{input, overwritten};
use larder_jit::{Arena, Packed, Piece};
use larder_trace::bytecode::Ins;
use larder_trace::ir::Condition;
use larder_trace::{Layout, Obj, Slot, Tree, Type};
use pyo3::ffi;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::rc::Rc;

/// Entries after which it is asked whether a loop pays for them: a loop is left to the interpreter for good, an entry that does
/// not pay costs a fraction of a microsecond, and the first rows of a picture are not the picture.
const PAYS_WINDOW: u32 = 4096;
/// What an entry with its exit takes, with its call by the interpreter; what each slot read or written adds; and what a bytecode
/// takes in the interpreter. Measured by `benches/trace/entry.py` on a machine of 3 GHz: only their ratios matter.
const ENTRY_NS: u64 = 60;
const READ_NS: u64 = 10;
const WRITTEN_NS: u64 = 45;
const BYTECODE_NS_TENTHS: u64 = 14;

type Entry = unsafe extern "C" fn(*const u8, *mut u64) -> u64;
pub type Buffer = [MaybeUninit<u64>; BUFFER_WORDS];

/// What a tree needs to grow: it goes when the tree settles.
pub struct Growth {
    pub tree: Tree,
    /// Failed attempts at a side trace, per exit.
    pub failed: Vec<u8>,
    /// The tree with side traces that are recorded but not compiled, and how often their exits are looked at before they
    /// are.
    pub ahead: Option<(Box<Tree>, u8)>,
}

/// A tree with its machine code. What it has done is counted in its [`Row`].
pub struct Compiled {
    pub packed: Packed,
    pub growth: Option<Box<Growth>>,
    pub piece: Piece,
    /// Entries and iterations since the tree grew last, or since both were halved; and entries refused.
    pub entries: u32,
    pub passed: u32,
    pub refused: u16,
    /// Entered since the last tick.
    pub used: bool,
}

impl Compiled {
    pub fn new(tree: Tree, code: &Code, mut packed: Packed, piece: Piece) -> Compiled {
        let exits = tree.exits.len();
        packed.due = due(&tree, code);
        Compiled {
            packed,
            piece,
            growth: Some(Box::new(Growth {
                tree,
                failed: vec![0; exits],
                ahead: None,
            })),
            entries: 0,
            passed: 0,
            refused: 0,
            used: true,
        }
    }

    /// Drops what only growing needs.
    pub fn settle(&mut self) {
        crate::loops::changed();
        self.growth = None;
    }

    /// Bytes kept beside the machine code for as long as it lives, and those only growing needs.
    pub fn sizes(&self) -> (usize, usize) {
        let growth = self.growth.as_ref();
        let growing = growth.map_or(0, |g| {
            let ahead = g.ahead.as_ref().map_or(0, |a| size_of::<Tree>() + a.0.metadata_bytes());
            size_of::<Growth>() + g.tree.metadata_bytes() + g.failed.len() + ahead
        });
        let kept = size_of::<Compiled>() - size_of::<Packed>() + self.packed.size();
        (kept, growing)
    }

    /// Whether what was saved in its passes is worth its entries so far.
    pub fn pays(&self) -> bool {
        let (entries, passed) = (u64::from(self.entries), u64::from(self.passed));
        self.entries < PAYS_WINDOW || passed * 16 >= entries * u64::from(self.packed.due)
    }

    /// Counts one entry; the average stays when there were many.
    #[inline(always)]
    fn count(&mut self, iterations: u64) {
        self.entries += 1;
        self.passed = self
            .passed
            .saturating_add(u32::try_from(iterations).unwrap_or(u32::MAX));
        if (self.entries | self.passed) >> 31 != 0 {
            (self.entries, self.passed) = (self.entries >> 1, self.passed >> 1);
        }
        self.used = true;
    }

    /// Counts one entry that was refused; the proportions stay when there were many.
    pub fn refuse(&mut self) {
        if self.refused == u16::MAX {
            (self.refused, self.entries, self.passed) = (self.refused / 2, self.entries / 2, self.passed / 2);
        }
        self.refused += 1;
    }

    #[inline(never)]
    fn slot(&self, frame: Frame, slot: Slot) -> Obj {
        in_slot(&self.packed, frame, slot)
    }

    /// Whether what lies outside the frame is as it was when the traces were recorded.
    #[inline(always)]
    unsafe fn holds(&self, frame: Frame, l: &Layout, tool: u8) -> bool {
        // SAFETY: types, functions and code that live as long as the tree.
        self.packed.conditions().all(|c| unsafe {
            match c {
                Condition::TypeVersion(t, version) => load::<u32>(t.0, l.type_version) == version,
                Condition::SharedNames(t, count) => shared_names(t, l) == Some(i64::from(count)),
                Condition::Code(f, code) => load::<usize>(f.0, l.func_code) == code.0 && !code_watched(code, tool, l),
                Condition::Unwatched(code) => !code_watched(code, tool, l),
                Condition::Globals(dict) => frame.globals() == dict,
                Condition::Module(o) => type_of(o).0 == &raw const ffi::PyModule_Type as usize,
            }
        })
    }

    /// Whether this was recorded in another namespace, of which it knew more than the names.
    #[cold]
    pub fn elsewhere(&self, frame: Frame) -> bool {
        let other = |c| matches!(c, Condition::Globals(dict) if dict != frame.globals());
        self.packed.conditions().any(other)
    }

    /// Checks the frame against the inputs and unboxes it into the buffer.
    ///
    /// # Safety
    /// GIL held; `frame` stands at this tree's head with the tree's depth.
    #[inline(always)]
    pub unsafe fn enter(&self, frame: Frame, engine: &Engine, ins: &Rc<[Ins]>, buffer: &mut Buffer) -> bool {
        let l = engine.layout;
        if !plain_namespaces(frame) || (self.packed.module_level() && frame.locals() != frame.globals()) {
            return false;
        }
        set_namespaces(frame, self.packed.spaces());
        // SAFETY: each field is read after the type that has it is established.
        unsafe {
            if !self.holds(frame, l, engine.tool) {
                return false;
            }
            let mut at = FIRST;
            // The code was compiled for as many words as the inputs have: the compiler refuses more than the buffer has.
            let mut put = |words: &[u64]| {
                for word in words {
                    debug_assert!(at < BUFFER_WORDS);
                    buffer.get_unchecked_mut(at).write(*word);
                    at += 1;
                }
            };
            let symbols = engine.symbols;
            let mut inputs = self.packed.inputs();
            for input in inputs.by_ref() {
                let ty = input.ty;
                if ty == input::SKIPPED {
                    put(&[0; 16][..usize::from(input.skipped)]);
                    continue;
                }
                let place = input.place.as_frame();
                let o = match place {
                    Some(index) => frame.get(index),
                    None => self.slot(frame, input.place.slot()),
                };
                if o.is_null() {
                    if ty == input::NULL {
                        continue;
                    }
                    return false;
                }
                if l.tagged_slots
                    && let Some(index) = o.as_position()
                {
                    if ty != input::POSITION {
                        return false;
                    }
                    put(&[index as u64]);
                    continue;
                }
                let t = type_of(o).0;
                // An iterator that somebody else holds must be seen to move.
                let alone = || refcount(o) == 1 && place.is_some_and(|i| !frame.borrows(i));
                match ty {
                    input::INT if t == &raw const ffi::PyLong_Type as usize => {
                        let Some(v) = int_value(o, l) else {
                            return false;
                        };
                        put(&[v as u64, o.0 as u64]);
                    }
                    input::FLOAT if t == &raw const ffi::PyFloat_Type as usize => {
                        put(&[load(o.0, l.float_value), o.0 as u64]);
                    }
                    input::BOOL if t == &raw const ffi::PyBool_Type as usize => {
                        put(&[u64::from(ptr(o) == ffi::Py_True())]);
                    }
                    input::PTR if t == input.object.0 => put(&[o.0 as u64]),
                    input::KNOWN if o == input.object => {}
                    input::RANGE_ITER if t == symbols.range_iter_type && alone() => {
                        put(&[
                            load(o.0, l.range_next),
                            load(o.0, l.range_step),
                            load(o.0, l.range_left),
                            o.0 as u64,
                        ]);
                    }
                    input::LIST_ITER | input::TUPLE_ITER | input::STR_ITER if alone() => {
                        let wanted = match ty {
                            input::LIST_ITER => symbols.list_iter_type,
                            input::TUPLE_ITER => symbols.tuple_iter_type,
                            _ => symbols.str_iter_type,
                        };
                        let on: u64 = if t == wanted { load(o.0, l.listiter_list) } else { 0 };
                        if on == 0 {
                            return false;
                        }
                        put(&[on, load(o.0, l.listiter_index), o.0 as u64]);
                    }
                    input::ENUMERATE | input::ZIP if alone() => match self.pair(frame, engine, ins, ty, o) {
                        Some(words) => put(&words),
                        None => return false,
                    },
                    _ => return false,
                }
            }
            for slot in inputs.overwritten() {
                if !self.may_be_overwritten(frame, slot, l) {
                    return false;
                }
            }
            true
        }
    }

    /// The words of an `enumerate` over a list, or of a `zip` of two, if it is one.
    ///
    /// # Safety
    /// As [`Compiled::enter`]; a live object.
    #[inline(never)]
    unsafe fn pair(&self, frame: Frame, engine: &Engine, ins: &Rc<[Ins]>, ty: u8, o: Obj) -> Option<[u64; 4]> {
        let live = Live {
            frame,
            engine,
            ins,
            examples: RefCell::default(),
        };
        // SAFETY: each is looked into after its type is established.
        unsafe {
            let t = type_of(o).0;
            if ty == input::ENUMERATE && t == engine.symbols.enumerate_type {
                let (count, list, index) = enumerate_parts(o, &live)?;
                Some([count as u64, list.0 as u64, index as u64, o.0 as u64])
            } else if ty == input::ZIP && t == engine.symbols.zip_type {
                let (a, b, index) = zip_parts(o, &live)?;
                Some([a.0 as u64, b.0 as u64, index as u64, o.0 as u64])
            } else {
                None
            }
        }
    }

    /// Whether dropping what a slot holds later than the program would is invisible.
    #[inline(never)]
    unsafe fn may_be_overwritten(&self, frame: Frame, slot: Slot, l: &Layout) -> bool {
        let o = self.slot(frame, slot);
        if o.is_null() {
            return true;
        }
        // SAFETY: a live object; the running frame.
        unsafe {
            is_leaf(type_of(o))
                || lasting_owners(&self.packed, frame, o, l).is_none_or(|owners| owners > 0)
                || may_go(o, l)
        }
    }

    /// Runs from the loop head, unit `header`, with a buffer that [`Compiled::enter`] has filled; the exit taken and the unit
    /// it leads to, after the frame was put right.
    ///
    /// # Safety
    /// GIL held; `frame` is the running frame, at this tree's head with the tree's depth; `log` is the release log the
    /// code was compiled for; the buffer's word for what is polled is set.
    #[inline(always)]
    pub unsafe fn run(
        &mut self,
        frame: Frame,
        l: &Layout,
        (arena, log): (&mut Arena, *const usize),
        buffer: &mut Buffer,
        row: Option<&mut Row>,
        header: u32,
    ) -> (usize, u32) {
        // SAFETY: the code was compiled for this tree; the buffer is as large as it expects.
        unsafe {
            buffer[LOGGED].write(0);
            let counters = self.packed.counters();
            // The word behind them counts too, in some trees.
            for at in counters.clone() {
                buffer[at].write(0);
            }
            buffer[counters.end].write(0);
            let entry = std::mem::transmute::<*const u8, Entry>(arena.entry());
            let code = arena.address(self.piece);
            set_running(frame, &self.packed);
            arena.enter();
            let left = entry(code, buffer.as_mut_ptr().add(ORIGIN).cast());
            let behind = counters.end;
            let (exit, forced) = ((left & !FORCED) as usize, left & FORCED != 0);
            arena.stop();
            // The last pass of the head may have left at once; it is the interpreter's.
            let passes = buffer[ITERATIONS].assume_init();
            let iterations = passes.saturating_sub(1);
            if !forced {
                self.count(iterations);
                self.packed.take(exit);
            }
            if let Some(row) = row {
                row.ran(exit, passes, buffer.get(counters).unwrap_or_default());
            }
            // Letting go may run code that runs traces, which use the log: it is emptied first.
            let logged = (buffer[LOGGED].assume_init() as usize).min(LOG_WORDS);
            let dropped = if logged == 0 { None } else { Some(emptied(log, logged)) };
            // What no pass has changed the frame has.
            let past = self
                .packed
                .past(passes, || buffer.get(behind).map_or(0, |w| w.assume_init()));
            let distance = restore(&self.packed, exit, past, frame, l, buffer);
            let mut pc = (header as usize).wrapping_add_signed(distance);
            if forced {
                pc = buffer[SCRATCH].assume_init() as usize;
            }
            frame.jump(pc);
            if let Some(dropped) = dropped {
                let_go(dropped);
            }
            // A forced exit grows nothing and leads to no other loop: as one at the head.
            (if forced { 0 } else { exit }, pc as u32)
        }
    }
}

/// What a trace has dropped for good, out of the log.
#[cold]
unsafe fn emptied(log: *const usize, count: usize) -> Vec<usize> {
    // SAFETY: the trace has written so many objects there, which nobody else holds.
    unsafe {
        let dropped = std::slice::from_raw_parts(log, count).to_vec();
        for o in &dropped {
            known_again(Obj(*o));
        }
        dropped
    }
}

#[cold]
unsafe fn let_go(dropped: Vec<usize>) {
    for o in dropped {
        // SAFETY: a reference the trace gave up; what the frame has by now is the collector's too.
        unsafe {
            known_again(Obj(o));
            decref(Obj(o));
        }
    }
}

/// Passes that pay for one entry, in sixteenths, from what entering and leaving does and what a pass saves.
fn due(tree: &Tree, code: &Code) -> u16 {
    // A loop whose passes go through an outer trace saves more in them than the root tells.
    let longest = tree.traces.iter().filter(|t| t.outer).map(|t| t.bytecodes).max();
    let bytecodes = longest.unwrap_or(0).max(tree.traces.first().map_or(0, |t| t.bytecodes));
    let number = |i: &larder_trace::ir::Input| matches!(i.ty, Type::Int | Type::Float | Type::Bool);
    let mut carried: Vec<u32> = tree.carried().iter().map(|c| c.0).collect();
    carried.dedup();
    let numbers = carried.iter().filter(|k| number(&tree.inputs[**k as usize]));
    let written = (overwritten(tree, code).len() + numbers.count()) as u64;
    let cost = ENTRY_NS + READ_NS * tree.inputs.len() as u64 + WRITTEN_NS * written;
    let saved = (u64::from(bytecodes) * BYTECODE_NS_TENTHS / 10).max(1);
    (cost * 16).div_ceil(saved).clamp(16, 1600) as u16
}

/// The object in a slot of the frame or under a name; null when there is none.
pub fn in_slot(packed: &Packed, frame: Frame, slot: Slot) -> Obj {
    match (slot.as_frame(), slot.as_name()) {
        (Some(index), _) => frame.get(index),
        (_, Some(index)) => {
            let name = packed.name(index);
            // SAFETY: plain dicts (checked at entry) and str keys.
            unsafe { lookup(namespace(frame, name.space), name.key) }
        }
        _ => Obj::NULL,
    }
}

/// Exact types whose objects die without anybody noticing.
pub fn is_leaf(t: Obj) -> bool {
    [
        &raw const ffi::PyLong_Type as usize,
        &raw const ffi::PyFloat_Type as usize,
        &raw const ffi::PyBool_Type as usize,
        &raw const ffi::PyUnicode_Type as usize,
        &raw const ffi::PyBytes_Type as usize,
    ]
    .contains(&t.0)
}
