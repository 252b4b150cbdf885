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

use std::ffi::{c_int, c_void};
use std::time::Instant;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyInt, PySet, PyString};

use crate::heat_table::AddressTable;
use crate::heat_trail::{Holds, Trail, WITH_LENGTHS, body_print, fold, head_print};

pub(crate) const TYPE_AT: usize = 8;
pub(crate) const SIZE_AT: usize = 16;
pub(crate) const LIST_ITEMS_AT: usize = 24;
pub(crate) const LIST_ALLOCATED_AT: usize = 32;
pub(crate) const DICT_KEYS_AT: usize = 32;
pub(crate) const SET_MASK_AT: usize = 32;
pub(crate) const SET_TABLE_AT: usize = 40;
const SET_ENTRY_BYTES: usize = 16;
const GC_HEAD_BYTES: usize = 16;
/// Where NumPy's array keeps the number of its dimensions and their lengths; compared with a live array before use.
pub(crate) const ARRAY_DIMENSIONS_AT: usize = 24;
pub(crate) const ARRAY_LENGTHS_AT: usize = 32;

/// Reads the word at `address + at`.
///
/// # Safety
/// The word lies inside a live object.
pub(crate) unsafe fn word(address: usize, at: usize) -> usize {
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
        let set = py.eval(c"set(range(1000, 1100))", None, None)?;
        let (first, second) = (py.eval(c"object()", None, None)?, py.eval(c"object()", None, None)?);
        let list = py.eval(c"list()", None, None)?;
        list.call_method1("append", (&first,))?;
        list.call_method1("append", (&second,))?;
        let dict = py.eval(c"{1: 2}", None, None)?;
        dict.set_item(7, &first)?;
        let bytes_of = |object: &Bound<'_, PyAny>| -> PyResult<usize> { object.call_method0("__sizeof__")?.extract() };
        let (list_bytes, dict_bytes, set_bytes) = (bytes_of(&list)?, bytes_of(&dict)?, bytes_of(&set)?);
        let basic =
            |object: &Bound<'_, PyAny>| -> PyResult<usize> { object.get_type().getattr("__basicsize__")?.extract() };
        let (list_basic, dict_basic, set_basic) = (basic(&list)?, basic(&dict)?, basic(&set)?);
        if list_basic < LIST_ALLOCATED_AT + 8 || dict_basic < DICT_KEYS_AT + 8 || set_basic < SET_TABLE_AT + 8 {
            return Ok(Err(
                "lists, dicts or sets are smaller than the words read from them".into()
            ));
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
            // A set says how large its table is; that it lies elsewhere shows in its address.
            let table = word(address(&set), SET_TABLE_AT);
            let set_fits = set_bytes == set_basic + (word(address(&set), SET_MASK_AT) + 1) * SET_ENTRY_BYTES
                && table.is_multiple_of(8)
                && table.wrapping_sub(address(&set)) >= set_basic;
            list_fits
                && set_fits
                && keys != 0
                && keys.is_multiple_of(8)
                && (0..table_bytes / 8).any(|index| word(keys, index * 8) == address(&first))
        };
        Ok(if fits {
            Ok(Layout(()))
        } else {
            Err("the layout of list, dict or set is not one this version knows".into())
        })
    }
}

/// How the walk treats instances of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) struct TypeInfo {
    pub kind: Kind,
    basic: usize,
    item: usize,
    pub before: usize,
    ask_size: bool,
    holds: Holds,
    is_array: bool,
    pub traverse: Option<ffi::traverseproc>,
}

/// Where one object is: its body, and what it keeps elsewhere.
pub(crate) struct Extent {
    pub body: (u64, u64),
    pub payload: (u64, u64),
}

/// What one variable reaches.
#[derive(Default)]
pub struct Reached {
    /// `(start, end)` of object bodies, item arrays and key tables, unsorted.
    pub ranges: Vec<(u64, u64)>,
    /// So many of them are sorted and apart.
    pub sorted: usize,
    pub objects: u64,
    /// Objects whose payload is elsewhere and not known to this file (arrays, tensors, tables, buffers).
    /// Each with the number of its step in the trail.
    pub leaves: Vec<(Py<PyAny>, u32)>,
    /// Variables that already own an object met here.
    pub meets: Vec<u32>,
    /// The budget of objects or of time ran out before everything was seen.
    pub cut: bool,
    /// What is needed to tell later, without another walk, that nothing has changed; kept when asked for.
    pub trail: Option<Trail>,
}

/// One walk over any number of variables; an object belongs to the first that reaches it.
pub struct Walk {
    /// Objects met: whose they are, or as which one of the trail's.
    pub(crate) seen: AddressTable,
    types: AddressTable,
    infos: Vec<TypeInfo>,
    skipped: Vec<usize>,
    leaf_types: Vec<Py<PyAny>>,
    own_types: Vec<Py<PyAny>>,
    skip_types: Vec<Py<PyAny>>,
    pub(crate) budget: u64,
    pub(crate) deadline: Option<Instant>,
    /// Whether arrays keep their lengths where this file reads them; known from the first array met.
    lengths: Option<bool>,
}

