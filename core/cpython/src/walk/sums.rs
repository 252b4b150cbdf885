//! Digests of memory: of chunks, by several threads where it is large.

use xxhash_rust::xxh3::xxh3_128;

/// Larger memory is digested by chunks of so many bytes, which is also how it is saved.
pub const CHUNK_BYTES: usize = 1 << 20;

/// The digest of memory.
pub fn whole(bytes: &[u8]) -> u128 {
    if bytes.len() <= CHUNK_BYTES {
        return xxh3_128(bytes);
    }
    xxh3_128(&of_chunks(bytes, CHUNK_BYTES))
}

/// More threads than this do not read memory faster.
const THREADS_MAX: usize = 4;
/// Below this a thread costs more than it saves.
const BYTES_PER_THREAD_MIN: usize = 8 << 20;

/// The digests of consecutive chunks, 16 bytes each; the last chunk may be shorter.
pub fn of_chunks(bytes: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let count = bytes.len().div_ceil(chunk_bytes);
    let mut digests = vec![0_u8; count * 16];
    let threads = (bytes.len() / BYTES_PER_THREAD_MIN).clamp(1, THREADS_MAX);
    let per_thread = count.div_ceil(threads);
    let hash = |span: &[u8], out: &mut [u8]| {
        for (chunk, digest) in span.chunks(chunk_bytes).zip(out.chunks_exact_mut(16)) {
            digest.copy_from_slice(&xxh3_128(chunk).to_le_bytes());
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
            .flat_map(|chunk| xxh3_128(chunk).to_le_bytes())
            .collect();
        assert_eq!(of_chunks(&bytes, chunk_bytes), one_by_one);
        assert_eq!(one_by_one.len(), 41 * 16);
    }

    #[test]
    fn one_changed_byte_changes_the_digest_of_its_chunk_only() {
        let mut bytes = vec![7_u8; 1000];
        let before = of_chunks(&bytes, 100);
        bytes[555] = 8;
        let after = of_chunks(&bytes, 100);
        let changed: Vec<usize> = (0..10)
            .filter(|i| before[i * 16..][..16] != after[i * 16..][..16])
            .collect();
        assert_eq!(changed, [5]);
    }
}
