//! Entering compiled loops and putting the frame right when they leave.
//!
//! Invariants
//!
//! - Native code changes no frame and no namespace, so up to [`restore`] they are as the loop head found them, and own
//!   what they held then.
//! - What a trace drops for good is in the release log, and dies after the frame is right again.
//! - Entering refuses a frame in which an overwritten slot holds the last reference to something that could notice
//!   its own death; so it makes no difference that old values die at the exit and not at the store.
//! - New objects are made first, then put in place, and old ones are released last.

use crate::attributes::shared_names;
use crate::frame::Frame;
use crate::helpers::{known_again, lasting_owners, may_go, set_namespaces, set_running};
use crate::hook::Engine;
use crate::object::{decref, incref, int_value, load, obj, ptr, refcount, store, type_of};
use crate::rows::Row;
use crate::world::{Live, enumerate_parts, lookup, namespace, plain_namespaces, zip_parts};
use larder_jit::lower::{BUFFER_WORDS, FIRST, FORCED, ITERATIONS, LOG_WORDS, LOGGED, ORIGIN, SCRATCH};
use larder_jit::packed::{Value, kind};
use larder_jit::{Arena, Packed, Piece};
use larder_trace::bytecode::Ins;
use larder_trace::ir::{Condition, Seq};
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
    pub fn new(tree: Tree, mut packed: Packed, piece: Piece) -> Compiled {
        let exits = tree.exits.len();
        packed.due = due(&tree, &packed);
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

    fn slot(&self, frame: Frame, slot: Slot) -> Obj {
        in_slot(&self.packed, frame, slot)
    }

    /// Whether what lies outside the frame is as it was when the traces were recorded.
    unsafe fn holds(&self, frame: Frame, l: &Layout) -> bool {
        // SAFETY: types and functions that the tree keeps alive.
        self.packed.conditions().all(|c| unsafe {
            match c {
                Condition::TypeVersion(t, version) => load::<u32>(t.0, l.type_version) == version,
                Condition::SharedNames(t, count) => shared_names(t, l) == Some(i64::from(count)),
                Condition::Code(f, code) => load::<usize>(f.0, l.func_code) == code.0,
                Condition::Globals(dict) => frame.globals() == dict,
            }
        })
    }

    /// Whether this was recorded in another namespace, of which it knew more than the names.
    pub fn elsewhere(&self, frame: Frame) -> bool {
        let other = |c| matches!(c, Condition::Globals(dict) if dict != frame.globals());
        self.packed.conditions().any(other)
    }

    /// Checks the frame against the inputs and unboxes it into the buffer.
    ///
    /// # Safety
    /// GIL held; `frame` stands at this tree's head with the tree's depth.
    pub unsafe fn enter(&self, frame: Frame, engine: &Engine, ins: &Rc<[Ins]>, buffer: &mut Buffer) -> bool {
        let l = engine.layout;
        if !plain_namespaces(frame) || (self.packed.module_level && frame.locals() != frame.globals()) {
            return false;
        }
        set_namespaces(frame, self.packed.spaces());
        let live = || Live {
            frame,
            engine,
            ins,
            examples: RefCell::default(),
        };
        // SAFETY: each field is read after the type that has it is established.
        unsafe {
            if !self.holds(frame, l) {
                return false;
            }
            let mut at = FIRST;
            let mut put = |words: &[u64]| {
                for word in words {
                    buffer[at].write(*word);
                    at += 1;
                }
            };
            for (slot, ty, write_only) in self.packed.inputs() {
                if write_only {
                    put(&[0; 4][..ty.components().len()]);
                    continue;
                }
                let o = self.slot(frame, slot);
                if o.is_null() {
                    if ty == Type::Null {
                        continue;
                    }
                    return false;
                }
                if let Some(index) = o.as_position() {
                    if ty != Type::Position {
                        return false;
                    }
                    put(&[index as u64]);
                    continue;
                }
                let t = type_of(o).0;
                match ty {
                    Type::Int if t == &raw const ffi::PyLong_Type as usize => match int_value(o, l) {
                        Some(v) => put(&[v as u64, o.0 as u64]),
                        None => return false,
                    },
                    Type::Float if t == &raw const ffi::PyFloat_Type as usize => {
                        put(&[load(o.0, l.float_value), o.0 as u64]);
                    }
                    Type::Bool if t == &raw const ffi::PyBool_Type as usize => {
                        put(&[u64::from(ptr(o) == ffi::Py_True())]);
                    }
                    Type::Ptr(want) if t == want.0 => put(&[o.0 as u64]),
                    Type::Known(want) if o == want => {}
                    // An iterator that somebody else holds must be seen to move.
                    _ if refcount(o) != 1 || slot.as_frame().is_none_or(|i| frame.borrows(i)) => return false,
                    Type::RangeIter if t == engine.symbols.range_iter_type => {
                        put(&[
                            load(o.0, l.range_next),
                            load(o.0, l.range_step),
                            load(o.0, l.range_left),
                            o.0 as u64,
                        ]);
                    }
                    Type::SeqIter(seq) => {
                        let wanted = match seq {
                            Seq::List => engine.symbols.list_iter_type,
                            Seq::Tuple => engine.symbols.tuple_iter_type,
                            Seq::Str => engine.symbols.str_iter_type,
                        };
                        let on: u64 = if t == wanted { load(o.0, l.listiter_list) } else { 0 };
                        if on == 0 {
                            return false;
                        }
                        put(&[on, load(o.0, l.listiter_index), o.0 as u64]);
                    }
                    Type::Enumerate if t == engine.symbols.enumerate_type => {
                        let Some((count, list, index)) = enumerate_parts(o, &live()) else {
                            return false;
                        };
                        put(&[count as u64, list.0 as u64, index as u64, o.0 as u64]);
                    }
                    Type::Zip if t == engine.symbols.zip_type => {
                        let Some((a, b, index)) = zip_parts(o, &live()) else {
                            return false;
                        };
                        put(&[a.0 as u64, b.0 as u64, index as u64, o.0 as u64]);
                    }
                    _ => return false,
                }
            }
            self.packed
                .overwritten()
                .all(|slot| self.may_be_overwritten(frame, slot, l))
        }
    }

    /// Whether dropping what a slot holds later than the program would is invisible.
    unsafe fn may_be_overwritten(&self, frame: Frame, slot: Slot, l: &Layout) -> bool {
        if slot.as_frame().is_some_and(|i| i >= self.packed.locals as usize) {
            return true; // stack entries are the trace's own inputs
        }
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

    /// Runs from the loop head with a buffer that [`Compiled::enter`] has filled; the exit taken and the unit it leads to,
    /// after the frame was put right.
    ///
    /// # Safety
    /// GIL held; `frame` is the running frame, at this tree's head with the tree's depth; `log` is the release log the
    /// code was compiled for; the buffer's word for what is polled is set.
    pub unsafe fn run(
        &mut self,
        frame: Frame,
        l: &Layout,
        arena: &mut Arena,
        log: *const usize,
        buffer: &mut Buffer,
        row: Option<&mut Row>,
    ) -> (usize, u32) {
        // SAFETY: the code was compiled for this tree; the buffer is as large as it expects.
        unsafe {
            buffer[LOGGED].write(0);
            let counters = self.packed.counters();
            for counter in &mut buffer[counters.clone()] {
                counter.write(0);
            }
            let entry = std::mem::transmute::<*const u8, Entry>(arena.entry());
            set_running(frame, &self.packed);
            arena.enter();
            let left = entry(arena.address(self.piece), buffer.as_mut_ptr().add(ORIGIN).cast());
            let (exit, forced) = ((left & !FORCED) as usize, left & FORCED != 0);
            arena.leave();
            // The last pass of the head may have left at once; it is the interpreter's.
            let passes = buffer[ITERATIONS].assume_init();
            let iterations = passes.saturating_sub(1);
            if !forced {
                self.count(iterations);
                self.packed.take(exit);
            }
            if let Some(row) = row {
                row.ran(exit, passes, &buffer[counters]);
            }
            // Letting go may run code that runs traces, which use the log: it is emptied first.
            let logged = (buffer[LOGGED].assume_init() as usize).min(LOG_WORDS);
            let dropped: Vec<usize> = match logged {
                0 => Vec::new(),
                _ => std::slice::from_raw_parts(log, logged).to_vec(),
            };
            for o in &dropped {
                known_again(Obj(*o));
            }
            // In the first pass, what earlier passes changed is nothing: the frame has it.
            let mut pc = restore(&self.packed, exit, passes <= 1, frame, l, buffer);
            if forced {
                pc = buffer[SCRATCH].assume_init() as usize;
            }
            frame.jump(pc);
            for o in dropped {
                decref(Obj(o));
            }
            // A forced exit grows nothing and leads to no other loop: as one at the head.
            (if forced { 0 } else { exit }, pc as u32)
        }
    }
}

/// Passes that pay for one entry, in sixteenths, from what entering and leaving does and what a pass saves.
fn due(tree: &Tree, packed: &Packed) -> u16 {
    // A loop whose passes go through an outer trace saves more in them than the root tells.
    let longest = tree.traces.iter().filter(|t| t.outer).map(|t| t.bytecodes).max();
    let bytecodes = longest.unwrap_or(0).max(tree.traces.first().map_or(0, |t| t.bytecodes));
    let number = |i: &larder_trace::ir::Input| matches!(i.ty, Type::Int | Type::Float | Type::Bool);
    let mut carried: Vec<u32> = tree.carried().iter().map(|c| c.0).collect();
    carried.dedup();
    let numbers = carried.iter().filter(|k| number(&tree.inputs[**k as usize]));
    let written = (packed.overwritten().count() + numbers.count()) as u64;
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

/// What tells numbers made at one exit apart, when several places hold them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    Shared(u64),
    Named(u64),
}

struct Restore<'a> {
    buffer: &'a Buffer,
    l: &'a Layout,
    made: Few<'a, (Identity, Obj)>,
    tuples: Vec<(u64, Obj)>,
}

