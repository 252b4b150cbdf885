//! Op table, recorder state machine, trace IR, optimiser passes; pure.
