//! What a compiled tree keeps beside its code, packed: how to enter it and how to put the frame right at each exit.
//!
//! The tree's instructions are needed only while it grows. What every entry and exit needs is written here as bytes:
//! small numbers in one byte, objects as indices into one list, and an exit as its difference to another exit.
//!
//! ```text
//! spaces       count, then the dicts of other modules whose names are kept in registers
//! inputs       count, then (slot, type, object?) each
//! overwritten  count, then slots: those that may hold more than a number at entry
//! names        namespace and key, two bytes each
//! conditions   count, then (kind, object, version or code) each
//! exit         distance of its pc from the head, depth * 2 + whether it leads to another loop's head,
//!              base exit + 1 or 0, kept entries of the base as a bit set, count, entries
//! entry        slot, kind, object?, one source per component
//! table        two bytes an exit: where it begins
//! taken        one byte an exit: how often it was taken, up to 255
//! slot         index * 2, or a name's index * 2 + 1
//! source       2 + the word, counted from the first;  or 1 and a constant;  or 0 for the constant 0
//! ```

use crate::lower::{Code, ExitMap, FIRST, Item, Source};
use larder_trace::ir::{Condition, Seq};
use std::mem::MaybeUninit;

use larder_trace::record::ANOTHER;
use larder_trace::{Name, Namespace, Obj, Ref, Slot, Tree, Type, Val};

#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Box<[u8]>,
    /// The objects the tree keeps alive.
    objects: Box<[Obj]>,
    header: u32,
    /// Where each part begins in the bytes.
    overwritten: u16,
    conditions: u16,
    names: u16,
    table: u16,
    taken: u16,
    /// The word of the buffer behind which the counters of side traces lie, and how many there are.
    counters: u16,
    sides: u8,
    pub module_level: bool,
    pub locals: u16,
    pub depth: u16,
}

/// One slot an exit writes: its kind of value (of references only identities), where its components are, and the items
/// of a tuple that is made there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub slot: Slot,
    pub val: Val,
    pub sources: [Source; 4],
    pub items: Vec<Item>,
    /// It only takes along what earlier passes changed: nothing, if there were none.
    pub carried: bool,
}

/// Where an exit leads and what it writes.
pub struct Exit<'a> {
    pub pc: usize,
    pub depth: usize,
    /// It leads to the head of another loop: it grows nothing.
    pub linked: bool,
    entries: Entries<'a>,
}

