//! userfaultfd in its asynchronous write-protect mode.
//!
//! The kernel lifts the protection at the first store by itself, without a signal or a thread, and notes the page; a scan
//! with `rearm` ([`crate::Scan`]) reads the notes and protects the pages again.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const UFFDIO_API: libc::c_ulong = 0xC018_AA3F;
const UFFDIO_REGISTER: libc::c_ulong = 0xC020_AA00;
const UFFDIO_UNREGISTER: libc::c_ulong = 0x8010_AA01;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xC018_AA06;
const REGISTER_MODE_WP: u64 = 2;
const WRITEPROTECT_MODE_WP: u64 = 1;
const USER_MODE_ONLY: libc::c_int = 1;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;

/// One descriptor; ranges registered with it stay so until they are unmapped, unregistered, or it is dropped.
#[derive(Debug)]
pub struct Protector(OwnedFd);

impl Protector {
    /// # Errors
    /// An older kernel, or a filter on system calls.
    pub fn open() -> io::Result<Protector> {
        // SAFETY: takes flags only; touches no memory of ours.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_userfaultfd,
                libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just returned to us and nobody else owns it.
        let protector = Protector(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        protector.ioctl(UFFDIO_API, &mut [0xAA, FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED, 0])?;
        Ok(protector)
    }

    /// Announces `start..start + bytes` (whole pages); nothing is protected yet.
    ///
    /// # Errors
    /// What the kernel says: the range is not mapped, or its file system cannot do it.
    pub fn register(&self, start: usize, bytes: usize) -> io::Result<()> {
        self.ioctl(UFFDIO_REGISTER, &mut [start as u64, bytes as u64, REGISTER_MODE_WP, 0])
    }

    /// Protects every page of a registered range: all of it counts as unwritten from here on.
    ///
    /// # Errors
    /// `ENOENT` if not all of it is registered.
    pub fn protect(&self, start: usize, bytes: usize) -> io::Result<()> {
        self.ioctl(
            UFFDIO_WRITEPROTECT,
            &mut [start as u64, bytes as u64, WRITEPROTECT_MODE_WP],
        )
    }

    /// # Errors
    /// What the kernel says; a range that is not registered is none.
    pub fn unregister(&self, start: usize, bytes: usize) -> io::Result<()> {
        self.ioctl(UFFDIO_UNREGISTER, &mut [start as u64, bytes as u64])
    }

    fn ioctl<const N: usize>(&self, request: libc::c_ulong, argument: &mut [u64; N]) -> io::Result<()> {
        // SAFETY: `argument` has exactly the size the request number encodes, and outlives the call.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, argument.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
