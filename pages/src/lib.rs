//! What Linux knows of this process's pages, and its notes of those that were written.
//!
//! | part        | asks                                                     | since |
//! |-------------|----------------------------------------------------------|-------|
//! | [`Pagemap`] | `/proc/self/pagemap`: a word for each page, and `PAGEMAP_SCAN`, runs of pages by category | 2.6.25, 6.7 |
//! | [`Protector`] | userfaultfd in its asynchronous write-protect mode: the kernel notes a page's first store | 6.7 |
//! | [`Watch`]   | both: what was written in a range since it was last asked | 6.7   |
//!
//! Addresses are numbers: none is dereferenced here. This crate decides nothing: which pages matter, and what to do where a
//! machine has none of it, is for the shelf and the tiers to say.

mod pagemap;
mod protector;
mod watch;

pub use pagemap::{Category, Pagemap, Scan, Word};
pub use protector::Protector;
pub use watch::{Sort, Watch};
