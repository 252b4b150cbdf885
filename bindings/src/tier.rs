//! Placement and heat queries over address ranges.
//!
//! A `TierSurvey` lives for one table: Python enters variables, resolves the leaves it gets back (arrays, frames,
//! tensors) into ranges and further roots, then asks where everything is.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder_cpython::heat_frames::{FrameAt, FrameProbe};
use larder_cpython::heat_live::{Layout, Reached, Walk, buffer_of, memory_of};
use larder_cpython::{heat_numpy, heat_refs, heat_shield};
use larder_tier::heat::{self, Evidence, Temperature};
use larder_tier::os::Os;
use larder_tier::os::arena::{self, Backing, Block};
use larder_tier::os::linux::{self, Advice, Linux};
use larder_tier::os::sampler::{Frames, Known, Plan, Sampler, thread_id};
use larder_tier::place::{Run, Where, locate, weigh};
use larder_tier::policy::{self, Candidate, Move, Room};
use larder_tier::ranges::{self, Claim, Range};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::tier_trace::Parts;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TierSurvey>()?;
    module.add_class::<TierRecord>()?;
    module.add_function(wrap_pyfunction!(tier_machine, module)?)?;
    module.add_function(wrap_pyfunction!(tier_pages, module)?)?;
    module.add_function(wrap_pyfunction!(tier_buffer, module)?)?;
    module.add_function(wrap_pyfunction!(tier_memory, module)?)?;
    module.add_function(wrap_pyfunction!(tier_missing, module)?)?;
    module.add_function(wrap_pyfunction!(tier_advise, module)?)?;
    module.add_function(wrap_pyfunction!(tier_sync, module)?)?;
    module.add_function(wrap_pyfunction!(tier_move, module)?)?;
    module.add_function(wrap_pyfunction!(tier_drop, module)?)?;
    module.add_class::<crate::tier_trace::TierTrace>()?;
    module.add_class::<TierTracked>()?;
    module.add_class::<TierSampler>()?;
    module.add_function(wrap_pyfunction!(tier_frames, module)?)?;
    module.add_function(wrap_pyfunction!(tier_reader, module)?)?;
    module.add_function(wrap_pyfunction!(tier_fold, module)?)?;
    module.add_function(wrap_pyfunction!(tier_shrink, module)?)?;
    module.add_function(wrap_pyfunction!(tier_shield, module)?)?;
    module.add_function(wrap_pyfunction!(tier_strays, module)?)?;
    module.add_function(wrap_pyfunction!(tier_plan, module)?)?;
    module.add_function(wrap_pyfunction!(tier_own, module)?)?;
    module.add_function(wrap_pyfunction!(tier_disown, module)?)?;
    module.add_function(wrap_pyfunction!(tier_block, module)?)?;
    module.add_function(wrap_pyfunction!(tier_blocks, module)?)?;
    module.add_function(wrap_pyfunction!(keep_freed, module)?)?;
    Ok(())
}

fn name_of(place: Where) -> String {
    match place {
        Where::Node(id) => format!("node{id}"),
        Where::Cache => "cache".into(),
        Where::Disk => "disk".into(),
        Where::Swap => "swap".into(),
        Where::Untouched => "untouched".into(),
        Where::SomeNode => "node?".into(),
        Where::Unmapped => "unmapped".into(),
    }
}

#[derive(Default)]
struct Variable {
    reached: Reached,
    /// Payloads found through leaves: buffers of arrays and tables.
    buffers: Vec<Range>,
}

/// The live trace of one table: what each variable reaches, then where it is.
#[pyclass]
pub struct TierSurvey {
    walk: Option<Walk>,
    refused: Option<String>,
    variables: Vec<Variable>,
    claims: Vec<Claim>,
    runs: Vec<Run>,
}

impl TierSurvey {
    /// A survey of what has been walked already.
    pub(crate) fn of(parts: Vec<(Reached, Vec<Range>)>, refused: Option<String>) -> TierSurvey {
        let variables = parts
            .into_iter()
            .map(|(reached, buffers)| Variable { reached, buffers })
            .collect();
        TierSurvey {
            walk: None,
            refused,
            variables,
            claims: Vec::new(),
            runs: Vec::new(),
        }
    }
}

