//! Mistakes of ours: what CPython calls must give control back to it, whatever happens.
//!
//! A panic in what the interpreter calls would end the process. It is caught there:
//!
//! | where | what becomes of it |
//! |---|---|
//! | a loop is recorded or compiled | it is left to the interpreter ([`Engine::try_grow`]) |
//! | the hook, before a frame is entered or after it was put right | the loop is left to the interpreter |
//! | an object or a code object has died | all loops are, for trees that name it may be left |
//!
//! Between the first instruction of machine code and the frame's being right again there is nothing to go back to: what runs
//! there does not panic (see [`crate::run`]). Indices that could be wrong, and what is unwrapped, are lints in the modules that do it
//! and in those of the functions that machine code calls.

use crate::hook::{Engine, engine};
use crate::loops::{Loop, changed};
use larder_trace::Obj;
use larder_trace::policy::State;

/// What is told of a loop.
pub const MISTAKE: &str = "an internal error";

/// What a function gives; nothing if it panicked.
#[inline(always)]
pub fn caught<T>(f: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(given) => Some(given),
        Err(why) => {
            // It could panic where it is dropped.
            std::mem::forget(why);
            None
        }
    }
}

impl Engine {
    /// Leaves a loop to the interpreter for good, by its code and head; all, if that fails too.
    ///
    /// # Safety
    /// GIL held; no trace is running and no reference into a loop is held; a live code object.
    #[cold]
    pub unsafe fn give_up(&mut self, code: Obj, header: usize) {
        let taken = caught(|| {
            // SAFETY: by contract.
            let info = unsafe { &mut *self.info(code) };
            let l = info.loops.iter_mut().find(|l| l.header as usize == header)?;
            let compiled = l.compiled.take();
            self.shun(l);
            compiled
        });
        match taken {
            Some(None) => {}
            Some(Some(compiled)) => {
                let piece = compiled.piece;
                // What is wrong with it is not known: it is leaked, with its place in the arena if that is it.
                std::mem::forget(compiled);
                caught(|| self.arena.release(piece));
            }
            // SAFETY: by contract.
            None => unsafe { give_up_all() },
        }
    }

    fn shun(&mut self, l: &mut Loop) {
        changed();
        self.known.stale = true;
        l.head.state = State::Shunned;
        if let Some(row) = l.row.and_then(|row| self.rows.get_mut(row)) {
            (row.state, row.why, row.live) = (State::Shunned, MISTAKE, false);
        }
    }
}

/// Does what an object's death asks for; if that fails, all loops are left to the interpreter.
///
/// # Safety
/// As [`give_up_all`].
pub unsafe fn or_give_up_all(f: impl FnOnce()) {
    if caught(f).is_none() {
        // SAFETY: by contract.
        unsafe { give_up_all() }
    }
}

/// Leaves all loops to the interpreter for good. What they have is not looked at any more, and leaked.
///
/// # Safety
/// As [`Engine::give_up`].
#[cold]
unsafe fn give_up_all() {
    let done = caught(|| {
        // SAFETY: by contract.
        let Some(engine) = (unsafe { engine() }) else { return };
        (engine.broken, engine.limits.record) = (true, false);
        for at in 0..engine.infos.len() {
            let Some(info) = engine.infos.get(at) else { continue };
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &mut (**info).loops } {
                std::mem::forget(l.compiled.take());
                engine.shun(l);
            }
        }
    });
    if done.is_none() {
        // A tree may be left that would take one object for another.
        std::process::abort();
    }
}
