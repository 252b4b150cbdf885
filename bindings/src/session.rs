//! What recovery asks of Rust: digests of what is about to be saved.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The 128-bit digest of a list of contiguous buffers.
#[pyfunction]
fn digest<'py>(py: Python<'py>, parts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_buffers(parts)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(digest, module)?)
}
