//! Heat mapping, placement, migration policy; syscalls behind one trait.
//!
//! Everything outside [`os`] is pure: it takes numbers and returns decisions. [`os::Os`] is the one door to the kernel,
//! so placement can be tested against a machine that does not exist (a slow node, a swap device, a missing ioctl).
//!
//! The stages keep the names of the paper this follows: *live trace* (which ranges are whose, [`ranges`]), *active
//! trace* (what is touched, sampled by the callers), *mapping* ([`heat`]), *placement* ([`place`]), *migration plane*
//! ([`policy`] decides, [`os::arena`] and [`os::linux`] move).

pub mod heat;
pub mod os;
pub mod place;
pub mod policy;
pub mod ranges;
