//! The self-test of the layout: whether the running frame is as the table of this version says.

use crate::frame::Frame;
use crate::hook::Engine;
use crate::object::ptr;
use larder_trace::Obj;
use pyo3::ffi;

/// The self-test's order to the hook: check the first local, replace it, and jump.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The test's code object.
    pub code: Obj,
    pub expect: i64,
    pub replace: Obj,
    /// Empty once all was as expected, else what was not.
    pub wrong: &'static str,
}

/// Checks what the layout says of the running frame against what the callback was told, then edits it.
pub(crate) unsafe fn probe(engine: &mut Engine, code: Obj, from: usize, to: usize) {
    let Some(mut probe) = engine.probe else { return };
    // SAFETY: reads only until everything agrees; then slot 0 exists, since the code has one local.
    unsafe {
        let frame = Frame::current(engine.layout);
        if frame.code() != code || code != probe.code {
            return;
        }
        let first = frame.get(0);
        // 3.12 moves the pointer to the destination before it calls, 3.13 after.
        probe.wrong = if frame.unit() != to && frame.unit() != from {
            "the instruction pointer"
        } else if frame.depth(1) != 0 {
            "the stack's depth"
        } else if crate::object::type_of(first) != crate::object::type_of(probe.replace)
            || ffi::PyLong_AsLongLong(ptr(first)) != probe.expect
        {
            "a local"
        } else if crate::object::int_value(first, engine.layout) != Some(probe.expect) {
            "an int"
        } else if frame.watched_by_others(engine.tool) {
            "who watches the code"
        } else {
            ""
        };
        if probe.wrong.is_empty() {
            frame.jump(to);
            ffi::Py_INCREF(ptr(probe.replace));
            let old = frame.put(0, probe.replace);
            ffi::Py_XDECREF(ptr(old));
        }
    }
    engine.probe = Some(probe);
}
