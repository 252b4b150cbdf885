//! A short loop inside a side trace: one round of it is recorded, and gone round as often as it takes.
//!
//! The walk stands at the head of a loop over a range with few passes left. It walks one round and looks what is
//! different when it is back at the head; then it walks it once more with *phis* in those places, until nothing else
//! differs. The trace so far leads into the round, which is a trace of its own; the loop's end is an exit of it. Where that
//! does not work the walk goes round the loop as before, and each pass becomes part of the trace.
//!
//! Invariants
//!
//! - Only numbers, bools, and ranges without an object change from round to round.
//! - No name for a number without an object goes from one round to the next: names tell numbers of one pass of the head
//!   apart, and rounds of a pass have the same names.
//! - An identity in a phi is an object, or none: then the phi's place alone holds the number.
//! - Each round polls and looks for room in the release log, as a pass of the head does.

use super::*;
use crate::ops::Kind;

/// Times a round is walked until what changes is known.
const ATTEMPTS: usize = 4;
/// Parts of values that may change: more would not stay in registers.
const PHIS_MAX: usize = 12;

/// What to go back to.
struct Mark {
    s: State,
    exits: usize,
    memory: Vec<Stored>,
    lengths: Vec<(Obj, i64)>,
    backs: Vec<(usize, u32)>,
    checkpoint: Option<ExitId>,
    bytecodes: u32,
}

/// A component of what a slot holds.
type Part = (Slot, usize);

fn with_part(val: Val, k: usize, r: Ref) -> Option<Val> {
    Some(match (val, k) {
        (Val::Int { boxed, .. }, 0) => Val::Int { value: r, boxed },
        (Val::Float { boxed, .. }, 0) => Val::Float { value: r, boxed },
        (Val::Int { .. } | Val::Float { .. }, 1) => val.with_identity(r),
        (Val::Bool(_), 0) => Val::Bool(r),
        (Val::RangeIter { step, left, object, .. }, 0) => Val::RangeIter {
            next: r,
            step,
            left,
            object,
        },
        (Val::RangeIter { next, step, object, .. }, 2) => Val::RangeIter {
            next,
            step,
            left: r,
            object,
        },
        _ => return None,
    })
}

