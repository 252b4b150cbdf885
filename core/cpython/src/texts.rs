//! Strings that machine code makes of numbers and of other strings.
//!
//! Invariant: nothing here runs Python code or leaves an exception behind; only exact ints, floats, bools, strings and None
//! come here.

use crate::helpers::layout;
use crate::object::load;
use pyo3::ffi;

/// Characters of a string that a trace makes: many may be kept before they are let go.
pub const LONG: usize = 256;

/// Formats as an f-string does (0; a null format is none), or makes a str (1), repr (2) or ascii (3): a new reference; null
/// when that raises, or when the string is long.
///
/// # Safety
/// GIL held; such an object, and a str or null.
pub unsafe extern "C" fn of_object(o: *mut ffi::PyObject, spec: *mut ffi::PyObject, how: i64) -> *mut ffi::PyObject {
    // SAFETY: by contract; what the functions give is looked at before it is handed on.
    unsafe {
        let made = match how {
            0 => ffi::PyObject_Format(o, spec),
            1 => ffi::PyObject_Str(o),
            2 => ffi::PyObject_Repr(o),
            _ => ffi::PyObject_ASCII(o),
        };
        if made.is_null() {
            ffi::PyErr_Clear();
            return made;
        }
        let exact = ffi::Py_TYPE(made) == &raw mut ffi::PyUnicode_Type;
        if !exact || load::<usize>(made as usize, layout().str_length) > LONG {
            ffi::Py_DECREF(made);
            return std::ptr::null_mut();
        }
        made
    }
}

/// # Safety
/// As [`of_object`].
pub unsafe extern "C" fn of_int(v: i64, spec: *mut ffi::PyObject, how: i64) -> *mut ffi::PyObject {
    // SAFETY: by contract; the number is let go once it is written.
    unsafe { written(ffi::PyLong_FromLongLong(v), spec, how) }
}

/// # Safety
/// As [`of_object`].
pub unsafe extern "C" fn of_float(v: f64, spec: *mut ffi::PyObject, how: i64) -> *mut ffi::PyObject {
    // SAFETY: as `of_int`.
    unsafe { written(ffi::PyFloat_FromDouble(v), spec, how) }
}

unsafe fn written(number: *mut ffi::PyObject, spec: *mut ffi::PyObject, how: i64) -> *mut ffi::PyObject {
    if number.is_null() {
        std::process::abort();
    }
    // SAFETY: by contract of `of_object`, and a number of our own.
    unsafe {
        let made = of_object(number, spec, how);
        ffi::Py_DECREF(number);
        made
    }
}

/// The strings of a tuple as one, a new reference; the tuple is let go.
///
/// # Safety
/// GIL held; an owned tuple of exact strings, which live on without it.
pub unsafe extern "C" fn join(pieces: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by contract. Without memory for the string, the process ends: machine code cannot raise.
    unsafe {
        let empty = ffi::PyUnicode_FromStringAndSize(std::ptr::null(), 0);
        let made = if empty.is_null() {
            empty
        } else {
            ffi::PyUnicode_Join(empty, pieces)
        };
        if made.is_null() {
            std::process::abort();
        }
        ffi::Py_DECREF(empty);
        ffi::Py_DECREF(pieces);
        made
    }
}
