//! What a compiled tree keeps beside its code, packed: how to enter it and how to put the frame right at each exit.
//!
//! The tree's instructions are needed only while it grows. What every entry and exit needs is written here as bytes:
//! small numbers in one byte, objects as indices into one list, and an exit as its difference to another exit.
//!
//! ```text
//! inputs       count, then (slot, type, object?) each
//! overwritten  count, then slots
//! exit         pc, depth, base exit + 1 or 0, kept entries of the base as a bit set, count, entries
//! entry        slot, kind, object?, one source per component
//! source       word * 4,  or 1 and a constant,  or 2 for the constant 0
//! ```

use crate::lower::{ExitMap, Source};
use larder_trace::{Name, Namespace, Obj, Ref, Slot, Tree, Type, Val};

/// A namespace and a key, as indices into the objects.
#[derive(Clone, Copy, Debug)]
struct PackedName {
    space: u16,
    key: u16,
}

#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Box<[u8]>,
    /// Where each exit begins.
    exits: Box<[u16]>,
    /// The objects the tree keeps alive.
    objects: Box<[Obj]>,
    names: Box<[PackedName]>,
    overwritten: u16,
    pub locals: u16,
    pub depth: u16,
    pub header: u32,
    pub module_level: bool,
}

/// Where an exit leads and what it writes.
pub struct Exit<'a> {
    pub pc: usize,
    pub depth: usize,
    entries: Entries<'a>,
}

type Entry = (Slot, Val, [Source; 4]);

impl Packed {
    /// # Errors
    /// Text when the tree is larger than the packing allows.
    pub fn new(tree: &Tree, maps: &[ExitMap]) -> Result<Packed, String> {
        let mut objects = tree.pins.clone();
        let mut bytes = Vec::new();
        put(&mut bytes, tree.inputs.len() as u64);
        for input in &tree.inputs {
            put(&mut bytes, u64::from(input.slot.0));
            let (tag, object) = match input.ty {
                Type::Int => (0, None),
                Type::Float => (1, None),
                Type::Bool => (2, None),
                Type::Ptr(o) => (3, Some(o)),
                Type::Known(o) => (4, Some(o)),
                Type::Null => (5, None),
                Type::RangeIter => (6, None),
                Type::ListIter => (7, None),
            };
            bytes.push(tag);
            if let Some(o) = object {
                put(&mut bytes, index(&mut objects, o));
            }
        }
        let mut names = Vec::with_capacity(tree.names.len());
        for name in &tree.names {
            let space = match name.space {
                Namespace::Globals => 0,
                Namespace::Builtins => 1,
                Namespace::Dict(o) => 2 + index(&mut objects, o),
            };
            names.push(PackedName {
                space: space as u16,
                key: index(&mut objects, name.key) as u16,
            });
        }
        let overwritten = bytes.len();
        let mut slots: Vec<u32> = maps.iter().flat_map(|m| m.slots.iter().map(|s| s.0.0)).collect();
        slots.sort_unstable();
        slots.dedup();
        put(&mut bytes, slots.len() as u64);
        for slot in slots {
            put(&mut bytes, u64::from(slot));
        }
        let mut starts: Vec<u16> = Vec::with_capacity(maps.len());
        // The exits others are described by: those written in full.
        let mut full: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
        for (number, map) in maps.iter().enumerate() {
            starts.push(u16::try_from(bytes.len()).map_err(|_| "a tree with too many exits")?);
            let snapshot = &tree.exits[number].snapshot;
            put(&mut bytes, u64::from(snapshot.pc));
            put(&mut bytes, u64::from(snapshot.depth));
            let entries: Vec<Vec<u8>> = map.slots.iter().map(|entry| pack_entry(entry, &mut objects)).collect();
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
        if objects.len() > 10_000 {
            return Err("a tree with too many objects".into());
        }
        Ok(Packed {
            bytes: bytes.into(),
            exits: starts.into(),
            objects: objects.into(),
            names: names.into(),
            overwritten: overwritten as u16,
            locals: tree.locals as u16,
            depth: tree.depth as u16,
            header: tree.header,
            module_level: tree.module_level,
        })
    }

    pub fn objects(&self) -> &[Obj] {
        &self.objects
    }

    pub fn exit_count(&self) -> usize {
        self.exits.len()
    }

    /// Bytes this takes.
    pub fn size(&self) -> usize {
        size_of::<Packed>()
            + self.bytes.len()
            + size_of_val(&*self.exits)
            + size_of_val(&*self.objects)
            + size_of_val(&*self.names)
    }

    pub fn name(&self, at: usize) -> Name {
        let PackedName { space, key } = self.names[at];
        let space = match space {
            0 => Namespace::Globals,
            1 => Namespace::Builtins,
            dict => Namespace::Dict(self.objects[dict as usize - 2]),
        };
        Name {
            space,
            key: self.objects[key as usize],
        }
    }

    /// The slots read at entry, with the type each must have, in the order the code expects their components.
    pub fn inputs(&self) -> impl Iterator<Item = (Slot, Type)> + '_ {
        let mut from = Reader { bytes: &self.bytes };
        let count = from.number();
        (0..count).map(move |_| {
            let slot = Slot(from.number() as u32);
            let ty = match from.byte() {
                0 => Type::Int,
                1 => Type::Float,
                2 => Type::Bool,
                3 => Type::Ptr(self.objects[from.number() as usize]),
                4 => Type::Known(self.objects[from.number() as usize]),
                5 => Type::Null,
                6 => Type::RangeIter,
                _ => Type::ListIter,
            };
            (slot, ty)
        })
    }

