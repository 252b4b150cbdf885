//! What the C library's allocator does with memory that was freed.
//!
//! It gives the top of its heap back to the system, and takes it again page by page, until it has seen a program free
//! large blocks: then it keeps more. How soon that is depends on what was freed in which order, and saving a notebook
//! frees much. What it would come to keep in the end it is told to keep from the start.

/// Larger blocks are mapped by themselves, and go back when they are freed: the largest bound the allocator comes to.
const MAPPED_BYTES_MIN: libc::c_int = 32 << 20;
/// So much stays at the top of the heap: twice that, as the allocator has it.
const KEPT_BYTES_MAX: libc::c_int = 2 * MAPPED_BYTES_MIN;

/// Has the allocator keep what is freed, unless its bounds were set by hand; whether it does.
pub fn keep_freed() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if [
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TOP_PAD_",
        "MALLOC_MMAP_MAX_",
    ]
    .into_iter()
    .chain(["GLIBC_TUNABLES"])
    .any(set)
    {
        return false;
    }
    told()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn told() -> bool {
    // SAFETY: two numbers for the allocator, which takes its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX) == 1
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn told() -> bool {
    false
}
