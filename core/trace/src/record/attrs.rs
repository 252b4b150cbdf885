//! Attributes of instances and modules, and methods of built-in types.

use super::*;

/// Where a cell keeps its object: the same in every version served.
const CELL: usize = 16;
const NOT_YET: &str = "an attribute that is not traced yet";

impl<W: World> Recorder<'_, W> {
    /// What follows is so only as long as an object, if it is a module, has the class that modules have.
    pub(super) fn stays_module(&mut self, o: Obj) {
        if !self.world.module_dict(o).is_null() {
            self.tree.condition(Condition::Module(o));
        }
    }

    /// `LOAD_ATTR`: pushes the value, or for a method call the function and its object.
    pub(super) fn load_attr(&mut self, arg: usize) -> Step<()> {
        let (name, method) = (self.world.name(self.code, arg >> 1), arg & 1 != 0);
        let on = self.peek(1)?;
        match on {
            Val::Known(o) => {
                let dict = self.world.module_dict(o);
                if dict.is_null() {
                    let (value, version) = self.world.class_attribute(o, name).ok_or(NOT_YET)?;
                    self.tree.condition(Condition::TypeVersion(o, version));
                    self.tree.pin(o);
                    let v = self.steady(value)?;
                    self.s.depth -= 1;
                    return self.call_with_null(v, method);
                }
                self.stays_module(o);
                let space = self.space_of(dict)?;
                let v = self.read_name(space, name)?;
                if v == Val::Null {
                    return Err("a module attribute that is missing");
                }
                self.s.depth -= 1;
                self.call_with_null(v, method)
            }
            Val::Ptr(r, ty) => {
                let o = self.o(r);
                if matches!(self.world.class(o), Class::List | Class::Dict | Class::Set) {
                    let function = self.world.method(ty, name);
                    if !method || function.is_null() {
                        return Err(NOT_YET);
                    }
                    self.s.depth -= 1;
                    self.push(Val::Known(function))?;
                    return self.push(on);
                }
                let (found, version) = self.world.attribute(o, name).ok_or(NOT_YET)?;
                self.tree.condition(Condition::TypeVersion(ty, version));
                self.tree.pin(ty);
                match found {
                    Attribute::OfClass { value, keys } => {
                        self.not_hidden(r, ty, keys);
                        let v = self.steady(value)?;
                        self.s.depth -= 1;
                        self.call_with_null(v, method)
                    }
                    Attribute::Method { function, keys } => {
                        if !method {
                            return Err(NOT_YET);
                        }
                        self.not_hidden(r, ty, keys);
                        self.tree.pin(function);
                        self.s.depth -= 1;
                        self.push(Val::Known(function))?;
                        self.push(on)
                    }
                    Attribute::Slot(_) | Attribute::Inline { .. } | Attribute::Tagged { .. } => {
                        // What this very object was just given needs no look, and no check.
                        if let Attribute::Slot(offset) | Attribute::Inline { offset, .. } = found
                            && self.pending.is_empty()
                            && let Some(v) = self.given(r, offset)
                        {
                            self.s.depth -= 1;
                            return self.call_with_null(v, method);
                        }
                        let (r, o, offset) = self.place(r, o, found);
                        if let Some(k) = self.waiting_field(r, offset as i64) {
                            let v = self.pending[k].value;
                            self.s.depth -= 1;
                            return self.call_with_null(v, method);
                        }
                        let now = self.seen(o, offset);
                        let place = self.emit(Op::Field, &[r], offset as i64, ExitId::NONE, self.word(now));
                        if now.is_none_or_missing() {
                            return Err("an attribute that is missing");
                        }
                        let e = self.exit("an attribute that is missing");
                        self.emit(Op::GuardSome, &[place], 0, e, 0);
                        let v = self.item_value(place, now)?;
                        self.s.depth -= 1;
                        self.call_with_null(v, method)
                    }
                }
            }
            _ => Err(NOT_YET),
        }
    }

    /// What is in an attribute's place before this call stored anything, in the trace and now.
    pub(super) fn field_there(&mut self, r: Ref, offset: i64) -> (containers::Item, Ref) {
        let now = self.seen(self.o(r), offset as usize);
        let old = self.emit(Op::Field, &[r], offset, ExitId::NONE, self.word(now));
        (now, old)
    }

    /// What the class says holds for this instance as long as it has no attribute of the name.
    fn not_hidden(&mut self, r: Ref, ty: Obj, keys: Option<(u32, ByteTest)>) {
        if let Some((count, valid)) = keys {
            self.tree.condition(Condition::SharedNames(ty, count));
            let e = self.exit("attributes kept in a dict");
            self.emit(Op::GuardByte, &[r], valid.imm(), e, 0);
        }
    }

    /// An object that a class keeps for as long as its version stays: a constant.
    fn steady(&mut self, o: Obj) -> Step<Val> {
        match self.world.class(o) {
            Class::Int(_) | Class::Float(_) | Class::Bool(_) | Class::Known | Class::Str | Class::Bytes => {
                self.constant(o)
            }
            _ => Err(NOT_YET),
        }
    }

    /// The address an attribute's offset counts from, in the trace and now, and the offset.
    fn place(&mut self, r: Ref, o: Obj, found: Attribute) -> (Ref, Obj, usize) {
        match found {
            Attribute::Inline { offset, valid, .. } => {
                let e = self.exit("attributes kept in a dict");
                let valid = ByteTest {
                    offset: valid,
                    mask: 0xff,
                };
                self.emit(Op::GuardByte, &[r], valid.imm(), e, 0);
                (r, o, offset)
            }
            Attribute::Tagged { pointer, offset } => {
                let e = self.exit("attributes kept in a dict");
                let tag = ByteTest {
                    offset: pointer,
                    mask: 1,
                };
                self.emit(Op::GuardByte, &[r], tag.imm(), e, 0);
                let values = self.world.field(o, pointer);
                let at = self.emit(Op::Field, &[r], pointer as i64, ExitId::NONE, values.0 as u64);
                (at, values, offset)
            }
            Attribute::Slot(offset) => (r, o, offset),
            Attribute::Method { .. } | Attribute::OfClass { .. } => (r, o, 0),
        }
    }
    /// The value stored last in an attribute of this object, if no other object can have been meant since.
    pub(super) fn given(&self, r: Ref, offset: usize) -> Option<Val> {
        let last = self.memory.iter().rev().find(|m| m.place == offset as i64 && m.field)?;
        (last.by == r).then_some(last.value)
    }
    pub(super) fn seen(&self, o: Obj, offset: usize) -> containers::Item {
        match self
            .memory
            .iter()
            .rev()
            .find(|m| m.on == o && m.field && m.place == offset as i64)
        {
            Some(m) => containers::Item::Stored(m.value),
            None => containers::Item::Object(self.world.field(o, offset)),
        }
    }
    pub(super) fn word(&self, item: containers::Item) -> u64 {
        match item {
            containers::Item::Object(o) | containers::Item::Stored(Val::Known(o)) => o.0 as u64,
            containers::Item::Stored(Val::Ptr(r, _)) => self.conc[r.at()],
            containers::Item::Stored(_) => 0,
        }
    }

    /// `STORE_ATTR` over a value that is there.
    pub(super) fn store_attr(&mut self, arg: usize) -> Step<()> {
        let name = self.world.name(self.code, arg);
        let (Val::Ptr(r, ty), v) = (self.peek(1)?, self.peek(2)?) else {
            return Err(NOT_YET);
        };
        let v = Self::storable(v)?;
        if matches!(v, Val::Tuple(_)) {
            return Err("storing something virtual");
        }
        let o = self.o(r);
        let (found, version) = self.world.attribute(o, name).ok_or(NOT_YET)?;
        if matches!(found, Attribute::Method { .. } | Attribute::OfClass { .. }) {
            return Err(NOT_YET);
        }
        self.tree.condition(Condition::TypeVersion(ty, version));
        self.tree.pin(ty);
        if let Attribute::Inline { dict, .. } = found {
            if !self.world.field(o, dict).is_null() {
                return Err("attributes that a dict shows");
            }
            let e = self.exit("attributes that a dict shows");
            let d = self.emit(Op::Field, &[r], dict as i64, ExitId::NONE, 0);
            self.emit(Op::GuardNull, &[d], 0, e, 0);
        }
        let (r, o, offset) = self.place(r, o, found);
        let known = self.waiting_field(r, offset as i64);
        if known.is_some() {
            self.s.depth -= 2;
            return self.wait(known, r, pending::Place::Field { offset: offset as i64 }, v);
        }
        let now = self.seen(o, offset);
        if now.is_none_or_missing() {
            return Err("a new attribute");
        }
        let old = self.emit(Op::Field, &[r], offset as i64, ExitId::NONE, self.word(now));
        let e = self.exit("a new attribute");
        self.emit(Op::GuardSome, &[old], 0, e, 0);
        if self.waits() {
            self.s.depth -= 2;
            return self.wait(None, r, pending::Place::Field { offset: offset as i64 }, v);
        }
        let new = self.replacement(old, now, v)?;
        self.emit(Op::PutField, &[r, new], offset as i64, ExitId::NONE, 0);
        self.stored((o, r), offset as i64, true, v, new);
        self.s.depth -= 2;
        Ok(())
    }

    /// The cell in a local, and the object it is now.
    fn cell(&mut self, index: usize) -> Step<(Ref, Obj)> {
        let Val::Ptr(r, _) = self.local(index)? else {
            return Err("a shared variable that is not traced yet");
        };
        let o = self.o(r);
        if self.world.class(o) != Class::Cell {
            return Err("a shared variable that is not traced yet");
        }
        Ok((r, o))
    }
    pub(super) fn load_cell(&mut self, index: usize) -> Step<Val> {
        let (r, o) = self.cell(index)?;
        if let Some(k) = self.waiting_field(r, CELL as i64) {
            return Ok(self.pending[k].value);
        }
        if let Some(v) = self.given(r, CELL) {
            return Ok(v);
        }
        let now = self.seen(o, CELL);
        let place = self.emit(Op::Field, &[r], CELL as i64, ExitId::NONE, self.word(now));
        if now.is_none_or_missing() {
            return Err("an unbound variable");
        }
        let e = self.exit("an unbound variable");
        self.emit(Op::GuardSome, &[place], 0, e, 0);
        self.item_value(place, now)
    }
    pub(super) fn store_cell(&mut self, index: usize) -> Step<()> {
        let (r, o) = self.cell(index)?;
        let v = self.peek(1)?;
        let v = Self::storable(v)?;
        if matches!(v, Val::Tuple(_)) {
            return Err("storing something virtual");
        }
        let known = self.waiting_field(r, CELL as i64);
        if known.is_some() {
            self.s.depth -= 1;
            return self.wait(known, r, pending::Place::Field { offset: CELL as i64 }, v);
        }
        let now = self.seen(o, CELL);
        if now.is_none_or_missing() {
            return Err("an unbound variable");
        }
        let old = self.emit(Op::Field, &[r], CELL as i64, ExitId::NONE, self.word(now));
        let e = self.exit("an unbound variable");
        self.emit(Op::GuardSome, &[old], 0, e, 0);
        if self.waits() {
            self.s.depth -= 1;
            return self.wait(None, r, pending::Place::Field { offset: CELL as i64 }, v);
        }
        let new = self.replacement(old, now, v)?;
        self.emit(Op::PutField, &[r, new], CELL as i64, ExitId::NONE, 0);
        self.stored((o, r), CELL as i64, true, v, new);
        self.s.depth -= 1;
        Ok(())
    }
}
