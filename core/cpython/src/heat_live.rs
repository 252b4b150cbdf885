//! Live trace: which objects, and so which bytes, a variable reaches.
//!
//! The walk asks each type's own `tp_traverse` for referents, as the cyclic collector does, and reads three words of
//! lists and dicts whose payload lives elsewhere. It runs under the GIL, with the collector off, and calls nothing that
//! could drop a reference, so an object it has seen stays alive until the walk returns.
//!
//! Invariants
//!
//! - A stored address is only ever *compared* after a walk returns; nothing dereferences it later.
//! - [`Layout::verify`] has checked every offset used here against live objects of this interpreter, or refused it.
//! - Modules, types, code, functions' globals and immortal objects belong to nobody: they are not counted or entered.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyInt, PySet, PyString};

/// Addresses spread well after one multiplication.
#[derive(Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
    fn write_usize(&mut self, value: usize) {
        let mixed = (value as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

type Map<V> = HashMap<usize, V, BuildHasherDefault<AddressHasher>>;

const TYPE_AT: usize = 8;
const SIZE_AT: usize = 16;
const LIST_ITEMS_AT: usize = 24;
const LIST_ALLOCATED_AT: usize = 32;
const DICT_KEYS_AT: usize = 32;
const GC_HEAD_BYTES: usize = 16;
/// Where NumPy's array keeps the number of its dimensions and their lengths; compared with a live array before use.
const ARRAY_DIMENSIONS_AT: usize = 24;
const ARRAY_LENGTHS_AT: usize = 32;
const ARRAY_DIMENSIONS_MAX: usize = 64;
/// In a leaf's step: its lengths are part of the fingerprint, as `resize` may change nothing else.
const WITH_LENGTHS: usize = 1 << 32;

/// Reads the word at `address + at`.
///
/// # Safety
/// The word lies inside a live object.
unsafe fn word(address: usize, at: usize) -> usize {
    // SAFETY: the caller's promise; object words are aligned to 8 bytes.
    unsafe { ((address + at) as *const usize).read() }
}

/// Proof that this interpreter lays out lists and dicts as the walk reads them.
#[derive(Debug, Clone, Copy)]
pub struct Layout(());

impl Layout {
    /// Compares every offset with live objects whose contents are known.
    ///
    /// # Errors
    /// The reason why this build is refused: a debug build, or a layout this file does not know.
    pub fn verify(py: Python<'_>) -> PyResult<Result<Layout, String>> {
        let sys = py.import("sys")?;
        if sys.hasattr("gettotalrefcount")? || sys.hasattr("getobjects")? {
            return Ok(Err("a debug build of CPython: its objects have extra words".into()));
        }
        if sys.getattr("implementation")?.getattr("name")?.extract::<String>()? != "cpython" {
            return Ok(Err("not CPython: objects are laid out differently".into()));
        }
        let (first, second) = (py.eval(c"object()", None, None)?, py.eval(c"object()", None, None)?);
        let list = py.eval(c"list()", None, None)?;
        list.call_method1("append", (&first,))?;
        list.call_method1("append", (&second,))?;
        let dict = py.eval(c"{1: 2}", None, None)?;
        dict.set_item(7, &first)?;
        let bytes_of = |object: &Bound<'_, PyAny>| -> PyResult<usize> { object.call_method0("__sizeof__")?.extract() };
        let (list_bytes, dict_bytes) = (bytes_of(&list)?, bytes_of(&dict)?);
        let basic =
            |object: &Bound<'_, PyAny>| -> PyResult<usize> { object.get_type().getattr("__basicsize__")?.extract() };
        let (list_basic, dict_basic) = (basic(&list)?, basic(&dict)?);
        if list_basic < LIST_ALLOCATED_AT + 8 || dict_basic < DICT_KEYS_AT + 8 {
            return Ok(Err("lists or dicts are smaller than the words read from them".into()));
        }
        let address = |object: &Bound<'_, PyAny>| object.as_ptr() as usize;
        // SAFETY: list and dict are live and at least as large as the words read (checked above). The item array is
        // read only after its pointer, count and capacity agree with what the list says of itself, the key table only
        // within the size the dict reports for it.
        let fits = unsafe {
            let at = address(&list);
            let allocated = word(at, LIST_ALLOCATED_AT);
            let list_fits = word(at, TYPE_AT) == list.get_type().as_ptr() as usize
                && word(at, SIZE_AT) == 2
                && (2..64).contains(&allocated)
                && list_bytes == list_basic + allocated * 8
                && word(at, LIST_ITEMS_AT).is_multiple_of(8)
                && word(word(at, LIST_ITEMS_AT), 0) == address(&first)
                && word(word(at, LIST_ITEMS_AT), 8) == address(&second);
            let keys = word(address(&dict), DICT_KEYS_AT);
            let table_bytes = dict_bytes.saturating_sub(dict_basic);
            list_fits
                && keys != 0
                && keys.is_multiple_of(8)
                && (0..table_bytes / 8).any(|index| word(keys, index * 8) == address(&first))
        };
        Ok(if fits {
            Ok(Layout(()))
        } else {
            Err("the layout of list or dict is not one this version knows".into())
        })
    }
}

/// How the walk treats instances of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Belongs to nobody.
    Skip,
    /// Counted, not entered.
    Own,
    /// Counted, not entered, and handed back: its payload needs a question in Python.
    Leaf,
    /// Counted and entered.
    Enter,
}

#[derive(Clone, Copy)]
struct TypeInfo {
    kind: Kind,
    basic: usize,
    item: usize,
    before: usize,
    ask_size: bool,
    is_list: bool,
    is_dict: bool,
    is_array: bool,
    traverse: Option<ffi::traverseproc>,
}

/// What one variable reaches.
#[derive(Default)]
pub struct Reached {
    /// `(start, end)` of object bodies, item arrays and key tables, unsorted.
    pub ranges: Vec<(u64, u64)>,
    pub objects: u64,
    /// Objects whose payload is elsewhere and not known to this file (arrays, tensors, tables, buffers).
    pub leaves: Vec<Py<PyAny>>,
    /// Variables that already own an object met here.
    pub meets: Vec<u32>,
    /// The budget of objects or of time ran out before everything was seen.
    pub cut: bool,
    /// What is needed to tell later, without another walk, that nothing has changed; kept when asked for.
    pub trail: Option<Trail>,
}

/// One walk over any number of variables; an object belongs to the first that reaches it.
pub struct Walk {
    seen: Map<u32>,
    types: Map<TypeInfo>,
    leaf_types: Vec<Py<PyAny>>,
    own_types: Vec<Py<PyAny>>,
    skip_types: Vec<Py<PyAny>>,
    budget: u64,
    deadline: Option<Instant>,
    /// Whether arrays keep their lengths where this file reads them; known from the first array met.
    lengths: Option<bool>,
}

struct Frontier {
    /// Objects to enter, each with the number of the step that led there.
    stack: Vec<(*mut ffi::PyObject, u32)>,
    step: u32,
    print: u64,
}

extern "C" fn visit(object: *mut ffi::PyObject, frontier: *mut c_void) -> c_int {
    // SAFETY: `frontier` is the exclusive borrow `enter` passes to tp_traverse, which hands it through unchanged.
    let frontier = unsafe { &mut *frontier.cast::<Frontier>() };
    frontier.print = fold(frontier.print, object as u64);
    frontier.stack.push((object, frontier.step));
    0
}

const NOBODY: u32 = u32::MAX;

impl Walk {
    /// `skip` are addresses of objects never entered (namespaces); `budget` bounds the objects visited.
    pub fn new(
        _proof: Layout,
        skip: &[usize],
        leaf_types: Vec<Py<PyAny>>,
        own_types: Vec<Py<PyAny>>,
        skip_types: Vec<Py<PyAny>>,
        budget: u64,
    ) -> Walk {
        let mut seen = Map::default();
        seen.extend(skip.iter().map(|address| (*address, NOBODY)));
        Walk {
            seen,
            types: Map::default(),
            leaf_types,
            own_types,
            skip_types,
            budget,
            deadline: None,
            lengths: None,
        }
    }

    /// Walks are cut when this moment has passed.
    pub fn until(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Walks from `root` on behalf of variable number `owner`, adding to `out`.
    ///
    /// # Errors
    /// Only what asking a type for its attributes raises.
    pub fn enter(&mut self, root: &Bound<'_, PyAny>, owner: u32, out: &mut Reached) -> PyResult<()> {
        let py = root.py();
        // SAFETY: plain calls of the stable C API under the GIL.
        let collecting = unsafe { ffi::PyGC_Disable() };
        let done = self.enter_all(py, root.as_ptr(), owner, out);
        if collecting == 1 {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
        // Types seen here may be gone before the next call.
        self.types.clear();
        done
    }

    fn enter_all(&mut self, py: Python<'_>, root: *mut ffi::PyObject, owner: u32, out: &mut Reached) -> PyResult<()> {
        let mut frontier = Frontier {
            stack: vec![(root, NOBODY)],
            step: NOBODY,
            print: 0,
        };
        while let Some((object, parent)) = frontier.stack.pop() {
            let address = object as usize;
            match self.seen.get(&address) {
                Some(&NOBODY) => continue,
                Some(&other) => {
                    if other != owner && !out.meets.contains(&other) {
                        out.meets.push(other);
                    }
                    continue;
                }
                None => {}
            }
            let late = self.budget.is_multiple_of(4096) && self.deadline.is_some_and(|end| Instant::now() > end);
            if self.budget == 0 || late {
                out.cut = true;
                return Ok(());
            }
            // SAFETY: `object` is reachable from a reference the caller holds and nothing has run that could drop it;
            // the reference count is the low half of its first word on every verified layout.
            let (refs, type_ptr) = unsafe { (word(address, 0) as u32, word(address, TYPE_AT)) };
            let info = match self.types.get(&type_ptr) {
                Some(info) => *info,
                None => {
                    // SAFETY: the type of a live object is alive.
                    let info =
                        self.describe(unsafe { Bound::from_borrowed_ptr(py, type_ptr as *mut ffi::PyObject) })?;
                    self.types.insert(type_ptr, info);
                    info
                }
            };
            // Immortal: the sign bit (3.12, 3.13) or a count above 2^29 (3.14+).
            if info.kind == Kind::Skip || refs >= 0x2000_0000 {
                continue;
            }
            self.seen.insert(address, owner);
            self.budget -= 1;
            out.objects += 1;
            self.count(py, object, info, out)?;
            if let Some(trail) = &mut out.trail {
                trail.objects.push((address as u64, parent));
            }
            match info.kind {
                Kind::Leaf => {
                    // SAFETY: alive, see above.
                    let leaf = unsafe { Bound::from_borrowed_ptr(py, object) };
                    let what = info.basic | if info.is_array { self.with_lengths(&leaf)? } else { 0 };
                    if let Some(trail) = &mut out.trail {
                        // SAFETY: alive, as large as its type says, and an array where so said.
                        let print = unsafe { body_print(address, what) };
                        trail.step(address, type_ptr, what, None, print);
                    }
                    out.leaves.push(leaf.unbind());
                }
                Kind::Enter => {
                    if let Some(traverse) = info.traverse {
                        frontier.step = out.trail.as_ref().map_or(NOBODY, |trail| trail.steps.len() as u32);
                        // SAFETY: a live object whose type says what it is.
                        frontier.print = unsafe { head_print(address, info.is_list, info.is_dict) };
                        // SAFETY: `traverse` is this type's own tp_traverse, `object` one of its live instances, and
                        // `visit` keeps to the protocol (returns 0, runs no Python).
                        unsafe { traverse(object, visit, (&raw mut frontier).cast()) };
                        if let Some(trail) = &mut out.trail {
                            let kind = if info.is_list { 1 } else { usize::from(info.is_dict) * 2 };
                            trail.step(address, type_ptr, kind, Some(traverse), frontier.print);
                        }
                    }
                }
                Kind::Own | Kind::Skip => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, py: Python<'_>, object: *mut ffi::PyObject, info: TypeInfo, out: &mut Reached) -> PyResult<()> {
        let address = object as usize;
        let mut bytes = info.basic;
        if info.is_list {
            // SAFETY: a live list (or subtype) of a verified layout.
            let (items, allocated) = unsafe { (word(address, LIST_ITEMS_AT), word(address, LIST_ALLOCATED_AT)) };
            if items != 0 && allocated < 1 << 48 {
                out.ranges.push((items as u64, (items + allocated * 8) as u64));
            }
        } else if info.ask_size {
            // SAFETY: alive; `__sizeof__` of the exact built-in types asked here is C code that drops nothing.
            let asked = unsafe { Bound::from_borrowed_ptr(py, object) }
                .call_method0(pyo3::intern!(py, "__sizeof__"))?
                .extract::<usize>()?;
            if info.is_dict {
                // SAFETY: a live dict of a verified layout.
                let keys = unsafe { word(address, DICT_KEYS_AT) };
                let table = asked.saturating_sub(info.basic);
                if keys != 0 && table != 0 && self.seen.insert(keys, NOBODY).is_none() {
                    out.ranges.push((keys as u64, (keys + table) as u64));
                }
            } else {
                bytes = asked;
            }
        } else if info.item > 0 {
            // SAFETY: types with items are variable-sized: the count is their third word.
            let items = unsafe { word(address, SIZE_AT) } as isize;
            bytes += items.unsigned_abs().min(1 << 40) * info.item;
        }
        out.ranges
            .push(((address - info.before) as u64, (address + bytes) as u64));
        Ok(())
    }

    /// [`WITH_LENGTHS`] when this array, and so every array, has its lengths where they are read.
    fn with_lengths(&mut self, array: &Bound<'_, PyAny>) -> PyResult<usize> {
        if self.lengths.is_none() {
            let shape: Vec<usize> = array.getattr(pyo3::intern!(array.py(), "shape"))?.extract()?;
            if shape.is_empty() {
                return Ok(0); // says nothing about where lengths are
            }
            let address = array.as_ptr() as usize;
            // SAFETY: an array of NumPy's own type, which is larger than the words read (checked where this is asked); its
            // lengths are read only where their number is that of its shape.
            let fits = unsafe {
                let lengths = word(address, ARRAY_LENGTHS_AT);
                word(address, ARRAY_DIMENSIONS_AT) as u32 as usize == shape.len()
                    && lengths != 0
                    && lengths.is_multiple_of(8)
                    && shape
                        .iter()
                        .enumerate()
                        .all(|(at, length)| word(lengths, at * 8) == *length)
            };
            self.lengths = Some(fits);
        }
        Ok(if self.lengths == Some(true) { WITH_LENGTHS } else { 0 })
    }

    fn describe(&self, class: Bound<'_, PyAny>) -> PyResult<TypeInfo> {
        let py = class.py();
        let type_ptr = class.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: `class` is a type object (it is some object's ob_type).
        let flags = unsafe { ffi::PyType_GetFlags(type_ptr) };
        let is_a = |candidates: &[Py<PyAny>]| {
            candidates.iter().any(|other| {
                // SAFETY: both are type objects: Python passes only types in these lists.
                unsafe { ffi::PyType_IsSubtype(type_ptr, other.as_ptr().cast()) != 0 }
            })
        };
        // Through `type`'s own descriptors: a metaclass cannot get in between and run Python code here.
        let of_type = |name: &Bound<'_, pyo3::types::PyString>| -> PyResult<isize> {
            let descriptor = py
                .get_type::<pyo3::types::PyType>()
                .getattr("__dict__")?
                .get_item(name)?;
            descriptor
                .call_method1(pyo3::intern!(py, "__get__"), (&class,))?
                .extract()
        };
        let basic = of_type(pyo3::intern!(py, "__basicsize__"))?.unsigned_abs();
        let item = of_type(pyo3::intern!(py, "__itemsize__"))?.max(0).unsigned_abs();
        let (is_gc, is_list) = (flags & 1 << 14 != 0, flags & 1 << 25 != 0);
        let is_type = flags & 1 << 31 != 0;
        // SAFETY: slot queries on a type object; the slots are function pointers of the types named.
        let (traverse, getbuffer) = unsafe {
            let traverse = ffi::PyType_GetSlot(type_ptr, ffi::Py_tp_traverse);
            let getbuffer = ffi::PyType_GetSlot(type_ptr, ffi::Py_bf_getbuffer);
            let traverse =
                (!traverse.is_null()).then(|| std::mem::transmute::<*mut c_void, ffi::traverseproc>(traverse));
            (traverse, !getbuffer.is_null())
        };
        let is_bytes = flags & 1 << 27 != 0;
        let kind = if is_type || is_a(&self.skip_types) {
            Kind::Skip
        } else if is_a(&self.own_types) {
            Kind::Own
        } else if is_a(&self.leaf_types) || (getbuffer && !is_bytes) {
            Kind::Leaf
        } else {
            Kind::Enter
        };
        let exact = |other: Bound<'_, pyo3::types::PyType>| other.as_ptr() == class.as_ptr();
        let exact_dict = exact(py.get_type::<PyDict>());
        // Only one of the types named by the caller is asked for its name: NumPy's array itself, no subclass.
        let is_array = kind == Kind::Leaf
            && basic > ARRAY_LENGTHS_AT
            && self.leaf_types.iter().any(|other| other.as_ptr() == class.as_ptr())
            && class.getattr(pyo3::intern!(py, "__name__"))?.eq("ndarray")?;
        let managed = if is_gc && flags & (1 << 3 | 1 << 4) != 0 && flags & 1 << 9 != 0 {
            16
        } else {
            0
        };
        Ok(TypeInfo {
            kind,
            basic,
            item,
            before: if is_gc { GC_HEAD_BYTES + managed } else { 0 },
            ask_size: exact_dict
                || exact(py.get_type::<PyString>())
                || exact(py.get_type::<PyInt>())
                || exact(py.get_type::<PySet>())
                || exact(py.get_type::<PyFrozenSet>()),
            is_list,
            is_dict: exact_dict,
            is_array,
            traverse: if is_gc { traverse } else { None },
        })
    }
}

/// The words of a list or dict that say where its payload is, mixed; 0 for others.
///
/// # Safety
/// A live object; a list or a dict (or subtypes) of a verified layout where so said.
unsafe fn head_print(address: usize, is_list: bool, is_dict: bool) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match (is_list, is_dict) {
            (true, _) => fold(
                word(address, LIST_ITEMS_AT) as u64,
                word(address, LIST_ALLOCATED_AT) as u64,
            ),
            (_, true) => fold(word(address, DICT_KEYS_AT) as u64, word(address, SIZE_AT) as u64),
            _ => 0,
        }
    }
}

/// All words of a leaf behind its count and type, mixed: an array's address and base among them, and its lengths.
///
/// # Safety
/// A live object of at least as many bytes as `what` says; one of NumPy's arrays, of a verified layout, where so said.
unsafe fn body_print(address: usize, what: usize) -> u64 {
    // SAFETY: the caller's promise.
    let body = |at: usize| unsafe { word(address, at) };
    let print = (2..(what % WITH_LENGTHS) / 8).fold(1, |print, at| fold(print, body(at * 8) as u64));
    if what < WITH_LENGTHS {
        return print;
    }
    let (count, lengths) = (body(ARRAY_DIMENSIONS_AT) as u32 as usize, body(ARRAY_LENGTHS_AT));
    // SAFETY: a live array's lengths, as many as it has dimensions.
    (0..count.min(ARRAY_DIMENSIONS_MAX)).fold(print, |print, at| fold(print, unsafe { word(lengths, at * 8) } as u64))
}

fn fold(print: u64, word: u64) -> u64 {
    let mixed = (print.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

/// One container or leaf as a walk met it.
struct Step {
    address: usize,
    class: usize,
    /// For a leaf the bytes of its body, with [`WITH_LENGTHS`] for an array; for a container 1: list, 2: dict, 0: other.
    what: usize,
    traverse: Option<ffi::traverseproc>,
    print: u64,
}

/// The containers and leaves of one walk in the order it met them, with a fingerprint of what each referred to.
///
/// Whoever holds the root can ask whether everything is still as it was: each step is referred to by an earlier one, so
/// once that one's fingerprint is found again, this one is alive and may be read. Objects that are no containers are not
/// visited, which is what makes asking cheaper than walking. What it cannot see: an object that was freed and replaced by
/// another at the same address, in the same place of its container.
#[derive(Default)]
pub struct Trail {
    steps: Vec<Step>,
    /// Every object counted, with the number of the step that referred to it (`u32::MAX`: a root).
    pub objects: Vec<(u64, u32)>,
}

impl Trail {
    fn step(&mut self, address: usize, class: usize, what: usize, traverse: Option<ffi::traverseproc>, print: u64) {
        self.steps.push(Step {
            address,
            class,
            what,
            traverse,
            print,
        });
    }

    /// Containers and leaves met.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Bytes this takes.
    pub fn memory_bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>() + self.objects.capacity() * size_of::<(u64, u32)>()
    }

    /// Whether a walk from `root` would meet the same containers with the same referents. `None`: the time was up.
    pub fn holds(&self, root: &Bound<'_, PyAny>, deadline: Instant) -> Option<bool> {
        let Some(first) = self.objects.first() else {
            return Some(false);
        };
        if first.0 != root.as_ptr() as u64 {
            return Some(false);
        }
        // SAFETY: plain calls of the stable C API under the GIL.
        let collecting = unsafe { ffi::PyGC_Disable() };
        let found = self.compare(deadline);
        if collecting == 1 {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
        found
    }

    fn compare(&self, deadline: Instant) -> Option<bool> {
        let mut frontier = Fingerprint { print: 0 };
        for (at, step) in self.steps.iter().enumerate() {
            if at % 1024 == 1023 && Instant::now() > deadline {
                return None;
            }
            // SAFETY: alive: the root is the caller's, and every other step is referred to by one whose fingerprint,
            // found to be the same, contains its address. Its type is compared before anything behind the head is read,
            // and nothing here runs that could drop a reference.
            let print = unsafe {
                if word(step.address, TYPE_AT) != step.class {
                    return Some(false);
                }
                match step.traverse {
                    None => body_print(step.address, step.what),
                    Some(traverse) => {
                        frontier.print = head_print(step.address, step.what == 1, step.what == 2);
                        traverse(
                            step.address as *mut ffi::PyObject,
                            fingerprint,
                            (&raw mut frontier).cast(),
                        );
                        frontier.print
                    }
                }
            };
            if print != step.print {
                return Some(false);
            }
        }
        Some(true)
    }
}

struct Fingerprint {
    print: u64,
}

extern "C" fn fingerprint(object: *mut ffi::PyObject, into: *mut c_void) -> c_int {
    // SAFETY: `into` is the exclusive borrow `compare` passes to tp_traverse, handed through unchanged.
    let into = unsafe { &mut *into.cast::<Fingerprint>() };
    into.print = fold(into.print, object as u64);
    0
}

/// Address and length of the memory behind `object`'s buffer interface, `None` when it exports none that is contiguous.
pub fn buffer_of(object: &Bound<'_, PyAny>) -> Option<(usize, usize)> {
    let mut view = Box::new(ffi::Py_buffer::new());
    // SAFETY: `view` is filled on success only and released once, before it goes.
    unsafe {
        if ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, ffi::PyBUF_SIMPLE) != 0 {
            ffi::PyErr_Clear();
            return None;
        }
        let found = (view.buf as usize, view.len.unsigned_abs());
        ffi::PyBuffer_Release(&raw mut *view);
        Some(found)
    }
}
