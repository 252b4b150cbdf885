//! How a shelf is opened.

use crate::format::CHUNK_PAGES;
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
    pub spill_not_flushed: bool,
    pub torn_superblock_kept: bool,
}

/// Sizes that the simulator makes small, so that a session of a few pages takes every path.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Granularity of dense in-place updates and of spilling, in pages.
    pub chunk_pages: u32,
    /// From this many dirty pages in a chunk on, the chunk is moved whole: half of it, where logging writes as much.
    pub dense_pages: u32,
    /// Up to this size, in bytes, a log grows with its records; beyond, only as far as a record needs.
    pub log_growth_max: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            chunk_pages: CHUNK_PAGES,
            dense_pages: CHUNK_PAGES / 2,
            log_growth_max: 16 << 20,
        }
    }
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
    /// Memory of this process, in bytes, from which on changed pages are spilled to the file before their commit; `None`
    /// spills when the machine (or the control group) runs short of memory. `LARDER_MEMORY_MAX` sets it too.
    pub memory_max: Option<u64>,
    #[doc(hidden)]
    pub tuning: Tuning,
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
            memory_max: None,
            tuning: Tuning::default(),
            lenient: false,
            faults: Faults::default(),
        }
    }
}
