//! Strings that machine code makes of numbers and of other strings.
//!
//! Invariant: nothing here runs Python code or leaves an exception behind; only exact ints, floats, bools, strings and None
//! come here. `PyObject_Str` and `PyObject_Repr`, and whatever writes an int in decimal, see to signals and to the collector, which
//! both run Python code: none of them is called here.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::helpers::layout;
use crate::object::load;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::ffi::{c_int, c_void};

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
        let is = |t: *mut ffi::PyTypeObject| ffi::Py_TYPE(o) == t;
        let plainly = spec.is_null() || ffi::PyUnicode_GetLength(spec) == 0;
        let whole = is(&raw mut ffi::PyLong_Type);
        let made = match how {
            0 if !plainly && (whole || is(&raw mut ffi::PyBool_Type)) && in_decimal(spec) => formatted(o, spec),
            0 if !plainly => ffi::PyObject_Format(o, spec),
            _ if whole => {
                let mut over = 0;
                let v = ffi::PyLong_AsLongLongAndOverflow(o, &raw mut over);
                if over == 0 {
                    str_of(&v.to_string())
                } else {
                    std::ptr::null_mut()
                }
            }
            0 | 1 if is(&raw mut ffi::PyUnicode_Type) => ffi::Py_NewRef(o),
            0..=2 => repr(o),
            _ => ascii(repr(o)),
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

unsafe extern "C" {
    fn PyUnicode_New(size: ffi::Py_ssize_t, highest: u32) -> *mut ffi::PyObject;
    fn PyUnicode_WriteChar(text: *mut ffi::PyObject, at: ffi::Py_ssize_t, character: u32) -> c_int;
}

/// A number as `str` writes it. Of a single digit too that is a new string, where it is one in this CPython.
unsafe fn decimal(v: i64) -> *mut ffi::PyObject {
    static DIGITS_ARE_NEW: PyOnceLock<bool> = PyOnceLock::new();
    // SAFETY: GIL held. The first number is written while a trace is recorded, where Python code may run.
    unsafe {
        let new = DIGITS_ARE_NEW.get_or_init(Python::assume_attached(), || {
            let seven = ffi::PyLong_FromLongLong(7);
            let (one, other) = (ffi::PyObject_Str(seven), ffi::PyObject_Str(seven));
            let new = one != other;
            for made in [seven, one, other] {
                ffi::Py_XDECREF(made);
            }
            ffi::PyErr_Clear();
            new
        });
        if !(0..10).contains(&v) || !new {
            return str_of(&v.to_string());
        }
        let made = PyUnicode_New(1, 127);
        if !made.is_null() && PyUnicode_WriteChar(made, 0, b'0' as u32 + v as u32) != 0 {
            ffi::Py_DECREF(made);
            return std::ptr::null_mut();
        }
        made
    }
}

unsafe fn str_of(text: &str) -> *mut ffi::PyObject {
    // SAFETY: UTF-8.
    unsafe { ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as ffi::Py_ssize_t) }
}

/// An int or a bool by such a format; null if the interpreter has to.
unsafe fn formatted(o: *mut ffi::PyObject, spec: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let (mut over, mut size) = (0, 0);
    // SAFETY: an int and a str, whose UTF-8 is there (`in_decimal` has read it).
    unsafe {
        let v = ffi::PyLong_AsLongLongAndOverflow(o, &raw mut over);
        let data = ffi::PyUnicode_AsUTF8AndSize(spec, &raw mut size);
        if over != 0 || data.is_null() {
            return std::ptr::null_mut();
        }
        let spec = str::from_utf8(std::slice::from_raw_parts(data.cast::<u8>(), size as usize));
        match spec.ok().and_then(|spec| padded(v, spec)) {
            Some(text) => str_of(&text),
            None => std::ptr::null_mut(),
        }
    }
}