#[pymethods]
impl TierSurvey {
    #[new]
    fn new(
        py: Python<'_>,
        skip: Vec<usize>,
        leaf_types: Vec<Py<PyAny>>,
        own_types: Vec<Py<PyAny>>,
        skip_types: Vec<Py<PyAny>>,
        budget: u64,
    ) -> PyResult<TierSurvey> {
        let (walk, refused) = match Layout::verify(py)? {
            Ok(proof) => (
                Some(Walk::new(proof, &skip, leaf_types, own_types, skip_types, budget)),
                None,
            ),
            Err(reason) => (None, Some(reason)),
        };
        Ok(TierSurvey {
            walk,
            refused,
            variables: Vec::new(),
            claims: Vec::new(),
            runs: Vec::new(),
        })
    }

    /// Why objects are not walked on this interpreter; `None` when they are.
    #[getter]
    fn refused(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Enters the next variable and returns its number.
    fn variable(&mut self) -> usize {
        self.variables.push(Variable::default());
        self.variables.len() - 1
    }

    /// Walks from `root` for variable `owner`; returns the leaves met, for Python to resolve.
    fn enter(&mut self, owner: usize, root: &Bound<'_, PyAny>) -> PyResult<Vec<Py<PyAny>>> {
        let Some(variable) = self.variables.get_mut(owner) else {
            return Err(PyValueError::new_err(format!("no variable number {owner}")));
        };
        if let Some(walk) = self.walk.as_mut() {
            walk.enter(root, u32::try_from(owner)?, None, &mut variable.reached)?;
        }
        let leaves = std::mem::take(&mut variable.reached.leaves);
        Ok(leaves.into_iter().map(|(leaf, _)| leaf).collect())
    }

    /// Adds payload bytes to variable `owner`.
    fn buffer(&mut self, owner: usize, start: u64, bytes: u64) -> PyResult<()> {
        let Some(variable) = self.variables.get_mut(owner) else {
            return Err(PyValueError::new_err(format!("no variable number {owner}")));
        };
        if bytes > 0 {
            variable.buffers.push((start, start.saturating_add(bytes)));
        }
        Ok(())
    }

    /// Gives variable `owner` what it reached when `record` was made, without looking at it.
    fn lend(&mut self, owner: usize, record: &TierRecord) -> PyResult<()> {
        let Some(variable) = self.variables.get_mut(owner) else {
            return Err(PyValueError::new_err(format!("no variable number {owner}")));
        };
        variable.reached.ranges.extend_from_slice(&record.ranges);
        variable.buffers.extend_from_slice(&record.buffers);
        variable.reached.objects += record.objects;
        Ok(())
    }

    /// What `owner` reaches and counts as its own, to be lent to later surveys.
    fn record(&self, owner: usize) -> PyResult<TierRecord> {
        let (Some(variable), Some(claim)) = (self.variables.get(owner), self.claims.get(owner)) else {
            return Err(PyRuntimeError::new_err("locate() comes before record()"));
        };
        Ok(TierRecord {
            ranges: claim.own.clone(),
            buffers: variable.buffers.clone(),
            objects: variable.reached.objects,
        })
    }

    /// Settles sharing and asks the kernel where everything is; returns how it asked.
    fn locate<'py>(&mut self, py: Python<'py>, exact: bool) -> PyResult<Bound<'py, PyDict>> {
        self.walk = None; // what it has seen is as large as the objects are many
        let found = py.detach(|| -> std::io::Result<_> {
            let mut owners: Vec<Vec<Range>> = Vec::with_capacity(self.variables.len());
            for variable in &mut self.variables {
                ranges::normalise(&mut variable.buffers);
                let mut all = std::mem::take(&mut variable.reached.ranges);
                all.extend_from_slice(&variable.buffers);
                ranges::normalise(&mut all);
                owners.push(all);
            }
            self.claims = ranges::claim(&owners);
            let mut union: Vec<Range> = owners.into_iter().flatten().collect();
            ranges::normalise(&mut union);
            let many = union.len() > 10_000;
            let found = locate(&Linux::open()?, &union, exact);
            drop(union);
            if many {
                linux::trim();
            }
            found
        });
        let found = found.map_err(|e| PyOSError::new_err(e.to_string()))?;
        self.runs = found.runs;
        let how = PyDict::new(py);
        how.set_item("methods", found.methods.iter().map(|m| m.name()).collect::<Vec<_>>())?;
        how.set_item("mincore", found.mincore)?;
        how.set_item("mincore_refused", found.mincore_refused)?;
        how.set_item("sampled", found.sampled)?;
        Ok(how)
    }

    /// Bytes of variable `owner` per place, and what else its row needs.
    fn row<'py>(&self, py: Python<'py>, owner: usize) -> PyResult<Bound<'py, PyDict>> {
        let (Some(variable), Some(claim)) = (self.variables.get(owner), self.claims.get(owner)) else {
            return Err(PyRuntimeError::new_err("locate() comes before row()"));
        };
        let row = PyDict::new(py);
        for (place, bytes) in weigh(&claim.own, &self.runs) {
            row.set_item(name_of(place), bytes)?;
        }
        let info = PyDict::new(py);
        let bytes = ranges::total(&claim.own);
        let page_bytes = ranges::total(&ranges::pages(&claim.own, 4096, 0));
        info.set_item("places", row)?;
        info.set_item("bytes", bytes)?;
        info.set_item("buffer_bytes", ranges::total(&variable.buffers))?;
        info.set_item("page_bytes", page_bytes)?;
        // Allocators hand out multiples of 16 bytes: what rounds an object up to that is nobody else's.
        info.set_item("block_bytes", ranges::total(&ranges::pages(&claim.own, 16, 0)))?;
        info.set_item("objects", variable.reached.objects)?;
        info.set_item("shared", claim.shared.clone())?;
        info.set_item("meets", variable.reached.meets.clone())?;
        info.set_item("cut", variable.reached.cut)?;
        Ok(info)
    }

    /// `(start, end)` of the bytes counted for `owner`, sorted.
    fn ranges(&self, owner: usize) -> Vec<Range> {
        self.claims
            .get(owner)
            .map(|claim| claim.own.clone())
            .unwrap_or_default()
    }

    /// `(start, end)` of the pages that move when `owner` moves, sorted.
    fn moving(&self, py: Python<'_>, owner: usize) -> Vec<Range> {
        let block_end = |start: u64| {
            let block = arena::existing()?.block_of(start as usize)?;
            Some((block.start + block.bytes) as u64)
        };
        let own = self.claims.get(owner).map_or(&[][..], |claim| &claim.own);
        py.detach(|| ranges::moving_pages(own, 4096, block_end))
    }

    /// `(start, end)` of `owner`'s buffers, sorted; shared ones too.
    fn buffers(&self, owner: usize) -> Vec<Range> {
        self.variables
            .get(owner)
            .map(|variable| variable.buffers.clone())
            .unwrap_or_default()
    }
}

