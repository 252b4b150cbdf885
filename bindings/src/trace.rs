//! Loop counters and the optimiser's controls.

use larder_cpython::cache::release;
use larder_cpython::{abi, hook, object, probe};
use larder_jit::Piece;
use larder_trace::Obj;
use larder_trace::bytecode::Opcodes;
use larder_trace::overhead;
use larder_trace::record::Builtin;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::cell::UnsafeCell;
use std::collections::HashMap;

fn off(reason: String) -> PyErr {
    PyRuntimeError::new_err(reason)
}

fn engine<'a>(_py: Python<'a>) -> PyResult<&'a mut hook::Engine> {
    // SAFETY: the GIL is held (`_py`), and each function below takes the engine once.
    unsafe { hook::engine() }.ok_or_else(|| off("the loop counter is not started".into()))
}

/// Prepares the engine for this interpreter; raises RuntimeError with the reason where that is not possible.
#[pyfunction]
// Called once, from one place, with names: a struct of so many fields would only be a second list of them.
#[allow(clippy::too_many_arguments)]
fn trace_start(
    version: (u8, u8),
    free_threaded: bool,
    debug: bool,
    opcodes: Vec<(String, u8)>,
    caches: Vec<u8>,
    tool: u8,
    disable: &Bound<'_, PyAny>,
    functions: Vec<(String, Py<PyAny>)>,
    constants: Vec<Py<PyAny>>,
) -> PyResult<()> {
    let layout = abi::layout(version.0, version.1, free_threaded, debug).map_err(off)?;
    let caches = <[u8; 256]>::try_from(caches).map_err(|_| off("expected 256 cache sizes".into()))?;
    let named = |(name, o): (String, Py<PyAny>)| {
        let which = Builtin::named(&name)?;
        Some((Obj(o.into_ptr() as usize), which))
    };
    let functions = functions.into_iter().filter_map(named).collect();
    let constants = constants.into_iter().map(|o| Obj(o.into_ptr() as usize)).collect();
    let opcodes = Opcodes::new(opcodes.into_iter(), caches);
    // SAFETY: the GIL is held, and the caller passes sys.monitoring.DISABLE.
    unsafe {
        hook::start(
            layout,
            opcodes,
            tool,
            Obj(disable.as_ptr() as usize),
            functions,
            constants,
        )
    }
    .map_err(off)
}

/// Compares this interpreter with what the build knows of its version; raises RuntimeError naming what differs.
#[pyfunction]
fn trace_check(
    version: (u8, u8),
    hex_version: u32,
    free_threaded: bool,
    debug: bool,
    samples: HashMap<String, Py<PyAny>>,
    main_thread: bool,
) -> PyResult<()> {
    let layout = abi::layout(version.0, version.1, free_threaded, debug).map_err(off)?;
    let named = samples.iter().map(|(name, o)| (name.clone(), Obj(o.as_ptr() as usize)));
    // SAFETY: the GIL is held, and the samples live to the end of this function.
    let same = unsafe { abi::check(layout, hex_version, &named.collect(), main_thread) };
    same.map_err(|what| off(format!("keeps {what} otherwise than this build of larder expects")))
}

/// C's own `range`, `enumerate` and `zip`, whatever builtins of these names are now.
#[pyfunction]
fn trace_types(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let symbols = object::symbols().map_err(off)?;
    let all = [
        &raw mut ffi::PyRange_Type as usize,
        symbols.enumerate_type,
        symbols.zip_type,
    ];
    // SAFETY: the GIL is held; types that never die.
    let taken = |at| unsafe { Bound::from_borrowed_ptr(py, at as *mut ffi::PyObject) };
    Ok(all.into_iter().map(taken).collect())
}

struct Method(UnsafeCell<ffi::PyMethodDef>);
// SAFETY: written never, read by the interpreter with the GIL held.
unsafe impl Sync for Method {}
static ON_JUMP: Method = Method(UnsafeCell::new(ffi::PyMethodDef {
    ml_name: c"larder_back_edge".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer {
        PyCFunctionFast: hook::on_jump,
    },
    ml_flags: ffi::METH_FASTCALL,
    ml_doc: std::ptr::null(),
}));

