//! Versioned CPython layouts, frames, monitoring; all object-memory unsafe.
