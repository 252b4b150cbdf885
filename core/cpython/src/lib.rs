//! Versioned CPython layouts, frames, monitoring; all object-memory unsafe.

pub mod heat_live;
pub mod heat_numpy;
pub mod heat_refs;
pub mod heat_shield;
pub mod stdio;
