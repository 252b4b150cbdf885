//! The shelf engine as Python objects: open, put, get, commit, and buffers that view the heap.

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder_session::digest::Joined;
use larder_session::tracked::tracked;
use larder_shelf::{
    Buffer, Class, CommitError, CommitInfo, MediumChoice, Mode, OpenError, OpenOptions, ReadError, Shelf, WriteError,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyFileExistsError, PyFileNotFoundError, PyLookupError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

/// The exception of `larder.errors` (or the builtin one) that `class` stands for.
fn exception(class: Class, text: String) -> PyErr {
    let name = match class {
        Class::NotFound => return PyFileNotFoundError::new_err(text),
        Class::Exists => return PyFileExistsError::new_err(text),
        Class::Invalid => return PyValueError::new_err(text),
        Class::Busy => "ShelfBusy",
        Class::Corrupt => "ShelfCorrupt",
        Class::Full => "ShelfFull",
        Class::Format => "ShelfFormat",
        Class::ReadOnly => "ShelfReadOnly",
        Class::Closed => "ShelfClosed",
        Class::Other => "ShelfError",
    };
    Python::attach(|py| {
        let found = py.import("larder.errors").and_then(|errors| errors.getattr(name));
        match found.and_then(|kind| kind.cast_into::<PyType>().map_err(Into::into)) {
            Ok(kind) => PyErr::from_type(kind, text),
            Err(err) => err,
        }
    })
}

macro_rules! raised {
    ($($error:ty),*) => {$(
        impl From<Raised<$error>> for PyErr {
            fn from(error: Raised<$error>) -> Self {
                exception(error.0.class(), error.0.to_string())
            }
        }
    )*};
}

struct Raised<E>(E);
raised!(OpenError, ReadError, WriteError, CommitError);

fn raise<E>(error: E) -> PyErr
where
    PyErr: From<Raised<E>>,
{
    Raised(error).into()
}

/// `(id, time in ns since the epoch, message, names changed, bytes written)`
type CommitRow = (u64, i64, String, Vec<String>, u64);
/// `(kind, meta, buffers)`
type EntryRow<'py> = (String, Bound<'py, PyBytes>, Vec<NativeBuffer>);
/// `(offset, variable, what)`
type DamageRow = (u64, Option<String>, String);
/// `(commit, saved, [(lost, why)])`
type SalvageRow = (u64, Vec<String>, Vec<(String, String)>);

fn row(info: CommitInfo) -> CommitRow {
    (
        info.id,
        info.time_ns,
        info.message,
        info.names_changed,
        info.bytes_written,
    )
}

fn no_commit(class: Class, text: String) -> PyErr {
    if class == Class::NotFound {
        PyLookupError::new_err(text)
    } else {
        exception(class, text)
    }
}

/// Calls a Python function with (done, total) at most ten times a second; its first exception is kept for the end.
struct Progress {
    call: Option<Py<PyAny>>,
    last: Option<Instant>,
    failed: Option<PyErr>,
}

impl Progress {
    fn new(call: Option<Py<PyAny>>) -> Self {
        Self {
            call,
            last: None,
            failed: None,
        }
    }

    fn step(&mut self, done: u64, total: u64) {
        let Some(call) = &self.call else { return };
        let early = self
            .last
            .is_some_and(|last| last.elapsed() < Duration::from_millis(100));
        if self.failed.is_some() || early && done < total {
            return;
        }
        self.last = Some(Instant::now());
        self.failed = Python::attach(|py| call.call1(py, (done, total)).err());
    }

    fn end(self) -> PyResult<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

/// A shelf file, open.
#[pyclass(frozen, module = "larder._larder")]
struct NativeShelf {
    shelf: Shelf,
    last_commit: AtomicU64,
}

#[pymethods]
impl NativeShelf {
    #[new]
    #[pyo3(signature = (path, mode, medium=None))]
    fn new(py: Python<'_>, path: PathBuf, mode: &str, medium: Option<&str>) -> PyResult<Self> {
        let mode = match mode {
            "r" => Mode::R,
            "r+" => Mode::RPlus,
            "a" => Mode::A,
            "w" => Mode::W,
            "x" => Mode::X,
            other => return Err(PyValueError::new_err(format!("unknown mode {other:?}"))),
        };
        let medium = match medium {
            None => MediumChoice::Auto,
            Some("file") => MediumChoice::File,
            Some("dax") => MediumChoice::Dax,
            Some("dram") => MediumChoice::Dram,
            Some(other) => return Err(PyValueError::new_err(format!("unknown medium {other:?}"))),
        };
        let options = OpenOptions {
            mode,
            medium,
            ..OpenOptions::default()
        };
        let shelf = py.detach(|| Shelf::open(&path, &options)).map_err(raise)?;
        let last_commit = AtomicU64::new(shelf.stats().commit);
        Ok(Self { shelf, last_commit })
    }

