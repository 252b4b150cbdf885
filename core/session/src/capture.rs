//! Descriptors 1 and 2 as output of the right cell.
//!
//! C code and child processes write to descriptors, not to `sys.stdout`. Each cell gets two pipes of its own, put in
//! place of descriptors 1 and 2 when it starts. A child keeps the pipes of the cell that started it, so what it writes
//! after the cell is over still reaches that cell. One thread reads all pipes and never takes the GIL, so a writer that
//! holds it cannot fill its pipe and hang.
//!
//! Invariants
//!
//! - A pipe is read under its own lock, by the reader thread or by [`Capture::drain`], so bytes never change order.
//! - After `drain` returns, everything written before the call has been handed to its sink.
//! - What the process itself says can be put behind it: [`Capture::worth_a_look`], then `drain`.
//! - A pipe is forgotten at its end of file, when the last process that could write to it has closed it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// Which of the two descriptors a text was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// Where the text of one cell goes; called from the reader thread and from [`Capture::drain`].
pub type Sink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// After a pause this long in what the process says, a child or C code may have said something: they take longer.
const PAUSE: Duration = Duration::from_micros(50);

/// The most that one read takes from a pipe: the kernel's pipe capacity.
const READ_BYTES_MAX: usize = 64 * 1024;

struct Pipe {
    file: Mutex<Decoded>,
    stream: Stream,
    sink: Sink,
}

struct Decoded {
    file: File,
    /// The first bytes of a character whose rest has not arrived.
    partial: Vec<u8>,
    ended: bool,
}

