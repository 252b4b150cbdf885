//! Objects that the loop itself makes: lists, tuples, slices; and what `list.pop` takes out.
//!
//! The release log owns what is made, so it lives until the exit. That is invisible as long as nothing else dies with it:
//! only *quiet* objects are kept so, whose death nobody could notice. Numbers and strings are quiet, and containers of
//! quiet objects. To stay quiet, a list that a trace made is not tracked by the collector before the exit, and what is
//! not quiet goes into tracked lists only.

use super::*;

/// Where the collector's link lies before an object: null while it is not tracked.
const TRACKED: i64 = -16;
const NOT_YET: &str = "an object made in the loop that is not traced yet";
const LOUD: &str = "an object made in the loop that holds others";

impl<W: World> Recorder<'_, W> {
    /// Whether nobody could notice when this dies, as far as its type tells.
    pub(super) fn is_quiet(&self, v: Val) -> bool {
        match v {
            Val::Int { .. } | Val::Float { .. } | Val::Bool(_) | Val::Known(_) => true,
            Val::Ptr(r, t) => {
                let inst = self.tree.inst(r);
                let fresh =
                    matches!(inst.op, Op::NewList | Op::ListOf | Op::Slice) || inst.op == Op::NewTuple && inst.imm == 1;
                fresh || self.world.is_leaf_type(t)
            }
            Val::Tuple(t) => self.tree.tuples[t as usize].iter().all(|v| self.is_quiet(*v)),
            _ => false,
        }
    }

    /// Goes on only with a quiet object.
    fn require_quiet(&mut self, v: Val) -> Step<()> {
        if self.is_quiet(v) {
            return Ok(());
        }
        match v {
            Val::Ptr(r, _) if self.world.is_quiet(self.o(r)) => {
                let e = self.exit(LOUD);
                self.emit(Op::GuardQuiet, &[r], 0, e, 0);
                Ok(())
            }
            Val::Tuple(t) => {
                for item in self.tree.tuples[t as usize].clone() {
                    self.require_quiet(item)?;
                }
                Ok(())
            }
            _ => Err(LOUD),
        }
    }

    /// A list that takes this in must not be one that the release log alone may own.
    pub(super) fn require_lasting(&mut self, list: Ref, v: Val) -> Step<()> {
        if self.is_quiet(v) {
            return Ok(());
        }
        if matches!(self.tree.inst(list).op, Op::NewList | Op::ListOf | Op::Slice) {
            return Err(LOUD);
        }
        let link = self.emit(Op::Field, &[list], TRACKED, ExitId::NONE, 1);
        let e = self.exit(LOUD);
        self.emit(Op::GuardSome, &[link], 0, e, 0);
        Ok(())
    }

    pub(super) fn concrete(&self, v: Val) -> Concrete {
        let object = |o: Obj| Concrete::Object(if o.is_null() { self.world.none() } else { o });
        match v {
            Val::Int { value, .. } => Concrete::Int(self.i(value)),
            Val::Float { value, .. } => Concrete::Float(self.f(value)),
            Val::Bool(b) => object(self.world.bool_object(self.b(b))),
            Val::Ptr(r, _) => object(self.o(r)),
            Val::Known(o) => object(o),
            Val::Tuple(t) => object(self.example(true, &self.tree.tuples[t as usize].clone())),
            _ => object(Obj::NULL),
        }
    }
    /// An object such as the trace will make, for the recorder to look at.
    fn example(&self, tuple: bool, items: &[Val]) -> Obj {
        let items: Vec<Concrete> = items.iter().map(|v| self.concrete(*v)).collect();
        self.world.example(tuple, &items)
    }

    /// Makes a list or tuple of these values; the caller owns it. All exits come first.
    pub(super) fn make_of(&mut self, tuple: bool, items: &[Val], quiet: bool) -> Step<Ref> {
        for v in items {
            Self::storable(*v)?;
            if matches!(v, Val::Tuple(_)) {
                return Err("a tuple in a tuple");
            }
            self.prepare_owned(*v);
        }
        let example = self.example(tuple, items);
        let count = self.int(items.len() as i64);
        let op = if tuple { Op::NewTuple } else { Op::NewList };
        let made = self.emit(op, &[count], i64::from(quiet), ExitId::NONE, example.0 as u64);
        let mut items = items.to_vec();
        for k in 0..items.len() {
            let v = items[k];
            let (at, o) = (self.int(k as i64), self.owned(v)?);
            self.emit(Op::Fill, &[made, at, o], i64::from(tuple), ExitId::NONE, 0);
            // The same number further on is the same object.
            for later in items[k + 1..]
                .iter_mut()
                .filter(|l| v.identity().is_some() && l.identity() == v.identity())
            {
                *later = later.with_identity(o);
            }
        }
        Ok(made)
    }

    /// `BUILD_LIST`.
    pub(super) fn build_list(&mut self, n: usize) -> Step<Val> {
        for k in 1..=n {
            let v = self.copy(k)?;
            self.require_quiet(v)?;
        }
        // One tuple in two places is made once: what was made is looked up anew.
        let mut items = Vec::with_capacity(n);
        for k in (1..=n).rev() {
            let v = self.copy(k)?;
            self.real(v)?;
        }
        for k in (1..=n).rev() {
            items.push(self.copy(k)?);
        }
        let list = self.make_of(false, &items, true)?;
        self.emit(Op::Keep, &[list], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(list, self.world.container_types()[0]))
    }

    /// A list of a constant tuple's items, which the compiler of Python writes as an empty list that is extended.
    pub(super) fn list_of(&mut self, constants: Obj) -> Step<Val> {
        if self.world.class(constants) != Class::Tuple || !self.world.is_quiet(constants) {
            return Err(NOT_YET);
        }
        let items: Vec<Concrete> = (0..self.world.size(constants))
            .map(|k| Concrete::Object(self.world.item(constants, k)))
            .collect();
        let example = self.world.example(false, &items);
        let tuple = self.object(constants);
        let list = self.emit(Op::ListOf, &[tuple], 0, ExitId::NONE, example.0 as u64);
        self.emit(Op::Keep, &[list], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(list, self.world.container_types()[0]))
    }

    /// A tuple that has not been made is made, and kept until the exit; everything else is as it is.
    pub(super) fn real(&mut self, v: Val) -> Step<Val> {
        let Val::Tuple(t) = v else { return Ok(v) };
        self.require_quiet(v)?;
        let made = self.make_tuple(t, true)?;
        self.emit(Op::Keep, &[made], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(made, self.world.container_types()[1]))
    }
    /// The tuple, owned; every place that holds it knows the object from here on.
    pub(super) fn make_tuple(&mut self, t: u32, quiet: bool) -> Step<Ref> {
        // Making the numbers in it may rename it.
        let items = self.tree.tuples[t as usize].clone();
        self.making = Some(Val::Tuple(t));
        let made = self.make_of(true, &items, quiet)?;
        let value = Val::Ptr(made, self.world.container_types()[1]);
        if let Some(now) = self.making.take() {
            self.tuple_made(now, value);
        }
        Ok(made)
    }

    /// `s[start:stop]` of a list, tuple or string.
    pub(super) fn slice(&mut self, on: Val, start: Val, stop: Val) -> Step<Val> {
        let none = self.world.none();
        let bound = |r: &mut Self, v: Val, open: i64| match r.number(v) {
            Val::Int { value, .. } => Ok(value),
            Val::Known(o) if o == none => Ok(r.int(open)),
            _ => Err("a slice that is not traced yet"),
        };
        if self.lists_wait() {
            return Err("a slice in an inlined function that stores");
        }
        let (start, stop) = (bound(self, start, 0)?, bound(self, stop, i64::MAX)?);
        let on = self.real(on)?;
        let Val::Ptr(r, ty) = on else {
            return Err("a slice that is not traced yet");
        };
        let o = self.o(r);
        if !matches!(self.world.class(o), Class::List | Class::Tuple | Class::Str) {
            return Err("a slice that is not traced yet");
        }
        let example = self.world.slice(o, self.i(start), self.i(stop)).ok_or(LOUD)?;
        let e = self.fork("a slice that is long, or of objects");
        let made = self.emit(Op::Slice, &[r, start, stop], 0, e, example.0 as u64);
        self.emit(Op::Keep, &[made], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(made, ty))
    }

    /// `list[start:stop] = v`, of a list or tuple.
    pub(super) fn store_slice(&mut self, on: Val, start: Val, stop: Val, v: Val) -> Step<()> {
        const NOT_YET: &str = "a store into a slice that is not traced yet";
        const WHY: &str = "a store into a slice that is long, or of objects";
        const FAR: i64 = 1 << 31;
        if self.waits() {
            return Err("a store into a slice in an inlined function");
        }
        let mut bounds = [Ref::NONE; 2];
        for (place, (v, open)) in bounds.iter_mut().zip([(start, 0), (stop, FAR - 1)]) {
            *place = match self.number(v) {
                Val::Int { value, .. } => value,
                Val::Known(o) if o == self.world.none() => self.int(open),
                _ => return Err(NOT_YET),
            };
            self.require_int(Cond::Lt, *place, FAR, NOT_YET)?;
            self.require_int(Cond::Ge, *place, -FAR, NOT_YET)?;
        }
        let (Val::Ptr(list, _), Val::Ptr(from, _)) = (on, self.real(v)?) else {
            return Err(NOT_YET);
        };
        let (o, given) = (self.o(list), self.o(from));
        if self.world.class(o) != Class::List || !matches!(self.world.class(given), Class::List | Class::Tuple) {
            return Err(NOT_YET);
        }
        let (size, more) = (self.size_now(o), self.size_now(given));
        let cut = |r: Ref| {
            let at = self.i(r);
            (if at < 0 { at + size } else { at }).clamp(0, size)
        };
        let first = cut(bounds[0]);
        let last = cut(bounds[1]).max(first);
        let loud = |o: Obj| !o.is_null() && !self.world.is_quiet(o);
        if (first..last).any(|k| loud(self.world.item(o, k))) || (0..more).any(|k| loud(self.world.item(given, k))) {
            return Err(WHY);
        }
        let (by, low) = (self.int(FAR * 2), self.int(FAR * 2 - 1));
        let c = self.i(bounds[0]) << 32;
        let upper = self.pure(Op::MulW, &[bounds[0], by], c as u64);
        let d = self.i(bounds[1]) & (FAR * 2 - 1);
        let lower = self.pure(Op::And, &[bounds[1], low], d as u64);
        let both = self.pure(Op::Or, &[upper, lower], (c | d) as u64);
        let e = self.fork(WHY);
        self.emit(Op::PutSlice, &[list, from, both], 0, e, 1);
        // What is there now is only guessed from here on: as what was there.
        self.memory.retain(|m| m.on != o);
        self.lengths.push((o, more - (last - first)));
        self.written = true;
        Ok(())
    }

    /// `list.pop()`.
    pub(super) fn pop(&mut self, list: Ref) -> Step<Val> {
        let o = self.o(list);
        let size = self.length(list)?;
        self.require_int(Cond::Gt, size, 0, "a pop from an empty list")?;
        let minus = self.int(-1);
        let last = self.pure(Op::AddW, &[size, minus], (self.i(size) - 1) as u64);
        let v = self.load_item(list, last)?;
        let quiet = self.is_quiet(v) || matches!(v, Val::Ptr(r, _) if self.world.is_quiet(self.o(r)));
        if quiet {
            self.require_quiet(v)?;
        } else if let Val::Ptr(r, _) = v {
            // Somebody else owns it too, so it stays.
            if !self.world.is_shared(self.o(r)) {
                return Err("a pop of an object that only the list holds");
            }
            let e = self.exit("a pop of an object that only the list holds");
            self.emit(Op::GuardShared, &[r], self.releases, e, 0);
        }
        self.effect_now()?;
        let popped = self.emit(Op::Pop, &[list], 0, ExitId::NONE, 0);
        let end = if quiet { Op::Keep } else { Op::Release };
        self.emit(end, &[popped], 0, ExitId::NONE, 0);
        self.lengths.push((o, -1));
        self.written = true;
        Ok(v)
    }
}
