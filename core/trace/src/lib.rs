//! Recording hot loops as typed traces: pure code, no interpreter in sight.
//!
//! The recorder walks one iteration of a loop in its mind: it reads the interpreter's objects through
//! [`record::World`] and emits typed SSA. Nothing happens to the program while a trace is recorded, so giving up is
//! free. `larder-jit` turns the result into machine code; `larder-cpython` enters it and leaves it again.

pub mod budget;
pub mod bytecode;
pub mod ir;
pub mod layout;
pub mod ops;
pub mod opt;
pub mod overhead;
pub mod policy;
pub mod record;
pub mod text;
pub mod worth;

pub use ir::{End, Exit, ExitId, Input, Inst, Name, Namespace, Obj, Ref, Slot, Snapshot, Trace, Tree, Type, Val};
pub use layout::Layout;
pub use ops::{Cond, Kind, Op};
