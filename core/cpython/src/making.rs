//! Lists, tuples and slices that machine code makes, and what may die without notice.
//!
//! Invariant: nothing here runs Python code, raises, or lets an object die that could notice.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::helpers::layout;
use crate::object::{load, obj, ptr, refcount, store, type_of};
use crate::run::is_leaf;
use larder_trace::{Layout, Obj};
use pyo3::ffi;

/// Items of a slice that is made in a trace, and of a list that may be overwritten at its exit: they are looked through,
/// and may be many before they are let go.
const SLICE_MAX: usize = 256;
/// Tuples in tuples that are looked through.
const DEEP: usize = 3;

fn is_list(t: Obj) -> bool {
    t.0 == &raw const ffi::PyList_Type as usize
}
fn is_tuple(t: Obj) -> bool {
    t.0 == &raw const ffi::PyTuple_Type as usize
}

/// Whether nobody could notice the death of an object: a number or string, one that lives for good, or a tuple of such.
///
/// # Safety
/// A live object.
pub unsafe fn is_quiet(o: Obj, l: &Layout) -> bool {
    // SAFETY: by contract; a tuple's items live with it.
    unsafe { quiet(o, l, DEEP) }
}

unsafe fn quiet(o: Obj, l: &Layout, deep: usize) -> bool {
    // SAFETY: by contract of `is_quiet`.
    unsafe {
        let t = type_of(o);
        if is_leaf(t) || refcount(o) < 0 {
            return true;
        }
        if !is_tuple(t) || deep == 0 {
            return false;
        }
        let size: usize = load(o.0, l.var_size);
        size <= SLICE_MAX && (0..size).all(|k| quiet(Obj(load(o.0, l.tuple_items + 8 * k)), l, deep - 1))
    }
}

/// Whether the last reference to an object may go later than the program lets it: it is quiet, or a short list of quiet
/// objects.
///
/// # Safety
/// A live object.
pub unsafe fn may_go(o: Obj, l: &Layout) -> bool {
    // SAFETY: by contract; a list's items live while nothing runs.
    unsafe {
        if !is_list(type_of(o)) {
            return is_quiet(o, l);
        }
        let (size, items): (usize, usize) = (load(o.0, l.var_size), load(o.0, l.list_items));
        size <= SLICE_MAX && (0..size).all(|k| is_quiet(Obj(load(items, 8 * k)), l))
    }
}

/// A container from the release log that somebody else holds too is one of the collector's again.
///
/// # Safety
/// A live object.
pub unsafe fn known_again(o: Obj) {
    // SAFETY: by contract; lists and tuples are the collector's objects.
    unsafe {
        let t = type_of(o);
        if (is_list(t) || is_tuple(t)) && refcount(o) > 1 && ffi::PyObject_GC_IsTracked(ptr(o)) == 0 {
            ffi::PyObject_GC_Track(ptr(o).cast());
        }
    }
}

/// Machine code cannot raise: without memory, the process ends.
fn untracked(p: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if p.is_null() {
        std::process::abort();
    }
    // SAFETY: a new container.
    unsafe { ffi::PyObject_GC_UnTrack(p.cast()) };
    p
}

pub(crate) unsafe extern "C" fn new_list(count: i64) -> *mut ffi::PyObject {
    // SAFETY: GIL held while a trace runs.
    untracked(unsafe { ffi::PyList_New(count as ffi::Py_ssize_t) })
}

pub(crate) unsafe extern "C" fn new_tuple(count: i64, quiet: u64) -> *mut ffi::PyObject {
    // SAFETY: GIL held while a trace runs; the collector does not run before the places are filled.
    let made = untracked(unsafe { ffi::PyTuple_New(count as ffi::Py_ssize_t) });
    if quiet == 0 {
        // SAFETY: it was just made unknown.
        unsafe { ffi::PyObject_GC_Track(made.cast()) };
    }
    made
}

/// As the interpreter makes it: an empty list that is extended.
pub(crate) unsafe extern "C" fn list_of(tuple: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a live tuple; GIL held.
    unsafe {
        let list = untracked(ffi::PyList_New(0));
        // As the interpreter extends it: with as much room.
        let same = ffi::PySequence_InPlaceConcat(list, tuple);
        if same.is_null() {
            std::process::abort();
        }
        ffi::Py_DECREF(same);
        list
    }
}

