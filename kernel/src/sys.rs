//! The three system calls the server needs that the standard library does not have: poll, eventfd, SIOCOUTQ.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A counter other threads can wait for in `poll`: readable from [`EventFd::signal`] until [`EventFd::clear`].
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it becomes an owned descriptor nobody else has.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is open, ours, and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: reads 8 bytes from a live array. A full counter (EAGAIN) is already readable, which is all we want.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: writes at most 8 bytes to a live array. EAGAIN means it was clear.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits until one of `fds` is ready or `timeout_ms` is over (-1: no limit); an interrupted wait is no error.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<()> {
    // SAFETY: pointer and length describe one live slice, which poll only reads and writes within.
    let got = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if got < 0 {
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
    Ok(())
}

/// Bytes written to a socket that its peer has not taken yet; 0 when the kernel cannot say.
pub fn unsent_bytes(fd: RawFd) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (= SIOCOUTQ) writes one int to a live int.
    let got = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut count) };
    if got < 0 { 0 } else { count.max(0) as u64 }
}
