//! One Python session: cells, interrupts, outputs, recovery policy.
//!
//! [`json`] carries values between the wire and Python, [`capture`] turns writes to the process's own descriptors into
//! output of the right cell, [`digest`] and [`tracked`] tell recovery what changed, [`disk`] how fast it can be written, and [`parent`] watches the process that started the kernel.

pub mod capture;
pub mod digest;
pub mod disk;
pub mod json;
pub mod log;
pub mod murmur;
pub mod parent;
pub mod tracked;
