//! Iterators that stay objects while a trace runs: of dicts and sets, and `enumerate` and `zip` of anything.
//!
//! What one step would give is looked up first, through all that is nested; only then is every iterator moved on. So an
//! end that is found half way leaves before anything has moved, and the interpreter makes the step again.

use super::arith::fresh_int;
use super::*;

/// How an iterator goes on, and where it keeps its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Walker {
    /// Along a sequence, up or down: the offsets of the sequence and of the index.
    Along {
        seq: usize,
        index: usize,
        down: bool,
    },
    /// Next value, step, values left.
    Range([usize; 3]),
    Dict {
        dict: usize,
        gives: Gives,
    },
    Enumerate {
        count: usize,
        inner: usize,
    },
    /// The offsets of how many there are and of their tuple.
    Zip {
        size: usize,
        inner: usize,
    },
}

/// Where a dict's iterator over items has the tuple it gives again and again; the same in every version served.
const DICT_GIVEN: usize = 40;
/// `enumerate` and `zip` have theirs behind what they go along.
const BEHIND: usize = 8;
/// The bits of an object's first word that count its owners, in every version served.
const OWNERS: i64 = 0xffff_ffff;

/// A place of the tuple an iterator gives again and again: what it gave last, and what is put there instead.
struct Given {
    tuple: Ref,
    offset: usize,
    old: Ref,
    known: pending::Old,
    value: Val,
}

/// What a dict's iterator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    Keys,
    Values,
    Items,
}

enum Move {
    To { it: Ref, offset: usize, value: Ref },
    Dict { it: Ref, place: Ref },
}

const END: &str = "the loop's end, or not";
const NOT_YET: &str = "an iteration that is not traced yet";

#[derive(Default)]
struct Look {
    moves: Vec<Move>,
    /// Every iterator met: none may be met twice.
    met: Vec<(Ref, Obj)>,
    /// What the tuples of iterators get.
    given: Vec<Given>,
}

