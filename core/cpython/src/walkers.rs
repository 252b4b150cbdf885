//! Iterators that stay objects while a trace runs: how each keeps its place, and the steps of dicts and sets.
//!
//! Invariant: nothing here runs Python code or raises; what an iterator cannot do quietly is left to the interpreter.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::helpers::{int_hash, layout, readable, same_int, same_str, str_hash};
use crate::object::{Symbols, load, obj, ptr, store, symbols, type_of};
use crate::rows::attribute;
use larder_trace::record::{Gives, Walker};
use larder_trace::{Layout, Obj};
use pyo3::ffi;

// An iterator of a dict or set: what it walks along, how many that held at the start, how far it is; then a dict's
// has the pair it reuses, and last stands how many are left. The same in every version served.
const ON: usize = 16;
const USED: usize = 24;
const POSITION: usize = 32;
pub(crate) const DICT_LEFT: usize = 48;
pub(crate) const SET_LEFT: usize = 40;
// A set: how many it holds, the mask of its table, the table of keys with their hashes.
const SET_USED: usize = 24;
const SET_MASK: usize = 32;
const SET_TABLE: usize = 40;
/// A key table's count of entries.
const ENTRIES: usize = 24;
/// The answer when only the interpreter can tell.
const ODD: usize = 1;

/// How an iterator goes on; none for what is not followed.
///
/// # Safety
/// A live object.
pub unsafe fn walker(o: Obj, l: &Layout, symbols: &Symbols) -> Option<Walker> {
    // SAFETY: a live object has a type.
    let t = unsafe { type_of(o) }.0;
    let along = |down| Walker::Along {
        seq: l.listiter_list,
        index: l.listiter_index,
        down,
    };
    let gives = [Gives::Keys, Gives::Values, Gives::Items];
    if t == symbols.list_iter_type || t == symbols.tuple_iter_type || t == symbols.str_iter_type {
        Some(along(false))
    } else if t == symbols.reverse_iter_type {
        Some(along(true))
    } else if t == symbols.range_iter_type {
        Some(Walker::Range([l.range_next, l.range_step, l.range_left]))
    } else if t == symbols.enumerate_type {
        Some(Walker::Enumerate {
            count: l.enumerate_index,
            inner: l.enumerate_inner,
        })
    } else if t == symbols.zip_type {
        Some(Walker::Zip {
            size: l.zip_size,
            inner: l.zip_inner,
        })
    } else if t == symbols.set_iter_type {
        Some(Walker::Dict {
            dict: ON,
            gives: Gives::Keys,
        })
    } else {
        let (_, gives) = symbols.dict_iter_types.iter().zip(gives).find(|d| *d.0 == t)?;
        Some(Walker::Dict { dict: ON, gives })
    }
}

/// The entries of a key table: where they begin, how long each is, where in it the value stands, how many there are.
///
/// # Safety
/// GIL held; a live dict that is not split.
pub(crate) unsafe fn entries(dict: usize, l: &Layout) -> (usize, usize, usize, usize) {
    // SAFETY: a live dict that is not split.
    unsafe {
        let keys: usize = load(dict, l.dict_keys);
        let general = load::<u8>(keys, l.keys_kind) == 0;
        let (width, value) = if general { (24, 16) } else { (16, 8) };
        let first = keys + l.keys_indices + (1usize << load::<u8>(keys, l.keys_log_index));
        (first, width, value, load(keys, ENTRIES))
    }
}

/// Where what an iterator gives next is kept: the value's place, or behind the key of a set; 0 at the end.
///
/// # Safety
/// GIL held; a live iterator of a dict or set.
pub unsafe fn next(it: Obj, l: &Layout, symbols: &Symbols) -> usize {
    // SAFETY: the fields of such an iterator, and of what it walks along.
    unsafe {
        let on: usize = load(it.0, ON);
        if on == 0 {
            return ODD;
        }
        let mut at: usize = load(it.0, POSITION);
        let used: usize = load(it.0, USED);
        if type_of(it).0 == symbols.set_iter_type {
            if used != load::<usize>(on, SET_USED) {
                return ODD;
            }
            let (mask, table): (usize, usize) = (load(on, SET_MASK), load(on, SET_TABLE));
            let empty = |at| [0, symbols.set_dummy].contains(&load::<usize>(table, 16 * at));
            while at <= mask && empty(at) {
                at += 1;
            }
            return if at > mask { 0 } else { table + 16 * at + 8 };
        }
        if !readable(Obj(on), l) || used != load::<usize>(on, l.dict_used) {
            return ODD;
        }
        let (first, width, value, count) = entries(on, l);
        while at < count && load::<usize>(first, at * width + value) == 0 {
            at += 1;
        }
        match (at >= count, load::<i64>(it.0, DICT_LEFT)) {
            (true, _) => 0,
            (false, 0) => ODD,
            (false, _) => first + at * width + value,
        }
    }
}

pub(crate) unsafe extern "C" fn dict_next(it: *mut ffi::PyObject) -> usize {
    // SAFETY: a live iterator by the recorder's word; a trace runs.
    symbols().map_or(ODD, |symbols| unsafe { next(obj(it), layout(), symbols) })
}

