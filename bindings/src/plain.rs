//! Pickles of plain values, written in Rust, and what Python's picklers met.

use larder_cpython::memo::{self, Parts};
use larder_cpython::plain::Plain;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet};

/// The pickle, and the addresses that were asked for.
type Written<'py> = (Bound<'py, PyBytes>, Option<Vec<u64>>);

/// Writes pickles of what holds nothing but plain objects: numbers, strings, bytes and Python's own containers of these.
#[pyclass(module = "larder._larder")]
struct PlainPickler(Option<Plain>);

#[pymethods]
impl PlainPickler {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PlainPickler> {
        Ok(PlainPickler(Plain::new(py)?))
    }

    /// A pickle of `value` for `pickle.loads`, or `None` if something in it is not plain. With `sharing` also the addresses of
    /// what can change in it and is referred to from several places.
    #[pyo3(signature = (value, sharing=false))]
    fn dumps<'py>(&mut self, value: &Bound<'py, PyAny>, sharing: bool) -> PyResult<Option<Written<'py>>> {
        let Some(written) = self.0.as_mut().and_then(|plain| plain.write(value, sharing).ok()) else {
            return Ok(None);
        };
        let stream = PyBytes::new_with(value.py(), written.stream.len(), |bytes| {
            bytes.copy_from_slice(written.stream);
            Ok(())
        })?;
        Ok(Some((stream, written.shared)))
    }
}

/// What a pickler met by address, but for objects of the types in `apart`; the addresses of what others may hold as well; and the types.
/// `shareable` says of a type whether others may hold its objects as well, `one` of an object where that says `None`.
#[pyfunction]
fn pickler_met<'py>(
    pickler: &Bound<'py, PyAny>,
    apart: &Bound<'py, PyFrozenSet>,
    shareable: &Bound<'py, PyAny>,
    one: &Bound<'py, PyAny>,
) -> PyResult<Parts<'py>> {
    memo::parts(pickler, apart, shareable, one)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pickler_met, module)?)?;
    module.add_class::<PlainPickler>()
}
