//! Digests of serialised variables: how recovery tells what a cell changed.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use xxhash_rust::xxh3::Xxh3;

/// The 128-bit XXH3 digest of a sequence of contiguous buffers. Lengths are part of it, so that bytes cannot move from
/// one buffer to the next unseen.
///
/// # Errors
/// `BufferError` or `ValueError` for what is no contiguous buffer of bytes.
pub fn of_buffers(parts: &Bound<'_, PyAny>) -> PyResult<[u8; 16]> {
    let mut hash = Xxh3::new();
    for part in parts.try_iter()? {
        let buffer = PyBuffer::<u8>::get(&part?)?;
        if !buffer.is_c_contiguous() {
            return Err(pyo3::exceptions::PyValueError::new_err(
                "a digest needs contiguous buffers",
            ));
        }
        hash.update(&(buffer.len_bytes() as u64).to_le_bytes());
        if buffer.len_bytes() > 0 {
            // SAFETY:
            // - Valid: PEP 3118 promises `len` readable bytes at `buf` while the view is held, and `buffer` holds it.
            // - No race: the GIL is held, and a thread that writes without it while a cell's end is being saved may be
            //   caught half-done, as the documentation says; bytes have no invalid values.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
            hash.update(bytes);
        }
    }
    Ok(hash.digest128().to_le_bytes())
}
