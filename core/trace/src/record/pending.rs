//! What an inlined function stores, until it has returned.
//!
//! Every exit inside a call goes back to the call, which the interpreter then makes from its beginning. So nothing the
//! call stores may be there before its last exit: stores wait here, one per place, and what is read meanwhile is looked
//! for here first. Whether two places are one is checked in the trace wherever it is not certain. When the outermost call
//! returns, all checks of all stores come first, then all stores.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Item {
        at: Ref,
    },
    Field {
        offset: i64,
    },
    /// Behind the end of a list.
    End,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    on: Ref,
    place: Place,
    pub(super) value: Val,
}

/// What must be known of the object that a store replaces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Old {
    Immortal,
    /// A number or string, of this type.
    Leaf(Obj),
    /// Others own it too.
    Shared,
}

impl<W: World> Recorder<'_, W> {
    pub(super) fn waits(&self) -> bool {
        !self.callers.is_empty()
    }
    /// Whether something waits to be stored in a list: what reads lists as a whole cannot tell.
    pub(super) fn lists_wait(&self) -> bool {
        self.pending.iter().any(|p| !matches!(p.place, Place::Field { .. }))
    }

    /// Whether two objects are the same, as they are now; checked if it is not certain.
    fn same_object(&mut self, a: Ref, b: Ref) -> bool {
        if a == b {
            return true;
        }
        let same = self.o(a) == self.o(b);
        let c = self.pure(Op::CmpP, &[a, b], u64::from(same));
        let e = self.exit("two names of one object, or not");
        self.guard(c, e);
        same
    }
    fn same_index(&mut self, a: Ref, b: Ref) -> bool {
        if a == b {
            return true;
        }
        let c = self.compare_ints(Cond::Eq, a, b);
        let e = self.exit("one index twice, or not");
        self.guard(c, e);
        self.b(c)
    }

    /// The value that waits to be stored in an attribute, a cell, or a dict under a key.
    pub(super) fn waiting_field(&mut self, on: Ref, offset: i64) -> Option<usize> {
        let fields = (0..self.pending.len()).filter(|k| self.pending[*k].place == Place::Field { offset });
        let fields: Vec<usize> = fields.collect();
        let found = |r: &mut Self, k: &usize| {
            let other = r.pending[*k].on;
            r.same_object(on, other)
        };
        fields.into_iter().find(|k| found(self, k))
    }
    pub(super) fn waiting_item(&mut self, list: Ref, at: Ref) -> Step<Option<usize>> {
        for k in 0..self.pending.len() {
            let p = self.pending[k];
            match p.place {
                Place::Item { at: there } => {
                    if self.same_object(list, p.on) && self.same_index(at, there) {
                        return Ok(Some(k));
                    }
                }
                Place::End => {
                    if self.same_object(list, p.on) {
                        let size = self.pure(Op::Size, &[list], self.size_now(self.o(list)) as u64);
                        if self.i(at) >= self.i(size) {
                            return Err("an item that was just appended");
                        }
                        let c = self.compare_ints(Cond::Below, at, size);
                        let e = self.exit("an item that was just appended");
                        self.guard(c, e);
                    }
                }
                Place::Field { .. } => {}
            }
        }
        Ok(None)
    }
    /// How many items wait to be appended to a list.
    pub(super) fn waiting_ends(&mut self, list: Ref) -> i64 {
        let mut count = 0;
        for k in 0..self.pending.len() {
            let p = self.pending[k];
            if p.place == Place::End && self.same_object(list, p.on) {
                count += 1;
            }
        }
        count
    }

    /// Lets a value wait; it is in two places now, if it is a number.
    pub(super) fn wait(&mut self, known: Option<usize>, on: Ref, place: Place, value: Val) -> Step<()> {
        if matches!(value, Val::Tuple(_)) {
            return Err("a tuple stored by an inlined function");
        }
        let value = self.name_it(value);
        match known {
            Some(k) => self.pending[k].value = value,
            None if self.pending.len() >= PENDING_MAX => return Err("an inlined function that stores much"),
            None => self.pending.push(Pending { on, place, value }),
        }
        Ok(())
    }

    /// Before something that cannot wait: from here on the call must not leave.
    pub(super) fn effect_now(&mut self) -> Step<()> {
        if self.waits() && !self.pending.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    /// Stores all that waits.
    pub(super) fn flush(&mut self) -> Step<()> {
        let count = self.pending.len();
        let mut replaced: Vec<Option<(Ref, Old)>> = Vec::with_capacity(count);
        // A check of owners must hold after all the releases before it.
        self.releases = count as i64;
        for k in 0..count {
            let p = self.pending[k];
            replaced.push(match p.place {
                Place::Item { at } => {
                    let (found, old) = self.item_there(p.on, at);
                    Some((old, self.replaced(old, found, p.value)?))
                }
                Place::Field { offset } => {
                    let (found, old) = self.field_there(p.on, offset);
                    Some((old, self.replaced(old, found, p.value)?))
                }
                Place::End => {
                    self.prepare_owned(p.value);
                    None
                }
            });
        }
        self.releases = 1;
        for (k, old) in replaced.into_iter().enumerate() {
            let p = self.pending[k];
            let o = self.o(p.on);
            match (p.place, old) {
                (Place::Item { at }, Some((old, known))) => {
                    let new = self.put_in_place(old, known, p.value)?;
                    let items = self.pure(Op::Items, &[p.on], 0);
                    self.emit(Op::Put, &[items, at, new], 0, ExitId::NONE, 0);
                    self.stored((o, p.on), self.i(at), false, p.value, new);
                }
                (Place::Field { offset }, Some((old, known))) => {
                    let new = self.put_in_place(old, known, p.value)?;
                    self.emit(Op::PutField, &[p.on, new], offset, ExitId::NONE, 0);
                    self.stored((o, p.on), offset, true, p.value, new);
                }
                _ => {
                    let place = self.size_now(o);
                    let new = self.owned(p.value)?;
                    self.emit(Op::Append, &[p.on, new], 0, ExitId::NONE, 0);
                    self.stored((o, p.on), place, false, p.value, new);
                    self.lengths.push((o, 1));
                }
            }
        }
        self.pending.clear();
        Ok(())
    }
}
