//! Whether this interpreter is laid out as the file of its version says: by its own description of itself, and by
//! looking at objects whose content is known.
//!
//! A patch release or a vendor's build may differ; then nothing is optimised, and the reason names what differs.

use crate::attributes::of_instance;
use crate::frame::breaker;
use crate::helpers::{find_int, find_str};
use crate::object::{int_value, load, ptr, symbols, type_of};
use crate::walkers::{DICT_LEFT, SET_LEFT, next};
use larder_trace::record::Attribute;
use larder_trace::{Layout, Obj, layout};
use pyo3::ffi;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};

/// Objects of known content, by name; see `_samples` in `larder/optimiser.py`.
pub type Samples = HashMap<String, Obj>;

/// The words of `_Py_DebugOffsets` that describe what a [`Layout`] names, in the order of [`described`]; 0 for none.
pub type Words = [usize; 19];

fn described(l: &Layout) -> [(&'static str, usize); 19] {
    [
        ("the current frame", l.thread_frame),
        ("a frame's code", l.frame_code),
        ("a frame's instruction pointer", l.frame_ip),
        ("a frame's locals", l.frame_slots),
        ("a frame's stack top", l.frame_stacktop),
        ("a code object's arguments", l.code_argcount),
        ("a code object's instructions", l.code_units),
        ("an object's type", layout::TYPE),
        ("a tuple's items", l.tuple_items),
        ("a list's items", l.list_items),
        ("a list's size", l.var_size),
        ("a dict's keys", l.dict_keys),
        ("a dict's values", l.dict_values),
        ("a float", l.float_value),
        ("an int's size", l.long_tag),
        ("an int's digits", l.long_digits),
        ("bytes", l.bytes_data),
        ("a string's state", l.str_state),
        ("a string's length", l.str_length),
    ]
}

/// Compares the interpreter's own description with the layout.
///
/// # Errors
/// What differs.
pub fn own_description(l: &Layout, words: &Words, hex_version: u32) -> Result<(), String> {
    // SAFETY: a lookup by name; the symbol begins with the description in every version that has one (3.13 and later).
    unsafe {
        let runtime = libc::dlsym(libc::RTLD_DEFAULT, c"_PyRuntime".as_ptr()) as usize;
        if runtime == 0 {
            return Err("its description of itself".into());
        }
        let word = |at: usize| load::<u64>(runtime, 8 * at);
        if load::<[u8; 8]>(runtime, 0) != *b"xdebugpy" || word(1) != u64::from(hex_version) || word(2) != 0 {
            return Err("its description of itself".into());
        }
        for ((what, offset), at) in described(l).into_iter().zip(words) {
            if *at != 0 && word(*at) != offset as u64 {
                return Err(what.into());
            }
        }
    }
    Ok(())
}

fn sure(right: bool, what: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(what.into()) }
}

/// Looks at samples.
///
/// # Errors
/// What is not where the layout says.
///
/// # Safety
/// The GIL is held, and the samples are as `larder/optimiser.py` makes them.
pub unsafe fn samples(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: live objects of known types. Offsets are checked from the outside in: a wrong one is found before it is
    // followed, or reads the inside of an object.
    unsafe {
        numbers_and_text(l, s)?;
        containers(l, s)?;
        iterators(l, s)?;
        functions(l, s)?;
        classes(l, s)
    }
}

fn get(s: &Samples, name: &str) -> Result<Obj, String> {
    s.get(name).copied().ok_or_else(|| format!("a sample called {name}"))
}