impl Restore<'_> {
    /// A new reference to the object of a value.
    ///
    /// # Safety
    /// GIL held; objects named by the buffer are alive, and every word the exit names is written.
    #[inline]
    unsafe fn object(&mut self, v: &mut Value) -> Obj {
        // SAFETY: by contract; results are checked.
        unsafe {
            match v.kind {
                kind::INT => checked(ffi::PyLong_FromLongLong(v.word(self.buffer) as i64)),
                kind::FLOAT => checked(ffi::PyFloat_FromDouble(f64::from_bits(v.word(self.buffer)))),
                kind::SHARED_INT | kind::SHARED_FLOAT => self.shared(v),
                kind::BOOL => {
                    let yes = v.word(self.buffer) & 1 != 0;
                    borrowed(if yes { ffi::Py_True() } else { ffi::Py_False() } as u64)
                }
                kind::PTR => borrowed(v.word(self.buffer)),
                kind::KNOWN => borrowed(v.object().0 as u64),
                kind::NULL => Obj::NULL,
                kind::POSITION => Obj::position(v.word(self.buffer) as i64),
                kind::TUPLE => self.tuple(v),
                _ => self.iterator(v),
            }
        }
    }

    /// # Safety
    /// As [`Restore::object`].
    unsafe fn shared(&mut self, v: &mut Value) -> Obj {
        // SAFETY: by contract.
        unsafe {
            let (id, number, object) = (v.number(), v.word(self.buffer), v.word(self.buffer));
            let id = match object {
                0 => Identity::Shared(id),
                o if o & 1 == 0 => return borrowed(o),
                name => Identity::Named(name),
            };
            if let Some(m) = self.made.iter().find(|m| m.0 == id) {
                return borrowed(m.1.0 as u64);
            }
            let o = checked(if v.kind == kind::SHARED_FLOAT {
                ffi::PyFloat_FromDouble(f64::from_bits(number))
            } else {
                ffi::PyLong_FromLongLong(number as i64)
            });
            self.made.push((id, o));
            o
        }
    }

    /// # Safety
    /// As [`Restore::object`].
    unsafe fn tuple(&mut self, v: &mut Value) -> Obj {
        // SAFETY: by contract.
        unsafe {
            let (id, count) = (v.number(), v.number());
            let have = self.tuples.iter().find(|t| t.0 == id).map(|t| t.1);
            let tuple = have.unwrap_or_else(|| checked(ffi::PyTuple_New(count as ffi::Py_ssize_t)));
            for k in 0..count {
                let o = self.object(&mut v.item());
                if have.is_none() {
                    ffi::PyTuple_SetItem(ptr(tuple), k as ffi::Py_ssize_t, ptr(o));
                } else {
                    ffi::Py_DECREF(ptr(o)); // it is in the tuple already
                }
            }
            match have {
                Some(_) => borrowed(tuple.0 as u64),
                None => {
                    self.tuples.push((id, tuple));
                    tuple
                }
            }
        }
    }

    /// # Safety
    /// As [`Restore::object`].
    unsafe fn iterator(&mut self, v: &mut Value) -> Obj {
        let (kind, l) = (v.kind, self.l);
        // SAFETY: by contract; results are checked.
        unsafe {
            let mut word = || v.word(self.buffer);
            let w = [word(), word(), word()];
            match kind {
                kind::RANGE_ITER => {
                    let have = word();
                    let it = if have != 0 { borrowed(have) } else { new_range_iter() };
                    store(it.0, l.range_next, w[0]);
                    store(it.0, l.range_step, w[1]);
                    store(it.0, l.range_left, w[2]);
                    it
                }
                kind::RANGE => {
                    let [a, b, c] = w.map(|v| checked(ffi::PyLong_FromLongLong(v as i64)));
                    let range = &raw mut ffi::PyRange_Type as *mut ffi::PyObject;
                    let end = std::ptr::null_mut::<ffi::PyObject>();
                    let o = checked(ffi::PyObject_CallFunctionObjArgs(range, ptr(a), ptr(b), ptr(c), end));
                    for n in [a, b, c] {
                        ffi::Py_DECREF(ptr(n));
                    }
                    o
                }
                kind::ENUMERATE => {
                    let have = word();
                    let it = if have != 0 {
                        borrowed(have)
                    } else {
                        call_type("enumerate", &[w[1]])
                    };
                    store(it.0, l.enumerate_index, w[0]);
                    store(load::<usize>(it.0, l.enumerate_inner), l.listiter_index, w[2]);
                    it
                }
                kind::ZIP => {
                    let have = word();
                    let it = if have != 0 {
                        borrowed(have)
                    } else {
                        call_type("zip", &[w[0], w[1]])
                    };
                    let inner: usize = load(it.0, l.zip_inner);
                    for k in 0..2 {
                        store(load::<usize>(inner, l.tuple_items + 8 * k), l.listiter_index, w[2]);
                    }
                    it
                }
                _ => {
                    let it = match w[2] {
                        0 => checked(ffi::PyObject_GetIter(ptr(Obj(w[0] as usize)))),
                        have => borrowed(have),
                    };
                    store(it.0, l.listiter_index, w[1]);
                    it
                }
            }
        }
    }
}

