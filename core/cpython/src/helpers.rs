//! What machine code calls: making objects, looking into dicts, comparing strings, drawing random numbers.
//!
//! Invariant: nothing here runs Python code, raises, or lets an object die.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::frame::Frame;
use crate::making;
pub use crate::making::{is_quiet, known_again, may_go, slice};
use crate::object::{int_value, load, obj, ptr, store, type_of};
use crate::{texts, walkers, wholes};
use larder_jit::lower::{FITS, LOGGED, SCRATCH};
use larder_jit::{Helpers, Packed};
use larder_trace::record::Walker;
use larder_trace::{Layout, Obj};
use pyo3::ffi;
use std::cell::UnsafeCell;
use std::ffi::c_void;

/// The helpers' addresses, for the compiler.
pub fn table() -> Helpers {
    Helpers {
        unbox_int: unbox_int as *const () as usize,
        new_int: new_int as *const () as usize,
        new_float: new_float as *const () as usize,
        replace_int: replace_int as *const () as usize,
        replace_float: replace_float as *const () as usize,
        append: append as *const () as usize,
        dict_int: dict_int as *const () as usize,
        dict_str: dict_str as *const () as usize,
        dict_put: dict_put as *const () as usize,
        str_eq: str_eq as *const () as usize,
        str_cmp: str_cmp as *const () as usize,
        set_int: walkers::set_int as *const () as usize,
        set_str: walkers::set_str as *const () as usize,
        set_add: walkers::set_add as *const () as usize,
        bytes_cmp: bytes_cmp as *const () as usize,
        call_float: call_float as *const () as usize,
        gcd: gcd as *const () as usize,
        isqrt: isqrt as *const () as usize,
        random: random as *const () as usize,
        dict_next: walkers::dict_next as *const () as usize,
        dict_step: walkers::dict_step as *const () as usize,
        dict_done: walkers::dict_done as *const () as usize,
        dict_iterator: walkers::dict_iterator as *const () as usize,
        new_list: making::new_list as *const () as usize,
        new_tuple: making::new_tuple as *const () as usize,
        list_of: making::list_of as *const () as usize,
        slice: making::slice as *const () as usize,
        put_slice: making::put_slice as *const () as usize,
        best: wholes::best as *const () as usize,
        sum_int: wholes::sum_int as *const () as usize,
        sum_float: wholes::sum_float as *const () as usize,
        text_int: texts::of_int as *const () as usize,
        text_float: texts::of_float as *const () as usize,
        text_object: texts::of_object as *const () as usize,
        join: texts::join as *const () as usize,
        pop: making::pop as *const () as usize,
        quiet: making::guard_quiet as *const () as usize,
        held: held as *const () as usize,
        calls: [
            sin as *const () as usize,
            cos as *const () as usize,
            tan as *const () as usize,
            atan as *const () as usize,
            exp as *const () as usize,
            log as *const () as usize,
            float_mod as *const () as usize,
            float_floor as *const () as usize,
            pow as *const () as usize,
            atan2 as *const () as usize,
            hypot as *const () as usize,
        ],
    }
}

unsafe extern "C" {
    // The C library's, which CPython's math module calls too: the same bits.
    fn sin(x: f64) -> f64;
    fn cos(x: f64) -> f64;
    fn tan(x: f64) -> f64;
    fn atan(x: f64) -> f64;
    fn exp(x: f64) -> f64;
    fn log(x: f64) -> f64;
    fn pow(x: f64, y: f64) -> f64;
    fn atan2(x: f64, y: f64) -> f64;
    fn hypot(x: f64, y: f64) -> f64;
}

extern "C" fn float_mod(x: f64, y: f64) -> f64 {
    larder_trace::record::float_mod(x, y)
}

extern "C" fn float_floor(x: f64, y: f64) -> f64 {
    larder_trace::record::float_floor(x, y)
}

/// Machine code cannot raise: without memory for a number, the process ends.
fn checked(p: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if p.is_null() {
        std::process::abort();
    }
    p
}

unsafe extern "C" fn new_int(v: i64) -> *mut ffi::PyObject {
    // SAFETY: GIL held while a trace runs.
    checked(unsafe { ffi::PyLong_FromLongLong(v) })
}

unsafe extern "C" fn new_float(v: f64) -> *mut ffi::PyObject {
    // SAFETY: GIL held while a trace runs.
    checked(unsafe { ffi::PyFloat_FromDouble(v) })
}

