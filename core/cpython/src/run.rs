//! Entering compiled loops and putting the frame right when they leave.
//!
//! Invariants
//!
//! - Native code changes nothing but its buffer, so up to [`restore`] the frame is as the loop head found it.
//! - Entering refuses a frame in which an overwritten slot holds the last reference to something that could notice
//!   its own death; so it makes no difference that old values die at the exit and not at the store.
//! - New objects are made first, then put in place, and old ones are released last.

use crate::frame::{Frame, breaker};
use crate::object::{int_value, load, obj, ptr, refcount, store, type_of};
use crate::world::{lookup, namespace, plain_namespaces};
use larder_jit::lower::{BUFFER_WORDS, COUNTERS, FIRST, ITERATIONS, ORIGIN};
use larder_jit::packed::Exit;
use larder_jit::{Arena, Packed, Piece, Source};
use larder_trace::{Layout, Obj, Slot, Tree, Type, Val};
use pyo3::ffi;
use std::mem::MaybeUninit;

type Native = unsafe extern "C" fn(*mut u64, *const u32) -> u64;
pub type Buffer = [MaybeUninit<u64>; BUFFER_WORDS];

/// What a tree needs to grow: it goes when the tree settles.
pub struct Growth {
    pub tree: Tree,
    /// Failed attempts at a side trace, per exit.
    pub failed: Vec<u8>,
}

/// A tree with its machine code.
pub struct Compiled {
    pub packed: Packed,
    pub growth: Option<Box<Growth>>,
    pub piece: Piece,
    pub taken: Box<[u32]>,
    /// How often each trace ran, since that was last asked.
    pub runs: Box<[u64]>,
    pub entries: u64,
    pub refused: u64,
    /// Iterations since that was last asked, and entries.
    pub iterations: u64,
    pub entries_untold: u64,
    pub refused_untold: u64,
    /// Iterations in all.
    pub passed: u64,
    /// Entered since the last tick.
    pub used: bool,
}