/// What a variable reached when it was walked: kept while walking it again would bring its pages back.
#[pyclass(frozen)]
pub struct TierRecord {
    ranges: Vec<Range>,
    buffers: Vec<Range>,
    objects: u64,
}

#[pymethods]
impl TierRecord {
    /// Bytes per place now; nothing is touched. Every page is asked for its node where there are several.
    fn places<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ask = || -> std::io::Result<_> {
            let os = Linux::open()?;
            locate(&os, &self.ranges, os.nodes()?.len() > 1)
        };
        let found = py.detach(ask).map_err(|e| PyOSError::new_err(e.to_string()))?;
        let out = PyDict::new(py);
        for (place, bytes) in weigh(&self.ranges, &found.runs) {
            out.set_item(name_of(place), bytes)?;
        }
        Ok(out)
    }
}

/// Nodes with memory and swap of this machine.
#[pyfunction]
fn tier_machine(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let fail = |e: std::io::Error| PyOSError::new_err(e.to_string());
    let os = Linux::open().map_err(fail)?;
    let nodes: Vec<(u32, bool, u64)> = os
        .nodes()
        .map_err(fail)?
        .into_iter()
        .map(|node| (node.id, node.has_cpu, node.bytes))
        .collect();
    let (total, free) = os.swap().map_err(fail)?;
    let out = PyDict::new(py);
    out.set_item("nodes", nodes)?;
    out.set_item("swap_total", total)?;
    out.set_item("swap_free", free)?;
    out.set_item("page_bytes", os.page_bytes())?;
    Ok(out)
}

