//! A shelf in a file (or, for volatile shelves, in a memfd) and its locks.
//!
//! Locks are OFD byte-range locks far beyond the end of the file, so that nothing is written to take one and a
//! dead process holds none. The *position* of a lock carries its meaning, because OFD locks report no owner:
//!
//! | range                 | holder | meaning                                         |
//! |-----------------------|--------|-------------------------------------------------|
//! | `WRITER`              | writer | the one writer                                  |
//! | `WRITER_PID + pid`    | writer | whose process id is this                        |
//! | `BORROWER_PID + pid`  | writer | this forked child writes in the writer's place  |
//! | `APPLY`               | both   | exclusive: heap pages change; shared: a reader is opening |
//! | `PIN + commit`        | reader | this reader shows that commit                   |

use super::{Media, Medium};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

const LOCKS: i64 = 1 << 60;
const WRITER: i64 = LOCKS;
const APPLY: i64 = LOCKS + 1;
const WRITER_PID: i64 = LOCKS + (1 << 32);
const BORROWER_PID: i64 = LOCKS + (1 << 33);
const PIN: i64 = LOCKS + (1 << 40);
const PIN_MAX: i64 = 1 << 56;

pub struct FileMedia {
    file: File,
    /// What mappings are made of: the same file, opened once more. A mapping keeps its open file description alive, also in
    /// a forked child that outlives us, and with it every lock taken through that description; so this one takes none.
    mapped: Option<File>,
    volatile: bool,
}

impl FileMedia {
    pub fn new(file: File) -> FileMedia {
        let mapped = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        FileMedia {
            file,
            mapped,
            volatile: false,
        }
    }

    /// A shelf that lives in memory only: same engine over a memfd.
    pub fn dram() -> io::Result<FileMedia> {
        // SAFETY: the name is a NUL-terminated literal; the call touches no memory of ours.
        let fd = unsafe { libc::memfd_create(c"larder".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned to us and nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        Ok(FileMedia {
            file,
            mapped: None,
            volatile: true,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes a hole of this range; false where the file system has none.
    fn punch(&self, at: u64, len: u64) -> bool {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: a system call on a descriptor we own; no memory is passed.
        unsafe { libc::fallocate(self.file.as_raw_fd(), mode, at as i64, len as i64) == 0 }
    }

    /// Takes the writer lock, or says which process has it (0 if it cannot be told).
    pub fn lock_writer(file: &File) -> io::Result<Result<(), u32>> {
        if set_lock(file, libc::F_WRLCK, WRITER, 1, false)? {
            set_lock(
                file,
                libc::F_WRLCK,
                WRITER_PID + i64::from(std::process::id()),
                1,
                false,
            )?;
            return Ok(Ok(()));
        }
        let holder = first_lock(file, WRITER_PID, 1 << 32)?;
        Ok(Err(holder.map_or(0, |at| (at - WRITER_PID) as u32)))
    }

    /// The process that opened `file` to write, and the forked child that writes in its place.
    pub fn holders(file: &File) -> io::Result<(Option<u32>, Option<u32>)> {
        let pid = |base: i64| Ok::<_, io::Error>(first_lock(file, base, 1 << 32)?.map(|at| (at - base) as u32));
        Ok((pid(WRITER_PID)?, pid(BORROWER_PID)?))
    }
}

impl Media for FileMedia {
    fn medium(&self) -> Medium {
        if self.volatile { Medium::Dram } else { Medium::File }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        if self.punch(at, len) {
            return Ok(());
        }
        let zeros = vec![0u8; (len.min(1 << 20)) as usize];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..part as usize], at + done)?;
            done += part;
        }
        Ok(())
    }

    fn discard(&self, at: u64, len: u64) {
        self.punch(at, len);
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        if self.volatile { Ok(()) } else { self.file.sync_data() }
    }

    fn start_writeback(&self, at: u64, len: u64) {
        if !self.volatile {
            // SAFETY: a hint on a descriptor we own; no memory is passed, and the result does not matter.
            unsafe {
                libc::sync_file_range(
                    self.file.as_raw_fd(),
                    at as i64,
                    len as i64,
                    libc::SYNC_FILE_RANGE_WRITE,
                );
            }
        }
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.mapped.as_ref().unwrap_or(&self.file).as_raw_fd())
    }

    fn begin_apply(&self) -> io::Result<()> {
        set_lock(&self.file, libc::F_WRLCK, APPLY, 1, true).map(drop)
    }

    fn end_apply(&self) {
        let _ = set_lock(&self.file, libc::F_UNLCK, APPLY, 1, false);
    }

    fn oldest_pin(&self) -> io::Result<Option<u64>> {
        Ok(first_lock(&self.file, PIN, PIN_MAX)?.map(|at| (at - PIN) as u64))
    }

    fn begin_read(&self) -> io::Result<()> {
        set_lock(&self.file, libc::F_RDLCK, APPLY, 1, true).map(drop)
    }

    fn end_read(&self, commit: u64) -> io::Result<()> {
        set_lock(&self.file, libc::F_RDLCK, PIN + commit as i64, 1, false)?;
        set_lock(&self.file, libc::F_UNLCK, APPLY, 1, false).map(drop)
    }

    fn name_borrower(&self, pid: Option<u32>) {
        let _ = set_lock(&self.file, libc::F_UNLCK, BORROWER_PID, 1 << 32, false);
        if let Some(pid) = pid {
            let _ = set_lock(&self.file, libc::F_WRLCK, BORROWER_PID + i64::from(pid), 1, false);
        }
    }

    fn release(&self, pin: Option<u64>) {
        if let Some(commit) = pin {
            let _ = set_lock(&self.file, libc::F_RDLCK, PIN + commit as i64, 1, false);
        }
        let _ = set_lock(&self.file, libc::F_UNLCK, WRITER_PID, 1 << 32, false);
        let _ = set_lock(&self.file, libc::F_UNLCK, WRITER, 1, false);
    }
}

/// Sets one lock; false if somebody else's is in the way (never when waiting).
fn set_lock(file: &File, kind: i32, start: i64, len: i64, wait: bool) -> io::Result<bool> {
    let mut lock = flock(kind, start, len);
    let command = if wait { libc::F_OFD_SETLKW } else { libc::F_OFD_SETLK };
    loop {
        // SAFETY: `lock` is a valid `flock` that outlives the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) if !wait => return Ok(false),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// Lowest position in `start..start + len` that another holder has locked.
fn first_lock(file: &File, start: i64, len: i64) -> io::Result<Option<i64>> {
    let (mut found, mut end) = (None, start + len);
    while end > start {
        let mut lock = flock(libc::F_WRLCK, start, end - start);
        // SAFETY: `lock` is a valid `flock` that outlives the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if i32::from(lock.l_type) == libc::F_UNLCK {
            break;
        }
        found = Some(lock.l_start.max(start));
        end = lock.l_start;
    }
    Ok(found)
}

fn flock(kind: i32, start: i64, len: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}
