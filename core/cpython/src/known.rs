//! What trees know by its address: who keeps it alive, and what becomes of the trees when it dies.
//!
//! A tree compares with addresses of types, functions, modules. An address must not be used again while a tree still compares
//! with it, and a program must not find that a tree kept something alive. So what supports weak references is held by one, whose
//! callback discards every tree that names the object, before its memory is freed. There is one entry for each object, however
//! many trees name it.
//!
//! | object | held by |
//! |---|---|
//! | numbers, strings, bytes, tuples of such | a reference: nobody notices their death |
//! | types, functions, code, modules, built-in functions | a weak reference |
//! | the namespace of a module in `sys.modules` | that module's weak reference |
//! | another namespace | a watcher of the dict |
//! | the frame's own namespace | nothing: it is asked for by what shares it only, which is known or compared |
//! | cells, constants, what a method is bound to | nothing, if its function, code or method is known by the same tree |
//! | anything else (descriptors of built-in types) | a reference |
//!
//! Invariants
//!
//! - Whatever a living tree names is in the table, or owned for life by something that is.
//! - The table keeps what no tree names any more until the next tick; see [`Engine::sweep`].
//! - An object that is being collected is known by no tree: its callback may have been called already.

use crate::cache::release;
use crate::faults::or_give_up_all;
use crate::frame::Frame;
use crate::hook::{Engine, engine};
use crate::loops::Loop;
use crate::making::is_quiet;
use crate::object::{Symbols, load, obj, ptr, refcount, type_of};
use larder_trace::policy::Event;
use larder_trace::{Layout, Obj};
use pyo3::ffi;
use std::cell::UnsafeCell;
use std::collections::{HashMap, HashSet};
use std::ffi::c_int;

/// Deaths of what a loop was compiled for, after which it must have earned what compiling it took.
const LOST_MAX: u8 = 3;
const GONE: &str = "what it was compiled for is gone";

// Fields of a type object and of a collector's header: the same in every version served.
const WEAK_LIST: usize = 208;
const HEADER: usize = 16;
const COLLECTING: usize = 2;
/// `PyDict_EVENT_DEALLOCATED`.
const DEALLOCATED: c_int = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Strong,
    /// The weak reference.
    Weak(Obj),
    /// A namespace, by its module.
    Module(Obj),
    Watched,
}

/// See the module.
#[derive(Default)]
pub struct Known {
    table: HashMap<Obj, Hold>,
    /// What weak references call; made with the first.
    callback: Option<Obj>,
    watcher: Option<c_int>,
    /// Trees have gone since the table was swept.
    pub stale: bool,
}

struct Method(UnsafeCell<ffi::PyMethodDef>);
// SAFETY: written never, read by the interpreter with the GIL held.
unsafe impl Sync for Method {}
static ON_DEATH: Method = Method(UnsafeCell::new(ffi::PyMethodDef {
    ml_name: c"larder_death".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: on_death },
    ml_flags: ffi::METH_O,
    ml_doc: std::ptr::null(),
}));

