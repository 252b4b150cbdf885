//! Where NumPy arrays have their memory, asked of the arrays themselves: `__array_interface__` describes their type each time.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::object::load;

// `PyArrayObject_fields` and the first fields of `PyArray_Descr`: as in every NumPy of the stable ABI (1.x and 2.x).
const DATA: usize = 16;
const BASE: usize = 48;
const DTYPE: usize = 56;
const FLAGS: usize = 64;
const KIND: usize = 24;
const C_CONTIGUOUS: i32 = 1;
const F_CONTIGUOUS: i32 = 2;
const WRITEABLE: i32 = 0x400;

fn ndarray<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
    static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    NDARRAY.import(py, "numpy", "ndarray")
}

/// Where the data of an array begins.
///
/// # Errors
/// `TypeError` for what is no array.
pub fn data(array: &Bound<'_, PyAny>) -> PyResult<usize> {
    if !array.is_instance(ndarray(array.py())?)? {
        return Err(PyTypeError::new_err("not an array of NumPy"));
    }
    // SAFETY: a live array.
    Ok(unsafe { load(array.as_ptr() as usize, DATA) })
}

/// Where the memory of an array begins and ends: one of no derived class, whose own memory it is, in one piece and to be written
/// to, and whose items are numbers, texts or records. `None` for others.
pub fn own(array: &Bound<'_, PyAny>) -> PyResult<Option<(usize, usize)>> {
    let class = ndarray(array.py())?;
    // SAFETY: a live object.
    if unsafe { ffi::Py_TYPE(array.as_ptr()) } != class.as_type_ptr() {
        return Ok(None);
    }
    let at = array.as_ptr() as usize;
    // SAFETY: an exact array, which holds its dtype.
    let (low, base, flags, kind) = unsafe {
        (
            load::<usize>(at, DATA),
            load::<usize>(at, BASE),
            load::<i32>(at, FLAGS),
            load::<u8>(load::<usize>(at, DTYPE), KIND),
        )
    };
    if base != 0
        || flags & WRITEABLE == 0
        || flags & (C_CONTIGUOUS | F_CONTIGUOUS) == 0
        || !b"?biufcSUV".contains(&kind)
    {
        return Ok(None);
    }
    let nbytes: usize = array.getattr(intern!(array.py(), "nbytes"))?.extract()?;
    Ok(Some((low, low + nbytes)))
}
