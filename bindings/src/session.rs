//! What recovery asks of Rust: digests of what is about to be saved.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The 128-bit digest of a list of contiguous buffers.
#[pyfunction]
fn digest<'py>(py: Python<'py>, parts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_buffers(parts)?))
}

/// The 128-bit digests of consecutive chunks of one contiguous buffer, 16 bytes each.
#[pyfunction]
fn digest_chunks<'py>(py: Python<'py>, part: &Bound<'py, PyAny>, chunk_bytes: usize) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_chunks(part, chunk_bytes)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(digest, module)?)?;
    module.add_function(wrap_pyfunction!(digest_chunks, module)?)
}
