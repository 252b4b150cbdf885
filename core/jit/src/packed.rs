//! What a compiled tree keeps beside its code, packed: how to enter it and how to put the frame right at each exit.
//!
//! The tree's instructions are needed only while it grows. What every entry and exit needs is written here as bytes:
//! small numbers in one byte, objects as indices into one list. Exits write much the same, so what they write is there
//! once, and an exit is a set of it; exits that write the same share that too.
//!
//! ```text
//! objects      six bytes each, the lowest first
//! spaces       count, then the dicts of other modules whose names are kept in registers
//! inputs       count, then (slot, type, object?) each
//! names        namespace and key, two bytes each
//! conditions   count, then (kind, object, version or code) each
//! overwritten  count, then slots: those that may hold more than a number at entry
//! entries      what exits write: (kind, slot, its one source) or (kind + LONG, distance of a long entry in two bytes)
//! long         slot, then what its kind needs, one source per component
//! sets         which entries an exit writes: bits
//! exits        distance of its pc from the head in two bytes, depth * 2 + whether it leads to another loop's head, its
//!              set (two bytes if there are more than 256), how often it was taken, up to 255
//! slot         index * 2, or a name's index * 2 + 1
//! source       2 + the word, counted from the first;  or 1 and a constant;  or 0 for the constant 0
//! ```

mod read;

pub use read::{Value, input, kind};

use crate::lower::{Code, ExitMap, FIRST, Item, Source};
use larder_trace::ir::{Condition, Seq};
use larder_trace::record::ANOTHER;
use larder_trace::{Name, Namespace, Obj, Ref, Slot, Tree, Type, Val};
use read::Reader;

#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Box<[u8]>,
    header: u32,
    /// Where each part begins in the bytes; the objects lie before the spaces.
    spaces: u16,
    names: u16,
    conditions: u16,
    overwritten: u16,
    entries: u16,
    sets: u16,
    exits: u16,
    /// The word of the buffer behind which the counters of side traces lie, and how many there are.
    counters: u16,
    pub locals: u16,
    sides: u8,
    /// Bytes of a set, and of an exit.
    set: u8,
    exit: u8,
    pub depth: u8,
    pub module_level: bool,
    /// Passes of the head that pay for one entry, in sixteenths; who enters says.
    pub due: u16,
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
pub struct Exit {
    pub pc: usize,
    pub depth: usize,
    /// It leads to the head of another loop: it grows nothing.
    pub linked: bool,
    pub entries: Vec<Entry>,
}

/// A slot read at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    pub slot: Slot,
    /// One of [`input`], and the object it names.
    pub ty: u8,
    pub object: Obj,
    /// What the frame holds there does not matter: it is written before it is read.
    pub write_only: bool,
}

/// See [`Packed::inputs`].
pub struct Inputs<'a> {
    from: Reader<'a>,
    left: u64,
    bytes: &'a [u8],
}

