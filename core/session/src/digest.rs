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

/// More threads than this do not read memory faster.
const THREADS_MAX: usize = 4;
/// Below this a thread costs more than it saves.
const BYTES_PER_THREAD_MIN: usize = 8 << 20;

fn chunk_digests(bytes: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let count = bytes.len().div_ceil(chunk_bytes);
    let mut digests = vec![0_u8; count * 16];
    let threads = (bytes.len() / BYTES_PER_THREAD_MIN).clamp(1, THREADS_MAX);
    let per_thread = count.div_ceil(threads);
    let hash = |span: &[u8], out: &mut [u8]| {
        for (chunk, digest) in span.chunks(chunk_bytes).zip(out.chunks_exact_mut(16)) {
            digest.copy_from_slice(&xxhash_rust::xxh3::xxh3_128(chunk).to_le_bytes());
        }
    };
    if threads == 1 {
        hash(bytes, &mut digests);
        return digests;
    }
    std::thread::scope(|scope| {
        for (span, out) in bytes
            .chunks(per_thread * chunk_bytes)
            .zip(digests.chunks_mut(per_thread * 16))
        {
            scope.spawn(move || hash(span, out));
        }
    });
    digests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_chunks_do_not_depend_on_the_number_of_threads() {
        let bytes: Vec<u8> = (0..(40 << 20) + 17_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let chunk_bytes = 1 << 20;
        let one_by_one: Vec<u8> = bytes
            .chunks(chunk_bytes)
            .flat_map(|chunk| xxhash_rust::xxh3::xxh3_128(chunk).to_le_bytes())
            .collect();
        assert_eq!(chunk_digests(&bytes, chunk_bytes), one_by_one);
        assert_eq!(one_by_one.len(), 41 * 16);
    }

    #[test]
    fn one_changed_byte_changes_the_digest_of_its_chunk_only() {
        let mut bytes = vec![7_u8; 1000];
        let before = chunk_digests(&bytes, 100);
        bytes[555] = 8;
        let after = chunk_digests(&bytes, 100);
        let changed: Vec<usize> = (0..10)
            .filter(|i| before[i * 16..][..16] != after[i * 16..][..16])
            .collect();
        assert_eq!(changed, [5]);
    }
}