    fn put(&self, py: Python<'_>, name: &str, kind: &str, meta: &[u8], buffers: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let held = held(&buffers)?;
        let spans = spans(&held)?;
        py.detach(|| self.shelf.put(name, kind, meta, &spans)).map_err(raise)
    }

    /// One buffer of all `parts` one after the other; `digest_joined` of the copy that was written, and of `told`.
    fn put_joined<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        kind: &str,
        meta: &[u8],
        parts: Vec<Bound<'py, PyAny>>,
        told: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let held = held(&parts)?;
        let spans = spans(&held)?;
        let mut digest = Joined::default();
        py.detach(|| {
            self.shelf
                .put_joined(name, kind, meta, &spans, &mut |bytes| digest.add(bytes))
        })
        .map_err(raise)?;
        Ok(PyBytes::new(py, &digest.end(told)))
    }

    fn alloc(
        &self,
        py: Python<'_>,
        name: &str,
        kind: &str,
        meta: &[u8],
        sizes: Vec<u64>,
    ) -> PyResult<Vec<NativeBuffer>> {
        let buffers = py
            .detach(|| self.shelf.alloc(name, kind, meta, &sizes))
            .map_err(raise)?;
        Ok(buffers.into_iter().map(|buffer| self.hand_out(buffer)).collect())
    }

