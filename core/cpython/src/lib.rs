//! Versioned CPython layouts, frames, monitoring; all object-memory unsafe.

pub mod stdio;
