//! What recovery asks of Rust: what changed since it was last saved, and digests of what is about to be.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use larder_cpython::arrays;
use larder_cpython::clock::{processor_ns, waits};
use larder_cpython::referents;
use larder_cpython::walk::sums::{self, CHUNK_BYTES};
use larder_cpython::walk::versions;
use larder_cpython::walk::{AHEAD, Held, Kinds, Library, Memory, RECORDS_MIN, Stop, Trace, Walk, fetch};
use larder_session::disk::Trial;
use larder_session::tracked::tracked;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySet, PyString, PyTuple, PyType};
use rustc_hash::FxHashMap;

/// The 128-bit digest of a list of contiguous buffers.
#[pyfunction]
fn digest<'py>(py: Python<'py>, parts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_buffers(parts)?))
}

/// The 128-bit digest of contiguous buffers one after the other, and of what is told of them in the end.
#[pyfunction]
fn digest_joined<'py>(py: Python<'py>, parts: &Bound<'py, PyAny>, told: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_joined(parts, told)?))
}

/// Where the data of a NumPy array begins.
#[pyfunction]
fn array_data(array: &Bound<'_, PyAny>) -> PyResult<usize> {
    arrays::data(array)
}

/// Where the memory of an array begins and ends, if that is its own and a pickle of it is its bytes; else `None`.
#[pyfunction]
fn array_own(array: &Bound<'_, PyAny>) -> PyResult<Option<(usize, usize)>> {
    arrays::own(array)
}

/// The 128-bit digests of consecutive chunks of one contiguous buffer, 16 bytes each.
#[pyfunction]
fn digest_chunks<'py>(py: Python<'py>, part: &Bound<'py, PyAny>, chunk_bytes: usize) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &larder_session::digest::of_chunks(part, chunk_bytes)?))
}

/// What one walk below a variable found.
#[pyclass(frozen, module = "larder._larder")]
struct Walked {
    digest: [u8; 16],
    /// Whether it holds what its digest names by address only.
    held: bool,
    /// Of a large walk whose result is held: tells whether another one would say the same.
    trace: Option<Trace>,
    found: Arc<Found>,
}

/// What was met.
struct Found {
    ids: Vec<u64>,
    /// Sorted addresses of what was gone into; empty if the result is not held.
    inner: Vec<u64>,
    binding: Option<Vec<u64>>,
    spans: Vec<(usize, usize)>,
    framed: Vec<bool>,
    simple: bool,
    weak: Vec<Py<PyAny>>,
    _pins: Vec<Py<PyAny>>,
    _helds: Vec<Arc<Held>>,
}

impl Deref for Walked {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

impl Walked {
    /// What a walk would find that began at `at`, which this one went into, as far as that matters: all of what this one did.
    fn within(&self, at: usize) -> Walked {
        let words = [&self.digest[..], &at.to_le_bytes()].concat();
        Walked {
            digest: sums::whole(&words).to_le_bytes(),
            held: self.held,
            trace: None,
            found: self.found.clone(),
        }
    }

    /// Addresses that others who met them are to be saved together with.
    fn binding(&self) -> &[u64] {
        self.binding.as_deref().unwrap_or(&self.ids)
    }
}

#[pymethods]
impl Walked {
    /// Equal digests: the same objects in the same places with the same contents.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.digest)
    }

    /// `(low, high)` of the arrays met.
    #[getter]
    fn spans(&self) -> Vec<(usize, usize)> {
        self.spans.clone()
    }

    /// Which of `spans` only frames see: what they share is not shared by what is written to either.
    #[getter]
    fn framed(&self) -> Vec<bool> {
        self.framed.clone()
    }

    /// Addresses of what can be shared, if that is all a pickle can share; else `None`.
    #[getter]
    fn ids(&self) -> Option<Vec<u64>> {
        self.simple.then(|| self.ids.clone())
    }

