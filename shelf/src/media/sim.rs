//! The simulated medium.
pub struct Placeholder;
