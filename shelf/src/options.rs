//! How a shelf is opened.

use crate::tracker::TrackerKind;

/// How to open, as h5py's letters: r, r+, a, w, x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Read only, must exist; any number of processes, each at the commit it opened.
    R,
    /// Read and write, must exist.
    RPlus,
    /// Read and write, created if missing.
    #[default]
    A,
    /// Created anew; what was there is gone.
    W,
    /// Created; fails if something is there.
    X,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediumChoice {
    /// DAX if the file system offers it, else file.
    #[default]
    Auto,
    File,
    Dax,
    /// In memory only: gone when closed.
    Dram,
}

/// The crash suite's seeded bugs: each must be caught by the simulator. All off in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    pub single_superblock: bool,
    pub no_log_sync_before_replay: bool,
    pub apply_before_log_sync: bool,
    pub stale_tail_accepted: bool,
    pub crc_skipped: bool,
    pub reuse_before_checkpoint: bool,
    pub lost_set_length: bool,
    pub torn_tail_kept: bool,
}

#[derive(Debug, Clone)]
pub struct OpenOptions {
    pub mode: Mode,
    pub medium: MediumChoice,
    /// Forces a dirty tracker; otherwise `LARDER_TRACKER`, otherwise a self-test chooses.
    pub tracker: Option<TrackerKind>,
    /// How many older commits stay showable; `None` keeps what the shelf has (0 in a new one).
    pub history: Option<u32>,
    /// Size of a new shelf's log, in bytes.
    pub log_bytes: u64,
    /// Reads on past damage, as far as anything can be made of it: for [`Shelf::salvage`].
    #[doc(hidden)]
    pub lenient: bool,
    #[doc(hidden)]
    pub faults: Faults,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            mode: Mode::A,
            medium: MediumChoice::Auto,
            tracker: None,
            history: None,
            log_bytes: 1 << 20,
            lenient: false,
            faults: Faults::default(),
        }
    }
}
