//! Larder's shelf: a named, growable, single-file transactional heap of variables.
//!
//! ```
//! use larder_shelf::{OpenOptions, Shelf};
//! let dir = tempfile::tempdir().unwrap();
//! let shelf = Shelf::open(&dir.path().join("work.shelf"), &OpenOptions::default()).unwrap();
//! shelf.put("x", "bytes", b"", &[&[7u8; 100]]).unwrap();
//! shelf.commit(Some("first")).unwrap();
//! let x = shelf.get("x").unwrap().unwrap();
//! x.buffers[0].make_writable().unwrap();
//! // SAFETY: the buffer has 100 bytes and is alive; nobody else uses it here.
//! unsafe { *x.buffers[0].as_ptr() = 8 };       // an ordinary store ...
//! shelf.commit(None).unwrap();                 // ... made durable
//! ```
//!
//! Rooms: [`format`] the bytes, [`media`] where they go, [`space`] who owns which pages, [`catalog`] the names,
//! [`view`] and [`tracker`] the memory, `spill` what memory has no room for, `commit` and `recover` the two directions between memory and medium.
//! The crate knows neither Python nor Jupyter.

pub mod catalog;
mod commit;
mod core;
pub mod error;
pub mod format;
mod guard;
mod history;
mod lend;
pub mod media;
mod mprotect;
mod options;
mod recover;
mod shelf;
pub mod space;
mod spill;
pub mod tracker;
mod verify;
pub mod view;

pub use catalog::CommitInfo;
pub use error::{Class, CommitError, Damage, OpenError, ReadError, WriteError};
pub use history::{Compaction, Difference};
pub use media::Medium;
pub use options::{Faults, MediumChoice, Mode, OpenOptions, Tuning};
pub use shelf::{Buffer, Entry, Inspect, Shelf, Stats};
pub use tracker::TrackerKind;
pub use verify::{Report, Salvage};