impl<W: World> Recorder<'_, W> {
    /// The next item of an iterator that is an object; none at its end.
    pub(super) fn advance_object(&mut self, it: Ref) -> Step<Option<Val>> {
        let mut look = Look::default();
        let Some(item) = self.look(it, &mut look, 0)? else {
            return Ok(None);
        };
        for k in 0..look.met.len() {
            for j in 0..k {
                let ((a, x), (b, y)) = (look.met[j], look.met[k]);
                if x == y {
                    return Err("an iterator within itself");
                }
                if self.world.type_of(x) == self.world.type_of(y) {
                    let same = self.pure(Op::CmpP, &[a, b], 0);
                    let e = self.exit("an iterator within itself");
                    self.emit(Op::GuardFalse, &[same], 0, e, 0);
                }
            }
        }
        self.effect_now()?;
        self.give(look.given)?;
        for m in look.moves {
            match m {
                Move::To { it, offset, value } => {
                    self.emit(Op::PutRaw, &[it, value], offset as i64, ExitId::NONE, 0);
                }
                Move::Dict { it, place } => {
                    self.emit(Op::DictStep, &[it, place], 0, ExitId::NONE, 0);
                }
            }
        }
        for (it, o) in look.met {
            self.stored((o, it), i64::MIN, true, Val::Null, it);
        }
        Ok(Some(item))
    }

    fn raw(&mut self, it: Ref, offset: usize) -> Ref {
        let v = self.world.raw(self.o(it), offset);
        self.emit(Op::Raw, &[it], offset as i64, ExitId::NONE, v as u64)
    }
    fn inside(&mut self, r: Ref, offset: usize) -> Ref {
        let o = self.world.field(self.o(r), offset);
        self.emit(Op::Field, &[r], offset as i64, ExitId::NONE, o.0 as u64)
    }

    fn look(&mut self, it: Ref, look: &mut Look, deep: usize) -> Step<Option<Val>> {
        let o = self.o(it);
        let walker = self.world.walker(o).ok_or(NOT_YET)?;
        // What it was moved to in this iteration is not in the object yet.
        if self.memory.iter().any(|m| m.on == o && m.place == i64::MIN) || deep > 3 {
            return Err("an iterator that has just moved");
        }
        look.met.push((it, o));
        let one = self.int(1);
        match walker {
            Walker::Along { seq, index, down } => {
                let on = self.inside(it, seq);
                if self.o(on).is_null() {
                    return Ok(None);
                }
                let e = self.exit(END);
                self.emit(Op::GuardSome, &[on], 0, e, 0);
                let at = self.raw(it, index);
                let class = self.world.class(self.o(on));
                if class == Class::Str {
                    self.latin(on)?;
                }
                let length = self.length(on)?;
                let more = self.compare_ints(Cond::Below, at, length);
                let e = self.fork(END);
                self.guard(more, e);
                if !self.b(more) {
                    return Ok(None);
                }
                let item = match class {
                    Class::List => self.load_item(on, at)?,
                    Class::Tuple => self.load_from_tuple(on, at)?,
                    Class::Str => self.char_at(on, at)?,
                    _ => return Err(NOT_YET),
                };
                let by = if down { self.int(-1) } else { one };
                let c = self.i(at) + self.i(by);
                let value = self.pure(Op::AddW, &[at, by], c as u64);
                look.moves.push(Move::To {
                    it,
                    offset: index,
                    value,
                });
                Ok(Some(item))
            }
            Walker::Range([next, step, left]) => {
                let (n, s, l) = (self.raw(it, next), self.raw(it, step), self.raw(it, left));
                let zero = self.int(0);
                let more = self.compare_ints(Cond::Gt, l, zero);
                let e = self.fork(END);
                self.guard(more, e);
                if !self.b(more) {
                    return Ok(None);
                }
                let minus = self.int(-1);
                let (c, d) = (self.i(n).wrapping_add(self.i(s)), self.i(l) - 1);
                let value = self.pure(Op::AddW, &[n, s], c as u64);
                look.moves.push(Move::To {
                    it,
                    offset: next,
                    value,
                });
                let value = self.pure(Op::AddW, &[l, minus], d as u64);
                look.moves.push(Move::To {
                    it,
                    offset: left,
                    value,
                });
                Ok(Some(fresh_int(n)))
            }
            Walker::Dict { gives, .. } => {
                let Some(place) = self.dict_next(it)? else {
                    return Ok(None);
                };
                look.moves.push(Move::Dict { it, place });
                let found = self.o(place);
                let key = if gives == Gives::Values {
                    None
                } else {
                    let o = Obj(found.0.wrapping_sub(8));
                    let o = self.world.field(o, 0);
                    let r = self.emit(Op::Field, &[place], -8, ExitId::NONE, o.0 as u64);
                    Some(self.item_value(r, containers::Item::Object(o))?)
                };
                let value = if gives == Gives::Keys {
                    None
                } else {
                    Some(self.dict_load(place, found)?)
                };
                Ok(Some(match (key, value) {
                    (Some(k), Some(v)) => {
                        look.given.extend(self.given_last(it, DICT_GIVEN, &[k, v], deep)?);
                        self.pair(k, v)
                    }
                    (Some(v), None) | (None, Some(v)) => v,
                    (None, None) => return Err(NOT_YET),
                }))
            }
            Walker::Enumerate { count, inner } => {
                let n = self.raw(it, count);
                let c = self.i(n).checked_add(1);
                let within = self.nested(it, inner)?;
                let Some(item) = self.look(within, look, deep + 1)? else {
                    return Ok(None);
                };
                let value = self.checked(Op::AddO, &[n, one], c)?;
                look.moves.push(Move::To {
                    it,
                    offset: count,
                    value,
                });
                let at = fresh_int(n);
                look.given
                    .extend(self.given_last(it, inner + BEHIND, &[at, item], deep)?);
                Ok(Some(self.pair(at, item)))
            }
            Walker::Zip { size, inner } => {
                let count = self.raw(it, size);
                let n = self.i(count);
                if !(1..=4).contains(&n) {
                    return Err(NOT_YET);
                }
                self.require_int(Cond::Eq, count, n, "a zip of another width")?;
                let tuple = self.inside(it, inner);
                let mut items = Vec::new();
                for k in 0..n {
                    let at = self.int(k);
                    let within = self.world.item(self.o(tuple), k);
                    let r = self.pure(Op::LoadT, &[tuple, at], within.0 as u64);
                    let r = self.of_type(r)?;
                    let Some(item) = self.look(r, look, deep + 1)? else {
                        return Ok(None);
                    };
                    let item = self.real(item)?;
                    items.push(self.name_it(item));
                }
                look.given.extend(self.given_last(it, inner + BEHIND, &items, deep)?);
                self.tree.tuples.push(items);
                Ok(Some(Val::Tuple(self.tree.tuples.len() as u32 - 1)))
            }
        }
    }

    /// The checks before an iterator gives these in the tuple that it gives again and again. That tuple owns what it gave last until
    /// it gives the next: numbers and the like nobody misses, so they stay; everything else is to be put there by [`Self::give`].
    fn given_last(&mut self, it: Ref, offset: usize, items: &[Val], deep: usize) -> Step<Vec<Given>> {
        const WHY: &str = "what an iterator gave last may be missed";
        let tuple = self.inside(it, offset);
        let t = self.o(tuple);
        if t.is_null() {
            return Err(WHY);
        }
        let mut places = Vec::new();
        for (k, &value) in items.iter().enumerate() {
            let offset = self.layout.tuple_items + 8 * k;
            let now = self.seen(t, offset);
            let (none, was) = match now {
                containers::Item::Object(o) => {
                    let none = self.world.is_immortal(o);
                    let alike = matches!(value, Val::Tuple(_)) && self.world.is_quiet(o);
                    (none, Some(none || alike || self.world.is_leaf(o)))
                }
                containers::Item::Stored(v) => (false, self.unmissed(v)),
            };
            match (was, self.unmissed(value)) {
                // A number's own place has nothing else in it.
                (Some(true), Some(true)) if k == 0 && matches!(value, Val::Int { boxed, .. } if !boxed.is_inst()) => {}
                (Some(true), Some(true)) => places.push((offset, now, value, false)),
                (Some(false), Some(false)) => places.push((offset, now, value, true)),
                (Some(true), Some(false)) if none => places.push((offset, now, value, true)),
                _ => return Err(WHY),
            }
        }
        let loud = places.iter().filter(|p| p.3).count();
        if loud > 0 {
            if self.waits() || deep > 0 {
                return Err(WHY);
            }
            // With another owner it is not given again.
            let word = self.raw(tuple, 0);
            let bits = self.int(OWNERS);
            let c = self.i(word) & OWNERS;
            let owners = self.pure(Op::And, &[word, bits], c as u64);
            self.require_int(Cond::Eq, owners, 1, WHY)?;
        }
        let before = std::mem::replace(&mut self.releases, loud as i64);
        let mut given = Vec::new();
        for (offset, now, value, loud) in places {
            let old = self.emit(Op::Field, &[tuple], offset as i64, ExitId::NONE, self.word(now));
            if loud {
                let known = self.replaced(old, now, value)?;
                given.push(Given {
                    tuple,
                    offset,
                    old,
                    known,
                    value,
                });
            } else if let containers::Item::Object(o) = now {
                let e = self.exit(WHY);
                if self.world.is_leaf(o) {
                    let ty = self.world.type_of(o);
                    self.tree.pin(ty);
                    self.emit(Op::GuardType, &[old], ty.0 as i64, e, 0);
                } else if self.world.is_immortal(o) {
                    self.emit(Op::GuardImmortal, &[old], 0, e, 0);
                } else {
                    self.emit(Op::GuardQuiet, &[old], 0, e, 0);
                }
            }
        }
        self.releases = before;
        Ok(given)
    }

    /// Whether nobody could miss a value; none for what is not known.
    fn unmissed(&self, v: Val) -> Option<bool> {
        match v {
            Val::Int { .. } | Val::Float { .. } | Val::Bool(_) | Val::Known(_) => Some(true),
            Val::Ptr(r, _) => Some(self.world.is_leaf(self.o(r))),
            Val::Tuple(t) => {
                let parts = &self.tree.tuples[t as usize];
                parts.iter().all(|p| self.unmissed(*p) == Some(true)).then_some(true)
            }
            _ => None,
        }
    }

    fn give(&mut self, given: Vec<Given>) -> Step<()> {
        for g in given {
            let new = self.put_in_place(g.old, g.known, g.value)?;
            self.emit(Op::PutField, &[g.tuple, new], g.offset as i64, ExitId::NONE, 0);
            self.stored((self.o(g.tuple), g.tuple), g.offset as i64, true, g.value, new);
        }
        Ok(())
    }

    /// The same for `enumerate` and `zip` of lists, whose places are not in the object; without an object nothing is given again.
    pub(super) fn give_in(&mut self, object: Ref, offset: usize, items: &[Val]) -> Step<()> {
        if object.is_inst() {
            let given = self.given_last(object, offset + BEHIND, items, 0)?;
            if !given.is_empty() {
                self.effect_now()?;
            }
            return self.give(given);
        }
        match items.iter().any(|v| self.unmissed(*v) != Some(true)) {
            true => Err("what an iterator gave last may be missed"),
            false => Ok(()),
        }
    }

    fn nested(&mut self, it: Ref, offset: usize) -> Step<Ref> {
        let r = self.inside(it, offset);
        self.of_type(r)
    }
    fn of_type(&mut self, r: Ref) -> Step<Ref> {
        if self.o(r).is_null() {
            return Err(NOT_YET);
        }
        let ty = self.world.type_of(self.o(r));
        self.tree.pin(ty);
        let e = self.exit("an iterator of another type");
        self.emit(Op::GuardType, &[r], ty.0 as i64, e, 0);
        Ok(r)
    }

    fn pair(&mut self, a: Val, b: Val) -> Val {
        let (a, b) = (self.name_it(a), self.name_it(b));
        self.tree.tuples.push(vec![a, b]);
        Val::Tuple(self.tree.tuples.len() as u32 - 1)
    }

    /// Where a dict keeps what its iterator gives next; none at the end.
    fn dict_next(&mut self, it: Ref) -> Step<Option<Ref>> {
        let found = self.world.dict_next(self.o(it)).ok_or("a dict that changed")?;
        let e = self.exit("a dict that changed");
        let place = self.emit(Op::DictNext, &[it], 0, ExitId::NONE, found.0 as u64);
        self.emit(Op::GuardObject, &[place], 0, e, 0);
        let e = self.fork(END);
        let op = if found.is_null() { Op::GuardNull } else { Op::GuardSome };
        self.emit(op, &[place], 0, e, 0);
        Ok((!found.is_null()).then_some(place))
    }

    /// An iterator of a dict is used up, or thrown away: it lets go of the dict, which lives on.
    pub(super) fn dict_done(&mut self, it: Ref) -> Step<bool> {
        let Some(Walker::Dict { dict, .. }) = self.world.walker(self.o(it)) else {
            return Ok(false);
        };
        let on = self.inside(it, dict);
        let o = self.o(on);
        if o.is_null() {
            return Err(NOT_YET);
        }
        let e = self.exit("the end of a dict that only the loop holds");
        self.emit(Op::GuardSome, &[on], 0, e, 0);
        if !self.world.is_shared(o) {
            return Err("the end of a dict that only the loop holds");
        }
        self.emit(Op::GuardShared, &[on], 0, e, 0);
        self.effect_now()?;
        self.emit(Op::DictDone, &[it], dict as i64, ExitId::NONE, 0);
        self.written = true;
        Ok(true)
    }

    /// The iterator of a dict, or of its values or items.
    pub(super) fn dict_iterator(&mut self, dict: Ref, gives: Gives) -> Step<Val> {
        let o = self.world.dict_iterator(self.o(dict), gives).ok_or(NOT_YET)?;
        let it = self.emit(Op::NewDictIter, &[dict], gives as i64, ExitId::NONE, o.0 as u64);
        self.emit(Op::Keep, &[it], 0, ExitId::NONE, 0);
        Ok(Val::Ptr(it, self.world.type_of(o)))
    }
}
