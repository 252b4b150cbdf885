//! The shelf engine as Python objects: open, put, get, commit, and buffers that view the heap.

use pyo3::prelude::*;

pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
