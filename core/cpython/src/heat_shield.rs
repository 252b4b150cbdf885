//! GC shield: cold containers taken off the collector's lists, so that a collection does not touch their pages.
//!
//! A full collection visits every tracked container and so pulls everything demoted back in. Untracked containers are not
//! visited; whatever they refer to counts as referred to from outside, which is safe: it lives on.
//!
//! What object arrays refer to does not show in `tp_traverse`, of the array or of anything: a collection takes it for held
//! from outside for as long as the array lives. So taking it off the lists changes nothing there, and the shield asks the
//! caller what such a leaf holds, and goes on from that.
//!
//! Invariants
//!
//! - Only types are untracked whose deallocation accepts that: exact lists, dicts, tuples, sets, frozensets, `deque`,
//!   `defaultdict` and `OrderedDict`, and instances of classes written in Python on top of these or of `object`. All of them
//!   begin with `PyObject_GC_UnTrack`, which does nothing where there is nothing to do.
//! - An object is tracked again only after the interpreter says it is not; addresses are never kept between calls.
//! - While shielded, a cycle through these containers is not collected. Tracking them again ends that. One that has been taken
//!   out of its variable meanwhile (a cell overwritten, a row removed) is not reached from there any more: [`strays`] finds
//!   it from whatever refers to it now.
//! - While a leaf is resolved, which may run Python, no address waits to be visited: only leaves do, each of them held.

use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple, PyType};

use crate::heat_layout::{Layout, refer};
use crate::heat_live::without_collector;

extern "C" fn visit(object: *mut ffi::PyObject, stack: *mut c_void) -> c_int {
    // SAFETY: `stack` is the exclusive borrow passed to tp_traverse below, handed through unchanged.
    let stack = unsafe { &mut *stack.cast::<Vec<*mut ffi::PyObject>>() };
    stack.push(object);
    0
}

/// How to go through what `tp_traverse` does not show.
pub struct Ways<'py> {
    /// Types of leaves.
    pub leaves: Vec<Bound<'py, PyType>>,
    /// Types that are not entered.
    pub skipped: Vec<Bound<'py, PyType>>,
    /// Gives what a leaf holds.
    pub resolve: Bound<'py, PyAny>,
}

#[derive(Clone, Copy)]
struct Sort {
    /// Whether instances may be taken off the lists; all others are gone through only.
    ours: bool,
    traverse: ffi::traverseproc,
    /// Whether instances have values inline, and so perhaps a dict that their type does not tell of.
    what: u32,
    /// Whether the interpreter itself leaves empty ones untracked.
    empty_untracked: bool,
}

#[derive(Clone, Copy)]
enum Known {
    Nothing,
    Leaf,
    Container(Sort),
}

/// What is known of types, found out one by one.
struct Sorts {
    builtin: Vec<*mut ffi::PyTypeObject>,
    others: Vec<*mut ffi::PyTypeObject>,
    leaves: Vec<*mut ffi::PyTypeObject>,
    skipped: Vec<*mut ffi::PyTypeObject>,
    object: *mut ffi::PyTypeObject,
    /// How instances of classes written in Python are deallocated.
    python: *mut c_void,
    known: HashMap<usize, Known>,
    layout: Option<Layout>,
}

