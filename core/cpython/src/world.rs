//! The recorder's view of the interpreter: the running frame and the objects it reaches, read-only.

use crate::frame::Frame;
use crate::object::{Symbols, int_value, load, obj, ptr, type_of};
use larder_trace::record::{Builtin, Class, World};
use larder_trace::{Layout, Namespace, Obj};
use pyo3::ffi;

pub struct Live<'a> {
    pub frame: Frame,
    pub layout: &'static Layout,
    pub symbols: &'static Symbols,
    pub builtins: &'a [(Obj, Builtin)],
}

/// The dict object a namespace stands for in this frame.
pub fn namespace(frame: Frame, space: Namespace) -> Obj {
    match space {
        Namespace::Globals => frame.globals(),
        Namespace::Builtins => frame.builtins(),
        Namespace::Dict(dict) => dict,
    }
}

/// The object bound to a name; null when there is none.
///
/// # Safety
/// GIL held; `dict` is a dict and `key` a str.
#[inline]
pub unsafe fn lookup(dict: Obj, key: Obj) -> Obj {
    // SAFETY: str keys compare without running code; an error cannot arise, and would be cleared.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(ptr(dict), ptr(key));
        if found.is_null() && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
        }
        obj(found)
    }
}

/// Whether both namespaces of a frame are plain dicts.
pub fn plain_namespaces(frame: Frame) -> bool {
    let dict = &raw mut ffi::PyDict_Type as usize;
    // SAFETY: a running frame has both.
    unsafe { type_of(frame.globals()).0 == dict && type_of(frame.builtins()).0 == dict }
}

impl World for Live<'_> {
    fn class(&self, o: Obj) -> Class {
        // SAFETY: `o` is live, and each field is read only after its type is known.
        unsafe {
            let t = type_of(o).0;
            let l = self.layout;
            if t == &raw const ffi::PyLong_Type as usize {
                int_value(o, l).map_or(Class::Other, Class::Int)
            } else if t == &raw const ffi::PyFloat_Type as usize {
                Class::Float(load(o.0, l.float_value))
            } else if t == &raw const ffi::PyBool_Type as usize {
                Class::Bool(ptr(o) == ffi::Py_True())
            } else if t == &raw const ffi::PyList_Type as usize {
                Class::List
            } else if t == self.symbols.range_iter_type {
                Class::RangeIter(
                    load(o.0, l.range_next),
                    load(o.0, l.range_step),
                    load(o.0, l.range_left),
                )
            } else if t == self.symbols.list_iter_type {
                Class::ListIter(Obj(load(o.0, l.listiter_list)), load(o.0, l.listiter_index))
            } else if ptr(o) == ffi::Py_None()
                || t == self.symbols.function_type
                || t == self.symbols.builtin_type
                || t == self.symbols.module_type
                || t == &raw const ffi::PyType_Type as usize
            {
                Class::Known
            } else {
                Class::Other
            }
        }
    }
    fn type_of(&self, o: Obj) -> Obj {
        // SAFETY: `o` is live.
        unsafe { type_of(o) }
    }
    fn slot(&self, index: usize) -> Obj {
        self.frame.get(index)
    }
    fn name(&self, index: usize) -> Obj {
        // SAFETY: the code's names are a tuple, and the bytecode indexes inside it.
        unsafe {
            Obj(load(
                load::<usize>(self.frame.code().0, self.layout.code_names),
                self.layout.tuple_items + index * 8,
            ))
        }
    }
    fn constant(&self, index: usize) -> Obj {
        // SAFETY: as `name`.
        unsafe {
            Obj(load(
                load::<usize>(self.frame.code().0, self.layout.code_consts),
                self.layout.tuple_items + index * 8,
            ))
        }
    }
    fn lookup(&self, space: Namespace, key: Obj) -> Obj {
        // SAFETY: the namespaces are plain dicts, checked before recording starts.
        unsafe { lookup(namespace(self.frame, space), key) }
    }
    fn module_dict(&self, o: Obj) -> Obj {
        // SAFETY: `o` is live; the dict is borrowed from the module.
        unsafe {
            if type_of(o).0 != self.symbols.module_type {
                return Obj::NULL;
            }
            obj(ffi::PyModule_GetDict(ptr(o)))
        }
    }
    fn module_level(&self) -> bool {
        self.frame.locals() == self.frame.globals()
    }
    fn builtin(&self, o: Obj) -> Option<Builtin> {
        self.builtins.iter().find(|b| b.0 == o).map(|b| b.1)
    }
    fn list_len(&self, o: Obj) -> i64 {
        // SAFETY: `o` is a live list.
        unsafe { load(o.0, self.layout.var_size) }
    }
    fn list_item(&self, o: Obj, index: i64) -> Obj {
        // SAFETY: `o` is a live list and the recorder checked the index.
        unsafe { Obj(load(load::<usize>(o.0, self.layout.list_items), index as usize * 8)) }
    }
    fn none(&self) -> Obj {
        // SAFETY: always there.
        obj(unsafe { ffi::Py_None() })
    }
}
