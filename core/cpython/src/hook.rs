//! The back-edge hook: what `sys.monitoring` calls at every jump of watched code.
//!
//! One C function, registered for JUMP events of the optimiser's tool id. It counts back edges per loop head, asks
//! [`policy::step`] what to do, and answers DISABLE where it never wants to be asked again.
//!
//! Invariants
//!
//! - Everything here runs with the GIL held; [`Engine`] is reached through [`engine`] only.
//! - No reference into the engine is held while arbitrary Python code may run.

use crate::cache::{TICK_CALLBACKS, forget, release};
use crate::clock::Clock;
use crate::faults::caught;
use crate::frame::Frame;
use crate::helpers;
use crate::known::Known;
use crate::loops::{Loop, changes};
use crate::object::{ExtraFree, Symbols, obj, ptr, symbols};
use crate::probe::{Probe, probe};
use crate::rows::{Row, attribute, attribute_text, smallest_line};
use crate::run::Buffer;
use larder_jit::lower::{BREAKER, BUFFER_WORDS, LOG_WORDS};
use larder_jit::{Arena, Compiler, Host};
use larder_trace::budget::{Rate, work};
use larder_trace::bytecode::{Ins, Opcodes, decode};
use larder_trace::opt::Passes;
use larder_trace::policy::{self, Action, Event, Limits, State};
use larder_trace::record::{Builtin, Failure};
use larder_trace::{Layout, Obj};
use pyo3::ffi;
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Loops remembered for display; beyond this many, new ones are still optimised but not listed.
const ROWS_MAX: usize = 4096;
/// Bytes of machine code at most, unless asked otherwise, and what can be asked for.
pub const CODE_BYTES: usize = 1 << 20;
pub const CODE_BYTES_MAX: usize = 64 << 20;
/// Traces per tree at most.
pub const TRACES_MAX: usize = 24;
/// Why a loop is not compiled (again).
pub const DEAR: &str = "compiling more of it would take longer than it earns";
/// Below this many back edges before recording nothing is timed: tests that lower it do the same every time.
const TIMED_HOT: u32 = 24;
/// Attempts at a side trace of an exit.
const FAILED_MAX: u8 = 2;
/// Times a loop is recorded anew because its code runs in another namespace.
const REOPEN_ELSEWHERE: u8 = 8;

/// What hangs on a code object while it lives.
pub struct CodeInfo {
    /// Whether this code is watched at all.
    pub ours: bool,
    pub locals: u32,
    pub ins: Rc<[Ins]>,
    pub loops: Vec<Loop>,
}

pub struct Engine {
    pub layout: &'static Layout,
    pub symbols: &'static Symbols,
    pub opcodes: Opcodes,
    pub tool: u8,
    pub limits: Limits,
    pub rows: Vec<Row>,
    row_of: HashMap<(String, String, i32), usize>,
    extra: ffi::Py_ssize_t,
    disable: Obj,
    /// Set while the self-test runs: what the hook does with its frame.
    pub probe: Option<Probe>,
    pub callbacks: u64,
    /// Report every back edge of watched code, however cold or hopeless its loop.
    pub exact: bool,
    pub compiler: Compiler,
    pub arena: Arena,
    /// The data of every living code object that was met.
    pub infos: Vec<*mut CodeInfo>,
    /// The code object asked about last, and its data.
    pub last: (Obj, *mut CodeInfo),
    /// References that discarded loops held; see [`release`].
    pub freed: Vec<Obj>,
    /// What trees know by its address.
    pub known: Known,
    /// Loops discarded to make room.
    pub evictions: u64,
    pub builtins: Vec<(Obj, Builtin)>,
    /// The constants all code shares, by the argument of `LOAD_COMMON_CONSTANT`.
    pub constants: Vec<Obj>,
    /// The strings of one character.
    pub characters: Box<[usize; 256]>,
    /// Where traces put references that were the last ones.
    pub log: Box<[usize]>,
    pub passes: Passes,
    /// Python's say on whether code from a file is watched; null for all code.
    pub filter: Obj,
    pub clock: Clock,
    /// A mistake of ours was met where no single loop was to blame: nothing is compiled any more.
    pub broken: bool,
    /// What compiling takes on this machine.
    pub rate: Rate,
}

struct GilCell(UnsafeCell<Option<Engine>>);
// SAFETY: only touched with the GIL held, through `engine`.
unsafe impl Sync for GilCell {}
static ENGINE: GilCell = GilCell(UnsafeCell::new(None));

