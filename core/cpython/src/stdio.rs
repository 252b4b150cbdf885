//! What C's library holds back: output buffers, and memory that was freed.

/// Writes out what C code has printed and C's library still holds.
pub fn flush() {
    // SAFETY:
    // - A null stream is defined to mean all open output streams.
    // - The C library locks each stream, so other threads may print meanwhile.
    unsafe {
        libc::fflush(std::ptr::null_mut());
    }
}

/// Gives freed memory back to the operating system, on a thread of its own: what start-up needed for a moment, the user's
/// data may have.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        let trim = || {
            // SAFETY: takes the allocator's own locks and touches only memory that is free.
            unsafe {
                libc::malloc_trim(0);
            }
        };
        // Without a thread there is nothing to gain that would be worth an error.
        let _ = std::thread::Builder::new().name("larder-trim".into()).spawn(trim);
    }
}