impl Packed {
    /// # Errors
    /// Text when the tree is larger than the packing allows.
    ///
    /// `dies` says of a pinned object whether it could go away at all.
    pub fn new(tree: &Tree, code: &Code, dies: impl Fn(Obj) -> bool) -> Result<Packed, String> {
        let maps = &code.exits;
        let mut objects = Vec::new();
        let mut bytes = Vec::new();
        let mut spaces = Vec::new();
        for name in &tree.names {
            if let Namespace::Dict(dict) = name.space
                && !spaces.contains(&dict)
            {
                spaces.push(dict);
            }
        }
        put(&mut bytes, spaces.len() as u64);
        for dict in spaces {
            put(&mut bytes, index(&mut objects, dict));
        }
        put(&mut bytes, tree.inputs.len() as u64);
        for (number, input) in tree.inputs.iter().enumerate() {
            put_slot(&mut bytes, input.slot);
            let (tag, object) = match input.ty {
                Type::Int => (0, None),
                Type::Float => (1, None),
                Type::Bool => (2, None),
                Type::Ptr(o) => (3, Some(o)),
                Type::Known(o) => (4, Some(o)),
                Type::Null => (5, None),
                Type::RangeIter => (6, None),
                Type::SeqIter(Seq::List) => (7, None),
                Type::SeqIter(Seq::Tuple) => (8, None),
                Type::SeqIter(Seq::Str) => (9, None),
                Type::Enumerate => (10, None),
                Type::Zip => (11, None),
                Type::Position => (12, None),
            };
            bytes.push(tag | if tree.write_only(number as u32) { WRITE_ONLY } else { 0 });
            if let Some(o) = object {
                put(&mut bytes, index(&mut objects, o));
            }
        }
        let names = bytes.len();
        for name in &tree.names {
            let space = match name.space {
                Namespace::Globals => 0,
                Namespace::Builtins => 1,
                Namespace::Dict(o) => 2 + index(&mut objects, o),
            };
            bytes.extend((space as u16).to_le_bytes());
            bytes.extend((index(&mut objects, name.key) as u16).to_le_bytes());
        }
        let conditions = bytes.len();
        put(&mut bytes, tree.conditions.len() as u64);
        for condition in &tree.conditions {
            let (tag, o, n) = match *condition {
                Condition::TypeVersion(t, version) => (0, t, u64::from(version)),
                Condition::SharedNames(t, count) => (1, t, u64::from(count)),
                Condition::Code(f, code) => (2, f, index(&mut objects, code)),
                Condition::Globals(dict) => (3, dict, 0),
            };
            bytes.push(tag);
            put(&mut bytes, index(&mut objects, o));
            put(&mut bytes, n);
        }
        let overwritten = bytes.len();
        let mut slots: Vec<u32> = maps.iter().flat_map(|m| m.slots.iter().map(|s| s.0.0)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| !holds_number(tree, Slot(*slot)));
        put(&mut bytes, slots.len() as u64);
        for slot in slots {
            put_slot(&mut bytes, Slot(slot));
        }
        let mut identities: Vec<Ref> = Vec::new();
        let mut starts: Vec<u16> = Vec::with_capacity(maps.len());
        // The exits others are described by: those written in full.
        let mut full: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
        for (number, map) in maps.iter().enumerate() {
            starts.push(u16::try_from(bytes.len()).map_err(|_| "a tree with too many exits")?);
            let snapshot = &tree.exits[number].snapshot;
            let linked = u64::from(tree.exits[number].reason == ANOTHER);
            put(&mut bytes, zigzag(i64::from(snapshot.pc) - i64::from(tree.header)));
            put(&mut bytes, u64::from(snapshot.depth) << 1 | linked);
            let slots = map.slots.iter().enumerate();
            let entries = slots.map(|(k, (slot, val, sources))| {
                let mut out = Vec::new();
                put_slot(&mut out, *slot);
                let mut pack = Pack {
                    objects: &mut objects,
                    identities: &mut identities,
                    map,
                };
                pack.value(&mut out, val, sources, if k >= map.carried { CARRIED } else { 0 });
                out
            });
            let entries: Vec<Vec<u8>> = entries.collect();
            let plain: usize = entries.iter().map(Vec::len).sum();
            let cost = |base: &Vec<Vec<u8>>| -> usize {
                let new: usize = entries.iter().filter(|e| !base.contains(e)).map(Vec::len).sum();
                base.len().div_ceil(8) + new
            };
            match full
                .iter()
                .min_by_key(|base| cost(&base.1))
                .filter(|base| cost(&base.1) < plain)
            {
                Some((base, kept)) => {
                    put(&mut bytes, *base as u64 + 1);
                    let mut bits = vec![0u8; kept.len().div_ceil(8)];
                    for (i, _) in kept.iter().enumerate().filter(|(_, e)| entries.contains(e)) {
                        bits[i / 8] |= 1 << (i % 8);
                    }
                    bytes.extend(bits);
                    let new: Vec<&Vec<u8>> = entries.iter().filter(|e| !kept.contains(e)).collect();
                    put(&mut bytes, new.len() as u64);
                    new.into_iter().for_each(|e| bytes.extend(e));
                }
                None => {
                    bytes.push(0);
                    put(&mut bytes, entries.len() as u64);
                    entries.iter().for_each(|e| bytes.extend(e));
                    full.push((number, entries));
                }
            }
        }
        let table = bytes.len();
        starts.iter().for_each(|at| bytes.extend(at.to_le_bytes()));
        let taken = bytes.len();
        bytes.resize(taken + maps.len(), 0);
        for o in &tree.pins {
            if !objects.contains(o) && dies(*o) {
                objects.push(*o);
            }
        }
        if objects.len() > 10_000 || tree.traces.len() > 250 || bytes.len() > usize::from(u16::MAX) {
            return Err("a tree that is too large".into());
        }
        Ok(Packed {
            bytes: bytes.into(),
            objects: objects.into(),
            header: tree.header,
            overwritten: overwritten as u16,
            conditions: conditions as u16,
            names: names as u16,
            table: table as u16,
            taken: taken as u16,
            counters: code.counters,
            sides: (tree.traces.len() - 1) as u8,
            locals: tree.locals as u16,
            depth: tree.depth as u16,
            module_level: tree.module_level,
        })
    }