unsafe fn numbers_and_text(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: live ints, floats, strings and bytes.
    unsafe {
        for (name, value) in [
            ("small", 5),
            ("negative", -70_000),
            ("digits", 1 << 40),
            ("wide", i64::MIN),
        ] {
            sure(int_value(get(s, name)?, l) == Some(value), "an int")?;
        }
        sure(int_value(get(s, "huge")?, l).is_none(), "a long int")?;
        for value in [-5, l.long_single] {
            let two = [0, 1].map(|_| ffi::PyLong_FromLongLong(value));
            sure(two[0] == two[1], "the ints that exist once")?;
            two.into_iter().for_each(|o| ffi::Py_XDECREF(o));
        }
        let two = [0, 1].map(|_| ffi::PyLong_FromLongLong(l.long_single + 1));
        sure(two[0] != two[1], "the ints that exist once")?;
        two.into_iter().for_each(|o| ffi::Py_XDECREF(o));
        sure(load::<f64>(get(s, "float")?.0, l.float_value) == 1.25, "a float")?;
        let text = get(s, "text")?.0;
        let plain = load::<u32>(text, l.str_state) & l.str_mask == l.str_ascii;
        sure(plain && load::<usize>(text, l.str_length) == 6, "a string")?;
        sure(load::<[u8; 6]>(text, l.str_data) == *b"larder", "a string's characters")?;
        let hash = ffi::PyObject_Hash(ptr(Obj(text)));
        sure(load::<isize>(text, l.str_hash) == hash, "a string's hash")?;
        for name in ["latin", "wide text"] {
            let state: u32 = load(get(s, name)?.0, l.str_state);
            sure(state & l.str_mask != l.str_ascii, "a string's kind")?;
        }
        let bytes = get(s, "bytes")?.0;
        sure(load::<usize>(bytes, l.var_size) == 3, "the length of bytes")?;
        sure(load::<[u8; 3]>(bytes, l.bytes_data) == *b"abc", "bytes")
    }
}

unsafe fn containers(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: live containers; dict lookups run no code for these keys.
    unsafe {
        let (float, small) = (get(s, "float")?, get(s, "small")?);
        let list = get(s, "list")?.0;
        sure(load::<usize>(list, l.var_size) == 2, "a list's size")?;
        sure(
            (2..64).contains(&load::<usize>(list, l.list_allocated)),
            "a list's room",
        )?;
        let items: usize = load(list, l.list_items);
        sure(load::<[usize; 2]>(items, 0) == [float.0, small.0], "a list's items")?;
        let tuple = get(s, "tuple")?.0;
        sure(load::<usize>(tuple, l.var_size) == 2, "a tuple's size")?;
        sure(
            load::<[usize; 2]>(tuple, l.tuple_items) == [small.0, float.0],
            "a tuple's items",
        )?;
        for (name, text) in [
            ("by text", true),
            ("by number", false),
            ("by both", true),
            ("by both", false),
        ] {
            let dict = get(s, name)?;
            let count = ffi::PyDict_Size(ptr(dict));
            sure(load::<isize>(dict.0, l.dict_used) == count, "a dict's size")?;
            sure(load::<u8>(dict.0, l.dict_watchers) == 0, "a dict's watchers")?;
            let place = if text {
                find_str(dict, get(s, "text")?, l)
            } else {
                find_int(dict, 1 << 40, l)
            };
            let place = place.filter(|p| !p.is_null()).ok_or("a dict's keys")?;
            sure(load::<usize>(place.0, 0) == float.0, "a dict's values")?;
            let none = if text {
                find_str(dict, get(s, "latin")?, l)
            } else {
                find_int(dict, 17, l)
            };
            sure(none == Some(Obj::NULL), "a dict's keys")?;
        }
        Ok(())
    }
}

