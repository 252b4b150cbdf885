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
//! | reduced                            | its address, its type                       | what pickle would write of it (see `reduced`) |
//! | own                                | its address, its type, the addresses in its `__dict__` but for some (see `own`) | what is there, its class |
//! | method                             | its address                                 | its function and its object |
//! | tree of scikit-learn               | its address, its type, its numbers, digests of its nodes and values | nothing |
//! | anything else                      | the walk fails: nothing can be said          |                           |
//!
//! Invariants
//!
//! - A leaf is held from the walk that saw it to the next one, so that its address cannot become another object's.
//! - What can change is not held (a deleted variable is deleted), and is looked into every time instead: an object that took
//!   the address of another is the same if it holds the same.
//! - Of many items the digest of their addresses is said; which of them are leaves is remembered (see `held`).
//! - `ids` are the addresses of all objects met that can be shared and changed; leaves and tuples are not among them.

mod array;
mod held;
mod kinds;
mod named;
mod own;
mod reduced;
mod replay;
pub mod sums;
mod tree;
pub mod versions;

use std::sync::Arc;

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};
use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::Xxh3;

pub use self::held::{AHEAD, Held, fetch};
use self::held::{DictItems, Items, ListItems, MANY, These, TupleItems};
use self::kinds::Kind;
pub use self::kinds::{Kinds, Library};
use self::reduced::How;
pub use self::replay::{RECORDS_MIN, Trace};
use self::replay::{Recording, Replay};

/// What is known of memory without reading it.
pub trait Memory {
    /// Words that change whenever a byte in `low..high` may have changed; `None` if that is not known.
    fn version(&self, low: usize, high: usize) -> Option<[u64; 2]>;
}

/// One walk under way.
pub struct Walk<'a, 'py> {
    py: Python<'py>,
    kinds: &'a mut Kinds,
    memory: &'a dyn Memory,
    pinning: bool,
    words: Vec<u64>,
    hash: Xxh3,
    seen: FxHashSet<usize>,
    tuples: FxHashSet<usize>,
    /// Addresses others may know parts of what was met by, though the walk did not go there.
    more: Vec<usize>,
    /// Objects pickled by the name they are imported by: they are shared whatever happens.
    named: FxHashSet<usize>,
    /// Only containers, arrays and leaves so far: a pickle of it holds no object that was not met.
    simple: bool,
    /// Something was met whose library has parts that all such things hold.
    artist: bool,
    leaves: [usize; 4],
    depth: usize,
    pins: Vec<Py<PyAny>>,
    weak: Vec<Py<PyAny>>,
    spans: Vec<(usize, usize)>,
    framed: Vec<bool>,
    /// Addresses of arrays that follow copy on write.
    in_frames: FxHashSet<usize>,
    /// The object that is met next is an array that follows copy on write, if it is one.
    in_frame: bool,
    helds: Vec<Arc<Held>>,
    /// Sizes of the elements of arrays' types, which are held.
    sizes: FxHashMap<usize, (usize, Py<PyAny>)>,
    /// What was made for the walk: alive until it ends.
    keep: Vec<Bound<'py, PyAny>>,
    /// How many values of reductions we are in.
    below: usize,
    /// What is said is kept, to be compared the next time.
    recording: Option<Recording>,
    /// What is said is compared with what a walk said before.
    replay: Option<Replay<'a, 'py>>,
}

/// What one walk found.
pub struct Met {
    /// Of everything said.
    pub digest: [u8; 16],
    /// Sorted addresses of what can be shared.
    pub ids: Vec<u64>,
    /// Those that others who met them are saved together with: without arrays of frames. `None`: all of them.
    pub binding: Option<Vec<u64>>,
    /// Sorted addresses of what a walk would go into in the same way if it began there; only if the result is held.
    pub inner: Vec<u64>,
    /// What the digest names by address only.
    pub pins: Vec<Py<PyAny>>,
    /// The same for the items of large containers.
    pub helds: Vec<Arc<Held>>,
    /// What has to be alive for the digest to mean anything: to be held weakly.
    pub weak: Vec<Py<PyAny>>,
    /// Memory of the arrays met.
    pub spans: Vec<(usize, usize)>,
    /// Which of these only something sees that copies before it writes.
    pub framed: Vec<bool>,
    /// Only containers, arrays and leaves were met: all that a pickle of it can share is in `ids`.
    pub simple: bool,
    /// By which a later walk may be told to say the same; only if the result is held.
    pub trace: Option<Trace>,
}

