//! What the kernel has to say to whoever runs it, on the standard error stream it was started with.
//!
//! A dropped message or a refused peer is a line there, because no notebook is the right place for it. The stream is kept
//! apart before cells get descriptors of their own. Nothing is written in a session without such events: front ends take
//! text there for a failed start.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::filter::LevelFilter;

/// Lines of more bytes are cut: a pipe that poll calls writable takes this many (`PIPE_BUF`) without waiting.
const LINE_BYTES_MAX: usize = 4096;

/// Writes lines that can be written now; one that would have to wait is lost, for the server thread must not wait.
struct Unhurried<'a>(&'a OwnedFd);

impl Write for Unhurried<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut polled = [PollFd::new(self.0, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(poll(&mut polled, Some(&now)), Ok(1)) && polled[0].revents().contains(PollFlags::OUT) {
            let _ = rustix::io::write(self.0, &line[..line.len().min(LINE_BYTES_MAX)]);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to log what is at least as important as `level` (`off`, `error`, `warn`, `info`, `debug`, `trace`; anything
/// else is `warn`) to the present standard error stream. Without such a stream there is no log.
pub fn start(level: &str) {
    let Ok(stderr) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3) else {
        return;
    };
    let level: LevelFilter = level.parse().unwrap_or(LevelFilter::WARN);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(Sink(stderr));
    // A second kernel in this process (there is none but in tests) goes on with the first one's log.
    let _ = log.try_init();
}

struct Sink(OwnedFd);

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Sink {
    type Writer = Unhurried<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Unhurried(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_full_pipe_costs_lines_and_no_time() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut writer = Unhurried(&write);
        let line = [b'x'; 1000];
        for _ in 0..1000 {
            writer.write_all(&line).unwrap();
        }
        drop(write);
        let mut got = Vec::new();
        std::fs::File::from(read).read_to_end(&mut got).unwrap();
        assert!(got.len() >= 8 * 4096 && got.len() <= 1 << 20);
        assert_eq!(got.len() % line.len(), 0, "lines are whole");
    }
}
