//! The running frame: reading its slots, and pointing it somewhere else.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::object::{load, refcount, store};
use larder_trace::{Layout, Obj};
use pyo3::ffi;

/// The bit of a tagged slot that says the slot does not own its object; an empty slot is this bit alone.
const NOT_OWNED: usize = 1;

/// The frame of the Python code that is being interpreted now.
#[derive(Clone, Copy)]
pub struct Frame {
    base: usize,
    l: &'static Layout,
}

impl Frame {
    /// # Safety
    /// The GIL is held, a Python frame is running, and `l` describes this interpreter.
    #[inline(always)]
    pub unsafe fn current(l: &'static Layout) -> Frame {
        // SAFETY: by contract.
        unsafe { Frame::of(ffi::PyThreadState_Get() as usize, l) }
    }

    /// # Safety
    /// As [`Frame::current`]; `thread` is the state of the running thread.
    #[inline(always)]
    pub unsafe fn of(thread: usize, l: &'static Layout) -> Frame {
        // SAFETY: the thread state of the running thread is live, and its frame pointer too.
        unsafe {
            let at: usize = load(thread, l.thread_frame);
            Frame {
                base: if l.thread_frame_indirect { load(at, 0) } else { at },
                l,
            }
        }
    }

    /// Where it lies: frames that follow each other may lie in one place.
    pub fn address(self) -> usize {
        self.base
    }

    #[inline(always)]
    fn field(self, offset: usize) -> Obj {
        // SAFETY: `base` is a live frame and `offset` one of its pointer fields.
        unsafe { Obj(load(self.base, offset)) }
    }

    pub fn code(self) -> Obj {
        Obj(self.field(self.l.frame_code).0 & !1)
    }
    pub fn globals(self) -> Obj {
        self.field(self.l.frame_globals)
    }
    pub fn builtins(self) -> Obj {
        self.field(self.l.frame_builtins)
    }
    pub fn locals(self) -> Obj {
        self.field(self.l.frame_locals)
    }

    /// Entries on the stack, above `locals` fast locals.
    #[inline(always)]
    pub fn depth(self, locals: usize) -> usize {
        // SAFETY: the interpreter stored its stack top before it called out.
        unsafe {
            if self.l.tagged_slots {
                let top: usize = load(self.base, self.l.frame_stacktop);
                (top - self.base - self.l.frame_slots) / 8 - locals
            } else {
                load::<i32>(self.base, self.l.frame_stacktop) as usize - locals
            }
        }
    }

    /// # Safety
    /// Entries below the new top are valid; those above are not owned by the frame any more.
    #[inline(always)]
    pub unsafe fn set_depth(self, locals: usize, depth: usize) {
        // SAFETY: the caller keeps the stack consistent.
        unsafe {
            if self.l.tagged_slots {
                let top = self.base + self.l.frame_slots + (locals + depth) * 8;
                store(self.base, self.l.frame_stacktop, top);
            } else {
                store::<i32>(self.base, self.l.frame_stacktop, (locals + depth) as i32);
            }
        }
    }

    #[inline(always)]
    fn bits(self, slot: usize) -> usize {
        // SAFETY: slots below the stack top are initialised.
        unsafe { load(self.base, self.l.frame_slots + slot * 8) }
    }

    /// The object in a slot, borrowed; null when empty; or a position (see [`Obj::as_position`]).
    #[inline(always)]
    pub fn get(self, slot: usize) -> Obj {
        let bits = self.bits(slot);
        let plain = !self.l.tagged_slots || Obj(bits).as_position().is_some();
        Obj(if plain { bits } else { bits & !NOT_OWNED })
    }

    /// Whether a slot relies on another owner of its object, so that the reference count says one less.
    #[inline(always)]
    pub fn borrows(self, slot: usize) -> bool {
        self.l.tagged_slots && self.bits(slot) & NOT_OWNED != 0
    }

    /// What a slot holds of its own: null when it is empty or relies on another owner.
    #[inline(always)]
    pub fn owned(self, slot: usize) -> Obj {
        if self.borrows(slot) {
            Obj::NULL
        } else {
            Obj(self.bits(slot))
        }
    }

    /// Puts an owned reference (or null) in a slot and returns what the slot owned, now owned by the caller.
    ///
    /// # Safety
    /// The slot lies inside the frame; the value is live, null, or a position.
    #[inline(always)]
    pub unsafe fn put(self, slot: usize, value: Obj) -> Obj {
        let old = self.owned(slot);
        // SAFETY: by contract. What is immortal is never counted: its slots must say so.
        unsafe {
            let object = !value.is_null() && value.as_position().is_none();
            let uncounted = self.l.tagged_slots && !(object && refcount(value) >= 0);
            let bits = if uncounted { value.0 | NOT_OWNED } else { value.0 };
            store(self.base, self.l.frame_slots + slot * 8, bits);
        }
        old
    }

    /// Makes the interpreter go on at a code unit.
    ///
    /// # Safety
    /// `unit` starts an instruction of this frame's code and the stack is what that instruction expects.
    #[inline(always)]
    pub unsafe fn jump(self, unit: usize) {
        // SAFETY: by contract.
        unsafe { store(self.base, self.l.frame_ip, self.code().0 + self.l.code_units + unit * 2) }
    }

    /// The code unit the frame points at.
    pub fn unit(self) -> usize {
        // SAFETY: the instruction pointer of a live frame points into its code.
        let ip: usize = unsafe { load(self.base, self.l.frame_ip) };
        ip.wrapping_sub(self.code().0 + self.l.code_units) / 2
    }

    /// Whether any tool but ours watches this frame's code: a debugger, coverage, `sys.settrace`, a profiler.
    #[inline(always)]
    pub fn watched_by_others(self, tool: u8) -> bool {
        // SAFETY: instrumented code has monitoring data, and this code is instrumented: we were called.
        unsafe { load::<usize>(self.code().0, self.l.code_monitoring) == 0 || code_watched(self.code(), tool, self.l) }
    }
}

/// Whether any tool but ours watches a code object.
///
/// # Safety
/// A live code object of this interpreter.
#[inline(always)]
pub unsafe fn code_watched(code: Obj, tool: u8, l: &Layout) -> bool {
    // SAFETY: instrumented code has monitoring data, which holds one byte per local event.
    unsafe {
        let data: usize = load(code.0, l.code_monitoring);
        if data == 0 {
            return false;
        }
        let active = data + l.monitoring_active;
        // PY_START, PY_RESUME, PY_RETURN, PY_YIELD, CALL, LINE, INSTRUCTION, JUMP, then branches and STOP_ITERATION.
        let first: u64 = load(active, 0);
        let others = first & !(u64::from(1u8 << tool) << 56) != 0;
        // The last ones of at least eight, of which the first were looked at.
        let at = l.monitoring_events - 8;
        let seen = 8 * (16 - l.monitoring_events);
        others || load::<u64>(active, at) >> seen != 0
    }
}

/// The word that tells the interpreter to look up: signals, other threads, asynchronous exceptions.
///
/// # Safety
/// As [`Frame::of`].
pub unsafe fn breaker(thread: usize, l: &Layout) -> *const u32 {
    // SAFETY: the thread state and its interpreter are live.
    unsafe {
        let at = match l.interp_breaker {
            Some((interp, offset)) => load::<usize>(thread, interp) + offset,
            None => thread + l.thread_breaker,
        };
        at as *const u32
    }
}
