//! How objects of each type are walked, and what is kept from one walk to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_trace::Layout;
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rustc_hash::FxHashMap;

use super::held::{Held, KEPT_MAX, fetch};
use super::named::Names;
use super::own::Own;
use super::reduced::How;
use super::versions;
use crate::abi;

/// How objects of one type are walked.
pub(super) enum Kind {
    Leaf,
    List,
    Tuple,
    Dict,
    Set,
    FrozenSet,
    Bytes,
    ByteArray,
    Array,
    /// An array of a subclass: its memory, and what pickle sees.
    SubArray,
    Instance,
    /// By a function, and whether arrays it gives follow copy on write.
    Described(Py<PyAny>, Framed),
    /// By the name it is imported by, or by a function.
    Named(Py<PyAny>),
    Reduced(How),
    /// By its `__dict__`, or as the other one says.
    Own(Own, Arc<Kind>),
    /// What it calls and on what.
    Method,
    /// A tree of scikit-learn, by its memory.
    Tree,
    Opaque,
}

impl Kind {
    /// What `classify` said.
    fn said(said: &Bound<'_, PyAny>) -> PyResult<Kind> {
        if let Ok(name) = said.extract::<String>() {
            return Ok(match name.as_str() {
                "leaf" => Kind::Leaf,
                "list" => Kind::List,
                "tuple" => Kind::Tuple,
                "dict" => Kind::Dict,
                "set" => Kind::Set,
                "frozenset" => Kind::FrozenSet,
                "bytes" => Kind::Bytes,
                "bytearray" => Kind::ByteArray,
                "array" => Kind::Array,
                "subarray" => Kind::SubArray,
                "instance" => Kind::Instance,
                "method" => Kind::Method,
                "tree" => Kind::Tree,
                "reduce" => Kind::Reduced(How::Reduce),
                "state" => Kind::Reduced(How::State),
                _ => Kind::Opaque,
            });
        }
        if said.is_callable() {
            return Ok(Kind::Described(said.clone().unbind(), Framed::Never));
        }
        if let Ok((names, asked)) = said.extract::<(HashMap<String, String>, Bound<'_, PyAny>)>() {
            return Ok(Kind::Own(Own::new(said.py(), names)?, Arc::new(Kind::said(&asked)?)));
        }
        Ok(match said.extract::<(String, Py<PyAny>)>() {
            Ok((how, function)) if how == "frame" => Kind::Described(function, Framed::Always),
            Ok((how, function)) if how == "extension" => Kind::Described(function, Framed::AsMet),
            Ok((how, function)) if how == "named" => Kind::Named(function),
            Ok((_, function)) => Kind::Reduced(How::Function(function)),
            Err(_) => Kind::Opaque,
        })
    }
}

/// Whether arrays inside an object follow copy on write.
#[derive(Clone, Copy)]
pub(super) enum Framed {
    Never,
    Always,
    /// If the object is inside one whose arrays do.
    AsMet,
}

impl Framed {
    pub(super) fn here(self, in_frame: bool) -> bool {
        match self {
            Framed::Never => false,
            Framed::Always => true,
            Framed::AsMet => in_frame,
        }
    }
}

/// Types and how they are walked; `classify` is asked once for each type it does not know.
pub struct Kinds {
    pub(super) known: FxHashMap<usize, Asked>,
    classify: Py<PyAny>,
    /// Where a type has its version, if that is known and the interpreter keeps it as it should.
    version_at: Option<usize>,
    /// Where containers have their items, if that is known.
    pub(super) layout: Option<&'static Layout>,
    /// Where items are read to.
    pub(super) scratch: Vec<usize>,
    /// Room for the words of a walk.
    pub(super) words: Vec<u64>,
    /// By the address of a container of many items, which may be another's by now: what was held there, and whether it was
    /// met since [`Kinds::sweep`].
    pub(super) held: FxHashMap<usize, (Arc<Held>, bool)>,
    /// Digests of memory read since [`Kinds::begin`]: what several variables look at is read once.
    pub(super) sums: FxHashMap<(usize, usize), Sum>,
    /// `None` where Python has to be asked.
    pub(super) names: Option<Names>,
    /// Changes with what was said of leaves' types, and with what `classify` goes by beside the types.
    pub(super) epoch: u64,
    /// Walks that go into fewer objects leave no trace.
    pub(super) records_min: usize,
    /// What `classify` took since that was asked last.
    asking: Duration,
    pub library: Library,
}

/// Objects of a library that what is made by it holds: who holds an artist and one of these shares nothing by the latter.
#[derive(Default)]
pub struct Library {
    /// Addresses; of a `__dict__` with whose it is: it counts as the library's where its owner was met as well.
    pub own: FxHashMap<usize, Option<usize>>,
    /// The `__dict__`s among them.
    pub dicts: Vec<(usize, usize)>,
}