    pub fn objects(&self) -> &[Obj] {
        &self.objects
    }

    /// Bytes this takes.
    pub fn size(&self) -> usize {
        size_of::<Packed>() + self.bytes.len() + size_of_val(&*self.objects)
    }

    /// Words of the buffer that count how often each side trace was begun.
    #[inline]
    pub fn counters(&self) -> std::ops::Range<usize> {
        let first = usize::from(self.counters) + 1;
        first..first + usize::from(self.sides)
    }

    /// How often an exit was taken, up to 255.
    #[inline]
    pub fn taken(&self, exit: usize) -> u8 {
        self.bytes[usize::from(self.taken) + exit]
    }

    /// Counts one more exit.
    #[inline]
    pub fn take(&mut self, exit: usize) {
        let count = &mut self.bytes[usize::from(self.taken) + exit];
        *count = count.saturating_add(1);
    }

    /// Goes on counting where the tree's last code stopped.
    pub fn take_over(&mut self, old: &Packed) {
        let (mine, theirs) = (usize::from(self.taken), usize::from(old.taken));
        let count = (self.bytes.len() - mine).min(old.bytes.len() - theirs);
        self.bytes[mine..mine + count].copy_from_slice(&old.bytes[theirs..theirs + count]);
    }

    #[inline]
    fn word(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    pub fn name(&self, number: usize) -> Name {
        let at = self.names as usize + 4 * number;
        let space = match self.word(at) {
            0 => Namespace::Globals,
            1 => Namespace::Builtins,
            dict => Namespace::Dict(self.objects[dict - 2]),
        };
        Name {
            space,
            key: self.objects[self.word(at + 2)],
        }
    }

    /// What must hold at entry.
    #[inline]
    pub fn conditions(&self) -> impl Iterator<Item = Condition> + '_ {
        let mut from = Reader {
            bytes: &self.bytes[self.conditions as usize..],
        };
        let count = from.number();
        (0..count).map(move |_| {
            let tag = from.byte();
            let (o, n) = (self.objects[from.number() as usize], from.number());
            match tag {
                0 => Condition::TypeVersion(o, n as u32),
                1 => Condition::SharedNames(o, n as u32),
                2 => Condition::Code(o, self.objects[n as usize]),
                _ => Condition::Globals(o),
            }
        })
    }