pub(crate) unsafe extern "C" fn dict_step(it: *mut ffi::PyObject, place: usize) {
    let (it, l) = (it as usize, layout());
    // SAFETY: the place is what `dict_next` just gave for this iterator.
    unsafe {
        let on: usize = load(it, ON);
        let set = symbols().is_ok_and(|s| type_of(Obj(it)).0 == s.set_iter_type);
        let (at, left) = if set {
            ((place - 8 - load::<usize>(on, SET_TABLE)) / 16, SET_LEFT)
        } else {
            let (first, width, value, _) = entries(on, l);
            ((place - value - first) / width, DICT_LEFT)
        };
        store(it, POSITION, at + 1);
        store(it, left, load::<i64>(it, left) - 1);
    }
}

pub(crate) unsafe extern "C" fn dict_done(it: *mut ffi::PyObject) {
    // SAFETY: it walks along something that somebody else owns too: that was checked just now.
    unsafe {
        let on: usize = load(it as usize, ON);
        store(it as usize, ON, 0usize);
        ffi::Py_DECREF(on as *mut ffi::PyObject);
    }
}

/// A new iterator over a dict's keys, values or items; null without memory.
///
/// # Safety
/// GIL held; a live dict.
pub unsafe fn iterator(dict: Obj, gives: i64) -> *mut ffi::PyObject {
    // SAFETY: methods of an exact dict, whose results are checked.
    unsafe {
        let name = match gives {
            0 => return ffi::PyObject_GetIter(ptr(dict)),
            1 => c"values",
            _ => c"items",
        };
        let method = attribute(dict, name);
        if method.is_null() {
            return method;
        }
        let view = ffi::PyObject_CallNoArgs(method);
        ffi::Py_DECREF(method);
        if view.is_null() {
            return view;
        }
        let it = ffi::PyObject_GetIter(view);
        ffi::Py_DECREF(view);
        it
    }
}

pub(crate) unsafe extern "C" fn dict_iterator(dict: *mut ffi::PyObject, gives: i64) -> *mut ffi::PyObject {
    // SAFETY: a live dict; GIL held while a trace runs.
    let it = unsafe { iterator(obj(dict), gives) };
    if it.is_null() {
        std::process::abort(); // out of memory where Python could not be told
    }
    it
}

/// Whether a key is in a set; none when only Python can compare.
unsafe fn within(set: usize, hash: i64, same: impl Fn(Obj) -> Option<bool>) -> Option<bool> {
    const NEAR: usize = 9;
    // SAFETY: a live set; indices stay inside its table, which has a free place.
    unsafe {
        let (mask, table): (usize, usize) = (load(set, SET_MASK), load(set, SET_TABLE));
        let mut perturb = hash as usize;
        let mut i = perturb & mask;
        loop {
            let near = if i + NEAR <= mask { NEAR } else { 0 };
            for at in i..=i + near {
                let (key, their): (usize, i64) = (load(table, 16 * at), load(table, 16 * at + 8));
                if key == 0 && their == 0 {
                    return Some(false);
                }
                if their == hash && key != 0 && same(Obj(key))? {
                    return Some(true);
                }
            }
            perturb >>= 5;
            i = (i.wrapping_mul(5).wrapping_add(1).wrapping_add(perturb)) & mask;
        }
    }
}

/// Whether an int is in a set.
///
/// # Safety
/// GIL held; a live set.
pub unsafe fn set_has_int(set: Obj, key: i64, l: &Layout) -> Option<bool> {
    // SAFETY: keys of a set are live.
    unsafe { within(set.0, int_hash(key), |k| same_int(k, key, l)) }
}

/// Whether a string is in a set.
///
/// # Safety
/// GIL held; a live set and a live str.
pub unsafe fn set_has_str(set: Obj, key: Obj, l: &Layout) -> Option<bool> {
    // SAFETY: keys of a set are live; hashing and comparing exact strings runs no code.
    unsafe { within(set.0, str_hash(key, l), |k| same_str(k, key)) }
}

pub(crate) unsafe extern "C" fn set_int(set: *mut ffi::PyObject, key: i64) -> u64 {
    // SAFETY: a live set by the recorder's word.
    unsafe { set_has_int(obj(set), key, layout()) }.map_or(2, u64::from)
}

pub(crate) unsafe extern "C" fn set_str(set: *mut ffi::PyObject, key: *mut ffi::PyObject) -> u64 {
    // SAFETY: a live set and str by the recorder's word.
    unsafe { set_has_str(obj(set), obj(key), layout()) }.map_or(2, u64::from)
}

pub(crate) unsafe extern "C" fn set_add(set: *mut ffi::PyObject, key: *mut ffi::PyObject) {
    // SAFETY: the key was looked for just now, so nothing is compared that needs Python.
    if unsafe { ffi::PySet_Add(set, key) } != 0 {
        std::process::abort(); // out of memory where Python could not be told
    }
}
