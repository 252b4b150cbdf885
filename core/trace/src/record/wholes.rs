//! Lists and tuples as a whole (`min`, `max`, `sum`), and text (`str`, `repr`, `format`, f-strings).

use super::arith::{fresh_float, fresh_int};
use super::containers::Item;
use super::*;

/// Characters of a piece of text, and pieces, that a trace puts together.
const PIECE_MAX: i64 = 256;
const PIECES_MAX: usize = 24;

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Int(i64),
    Float(f64),
    Text(Obj),
    Other,
}

impl<W: World> Recorder<'_, W> {
    /// What is in a list or tuple now, as far as this iteration has changed it.
    fn items_now(&self, r: Ref) -> Step<Vec<(Item, Key)>> {
        const WHY: &str = "a list that is not taken as a whole yet";
        let o = self.o(r);
        if !matches!(self.world.class(o), Class::List | Class::Tuple) || self.lists_wait() {
            return Err(WHY);
        }
        let key = |o: Obj| match self.world.class(o) {
            Class::Int(v) => Key::Int(v),
            Class::Float(v) => Key::Float(v),
            Class::Str => Key::Text(o),
            _ => Key::Other,
        };
        let with_key = |item: Item| match item {
            Item::Object(o) => (item, key(o)),
            Item::Stored(Val::Int { value, .. }) => (item, Key::Int(self.i(value))),
            Item::Stored(Val::Float { value, .. }) => (item, Key::Float(self.f(value))),
            Item::Stored(Val::Ptr(r, _)) => (item, key(self.o(r))),
            Item::Stored(_) => (item, Key::Other),
        };
        let items = (0..self.size_now(o)).map(|k| with_key(self.at(o, k, || self.world.item(o, k))));
        Ok(items.collect())
    }

    /// `min` or `max` of one list or tuple.
    pub(super) fn best(&mut self, largest: bool, r: Ref) -> Step<Val> {
        const WHY: &str = "items that are not all ints, floats or strings";
        let items = self.items_now(r)?;
        let better = |a: Key, b: Key| match (a, b) {
            (Key::Int(a), Key::Int(b)) => Some(if largest { a > b } else { a < b }),
            (Key::Float(a), Key::Float(b)) => Some(if largest { a > b } else { a < b }),
            (Key::Text(a), Key::Text(b)) => {
                let c = self.world.compare_strings(a, b);
                Some(if largest { c > 0 } else { c < 0 })
            }
            _ => None,
        };
        let (first, rest) = items.split_first().ok_or("the best of nothing")?;
        let (mut best, mut key) = *first;
        for (item, k) in rest {
            if better(*k, key).ok_or(WHY)? {
                (best, key) = (*item, *k);
            }
        }
        let kind = match key {
            Key::Int(_) => 0,
            Key::Float(_) => 1,
            Key::Text(_) => 2,
            Key::Other => return Err(WHY),
        };
        let e = self.exit(WHY);
        let c = self.pointer(best);
        let found = self.emit(Op::Best, &[r], kind << 1 | i64::from(largest), e, c);
        self.item_value(found, best)
    }

    /// `sum` of one list or tuple.
    pub(super) fn sum(&mut self, f: Obj, r: Ref) -> Step<Val> {
        const WHY: &str = "a sum of something else than numbers";
        let items = self.items_now(r)?;
        let (mut whole, mut sum, mut floats) = (Some(0i64), 0.0, false);
        for (_, key) in items {
            match key {
                Key::Int(v) => (whole, sum) = (whole.and_then(|w| w.checked_add(v)), sum + v as f64),
                Key::Float(v) => (floats, sum) = (true, sum + v),
                _ => return Err(WHY),
            }
        }
        let e = self.exit(WHY);
        if floats {
            let f = self.object(f);
            return Ok(fresh_float(self.emit(Op::SumF, &[f, r], 0, e, sum.to_bits())));
        }
        let whole = whole.ok_or("an integer beyond 64 bits")?;
        Ok(fresh_int(self.emit(Op::SumI, &[r], 0, e, whole as u64)))
    }

    /// `sum` of a range.
    pub(super) fn sum_range(&mut self, start: Ref, stop: Ref, step: Ref) -> Step<Val> {
        let Val::RangeIter { left, .. } = self.iterate_range(start, stop, step)? else {
            return Err("a range that is not traced yet");
        };
        if self.const_int(left) == Some(0) {
            return Ok(fresh_int(left));
        }
        let minus = self.int(-1);
        let one = self.int(1);
        let n = self.i(left);
        let before = self.pure(Op::AddW, &[left, minus], (n - 1) as u64);
        let twice = self.checked(Op::MulO, &[left, before], n.checked_mul(n - 1))?;
        let steps = self.pure(Op::Shr, &[twice, one], (self.i(twice) >> 1) as u64);
        let c = self.i(steps).checked_mul(self.i(step));
        let rise = self.checked(Op::MulO, &[steps, step], c)?;
        let c = n.checked_mul(self.i(start));
        let base = self.checked(Op::MulO, &[left, start], c)?;
        let c = self.i(base).checked_add(self.i(rise));
        Ok(fresh_int(self.checked(Op::AddO, &[base, rise], c)?))
    }

    fn is_text(&self, v: Val) -> Option<Ref> {
        match v {
            Val::Ptr(r, _) if self.world.class(self.o(r)) == Class::Str => Some(r),
            _ => None,
        }
    }

    /// The text of a value: by a format (0; null is none), or its str (1), repr (2) or ascii (3).
    pub(super) fn text(&mut self, v: Val, how: i64, spec: Option<Val>) -> Step<Val> {
        const NOT_YET: &str = "a text that is not traced yet";
        const LONG: &str = "a text that is long";
        if how < 2 && spec.is_none() && self.is_text(v).is_some() {
            return Ok(v);
        }
        let spec = match spec {
            Some(spec) => self.is_text(spec).ok_or(NOT_YET)?,
            None => self.constant_inst(Op::ConstP, 0),
        };
        let (op, on) = match v {
            Val::Int { value, .. } => (Op::FormatI, value),
            Val::Float { value, .. } => (Op::FormatF, value),
            Val::Bool(b) => {
                let c = self.world.bool_object(self.b(b));
                (Op::FormatP, self.pure(Op::BoxB, &[b], c.0 as u64))
            }
            Val::Known(o) if o == self.world.none() => (Op::FormatP, self.object(o)),
            v => (Op::FormatP, self.is_text(v).ok_or(NOT_YET)?),
        };
        let made = self.world.text(self.concrete(v), self.o(spec), how).ok_or(LONG)?;
        let e = self.fork(LONG);
        let made_ref = self.emit(op, &[on, spec], how, e, made.0 as u64);
        self.emit(Op::Keep, &[made_ref], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(made_ref, self.world.type_of(made)))
    }

    /// `BUILD_STRING`.
    pub(super) fn join(&mut self, n: usize) -> Step<Val> {
        const NOT_YET: &str = "strings put together that are not traced yet";
        if !(2..=PIECES_MAX).contains(&n) {
            return Err(NOT_YET);
        }
        let mut pieces = Vec::with_capacity(n);
        for k in (1..=n).rev() {
            let v = self.peek(k)?;
            let r = self.is_text(v).ok_or(NOT_YET)?;
            if !matches!(self.tree.inst(r).op, Op::FormatI | Op::FormatF | Op::FormatP) {
                let length = self.world.size(self.o(r));
                if self.tree.inst(r).op != Op::ConstP {
                    let size = self.length(r)?;
                    self.require_int(Cond::Le, size, PIECE_MAX, NOT_YET)?;
                } else if length > PIECE_MAX {
                    return Err(NOT_YET);
                }
            }
            pieces.push(v);
        }
        let objects: Vec<Obj> = pieces
            .iter()
            .filter_map(|v| self.is_text(*v))
            .map(|r| self.o(r))
            .collect();
        let joined = self.world.joined(&objects);
        let tuple = self.make_of(true, &pieces, true)?;
        let made = self.emit(Op::Join, &[tuple], 0, ExitId::NONE, joined.0 as u64);
        self.emit(Op::Keep, &[made], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(made, self.world.type_of(joined)))
    }

    /// The arguments of a call of a Python function, by its parameters: what is given by name, and defaults as they are when
    /// the trace runs.
    pub(super) fn arguments(&mut self, f: Ref, callee: &Callee, given: Vec<Val>, names: &[Obj]) -> Step<Vec<Val>> {
        const WHY: &str = "a function whose call is not simple";
        let (count, all) = (callee.arguments, callee.arguments + callee.keyword_only);
        let by_place = given.len() - names.len();
        if by_place > count {
            return Err(WHY);
        }
        let mut bound: Vec<Option<Val>> = vec![None; all];
        for (k, v) in given.into_iter().enumerate() {
            let place = match names.get(k.wrapping_sub(by_place)) {
                Some(name) => (callee.positional_only..all)
                    .find(|p| {
                        self.world
                            .compare_strings(self.world.item(callee.names, *p as i64), *name)
                            == 0
                    })
                    .ok_or(WHY)?,
                None => k,
            };
            if bound[place].replace(v).is_some() {
                return Err(WHY);
            }
        }
        let e = self.exit("other defaults of a function");
        if bound[..count].contains(&None) {
            let defaults = callee.defaults;
            let size = if defaults.is_null() {
                0
            } else {
                self.world.size(defaults)
            };
            let first = count.checked_sub(size as usize).ok_or(WHY)?;
            if bound[..first].contains(&None) {
                return Err(WHY);
            }
            let l = self.layout;
            let tuple = self.emit(Op::Field, &[f], l.func_defaults as i64, ExitId::NONE, defaults.0 as u64);
            self.emit(Op::GuardSome, &[tuple], 0, e, 0);
            let length = self.pure(Op::SizeT, &[tuple], size as u64);
            self.require_int(Cond::Eq, length, size, "other defaults of a function")?;
            let missing: Vec<usize> = (first..count).filter(|p| bound[*p].is_none()).collect();
            for place in missing {
                let at = self.int((place - first) as i64);
                bound[place] = Some(self.load_from_tuple(tuple, at)?);
            }
        }
        if bound[count..].contains(&None) {
            let dict = callee.keyword_defaults;
            if dict.is_null() || self.world.class(dict) != Class::Dict {
                return Err(WHY);
            }
            let (offset, ty) = (self.layout.func_kwdefaults as i64, self.world.type_of(dict));
            let found = self.emit(Op::Field, &[f], offset, ExitId::NONE, dict.0 as u64);
            self.emit(Op::GuardSome, &[found], 0, e, 0);
            self.emit(Op::GuardType, &[found], ty.0 as i64, e, 0);
            let missing: Vec<usize> = (count..all).filter(|p| bound[*p].is_none()).collect();
            for place in missing {
                let name = self.world.item(callee.names, place as i64);
                let key = self.constant(name)?;
                bound[place] = Some(self.dict_value(found, key)?);
            }
        }
        bound.into_iter().map(|v| v.ok_or(WHY)).collect()
    }
}