impl Sorts {
    fn new(py: Python<'_>, ways: &Ways<'_>) -> PyResult<Sorts> {
        let class = py
            .get_type::<PyType>()
            .call1(("Plain", PyTuple::empty(py), PyDict::new(py)))?;
        let collections = py.import("collections")?;
        let mut others = Vec::new();
        for name in ["deque", "defaultdict", "OrderedDict"] {
            others.push(collections.getattr(name)?.as_ptr().cast());
        }
        let all = |types: &[Bound<'_, PyType>]| types.iter().map(PyTypeMethods::as_type_ptr).collect();
        Ok(Sorts {
            builtin: vec![
                py.get_type::<PyList>().as_type_ptr(),
                py.get_type::<PyDict>().as_type_ptr(),
                py.get_type::<PyTuple>().as_type_ptr(),
                py.get_type::<PySet>().as_type_ptr(),
                py.get_type::<PyFrozenSet>().as_type_ptr(),
            ],
            others,
            leaves: all(&ways.leaves),
            skipped: all(&ways.skipped),
            object: py.get_type::<PyAny>().as_type_ptr(),
            // SAFETY: a slot query on a type that is alive.
            python: unsafe { ffi::PyType_GetSlot(class.as_ptr().cast(), ffi::Py_tp_dealloc) },
            known: HashMap::new(),
            layout: Layout::verify(py)?.ok(),
        })
    }

    /// What instances of the type of a live object are to the shield.
    fn of(&mut self, class: *mut ffi::PyTypeObject) -> Known {
        if let Some(known) = self.known.get(&(class as usize)) {
            return *known;
        }
        let is_a = |all: &[*mut ffi::PyTypeObject]| {
            // SAFETY: types that are alive: that of an object, and those named by the caller.
            all.iter()
                .any(|other| unsafe { ffi::PyType_IsSubtype(class, *other) } != 0)
        };
        // SAFETY: slot and flag queries on the type of a live object; the slot is a traverseproc where it is not null.
        let found = unsafe {
            let slot = ffi::PyType_GetSlot(class, ffi::Py_tp_traverse);
            let flags = ffi::PyType_GetFlags(class) as u64;
            if is_a(&self.skipped) {
                Known::Nothing
            } else if is_a(&self.leaves) {
                Known::Leaf
            } else if flags & ffi::Py_TPFLAGS_HAVE_GC == 0 || slot.is_null() {
                Known::Nothing
            } else {
                Known::Container(Sort {
                    ours: self.accepts(class),
                    what: self.layout.map_or(0, |layout| layout.values_of(flags)),
                    traverse: std::mem::transmute::<*mut c_void, ffi::traverseproc>(slot),
                    empty_untracked: self.builtin.contains(&class),
                })
            }
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
                if !python || ffi::PyType_GetFlags(class) & ffi::Py_TPFLAGS_HEAPTYPE == 0 {
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

/// What a walk does with containers it meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Untrack,
    Track,
    /// As `Track`, from whatever the collector knows: what is tracked is known already, all else is gone through.
    TrackStrays,
}

struct Shield<'a> {
    sorts: Sorts,
    act: Act,
    within: &'a [(u64, u64)],
    budget: usize,
    seen: HashSet<usize>,
    changed: usize,
    others: usize,
    stack: Vec<*mut ffi::PyObject>,
    leaves: Vec<Py<PyAny>>,
}

impl<'a> Shield<'a> {
    fn new(py: Python<'_>, act: Act, budget: usize, within: &'a [(u64, u64)], ways: &Ways<'_>) -> PyResult<Shield<'a>> {
        Ok(Shield {
            sorts: Sorts::new(py, ways)?,
            act,
            within,
            budget,
            seen: HashSet::new(),
            changed: 0,
            others: 0,
            stack: Vec::new(),
            leaves: Vec::new(),
        })
    }

    fn inside(&self, object: *mut ffi::PyObject) -> bool {
        let after = self.within.partition_point(|range| range.0 <= object as u64);
        after > 0 && (object as u64) < self.within[after - 1].1
    }

    /// Goes on until nothing is left on the stack, and from what leaves hold.
    fn run(&mut self, py: Python<'_>, ways: &Ways<'_>) -> PyResult<()> {
        self.empty(py);
        while let Some(leaf) = self.leaves.pop() {
            let held = ways.resolve.call1((leaf,))?.cast_into::<PyList>()?;
            // The list holds them for as long as the stack leads to them.
            self.stack.extend(held.iter().map(|item| item.as_ptr()));
            self.empty(py);
        }
        Ok(())
    }

    fn empty(&mut self, py: Python<'_>) {
        without_collector(|| {
            while let Some(object) = self.stack.pop() {
                self.meet(py, object);
            }
        });
    }

    fn meet(&mut self, py: Python<'_>, object: *mut ffi::PyObject) {
        let strays = self.act == Act::TrackStrays;
        if !strays && !self.inside(object) {
            return;
        }
        // SAFETY: reachable from what the caller holds; nothing runs here that could drop a reference.
        let known = unsafe { self.sorts.of(ffi::Py_TYPE(object)) };
        // SAFETY: as above; a type that is not tracked (a static one) refuses to be gone through.
        let (tracked, is_type) = unsafe { (ffi::PyObject_GC_IsTracked(object) == 1, ffi::PyType_Check(object) != 0) };
        if matches!(known, Known::Nothing)
            || is_type
            || strays && tracked
            || self.seen.len() >= self.budget
            || !self.seen.insert(object as usize)
        {
            return;
        }
        let Known::Container(sort) = known else {
            // SAFETY: alive, as above; held from here on.
            let leaf = unsafe { Bound::from_borrowed_ptr(py, object) };
            self.leaves.push(leaf.unbind());
            self.others += usize::from(tracked);
            return;
        };
        if !sort.ours {
            self.others += usize::from(tracked);
        } else if tracked && self.act == Act::Untrack {
            // SAFETY: a live container of a type whose deallocation accepts it, tracked by the interpreter's own answer, under
            // the GIL, with nothing in between.
            unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
            self.changed += 1;
        } else if !tracked && self.act != Act::Untrack && self.inside(object) {
            // SAFETY: as above. The size is asked of exact built-in types only, which answer without running Python.
            unsafe {
                if !sort.empty_untracked || ffi::PyObject_Size(object) > 0 {
                    ffi::PyObject_GC_Track(object.cast());
                    self.changed += 1;
                }
            }
        }
        self.enter(object, sort);
    }

    fn enter(&mut self, object: *mut ffi::PyObject, sort: Sort) {
        let stack = (&raw mut self.stack).cast();
        // SAFETY: a live object of the type whose `tp_traverse` this is; `visit` only pushes.
        unsafe { refer(sort.traverse, object as usize, sort.what, visit, stack) };
    }
}

/// Untracks (`on`) or tracks again the containers that lie `within` and are reachable from `root` through what lies there;
/// returns how many changed, and how many containers of other types were met there, which a collection goes on visiting.
///
/// `within` is sorted. At most `budget` containers are visited; the rest stays as it is.
///
/// # Errors
/// What making a class of its own to compare with raises (no memory), and what resolving a leaf raises.
pub fn shield(
    root: &Bound<'_, PyAny>,
    on: bool,
    budget: usize,
    within: &[(u64, u64)],
    ways: &Ways<'_>,
) -> PyResult<(usize, usize)> {
    let act = if on { Act::Untrack } else { Act::Track };
    let mut shield = Shield::new(root.py(), act, budget, within, ways)?;
    shield.stack.push(root.as_ptr());
    shield.run(root.py(), ways)?;
    Ok((shield.changed, shield.others))
}

/// Tracks again the containers `within` that anything the collector knows leads to, itself or through untracked ones.
///
/// Costs about what a full collection does. What nothing refers to but a local of a running function is not found.
///
/// # Errors
/// As [`shield`].
pub fn strays(py: Python<'_>, budget: usize, within: &[(u64, u64)], ways: &Ways<'_>) -> PyResult<usize> {
    let mut shield = Shield::new(py, Act::TrackStrays, budget, within, ways)?;
    let all = py.import("gc")?.call_method0("get_objects")?.cast_into::<PyList>()?;
    without_collector(|| {
        for object in &all {
            // SAFETY: `all` holds it.
            match unsafe { shield.sorts.of(ffi::Py_TYPE(object.as_ptr())) } {
                Known::Container(sort) => shield.enter(object.as_ptr(), sort),
                Known::Leaf => shield.leaves.push(object.unbind()),
                Known::Nothing => {}
            }
            while let Some(object) = shield.stack.pop() {
                shield.meet(py, object);
            }
        }
    });
    drop(all);
    shield.run(py, ways)?;
    Ok(shield.changed)
}
