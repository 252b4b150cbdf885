//! Reference counts of objects that may be gone: read by the kernel on our behalf, never by dereferencing.
//!
//! `process_vm_readv` on ourselves answers with a short count where memory is not mapped, so a stale address costs a
//! failed read and nothing else. The type word comes along: when it changes, the object is another one.

const BATCH: usize = 512;

/// The first two words at each address (reference count, type); `None` where nothing is mapped.
pub fn read_pairs(addresses: &[usize], out: &mut Vec<Option<[u64; 2]>>) {
    out.clear();
    out.resize(addresses.len(), None);
    let mut words = [[0u64; 2]; BATCH];
    let mut at = 0;
    while at < addresses.len() {
        let batch = &addresses[at..addresses.len().min(at + BATCH)];
        let local = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: batch.len() * 16,
        };
        let remote: Vec<libc::iovec> = batch
            .iter()
            .map(|a| libc::iovec {
                iov_base: *a as *mut libc::c_void,
                iov_len: 16,
            })
            .collect();
        // SAFETY: `local` is `words`, with room for the batch; the remote side is only ever read by the kernel, which
        // reports memory that is not there instead of faulting.
        let got = unsafe {
            libc::process_vm_readv(
                libc::getpid(),
                &local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        let read = usize::try_from(got).unwrap_or(0) / 16;
        for (index, pair) in words[..read].iter().enumerate() {
            out[at + index] = Some(*pair);
        }
        // The kernel stops at the first address it cannot read: step over that one and go on.
        at += if read == batch.len() { read } else { read + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::read_pairs;

    #[test]
    fn unmapped_addresses_are_none_and_the_others_are_read() {
        let words = [[7u64, 8], [9, 10]];
        let there = words.as_ptr() as usize;
        let mut out = Vec::new();
        read_pairs(&[there, 8, there + 16, usize::MAX - 64], &mut out);
        assert_eq!(out, [Some([7, 8]), None, Some([9, 10]), None]);
    }
}
