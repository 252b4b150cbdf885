//! C's own output buffers.

/// Writes out what C code has printed and C's library still holds.
pub fn flush() {
    // SAFETY:
    // - A null stream is defined to mean all open output streams.
    // - The C library locks each stream, so other threads may print meanwhile.
    unsafe {
        libc::fflush(std::ptr::null_mut());
    }
}
