//! A shelf on persistent memory: the same file, with a persist layer that needs no system call.
//!
//! Small writes into blocks that are already allocated go through a `MAP_SYNC` mapping with non-temporal stores, and
//! an `sfence` makes them durable: that is the log, so a small commit costs no flush of the file system. Everything
//! else (new extents, length changes) goes through the file, and the next sync is an fdatasync.
//!
//! Whether a file system can do this is found by trying: `MAP_SYNC` refuses with EOPNOTSUPP where it cannot.

use super::file::FileMedia;
use super::{Media, Medium};
use crate::format::PAGE;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Larger writes are as fast through the file.
const SMALL: usize = 256 << 10;

pub struct DaxMedia {
    file: FileMedia,
    state: Mutex<State>,
    /// Something went through the file since the last sync.
    unflushed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Mapped pieces: offset -> (address, length).
    maps: BTreeMap<u64, (usize, usize)>,
    /// Ranges whose blocks are allocated and whose allocation is flushed: start -> end.
    stable: BTreeMap<u64, u64>,
    /// Ranges written through the file since the last sync.
    fresh: Vec<(u64, u64)>,
}

impl DaxMedia {
    /// Takes the file over if its file system maps it with `MAP_SYNC`; gives it back with the reason if not.
    pub fn try_new(file: File) -> Result<DaxMedia, (File, io::Error)> {
        let probe = || -> io::Result<()> {
            if !cfg!(target_arch = "x86_64") {
                return Err(io::ErrorKind::Unsupported.into());
            }
            if file.metadata()?.len() < PAGE {
                return Err(io::Error::other("too short to be mapped"));
            }
            let at = map_sync(&file, 0, PAGE as usize)?;
            // SAFETY: just mapped with this length, and nothing points into it.
            unsafe { libc::munmap(at as *mut _, PAGE as usize) };
            Ok(())
        };
        if let Err(error) = probe() {
            return Err((file, error));
        }
        let mut state = State::default();
        let (mut at, fd) = (0i64, file.as_raw_fd());
        loop {
            // SAFETY: seeks on a descriptor we own; positions are not used otherwise.
            let (start, end) = unsafe {
                let start = libc::lseek(fd, at, libc::SEEK_DATA);
                (
                    start,
                    if start < 0 {
                        -1
                    } else {
                        libc::lseek(fd, start, libc::SEEK_HOLE)
                    },
                )
            };
            if start < 0 || end < 0 {
                break;
            }
            state.stable.insert(start as u64, end as u64);
            at = end;
        }
        // What SEEK_DATA showed may not be flushed yet: the first sync is a whole one.
        Ok(DaxMedia {
            file: FileMedia::new(file),
            state: Mutex::new(state),
            unflushed: AtomicBool::new(true),
        })
    }
}

impl State {
    fn is_stable(&self, at: u64, end: u64) -> bool {
        self.stable
            .range(..=at)
            .next_back()
            .is_some_and(|(_, stop)| *stop >= end)
    }

    fn add(&mut self, mut start: u64, mut end: u64) {
        while let Some((s, e)) = self
            .stable
            .range(..=end)
            .next_back()
            .map(|(s, e)| (*s, *e))
            .filter(|(_, e)| *e >= start)
        {
            (start, end) = (start.min(s), end.max(e));
            self.stable.remove(&s);
        }
        self.stable.insert(start, end);
    }

    fn remove(&mut self, start: u64, end: u64) {
        let hit: Vec<(u64, u64)> = self
            .stable
            .range(..end)
            .map(|(s, e)| (*s, *e))
            .filter(|(_, e)| *e > start)
            .collect();
        for (s, e) in hit {
            self.stable.remove(&s);
            if s < start {
                self.stable.insert(s, start);
            }
            if e > end {
                self.stable.insert(end, e);
            }
        }
    }

    /// The address of `at`, in a mapping that reaches `end`.
    fn address(&mut self, file: &File, at: u64, end: u64) -> io::Result<usize> {
        if let Some((start, (base, len))) = self.maps.range(..=at).next_back()
            && start + *len as u64 >= end
        {
            return Ok(base + (at - start) as usize);
        }
        let start = at / PAGE * PAGE;
        let len = ((end - start).next_multiple_of(PAGE)) as usize;
        let base = map_sync(file, start, len)?;
        if let Some((old, old_len)) = self.maps.insert(start, (base, len)) {
            // SAFETY: an older, shorter mapping of the same place; nothing keeps its address.
            unsafe { libc::munmap(old as *mut _, old_len) };
        }
        Ok(base + (at - start) as usize)
    }
}

impl Drop for DaxMedia {
    fn drop(&mut self) {
        for (base, len) in self.state.lock().maps.values() {
            // SAFETY: mapped by us with this length; nothing keeps the address.
            unsafe { libc::munmap(*base as *mut _, *len) };
        }
    }
}