/// The engine, once [`start`] has run.
///
/// # Safety
/// The GIL is held, and no other reference from this function is alive.
pub unsafe fn engine() -> Option<&'static mut Engine> {
    // SAFETY: exclusive by contract.
    unsafe {
        if FORKED.load(Ordering::Relaxed) {
            in_child();
        }
        (*ENGINE.0.get()).as_mut()
    }
}

/// Set in a child of this process, which shares the parent's machine code until it has its own.
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

/// # Safety
/// As [`engine`].
#[cold]
unsafe fn in_child() {
    FORKED.store(false, Ordering::Relaxed);
    // SAFETY: exclusive by contract.
    let place = unsafe { &mut *ENGINE.0.get() };
    // SAFETY: no trace is running: a trace forks nothing, and its exit is over before anything else runs.
    let fresh = place.as_mut().is_none_or(|engine| unsafe { engine.start_over() });
    if !fresh {
        // Without memory for code nothing is compiled; what was is the parent's, and not looked at again.
        std::mem::forget(place.take());
    }
}

/// What trees name most often, of what never dies.
///
/// # Safety
/// GIL held.
unsafe fn common(s: &Symbols) -> Vec<Obj> {
    let types = [
        &raw const ffi::PyList_Type,
        &raw const ffi::PyRange_Type,
        &raw const ffi::PyDict_Type,
        &raw const ffi::PyUnicode_Type,
        &raw const ffi::PyTuple_Type,
        &raw const ffi::PyFloat_Type,
        &raw const ffi::PyLong_Type,
        &raw const ffi::PyBool_Type,
        &raw const ffi::PySet_Type,
        &raw const ffi::PyBytes_Type,
        &raw const ffi::PyType_Type,
    ];
    let found = types.iter().map(|t| Obj(*t as usize));
    let mut found: Vec<Obj> = found.chain([s.enumerate_type, s.zip_type].map(Obj)).collect();
    // SAFETY: types of the interpreter.
    found.retain(|t| unsafe { crate::object::refcount(*t) } < 0);
    found
}

/// Prepares the engine; the opcode numbers come from the running interpreter's own tables.
///
/// # Errors
/// Text saying what this interpreter lacks.
///
/// # Safety
/// The GIL is held and `disable` is `sys.monitoring.DISABLE`.
pub unsafe fn start(
    layout: &'static Layout,
    opcodes: Opcodes,
    tool: u8,
    disable: Obj,
    builtins: Vec<(Obj, Builtin)>,
    constants: Vec<Obj>,
) -> Result<(), String> {
    let symbols = symbols()?;
    // SAFETY: GIL held; the free function below matches the signature.
    unsafe {
        if engine().is_some() {
            return Ok(());
        }
        let characters = helpers::characters()?;
        let log = vec![0usize; LOG_WORDS].into_boxed_slice();
        let host = Host {
            layout: *layout,
            breaker_mask: layout.breaker_mask,
            true_object: ffi::Py_True() as usize,
            false_object: ffi::Py_False() as usize,
            chars: characters.as_ptr() as usize,
            log: log.as_ptr() as usize,
            helpers: helpers::table(),
        };
        if helpers::table().all().iter().any(|helper| helper.address == 0) {
            return Err("a function that machine code calls is not there".into());
        }
        larder_jit::packed::set_common(&common(symbols));
        let compiler = Compiler::new(host)?;
        let arena = Arena::new(CODE_BYTES_MAX, CODE_BYTES, &helpers::table().all())
            .map_err(|e| format!("no memory for machine code: {e}"))?;
        let extra = (symbols.request_extra)(free_info as ExtraFree);
        if extra < 0 {
            return Err("every slot for data on code objects is taken by other tools".into());
        }
        if libc::pthread_atfork(None, None, Some(forked)) != 0 {
            return Err("no memory to be told of forks".into());
        }
        ffi::Py_INCREF(ptr(disable));
        *ENGINE.0.get() = Some(Engine {
            layout,
            symbols,
            opcodes,
            tool,
            limits: Limits::default(),
            rows: Vec::new(),
            row_of: HashMap::new(),
            extra,
            disable,
            probe: None,
            callbacks: 0,
            exact: false,
            compiler,
            arena,
            infos: Vec::new(),
            last: (Obj::NULL, std::ptr::null_mut()),
            freed: Vec::new(),
            known: Known::default(),
            evictions: 0,
            builtins,
            constants,
            characters,
            log,
            passes: Passes::ALL,
            filter: Obj::NULL,
            clock: Clock::new(),
            broken: false,
            rate: Rate::default(),
        });
    }
    Ok(())
}

