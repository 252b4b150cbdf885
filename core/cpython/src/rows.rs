//! What is told of loops: one row per loop, which outlives its code object and its machine code.

use crate::object::ptr;
use crate::run::Compiled;
use larder_jit::{Arena, Packed, Source};
use larder_trace::overhead::{self, CATEGORIES, Counts};
use larder_trace::policy::State;
use larder_trace::{End, ExitId, Obj, Tree, Val};
use pyo3::ffi;
use std::ffi::CStr;

/// One trace of a compiled loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceInfo {
    /// The exit it continues from; none for the root.
    pub from: Option<u32>,
    /// Bytecodes one run stands for, and instructions and guards it has.
    pub bytecodes: u32,
    pub ops: u32,
    pub guards: u32,
    /// Whether it goes back to the loop head, and not out.
    pub closes: bool,
    /// How often it was begun.
    pub runs: u64,
    /// What the interpreter does in one run, and what the trace does.
    pub before: Counts,
    pub after: Counts,
    /// Back edges that one run takes, by their rows.
    pub along: Vec<(usize, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitInfo {
    /// The trace that leaves here, and the one that continues.
    pub owner: u32,
    pub side: Option<u32>,
    pub reason: &'static str,
    pub taken: u32,
    /// Numbers made into objects here.
    pub made: u32,
    /// As of the trace, from its beginning to here.
    pub before: Counts,
    pub after: Counts,
    pub along: Vec<(usize, u16)>,
}

/// What is known of one loop, for people.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub file: String,
    pub line: i32,
    pub state: State,
    /// Back edges the interpreter took while we were counting.
    pub interpreted: u64,
    /// Counting stopped at the limit: `interpreted` is a lower bound.
    pub stopped: bool,
    /// Why the loop is left to the interpreter, if it is.
    pub why: &'static str,
    /// Back edges taken in machine code, this loop's or another's: as far as they were told, see [`Row::told`].
    pub native: u64,
    /// Entries into its machine code, those of them that came from another trace and not along a back edge, and entries
    /// refused because the frame did not fit.
    pub entries: u64,
    pub linked: u64,
    pub refused: u64,
    pub compile_ns: u64,
    /// Times machine code was made for it, and times it was thrown away.
    pub compiles: u32,
    pub discards: u32,
    /// Whether there is machine code now. The bytes below are of the last there was.
    pub live: bool,
    /// Bytes of machine code, of what is kept beside it, and of what only growing needs.
    pub code_bytes: usize,
    pub metadata_bytes: usize,
    pub growing_bytes: usize,
    /// What one entry does.
    pub entry: Counts,
    /// [`Row::overheads`] of code that was thrown away since.
    pub past: [[u64; CATEGORIES]; 2],
    /// Back edges that this loop's traces took, by the rows of the loops they are of, as far as those have been told.
    pub told: Vec<(usize, u64)>,
    pub traces: Vec<TraceInfo>,
    pub exits: Vec<ExitInfo>,
}

impl Row {
    pub fn new(name: String, file: String, line: i32) -> Row {
        Row {
            name,
            file,
            line,
            state: State::Cold,
            interpreted: 0,
            stopped: false,
            why: "",
            native: 0,
            entries: 0,
            linked: 0,
            refused: 0,
            compile_ns: 0,
            compiles: 0,
            discards: 0,
            code_bytes: 0,
            metadata_bytes: 0,
            growing_bytes: 0,
            live: false,
            entry: Default::default(),
            past: Default::default(),
            told: Vec::new(),
            traces: Vec::new(),
            exits: Vec::new(),
        }
    }

