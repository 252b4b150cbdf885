//! NumPy's default data handler (NEP 49), pointed at our own allocator for large arrays.
//!
//! A handler set through the context variable misses worker threads, so the default handler's four function pointers are
//! replaced in place. Small arrays go to the functions that were there before; an array made earlier is freed by them too,
//! because ownership is decided by address.
//!
//! Invariants
//!
//! - The pointers are replaced at most once and never put back: arrays made by us may outlive any wish to stop.
//! - Only a handler that names itself `default_allocator`, version 1, is touched.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

/// What large arrays are made from.
#[derive(Clone, Copy)]
pub struct Source {
    /// Zeroed memory, or null.
    pub alloc: fn(usize) -> *mut u8,
    /// Memory with anything in it, or null.
    pub alloc_dirty: fn(usize) -> *mut u8,
    /// Frees memory from `alloc`.
    pub free: fn(*mut u8),
    pub owns: fn(*mut u8) -> bool,
    /// Usable bytes of memory from `alloc`.
    pub size: fn(*mut u8) -> usize,
}

type Malloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type Calloc = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *mut c_void, usize);

#[repr(C)]
struct Handler {
    name: [c_char; 127],
    version: u8,
    context: *mut c_void,
    malloc: Malloc,
    calloc: Calloc,
    realloc: Realloc,
    free: Free,
}

#[derive(Clone, Copy)]
struct Hooked {
    source: Source,
    malloc: Malloc,
    calloc: Calloc,
    realloc: Realloc,
    free: Free,
}

static HOOKED: OnceLock<Hooked> = OnceLock::new();
static MIN_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Arrays of at least `bytes` come from the source from now on; `usize::MAX` stops it for new arrays.
pub fn set_min_bytes(bytes: usize) {
    MIN_BYTES.store(bytes, Ordering::Relaxed);
}

/// As [`set_min_bytes`], unless smaller ones come from there already.
pub fn lower_min_bytes(bytes: usize) {
    MIN_BYTES.fetch_min(bytes, Ordering::Relaxed);
}

unsafe extern "C" fn malloc(context: *mut c_void, size: usize) -> *mut c_void {
    let Some(hooked) = HOOKED.get() else {
        return std::ptr::null_mut();
    };
    if size >= MIN_BYTES.load(Ordering::Relaxed) {
        let made = (hooked.source.alloc_dirty)(size);
        if !made.is_null() {
            return made.cast();
        }
    }
    // SAFETY: NumPy's own function with NumPy's own arguments.
    unsafe { (hooked.malloc)(context, size) }
}

unsafe extern "C" fn calloc(context: *mut c_void, count: usize, item: usize) -> *mut c_void {
    let Some(hooked) = HOOKED.get() else {
        return std::ptr::null_mut();
    };
    if let Some(size) = count
        .checked_mul(item)
        .filter(|size| *size >= MIN_BYTES.load(Ordering::Relaxed))
    {
        let made = (hooked.source.alloc)(size);
        if !made.is_null() {
            return made.cast();
        }
    }
    // SAFETY: as in `malloc`.
    unsafe { (hooked.calloc)(context, count, item) }
}

unsafe extern "C" fn realloc(context: *mut c_void, old: *mut c_void, size: usize) -> *mut c_void {
    let Some(hooked) = HOOKED.get() else {
        return std::ptr::null_mut();
    };
    if old.is_null() || !(hooked.source.owns)(old.cast()) {
        // SAFETY: as in `malloc`; `old` came from that family.
        return unsafe { (hooked.realloc)(context, old, size) };
    }
    // SAFETY: a new block, as NumPy would have asked for it.
    let new = unsafe { malloc(context, size.max(1)) };
    if !new.is_null() {
        let kept = (hooked.source.size)(old.cast()).min(size);
        // SAFETY: `old` is a live block of ours of at least `kept` bytes, `new` a fresh one of at least `size`.
        unsafe { std::ptr::copy_nonoverlapping(old.cast::<u8>(), new.cast::<u8>(), kept) };
        (hooked.source.free)(old.cast());
    }
    new
}

unsafe extern "C" fn free(context: *mut c_void, old: *mut c_void, size: usize) {
    let Some(hooked) = HOOKED.get() else { return };
    if !old.is_null() && (hooked.source.owns)(old.cast()) {
        (hooked.source.free)(old.cast());
        return;
    }
    // SAFETY: as in `malloc`; `old` came from that family.
    unsafe { (hooked.free)(context, old, size) }
}

/// Points NumPy's default handler at `source`. A second call changes nothing.
///
/// # Errors
/// Inside: why this NumPy is refused. Outside: NumPy cannot be imported.
pub fn install(py: Python<'_>, source: Source) -> PyResult<Result<(), String>> {
    if HOOKED.get().is_some() {
        return Ok(Ok(()));
    }
    let version: String = py.import("numpy")?.getattr("__version__")?.extract()?;
    let mut parts = version.split('.').filter_map(|part| part.parse::<u32>().ok());
    let known = match (parts.next(), parts.next()) {
        (Some(1), Some(minor)) => minor >= 22,
        (Some(2), _) => true,
        _ => false,
    };
    if !known {
        return Ok(Err(format!(
            "NumPy {version}: its data handler is not one this version knows"
        )));
    }
    let module = match py.import("numpy._core._multiarray_umath") {
        Ok(module) => module,
        Err(_) => py.import("numpy.core._multiarray_umath")?,
    };
    let api = module.getattr("_ARRAY_API")?;
    const DEFAULT_HANDLER: usize = 306;
    // SAFETY: `_ARRAY_API` is NumPy's capsule of its C API table, which since 1.22 holds, at 306, the address of the
    // variable `PyDataMem_DefaultHandler`: a capsule named `mem_handler`. Both names are checked before use.
    let handler = unsafe {
        let table = ffi::PyCapsule_GetPointer(api.as_ptr(), std::ptr::null()).cast::<*mut *mut ffi::PyObject>();
        if table.is_null() {
            return Err(PyErr::fetch(py));
        }
        let capsule = *table.add(DEFAULT_HANDLER).read();
        if capsule.is_null() || ffi::PyCapsule_IsValid(capsule, c"mem_handler".as_ptr()) == 0 {
            return Ok(Err("NumPy's default data handler is not where its C API says".into()));
        }
        ffi::PyCapsule_GetPointer(capsule, c"mem_handler".as_ptr()).cast::<Handler>()
    };
    // SAFETY: a valid `mem_handler` capsule points at a `PyDataMem_Handler`, static in NumPy, whose name ends in NUL.
    // Its pointers are replaced under the GIL, each by one aligned store; both families free each other's arrays right.
    unsafe {
        let name = CStr::from_ptr((&raw const (*handler).name).cast());
        if name != c"default_allocator" || (*handler).version != 1 {
            return Ok(Err(format!("the data handler is {name:?}, not NumPy's own")));
        }
        let before = Hooked {
            source,
            malloc: (*handler).malloc,
            calloc: (*handler).calloc,
            realloc: (*handler).realloc,
            free: (*handler).free,
        };
        if HOOKED.set(before).is_ok() {
            (*handler).free = free;
            (*handler).realloc = realloc;
            (*handler).calloc = calloc;
            (*handler).malloc = malloc;
        }
    }
    Ok(Ok(()))
}
