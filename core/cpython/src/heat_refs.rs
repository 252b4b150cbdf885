//! Memory that may be gone: read by the kernel on our behalf, never by dereferencing.
//!
//! `process_vm_readv` on ourselves answers with a short count where memory is not mapped, so a stale address costs a
//! failed read and nothing else. Where it is forbidden (old container profiles), `/proc/self/mem` answers the same way.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const BATCH: usize = 512;
const PAGE: usize = 4096;
/// Words read at once for pairs.
const PAIR_WORDS: usize = 4096;

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// The interface that answers: shown to users, so that nobody has to guess.
pub fn method() -> &'static str {
    if FORBIDDEN.load(Ordering::Relaxed) {
        "/proc/self/mem"
    } else {
        "process_vm_readv"
    }
}

/// Reads the pieces (`address`, `words`) one after the other into `out`; returns how many words came before the first
/// piece, or part of a piece, that is not mapped.
pub fn gather(pieces: &[(usize, usize)], out: &mut [u64]) -> usize {
    let mut remote = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let pieces = &pieces[..pieces.len().min(BATCH)];
    let mut words = 0;
    for (slot, (address, count)) in remote.iter_mut().zip(pieces) {
        slot.iov_base = *address as *mut libc::c_void;
        slot.iov_len = count * 8;
        words += count;
    }
    if words > out.len() {
        return 0;
    }
    if !FORBIDDEN.load(Ordering::Relaxed) {
        let local = libc::iovec {
            iov_base: out.as_mut_ptr().cast(),
            iov_len: words * 8,
        };
        // SAFETY: `local` is `out`, whose room was checked above; the remote side is only ever read by the kernel, which
        // reports memory that is not there instead of faulting.
        let got = unsafe {
            libc::process_vm_readv(
                libc::getpid(),
                &local,
                1,
                remote.as_ptr(),
                pieces.len() as libc::c_ulong,
                0,
            )
        };
        match usize::try_from(got) {
            Ok(bytes) => return bytes / 8,
            Err(_) => match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => FORBIDDEN.store(true, Ordering::Relaxed),
                _ => return 0, // the first piece is not mapped
            },
        }
    }
    gather_from_file(pieces, out)
}

fn gather_from_file(pieces: &[(usize, usize)], out: &mut [u64]) -> usize {
    static MEMORY: OnceLock<Option<File>> = OnceLock::new();
    let Some(memory) = MEMORY.get_or_init(|| File::open("/proc/self/mem").ok()) else {
        return 0;
    };
    let mut done = 0;
    let mut bytes = [0u8; 4096];
    for (address, count) in pieces {
        let mut at = 0;
        while at < *count {
            let now = (count - at).min(bytes.len() / 8);
            let offset = (address + at * 8) as u64;
            let got = match i64::try_from(offset) {
                Ok(_) => memory.read_at(&mut bytes[..now * 8], offset).unwrap_or(0) / 8,
                Err(_) => 0,
            };
            for (word, raw) in out[done..done + got].iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_ne_bytes(raw.try_into().unwrap_or_default());
            }
            done += got;
            at += got;
            if got < now {
                return done;
            }
        }
    }
    done
}

/// The first two words at each address (reference count, type); `None` where nothing is mapped. Of the count, the half
/// that every version from 3.11 on counts in.
///
/// Neighbours in `addresses` that share a page are read in one piece: sorted addresses are cheaper.
pub fn read_pairs(addresses: &[usize], out: &mut Vec<Option<[u64; 2]>>) {
    out.clear();
    out.resize(addresses.len(), None);
    let mut words = [0u64; PAIR_WORDS];
    let mut pieces = [(0usize, 0usize); BATCH];
    let mut at = 0;
    while at < addresses.len() {
        let (mut used, mut total, mut to) = (0, 0, at);
        while let Some(address) = addresses.get(to) {
            let (first, count) = pieces[used.max(1) - 1];
            let reach = address.wrapping_sub(first) / 8 + 2;
            let joins = used > 0
                && first / PAGE == address / PAGE
                && *address >= first
                && (address - first).is_multiple_of(8)
                && reach <= PAGE / 8;
            let grows = if joins { reach.max(count) - count } else { 2 };
            if total + grows > PAIR_WORDS || (!joins && used == BATCH) {
                break;
            }
            if joins {
                pieces[used - 1].1 = reach.max(count);
            } else {
                pieces[used] = (*address, 2);
                used += 1;
            }
            total += grows;
            to += 1;
        }
        let read = gather(&pieces[..used], &mut words);
        let (mut piece, mut from) = (0, 0);
        while at < to {
            let (first, count) = pieces[piece];
            if addresses[at] < first || addresses[at] - first > (count - 2) * 8 {
                piece += 1;
                from += count;
                continue;
            }
            let here = from + (addresses[at] - first) / 8;
            if here + 2 > read {
                break;
            }
            out[at] = Some([words[here] & 0xFFFF_FFFF, words[here + 1]]);
            at += 1;
        }
        // The kernel stops at the first address it cannot read: step over that one and go on.
        at += usize::from(at < to);
    }
}

#[cfg(test)]
mod tests {
    use super::{gather, gather_from_file, read_pairs};

    #[test]
    fn unmapped_addresses_are_none_and_the_others_are_read() {
        let words = [[7u64, 8], [9, 10]];
        let there = words.as_ptr() as usize;
        let mut out = Vec::new();
        read_pairs(&[there, 8, there + 16, usize::MAX - 64], &mut out);
        assert_eq!(out, [Some([7, 8]), None, Some([9, 10]), None]);
    }

    #[test]
    fn sorted_and_unsorted_addresses_on_the_same_pages_give_the_same_pairs() {
        let words: Vec<u64> = (0..40_000).collect();
        let there = words.as_ptr() as usize;
        let mut addresses: Vec<usize> = (0..3000).map(|at| there + (at * 7919 % 39_990) * 8).collect();
        addresses.insert(1500, 8);
        for sorted in [false, true] {
            if sorted {
                addresses.sort_unstable();
            }
            let mut out = Vec::new();
            read_pairs(&addresses, &mut out);
            for (address, pair) in addresses.iter().zip(&out) {
                let expected = (*address != 8)
                    .then(|| (address - there) as u64 / 8)
                    .map(|at| [at, at + 1]);
                assert_eq!(*pair, expected);
            }
        }
    }

    #[test]
    fn the_fallback_reads_the_same_words_and_stops_at_the_same_place() {
        let words: Vec<u64> = (0..1500).collect();
        let there = words.as_ptr() as usize;
        let pieces = [(there + 80, 2), (there, 1200), (16, 1), (there, 1)];
        let (mut one, mut other) = (vec![0; 1300], vec![0; 1300]);
        assert_eq!(gather(&pieces, &mut one), 1202);
        assert_eq!(gather_from_file(&pieces, &mut other), 1202);
        assert_eq!(one[..1202], other[..1202]);
        assert_eq!(one[..3], [10, 11, 0]);
    }
}
