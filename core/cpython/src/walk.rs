//! Walking what is below a variable: whether any of it changed, without serialising it.
//!
//! A walk turns everything a variable reaches into words (addresses, lengths, types, and the bytes of what has bytes) and
//! those into a digest. Two walks with one digest met the same objects in the same places with the same contents.
//!
//! | met                                | words                                       | below it                  |
//! |------------------------------------|---------------------------------------------|---------------------------|
//! | leaf: immutable, no parts          | its address; *pinned*                       |                           |
//! | list, tuple, dict, set             | its address, the addresses of its items     | the items                 |
//! | bytes longer than a page, bytearray | its address, a digest of its bytes         |                           |
//! | array                              | its header, a digest of its bytes, or what [`Memory`] says of them | its base, its items if they are objects |
//! | plain instance                     | its address, its type                       | its `__dict__`, its class |
//! | described                          | its address, its type, the words a Python function gives | the parts it gives |
//! | anything else                      | the walk fails: nothing can be said          |                           |
//!
//! Invariants
//!
//! - A leaf is held from the walk that saw it to the next one, so that its address cannot become another object's.
//! - What can change is not held (a deleted variable is deleted), and is looked into every time instead: an object that took
//!   the address of another is the same if it holds the same.
//! - `ids` are the addresses of all objects met that can be shared and changed; leaves and tuples are not among them.

use std::collections::{HashMap, HashSet};

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::object::load;

/// What is known of memory without reading it.
pub trait Memory {
    /// Words that change whenever a byte in `low..high` may have changed; `None` if that is not known.
    fn version(&self, low: usize, high: usize) -> Option<[u64; 2]>;
}

/// How objects of one type are walked.
enum Kind {
    Leaf,
    List,
    Tuple,
    Dict,
    Set,
    FrozenSet,
    Bytes,
    ByteArray,
    Array,
    Instance,
    Described(Py<PyAny>),
    Opaque,
}

/// Types and how they are walked; `classify` is asked once for each type it does not know.
pub struct Kinds {
    known: HashMap<usize, (Kind, Py<PyAny>)>,
    classify: Py<PyAny>,
    /// Digests of memory read since [`Kinds::begin`]: what several variables look at is read once.
    sums: HashMap<(usize, usize), u128>,
}

/// One walk under way.
pub struct Walk<'a, 'py> {
    py: Python<'py>,
    kinds: &'a mut Kinds,
    memory: &'a dyn Memory,
    pinning: bool,
    words: Vec<u64>,
    hash: Xxh3,
    seen: HashSet<usize>,
    tuples: HashSet<usize>,
    /// Addresses others may know parts of what was met by, though the walk did not go there.
    more: Vec<usize>,
    /// Objects pickled by the name they are imported by: they are shared whatever happens.
    named: HashSet<usize>,
    /// Only containers, arrays and leaves so far: a pickle of it holds no object that was not met.
    simple: bool,
    leaves: [usize; 4],
    depth: usize,
    pins: Vec<Py<PyAny>>,
    weak: Vec<Py<PyAny>>,
    spans: Vec<(usize, usize)>,
}

/// What one walk found.
pub struct Met {
    /// Of everything said.
    pub digest: [u8; 16],
    /// Sorted addresses of what can be shared.
    pub ids: Vec<u64>,
    /// What the digest names by address only.
    pub pins: Vec<Py<PyAny>>,
    /// What has to be alive for the digest to mean anything: to be held weakly.
    pub weak: Vec<Py<PyAny>>,
    /// Memory of the arrays met.
    pub spans: Vec<(usize, usize)>,
    /// Only containers, arrays and leaves were met: all that a pickle of it can share is in `ids`.
    pub simple: bool,
}

/// Why a walk ended early.
pub enum Stop {
    /// The name of a type nothing is known of.
    Opaque(String),
    Raised(PyErr),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Stop::Raised(error)
    }
}

/// Deeper than this, pickle gives up as well.
const DEPTH_MAX: usize = 500;
const FLUSH_WORDS: usize = 8192;
/// Longer bytes are digested, not held.
const HELD_BYTES_MAX: isize = 4096;

const TAG: u64 = 0x6c61_7264_0000_0000;

impl Kinds {
    pub fn new(classify: Py<PyAny>) -> Kinds {
        Kinds {
            known: HashMap::new(),
            classify,
            sums: HashMap::new(),
        }
    }