impl Pipe {
    /// Hands on what is in the pipe now; returns whether the pipe is still open.
    fn read_all(&self) -> bool {
        let mut decoded = self.file.lock();
        let mut buffer = vec![0_u8; READ_BYTES_MAX];
        while !decoded.ended {
            match decoded.file.read(&mut buffer) {
                Ok(0) => {
                    decoded.ended = true;
                    if !decoded.partial.is_empty() {
                        let rest = std::mem::take(&mut decoded.partial);
                        (self.sink)(self.stream, &String::from_utf8_lossy(&rest));
                    }
                }
                Ok(count) => {
                    let mut bytes = std::mem::take(&mut decoded.partial);
                    bytes.extend_from_slice(&buffer[..count]);
                    let (text, partial) = decode(bytes);
                    decoded.partial = partial;
                    if !text.is_empty() {
                        (self.sink)(self.stream, &text);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        !decoded.ended
    }
}

/// Splits `bytes` into text and the start of an unfinished character; other invalid bytes become U+FFFD.
fn decode(bytes: Vec<u8>) -> (String, Vec<u8>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, Vec::new()),
        Err(error) => {
            let utf8 = error.utf8_error();
            let mut bytes = error.into_bytes();
            let unfinished = match utf8.error_len() {
                None => bytes.split_off(utf8.valid_up_to()),
                Some(_) => {
                    let tail = bytes.len().saturating_sub(3);
                    let start = (tail..bytes.len()).find(|&i| {
                        bytes[i] >= 0xC0
                            && matches!(std::str::from_utf8(&bytes[i..]), Err(e) if e.error_len().is_none())
                    });
                    start.map_or_else(Vec::new, |i| bytes.split_off(i))
                }
            };
            (String::from_utf8_lossy(&bytes).into_owned(), unfinished)
        }
    }
}

#[derive(Default)]
struct Pipes {
    open: Vec<Arc<Pipe>>,
    /// The pipes in place of descriptors 1 and 2 now.
    current: Vec<Arc<Pipe>>,
}

/// The capture of one process. Made once; [`Capture::redirect`] at the start of every cell.
pub struct Capture {
    pipes: Arc<Mutex<Pipes>>,
    waker: Mutex<OwnedFd>,
    began: Instant,
    /// Microseconds after `began` at which the process last said something.
    said: AtomicU64,
    pid: u32,
}

impl Capture {
    /// Starts the reader thread; nothing is redirected yet.
    pub fn start() -> io::Result<Capture> {
        let (wake_read, wake_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let pipes = Arc::new(Mutex::new(Pipes::default()));
        let shared = Arc::clone(&pipes);
        std::thread::Builder::new()
            .name("larder-capture".into())
            .spawn(move || read_pipes(&shared, &mut File::from(wake_read)))?;
        Ok(Capture {
            pipes,
            waker: Mutex::new(wake_write),
            began: Instant::now(),
            said: AtomicU64::new(0),
            pid: std::process::id(),
        })
    }

    /// From now on what the process and its new children write to descriptors 1 and 2 goes to `sink`.
    pub fn redirect(&self, sink: &Sink) -> io::Result<()> {
        let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut fresh = Vec::with_capacity(2);
        for (fd, stream) in [(out_read, Stream::Out), (err_read, Stream::Err)] {
            rustix::io::ioctl_fionbio(&fd, true)?; // the reading end only; writers must be able to wait
            fresh.push(Arc::new(Pipe {
                file: Mutex::new(Decoded {
                    file: File::from(fd),
                    partial: Vec::new(),
                    ended: false,
                }),
                stream,
                sink: Arc::clone(sink),
            }));
        }
        let mut pipes = self.pipes.lock();
        for pipe in &pipes.current {
            pipe.read_all();
        }
        rustix::stdio::dup2_stdout(&out_write)?;
        rustix::stdio::dup2_stderr(&err_write)?;
        pipes.open.extend(fresh.iter().cloned());
        pipes.current = fresh;
        drop(pipes);
        let waker: OwnedFd = self.waker.lock().try_clone()?;
        match File::from(waker).write(&[1]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether something may have been written to the descriptors since the last call. Two calls in quick succession (a
    /// loop that prints) are not worth two looks.
    pub fn worth_a_look(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let before = self.said.swap(now, Ordering::Relaxed);
        u128::from(now.saturating_sub(before)) >= PAUSE.as_micros()
    }

    /// Hands on everything that has been written to the current descriptors. Nothing in a forked child: its parent reads
    /// the pipes, and the locks may be held for ever there.
    pub fn drain(&self) {
        if std::process::id() != self.pid {
            return;
        }
        let current = self.pipes.lock().current.clone();
        for pipe in current {
            pipe.read_all();
        }
    }
}

fn read_pipes(pipes: &Mutex<Pipes>, wake: &mut File) {
    loop {
        let open = pipes.lock().open.clone();
        // Poll needs the descriptors without the pipes' locks, which `drain` may hold: borrow clones of them.
        let fds: Vec<OwnedFd> = open
            .iter()
            .filter_map(|pipe| pipe.file.lock().file.as_fd().try_clone_to_owned().ok())
            .collect();
        if fds.len() != open.len() {
            std::thread::sleep(std::time::Duration::from_millis(10)); // out of descriptors: try again
            continue;
        }
        loop {
            let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            polled.push(PollFd::new(&*wake, PollFlags::IN));
            match poll(&mut polled, None::<&Timespec>) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
            let mut changed = false;
            for (pipe, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
                if !pipe.read_all() {
                    pipes.lock().open.retain(|other| !Arc::ptr_eq(other, pipe));
                    changed = true;
                }
            }
            if ready[open.len()] {
                let _ = wake.read(&mut [0_u8; 64]);
                changed = true;
            }
            if changed {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_two_is_kept_until_its_rest_arrives() {
        let bytes = "naïve".as_bytes();
        let (first, rest) = decode(bytes[..3].to_vec());
        assert_eq!((first.as_str(), rest.len()), ("na", 1));
        let (second, rest) = decode([rest, bytes[3..].to_vec()].concat());
        assert_eq!((second.as_str(), rest.len()), ("ïve", 0));
    }

    #[test]
    fn invalid_bytes_become_replacement_characters_and_do_not_stop_the_text() {
        let (text, rest) = decode(b"a\xffb\xe2\x82".to_vec());
        assert_eq!((text.as_str(), rest), ("a\u{fffd}b", vec![0xe2, 0x82]));
    }
}