    /// The slots read at entry, with the type each must have, in the order the code expects their components; and
    /// whether what the frame holds there does not matter, because it is written before it is read.
    pub fn inputs(&self) -> impl Iterator<Item = (Slot, Type, bool)> + '_ {
        let mut from = Reader { bytes: &self.bytes };
        for _ in 0..from.number() {
            from.number();
        }
        let count = from.number();
        (0..count).map(move |_| {
            let slot = from.slot();
            let tag = from.byte();
            let ty = match tag & !WRITE_ONLY {
                0 => Type::Int,
                1 => Type::Float,
                2 => Type::Bool,
                3 => Type::Ptr(self.objects[from.number() as usize]),
                4 => Type::Known(self.objects[from.number() as usize]),
                5 => Type::Null,
                6 => Type::RangeIter,
                7 => Type::SeqIter(Seq::List),
                8 => Type::SeqIter(Seq::Tuple),
                9 => Type::SeqIter(Seq::Str),
                10 => Type::Enumerate,
                11 => Type::Zip,
                _ => Type::Position,
            };
            (slot, ty, tag & WRITE_ONLY != 0)
        })
    }

    /// The dicts of other modules whose names are kept in registers.
    #[inline]
    pub fn spaces(&self) -> impl Iterator<Item = Obj> + '_ {
        let mut from = Reader { bytes: &self.bytes };
        let count = from.number();
        (0..count).map(move |_| self.objects[from.number() as usize])
    }

    /// The slots some exit writes, without those that hold a number at entry: its death is seen by nobody.
    pub fn overwritten(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut from = Reader {
            bytes: &self.bytes[self.overwritten as usize..],
        };
        let count = from.number();
        (0..count).map(move |_| from.slot())
    }

    #[inline(always)]
    fn exit_bytes(&self, number: usize) -> Reader<'_> {
        Reader {
            bytes: &self.bytes[self.word(self.table as usize + 2 * number)..],
        }
    }

    /// Whether an exit leads to the head of another loop: it grows nothing then.
    pub fn linked(&self, exit: usize) -> bool {
        let mut own = self.exit_bytes(exit);
        own.number();
        own.number() & 1 != 0
    }

    /// Gives every slot an exit writes with the value to be made there, which `make` reads; with `first`, not those that
    /// only take along what earlier passes changed. Where the exit leads: its unit, and the depth of the stack there.
    #[inline(always)]
    pub fn each<'a>(
        &'a self,
        exit: usize,
        first: bool,
        mut make: impl FnMut(Slot, &mut Value<'_, 'a>),
    ) -> (usize, usize) {
        let mut own = self.exit_bytes(exit);
        let (distance, depth) = (unzigzag(own.number()), own.number() as usize);
        let base = own.number() as usize;
        let mut entry = |reader: &mut Reader<'a>, kept: bool| {
            let slot = reader.slot();
            let tag = reader.byte();
            let mut value = Value {
                kind: tag & !CARRIED,
                reader,
                objects: &self.objects,
            };
            if kept && !(first && tag & CARRIED != 0) {
                make(slot, &mut value);
            } else {
                value.skip();
            }
        };
        if base > 0 {
            let mut from = self.exit_bytes(base - 1);
            for _ in 0..3 {
                from.number();
            }
            let count = from.number() as usize;
            let (bits, rest) = own.bytes.split_at(count.div_ceil(8));
            own.bytes = rest;
            for at in 0..count {
                entry(&mut from, bits[at / 8] >> (at % 8) & 1 != 0);
            }
        }
        for _ in 0..own.number() {
            entry(&mut own, true);
        }
        ((i64::from(self.header) + distance) as usize, depth >> 1)
    }

    /// An exit, for looking at.
    pub fn exit(&self, number: usize) -> Exit<'_> {
        let mut own = self.exit_bytes(number);
        let (distance, depth) = (unzigzag(own.number()), own.number() as usize);
        let pc = (i64::from(self.header) + distance) as usize;
        let base = own.number() as usize;
        let (mut bits, mut kept) = (Reader { bytes: &[] }, (Reader { bytes: &[] }, 0));
        if base > 0 {
            let mut from = self.exit_bytes(base - 1);
            for _ in 0..3 {
                from.number();
            }
            let count = from.number() as usize;
            kept = (from, count);
            let (set, rest) = own.bytes.split_at(count.div_ceil(8));
            (bits.bytes, own.bytes) = (set, rest);
        }
        let left = own.number() as usize;
        let entries = Entries {
            objects: &self.objects,
            bits: bits.bytes,
            at: 0,
            base: kept,
            own: (own, left),
        };
        Exit {
            pc,
            depth: depth >> 1,
            linked: depth & 1 != 0,
            entries,
        }
    }
}

impl<'a> Exit<'a> {
    /// Every slot written, its kind of value (without references), and where its components are: for looking at.
    pub fn entries(self) -> impl Iterator<Item = Entry> + 'a {
        self.entries
    }
}

/// The kinds of values, as packed.
pub mod kind {
    pub const INT: u8 = 0;
    pub const FLOAT: u8 = 1;
    pub const BOOL: u8 = 2;
    pub const PTR: u8 = 3;
    pub const KNOWN: u8 = 4;
    pub const NULL: u8 = 5;
    pub const RANGE_ITER: u8 = 6;
    pub const LIST_ITER: u8 = 7;
    pub const RANGE: u8 = 8;
    /// Numbers that several places hold: an identity, the number, the object if there is one.
    pub const SHARED_INT: u8 = 9;
    pub const SHARED_FLOAT: u8 = 10;
    /// A tuple to be made: its identity, how many items, the items.
    pub const TUPLE: u8 = 11;
    pub const TUPLE_ITER: u8 = 12;
    pub const STR_ITER: u8 = 13;
    pub const ENUMERATE: u8 = 14;
    pub const ZIP: u8 = 15;
    pub const POSITION: u8 = 16;
}

