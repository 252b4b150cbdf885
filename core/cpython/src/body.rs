//! The memory of an object whose type keeps all that it is in fields of a fixed size, as generators of random numbers do.

use std::mem::size_of;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::abi;

/// A copy of what lies behind the head of an object. `None` for objects of no fixed size, and where heads are not known.
pub fn body(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let kind = object.get_type();
    let size: usize = kind.getattr("__basicsize__")?.extract()?;
    let head = size_of::<ffi::PyObject>();
    if abi::of(object.py())?.is_none() || kind.getattr("__itemsize__")?.extract::<usize>()? != 0 || size <= head {
        return Ok(None);
    }
    let at = object.as_ptr().cast::<u8>();
    // SAFETY: a live object of `size` bytes, which its type says, under the GIL; a thread that has let go of the GIL may be
    // storing to it, and bytes have no invalid values.
    Ok(Some(
        unsafe { std::slice::from_raw_parts(at.add(head), size - head) }.to_vec(),
    ))
}