    /// Whether an earlier walk found the same, and all it relies on is still there.
    fn same(&self, py: Python<'_>, before: &Walked) -> PyResult<bool> {
        Ok(self.digest == before.digest && before.alive(py)?)
    }

    /// Whether everything the digest relies on without holding it is still there.
    fn alive(&self, py: Python<'_>) -> PyResult<bool> {
        for (at, weak) in self.weak.iter().enumerate() {
            if let Some(ahead) = self.weak.get(at + AHEAD) {
                fetch(ahead.as_ptr() as usize);
            }
            if weak.bind(py).call0()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The tracker of pages as the walk sees it.
struct Pages;

impl Memory for Pages {
    fn version(&self, low: usize, high: usize) -> Option<[u64; 2]> {
        let place = tracked().ok()?.place(low, high)?;
        Some([place.serial, place.version])
    }
}

/// Makes NumPy arrays of `min_bytes` and more, from now on, where their pages can be watched. Raises `RuntimeError` with the
/// reason where they cannot.
#[pyfunction]
fn pages_on(py: Python<'_>, min_bytes: usize) -> PyResult<()> {
    tracked().map_err(PyRuntimeError::new_err)?;
    crate::tier::own_at_least(py, min_bytes)
}

/// A cell has ended: what was written to watched memory is looked up, and new blocks are watched from here on.
#[pyfunction]
fn pages_begin(py: Python<'_>) {
    if let Ok(pages) = tracked() {
        py.detach(|| pages.begin());
    }
}

/// `(serial, version)` of the watched block that holds all of `low..high`, or `None`.
#[pyfunction]
fn pages_place(low: usize, high: usize) -> Option<(u64, u64)> {
    let place = tracked().ok()?.place(low, high)?;
    Some((place.serial, place.version))
}

/// Ranges of `low..high` written after `version`; with `now`, up to this moment. `None` if that is not known.
#[pyfunction]
fn pages_written(serial: u64, low: usize, high: usize, version: u64, now: bool) -> Option<Vec<(usize, usize)>> {
    tracked().ok()?.written(serial, low, high, version, now)
}

/// `(blocks, bytes)` watched, or why none can be.
#[pyfunction]
fn pages_size() -> PyResult<(usize, usize)> {
    Ok(tracked().map_err(PyRuntimeError::new_err)?.size())
}

/// Walks variables; `classify(type)` says how objects of a type are walked (see `larder.watch`).
#[pyclass(module = "larder._larder")]
struct Walker {
    kinds: Kinds,
    around: Around,
    /// Whether types have to be asked about again although they did not change.
    anew: Option<Py<PyAny>>,
    /// By the address of what a walk began with: what it found the last time, and whether that was since [`Walker::sweep`].
    last: FxHashMap<usize, (Py<Walked>, bool)>,
    replays: usize,
    /// Where `kinds.library` is from.
    library: Option<Py<PyAny>>,
}

/// What is below an object that a larger one holds need not be walked after the larger one was.
///
/// The digest of a walk says all of what it met, and so fixes what a walk below any one object of that finds. Here are pairs of
/// walks whose results are held; when the first comes out the same again, the second does.
#[derive(Default)]
struct Around {
    /// By the address of what the inner walk began with.
    inner: FxHashMap<usize, Vec<Pair>>,
    /// Digests of this round.
    now: HashSet<Digest>,
    /// The large walks of this round that are held, where they began, and whether they found what the last one did not.
    large: Vec<(Py<Walked>, usize, bool)>,
}

struct Pair {
    outer: Py<Walked>,
    inner: Py<Walked>,
    /// Whether it was of use since [`Around::sweep`].
    used: bool,
}

type Digest = [u8; 16];
/// Walks that go into fewer objects are not worth it.
const OUTER_IDS_MIN: usize = 256;

impl Around {
    fn begin(&mut self) {
        self.now.clear();
        self.large.clear();
    }

    /// What walks below the object at `at` found, if a walk of this round says so.
    fn find(&mut self, py: Python<'_>, at: usize) -> Option<Py<Walked>> {
        let pairs = self.inner.get_mut(&at)?;
        let found = pairs
            .iter_mut()
            .find(|pair| self.now.contains(&pair.outer.get().digest))?;
        if !found.outer.get().alive(py).ok()? {
            return None;
        }
        found.used = true;
        let inner = found.inner.clone_ref(py);
        self.now.insert(inner.get().digest);
        Some(inner)
    }

    /// What a large walk of this round tells of what is below the object at `at`, which it went into. If they share that object,
    /// they are one group: if one changed, both are serialised. So it is told where that walk found something else than the last one,
    /// and else where the same was told the `last` time.
    fn within(&self, py: Python<'_>, at: usize, last: Option<&Walked>) -> PyResult<Option<Py<Walked>>> {
        for (outer, from, changed) in &self.large {
            let (outer, id) = (outer.get(), at as u64);
            let goes_into = outer.inner.binary_search(&id).is_ok() && outer.binding().binary_search(&id).is_ok();
            if *from != at && !outer.simple && goes_into {
                let found = outer.within(at);
                if *changed || last.is_none_or(|last| last.digest == found.digest) {
                    return Ok(Some(Py::new(py, found)?));
                }
            }
        }
        Ok(None)
    }

    fn add(&mut self, py: Python<'_>, at: usize, found: &Py<Walked>, changed: bool) {
        let walked = found.get();
        self.now.insert(walked.digest);
        let goes_into = |outer: &Walked, at: usize| outer.inner.binary_search(&(at as u64)).is_ok();
        let outer = self.large.iter().find(|(outer, ..)| goes_into(outer.get(), at));
        if let (Some((outer, from, _)), false) = (outer, walked.inner.is_empty()) {
            let pair = |outer: &Py<Walked>, inner: &Py<Walked>| Pair {
                outer: outer.clone_ref(py),
                inner: inner.clone_ref(py),
                used: true,
            };
            if goes_into(walked, *from) {
                // They hold each other: whichever comes first will do.
                self.inner.entry(*from).or_default().push(pair(found, outer));
            }
            self.inner.entry(at).or_default().push(pair(outer, found));
        } else if walked.inner.len() >= OUTER_IDS_MIN {
            self.large.push((found.clone_ref(py), at, changed));
        }
    }

    fn sweep(&mut self) {
        self.inner.retain(|_, pairs| {
            pairs.retain_mut(|pair| std::mem::take(&mut pair.used));
            !pairs.is_empty()
        });
        self.begin();
    }
}

fn of_library(library: &Bound<'_, PyAny>) -> PyResult<Library> {
    let addresses = |name: &str| -> PyResult<Vec<usize>> {
        let mut all = Vec::new();
        for address in library.getattr(name)?.try_iter()? {
            all.push(address?.extract()?);
        }
        Ok(all)
    };
    let mut dicts = Vec::new();
    for owner in addresses("dicts")? {
        dicts.push((
            library.getattr("dicts")?.get_item(owner)?.get_item(0)?.extract()?,
            owner,
        ));
    }
    let mut own: FxHashMap<usize, Option<usize>> = dicts.iter().map(|(dict, owner)| (*dict, Some(*owner))).collect();
    own.extend(addresses("names")?.into_iter().map(|at| (at, None)));
    own.extend(addresses("lists")?.into_iter().map(|at| (at, None)));
    Ok(Library { own, dicts })
}

/// What is below variables, the seconds it took to look, which of them are held, and what is known of those that are what they were.
type Looked<'py> = (
    Bound<'py, PyDict>,
    Bound<'py, PyDict>,
    Bound<'py, PySet>,
    Bound<'py, PyDict>,
);

#[pymethods]
impl Walker {
    #[new]
    #[pyo3(signature = (classify, anew=None, replayed_min=RECORDS_MIN))]
    fn new(py: Python<'_>, classify: Py<PyAny>, anew: Option<Py<PyAny>>, replayed_min: usize) -> Walker {
        Walker {
            kinds: Kinds::new(py, classify, replayed_min),
            around: Around::default(),
            anew,
            last: FxHashMap::default(),
            replays: 0,
            library: None,
        }
    }

    /// How many walks were told to be as before by comparing what they met, without walking: those below `replayed_min` objects
    /// and more.
    #[getter]
    fn replays(&self) -> usize {
        self.replays
    }

    /// Before a round of walks. `anew` is asked whether what `classify` said may have become another thing for types that
    /// did not change; without it all are asked about in each round. `library` (`larder.plotted.Own`) has the addresses of what
    /// figures hold of their library's own; the same object says the same.
    #[pyo3(signature = (library=None))]
    fn begin(&mut self, py: Python<'_>, library: Option<Py<PyAny>>) -> PyResult<()> {
        if let Some(library) = library
            && self.library.as_ref().is_none_or(|last| !last.is(&library))
        {
            self.kinds.library = of_library(library.bind(py))?;
            self.library = Some(library);
        }
        let anew = match &self.anew {
            Some(anew) => anew.call0(py)?.is_truthy(py)?,
            None => true,
        };
        self.kinds.begin(py, anew);
        self.around.begin();
        Ok(())
    }

    /// After a round of walks below all variables.
    fn sweep(&mut self) {
        self.kinds.sweep();
        self.around.sweep();
        self.last.retain(|_, (_, met)| std::mem::take(met));
    }

    /// The digests of the chunks of `low..high`, if that was read as an array's memory since `begin`.
    fn chunks<'py>(&self, py: Python<'py>, low: usize, high: usize, chunk_bytes: usize) -> Option<Bound<'py, PyBytes>> {
        let found = self.kinds.chunks(low, high).filter(|_| chunk_bytes == CHUNK_BYTES)?;
        Some(PyBytes::new(py, found))
    }