unsafe extern "C" fn free_info(info: *mut c_void) {
    if !info.is_null() {
        // SAFETY: the pointer is the box this module attached, and the code object is going away.
        let mut info = unsafe { Box::from_raw(info.cast::<CodeInfo>()) };
        // SAFETY: GIL held, as whenever objects die; the code cannot be running.
        if let Some(engine) = unsafe { engine() } {
            // SAFETY: as above; the box is ours.
            let done = caught(|| unsafe { forget(engine, &raw mut *info) });
            if done.is_none() {
                // What was left of its loops is leaked: it may be what failed.
                std::mem::take(&mut info.loops).into_iter().for_each(std::mem::forget);
            }
        }
    }
}

impl Engine {
    /// The data of a code object, made on first use.
    ///
    /// # Safety
    /// GIL held; `code` is a live code object. The pointer lives as long as the code object.
    #[inline(always)]
    pub unsafe fn info(&mut self, code: Obj) -> *mut CodeInfo {
        if self.last.0 == code {
            return self.last.1;
        }
        // SAFETY: by contract.
        let info = unsafe { self.find_info(code) };
        self.last = (code, info);
        info
    }

    /// # Safety
    /// As [`Engine::info`].
    #[inline(never)]
    unsafe fn find_info(&mut self, code: Obj) -> *mut CodeInfo {
        // SAFETY: the C functions get a live code object and our own index.
        unsafe {
            let mut found: *mut c_void = std::ptr::null_mut();
            (self.symbols.get_extra)(ptr(code), self.extra, &mut found);
            if !found.is_null() {
                return found.cast();
            }
            let ins = self.decoded(code);
            let locals = crate::object::load::<i32>(code.0, self.layout.code_slots) as u32;
            let info = Box::into_raw(Box::new(CodeInfo {
                ours: self.wanted(code),
                locals,
                ins,
                loops: Vec::new(),
            }));
            (self.symbols.set_extra)(ptr(code), self.extra, info.cast());
            self.infos.push(info);
            info
        }
    }

    /// A code object's instructions as the compiler made them.
    ///
    /// # Safety
    /// GIL held; a live code object.
    pub unsafe fn decoded(&self, code: Obj) -> Rc<[Ins]> {
        // SAFETY: `PyCode_GetCode` gives a new bytes object, checked before use.
        unsafe {
            let bytes = (self.symbols.code_bytes)(ptr(code));
            let mut data: *mut std::ffi::c_char = std::ptr::null_mut();
            let mut size: ffi::Py_ssize_t = 0;
            let mut ins = Vec::new();
            if !bytes.is_null() && ffi::PyBytes_AsStringAndSize(bytes, &mut data, &mut size) == 0 {
                ins = decode(std::slice::from_raw_parts(data.cast(), size as usize), &self.opcodes);
            }
            ffi::Py_XDECREF(bytes);
            ins.into()
        }
    }

    /// Asks the filter about a code object's file.
    unsafe fn wanted(&self, code: Obj) -> bool {
        if self.filter.is_null() {
            return true;
        }
        // SAFETY: a callable and a live code object; errors mean no.
        unsafe {
            let file = attribute(code, c"co_filename");
            let said = ffi::PyObject_CallFunctionObjArgs(ptr(self.filter), file, std::ptr::null_mut::<ffi::PyObject>());
            let yes = !said.is_null() && ffi::PyObject_IsTrue(said) == 1;
            if said.is_null() {
                ffi::PyErr_Clear();
            }
            ffi::Py_XDECREF(said);
            ffi::Py_XDECREF(file);
            yes
        }
    }

