//! What becomes of compiled loops over time: they settle, cool down, and make room.
//!
//! A *tick* is the end of a cell, or [`TICK_CALLBACKS`] calls of the hook. At a tick a loop that has not grown since the
//! last one drops the instructions it was compiled from (it can be recorded again); counts of loops that are not
//! compiled halve; and a compiled loop that was not entered for [`policy::IDLE_MAX`] ticks is discarded. When the
//! arena is full, the loops idle longest go first.
//!
//! Invariants
//!
//! - A pointer in the registry is good until [`forget`] takes it out, which the code object's end does.
//! - Nothing here runs Python code: what a discarded loop kept alive waits in [`Engine::freed`] for [`release`].

use crate::helpers;
use crate::hook::{CODE_BYTES_MAX, CodeInfo, Engine, engine};
use crate::loops::Loop;
use crate::object::ptr;
use larder_jit::{Arena, Piece};
use larder_trace::Obj;
use larder_trace::policy::{self, Action, Event, Fate};
use pyo3::ffi;

/// Calls of the hook after which time passes even within a cell.
pub const TICK_CALLBACKS: u64 = 1 << 16;

impl Engine {
    /// Time passes for every loop.
    ///
    /// # Safety
    /// GIL held; no trace is running and no reference into a loop is held.
    pub unsafe fn tick(&mut self) {
        for info in self.infos.clone() {
            // SAFETY: registered, so alive; the GIL is held.
            let info = unsafe { &mut *info };
            for l in &mut info.loops {
                let used = l.compiled.as_mut().is_some_and(|c| std::mem::take(&mut c.used));
                let grown = std::mem::take(&mut l.grown);
                let (head, fate) = policy::tick(l.head, used, grown);
                l.head = head;
                match fate {
                    Fate::Keep => {}
                    Fate::Settle => {
                        let keep = l.learns() || l.reopened >= policy::REOPEN_MAX;
                        if let Some(c) = l.compiled.as_mut().filter(|_| !keep) {
                            c.settle();
                        }
                    }
                    Fate::Discard => self.discard(l, Event::Discarded),
                }
            }
        }
        // SAFETY: by contract.
        unsafe { self.sweep() };
    }

    /// Throws a loop's code away.
    pub fn discard(&mut self, l: &mut Loop, event: Event) {
        if let Some(piece) = self.take_off(l, event) {
            self.arena.release(piece);
        }
    }

    /// [`Engine::discard`], but for the machine code, which is given back.
    fn take_off(&mut self, l: &mut Loop, event: Event) -> Option<Piece> {
        let old = l.compiled.take()?;
        crate::loops::changed();
        if let Some(row) = l.row.and_then(|row| self.rows.get_mut(row)) {
            row.measure(&old, &self.arena);
            row.forget_code();
        }
        self.known.stale = true;
        let (head, action) = policy::step(l.head, event, &self.limits);
        debug_assert!(action != Action::Record);
        l.head = head;
        if let Some(row) = l.row.and_then(|row| self.rows.get_mut(row)) {
            row.state = head.state;
        }
        Some(old.piece)
    }

    /// In a child of the process that compiled: the arena's memory is the parent's, who writes there when it likes, and must
    /// never be written or run here. Loops start again from cold, in an arena of this process; false without memory for one.
    ///
    /// # Safety
    /// As [`Engine::tick`].
    pub unsafe fn start_over(&mut self) -> bool {
        let limit = self.arena.usage().limit;
        let Ok(fresh) = Arena::new(CODE_BYTES_MAX, limit, &helpers::table().all()) else {
            return false;
        };
        for info in self.infos.clone() {
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &mut (*info).loops } {
                self.take_off(l, Event::Discarded);
            }
        }
        self.arena = fresh;
        true
    }

    /// Publishes code, discarding the loops idle longest until it fits; none when it is larger than the limit.
    pub fn publish(&mut self, code: &[u8], links: &[larder_jit::Link], keep: *const Loop) -> Option<Piece> {
        loop {
            if let Some(piece) = self.arena.publish(code, links) {
                return Some(piece);
            }
            self.evict(keep).then_some(())?;
        }
    }

    /// Changes the limit and discards what is over it; the limit set.
    ///
    /// # Safety
    /// As [`Engine::tick`].
    pub unsafe fn set_limit(&mut self, limit: usize) -> usize {
        let limit = self.arena.set_limit(limit);
        while self.arena.usage().used > limit && self.evict(std::ptr::null()) {}
        self.arena.compact();
        limit
    }

    /// Discards the compiled loop that was idle longest, and of those the one that ran least; false when there is none.
    fn evict(&mut self, keep: *const Loop) -> bool {
        let mut coldest: Option<(u8, u32, *mut Loop)> = None;
        for info in &self.infos {
            // SAFETY: registered, so alive; the GIL is held. The loop to keep is not looked into.
            let loops = unsafe { &raw mut (**info).loops };
            // SAFETY: as above; only addresses are made here.
            let count = unsafe { (*loops).len() };
            for index in 0..count {
                // SAFETY: in bounds.
                let l: *mut Loop = unsafe { (*loops).as_mut_ptr().add(index) };
                if std::ptr::eq(l, keep) {
                    continue;
                }
                // SAFETY: not the loop in use.
                let Some(c) = (unsafe { (*l).compiled.as_ref() }) else {
                    continue;
                };
                // SAFETY: as above.
                let key = (unsafe { (*l).head.idle }, c.entries, l);
                if coldest.is_none_or(|found| (key.0, std::cmp::Reverse(key.1)) > (found.0, std::cmp::Reverse(found.1)))
                {
                    coldest = Some(key);
                }
            }
        }
        let Some((_, _, l)) = coldest else { return false };
        self.evictions += 1;
        // SAFETY: a live loop that nobody else holds.
        self.discard(unsafe { &mut *l }, Event::Discarded);
        true
    }

    /// Counts back edges that a loop's traces took, each where it belongs.
    pub fn tell_along(&mut self, row: usize) {
        for (other, iterations) in self.rows[row].taken_along() {
            self.rows[other].native += iterations;
        }
    }

    /// Rows as of now, with what compiled loops occupy.
    pub fn told(&mut self) -> &[crate::rows::Row] {
        for info in &self.infos {
            // SAFETY: registered, so alive; the GIL is held.
            for l in unsafe { &mut (**info).loops } {
                if let (Some(row), Some(c)) = (l.row.and_then(|row| self.rows.get_mut(row)), &l.compiled) {
                    row.measure(c, &self.arena);
                }
            }
        }
        for row in 0..self.rows.len() {
            self.tell_along(row);
        }
        &self.rows
    }
}

/// Lets go of what discarded loops kept alive; any of it may run Python code when it dies.
///
/// # Safety
/// GIL held, and no reference into the engine is alive.
#[inline]
pub unsafe fn release() {
    loop {
        // SAFETY: by contract; the reference ends with this statement.
        let Some(o) = (unsafe { engine() }).and_then(|engine| engine.freed.pop()) else {
            return;
        };
        // SAFETY: the reference the loop held.
        unsafe { ffi::Py_DECREF(ptr(o)) };
    }
}

/// The code object is going away: takes its loops out of the registry and gives their code back.
///
/// # Safety
/// GIL held, and `info` is what the engine registered.
pub unsafe fn forget(engine: &mut Engine, info: *mut CodeInfo) {
    engine.infos.retain(|other| *other != info);
    engine.last = (Obj::NULL, std::ptr::null_mut());
    // SAFETY: the caller owns it now.
    for l in unsafe { &mut (*info).loops } {
        engine.discard(l, Event::Discarded);
    }
}
