//! What machine code asks of a list or tuple as a whole: its smallest and largest item, and its sum.
//!
//! Invariant: nothing here runs Python code, raises, or lets an object die that somebody else knows.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::helpers::layout;
use crate::object::{int_value, load, obj, ptr, type_of};
use larder_trace::Obj;
use pyo3::ffi;
use std::cell::UnsafeCell;

struct Sums(UnsafeCell<(i64, f64)>);
// SAFETY: only touched with the GIL held.
unsafe impl Sync for Sums {}
static SUMS: Sums = Sums(UnsafeCell::new((0, 0.0)));

/// The items of a list or tuple.
pub(crate) unsafe fn items(o: *mut ffi::PyObject) -> &'static [Obj] {
    let l = layout();
    // SAFETY: a live list or tuple, which nothing changes while its items are looked at; an empty list has none.
    unsafe {
        let size: usize = load(o as usize, l.var_size);
        let list = type_of(obj(o)).0 == &raw const ffi::PyList_Type as usize;
        let first = if list {
            load(o as usize, l.list_items)
        } else {
            o as usize + l.tuple_items
        };
        if size == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(first as *const Obj, size)
        }
    }
}

/// The first item that none is better than, as the interpreter finds it; none when an item has no key.
fn first_best<K: Copy>(items: &[Obj], key: impl Fn(Obj) -> Option<K>, better: impl Fn(K, K) -> bool) -> Option<Obj> {
    let (first, rest) = items.split_first()?;
    let (mut best, mut best_key) = (*first, key(*first)?);
    for o in rest {
        let k = key(*o)?;
        if better(k, best_key) {
            (best, best_key) = (*o, k);
        }
    }
    Some(best)
}

/// The smallest or largest item, of those equal the first, borrowed; null unless all are ints of 64 bits (kind 0), floats (1)
/// or strings (2).
pub(crate) unsafe extern "C" fn best(o: *mut ffi::PyObject, largest: i64, kind: i64) -> usize {
    let l = layout();
    let (int, float, text) = (
        &raw const ffi::PyLong_Type as usize,
        &raw const ffi::PyFloat_Type as usize,
        &raw const ffi::PyUnicode_Type as usize,
    );
    // SAFETY: items of a live list or tuple; what is read of one is there by its type.
    let found = unsafe {
        let (items, is) = (items(o), |o: Obj, t: usize| (type_of(o).0 == t).then_some(o));
        let compare = |a: Obj, b: Obj| ffi::PyUnicode_Compare(ptr(a), ptr(b));
        match (kind, largest) {
            (0, 0) => first_best(items, |o| is(o, int).and_then(|o| int_value(o, l)), |a, b| a < b),
            (0, _) => first_best(items, |o| is(o, int).and_then(|o| int_value(o, l)), |a, b| a > b),
            (1, 0) => first_best(
                items,
                |o| is(o, float).map(|o| load::<f64>(o.0, l.float_value)),
                |a, b| a < b,
            ),
            (1, _) => first_best(
                items,
                |o| is(o, float).map(|o| load::<f64>(o.0, l.float_value)),
                |a, b| a > b,
            ),
            (_, 0) => first_best(items, |o| is(o, text), |a, b| compare(a, b) < 0),
            _ => first_best(items, |o| is(o, text), |a, b| compare(a, b) > 0),
        }
    };
    found.map_or(0, |o| o.0)
}

/// Where the sum of a list's or tuple's ints is; null when there are others, or when a sum needs more than 64 bits.
pub(crate) unsafe extern "C" fn sum_int(o: *mut ffi::PyObject) -> *const i64 {
    let (l, int) = (layout(), &raw const ffi::PyLong_Type as usize);
    let mut sum = 0i64;
    // SAFETY: items of a live list or tuple, ints when they are read as such; GIL held.
    unsafe {
        for o in items(o) {
            let value = if type_of(*o).0 == int { int_value(*o, l) } else { None };
            let Some(next) = value.and_then(|v| sum.checked_add(v)) else {
                return std::ptr::null();
            };
            sum = next;
        }
        (*SUMS.0.get()).0 = sum;
        &raw const (*SUMS.0.get()).0
    }
}

/// Where the sum of ints and floats is, as the interpreter's own `sum` adds them; null when that is no float, or when there are
/// others.
pub(crate) unsafe extern "C" fn sum_float(sum: *mut ffi::PyObject, o: *mut ffi::PyObject) -> *const f64 {
    let numbers = [
        &raw const ffi::PyLong_Type as usize,
        &raw const ffi::PyFloat_Type as usize,
    ];
    // SAFETY: a live list or tuple, and the built-in function, which runs no Python code for exact ints and floats.
    unsafe {
        if !items(o).iter().all(|o| numbers.contains(&type_of(*o).0)) {
            return std::ptr::null();
        }
        let given = ffi::PyObject_CallFunctionObjArgs(sum, o, std::ptr::null_mut::<ffi::PyObject>());
        if given.is_null() {
            ffi::PyErr_Clear();
            return std::ptr::null();
        }
        let float = type_of(obj(given)).0 == numbers[1];
        if float {
            (*SUMS.0.get()).1 = ffi::PyFloat_AsDouble(given);
        }
        ffi::Py_DECREF(given);
        if float {
            &raw const (*SUMS.0.get()).1
        } else {
            std::ptr::null()
        }
    }
}