    /// Describes a tree that was compiled; what its traces ran so far stays counted. `rows` are those of [`Tree::backs`].
    pub fn describe(&mut self, tree: &Tree, packed: &Packed, rows: &[Option<usize>]) {
        let along = |crossed: Option<&Vec<u16>>| -> Vec<(usize, u16)> {
            let crossed = crossed.into_iter().flatten().zip(rows);
            crossed
                .filter_map(|(n, row)| (*n > 0).then_some((*row)?).map(|row| (row, *n)))
                .collect()
        };
        if !self.live {
            self.past = self.overheads();
            self.told.clear();
            self.traces.clear();
            self.exits.clear();
        }
        let taken: Vec<u32> = self.exits.iter().map(|e| e.taken).collect();
        let owners = owners(tree);
        let before = std::mem::take(&mut self.traces);
        let of = |index: usize, t: &larder_trace::Trace| TraceInfo {
            from: tree
                .exits
                .iter()
                .position(|e| e.side == Some(t.before.unwrap_or(index as u32)))
                .map(|e| e as u32),
            bytecodes: t.bytecodes,
            ops: t.body.iter().filter(|r| !tree.inst(**r).op.is_const()).count() as u32,
            guards: t.body.iter().filter(|r| tree.inst(**r).exit != ExitId::NONE).count() as u32,
            closes: !matches!(t.end, End::Leave(_)),
            runs: before.get(index).map_or(0, |t| t.runs),
            before: tree.walked.get(index).copied().unwrap_or_default(),
            after: overhead::of_trace(tree, index, None),
            along: along(tree.crossed.get(index)),
        };
        self.traces = tree.traces.iter().enumerate().map(|(index, t)| of(index, t)).collect();
        let made = |e: usize| {
            packed
                .exit(e)
                .entries
                .iter()
                .filter(|e| is_made(&e.val, &e.sources))
                .count() as u32
        };
        let exits = tree.exits.iter().zip(owners).enumerate();
        self.entry = overhead::of_entry(tree);
        self.exits = exits
            .map(|(number, (e, owner))| ExitInfo {
                owner,
                side: e.side,
                reason: e.reason,
                taken: taken.get(number).copied().unwrap_or(0),
                made: made(number),
                before: tree.walked_to.get(number).copied().unwrap_or_default(),
                after: overhead::of_trace(tree, owner as usize, Some(ExitId(number as u32))),
                along: along(tree.crossed_to.get(number)),
            })
            .collect();
        self.live = true;
    }

    /// Counts one entry: the exit it ended at, passes of the head, how often each side trace was begun.
    #[inline]
    pub fn ran(&mut self, exit: usize, passes: u64, sides: &[std::mem::MaybeUninit<u64>]) {
        self.entries += 1;
        if let Some(exit) = self.exits.get_mut(exit) {
            exit.taken = exit.taken.saturating_add(1);
        }
        if let Some((root, traces)) = self.traces.split_first_mut() {
            root.runs += passes;
            for (at, begun) in sides.iter().enumerate() {
                if let Some(trace) = traces.get_mut(at) {
                    // SAFETY: the counters were set before the code ran.
                    trace.runs += unsafe { begun.assume_init() };
                }
            }
        }
    }

    /// What a compiled loop occupies now.
    pub fn measure(&mut self, c: &Compiled, arena: &Arena) {
        let (kept, growing) = c.sizes();
        (self.code_bytes, self.metadata_bytes) = (arena.len(c.piece), kept + arena.metadata(c.piece));
        (self.growing_bytes, self.live) = (growing, true);
    }

    /// What the interpreter would have done in the iterations that ran natively, and what was done instead.
    ///
    /// A run of a trace ends at its end or at one of its exits: there it leaves, or the side trace begins.
    pub fn overheads(&self) -> [[u64; CATEGORIES]; 2] {
        let [mut before, mut after] = self.past;
        let mut add = |n: u64, b: &Counts, a: &Counts| {
            for k in 0..CATEGORIES {
                before[k] += n * u64::from(b[k]);
                after[k] += n * u64::from(a[k]);
            }
        };
        for e in &self.exits {
            add(self.reached(e), &e.before, &e.after);
            add(u64::from(e.taken), &Default::default(), &overhead::of_exit(e.made));
        }
        for (t, runs) in self.traces.iter().zip(self.whole()) {
            add(runs, &t.before, &t.after);
        }
        add(self.entries, &Default::default(), &self.entry);
        [before, after]
    }

    /// How often an exit was reached: there a trace leaves, or a side trace begins.
    fn reached(&self, e: &ExitInfo) -> u64 {
        u64::from(e.taken) + e.side.map_or(0, |side| self.traces[side as usize].runs)
    }

    /// How often each trace ran to its end.
    fn whole(&self) -> Vec<u64> {
        let mut whole: Vec<u64> = self.traces.iter().map(|t| t.runs).collect();
        for e in &self.exits {
            let owner = &mut whole[e.owner as usize];
            *owner = owner.saturating_sub(self.reached(e));
        }
        whole
    }