/// An int by a format of Python's that writes it in decimal, if that is none of the seldom ones.
fn padded(v: i64, spec: &str) -> Option<String> {
    let spec: Vec<char> = spec.chars().collect();
    let aligns = |at: usize| spec.get(at).copied().filter(|c| "<>=^".contains(*c));
    let (mut fill, mut align, mut at) = match (aligns(1), aligns(0)) {
        (Some(align), _) => (spec.first().copied(), Some(align), 2),
        (None, Some(align)) => (None, Some(align), 1),
        (None, None) => (None, None, 0),
    };
    let mut sign = if v < 0 { "-" } else { "" };
    if let Some(c @ ('+' | '-' | ' ')) = spec.get(at) {
        at += 1;
        sign = match c {
            _ if v < 0 => "-",
            '+' => "+",
            ' ' => " ",
            _ => "",
        };
    }
    if fill.is_none() && spec.get(at) == Some(&'0') {
        (fill, align, at) = (Some('0'), align.or(Some('=')), at + 1);
    }
    let mut width = 0;
    while let Some(digit) = spec.get(at).and_then(|c| c.to_digit(10)) {
        (width, at) = (10 * width + digit as usize, at + 1);
        if width > LONG {
            return None;
        }
    }
    if !matches!(spec.get(at..), Some([] | ['d'])) {
        return None;
    }
    let digits = v.unsigned_abs().to_string();
    let left = width.saturating_sub(sign.len() + digits.len());
    let pad = |count: usize| String::from_iter(std::iter::repeat_n(fill.unwrap_or(' '), count));
    Some(match align {
        Some('<') => format!("{sign}{digits}{}", pad(left)),
        Some('^') => format!("{}{sign}{digits}{}", pad(left / 2), pad(left - left / 2)),
        Some('=') => format!("{sign}{}{digits}", pad(left)),
        _ => format!("{}{sign}{digits}", pad(left)),
    })
}

/// Whether a format writes an int in decimal: all but those that end with another presentation type.
unsafe fn in_decimal(spec: *mut ffi::PyObject) -> bool {
    let mut size = 0;
    // SAFETY: a live str. Where it has no UTF-8 the interpreter is left to say so.
    unsafe {
        let data = ffi::PyUnicode_AsUTF8AndSize(spec, &raw mut size);
        if data.is_null() {
            ffi::PyErr_Clear();
            return true;
        }
        let last = std::slice::from_raw_parts(data.cast::<u8>(), size as usize).last();
        !last.is_some_and(|last| b"bcoxXeEfFgG%".contains(last))
    }
}

/// What the type of an object has for its `repr`.
unsafe fn repr(o: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: of these types each has one, of this signature.
    unsafe {
        let slot = ffi::PyType_GetSlot(ffi::Py_TYPE(o), ffi::Py_tp_repr);
        std::mem::transmute::<*mut c_void, ffi::reprfunc>(slot)(o)
    }
}

/// The same string if its characters are of ASCII; the interpreter writes those of others.
unsafe fn ascii(made: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if made.is_null() {
        return made;
    }
    let mut size = 0;
    // SAFETY: a string of our own. Nothing keeps its UTF-8 copy from being made but a lone surrogate, or want of memory.
    unsafe {
        let data = ffi::PyUnicode_AsUTF8AndSize(made, &raw mut size);
        if !data.is_null() && std::slice::from_raw_parts(data.cast::<u8>(), size as usize).is_ascii() {
            return made;
        }
        ffi::Py_DECREF(made);
        std::ptr::null_mut()
    }
}

/// # Safety
/// As [`of_object`].
pub unsafe extern "C" fn of_int(v: i64, spec: *mut ffi::PyObject, how: i64) -> *mut ffi::PyObject {
    // SAFETY: by contract; the number is let go once it is written.
    unsafe {
        if spec.is_null() || how != 0 {
            return decimal(v);
        }
        written(ffi::PyLong_FromLongLong(v), spec, how)
    }
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