/// A new reference to a slice; null when it is long, or when it is not quiet.
///
/// # Safety
/// GIL held; a live list, tuple or str.
pub unsafe extern "C" fn slice(o: *mut ffi::PyObject, start: i64, stop: i64) -> *mut ffi::PyObject {
    let l = layout();
    // SAFETY: by contract; indices are cut to the length.
    unsafe {
        let t = type_of(obj(o));
        let (list, tuple) = (is_list(t), is_tuple(t));
        let size: i64 = load(o as usize, if list || tuple { l.var_size } else { l.str_length });
        let cut = |i: i64| (if i < 0 { i.saturating_add(size) } else { i }).clamp(0, size);
        let (start, stop) = (cut(start), cut(stop).max(cut(start)));
        if stop - start > SLICE_MAX as i64 {
            return std::ptr::null_mut();
        }
        let (from, to) = (start as ffi::Py_ssize_t, stop as ffi::Py_ssize_t);
        if !list && !tuple {
            let made = ffi::PyUnicode_Substring(o, from, to);
            return if made.is_null() { std::process::abort() } else { made };
        }
        let items = if list {
            load(o as usize, l.list_items)
        } else {
            o as usize + l.tuple_items
        };
        let item = |k: i64| Obj(load(items, 8 * k as usize));
        if !(start..stop).all(|k| is_quiet(item(k), l)) {
            return std::ptr::null_mut();
        }
        if tuple {
            let made = ffi::PyTuple_GetSlice(o, from, to);
            return if made.is_null() { std::process::abort() } else { made };
        }
        untracked(ffi::PyList_GetSlice(o, from, to))
    }
}

/// Stores the items of a list or tuple in place of a list's; the bounds are the halves of a number. The old ones go to the
/// release log. 0, with nothing done, when there are many, or one is not quiet.
pub(crate) unsafe extern "C" fn put_slice(
    list: *mut ffi::PyObject,
    from: *mut ffi::PyObject,
    bounds: i64,
    logged: *mut u64,
) -> u64 {
    let l = layout();
    // SAFETY: a live list, and a live list or tuple; old items live on in the log, which has room for them: the head has
    // seen to it that half of it is enough for all else.
    unsafe {
        let (old, new) = (crate::wholes::items(list), crate::wholes::items(from));
        let size = old.len() as i64;
        let cut = |i: i64| (if i < 0 { i + size } else { i }).clamp(0, size) as usize;
        let (start, stop) = (cut(bounds >> 32), cut(i64::from(bounds as i32)));
        let stop = stop.max(start);
        let old = old.get(start..stop).unwrap_or_default();
        let Some(engine) = crate::hook::engine() else {
            return 0;
        };
        let room = (*logged as usize + old.len()) * 2 <= engine.log.len();
        let many = old.len() > SLICE_MAX || new.len() > SLICE_MAX;
        if many || !room || !old.iter().chain(new).all(|o| is_quiet(*o, l)) {
            return 0;
        }
        for o in old {
            ffi::Py_INCREF(ptr(*o));
            if let Some(place) = engine.log.get_mut(*logged as usize) {
                *place = o.0;
                *logged += 1;
            }
        }
        if ffi::PyList_SetSlice(list, start as ffi::Py_ssize_t, stop as ffi::Py_ssize_t, from) != 0 {
            std::process::abort();
        }
        1
    }
}

/// Takes the last object out of a list, as `list.pop` does.
pub(crate) unsafe extern "C" fn pop(list: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let l = layout();
    // SAFETY: a live list that is not empty.
    unsafe {
        let size = load::<i64>(list as usize, l.var_size) - 1;
        let room: i64 = load(list as usize, l.list_allocated);
        let items: usize = load(list as usize, l.list_items);
        let o: usize = load(items, 8 * size as usize);
        if size > 0 && size >= room >> 1 {
            store(list as usize, l.var_size, size);
        } else {
            // The list shrinks, and lets go of what we hold.
            ffi::Py_INCREF(o as *mut ffi::PyObject);
            let (from, to) = (size as ffi::Py_ssize_t, size as ffi::Py_ssize_t + 1);
            if ffi::PyList_SetSlice(list, from, to, std::ptr::null_mut()) != 0 {
                std::process::abort();
            }
        }
        o as *mut ffi::PyObject
    }
}

pub(crate) unsafe extern "C" fn guard_quiet(o: *mut ffi::PyObject) -> u64 {
    // SAFETY: a live object.
    u64::from(unsafe { is_quiet(obj(o), layout()) })
}
