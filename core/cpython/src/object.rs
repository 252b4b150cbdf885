//! Reading objects: the few loads and exported symbols everything else is built from.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use larder_trace::{Layout, Obj, layout};
use pyo3::ffi;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

/// Reads a field of an object or of an interpreter structure.
///
/// # Safety
/// `base + offset` must be readable as a `T` of this interpreter's layout.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: usize, offset: usize) -> T {
    // SAFETY: the caller vouches for the address; unaligned reads make alignment no matter.
    unsafe { ((base + offset) as *const T).read_unaligned() }
}

/// Writes a field.
///
/// # Safety
/// As [`load`], writable, and the GIL held.
#[inline(always)]
pub unsafe fn store<T: Copy>(base: usize, offset: usize, value: T) {
    // SAFETY: the caller vouches for the address.
    unsafe { ((base + offset) as *mut T).write_unaligned(value) }
}

/// # Safety
/// `o` must be a live object.
#[inline(always)]
pub unsafe fn type_of(o: Obj) -> Obj {
    // SAFETY: every object has its type at this offset.
    unsafe { Obj(load(o.0, layout::TYPE)) }
}

/// The low half of the reference count; negative for immortal objects.
///
/// # Safety
/// `o` must be a live object.
#[inline(always)]
pub unsafe fn refcount(o: Obj) -> i32 {
    // SAFETY: every object has its count at this offset.
    unsafe { load(o.0, layout::REFCOUNT) }
}

#[inline(always)]
pub fn ptr(o: Obj) -> *mut ffi::PyObject {
    o.0 as *mut ffi::PyObject
}

#[inline(always)]
pub fn obj(p: *mut ffi::PyObject) -> Obj {
    Obj(p as usize)
}

/// One owner more.
///
/// # Safety
/// GIL held; a live object.
#[inline(always)]
pub unsafe fn incref(o: Obj) {
    // SAFETY: a live object; immortal ones are not counted.
    unsafe {
        let count: i32 = load(o.0, layout::REFCOUNT);
        if count >= 0 {
            store(o.0, layout::REFCOUNT, count.wrapping_add(1));
        }
    }
}

unsafe extern "C" {
    // Exported by every version; what `Py_DECREF` of the headers calls.
    fn _Py_Dealloc(o: *mut ffi::PyObject);
}

/// One owner less.
///
/// # Safety
/// GIL held; an object the caller owns. It may die, which may run any code.
#[inline(always)]
pub unsafe fn decref(o: Obj) {
    // SAFETY: as `incref`.
    unsafe {
        let count: i32 = load(o.0, layout::REFCOUNT);
        if count < 0 {
            return;
        }
        store(o.0, layout::REFCOUNT, count - 1);
        if count == 1 {
            _Py_Dealloc(ptr(o));
        }
    }
}

pub type ExtraFree = unsafe extern "C" fn(*mut c_void);

/// Symbols outside the limited API, looked up at start so that the wheel loads on every version.
pub struct Symbols {
    pub range_iter_type: usize,
    pub list_iter_type: usize,
    pub tuple_iter_type: usize,
    pub enumerate_type: usize,
    pub zip_type: usize,
    pub function_type: usize,
    pub module_type: usize,
    pub builtin_type: usize,
    pub cell_type: usize,
    pub method_type: usize,
    pub str_iter_type: usize,
    pub reverse_iter_type: usize,
    /// Iterators of a dict's keys, values and items, and of a set.
    pub dict_iter_types: [usize; 3],
    pub set_iter_type: usize,
    /// What stands in a set where something was taken out.
    pub set_dummy: usize,
    /// 3.15: an import not done yet, which a look-up by name does; null before.
    pub lazy_type: usize,
    pub code_bytes: CodeBytes,
    pub request_extra: RequestExtra,
    pub get_extra: GetExtra,
    pub set_extra: SetExtra,
    /// `PyUnstable_Type_AssignVersionTag`.
    pub assign_version: AssignVersion,
    /// `PyDict_AddWatcher`, `PyDict_Watch` and `PyDict_Unwatch`.
    pub add_watcher: unsafe extern "C" fn(DictWatcher) -> c_int,
    pub watch: WatchDict,
    pub unwatch: WatchDict,
}

type CodeBytes = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;
pub type DictWatcher = unsafe extern "C" fn(c_int, *mut ffi::PyObject, *mut ffi::PyObject, *mut ffi::PyObject) -> c_int;
type WatchDict = unsafe extern "C" fn(c_int, *mut ffi::PyObject) -> c_int;
pub type AssignVersion = unsafe extern "C" fn(*mut ffi::PyObject) -> c_int;
type RequestExtra = unsafe extern "C" fn(ExtraFree) -> ffi::Py_ssize_t;
type GetExtra = unsafe extern "C" fn(*mut ffi::PyObject, ffi::Py_ssize_t, *mut *mut c_void) -> c_int;
type SetExtra = unsafe extern "C" fn(*mut ffi::PyObject, ffi::Py_ssize_t, *mut c_void) -> c_int;