/// `(start, end, place)` for the pages under `start..start + bytes`, every node asked; `plain` avoids PAGEMAP_SCAN.
#[pyfunction]
#[pyo3(signature = (start, bytes, plain=false))]
fn tier_pages(py: Python<'_>, start: u64, bytes: u64, plain: bool) -> PyResult<Vec<(u64, u64, String)>> {
    let found = py.detach(|| {
        let mut os = Linux::open()?;
        os.plain_pagemap = plain;
        locate(&os, &[(start, start + bytes)], true)
    });
    let found = found.map_err(|e| PyOSError::new_err(e.to_string()))?;
    Ok(found
        .runs
        .into_iter()
        .map(|run| (run.0, run.1, name_of(run.2)))
        .collect())
}

/// Address and bytes behind a contiguous buffer, else `None`.
#[pyfunction]
fn tier_buffer(object: &Bound<'_, PyAny>) -> Option<(usize, usize)> {
    buffer_of(object)
}

/// As `tier_buffer`, with what a byte array has to grow into.
#[pyfunction]
fn tier_memory(object: &Bound<'_, PyAny>) -> PyResult<Option<(usize, usize)>> {
    Ok(memory_of(Layout::verify(object.py())?.ok(), object))
}

/// What objects keep that is not counted on this interpreter, in words.
#[pyfunction]
fn tier_missing(py: Python<'_>) -> PyResult<Vec<&'static str>> {
    Ok(Layout::verify(py)?.map(|layout| layout.missing()).unwrap_or_default())
}

/// What the kernel answered, as `OSError` whatever it was: of a range that is unmapped it says that there is no memory.
fn refused(error: std::io::Error) -> PyErr {
    let code = error.raw_os_error().unwrap_or(0);
    PyOSError::new_err((code, std::io::Error::from_raw_os_error(code).to_string()))
}

fn page_aligned(start: u64, end: u64) -> PyResult<()> {
    if !start.is_multiple_of(4096) || !end.is_multiple_of(4096) || end <= start {
        return Err(PyValueError::new_err(format!(
            "{start:#x}..{end:#x} is not a range of whole pages"
        )));
    }
    Ok(())
}

/// One of `pageout`, `populate`, `populate-write`, `split`, `unsplit` for whole pages; contents never change.
#[pyfunction]
fn tier_advise(py: Python<'_>, start: u64, end: u64, advice: &str) -> PyResult<()> {
    page_aligned(start, end)?;
    let advice = match advice {
        "pageout" => Advice::PageOut,
        "populate" => Advice::PopulateRead,
        "populate-write" => Advice::PopulateWrite,
        "split" => Advice::Split,
        "unsplit" => Advice::Unsplit,
        other => return Err(PyValueError::new_err(format!("no advice `{other}`"))),
    };
    py.detach(|| linux::advise(start, end, advice)).map_err(refused)
}

/// Writes a shared file mapping's dirty pages to its file and waits.
#[pyfunction]
fn tier_sync(py: Python<'_>, start: u64, end: u64) -> PyResult<()> {
    page_aligned(start, end)?;
    py.detach(
        || match arena::existing().map(|arena| arena.write_back(start as usize, end as usize)) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                Err(error)
            }
            // Not in the file, or a sandbox without sync_file_range: msync waits for more than is needed, and does it too.
            _ => linux::sync(start, end),
        },
    )
    .map_err(refused)
}

/// Lets the kernel forget clean page cache behind file mappings in the range.
#[pyfunction]
fn tier_drop(py: Python<'_>, start: u64, end: u64) -> PyResult<()> {
    page_aligned(start, end)?;
    py.detach(|| linux::drop_cache(start, end)).map_err(refused)
}

/// Moves whole pages to a node; `(pages there afterwards, first refusal as errno or None)`. With `stay` the range prefers
/// that node from now on, so that NUMA balancing does not bring it back; without, it prefers none.
#[pyfunction]
fn tier_move(py: Python<'_>, start: u64, end: u64, node: u32, stay: bool) -> PyResult<(usize, Option<i32>)> {
    page_aligned(start, end)?;
    linux::prefer_node(start, end, stay.then_some(node)).map_err(refused)?;
    let pages: Vec<u64> = (start..end).step_by(4096).collect();
    py.detach(|| linux::move_to_node(&pages, node)).map_err(refused)
}

