//! `/proc/self/pagemap`, by words and by `PAGEMAP_SCAN`.
//!
//! Invariants
//!
//! - A scan reports runs in address order, within the range asked, and no byte twice.
//! - A scan that protects (`rearm`) sees and protects a page in one step, so no store falls between.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;
const WP_MATCHING: u64 = 1;
const CHECK_WPASYNC: u64 = 2;

/// What `PAGEMAP_SCAN` says of a page, as bits of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Category(pub u64);

impl Category {
    pub const NONE: Category = Category(0);
    /// Written since it was protected.
    pub const WRITTEN: Category = Category(1 << 1);
    pub const FILE: Category = Category(1 << 2);
    pub const PRESENT: Category = Category(1 << 3);
    pub const SWAPPED: Category = Category(1 << 4);
    /// The kernel's one page of zeros.
    pub const ZERO: Category = Category(1 << 5);

    pub fn any(self, of: Category) -> bool {
        self.0 & of.0 != 0
    }
}

impl std::ops::BitOr for Category {
    type Output = Category;

    fn bitor(self, other: Category) -> Category {
        Category(self.0 | other.0)
    }
}

/// Which pages a scan reports, and what it does to them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// Pages that have all of these, after those in `inverted` were turned round.
    pub all: Category,
    pub inverted: Category,
    /// Pages that have one of these; none: all pages.
    pub any: Category,
    /// Which categories tell one run from the next, and are told.
    pub told: Category,
    /// Protect what is reported, in the same step.
    pub rearm: bool,
    /// Fail with `EPERM` on a mapped page that is not registered with a [`crate::Protector`].
    pub only_watched: bool,
}

/// One page's word in `/proc/self/pagemap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(pub u64);

impl Word {
    pub fn is_present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }

    /// Also said of a protected page that was never touched.
    pub fn is_swapped(self) -> bool {
        self.0 >> 62 & 1 == 1
    }

    /// Of a file or of shared memory, not a private copy.
    pub fn is_file(self) -> bool {
        self.0 >> 61 & 1 == 1
    }
}

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// This process's page table.
#[derive(Debug)]
pub struct Pagemap(File);

impl Pagemap {
    /// # Errors
    /// There is no `/proc`, or it is mounted hardened.
    pub fn open() -> io::Result<Pagemap> {
        File::open("/proc/self/pagemap").map(Pagemap)
    }

    /// Calls `each(start, end, categories)` for every run of `start..end` that `scan` asks for.
    ///
    /// # Errors
    /// What the kernel says; `ENOTTY` before Linux 6.7.
    pub fn scan(
        &self,
        start: usize,
        end: usize,
        scan: Scan,
        each: &mut dyn FnMut(usize, usize, Category),
    ) -> io::Result<()> {
        let mut regions = vec![[0u64; 3]; 512];
        let mut cursor = start as u64;
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        while cursor < end as u64 {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                flags: flag(scan.rearm, WP_MATCHING) | flag(scan.only_watched, CHECK_WPASYNC),
                start: cursor,
                end: end as u64,
                vec: regions.as_mut_ptr() as u64,
                vec_len: regions.len() as u64,
                category_inverted: scan.inverted.0,
                category_mask: scan.all.0,
                category_anyof_mask: scan.any.0,
                return_mask: scan.told.0,
                ..ScanArg::default()
            };
            // SAFETY: `arg` is a `pm_scan_arg` (its first field says its size) and `vec` has room for the `vec_len` regions of
            // 24 bytes it announces; both outlive the call.
            let count = unsafe { libc::ioctl(self.0.as_raw_fd(), PAGEMAP_SCAN as _, &mut arg) };
            let Ok(count) = usize::try_from(count) else {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EINTR) {
                    continue;
                }
                return Err(error);
            };
            for [from, to, told] in &regions[..count] {
                // A scan that goes on may repeat what it reported: never step back.
                let from = (*from).max(cursor);
                if from < *to {
                    each(from as usize, *to as usize, Category(*told));
                    cursor = *to;
                }
            }
            if count < regions.len() {
                break;
            }
            cursor = cursor.max(arg.walk_end);
        }
        Ok(())
    }

    /// Fills `words` with those of the pages from number `first` on (address / page size).
    ///
    /// # Errors
    /// `UnexpectedEof` above the highest address of a process, else what the kernel says.
    pub fn words(&self, first: usize, words: &mut [Word]) -> io::Result<()> {
        let mut done = 0;
        while done < words.len() {
            let rest = &mut words[done..];
            // SAFETY: writes at most the bytes of `rest`; `Word` is a transparent u64, of which any bit pattern is valid.
            let got = unsafe {
                libc::pread(
                    self.0.as_raw_fd(),
                    rest.as_mut_ptr().cast(),
                    size_of_val(rest),
                    ((first + done) * size_of::<Word>()) as libc::off_t,
                )
            };
            match got {
                n if n >= 8 => done += n as usize / 8,
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

const _: () = assert!(size_of::<ScanArg>() == 96);