    /// `chunks` is not asked until `begin`: what it needs is let go.
    fn forget(&mut self) {
        self.kinds.forget();
    }

    /// What is below `value`, or the name of a type nothing can be said of. With `hold` the result may be compared with
    /// those of later walks: it keeps what its digest names by address only.
    fn walk(&mut self, py: Python<'_>, value: &Bound<'_, PyAny>, hold: bool) -> PyResult<Py<PyAny>> {
        let at = value.as_ptr() as usize;
        if let Some(found) = self.around.find(py, at) {
            return Ok(found.into_any());
        }
        let last = self.last.get(&at).map(|(last, _)| last.clone_ref(py));
        if let Some(found) = self.around.within(py, at, last.as_ref().map(|last| last.get()))? {
            self.around.add(py, at, &found, true);
            self.last.insert(at, (found.clone_ref(py), true));
            return Ok(found.into_any());
        }
        let mut hold = hold || last.is_none();
        if let Some(last) = &last
            && (last.get().held || !hold)
            && let Some(trace) = &last.get().trace
        {
            if trace.fits(&mut self.kinds) {
                match Walk::new(py, &mut self.kinds, &Pages, false, 0).same(value, trace) {
                    Ok(true) if last.get().alive(py)? => {
                        self.replays += 1;
                        self.around.add(py, at, last, false);
                        self.last.insert(at, (last.clone_ref(py), true));
                        return Ok(last.clone_ref(py).into_any());
                    }
                    Err(Stop::Raised(error)) => return Err(error),
                    _ => hold = true, // it changed: the next one compares with this
                }
            } else {
                hold = true; // for a new trace
            }
        }
        let many = last.as_ref().map_or(0, |last| last.get().inner.len());
        let mut walk = Walk::new(py, &mut self.kinds, &Pages, hold, many);
        match walk.enter(value) {
            Ok(()) => {}
            Err(Stop::Opaque(name)) => return Ok(PyString::new(py, &name).into_any().unbind()),
            Err(Stop::Raised(error)) => return Err(error),
            Err(Stop::Changed) => return Err(PyRuntimeError::new_err("what is not compared cannot differ")),
        }
        let digest = walk.sum_up();
        let changed = last.as_ref().is_none_or(|last| last.get().digest != digest);
        if let Some(last) = last
            && last.get().digest == digest
            && (last.get().held || !hold)
            && last.get().alive(py)?
            && (last.get().trace.is_none() || !hold)
        {
            // It holds what it named, all of which is where it was. (A trace that is there was of no use: there is a new one.)
            self.around.add(py, at, &last, false);
            self.last.insert(at, (last.clone_ref(py), true));
            return Ok(last.into_any());
        }
        let met = walk.end();
        let weak = match met.weak.as_slice() {
            [] => Vec::new(),
            some => {
                let reference = py.import("weakref")?.getattr("ref")?;
                let made = some.iter().map(|object| Ok(reference.call1((object,))?.unbind()));
                made.collect::<PyResult<Vec<_>>>()?
            }
        };
        let found = Found {
            ids: met.ids,
            inner: met.inner,
            binding: met.binding,
            spans: met.spans,
            framed: met.framed,
            simple: met.simple,
            weak,
            _pins: met.pins,
            _helds: met.helds,
        };
        let found = Walked {
            digest: met.digest,
            held: hold,
            trace: met.trace,
            found: Arc::new(found),
        };
        let found = Py::new(py, found)?;
        self.around.add(py, at, &found, changed);
        self.last.insert(at, (found.clone_ref(py), true));
        Ok(found.into_any())
    }

