//! Objects whose state is their `__dict__` but for the values of a few names: said without asking them for a copy of it.
//!
//! Such an object is asked after all (by what `classify` gave for that) when its `__dict__` is not as expected.

use std::collections::HashMap;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyWeakrefReference};

use super::held::{DictItems, Items};
use super::{Stop, TAG, Walk, own_dict};

/// The names whose values are not the state's.
pub(super) struct Own(Vec<(Py<PyString>, Instead)>);

/// What the state has there.
#[derive(Clone, Copy, PartialEq)]
enum Instead {
    /// Nothing that depends on the object.
    Nothing,
    /// The same; and the value is an empty dictionary, or the object has to be asked.
    Empty,
    /// A dictionary of what the weak references in this one refer to.
    Referents,
}

impl Own {
    pub(super) fn new(py: Python<'_>, names: HashMap<String, String>) -> PyResult<Own> {
        let mut all = Vec::with_capacity(names.len());
        for (name, instead) in names {
            let instead = match instead.as_str() {
                "nothing" => Instead::Nothing,
                "empty" => Instead::Empty,
                "referents" => Instead::Referents,
                other => return Err(PyTypeError::new_err(format!("no such way to say a state: {other}"))),
            };
            all.push((PyString::intern(py, &name).unbind(), instead));
        }
        Ok(Own(all))
    }
}

impl<'py> Walk<'_, 'py> {
    /// What pickle would see of `object`, whose address was said; false (and nothing said) if it has to be asked.
    pub(super) fn own(
        &mut self,
        object: &Bound<'py, PyAny>,
        own: &Own,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<bool, Stop> {
        let held = own_dict(object)?;
        let Ok(dict) = held.cast_exact::<PyDict>() else {
            return Ok(false);
        };
        let mut at = std::mem::take(&mut self.scratch);
        at.clear();
        DictItems(dict.as_ptr()).read(&mut at);
        let instead = |key: usize| own.0.iter().find(|(name, _)| name.as_ptr() as usize == key);
        let mut referents = Vec::new();
        let mut found = 0;
        for pair in at.chunks_exact(2) {
            if let Some((_, instead)) = instead(pair[0]) {
                // SAFETY: a live object, held by the dictionary: no Python code ran since it was read.
                let value = unsafe { Bound::from_borrowed_ptr(self.py, pair[1] as *mut ffi::PyObject) };
                let fits = match *instead {
                    Instead::Nothing => true,
                    Instead::Empty => value.cast_exact::<PyDict>().is_ok_and(|dict| dict.is_empty()),
                    Instead::Referents => weak_values(&value, &mut referents),
                };
                found += usize::from(fits);
            }
        }
        if found != own.0.len() {
            self.scratch = at;
            return Ok(false);
        }
        self.simple = false;
        self.more.push(dict.as_ptr() as usize);
        let kind = object.get_type();
        self.say(TAG | 19);
        self.say(kind.as_ptr() as u64);
        self.say(at.len() as u64);
        for pair in at.chunks_exact(2) {
            if let Some((_, instead)) = instead(pair[0]) {
                self.say(pair[0] as u64);
                self.say(TAG | (20 + u64::from(*instead == Instead::Referents)));
            } else {
                self.item(pair[0] as *mut ffi::PyObject, later);
                self.item(pair[1] as *mut ffi::PyObject, later);
            }
        }
        self.scratch = at;
        self.say(referents.len() as u64);
        for (key, reference) in referents {
            self.item(key.as_ptr(), later);
            let referent = reference.call0()?;
            self.item(referent.as_ptr(), later);
            self.keep.push(referent);
        }
        later.push(kind.into_any());
        Ok(true)
    }
}

/// The items of a dictionary of weak references; false if it is not one.
fn weak_values<'py>(value: &Bound<'py, PyAny>, into: &mut Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>) -> bool {
    let Ok(dict) = value.cast_exact::<PyDict>() else {
        return false;
    };
    for (key, reference) in dict.iter() {
        if !reference.is_exact_instance_of::<PyWeakrefReference>() {
            return false;
        }
        into.push((key, reference));
    }
    true
}
