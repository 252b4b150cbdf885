//! The door to the kernel: what placement, heat and migration ask of the machine.
//!
//! [`Os`] is the whole list. [`linux::Linux`] asks the running kernel and falls back where an interface is missing,
//! saying which one answered; tests use a machine made of tables.

pub mod arena;
pub mod heap;
pub mod linux;
pub mod sampler;

use std::io;

/// A NUMA node that has memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: u32,
    /// A node without processors is the slow tier: CXL or persistent memory in system-RAM mode.
    pub has_cpu: bool,
    pub bytes: u64,
}

/// One mapping of this process, as `/proc/self/maps` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vma {
    pub start: u64,
    pub end: u64,
    pub readable: bool,
    pub shared: bool,
    pub path: String,
    pub inode: u64,
    pub offset: u64,
}

impl Vma {
    /// Backed by a real file, so that an absent page may be in the page cache or on the disk.
    pub fn is_file(&self) -> bool {
        self.inode != 0 && !self.is_shmem()
    }

    /// Backed by swap although it looks like a file: `/dev/shm`, memfd, SysV, shared anonymous memory.
    pub fn is_shmem(&self) -> bool {
        ["/dev/shm/", "/memfd:", "/SYSV", "/dev/zero"]
            .iter()
            .any(|p| self.path.starts_with(p))
    }

    /// Backed by larder's tier file: its page cache is the array's DRAM.
    pub fn is_tier_file(&self) -> bool {
        self.path.contains(arena::TIER_FILE_PREFIX)
    }
}

/// What the page table says of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Mapped, private to this process (or the copy of a private file page).
    Anon,
    /// Mapped from a file's or shared memory's page cache.
    File,
    /// The kernel's one page of zeros: read, never written.
    Zero,
    Swapped,
    /// No entry.
    Absent,
}

/// Which interface answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    PagemapScan,
    Pagemap,
    MovePages,
    GetMempolicy,
    OneNode,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::PagemapScan => "PAGEMAP_SCAN",
            Method::Pagemap => "/proc/self/pagemap",
            Method::MovePages => "move_pages",
            Method::GetMempolicy => "get_mempolicy",
            Method::OneNode => "the only node",
        }
    }
}

/// Questions to the kernel about this process's memory. Addresses are page-aligned; none is dereferenced.
pub trait Os {
    fn page_bytes(&self) -> u64;
    fn nodes(&self) -> io::Result<Vec<Node>>;
    /// `(total, free)` bytes of swap.
    fn swap(&self) -> io::Result<(u64, u64)>;
    /// Mappings that overlap `lowest..highest`, in address order.
    fn maps(&self) -> io::Result<Vec<Vma>>;
    /// Runs of equal entries that cover `start..end` exactly, in address order.
    fn scan(&self, start: u64, end: u64, out: &mut Vec<(u64, u64, Entry)>) -> io::Result<Method>;
    /// For each page of `start..end` of a file mapping: is it in the page cache?
    fn in_core(&self, start: u64, end: u64) -> io::Result<Vec<bool>>;
    /// Bytes of `vma` that are really in swap. A write tracker (userfaultfd) leaves markers in the page table that look like
    /// swapped pages and are not.
    fn swapped(&self, vma: &Vma) -> io::Result<u64>;
    /// For each page: node number, or a negative errno.
    fn node_of(&self, pages: &[u64]) -> io::Result<(Vec<i32>, Method)>;
    /// Part of `start..end` that the file behind `vma` has never stored (a hole); `None` when that cannot be asked.
    fn holes(&self, vma: &Vma, start: u64, end: u64) -> Option<Vec<(u64, u64)>>;
}