impl Iterator for Inputs<'_> {
    type Item = Input;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (slot, tag) = (self.from.slot(), self.from.byte());
        let ty = tag & !WRITE_ONLY;
        let object = match ty {
            input::PTR | input::KNOWN => object(self.bytes, self.from.number() as usize),
            _ => Obj::NULL,
        };
        let write_only = tag & WRITE_ONLY != 0;
        Some(Input {
            slot,
            ty,
            object,
            write_only,
        })
    }
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
        for (number, of) in tree.inputs.iter().enumerate() {
            put_slot(&mut bytes, of.slot);
            let (tag, object) = match of.ty {
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
                Condition::Module(o) => (4, o, 0),
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
        let mut written = Written::default();
        let mut exits = Vec::with_capacity(maps.len());
        for (number, map) in maps.iter().enumerate() {
            let snapshot = &tree.exits[number].snapshot;
            let linked = tree.exits[number].reason == ANOTHER;
            let distance = i64::from(snapshot.pc) - i64::from(tree.header);
            let distance = i16::try_from(distance).map_err(|_| LARGE)?;
            let depth = u8::try_from(snapshot.depth).ok().filter(|d| *d < 128).ok_or(LARGE)?;
            exits.push((distance, depth << 1 | u8::from(linked), written.exit(&mut objects, map)));
        }
        let entries = bytes.len();
        let (table, long) = written.table()?;
        bytes.extend(table);
        bytes.extend(long);
        let sets = bytes.len();
        let set = written.entries.len().div_ceil(8);
        for of in &written.sets {
            let mut bits = vec![0u8; set];
            of.iter().for_each(|n| bits[n / 8] |= 1 << (n % 8));
            bytes.extend(bits);
        }
        let at = bytes.len();
        let wide = written.sets.len() > 256;
        for (distance, depth, set) in exits {
            bytes.extend(distance.to_le_bytes());
            bytes.push(depth);
            bytes.push(set as u8);
            if wide {
                bytes.push((set >> 8) as u8);
            }
            bytes.push(0);
        }
        for o in &tree.pins {
            if !objects.contains(o) && dies(*o) {
                objects.push(*o);
            }
        }
        let spaces = OBJECT * objects.len();
        let all = spaces + bytes.len();
        let fits = all <= usize::from(u16::MAX) && set < 256 && written.sets.len() <= 1 << 16;
        let small = tree.traces.len() <= 250 && tree.depth < 256 && objects.iter().all(|o| o.0 >> 48 == 0);
        if !fits || !small {
            return Err(LARGE.into());
        }
        let mut packed: Vec<u8> = Vec::with_capacity(all);
        objects.iter().for_each(|o| packed.extend(&o.0.to_le_bytes()[..OBJECT]));
        packed.extend(bytes);
        let place = |at: usize| (spaces + at) as u16;
        Ok(Packed {
            bytes: packed.into(),
            header: tree.header,
            spaces: place(0),
            names: place(names),
            conditions: place(conditions),
            overwritten: place(overwritten),
            entries: place(entries),
            sets: place(sets),
            exits: place(at),
            counters: code.counters,
            locals: tree.locals as u16,
            sides: (tree.traces.len() - 1) as u8,
            set: set as u8,
            exit: 5 + u8::from(wide),
            depth: tree.depth as u8,
            module_level: tree.module_level,
            due: 0,
        })
    }

    /// The objects the tree keeps alive.
    pub fn objects(&self) -> impl Iterator<Item = Obj> + '_ {
        (0..usize::from(self.spaces) / OBJECT).map(|index| object(&self.bytes, index))
    }

    /// Bytes this takes.
    pub fn size(&self) -> usize {
        size_of::<Packed>() + self.bytes.len()
    }

    /// Words of the buffer that count how often each side trace was begun.
    #[inline(always)]
    pub fn counters(&self) -> std::ops::Range<usize> {
        let first = usize::from(self.counters) + 1;
        first..first + usize::from(self.sides)
    }

    /// The bytes of an exit.
    #[inline(always)]
    fn record(&self, exit: usize) -> &[u8] {
        let (at, size) = (usize::from(self.exits), usize::from(self.exit));
        &self.bytes[at + size * exit..][..size]
    }

    /// Where the count of an exit lies.
    #[inline]
    fn count(&self, exit: usize) -> usize {
        usize::from(self.exits) + usize::from(self.exit) * (exit + 1) - 1
    }

    /// How often an exit was taken, up to 255.
    #[inline(always)]
    pub fn taken(&self, exit: usize) -> u8 {
        self.bytes[self.count(exit)]
    }

    /// Counts one more exit.
    #[inline(always)]
    pub fn take(&mut self, exit: usize) {
        let count = &mut self.bytes[usize::from(self.exits) + usize::from(self.exit) * (exit + 1) - 1];
        *count = count.saturating_add(1);
    }

    /// Goes on counting where the tree's last code stopped.
    pub fn take_over(&mut self, old: &Packed) {
        let count = |p: &Packed| (p.bytes.len() - usize::from(p.exits)) / usize::from(p.exit);
        for exit in 0..count(self).min(count(old)) {
            let at = self.count(exit);
            self.bytes[at] = old.taken(exit);
        }
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
            dict => Namespace::Dict(object(&self.bytes, dict - 2)),
        };
        Name {
            space,
            key: object(&self.bytes, self.word(at + 2)),
        }
    }

    /// What must hold at entry.
    #[inline(always)]
    pub fn conditions(&self) -> impl Iterator<Item = Condition> + '_ {
        let mut from = self.reader(self.conditions);
        let count = from.number();
        (0..count).map(move |_| {
            let tag = from.byte();
            let (o, n) = (object(&self.bytes, from.number() as usize), from.number());
            match tag {
                0 => Condition::TypeVersion(o, n as u32),
                1 => Condition::SharedNames(o, n as u32),
                2 => Condition::Code(o, object(&self.bytes, n as usize)),
                3 => Condition::Globals(o),
                _ => Condition::Module(o),
            }
        })
    }

    /// The slots read at entry, with the type each must have, in the order the code expects their components.
    #[inline(always)]
    pub fn inputs(&self) -> Inputs<'_> {
        let mut from = self.reader(self.spaces);
        for _ in 0..from.number() {
            from.number();
        }
        Inputs {
            left: from.number(),
            from,
            bytes: &self.bytes,
        }
    }

    /// The dicts of other modules whose names are kept in registers.
    #[inline(always)]
    pub fn spaces(&self) -> impl Iterator<Item = Obj> + '_ {
        let mut from = self.reader(self.spaces);
        let count = from.number();
        (0..count).map(move |_| object(&self.bytes, from.number() as usize))
    }

    /// Slots an exit writes at most.
    #[inline]
    pub fn writes(&self) -> usize {
        8 * usize::from(self.set)
    }

    /// The slots some exit writes, without those that hold a number at entry: its death is seen by nobody.
    #[inline(always)]
    pub fn overwritten(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut from = self.reader(self.overwritten);
        let count = from.number();
        (0..count).map(move |_| from.slot())
    }

    #[inline(always)]
    fn reader(&self, at: u16) -> Reader<'_> {
        // SAFETY: asked for places where `new` has put a part.
        unsafe { Reader::new(&self.bytes[usize::from(at)..]) }
    }

    /// Whether an exit leads to the head of another loop: it grows nothing then.
    #[inline(always)]
    pub fn linked(&self, exit: usize) -> bool {
        self.record(exit)[2] & 1 != 0
    }

    /// Where an exit leads: its unit, and the depth of the stack there.
    #[inline(always)]
    fn leads(&self, exit: usize) -> (usize, usize) {
        let record = self.record(exit);
        let distance = i16::from_le_bytes([record[0], record[1]]);
        let pc = i64::from(self.header) + i64::from(distance);
        (pc as usize, usize::from(record[2] >> 1))
    }

    /// Gives every entry of an exit: its kind with its flags, and its other bytes.
    #[inline(always)]
    fn each_entry<'a>(&'a self, exit: usize, mut take: impl FnMut(u8, Reader<'a>)) {
        let record = self.record(exit);
        let high = if self.exit > 5 { usize::from(record[4]) << 8 } else { 0 };
        let (size, number) = (usize::from(self.set), high | usize::from(record[3]));
        let sets = &self.bytes[usize::from(self.sets) + size * number..][..size];
        let entries = &self.bytes[usize::from(self.entries)..];
        for (at, bits) in sets.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let n = 8 * at + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let entry = &entries[3 * n..][..3];
                let bytes = if entry[0] & LONG == 0 {
                    &entry[1..]
                } else {
                    &entries[usize::from(u16::from_le_bytes([entry[1], entry[2]]))..]
                };
                // SAFETY: a slot and what the kind needs lie there.
                take(entry[0], unsafe { Reader::new(bytes) });
            }
        }
    }

    /// Gives every slot an exit writes with the value to be made there, which `make` reads; with `first`, not those that
    /// only take along what earlier passes changed. Where the exit leads: its unit, and the depth of the stack there.
    #[inline(always)]
    pub fn each<'a>(&'a self, exit: usize, first: bool, mut make: impl FnMut(Slot, Value<'a>)) -> (usize, usize) {
        self.each_entry(exit, |kind, mut reader| {
            if !(first && kind & CARRIED != 0) {
                let slot = reader.slot();
                let (kind, bytes) = (kind & KIND, &*self.bytes);
                make(slot, Value { kind, reader, bytes });
            }
        });
        self.leads(exit)
    }

    /// An exit, for looking at.
    pub fn exit(&self, number: usize) -> Exit {
        let (pc, depth) = self.leads(number);
        let mut entries = Vec::new();
        self.each_entry(number, |kind, mut reader| {
            let (slot, mut items) = (reader.slot(), Vec::new());
            let (val, sources) = reader.value(kind & KIND, &self.bytes, &mut items);
            entries.push(Entry {
                slot,
                val,
                sources,
                items,
                carried: kind & CARRIED != 0,
            });
        });
        Exit {
            pc,
            depth,
            linked: self.linked(number),
            entries,
        }
    }
}

