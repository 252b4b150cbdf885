//! Heat mapping, placement, migration policy; syscalls behind one trait.