/// Components of each kind.
const COMPONENTS: [u8; 17] = [1, 1, 1, 1, 0, 0, 4, 3, 3, 2, 2, 0, 3, 3, 4, 4, 1];

/// A value about to be read, part by part: what its kind says comes before its components, then those.
pub struct Value<'r, 'a> {
    pub kind: u8,
    reader: &'r mut Reader<'a>,
    objects: &'a [Obj],
}

impl<'a> Value<'_, 'a> {
    /// The object of [`kind::KNOWN`].
    #[inline]
    pub fn object(&mut self) -> Obj {
        self.objects[self.reader.number() as usize]
    }

    /// An identity, or how many items follow.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.reader.number()
    }

    /// The next component.
    ///
    /// # Safety
    /// The code that left here has written every word this exit names.
    #[inline]
    pub unsafe fn word(&mut self, buffer: &[MaybeUninit<u64>]) -> u64 {
        match self.reader.number() as usize {
            0 => 0,
            1 => unzigzag(self.reader.number()) as u64,
            // SAFETY: by contract.
            n => unsafe { buffer[n - 2 + FIRST].assume_init() },
        }
    }

    /// The next item of a tuple.
    pub fn item(&mut self) -> Value<'_, 'a> {
        let kind = self.reader.byte();
        Value {
            kind,
            reader: self.reader,
            objects: self.objects,
        }
    }

    fn skip(&mut self) {
        if matches!(self.kind, kind::KNOWN | kind::SHARED_INT | kind::SHARED_FLOAT) {
            self.number();
        }
        for _ in 0..COMPONENTS[usize::from(self.kind)] {
            if self.number() == 1 {
                self.number();
            }
        }
        if self.kind == kind::TUPLE {
            self.number();
            for _ in 0..self.number() {
                self.item().skip();
            }
        }
    }
}

struct Entries<'a> {
    objects: &'a [Obj],
    bits: &'a [u8],
    at: usize,
    base: (Reader<'a>, usize),
    own: (Reader<'a>, usize),
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while self.at < self.base.1 {
            let kept = self.bits[self.at / 8] >> (self.at % 8) & 1 != 0;
            self.at += 1;
            let entry = self.base.0.entry(self.objects);
            if kept {
                return Some(entry);
            }
        }
        if self.own.1 == 0 {
            return None;
        }
        self.own.1 -= 1;
        Some(self.own.0.entry(self.objects))
    }
}

fn index(objects: &mut Vec<Obj>, o: Obj) -> u64 {
    match objects.iter().position(|other| *other == o) {
        Some(found) => found as u64,
        None => {
            objects.push(o);
            objects.len() as u64 - 1
        }
    }
}

/// Whether entering makes sure that a slot holds a number.
fn holds_number(tree: &Tree, slot: Slot) -> bool {
    tree.input_of(slot).is_some_and(|input| {
        matches!(tree.inputs[input].ty, Type::Int | Type::Float | Type::Bool) && !tree.write_only(input as u32)
    })
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_slot(out: &mut Vec<u8>, slot: Slot) {
    match (slot.as_frame(), slot.as_name()) {
        (Some(index), _) => put(out, (index as u64) << 1),
        (_, index) => put(out, (index.unwrap_or(0) as u64) << 1 | 1),
    }
}

/// Small for numbers near zero, of either sign.
fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Bits beside an input's type and a value's kind.
const WRITE_ONLY: u8 = 0x40;
const CARRIED: u8 = 0x40;

struct Pack<'a> {
    objects: &'a mut Vec<Obj>,
    identities: &'a mut Vec<Ref>,
    map: &'a ExitMap,
}

