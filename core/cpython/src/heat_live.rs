//! Live trace: which objects, and so which bytes, a variable reaches.
//!
//! The walk asks each type's own `tp_traverse` for referents, as the cyclic collector does, and reads the words of lists,
//! dicts, instances and other containers that say where the rest of them lies ([`Layout`]). It runs under the GIL, with the collector off, and calls nothing that
//! could drop a reference, so an object it has seen stays alive until the walk returns.
//!
//! Invariants
//!
//! - A stored address is only ever *compared* after a walk returns; nothing dereferences it later.
//! - [`Layout::verify`] has checked every offset used here against live objects of this interpreter, or refused it.
//! - Modules, types, code, functions' globals, interned texts and immortal objects belong to nobody: they are not counted or entered.

use std::ffi::{c_int, c_void};
use std::time::Instant;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyMemoryView, PyString, PyType};

pub use crate::heat_layout::Layout;
use crate::heat_layout::{
    APART_SHIFT, FLAG_MANAGED_DICT, FLAG_MANAGED_WEAK, GC_HEAD_BYTES, Holds, INLINE, MANAGED_BYTES, SIZE_AT, TYPE_AT,
    of_type, refer, word,
};
use crate::heat_table::AddressTable;
use crate::heat_trail::{Trail, WITH_LENGTHS, body_print, fold, head_print};

/// Where NumPy's array keeps the number of its dimensions and their lengths; compared with a live array before use.
pub(crate) const ARRAY_DIMENSIONS_AT: usize = 24;
pub(crate) const ARRAY_LENGTHS_AT: usize = 32;
pub(crate) const ARRAY_DIMENSIONS_MAX: usize = 64;

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

/// How the size of an object's body is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// All of a type are as large.
    Fixed,
    /// So many bytes for each of as many items as the third word says, and of `more`: instances of classes written in Python
    /// have room for one that ends them.
    Items {
        each: usize,
        more: usize,
    },
    Digits {
        more: usize,
    },
    /// Of a str, or of a class on top of it.
    Text {
        exact: bool,
    },
    /// By the answer of the type's own `__sizeof__`, which is at this place among those known.
    Asked(usize),
}

#[derive(Clone, Copy)]
pub(crate) struct TypeInfo {
    pub kind: Kind,
    basic: usize,
    size: Size,
    pub before: usize,
    pub holds: Holds,
    /// A pointer to values or to a dict lies so far before the object; 0: none does.
    apart: usize,
    /// Values lie behind the fixed part.
    inline: bool,
    is_array: bool,
    pub traverse: Option<ffi::traverseproc>,
}

impl TypeInfo {
    /// Whether the trail has a step for such an object.
    pub fn steps(&self) -> bool {
        self.kind == Kind::Leaf || self.kind == Kind::Enter && self.traverse.is_some()
    }

    /// What a step of a container says of it.
    pub fn what(&self) -> u32 {
        self.holds as u32 | (self.apart as u32) << APART_SHIFT | if self.inline { INLINE } else { 0 }
    }
}

/// Where one object is: its body, and what it keeps elsewhere.
#[derive(Default)]
pub(crate) struct Extent {
    pub body: (u64, u64),
    pub payload: (u64, u64),
    /// Further pieces of it.
    pub more: Vec<(u64, u64)>,
}

