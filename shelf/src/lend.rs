//! One shelf, written by a process and its forked children, one after the other.
//!
//! A forked child has everything a writer has: the descriptor with its lock, and the catalog as of the fork. What it lacks is
//! the right, of which there is one. [`Shelf::lend`], before the fork, gives it up; [`Shelf::take`] claims it, in a child
//! or (when the child has ended) in the parent, and follows what was committed in between: the log from where it was, or
//! all of the catalog if the log was started over.
//!
//! Invariants
//!
//! - Between `lend` and `take` this process writes nothing, and makes no views.
//! - Who takes knows that every process the shelf was lent to before has ended, or never will take: no lock shows that,
//!   because all of them share one. (The lock itself stays held as long as one of them lives.)
//! - A child that is killed leaves a commit that is whole, or none: its extents are free again, its record is not there.

use crate::error::{OpenError, WriteError};
use crate::media::file::FileMedia;
use crate::recover::catch_up;
use crate::shelf::Shelf;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

impl Shelf {
    /// Gives the right to write up, for a child that is about to be forked.
    ///
    /// # Errors
    /// What `put` raises; also if changes are pending or a buffer is writable: a child could not tell whose they are.
    pub fn lend(&self) -> Result<(), WriteError> {
        let core = &self.core;
        let state = core.writable()?;
        let armed = state.tracked.iter().any(|tracked| tracked.view.strong_count() > 0);
        if armed || !state.pending.is_empty() {
            let source = io::Error::other("changes that are not committed yet");
            return Err(core.write_failed(&state, "a view", source));
        }
        core.writer.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// True while the right to write is somebody else's.
    pub fn is_lent(&self) -> bool {
        self.core.writer.load(Ordering::Relaxed) == 0
    }

    /// Claims the right to write, and catches up with what was committed since it was given up; the last commit.
    ///
    /// # Errors
    /// As `open`: the shelf can then only be closed.
    pub fn take(&self) -> Result<u64, OpenError> {
        let core = &self.core;
        let mut state = core.state.lock();
        if state.closed {
            let path = core.path.clone().unwrap_or_default();
            return Err(OpenError::io(&path, io::Error::other("the shelf was closed")));
        }
        core.media.end_apply(); // a process that was killed in a checkpoint never did
        if let Err(error) = catch_up(core, &mut state) {
            state.stopped = true;
            return Err(error);
        }
        let pid = std::process::id();
        core.media.name_borrower((pid != core.opener).then_some(pid));
        core.writer.store(pid, Ordering::Relaxed);
        Ok(state.commit)
    }

    /// The process that has the shelf file at `path` open to write, and the forked child that writes in its place.
    pub fn holders(path: &Path) -> io::Result<(Option<u32>, Option<u32>)> {
        FileMedia::holders(&File::open(path)?)
    }
}
