//! Crash-consistent key-value heap on DAX, files and a simulator.
