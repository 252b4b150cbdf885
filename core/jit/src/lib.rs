//! Trace trees to machine code: Cranelift lowering and the packed code arena.

pub mod arena;
pub mod lower;

pub use arena::{Arena, Piece};
pub use lower::{Code, Compiler, ExitMap, Host, Source};
