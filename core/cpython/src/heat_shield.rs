//! GC shield: cold containers taken off the collector's lists, so that a collection does not touch their pages.
//!
//! A full collection visits every tracked container and so pulls everything demoted back in. Untracked containers are not
//! visited; whatever they refer to counts as referred to from outside, which is safe: it lives on.
//!
//! Invariants
//!
//! - Only exact lists, dicts, tuples, sets and frozensets are untracked: their own deallocation accepts that.
//! - An object is tracked again only after the interpreter says it is not; addresses are never kept between calls.
//! - While shielded, a cycle through these containers is not collected. Tracking them again ends that.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};

extern "C" fn visit(object: *mut ffi::PyObject, stack: *mut c_void) -> c_int {
    // SAFETY: `stack` is the exclusive borrow passed to tp_traverse below, handed through unchanged.
    let stack = unsafe { &mut *stack.cast::<Vec<*mut ffi::PyObject>>() };
    stack.push(object);
    0
}

/// Untracks (`on`) or tracks again the containers reachable from `root` through containers; returns how many changed.
///
/// At most `budget` containers are visited; the rest stays as it is.
pub fn shield(root: &Bound<'_, PyAny>, on: bool, budget: usize) -> usize {
    let py = root.py();
    let exact: Vec<*mut ffi::PyTypeObject> = vec![
        py.get_type::<PyList>().as_type_ptr(),
        py.get_type::<PyDict>().as_type_ptr(),
        py.get_type::<PyTuple>().as_type_ptr(),
        py.get_type::<PySet>().as_type_ptr(),
        py.get_type::<PyFrozenSet>().as_type_ptr(),
    ];
    // SAFETY: slot queries on built-in types; the slot is a traverseproc where it is not null.
    let traverse: Vec<Option<ffi::traverseproc>> = exact
        .iter()
        .map(|class| unsafe {
            let slot = ffi::PyType_GetSlot(*class, ffi::Py_tp_traverse);
            (!slot.is_null()).then(|| std::mem::transmute::<*mut c_void, ffi::traverseproc>(slot))
        })
        .collect();
    let mut seen: HashSet<usize> = HashSet::new();
    let mut stack = vec![root.as_ptr()];
    let mut changed = 0;
    // SAFETY: plain call of the stable C API under the GIL.
    let collecting = unsafe { ffi::PyGC_Disable() };
    while let Some(object) = stack.pop() {
        // SAFETY: reachable from `root`, which the caller holds; nothing runs here that could drop a reference.
        let class = unsafe { ffi::Py_TYPE(object) };
        let Some(index) = exact.iter().position(|other| *other == class) else {
            continue;
        };
        if seen.len() >= budget || !seen.insert(object as usize) {
            continue;
        }
        // SAFETY: a live container of an exact built-in type. Tracking is changed only when the interpreter's own
        // answer says that it is the other way round, under the GIL, with nothing in between.
        unsafe {
            let tracked = ffi::PyObject_GC_IsTracked(object) == 1;
            if on && tracked {
                ffi::PyObject_GC_UnTrack(object.cast());
                changed += 1;
            } else if !on && !tracked && ffi::PyObject_Size(object) > 0 {
                ffi::PyObject_GC_Track(object.cast());
                changed += 1;
            }
            if let Some(traverse) = traverse[index] {
                traverse(object, visit, (&raw mut stack).cast());
            }
        }
    }
    if collecting == 1 {
        // SAFETY: as above.
        unsafe { ffi::PyGC_Enable() };
    }
    changed
}
