//! Packed machine code: one memory file mapped twice, writable here and executable there.
//!
//! Invariants
//!
//! - No page is writable and executable through the same mapping.
//! - Code has no relocations, so where it lies does not matter.
//! - Pieces are freed only while no trace runs; freed bytes become traps.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use memmap2::{Mmap, MmapOptions, MmapRaw};

const ALIGN: usize = 16;

pub struct Arena {
    write: MmapRaw,
    exec: Mmap,
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
        // SAFETY: a constant name; the result is checked before it becomes an owned descriptor nobody else has.
        let file = unsafe {
            let fd = libc::memfd_create(c"larder-traces".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        file.set_len(size as u64)?;
        let write = MmapOptions::new().len(size).map_raw(&file)?;
        // SAFETY: the file is anonymous and ours; it changes only through `write`, where nothing executes at the time.
        let exec = unsafe { MmapOptions::new().len(size).map_exec(&file)? };
        Ok(Arena {
            write,
            exec,
            free: vec![(0, size)],
            used: 0,
        })
    }

    pub fn used(&self) -> usize {
        self.used
    }

    pub fn size(&self) -> usize {
        self.write.len()
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
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.write.as_mut_ptr().add(offset), code.len()) };
        Some(Piece { offset, len })
    }

    /// Where a piece is executed.
    pub fn address(&self, piece: Piece) -> *const u8 {
        // SAFETY: pieces lie inside the mapping.
        unsafe { self.exec.as_ptr().add(piece.offset) }
    }

    /// Gives a piece back; no trace may be running.
    pub fn release(&mut self, piece: Piece) {
        // SAFETY: the piece lies inside the mapping and nothing executes in it; 0xcc traps.
        unsafe { std::ptr::write_bytes(self.write.as_mut_ptr().add(piece.offset), 0xcc, piece.len) };
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
