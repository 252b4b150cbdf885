//! Pieces of the interpreter's stack that are kept for the next call.
//!
//! CPython keeps the frames of Python functions in pieces of 16 KiB. A call that no longer fits maps another piece, and its
//! return unmaps it; a loop that happens to stand there pays two system calls and a page fault for each call (CPython issue
//! 142183; later releases of 3.13 and 3.14 keep one piece for each thread). Where a loop stands depends on everything that
//! called it, so it happens to some cells and not to others. Pieces come from the interpreter's allocator of arenas, which
//! an embedder may replace: ours keeps a few that are given back.

use crate::object::symbol;
use pyo3::Python;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The smallest piece, which is what nearly all calls need.
const PIECE_BYTES: usize = 16 << 10;
/// Threads that stand at the end of a piece each want one.
const KEPT_MAX: usize = 16;

/// `PyObjectArenaAllocator`, the same since CPython 3.4.
#[repr(C)]
#[derive(Clone, Copy)]
struct Allocator {
    context: *mut c_void,
    alloc: Option<unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
}

// SAFETY: the interpreter itself calls these functions with this context from any of its threads.
unsafe impl Send for Allocator {}
// SAFETY: as above; it is never changed once it is here.
unsafe impl Sync for Allocator {}

/// What there was before, which does the work.
static BEFORE: OnceLock<Allocator> = OnceLock::new();
/// Pieces nobody uses. Single words, changed at once: a fork in the middle of another thread's change leaves nothing locked.
static KEPT: [AtomicPtr<c_void>; KEPT_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; KEPT_MAX];

unsafe extern "C" fn alloc(_: *mut c_void, bytes: usize) -> *mut c_void {
    if bytes == PIECE_BYTES {
        for place in &KEPT {
            if !place.load(Ordering::Relaxed).is_null() {
                let piece = place.swap(ptr::null_mut(), Ordering::Acquire);
                if !piece.is_null() {
                    return piece;
                }
            }
        }
    }
    let Some(&Allocator { context, alloc, .. }) = BEFORE.get() else {
        return ptr::null_mut();
    };
    match alloc {
        // SAFETY: called as the interpreter would have called it.
        Some(alloc) => unsafe { alloc(context, bytes) },
        None => ptr::null_mut(),
    }
}

unsafe extern "C" fn free(_: *mut c_void, memory: *mut c_void, bytes: usize) {
    if bytes == PIECE_BYTES && !memory.is_null() {
        for place in &KEPT {
            if place.load(Ordering::Relaxed).is_null()
                && place
                    .compare_exchange(ptr::null_mut(), memory, Ordering::Release, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
    }
    if let Some(&Allocator {
        context,
        free: Some(free),
        ..
    }) = BEFORE.get()
    {
        // SAFETY: called as the interpreter would have called it; what we handed on before came from its `alloc`.
        unsafe { free(context, memory, bytes) }
    }
}

/// Has pieces of the interpreter's stack kept, up to 256 KiB of them, for as long as the process lives; whether they are. To be
/// called when a process starts, before another interpreter with a lock of its own runs.
pub fn keep(_: Python<'_>) -> bool {
    if BEFORE.get().is_some() {
        return true;
    }
    let (Ok(get), Ok(set)) = (
        symbol(c"PyObject_GetArenaAllocator"),
        symbol(c"PyObject_SetArenaAllocator"),
    ) else {
        return false;
    };
    let mut before = Allocator {
        context: ptr::null_mut(),
        alloc: None,
        free: None,
    };
    // SAFETY: both functions are the interpreter's, have had this signature since CPython 3.4 and copy what they are given. The
    // GIL is held, so nobody allocates while the three words change.
    unsafe {
        let [get, set] = [get, set].map(|at| std::mem::transmute::<usize, unsafe extern "C" fn(*mut Allocator)>(at));
        get(&mut before);
        if before.alloc.is_none() || before.free.is_none() {
            return false;
        }
        let _ = BEFORE.set(before);
        set(&mut Allocator {
            context: ptr::null_mut(),
            alloc: Some(alloc),
            free: Some(free),
        });
    }
    true
}
