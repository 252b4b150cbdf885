//! Containers of many items: what was seen to be leaves is held, and not looked at again while it stays where it is.

use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use xxhash_rust::xxh3::xxh3_128;

use super::{Stop, Walk, bytes_of};

/// Fewer items are looked at one by one.
pub const MANY: usize = 32;

/// The leaves of one container, where they are in it; `None` where something else was.
///
/// They are held, so an item that is still at the same address is the same leaf.
pub struct Held {
    items: Vec<Option<Py<PyAny>>>,
}

/// Where the items of a container are read from; asked again if Python code ran.
pub(super) trait Items {
    /// Their addresses, as they are now: in full or not at all (a failed lookup leaves a short list).
    fn read(&self, into: &mut Vec<usize>);
}

impl<'py> Walk<'_, 'py> {
    /// Says the addresses of the items of the container at `key`, keeps leaves if that is wanted, the rest for later.
    pub(super) fn many(
        &mut self,
        key: usize,
        items: &impl Items,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        let mut at = std::mem::take(&mut self.scratch);
        let before = self.kinds.held.get(&key).map(|(held, _)| held.clone());
        let found = loop {
            at.clear();
            items.read(&mut at);
            match self.look(&at, before.as_deref(), later) {
                Look::Same => break before,
                Look::New(held) => break Some(Arc::new(held)),
                Look::Ask(kinds) => {
                    later.clear();
                    for kind in kinds {
                        self.kinds.of(self.py, kind.as_type_ptr())?;
                    }
                }
            }
        };
        self.sum(at.len(), xxh3_128(bytes_of(&at)));
        self.scratch = at;
        if let Some(held) = found {
            if self.pinning {
                self.helds.push(held.clone());
            }
            self.kinds.held.insert(key, (held, true));
        }
        Ok(())
    }

    /// Looks at the items that are not held where they were. No Python code runs in here.
    fn look(&mut self, at: &[usize], before: Option<&Held>, later: &mut Vec<Bound<'py, PyAny>>) -> Look<'py> {
        let known: &[Option<Py<PyAny>>] = before.map_or(&[], |held| &held.items);
        let address = |one: &Option<Py<PyAny>>| one.as_ref().map_or(0, |one| one.as_ptr() as usize);
        let mut ask: Vec<Bound<'py, PyType>> = Vec::new();
        let mut same = known.len() == at.len()
            && known
                .iter()
                .zip(at)
                .all(|(one, item)| one.is_none() || address(one) == *item);
        if same {
            // What was no leaf may be one now: another one took its place.
            for (_, &item) in known.iter().zip(at).filter(|(one, item)| one.is_none() && **item != 0) {
                // SAFETY: a live object, held by its container: no Python code ran since its address was read.
                let kind = unsafe { ffi::Py_TYPE(item as *mut ffi::PyObject) };
                same &= !self.is_leaf(kind as usize);
                self.later(item, kind, &mut ask, later);
            }
            if same {
                return if ask.is_empty() { Look::Same } else { Look::Ask(ask) };
            }
            later.clear();
            ask.clear();
        }
        let mut leaves: Vec<usize> = Vec::with_capacity(at.len());
        for (i, &item) in at.iter().enumerate() {
            if item == 0 || known.get(i).is_some_and(|one| address(one) == item) {
                leaves.push(item);
                continue;
            }
            // SAFETY: a live object, held by its container: no Python code ran since its address was read.
            let kind = unsafe { ffi::Py_TYPE(item as *mut ffi::PyObject) };
            if self.is_leaf(kind as usize) {
                leaves.push(item);
                continue;
            }
            leaves.push(0);
            self.later(item, kind, &mut ask, later);
        }
        if !ask.is_empty() {
            return Look::Ask(ask);
        }
        let hold = |at: usize| {
            // SAFETY: a live object, as above, or null.
            unsafe { Bound::from_borrowed_ptr_or_opt(self.py, at as *mut ffi::PyObject) }.map(Bound::unbind)
        };
        Look::New(Held {
            items: leaves.into_iter().map(hold).collect(),
        })
    }
}

impl<'py> Walk<'_, 'py> {
    /// Something of a container that is no leaf, and perhaps of a type nothing is known of.
    fn later(
        &self,
        item: usize,
        kind: *mut ffi::PyTypeObject,
        ask: &mut Vec<Bound<'py, PyType>>,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) {
        if !self.kinds.known.contains_key(&(kind as usize)) && !ask.iter().any(|one| one.as_type_ptr() == kind) {
            // SAFETY: the type of a live object.
            ask.push(unsafe { Bound::from_borrowed_ptr(self.py, kind.cast()).cast_into_unchecked() });
        }
        // SAFETY: a live object, held by its container: no Python code ran since its address was read.
        later.push(unsafe { Bound::from_borrowed_ptr(self.py, item as *mut ffi::PyObject) });
    }
}

enum Look<'py> {
    /// What was held is what is there.
    Same,
    New(Held),
    /// These types are not known yet.
    Ask(Vec<Bound<'py, PyType>>),
}

pub(super) struct ListItems(pub *mut ffi::PyObject);
pub(super) struct TupleItems(pub *mut ffi::PyObject);
pub(super) struct DictItems(pub *mut ffi::PyObject);
/// Pointers in memory: `low..high`.
pub(super) struct Pointers(pub usize, pub usize);
/// Objects that are held here.
pub(super) struct These<'a, 'py>(pub &'a [Bound<'py, PyAny>]);

impl Items for ListItems {
    fn read(&self, into: &mut Vec<usize>) {
        // SAFETY: an exact list that is held; no Python code runs in the loop, so its size stays.
        unsafe {
            let len = ffi::PyList_Size(self.0);
            into.reserve(len as usize);
            into.extend((0..len).map(|i| ffi::PyList_GetItem(self.0, i) as usize));
        }
    }
}

impl Items for TupleItems {
    fn read(&self, into: &mut Vec<usize>) {
        // SAFETY: an exact tuple that is held.
        unsafe {
            let len = ffi::PyTuple_Size(self.0);
            into.extend((0..len).map(|i| ffi::PyTuple_GetItem(self.0, i) as usize));
        }
    }
}

impl Items for DictItems {
    fn read(&self, into: &mut Vec<usize>) {
        let (mut key, mut value, mut position) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: a dict that is held; no Python code runs in the loop, so it does not change under it.
        unsafe {
            into.reserve(2 * ffi::PyDict_Size(self.0) as usize);
            while ffi::PyDict_Next(self.0, &mut position, &mut key, &mut value) != 0 {
                into.push(key as usize);
                into.push(value as usize);
            }
        }
    }
}

impl Items for Pointers {
    fn read(&self, into: &mut Vec<usize>) {
        // SAFETY: the memory of an array of objects that is held.
        into.extend(
            (self.0..self.1)
                .step_by(8)
                .map(|at| unsafe { crate::object::load::<usize>(at, 0) }),
        );
    }
}

impl Items for These<'_, '_> {
    fn read(&self, into: &mut Vec<usize>) {
        into.extend(self.0.iter().map(|one| one.as_ptr() as usize));
    }
}
