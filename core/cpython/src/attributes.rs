//! Where attributes of instances and classes live: the lookup that `object.__getattribute__` makes, without its effects.
//!
//! What the interpreter's own caches say is not asked: they know one type per place of the code, and start empty.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::object::{load, obj, ptr, symbols, type_of};
use larder_trace::record::{Attribute, ByteTest};
use larder_trace::{Layout, Obj};
use pyo3::ffi;
use std::ffi::{c_int, c_uint};

unsafe extern "C" {
    // Exported by every version.
    fn _PyType_Lookup(ty: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

// Fields of a type object: the same in every version served.
const FLAGS: usize = 168;
const GETATTRO: usize = 144;
const SETATTRO: usize = 152;
const DESCR_GET: usize = 272;
const DICT_OFFSET: usize = 288;
// Flags of a type that the limited API, and so pyo3, has no names for.
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
// A member descriptor's definition, and the fields of that.
const MEMBER: usize = 40;
const MEMBER_TYPE: usize = 8;
const MEMBER_OFFSET: usize = 16;
const MEMBER_FLAGS: usize = 24;
const OBJECT_EX: c_int = 16;
/// A key table's count of entries.
const ENTRIES: usize = 24;

/// The version of a type, given one if it has none yet; zero when there are no more.
unsafe fn version(ty: Obj, l: &Layout) -> u32 {
    // SAFETY: a live type.
    unsafe {
        if load::<u32>(ty.0, l.type_version) == 0
            && let Ok(symbols) = symbols()
        {
            (symbols.assign_version)(ptr(ty));
        }
        load(ty.0, l.type_version)
    }
}

/// How many attribute names the instances of a type share; none when they do not.
///
/// # Safety
/// A live type.
pub unsafe fn shared_names(ty: Obj, l: &Layout) -> Option<i64> {
    // SAFETY: a heap type has a table of names, or null.
    unsafe {
        let keys: usize = load(ty.0, l.type_keys);
        (keys != 0).then(|| load(keys, ENTRIES))
    }
}

/// The place of a name among those the instances of a type share.
unsafe fn shared_name(ty: Obj, name: Obj, l: &Layout) -> Option<usize> {
    // SAFETY: a table of shared names has str keys only, which are interned as names in code are.
    unsafe {
        let keys: usize = load(ty.0, l.type_keys);
        let count = shared_names(ty, l)?;
        let entries = keys + l.keys_indices + (1usize << load::<u8>(keys, l.keys_log_index));
        (0..count as usize).find(|k| Obj(load(entries, k * 16)) == name)
    }
}

/// Where an attribute of an instance is found, and the version of the type this is true for.
///
/// # Safety
/// GIL held; a live object and an interned str.
pub unsafe fn of_instance(o: Obj, name: Obj, l: &Layout) -> Option<(Attribute, u32)> {
    // SAFETY: fields of a live object's type, then of what they lead to once its type is known.
    unsafe {
        let ty = type_of(o);
        let flags: u64 = load(ty.0, FLAGS);
        let plain = load::<usize>(ty.0, GETATTRO) == ffi::PyObject_GenericGetAttr as *const () as usize
            && load::<usize>(ty.0, SETATTRO) == ffi::PyObject_GenericSetAttr as *const () as usize;
        if !plain || flags & ffi::Py_TPFLAGS_READY == 0 {
            return None;
        }
        let found = obj(_PyType_Lookup(ptr(ty), ptr(name)));
        let version = version(ty, l);
        if version == 0 {
            return None;
        }
        let size: usize = load(ty.0, l.type_basicsize);
        // Up to 3.12 values lie behind a pointer with a bit set, since 3.13 in the object, and a byte says whether.
        let (inline, valid) = if l.tagged_values {
            let (offset, mask) = (l.managed_dict as usize, 1);
            (flags & MANAGED_DICT != 0, ByteTest { offset, mask })
        } else {
            let (offset, mask) = (size + l.inline_valid, 0xff);
            (flags & INLINE_VALUES != 0, ByteTest { offset, mask })
        };
        let kept = inline && load::<u8>(o.0.wrapping_add(valid.offset), 0) & valid.mask != 0;
        if !found.is_null() && type_of(found).0 == &raw const ffi::PyMemberDescr_Type as usize {
            let member: usize = load(found.0, MEMBER);
            let fits = load::<c_int>(member, MEMBER_TYPE) == OBJECT_EX && load::<c_uint>(member, MEMBER_FLAGS) == 0;
            return fits.then(|| (Attribute::Slot(load(member, MEMBER_OFFSET)), version));
        }
        let data = !found.is_null() && load::<usize>(type_of(found).0, DESCR_GET + 8) != 0;
        if data {
            return None;
        }
        if kept && let Some(index) = shared_name(ty, name, l) {
            let place = if l.tagged_values {
                Attribute::Tagged {
                    pointer: valid.offset,
                    offset: 1 + index * 8,
                }
            } else {
                Attribute::Inline {
                    offset: size + l.inline_values + index * 8,
                    valid: valid.offset,
                    dict: l.managed_dict as usize,
                }
            };
            return Some((place, version));
        }
        // The type's own, which no instance hides: they have no names of their own, or not this one.
        let names = match (load::<i64>(ty.0, DICT_OFFSET), kept) {
            (0, _) => None,
            (_, true) => Some((shared_names(ty, l)? as u32, valid)),
            _ => return None,
        };
        if found.is_null() {
            return None;
        }
        let function = symbols().is_ok_and(|s| type_of(found).0 == s.function_type);
        let value = load::<usize>(type_of(found).0, DESCR_GET) == 0;
        let place = match (function, value) {
            (true, _) => Attribute::Method {
                function: found,
                keys: names,
            },
            (_, true) => Attribute::OfClass {
                value: found,
                keys: names,
            },
            _ => return None,
        };
        Some((place, version))
    }
}

/// The value of a class's attribute, where getting it runs nothing, and the version of the class this is true for.
///
/// # Safety
/// GIL held; a live object and an interned str.
pub unsafe fn of_class(class: Obj, name: Obj, l: &Layout) -> Option<(Obj, u32)> {
    // SAFETY: as [`of_instance`]; the metatype is `type` itself, of which nothing is overridden.
    unsafe {
        let meta = &raw mut ffi::PyType_Type;
        if type_of(class).0 != meta as usize || !_PyType_Lookup(meta.cast(), ptr(name)).is_null() {
            return None;
        }
        let found = obj(_PyType_Lookup(ptr(class), ptr(name)));
        if found.is_null() {
            return None;
        }
        let function = symbols().is_ok_and(|s| type_of(found).0 == s.function_type);
        let value = load::<usize>(type_of(found).0, DESCR_GET) == 0;
        let version = version(class, l);
        (version != 0 && (function || value)).then_some((found, version))
    }
}

/// Whether objects of a type are instances of a class, and the version of the type this is true for, if it can change;
/// none when only Python can tell.
///
/// # Safety
/// GIL held; live objects, the first a type.
pub unsafe fn is_instance(ty: Obj, class: Obj, l: &Layout) -> Option<(bool, Option<u32>)> {
    // SAFETY: both are types where they are used as such; a metatype that is `type` itself asks no method.
    unsafe {
        let meta = &raw mut ffi::PyType_Type;
        if type_of(class).0 != meta as usize {
            return None;
        }
        let yes = ffi::PyType_IsSubtype(ptr(ty).cast(), ptr(class).cast()) != 0;
        if load::<u64>(ty.0, FLAGS) & ffi::Py_TPFLAGS_HEAPTYPE == 0 {
            return Some((yes, None));
        }
        if !yes {
            // What the object says its class is counts too.
            let name = ffi::PyUnicode_InternFromString(c"__class__".as_ptr());
            if name.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            let plain = &raw mut ffi::PyBaseObject_Type;
            let said = _PyType_Lookup(ptr(ty), name) == _PyType_Lookup(plain.cast(), name);
            ffi::Py_DECREF(name);
            let asked = load::<usize>(ty.0, GETATTRO) == ffi::PyObject_GenericGetAttr as *const () as usize;
            if !said || !asked {
                return None;
            }
        }
        let version = version(ty, l);
        (version != 0).then_some((yes, Some(version)))
    }
}
