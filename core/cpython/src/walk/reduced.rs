//! Walking what pickle would write of an object: the value of its `__reduce_ex__` (or of what stands for it).
//!
//! Such a value holds objects that were there before, and objects that were made for the occasion and are gone after the walk:
//! a copy of a dictionary, the bytes of a buffer. An object that only its container and we hold is one of the latter
//! (*fresh*). Its address means nothing: it is said by what it holds, numbers and strings among it by their value.
//!
//! Invariant: all values stay alive until the walk ends, so no address met in it becomes another object's.

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::held::Items;
use super::{Stop, TAG, Walk, dict_of, type_name};
use crate::object::{obj, refcount};

/// What is asked for the value.
pub(super) enum How {
    /// `__reduce_ex__(5)`.
    Reduce,
    /// `__getstate__()`: the rest of how `object` pickles is the class.
    State,
    /// A function, as `copyreg` registers them.
    Function(Py<PyAny>),
}

impl<'py> Walk<'_, 'py> {
    /// What pickle would see of `object`, whose address was said if it means something.
    pub(super) fn reduced(&mut self, object: &Bound<'py, PyAny>, how: &How, fresh: bool) -> Result<(), Stop> {
        self.simple = false;
        if !fresh {
            self.more.extend(dict_of(object));
        }
        let value = match how {
            How::Reduce => object.call_method1(intern!(self.py, "__reduce_ex__"), (5,)),
            How::State => object.call_method0(intern!(self.py, "__getstate__")),
            How::Function(function) => function.bind(self.py).call1((object,)),
        };
        let value = match value {
            Err(error) if error.is_instance_of::<PyException>(self.py) => return Err(Stop::Opaque(type_name(object))),
            value => value?,
        };
        self.say(TAG | 12);
        self.deeper()?;
        self.below += 1;
        self.keep.push(value.clone());
        self.say(object.get_type_ptr() as u64);
        if matches!(how, How::State) {
            self.meet(object.get_type().as_any(), true)?;
            self.part(&value)?;
        } else if let Ok(name) = value.cast_exact::<PyString>() {
            // Pickled as a name to import it by.
            self.named.insert(object.as_ptr() as usize);
            self.by_value(name.as_any())?;
        } else {
            self.reduction(object, &value)?;
        }
        self.below -= 1;
        self.depth -= 1;
        Ok(())
    }

    /// `(function, arguments[, state[, items[, pairs[, setter]]]])`.
    fn reduction(&mut self, object: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        let opaque = || Stop::Opaque(type_name(object));
        let value = value.cast_exact::<PyTuple>().map_err(|_| opaque())?;
        if !(2..=6).contains(&value.len()) {
            return Err(opaque());
        }
        self.say(value.len() as u64);
        for (at, part) in value.iter().enumerate() {
            if !matches!(at, 3 | 4) || part.is_none() {
                self.part(&part)?;
                continue;
            }
            drop(part);
            let items = match self.items_of(&value.get_item(at)?) {
                Err(error) if error.is_instance_of::<PyException>(self.py) => return Err(opaque()),
                items => items?,
            };
            self.keep.push(items.clone().into_any());
            self.say(TAG | 13);
            self.say(items.len() as u64);
            for item in items.iter() {
                if at == 3 {
                    self.part(&item)?;
                    continue;
                }
                let pair = item.cast_exact::<PyTuple>().map_err(|_| opaque())?;
                if pair.len() != 2 {
                    return Err(opaque());
                }
                for part in pair.iter() {
                    self.part(&part)?;
                }
            }
        }
        Ok(())
    }

    fn items_of(&self, iterator: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let items = PyList::empty(self.py);
        for item in iterator.try_iter()? {
            items.append(item?)?;
        }
        Ok(items)
    }

    /// Something in such a value, which one container and `object` hold, and who else?
    pub(super) fn part(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        // SAFETY: a live object.
        if unsafe { refcount(obj(object.as_ptr())) } != 2 {
            return self.meet(object, false);
        }
        self.say(TAG | 14);
        self.fresh(object)
    }

    /// A fresh leaf, by its value.
    pub(super) fn by_value(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        self.say(object.get_type_ptr() as u64);
        if let Ok(number) = object.cast_exact::<PyFloat>() {
            self.say(number.value().to_bits());
            return Ok(());
        }
        if let Ok(number) = object.cast_exact::<PyInt>()
            && let Ok(number) = number.extract::<i64>()
        {
            self.say(TAG | 15);
            self.say(number as u64);
            return Ok(());
        }
        if let Ok(text) = object.cast_exact::<PyString>()
            && let Ok(text) = text.to_str()
        {
            self.say(TAG | 16);
            self.digest(text.as_bytes());
            return Ok(());
        }
        let bytes = match self.py.import("pickle")?.call_method1("dumps", (object, 5)) {
            Err(error) if error.is_instance_of::<PyException>(self.py) => return Err(Stop::Opaque(type_name(object))),
            bytes => bytes?.cast_into_exact::<PyBytes>().map_err(PyErr::from)?,
        };
        self.say(TAG | 17);
        self.digest(bytes.as_bytes());
        Ok(())
    }

    /// What a fresh container holds: it is not looked for elsewhere.
    pub(super) fn parts(&mut self, items: &impl Items) -> Result<(), Stop> {
        let mut at = std::mem::take(&mut self.kinds.scratch);
        at.clear();
        items.read(&mut at, self.kinds.layout);
        self.say(at.len() as u64);
        let mut later = Vec::new();
        for item in &at {
            let item = *item as *mut ffi::PyObject;
            // SAFETY: a live object, held by its container; no Python code runs in the loop.
            let fresh = unsafe { refcount(obj(item)) } == 1;
            self.say(if fresh { TAG | 14 } else { item as u64 });
            // SAFETY: as above.
            if !fresh && self.is_leaf(unsafe { ffi::Py_TYPE(item) } as usize) {
                self.pin(item);
            } else {
                // SAFETY: as above.
                later.push((unsafe { Bound::from_borrowed_ptr(self.py, item) }, fresh));
            }
        }
        self.kinds.scratch = at;
        for (item, fresh) in later {
            if fresh {
                self.fresh(&item)?;
            } else {
                self.meet(&item, true)?;
            }
        }
        Ok(())
    }
}
