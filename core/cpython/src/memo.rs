//! What a pickler of Python's met: read from the table it keeps that in, instead of having it copied to a dictionary of tuples.
//!
//! Where the table is was the same in all versions served; a trial decides, and what is not so is asked for the copy.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFrozenSet, PySet, PyType};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::abi;
use crate::object::load;

/// Of a pickler: its table. Of that: how many it holds, room for how many, the first of pairs of an object and its number.
const TABLE: usize = size_of::<ffi::PyObject>();
const MASK: usize = 0;
const USED: usize = 8;
const ROOM: usize = 16;
const PAIRS: usize = 24;
const PAIR: usize = 16;

/// The addresses of the objects a pickler met. `None` if its table is not as expected.
///
/// # Safety
/// The GIL is held, and a pickler of `_pickle` has its table where it is looked for.
unsafe fn read(pickler: usize) -> Option<Vec<usize>> {
    // SAFETY: the caller's promise; the pairs are as many as the table says.
    unsafe {
        let table: usize = load(pickler, TABLE);
        let (mask, used, room): (usize, usize, usize) = (load(table, MASK), load(table, USED), load(table, ROOM));
        if room == 0 || mask != room - 1 || room & mask != 0 || used > room {
            return None;
        }
        let pairs: usize = load(table, PAIRS);
        let mut found = Vec::with_capacity(used);
        found.extend(
            (0..room)
                .map(|at| load::<usize>(pairs, PAIR * at))
                .filter(|at| *at != 0),
        );
        (found.len() == used).then_some(found)
    }
}

/// The class of picklers that have such a table; `None` where they do not.
fn class(py: Python<'_>) -> Option<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Option<Py<PyType>>> = PyOnceLock::new();
    let tried = CLASS.get_or_init(py, || trial(py).unwrap_or(None));
    tried.as_ref().map(|class| class.bind(py))
}

fn trial(py: Python<'_>) -> PyResult<Option<Py<PyType>>> {
    if abi::of(py)?.is_none() {
        return Ok(None);
    }
    let class = py.import("_pickle")?.getattr("Pickler")?.cast_into::<PyType>()?;
    let pickler = class.call1((py.import("io")?.getattr("BytesIO")?.call0()?, 5))?;
    let lists = py.eval(c"[[] for at in range(40)]", None, None)?;
    pickler.call_method1(intern!(py, "dump"), (&lists,))?;
    let mut expected: FxHashSet<usize> = FxHashSet::default();
    expected.insert(lists.as_ptr() as usize);
    for list in lists.try_iter()? {
        expected.insert(list?.as_ptr() as usize);
    }
    // SAFETY: a pickler of a version whose `_pickle.c` is known.
    let found = unsafe { read(pickler.as_ptr() as usize) };
    let same = found.is_some_and(|found| found.into_iter().collect::<FxHashSet<_>>() == expected);
    Ok(same.then(|| class.unbind()))
}

fn met<'py>(pickler: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = pickler.py();
    if class(py).is_some_and(|class| pickler.is_instance(class).unwrap_or(false)) {
        // SAFETY: such a pickler, as the trial has shown.
        if let Some(found) = unsafe { read(pickler.as_ptr() as usize) } {
            let object = |at: usize| {
                // SAFETY: the table holds it, and no Python code runs meanwhile.
                unsafe { Bound::from_borrowed_ptr(py, at as *mut ffi::PyObject) }
            };
            return Ok(found.into_iter().map(object).collect());
        }
    }
    let copy = pickler
        .getattr(intern!(py, "memo"))?
        .call_method0(intern!(py, "copy"))?;
    let pairs = copy.call_method0(intern!(py, "values"))?;
    pairs.try_iter()?.map(|pair| pair?.get_item(1)).collect()
}

/// What was met, by address; the addresses of what others may hold as well; and its types.
pub type Parts<'py> = (Bound<'py, PyDict>, Bound<'py, PySet>, Vec<Bound<'py, PyType>>);

/// What a pickler met, but for objects of the types in `apart`. `shareable` is asked once about each type whether others may hold
/// its objects as well, and, where it answers `None`, `one` about each object.
///
/// # Errors
/// What these raise, and [`PyTypeError`] for other answers.
pub fn parts<'py>(
    pickler: &Bound<'py, PyAny>,
    apart: &Bound<'py, PyFrozenSet>,
    shareable: &Bound<'py, PyAny>,
    one: &Bound<'py, PyAny>,
) -> PyResult<Parts<'py>> {
    let py = pickler.py();
    let (memo, ids) = (PyDict::new(py), PySet::empty(py)?);
    let mut types: FxHashMap<usize, Option<Option<bool>>> = FxHashMap::default();
    let mut kinds = Vec::new();
    for object in met(pickler)? {
        let class = object.get_type();
        let known = match types.get(&(class.as_ptr() as usize)) {
            Some(known) => *known,
            None => {
                let known = if apart.contains(&class)? {
                    None
                } else {
                    let said = shareable.call1((&class,))?;
                    Some(if said.is_none() { None } else { Some(truth(&said)?) })
                };
                types.insert(class.as_ptr() as usize, known);
                if known.is_some() {
                    kinds.push(class);
                }
                known
            }
        };
        let Some(known) = known else { continue };
        let key = (object.as_ptr() as usize).into_pyobject(py)?;
        let shared = match known {
            Some(shared) => shared,
            None => truth(&one.call1((&object,))?)?,
        };
        if shared {
            ids.add(&key)?;
        }
        memo.set_item(key, object)?;
    }
    Ok((memo, ids, kinds))
}

fn truth(said: &Bound<'_, PyAny>) -> PyResult<bool> {
    let said = said.cast_exact::<PyBool>();
    said.map(|said| said.is_true())
        .map_err(|_| PyTypeError::new_err("neither true nor false"))
}