const SOURCE: heat_numpy::Source = heat_numpy::Source {
    alloc: |bytes| match arena::existing().and_then(|arena| arena.alloc(bytes)) {
        Some(block) => block.start as *mut u8,
        None => std::ptr::null_mut(),
    },
    alloc_dirty: |bytes| match arena::existing().and_then(|arena| arena.alloc_dirty(bytes)) {
        Some(block) => block.start as *mut u8,
        None => std::ptr::null_mut(),
    },
    free: |start| {
        if let Some(arena) = arena::existing() {
            arena.free(start as usize);
        }
    },
    owns: |address| arena::existing().is_some_and(|arena| arena.contains(address as usize)),
    size: |start| {
        arena::existing()
            .and_then(|a| a.block_of(start as usize))
            .map_or(0, |block| block.bytes)
    },
};

/// Makes NumPy arrays of `min_bytes` and more from the arena, in a tier file in `directory` when one is given.
#[pyfunction]
#[pyo3(signature = (min_bytes, directory=None))]
fn tier_own(py: Python<'_>, min_bytes: usize, directory: Option<std::path::PathBuf>) -> PyResult<()> {
    let arena = arena::arena().map_err(PyRuntimeError::new_err)?;
    arena.set_file(directory.as_deref())?;
    heat_numpy::install(py, SOURCE)?.map_err(PyRuntimeError::new_err)?;
    heat_numpy::set_min_bytes(min_bytes);
    Ok(())
}

/// What the session asked for, which stays when the tier is switched off.
static AT_LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Makes NumPy arrays of `min_bytes` and more from the arena, whatever the tier does.
pub(crate) fn own_at_least(py: Python<'_>, min_bytes: usize) -> PyResult<()> {
    arena::arena().map_err(PyRuntimeError::new_err)?;
    heat_numpy::install(py, SOURCE)?.map_err(PyRuntimeError::new_err)?;
    AT_LEAST.store(min_bytes, Ordering::Relaxed);
    heat_numpy::lower_min_bytes(min_bytes);
    Ok(())
}

/// New arrays come from NumPy's own allocator again (very large ones of a saved notebook from memory in the arena); those in
/// the arena stay where they are.
#[pyfunction]
fn tier_disown() -> PyResult<()> {
    heat_numpy::set_min_bytes(AT_LEAST.load(Ordering::Relaxed));
    match arena::existing() {
        Some(arena) => Ok(arena.set_file(None)?),
        None => Ok(()),
    }
}

fn block_tuple(block: Block) -> (usize, usize, &'static str) {
    let backing = match block.backing {
        Backing::Anonymous => "anonymous",
        Backing::TierFile => "tier file",
        Backing::Inherited => "inherited",
    };
    (block.start, block.bytes, backing)
}

/// `(start, bytes, backing)` of the arena block that holds `address`, else `None`.
#[pyfunction]
fn tier_block(address: usize) -> Option<(usize, usize, &'static str)> {
    arena::existing()
        .and_then(|arena| arena.block_of(address))
        .map(block_tuple)
}

/// All live blocks of the arena.
#[pyfunction]
fn tier_blocks() -> Vec<(usize, usize, &'static str)> {
    arena::existing()
        .map(|arena| arena.blocks().into_iter().map(block_tuple).collect())
        .unwrap_or_default()
}

/// Addresses of single objects, kept ready for comparing with frames.
#[pyclass(frozen)]
pub struct TierTracked {
    pub(crate) table: Arc<dyn Known>,
}

#[pymethods]
impl TierTracked {
    #[new]
    fn new(addresses: Vec<u64>) -> TierTracked {
        TierTracked {
            table: Arc::new(Parts::of(&addresses)),
        }
    }

    fn __len__(&self) -> usize {
        self.table.count()
    }
}

struct Door(FrameProbe);

impl Frames for Door {
    fn look(&mut self, fresh: &mut Vec<usize>) {
        self.0.look(fresh);
    }
    fn refresh(&mut self) {
        self.0.refresh();
    }
    fn forget(&mut self) {
        self.0.forget();
    }
}

/// Why the frames of this interpreter are not read; `None` when they are.
#[pyfunction]
fn tier_frames(py: Python<'_>) -> PyResult<Option<String>> {
    Ok(frames_at(py)?.err())
}