    /// Runs compiled loops from one head until the interpreter is wanted; false when the frame does not fit. An exit at
    /// the head of another loop goes on there at once.
    ///
    /// # Safety
    /// GIL held; `frame` is the running frame, at the loop's head.
    unsafe fn run(&mut self, info: &mut CodeInfo, index: usize, frame: Frame, breaker: *const u32) -> bool {
        let mut at = index;
        let mut ran = false;
        loop {
            // SAFETY: by contract, and every exit leaves the frame at a place where it may go on.
            let Some((exit, pc)) = (unsafe { self.run_one(info, at, frame, breaker, !ran) }) else {
                return ran;
            };
            if ran && let Some(row) = info.loops[at].row.and_then(|row| self.rows.get_mut(row)) {
                row.linked += 1;
            }
            ran = true;
            // Something to see to, or a loop entered at its own head: let the interpreter go on.
            // SAFETY: the thread's own word.
            let wanted = unsafe { breaker.read_volatile() } & self.layout.breaker_mask != 0;
            if exit == 0 || wanted {
                return ran;
            }
            let next = info.loops.iter().position(|l| l.header == pc && l.compiled.is_some());
            match next {
                Some(next) if next != at => at = next,
                _ => return ran,
            }
        }
    }

    /// Runs one tree and grows it where it leaves often; the exit taken and the code unit it leads to. `first`: the hook was
    /// called for it.
    ///
    /// # Safety
    /// As [`Engine::run`].
    unsafe fn run_one(
        &mut self,
        info: &mut CodeInfo,
        index: usize,
        frame: Frame,
        breaker: *const u32,
        first: bool,
    ) -> Option<(usize, u32)> {
        let l = &mut info.loops[index];
        if frame.depth(info.locals as usize) != l.compiled.as_ref()?.packed.depth as usize {
            return None;
        }
        let timed = self.limits.hot >= TIMED_HOT;
        let watch = if timed { l.begin() } else { None };
        let (row, header, c) = (l.row, l.header, l.compiled.as_mut()?);
        let mut buffer: Buffer = [MaybeUninit::uninit(); BUFFER_WORDS];
        buffer[BREAKER].write(breaker as u64);
        let counters = c.packed.counters();
        let before = changes();
        // SAFETY: by contract; the log is the one the code was compiled for.
        let (exit, pc) = unsafe {
            if !c.enter(frame, self, &info.ins, &mut buffer) {
                c.refuse();
                if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
                    row.refused += 1;
                }
                // The same code in another namespace: what was recorded is for that.
                if c.elsewhere(frame) && l.reopened < REOPEN_ELSEWHERE {
                    l.reopened += 1;
                    self.discard(l, Event::Reopened);
                }
                return None;
            }
            let row = row.and_then(|row| self.rows.get_mut(row));
            let code = (&mut self.arena, self.log.as_ptr());
            c.run(frame, self.layout, code, &mut buffer, row, header)
        };
        self.arena.free();
        if let Some(watch) = watch {
            let l = &mut info.loops[index];
            // SAFETY: the entry has ended; these are its words.
            let worth = unsafe { l.worth(&buffer, counters, exit) };
            l.end(watch, if first { self.clock.entry_ns() } else { 0 }, worth);
        }
        // What died at the exit may have run anything, which may have discarded this loop, or put another tree in its place.
        let Some(c) = info.loops[index].compiled.as_ref().filter(|_| changes() == before) else {
            return Some((exit, pc));
        };
        let (taken, side) = (u32::from(c.packed.taken(exit)), self.limits.side.min(255));
        if exit == 0 || taken < side {
            return Some((exit, pc));
        }
        let Some(growth) = &c.growth else {
            if taken == side && !c.packed.linked(exit) {
                info.loops[index].reopened += 1;
                self.discard(&mut info.loops[index], Event::Reopened);
            }
            return Some((exit, pc));
        };
        // Most exits that are taken often are the loop's end, of which nothing came.
        if growth.failed[exit] >= FAILED_MAX || c.packed.linked(exit) {
            return Some((exit, pc));
        }
        let tree = growth.ahead.as_ref().map_or(&growth.tree, |ahead| &ahead.0);
        let new = tree.exits[exit].side.is_none() && tree.traces.len() < TRACES_MAX;
        let pending = growth.tree.exits[exit].side.is_none() && tree.exits[exit].side.is_some();
        let wanted = new || pending;
        let size = if wanted { work(tree) } else { 0 };
        let hot = wanted && info.loops[index].may_grow(size, self.rate());
        if wanted && !hot {
            self.tell_why(&info.loops[index], DEAR);
        }
        // SAFETY: the frame stands at that exit now.
        let grown = !hot || unsafe { self.try_grow(info, index, frame, Some(exit)) }.is_ok();
        if !grown
            && let Some(growth) = info.loops[index].compiled.as_mut().and_then(|c| c.growth.as_mut())
            && let Some(failed) = growth.failed.get_mut(exit)
        {
            *failed = failed.saturating_add(1);
        }
        Some((exit, pc))
    }

    /// What compiling takes, where time counts.
    pub fn rate(&self) -> Option<Rate> {
        (self.limits.hot >= TIMED_HOT).then_some(self.rate)
    }

    /// Tells the loop's row why there is no more machine code.
    pub fn tell_why(&mut self, l: &Loop, why: &'static str) {
        if let Some(row) = l.row.and_then(|row| self.rows.get_mut(row)) {
            row.why = why;
        }
    }

    pub fn row(&mut self, code: Obj, header: u32, back: u32) -> Option<usize> {
        let text = |name: &CStr| {
            // SAFETY: attribute of a live code object; the result is a str.
            unsafe { attribute_text(code, name) }
        };
        // A `while` repeats its test at the end of the loop, so its own line is the smallest on the way.
        // SAFETY: a live code object.
        let line = unsafe { smallest_line(code, header, back) };
        let key = (text(c"co_filename"), text(c"co_qualname"), line);
        if let Some(found) = self.row_of.get(&key) {
            return Some(*found);
        }
        if self.rows.len() >= ROWS_MAX {
            return None;
        }
        self.rows.push(Row::new(key.1.clone(), key.0.clone(), line));
        self.row_of.insert(key, self.rows.len() - 1);
        Some(self.rows.len() - 1)
    }

    /// Forgets what was counted and compiled; loops start again from cold. They stay where they are: a signal's handler may
    /// ask for this while one of them is being recorded.
    ///
    /// # Safety
    /// GIL held; no trace is running and no reference into a loop is held.
    pub unsafe fn clear(&mut self) {
        for info in self.infos.clone() {
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &mut (*info).loops } {
                self.discard(l, Event::Discarded);
                l.forget();
            }
        }
        // SAFETY: as this function.
        unsafe { self.sweep() };
        self.rows.clear();
        self.row_of.clear();
        self.callbacks = 0;
        self.evictions = 0;
    }
}