/// Lets a reference to a number go; the last one goes to the release log.
unsafe fn release(old: *mut ffi::PyObject, logged: *mut u64) {
    // SAFETY: a live object whose owner gives it up; the log has room for what one pass releases.
    unsafe {
        if crate::object::refcount(obj(old)) != 1 {
            ffi::Py_DECREF(old);
            return;
        }
        // Without a place in the log it would stay alive: nothing dies in a trace.
        if let Some(place) = crate::hook::engine().and_then(|engine| engine.log.get_mut(*logged as usize)) {
            *place = old as usize;
            *logged += 1;
        }
    }
}

/// What the helpers that keep registers know of the buffer: they are given the address of its word `LOGGED`.
const RESULT: usize = LOGGED - SCRATCH;

unsafe extern "C" fn replace_int(old: *mut ffi::PyObject, v: i64, logged: *mut u64) {
    // SAFETY: as `new_int` and `release`; the result's word lies before the counter.
    unsafe {
        let new = new_int(v);
        release(old, logged);
        logged.sub(RESULT).write(new as u64);
    }
}

/// The caller writes the number.
unsafe extern "C" fn replace_float(old: *mut ffi::PyObject, logged: *mut u64) {
    // SAFETY: as `new_float` and `release`; the result's word lies before the counter.
    unsafe {
        let new = new_float(0.0);
        release(old, logged);
        logged.sub(RESULT).write(new as u64);
    }
}

unsafe extern "C" fn append(list: *mut ffi::PyObject, o: *mut ffi::PyObject) {
    // SAFETY: a live list, and an object the caller gives away: the list takes its own reference.
    unsafe {
        if ffi::PyList_Append(list, o) != 0 {
            std::process::abort();
        }
        ffi::Py_DECREF(o);
    }
}

pub(crate) fn layout() -> &'static Layout {
    // SAFETY: a trace runs, so the engine is there, and nobody holds a reference into it.
    unsafe { crate::hook::engine() }.map_or_else(|| std::process::abort(), |e| e.layout)
}

/// The value, and whether it fits, to the buffer, of which this is the word `SCRATCH`.
unsafe extern "C" fn unbox_int(o: *mut ffi::PyObject, out: *mut i64) {
    // SAFETY: a live int object, and the buffer of the trace that runs.
    unsafe {
        let value = int_value(obj(o), layout());
        out.write(value.unwrap_or(0));
        out.sub(SCRATCH - FITS).write(i64::from(value.is_some()));
    }
}

/// The dicts whose names the running trace keeps in registers: looking into them would find old values.
struct Namespaces(UnsafeCell<[usize; 2 + OTHERS]>);
/// Dicts of other modules; a trace that knows more of them is not entered.
pub const OTHERS: usize = 6;
// SAFETY: only touched with the GIL held.
unsafe impl Sync for Namespaces {}
static NAMESPACES: Namespaces = Namespaces(UnsafeCell::new([0; 2 + OTHERS]));

/// A trace is about to run, or to be recorded, for this frame.
#[inline(always)]
pub fn set_namespaces(frame: Frame, others: impl Iterator<Item = Obj>) {
    // SAFETY: called with the GIL held; nobody holds a reference to the array.
    unsafe {
        let [globals, builtins, rest @ ..] = &mut *NAMESPACES.0.get();
        (*globals, *builtins) = (frame.globals().0, frame.builtins().0);
        rest.fill(0);
        for (place, dict) in rest.iter_mut().zip(others) {
            *place = dict.0;
        }
    }
}

/// The frame a trace runs for, and what is known of its tree.
struct Running(UnsafeCell<Option<(Frame, *const Packed)>>);
// SAFETY: only touched with the GIL held.
unsafe impl Sync for Running {}
static RUNNING: Running = Running(UnsafeCell::new(None));

/// A trace is about to run for this frame.
#[inline]
pub fn set_running(frame: Frame, packed: &Packed) {
    // SAFETY: called with the GIL held; nobody holds a reference to it.
    unsafe { *RUNNING.0.get() = Some((frame, &raw const *packed)) };
}