    /// Walks below all these variables. Held are those that are not `known`, and those whose walk took less than `brief`
    /// seconds the last time (`walks`); those are left out that took longer (`slow`) than what is `left` of the time, from which
    /// walks of more than `long` seconds are taken. A `known` one is a tuple that begins with what was found then and the names of
    /// its group; it is known no more if the group, its names joined by NUL, is not in `keys`.
    #[allow(clippy::too_many_arguments)]
    fn look<'py>(
        &mut self,
        py: Python<'py>,
        values: &Bound<'py, PyDict>,
        known: &Bound<'py, PyDict>,
        walks: &Bound<'py, PyDict>,
        slow: &Bound<'py, PyDict>,
        keys: &Bound<'py, PyAny>,
        mut left: f64,
        brief: f64,
        long: f64,
    ) -> PyResult<Looked<'py>> {
        let seconds = |of: &Bound<'py, PyDict>, name: &Bound<'py, PyAny>| -> PyResult<f64> {
            of.get_item(name)?.map_or(Ok(0.0), |found| found.extract())
        };
        let (walked, took, held) = (PyDict::new(py), PyDict::new(py), PySet::empty(py)?);
        let same = PyDict::new(py);
        let some_slow = !slow.is_empty();
        let there = |names: &Bound<'py, PyAny>| -> PyResult<bool> {
            let names = names.cast::<PyTuple>()?;
            match names.len() {
                0 => Ok(true),
                1 => keys.contains(names.get_item(0)?),
                _ => keys.contains(PyString::new(py, "\0").call_method1("join", (names,))?),
            }
        };
        let mut watch = Stopwatch::new();
        self.kinds.asking();
        for (name, value) in values.copy()? {
            if some_slow && seconds(slow, &name)? > left {
                walked.set_item(&name, "takes long to look at")?;
                took.set_item(&name, 0.0)?;
                continue;
            }
            let before = known.get_item(&name)?;
            let hold = before.is_none() || seconds(walks, &name)? < brief;
            let found = self.walk(py, &value, hold)?.into_bound(py);
            if let Some(before) = before
                && let Ok(found) = found.cast_exact::<Walked>()
                && let before = before.cast::<PyTuple>()?
                && let Ok(was) = before.get_item(0)?.cast_exact::<Walked>()
                && (found.is(was) || found.get().same(py, was.get())?) // one that a walk gives again was just seen to be alive
                && there(&before.get_item(1)?)?
            {
                same.set_item(&name, before)?;
            }
            let hold = hold || found.cast_exact::<Walked>().is_ok_and(|found| found.get().held);
            walked.set_item(&name, found)?;
            if hold {
                held.add(&name)?;
            }
            let lap = watch.lap();
            if lap > long {
                left -= lap;
            }
            took.set_item(&name, (lap - self.kinds.asking().as_secs_f64()).max(0.0))?;
        }
        Ok((walked, took, held, same))
    }
}

