//! The recorder's view of the interpreter: the running frame and the objects it reaches, read-only.

use crate::attributes;
use crate::frame::Frame;
use crate::helpers::{self, find_int, find_str, generator_of};
use crate::hook::Engine;
use crate::object::{int_value, load, obj, ptr, refcount, type_of};
use crate::texts;
use crate::walkers;
use larder_trace::bytecode::Ins;
use larder_trace::ir::Seq;
use larder_trace::record::{Attribute, Builtin, Callee, Class, Concrete, Gives, Walker, World};
use larder_trace::{Layout, Namespace, Obj};
use pyo3::ffi;
use std::cell::RefCell;
use std::rc::Rc;

pub struct Live<'a> {
    pub frame: Frame,
    pub engine: &'a Engine,
    /// The frame's code, decoded.
    pub ins: &'a Rc<[Ins]>,
    /// Objects made for the recorder to look at.
    pub examples: RefCell<Vec<Obj>>,
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        for o in self.examples.take() {
            // SAFETY: owned by this; they hold numbers, strings, and what the program holds too.
            unsafe { ffi::Py_DECREF(ptr(o)) };
        }
    }
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

impl Live<'_> {
    fn layout(&self) -> &'static Layout {
        self.engine.layout
    }
    fn code(&self, code: Obj) -> Obj {
        if code.is_null() { self.frame.code() } else { code }
    }
    /// An object that lives as long as this.
    fn keep(&self, o: *mut ffi::PyObject) -> Obj {
        self.examples.borrow_mut().push(obj(o));
        obj(o)
    }
    /// The list and position of a list iterator that nobody else holds.
    unsafe fn list_iter(&self, it: Obj) -> Option<(Obj, i64)> {
        let l = self.layout();
        // SAFETY: a live object; its fields after its type.
        unsafe {
            if type_of(it).0 != self.engine.symbols.list_iter_type || refcount(it) != 1 {
                return None;
            }
            let list = Obj(load(it.0, l.listiter_list));
            (!list.is_null()).then(|| (list, load(it.0, l.listiter_index)))
        }
    }
}

/// The parts of an `enumerate` over a list: count, list, position.
///
/// # Safety
/// A live `enumerate` object.
pub unsafe fn enumerate_parts(o: Obj, live: &Live) -> Option<(i64, Obj, i64)> {
    let l = live.layout();
    // SAFETY: its fields.
    unsafe {
        let (list, index) = live.list_iter(Obj(load(o.0, l.enumerate_inner)))?;
        // Counts beyond 64 bits are kept elsewhere, and then this one is the largest.
        let count: i64 = load(o.0, l.enumerate_index);
        (count != i64::MAX).then_some((count, list, index))
    }
}

/// The parts of a `zip` of two lists read equally far: both, and the position.
///
/// # Safety
/// A live `zip` object.
pub unsafe fn zip_parts(o: Obj, live: &Live) -> Option<(Obj, Obj, i64)> {
    let l = live.layout();
    // SAFETY: its fields: how many iterators, and the tuple of them.
    unsafe {
        if load::<i64>(o.0, l.zip_size) != 2 {
            return None;
        }
        let inner: usize = load(o.0, l.zip_inner);
        let (a, i) = live.list_iter(Obj(load(inner, l.tuple_items)))?;
        let (b, j) = live.list_iter(Obj(load(inner, l.tuple_items + 8)))?;
        (i == j).then_some((a, b, i))
    }
}

