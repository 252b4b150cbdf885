//! One Python session: cells, interrupts, outputs, recovery policy.
