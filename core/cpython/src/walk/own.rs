//! Objects whose state is their `__dict__` but for the values of a few names: said without asking them for a copy of it.
//!
//! A name that is there as another string than the interned one has its value said with the rest: that is too much, not too
//! little.
//!
//! Such an object is asked after all (by what `classify` gave for that) when its `__dict__` is not as expected.

use std::collections::HashMap;

use larder_trace::Layout;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyWeakrefReference};

use super::held::{DictItems, Items};
use super::{Stop, TAG, Walk, own_dict};

/// The names whose values are not the state's.
pub(super) struct Own(Vec<(Py<PyString>, Instead)>);

/// What the state has there.
#[derive(Clone, Copy)]
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
        record: Option<usize>,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<bool, Stop> {
        let held = own_dict(object)?;
        let Ok(dict) = held.cast_exact::<PyDict>() else {
            return Ok(false);
        };
        self.has_its_own(record, dict.as_ptr() as usize);
        let mut held = std::mem::take(&mut self.kinds.scratch);
        held.clear();
        DictItems(dict.as_ptr()).read(&mut held, self.kinds.layout);
        let fits = own.fits(dict, &held);
        self.kinds.scratch = held;
        let Some(referents) = fits? else {
            return Ok(false);
        };
        self.simple = false;
        let key = dict.as_ptr() as usize;
        self.more.push(key);
        let kind = object.get_type();
        self.say(TAG | 19);
        self.say(kind.as_ptr() as u64);
        self.say(key as u64);
        self.items(key, 2 * dict.len(), &OwnItems(dict.as_ptr(), own), later)?;
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

type Pairs<'py> = Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>;

impl Own {
    /// The weak references' dictionaries' items, if the values of the names are what they have to be; `items` are those of `dict`.
    fn fits<'py>(&self, dict: &Bound<'py, PyDict>, mut items: &[usize]) -> PyResult<Option<Pairs<'py>>> {
        let mut referents = Vec::new();
        for (name, instead) in &self.0 {
            let here = items.chunks_exact(2).find(|pair| pair[0] == name.as_ptr() as usize);
            let value = match here {
                // SAFETY: a live object, held by the dictionary: what was done since it was read runs no Python code.
                Some(pair) => unsafe { Bound::from_borrowed_ptr(dict.py(), pair[1] as *mut ffi::PyObject) },
                None => {
                    items = &[]; // comparing keys may run code
                    match dict.get_item(name)? {
                        Some(value) => value,
                        None => return Ok(None),
                    }
                }
            };
            let fits = match instead {
                Instead::Nothing => true,
                Instead::Empty => value.cast_exact::<PyDict>().is_ok_and(|dict| dict.is_empty()),
                Instead::Referents => weak_values(&value, &mut referents),
            };
            if !fits {
                return Ok(None);
            }
        }
        Ok(Some(referents))
    }
}

/// What is in a dictionary; null for the values that are not the state's.
struct OwnItems<'a>(*mut ffi::PyObject, &'a Own);

impl Items for OwnItems<'_> {
    fn read(&self, into: &mut Vec<usize>, layout: Option<&Layout>) {
        DictItems(self.0).read(into, layout);
        for pair in into.chunks_exact_mut(2) {
            if self.1.0.iter().any(|(name, _)| name.as_ptr() as usize == pair[0]) {
                pair[1] = 0;
            }
        }
    }
}

/// The items of a dictionary of weak references; false if it is not one.
fn weak_values<'py>(value: &Bound<'py, PyAny>, into: &mut Pairs<'py>) -> bool {
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