pub(crate) struct Frontier {
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

pub(crate) const NOBODY: u32 = u32::MAX;

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
        let mut walk = Walk {
            seen: AddressTable::default(),
            types: AddressTable::default(),
            infos: Vec::new(),
            skipped: skip.to_vec(),
            leaf_types,
            own_types,
            skip_types,
            budget,
            deadline: None,
            lengths: None,
        };
        walk.skip();
        walk
    }

    pub(crate) fn skip(&mut self) {
        for address in &self.skipped {
            self.seen.insert(*address as u64, NOBODY);
        }
    }

    /// Whether it has met as many objects as it may.
    pub fn is_full(&self) -> bool {
        self.budget == 0
    }

    /// Ends a walk with a trail: who was met as which object stays with the trail.
    pub fn end(mut self, out: &mut Reached) {
        if let Some(trail) = &mut out.trail {
            trail.table = std::mem::take(&mut self.seen).into();
        }
    }

    /// Walks are cut when this moment has passed.
    pub fn until(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Walks from `root` on behalf of variable number `owner`, adding to `out`; with a trail, `root` may be what the
    /// leaf of a step holds.
    ///
    /// # Errors
    /// Only what asking a type for its attributes raises.
    pub fn enter(
        &mut self,
        root: &Bound<'_, PyAny>,
        owner: u32,
        held_by: Option<(&Bound<'_, PyAny>, u32)>,
        out: &mut Reached,
    ) -> PyResult<()> {
        let parent = match (&mut out.trail, held_by) {
            (Some(trail), Some((leaf, step))) => trail.held(root.as_ptr() as u64, leaf, step),
            _ => NOBODY,
        };
        without_collector(|| self.run(root.py(), vec![(root.as_ptr(), parent)], owner, out))
    }

    /// Walks from objects that are alive, each with the step that refers to it.
    pub(crate) fn run(
        &mut self,
        py: Python<'_>,
        stack: Vec<(*mut ffi::PyObject, u32)>,
        owner: u32,
        out: &mut Reached,
    ) -> PyResult<()> {
        let done = self.run_all(py, stack, owner, out);
        self.forget_types();
        done
    }

    /// Types seen may be gone before the next call.
    pub(crate) fn forget_types(&mut self) {
        self.types = AddressTable::default();
        self.infos.clear();
    }

    fn run_all(
        &mut self,
        py: Python<'_>,
        stack: Vec<(*mut ffi::PyObject, u32)>,
        owner: u32,
        out: &mut Reached,
    ) -> PyResult<()> {
        let mut frontier = Frontier {
            stack,
            step: NOBODY,
            print: 0,
        };
        while let Some((object, parent)) = frontier.stack.pop() {
            let address = object as usize;
            match self.seen.get(address as u64) {
                Some(NOBODY) => continue,
                Some(other) => {
                    if out.trail.is_none() && other != owner && !out.meets.contains(&other) {
                        out.meets.push(other);
                    }
                    continue;
                }
                None => {}
            }
            let late = self.budget.is_multiple_of(4096) && self.deadline.is_some_and(|end| Instant::now() > end);
            if self.budget == 0 || late || out.cut {
                out.cut = true;
                if let Some(trail) = &mut out.trail {
                    frontier.stack.push((object, parent));
                    let left = frontier.stack.iter().map(|(object, parent)| (*object as u64, *parent));
                    trail.pending.extend(left);
                }
                return Ok(());
            }
            // SAFETY: `object` is reachable from a reference the caller holds and nothing has run that could drop it;
            // the reference count is the low half of its first word on every verified layout.
            let (refs, type_ptr) = unsafe { (word(address, 0) as u32, word(address, TYPE_AT)) };
            let info = self.info(py, type_ptr)?;
            // Immortal: the sign bit (3.12, 3.13) or a count above 2^29 (3.14+).
            if info.kind == Kind::Skip || refs >= 0x2000_0000 {
                continue;
            }
            self.budget -= 1;
            out.objects += 1;
            let extent = self.extent(py, object, info)?;
            out.ranges.extend(
                [extent.body, extent.payload]
                    .into_iter()
                    .filter(|range| range.1 > range.0),
            );
            let number = out
                .trail
                .as_mut()
                .map_or(owner, |trail| trail.object(address, parent, info.before, &extent));
            self.seen.insert(address as u64, number);
            match info.kind {
                Kind::Leaf => {
                    // SAFETY: alive, see above.
                    let leaf = unsafe { Bound::from_borrowed_ptr(py, object) };
                    let what = info.basic as u32 | if info.is_array { self.with_lengths(&leaf)? } else { 0 };
                    let mut step = NOBODY;
                    if let Some(trail) = &mut out.trail {
                        // SAFETY: alive, as large as its type says, and an array where so said.
                        let print = unsafe { body_print(address, what) };
                        step = trail.step(number, type_ptr, what, None, print, extent.payload);
                    }
                    out.leaves.push((leaf.unbind(), step));
                }
                Kind::Enter => {
                    if let Some(traverse) = info.traverse {
                        frontier.step = out.trail.as_ref().map_or(NOBODY, |trail| trail.len() as u32);
                        // SAFETY: a live object whose type says what it is.
                        frontier.print = unsafe { head_print(address, info.holds) };
                        // SAFETY: `traverse` is this type's own tp_traverse, `object` one of its live instances, and
                        // `visit` keeps to the protocol (returns 0, runs no Python).
                        unsafe { traverse(object, visit, (&raw mut frontier).cast()) };
                        if let Some(trail) = &mut out.trail {
                            let what = info.holds as u32;
                            trail.step(number, type_ptr, what, Some(traverse), frontier.print, extent.payload);
                        }
                    }
                }
                Kind::Own | Kind::Skip => {}
            }
        }
        Ok(())
    }

    /// What the walk knows of a type that is alive.
    pub(crate) fn info(&mut self, py: Python<'_>, type_ptr: usize) -> PyResult<TypeInfo> {
        if let Some(at) = self.types.get(type_ptr as u64) {
            return Ok(self.infos[at as usize]);
        }
        // SAFETY: the type of a live object is alive.
        let info = self.describe(unsafe { Bound::from_borrowed_ptr(py, type_ptr as *mut ffi::PyObject) })?;
        self.types.insert(type_ptr as u64, self.infos.len() as u32);
        self.infos.push(info);
        Ok(info)
    }

    /// Where a live object's bytes are: its body, and its items or keys where they lie elsewhere.
    pub(crate) fn extent(&mut self, py: Python<'_>, object: *mut ffi::PyObject, info: TypeInfo) -> PyResult<Extent> {
        let address = object as usize;
        let mut bytes = info.basic;
        let mut payload = (0, 0);
        if info.holds == Holds::Items {
            // SAFETY: a live list (or subtype) of a verified layout.
            let (items, allocated) = unsafe { (word(address, LIST_ITEMS_AT), word(address, LIST_ALLOCATED_AT)) };
            if items != 0 && allocated < 1 << 48 {
                payload = (items as u64, (items + allocated * 8) as u64);
            }
        } else if info.holds == Holds::Entries {
            // SAFETY: a live set of a verified layout.
            let (table, mask) = unsafe { (word(address, SET_TABLE_AT), word(address, SET_MASK_AT)) };
            if table.wrapping_sub(address) >= info.basic && mask < 1 << 44 {
                payload = (table as u64, (table + (mask + 1) * SET_ENTRY_BYTES) as u64);
            }
        } else if info.ask_size {
            // SAFETY: alive; `__sizeof__` of the exact built-in types asked here is C code that drops nothing.
            let asked = unsafe { Bound::from_borrowed_ptr(py, object) }
                .call_method0(pyo3::intern!(py, "__sizeof__"))?
                .extract::<usize>()?;
            if info.holds == Holds::Keys {
                // SAFETY: a live dict of a verified layout.
                let keys = unsafe { word(address, DICT_KEYS_AT) };
                let table = asked.saturating_sub(info.basic);
                if keys != 0 && table != 0 && self.seen.get(keys as u64).is_none() {
                    self.seen.insert(keys as u64, NOBODY);
                    payload = (keys as u64, (keys + table) as u64);
                }
            } else {
                bytes = asked;
            }
        } else if info.item > 0 {
            // SAFETY: types with items are variable-sized: the count is their third word.
            let items = unsafe { word(address, SIZE_AT) } as isize;
            bytes += items.unsigned_abs().min(1 << 40) * info.item;
        }
        let body = ((address - info.before) as u64, (address + bytes) as u64);
        Ok(Extent { body, payload })
    }

    /// [`WITH_LENGTHS`] when this array, and so every array, has its lengths where they are read.
    fn with_lengths(&mut self, array: &Bound<'_, PyAny>) -> PyResult<u32> {
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
            ask_size: exact_dict || exact(py.get_type::<PyString>()) || exact(py.get_type::<PyInt>()),
            holds: match () {
                () if is_list => Holds::Items,
                () if exact_dict => Holds::Keys,
                () if exact(py.get_type::<PySet>()) || exact(py.get_type::<PyFrozenSet>()) => Holds::Entries,
                () => Holds::Nothing,
            },
            is_array,
            traverse: if is_gc { traverse } else { None },
        })
    }
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

/// Runs `act` while no collection can begin.
pub(crate) fn without_collector<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: plain calls of the stable C API under the GIL.
    let collecting = unsafe { ffi::PyGC_Disable() };
    let done = act();
    if collecting == 1 {
        // SAFETY: as above.
        unsafe { ffi::PyGC_Enable() };
    }
    done
}