/// What was read of an array's memory.
pub(super) struct Sum {
    pub(super) whole: u128,
    /// Of its chunks, if there are several; and the array, so that no other takes its memory meanwhile.
    pub(super) chunks: Option<(Vec<u8>, Py<PyAny>)>,
}

/// What `classify` said of a type.
pub(super) struct Asked {
    pub(super) kind: Arc<Kind>,
    object: Py<PyAny>,
    /// The type's version then: another one, or none, means that the type was changed. 0: the type is not kept.
    version: u32,
    /// Since [`Kinds::sweep`].
    met: bool,
}

impl Kinds {
    pub fn new(py: Python<'_>, classify: Py<PyAny>, records_min: usize) -> Kinds {
        Kinds {
            known: FxHashMap::default(),
            classify,
            version_at: versions::offset(py).unwrap_or(None),
            layout: abi::of(py).unwrap_or(None),
            scratch: Vec::new(),
            words: Vec::new(),
            held: FxHashMap::default(),
            sums: FxHashMap::default(),
            names: Names::new(py).ok(),
            epoch: 0,
            records_min,
            asking: Duration::ZERO,
            library: Library::default(),
        }
    }

    /// Before a round of walks: memory is read again, and types that were changed are asked about again; with `anew` all of
    /// them.
    pub fn begin(&mut self, py: Python<'_>, anew: bool) {
        self.sums.clear();
        match self.version_at {
            Some(at) if !anew => {
                let mut leaves = true;
                let mut unsure = Vec::new();
                for class in self.known.keys() {
                    fetch(class + at);
                }
                self.known.retain(|class, asked| {
                    let leaf = matches!(*asked.kind, Kind::Leaf);
                    if leaf && asked.version == 0 {
                        unsure.push((*class, asked.object.clone_ref(py)));
                        return true;
                    }
                    let same = asked.version != 0 && asked.version == versions::of(asked.object.bind(py), at);
                    leaves &= same || !leaf;
                    same
                });
                for (class, object) in unsure {
                    let said = self
                        .classify
                        .bind(py)
                        .call1((object,))
                        .and_then(|said| Kind::said(&said));
                    if !said.is_ok_and(|kind| matches!(kind, Kind::Leaf)) {
                        self.known.remove(&class);
                        leaves = false;
                    }
                }
                self.epoch += u64::from(!leaves);
            }
            _ => {
                self.known.clear();
                self.epoch += 1;
            }
        }
    }

    /// What asking about types took since this was called last: not what a walk below the same objects takes again.
    pub fn asking(&mut self) -> Duration {
        std::mem::take(&mut self.asking)
    }

    /// Whether it shows when what was said of a type may be another thing, so that walks can be replayed.
    pub(super) fn lasts(&self) -> bool {
        self.version_at.is_some() && self.layout.is_some()
    }

    /// The version of a type that is known, which counts as met; 0 if it is not known, or has none.
    pub(super) fn meet(&mut self, class: usize) -> u32 {
        self.known.get_mut(&class).map_or(0, |asked| {
            asked.met = true;
            asked.version
        })
    }

    /// After a round of walks below all variables: what none of them met is let go.
    pub fn sweep(&mut self) {
        self.held.retain(|_, (_, met)| std::mem::take(met));
        self.scratch.shrink_to(KEPT_MAX);
        self.known
            .retain(|_, asked| std::mem::take(&mut asked.met) || matches!(*asked.kind, Kind::Leaf));
    }

    /// The digests of the chunks of memory that was read as one array's since [`Kinds::begin`].
    pub fn chunks(&self, low: usize, high: usize) -> Option<&[u8]> {
        let (chunks, _) = self.sums.get(&(low, high))?.chunks.as_ref()?;
        Some(chunks)
    }

    /// What was read of memory is no longer asked for: nothing is held on its account.
    pub fn forget(&mut self) {
        self.sums.clear();
    }

    pub(super) fn of(&mut self, py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<Arc<Kind>> {
        let key = kind as usize;
        if let Some(asked) = self.known.get_mut(&key) {
            asked.met = true;
            return Ok(asked.kind.clone());
        }
        // SAFETY: the type of a live object, under the GIL.
        let object = unsafe { Bound::from_borrowed_ptr(py, kind.cast()) };
        let began = Instant::now();
        let said = match self.classify.bind(py).call1((&object,)) {
            Err(error) if error.is_instance_of::<PyException>(py) => PyString::new(py, "opaque").into_any(),
            said => said?,
        };
        let found = Kind::said(&said)?;
        let version = match self.version_at {
            Some(at) if versions::kept(&object) => versions::of(&object, at),
            _ => 0,
        };
        let kind = Arc::new(found);
        let asked = Asked {
            kind: kind.clone(),
            object: object.unbind(),
            version,
            met: true,
        };
        self.known.insert(key, asked);
        self.asking += began.elapsed();
        Ok(kind)
    }
}