impl Pack<'_> {
    fn value(&mut self, out: &mut Vec<u8>, val: &Val, sources: &[Source; 4], flag: u8) {
        let count = val.components().1;
        let (kind, object, from) = match *val {
            // A number that nothing else shares and that has no object yet.
            Val::Int { boxed, .. } if boxed.is_none() => (0, None, 0..1),
            Val::Float { boxed, .. } if boxed.is_none() => (1, None, 0..1),
            Val::Bool(_) => (2, None, 0..count),
            // The type was checked when the value was made; nobody asks for it at an exit.
            Val::Ptr(..) => (3, None, 0..count),
            Val::Known(o) => (4, Some(o), 0..count),
            Val::Null => (5, None, 0..count),
            Val::RangeIter { .. } => (6, None, 0..count),
            Val::SeqIter { seq: Seq::List, .. } => (7, None, 0..count),
            Val::Range { .. } => (8, None, 0..count),
            Val::Int { .. } => (9, None, 0..2),
            Val::Float { .. } => (10, None, 0..2),
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
        if kind == 9 || kind == 10 {
            let id = val.identity().unwrap_or(Ref::NONE);
            let at = self.identities.iter().position(|have| *have == id).unwrap_or_else(|| {
                self.identities.push(id);
                self.identities.len() - 1
            });
            put(out, at as u64);
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

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    #[inline]
    fn byte(&mut self) -> u8 {
        let byte = self.bytes[0];
        self.bytes = &self.bytes[1..];
        byte
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            n |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return n;
            }
            shift += 7;
        }
    }

    #[inline]
    fn slot(&mut self) -> Slot {
        let n = self.number() as usize;
        if n & 1 == 0 {
            Slot::frame(n >> 1)
        } else {
            Slot::name(n >> 1)
        }
    }

    fn entry(&mut self, objects: &[Obj]) -> Entry {
        let slot = self.slot();
        let kind = self.byte();
        let mut items = Vec::new();
        let (val, sources) = self.value(kind & !CARRIED, objects, &mut items);
        Entry {
            slot,
            val,
            sources,
            items,
            carried: kind & CARRIED != 0,
        }
    }

    fn value(&mut self, kind: u8, objects: &[Obj], items: &mut Vec<Item>) -> (Val, [Source; 4]) {
        let r = Ref::NONE;
        let seq = |seq| Val::SeqIter {
            seq,
            on: r,
            index: r,
            object: r,
        };
        let mut count = None;
        let val = match kind {
            0 | 1 => {
                count = Some(1);
                let boxed = r;
                if kind == 0 {
                    Val::Int { value: r, boxed }
                } else {
                    Val::Float { value: r, boxed }
                }
            }
            2 => Val::Bool(r),
            3 => Val::Ptr(r, Obj::NULL),
            4 => Val::Known(objects[self.number() as usize]),
            5 => Val::Null,
            6 => Val::RangeIter {
                next: r,
                step: r,
                left: r,
                object: r,
            },
            7 => seq(Seq::List),
            8 => Val::Range {
                start: r,
                stop: r,
                step: r,
            },
            9 | 10 => {
                let boxed = Ref(self.number() as u32);
                if kind == 9 {
                    Val::Int { value: r, boxed }
                } else {
                    Val::Float { value: r, boxed }
                }
            }
            11 => Val::Tuple(self.number() as u32),
            12 => seq(Seq::Tuple),
            13 => seq(Seq::Str),
            14 => Val::Enumerate {
                count: r,
                list: r,
                index: r,
                object: r,
            },
            16 => Val::Position(r),
            _ => Val::Zip {
                first: r,
                second: r,
                index: r,
                object: r,
            },
        };
        let mut sources = [Source::Const(0); 4];
        for source in &mut sources[..count.unwrap_or(val.components().1)] {
            *source = match self.number() {
                0 => Source::Const(0),
                1 => Source::Const(unzigzag(self.number())),
                n => Source::Buffer(n as u16 - 2 + FIRST as u16),
            };
        }
        if let Val::Tuple(_) = val {
            for _ in 0..self.number() {
                let kind = self.byte();
                let mut none = Vec::new();
                let item = self.value(kind, objects, &mut none);
                items.push(item);
            }
        }
        (val, sources)
    }
}

#[cfg(test)]
mod tests;