    /// Before a round of walks: memory is read again, and types are asked about again, because classes change.
    pub fn begin(&mut self) {
        self.sums.clear();
        self.known.clear();
    }

    fn of(&mut self, py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<&Kind> {
        let key = kind as usize;
        if !self.known.contains_key(&key) {
            // SAFETY: the type of a live object, under the GIL.
            let object = unsafe { Bound::from_borrowed_ptr(py, kind.cast()) };
            let said = match self.classify.bind(py).call1((&object,)) {
                Err(error) if error.is_instance_of::<PyException>(py) => PyString::new(py, "opaque").into_any(),
                said => said?,
            };
            let found = match said.extract::<String>() {
                Ok(name) => match name.as_str() {
                    "leaf" => Kind::Leaf,
                    "list" => Kind::List,
                    "tuple" => Kind::Tuple,
                    "dict" => Kind::Dict,
                    "set" => Kind::Set,
                    "frozenset" => Kind::FrozenSet,
                    "bytes" => Kind::Bytes,
                    "bytearray" => Kind::ByteArray,
                    "array" => Kind::Array,
                    "instance" => Kind::Instance,
                    _ => Kind::Opaque,
                },
                Err(_) if said.is_callable() => Kind::Described(said.unbind()),
                Err(_) => Kind::Opaque,
            };
            self.known.insert(key, (found, object.unbind()));
        }
        Ok(&self.known[&key].0)
    }
}

impl<'a, 'py> Walk<'a, 'py> {
    pub fn new(py: Python<'py>, kinds: &'a mut Kinds, memory: &'a dyn Memory, pinning: bool) -> Self {
        Walk {
            py,
            kinds,
            memory,
            pinning,
            words: Vec::with_capacity(FLUSH_WORDS),
            hash: Xxh3::new(),
            seen: HashSet::new(),
            tuples: HashSet::new(),
            more: Vec::new(),
            named: HashSet::new(),
            simple: true,
            leaves: [0; 4],
            depth: 0,
            pins: Vec::new(),
            weak: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// What was found, once everything was entered.
    pub fn end(mut self) -> Met {
        self.flush();
        let shared = self.seen.iter().chain(&self.more);
        let mut ids: Vec<u64> = shared
            .filter(|id| !self.named.contains(id))
            .map(|id| *id as u64)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Met {
            digest: self.hash.digest128().to_le_bytes(),
            ids,
            pins: self.pins,
            weak: self.weak,
            spans: self.spans,
            simple: self.simple,
        }
    }

    fn say(&mut self, word: u64) {
        if self.words.len() == FLUSH_WORDS {
            self.flush();
        }
        self.words.push(word);
    }

    fn flush(&mut self) {
        let mut bytes = Vec::with_capacity(self.words.len() * 8);
        for word in self.words.drain(..) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.hash.update(&bytes);
    }

    fn pin(&mut self, object: *mut ffi::PyObject) {
        if self.pinning {
            // SAFETY: a live object that its holder keeps alive at this moment, under the GIL.
            self.pins
                .push(unsafe { Bound::from_borrowed_ptr(self.py, object) }.unbind());
        }
    }

    /// One item of a container: its address is said, a leaf is done with, the rest is kept for later.
    fn item(&mut self, object: *mut ffi::PyObject, later: &mut Vec<Bound<'py, PyAny>>) {
        self.say(object as u64);
        if object.is_null() {
            return;
        }
        // SAFETY: a live object, held by the container we are looking at; no Python code runs until it is held by us.
        let kind = unsafe { ffi::Py_TYPE(object) };
        if self.is_leaf(kind as usize) {
            self.pin(object);
        } else {
            // SAFETY: as above.
            later.push(unsafe { Bound::from_borrowed_ptr(self.py, object) });
        }
    }

    /// Whether a type is known to be one of leaves; most containers hold few types, so the last ones are looked at first.
    fn is_leaf(&mut self, kind: usize) -> bool {
        if self.leaves.contains(&kind) {
            return true;
        }
        let leaf = matches!(self.kinds.known.get(&kind), Some((Kind::Leaf, _)));
        if leaf {
            self.leaves.rotate_right(1);
            self.leaves[0] = kind;
        }
        leaf
    }

    fn all(&mut self, later: Vec<Bound<'py, PyAny>>) -> Result<(), Stop> {
        for object in later {
            self.meet(&object, true)?;
        }
        Ok(())
    }

    /// Walks `object`.
    ///
    /// # Errors
    /// [`Stop::Opaque`] if nothing can be said of something below it.
    pub fn enter(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        self.meet(object, false)
    }

    /// `said`: its address was, by the container it is in.
    fn meet(&mut self, object: &Bound<'py, PyAny>, said: bool) -> Result<(), Stop> {
        let at = object.as_ptr();
        // SAFETY: a live object.
        let kind = unsafe { ffi::Py_TYPE(at) };
        enum Step {
            Leaf,
            List,
            Tuple,
            Dict,
            Set,
            FrozenSet,
            Bytes,
            ByteArray,
            Array,
            Instance,
        }
        let step = match self.kinds.of(self.py, kind)? {
            Kind::Leaf => Step::Leaf,
            Kind::List => Step::List,
            Kind::Tuple => Step::Tuple,
            Kind::Dict => Step::Dict,
            Kind::Set => Step::Set,
            Kind::FrozenSet => Step::FrozenSet,
            Kind::Bytes => Step::Bytes,
            Kind::ByteArray => Step::ByteArray,
            Kind::Array => Step::Array,
            Kind::Instance => Step::Instance,
            Kind::Described(how) => {
                let how = how.clone_ref(self.py);
                return self.described(object, kind, how.bind(self.py));
            }
            Kind::Opaque => return Err(Stop::Opaque(type_name(object))),
        };
        // Whether a type was asked about already must not show in the words.
        if !(said && matches!(step, Step::Leaf)) {
            self.say(at as u64);
        }
        match step {
            Step::Leaf => {
                self.pin(at);
                return Ok(());
            }
            Step::Bytes => {
                // SAFETY: an object of exactly this type.
                let (data, len) = unsafe { (ffi::PyBytes_AsString(at), ffi::PyBytes_Size(at)) };
                if len <= HELD_BYTES_MAX {
                    self.pin(at);
                } else {
                    // SAFETY: bytes never change and `object` holds them.
                    self.digest(unsafe { std::slice::from_raw_parts(data.cast(), len as usize) });
                }
                return Ok(());
            }
            Step::Tuple | Step::FrozenSet => {
                if !self.tuples.insert(at as usize) {
                    self.say(TAG | 1);
                    return Ok(());
                }
            }
            _ => {
                if !self.seen.insert(at as usize) {
                    self.say(TAG | 1);
                    return Ok(());
                }
            }
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stop::Opaque("something nested too deeply".into()));
        }
        let mut later = Vec::new();
        match step {
            Step::List => {
                // SAFETY: an exact list, and no Python code runs in the loop, so its size stays.
                unsafe {
                    let len = ffi::PyList_Size(at);
                    self.say(TAG | 2);
                    self.say(len as u64);
                    for i in 0..len {
                        self.item(ffi::PyList_GetItem(at, i), &mut later);
                    }
                }
            }
            Step::Tuple => {
                // SAFETY: an exact tuple.
                unsafe {
                    let len = ffi::PyTuple_Size(at);
                    self.say(TAG | 3);
                    self.say(len as u64);
                    for i in 0..len {
                        self.item(ffi::PyTuple_GetItem(at, i), &mut later);
                    }
                }
            }
            Step::Dict => self.dict(at, &mut later),
            Step::Set | Step::FrozenSet => {
                self.say(TAG | 5);
                for part in object.try_iter()? {
                    let part = part?;
                    self.item(part.as_ptr(), &mut later);
                }
                self.say(TAG | 5);
            }
            Step::ByteArray => {
                self.say(TAG | 6);
                // SAFETY: an exact bytearray; its bytes are read before any Python code runs.
                unsafe {
                    let len = ffi::PyByteArray_Size(at) as usize;
                    let data = ffi::PyByteArray_AsString(at).cast::<u8>();
                    self.digest(if len == 0 {
                        &[]
                    } else {
                        std::slice::from_raw_parts(data, len)
                    });
                }
            }
            Step::Array => self.array(object, &mut later)?,
            Step::Instance => {
                self.simple = false;
                self.say(TAG | 7);
                self.say(kind as u64);
                // SAFETY: an instance whose type has a `__dict__` of the ordinary sort.
                let own = unsafe { ffi::PyObject_GenericGetDict(at, std::ptr::null_mut()) };
                if own.is_null() {
                    return Err(Stop::Raised(PyErr::fetch(self.py)));
                }
                // SAFETY: a new reference from the call above; the type of a live object.
                unsafe {
                    later.push(Bound::from_owned_ptr(self.py, own));
                    later.push(Bound::from_borrowed_ptr(self.py, kind.cast()));
                }
            }
            Step::Leaf | Step::Bytes => {}
        }
        self.all(later)?;
        self.depth -= 1;
        Ok(())
    }

    fn dict(&mut self, at: *mut ffi::PyObject, later: &mut Vec<Bound<'py, PyAny>>) {
        self.say(TAG | 4);
        let (mut key, mut value, mut position) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: a dict; no Python code runs in the loop, so it does not change under it.
        unsafe {
            self.say(ffi::PyDict_Size(at) as u64);
            while ffi::PyDict_Next(at, &mut position, &mut key, &mut value) != 0 {
                self.item(key, later);
                self.item(value, later);
            }
        }
    }

    fn digest(&mut self, bytes: &[u8]) {
        let sum = sum_of(bytes);
        self.sum(bytes.len(), sum);
    }

    fn sum(&mut self, len: usize, sum: u128) {
        self.say(len as u64);
        self.say(sum as u64);
        self.say((sum >> 64) as u64);
    }

    /// A NumPy array: its header by the offsets NumPy's ABI fixes.
    fn array(&mut self, object: &Bound<'py, PyAny>, later: &mut Vec<Bound<'py, PyAny>>) -> Result<(), Stop> {
        let at = object.as_ptr() as usize;
        // SAFETY: an exact `numpy.ndarray`, which holds its dtype and base; see `Header::of` for the layout.
        let (header, base, dtype, flags, kind) = unsafe {
            let dtype: usize = load(at, 56);
            let itemsize: usize = object.getattr("itemsize")?.extract()?;
            (
                Header::of(at, itemsize),
                load::<*mut ffi::PyObject>(at, 48),
                dtype,
                load::<i32>(at, 64),
                load::<u8>(dtype, 24),
            )
        };
        if !b"?biufcmMSUO".contains(&kind) {
            return Err(Stop::Opaque(format!("an array of kind {}", kind as char)));
        }
        self.say(TAG | 8);
        for word in [header.data as u64, base as u64, dtype as u64, flags as u64] {
            self.say(word);
        }
        self.say(header.axes.len() as u64);
        for (extent, stride) in &header.axes {
            self.say(*extent as u64);
            self.say(*stride as u64);
        }
        self.pin(dtype as *mut ffi::PyObject);
        let (low, high) = (header.low, header.high);
        if low < high {
            self.spans.push((low, high));
        }
        if !base.is_null() {
            // SAFETY: held by the array.
            let base = unsafe { Bound::from_borrowed_ptr(self.py, base) };
            // SAFETY: two live objects; the base is an array if it has this one's type.
            let same = unsafe { ffi::Py_TYPE(base.as_ptr()) == ffi::Py_TYPE(object.as_ptr()) };
            let covered = same && {
                let itemsize: usize = base.getattr("itemsize")?.extract()?;
                // SAFETY: an exact array, as just seen.
                let under = unsafe { Header::of(base.as_ptr() as usize, itemsize) };
                under.low <= low && high <= under.high
            };
            later.push(base);
            if covered {
                return Ok(());
            }
        }
        if header.count == 0 || low == high {
            return Ok(());
        }
        if kind == b'O' {
            if high - low != header.count * 8 {
                return Err(Stop::Opaque("an array of objects with gaps".into()));
            }
            for at in (low..high).step_by(8) {
                // SAFETY: `count` pointers, each null or to an object the array holds.
                let part = unsafe { load::<*mut ffi::PyObject>(at, 0) };
                self.item(part, later);
            }
            return Ok(());
        }
        if let Some([which, version]) = self.memory.version(low, high) {
            self.say(TAG | 9);
            self.say(which);
            self.say(version);
            return Ok(());
        }
        let sum = *self.kinds.sums.entry((low, high)).or_insert_with(|| {
            // SAFETY: `low..high` lies within memory the array or its base holds: NumPy checks that when it makes them
            // (`as_strided`, which does not, is its caller's risk in every use of the array).
            sum_of(unsafe { std::slice::from_raw_parts(low as *const u8, high - low) })
        });
        self.sum(high - low, sum);
        Ok(())
    }

    /// What a Python function says: `(bytes, parts, weakly held)`, or `None` when it cannot say.
    fn described(
        &mut self,
        object: &Bound<'py, PyAny>,
        kind: *mut ffi::PyTypeObject,
        how: &Bound<'py, PyAny>,
    ) -> Result<(), Stop> {
        self.say(object.as_ptr() as u64);
        if !self.seen.insert(object.as_ptr() as usize) {
            self.say(TAG | 1);
            return Ok(());
        }
        let said = match how.call1((object,)) {
            // A library that is not what its rule was written for: nothing can be said.
            Err(error) if error.is_instance_of::<PyException>(self.py) => return Err(Stop::Opaque(type_name(object))),
            said => said?,
        };
        if said.is_none() {
            return Err(Stop::Opaque(type_name(object)));
        }
        let (bytes, parts, weak): (Bound<'_, PyBytes>, Bound<'_, PyTuple>, Bound<'_, PyTuple>) = said.extract()?;
        self.say(TAG | 10);
        self.say(kind as u64);
        self.digest(bytes.as_bytes());
        self.more.extend(dict_of(object));
        self.simple = false;
        for part in weak.iter() {
            self.say(part.as_ptr() as u64);
            if part.is(object) {
                self.named.insert(part.as_ptr() as usize);
            }
            self.more.push(part.as_ptr() as usize);
            if self.pinning {
                self.weak.push(part.unbind());
            }
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stop::Opaque("something nested too deeply".into()));
        }
        self.loose(&parts, 0)?;
        self.depth -= 1;
        Ok(())
    }

    /// Parts in tuples that were made for the walk (two levels of them at most): their own addresses mean nothing.
    fn loose(&mut self, parts: &Bound<'py, PyTuple>, level: usize) -> Result<(), Stop> {
        self.say(TAG | 11);
        self.say(parts.len() as u64);
        for part in parts.iter() {
            match part.cast_exact::<PyTuple>() {
                Ok(inner) if level == 0 => self.loose(inner, 1)?,
                _ => self.enter(&part)?,
            }
        }
        Ok(())
    }
}

/// Where an array's elements are.
struct Header {
    data: usize,
    axes: Vec<(isize, isize)>,
    count: usize,
    low: usize,
    high: usize,
}

impl Header {
    /// # Safety
    /// `at` is a live `numpy.ndarray`. `PyArrayObject_fields` and the first fields of `PyArray_Descr` have had this layout
    /// in every NumPy of the stable ABI (1.x and 2.x).
    unsafe fn of(at: usize, itemsize: usize) -> Header {
        // SAFETY: the caller's promise.
        let (data, ndim, shape, strides) = unsafe {
            (
                load::<usize>(at, 16),
                load::<i32>(at, 24) as usize,
                load::<usize>(at, 32),
                load::<usize>(at, 40),
            )
        };
        let (mut low, mut high, mut count) = (data, data + itemsize, 1_usize);
        let mut axes = Vec::with_capacity(ndim);
        for axis in 0..ndim {
            // SAFETY: an array has `ndim` extents and strides.
            let (extent, stride) = unsafe { (load::<isize>(shape, axis * 8), load::<isize>(strides, axis * 8)) };
            axes.push((extent, stride));
            count *= extent as usize;
            let span = (extent - 1).max(0) * stride;
            if span < 0 {
                low = low.wrapping_add_signed(span);
            } else {
                high = high.wrapping_add_signed(span);
            }
        }
        if count == 0 {
            high = low;
        }
        Header {
            data,
            axes,
            count,
            low,
            high,
        }
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    let kind: Bound<'_, PyType> = object.get_type();
    kind.fully_qualified_name()
        .map_or_else(|_| "?".into(), |name| name.to_string())
}

/// Large memory is read by several threads.
fn sum_of(bytes: &[u8]) -> u128 {
    const PART: usize = 4 << 20;
    const THREADS: usize = 4;
    if bytes.len() <= 2 * PART {
        return xxh3_128(bytes);
    }
    let parts: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(THREADS).max(PART)).collect();
    let sums: Vec<u128> = std::thread::scope(|scope| {
        let running: Vec<_> = parts.iter().map(|part| scope.spawn(|| xxh3_128(part))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Vec::with_capacity(sums.len() * 16);
    sums.iter().for_each(|sum| all.extend_from_slice(&sum.to_le_bytes()));
    xxh3_128(&all)
}

/// The instance dictionary of `object`, if it has one of its own: the address others may know it by.
pub fn dict_of(object: &Bound<'_, PyAny>) -> Option<usize> {
    let own = object.getattr("__dict__").ok()?;
    own.cast_exact::<PyDict>().ok().map(|dict| dict.as_ptr() as usize)
}
