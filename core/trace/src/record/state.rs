//! The frame as the recorder sees it: slots, names, identities, snapshots.

use super::*;

impl<W: World> Recorder<'_, W> {
    /// The type of an input. A function in a variable of the frame is likely made anew at every call, and one with a
    /// closure may keep much alive: they are known by their code only.
    fn type_for(&self, o: Obj, slot: Slot) -> Type {
        let stack = slot.as_frame().is_some_and(|i| i >= self.tree.locals as usize);
        if o.is_null() {
            return Type::Null;
        }
        match self.world.class(o) {
            Class::Int(_) => Type::Int,
            Class::Float(_) => Type::Float,
            Class::Bool(_) => Type::Bool,
            Class::RangeIter(..) if stack => Type::RangeIter,
            Class::SeqIter(seq, on, _) if stack && !on.is_null() => Type::SeqIter(seq),
            Class::Enumerate(..) if stack => Type::Enumerate,
            Class::Zip(..) if stack => Type::Zip,
            Class::Position(_) => Type::Position,
            Class::Known
                if self
                    .world
                    .function(o)
                    .is_some_and(|f| slot.as_frame().is_some() || !f.closure.is_null()) =>
            {
                Type::Ptr(self.world.type_of(o))
            }
            Class::Known => Type::Known(o),
            _ => Type::Ptr(self.world.type_of(o)),
        }
    }

    pub(super) fn new_input(&mut self, slot: Slot, ty: Type) -> usize {
        let index = self.tree.inputs.len();
        let mut refs = [Ref::NONE; 4];
        for (k, r) in refs.iter_mut().enumerate().take(ty.components().len()) {
            *r = Ref(self.tree.insts.len() as u32);
            self.tree.insts.push(Inst {
                op: Op::Input,
                args: [Ref::NONE; 3],
                imm: (index << 3 | k) as i64,
                exit: ExitId::NONE,
            });
            self.conc.push(0);
        }
        if let Type::Known(o) | Type::Ptr(o) = ty {
            self.tree.pin(o);
        }
        self.tree.inputs.push(Input {
            slot,
            ty,
            refs,
            read: false,
        });
        index
    }

    fn bind(&mut self, val: Val, o: Obj) {
        let refs = val.components().0;
        let words: [u64; 4] = match self.world.class(o) {
            // Known by its object only, whatever it is: an iterator or a range in a variable.
            _ if matches!(val, Val::Ptr(..)) => [o.0 as u64, 0, 0, 0],
            Class::Int(v) => [v as u64, o.0 as u64, 0, 0],
            Class::Float(v) => [v.to_bits(), o.0 as u64, 0, 0],
            Class::Bool(v) => [u64::from(v), 0, 0, 0],
            Class::RangeIter(a, b, c) => [a as u64, b as u64, c as u64, o.0 as u64],
            Class::SeqIter(_, on, index) => [on.0 as u64, index as u64, o.0 as u64, 0],
            Class::Enumerate(count, list, index) => [count as u64, list.0 as u64, index as u64, o.0 as u64],
            Class::Range(a, b, c) => [a as u64, b as u64, c as u64, 0],
            Class::Zip(a, b, index) => [a.0 as u64, b.0 as u64, index as u64, o.0 as u64],
            Class::Position(index) => [index as u64, 0, 0, 0],
            _ => [o.0 as u64, 0, 0, 0],
        };
        for (r, word) in refs.iter().zip(words) {
            if r.is_inst() && !self.tree.inst(*r).op.is_const() {
                self.conc[r.at()] = word;
            }
        }
    }

    pub(super) fn input(&mut self, slot: Slot, o: Obj) -> Step<Val> {
        let ty = self.type_for(o, slot);
        let index = match self.tree.input_of(slot) {
            Some(index) if self.tree.inputs[index].ty == ty => index,
            Some(index) if self.tree.inputs[index].ty == Type::Ptr(self.type_of_known(o)) => index,
            Some(_) => return Err("a variable changed its type"),
            None => self.new_input(slot, ty),
        };
        self.tree.inputs[index].read = true;
        let input = self.tree.inputs[index].clone();
        if !o.is_null() {
            self.bind(input.val(), o);
        }
        Ok(input.val())
    }
    fn type_of_known(&self, o: Obj) -> Obj {
        if o.is_null() { Obj::NULL } else { self.world.type_of(o) }
    }

    /// Takes the state an exit left behind; the frame already shows it.
    pub(super) fn bind_snapshot(&mut self, e: ExitId) -> Step<()> {
        let slots = self.tree.exits[e.at()].snapshot.slots.clone();
        for r in 0..self.tree.insts.len() {
            if self.tree.insts[r].op.is_const() {
                self.conc[r] = self.tree.insts[r].imm as u64;
            }
        }
        for (slot, val) in slots {
            let o = match (slot.as_frame(), slot.as_name()) {
                (Some(i), _) => self.world.slot(i),
                (_, Some(n)) => self.world.lookup(self.tree.names[n].space, self.tree.names[n].key),
                _ => Obj::NULL,
            };
            if !o.is_null() {
                if let Some(ty) = val.type_at_head() {
                    let found = self.type_for(o, slot);
                    // A function on the stack goes by its type, but this one is the very object that was recorded.
                    if found != ty && ty != Type::Ptr(self.world.type_of(o)) && ty != Type::Known(o) {
                        return Err("the exit's state is not as recorded");
                    }
                }
                match (val, self.world.class(o)) {
                    (Val::Range { .. }, Class::Range(..)) => {}
                    (Val::Tuple(t), Class::Tuple) => {
                        for (k, item) in self.tree.tuples[t as usize].clone().into_iter().enumerate() {
                            self.bind(item, self.world.item(o, k as i64));
                        }
                    }
                    (Val::Range { .. } | Val::Tuple(_), _) => return Err("the exit's state is not as recorded"),
                    _ => {}
                }
                self.bind(val, o);
            }
            match (slot.as_frame(), slot.as_name()) {
                (Some(i), _) => (self.s.vals[i], self.s.dirty[i]) = (Some(val), true),
                (_, Some(n)) => (self.s.names[n], self.s.names_dirty[n]) = (Some(val), true),
                _ => {}
            }
        }
        Ok(())
    }

    // --- slots ---

    fn read(&mut self, index: usize) -> Step<Val> {
        if let Some(v) = self.s.vals[index] {
            return Ok(v);
        }
        if !self.callers.is_empty() {
            return Err("an unbound local of an inlined function");
        }
        let v = self.input(Slot::frame(index), self.world.slot(index))?;
        self.s.vals[index] = Some(v);
        Ok(v)
    }

    /// None is always itself, whatever it was typed as.
    fn known(&self, v: Val) -> Val {
        match v {
            Val::Ptr(_, t) if t == self.world.type_of(self.world.none()) => Val::Known(self.world.none()),
            v => v,
        }
    }

    /// A local to be copied: a number without an object gets a name, for now two places hold it.
    pub(super) fn local(&mut self, index: usize) -> Step<Val> {
        let v = match self.read(index)? {
            Val::Null => return Err("an unbound local"),
            v => v,
        };
        let named = self.name_it(v);
        self.s.vals[index] = Some(named);
        Ok(self.known(named))
    }
    pub(super) fn name_it(&mut self, v: Val) -> Val {
        match v {
            Val::Int { boxed, .. } | Val::Float { boxed, .. } if boxed.is_none() => {
                v.with_identity(self.tree.new_token())
            }
            v => v,
        }
    }
    /// The stack entry `n` from the top, to be copied.
    pub(super) fn copy(&mut self, n: usize) -> Step<Val> {
        let v = self.peek(n)?;
        let v = Self::storable(v)?;
        let named = self.name_it(v);
        let at = self.top(n);
        self.s.vals[at] = Some(named);
        Ok(named)
    }

    fn top(&self, n: usize) -> usize {
        self.locals + self.s.depth - n
    }
    pub(super) fn peek(&mut self, n: usize) -> Step<Val> {
        if n > self.s.depth {
            return Err("outside the stack");
        }
        let at = self.top(n);
        let v = self.read(at)?;
        Ok(self.known(v))
    }
    pub(super) fn set(&mut self, n: usize, v: Val) {
        let at = self.top(n);
        (self.s.vals[at], self.s.dirty[at]) = (Some(v), true);
    }
    pub(super) fn push(&mut self, v: Val) -> Step<()> {
        if self.s.depth + 1 >= STACK_MAX || self.locals + self.s.depth + 1 >= self.s.vals.len() {
            return Err("the stack is too deep");
        }
        self.s.depth += 1;
        self.set(1, v);
        Ok(())
    }
    pub(super) fn replace(&mut self, n: usize, v: Val) -> Step<()> {
        self.s.depth -= n;
        self.push(v)
    }
    pub(super) fn storable(v: Val) -> Step<Val> {
        match v {
            Val::Int { .. } | Val::Float { .. } | Val::Bool(_) | Val::Ptr(..) | Val::Known(_) | Val::Tuple(_) => Ok(v),
            _ => Err("storing something virtual"),
        }
    }
    pub(super) fn store_local(&mut self, index: usize, n: usize) -> Step<()> {
        let v = Self::storable(self.peek(n)?)?;
        (self.s.vals[index], self.s.dirty[index]) = (Some(v), true);
        Ok(())
    }

    /// Every place of this frame and of those above it, and whether it was stored to.
    fn places(&mut self) -> impl Iterator<Item = (&mut Option<Val>, &mut bool)> {
        let s = &mut self.s;
        let above = self.callers.iter_mut();
        let above = above.flat_map(|c| c.vals.iter_mut().zip(c.dirty.iter_mut()));
        let here = s.vals.iter_mut().zip(s.dirty.iter_mut());
        here.chain(s.names.iter_mut().zip(s.names_dirty.iter_mut()))
            .chain(above)
    }

    /// Every place that holds the number of this identity now knows its object.
    pub(super) fn made(&mut self, id: Ref, object: Ref) {
        self.unread(id);
        for (val, dirty) in self.places() {
            if let Some(v) = val
                && v.identity() == Some(id)
            {
                (*val, *dirty) = (Some(v.with_identity(object)), true);
            }
        }
        for p in &mut self.pending {
            if p.value.identity() == Some(id) {
                p.value = p.value.with_identity(object);
            }
        }
        // Earlier exits name the old tuples; from here on, their holders mean new ones. What nobody holds any more stays as it
        // is: else every number made would double the tuples that name it.
        for old in 0..self.tree.tuples.len() {
            let named = self.tree.tuples[old].iter().any(|v| v.identity() == Some(id));
            let tuple = Some(Val::Tuple(old as u32));
            if named && self.tuple_places().any(|v| *v == tuple) {
                let items = self.tree.tuples[old].iter();
                let items = items.map(|v| {
                    if v.identity() == Some(id) {
                        v.with_identity(object)
                    } else {
                        *v
                    }
                });
                let items: Vec<Val> = items.collect();
                self.tree.tuples.push(items);
                self.rename_tuple(old as u32, self.tree.tuples.len() as u32 - 1);
            }
        }
    }

    /// Looks at the places of the frame that still hold what the head brought under this identity: a side trace may know it
    /// from the stack only.
    fn unread(&mut self, id: Ref) {
        for input in self.tree.inputs.clone() {
            if input.val().identity() != Some(id) {
                continue;
            }
            let (place, o) = match (input.slot.as_frame(), input.slot.as_name()) {
                (Some(i), _) => {
                    let vals = self.callers.first_mut().map_or(&mut self.s.vals, |c| &mut c.vals);
                    (&mut vals[i], self.world.slot(i))
                }
                (_, Some(n)) => {
                    let name = self.tree.names[n];
                    (&mut self.s.names[n], self.world.lookup(name.space, name.key))
                }
                _ => continue,
            };
            if place.is_none() && !o.is_null() {
                *place = Some(input.val());
                self.bind(input.val(), o);
            }
        }
    }

    /// Every place that holds a tuple now knows its object.
    pub(super) fn tuple_made(&mut self, tuple: Val, object: Val) {
        for (val, dirty) in self.places() {
            if *val == Some(tuple) {
                (*val, *dirty) = (Some(object), true);
            }
        }
    }

    fn rename_tuple(&mut self, old: u32, new: u32) {
        for v in self.tuple_places() {
            if *v == Some(Val::Tuple(old)) {
                *v = Some(Val::Tuple(new));
            }
        }
    }

    /// Every place that may hold a tuple that has not been made.
    fn tuple_places(&mut self) -> impl Iterator<Item = &mut Option<Val>> {
        let above = self.callers.iter_mut().flat_map(|c| c.vals.iter_mut());
        let all = self.s.vals.iter_mut().chain(self.s.names.iter_mut()).chain(above);
        all.chain(std::iter::once(&mut self.making))
    }

    /// Who may name a number object at this point without owning it.
    pub(super) fn holders(&mut self) -> i64 {
        let mut found = Holders::default();
        let above = self.callers.iter().flat_map(|c| c.vals.iter());
        let waiting: Vec<Option<Val>> = self.pending.iter().map(|p| Some(p.value)).collect();
        // What lies above the stack's top was taken from it: nobody asks for it any more.
        let live = self.locals + self.s.depth;
        let here = self
            .s
            .vals
            .iter()
            .take(live)
            .chain(self.s.names.iter())
            .chain(above)
            .chain(&waiting);
        let tuples = &self.tree.tuples;
        let inside = |v: &Val| match v {
            Val::Tuple(t) => tuples[*t as usize].clone(),
            v => vec![*v],
        };
        for val in here.filter_map(|v| v.as_ref()).flat_map(inside) {
            if let Some(id) = val.identity()
                && id.is_inst()
                && self.tree.inst(id).op != Op::ConstP
            {
                let of = if matches!(val, Val::Int { .. }) {
                    &mut found.ints
                } else {
                    &mut found.floats
                };
                if !of.contains(&id) {
                    of.push(id);
                }
            }
        }
        let frame = self.callers.first().map_or(&self.s.dirty, |c| &c.dirty);
        for input in &self.tree.inputs {
            let over = match (input.slot.as_frame(), input.slot.as_name()) {
                (Some(i), _) => frame.get(i).copied().unwrap_or(false),
                (_, Some(n)) => self.s.names_dirty.get(n).copied().unwrap_or(false),
                _ => false,
            };
            if over {
                found.over.push(input.slot);
            }
        }
        if let Some(at) = self.tree.holders.iter().position(|h| *h == found) {
            return at as i64;
        }
        self.tree.holders.push(found);
        self.tree.holders.len() as i64 - 1
    }

    // --- names ---

    fn name_index(&mut self, space: Namespace, key: Obj) -> usize {
        let name = Name { space, key };
        if let Some(found) = self.tree.names.iter().position(|n| *n == name) {
            return found;
        }
        self.tree.pin(key);
        if let Namespace::Dict(d) = space {
            self.tree.pin(d);
        }
        self.tree.names.push(name);
        self.s.names.push(None);
        self.s.names_dirty.push(false);
        self.tree.names.len() - 1
    }
    pub(super) fn read_name(&mut self, space: Namespace, key: Obj) -> Step<Val> {
        let index = self.name_index(space, key);
        let v = match self.s.names[index] {
            Some(v) => v,
            None => self.input(Slot::name(index), self.world.lookup(space, key))?,
        };
        if let Val::Ptr(_, ty) = v
            && self.world.is_lazy(ty)
        {
            return Err("a lazy import");
        }
        let v = self.name_it(v);
        self.s.names[index] = Some(v);
        Ok(self.known(v))
    }
    fn space(&mut self) -> Step<Namespace> {
        if self.globals.is_null() {
            return Ok(Namespace::Globals);
        }
        self.space_of(self.globals)
    }
    /// The one name that a module's dict goes by in this tree.
    pub(super) fn space_of(&mut self, dict: Obj) -> Step<Namespace> {
        let [globals, builtins] = self.world.namespaces();
        self.tree.condition(Condition::Globals(globals));
        self.tree.pin(globals);
        if dict == globals {
            return Ok(Namespace::Globals);
        }
        if dict == builtins {
            return Ok(Namespace::Builtins);
        }
        let mut others: Vec<Namespace> = self.tree.names.iter().map(|name| name.space).collect();
        others.retain(|s| matches!(s, Namespace::Dict(d) if *d != dict));
        others.sort_unstable_by_key(|s| format!("{s:?}"));
        others.dedup();
        if others.len() >= MODULES_MAX {
            return Err("names of too many modules");
        }
        Ok(Namespace::Dict(dict))
    }
    pub(super) fn global(&mut self, key: Obj) -> Step<Val> {
        let space = self.space()?;
        match self.read_name(space, key)? {
            Val::Null => match self.read_name(Namespace::Builtins, key)? {
                Val::Null => Err("a name that is not defined"),
                v => Ok(v),
            },
            v => Ok(v),
        }
    }
    pub(super) fn store_global(&mut self, key: Obj) -> Step<()> {
        let v = Self::storable(self.peek(1)?)?;
        let space = self.space()?;
        if space == Namespace::Builtins {
            return Err("a change of the builtins");
        }
        if self.world.lookup(space, key).is_null() {
            return Err("a new global");
        }
        let index = self.name_index(space, key);
        (self.s.names[index], self.s.names_dirty[index]) = (Some(v), true);
        self.s.depth -= 1;
        Ok(())
    }

    // --- exits ---

    /// The walk goes back to the head of a loop.
    pub(super) fn cross(&mut self, header: usize) {
        let back = Back {
            code: self.code,
            header: header as u32,
            from: self.s.pc as u32,
        };
        let backs = &mut self.tree.backs;
        let index = backs.iter().position(|b| *b == back).unwrap_or_else(|| {
            backs.push(back);
            backs.len() - 1
        });
        if self.s.crossed.len() <= index {
            self.s.crossed.resize(index + 1, 0);
        }
        self.s.crossed[index] += 1;
    }

    pub(super) fn snapshot(&self, pc: usize) -> Snapshot {
        let mut slots = Vec::new();
        for i in 0..self.tree.locals as usize + self.s.depth {
            if let (true, Some(v)) = (self.s.dirty[i], self.s.vals[i]) {
                slots.push((Slot::frame(i), v));
            }
        }
        for i in 0..self.s.names.len() {
            if let (true, Some(v)) = (self.s.names_dirty[i], self.s.names[i]) {
                slots.push((Slot::name(i), v));
            }
        }
        Snapshot {
            pc: pc as u32,
            depth: self.s.depth as u32,
            slots,
        }
    }
    /// An exit that is a fork in the road: exactly here, or at another instruction than the one the trace goes on with.
    pub(super) fn exit_to(&mut self, pc: usize, onward: usize, reason: &'static str) -> ExitId {
        if !self.callers.is_empty() {
            self.late |= self.written;
            return self.call_exit;
        }
        let snapshot = self.snapshot(pc);
        if let Some(e) = self.follow_exit(&snapshot, reason) {
            self.last_fork = e;
            return e;
        }
        let walked = self.tree.walked.last().copied().unwrap_or_default();
        self.tree.walked_to.push(walked);
        self.tree.crossed_to.push(self.s.crossed.clone());
        self.tree.exits.push(Exit {
            snapshot,
            reason,
            side: None,
            owner: self.tree.traces.len() as u32,
            onward: onward as u32,
        });
        self.last_fork = ExitId(self.tree.exits.len() as u32 - 1);
        self.last_fork
    }
    pub(super) fn fork(&mut self, reason: &'static str) -> ExitId {
        self.exit_to(self.s.pc, self.s.pc, reason)
    }
    /// An exit for what rarely happens: to the last effect, from where the interpreter does again what has none.
    pub(super) fn exit(&mut self, reason: &'static str) -> ExitId {
        if !self.callers.is_empty() {
            return self.fork(reason);
        }
        match self.checkpoint {
            Some(e) => e,
            None => {
                let e = self.fork(reason);
                self.checkpoint = Some(e);
                self.last_fork = ExitId::NONE;
                e
            }
        }
    }
}