impl Compiled {
    pub fn new(tree: Tree, packed: Packed, piece: Piece) -> Compiled {
        let exits = tree.exits.len();
        Compiled {
            packed,
            piece,
            taken: vec![0; exits].into(),
            runs: vec![0; tree.traces.len()].into(),
            growth: Some(Box::new(Growth {
                tree,
                failed: vec![0; exits],
            })),
            entries: 0,
            refused: 0,
            iterations: 0,
            entries_untold: 0,
            refused_untold: 0,
            passed: 0,
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
        let growing = growth.map_or(0, |g| size_of::<Growth>() + g.tree.metadata_bytes() + g.failed.len());
        let counters = size_of_val(&*self.taken) + size_of_val(&*self.runs);
        let kept = size_of::<Compiled>() - size_of::<Packed>() + self.packed.size() + counters;
        (kept, growing)
    }

    fn slot(&self, frame: Frame, slot: Slot) -> Obj {
        match (slot.as_frame(), slot.as_name()) {
            (Some(index), _) => frame.get(index),
            (_, Some(index)) => {
                let name = self.packed.name(index);
                // SAFETY: plain dicts (checked at entry) and str keys.
                unsafe { lookup(namespace(frame, name.space), name.key) }
            }
            _ => Obj::NULL,
        }
    }

    /// Checks the frame against the inputs and unboxes it into the buffer.
    ///
    /// # Safety
    /// GIL held; `frame` stands at this tree's head with the tree's depth.
    unsafe fn enter(&self, frame: Frame, l: &Layout, buffer: &mut Buffer) -> bool {
        if !plain_namespaces(frame) || (self.packed.module_level && frame.locals() != frame.globals()) {
            return false;
        }
        // SAFETY: each field is read after the type that has it is established.
        unsafe {
            let mut at = FIRST;
            let mut put = |words: &[u64]| {
                for word in words {
                    buffer[at].write(*word);
                    at += 1;
                }
            };
            for (slot, ty) in self.packed.inputs() {
                let o = self.slot(frame, slot);
                if o.is_null() {
                    if ty == Type::Null {
                        continue;
                    }
                    return false;
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
                    Type::RangeIter if is_range_iter(t) && refcount(o) == 1 => {
                        put(&[
                            load(o.0, l.range_next),
                            load(o.0, l.range_step),
                            load(o.0, l.range_left),
                            o.0 as u64,
                        ]);
                    }
                    Type::ListIter if is_list_iter(t) && refcount(o) == 1 => {
                        let list: u64 = load(o.0, l.listiter_list);
                        if list == 0 {
                            return false;
                        }
                        put(&[list, load(o.0, l.listiter_index), o.0 as u64]);
                    }
                    _ => return false,
                }
            }
            self.packed
                .overwritten()
                .all(|slot| self.may_be_overwritten(frame, slot))
        }
    }

    /// Whether dropping what a slot holds later than the program would is invisible.
    unsafe fn may_be_overwritten(&self, frame: Frame, slot: Slot) -> bool {
        if slot.as_frame().is_some_and(|i| i >= self.packed.locals as usize) {
            return true; // stack entries are the trace's own inputs
        }
        let o = self.slot(frame, slot);
        if o.is_null() {
            return true;
        }
        // SAFETY: a live object.
        let (t, count) = unsafe { (type_of(o).0, refcount(o)) };
        let leaf = [
            &raw const ffi::PyLong_Type as usize,
            &raw const ffi::PyFloat_Type as usize,
            &raw const ffi::PyBool_Type as usize,
            &raw const ffi::PyUnicode_Type as usize,
        ];
        if count < 0 || leaf.contains(&t) {
            return true;
        }
        let ours = self.packed.overwritten().filter(|s| self.slot(frame, *s) == o).count();
        count as usize > ours
    }

    /// Runs from the loop head; the exit taken, after the frame was put right, or none when the frame does not fit.
    ///
    /// # Safety
    /// GIL held; `frame` is the running frame, at this tree's head with the tree's depth.
    pub unsafe fn run(&mut self, frame: Frame, l: &Layout, arena: &mut Arena) -> Option<usize> {
        let mut buffer: Buffer = [MaybeUninit::uninit(); BUFFER_WORDS];
        // SAFETY: the code was compiled for this tree; the buffer is as large as it expects.
        unsafe {
            if !self.enter(frame, l, &mut buffer) {
                self.refused += 1;
                self.refused_untold += 1;
                return None;
            }
            buffer[ITERATIONS].write(0);
            for counter in &mut buffer[COUNTERS + 1..COUNTERS + self.runs.len()] {
                counter.write(0);
            }
            let native = std::mem::transmute::<*const u8, Native>(arena.address(self.piece));
            arena.enter();
            let exit = native(buffer.as_mut_ptr().add(ORIGIN).cast(), breaker(l)) as usize;
            arena.leave();
            // The last pass of the head may have left at once; it is the interpreter's.
            let passes = buffer[ITERATIONS].assume_init();
            let iterations = passes.saturating_sub(1);
            self.entries += 1;
            self.entries_untold += 1;
            self.iterations += iterations;
            self.passed += iterations;
            self.used = true;
            self.runs[0] += passes;
            for (runs, counter) in self.runs.iter_mut().zip(&buffer[COUNTERS..]).skip(1) {
                *runs += counter.assume_init();
            }
            self.taken[exit] = self.taken[exit].saturating_add(1);
            let to = self.packed.exit(exit);
            let (pc, depth) = (to.pc, to.depth);
            restore(&self.packed, to, frame, l, &buffer, depth);
            frame.jump(pc);
            Some(exit)
        }
    }
}

fn is_range_iter(t: usize) -> bool {
    crate::object::symbols().is_ok_and(|s| s.range_iter_type == t)
}

fn is_list_iter(t: usize) -> bool {
    crate::object::symbols().is_ok_and(|s| s.list_iter_type == t)
}

/// Writes a trace's state into the frame and its namespaces.
unsafe fn restore(packed: &Packed, to: Exit, frame: Frame, l: &Layout, buffer: &Buffer, depth: usize) {
    let locals = packed.locals as usize;
    let word = |s: Source| match s {
        // SAFETY: the exit's code wrote every word its map names.
        Source::Buffer(at) => unsafe { buffer[at as usize].assume_init() },
        Source::Const(v) => v as u64,
    };
    let old_depth = frame.depth(locals);
    // Numbers made at this exit, so that equal ones share an object; a trace never splits one object into two.
    let mut made: Vec<(bool, u64, Obj)> = Vec::new();
    let mut fresh: Vec<(Slot, Obj)> = Vec::with_capacity(16);
    // SAFETY: objects named by the buffer are alive: the trace changed nothing. New references are counted below.
    unsafe {
        for (slot, val, sources) in to.entries() {
            let w = [word(sources[0]), word(sources[1]), word(sources[2]), word(sources[3])];
            let o = match val {
                Val::Int { .. } | Val::Float { .. } => {
                    let float = matches!(val, Val::Float { .. });
                    if w[1] != 0 {
                        borrowed(w[1])
                    } else {
                        if let Some(index) = slot.as_frame().filter(|i| *i < locals + old_depth)
                            && same_number(frame.get(index), float, w[0], l)
                        {
                            continue;
                        }
                        match made.iter().find(|m| m.0 == float && m.1 == w[0]) {
                            Some(m) => borrowed(m.2.0 as u64),
                            None => {
                                let o = checked(if float {
                                    ffi::PyFloat_FromDouble(f64::from_bits(w[0]))
                                } else {
                                    ffi::PyLong_FromLongLong(w[0] as i64)
                                });
                                made.push((float, w[0], o));
                                o
                            }
                        }
                    }
                }
                Val::Bool(_) => borrowed(if w[0] & 1 != 0 { ffi::Py_True() } else { ffi::Py_False() } as u64),
                Val::Ptr(..) => borrowed(w[0]),
                Val::Known(o) => borrowed(o.0 as u64),
                Val::Null => Obj::NULL,
                Val::RangeIter { .. } => {
                    let it = if w[3] != 0 { borrowed(w[3]) } else { new_range_iter() };
                    store(it.0, l.range_next, w[0]);
                    store(it.0, l.range_step, w[1]);
                    store(it.0, l.range_left, w[2]);
                    it
                }
                Val::ListIter { .. } => {
                    let it = if w[2] != 0 {
                        borrowed(w[2])
                    } else {
                        checked(ffi::PyObject_GetIter(ptr(Obj(w[0] as usize))))
                    };
                    store(it.0, l.listiter_index, w[1]);
                    it
                }
                Val::Range { .. } => {
                    let [a, b, c] = [w[0], w[1], w[2]].map(|v| checked(ffi::PyLong_FromLongLong(v as i64)));
                    let range = &raw mut ffi::PyRange_Type as *mut ffi::PyObject;
                    let end = std::ptr::null_mut::<ffi::PyObject>();
                    let o = checked(ffi::PyObject_CallFunctionObjArgs(range, ptr(a), ptr(b), ptr(c), end));
                    for n in [a, b, c] {
                        ffi::Py_DECREF(ptr(n));
                    }
                    o
                }
            };
            fresh.push((slot, o));
        }
        let mut old: Vec<Obj> = Vec::with_capacity(fresh.len());
        for (slot, o) in &fresh {
            if let Some(index) = slot.as_frame() {
                let was = frame.put(index, *o);
                if index < locals + old_depth {
                    old.push(was);
                }
            }
        }
        for index in depth..old_depth {
            old.push(frame.get(locals + index));
        }
        frame.set_depth(locals, depth);
        for (slot, o) in &fresh {
            if let Some(index) = slot.as_name() {
                let name = packed.name(index);
                if ffi::PyDict_SetItem(ptr(namespace(frame, name.space)), ptr(name.key), ptr(*o)) != 0 {
                    std::process::abort(); // out of memory, with the frame half written
                }
                ffi::Py_DECREF(ptr(*o));
            }
        }
        for o in old {
            ffi::Py_XDECREF(ptr(o));
        }
    }
}

unsafe fn borrowed(word: u64) -> Obj {
    // SAFETY: a live object by the caller's word.
    unsafe { ffi::Py_INCREF(word as *mut ffi::PyObject) };
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

unsafe fn same_number(o: Obj, float: bool, word: u64, l: &Layout) -> bool {
    if o.is_null() {
        return false;
    }
    // SAFETY: fields are read after the type is known.
    unsafe {
        let t = type_of(o).0;
        if float {
            t == &raw const ffi::PyFloat_Type as usize && load::<u64>(o.0, l.float_value) == word
        } else {
            t == &raw const ffi::PyLong_Type as usize && int_value(o, l) == Some(word as i64)
        }
    }
}

/// `fn(int object, *mut i64) -> 1 or 0` for compiled code.
///
/// # Safety
/// A live int object, and room for the result.
pub unsafe extern "C" fn unbox_int(o: *mut ffi::PyObject, out: *mut i64) -> u64 {
    // SAFETY: by contract; the layout is the running interpreter's, or no code would have been compiled.
    unsafe {
        let Some(engine) = crate::hook::engine() else { return 0 };
        match int_value(obj(o), engine.layout) {
            Some(v) => {
                out.write(v);
                1
            }
            None => 0,
        }
    }
}
