//! What objects hold, read without asking them: the memory of one whose type keeps all that it is in fields of a fixed size, as
//! generators of random numbers do, and the items of lists and dictionaries.

use std::mem::size_of;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use rustc_hash::FxHashSet;

use crate::abi;

const HEAD: usize = size_of::<ffi::PyObject>();

/// A copy of what lies behind the head of an object. `None` for objects of no fixed size, and where heads are not known.
pub fn body(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let kind = object.get_type();
    let size: usize = kind.getattr("__basicsize__")?.extract()?;
    if abi::of(object.py())?.is_none() || kind.getattr("__itemsize__")?.extract::<usize>()? != 0 || size <= HEAD {
        return Ok(None);
    }
    let at = object.as_ptr().cast::<u8>();
    // SAFETY: a live object of `size` bytes, which its type says, under the GIL; a thread that has let go of the GIL may be
    // storing to it, and bytes have no invalid values.
    Ok(Some(
        unsafe { std::slice::from_raw_parts(at.add(HEAD), size - HEAD) }.to_vec(),
    ))
}

/// Calls `each` with the addresses of keys and values, in their order, until it says no; whether it never did.
fn items(dict: &Py<PyAny>, mut each: impl FnMut(usize, usize) -> bool) -> bool {
    let (mut at, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a live dictionary, under the GIL; `each` is ours and runs no Python code, so it does not change meanwhile.
    while unsafe { ffi::PyDict_Next(dict.as_ptr(), &mut at, &mut key, &mut value) } != 0 {
        if !each(key as usize, value as usize) {
            return false;
        }
    }
    true
}

/// One object that was looked into, and what it held.
struct Node {
    object: Py<PyAny>,
    held: Held,
}

enum Held {
    /// So many of [`Seen::parts`].
    Items(usize),
    Pairs(usize),
    Memory(Vec<u8>),
}

/// What some objects held: lists and dictionaries their items, and so on below; others their memory, if it is of a fixed size.
///
/// All of that is held, so that an address that is the same is the same object. What any other object below holds is not seen.
pub struct Seen {
    roots: Vec<Py<PyAny>>,
    nodes: Vec<Node>,
    parts: Vec<Py<PyAny>>,
}

impl Node {
    /// Whether it holds what it held: the first ones of `parts`, which are taken, if it is a list or dictionary.
    fn same(&self, parts: &mut std::slice::Iter<'_, Py<PyAny>>) -> bool {
        let at = self.object.as_ptr();
        let mut next = || parts.next().map(|part| part.as_ptr() as usize);
        match &self.held {
            Held::Pairs(count) => {
                let mut left = *count;
                let same = items(&self.object, |key, value| {
                    left = left.wrapping_sub(2);
                    left < *count && next() == Some(key) && next() == Some(value)
                });
                same && left == 0
            }
            Held::Items(count) => {
                // SAFETY: a live list, under the GIL.
                let len = unsafe { ffi::PyList_Size(at) };
                // SAFETY: as above; no Python code runs, so it has so many items all the time.
                len == *count as isize
                    && (0..len).all(|i| next() == Some(unsafe { ffi::PyList_GetItem(at, i) } as usize))
            }
            Held::Memory(bytes) => {
                // SAFETY: as in `body`, which found so many bytes there; the object is held, so it is of the same type.
                *bytes == *unsafe { std::slice::from_raw_parts(at.cast::<u8>().add(HEAD), bytes.len()) }
            }
        }
    }
}

impl Seen {
    /// Of one object, or of each one in a tuple.
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Seen> {
        let py = given.py();
        let mut seen = Seen {
            roots: roots(given).map(Bound::unbind).collect(),
            nodes: Vec::new(),
            parts: Vec::new(),
        };
        let mut met = FxHashSet::default();
        let mut left: Vec<Py<PyAny>> = seen.roots.iter().map(|one| one.clone_ref(py)).collect();
        let mut roots_left = left.len();
        left.reverse();
        while let Some(one) = left.pop() {
            let root = roots_left > 0;
            roots_left = roots_left.saturating_sub(1);
            if !met.insert(one.as_ptr() as usize) {
                continue;
            }
            let bound = one.bind(py);
            let parts: Vec<Py<PyAny>> = if let Ok(dict) = bound.cast::<PyDict>() {
                dict.iter()
                    .flat_map(|(key, value)| [key.unbind(), value.unbind()])
                    .collect()
            } else if let Ok(list) = bound.cast::<PyList>() {
                list.iter().map(Bound::unbind).collect()
            } else {
                if let Some(bytes) = root.then(|| body(bound)).transpose()?.flatten() {
                    let held = Held::Memory(bytes);
                    seen.nodes.push(Node { object: one, held });
                }
                continue;
            };
            let containers = parts.iter().filter(|part| {
                let part = part.bind(py);
                part.is_instance_of::<PyDict>() || part.is_instance_of::<PyList>()
            });
            left.splice(0..0, containers.map(|part| part.clone_ref(py)));
            let held = match bound.is_instance_of::<PyDict>() {
                true => Held::Pairs(parts.len()),
                false => Held::Items(parts.len()),
            };
            seen.nodes.push(Node { object: one, held });
            seen.parts.extend(parts);
        }
        Ok(seen)
    }

    /// Whether these are the same objects, and hold what they held.
    pub fn same(&self, given: &Bound<'_, PyAny>) -> bool {
        let mut now = roots(given);
        if !self.roots.iter().all(|one| now.next().is_some_and(|now| now.is(one))) || now.next().is_some() {
            return false;
        }
        let mut parts = self.parts.iter();
        self.nodes.iter().all(|node| node.same(&mut parts))
    }
}

/// The object, or those in it if it is a tuple.
fn roots<'py>(given: &Bound<'py, PyAny>) -> impl Iterator<Item = Bound<'py, PyAny>> + use<'py> {
    let many = given.cast_exact::<PyTuple>().ok().cloned();
    let alone = many.is_none().then(|| given.clone());
    alone.into_iter().chain(many.into_iter().flatten())
}

/// The items of a dictionary that are `wanted`, which is told their places and the addresses of their keys; of the others nothing
/// is touched.
pub fn some<'py>(
    dict: &Bound<'py, PyDict>,
    mut wanted: impl FnMut(usize, usize) -> bool,
) -> Vec<(usize, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (py, mut at, mut found) = (dict.py(), 0, Vec::with_capacity(dict.len()));
    items(dict.as_any().as_unbound(), |key, value| {
        if wanted(at, key) {
            // SAFETY: a key and a value that the dictionary holds at this moment, under the GIL.
            let own = |one: usize| unsafe { Bound::from_borrowed_ptr(py, one as *mut ffi::PyObject) };
            found.push((at, own(key), own(value)));
        }
        at += 1;
        true
    });
    found
}