/// `enumerate(list)` or `zip(list, list)`.
unsafe fn call_type(name: &str, args: &[u64]) -> Obj {
    // SAFETY: the types are there, the arguments are live lists.
    unsafe {
        let symbols = crate::object::symbols();
        let Ok(symbols) = symbols else { std::process::abort() };
        let ty = if name == "zip" {
            symbols.zip_type
        } else {
            symbols.enumerate_type
        };
        let ty = ty as *mut ffi::PyObject;
        let arg = |k: usize| args.get(k).map_or(std::ptr::null_mut(), |a| *a as *mut ffi::PyObject);
        let end = std::ptr::null_mut::<ffi::PyObject>();
        checked(ffi::PyObject_CallFunctionObjArgs(ty, arg(0), arg(1), end))
    }
}

/// Writes a number into the object that a local holds, if nothing else does and it is one for such a number: as if it had
/// died, and the new one had got its memory.
///
/// # Safety
/// GIL held; every other reference to the object that will be needed has been counted.
#[inline(always)]
unsafe fn reused(frame: Frame, index: usize, float: bool, word: u64, l: &Layout) -> bool {
    if l.tagged_slots {
        return false; // other slots may rely on this one without counting
    }
    let o = frame.get(index);
    // SAFETY: a live object, and the fields its type has.
    unsafe {
        if o.is_null() || refcount(o) != 1 {
            return false;
        }
        if float {
            let fits = type_of(o).0 == &raw const ffi::PyFloat_Type as usize;
            if fits {
                store(o.0, l.float_value, word);
            }
            return fits;
        }
        let number = word as i64;
        // One digit before and after, and not among the ints that exist once.
        let fits = type_of(o).0 == &raw const ffi::PyLong_Type as usize
            && load::<usize>(o.0, l.long_tag) < 16
            && number.unsigned_abs() < 1 << 30
            && !(-5..=l.long_single).contains(&number);
        if fits {
            store(o.0, l.long_tag, 8 | usize::from(number < 0) << 1);
            store(o.0, l.long_digits, number.unsigned_abs() as u32);
        }
        fits
    }
}