/// An index argument of the callback: a small non-negative int.
unsafe fn unit(arg: *mut ffi::PyObject, l: &Layout) -> usize {
    // SAFETY: the interpreter passes ints here.
    unsafe { crate::object::int_value(obj(arg), l).unwrap_or(0) as usize / 2 }
}

impl Engine {
    /// Takes what the hook's call costs from a loop that ran while passes were timed, given what a pass of it takes without
    /// the hook. The ns of one call; `None` if the loop did not run long enough.
    ///
    /// # Safety
    /// GIL held; a live code object.
    pub unsafe fn gauge(&mut self, code: Obj, pass_ns: u32) -> Option<u32> {
        // SAFETY: by contract.
        let usual = unsafe { &*self.info(code) }.loops.first()?.pace.usual()?;
        self.clock.gauging = false;
        self.clock.call_ns = usual.saturating_sub(pass_ns).clamp(10, 2000);
        Some(self.clock.call_ns)
    }
}

/// The callback for JUMP events: `(code, offset, destination)`.
///
/// # Safety
/// Called by the interpreter only.
pub unsafe extern "C" fn on_jump(
    _self: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by sys.monitoring with the GIL held; the engine is not borrowed any more when `release` asks.
    unsafe {
        let answer = caught(|| back_edge(args, count)).unwrap_or_else(|| failed(args, count));
        release();
        answer
    }
}

/// After a mistake of ours: the loop is left to the interpreter, which goes on where the frame stands.
#[cold]
unsafe fn failed(args: *mut *mut ffi::PyObject, count: ffi::Py_ssize_t) -> *mut ffi::PyObject {
    // SAFETY: as `on_jump`; what was borrowed is no longer.
    unsafe {
        if let Some(engine) = engine()
            && count >= 3
        {
            let (code, to) = (obj(*args), unit(*args.add(2), engine.layout));
            engine.give_up(code, to);
        }
        none()
    }
}

