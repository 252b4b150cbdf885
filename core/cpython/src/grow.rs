//! Recording and compiling: a loop's first trace, and what is added to its tree at exits that are taken often.
//!
//! Invariants
//!
//! - Until a new tree is complete and in place, nothing of the loop is changed.
//! - A tree, or its machine code, goes before what it names does; see [`crate::known`].

use crate::clock::processor_ns;
use crate::faults::{MISTAKE, caught};
use crate::frame::Frame;
use crate::helpers;
use crate::hook::{CodeInfo, DEAR, Engine, TRACES_MAX};
use crate::loops::changes;
use crate::object::load;
use crate::run::{Compiled, Growth};
use crate::world::{Live, plain_namespaces};
use larder_jit::Packed;
use larder_trace::budget::work;
use larder_trace::opt::optimise;
use larder_trace::record::{Failure, record};
use larder_trace::{ExitId, Obj, Tree};
use std::cell::RefCell;
use std::time::Instant;

/// Times the exits of recorded side traces are taken again before these are compiled: each time the recorder looks whether
/// the iteration goes another way, so that a tree is compiled less often.
const LOOKS: u8 = 6;

impl Engine {
    /// [`Engine::grow`], in which a mistake of ours only costs this loop its trace.
    ///
    /// # Safety
    /// As [`Engine::grow`].
    pub unsafe fn try_grow(
        &mut self,
        info: &mut CodeInfo,
        index: usize,
        frame: Frame,
        from: Option<usize>,
    ) -> Result<(), Failure> {
        let started = processor_ns();
        // SAFETY: by contract. Until the new tree is complete and in place, nothing is changed.
        let done = caught(|| unsafe { self.grow(info, index, frame, from) }).unwrap_or(Err(Failure {
            why: MISTAKE,
            soon: false,
        }));
        info.loops[index].compile_ns += processor_ns().saturating_sub(started);
        done
    }

