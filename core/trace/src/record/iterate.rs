//! Iteration: ranges, lists, tuples, strings, `enumerate` and `zip`.

use super::arith::fresh_int;
use super::*;

const END: &str = "the loop's end, or not";

impl<W: World> Recorder<'_, W> {
    /// The loop state for a `range` object that only this loop sees.
    pub(super) fn iterate_range(&mut self, start: Ref, stop: Ref, step: Ref) -> Step<Val> {
        let k = self.i(step);
        if k == 0 || k.unsigned_abs() > 1 << 62 {
            return Err("a range with such a step");
        }
        if self.const_int(step).is_none() {
            if k < 0 {
                return Err("a range whose step varies");
            }
            self.require_int(Cond::Gt, step, 0, "a range whose step is not positive")?;
        }
        let (low, high) = if k > 0 { (start, stop) } else { (stop, start) };
        let span = self.i(high).checked_sub(self.i(low));
        let span = self.checked(Op::SubO, &[high, low], span)?;
        let zero = self.int(0);
        let some = self.compare_ints(Cond::Gt, span, zero);
        let e = self.fork("a range that is empty or not");
        self.guard(some, e);
        let left = if !self.b(some) {
            zero
        } else if k.abs() == 1 && self.const_int(step).is_some() {
            span
        } else {
            let (round, by) = if self.const_int(step).is_some() {
                (self.int(k.abs() - 1), self.int(k.abs()))
            } else {
                let minus = self.int(-1);
                (self.pure(Op::AddW, &[step, minus], (k - 1) as u64), step)
            };
            let v = self.i(span).checked_add(k.abs() - 1);
            let sum = self.checked(Op::AddO, &[span, round], v)?;
            let c = self.i(sum).div_euclid(k.abs());
            self.pure(Op::FloorDiv, &[sum, by], c as u64)
        };
        // The value after the last need not fit: it wraps, and nobody sees it, for the iterator is spent then.
        Ok(Val::RangeIter {
            next: start,
            step,
            left,
            object: Ref::NONE,
        })
    }

    pub(super) fn drop_top(&mut self) -> Step<()> {
        let v = self.peek(1)?;
        self.abandon(v)?;
        self.s.depth -= 1;
        Ok(())
    }

    pub(super) fn get_iter(&mut self) -> Step<()> {
        let zero = self.int(0);
        let on = self.peek(1)?;
        let v = match self.real(on)? {
            Val::Range { start, stop, step } => self.iterate_range(start, stop, step)?,
            v @ (Val::RangeIter { .. } | Val::SeqIter { .. } | Val::Enumerate { .. } | Val::Zip { .. }) => v,
            Val::Ptr(on, _) => {
                if self.world.class(self.o(on)) == Class::Dict {
                    let it = self.dict_iterator(on, Gives::Keys)?;
                    self.replace(1, it)?;
                    return self.beside(Val::Null);
                }
                if self.world.walker(self.o(on)).is_some() {
                    return self.beside(Val::Null);
                }
                let seq = self.sequence(on)?;
                if self.layout.for_width == 2 {
                    // The sequence itself stays below the position.
                    return self.beside(Val::Position(zero));
                }
                Val::SeqIter {
                    seq,
                    on,
                    index: zero,
                    object: Ref::NONE,
                }
            }
            _ => return Err("an iteration that is not traced yet"),
        };
        self.replace(1, v)?;
        self.beside(Val::Null)
    }

    /// What kind of sequence an object that is gone along by position is.
    fn sequence(&mut self, on: Ref) -> Step<Seq> {
        match self.world.class(self.o(on)) {
            Class::List => Ok(Seq::List),
            Class::Tuple => Ok(Seq::Tuple),
            Class::Str => {
                self.latin(on)?;
                Ok(Seq::Str)
            }
            _ => Err("an iteration that is not traced yet"),
        }
    }

    /// The second entry of a loop, on versions where it has two.
    pub(super) fn beside(&mut self, v: Val) -> Step<()> {
        match self.layout.for_width {
            2 => self.push(v),
            _ => Ok(()),
        }
    }

    /// What the `for` on top of the stack goes along.
    fn iterator(&mut self) -> Step<Val> {
        let width = self.layout.for_width;
        let Val::Position(index) = self.peek(1)? else {
            return self.peek(width);
        };
        let Val::Ptr(on, _) = self.peek(2)? else {
            return Err("an iteration that is not traced yet");
        };
        Ok(Val::SeqIter {
            seq: self.sequence(on)?,
            on,
            index,
            object: Ref::NONE,
        })
    }

    /// Whether the loop's head found this object in an entry of the stack, which owns it.
    fn on_stack(&self, r: Ref) -> bool {
        let inst = self.tree.inst(r);
        let slot = |input: i64| self.tree.inputs[input as usize].slot.as_frame();
        inst.op == Op::Input && slot(inst.imm >> 3).is_some_and(|i| i >= self.tree.locals as usize)
    }

    /// One step along a list at an index: whether there is one more, and then the item.
    fn along(&mut self, list: Ref, index: Ref) -> Step<Option<Val>> {
        let length = self.length(list)?;
        let more = self.compare_ints(Cond::Below, index, length);
        let e = self.fork(END);
        self.guard(more, e);
        if !self.b(more) {
            return Ok(None);
        }
        Ok(Some(self.load_item(list, index)?))
    }

    /// The item, the iterator after it; none at the end.
    fn advance(&mut self, v: Val) -> Step<Option<(Val, Val)>> {
        let one = self.int(1);
        Ok(match v {
            Val::RangeIter {
                next,
                step,
                left,
                object,
            } => {
                let zero = self.int(0);
                let more = self.compare_ints(Cond::Gt, left, zero);
                let e = self.fork(END);
                self.guard(more, e);
                if !self.b(more) {
                    return Ok(None);
                }
                let (n, l) = (self.i(next).wrapping_add(self.i(step)), self.i(left) - 1);
                let then = self.pure(Op::AddW, &[next, step], n as u64);
                let minus = self.int(-1);
                let left = self.pure(Op::AddW, &[left, minus], l as u64);
                let after = Val::RangeIter {
                    next: then,
                    step,
                    left,
                    object,
                };
                Some((fresh_int(next), after))
            }
            Val::SeqIter { seq, on, index, object } => {
                let item = match seq {
                    Seq::List => self.along(on, index)?,
                    Seq::Tuple | Seq::Str => {
                        let length = self.length(on)?;
                        let more = self.compare_ints(Cond::Below, index, length);
                        let e = self.fork(END);
                        self.guard(more, e);
                        match (self.b(more), seq) {
                            (false, _) => None,
                            (true, Seq::Tuple) => Some(self.load_from_tuple(on, index)?),
                            (true, _) => Some(self.char_at(on, index)?),
                        }
                    }
                };
                let Some(item) = item else { return Ok(None) };
                let c = self.i(index) + 1;
                let index = self.pure(Op::AddW, &[index, one], c as u64);
                Some((item, Val::SeqIter { seq, on, index, object }))
            }
            Val::Enumerate {
                count,
                list,
                index,
                object,
            } => {
                let Some(item) = self.along(list, index)? else {
                    return Ok(None);
                };
                let at = Val::Int {
                    value: count,
                    boxed: self.tree.new_token(),
                };
                let item = self.name_it(item);
                let (n, c) = (self.i(count).checked_add(1), self.i(index) + 1);
                let count = self.checked(Op::AddO, &[count, one], n)?;
                let index = self.pure(Op::AddW, &[index, one], c as u64);
                self.give_in(object, self.layout.enumerate_inner, &[at, item])?;
                self.tree.tuples.push(vec![at, item]);
                let pair = Val::Tuple(self.tree.tuples.len() as u32 - 1);
                Some((
                    pair,
                    Val::Enumerate {
                        count,
                        list,
                        index,
                        object,
                    },
                ))
            }
            Val::Zip {
                first,
                second,
                index,
                object,
            } => {
                let Some(a) = self.along(first, index)? else {
                    return Ok(None);
                };
                let Some(b) = self.along(second, index)? else {
                    return Ok(None);
                };
                let (a, b) = (self.name_it(a), self.name_it(b));
                let c = self.i(index) + 1;
                let index = self.pure(Op::AddW, &[index, one], c as u64);
                self.give_in(object, self.layout.zip_inner, &[a, b])?;
                self.tree.tuples.push(vec![a, b]);
                let pair = Val::Tuple(self.tree.tuples.len() as u32 - 1);
                Some((
                    pair,
                    Val::Zip {
                        first,
                        second,
                        index,
                        object,
                    },
                ))
            }
            Val::Ptr(it, _) => self.advance_object(it)?.map(|item| (item, v)),
            _ => return Err("an iteration that is not traced yet"),
        })
    }

    pub(super) fn for_iter(&mut self, first: bool, next: usize, arg: usize) -> Step<()> {
        let v = self.iterator()?;
        if let Some((item, after)) = self.advance(v)? {
            if after != v {
                match (self.peek(1)?, after) {
                    (Val::Position(_), Val::SeqIter { index, .. }) => self.set(1, Val::Position(index)),
                    _ => self.set(self.layout.for_width, after),
                }
            }
            self.push(item)?;
            self.s.pc = next;
            return Ok(());
        }
        if first && self.root {
            return Err(ENDING);
        }
        // A second list that is too short has cost the first one an item; the interpreter does that.
        let held = match v {
            Val::RangeIter { .. } => Ref::NONE,
            Val::SeqIter { on, object, .. } if object.is_inst() || self.on_stack(on) => on,
            Val::SeqIter { .. } => Ref::NONE,
            Val::Ptr(it, _) if self.dict_done(it)? => Ref::NONE,
            _ => return Err("the end of an iterator over others"),
        };
        if !held.is_none() {
            // The iterator owns what it walks along, whose death is for the interpreter to see in time.
            if !self.world.is_shared(self.o(held)) {
                return Err("the end of a sequence that only the loop holds");
            }
            let e = self.exit("the end of a sequence that only the loop holds");
            self.guard_held(v, held, e);
        }
        self.s.depth -= self.layout.for_width;
        self.s.pc = next + arg + self.layout.for_exit_units;
        Ok(())
    }

    /// Leaves when the iterator that ends is all that holds what it walks along. One that has no object holds nothing.
    fn guard_held(&mut self, v: Val, held: Ref, e: ExitId) {
        match v {
            // A loop of 3.15 without an iterator has the sequence itself on the stack, which owns it.
            Val::SeqIter { object, .. } if object.is_inst() => {
                self.emit(Op::GuardHeld, &[held, object], 0, e, 0);
            }
            _ => {
                self.emit(Op::GuardShared, &[held], 0, e, 0);
            }
        }
    }

    /// Whether an iterator that is thrown away half way may be: nobody sees it go.
    pub(super) fn abandon(&mut self, v: Val) -> Step<()> {
        match v {
            Val::RangeIter { .. } | Val::SeqIter { object: Ref::NONE, .. } => Ok(()),
            Val::Ptr(it, _) if self.world.walker(self.o(it)).is_some() => match self.dict_done(it)? {
                true => Ok(()),
                false => Err("an abandoned iterator"),
            },
            Val::SeqIter { on, .. } | Val::Ptr(on, _) if !matches!(v, Val::Ptr(..)) || self.on_stack(on) => {
                if !self.world.is_shared(self.o(on)) {
                    return Err("an abandoned iterator");
                }
                let e = self.exit("an abandoned iterator");
                self.guard_held(v, on, e);
                Ok(())
            }
            Val::Enumerate { .. } | Val::Zip { .. } => Err("an abandoned iterator"),
            _ => Ok(()),
        }
    }
}