/// Bytes of an object.
const OBJECT: usize = 6;

#[inline]
fn object(bytes: &[u8], index: usize) -> Obj {
    // What follows the objects is longer than two bytes.
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[OBJECT * index..][..8]);
    Obj(usize::from_le_bytes(word) & ((1 << (8 * OBJECT)) - 1))
}

fn index(objects: &mut Vec<Obj>, o: Obj) -> u64 {
    place(objects, o) as u64
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

/// Bits beside an input's type and a value's kind.
const WRITE_ONLY: u8 = 0x40;
const CARRIED: u8 = 0x40;
const LONG: u8 = 0x80;
const KIND: u8 = 0x3f;

const LARGE: &str = "a tree that is too large";

/// What exits write, each entry and each set of them once.
#[derive(Default)]
struct Written {
    /// Kind with flags, slot, and what the kind needs.
    entries: Vec<(u8, Vec<u8>, Vec<u8>)>,
    sets: Vec<Vec<usize>>,
    identities: Vec<Ref>,
}

impl Written {
    /// The number of the set that an exit writes.
    fn exit(&mut self, objects: &mut Vec<Obj>, map: &ExitMap) -> usize {
        let mut set = Vec::with_capacity(map.slots.len());
        for (k, (slot, val, sources)) in map.slots.iter().enumerate() {
            let (mut at, mut rest) = (Vec::new(), Vec::new());
            put_slot(&mut at, *slot);
            let mut pack = Pack {
                objects,
                identities: &mut self.identities,
                map,
            };
            pack.value(&mut rest, val, sources, if k >= map.carried { CARRIED } else { 0 });
            let entry = (rest.remove(0), at, rest);
            set.push(place(&mut self.entries, entry));
        }
        set.sort_unstable();
        place(&mut self.sets, set)
    }

    /// The entries, three bytes each, and the long ones behind them.
    fn table(&self) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
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
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|have| *have == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

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

#[cfg(test)]
mod tests;