/// How often an iterator holds an object, itself or in those within it. Those of dicts let go in the trace that comes to
/// their end, where a variable that the trace has overwritten must not count as the owner that is left.
unsafe fn holds(it: Obj, o: Obj, l: &Layout, deep: usize) -> i32 {
    // SAFETY: a live object, and the fields its walker names.
    unsafe {
        let Ok(symbols) = crate::object::symbols() else {
            return 0;
        };
        // The stack of 3.15 has positions too, which are no objects.
        if it.0 == 0 || deep == 0 || it.as_position().is_some() {
            return 0;
        }
        match walkers::walker(it, l, symbols) {
            Some(Walker::Along { seq, .. }) => i32::from(load::<usize>(it.0, seq) == o.0),
            Some(Walker::Dict { dict, .. }) => i32::from(load::<usize>(it.0, dict) == o.0),
            Some(Walker::Enumerate { inner, .. }) => holds(Obj(load(it.0, inner)), o, l, deep - 1),
            Some(Walker::Zip { size, inner }) => {
                let (count, tuple): (usize, usize) = (load(it.0, size), load(it.0, inner));
                let within = |k: usize| holds(Obj(load(tuple, l.tuple_items + 8 * k)), o, l, deep - 1);
                (0..count).map(within).sum()
            }
            _ => 0,
        }
    }
}

/// How many owners an object has beside the places of the frame that the trace overwrites and what is on the stack, iterators
/// included: what those hold may be gone for the program before it is gone from the frame. `None` if it never dies.
///
/// # Safety
/// GIL held; the running frame, at the tree's head; a live object.
pub unsafe fn lasting_owners(packed: &Packed, frame: Frame, o: Obj, l: &Layout) -> Option<i32> {
    // SAFETY: by contract; what lies in the frame is live.
    unsafe {
        let count = crate::object::refcount(o);
        if count < 0 {
            return None;
        }
        let locals = packed.locals();
        let places = packed.overwritten();
        let stale = places
            .filter(|slot| crate::run::in_slot(packed, frame, *slot) == o)
            .count();
        let entries = (0..frame.depth(locals)).map(|at| frame.get(locals + at));
        let passing: i32 = entries.map(|it| i32::from(it == o) + holds(it, o, l, 4)).sum();
        Some(count - stale as i32 - passing)
    }
}

/// Whether an object has more owners than these that last.
unsafe extern "C" fn held(o: *mut ffi::PyObject, owners: i64) -> u64 {
    // SAFETY: a trace runs, so the frame and the tree are there; objects in the frame are live.
    unsafe {
        let Some((frame, packed)) = *RUNNING.0.get() else {
            return 0;
        };
        let lasting = lasting_owners(&*packed, frame, obj(o), layout());
        u64::from(lasting.is_none_or(|n| i64::from(n) > owners))
    }
}

/// Whether a dict can be looked into: not split, nobody watches it, and no register knows better.
///
/// # Safety
/// GIL held; a live dict.
pub unsafe fn readable(dict: Obj, l: &Layout) -> bool {
    // SAFETY: a live dict; the GIL is held.
    unsafe {
        load::<usize>(dict.0, l.dict_values) == 0
            && load::<u8>(dict.0, l.dict_watchers) == 0
            && !(*NAMESPACES.0.get()).contains(&dict.0)
    }
}

/// Where a dict keeps the value of a key: null when there is none, `None` when only Python can compare, or when somebody
/// wants to be told of changes.
///
/// # Safety
/// `dict` is a live dict; `same` is asked about live keys of equal hash.
unsafe fn find(dict: Obj, hash: i64, l: &Layout, same: impl Fn(Obj) -> Option<bool>) -> Option<Obj> {
    // SAFETY: the fields of a dict's key table, as the layout says; indices lie inside the table by its own invariant.
    unsafe {
        if !readable(dict, l) {
            return None;
        }
        let keys: usize = load(dict.0, l.dict_keys);
        let (size, index) = (load::<u8>(keys, l.keys_log_size), load::<u8>(keys, l.keys_log_index));
        let general = load::<u8>(keys, l.keys_kind) == 0;
        let mask = (1usize << size) - 1;
        let entries = keys + l.keys_indices + (1usize << index);
        let (width, at_key) = if general { (24, 8) } else { (16, 0) };
        let mut perturb = hash as usize;
        let mut i = perturb & mask;
        loop {
            let slots = keys + l.keys_indices;
            let ix: i64 = match size {
                0..8 => i64::from(load::<i8>(slots, i)),
                8..16 => i64::from(load::<i16>(slots, 2 * i)),
                16..32 => i64::from(load::<i32>(slots, 4 * i)),
                _ => load::<i64>(slots, 8 * i),
            };
            if ix == -1 {
                return Some(Obj::NULL);
            }
            if ix >= 0 {
                let entry = entries + ix as usize * width;
                let key: Obj = Obj(load(entry, at_key));
                let their_hash: i64 = if general {
                    load(entry, 0)
                } else {
                    load(key.0, l.str_hash)
                };
                if their_hash == hash && same(key)? {
                    return Some(Obj(entry + at_key + 8));
                }
            }
            perturb >>= 5;
            i = (i.wrapping_mul(5).wrapping_add(perturb).wrapping_add(1)) & mask;
        }
    }
}