    /// `(kind, meta, buffers)`, or `None`.
    fn get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<EntryRow<'py>>> {
        let Some(entry) = py.detach(|| self.shelf.get(name)).map_err(raise)? else {
            return Ok(None);
        };
        let buffers = entry.buffers.into_iter().map(|buffer| self.hand_out(buffer)).collect();
        Ok(Some((entry.kind, PyBytes::new(py, &entry.meta), buffers)))
    }

    /// The buffers under `name` as memory of their own, or `None`: stores into it are seen by who has it, never by the shelf.
    fn private(&self, py: Python<'_>, name: &str) -> PyResult<Option<Vec<PrivateBuffer>>> {
        let found = py.detach(|| self.shelf.private(name)).map_err(raise)?;
        Ok(found.map(|buffers| buffers.into_iter().map(PrivateBuffer::new).collect()))
    }

    fn remove(&self, name: &str) -> PyResult<bool> {
        self.shelf.remove(name).map_err(raise)
    }

    fn names(&self) -> Vec<String> {
        self.shelf.names()
    }

    fn contains(&self, name: &str) -> bool {
        self.shelf.contains(name)
    }

    /// The new commit's row; `None` when nothing had changed.
    #[pyo3(signature = (message=None))]
    fn commit(&self, py: Python<'_>, message: Option<&str>) -> PyResult<Option<CommitRow>> {
        let info = py.detach(|| self.shelf.commit(message)).map_err(raise)?;
        let before = self.last_commit.swap(info.id, Ordering::Relaxed);
        Ok((info.id != before).then(|| row(info)))
    }

    /// Before a fork: the child may take the right to write, this process must not use it until it takes it back.
    fn lend(&self) -> PyResult<()> {
        self.shelf.lend().map_err(raise)
    }

    /// In the child, or in the parent when every child has ended: the right to write, and what was committed meanwhile.
    fn take(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.shelf.take()).map_err(raise)
    }

    #[getter]
    fn lent(&self) -> bool {
        self.shelf.is_lent()
    }

    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.shelf.rollback()).map_err(raise)
    }

    fn log(&self) -> Vec<CommitRow> {
        self.shelf.log().into_iter().map(row).collect()
    }

    fn inspect<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let mut rows = Vec::new();
        for item in self.shelf.inspect() {
            let one = PyDict::new(py);
            one.set_item("name", item.name)?;
            one.set_item("kind", item.kind)?;
            one.set_item("meta", PyBytes::new(py, &item.meta))?;
            let inline = if item.buffers == 0 { item.meta.len() as u64 } else { 0 };
            one.set_item("nbytes", item.nbytes + inline)?;
            one.set_item("commit", item.commit)?;
            one.set_item("offset", item.offset)?;
            one.set_item("pending", item.pending)?;
            one.set_item("mapped", item.mapped)?;
            rows.push(one);
        }
        Ok(rows)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.shelf.stats();
        let out = PyDict::new(py);
        out.set_item("medium", stats.medium)?;
        out.set_item("tracker", stats.tracker)?;
        out.set_item("names", stats.names)?;
        out.set_item("commit", stats.commit)?;
        out.set_item("file_bytes", stats.file_bytes)?;
        out.set_item("live_bytes", stats.live_bytes)?;
        out.set_item("free_bytes", stats.free_bytes)?;
        out.set_item("quarantined_bytes", stats.quarantined_bytes)?;
        out.set_item("spilled_bytes", stats.spilled_bytes)?;
        out.set_item("log_bytes", stats.log_bytes)?;
        out.set_item("log_used", stats.log_used)?;
        out.set_item("history", stats.history)?;
        out.set_item("bytes_written", stats.bytes_written)?;
        out.set_item("syncs", stats.syncs)?;
        Ok(out)
    }

    /// Gives memory of changed pages back without committing them; how many bytes. Runs by itself when memory is short.
    #[pyo3(signature = (nbytes=None))]
    fn relieve(&self, py: Python<'_>, nbytes: Option<u64>) -> PyResult<u64> {
        py.detach(|| self.shelf.relieve(nbytes.unwrap_or(u64::MAX)))
            .map_err(raise)
    }

    /// `(pages checked, [(offset, variable, what)])`
    #[pyo3(signature = (progress=None))]
    fn verify(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<(u64, Vec<DamageRow>)> {
        let mut shown = Progress::new(progress);
        let report = py
            .detach(|| self.shelf.verify(&mut |done, total| shown.step(done, total)))
            .map_err(raise)?;
        shown.end()?;
        let damage = report
            .damages
            .into_iter()
            .map(|d| (d.offset, d.variable, d.what))
            .collect();
        Ok((report.pages, damage))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.shelf.close()).map_err(raise)
    }

    #[getter]
    fn history(&self) -> u32 {
        self.shelf.stats().history
    }

    #[setter]
    fn set_history(&self, py: Python<'_>, commits: u32) -> PyResult<()> {
        py.detach(|| self.shelf.set_history(commits)).map_err(raise)
    }

    /// Names added, removed and changed from commit `a` to commit `b`.
    #[pyo3(signature = (a, b=None))]
    fn diff(&self, a: u64, b: Option<u64>) -> PyResult<(Vec<String>, Vec<String>, Vec<String>)> {
        let found = self
            .shelf
            .diff(a, b)
            .map_err(|error| no_commit(error.class(), error.to_string()))?;
        Ok((found.added, found.removed, found.changed))
    }

    /// A read-only shelf that shows commit `id`, or the last one.
    #[pyo3(signature = (id=None))]
    fn snapshot(&self, py: Python<'_>, id: Option<u64>) -> PyResult<Self> {
        let shelf = py.detach(|| match id {
            Some(id) => self.shelf.at(id),
            None => self.shelf.snapshot(),
        });
        let shelf = shelf.map_err(|error| no_commit(error.class(), error.to_string()))?;
        let last_commit = AtomicU64::new(shelf.stats().commit);
        Ok(Self { shelf, last_commit })
    }

    /// Commit `id`'s names as pending changes; which ones differ.
    fn checkout(&self, py: Python<'_>, id: u64) -> PyResult<Vec<String>> {
        py.detach(|| self.shelf.checkout(id))
            .map_err(|error| no_commit(error.class(), error.to_string()))
    }

    /// `(bytes before, bytes after, buffers moved)`; `progress(done, total)` is called now and then.
    #[pyo3(signature = (progress=None))]
    fn compact(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<(u64, u64, usize)> {
        let mut shown = Progress::new(progress);
        let done = py
            .detach(|| self.shelf.compact(&mut |done, total| shown.step(done, total)))
            .map_err(raise)?;
        shown.end()?;
        Ok((done.bytes_before, done.bytes_after, done.buffers_moved))
    }

    /// The commit that was copied; `progress(done, total)` is called now and then.
    #[pyo3(signature = (path, progress=None))]
    fn backup(&self, py: Python<'_>, path: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<u64> {
        let mut shown = Progress::new(progress);
        let commit = py
            .detach(|| self.shelf.backup(&path, &mut |done, total| shown.step(done, total)))
            .map_err(raise)?;
        shown.end()?;
        Ok(commit)
    }
}

impl NativeShelf {
    fn hand_out(&self, buffer: Buffer) -> NativeBuffer {
        NativeBuffer {
            buffer,
            writable: !self.shelf.read_only(),
        }
    }
}

/// A pinned piece of a shelf's heap with the buffer protocol; stores into it are part of the next commit.
#[pyclass(frozen, module = "larder._larder")]
struct NativeBuffer {
    buffer: Buffer,
    writable: bool,
}

#[pymethods]
impl NativeBuffer {
    fn __len__(&self) -> usize {
        self.buffer.len() as usize
    }

