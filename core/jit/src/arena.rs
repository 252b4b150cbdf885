//! Packed machine code: one memory file mapped twice, writable here and executable there.
//!
//! Invariants
//!
//! - No page is writable and executable through the same mapping.
//! - Code has no relocations, so where it lies does not matter.
//! - Pieces are freed only while no trace runs; freed bytes become traps.

use std::io;

const ALIGN: usize = 16;

pub struct Arena {
    write: *mut u8,
    exec: *mut u8,
    size: usize,
    /// Free pieces, by offset; neighbours are always merged.
    free: Vec<(usize, usize)>,
    used: usize,
}

/// A piece of code in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub offset: usize,
    pub len: usize,
}

impl Arena {
    /// Reserves `size` bytes for code, a multiple of the page size.
    ///
    /// # Errors
    /// What the system says when it refuses memory files or mappings.
    pub fn new(size: usize) -> io::Result<Arena> {
        // SAFETY: plain system calls; every result is checked before use.
        unsafe {
            let fd = libc::memfd_create(c"larder-traces".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let map = |prot| libc::mmap(std::ptr::null_mut(), size, prot, libc::MAP_SHARED, fd, 0);
            let sized = libc::ftruncate(fd, size as libc::off_t);
            let write = map(libc::PROT_READ | libc::PROT_WRITE);
            let exec = map(libc::PROT_READ | libc::PROT_EXEC);
            let error = io::Error::last_os_error();
            libc::close(fd);
            if sized != 0 || write == libc::MAP_FAILED || exec == libc::MAP_FAILED {
                for p in [write, exec] {
                    if p != libc::MAP_FAILED {
                        libc::munmap(p, size);
                    }
                }
                return Err(error);
            }
            Ok(Arena {
                write: write.cast(),
                exec: exec.cast(),
                size,
                free: vec![(0, size)],
                used: 0,
            })
        }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Copies code in; none when no hole is large enough.
    pub fn publish(&mut self, code: &[u8]) -> Option<Piece> {
        let len = code.len().next_multiple_of(ALIGN);
        let at = self.free.iter().position(|hole| hole.1 >= len)?;
        let (offset, room) = self.free[at];
        if room == len {
            self.free.remove(at);
        } else {
            self.free[at] = (offset + len, room - len);
        }
        self.used += len;
        // SAFETY: the hole lies inside the mapping and nothing executes in it.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.write.add(offset), code.len()) };
        Some(Piece { offset, len })
    }

    /// Where a piece is executed.
    pub fn address(&self, piece: Piece) -> *const u8 {
        // SAFETY: pieces lie inside the mapping.
        unsafe { self.exec.add(piece.offset) }
    }

    /// Gives a piece back; no trace may be running.
    pub fn release(&mut self, piece: Piece) {
        // SAFETY: the piece lies inside the mapping and nothing executes in it; 0xcc traps.
        unsafe { std::ptr::write_bytes(self.write.add(piece.offset), 0xcc, piece.len) };
        self.used -= piece.len;
        let at = self.free.partition_point(|hole| hole.0 < piece.offset);
        self.free.insert(at, (piece.offset, piece.len));
        if at + 1 < self.free.len() && self.free[at].0 + self.free[at].1 == self.free[at + 1].0 {
            self.free[at].1 += self.free.remove(at + 1).1;
        }
        if at > 0 && self.free[at - 1].0 + self.free[at - 1].1 == self.free[at].0 {
            self.free[at - 1].1 += self.free.remove(at).1;
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: both mappings were made with this size.
        unsafe {
            libc::munmap(self.write.cast(), self.size);
            libc::munmap(self.exec.cast(), self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_merged_so_that_everything_freed_can_be_used_again() {
        let mut arena = Arena::new(4096).unwrap();
        let pieces: Vec<Piece> = (0..4).map(|_| arena.publish(&[0x90; 1000]).unwrap()).collect();
        assert!(arena.publish(&[0x90; 1000]).is_none());
        for i in [2, 0, 3, 1] {
            arena.release(pieces[i]);
        }
        assert_eq!((arena.used(), arena.free.clone()), (0, vec![(0, 4096)]));
        assert!(arena.publish(&[0x90; 4096]).is_some());
    }

    #[test]
    fn code_runs_from_the_executable_mapping_and_freed_code_is_traps() {
        let mut arena = Arena::new(4096).unwrap();
        let piece = arena.publish(&[0xb8, 7, 0, 0, 0, 0xc3]).unwrap();
        // SAFETY: `mov eax, 7; ret`.
        let seven = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> i32>(arena.address(piece)) };
        assert_eq!(seven(), 7);
        arena.release(piece);
        // SAFETY: still mapped.
        assert_eq!(unsafe { *arena.address(piece) }, 0xcc);
    }
}
