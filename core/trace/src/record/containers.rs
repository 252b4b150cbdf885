//! Lists, tuples, strings and dicts: reading items, storing them, appending.

use super::arith::fresh_int;
use super::pending::Old;
use super::*;

impl<W: World> Recorder<'_, W> {
    /// The length of a sequence or dict, as far as this iteration has changed it.
    pub(super) fn size_now(&self, o: Obj) -> i64 {
        let more: i64 = self.lengths.iter().filter(|l| l.0 == o).map(|l| l.1).sum();
        self.world.size(o) + more
    }
    pub(super) fn length(&mut self, r: Ref) -> Step<Ref> {
        let o = self.o(r);
        let op = match self.world.class(o) {
            Class::List => Op::Size,
            Class::Tuple | Class::Bytes => Op::SizeT,
            Class::Str => Op::Len,
            Class::Dict if !self.memory.iter().any(|m| m.on == o) => Op::LenD,
            _ => return Err("a length that is not traced yet"),
        };
        let n = self.size_now(o);
        let size = self.pure(op, &[r], n as u64);
        let more = if op == Op::Size { self.waiting_ends(r) } else { 0 };
        if more == 0 {
            return Ok(size);
        }
        let by = self.int(more);
        Ok(self.pure(Op::AddW, &[size, by], (n + more) as u64))
    }

    /// An index in range: itself, or counted from the end.
    fn index(&mut self, length: Ref, index: Ref) -> Step<Ref> {
        const WHY: &str = "an index out of range";
        let (len, i) = (self.i(length), self.i(index));
        let e = self.exit(WHY);
        let mut at = index;
        if i < 0 {
            let zero = self.int(0);
            let negative = self.compare_ints(Cond::Lt, index, zero);
            self.guard(negative, e);
            at = self.pure(Op::AddW, &[index, length], i.wrapping_add(len) as u64);
        }
        if !(0..len).contains(&self.i(at)) {
            return Err(WHY);
        }
        let inside = self.compare_ints(Cond::Below, at, length);
        self.guard(inside, e);
        Ok(at)
    }

    pub(super) fn subscript(&mut self, on: Val, key: Val) -> Step<Val> {
        if let Some([start, stop]) = self.constant_bounds(key)? {
            return self.slice(on, start, stop);
        }
        match (on, self.number(key)) {
            (Val::Tuple(t), Val::Int { value, .. }) => {
                let (Some(k), items) = (self.const_int(value), self.tree.tuples[t as usize].clone()) else {
                    return Err("a subscript that is not traced yet");
                };
                let k = if k < 0 { k + items.len() as i64 } else { k };
                let v = *items.get(k as usize).ok_or("an index out of range")?;
                Ok(v)
            }
            (Val::Ptr(r, _), Val::Int { value, .. }) => match self.world.class(self.o(r)) {
                Class::List => {
                    let n = self.length(r)?;
                    let at = self.index(n, value)?;
                    self.load_item(r, at)
                }
                Class::Tuple => {
                    let n = self.length(r)?;
                    let at = self.index(n, value)?;
                    self.load_from_tuple(r, at)
                }
                Class::Bytes => {
                    let n = self.length(r)?;
                    let at = self.index(n, value)?;
                    let byte = self.world.byte(self.o(r), self.i(at)).ok_or("outside the bytes")?;
                    Ok(fresh_int(self.emit(
                        Op::Byte,
                        &[r, at],
                        1,
                        ExitId::NONE,
                        u64::from(byte),
                    )))
                }
                Class::Str => {
                    self.latin(r)?;
                    let n = self.length(r)?;
                    let at = self.index(n, value)?;
                    self.char_at(r, at)
                }
                Class::Dict => self.dict_value(r, key),
                _ => Err("a subscript that is not traced yet"),
            },
            (Val::Ptr(r, _), key @ Val::Ptr(..)) if self.world.class(self.o(r)) == Class::Dict => {
                self.dict_value(r, key)
            }
            _ => Err("a subscript that is not traced yet"),
        }
    }

    pub(super) fn latin(&mut self, r: Ref) -> Step<()> {
        if !self.world.is_latin(self.o(r)) {
            return Err("a string of wide characters");
        }
        let e = self.exit("a string of wide characters");
        self.emit(Op::GuardLatin, &[r], 0, e, 0);
        Ok(())
    }
    pub(super) fn char_at(&mut self, r: Ref, at: Ref) -> Step<Val> {
        let byte = self.world.byte(self.o(r), self.i(at)).ok_or("outside the string")?;
        let code = self.emit(Op::Byte, &[r, at], 0, ExitId::NONE, u64::from(byte));
        self.char(code)
    }
    pub(super) fn char(&mut self, code: Ref) -> Step<Val> {
        let o = self.world.char(self.i(code) as u8);
        let ty = self.world.type_of(o);
        Ok(Val::Ptr(self.pure(Op::Char, &[code], o.0 as u64), ty))
    }

    /// What the iteration has stored at a place, or what is there.
    pub(super) fn at(&self, on: Obj, place: i64, there: impl FnOnce() -> Obj) -> Item {
        match self
            .memory
            .iter()
            .rev()
            .find(|m| m.on == on && !m.field && m.place == place)
        {
            Some(m) => Item::Stored(m.value),
            None => Item::Object(there()),
        }
    }

    pub(super) fn load_item(&mut self, list: Ref, at: Ref) -> Step<Val> {
        if let Some(k) = self.waiting_item(list, at)? {
            return Ok(self.pending[k].value);
        }
        let (found, r) = self.item_there(list, at);
        self.item_value(r, found)
    }
    pub(super) fn load_from_tuple(&mut self, tuple: Ref, at: Ref) -> Step<Val> {
        let found = self.world.item(self.o(tuple), self.i(at));
        let r = self.pure(Op::LoadT, &[tuple, at], found.0 as u64);
        self.item_value(r, Item::Object(found))
    }
    pub(super) fn pointer(&self, item: Item) -> u64 {
        match item {
            Item::Object(o) => o.0 as u64,
            Item::Stored(Val::Ptr(r, _)) => self.conc[r.at()],
            Item::Stored(Val::Known(o)) => o.0 as u64,
            Item::Stored(_) => 0,
        }
    }

    /// A loaded object by its type, unboxed if it is a number.
    pub(super) fn item_value(&mut self, r: Ref, found: Item) -> Step<Val> {
        let [int, float, boolean] = self.world.number_types();
        let (ty, class) = match found {
            Item::Object(o) if o.is_null() => return Err("an empty place"),
            Item::Object(o) => (self.world.type_of(o), self.world.class(o)),
            Item::Stored(Val::Int { value, .. }) => (int, Class::Int(self.i(value))),
            Item::Stored(Val::Float { value, .. }) => (float, Class::Float(self.f(value))),
            Item::Stored(Val::Bool(b)) => (boolean, Class::Bool(self.b(b))),
            Item::Stored(Val::Ptr(_, t)) => (t, Class::Other),
            Item::Stored(Val::Known(o)) => (self.world.type_of(o), Class::Other),
            Item::Stored(_) => return Err("an item that is not traced yet"),
        };
        if ty == int && !matches!(class, Class::Int(_)) {
            return Err("an integer beyond 64 bits");
        }
        let e = self.exit("an item of another type");
        self.tree.pin(ty);
        self.emit(Op::GuardType, &[r], ty.0 as i64, e, 0);
        Ok(match class {
            Class::Int(v) => Val::Int {
                value: self.emit(Op::UnboxI, &[r], 0, e, v as u64),
                boxed: r,
            },
            Class::Float(v) => Val::Float {
                value: self.pure(Op::UnboxF, &[r], v.to_bits()),
                boxed: r,
            },
            Class::Bool(v) => Val::Bool(self.pure(Op::UnboxB, &[r], u64::from(v))),
            _ => Val::Ptr(r, ty),
        })
    }

    // --- stores ---

    /// An owned object for a value, to be given away at once.
    pub(super) fn owned(&mut self, v: Val) -> Step<Ref> {
        let v = Self::storable(v)?;
        Ok(match v {
            Val::Int { boxed, .. } | Val::Float { boxed, .. } if self.object_of(boxed) => {
                self.emit(Op::Incref, &[boxed], 0, ExitId::NONE, 0);
                boxed
            }
            Val::Int { value, boxed } | Val::Float { value, boxed } => {
                let int = matches!(v, Val::Int { .. });
                if boxed.is_inst() {
                    let op = if int { Op::MakeI } else { Op::MakeF };
                    let e = self.exit("a shared number that has no object");
                    let r = self.emit(op, &[value, boxed], 0, e, 0);
                    self.made(boxed, r);
                    r
                } else {
                    let r = self.pure(if int { Op::NewI } else { Op::NewF }, &[value], 0);
                    self.made(boxed, r);
                    r
                }
            }
            Val::Bool(b) => {
                let c = self.world.bool_object(self.b(b));
                self.pure(Op::BoxB, &[b], c.0 as u64)
            }
            Val::Ptr(r, _) => {
                self.emit(Op::Incref, &[r], 0, ExitId::NONE, 0);
                r
            }
            Val::Known(o) => {
                let r = self.object(o);
                if !self.world.is_immortal(o) {
                    self.emit(Op::Incref, &[r], 0, ExitId::NONE, 0);
                }
                r
            }
            Val::Tuple(t) => self.make_tuple(t, false)?,
            _ => return Err("storing something virtual"),
        })
    }
    /// Whether an identity is an object for sure; what the head brings may be none yet.
    pub(super) fn object_of(&self, id: Ref) -> bool {
        id.is_inst() && !matches!(self.tree.inst(id).op, Op::Input | Op::Named | Op::Phi)
    }
    /// The checks that `owned` needs, before anything is changed: it will not leave after these.
    pub(super) fn prepare_owned(&mut self, v: Val) {
        match v {
            Val::Int { boxed, .. } | Val::Float { boxed, .. } if boxed.is_inst() && !self.object_of(boxed) => {
                let e = self.exit("a shared number that has no object");
                self.emit(Op::GuardObject, &[boxed], 0, e, 0);
            }
            Val::Tuple(t) => {
                for item in self.tree.tuples[t as usize].clone() {
                    self.prepare_owned(item);
                }
            }
            _ => {}
        }
    }

    /// Replaces an object by a value at a place that owns it; gives the owned object to put there. The old one is
    /// known by what the iteration sees there.
    pub(super) fn replacement(&mut self, old: Ref, found: Item, v: Val) -> Step<Ref> {
        let known = self.replaced(old, found, v)?;
        self.put_in_place(old, known, v)
    }

    /// The checks of a store, before anything is changed.
    pub(super) fn replaced(&mut self, old: Ref, found: Item, v: Val) -> Step<Old> {
        const WHY: &str = "a store over another kind of object";
        let [int, float, _] = self.world.number_types();
        let ty = match found {
            Item::Object(o) => self.world.type_of(o),
            Item::Stored(Val::Int { .. }) => int,
            Item::Stored(Val::Float { .. }) => float,
            Item::Stored(Val::Ptr(_, t)) => t,
            Item::Stored(Val::Bool(_) | Val::Known(_)) => Obj::NULL,
            Item::Stored(_) => return Err("a store that is not traced yet"),
        };
        let immortal = match found {
            Item::Object(o) => self.world.is_immortal(o) && ty != int && ty != float,
            Item::Stored(v) => matches!(v, Val::Bool(_) | Val::Known(_)),
        };
        self.prepare_owned(v);
        let e = self.exit(WHY);
        if immortal {
            self.emit(Op::GuardImmortal, &[old], 0, e, 0);
            return Ok(Old::Immortal);
        }
        let leaf = match found {
            Item::Object(o) => self.world.is_leaf(o),
            Item::Stored(v) => matches!(v, Val::Int { .. } | Val::Float { .. }),
        };
        if leaf {
            self.tree.pin(ty);
            self.emit(Op::GuardType, &[old], ty.0 as i64, e, 0);
            return Ok(Old::Leaf(ty));
        }
        // The death of a container may be seen: it is for the interpreter.
        if let Item::Object(o) = found
            && !self.world.is_shared(o)
        {
            return Err("a store that ends an object's life");
        }
        self.emit(Op::GuardShared, &[old], self.releases, e, 0);
        Ok(Old::Shared)
    }

    /// The owned object for a value that takes the place of an old one, which is let go.
    pub(super) fn put_in_place(&mut self, old: Ref, known: Old, v: Val) -> Step<Ref> {
        let [int, float, _] = self.world.number_types();
        match (known, v) {
            (Old::Immortal, _) => self.owned(v),
            (Old::Leaf(ty), Val::Int { value, boxed } | Val::Float { value, boxed })
                if !boxed.is_inst() && ty == if matches!(v, Val::Int { .. }) { int } else { float } =>
            {
                let op = if ty == int { Op::ReplaceI } else { Op::ReplaceF };
                let holders = self.holders();
                let r = self.emit(op, &[old, value], holders, ExitId::NONE, 0);
                self.made(boxed, r);
                Ok(r)
            }
            _ => {
                let r = self.owned(v)?;
                self.emit(Op::Release, &[old], 0, ExitId::NONE, 0);
                Ok(r)
            }
        }
    }

    /// What is in a list's place before this call stored anything, in the trace and now.
    pub(super) fn item_there(&mut self, list: Ref, at: Ref) -> (Item, Ref) {
        let (o, i) = (self.o(list), self.i(at));
        let found = self.at(o, i, || {
            if i < self.world.size(o) {
                self.world.item(o, i)
            } else {
                Obj::NULL
            }
        });
        let items = self.pure(Op::Items, &[list], 0);
        let old = self.pure(Op::Load, &[items, at], self.pointer(found));
        (found, old)
    }

    pub(super) fn store_subscript(&mut self, on: Val, key: Val, v: Val) -> Step<()> {
        if let Some([start, stop]) = self.constant_bounds(key)? {
            return self.store_slice(on, start, stop, v);
        }
        let Val::Ptr(r, _) = on else {
            return Err("a store that is not traced yet");
        };
        let v = Self::storable(v)?;
        match (self.world.class(self.o(r)), self.number(key)) {
            (Class::List, Val::Int { value, .. }) => {
                let n = self.length(r)?;
                let at = self.index(n, value)?;
                self.require_lasting(r, v)?;
                if self.waits() {
                    let known = self.waiting_item(r, at)?;
                    return self.wait(known, r, pending::Place::Item { at }, v);
                }
                let (o, i) = (self.o(r), self.i(at));
                let (found, old) = self.item_there(r, at);
                let items = self.pure(Op::Items, &[r], 0);
                let new = self.replacement(old, found, v)?;
                let v = self.as_made(v, new);
                self.emit(Op::Put, &[items, at, new], 0, ExitId::NONE, 0);
                self.stored((o, r), i, false, v, new);
                Ok(())
            }
            (Class::Dict, _) => self.store_dict(r, key, v),
            _ => Err("a store that is not traced yet"),
        }
    }
    /// What was stored: a tuple that was made for it is that object now.
    fn as_made(&self, v: Val, object: Ref) -> Val {
        match v {
            Val::Tuple(_) => Val::Ptr(object, self.world.container_types()[1]),
            v => v,
        }
    }
    pub(super) fn stored(&mut self, (on, by): (Obj, Ref), place: i64, field: bool, v: Val, object: Ref) {
        self.written = true;
        let v = match v {
            Val::Int { .. } | Val::Float { .. } => v.with_identity(object),
            v => v,
        };
        self.memory.push(Stored {
            on,
            by,
            place,
            field,
            value: v,
        });
    }

    pub(super) fn append(&mut self, list: Ref, v: Val) -> Step<()> {
        self.require_lasting(list, v)?;
        if self.waits() {
            return self.wait(None, list, pending::Place::End, v);
        }
        self.prepare_owned(v);
        let o = self.o(list);
        let place = self.size_now(o);
        let new = self.owned(v)?;
        let v = self.as_made(v, new);
        self.emit(Op::Append, &[list, new], 0, ExitId::NONE, 0);
        self.stored((o, list), place, false, v, new);
        self.lengths.push((o, 1));
        Ok(())
    }

    // --- dicts ---

    /// Where a key's value is, possibly nowhere.
    pub(super) fn dict_find(&mut self, dict: Ref, key: Val) -> Step<(Ref, Obj)> {
        const ODD: &str = "a key that only Python can compare";
        let o = self.o(dict);
        if self.memory.iter().any(|m| m.on == o) {
            return Err("a dict that just got a new key");
        }
        let (op, key, found) = match key {
            Val::Int { value, .. } => (Op::DictI, value, self.world.dict_int(o, self.i(value)).ok_or(ODD)?),
            Val::Ptr(k, _) if self.world.class(self.o(k)) == Class::Str => {
                (Op::DictP, k, self.world.dict_str(o, self.o(k)).ok_or(ODD)?)
            }
            _ => return Err("a key that is not traced yet"),
        };
        let e = self.exit(ODD);
        Ok((self.emit(op, &[dict, key], 0, e, found.0 as u64), found))
    }

    /// The value in a place that is there.
    pub(super) fn dict_load(&mut self, place: Ref, found: Obj) -> Step<Val> {
        if let Some(k) = self.waiting_field(place, 0) {
            return Ok(self.pending[k].value);
        }
        if let Some(v) = self.given(place, 0) {
            return Ok(v);
        }
        let now = self.seen(found, 0);
        let r = self.emit(Op::Field, &[place], 0, ExitId::NONE, self.pointer(now));
        self.item_value(r, now)
    }
    pub(super) fn dict_value(&mut self, dict: Ref, key: Val) -> Step<Val> {
        const MISSING: &str = "a key that is missing";
        let (place, found) = self.dict_find(dict, key)?;
        if found.is_null() {
            return Err(MISSING);
        }
        let e = self.exit(MISSING);
        self.emit(Op::GuardSome, &[place], 0, e, 0);
        self.dict_load(place, found)
    }

    /// Storing under a key that compares without Python, new or not.
    fn store_dict(&mut self, dict: Ref, key: Val, v: Val) -> Step<()> {
        if matches!(v, Val::Tuple(_)) {
            return Err("storing something virtual");
        }
        // A dict of numbers and strings is unknown to the cyclic collector until something else is put in.
        let plain = match v {
            Val::Ptr(r, _) => self.world.is_leaf(self.o(r)),
            Val::Known(o) => o == self.world.none(),
            _ => true,
        };
        if !plain {
            return Err("a dict of containers");
        }
        let (place, found) = self.dict_find(dict, key)?;
        let e = self.fork("a key that is there, or not");
        if found.is_null() {
            self.emit(Op::GuardNull, &[place], 0, e, 0);
            return self.put_dict(dict, key, v);
        }
        self.emit(Op::GuardSome, &[place], 0, e, 0);
        if self.waits() {
            let known = self.waiting_field(place, 0);
            return self.wait(known, place, pending::Place::Field { offset: 0 }, v);
        }
        let now = self.seen(found, 0);
        let old = self.emit(Op::Field, &[place], 0, ExitId::NONE, self.pointer(now));
        let new = self.replacement(old, now, v)?;
        self.emit(Op::PutField, &[place, new], 0, ExitId::NONE, 0);
        self.stored((found, place), 0, true, v, new);
        Ok(())
    }
    fn put_dict(&mut self, dict: Ref, key: Val, v: Val) -> Step<()> {
        self.prepare_owned(v);
        if matches!(key, Val::Int { boxed, .. } if boxed.is_inst() && !self.object_of(boxed)) {
            return Err("a key that may have no object");
        }
        self.effect_now()?;
        let new = self.owned(v)?;
        // One number as key and as value is one object, which may have been made just now.
        let one = key.identity().is_some() && key.identity() == v.identity();
        let k = self.owned(if one { key.with_identity(new) } else { key })?;
        self.emit(Op::DictPut, &[dict, k, new], 0, ExitId::NONE, 0);
        self.emit(Op::Release, &[k], 0, ExitId::NONE, 0);
        self.emit(Op::Release, &[new], 0, ExitId::NONE, 0);
        let o = self.o(dict);
        self.stored((o, dict), 0, false, v, new);
        Ok(())
    }

    // --- sets ---

    /// Whether a key is in a set, as 0 or 1.
    fn in_set(&mut self, set: Ref, key: Val) -> Step<Ref> {
        const ODD: &str = "a key that only Python can compare";
        let o = self.o(set);
        if self.memory.iter().any(|m| m.on == o) {
            return Err("a set that just got a new key");
        }
        let (op, key, found) = match key {
            Val::Int { value, .. } => (Op::SetI, value, self.world.set_int(o, self.i(value)).ok_or(ODD)?),
            Val::Ptr(k, _) if self.world.class(self.o(k)) == Class::Str => {
                (Op::SetP, k, self.world.set_str(o, self.o(k)).ok_or(ODD)?)
            }
            _ => return Err("a key that is not traced yet"),
        };
        let e = self.exit(ODD);
        Ok(self.emit(op, &[set, key], 0, e, u64::from(found)))
    }

    pub(super) fn add_to_set(&mut self, set: Ref, key: Val) -> Step<()> {
        if matches!(key, Val::Int { boxed, .. } if boxed.is_inst() && !self.object_of(boxed)) {
            return Err("a key that may have no object");
        }
        let found = self.in_set(set, key)?;
        let zero = self.int(0);
        let there = self.compare_ints(Cond::Ne, found, zero);
        let e = self.fork("a key that is there, or not");
        self.guard(there, e);
        if self.b(there) {
            return Ok(());
        }
        self.effect_now()?;
        let k = self.owned(key)?;
        self.emit(Op::SetAdd, &[set, k], 0, ExitId::NONE, 0);
        self.emit(Op::Release, &[k], 0, ExitId::NONE, 0);
        self.stored((self.o(set), set), 0, false, key, k);
        Ok(())
    }

    // --- tuples ---

    pub(super) fn build_tuple(&mut self, n: usize) -> Step<Val> {
        let mut items = Vec::with_capacity(n);
        for k in (1..=n).rev() {
            let v = self.copy(k)?;
            if matches!(v, Val::Tuple(_)) {
                return Err("a tuple in a tuple");
            }
            items.push(v);
        }
        self.tree.tuples.push(items);
        Ok(Val::Tuple(self.tree.tuples.len() as u32 - 1))
    }

    pub(super) fn unpack(&mut self, v: Val, n: usize) -> Step<Vec<Val>> {
        const WHY: &str = "a sequence of another length";
        match v {
            Val::Tuple(t) => {
                let items = self.tree.tuples[t as usize].clone();
                if items.len() == n { Ok(items) } else { Err(WHY) }
            }
            Val::Ptr(r, _) => {
                let class = self.world.class(self.o(r));
                if !matches!(class, Class::Tuple | Class::List) {
                    return Err("an unpacking that is not traced yet");
                }
                // A constant of the code: its items are constants too.
                if class == Class::Tuple && self.tree.inst(r).op == Op::ConstP {
                    let tuple = self.o(r);
                    if self.world.size(tuple) != n as i64 {
                        return Err(WHY);
                    }
                    let item = |k| self.constant(self.world.item(tuple, k));
                    return (0..n as i64).map(item).collect();
                }
                let size = self.length(r)?;
                self.require_int(Cond::Eq, size, n as i64, WHY)?;
                let mut out = Vec::with_capacity(n);
                for k in 0..n {
                    let at = self.int(k as i64);
                    out.push(if class == Class::Tuple {
                        self.load_from_tuple(r, at)?
                    } else {
                        self.load_item(r, at)?
                    });
                }
                Ok(out)
            }
            _ => Err("an unpacking that is not traced yet"),
        }
    }

    pub(super) fn constant(&mut self, o: Obj) -> Step<Val> {
        Ok(match self.world.class(o) {
            Class::Int(v) => Val::Int {
                value: self.int(v),
                boxed: self.object(o),
            },
            Class::Float(v) => Val::Float {
                value: self.float(v),
                boxed: self.object(o),
            },
            Class::Bool(v) => Val::Bool(self.bool(v)),
            Class::Known => {
                self.tree.pin(o);
                Val::Known(o)
            }
            Class::Str | Class::Tuple | Class::Bytes | Class::Set => {
                let r = self.object(o);
                Val::Ptr(r, self.world.type_of(o))
            }
            _ if self.world.bounds(o).is_some() => {
                self.tree.pin(o);
                Val::Known(o)
            }
            _ => return Err("a constant that is not traced yet"),
        })
    }

    /// The bounds of a slice that is a constant of the code.
    fn constant_bounds(&mut self, key: Val) -> Step<Option<[Val; 2]>> {
        let Val::Known(o) = key else {
            return Ok(None);
        };
        Ok(match self.world.bounds(o) {
            Some([start, stop]) => Some([self.constant(start)?, self.constant(stop)?]),
            None => None,
        })
    }

    /// Whether a number is among those of a constant tuple.
    fn among(&mut self, tuple: Ref, v: Val) -> Step<Ref> {
        let Val::Int { .. } = v else {
            return Err("a membership test that is not traced yet");
        };
        let mut found = self.bool(false);
        for k in 0..self.world.size(self.o(tuple)) {
            let item = self.world.item(self.o(tuple), k);
            let item = self.constant(item)?;
            if !matches!(item, Val::Int { .. }) {
                return Err("a membership test that is not traced yet");
            }
            let same = self.compare(Cond::Eq, v, item)?;
            let c = self.b(found) || self.b(same);
            found = self.pure(Op::OrB, &[found, same], u64::from(c));
        }
        Ok(found)
    }

    /// Whether a key is in a dict, or a number in a constant tuple: only for what compares without Python.
    pub(super) fn contains(&mut self, on: Val, v: Val) -> Step<Ref> {
        let Val::Ptr(r, _) = on else {
            return Err("a membership test that is not traced yet");
        };
        if self.tree.inst(r).op == Op::ConstP && self.world.class(self.o(r)) == Class::Tuple {
            return self.among(r, v);
        }
        if self.world.class(self.o(r)) == Class::Set {
            let found = self.in_set(r, v)?;
            let zero = self.int(0);
            return Ok(self.compare_ints(Cond::Ne, found, zero));
        }
        if self.world.class(self.o(r)) != Class::Dict {
            return Err("a membership test that is not traced yet");
        }
        let (place, found) = self.dict_find(r, v)?;
        let null = self.constant_inst(Op::ConstP, 0);
        let missing = found.is_null();
        let c = self.pure(Op::CmpP, &[place, null], u64::from(missing));
        Ok(self.pure(Op::NotB, &[c], u64::from(!missing)))
    }
}

/// What is found at a place while recording.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Object(Obj),
    /// Stored there by this very iteration.
    Stored(Val),
}

impl Item {
    pub(super) fn is_none_or_missing(self) -> bool {
        matches!(self, Item::Object(o) if o.is_null())
    }
}