    /// Where the bytes are in memory.
    #[getter]
    fn address(&self) -> usize {
        self.buffer.as_ptr() as usize
    }

    /// `(file descriptor, offset)` the bytes are mapped from, `None` when they are in several pieces.
    #[getter]
    fn file_range(&self) -> Option<(i32, u64)> {
        self.buffer.file_range()
    }

    /// A copy of the bytes; unlike a view it does not make the engine track stores.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.buffer.to_vec());
        Ok(PyBytes::new(py, &bytes))
    }

    // SAFETY (of the protocol): Python calls this with a view it owns and releases it before the exporter dies.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        if this.writable {
            this.buffer.make_writable().map_err(raise)?;
        }
        // SAFETY:
        // - `view` is the caller's to fill; PyBuffer_FillInfo takes its own reference to `slf`.
        // - The bytes stay mapped while `slf` lives, because `Buffer` pins them.
        let got = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                this.buffer.as_ptr().cast(),
                this.buffer.len() as isize,
                c_int::from(!this.writable),
                flags,
            )
        };
        if got == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Memory of a recovered array: a piece of the session shelf that is this process's own from the first store on.
#[pyclass(frozen, weakref, module = "larder._larder")]
struct PrivateBuffer {
    buffer: Buffer,
    watched: AtomicBool,
}

impl PrivateBuffer {
    fn new(buffer: Buffer) -> PrivateBuffer {
        PrivateBuffer {
            buffer,
            watched: AtomicBool::new(false),
        }
    }

    fn start(&self) -> usize {
        self.buffer.as_ptr() as usize
    }
}

#[pymethods]
impl PrivateBuffer {
    fn __len__(&self) -> usize {
        self.buffer.len() as usize
    }

    #[getter]
    fn address(&self) -> usize {
        self.start()
    }

    /// From here on stores are told by their pages: `(serial, version)`, or `None` where that cannot be.
    fn watch(&self) -> Option<(u64, u64)> {
        let place = tracked().ok()?.adopt(self.start(), self.buffer.len() as usize)?;
        self.watched.store(true, Ordering::Relaxed);
        Some((place.serial, place.version))
    }

    // SAFETY (of the protocol): Python calls this with a view it owns and releases it before the exporter dies.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        // SAFETY:
        // - `view` is the caller's to fill; PyBuffer_FillInfo takes its own reference to `slf`.
        // - The bytes stay mapped, privately and writable, while `slf` lives, because `Buffer` pins them.
        let got = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                this.buffer.as_ptr().cast(),
                this.buffer.len() as isize,
                0,
                flags,
            )
        };
        if got == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

impl Drop for PrivateBuffer {
    fn drop(&mut self) {
        if self.watched.load(Ordering::Relaxed)
            && let Ok(pages) = tracked()
        {
            pages.drop_mapping(self.start());
        }
    }
}

/// Copies what is whole on the damaged shelf at `path` to a new one at `into`; the damaged file is only read.
///
/// `(commit whose state was found, names saved, [(name lost, why)])`
#[pyfunction]
fn salvage(py: Python<'_>, path: PathBuf, into: PathBuf) -> PyResult<SalvageRow> {
    let found = py.detach(|| Shelf::salvage(&path, &into)).map_err(raise)?;
    Ok((found.commit, found.saved, found.lost))
}

/// `(the process that has a shelf file open to write, the forked child that writes in its place)`
#[pyfunction]
fn shelf_holders(path: PathBuf) -> PyResult<(Option<u32>, Option<u32>)> {
    Ok(Shelf::holders(&path)?)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(salvage, module)?)?;
    module.add_function(wrap_pyfunction!(shelf_holders, module)?)?;
    module.add_class::<NativeShelf>()?;
    module.add_class::<PrivateBuffer>()?;
    module.add_class::<NativeBuffer>()
}

/// Views of objects with buffers.
fn held(buffers: &[Bound<'_, PyAny>]) -> PyResult<Vec<PyBuffer<u8>>> {
    buffers.iter().map(PyBuffer::<u8>::get).collect()
}

/// What these views show.
fn spans(held: &[PyBuffer<u8>]) -> PyResult<Vec<&[u8]>> {
    let mut spans: Vec<&[u8]> = Vec::with_capacity(held.len());
    for buffer in held {
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("only contiguous buffers can be put on a shelf"));
        }
        if buffer.len_bytes() == 0 {
            spans.push(&[]);
            continue;
        }
        // SAFETY: PEP 3118 promises `len` readable bytes at `buf` while the view is held, and what is returned is borrowed
        // from `held`. A thread that writes to them meanwhile may be caught half-done; bytes have no invalid values.
        spans.push(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) });
    }
    Ok(spans)
}