/// Whether two sorted lists have something in common.
fn meet(some: &[u64], others: &[u64]) -> bool {
    let (few, many) = if some.len() < others.len() {
        (some, others)
    } else {
        (others, some)
    };
    if few.len() * 16 < many.len() {
        return few.iter().any(|id| many.binary_search(id).is_ok());
    }
    let mut rest = many;
    few.iter().any(|id| {
        let skipped = rest.iter().take_while(|other| *other < id).count();
        rest = &rest[skipped..];
        rest.first() == Some(id)
    })
}

/// Which of `others` met one of the objects at `ids`, or cover some of the memory in `spans`: `(low, high, framed)`, of which
/// framed ones are nothing to others that are.
#[pyfunction]
fn meeting(mut ids: Vec<u64>, spans: Vec<(usize, usize, bool)>, others: Vec<PyRef<'_, Walked>>) -> Vec<usize> {
    ids.sort_unstable();
    // What ends later may hide behind what ends earlier: the highest end so far goes with each start.
    let cover = |framed: bool| -> Vec<(usize, usize)> {
        let counted = spans.iter().filter(|span| !framed || !span.2);
        let mut cover: Vec<(usize, usize)> = counted.map(|(low, high, _)| (*low, *high)).collect();
        cover.sort_unstable();
        let mut top = 0;
        for (_, high) in &mut cover {
            top = top.max(*high);
            *high = top;
        }
        cover
    };
    let (every, alone) = (cover(false), cover(true));
    let covered = |(low, high): (usize, usize), framed: bool| {
        let cover = if framed { &alone } else { &every };
        let at = cover.partition_point(|(start, _)| *start < high);
        at > 0 && cover[at - 1].1 > low
    };
    let meets = |other: &Walked| {
        meet(&ids, &other.ids)
            || other
                .spans
                .iter()
                .zip(&other.framed)
                .any(|(span, framed)| covered(*span, *framed))
    };
    (0..others.len()).filter(|at| meets(&others[*at])).collect()
}

