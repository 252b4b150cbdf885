//! Whether a type is what it was: CPython gives a type another version when it, or a class it derives from, is changed.
//!
//! The version is 0 from such a change on until somebody looks an attribute up.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::abi;
use crate::object::load;

/// Where types have their version; `None` where that is not known or does not show changes.
pub(super) fn offset(py: Python<'_>) -> PyResult<Option<usize>> {
    let Some(layout) = abi::of(py)? else {
        return Ok(None);
    };
    let at = layout.type_version;
    let made = py.get_type::<PyType>();
    let base = made.call1(("Base", PyTuple::empty(py), PyDict::new(py)))?;
    let class = made.call1(("Class", PyTuple::new(py, [&base])?, PyDict::new(py)))?;
    let seen = |class: &Bound<'_, PyAny>| -> PyResult<u32> {
        class.hasattr("nothing")?;
        Ok(of(class, at))
    };
    let first = seen(&class)?;
    let same = seen(&class)? == first;
    class.setattr("there", 1)?;
    let changed = of(&class, at);
    let second = seen(&class)?;
    base.setattr("__getstate__", py.None())?;
    let below = of(&class, at);
    let third = seen(&class)?;
    let shows =
        same && first != 0 && second != 0 && changed != first && second != first && below != second && third != second;
    Ok(shows.then_some(at))
}

/// The version of a type; 0 if it has none now, or none that would show changes.
pub fn known(class: &Bound<'_, PyType>) -> u32 {
    static AT: PyOnceLock<Option<usize>> = PyOnceLock::new();
    let py = class.py();
    let at = AT.get_or_init(py, || offset(py).unwrap_or(None));
    at.map_or(0, |at| of(class, at))
}

/// The version of a type; 0 if it has none now.
pub(super) fn of(class: &Bound<'_, PyAny>, at: usize) -> u32 {
    // SAFETY: a live type, under the GIL; `offset` tried that this is where its version is.
    unsafe { load(class.as_ptr() as usize, at) }
}

/// Whether what was said of a type is worth keeping: not of classes of the notebook, which go when nothing else has them, nor
/// of those with a metaclass that may have a say.
pub(super) fn kept(class: &Bound<'_, PyAny>) -> bool {
    let py = class.py();
    let meta = class.get_type();
    let plain = meta.is(py.get_type::<PyType>())
        || (meta.name().is_ok_and(|name| name == "ABCMeta") && meta.module().is_ok_and(|home| home == "abc"));
    plain
        && class
            .getattr("__module__")
            .is_ok_and(|home| home.cast_into::<PyString>().is_ok_and(|home| home != "__main__"))
}