pub(crate) fn symbol(name: &'static CStr) -> Result<usize, String> {
    // SAFETY: a lookup by name in what is already loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
    if found == 0 {
        Err(format!("this interpreter does not export {name:?}"))
    } else {
        Ok(found)
    }
}

/// The type of what iterates over an ASCII string, which has no name.
unsafe fn ascii_iter_type() -> Result<usize, String> {
    // SAFETY: GIL held, as whenever symbols are asked for first; results are checked.
    unsafe {
        let text = ffi::PyUnicode_FromStringAndSize(c"ab".as_ptr(), 2);
        let it = if text.is_null() {
            text
        } else {
            ffi::PyObject_GetIter(text)
        };
        if it.is_null() {
            ffi::PyErr_Clear();
            return Err("no memory for an iterator".into());
        }
        let ty = type_of(obj(it)).0;
        ffi::Py_DECREF(it);
        ffi::Py_DECREF(text);
        Ok(ty)
    }
}

static SYMBOLS: OnceLock<Result<Symbols, String>> = OnceLock::new();

/// The looked-up symbols, or which one is missing.
pub fn symbols() -> Result<&'static Symbols, String> {
    let found = SYMBOLS.get_or_init(|| {
        let dummy = symbol(c"_PySet_Dummy").ok();
        // SAFETY: each symbol has had this signature in every version that exports it (3.12 and later).
        unsafe {
            Ok(Symbols {
                range_iter_type: symbol(c"PyRangeIter_Type")?,
                list_iter_type: symbol(c"PyListIter_Type")?,
                tuple_iter_type: symbol(c"PyTupleIter_Type")?,
                enumerate_type: symbol(c"PyEnum_Type")?,
                zip_type: symbol(c"PyZip_Type")?,
                function_type: symbol(c"PyFunction_Type")?,
                module_type: symbol(c"PyModule_Type")?,
                builtin_type: symbol(c"PyCFunction_Type")?,
                cell_type: symbol(c"PyCell_Type")?,
                method_type: symbol(c"PyMethodDescr_Type")?,
                str_iter_type: ascii_iter_type()?,
                // Where one is missing, nothing has that type.
                reverse_iter_type: symbol(c"PyListRevIter_Type").unwrap_or(0),
                dict_iter_types: [
                    symbol(c"PyDictIterKey_Type").unwrap_or(0),
                    symbol(c"PyDictIterValue_Type").unwrap_or(0),
                    symbol(c"PyDictIterItem_Type").unwrap_or(0),
                ],
                set_iter_type: dummy.and(symbol(c"PySetIter_Type").ok()).unwrap_or(0),
                set_dummy: dummy.map_or(0, |at| load(at, 0)),
                lazy_type: symbol(c"PyLazyImport_Type").unwrap_or(0),
                code_bytes: std::mem::transmute::<usize, CodeBytes>(symbol(c"PyCode_GetCode")?),
                request_extra: std::mem::transmute::<usize, RequestExtra>(symbol(
                    c"PyUnstable_Eval_RequestCodeExtraIndex",
                )?),
                get_extra: std::mem::transmute::<usize, GetExtra>(symbol(c"PyUnstable_Code_GetExtra")?),
                assign_version: std::mem::transmute::<usize, AssignVersion>(symbol(
                    c"PyUnstable_Type_AssignVersionTag",
                )?),
                add_watcher: std::mem::transmute::<usize, unsafe extern "C" fn(DictWatcher) -> c_int>(symbol(
                    c"PyDict_AddWatcher",
                )?),
                watch: std::mem::transmute::<usize, WatchDict>(symbol(c"PyDict_Watch")?),
                unwatch: std::mem::transmute::<usize, WatchDict>(symbol(c"PyDict_Unwatch")?),
                set_extra: std::mem::transmute::<usize, SetExtra>(symbol(c"PyUnstable_Code_SetExtra")?),
            })
        }
    });
    found.as_ref().map_err(Clone::clone)
}

/// The value of an int object that fits 64 bits.
///
/// # Safety
/// `o` must be a live int object of exactly that type.
#[inline(always)]
pub unsafe fn int_value(o: Obj, l: &Layout) -> Option<i64> {
    // SAFETY: by contract; a live int, whose tag says whether the value is in the first digit.
    unsafe {
        let tag: usize = load(o.0, l.long_tag);
        if tag < 16 {
            let digit: u32 = load(o.0, l.long_digits);
            return Some((1 - (tag & 3) as i64) * i64::from(digit));
        }
        large_value(o, tag, l)
    }
}

/// # Safety
/// As [`int_value`], with the int's tag.
#[cold]
unsafe fn large_value(o: Obj, tag: usize, l: &Layout) -> Option<i64> {
    // SAFETY: by contract.
    unsafe {
        if tag >> 3 > 3 {
            return None;
        }
        // Three 30-bit digits at most: fold them in 128 bits, then see whether 64 hold the value.
        let mut magnitude = 0i128;
        for k in (0..tag >> 3).rev() {
            let digit: u32 = load(o.0, l.long_digits + 4 * k);
            magnitude = magnitude << 30 | i128::from(digit);
        }
        let value = if tag & 3 == 2 { -magnitude } else { magnitude };
        i64::try_from(value).ok()
    }
}