/// Why a walk ended early.
pub enum Stop {
    /// The name of a type nothing is known of.
    Opaque(String),
    Raised(PyErr),
    /// It does not say what it said before.
    Changed,
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
const HELD_BYTES_MAX: usize = 4096;

const TAG: u64 = 0x6c61_7264_0000_0000;

impl<'a, 'py> Walk<'a, 'py> {
    /// `many`: objects there may be.
    pub fn new(py: Python<'py>, kinds: &'a mut Kinds, memory: &'a dyn Memory, pinning: bool, many: usize) -> Self {
        let recording = (pinning && kinds.lasts()).then(Recording::default);
        Walk {
            py,
            kinds,
            memory,
            pinning,
            words: Vec::new(),
            hash: Xxh3::new(),
            seen: FxHashSet::with_capacity_and_hasher(many, Default::default()),
            tuples: FxHashSet::default(),
            more: Vec::new(),
            named: FxHashSet::default(),
            simple: true,
            artist: false,
            leaves: [0; 4],
            depth: 0,
            pins: Vec::new(),
            weak: Vec::new(),
            spans: Vec::new(),
            framed: Vec::new(),
            in_frames: FxHashSet::default(),
            in_frame: false,
            helds: Vec::new(),
            sizes: FxHashMap::default(),
            keep: Vec::new(),
            below: 0,
            recording,
            replay: None,
        }
    }

    /// Of everything said, once everything was entered.
    pub fn sum_up(&mut self) -> [u8; 16] {
        self.flush();
        if self.words.capacity() > 0 {
            self.kinds.words = std::mem::take(&mut self.words);
        }
        self.hash.digest128().to_le_bytes()
    }

    /// What was found, once everything was entered.
    pub fn end(mut self) -> Met {
        let digest = self.sum_up();
        let trace = self.trace();
        let mut inner: Vec<u64> = if self.pinning {
            self.seen.iter().map(|id| *id as u64).collect()
        } else {
            Vec::new()
        };
        inner.sort_unstable();
        let shared = self.seen.iter().chain(&self.more);
        let nobodys = |id: usize| self.named.contains(&id) || (self.artist && self.of_library(id));
        let mut ids: Vec<u64> = shared.filter(|id| !nobodys(**id)).map(|id| *id as u64).collect();
        ids.sort_unstable();
        ids.dedup();
        // Serialising it tells whose that is.
        let past = |(dict, owner): &(usize, usize)| self.seen.contains(dict) && !self.seen.contains(owner);
        let simple = self.simple && !self.kinds.library.dicts.iter().any(past);
        let binding = (!self.in_frames.is_empty()).then(|| {
            let apart = |id: &&u64| !self.in_frames.contains(&(**id as usize));
            ids.iter().filter(apart).copied().collect()
        });
        Met {
            digest,
            ids,
            binding,
            inner,
            pins: self.pins,
            helds: self.helds,
            weak: self.weak,
            spans: self.spans,
            framed: self.framed,
            simple,
            trace,
        }
    }

    /// Whether an object is the library's, and comes back as that or as a copy for each who holds it.
    fn of_library(&self, at: usize) -> bool {
        match self.kinds.library.own.get(&at) {
            Some(Some(owner)) => self.seen.contains(owner),
            found => found.is_some(),
        }
    }

    fn say(&mut self, word: u64) {
        if let Some(replay) = &mut self.replay {
            return replay.say(word);
        }
        if self.words.len() == FLUSH_WORDS {
            self.flush();
        }
        if self.words.capacity() == 0 {
            self.words = std::mem::take(&mut self.kinds.words);
        }
        self.words.push(word);
    }