impl World for Live<'_> {
    fn class(&self, o: Obj) -> Class {
        if o.is_null() {
            return Class::Other;
        }
        if let Some(index) = o.as_position() {
            return Class::Position(index);
        }
        // SAFETY: `o` is live, and each field is read only after its type is known.
        unsafe {
            let t = type_of(o).0;
            let (l, symbols) = (self.layout(), self.engine.symbols);
            let seq = |kind| Class::SeqIter(kind, Obj(load(o.0, l.listiter_list)), load(o.0, l.listiter_index));
            if t == &raw const ffi::PyLong_Type as usize {
                int_value(o, l).map_or(Class::Other, Class::Int)
            } else if t == &raw const ffi::PyFloat_Type as usize {
                Class::Float(load(o.0, l.float_value))
            } else if t == &raw const ffi::PyBool_Type as usize {
                Class::Bool(ptr(o) == ffi::Py_True())
            } else if t == &raw const ffi::PyList_Type as usize {
                Class::List
            } else if t == &raw const ffi::PyTuple_Type as usize {
                Class::Tuple
            } else if t == &raw const ffi::PyDict_Type as usize {
                Class::Dict
            } else if t == &raw const ffi::PySet_Type as usize || t == &raw const ffi::PyFrozenSet_Type as usize {
                Class::Set
            } else if t == &raw const ffi::PyUnicode_Type as usize {
                Class::Str
            } else if t == &raw const ffi::PyBytes_Type as usize {
                Class::Bytes
            } else if t == symbols.range_iter_type {
                Class::RangeIter(
                    load(o.0, l.range_next),
                    load(o.0, l.range_step),
                    load(o.0, l.range_left),
                )
            } else if t == &raw const ffi::PyRange_Type as usize {
                let part = |k: usize| int_value(Obj(load(o.0, l.range_start + 8 * k)), l);
                match (part(0), part(1), part(2)) {
                    (Some(a), Some(b), Some(c)) => Class::Range(a, b, c),
                    _ => Class::Other,
                }
            } else if t == symbols.list_iter_type {
                seq(Seq::List)
            } else if t == symbols.tuple_iter_type {
                seq(Seq::Tuple)
            } else if t == symbols.str_iter_type {
                seq(Seq::Str)
            } else if t == symbols.enumerate_type {
                enumerate_parts(o, self).map_or(Class::Other, |(a, b, c)| Class::Enumerate(a, b, c))
            } else if t == symbols.zip_type {
                zip_parts(o, self).map_or(Class::Other, |(a, b, c)| Class::Zip(a, b, c))
            } else if t == symbols.cell_type {
                Class::Cell
            } else if ptr(o) == ffi::Py_None()
                || t == symbols.function_type
                || t == symbols.builtin_type
                || t == symbols.method_type
                || t == symbols.module_type
                || t == &raw const ffi::PyType_Type as usize
            {
                Class::Known
            } else {
                Class::Other
            }
        }
    }
    fn type_of(&self, o: Obj) -> Obj {
        if o.as_position().is_some() {
            return Obj::NULL;
        }
        // SAFETY: `o` is live.
        unsafe { type_of(o) }
    }
    fn is_lazy(&self, ty: Obj) -> bool {
        ty.0 == self.engine.symbols.lazy_type && !ty.is_null()
    }
    fn number_types(&self) -> [Obj; 3] {
        [
            Obj(&raw const ffi::PyLong_Type as usize),
            Obj(&raw const ffi::PyFloat_Type as usize),
            Obj(&raw const ffi::PyBool_Type as usize),
        ]
    }
    fn bool_object(&self, value: bool) -> Obj {
        // SAFETY: always there.
        obj(unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } })
    }
    fn is_leaf(&self, o: Obj) -> bool {
        // SAFETY: `o` is live.
        crate::run::is_leaf(unsafe { type_of(o) })
    }
    fn is_leaf_type(&self, ty: Obj) -> bool {
        crate::run::is_leaf(ty)
    }
    fn is_quiet(&self, o: Obj) -> bool {
        // SAFETY: `o` is live.
        unsafe { helpers::is_quiet(o, self.layout()) }
    }
    fn container_types(&self) -> [Obj; 2] {
        [
            Obj(&raw const ffi::PyList_Type as usize),
            Obj(&raw const ffi::PyTuple_Type as usize),
        ]
    }
    fn example(&self, tuple: bool, items: &[Concrete]) -> Obj {
        let size = items.len() as ffi::Py_ssize_t;
        // SAFETY: a new container, filled with new references before anybody sees it; errors leave it as it is.
        unsafe {
            let made = if tuple {
                ffi::PyTuple_New(size)
            } else {
                ffi::PyList_New(size)
            };
            if made.is_null() {
                ffi::PyErr_Clear();
                return self.none();
            }
            for (k, item) in items.iter().enumerate() {
                let o = match item {
                    Concrete::Int(v) => ffi::PyLong_FromLongLong(*v),
                    Concrete::Float(v) => ffi::PyFloat_FromDouble(*v),
                    Concrete::Object(o) => {
                        ffi::Py_INCREF(ptr(*o));
                        ptr(*o)
                    }
                };
                if tuple {
                    ffi::PyTuple_SetItem(made, k as ffi::Py_ssize_t, o);
                } else {
                    ffi::PyList_SetItem(made, k as ffi::Py_ssize_t, o);
                }
            }
            self.keep(made)
        }
    }
    fn slice(&self, o: Obj, start: i64, stop: i64) -> Option<Obj> {
        // SAFETY: a live list, tuple or str.
        let made = unsafe { helpers::slice(ptr(o), start, stop) };
        (!made.is_null()).then(|| self.keep(made))
    }
    fn bounds(&self, o: Obj) -> Option<[Obj; 2]> {
        const PARTS: usize = 16;
        // SAFETY: an exact slice has its start, stop and step behind its head, in every version served.
        unsafe {
            let [start, stop, step] = [0, 8, 16].map(|part| PARTS + part);
            let exact = ffi::Py_TYPE(ptr(o)) == &raw mut ffi::PySlice_Type;
            (exact && load::<usize>(o.0, step) == ffi::Py_None() as usize)
                .then(|| [Obj(load(o.0, start)), Obj(load(o.0, stop))])
        }
    }
    fn text(&self, value: Concrete, spec: Obj, how: i64) -> Option<Obj> {
        // SAFETY: a number or what is given as an object, live; a live str or null.
        let made = unsafe {
            match value {
                Concrete::Int(v) => texts::of_int(v, ptr(spec), how),
                Concrete::Float(v) => texts::of_float(v, ptr(spec), how),
                Concrete::Object(o) => texts::of_object(ptr(o), ptr(spec), how),
            }
        };
        (!made.is_null()).then(|| self.keep(made))
    }
    fn joined(&self, pieces: &[Obj]) -> Obj {
        let items: Vec<Concrete> = pieces.iter().map(|o| Concrete::Object(*o)).collect();
        let tuple = self.example(true, &items);
        // SAFETY: a live tuple of strings; joining lets go of a reference made for it.
        unsafe {
            ffi::Py_INCREF(ptr(tuple));
            self.keep(texts::join(ptr(tuple)))
        }
    }
    fn is_immortal(&self, o: Obj) -> bool {
        // SAFETY: `o` is live.
        unsafe { refcount(o) < 0 }
    }
    fn is_shared(&self, o: Obj) -> bool {
        // SAFETY: `o` is live.
        !o.is_null() && unsafe { refcount(o) != 1 }
    }
    fn slot(&self, index: usize) -> Obj {
        self.frame.get(index)
    }
    fn name(&self, code: Obj, index: usize) -> Obj {
        let l = self.layout();
        // SAFETY: the code's names are a tuple, and the bytecode indexes inside it.
        unsafe {
            Obj(load(
                load::<usize>(self.code(code).0, l.code_names),
                l.tuple_items + index * 8,
            ))
        }
    }
    fn constant(&self, code: Obj, index: usize) -> Obj {
        let l = self.layout();
        // SAFETY: as `name`.
        unsafe {
            Obj(load(
                load::<usize>(self.code(code).0, l.code_consts),
                l.tuple_items + index * 8,
            ))
        }
    }
    fn small_int(&self, value: i64) -> Obj {
        // SAFETY: such an int is immortal, so the reference need not be kept.
        unsafe {
            let o = ffi::PyLong_FromLongLong(value);
            ffi::Py_XDECREF(o);
            obj(o)
        }
    }
    fn common_constant(&self, index: usize) -> Obj {
        self.engine.constants.get(index).copied().unwrap_or(Obj::NULL)
    }
    fn lookup(&self, space: Namespace, key: Obj) -> Obj {
        // SAFETY: the namespaces are plain dicts, checked before recording starts.
        unsafe { lookup(namespace(self.frame, space), key) }
    }
    fn module_dict(&self, o: Obj) -> Obj {
        // SAFETY: `o` is live; the dict is borrowed from the module.
        unsafe {
            if type_of(o).0 != self.engine.symbols.module_type {
                return Obj::NULL;
            }
            obj(ffi::PyModule_GetDict(ptr(o)))
        }
    }
    fn namespaces(&self) -> [Obj; 2] {
        [self.frame.globals(), self.frame.builtins()]
    }
    fn module_level(&self) -> bool {
        self.frame.locals() == self.frame.globals()
    }
    fn builtin(&self, o: Obj) -> Option<Builtin> {
        self.engine.builtins.iter().find(|b| b.0 == o).map(|b| b.1)
    }
    fn generator_of(&self, o: Obj) -> Obj {
        let known = self.engine.builtins.iter().find(|b| b.1 == Builtin::Random);
        // SAFETY: live objects.
        unsafe { generator_of(o, known.map_or(Obj::NULL, |k| k.0), self.layout()) }
    }
    fn size(&self, o: Obj) -> i64 {
        let l = self.layout();
        let offset = match self.class(o) {
            Class::Str => l.str_length,
            Class::Dict => l.dict_used,
            _ => l.var_size,
        };
        // SAFETY: a live sequence or dict.
        unsafe { load(o.0, offset) }
    }
    fn item(&self, o: Obj, index: i64) -> Obj {
        let l = self.layout();
        if index < 0 || index >= self.size(o) {
            return Obj::NULL;
        }
        // SAFETY: a live list or tuple, and an index inside it.
        unsafe {
            match self.class(o) {
                Class::List => Obj(load(load::<usize>(o.0, l.list_items), index as usize * 8)),
                Class::Tuple => Obj(load(o.0, l.tuple_items + index as usize * 8)),
                _ => Obj::NULL,
            }
        }
    }
    fn byte(&self, o: Obj, index: i64) -> Option<u8> {
        let l = self.layout();
        let data = match self.class(o) {
            Class::Str if self.is_latin(o) => l.str_data,
            Class::Bytes => l.bytes_data,
            _ => return None,
        };
        // SAFETY: an index inside the data.
        (0..self.size(o))
            .contains(&index)
            .then(|| unsafe { load(o.0, data + index as usize) })
    }
    fn is_latin(&self, o: Obj) -> bool {
        let l = self.layout();
        // SAFETY: a live string.
        self.class(o) == Class::Str && unsafe { load::<u32>(o.0, l.str_state) } & l.str_mask == l.str_ascii
    }
    fn char(&self, c: u8) -> Obj {
        Obj(self.engine.characters[c as usize])
    }
    fn is_text(&self, o: Obj, text: &str) -> bool {
        let same = |k: usize| self.byte(o, k as i64) == text.as_bytes().get(k).copied();
        self.size(o) == text.len() as i64 && (0..text.len()).all(same)
    }
    fn compare_strings(&self, a: Obj, b: Obj) -> i64 {
        // SAFETY: live strings.
        i64::from(unsafe { ffi::PyUnicode_Compare(ptr(a), ptr(b)) })
    }
    fn compare_bytes(&self, a: Obj, b: Obj) -> i64 {
        // SAFETY: live bytes objects.
        unsafe { helpers::compare_bytes(a, b, self.layout()) }
    }
    fn call_float(&self, f: Obj, x: f64, y: Option<f64>) -> Option<f64> {
        // SAFETY: a live function of the math module; GIL held.
        let v = unsafe { helpers::call_float(ptr(f), x, y.unwrap_or(0.0), 1 + i64::from(y.is_some())) };
        (!v.is_nan()).then_some(v)
    }
    fn dict_int(&self, dict: Obj, key: i64) -> Option<Obj> {
        // SAFETY: a live dict.
        unsafe { find_int(dict, key, self.layout()) }
    }
    fn dict_str(&self, dict: Obj, key: Obj) -> Option<Obj> {
        // SAFETY: a live dict and str.
        unsafe { find_str(dict, key, self.layout()) }
    }
    fn set_int(&self, set: Obj, key: i64) -> Option<bool> {
        // SAFETY: a live set.
        unsafe { walkers::set_has_int(set, key, self.layout()) }
    }
    fn set_str(&self, set: Obj, key: Obj) -> Option<bool> {
        // SAFETY: a live set and str.
        unsafe { walkers::set_has_str(set, key, self.layout()) }
    }
    fn none(&self) -> Obj {
        // SAFETY: always there.
        obj(unsafe { ffi::Py_None() })
    }
    fn method(&self, ty: Obj, name: Obj) -> Obj {
        // Built-in types do not change: their methods are those known by name.
        let list = ty.0 == &raw const ffi::PyList_Type as usize;
        let set = ty.0 == &raw const ffi::PySet_Type as usize;
        // SAFETY: names are strings; the text lives as long as the name.
        let word = unsafe {
            let mut size = 0;
            let text = ffi::PyUnicode_AsUTF8AndSize(ptr(name), &mut size);
            if text.is_null() {
                ffi::PyErr_Clear();
                return Obj::NULL;
            }
            std::slice::from_raw_parts(text.cast::<u8>(), size as usize)
        };
        let wanted = match (list, word) {
            (true, b"append") => Builtin::Append,
            (true, b"pop") => Builtin::Pop,
            (false, b"add") if set => Builtin::Add,
            _ if set => return Obj::NULL,
            (false, b"get") => Builtin::Get,
            (false, b"keys") => Builtin::Keys,
            (false, b"values") => Builtin::Values,
            (false, b"items") => Builtin::Items,
            _ => return Obj::NULL,
        };
        let known = self.engine.builtins.iter().find(|b| b.1 == wanted);
        known.map_or(Obj::NULL, |k| k.0)
    }
    fn attribute(&self, o: Obj, name: Obj) -> Option<(Attribute, u32)> {
        // SAFETY: a live object; names in code are interned.
        unsafe { attributes::of_instance(o, name, self.layout()) }
    }
    fn class_attribute(&self, class: Obj, name: Obj) -> Option<(Obj, u32)> {
        // SAFETY: as above.
        unsafe { attributes::of_class(class, name, self.layout()) }
    }
    fn is_instance(&self, ty: Obj, class: Obj) -> Option<(bool, Option<u32>)> {
        // SAFETY: live objects, the first a type.
        unsafe { attributes::is_instance(ty, class, self.layout()) }
    }
    fn walker(&self, o: Obj) -> Option<Walker> {
        if o.is_null() {
            return None;
        }
        // SAFETY: a live object.
        unsafe { walkers::walker(o, self.layout(), self.engine.symbols) }
    }
    fn dict_next(&self, it: Obj) -> Option<Obj> {
        // SAFETY: a live iterator, as its walker said.
        let place = unsafe { walkers::next(it, self.layout(), self.engine.symbols) };
        (place != 1).then_some(Obj(place))
    }
    fn dict_iterator(&self, dict: Obj, gives: Gives) -> Option<Obj> {
        // SAFETY: a live dict.
        let made = unsafe { walkers::iterator(dict, gives as i64) };
        if made.is_null() {
            // SAFETY: GIL held.
            unsafe { ffi::PyErr_Clear() };
            return None;
        }
        Some(self.keep(made))
    }
    fn raw(&self, o: Obj, offset: usize) -> i64 {
        // SAFETY: an offset that this object's walker named.
        unsafe { load(o.0, offset) }
    }
    fn field(&self, o: Obj, offset: usize) -> Obj {
        // SAFETY: an offset the interpreter's own cache named for this type.
        unsafe { Obj(load(o.0.wrapping_add(offset), 0)) }
    }
    fn function(&self, o: Obj) -> Option<Callee> {
        let l = self.layout();
        // SAFETY: a function's fields, once the type is known; its code is live with it.
        unsafe {
            if type_of(o).0 != self.engine.symbols.function_type {
                return None;
            }
            let code = Obj(load(o.0, l.func_code));
            let flags: u32 = load(code.0, l.code_flags);
            let shape = flags & 0x3ac == 0;
            let count = |offset: usize| load::<i32>(code.0, offset) as usize;
            let closure = Obj(load(o.0, l.func_closure));
            let builtins = Obj(load(o.0, l.func_builtins)) == self.frame.builtins();
            let watched = crate::frame::code_watched(code, self.engine.tool, l);
            let globals = Obj(load(o.0, l.func_globals));
            let plain = type_of(globals).0 == &raw const ffi::PyDict_Type as usize;
            let ins = if code == self.frame.code() {
                Rc::clone(self.ins)
            } else {
                self.engine.decoded(code)
            };
            Some(Callee {
                code,
                globals,
                locals: count(l.code_slots),
                arguments: count(l.code_argcount),
                positional_only: count(l.code_posonly),
                keyword_only: count(l.code_kwonly),
                names: Obj(load(code.0, l.code_variables)),
                defaults: Obj(load(o.0, l.func_defaults)),
                keyword_defaults: Obj(load(o.0, l.func_kwdefaults)),
                closure,
                simple: shape && builtins && plain && !watched,
                ins,
            })
        }
    }
}