/// Writes a trace's state into the frame and its namespaces; where the exit leads.
unsafe fn restore(packed: &Packed, exit: usize, first: bool, frame: Frame, l: &Layout, buffer: &Buffer) -> usize {
    let locals = packed.locals as usize;
    let old_depth = frame.depth(locals);
    let (mut made, mut few, mut plain, mut gone) = (room(), room(), room(), room());
    let mut r = Restore {
        buffer,
        l,
        made: Few::new(&mut made),
        tuples: Vec::new(),
    };
    let mut fresh: Few<(Slot, Obj)> = Few::new(&mut few);
    // Numbers without an object, for locals.
    let mut numbers: Few<(usize, bool, u64)> = Few::new(&mut plain);
    // SAFETY: objects named by the buffer are alive: no object dies in a trace. New references are counted.
    unsafe {
        let (pc, depth) = packed.each(exit, first, |slot, value| match slot.as_frame() {
            Some(index) if index < locals && matches!(value.kind, kind::INT | kind::FLOAT) => {
                numbers.push((index, value.kind == kind::FLOAT, value.word(buffer)));
            }
            _ => fresh.push((slot, r.object(value))),
        });
        // All references to old objects are taken by now.
        for (index, float, word) in numbers.iter() {
            if !reused(frame, *index, *float, *word, l) {
                let made = if *float {
                    ffi::PyFloat_FromDouble(f64::from_bits(*word))
                } else {
                    ffi::PyLong_FromLongLong(*word as i64)
                };
                fresh.push((Slot::frame(*index), checked(made)));
            }
        }
        let mut old: Few<Obj> = Few::new(&mut gone);
        for (slot, o) in fresh.iter() {
            if let Some(index) = slot.as_frame() {
                let was = frame.put(index, *o);
                if index < locals + old_depth {
                    old.push(was);
                }
            }
        }
        for index in depth..old_depth {
            old.push(frame.owned(locals + index));
        }
        frame.set_depth(locals, depth);
        for (slot, o) in fresh.iter() {
            if let Some(index) = slot.as_name() {
                let name = packed.name(index);
                if ffi::PyDict_SetItem(ptr(namespace(frame, name.space)), ptr(name.key), ptr(*o)) != 0 {
                    std::process::abort(); // out of memory, with the frame half written
                }
                decref(*o);
            }
        }
        for o in old.iter().filter(|o| !o.is_null()) {
            decref(*o);
        }
        pc
    }
}