    fn flush(&mut self) {
        self.hash.update(bytes_of(&self.words));
        if let Some(recording) = &mut self.recording {
            recording.words.extend_from_slice(&self.words);
        }
        self.words.clear();
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
        if object.is_null() || self.bulk() {
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
        let leaf = self
            .kinds
            .known
            .get(&kind)
            .is_some_and(|asked| matches!(*asked.kind, Kind::Leaf));
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
        // What is made here goes when the walk ends; until then the collector would only look at it, and age what there is.
        // SAFETY: the GIL is held.
        let collecting = unsafe { ffi::PyGC_Disable() } == 1;
        let met = self.meet(object, false);
        if collecting {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
        met
    }

    /// `said`: its address was, by the container it is in.
    fn meet(&mut self, object: &Bound<'py, PyAny>, said: bool) -> Result<(), Stop> {
        if self.replay.is_some() {
            return self.meet_again(object, said);
        }
        let at = object.as_ptr();
        let in_frame = std::mem::take(&mut self.in_frame);
        // SAFETY: a live object.
        let kind = self.kinds.of(self.py, unsafe { ffi::Py_TYPE(at) })?;
        // Whether a type was asked about already must not show in the words.
        if !(said && matches!(*kind, Kind::Leaf)) {
            self.say(at as u64);
        }
        match *kind {
            Kind::Opaque => return Err(Stop::Opaque(type_name(object))),
            Kind::Leaf => {
                self.pin(at);
                return Ok(());
            }
            Kind::Bytes => {
                // SAFETY: bytes never change and `object` holds them.
                let bytes = unsafe { bytes_in(at) };
                if bytes.len() <= HELD_BYTES_MAX {
                    self.pin(at);
                } else {
                    let record = self.begin_record(object, &kind);
                    self.digest(bytes);
                    self.end_record(record);
                }
                return Ok(());
            }
            Kind::Tuple | Kind::FrozenSet => {
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
        self.deeper()?;
        let record = self.begin_record(object, &kind);
        let mut later = Vec::new();
        self.look_into(object, &kind, in_frame, record, &mut later)?;
        self.all(later)?;
        self.end_record(record);
        self.depth -= 1;
        Ok(())
    }

    /// Says what is in an object that was not met before; some of its parts are for `later`.
    fn look_into(
        &mut self,
        object: &Bound<'py, PyAny>,
        kind: &Kind,
        in_frame: bool,
        record: Option<usize>,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        let at = object.as_ptr();
        match kind {
            Kind::List => {
                self.say(TAG | 2);
                // SAFETY: an exact list.
                let len = unsafe { ffi::PyList_Size(at) };
                self.items(at as usize, len as usize, &ListItems(at), later)?;
            }
            Kind::Tuple => {
                self.say(TAG | 3);
                // SAFETY: an exact tuple.
                let len = unsafe { ffi::PyTuple_Size(at) };
                self.items(at as usize, len as usize, &TupleItems(at), later)?;
            }
            Kind::Dict => {
                self.say(TAG | 4);
                // SAFETY: a dict.
                let len = unsafe { ffi::PyDict_Size(at) };
                self.items(at as usize, 2 * len as usize, &DictItems(at), later)?;
            }
            Kind::Set | Kind::FrozenSet => {
                self.say(TAG | 5);
                let parts = object.try_iter()?.collect::<PyResult<Vec<_>>>()?;
                self.items(at as usize, parts.len(), &These(&parts), later)?;
            }
            // SAFETY: bytes never change and `object` holds them.
            Kind::Bytes => self.digest(unsafe { bytes_in(at) }),
            Kind::ByteArray => {
                self.say(TAG | 6);
                // SAFETY: its bytes are read before any Python code runs.
                self.digest(unsafe { bytes_in_array(at) });
            }
            Kind::Array => self.array(object, false, in_frame, later)?,
            Kind::SubArray => {
                self.array(object, false, in_frame, later)?;
                self.hard_mask(object)?;
                self.reduced(object, &How::Reduce, false)?;
            }
            Kind::Instance => {
                self.simple = false;
                self.say(TAG | 7);
                let kind = object.get_type();
                self.say(kind.as_ptr() as u64);
                let own = own_dict(object)?;
                if self.bulk() {
                    self.say(own.as_ptr() as u64); // which is said when it is met
                }
                later.push(own);
                later.push(kind.into_any());
            }
            Kind::Own(own, asked) => {
                self.artist = true;
                if !self.own(object, own, record, later)? {
                    if self.bulk() {
                        return Err(Stop::Changed);
                    }
                    self.asked_in(record);
                    self.asked(object, asked, in_frame, false)?;
                }
            }
            Kind::Method => self.method(object)?,
            Kind::Tree => self.tree(object)?,
            asked => self.asked(object, asked, in_frame, false)?,
        }
        Ok(())
    }

    /// Something made for the walk, which nobody else can know: all it holds, not where it is.
    fn fresh(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        let at = object.as_ptr();
        let in_frame = std::mem::take(&mut self.in_frame);
        // SAFETY: a live object.
        let kind = self.kinds.of(self.py, unsafe { ffi::Py_TYPE(at) })?;
        self.deeper()?;
        let mut later = Vec::new();
        match &*kind {
            Kind::Opaque => return Err(Stop::Opaque(type_name(object))),
            Kind::Leaf => self.by_value(object)?,
            Kind::Bytes => {
                self.say(TAG | 18);
                // SAFETY: bytes never change and `object` holds them.
                self.digest(unsafe { bytes_in(at) });
            }
            Kind::ByteArray => {
                self.say(TAG | 6);
                // SAFETY: its bytes are read before any Python code runs.
                self.digest(unsafe { bytes_in_array(at) });
            }
            Kind::List => {
                self.say(TAG | 2);
                self.parts(&ListItems(at))?;
            }
            Kind::Tuple => {
                self.say(TAG | 3);
                self.parts(&TupleItems(at))?;
            }
            Kind::Dict => {
                self.say(TAG | 4);
                self.parts(&DictItems(at))?;
            }
            Kind::Set | Kind::FrozenSet => {
                self.say(TAG | 5);
                for part in object.try_iter()?.collect::<PyResult<Vec<_>>>()? {
                    self.part(&part)?;
                }
                self.say(TAG | 5);
            }
            Kind::Array => self.array(object, true, in_frame, &mut later)?,
            Kind::SubArray => {
                self.hard_mask(object)?;
                self.reduced(object, &How::Reduce, true)?;
            }
            Kind::Instance => {
                self.say(TAG | 7);
                let kind = object.get_type();
                self.say(kind.as_ptr() as u64);
                self.part(&own_dict(object)?)?;
                later.push(kind.into_any());
            }
            Kind::Own(_, asked) => self.asked(object, asked, in_frame, true)?,
            Kind::Method => self.method(object)?,
            Kind::Tree => self.reduced(object, &How::Reduce, true)?,
            asked => self.asked(object, asked, in_frame, true)?,
        }
        for part in later {
            self.part(&part)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// What Python code says of an object.
    fn asked(&mut self, object: &Bound<'py, PyAny>, kind: &Kind, in_frame: bool, fresh: bool) -> Result<(), Stop> {
        match kind {
            Kind::Described(how, frame) => self.described(object, how.bind(self.py), frame.here(in_frame), fresh),
            Kind::Named(how) => {
                if self.named(object)? {
                    return Ok(());
                }
                self.described(object, how.bind(self.py), false, fresh)
            }
            Kind::Reduced(how) => self.reduced(object, how, fresh),
            _ => Ok(()),
        }
    }

    /// A bound method, whose function and object it holds for good.
    fn method(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        self.simple = false;
        self.say(TAG | 22);
        for name in [intern!(self.py, "__func__"), intern!(self.py, "__self__")] {
            self.meet(&object.getattr(name)?, false)?;
        }
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stop::Opaque("something nested too deeply".into()));
        }
        Ok(())
    }

    /// The items of the container at `key`.
    fn items(
        &mut self,
        key: usize,
        len: usize,
        items: &impl Items,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        if len >= MANY {
            return self.many(key, items, later);
        }
        let mut at = std::mem::take(&mut self.kinds.scratch);
        at.clear();
        items.read(&mut at, self.kinds.layout);
        self.say(at.len() as u64);
        if let Some(replay) = &mut self.replay
            && replay.takes_all(&at)
        {
            self.kinds.scratch = at;
            return Ok(());
        }
        for item in &at {
            held::fetch(*item);
        }
        for item in &at {
            self.item(*item as *mut ffi::PyObject, later);
        }
        self.kinds.scratch = at;
        Ok(())
    }

    fn digest(&mut self, bytes: &[u8]) {
        let sum = sums::whole(bytes);
        self.sum(bytes.len(), sum);
    }

    fn sum(&mut self, len: usize, sum: u128) {
        self.say(len as u64);
        self.say(sum as u64);
        self.say((sum >> 64) as u64);
    }

    /// What a Python function says: `(bytes, parts, weakly held)`, or `None` when it cannot say. A fourth has objects inside
    /// that are not walked, but known to others who reach them some other way.
    fn described(
        &mut self,
        object: &Bound<'py, PyAny>,
        how: &Bound<'py, PyAny>,
        frame: bool,
        fresh: bool,
    ) -> Result<(), Stop> {
        let said = match how.call1((object,)) {
            // A library that is not what its rule was written for: nothing can be said.
            Err(error) if error.is_instance_of::<PyException>(self.py) => return Err(Stop::Opaque(type_name(object))),
            said => said?,
        };
        if said.is_none() {
            return Err(Stop::Opaque(type_name(object)));
        }
        self.keep.push(said.clone());
        let said = said.cast_into::<PyTuple>().map_err(PyErr::from)?;
        let (bytes, parts, weak): (Bound<'_, PyBytes>, Bound<'_, PyTuple>, Bound<'_, PyTuple>) =
            said.get_slice(0, 3).extract()?;
        self.say(TAG | 10);
        self.say(object.get_type_ptr() as u64);
        self.digest(bytes.as_bytes());
        if !fresh {
            // What is pickled by its name is nobody's part: a module's names are not what those who name it share.
            if !weak.iter().any(|part| part.is(object)) {
                self.more.extend(dict_of(object));
            }
            if said.len() > 3 {
                for inner in said.get_item(3)?.cast_into::<PyTuple>().map_err(PyErr::from)?.iter() {
                    self.say(inner.as_ptr() as u64);
                    self.more.push(inner.as_ptr() as usize);
                }
            }
        }
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
        self.loose(&parts, frame, 0)
    }

    /// Parts in tuples that were made for the walk (two levels of them at most): their own addresses mean nothing.
    fn loose(&mut self, parts: &Bound<'py, PyTuple>, frame: bool, level: usize) -> Result<(), Stop> {
        self.say(TAG | 11);
        self.say(parts.len() as u64);
        for part in parts.iter() {
            match part.cast_exact::<PyTuple>() {
                Ok(inner) if level == 0 => self.loose(inner, frame, 1)?,
                _ => {
                    self.in_frame = frame;
                    self.part(&part)?;
                }
            }
        }
        Ok(())
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    let kind: Bound<'_, PyType> = object.get_type();
    kind.fully_qualified_name()
        .map_or_else(|_| "?".into(), |name| name.to_string())
}

/// # Safety
/// An exact `bytes` that is held as long as what is returned is used.
unsafe fn bytes_in<'a>(at: *mut ffi::PyObject) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(ffi::PyBytes_AsString(at).cast(), ffi::PyBytes_Size(at) as usize) }
}

/// # Safety
/// An exact `bytearray`; no Python code runs while what is returned is used.
unsafe fn bytes_in_array<'a>(at: *mut ffi::PyObject) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe {
        match ffi::PyByteArray_Size(at) as usize {
            0 => &[],
            len => std::slice::from_raw_parts(ffi::PyByteArray_AsString(at).cast::<u8>(), len),
        }
    }
}

trait Word {}
impl Word for u64 {}
impl Word for usize {}

fn bytes_of<T: Word>(words: &[T]) -> &[u8] {
    // SAFETY: words have no padding, and their bytes are as many and as aligned as need be.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// The `__dict__` of an instance whose type has one of the ordinary sort.
fn own_dict<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: as said; a new reference, or null with an exception set.
    unsafe {
        let own = ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), own)
    }
}

/// The instance dictionary of `object`, if it has one of its own: the address others may know it by.
pub fn dict_of(object: &Bound<'_, PyAny>) -> Option<usize> {
    let own = object.getattr(intern!(object.py(), "__dict__")).ok()?;
    own.cast_exact::<PyDict>().ok().map(|dict| dict.as_ptr() as usize)
}
