//! Writing what is packed: inputs, and the values that exits write.

use super::read::input;
use super::{CARRIED, KIND, LARGE, LONG, RUN, index};
use crate::lower::{BUFFER_WORDS, Code, ExitMap, FIRST, Source};
use larder_trace::ir::Seq;
use larder_trace::{Obj, Ref, Slot, Tree, Type, Val};

/// The slots that exits write and that may hold more than a number at entry.
pub fn overwritten(tree: &Tree, code: &Code) -> Vec<Slot> {
    let mut slots: Vec<u32> = code.exits.iter().flat_map(|m| m.slots.iter().map(|s| s.0.0)).collect();
    slots.sort_unstable();
    slots.dedup();
    let slots = slots.into_iter().map(Slot);
    slots.filter(|slot| !holds_number(tree, *slot)).collect()
}

/// Whether every word an exit names is one of the buffer: nobody asks again when a frame is put right.
pub(super) fn within(map: &ExitMap) -> bool {
    let of_tuples = map.tuples.iter().flat_map(|t| t.1.iter().map(|item| &item.1));
    let mut all = map.slots.iter().map(|s| &s.2).chain(of_tuples).flatten();
    all.all(|source| match source {
        Source::Buffer(word) => (FIRST..BUFFER_WORDS).contains(&usize::from(*word)),
        Source::Const(_) => true,
    })
}

pub(super) fn pack_inputs(bytes: &mut Vec<u8>, objects: &mut Vec<Obj>, tree: &Tree) {
    let (mut count, mut skipped, mut out) = (0, 0, Vec::new());
    let put_skipped = |out: &mut Vec<u8>, skipped: &mut u8, count: &mut u64| {
        if *skipped > 0 {
            out.push(std::mem::take(skipped) << 4 | input::SKIPPED);
            *count += 1;
        }
    };
    for (number, of) in tree.inputs.iter().enumerate() {
        let (ty, object) = match of.ty {
            Type::Int => (input::INT, None),
            Type::Float => (input::FLOAT, None),
            Type::Bool => (input::BOOL, None),
            Type::Ptr(o) => (input::PTR, Some(o)),
            Type::Known(o) => (input::KNOWN, Some(o)),
            Type::Null => (input::NULL, None),
            Type::RangeIter => (input::RANGE_ITER, None),
            Type::SeqIter(Seq::List) => (input::LIST_ITER, None),
            Type::SeqIter(Seq::Tuple) => (input::TUPLE_ITER, None),
            Type::SeqIter(Seq::Str) => (input::STR_ITER, None),
            Type::Enumerate => (input::ENUMERATE, None),
            Type::Zip => (input::ZIP, None),
            Type::Position => (input::POSITION, None),
        };
        if tree.write_only(number as u32) {
            let words = of.ty.components().len() as u8;
            if skipped + words > 15 {
                put_skipped(&mut out, &mut skipped, &mut count);
            }
            skipped += words;
            continue;
        }
        put_skipped(&mut out, &mut skipped, &mut count);
        let mut slot = Vec::new();
        put_slot(&mut slot, of.slot);
        if slot[0] < 15 {
            out.push(slot[0] << 4 | ty);
        } else {
            out.push(15 << 4 | ty);
            out.extend(slot);
        }
        if let Some(o) = object {
            put(&mut out, index(objects, o));
        }
        count += 1;
    }
    put_skipped(&mut out, &mut skipped, &mut count);
    put(bytes, count);
    bytes.extend(out);
}

/// Whether entering makes sure that a slot holds a number.
pub(super) fn holds_number(tree: &Tree, slot: Slot) -> bool {
    tree.input_of(slot).is_some_and(|input| {
        matches!(tree.inputs[input].ty, Type::Int | Type::Float | Type::Bool) && !tree.write_only(input as u32)
    })
}

/// Seven bits a byte, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_slot(out: &mut Vec<u8>, slot: Slot) {
    match (slot.as_frame(), slot.as_name()) {
        (Some(index), _) => put(out, (index as u64) << 1),
        (_, index) => put(out, (index.unwrap_or(0) as u64) << 1 | 1),
    }
}

/// Small for numbers near zero, of either sign.
pub(super) fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

/// What exits write, each entry and each set of them once.
#[derive(Default)]
pub(super) struct Written {
    /// Kind with flags, slot, and what the kind needs.
    pub(super) entries: Vec<(u8, Vec<u8>, Vec<u8>)>,
    /// With where their exits lead.
    pub(super) sets: Vec<(u8, Vec<usize>)>,
    identities: Vec<Ref>,
}

impl Written {
    /// The number of the set that an exit writes.
    pub(super) fn exit(
        &mut self,
        objects: &mut Vec<Obj>,
        map: &ExitMap,
        leads: u8,
        dies: &dyn Fn(Obj) -> bool,
    ) -> usize {
        let mut set = Vec::with_capacity(map.slots.len());
        for (k, (slot, val, sources)) in map.slots.iter().enumerate() {
            let (mut at, mut rest) = (Vec::new(), Vec::new());
            put_slot(&mut at, *slot);
            let mut pack = Pack {
                objects,
                identities: &mut self.identities,
                map,
                dies,
            };
            let flag = match k {
                _ if k >= map.fresh => CARRIED | RUN,
                _ if k >= map.carried => CARRIED,
                _ => 0,
            };
            pack.value(&mut rest, val, sources, flag);
            let mut kind = rest.remove(0);
            let several = (6..=10).contains(&(kind & KIND)) || (12..=15).contains(&(kind & KIND));
            if several
                && rest
                    .iter()
                    .zip(&rest[1..])
                    .all(|(a, b)| *a > 1 && a + 1 == *b && *b < 128)
            {
                rest.truncate(1);
                kind |= RUN;
            }
            set.push(place(&mut self.entries, (kind, at, rest)));
        }
        set.sort_unstable();
        place(&mut self.sets, (leads, set))
    }

