//! Watching the process that started the kernel.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, and servers start kernels from pool threads; a pidfd
//! becomes readable exactly when the process ends, so that is what is waited for. Where a pidfd cannot be had (old
//! kernel, a parent in another pid namespace), the parent's id is polled.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Calls `when_gone` once, from a thread of its own, when the process that started this one has ended, or `pid` has, if
/// that is the parent of its parent or further up (a wrapper script stands between). Any other `pid` is no process of
/// ours: a number from outside the container.
pub fn watch(pid: i32, when_gone: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let parent = getppid();
    std::thread::Builder::new()
        .name("larder-parent".into())
        .spawn(move || {
            let above = Pid::from_raw(pid).filter(|pid| Some(*pid) != parent && is_above(*pid));
            let fds: Option<Vec<OwnedFd>> = parent
                .into_iter()
                .chain(above)
                .map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
                .collect();
            // A parent that ended before its pidfd was opened leaves us to another one.
            match fds.filter(|fds| !fds.is_empty() && getppid() == parent) {
                Some(fds) => {
                    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                    while matches!(poll(&mut polled, None), Ok(0) | Err(rustix::io::Errno::INTR)) {}
                }
                None => {
                    while getppid() == parent {
                        std::thread::sleep(POLL_INTERVAL);
                    }
                }
            }
            when_gone();
        })?;
    Ok(())
}

/// Whether `pid` is the parent of our parent, or of its parent, and so on.
fn is_above(pid: Pid) -> bool {
    let mut at = getppid();
    for _ in 0..64 {
        let Some(one) = at else { return false };
        if one == pid {
            return true;
        }
        at = parent_of(one);
    }
    false
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The name in parentheses may hold anything; behind it come the state and the parent's id.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_started_us_is_above_and_our_own_child_is_not() {
        let parent = getppid().unwrap();
        assert!(is_above(parent));
        assert_eq!(parent_of(rustix::process::getpid()), Some(parent));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_above(Pid::from_child(&child)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