impl Known {
    /// Sees to it that trees which name these objects will not outlive them.
    ///
    /// # Errors
    /// Why it cannot; what was held so far goes at the next tick.
    ///
    /// # Safety
    /// GIL held; live objects; the frame that runs.
    pub unsafe fn hold(&mut self, all: &[Obj], frame: Frame, l: &Layout, s: &Symbols) -> Result<(), &'static str> {
        for o in all {
            if o.is_null() || self.table.contains_key(o) {
                continue;
            }
            // SAFETY: by contract.
            if let Err(why) = unsafe { self.add(*o, all, frame, l, s) } {
                self.stale = true;
                return Err(why);
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Known::hold`].
    unsafe fn add(&mut self, o: Obj, all: &[Obj], frame: Frame, l: &Layout, s: &Symbols) -> Result<(), &'static str> {
        // SAFETY: by contract; each field is read once the type that has it is established.
        unsafe {
            if refcount(o) < 0 {
                return Ok(());
            }
            let hold = if is_quiet(o, l) {
                Hold::Strong
            } else if type_of(o).0 == &raw const ffi::PyDict_Type as usize {
                if o == frame.globals() {
                    return Ok(());
                }
                match module_of(o, s) {
                    Some(module) => {
                        if !self.table.contains_key(&module) {
                            let hold = self.weak(module)?;
                            self.table.insert(module, hold);
                        }
                        Hold::Module(module)
                    }
                    None => self.watch(o, s)?,
                }
            } else if load::<isize>(type_of(o).0, WEAK_LIST) != 0 {
                self.weak(o)?
            } else if owned(o, all, type_of(frame.code()), l, s) {
                return Ok(());
            } else {
                Hold::Strong
            };
            if hold == Hold::Strong {
                ffi::Py_INCREF(ptr(o));
            }
            self.table.insert(o, hold);
            Ok(())
        }
    }

    /// # Safety
    /// GIL held; a live object that supports weak references.
    unsafe fn weak(&mut self, o: Obj) -> Result<Hold, &'static str> {
        // SAFETY: by contract; results are checked. The collector's header lies before its objects.
        unsafe {
            let flags = ffi::PyType_GetFlags(ptr(type_of(o)).cast()) as u64;
            if flags & ffi::Py_TPFLAGS_HAVE_GC != 0 && load::<usize>(o.0 - HEADER, 8) & COLLECTING != 0 {
                return Err("an object that is being collected");
            }
            let callback = match self.callback {
                Some(callback) => callback,
                None => {
                    let end = std::ptr::null_mut();
                    let made = obj(ffi::PyCFunction_NewEx(ON_DEATH.0.get(), end, end));
                    if !made.is_null() {
                        self.callback = Some(made);
                    }
                    made
                }
            };
            let made = if callback.is_null() {
                std::ptr::null_mut()
            } else {
                ffi::PyWeakref_NewRef(ptr(o), ptr(callback))
            };
            if made.is_null() {
                ffi::PyErr_Clear();
                return Err("no memory for a weak reference");
            }
            Ok(Hold::Weak(obj(made)))
        }
    }

    /// # Safety
    /// GIL held; a live dict.
    unsafe fn watch(&mut self, dict: Obj, s: &Symbols) -> Result<Hold, &'static str> {
        // SAFETY: by contract; the callback matches the signature.
        unsafe {
            let watcher = match self.watcher {
                Some(watcher) => watcher,
                None => (s.add_watcher)(on_dict),
            };
            if watcher < 0 || (s.watch)(watcher, ptr(dict)) != 0 {
                ffi::PyErr_Clear();
                return Err("a namespace whose end nobody would tell");
            }
            self.watcher = Some(watcher);
            Ok(Hold::Watched)
        }
    }

    /// Takes an object that dies out of the table; it and the namespaces that die with it. The weak reference is to be given back.
    fn remove(&mut self, o: Obj) -> (Vec<Obj>, Option<Obj>) {
        let reference = match self.table.remove(&o) {
            Some(Hold::Weak(reference)) => Some(reference),
            _ => None,
        };
        let with = |entry: (&Obj, &Hold)| (*entry.1 == Hold::Module(o)).then_some(*entry.0);
        let mut dead: Vec<Obj> = self.table.iter().filter_map(with).collect();
        self.table.retain(|o, _| !dead.contains(o));
        dead.push(o);
        (dead, reference)
    }
}

/// Whether something else that the same tree names owns an object for as long as it lives itself; given the type of code.
///
/// # Safety
/// GIL held; live objects.
unsafe fn owned(o: Obj, all: &[Obj], code: Obj, l: &Layout, s: &Symbols) -> bool {
    // SAFETY: each field is read once the type that has it is established; tuples hold live objects.
    unsafe {
        let within = |tuple: usize| {
            let count: usize = if tuple == 0 { 0 } else { load(tuple, l.var_size) };
            (0..count).any(|k| load::<usize>(tuple, l.tuple_items + 8 * k) == o.0)
        };
        all.iter().filter(|by| !by.is_null()).any(|by| {
            let t = type_of(*by).0;
            if t == s.function_type {
                within(load(by.0, l.func_closure))
            } else if t == s.builtin_type {
                load::<usize>(by.0, l.builtin_self) == o.0
            } else {
                t == code.0 && within(load(by.0, l.code_consts))
            }
        })
    }
}

/// The module of a namespace, if `sys.modules` has it under its name.
///
/// # Safety
/// GIL held; a live dict.
unsafe fn module_of(dict: Obj, s: &Symbols) -> Option<Obj> {
    // SAFETY: looking a string up in plain dicts runs no code; a module's type is asked before its dict is.
    unsafe {
        let name = ffi::PyDict_GetItemString(ptr(dict), c"__name__".as_ptr());
        let modules = ffi::PyImport_GetModuleDict();
        let plain = |o: *mut ffi::PyObject, t: usize| !o.is_null() && type_of(obj(o)).0 == t;
        if !plain(name, &raw const ffi::PyUnicode_Type as usize)
            || !plain(modules, &raw const ffi::PyDict_Type as usize)
        {
            return None;
        }
        let found = ffi::PyDict_GetItemWithError(modules, name);
        if found.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let module = type_of(obj(found)).0 == s.module_type && refcount(obj(found)) > 0;
        (module && obj(ffi::PyModule_GetDict(found)) == dict).then(|| obj(found))
    }
}

impl Engine {
    /// Discards the trees that name an object which dies now.
    ///
    /// # Safety
    /// GIL held; no trace is running and no reference into a loop is held.
    unsafe fn died(&mut self, o: Obj) {
        let (dead, reference) = self.known.remove(o);
        self.freed.extend(reference);
        for info in self.infos.clone() {
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &mut (*info).loops } {
                if !l.names(&dead) {
                    continue;
                }
                l.lost = l.lost.saturating_add(1);
                let given_up = l.lost >= LOST_MAX && l.doubtful();
                self.discard(
                    l,
                    if given_up {
                        Event::Unprofitable
                    } else {
                        Event::Discarded
                    },
                );
                if let Some(row) = l.row.and_then(|row| self.rows.get_mut(row)) {
                    row.why = GONE;
                }
            }
        }
    }

    /// Lets go of what no tree names any more.
    ///
    /// # Safety
    /// As [`Engine::tick`].
    pub unsafe fn sweep(&mut self) {
        if !std::mem::take(&mut self.known.stale) {
            return;
        }
        let mut used: HashSet<Obj> = HashSet::new();
        for info in &self.infos {
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &(**info).loops } {
                l.each_named(|o| {
                    used.insert(o);
                });
            }
        }
        for (o, hold) in &self.known.table {
            if let Hold::Module(module) = hold
                && used.contains(o)
            {
                used.insert(*module);
            }
        }
        let (freed, watcher, symbols) = (&mut self.freed, self.known.watcher, self.symbols);
        self.known.table.retain(|o, hold| {
            if used.contains(o) {
                return true;
            }
            match *hold {
                Hold::Strong => freed.push(*o),
                Hold::Weak(reference) => freed.push(reference),
                Hold::Module(_) => {}
                Hold::Watched => {
                    // SAFETY: alive, or its end would have been told.
                    if unsafe { (symbols.unwatch)(watcher.unwrap_or(-1), ptr(*o)) } != 0 {
                        // SAFETY: GIL held.
                        unsafe { ffi::PyErr_Clear() };
                    }
                }
            }
            false
        });
    }
}

impl Loop {
    /// Every object that its trees name.
    fn each_named(&self, mut take: impl FnMut(Obj)) {
        let Some(c) = &self.compiled else { return };
        c.packed.objects().for_each(&mut take);
        if let Some((tree, _)) = c.growth.as_ref().and_then(|g| g.ahead.as_ref()) {
            tree.objects().into_iter().for_each(take);
        }
    }

    fn names(&self, any: &[Obj]) -> bool {
        let mut found = false;
        self.each_named(|o| found |= any.contains(&o));
        found
    }
}

/// What a weak reference calls when its object dies.
///
/// # Safety
/// Called by the interpreter only.
unsafe extern "C" fn on_death(_self: *mut ffi::PyObject, reference: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: GIL held, as whenever objects die; no trace is running, for nothing dies in one. What is released runs no code.
    unsafe {
        or_give_up_all(|| {
            if let Some(engine) = engine() {
                let of = |entry: (&Obj, &Hold)| (*entry.1 == Hold::Weak(obj(reference))).then_some(*entry.0);
                let found = engine.known.table.iter().find_map(of);
                if let Some(o) = found {
                    engine.died(o);
                }
            }
        });
        release();
        ffi::Py_INCREF(ffi::Py_None());
        ffi::Py_None()
    }
}

/// What a watched dict calls.
///
/// # Safety
/// Called by the interpreter only.
unsafe extern "C" fn on_dict(
    event: c_int,
    dict: *mut ffi::PyObject,
    _key: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
) -> c_int {
    if event == DEALLOCATED {
        // SAFETY: as `on_death`.
        unsafe {
            or_give_up_all(|| {
                if let Some(engine) = engine() {
                    engine.died(obj(dict));
                }
            });
            release();
        }
    }
    0
}