/// A list whose first items need no allocation: most exits write a handful of slots. Their room is the caller's, which
/// nobody clears.
struct Few<'a, T> {
    first: &'a mut Room<T>,
    count: usize,
    more: Vec<T>,
}

type Room<T> = [MaybeUninit<T>; 24];

#[inline(always)]
fn room<T: Copy>() -> Room<T> {
    [MaybeUninit::uninit(); 24]
}

impl<T: Copy> Few<'_, T> {
    #[inline(always)]
    fn new(first: &mut Room<T>) -> Few<'_, T> {
        Few {
            first,
            count: 0,
            more: Vec::new(),
        }
    }

    #[inline(always)]
    fn push(&mut self, item: T) {
        match self.first.get_mut(self.count) {
            Some(place) => {
                place.write(item);
                self.count += 1;
            }
            None => self.more.push(item),
        }
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: the first `count` were written.
        let first = self.first[..self.count]
            .iter()
            .map(|item| unsafe { item.assume_init_ref() });
        first.chain(&self.more)
    }
}

unsafe fn borrowed(word: u64) -> Obj {
    // SAFETY: a live object by the caller's word.
    unsafe { incref(Obj(word as usize)) };
    Obj(word as usize)
}

fn checked(p: *mut ffi::PyObject) -> Obj {
    if p.is_null() {
        std::process::abort(); // out of memory where Python could not be told
    }
    obj(p)
}

unsafe fn new_range_iter() -> Obj {
    // SAFETY: `iter(range(0))` with checked results; its fields are overwritten by the caller.
    unsafe {
        let zero = checked(ffi::PyLong_FromLongLong(0));
        let range = &raw mut ffi::PyRange_Type as *mut ffi::PyObject;
        let r = checked(ffi::PyObject_CallFunctionObjArgs(
            range,
            ptr(zero),
            std::ptr::null_mut::<ffi::PyObject>(),
        ));
        let it = checked(ffi::PyObject_GetIter(ptr(r)));
        ffi::Py_DECREF(ptr(r));
        ffi::Py_DECREF(ptr(zero));
        it
    }
}