/// Hash of an int, as CPython has it: modulo 2^61 - 1, never -1.
pub(crate) fn int_hash(v: i64) -> i64 {
    let h = (v.unsigned_abs() % ((1 << 61) - 1)) as i64;
    let h = if v < 0 { -h } else { h };
    if h == -1 { -2 } else { h }
}

/// # Safety
/// A live dict.
pub unsafe fn find_int(dict: Obj, key: i64, l: &Layout) -> Option<Obj> {
    // SAFETY: keys are live objects.
    unsafe { find(dict, int_hash(key), l, |k| same_int(k, key, l)) }
}

/// Whether a key of equal hash is this int; none when only Python can compare.
///
/// # Safety
/// A live object.
pub(crate) unsafe fn same_int(k: Obj, key: i64, l: &Layout) -> Option<bool> {
    // SAFETY: a live object has a type; an int has a value.
    unsafe {
        let t = type_of(k).0;
        if t == &raw const ffi::PyLong_Type as usize {
            Some(int_value(k, l) == Some(key))
        } else if t == &raw const ffi::PyUnicode_Type as usize {
            Some(false)
        } else {
            None
        }
    }
}

/// The same for a string.
///
/// # Safety
/// A live object and a live str.
pub(crate) unsafe fn same_str(k: Obj, key: Obj) -> Option<bool> {
    // SAFETY: comparing exact strings runs no code.
    unsafe {
        let t = type_of(k).0;
        if k == key {
            Some(true)
        } else if t == &raw const ffi::PyUnicode_Type as usize {
            Some(ffi::PyUnicode_Compare(ptr(k), ptr(key)) == 0)
        } else if t == &raw const ffi::PyLong_Type as usize {
            Some(false)
        } else {
            None
        }
    }
}

/// # Safety
/// A live str.
pub(crate) unsafe fn str_hash(key: Obj, l: &Layout) -> i64 {
    // SAFETY: hashing an exact string runs no code.
    unsafe {
        match load::<i64>(key.0, l.str_hash) {
            -1 => ffi::PyObject_Hash(ptr(key)) as i64,
            h => h,
        }
    }
}

/// # Safety
/// A live dict and a live str.
pub unsafe fn find_str(dict: Obj, key: Obj, l: &Layout) -> Option<Obj> {
    // SAFETY: hashing and comparing exact strings runs no code.
    unsafe { find(dict, str_hash(key, l), l, |k| same_str(k, key)) }
}

unsafe extern "C" fn dict_int(dict: *mut ffi::PyObject, key: i64) -> usize {
    // SAFETY: a live dict.
    unsafe { find_int(obj(dict), key, layout()) }.map_or(1, |o| o.0)
}

unsafe extern "C" fn dict_str(dict: *mut ffi::PyObject, key: *mut ffi::PyObject) -> usize {
    // SAFETY: a live dict and str.
    unsafe { find_str(obj(dict), obj(key), layout()) }.map_or(1, |o| o.0)
}

unsafe extern "C" fn dict_put(dict: *mut ffi::PyObject, key: *mut ffi::PyObject, value: *mut ffi::PyObject) {
    // SAFETY: the key is there already, so nothing is compared that was not compared before.
    if unsafe { ffi::PyDict_SetItem(dict, key, value) } != 0 {
        std::process::abort();
    }
}

unsafe extern "C" fn str_eq(a: *mut ffi::PyObject, b: *mut ffi::PyObject) -> u64 {
    if a == b {
        return 1;
    }
    // SAFETY: live strings.
    unsafe {
        let l = layout();
        if load::<usize>(a as usize, l.str_length) != load::<usize>(b as usize, l.str_length) {
            return 0;
        }
        u64::from(ffi::PyUnicode_Compare(a, b) == 0)
    }
}

unsafe extern "C" fn str_cmp(a: *mut ffi::PyObject, b: *mut ffi::PyObject) -> i64 {
    // SAFETY: live strings.
    i64::from(unsafe { ffi::PyUnicode_Compare(a, b) })
}

/// # Safety
/// Live bytes objects.
pub unsafe fn compare_bytes(a: Obj, b: Obj, l: &Layout) -> i64 {
    // SAFETY: the data of a bytes object lies in it.
    unsafe {
        let data = |o: Obj| std::slice::from_raw_parts((o.0 + l.bytes_data) as *const u8, load(o.0, l.var_size));
        data(a).cmp(data(b)) as i64
    }
}