/// Which of `others` met an object that one of `walks` did, or another one of these `others`.
#[pyfunction]
fn sharing(walks: Vec<PyRef<'_, Walked>>, others: Vec<PyRef<'_, Walked>>) -> Vec<usize> {
    let mut todo: Vec<&Walked> = walks.iter().map(|walk| &**walk).collect();
    let mut left: Vec<usize> = (0..others.len()).collect();
    while let Some(walk) = todo.pop() {
        left.retain(|at| {
            let met = meet(walk.binding(), others[*at].binding());
            if met {
                todo.push(&others[*at]);
            }
            !met
        });
    }
    (0..others.len()).filter(|at| left.binary_search(at).is_err()).collect()
}

/// A number for each walk: the same one for those that met the same objects, directly or by way of others.
#[pyfunction]
fn joined(walks: Vec<PyRef<'_, Walked>>) -> Vec<usize> {
    fn root(parent: &mut [usize], mut at: usize) -> usize {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    }
    let mut parent: Vec<usize> = (0..walks.len()).collect();
    let mut owner: FxHashMap<u64, usize> = FxHashMap::default();
    if walks.len() > 1 {
        for (at, walk) in walks.iter().enumerate() {
            for id in walk.binding() {
                let other = *owner.entry(*id).or_insert(at);
                let (from, to) = (root(&mut parent, at), root(&mut parent, other));
                parent[from] = to;
            }
        }
    }
    (0..walks.len()).map(|at| root(&mut parent, at)).collect()
}

