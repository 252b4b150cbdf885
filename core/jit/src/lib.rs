//! Cranelift lowering, packed code arena, linking, decay, compaction.