unsafe fn iterators(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: live iterators, each after its first step.
    unsafe {
        let symbols = symbols()?;
        let part = |name: &str, offset: usize| Ok::<usize, String>(load(get(s, name)?.0, offset));
        for k in 0..3 {
            let bound = Obj(part("range", l.range_start + 8 * k)?);
            let right = type_of(bound).0 == &raw const ffi::PyLong_Type as usize;
            sure(right && int_value(bound, l) == Some([3, 20, 4][k]), "a range")?;
        }
        sure(
            type_of(get(s, "range iterator")?).0 == symbols.range_iter_type,
            "a range's iterator",
        )?;
        let stepped = [l.range_next, l.range_step, l.range_left].map(|o| part("range iterator", o));
        sure(stepped == [Ok(7), Ok(4), Ok(4)], "a range's iterator")?;
        let list = get(s, "list")?.0;
        let along = |it: usize| {
            let right = type_of(Obj(it)).0 == symbols.list_iter_type;
            right && load::<usize>(it, l.listiter_index) == 1 && load::<usize>(it, l.listiter_list) == list
        };
        sure(along(get(s, "list iterator")?.0), "a list's iterator")?;
        let tuple = get(s, "tuple iterator")?;
        sure(type_of(tuple).0 == symbols.tuple_iter_type, "a tuple's iterator")?;
        sure(
            load::<usize>(tuple.0, l.listiter_list) == get(s, "tuple")?.0,
            "a tuple's iterator",
        )?;
        sure(type_of(get(s, "enumerate")?).0 == symbols.enumerate_type, "enumerate")?;
        sure(part("enumerate", l.enumerate_index)? == 6, "enumerate")?;
        sure(along(part("enumerate", l.enumerate_inner)?), "enumerate")?;
        sure(
            type_of(get(s, "zip")?).0 == symbols.zip_type && part("zip", l.zip_size)? == 2,
            "zip",
        )?;
        let inner = part("zip", l.zip_inner)?;
        sure(type_of(Obj(inner)).0 == &raw const ffi::PyTuple_Type as usize, "zip")?;
        sure((0..2).all(|k| along(load(inner, l.tuple_items + 8 * k))), "zip")?;
        let float = get(s, "float")?.0;
        for (name, back, left) in [("dict iterator", 0, DICT_LEFT), ("set iterator", 8, SET_LEFT)] {
            let place = next(get(s, name)?, l, symbols);
            sure(
                place > 1 && load::<usize>(place - back, 0) == float,
                "the iterator of a dict or set",
            )?;
            sure(load::<i64>(get(s, name)?.0, left) == 1, "the iterator of a dict or set")?;
        }
        let index: u32 = load(get(s, "generator")?.0, l.random_index);
        sure(
            int_value(get(s, "generator index")?, l) == Some(index.into()),
            "a random generator",
        )?;
        for (k, name) in [(0, "generator first"), (623, "generator last")] {
            let word: u32 = load(get(s, "generator")?.0, l.random_state + 4 * k);
            sure(int_value(get(s, name)?, l) == Some(word.into()), "a random generator")?;
        }
        Ok(())
    }
}

unsafe fn functions(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: a live function, its code, and methods of lists.
    unsafe {
        let (function, code) = (get(s, "function")?.0, get(s, "code")?.0);
        let fields = [
            ("globals", l.func_globals),
            ("builtins", l.func_builtins),
            ("code", l.func_code),
            ("defaults", l.func_defaults),
            ("keyword defaults", l.func_kwdefaults),
            ("closure", l.func_closure),
        ];
        for (name, offset) in fields {
            sure(load::<usize>(function, offset) == get(s, name)?.0, "a function's parts")?;
        }
        let cell = get(s, "cell")?;
        sure(type_of(cell).0 == symbols()?.cell_type, "a shared variable")?;
        sure(load::<usize>(cell.0, 16) == get(s, "float")?.0, "a shared variable")?;
        sure(
            load::<usize>(code, l.code_consts) == get(s, "constants")?.0,
            "a code object's constants",
        )?;
        sure(
            load::<usize>(code, l.code_names) == get(s, "names")?.0,
            "a code object's names",
        )?;
        let names = Obj(load(code, l.code_variables));
        let right = type_of(names).0 == &raw const ffi::PyTuple_Type as usize;
        let first = get(s, "first variable")?.0;
        sure(
            right && load::<usize>(names.0, l.tuple_items) == first,
            "a code object's variables",
        )?;
        let numbers = [
            ("flags", l.code_flags),
            ("argument count", l.code_argcount),
            ("positional count", l.code_posonly),
            ("keyword count", l.code_kwonly),
            ("stack size", l.code_stacksize),
            ("slots", l.code_slots),
        ];
        for (name, offset) in numbers {
            let number: i32 = load(code, offset);
            sure(
                int_value(get(s, name)?, l) == Some(number.into()),
                "a code object's parts",
            )?;
        }
        let (units, count) = (get(s, "units")?, ffi::PyBytes_Size(ptr(get(s, "units")?)) as usize);
        let there = std::slice::from_raw_parts((code + l.code_units) as *const u8, count);
        let wanted = std::slice::from_raw_parts((units.0 + l.bytes_data) as *const u8, count);
        sure(there == wanted, "a code object's instructions")?;
        let [one, same, other] = [get(s, "append")?, get(s, "append too")?, get(s, "pop")?];
        let definition = |o: Obj| load::<*const c_void>(o.0, l.builtin_def);
        let right = definition(one) == definition(same) && definition(one) != definition(other);
        sure(
            right && load::<usize>(one.0, l.builtin_self) == get(s, "list")?.0,
            "a built-in method",
        )
    }
}

