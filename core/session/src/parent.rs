//! Watching the process that started the kernel.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, and servers start kernels from pool threads; a pidfd
//! becomes readable exactly when the process ends, so that is what is waited for. Where a pidfd cannot be had (old
//! kernel, a parent in another pid namespace), the parent's id is polled.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Calls `when_gone` once, from a thread of its own, when the process `pid` has ended.
pub fn watch(pid: i32, when_gone: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let parent = getppid();
    std::thread::Builder::new()
        .name("larder-parent".into())
        .spawn(move || {
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(fd) if parent == Some(pid) => loop {
                    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], None) {
                        Ok(0) | Err(rustix::io::Errno::INTR) => {}
                        Ok(_) => break,
                        Err(_) => return,
                    }
                },
                _ => {
                    // A wrapper between the front end and us: when it goes, we are handed to another parent.
                    while getppid() == parent {
                        std::thread::sleep(POLL_INTERVAL);
                    }
                }
            }
            when_gone();
        })?;
    Ok(())
}

/// An interrupt as the terminal would send it: to the whole process group when it is ours, so that children stop too,
/// else to this process.
pub fn interrupt_self() {
    use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
    let me = getpid();
    let sent = if getpgrp() == me {
        kill_process_group(me, Signal::INT)
    } else {
        kill_process(me, Signal::INT)
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot interrupt the interpreter");
    }
}

/// Asks the interpreter to commit and leave; ends the process when it has not done so in [`PATIENCE`].
pub fn end_self() {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::TERM);
    std::thread::sleep(PATIENCE);
    let _ = kill_process(getpid(), Signal::KILL);
}

/// How long a kernel whose parent has died may take for its last commit.
const PATIENCE: Duration = Duration::from_secs(10);
