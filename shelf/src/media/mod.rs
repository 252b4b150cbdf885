//! Everything a shelf persists goes through [`Media`]; tests swap the disk for a simulator.
//!
//! Assumptions on a medium (`docs/shelf-format.md`, "Media assumptions"):
//!
//! - After `sync` returns, every earlier write, zeroing and length change survives a power loss.
//! - Before that, any subset of them may survive, torn at 8-byte or 512-byte boundaries, in any order.
//! - After a process crash without power loss, every write that returned is still visible.

pub mod dax;
pub mod file;
pub mod sim;

use std::io;
use std::os::fd::RawFd;

/// What kind of storage a shelf lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    File,
    Dax,
    Dram,
    Simulated,
}

impl Medium {
    pub fn name(self) -> &'static str {
        match self {
            Medium::File => "file",
            Medium::Dax => "dax",
            Medium::Dram => "dram",
            Medium::Simulated => "simulated",
        }
    }
}

pub trait Media: Send + Sync {
    fn medium(&self) -> Medium;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `into`; `UnexpectedEof` past the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a free range read as zeros.
    fn zero(&self, at: u64, len: u64) -> io::Result<()>;
    /// Nobody needs what is in this range: its room may go back to the file system. Promises nothing.
    fn discard(&self, _at: u64, _len: u64) {}
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Hint: start moving this range to the disk. Promises nothing.
    fn start_writeback(&self, _at: u64, _len: u64) {}
    /// The descriptor to map views from; `None` if views are copies.
    fn fd(&self) -> Option<RawFd> {
        None
    }
    /// Keeps readers out of open() while heap pages change in place; true if nobody else is inside.
    fn begin_apply(&self) -> io::Result<()> {
        Ok(())
    }
    fn end_apply(&self) {}
    /// Oldest commit a reader in another process has pinned.
    fn oldest_pin(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// Reader side: holds off in-place changes while the catalog is read.
    fn begin_read(&self) -> io::Result<()> {
        Ok(())
    }
    /// Reader side: pins `commit` and lets the writer go on.
    fn end_read(&self, _commit: u64) -> io::Result<()> {
        Ok(())
    }
    /// Tells others which process writes in the place of the one that opened the file; `None`: that one itself.
    fn name_borrower(&self, _pid: Option<u32>) {}
    /// Lets the writer's lock go; `pin` keeps that commit's pages for views that are still in use.
    fn release(&self, _pin: Option<u64>) {}
}