unsafe fn classes(l: &Layout, s: &Samples) -> Result<(), String> {
    // SAFETY: live classes and instances; a type's keys are followed only where a pointer lies.
    unsafe {
        let (class, size) = (get(s, "class")?.0, int_value(get(s, "class size")?, l));
        sure(Some(load::<i64>(class, l.type_basicsize)) == size, "a class's size")?;
        let version: u32 = load(class, l.type_version);
        ffi::PyType_Modified(class as *mut ffi::PyTypeObject);
        let then: u32 = load(class, l.type_version);
        sure(version != 0 && then != version, "a class's version")?;
        let keys: usize = load(class, l.type_keys);
        sure(keys != 0 && keys.is_multiple_of(8), "the names of a class's attributes")?;
        let (kind, log_size): (u8, u8) = (load(keys, l.keys_kind), load(keys, l.keys_log_size));
        sure(kind == 2 && log_size <= 7, "the names of a class's attributes")?;
        let (name, float) = (get(s, "name")?, get(s, "float")?.0);
        let slot = of_instance(get(s, "slotted")?, name, l).map(|found| found.0);
        sure(slot == Some(Attribute::Slot(16)), "a slot")?;
        sure(load::<usize>(get(s, "slotted")?.0, 16) == float, "a slot")?;
        let plain = of_instance(get(s, "instance")?, name, l).map(|found| found.0);
        let fields = matches!(plain, Some(Attribute::Inline { .. } | Attribute::Tagged { .. }));
        sure(fields, "the names of a class's attributes")?;
        let (fresh, shown) = (get(s, "instance")?.0, get(s, "instance with dict")?.0);
        let dict = |o: usize| load::<usize>(o.wrapping_add_signed(l.managed_dict), 0);
        if l.tagged_values {
            let right = dict(fresh) & 1 == 1 && load::<usize>(dict(fresh) + 1, 0) == float;
            sure(right, "an instance's attributes")?;
            return sure(dict(shown) == get(s, "its dict")?.0, "an instance's dict");
        }
        let at = load::<usize>(class, l.type_basicsize);
        let inside =
            |o: usize| load::<u8>(o, at + l.inline_valid) == 1 && load::<usize>(o, at + l.inline_values) == float;
        sure(inside(fresh) && dict(fresh) == 0, "an instance's attributes")?;
        let right = inside(shown) && dict(shown) == get(s, "its dict")?.0;
        sure(right, "an instance's dict")
    }
}

extern "C" fn nothing(_: *mut c_void) -> c_int {
    0
}

/// Asks the interpreter to look up, and sees whether the word it polls says so; on the main thread only.
///
/// # Errors
/// When it does not.
///
/// # Safety
/// The GIL is held by the main thread.
pub unsafe fn polled_word(l: &Layout) -> Result<(), String> {
    // SAFETY: public functions; the word is read as the optimiser does.
    unsafe {
        let word = breaker(ffi::PyThreadState_Get() as usize, l);
        let asked = ffi::Py_AddPendingCall(Some(nothing), std::ptr::null_mut()) == 0;
        let seen = word.read() & l.breaker_mask != 0;
        if ffi::Py_MakePendingCalls() != 0 {
            ffi::PyErr_Clear();
        }
        sure(!asked || seen, "the word it polls")
    }
}
