//! CPython as larder sees it: versioned layouts, frames, monitoring. All unsafe access to its memory lives here.
//!
//! For the optimiser: `abi` knows the offsets, `probe` tests them, `attributes` where attributes live, `hook` is called at the
//! back edges of loops, `grow` records and compiles them, `world` reads objects for the recorder, `run` enters compiled
//! loops, `restore` puts the frame right when they leave, `cache` lets them cool down and go, `known` ends them with what they were compiled for, `rows` is what is told of them.

pub mod abi;
pub mod arrays;
pub mod attributes;
pub mod body;
pub mod cache;
pub mod chunks;
pub mod clock;
mod faults;
pub mod frame;
pub mod grow;
pub mod heat_frames;
pub mod heat_layout;
pub mod heat_live;
pub mod heat_numpy;
pub mod heat_refs;
pub mod heat_shield;
pub mod heat_table;
pub mod heat_trail;
pub mod helpers;
pub mod hook;
pub mod known;
pub mod loops;
pub mod making;
pub mod memo;
pub mod object;
pub mod plain;
pub mod probe;
pub mod referents;
mod restore;
pub mod rows;
pub mod run;
pub mod stdio;
pub mod texts;
pub mod walk;
mod walkers;
mod wholes;
pub mod world;