unsafe fn back_edge(args: *mut *mut ffi::PyObject, count: ffi::Py_ssize_t) -> *mut ffi::PyObject {
    // SAFETY: called by sys.monitoring with the GIL held and three arguments.
    unsafe {
        let Some(engine) = engine() else { return none() };
        engine.callbacks += 1;
        if engine.callbacks.is_multiple_of(TICK_CALLBACKS) {
            engine.tick();
        }
        let disable = engine.disable;
        if count < 3 {
            return new_reference(disable);
        }
        let code = obj(*args);
        let (from, to) = (unit(*args.add(1), engine.layout), unit(*args.add(2), engine.layout));
        if engine.probe.is_some() {
            probe(engine, code, from, to);
            return none();
        }
        if to > from {
            return new_reference(disable);
        }
        let info = &mut *engine.info(code);
        if !info.ours {
            return new_reference(disable);
        }
        let index = match info.loops.iter().position(|l| l.header as usize == to) {
            Some(index) => index,
            None => {
                let row = engine.row(code, to as u32, from as u32);
                info.loops.push(Loop::new(to as u32, row));
                info.loops.len() - 1
            }
        };
        if std::mem::take(&mut info.loops[index].unlisted) {
            info.loops[index].row = engine.row(code, to as u32, from as u32);
        }
        let thread = ffi::PyThreadState_Get() as usize;
        let frame = Frame::of(thread, engine.layout);
        let edge = (code, to as u32, frame.address());
        let l = &mut info.loops[index];
        // Warm loops are about to be recorded, if all goes well.
        let timed = engine.clock.gauging
            || engine.limits.record && engine.limits.hot >= TIMED_HOT && l.head.state == State::Warm;
        if timed {
            engine.clock.arrive(edge, &mut l.pace);
        } else {
            engine.clock.disturb();
        }
        let mut event = Event::BackEdge;
        let (mut why, mut ran) = ("", false);
        let stood = frame.unit();
        if info.loops[index].compiled.is_some() && !frame.watched_by_others(engine.tool) {
            ran = engine.run(info, index, frame, crate::frame::breaker(thread, engine.layout));
            // An exit to the very instruction that called: the interpreter sees no jump, and goes round without asking.
            if ran
                && stood == from
                && frame.unit() == from
                && let Some(row) = info.loops[index].row.and_then(|row| engine.rows.get_mut(row))
            {
                row.interpreted += 1;
            }
            if !info.loops[index].pays() {
                event = Event::Unprofitable;
                why = info.loops[index].why_not();
            } else if ran {
                return none();
            }
        }
        if event == Event::Unprofitable {
            let head = info.loops[index].head;
            engine.discard(&mut info.loops[index], Event::Unprofitable);
            info.loops[index].head = head;
        }
        let (mut head, mut action) = policy::step(info.loops[index].head, event, &engine.limits);
        if action == Action::Record {
            let done = if frame.watched_by_others(engine.tool) {
                Err(Failure {
                    why: "another tool watches this code",
                    soon: false,
                })
            } else if info
                .loops
                .iter()
                .any(|l| (to..from).contains(&(l.header as usize)) && l.learns())
            {
                Err(Failure {
                    why: "a loop inside is about to grow",
                    soon: true,
                })
            } else if !info.loops[index].may_begin(engine.rate()) {
                Err(Failure { why: DEAR, soon: false })
            } else {
                engine.try_grow(info, index, frame, None)
            };
            let outcome = match done {
                Ok(()) => Event::Closed,
                Err(f) if f.soon => Event::Missed,
                Err(_) => Event::Aborted,
            };
            why = done.err().map_or("", |f| f.why);
            (head, action) = policy::step(head, outcome, &engine.limits);
        }
        info.loops[index].head = head;
        if let Some(row) = info.loops[index].row.and_then(|row| engine.rows.get_mut(row)) {
            row.interpreted += u64::from(!ran);
            row.state = head.state;
            row.stopped |= action == Action::Disable && !engine.exact;
            if !why.is_empty() {
                row.why = why;
            }
        }
        if timed && action == Action::Nothing {
            engine.clock.leave(edge);
        }
        match action {
            Action::Disable if !engine.exact => new_reference(disable),
            Action::Disable | Action::Nothing | Action::Record => none(),
        }
    }
}

unsafe fn none() -> *mut ffi::PyObject {
    // SAFETY: None is always there.
    unsafe { new_reference(obj(ffi::Py_None())) }
}

unsafe fn new_reference(o: Obj) -> *mut ffi::PyObject {
    // SAFETY: a live object.
    unsafe { crate::object::incref(o) };
    ptr(o)
}
