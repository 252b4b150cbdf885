//! Classes and functions that are pickled by the name they are imported by: told here for the plain ones, of which a walk meets
//! many, by what `by_reference` in `larder/watch.py` asks. Python is asked about all others.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PySet, PyString, PyType};

use super::{TAG, Walk};

/// What the names are looked up in.
pub(super) struct Names {
    /// The namespace of `sys`.
    sys: Py<PyDict>,
    /// Of cloudpickle: modules whose contents are pickled by value.
    by_value: Option<Py<PySet>>,
}

impl Names {
    pub(super) fn new(py: Python<'_>) -> PyResult<Names> {
        Ok(Names {
            sys: py.import("sys")?.dict().unbind(),
            by_value: None,
        })
    }

    /// Whether `object`, a class or a function, is what its module has under its name; false if that is not sure.
    fn by_name(&mut self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        let Some(modules) = self.sys.bind(py).get_item(intern!(py, "modules"))? else {
            return Ok(false);
        };
        let Ok(modules) = modules.cast_exact::<PyDict>() else {
            return Ok(false);
        };
        if self.by_value.is_none()
            && let Some(pickler) = modules.get_item(intern!(py, "cloudpickle.cloudpickle"))?
        {
            let found = pickler.getattr_opt(intern!(py, "_PICKLE_BY_VALUE_MODULES"))?;
            self.by_value = found.and_then(|found| found.cast_into_exact::<PySet>().ok().map(Bound::unbind));
        }
        if self.by_value.as_ref().is_none_or(|some| !some.bind(py).is_empty()) {
            return Ok(false);
        }
        let home = text(object, intern!(py, "__module__"))?;
        let name = text(object, intern!(py, "__qualname__"))?;
        let (Some(home), Some(name)) = (home, name) else {
            return Ok(false);
        };
        if home == "__main__" {
            return Ok(false);
        }
        if object.is_instance_of::<PyType>() {
            let Some(own) = text(object, intern!(py, "__name__"))? else {
                return Ok(false);
            };
            if !own.as_any().eq(&name)? {
                return Ok(false);
            }
        }
        let Some(module) = modules.get_item(&home)? else {
            return Ok(false);
        };
        let Ok(module) = module.cast_exact::<PyModule>() else {
            return Ok(false);
        };
        let names = module.dict();
        if let Some(found) = names.get_item(&name)? {
            return Ok(found.is(object));
        }
        // A method, by the class it is in.
        let name = name.to_str()?;
        let Some((class, name)) = name.split_once('.').filter(|(_, name)| !name.contains('.')) else {
            return Ok(false);
        };
        let Some(class) = names.get_item(class)? else {
            return Ok(false);
        };
        let plain = class.is_instance_of::<PyType>() && class.get_type().is(py.get_type::<PyType>());
        Ok(plain && class.getattr_opt(name)?.is_some_and(|found| found.is(object)))
    }
}

/// An attribute, if it is a string.
fn text<'py>(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyString>>> {
    let found = object.getattr_opt(name)?;
    Ok(found.and_then(|found| found.cast_into_exact::<PyString>().ok()))
}

impl<'py> Walk<'_, 'py> {
    /// Says a class or function by its name, as what Python says of it would be; false (and nothing said) if it has to be asked.
    ///
    /// Not even its `__dict__` is there to be shared: the one of `copyreg.__newobj__` would join whatever is made by it.
    pub(super) fn named(&mut self, object: &Bound<'py, PyAny>) -> PyResult<bool> {
        let by_name = match &mut self.kinds.names {
            Some(names) => names.by_name(object).unwrap_or(false),
            None => false,
        };
        if !by_name {
            return Ok(false);
        }
        self.say(TAG | 10);
        self.say(object.get_type_ptr() as u64);
        self.digest(b"");
        self.simple = false;
        self.by_itself(object);
        self.say(TAG | 11);
        self.say(0);
        Ok(true)
    }

    /// What never changes, and is the same as long as it lives; `object` is pickled by its name.
    fn by_itself(&mut self, object: &Bound<'py, PyAny>) {
        let at = object.as_ptr() as usize;
        self.say(at as u64);
        self.named.insert(at);
        self.more.push(at);
        if self.pinning {
            self.weak.push(object.clone().unbind());
        }
    }
}