    /// The entries, three bytes each, and the long ones behind them.
    pub(super) fn table(&self) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let (mut table, mut long) = (Vec::new(), Vec::new());
        for (kind, slot, rest) in &self.entries {
            let one = rest.len() < 2 && rest.first().is_none_or(|b| *b < 128);
            if slot.len() == 1 && one {
                table.extend([*kind, slot[0], rest.first().copied().unwrap_or(0)]);
            } else {
                let at = u16::try_from(3 * self.entries.len() + long.len()).map_err(|_| LARGE)?;
                table.push(kind | LONG);
                table.extend(at.to_le_bytes());
                long.extend(slot);
                long.extend(rest);
            }
        }
        Ok((table, long))
    }
}

/// Where something is in a list: at the end, if it was not there.
pub(super) fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|have| *have == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

struct Pack<'a> {
    objects: &'a mut Vec<Obj>,
    identities: &'a mut Vec<Ref>,
    map: &'a ExitMap,
    dies: &'a dyn Fn(Obj) -> bool,
}

/// Whether what an exit makes of a number is also in another place of it: none; wherever that number's word is; or named.
enum Twins {
    None,
    Word,
    Named,
}

impl Pack<'_> {
    fn lasting(&self, object: Source) -> Option<Obj> {
        match object {
            Source::Const(o) if o != 0 => Some(Obj(o as usize)).filter(|o| !(self.dies)(*o)),
            _ => None,
        }
    }

    fn twins(&self, boxed: Ref, number: Source) -> Twins {
        let slots = self.map.slots.iter().map(|(_, val, sources)| (val, sources));
        let items = self
            .map
            .tuples
            .iter()
            .flat_map(|t| t.1.iter().map(|(val, sources)| (val, sources)));
        let (mut same, mut other) = (0, false);
        for (val, sources) in slots.chain(items) {
            let (Val::Int { boxed: b, .. } | Val::Float { boxed: b, .. }) = *val else {
                continue;
            };
            same += u32::from(b == boxed);
            // Another number in its word, or one with an object there.
            other |= b != boxed && sources[..2].contains(&number);
        }
        match (same, number) {
            (..2, _) => Twins::None,
            (_, Source::Buffer(_)) if !other => Twins::Word,
            _ => Twins::Named,
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, val: &Val, sources: &[Source; 4], flag: u8) {
        let count = val.components().1;
        let number = matches!(val, Val::Int { .. } | Val::Float { .. });
        let float = u8::from(matches!(val, Val::Float { .. }));
        let (kind, object, from) = match *val {
            Val::Int { boxed, .. } | Val::Float { boxed, .. } if boxed.is_none() => (float, None, 0..1),
            // The object is a constant that need not be held.
            Val::Int { .. } | Val::Float { .. } if self.lasting(sources[1]).is_some() => {
                (4, self.lasting(sources[1]), 0..0)
            }
            Val::Int { .. } | Val::Float { .. } if sources[1] != Source::Const(0) => (9 + float, None, 0..2),
            // It has none yet: whether other places hold the same number, and whether that is seen by its word.
            Val::Int { boxed, .. } | Val::Float { boxed, .. } => match self.twins(boxed, sources[0]) {
                Twins::None => (float, None, 0..1),
                Twins::Word => (17 + float, None, 0..1),
                Twins::Named => (19 + float, None, 0..1),
            },
            Val::Bool(_) => (2, None, 0..count),
            // The type was checked when the value was made; nobody asks for it at an exit.
            Val::Ptr(..) => (3, None, 0..count),
            Val::Known(o) => (4, Some(o), 0..count),
            Val::Null => (5, None, 0..count),
            Val::RangeIter { .. } => (6, None, 0..count),
            Val::SeqIter { seq: Seq::List, .. } => (7, None, 0..count),
            Val::Range { .. } => (8, None, 0..count),
            Val::Tuple(_) => (11, None, 0..0),
            Val::SeqIter { seq: Seq::Tuple, .. } => (12, None, 0..count),
            Val::SeqIter { seq: Seq::Str, .. } => (13, None, 0..count),
            Val::Enumerate { .. } => (14, None, 0..count),
            Val::Zip { .. } => (15, None, 0..count),
            Val::Position(_) => (16, None, 0..count),
        };
        out.push(kind | flag);
        if let Some(o) = object {
            put(out, index(self.objects, o));
        }
        if number && kind >= 19 {
            let id = val.identity().unwrap_or(Ref::NONE);
            put(out, place(self.identities, id) as u64);
        }
        for source in &sources[from] {
            match *source {
                Source::Buffer(word) => put(out, u64::from(word) - FIRST as u64 + 2),
                Source::Const(0) => out.push(0),
                Source::Const(v) => {
                    out.push(1);
                    put(out, zigzag(v));
                }
            }
        }
        if let Val::Tuple(t) = val {
            let map = self.map;
            let items = map
                .tuples
                .iter()
                .find(|have| have.0 == *t)
                .map_or(&[][..], |have| &have.1);
            put(out, u64::from(*t));
            put(out, items.len() as u64);
            for (item, sources) in items {
                self.value(out, item, sources, 0);
            }
        }
    }
}
