//! Walking along a side trace that is recorded but not compiled: where this iteration goes another way, a new trace begins.
//!
//! The same bytecodes on the same types emit the same operations, so the walk compares what it would emit with what is
//! there. At a guard that now holds the other way round, whose exit stands for this very place, it begins a trace from
//! that exit and goes on as usual; anything else that differs ends it.

use super::*;

/// How far along which trace the walk is.
pub(super) struct Retrace {
    trace: u32,
    /// Operations met.
    at: usize,
    /// The next exit of the trace is looked for from here on.
    exit: usize,
}

impl Retrace {
    pub(super) fn new(tree: &Tree, trace: u32) -> Retrace {
        let first = tree.exits.iter().position(|e| e.owner == trace);
        Retrace {
            trace,
            at: 0,
            exit: first.unwrap_or(tree.exits.len()),
        }
    }

    /// Along a round, behind the instruction that begins it.
    pub(super) fn inside(round: usize, begun: ExitId) -> Retrace {
        Retrace {
            trace: round as u32,
            at: 1,
            exit: begun.at() + 1,
        }
    }
    pub(super) fn trace(&self) -> usize {
        self.trace as usize
    }
    /// Whether all of the trace was met.
    pub(super) fn is_over(&self, trace: &Trace) -> bool {
        self.at == trace.body.len()
    }
}

impl<W: World> Recorder<'_, W> {
    /// The operation of the followed trace that is this one; none when it is to be emitted.
    pub(super) fn follow(&mut self, op: Op, args: [Ref; 3], imm: i64, exit: ExitId, conc: u64) -> Option<Ref> {
        let along = self.retrace.as_mut()?;
        let body = &self.tree.traces[along.trace as usize].body;
        if let Some(r) = body.get(along.at).copied() {
            let found = *self.tree.inst(r);
            if found == (Inst { op, args, imm, exit }) {
                along.at += 1;
                self.conc[r.at()] = conc;
                return Some(r);
            }
            let guards = [Op::GuardTrue, Op::GuardFalse];
            let opposite = guards.contains(&op) && guards.contains(&found.op) && op != found.op;
            let here = exit == self.last_fork && exit != self.call_exit && self.callers.is_empty();
            let same = found.args == args && found.exit == exit;
            let alone = || body.iter().filter(|r| self.tree.inst(**r).exit == exit).count() == 1;
            if opposite && same && here && alone() {
                self.part(exit);
                return Some(r);
            }
        }
        self.retrace = None;
        self.astray = true;
        None
    }

    /// The way parts here: a new trace begins, or the one that began here before is followed.
    fn part(&mut self, exit: ExitId) {
        // What comes before is run on this way too: if it belongs to an enclosing loop, so does the new trace.
        let owner = self.tree.exits[exit.at()].owner;
        self.outer |= self.tree.traces[owner as usize].outer;
        if let Some(side) = self.tree.exits[exit.at()].side {
            self.retrace = Some(Retrace::new(self.tree, side));
        } else {
            self.retrace = None;
            self.from = Some(exit);
        }
        self.checkpoint = None;
        self.bytecodes = 0;
        self.s.crossed.clear();
        if let Some(walked) = self.tree.walked.last_mut() {
            *walked = Default::default();
        }
    }

    /// The exit of the followed trace that is this one.
    pub(super) fn follow_exit(&mut self, snapshot: &Snapshot, reason: &'static str) -> Option<ExitId> {
        let along = self.retrace.as_mut()?;
        let owned = |e: &Exit| e.owner == along.trace;
        if let Some(found) = self.tree.exits.iter().skip(along.exit).position(owned) {
            let index = along.exit + found;
            let exit = &self.tree.exits[index];
            if exit.snapshot.pc == snapshot.pc && exit.snapshot.depth == snapshot.depth && exit.reason == reason {
                along.exit = index + 1;
                return Some(ExitId(index as u32));
            }
        }
        self.retrace = None;
        self.astray = true;
        None
    }
}
