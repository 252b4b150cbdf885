//! Trace trees to machine code: Cranelift lowering and the packed code arena.

pub mod arena;
mod flow;
mod frame;
mod fuse;
mod leave;
mod lines;
pub mod lower;
mod names;
pub mod packed;
mod places;
pub mod shrink;
pub mod stubs;
mod tails;

pub use arena::{Arena, Helper, Link, Piece, Target, Usage};
pub use lower::{Code, Compiler, ExitMap, Helpers, Host, Source};
pub use packed::Packed;