/// The callback to register for JUMP events.
#[pyfunction]
fn trace_callback(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: the method definition is static.
    unsafe {
        let function = ffi::PyCFunction_NewEx(ON_JUMP.0.get(), std::ptr::null_mut(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, function).map(Bound::unbind)
    }
}

/// Arms the self-test: at the next jump, check that the first local is `expect` and put `replace` there.
#[pyfunction]
fn trace_probe(py: Python<'_>, code: &Bound<'_, PyAny>, expect: i64, replace: Py<PyAny>) -> PyResult<()> {
    let probe = probe::Probe {
        code: Obj(code.as_ptr() as usize),
        expect,
        replace: Obj(replace.into_ptr() as usize),
        wrong: "the running frame",
    };
    engine(py)?.probe = Some(probe);
    Ok(())
}

/// Ends the self-test; empty when the frame was as the layout says, else what was not.
#[pyfunction]
fn trace_probe_end(py: Python<'_>) -> PyResult<&'static str> {
    let probe = engine(py)?.probe.take();
    // SAFETY: the reference taken by `trace_probe`, given back once.
    let release = |p: probe::Probe| unsafe { ffi::Py_DECREF(p.replace.0 as *mut ffi::PyObject) };
    Ok(probe.map_or("the running frame", |p| {
        release(p);
        p.wrong
    }))
}

/// Times the passes of interpreted loops from now on, until `trace_gauge` is told of one.
#[pyfunction]
fn trace_gauging(py: Python<'_>) -> PyResult<()> {
    engine(py)?.clock.gauging = true;
    Ok(())
}

/// What calling the hook costs, in ns, from a loop that ran since `trace_gauging` and takes so long a pass without the hook;
/// None if it ran too short.
#[pyfunction]
fn trace_gauge(py: Python<'_>, code: &Bound<'_, PyAny>, pass_ns: u32) -> PyResult<Option<u32>> {
    let engine = engine(py)?;
    if code.get_type().name()? != "code" {
        return Err(pyo3::exceptions::PyTypeError::new_err("a code object is wanted"));
    }
    // SAFETY: the GIL is held, and this is a code object.
    Ok(unsafe { engine.gauge(Obj(code.as_ptr() as usize), pass_ns) })
}

/// Every loop seen: one dict each, its traces and exits in lists of tuples.
#[pyfunction]
fn trace_loops(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let out = PyList::empty(py);
    let rows = engine(py)?.told().to_vec();
    for row in rows {
        let [without, natively] = row.overheads();
        let d = PyDict::new(py);
        d.set_item("name", row.name)?;
        d.set_item("file", row.file)?;
        d.set_item("line", row.line)?;
        d.set_item("state", row.state.name())?;
        d.set_item("interpreted", row.interpreted)?;
        d.set_item("stopped", row.stopped)?;
        d.set_item("why", row.why)?;
        d.set_item("native", row.native)?;
        d.set_item("entries", row.entries)?;
        d.set_item("linked", row.linked)?;
        d.set_item("refused", row.refused)?;
        d.set_item("compile_ns", row.compile_ns)?;
        d.set_item("compiles", row.compiles)?;
        d.set_item("discards", row.discards)?;
        d.set_item("code_bytes", row.code_bytes)?;
        d.set_item("metadata_bytes", row.metadata_bytes)?;
        d.set_item("growing_bytes", row.growing_bytes)?;
        d.set_item("live", row.live)?;
        // Iterations the interpreter ran of a loop that has traces, each as the root went.
        let own = row.interpreted + row.entries - row.linked;
        let root = row.traces.first().map_or(Default::default(), |t| t.before);
        d.set_item("without", without)?;
        d.set_item("natively", natively)?;
        d.set_item("interpreter", root.map(|n| u64::from(n) * own))?;
        let traces = PyList::empty(py);
        for t in row.traces {
            let one = PyDict::new(py);
            one.set_item("from_exit", t.from)?;
            one.set_item("bytecodes", t.bytecodes)?;
            one.set_item("ops", t.ops)?;
            one.set_item("guards", t.guards)?;
            one.set_item("closes", t.closes)?;
            one.set_item("runs", t.runs)?;
            traces.append(one)?;
        }
        d.set_item("traces", traces)?;
        let exits = PyList::empty(py);
        for e in row.exits {
            let one = PyDict::new(py);
            one.set_item("trace", e.owner)?;
            one.set_item("side", e.side)?;
            one.set_item("reason", e.reason)?;
            one.set_item("taken", e.taken)?;
            one.set_item("made", e.made)?;
            exits.append(one)?;
        }
        d.set_item("exits", exits)?;
        out.append(d)?;
    }
    Ok(out)
}

/// The categories of overhead: name and meaning, in the order of the counts.
#[pyfunction]
fn trace_categories() -> Vec<(&'static str, &'static str)> {
    overhead::NAMES.to_vec()
}

/// Time passes: compiled loops that no longer grow settle, those not used for long are discarded.
#[pyfunction]
fn trace_tick(py: Python<'_>) -> PyResult<()> {
    // SAFETY: the GIL is held, and no trace runs while this does.
    unsafe {
        engine(py)?.tick();
        release();
    }
    Ok(())
}

/// Sets the limit for machine code, discarding what is over it; the limit set.
#[pyfunction]
fn trace_limit(py: Python<'_>, bytes: usize) -> PyResult<usize> {
    // SAFETY: as `trace_tick`.
    unsafe {
        let limit = engine(py)?.set_limit(bytes);
        release();
        Ok(limit)
    }
}

/// How full the code arena is, and what it has done.
#[pyfunction]
fn trace_usage(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let engine = engine(py)?;
    let usage = engine.arena.usage();
    let d = PyDict::new(py);
    d.set_item("pieces", usage.pieces)?;
    d.set_item("used", usage.used)?;
    d.set_item("spread", usage.spread)?;
    d.set_item("limit", usage.limit)?;
    d.set_item("compactions", usage.compactions)?;
    d.set_item("moved", usage.moved)?;
    d.set_item("evictions", engine.evictions)?;
    d.set_item("callbacks", engine.callbacks)?;
    d.set_item("recording", engine.limits.record)?;
    Ok(d)
}

/// Whether hot loops are compiled, from how many iterations, and which files' code is watched (None: all).
#[pyfunction]
fn trace_configure(py: Python<'_>, record: bool, hot: u32, filter: Option<Py<PyAny>>) -> PyResult<()> {
    let engine = engine(py)?;
    if engine.broken && record {
        return Err(off("an internal error: loops are left to the interpreter".into()));
    }
    engine.limits.record = record;
    if record {
        // Only time is lost without it.
        let _ = engine.compiler.warm_up();
    }
    engine.limits.hot = hot;
    engine.limits.warm = hot.min(8);
    engine.limits.side = (hot / 2).clamp(2, 16);
    let old = std::mem::replace(
        &mut engine.filter,
        filter.map_or(Obj::NULL, |f| Obj(f.into_ptr() as usize)),
    );
    // SAFETY: the reference this function took when it set the filter.
    unsafe { ffi::Py_XDECREF(old.0 as *mut ffi::PyObject) };
    Ok(())
}

/// The traces of a code object's loops, in words: what the optimiser made of them.
#[pyfunction]
fn trace_listing(py: Python<'_>, code: &Bound<'_, PyAny>) -> PyResult<String> {
    let engine = engine(py)?;
    if code.get_type().name()? != "code" {
        return Err(pyo3::exceptions::PyTypeError::new_err("a code object is wanted"));
    }
    // SAFETY: the GIL is held; a code object, checked above.
    unsafe {
        let info = &*engine.info(Obj(code.as_ptr() as usize));
        let mut out = String::new();
        for l in &info.loops {
            let Some(c) = &l.compiled else { continue };
            let row = l.row.and_then(|row| engine.rows.get(row));
            let line = row.map_or(0, |row| row.line);
            let name: String = code.getattr("co_qualname")?.extract()?;
            out.push_str(&format!(
                "{name}, loop at line {line}: {} entries, {} passes\n",
                c.entries, c.passed
            ));
            let exits = row.map_or(&[][..], |row| &row.exits[..]);
            let taken = exits.iter().enumerate().filter(|t| t.1.taken > 0);
            let taken: Vec<String> = taken.map(|(e, x)| format!("{e}: {}", x.taken)).collect();
            out.push_str(&format!("exits taken {}\n", taken.join(", ")));
            if let Some(g) = &c.growth {
                out.push_str(&larder_trace::text::listing(&g.tree));
            } else {
                out.push_str("it has settled: only its machine code is kept\n");
            }
        }
        Ok(out)
    }
}

/// Switches one of the optimiser's passes; raises ValueError for a name that is none.
#[pyfunction]
fn trace_pass(py: Python<'_>, name: &str, on: bool) -> PyResult<()> {
    match engine(py)?.passes.switch(name) {
        Some(place) => {
            *place = on;
            Ok(())
        }
        None => Err(pyo3::exceptions::PyValueError::new_err(format!(
            "no pass is called {name:?}"
        ))),
    }
}

/// For tests: code compiled from now on leaves once at each operation that can, within the first `after` times it is
/// reached (0: no longer). Of those operations: how many there are so far, were reached, and left.
#[pyfunction]
#[pyo3(signature = (after = None))]
fn trace_force(py: Python<'_>, after: Option<u32>) -> PyResult<[usize; 3]> {
    let engine = engine(py)?;
    if let Some(after) = after {
        engine.compiler.force(after);
    }
    Ok(engine.compiler.forced())
}

/// For tests: breaks what is kept of a code object's compiled loops, so that the next who uses it panics: where its machine code
/// lies, or (`growth`) what its exits need to grow. How many there were.
#[pyfunction]
fn trace_break(py: Python<'_>, code: &Bound<'_, PyAny>, growth: bool) -> PyResult<usize> {
    let engine = engine(py)?;
    if code.get_type().name()? != "code" {
        return Err(pyo3::exceptions::PyTypeError::new_err("a code object is wanted"));
    }
    // SAFETY: the GIL is held; a code object, checked above.
    let loops = unsafe { &mut (*engine.info(Obj(code.as_ptr() as usize))).loops };
    let mut broken = 0;
    for c in loops.iter_mut().filter_map(|l| l.compiled.as_mut()) {
        match c.growth.as_mut().filter(|_| growth) {
            Some(growth) => growth.failed.clear(),
            None => c.piece = Piece::NONE,
        }
        broken += 1;
    }
    Ok(broken)
}

/// Whether every back edge of watched code is reported to the end, for an exact count.
#[pyfunction]
fn trace_exact(py: Python<'_>, exact: bool) -> PyResult<()> {
    engine(py)?.exact = exact;
    Ok(())
}

/// Forgets all loops.
#[pyfunction]
fn trace_clear(py: Python<'_>) -> PyResult<()> {
    // SAFETY: as `trace_tick`.
    unsafe {
        engine(py)?.clear();
        release();
    }
    Ok(())
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(trace_start, module)?)?;
    module.add_function(wrap_pyfunction!(trace_check, module)?)?;
    module.add_function(wrap_pyfunction!(trace_types, module)?)?;
    module.add_function(wrap_pyfunction!(trace_callback, module)?)?;
    module.add_function(wrap_pyfunction!(trace_probe, module)?)?;
    module.add_function(wrap_pyfunction!(trace_listing, module)?)?;
    module.add_function(wrap_pyfunction!(trace_gauging, module)?)?;
    module.add_function(wrap_pyfunction!(trace_gauge, module)?)?;
    module.add_function(wrap_pyfunction!(trace_probe_end, module)?)?;
    module.add_function(wrap_pyfunction!(trace_configure, module)?)?;
    module.add_function(wrap_pyfunction!(trace_exact, module)?)?;
    module.add_function(wrap_pyfunction!(trace_force, module)?)?;
    module.add_function(wrap_pyfunction!(trace_break, module)?)?;
    module.add_function(wrap_pyfunction!(trace_pass, module)?)?;
    module.add_function(wrap_pyfunction!(trace_loops, module)?)?;
    module.add_function(wrap_pyfunction!(trace_clear, module)?)?;
    module.add_function(wrap_pyfunction!(trace_categories, module)?)?;
    module.add_function(wrap_pyfunction!(trace_tick, module)?)?;
    module.add_function(wrap_pyfunction!(trace_limit, module)?)?;
    module.add_function(wrap_pyfunction!(trace_usage, module)?)
}