/// What pieces of work take this thread: the processor's time, because how busy the machine was says nothing about the next
/// time; or, if the thread slept meanwhile (for a lock, a disk, a while), all of the time.
#[pyclass(module = "larder._larder")]
struct Stopwatch {
    wall: Instant,
    processor: u64,
    waits: i64,
}

#[pymethods]
impl Stopwatch {
    #[new]
    fn new() -> Stopwatch {
        Stopwatch {
            wall: Instant::now(),
            processor: processor_ns(),
            waits: waits(),
        }
    }

    /// Seconds since the last time, or since it was made.
    fn lap(&mut self) -> f64 {
        let then = std::mem::replace(self, Stopwatch::new());
        if self.waits > then.waits {
            return (self.wall - then.wall).as_secs_f64();
        }
        (self.processor - then.processor) as f64 * 1e-9
    }
}

/// How fast the disk under a folder takes what is written to it: tried once, on a thread of its own.
#[pyclass(frozen, module = "larder._larder")]
struct DiskTrial(Trial);

#[pymethods]
impl DiskTrial {
    #[new]
    fn new(folder: PathBuf) -> DiskTrial {
        DiskTrial(Trial::begin(folder))
    }

    /// `None` until it is known, and where it cannot be tried.
    fn bytes_per_second(&self) -> Option<f64> {
        self.0.bytes_per_second()
    }
}

/// Of objects (`own`: address -> the address of whose it is) one that something among `parts` (address -> object) refers to
/// beside the one whose it is.
#[pyfunction]
fn held_by_others(own: HashMap<usize, usize>, parts: &Bound<'_, PyDict>) -> PyResult<Option<usize>> {
    referents::held_by_others(&own, parts)
}

/// A number that a type has until it, or a class it derives from, is changed, and no other type has; 0 if that is not known.
#[pyfunction]
fn type_version(kind: &Bound<'_, PyType>) -> u32 {
    versions::known(kind)
}

/// A copy of an object's memory behind its head, if it is of a fixed size.
#[pyfunction]
fn body<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    Ok(larder_cpython::body::body(object)?.map(|bytes| PyBytes::new(object.py(), &bytes)))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(digest, module)?)?;
    module.add_function(wrap_pyfunction!(digest_joined, module)?)?;
    module.add_function(wrap_pyfunction!(array_data, module)?)?;
    module.add_function(wrap_pyfunction!(array_own, module)?)?;
    module.add_function(wrap_pyfunction!(type_version, module)?)?;
    module.add_function(wrap_pyfunction!(digest_chunks, module)?)?;
    module.add_function(wrap_pyfunction!(meeting, module)?)?;
    module.add_function(wrap_pyfunction!(joined, module)?)?;
    module.add_function(wrap_pyfunction!(sharing, module)?)?;
    module.add_function(wrap_pyfunction!(pages_on, module)?)?;
    module.add_function(wrap_pyfunction!(pages_begin, module)?)?;
    module.add_function(wrap_pyfunction!(pages_place, module)?)?;
    module.add_function(wrap_pyfunction!(pages_written, module)?)?;
    module.add_function(wrap_pyfunction!(pages_size, module)?)?;
    module.add_function(wrap_pyfunction!(held_by_others, module)?)?;
    module.add_class::<DiskTrial>()?;
    module.add_function(wrap_pyfunction!(body, module)?)?;
    module.add_class::<Stopwatch>()?;
    module.add_class::<Walked>()?;
    module.add_class::<Walker>()
}