impl Extent {
    fn add(&mut self, range: (u64, u64)) {
        if range.1 <= range.0 {
        } else if self.payload.1 == 0 {
            self.payload = range;
        } else {
            self.more.push(range);
        }
    }
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
    layout: Layout,
    /// Ways of types to say how large an object is.
    askers: Vec<Py<PyAny>>,
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
        layout: Layout,
        skip: &[usize],
        leaf_types: Vec<Py<PyAny>>,
        own_types: Vec<Py<PyAny>>,
        skip_types: Vec<Py<PyAny>>,
        budget: u64,
    ) -> Walk {
        let mut walk = Walk {
            layout,
            askers: Vec::new(),
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
            joined(&mut trail.foreign);
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
        self.askers.clear();
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
            // SAFETY: alive, and a text where so said.
            if matches!(info.size, Size::Text { .. }) && unsafe { self.layout.interned(address) } {
                continue;
            }
            self.budget -= 1;
            out.objects += 1;
            let extent = self.extent(py, object, info)?;
            out.ranges.push(extent.body);
            out.ranges
                .extend(Some(extent.payload).filter(|range| range.1 > range.0));
            out.ranges.extend_from_slice(&extent.more);
            let number = out
                .trail
                .as_mut()
                .map_or(owner, |trail| trail.object(address, parent, info, &extent));
            self.seen.insert(address as u64, number);
            match info.kind {
                Kind::Leaf => {
                    // SAFETY: alive, see above.
                    let leaf = unsafe { Bound::from_borrowed_ptr(py, object) };
                    let lengths = if info.is_array { self.with_lengths(&leaf)? } else { 0 };
                    let what = info.basic as u32 | lengths;
                    if lengths != 0 {
                        // SAFETY: an array of a verified layout; lengths and strides lie behind each other.
                        let lengths = unsafe { lengths_of(address) };
                        out.ranges.extend(lengths);
                        if let Some((trail, range)) = out.trail.as_mut().zip(lengths) {
                            trail.piece(number, range);
                        }
                    }
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
                        frontier.print = unsafe { head_print(address, info.what()) };
                        // SAFETY: `traverse` is this type's own tp_traverse, `object` one of its live instances, and
                        // `visit` keeps to the protocol (returns 0, runs no Python).
                        unsafe { refer(traverse, address, info.what(), visit, (&raw mut frontier).cast()) };
                        if let Some(trail) = &mut out.trail {
                            trail.step(
                                number,
                                type_ptr,
                                info.what(),
                                Some(traverse),
                                frontier.print,
                                extent.payload,
                            );
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

    /// Where a live object's bytes are: its body, and its items, keys, values and the like where they lie elsewhere.
    pub(crate) fn extent(&mut self, py: Python<'_>, object: *mut ffi::PyObject, info: TypeInfo) -> PyResult<Extent> {
        let address = object as usize;
        let mut extent = Extent::default();
        let asked = |by: &Py<PyAny>| -> PyResult<usize> {
            // SAFETY: alive; what is asked is C code of the interpreter's own types, and drops nothing.
            by.bind(py)
                .call1((unsafe { Bound::from_borrowed_ptr(py, object) },))?
                .extract()
        };
        // SAFETY: a live object of the sort that its type says, of a verified layout.
        let bytes = unsafe {
            match info.size {
                Size::Fixed => info.basic,
                // Types with items are variable-sized: the count is their third word.
                Size::Items { each, more } => {
                    let items = (word(address, SIZE_AT) as isize).unsigned_abs().min(1 << 40) + more;
                    info.basic + items * each
                }
                // One digit takes the room of two.
                Size::Digits { more } => {
                    (info.basic + self.layout.digits_bytes(address) + more * 4).next_multiple_of(8)
                }
                Size::Text { exact } => {
                    let says = asked(self.text_size(py)?)?;
                    let (bytes, parts) = self.layout.text(address, says, exact, info.basic);
                    parts.into_iter().for_each(|range| extent.add(range));
                    bytes
                }
                Size::Asked(by) => asked(&self.askers[by])?,
            }
        };
        // SAFETY: as above.
        unsafe {
            let values = if info.inline {
                Layout::inline_bytes(address, info.basic)
            } else {
                0
            };
            extent.body = ((address - info.before) as u64, (address + bytes + values) as u64);
            match info.holds {
                Holds::Nothing | Holds::Bytes => {}
                Holds::Items | Holds::Entries => extent.add(Layout::table(info.holds, address, info.basic)),
                Holds::Keys => self
                    .layout
                    .dict_parts(address)
                    .into_iter()
                    .for_each(|range| extent.add(range)),
                Holds::Blocks => Layout::blocks(address, &mut extent.more),
                Holds::Nodes => {
                    self.layout
                        .dict_parts(address)
                        .into_iter()
                        .for_each(|range| extent.add(range));
                    Layout::nodes(address, &mut extent.more);
                }
            }
            if info.apart > 0 {
                extent.add(
                    self.layout
                        .apart_values(address, word(address, TYPE_AT))
                        .unwrap_or((0, 0)),
                );
            }
        }
        Ok(extent)
    }

    fn text_size(&self, py: Python<'_>) -> PyResult<&'static Py<PyAny>> {
        static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        ASK.get_or_try_init(py, || Ok(py.get_type::<PyString>().getattr("__sizeof__")?.unbind()))
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

    /// By the type's own `__sizeof__`, where it is a builtin that has one: generators have items, and do not say how many where
    /// others do.
    fn asked<'py>(&mut self, class: &Bound<'py, PyAny>) -> PyResult<Option<Size>> {
        let py = class.py();
        let of = |name: &str, class: &Bound<'py, PyAny>| {
            let all = py.get_type::<PyType>().getattr("__dict__")?;
            all.get_item(name)?.call_method1("__get__", (class,))
        };
        for base in of("__mro__", class)?.try_iter()? {
            let base = base?;
            let Ok(found) = of("__dict__", &base)?.get_item("__sizeof__") else {
                continue;
            };
            // Of `object` it would read a number of items, which not every type with items has.
            let builtin = found.get_type().name()?.to_str()? == "method_descriptor"
                && of("__module__", &base)?.eq("builtins")?
                && base.as_ptr() != py.get_type::<PyAny>().as_ptr();
            if builtin {
                self.askers.push(found.unbind());
                return Ok(Some(Size::Asked(self.askers.len() - 1)));
            }
            break;
        }
        Ok(None)
    }

    fn describe(&mut self, class: Bound<'_, PyAny>) -> PyResult<TypeInfo> {
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
        let basic = of_type(&class, pyo3::intern!(py, "__basicsize__"))?;
        let item = of_type(&class, pyo3::intern!(py, "__itemsize__"))?;
        let flags = flags as u64;
        let is_gc = flags & ffi::Py_TPFLAGS_HAVE_GC != 0;
        let is_type = flags & ffi::Py_TPFLAGS_TYPE_SUBCLASS != 0;
        // SAFETY: slot queries on a type object; the slots are function pointers of the types named.
        let (traverse, getbuffer) = unsafe {
            let traverse = ffi::PyType_GetSlot(type_ptr, ffi::Py_tp_traverse);
            let getbuffer = ffi::PyType_GetSlot(type_ptr, ffi::Py_bf_getbuffer);
            let traverse =
                (!traverse.is_null()).then(|| std::mem::transmute::<*mut c_void, ffi::traverseproc>(traverse));
            (traverse, !getbuffer.is_null())
        };
        let is_bytes = flags & ffi::Py_TPFLAGS_BYTES_SUBCLASS != 0;
        // What it views is what it refers to.
        let is_view = class.as_ptr() == py.get_type::<PyMemoryView>().as_ptr();
        let kind = if is_type || is_a(&self.skip_types) {
            Kind::Skip
        } else if is_a(&self.leaf_types) {
            Kind::Leaf
        } else if is_a(&self.own_types) {
            Kind::Own
        } else if getbuffer && !is_bytes && !is_view {
            Kind::Leaf
        } else {
            Kind::Enter
        };
        // Only one of the types named by the caller is asked for its name: NumPy's array itself, no subclass.
        let is_array = kind == Kind::Leaf
            && basic > ARRAY_LENGTHS_AT
            && self.leaf_types.iter().any(|other| other.as_ptr() == class.as_ptr())
            && class.getattr(pyo3::intern!(py, "__name__"))?.eq("ndarray")?;
        let managed =
            is_gc && flags & (FLAG_MANAGED_WEAK | FLAG_MANAGED_DICT) != 0 && flags & ffi::Py_TPFLAGS_HEAPTYPE != 0;
        let is_text = flags & ffi::Py_TPFLAGS_UNICODE_SUBCLASS != 0;
        let is_tuple = flags & ffi::Py_TPFLAGS_TUPLE_SUBCLASS != 0;
        let is_int = flags & ffi::Py_TPFLAGS_LONG_SUBCLASS != 0;
        let more = usize::from(flags & ffi::Py_TPFLAGS_HEAPTYPE != 0);
        let items = Size::Items { each: item, more };
        Ok(TypeInfo {
            kind,
            basic,
            size: match () {
                () if is_text => Size::Text {
                    exact: class.as_ptr() == py.get_type::<PyString>().as_ptr(),
                },
                () if is_int => Size::Digits { more },
                () if is_bytes || is_tuple => items,
                () if item > 0 => self.asked(&class)?.unwrap_or(items),
                () => Size::Fixed,
            },
            before: match (is_gc, managed) {
                (false, _) => 0,
                (true, false) => GC_HEAD_BYTES,
                (true, true) => GC_HEAD_BYTES + MANAGED_BYTES,
            },
            holds: self.layout.holds(type_ptr),
            apart: self.layout.apart(flags),
            inline: self.layout.inline(flags),
            is_array,
            traverse: if is_gc { traverse } else { None },
        })
    }
}

/// Where an array has its lengths and strides, if it has any.
///
/// # Safety
/// A live array of NumPy's, of a verified layout.
unsafe fn lengths_of(address: usize) -> Option<(u64, u64)> {
    // SAFETY: the caller's promise.
    let (count, lengths) = unsafe {
        (
            word(address, ARRAY_DIMENSIONS_AT) as u32 as usize,
            word(address, ARRAY_LENGTHS_AT),
        )
    };
    let sane = (1..=ARRAY_DIMENSIONS_MAX).contains(&count) && lengths != 0;
    sane.then(|| (lengths as u64, (lengths + count * 16) as u64))
}

/// Sorts ranges and joins those that touch.
fn joined(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let touch = next.0 <= last.1;
        last.1 = if touch { last.1.max(next.1) } else { last.1 };
        touch
    });
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

/// As [`buffer_of`], with what a byte array keeps to grow into.
pub fn memory_of(layout: Option<Layout>, object: &Bound<'_, PyAny>) -> Option<(usize, usize)> {
    let array = object.cast_exact::<PyByteArray>().ok();
    let all = array.zip(layout).and_then(|(array, layout)| layout.byte_array(array));
    all.or_else(|| buffer_of(object))
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