    /// Back edges, by row, that traces of this loop took since this was last asked.
    pub fn taken_along(&mut self) -> Vec<(usize, u64)> {
        let exits = self.exits.iter().map(|e| (self.reached(e), &e.along));
        let traces = self.whole().into_iter().zip(self.traces.iter().map(|t| &t.along));
        let mut sums: Vec<(usize, u64)> = Vec::new();
        for (runs, along) in exits.chain(traces) {
            for (row, n) in along {
                let more = runs * u64::from(*n);
                match sums.iter_mut().find(|s| s.0 == *row) {
                    Some(sum) => sum.1 += more,
                    None => sums.push((*row, more)),
                }
            }
        }
        let before = |row: usize| self.told.iter().find(|t| t.0 == row).map_or(0, |t| t.1);
        let new = sums.iter().map(|s| (s.0, s.1.saturating_sub(before(s.0)))).collect();
        self.told = sums;
        new
    }

    /// The machine code is gone.
    pub fn forget_code(&mut self) {
        (self.growing_bytes, self.live) = (0, false);
        self.discards += 1;
    }
}

/// Whether an exit makes an object of a number: it has none yet.
fn is_made(val: &Val, sources: &[Source; 4]) -> bool {
    matches!(val, Val::Int { .. } | Val::Float { .. }) && sources[1] == Source::Const(0)
}

/// The trace each exit leaves.
fn owners(tree: &Tree) -> Vec<u32> {
    let mut owners = vec![0; tree.exits.len()];
    for (index, trace) in tree.traces.iter().enumerate() {
        let mut own = |e: ExitId| {
            if e != ExitId::NONE && e != ExitId::HEAD {
                owners[e.at()] = index as u32;
            }
        };
        trace.body.iter().for_each(|r| own(tree.inst(*r).exit));
        if let End::Leave(e) = trace.end {
            own(e);
        }
    }
    owners
}

/// An attribute. Its name is interned: types remember names that were asked for (4,096 of them), and every other text of the
/// same name would be remembered on its own, and take a place there.
///
/// # Safety
/// GIL held; a live object.
pub unsafe fn attribute(o: Obj, name: &CStr) -> *mut ffi::PyObject {
    // SAFETY: by contract; the name is checked.
    unsafe {
        let name = ffi::PyUnicode_InternFromString(name.as_ptr());
        if name.is_null() {
            return name;
        }
        let value = ffi::PyObject_GetAttr(ptr(o), name);
        ffi::Py_DECREF(name);
        value
    }
}

/// A text attribute of an object; empty when there is none.
///
/// # Safety
/// GIL held; a live object.
pub unsafe fn attribute_text(o: Obj, name: &CStr) -> String {
    // SAFETY: plain attribute access on a live object; the result is checked before use.
    unsafe {
        let value = attribute(o, name);
        if value.is_null() {
            ffi::PyErr_Clear();
            return String::new();
        }
        let mut size = 0;
        let data = ffi::PyUnicode_AsUTF8AndSize(value, &mut size);
        let text = if data.is_null() {
            ffi::PyErr_Clear();
            String::new()
        } else {
            String::from_utf8_lossy(std::slice::from_raw_parts(data.cast(), size as usize)).into_owned()
        };
        ffi::Py_DECREF(value);
        text
    }
}

/// The smallest line of the units from one to another; -1 when none has a line. The table of lines is read once: to ask for
/// each unit on its own would take time by the square of a loop's length.
///
/// # Safety
/// GIL held; a live code object.
pub unsafe fn smallest_line(code: Obj, first: u32, last: u32) -> i32 {
    // SAFETY: a live code object; every result is checked, and errors mean that nothing is known.
    unsafe {
        let end = std::ptr::null_mut::<ffi::PyObject>();
        let method = attribute(code, c"co_lines");
        let walk = if method.is_null() {
            method
        } else {
            ffi::PyObject_CallFunctionObjArgs(method, end)
        };
        let mut least = None;
        while !walk.is_null() {
            let entry = ffi::PyIter_Next(walk);
            if entry.is_null() {
                break;
            }
            let part = |k| {
                let o = ffi::PyTuple_GetItem(entry, k);
                let none = o.is_null() || o == ffi::Py_None();
                if none { -1 } else { ffi::PyLong_AsLong(o) }
            };
            let (from, to, line) = (part(0), part(1), part(2));
            ffi::Py_DECREF(entry);
            if from > i64::from(last) * 2 {
                break;
            }
            if to > i64::from(first) * 2 && line > 0 {
                least = Some(least.map_or(line, |l: i64| l.min(line)));
            }
        }
        ffi::Py_XDECREF(walk);
        ffi::Py_XDECREF(method);
        if !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
        }
        least.and_then(|line| i32::try_from(line).ok()).unwrap_or(-1)
    }
}
