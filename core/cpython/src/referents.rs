//! Who refers to what, as types' own `tp_traverse` tells the cyclic collector.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustc_hash::FxHashMap;

extern "C" fn visit(object: *mut ffi::PyObject, found: *mut c_void) -> c_int {
    // SAFETY: the exclusive borrow passed to tp_traverse below, handed through unchanged.
    unsafe { &mut *found.cast::<Vec<*mut ffi::PyObject>>() }.push(object);
    0
}

/// Of objects (`own`: address -> the address of whose it is) one that something among `parts` (address -> object) refers to
/// beside the one whose it is; directly or by way of tuples.
pub fn held_by_others(own: &HashMap<usize, usize>, parts: &Bound<'_, PyDict>) -> PyResult<Option<usize>> {
    let own: FxHashMap<usize, usize> = own.iter().map(|(at, owner)| (*at, *owner)).collect();
    let mut types: FxHashMap<usize, (u64, Option<ffi::traverseproc>)> = FxHashMap::default();
    let mut held: Vec<*mut ffi::PyObject> = Vec::new();
    let mut todo: Vec<*mut ffi::PyObject> = Vec::new();
    for (at, part) in parts.iter() {
        let at: usize = at.extract()?;
        todo.push(part.as_ptr());
        while let Some(object) = todo.pop() {
            // SAFETY: `part` is held, and so is what tuples below it hold; nothing runs Python code in here. The slot is a
            // traverseproc where it is not null, and is called as the collector does: not for types that are not on the heap.
            unsafe {
                let class = ffi::Py_TYPE(object);
                let (flags, traverse) = *types.entry(class as usize).or_insert_with(|| {
                    let flags = ffi::PyType_GetFlags(class) as u64;
                    let slot = ffi::PyType_GetSlot(class, ffi::Py_tp_traverse);
                    let known = flags & ffi::Py_TPFLAGS_HAVE_GC != 0 && !slot.is_null();
                    let traverse = known.then(|| std::mem::transmute::<*mut c_void, ffi::traverseproc>(slot));
                    (flags, traverse)
                });
                let Some(traverse) = traverse else { continue };
                if flags & ffi::Py_TPFLAGS_TYPE_SUBCLASS != 0
                    && ffi::PyType_GetFlags(object.cast()) as u64 & ffi::Py_TPFLAGS_HEAPTYPE == 0
                {
                    continue;
                }
                held.clear();
                traverse(object, visit, (&raw mut held).cast());
                for refers in &held {
                    if ffi::PyType_GetFlags(ffi::Py_TYPE(*refers)) as u64 & ffi::Py_TPFLAGS_TUPLE_SUBCLASS != 0 {
                        todo.push(*refers);
                    } else if own.get(&(*refers as usize)).is_some_and(|owner| *owner != at) {
                        return Ok(Some(*refers as usize));
                    }
                }
            }
        }
    }
    Ok(None)
}