    /// The slots some exit writes.
    pub fn overwritten(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut from = Reader {
            bytes: &self.bytes[self.overwritten as usize..],
        };
        let count = from.number();
        (0..count).map(move |_| Slot(from.number() as u32))
    }

    pub fn exit(&self, number: usize) -> Exit<'_> {
        let mut own = Reader {
            bytes: &self.bytes[self.exits[number] as usize..],
        };
        let (pc, depth) = (own.number() as usize, own.number() as usize);
        let base = own.number() as usize;
        let (mut bits, mut kept) = (Reader { bytes: &[] }, (Reader { bytes: &[] }, 0));
        if base > 0 {
            let mut from = Reader {
                bytes: &self.bytes[self.exits[base - 1] as usize..],
            };
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
        Exit { pc, depth, entries }
    }
}

impl<'a> Exit<'a> {
    /// Every slot written, its kind of value (without references), and where its components are.
    pub fn entries(self) -> impl Iterator<Item = Entry> + 'a {
        self.entries
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

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn pack_entry((slot, val, sources): &Entry, objects: &mut Vec<Obj>) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, u64::from(slot.0));
    let (kind, object) = match *val {
        Val::Int { .. } => (0, None),
        Val::Float { .. } => (1, None),
        Val::Bool(_) => (2, None),
        // The type was checked when the value was made; nobody asks for it at an exit.
        Val::Ptr(..) => (3, None),
        Val::Known(o) => (4, Some(o)),
        Val::Null => (5, None),
        Val::RangeIter { .. } => (6, None),
        Val::ListIter { .. } => (7, None),
        Val::Range { .. } => (8, None),
    };
    out.push(kind);
    if let Some(o) = object {
        put(&mut out, index(objects, o));
    }
    for source in &sources[..val.components().1] {
        match *source {
            Source::Buffer(word) => put(&mut out, u64::from(word) << 2),
            Source::Const(0) => out.push(2),
            Source::Const(v) => {
                out.push(1);
                put(&mut out, (v << 1 ^ v >> 63) as u64);
            }
        }
    }
    out
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

    fn entry(&mut self, objects: &[Obj]) -> Entry {
        let slot = Slot(self.number() as u32);
        let r = Ref::NONE;
        let val = match self.byte() {
            0 => Val::Int { value: r, boxed: r },
            1 => Val::Float { value: r, boxed: r },
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
            7 => Val::ListIter {
                list: r,
                index: r,
                object: r,
            },
            _ => Val::Range {
                start: r,
                stop: r,
                step: r,
            },
        };
        let mut sources = [Source::Const(0); 4];
        for source in &mut sources[..val.components().1] {
            let n = self.number();
            *source = match n & 3 {
                0 => Source::Buffer((n >> 2) as u16),
                1 => {
                    let v = self.number();
                    Source::Const((v >> 1) as i64 ^ -((v & 1) as i64))
                }
                _ => Source::Const(0),
            };
        }
        (slot, val, sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_trace::{Exit as TreeExit, Input, Snapshot};

    fn exit(pc: u32, slots: Vec<Entry>) -> (TreeExit, ExitMap) {
        let snapshot = Snapshot {
            pc,
            depth: 3,
            slots: vec![],
        };
        (
            TreeExit {
                snapshot,
                reason: "",
                side: None,
            },
            ExitMap { slots },
        )
    }

    #[test]
    fn exits_come_back_as_they_were_packed_in_fewer_bytes() {
        let r = Ref::NONE;
        let int = |slot: u32, word: u16| -> Entry {
            let val = Val::Int { value: r, boxed: r };
            (
                Slot(slot),
                val,
                [
                    Source::Buffer(word),
                    Source::Const(0),
                    Source::Const(0),
                    Source::Const(0),
                ],
            )
        };
        let (o, dict) = (Obj(0x1000), Obj(0x2000));
        let known = (Slot(7), Val::Known(o), [Source::Const(0); 4]);
        let big = (
            Slot::name(2),
            Val::RangeIter {
                next: r,
                step: r,
                left: r,
                object: r,
            },
            [
                Source::Const(i64::MIN),
                Source::Const(-1),
                Source::Buffer(500),
                Source::Buffer(3),
            ],
        );
        let mut tree = Tree::new(9, 1, 4);
        tree.pins = vec![o];
        tree.names = vec![
            Name {
                space: Namespace::Builtins,
                key: o,
            },
            Name {
                space: Namespace::Dict(dict),
                key: o,
            },
        ];
        tree.inputs = vec![
            Input {
                slot: Slot(3),
                ty: Type::Int,
                refs: [r; 4],
            },
            Input {
                slot: Slot::name(1),
                ty: Type::Ptr(o),
                refs: [r; 4],
            },
        ];
        let all = vec![
            exit(5, vec![int(1, 2), int(2, 3), known, big, int(4, 9)]),
            exit(6, vec![int(1, 2), int(2, 3), known, big]),
            exit(600, vec![int(1, 30), int(4, 9), known, big]),
            exit(7, vec![]),
            exit(8, vec![int(11, 2)]),
        ];
        let (exits, maps): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        tree.exits = exits;
        let packed = Packed::new(&tree, &maps).unwrap();
        for (number, map) in maps.iter().enumerate() {
            let found = packed.exit(number);
            assert_eq!((found.pc, found.depth), (tree.exits[number].snapshot.pc as usize, 3));
            let mut found: Vec<Entry> = found.entries().collect();
            let mut wanted = map.slots.clone();
            found.sort_by_key(|e| e.0);
            wanted.sort_by_key(|e| e.0);
            assert_eq!(found, wanted, "exit {number}");
        }
        assert_eq!(
            packed.inputs().collect::<Vec<_>>(),
            [(Slot(3), Type::Int), (Slot::name(1), Type::Ptr(o))]
        );
        let slots: Vec<Slot> = packed.overwritten().collect();
        assert_eq!(slots, [Slot(1), Slot(2), Slot(4), Slot(7), Slot(11), Slot::name(2)]);
        assert_eq!([packed.name(0), packed.name(1)], [tree.names[0], tree.names[1]]);
        assert_eq!(packed.objects(), [o, dict]);
        let entries: usize = maps.iter().map(|m| m.slots.len()).sum();
        assert!(
            packed.bytes.len() < 8 * entries,
            "{} bytes for {entries} entries",
            packed.bytes.len()
        );
    }
}