impl Media for DaxMedia {
    fn medium(&self) -> Medium {
        Medium::Dax
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(at, into)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        let mut state = self.state.lock();
        if bytes.len() <= SMALL && state.is_stable(at / 8 * 8, end.next_multiple_of(8)) {
            let address = state.address(self.file.file(), at / 8 * 8, end.next_multiple_of(8))?;
            stream(address, (at % 8) as usize, bytes);
            return Ok(());
        }
        self.unflushed.store(true, Ordering::Release);
        self.file.write_at(at, bytes)?;
        // Only whole pages count as allocated.
        let (start, end) = (at.next_multiple_of(PAGE), end / PAGE * PAGE);
        if start < end {
            state.fresh.push((start, end));
        }
        Ok(())
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.remove(at, at + len);
        state.fresh.retain(|(start, end)| *end <= at || *start >= at + len);
        self.unflushed.store(true, Ordering::Release);
        self.file.zero(at, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.remove(len, u64::MAX);
        state.fresh.retain(|(_, end)| *end <= len);
        self.unflushed.store(true, Ordering::Release);
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        fence();
        if self.unflushed.swap(false, Ordering::AcqRel) {
            let mut state = self.state.lock();
            if let Err(error) = self.file.sync() {
                self.unflushed.store(true, Ordering::Release);
                return Err(error);
            }
            for (start, end) in std::mem::take(&mut state.fresh) {
                state.add(start, end);
            }
        }
        Ok(())
    }

    fn fd(&self) -> Option<RawFd> {
        self.file.fd()
    }
    fn begin_apply(&self) -> io::Result<()> {
        self.file.begin_apply()
    }
    fn end_apply(&self) {
        self.file.end_apply();
    }
    fn oldest_pin(&self) -> io::Result<Option<u64>> {
        self.file.oldest_pin()
    }
    fn begin_read(&self) -> io::Result<()> {
        self.file.begin_read()
    }
    fn end_read(&self, commit: u64) -> io::Result<()> {
        self.file.end_read(commit)
    }
    fn name_borrower(&self, pid: Option<u32>) {
        self.file.name_borrower(pid);
    }
    fn release(&self, pin: Option<u64>) {
        self.file.release(pin);
    }
}

fn map_sync(file: &File, at: u64, len: usize) -> io::Result<usize> {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC,
    );
    // SAFETY: a new mapping at an address the kernel chooses; nothing existing is touched.
    let got = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            access,
            flags,
            file.as_raw_fd(),
            at as libc::off_t,
        )
    };
    if got == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(got as usize)
    }
}

/// Stores `bytes` at `address + skip` in aligned 8-byte words that bypass the caches.
#[cfg(target_arch = "x86_64")]
fn stream(address: usize, skip: usize, bytes: &[u8]) {
    let words = (skip + bytes.len()).div_ceil(8);
    for word in 0..words {
        let at = (address + word * 8) as *mut i64;
        let from = (word * 8).saturating_sub(skip);
        let to = (word * 8 + 8 - skip).min(bytes.len());
        let offset = if word == 0 { skip } else { 0 };
        let mut value = [0u8; 8];
        if to - from < 8 {
            // SAFETY: the caller mapped whole words from `address` on; blocks under them are allocated.
            value = unsafe { at.read_volatile() }.to_ne_bytes();
        }
        value[offset..offset + (to - from)].copy_from_slice(&bytes[from..to]);
        // SAFETY: mapped and aligned as above; SSE2 is part of x86-64.
        unsafe { std::arch::x86_64::_mm_stream_si64(at, i64::from_ne_bytes(value)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn stream(_address: usize, _skip: usize, _bytes: &[u8]) {
    unreachable!("try_new refuses other machines");
}

fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64; a fence touches no memory.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn streamed_bytes_land_where_asked_and_nowhere_else() {
        for (skip, len) in (0..8).flat_map(|skip| (0..40).map(move |len| (skip, len))) {
            let mut memory = [0xAAAA_AAAA_AAAA_AAAAu64; 8];
            let bytes: Vec<u8> = (0..len as u8).collect();
            stream(memory.as_mut_ptr() as usize, skip, &bytes);
            fence();
            let seen: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
            assert_eq!(&seen[skip..skip + len], &bytes[..], "{skip} {len}");
            assert!(
                seen[..skip].iter().chain(&seen[skip + len..]).all(|byte| *byte == 0xAA),
                "{skip} {len}"
            );
        }
    }

    #[test]
    fn stable_ranges_join_and_split() {
        let mut state = State::default();
        state.add(0, 10);
        state.add(20, 30);
        state.add(10, 20);
        assert!(state.is_stable(0, 30) && state.stable.len() == 1);
        state.remove(5, 25);
        assert!(state.is_stable(0, 5) && state.is_stable(25, 30) && !state.is_stable(4, 6) && !state.is_stable(24, 26));
    }
}
