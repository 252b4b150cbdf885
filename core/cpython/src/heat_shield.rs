//! GC shield: cold containers taken off the collector's lists, so that a collection does not touch their pages.
//!
//! A full collection visits every tracked container and so pulls everything demoted back in. Untracked containers are not
//! visited; whatever they refer to counts as referred to from outside, which is safe: it lives on.
//!
//! Invariants
//!
//! - Only types are untracked whose deallocation accepts that: exact lists, dicts, tuples, sets, frozensets, `deque`,
//!   `defaultdict` and `OrderedDict`, and instances of classes written in Python on top of these or of `object`. All of them
//!   begin with `PyObject_GC_UnTrack`, which does nothing where there is nothing to do.
//! - An object is tracked again only after the interpreter says it is not; addresses are never kept between calls.
//! - While shielded, a cycle through these containers is not collected. Tracking them again ends that.

use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple, PyType};

use crate::heat_layout::{Layout, refer};
use crate::heat_live::without_collector;

const HAVE_GC: u64 = 1 << 14;
const HEAP_TYPE: u64 = 1 << 9;

extern "C" fn visit(object: *mut ffi::PyObject, stack: *mut c_void) -> c_int {
    // SAFETY: `stack` is the exclusive borrow passed to tp_traverse below, handed through unchanged.
    let stack = unsafe { &mut *stack.cast::<Vec<*mut ffi::PyObject>>() };
    stack.push(object);
    0
}

#[derive(Clone, Copy)]
struct Sort {
    traverse: ffi::traverseproc,
    /// Whether instances have values inline, and so perhaps a dict that their type does not tell of.
    what: u32,
    /// Whether the interpreter itself leaves empty ones untracked.
    empty_untracked: bool,
}

/// The types that may be untracked, found out one by one.
struct Sorts {
    builtin: Vec<*mut ffi::PyTypeObject>,
    others: Vec<*mut ffi::PyTypeObject>,
    object: *mut ffi::PyTypeObject,
    /// How instances of classes written in Python are deallocated.
    python: *mut c_void,
    known: HashMap<usize, Option<Sort>>,
    layout: Option<Layout>,
}

impl Sorts {
    fn new(py: Python<'_>) -> PyResult<Sorts> {
        let class = py
            .get_type::<PyType>()
            .call1(("Plain", PyTuple::empty(py), PyDict::new(py)))?;
        let collections = py.import("collections")?;
        let mut others = Vec::new();
        for name in ["deque", "defaultdict", "OrderedDict"] {
            others.push(collections.getattr(name)?.as_ptr().cast());
        }
        Ok(Sorts {
            builtin: vec![
                py.get_type::<PyList>().as_type_ptr(),
                py.get_type::<PyDict>().as_type_ptr(),
                py.get_type::<PyTuple>().as_type_ptr(),
                py.get_type::<PySet>().as_type_ptr(),
                py.get_type::<PyFrozenSet>().as_type_ptr(),
            ],
            others,
            object: py.get_type::<PyAny>().as_type_ptr(),
            // SAFETY: a slot query on a type that is alive.
            python: unsafe { ffi::PyType_GetSlot(class.as_ptr().cast(), ffi::Py_tp_dealloc) },
            known: HashMap::new(),
            layout: Layout::verify(py)?.ok(),
        })
    }

    /// How a type's instances are gone through, `None` for a type whose instances stay tracked.
    fn of(&mut self, class: *mut ffi::PyTypeObject) -> Option<Sort> {
        if let Some(known) = self.known.get(&(class as usize)) {
            return *known;
        }
        // SAFETY: slot and flag queries on the type of a live object; the slot is a traverseproc where it is not null.
        let found = unsafe {
            let slot = ffi::PyType_GetSlot(class, ffi::Py_tp_traverse);
            let collected = ffi::PyType_GetFlags(class) & HAVE_GC != 0;
            let flags = ffi::PyType_GetFlags(class) as u64;
            let what = self.layout.map_or(0, |layout| layout.values_of(flags));
            (collected && !slot.is_null() && self.accepts(class)).then(|| Sort {
                what,
                traverse: std::mem::transmute::<*mut c_void, ffi::traverseproc>(slot),
                empty_untracked: self.builtin.contains(&class),
            })
        };
        self.known.insert(class as usize, found);
        found
    }

    fn accepts(&self, mut class: *mut ffi::PyTypeObject) -> bool {
        loop {
            if self.builtin.contains(&class) || self.others.contains(&class) || class == self.object {
                return true;
            }
            // SAFETY: flag and slot queries on a type that is alive: the type of an object, or a base of one.
            class = unsafe {
                let python = ffi::PyType_GetSlot(class, ffi::Py_tp_dealloc) == self.python;
                if !python || ffi::PyType_GetFlags(class) & HEAP_TYPE == 0 {
                    return false;
                }
                ffi::PyType_GetSlot(class, ffi::Py_tp_base).cast()
            };
            if class.is_null() {
                return false;
            }
        }
    }
}

/// Untracks (`on`) or tracks again the containers that lie `within` and are reachable from `root` through such containers;
/// returns how many changed, and how many containers of other types were met there, which a collection goes on visiting.
///
/// `within` is sorted. At most `budget` containers are visited; the rest stays as it is.
///
/// # Errors
/// What making a class of its own to compare with raises: no memory.
pub fn shield(root: &Bound<'_, PyAny>, on: bool, budget: usize, within: &[(u64, u64)]) -> PyResult<(usize, usize)> {
    let inside = |object: *mut ffi::PyObject| {
        let after = within.partition_point(|range| range.0 <= object as u64);
        after > 0 && (object as u64) < within[after - 1].1
    };
    let mut sorts = Sorts::new(root.py())?;
    let mut seen: HashSet<usize> = HashSet::new();
    let mut stack = vec![root.as_ptr()];
    let (mut changed, mut others) = (0, 0);
    without_collector(|| {
        while let Some(object) = stack.pop() {
            if !inside(object) {
                continue;
            }
            // SAFETY: reachable from `root`, which the caller holds; nothing runs here that could drop a reference.
            let class = unsafe { ffi::Py_TYPE(object) };
            let Some(sort) = sorts.of(class) else {
                // SAFETY: a live object. Types and modules are tracked, too, but belong to nobody.
                let tracked = unsafe {
                    ffi::PyObject_GC_IsTracked(object) == 1
                        && ffi::PyType_Check(object) == 0
                        && ffi::PyModule_Check(object) == 0
                };
                if tracked && seen.len() < budget && seen.insert(object as usize) {
                    others += 1;
                }
                continue;
            };
            if seen.len() >= budget || !seen.insert(object as usize) {
                continue;
            }
            // SAFETY: a live container of a type found above. Tracking is changed only when the interpreter's own answer says
            // that it is the other way round, under the GIL, with nothing in between. The size is asked of exact built-in
            // types only, which answer without running Python.
            unsafe {
                match (on, ffi::PyObject_GC_IsTracked(object) == 1) {
                    (true, true) => {
                        ffi::PyObject_GC_UnTrack(object.cast());
                        changed += 1;
                    }
                    (false, false) if !sort.empty_untracked || ffi::PyObject_Size(object) > 0 => {
                        ffi::PyObject_GC_Track(object.cast());
                        changed += 1;
                    }
                    _ => {}
                }
                refer(
                    sort.traverse,
                    object as usize,
                    sort.what,
                    visit,
                    (&raw mut stack).cast(),
                );
            }
        }
    });
    Ok((changed, others))
}