    /// Records and compiles the root of a loop, or a side trace of an exit.
    ///
    /// # Safety
    /// GIL held; `frame` is the running frame, at the loop head or at that exit.
    unsafe fn grow(
        &mut self,
        info: &mut CodeInfo,
        index: usize,
        frame: Frame,
        from: Option<usize>,
    ) -> Result<(), Failure> {
        let late = |why| Failure { why, soon: false };
        let rate = self.rate();
        if !plain_namespaces(frame) {
            return Err(late("namespaces that are not plain dicts"));
        }
        let (started, before) = (Instant::now(), changes());
        let header = info.loops[index].header;
        let settled = || late("a loop that has settled");
        let (mut tree, looks) = match &info.loops[index].compiled {
            Some(c) => match c.growth.as_ref().ok_or_else(settled)?.as_ref() {
                Growth {
                    ahead: Some((tree, looks)),
                    ..
                } => (Tree::clone(tree), *looks),
                growth => (growth.tree.clone(), LOOKS),
            },
            None => (
                Tree::new(header, frame.depth(info.locals as usize) as u32, info.locals),
                0,
            ),
        };
        let heads: Vec<u32> = info
            .loops
            .iter()
            .filter(|l| l.compiled.is_some())
            .map(|l| l.header)
            .collect();
        helpers::set_namespaces(frame, std::iter::empty());
        let world = Live {
            frame,
            engine: self,
            ins: &info.ins,
            examples: RefCell::default(),
        };
        let from = from.map(|e| ExitId(e as u32));
        let again = from.is_some_and(|e| tree.exits[e.at()].side.is_some());
        let recorded = record(&mut tree, from, &world, &info.ins, self.layout, &heads);
        drop(world);
        if changes() != before {
            return Err(Failure {
                why: "compiled loops changed while it was recorded",
                soon: true,
            });
        }
        if let Some(growth) = info.loops[index].compiled.as_mut().and_then(|c| c.growth.as_mut()) {
            let looks = looks.saturating_sub(u8::from(again));
            match (recorded, &mut growth.ahead) {
                // Nothing new: as it was.
                (Err(_), Some(ahead)) if again => {
                    ahead.1 = looks;
                    tree = Tree::clone(&ahead.0);
                }
                (Err(why), _) => return Err(why),
                (Ok(()), ahead) => {
                    // The program goes on: what the tree names may die before it is compiled.
                    // SAFETY: live objects the recorder met.
                    let held = unsafe { self.known.hold(&tree.objects(), frame, self.layout, self.symbols) };
                    held.map_err(late)?;
                    *ahead = Some((Box::new(tree.clone()), looks));
                }
            }
            // What is known now is compiled if more would not be.
            let size = work(&tree);
            let room = info.loops[index].affords(size + size / 4, rate);
            if looks > 0 && tree.traces.len() < TRACES_MAX && room {
                info.loops[index].grown = true;
                let row = info.loops[index].row;
                self.took(row, started);
                return Ok(());
            }
            if let Some(growth) = info.loops[index].compiled.as_mut().and_then(|c| c.growth.as_mut()) {
                growth.ahead = None;
            }
            self.known.stale = true;
            if !info.loops[index].affords(size, rate) {
                return Err(late(DEAR));
            }
        } else {
            recorded?;
        }
        let known = info.loops[index].compiled.as_ref().and_then(|c| c.growth.as_ref());
        for newer in known.map_or(0, |growth| growth.tree.traces.len())..tree.traces.len() {
            optimise(&mut tree, newer, &self.passes);
        }
        self.compiler.hoist = self.passes.hoist;
        let (size, began) = (work(&tree), processor_ns());
        info.loops[index].worked(size);
        let code = self
            .compiler
            .compile(&tree)
            .map_err(|_| late("the code generator refused it"))?;
        self.rate.learn(size, processor_ns().saturating_sub(began));
        let l = self.layout;
        // What the code has as constants lives as long as this loop: it goes with the code.
        let kept = |o: Obj| {
            // SAFETY: the code that runs, and its tuple of constants.
            unsafe {
                let consts: usize = load(frame.code().0, l.code_consts);
                let count: usize = load(consts, l.var_size);
                (0..count).any(|k| load::<usize>(consts, l.tuple_items + 8 * k) == o.0)
            }
        };
        let packed = Packed::new(&tree, &code, |o| dies(o) && !kept(o)).map_err(|_| late("too large to keep"))?;
        let named: Vec<Obj> = packed.objects().filter(|o| !kept(*o)).collect();
        // SAFETY: live objects the recorder met.
        unsafe { self.known.hold(&named, frame, l, self.symbols) }.map_err(late)?;
        let piece = self
            .publish(&code.bytes, &code.links, &raw const info.loops[index])
            .ok_or(late("the limit for machine code is reached"))?;
        let reaches_out = from.is_some() && tree.traces.iter().any(|t| t.outer);
        let mut compiled = Box::new(Compiled::new(tree, &code, packed, piece));
        debug_assert!(compiled.packed.spaces().count() <= helpers::OTHERS);
        let l = &mut info.loops[index];
        if let Some(old) = l.compiled.take() {
            compiled.packed.take_over(&old.packed);
            if let (Some(growth), Some(before)) = (&mut compiled.growth, &old.growth) {
                growth.failed[..before.failed.len()].copy_from_slice(&before.failed);
            }
            self.arena.release(old.piece);
            self.known.stale = true;
        }
        let own = l.row;
        l.install(compiled);
        if reaches_out {
            // Loops around and beside are part of the tree now: what was counted of them says nothing.
            for other in info.loops.iter_mut().filter(|l| l.compiled.is_none()) {
                other.head.count = 0;
            }
        }
        // SAFETY: by contract.
        unsafe { self.describe(info, index, own, frame) };
        self.took(own, started);
        Ok(())
    }

    /// Adds to the time a loop's recording and compiling took.
    fn took(&mut self, row: Option<usize>, started: Instant) {
        if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
            row.compile_ns += started.elapsed().as_nanos() as u64;
        }
    }

    /// Tells the row of a loop that was just compiled what came of it.
    ///
    /// # Safety
    /// As [`Engine::grow`].
    unsafe fn describe(&mut self, info: &CodeInfo, index: usize, row: Option<usize>, frame: Frame) {
        let (Some(row), Some(c)) = (row, &info.loops[index].compiled) else {
            return;
        };
        let Some(growth) = &c.growth else { return };
        let mut rows = Vec::with_capacity(growth.tree.backs.len());
        for back in &growth.tree.backs {
            let code = if back.code.is_null() { frame.code() } else { back.code };
            // SAFETY: the frame's code, or that of a function the tree keeps alive.
            let ours = back.code.is_null() || unsafe { (*self.info(code)).ours };
            rows.push(if ours {
                self.row(code, back.header, back.from)
            } else {
                None
            });
        }
        if self.rows.get(row).is_some() {
            self.tell_along(row);
            let row = &mut self.rows[row];
            row.compiles += 1;
            row.describe(&growth.tree, &c.packed, &rows);
        }
    }
}

/// Whether an object could die at all; the interpreter keeps some for ever.
fn dies(o: Obj) -> bool {
    // SAFETY: asked of live objects only.
    unsafe { crate::object::refcount(o) >= 0 }
}