unsafe extern "C" fn bytes_cmp(a: *mut ffi::PyObject, b: *mut ffi::PyObject) -> i64 {
    // SAFETY: live bytes objects by the recorder's word.
    unsafe { compare_bytes(obj(a), obj(b), layout()) }
}

/// A function of the math module, of one float or two; not a number when it raises or gives something else.
///
/// # Safety
/// GIL held; such a function.
pub unsafe extern "C" fn call_float(f: *mut ffi::PyObject, x: f64, y: f64, count: i64) -> f64 {
    // SAFETY: results are checked; such functions run no Python code.
    unsafe {
        let a = checked(ffi::PyFloat_FromDouble(x));
        let b = if count > 1 {
            checked(ffi::PyFloat_FromDouble(y))
        } else {
            std::ptr::null_mut()
        };
        let end = std::ptr::null_mut::<ffi::PyObject>();
        let given = ffi::PyObject_CallFunctionObjArgs(f, a, b, end);
        ffi::Py_DECREF(a);
        ffi::Py_XDECREF(b);
        if given.is_null() {
            ffi::PyErr_Clear();
            return f64::NAN;
        }
        let float = type_of(obj(given)).0 == &raw const ffi::PyFloat_Type as usize;
        let v = if float { ffi::PyFloat_AsDouble(given) } else { f64::NAN };
        ffi::Py_DECREF(given);
        v
    }
}

extern "C" fn gcd(a: i64, b: i64) -> i64 {
    larder_trace::record::gcd(a, b)
}

extern "C" fn isqrt(v: i64) -> i64 {
    v.max(0).isqrt()
}

const WORDS: usize = 624;

/// The next 32 bits of a generator: the Mersenne twister, whose state the object holds.
unsafe fn next_word(state: usize, index: usize) -> u32 {
    // SAFETY: a generator's index and its 624 words.
    unsafe {
        let word = |k: usize| load::<u32>(state, 4 * k);
        let mut at: i32 = load(index, 0);
        if at as usize >= WORDS {
            let mix = |a: u32, b: u32| {
                let y = (a & 0x8000_0000) | (b & 0x7fff_ffff);
                (y >> 1) ^ if y & 1 != 0 { 0x9908_b0df } else { 0 }
            };
            for k in 0..WORDS {
                let v = word((k + 397) % WORDS) ^ mix(word(k), word((k + 1) % WORDS));
                store(state, 4 * k, v);
            }
            at = 0;
        }
        let mut y = word(at as usize);
        store(index, 0, at + 1);
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }
}

unsafe extern "C" fn random(generator: *mut ffi::PyObject) -> f64 {
    let (l, o) = (layout(), generator as usize);
    let (state, index) = (o + l.random_state, o + l.random_index);
    // SAFETY: a live generator, whose type was checked when the trace was recorded.
    let (a, b) = unsafe { (next_word(state, index) >> 5, next_word(state, index) >> 6) };
    (f64::from(a) * 67_108_864.0 + f64::from(b)) * (1.0 / 9_007_199_254_740_992.0)
}

/// The strings of the characters 0 to 255, which exist once.
pub fn characters() -> Result<Box<[usize; 256]>, String> {
    let mut table = Box::new([0usize; 256]);
    for (c, place) in table.iter_mut().enumerate() {
        // SAFETY: GIL held; the interpreter keeps these strings for good.
        let s = unsafe {
            let one: [u8; 1] = [c as u8];
            ffi::PyUnicode_DecodeLatin1(one.as_ptr().cast(), 1, std::ptr::null())
        };
        if s.is_null() {
            return Err("no memory for strings".into());
        }
        *place = s as usize;
    }
    Ok(table)
}

/// Whether an object is the bound `random` of a generator of the `_random` module, given another such method.
///
/// # Safety
/// Live objects; `known` is a built-in method or null.
pub unsafe fn generator_of(o: Obj, known: Obj, l: &Layout) -> Obj {
    // SAFETY: the fields of built-in functions, once the type is known.
    unsafe {
        if known.is_null() || type_of(o) != type_of(known) {
            return Obj::NULL;
        }
        let same = load::<*const c_void>(o.0, l.builtin_def) == load::<*const c_void>(known.0, l.builtin_def);
        if same {
            Obj(load(o.0, l.builtin_self))
        } else {
            Obj::NULL
        }
    }
}
