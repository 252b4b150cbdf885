//! Digests of serialised variables: how recovery tells what a cell changed.

use larder_cpython::walk::sums::of_chunks as chunk_digests;
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
    each(parts, |bytes| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    })?;
    Ok(hash.digest128().to_le_bytes())
}

/// The 128-bit XXH3 digest of bytes that come in pieces, and of what is told of them in the end: where their parts end, for one.
#[derive(Default)]
pub struct Joined(Xxh3);

impl Joined {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn end(mut self, told: &[u8]) -> [u8; 16] {
        self.0.update(told);
        self.0.update(&(told.len() as u64).to_le_bytes());
        self.0.digest128().to_le_bytes()
    }
}

/// The digest of contiguous buffers one after the other, and of what is `told` of them: see [`Joined`].
///
/// # Errors
/// `BufferError` or `ValueError` for what is no contiguous buffer of bytes.
pub fn of_joined(parts: &Bound<'_, PyAny>, told: &[u8]) -> PyResult<[u8; 16]> {
    let mut hash = Joined::default();
    each(parts, |bytes| hash.add(bytes))?;
    Ok(hash.end(told))
}

/// The bytes of a sequence of contiguous buffers.
fn each(parts: &Bound<'_, PyAny>, mut seen: impl FnMut(&[u8])) -> PyResult<()> {
    for part in parts.try_iter()? {
        let buffer = PyBuffer::<u8>::get(&part?)?;
        if !buffer.is_c_contiguous() {
            return Err(pyo3::exceptions::PyValueError::new_err(
                "a digest needs contiguous buffers",
            ));
        }
        if buffer.len_bytes() == 0 {
            seen(&[]);
            continue;
        }
        // SAFETY:
        // - Valid: PEP 3118 promises `len` readable bytes at `buf` while the view is held, and `buffer` holds it.
        // - No race: the GIL is held, and a thread that writes without it while a cell's end is being saved may be
        //   caught half-done, as the documentation says; bytes have no invalid values.
        seen(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) });
    }
    Ok(())
}

/// The 128-bit digests of consecutive chunks of `chunk_bytes` of one buffer, 16 bytes each; the last chunk may be
/// shorter. Large buffers are read by as many as [`THREADS_MAX`] threads.
///
/// # Errors
/// `BufferError` or `ValueError` for what is no contiguous buffer of bytes, or if `chunk_bytes` is 0.
pub fn of_chunks(part: &Bound<'_, PyAny>, chunk_bytes: usize) -> PyResult<Vec<u8>> {
    let buffer = PyBuffer::<u8>::get(part)?;
    if !buffer.is_c_contiguous() || chunk_bytes == 0 {
        return Err(pyo3::exceptions::PyValueError::new_err(
            "digests need a contiguous buffer and a chunk size",
        ));
    }
    if buffer.len_bytes() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: as in `of_buffers`; the threads below end before `buffer` is released.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    Ok(chunk_digests(bytes, chunk_bytes))
}