fn frames_at(py: Python<'_>) -> PyResult<Result<FrameAt, String>> {
    static FOUND: OnceLock<Result<FrameAt, String>> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = FrameAt::find(py)?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// How memory that may be gone is read here.
#[pyfunction]
fn tier_reader() -> &'static str {
    heat_refs::method()
}

/// The active trace of one cell: watches objects, frames and buffers from a thread of its own until stopped.
#[pyclass]
struct TierSampler {
    sampler: Sampler,
}

#[pymethods]
impl TierSampler {
    /// `roots` are watched by reference count, the objects of `tracked` in frames, `ranges` by accessed bits;
    /// `before` is what the run before said of its `bits`.
    #[new]
    #[pyo3(signature = (roots, ranges, interval_s, epoch_s, cpu_max, burst_s=50e-6, tracked=None, before=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        roots: Vec<usize>,
        ranges: Vec<(u64, u64)>,
        interval_s: f64,
        epoch_s: f64,
        cpu_max: f64,
        burst_s: f64,
        tracked: Option<&TierTracked>,
        before: Option<(u64, f64)>,
    ) -> PyResult<TierSampler> {
        let sane = interval_s > 0.0 && epoch_s > 0.0 && cpu_max > 0.0 && burst_s >= 0.0;
        if !(sane && interval_s < 60.0 && epoch_s < 3600.0 && burst_s < 1.0) {
            return Err(PyValueError::new_err(
                "interval, epoch and cpu_max must be positive and sane",
            ));
        }
        let tracked = tracked.map_or_else(|| Arc::new(()) as Arc<dyn Known>, |tracked| Arc::clone(&tracked.table));
        let frames = match tracked.count() {
            0 => None,
            _ => frames_at(py)?
                .ok()
                .map(|at| -> Box<dyn Frames> { Box::new(Door(FrameProbe::new(py, at))) }),
        };
        let plan = Plan {
            roots,
            tracked,
            frames,
            ranges,
            interval: Duration::from_secs_f64(interval_s),
            burst: Duration::from_secs_f64(burst_s),
            epoch: Duration::from_secs_f64(epoch_s),
            before,
            cpu_max,
            beside: Some(thread_id()),
        };
        Ok(TierSampler {
            sampler: Sampler::start(plan, heat_refs::read_pairs)?,
        })
    }

    /// Nothing is looked at until this is taken back.
    fn pause(&self, on: bool) {
        self.sampler.pause(on);
    }

    /// Nothing is looked at any more; `stop` is still to come.
    fn halt(&self) {
        self.sampler.halt();
    }

    /// Ends it and returns what was seen; `kinds` numbers what sort of variable each root is. `frame_touches` as `(object number, times)` of those seen at all.
    #[pyo3(signature = (kinds=None))]
    fn stop<'py>(&mut self, py: Python<'py>, kinds: Option<Vec<u32>>) -> PyResult<Bound<'py, PyDict>> {
        let sampler = &mut self.sampler;
        let seen = py.detach(|| sampler.stop());
        let kinds = kinds.unwrap_or_default();
        let evidence: Vec<Evidence> = (0..seen.looks.len())
            .map(|at| Evidence {
                looks: seen.looks[at],
                in_use: seen.touches[at],
                bursts: seen.root_bursts[at],
                firsts: seen.firsts[at],
                starts: seen.starts[at],
                exposed_s: seen.start_seconds[at],
                begun: seen.begun[at],
                seconds: seen.seconds,
                kind: kinds.get(at).copied().unwrap_or(0),
            })
            .collect();
        let mut touched: Vec<(u32, u32)> = seen
            .frame_touched
            .iter()
            .map(|number| (*number, seen.frame_touches[*number as usize]))
            .collect();
        touched.sort_unstable();
        let out = PyDict::new(py);
        out.set_item("touches", seen.touches)?;
        out.set_item("looks", seen.looks)?;
        out.set_item("operations", heat::operations(&evidence))?;
        out.set_item("begun", seen.begun)?;
        out.set_item("frame_touches", touched)?;
        out.set_item("frame_looks", seen.frame_looks)?;
        out.set_item("frame_hits", seen.frame_hits)?;
        out.set_item("accessed", seen.accessed)?;
        out.set_item("hot_epochs", seen.hot_epochs)?;
        out.set_item("epochs", seen.epochs)?;
        out.set_item("bits", (seen.touched_pages, seen.since_clear_s))?;
        out.set_item("bursts", seen.bursts)?;
        out.set_item("seconds", seen.seconds)?;
        out.set_item("cpu_seconds", seen.cpu_seconds)?;
        out.set_item("refused", seen.refused)?;
        Ok(out)
    }
}