impl<W: World> Recorder<'_, W> {
    fn held(&self, slot: Slot) -> Option<Val> {
        match (slot.as_frame(), slot.as_name()) {
            (Some(i), _) => self.s.vals[i],
            (_, Some(n)) => self.s.names[n],
            _ => None,
        }
    }
    fn hold(&mut self, slot: Slot, val: Val, changed: bool) {
        let place = match (slot.as_frame(), slot.as_name()) {
            (Some(i), _) => (&mut self.s.vals[i], &mut self.s.dirty[i]),
            (_, Some(n)) => (&mut self.s.names[n], &mut self.s.names_dirty[n]),
            _ => return,
        };
        *place.0 = Some(val);
        *place.1 |= changed;
    }
    fn slots(&self) -> Vec<Slot> {
        let frame = (0..self.locals + self.s.depth).map(Slot::frame);
        frame.chain((0..self.s.names.len()).map(Slot::name)).collect()
    }
    /// How many places hold the number of an identity.
    fn holding(&self, id: Ref) -> usize {
        let tuples = &self.tree.tuples;
        let count = |v: Val| match v {
            Val::Tuple(t) => tuples[t as usize].iter().filter(|v| v.identity() == Some(id)).count(),
            v => usize::from(v.identity() == Some(id)),
        };
        self.slots()
            .into_iter()
            .filter_map(|slot| self.held(slot))
            .map(count)
            .sum()
    }

    fn mark(&self) -> Mark {
        Mark {
            s: self.s.clone(),
            exits: self.tree.exits.len(),
            memory: self.memory.clone(),
            lengths: self.lengths.clone(),
            backs: self.backs.clone(),
            checkpoint: self.checkpoint,
            bytecodes: self.bytecodes,
        }
    }
    fn back_to(&mut self, mark: &Mark) {
        self.unwind();
        // Names found meanwhile stay known, unread.
        let names = self.s.names.len();
        self.s = mark.s.clone();
        self.s.names.resize(names, None);
        self.s.names_dirty.resize(names, false);
        self.tree.exits.truncate(mark.exits);
        self.tree.walked_to.truncate(mark.exits);
        self.tree.crossed_to.truncate(mark.exits);
        self.memory.clone_from(&mark.memory);
        self.lengths.clone_from(&mark.lengths);
        self.backs.clone_from(&mark.backs);
        self.checkpoint = mark.checkpoint;
        self.last_fork = ExitId::NONE;
        self.bytecodes = mark.bytecodes;
        (self.making, self.written, self.astray) = (None, false, false);
    }

    /// Makes the loop whose head this is a loop of the trace; none if that cannot be: then all is as it was.
    pub(super) fn go_round(&mut self) -> Option<End> {
        let head = self.s.pc;
        if self.root || !self.outer || self.from.is_none() || self.round_tried.contains(&head) {
            return None;
        }
        let last = self.back_edge(head).filter(|_| self.rounds_left() > 1)?;
        self.round_tried.push(head);
        let mut mark = self.mark();
        let lead = self.tree.traces.len();
        self.tree.traces.push(Trace {
            body: std::mem::take(&mut self.body),
            end: End::Into(lead as u32 + 1, vec![]),
            bytecodes: self.bytecodes,
            from: self.from,
            outer: self.outer,
            before: None,
            phis: vec![],
        });
        self.tree.crossed.push(self.s.crossed.clone());
        self.tree.walked.push(Default::default());
        let found = self.rounds(&mut mark, last);
        if let Some((first, phis, again)) = found {
            self.tree.traces[lead].end = End::Into(lead as u32 + 1, first);
            self.round = Some((lead as u32, phis));
            return Some(End::Again(again));
        }
        self.back_to(&mark);
        self.tree.walked.pop();
        self.tree.crossed.pop();
        self.body = self.tree.traces.pop().map_or(vec![], |t| t.body);
        None
    }

    /// What the phis are first, the phis, and what they are in the next round.
    fn rounds(&mut self, mark: &mut Mark, last: usize) -> Option<(Vec<Ref>, Vec<Ref>, Vec<Ref>)> {
        let head = self.s.pc;
        let mut changing: Vec<Part> = Vec::new();
        for _ in 0..ATTEMPTS {
            self.back_to(mark);
            self.body.clear();
            self.s.crossed.clear();
            self.bytecodes = 0;
            if let Some(walked) = self.tree.walked.last_mut() {
                *walked = Default::default();
            }
            let (mut first, mut phis) = (Vec::new(), Vec::new());
            for (slot, k) in &changing {
                let before = self.held(*slot)?;
                let was = self.across(before).components().0[*k];
                let phi = self.phi(before, *k, was)?;
                first.push(was);
                phis.push(phi);
                self.hold(*slot, with_part(before, *k, phi)?, true);
            }
            let begin = self.s.clone();
            self.begins();
            let e = self.fork(ANOTHER);
            self.emit(Op::Round, &[], 0, e, 0);
            self.last_fork = ExitId::NONE;
            self.one_round(head, last)?;
            let (new, unread) = self.changed(&begin)?;
            let known = new.iter().all(|part| changing.contains(part));
            if known && unread.is_empty() {
                let now = |part: &Part| self.held(part.0).map(|v| self.across(v).components().0[part.1]);
                let again: Option<Vec<Ref>> = changing.iter().map(now).collect();
                return again.map(|again| (first, phis, again));
            }
            // What the frame holds there is asked for before the loop.
            self.back_to(mark);
            for slot in unread {
                let o = match (slot.as_frame(), slot.as_name()) {
                    (Some(i), _) => self.world.slot(i),
                    (_, Some(n)) => self.world.lookup(self.tree.names[n].space, self.tree.names[n].key),
                    _ => return None,
                };
                let val = self.input(slot, o).ok()?;
                self.hold(slot, val, false);
            }
            for part in new {
                let alone = part.1 != 1 || self.alone(part.0);
                if !alone {
                    return None;
                }
                if !changing.contains(&part) {
                    changing.push(part);
                }
            }
            if changing.len() > PHIS_MAX {
                return None;
            }
            mark.s = self.s.clone();
        }
        None
    }

    /// The last jump back to this place of the frame's own code.
    fn back_edge(&self, head: usize) -> Option<usize> {
        let back = |(at, i): (usize, &Ins)| {
            (i.bc == Bc::JUMP_BACKWARD && i.next as usize == head + i.arg as usize).then_some(at)
        };
        self.ins.iter().enumerate().filter_map(back).max()
    }

    fn phi(&mut self, val: Val, k: usize, was: Ref) -> Option<Ref> {
        let kind = match (val, k) {
            (Val::Int { .. } | Val::Float { .. }, 1) => Kind::Ptr,
            (Val::Int { .. } | Val::RangeIter { .. }, _) => Kind::Int,
            (Val::Float { .. }, _) => Kind::Float,
            (Val::Bool(_), _) => Kind::Bool,
            _ => return None,
        };
        let imm = Kind::PHIS.iter().position(|have| *have == kind)?;
        let phi = Ref(self.tree.insts.len() as u32);
        self.tree.insts.push(Inst {
            op: Op::Phi,
            args: [Ref::NONE; 3],
            imm: imm as i64,
            exit: ExitId::NONE,
        });
        let now = if was.is_inst() { self.conc[was.at()] } else { 0 };
        self.conc.push(now);
        Some(phi)
    }

    /// A round begins: what was stored before it is only guessed from here on.
    fn begins(&mut self) {
        self.checkpoint = None;
        for stored in &mut self.memory {
            stored.by = Ref::NONE;
        }
    }

    /// Walks from the loop's head to the loop's head.
    fn one_round(&mut self, head: usize, last: usize) -> Option<()> {
        let depth = self.s.depth;
        let mut moved = false;
        loop {
            if self.callers.is_empty() {
                if moved && self.s.pc == head {
                    return (self.s.depth == depth).then_some(());
                }
                let other = self.s.pc == self.tree.header as usize || self.heads.contains(&(self.s.pc as u32));
                if moved && other || !(head..=last).contains(&self.s.pc) {
                    return None;
                }
            }
            if self.body.len() > SIDE_MAX {
                return None;
            }
            let bc = self.ins.get(self.s.pc).map_or(Bc::Unknown, |ins| ins.bc);
            self.step(false).ok()?;
            self.bytecodes += 1;
            if let Some(walked) = self.tree.walked.last_mut() {
                overhead::add(walked, overhead::of_bytecode(bc));
            }
            moved = true;
        }
    }

    /// A value as it goes on to the next round: a name that this place alone has is none.
    fn across(&self, v: Val) -> Val {
        match v.identity() {
            Some(id) if id.as_token().is_some() && self.holding(id) == 1 => v.with_identity(Ref::NONE),
            _ => v,
        }
    }

    /// What differs from the round's beginning, and slots that were written and nobody knows what was there. None when
    /// something differs that must not.
    fn changed(&self, begin: &State) -> Option<(Vec<Part>, Vec<Slot>)> {
        let (mut parts, mut unread) = (Vec::new(), Vec::new());
        for slot in self.slots() {
            let (was, dirty) = match (slot.as_frame(), slot.as_name()) {
                (Some(i), _) => (begin.vals[i], self.s.dirty[i]),
                (_, Some(n)) => (begin.names.get(n).copied().flatten(), self.s.names_dirty[n]),
                _ => return None,
            };
            let Some(now) = self.held(slot) else { continue };
            let Some(was) = was else {
                if dirty {
                    unread.push(slot);
                }
                continue;
            };
            if was == now {
                continue;
            }
            match (was, self.across(now)) {
                (Val::Int { value: a, boxed: b }, Val::Int { value: c, boxed: d })
                | (Val::Float { value: a, boxed: b }, Val::Float { value: c, boxed: d }) => {
                    if a != c {
                        parts.push((slot, 0));
                    }
                    if b != d {
                        if !(d.is_none() || self.object_of(d)) {
                            return None;
                        }
                        parts.push((slot, 1));
                    }
                }
                (Val::Bool(_), Val::Bool(_)) => parts.push((slot, 0)),
                (
                    Val::RangeIter {
                        step,
                        object: Ref::NONE,
                        ..
                    },
                    Val::RangeIter {
                        step: then,
                        object: Ref::NONE,
                        ..
                    },
                ) if step == then => parts.extend([(slot, 0), (slot, 2)]),
                _ => return None,
            }
        }
        Some((parts, unread))
    }

    /// Whether the number that a slot holds before the loop is held nowhere else, or has an object for sure.
    fn alone(&self, slot: Slot) -> bool {
        let Some(id) = self.held(slot).and_then(Val::identity) else {
            return true;
        };
        if self.object_of(id) {
            return true;
        }
        // What another slot brought may lie there still, unread.
        let own = |input: &Input| input.slot == slot || input.val().identity() != Some(id);
        self.holding(id) == 1 && self.tree.inputs.iter().all(own)
    }

    /// Goes on along the rounds of a loop that is recorded: into it, or round again.
    pub(super) fn follow_round(&mut self) {
        let Some(along) = &self.retrace else { return };
        let trace = &self.tree.traces[along.trace()];
        if !along.is_over(trace) {
            return;
        }
        let (round, args) = match &trace.end {
            End::Into(round, args) => (*round as usize, args.clone()),
            End::Again(args) => (along.trace(), args.clone()),
            _ => return,
        };
        let now: Vec<u64> = args
            .iter()
            .map(|r| if r.is_inst() { self.conc[r.at()] } else { 0 })
            .collect();
        let inside = &self.tree.traces[round];
        for (phi, word) in inside.phis.iter().zip(now) {
            self.conc[phi.at()] = word;
        }
        let exit = self.tree.inst(inside.body[0]).exit;
        let snapshot = self.tree.exits[exit.at()].snapshot.clone();
        if snapshot.pc as usize != self.s.pc {
            return;
        }
        // All else is as it was then, also what lies above the stack: those who look at it must find the same.
        let names = self.s.names.len();
        if let (true, Some(s)) = (round == along.trace(), self.round_state.take()) {
            self.s = s;
            self.s.names.resize(names, None);
            self.s.names_dirty.resize(names, false);
        } else {
            for (slot, val) in snapshot.slots {
                self.hold(slot, val, true);
            }
            self.s.crossed.clear();
        }
        self.round_state = Some(self.s.clone());
        self.begins();
        self.retrace = Some(Retrace::inside(round, exit));
    }
}
