//! MurmurHash2, by which front ends and kernel agree on a cell's file name (`hashMethod` of `debugInfo`).

const M: u32 = 0x5bd1_e995;

/// The 32-bit MurmurHash2 of `data`.
pub fn murmur2(data: &[u8], seed: u32) -> u32 {
    let mut hash = seed ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let k = rest.iter().rev().fold(0_u32, |k, byte| k << 8 | u32::from(*byte));
        hash = (hash ^ k).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn known_values() {
        assert_eq!(murmur2(b"", 0), 0);
        assert_eq!(murmur2(b"print(1)", 0xC70F_6907), KNOWN);
    }

    /// Computed with ipykernel 7.4's `murmur2_x86`.
    const KNOWN: u32 = 3773950048;
}