/// `(touches, seconds, looks)` after one more window, with its rate and confidence.
#[pyfunction]
fn tier_fold(
    state: (f64, f64, u64),
    touches: f64,
    window_s: f64,
    half_life_s: f64,
    looks: u64,
) -> ((f64, f64, u64), f64, &'static str) {
    let before = Temperature {
        touches: state.0,
        seconds: state.1,
        looks: state.2,
    };
    let after = before.fold(touches, window_s, half_life_s, looks);
    (
        (after.touches, after.seconds, after.looks),
        after.rate(),
        after.confidence().name(),
    )
}

/// Counts shrunk toward their containers' means.
#[pyfunction]
fn tier_shrink(py: Python<'_>, touches: Vec<f64>, group: Vec<u32>) -> PyResult<Vec<f64>> {
    if touches.len() != group.len() {
        return Err(PyValueError::new_err(format!(
            "{} counts for {} groups",
            touches.len(),
            group.len()
        )));
    }
    Ok(py.detach(|| heat::shrink(&touches, &group)))
}

/// Types of leaves, types that are not entered, and what gives the list of what a leaf holds.
type Ways<'py> = (Vec<Bound<'py, PyType>>, Vec<Bound<'py, PyType>>, Bound<'py, PyAny>);

fn ways(ways: Ways<'_>) -> heat_shield::Ways<'_> {
    let (leaves, skipped, resolve) = ways;
    heat_shield::Ways {
        leaves,
        skipped,
        resolve,
    }
}

/// Takes the containers under `root` that lie `within` off the collector's lists (`on`), or puts them back; returns how
/// many, and how many containers of types that cannot be were met.
#[pyfunction]
fn tier_shield<'py>(
    root: &Bound<'py, PyAny>,
    on: bool,
    budget: usize,
    within: Vec<Range>,
    through: Ways<'py>,
) -> PyResult<(usize, usize)> {
    heat_shield::shield(root, on, budget, &within, &ways(through))
}

/// Puts containers `within` back on the collector's lists that anything leads to; returns how many.
#[pyfunction]
fn tier_strays<'py>(py: Python<'py>, budget: usize, within: Vec<Range>, through: Ways<'py>) -> PyResult<usize> {
    heat_shield::strays(py, budget, &within, &ways(through))
}

/// `("demote" | "promote", index)` for `(dram bytes, slow bytes, heat or None, movable, pinned)` under a DRAM limit, with
/// `coming_bytes` of room for what lately came in before cells; with `wanted`, before a cell that uses those.
#[pyfunction]
#[pyo3(signature = (variables, used_bytes, limit_bytes, wanted=None, coming_bytes=None))]
fn tier_plan(
    variables: Vec<(u64, u64, Option<f64>, bool, bool)>,
    used_bytes: u64,
    limit_bytes: u64,
    wanted: Option<Vec<usize>>,
    coming_bytes: Option<u64>,
) -> Vec<(&'static str, usize)> {
    let candidates: Vec<Candidate> = variables
        .into_iter()
        .map(|v| Candidate {
            dram_bytes: v.0,
            slow_bytes: v.1,
            heat: v.2,
            movable: v.3,
            pinned: v.4,
        })
        .collect();
    let room = Room {
        used_bytes,
        limit_bytes,
        coming_bytes,
    };
    let moves = match wanted {
        Some(wanted) => policy::prepare(&candidates, &wanted, room),
        None => policy::plan(&candidates, room),
    };
    moves
        .into_iter()
        .map(|step| match step {
            Move::Demote(at) => ("demote", at),
            Move::Promote(at) => ("promote", at),
        })
        .collect()
}

/// Has the C library's allocator keep freed memory (up to 64 MiB), unless its bounds were set by hand; whether it does.
#[pyfunction]
fn keep_freed() -> bool {
    larder_tier::os::heap::keep_freed()
}
